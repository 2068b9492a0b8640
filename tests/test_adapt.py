"""`base:` and `adapt:`: a spec that goes on from another one, and steps that stand around that one's steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import safetensors.numpy
import torch

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.runtime import Session
from lamina.schema.diagnostics import SpecError
from lamina.schema.spec import ModelSpec
from lamina.verify import verify

BASE = """\
lamina: 1
model: base
config: {width: 12, layers: 2, shrunk: 6}
variants: {wide: {width: 20}}
small: {layers: 1}
inputs: {x: "float32[N, T, width]"}
dims: {N: {min: 1, opt: 2, max: 8}, T: {min: 1, opt: 4, max: 64}}
blocks:
  mlp:
    body: [{linear: {out: 2 * width}, name: up}, gelu, {linear: width, name: down}]
body:
  - repeat: layers
    name: layers
    do:
      - residual: [layer_norm, mlp]
  - {linear: shrunk, name: head}
outputs: {y: "float32[N, T, shrunk]"}
"""
INPUT = np.random.default_rng(0).standard_normal((2, 5, 12)).astype(np.float32)


def adapted(folder: Path, text: str, **options: Any) -> ModelSpec:
    (folder / "base.yaml").write_text(BASE)
    (folder / "adapted.yaml").write_text(f"lamina: 1\nmodel: adapted\nbase: ./base.yaml\n{text}")
    return lamina.load(folder / "adapted.yaml", **options)


def base(folder: Path, **options: Any) -> ModelSpec:
    (folder / "base.yaml").write_text(BASE)
    return lamina.load(folder / "base.yaml", **options)


def run(spec: ModelSpec, x: np.ndarray[Any, Any] = INPUT) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        found: np.ndarray[Any, Any] = lamina.to_torch(spec).eval()(torch.from_numpy(x)).numpy()
    return found


def names(spec: ModelSpec) -> set[str]:
    return {p.name for p in elaborate(spec).graph.parameters()}


LORA = 'use: [adapters]\nadapt: {"layers.{i}.mlp.up | layers.{i}.mlp.down": "lora(x, step, rank=3)"}\n'


def test_a_fresh_adapter_changes_nothing_and_no_path(tmp_path: Path) -> None:
    """Its second matrix starts at zero; and the base's random weights follow from paths, so equal outputs are equal paths."""
    plain, lora = base(tmp_path), adapted(tmp_path, LORA)
    np.testing.assert_array_equal(run(lora), run(plain))
    parts = {f"layers.{i}.mlp.{part}.adapter.lora.{m}.weight" for i in (0, 1) for part in ("up", "down") for m in "ab"}
    assert names(lora) - names(plain) == parts
    assert names(plain) <= names(lora)


def test_a_trained_adapter_is_its_formula(tmp_path: Path) -> None:
    module = lamina.to_torch(adapted(tmp_path, LORA.replace("rank=3", "rank=3, alpha=12.0")))
    state = {k: torch.randn_like(v, dtype=torch.float32) / 4 for k, v in module.state_dict().items()}
    module.load_state_dict(state)
    plain = lamina.to_torch(base(tmp_path))
    merged = {k: v.clone() for k, v in state.items() if ".adapter." not in k}
    for i in (0, 1):
        for part in ("up", "down"):
            at = f"layers.{i}.mlp.{part}"
            merged[f"{at}.weight"] += 4 * state[f"{at}.adapter.lora.b.weight"] @ state[f"{at}.adapter.lora.a.weight"]
    plain.load_state_dict(merged)
    x = torch.from_numpy(INPUT)
    torch.testing.assert_close(module(x), plain(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dims", ["N, T, ", "N, "], ids=["rows", "matrix"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dropout", ["", ", dropout=0.1"])
def test_a_static_adapter_costs_nothing_when_it_runs(
    dropout: str, bias: bool, dims: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = BASE.replace("N, T, ", dims).replace("out: 2 * width", f"out: 2 * width, bias: {str(bias).lower()}")
    monkeypatch.setitem(globals(), "BASE", text if "T" in dims else text.replace(", T: {min: 1, opt: 4, max: 64}", ""))
    plain, lora = base(tmp_path), adapted(tmp_path, LORA.replace("rank=3", f"rank=3, alpha=5.0{dropout}"))
    for spec, name in ((plain, "plain"), (lora, "lora")):
        lamina.compile(spec, tmp_path / name, ["onnx", "onnxruntime"])
    for file in ("model.onnx", "model.ort.onnx"):
        a, b = (onnx.load(tmp_path / name / file, load_external_data=False).graph.node for name in ("plain", "lora"))
        assert sorted(n.op_type for n in a) == sorted(n.op_type for n in b)
    assert verify(tmp_path / "lora").passed


def test_the_base_comes_with_its_variants_sizes_and_config(tmp_path: Path) -> None:
    spec = adapted(tmp_path, LORA, variant="wide", small=True)
    shapes = {p.name: p.shape for p in elaborate(spec).graph.parameters()}
    assert shapes["layers.0.mlp.up.adapter.lora.a.weight"] == (3, 20)
    assert not any(name.startswith("layers.1.") for name in shapes)
    own = adapted(tmp_path, f"{LORA}config: {{layers: 3}}\nvariants: {{narrow: {{width: 4}}}}\n", variant="narrow")
    assert elaborate(own).config == {"width": 4, "layers": 3, "shrunk": 6}
    assert set(own.variants) == {"wide", "narrow"}
    assert set(adapted(tmp_path, f"{LORA}variants: {{wide: null, narrow: {{width: 4}}}}\n").variants) == {"narrow"}


def test_a_bundle_holds_what_its_spec_goes_on_from(tmp_path: Path) -> None:
    spec = adapted(tmp_path, f"{LORA}config: {{layers: 3}}\n", variant="wide")
    bundle = lamina.compile(spec, tmp_path / "bundle", ["onnx"])
    again = lamina.load(bundle / "spec.yaml")
    assert elaborate(again).config == elaborate(spec).config
    assert names(again) == names(spec)
    assert (bundle / "base1.yaml").is_file()
    assert verify(bundle).passed


def test_weights_of_several_checkpoints(tmp_path: Path) -> None:
    spec = adapted(tmp_path, LORA)
    state = {k: v.numpy() for k, v in lamina.to_torch(spec, seed=3).state_dict().items()}
    own = {k: v for k, v in state.items() if ".adapter." in k}
    safetensors.numpy.save_file({k: v for k, v in state.items() if k not in own}, tmp_path / "base.safetensors")
    safetensors.numpy.save_file(own, tmp_path / "own.safetensors")
    files = [tmp_path / "base.safetensors", tmp_path / "own.safetensors"]
    with Session(lamina.compile(spec, tmp_path / "bundle", ["onnx"], files)) as session:
        np.testing.assert_allclose(session(x=INPUT)["y"], run_with(spec, state), atol=1e-5)
        assert session.manifest.weights.source == "base.safetensors + own.safetensors"
    with pytest.raises(SpecError, match=r"is in `own\.safetensors` and in a checkpoint before it"):
        lamina.compile(spec, tmp_path / "bundle", ["onnx"], [files[1], files[1]])


def run_with(spec: ModelSpec, state: dict[str, Any]) -> np.ndarray[Any, Any]:
    module = lamina.to_torch(spec).eval()
    module.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})
    with torch.no_grad():
        found: np.ndarray[Any, Any] = module(torch.from_numpy(INPUT)).numpy()
    return found


def test_a_step_that_is_called_twice_has_its_weights_once(tmp_path: Path) -> None:
    spec = adapted(tmp_path, 'adapt: {"layers.{i}.mlp": ["step(x) + step(2 * x)"]}\n')
    assert names(spec) == names(base(tmp_path))
    plain = lamina.to_torch(base(tmp_path)).state_dict()
    h = torch.from_numpy(INPUT)
    for i in (0, 1):
        at = {k.removeprefix(f"layers.{i}."): v for k, v in plain.items() if k.startswith(f"layers.{i}.")}

        def mlp(x: torch.Tensor, at: dict[str, torch.Tensor] = at) -> torch.Tensor:
            hidden = torch.nn.functional.gelu(x @ at["mlp.up.weight"].T + at["mlp.up.bias"])
            return hidden @ at["mlp.down.weight"].T + at["mlp.down.bias"]

        x = torch.nn.functional.layer_norm(h, (12,), at["layer_norm.weight"], at["layer_norm.bias"])
        h = h + mlp(x) + mlp(2 * x)
    want = h @ plain["head.weight"].T + plain["head.bias"]
    np.testing.assert_allclose(run(spec), want.numpy(), atol=1e-5)


def test_wildcards_are_names(tmp_path: Path) -> None:
    spec = adapted(tmp_path, 'use: [adapters]\nadapt: {"layers.{i}.mlp.up": "lora(x, step, rank=i + 2)"}\n')
    shapes = {p.name: p.shape for p in elaborate(spec).graph.parameters()}
    assert [shapes[f"layers.{i}.mlp.up.adapter.lora.a.weight"] for i in (0, 1)] == [(2, 12), (3, 12)]


def test_a_rule_is_not_around_its_own_steps(tmp_path: Path) -> None:
    wide = adapted(tmp_path, 'use: [adapters]\nadapt: {"layers.*.mlp.*": "lora(x, step, rank=3)"}\n')
    found = {name.split(".mlp.")[1] for name in names(wide) - names(base(tmp_path))}
    assert found == {f"{part}.adapter.lora.{m}.weight" for part in ("up", "gelu", "down") for m in "ab"}


def test_what_stands_inside_sees_what_stands_around(tmp_path: Path) -> None:
    """A router beside each network, whose choice the low-rank experts of its layers follow; and one list for the whole model."""
    text = """\
use: [adapters, routing]
adapt:
  model:
    - chosen = []
    - y = step(x)
    - y + 0 * sum(concat(chosen, dim=0))
  "layers.{i}.mlp":
    - weight, choice = token_choice(linear(x, 4, name='router'), 2)
    - chosen = chosen + [weight]
    - step
  "layers.{i}.mlp.up | layers.{i}.mlp.down":
    - y = step(x)
    - y + moe(x, weight, choice, low_rank(out=shape(y)[-1], rank=2), 4)
"""
    spec = adapted(tmp_path, text)
    assert "layers.1.mlp.down.adapter.moe.3.b.weight" in names(spec)
    assert "layers.1.mlp.adapter.router.weight" in names(spec)
    np.testing.assert_allclose(run(spec), run(base(tmp_path)), atol=1e-6)
    bundle = lamina.compile(spec, tmp_path / "bundle", ["onnx", "onnxruntime"])
    assert verify(bundle).passed


def test_the_whole_model_may_run_twice(tmp_path: Path) -> None:
    """As where a first pass says how much of each adapter the second one has."""
    text = """\
use: [adapters]
adapt:
  model:
    - share = null
    - first = step(x)
    - share = sigmoid(linear(first, 1, name='share'))
    - step(x) + 0 * first
  "layers.{i}.mlp":
    - y = step(x)
    - if: share is null
      then: [y]
      else: ["y + share * low_rank(x, out=width, rank=2)"]
"""
    spec = adapted(tmp_path, text)
    state = {k: np.asarray(v) for k, v in lamina.to_torch(spec).state_dict().items()}
    assert {k for k in state if "adapter" in k} == {
        "adapter.share.weight", "adapter.share.bias",
        *(f"layers.{i}.mlp.adapter.low_rank.{m}.weight" for i in (0, 1) for m in "ab"),
    }  # fmt: skip
    np.testing.assert_allclose(run(spec), run(base(tmp_path)), atol=1e-6)


def test_an_output_may_be_of_the_rule_for_the_whole(tmp_path: Path) -> None:
    text = """\
adapt:
  model: ["taps = []", step, "taps = stack(taps, dim=0)", x]
  "layers.{i}.mlp": [step, "taps = taps + [mean(x)]", x]
outputs: {taps: {type: "float32[layers]", train: true}}
"""
    module = lamina.to_torch(adapted(tmp_path, text))
    found = module.train()(torch.from_numpy(INPUT))
    assert found["taps"].shape == (2,)
    torch.testing.assert_close(found["y"], torch.from_numpy(run(base(tmp_path))))


def test_rules_see_the_inputs_of_the_model(tmp_path: Path) -> None:
    text = """\
inputs: {scale: "float32[]"}
adapt:
  "layers.{i}.mlp": ["scale * step(x)"]
"""
    module = lamina.to_torch(adapted(tmp_path, text)).eval()
    x = torch.from_numpy(INPUT)
    with torch.no_grad():
        torch.testing.assert_close(module(x, torch.tensor(1.0)), torch.from_numpy(run(base(tmp_path))), atol=1e-5, rtol=1e-5)
        assert (module(x, torch.tensor(2.0)) - module(x, torch.tensor(1.0))).abs().max() > 1e-3


def test_steps_see_inputs_of_their_own_spec_through_the_rule_for_the_whole(tmp_path: Path) -> None:
    text = """\
inputs: {factor: "float32[N, 1, 1]"}
adapt:
  model: [step]
  "layers.{i}.mlp": [step, x * factor]
"""
    module = lamina.to_torch(adapted(tmp_path, text.replace("model: [step]", "model: [factor = factor + 0, step]"))).eval()
    x, plain = torch.from_numpy(INPUT), torch.from_numpy(run(base(tmp_path)))
    with torch.no_grad():
        torch.testing.assert_close(module(x, torch.ones(2, 1, 1)), plain)
        assert (module(x, torch.zeros(2, 1, 1)) - plain).abs().max() > 0.01


@pytest.mark.parametrize(("own", "path"), [("", "shared"), ("modules: {shared: {linear: 6}}, ", "adapter.shared")])
def test_adaptations_share_modules(own: str, path: str, tmp_path: Path) -> None:
    """Of the model, or of the rule for the whole."""
    whole, modules = (f"  model: [{{{own[:-2]}}}, step]\n", "") if own else ("", "modules: {shared: {linear: 6}}\n")
    text = f'{modules}adapt:\n{whole}  "layers.{{i}}.mlp": [step, "x + 0 * mean(shared(x))"]\n'
    spec = adapted(tmp_path, text)
    assert names(spec) - names(base(tmp_path)) == {f"{path}.weight", f"{path}.bias"}
    np.testing.assert_allclose(run(spec), run(base(tmp_path)), atol=1e-6)


WRONG = {
    "no_step": ('adapt: {"layer.{i}.mlp": [step]}\n', r"error\[adapt\]: `layer\.\{i\}\.mlp` matches the path of no step"),
    "pattern": ('adapt: {"layers.{i": [step]}\n', r"error\[pattern\]: .* has a brace"),
    "arguments": ('adapt: {head: ["step(x, 3)"]}\n', r"`step` takes what goes into it"),
    "text": ("adapt: 3\n", r"`adapt` must be a mapping"),
    "inside": ('adapt: {head: ["stop(x)"]}\n', r"adapted\.yaml:4:\d+: error\[unknown-op\]: there is no op, block or module named `stop`"),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_have_a_place(case: str, tmp_path: Path) -> None:
    text, message = WRONG[case]
    with pytest.raises(SpecError, match=message):
        elaborate(adapted(tmp_path, text))


def test_its_own_precision_stands_first(tmp_path: Path) -> None:
    """The first pattern that matches counts."""
    text = "lamina: 1\nmodel: %s\n"
    (tmp_path / "base.yaml").write_text(BASE + 'precision: {head.weight: int4, "layers.*": int8}\n')
    own = 'base: ./base.yaml\nprecision: {"*": float32, head.weight: int8}\n'
    (tmp_path / "own.yaml").write_text(text % "own" + own)
    rules = lamina.load(tmp_path / "own.yaml").precision
    assert [(r.pattern, r.precision) for r in rules] == [("*", "float32"), ("head.weight", "int8"), ("layers.*", "int8")]


BASES = {
    "unknown": ("base: lama", r"there is no spec `lama` in the zoo\n.*\n.*\n  = help: did you mean `llama`\?"),
    "absent": ("base: ./nothing.yaml", r"there is no file `\./nothing\.yaml` beside the spec"),
    "outside": ("base: ./../base.yaml", r"leaves the spec's folder"),
    "absolute": ("base: /etc/passwd", r"is not a path that a spec may go on from"),
    "itself": ("base: ./adapted.yaml", r"goes on from another at most 4 times"),
}


@pytest.mark.parametrize("case", BASES)
def test_a_base_is_a_spec_of_the_zoo_or_beside(case: str, tmp_path: Path) -> None:
    line, message = BASES[case]
    (tmp_path / "adapted.yaml").write_text(f"lamina: 1\nmodel: adapted\n{line}\n")
    with pytest.raises(SpecError, match=message):
        lamina.load(tmp_path / "adapted.yaml")


def test_a_wildcard_does_not_stand_for_the_whole_model(tmp_path: Path) -> None:
    """`{part}` is the head alone: twice what it gives is twice the output."""
    spec = adapted(tmp_path, 'adapt: {"{part}": ["2 * step(x)"]}\n')
    np.testing.assert_allclose(run(spec), 2 * run(base(tmp_path)), rtol=1e-6)
