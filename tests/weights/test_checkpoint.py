"""Rename rules, and a checkpoint bound to a model: everything that does not fit in one error."""

import math
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

import lamina
from lamina.compiler.graph import Parameter
from lamina.compiler.weights.checkpoint import Checkpoint
from lamina.schema.diagnostics import Span, SpecError
from lamina.schema.dims import TensorType
from lamina.schema.patterns import Pattern, fill
from lamina.schema.weights import WeightRules


@pytest.mark.parametrize(
    ("pattern", "key", "path", "expected"),
    [
        ("a.b", "a.b", "c", "c"),
        ("a.b", "a.bc", "c", None),
        ("a.b", "axb", "c", None),
        ("encoder.layer.{i}.attention.*", "encoder.layer.11.attention.q.weight", "layers.{i}.attn.*", "layers.11.attn.q.weight"),
        ("layer.{i}.w", "layer.1.2.w", "{i}", None),
        ("layer.{i}.w", "layer..w", "{i}", None),
        ("h.{i}.{j}.{i}", "h.1.x.1", "{j}.{i}", "x.1"),
        ("h.{i}.{j}.{i}", "h.1.x.11", "{j}.{i}", None),
        ("*.{i}.weight", "a.b.3.weight", "*/{i}", "a.b/3"),
        ("*.gamma.*", "a.gamma.b.gamma.c", "*|*", "a|b.gamma.c"),
        ("block{i}_conv.weight", "block3_conv_conv.weight", "{i}", "3_conv"),
        ("block{i}.*", "block3.a", "blocks.{i-1}.*", "blocks.2.a"),
        ("block{i}.*", "block9.a", "blocks.{i+10}.{i}", "blocks.19.9"),
        ("block{i}.*", "blockx.a", "blocks.{i-1}.*", "blocks.{i-1}.a"),
        ("*", "any.thing", "model.*", "model.any.thing"),
        ("a*", "a", "b*", "b"),
        ("(.+)[x]", "(.+)[x]", "y", "y"),
        ("a.*", "a.line\nbreak", "*", "line\nbreak"),
        ("a.*.b.*", "a.1.b.2", "*", "1"),
    ],
)
def test_patterns(pattern: str, key: str, path: str, expected: str | None) -> None:
    captures = Pattern.parse(pattern).captures(key)
    assert (None if captures is None else fill(path, captures)) == expected


@pytest.mark.parametrize("pattern", ["*a*a*a*a*a*a*a*b", "*a{x}a*a{y}a*a{z}a*b", "*.{i}.*.{j}.*.{k}.b"])
def test_matching_is_fast_whatever_the_text(pattern: str) -> None:
    key = "a." * 250 if "." in pattern else "a" * 500
    start = time.perf_counter()
    assert Pattern.parse(pattern).captures(key) is None
    assert time.perf_counter() - start < 0.2


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"rename": {"a.**": "b"}}, "two wildcards side by side"),
        ({"rename": {"a.{i}*": "b"}}, "two wildcards side by side"),
        ({"rename": {"a.{i}x{j}": "b"}}, "two names between dots"),
        ({"rename": {"a.{": "b"}}, "a brace that is not part of a wildcard"),
        ({"rename": {"a.{0}": "b"}}, "a brace that is not part of a wildcard"),
        ({"rename": {".".join("*" * 9): "b"}}, "more than 8 wildcards"),
        ({"rename": {"a" * 501: "b"}}, "1 to 500 characters, not 501"),
        ({"rename": {"a.{i-1}": "b.{i}"}}, "shifts a number, which only the path of a rule can do"),
        ({"rename": {"a.{i}": "b.{j+1}"}}, "`b.{j.1}` uses `{j}`, which `a.{i}` does not have"),
        ({"rename": {"a.{i}": "b.{j}"}}, "`b.{j}` uses `{j}`, which `a.{i}` does not have"),
        ({"rename": {"a.*": "b.*.*"}}, r"uses a `\*` number 2, which `a.\*` does not have"),
        ({"rename": {"a": {}}}, "either `to:` or `split:`"),
        ({"rename": {"a": {"to": []}}}, "either `to:` or `split:`"),
        ({"rename": {"a": {"to": "b", "steps": [{}]}}}, "a step says one of `transpose:`, `reshape:`, `map:` and `scale:`"),
        ({"rename": {"a": {"to": "b", "steps": [{"reshape": [0]}], "transpose": [0]}}}, "either `steps:`, or `transpose:` and `reshape:`"),
        ({"rename": {"a": {"to": ["b", "c.{i}"]}}}, "uses `{i}`, which `a` does not have"),
        ({"rename": {"a": {"to": "b", "split": {"dim": 0, "into": ["c", "d"]}}}}, "either `to:` or `split:`"),
        ({"rename": {"a": {"to": "b", "transposed": [1, 0]}}}, "Extra inputs are not permitted"),
        ({"rename": {"a": {"to": "b", "transpose": [1.5]}}}, "valid integer"),
        ({"rename": {"a": {"split": {"dim": 0, "into": ["c"]}}}}, "at least 2 items"),
        ({"rename": {"a": {"to": "b", "map": "sqrt"}}}, "'log' or 'exp'"),
        ({"rename": {"a": {"to": "b", "unstack": "n"}}}, "`b` must say where the number of a part stands: `{n}`"),
        ({"rename": {"a.{n}": {"to": "b.{n}", "unstack": "n"}}}, "numbers the parts, but `{n}` is in `a.{n}` already"),
        ({"rename": {"a": {"to": "b.{m}", "unstack": "n"}}}, "must say where"),
        ({"rename": {"a": {"to": "b.{n}.{m}", "unstack": "n"}}}, "uses `{m}`, which `a` does not have"),
        ({"rename": {"a": {"to": "b.{n}", "unstack": "{n}"}}}, "should match pattern"),
        ({"rename": {"a": {"to": "b", "scale": math.inf}}}, "finite number"),
        ({"rename": {"a": {"to": "b", "steps": [{"map": "exp", "scale": 2}]}}}, "a step says one of"),
        ({"join": {"b": {"dim": 0, "of": ["a"]}}}, "at least 2 items"),
        ({"join": {"b": {"of": ["a", "c"]}}}, "Field required"),
        ({"join": {"b": {"dim": 0, "of": ["a", "c"], "to": "d"}}}, "Extra inputs are not permitted"),
        ({"join": {"b.{i}": {"dim": 0, "of": ["a.{i}", "c.{j}"]}}}, "`c.{j}` uses `{j}`, which `b.{i}` does not have"),
        ({"ignore": ["a.**"]}, "two wildcards side by side"),
        ({"renames": {}}, "Extra inputs"),
    ],
)
def test_bad_rules_are_refused(rules: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        WeightRules.model_validate(rules)


def parameters(**shapes: tuple[int, ...]) -> list[Parameter]:
    return [Parameter(name.replace("__", "."), TensorType("float32", shape)) for name, shape in shapes.items()]


def checkpoint(folder: Path, tensors: dict[str, torch.Tensor], rules: object, wanted: list[Parameter]) -> dict[str, np.ndarray]:
    save_file({k: t.contiguous() for k, t in tensors.items()}, folder / "m.safetensors")
    bound = Checkpoint(folder / "m.safetensors", WeightRules.model_validate(rules), wanted)
    assert [bound.get(p).name for p in wanted] == [p.name for p in wanted]
    return {p.name: bound.get(p).numpy() for p in wanted}


def test_an_attention_of_gpt2_and_of_pytorch(tmp_path: Path) -> None:
    """Fused and transposed weights come apart so that the separate projections compute what the fused ones did."""
    x, conv1d, fused = torch.randn(5, 4), torch.randn(4, 12), torch.randn(8, 4)
    rules = {
        "rename": {
            "h.{i}.c_attn.weight": {"transpose": [1, 0], "split": {"dim": 0, "into": ["layers.{i}.q", "layers.{i}.k", "layers.{i}.v"]}},
            "in_proj": {"split": {"dim": 0, "into": ["gq", "gk", "gv"]}},
            "table": {"to": "grid", "reshape": [2, -1, 3]},
            "embeddings.*": "*",
            "decay": {"to": "log_decay", "map": "log", "reshape": [0]},
        },
        "ignore": ["pooler.*"],
    }
    tensors = {
        "h.0.c_attn.weight": conv1d,
        "in_proj": fused,
        "table": torch.arange(12.0),
        "embeddings.word": torch.ones(3).half(),
        "pooler.x": torch.ones(1),
        "decay": torch.tensor([[1.0], [math.e]]),
    }
    wanted = parameters(
        layers__0__q=(4, 4),
        layers__0__k=(4, 4),
        layers__0__v=(4, 4),
        gq=(4, 4),
        gk=(2, 4),
        gv=(2, 4),
        grid=(2, 2, 3),
        word=(3,),
        log_decay=(2,),
    )
    got = checkpoint(tmp_path, tensors, rules, wanted)
    q, k, v = (x @ conv1d).split(4, dim=1)
    for name, expected in {"q": q, "k": k, "v": v}.items():
        np.testing.assert_allclose(x.numpy() @ got[f"layers.0.{name}"].T, expected.numpy(), rtol=1e-5, atol=1e-6)
    gq, gk, gv = fused.split([4, 2, 2])
    for name, part in {"gq": gq, "gk": gk, "gv": gv}.items():
        np.testing.assert_array_equal(got[name], part.numpy(), strict=True)
    np.testing.assert_array_equal(got["grid"], np.arange(12, dtype=np.float32).reshape(2, 2, 3), strict=True)
    np.testing.assert_array_equal(got["word"], np.ones(3, np.float32), strict=True)
    np.testing.assert_allclose(got["log_decay"], [0, 1], atol=1e-7)


def test_weights_that_share_a_tensor(tmp_path: Path) -> None:
    """A tied table goes wherever the model has it; a model without one of the paths takes the other."""
    rules = {"rename": {"wte.{i}": {"to": ["embed.{i}", "head.{i}"], "transpose": [1, 0]}}}
    table = torch.randn(3, 4)
    got = checkpoint(tmp_path, {"wte.w": table}, rules, parameters(embed__w=(4, 3), head__w=(4, 3)))
    for name in ("embed.w", "head.w"):
        np.testing.assert_array_equal(got[name], table.T.numpy(), strict=True)
    assert checkpoint(tmp_path, {"wte.w": table}, rules, parameters(head__w=(4, 3))).keys() == {"head.w"}
    with pytest.raises(SpecError, match=r"2 weights that the model lacks:\n    embed.w  float32\[4, 3\]  \(from `wte.w`\)"):
        checkpoint(tmp_path, {"wte.w": table}, rules, [])
    both = {"rename": {"own": "head.w", **rules["rename"]}}
    with pytest.raises(SpecError, match=r"`own` and `wte.w` both become `head.w`"):
        checkpoint(tmp_path, {"wte.w": table, "own": torch.ones(4, 3)}, both, parameters(embed__w=(4, 3), head__w=(4, 3)))


def test_stacked_weights_come_apart(tmp_path: Path) -> None:
    """Of each part: two paths that share it, a split, and steps."""
    rules = {
        "rename": {
            "h.{i}.down": {"unstack": "n", "to": ["{i}.{n}.down", "{i}.{n}.also"], "transpose": [1, 0]},
            "h.{i}.gate_up": {"unstack": "n", "split": {"dim": 0, "into": ["{i}.{n}.gate", "{i}.{n}.up"]}},
            "h.{i}.bias": {"unstack": "n", "to": "{i}.{n+1}.bias"},
        }
    }
    down, gate_up, bias = torch.randn(3, 4, 5), torch.randn(3, 6, 5), torch.randn(2)
    shapes = {f"7.{n}.{kind}": shape for n in range(3) for kind, shape in {"down": (5, 4), "gate": (2, 5), "up": (4, 5)}.items()}
    wanted = [Parameter(name, TensorType("float32", shape)) for name, shape in {**shapes, "7.1.bias": (), "7.2.bias": ()}.items()]
    got = checkpoint(tmp_path, {"h.7.down": down, "h.7.gate_up": gate_up, "h.7.bias": bias}, rules, wanted)
    for n in range(3):
        np.testing.assert_array_equal(got[f"7.{n}.down"], down[n].T.numpy(), strict=True)
        np.testing.assert_array_equal(got[f"7.{n}.gate"], gate_up[n, :2].numpy(), strict=True)
        np.testing.assert_array_equal(got[f"7.{n}.up"], gate_up[n, 2:].numpy(), strict=True)
    assert [got[f"7.{n}.bias"] for n in (1, 2)] == bias.tolist()


@pytest.mark.parametrize(
    ("shape", "model", "message"),
    [
        ((3, 2), 2, "it holds 3 along its first dim, but the model has 2: `e.0` to `e.1`"),
        ((1, 2), 2, "it holds 1 along its first dim, but the model has 2: `e.0` to `e.1`"),
        ((3, 2), 1, "it holds 3 along its first dim, but the model has 1: `e.0` alone"),
        ((), 2, "it is one number, which cannot be unstacked"),
    ],
)
def test_a_stack_of_another_height(shape: tuple[int, ...], model: int, message: str, tmp_path: Path) -> None:
    rules = {"rename": {"stack": {"unstack": "n", "to": "e.{n}"}}}
    wanted = [Parameter(f"e.{n}", TensorType("float32", (2,))) for n in range(model)]
    with pytest.raises(SpecError, match=f"the rule `stack` does not fit `stack`: {message}") as caught:
        checkpoint(tmp_path, {"stack": torch.ones(shape)}, rules, wanted)
    assert len(caught.value.diagnostics) == 1


def test_a_stack_that_the_model_lacks(tmp_path: Path) -> None:
    """It gives way to the next rule, and is reported where there is none."""
    stack = {"unstack": "n", "to": "e.{n}"}
    got = checkpoint(tmp_path, {"stack": torch.ones(3, 2)}, {"rename": {"stack": stack, "*": "whole"}}, parameters(whole=(3, 2)))
    assert got.keys() == {"whole"}
    with pytest.raises(SpecError, match="1 weight that the model lacks"):
        checkpoint(tmp_path, {"stack": torch.ones(1, 2)}, {"rename": {"stack": stack}}, [])


def test_steps_in_any_order(tmp_path: Path) -> None:
    """Rows of heads from neighbours to halves, against the permutation of llama.cpp's own converter, undone."""
    ours = torch.randn(2 * 6, 5)  # 2 heads of 6, in the order of halves
    theirs = ours.reshape(2, 2, 3, 5).swapaxes(1, 2).reshape(12, 5)
    rule = {"to": "w", "steps": [{"reshape": [2, 3, 2, -1]}, {"transpose": [0, 2, 1, 3]}, {"reshape": [12, -1]}]}
    got = checkpoint(tmp_path, {"q": theirs}, {"rename": {"q": rule}}, parameters(w=(12, 5)))
    np.testing.assert_array_equal(got["w"], ours.numpy(), strict=True)


def test_the_first_rule_that_matches_wins(tmp_path: Path) -> None:
    got = checkpoint(
        tmp_path,
        {"a.x": torch.ones(1), "a.y": torch.zeros(1)},
        {"rename": {"a.x": "first", "a.*": "rest.*"}},
        parameters(first=(1,), rest__y=(1,)),
    )
    assert got["first"] == 1
    assert got["rest.y"] == 0


def test_rules_for_what_the_config_leaves_out_give_way(tmp_path: Path) -> None:
    rules = {"rename": {"head.1.*": "up.*", "head.{i}.*": "out.*"}, "ignore": ["encoder.*"]}
    tensors = {"head.1.w": torch.ones(2), "encoder.w": torch.zeros(3)}
    assert checkpoint(tmp_path, tensors, rules, parameters(out__w=(2,))).keys() == {"out.w"}
    assert checkpoint(tmp_path, tensors, rules, parameters(up__w=(2,), encoder__w=(3,))).keys() == {"up.w", "encoder.w"}
    tied = {"encoder.w": torch.ones(3), "decoder.w": torch.ones(3)}
    rules = {"rename": {"decoder.*": "encoder.*"}, "ignore": ["encoder.*"]}
    assert checkpoint(tmp_path, tied, rules, parameters(encoder__w=(3,)))["encoder.w"].sum() == 3
    with pytest.raises(SpecError, match=r"up\.w  float32\[2\]  \(from `head\.1\.w`\)"):
        checkpoint(tmp_path, tensors, rules | {"rename": {"head.1.*": "up.*"}}, parameters(encoder__w=(3,)))


def test_everything_that_does_not_fit_is_said_at_once(tmp_path: Path) -> None:
    tensors = {
        "layer.0.weight": torch.ones(2, 3),
        "fc.bias": torch.ones(4),
        "steps": torch.ones(1, dtype=torch.int64),
        "old.extra": torch.ones(2),
    }
    wanted = parameters(layers__0__weight=(2, 3), fc__bias=(5,), steps=(1,), nowhere=(1, 2))
    with pytest.raises(SpecError) as caught:
        checkpoint(tmp_path, tensors, {"rename": {"old.*": "new.*"}}, wanted)
    place = f"{tmp_path / 'm.safetensors'}:1:1"
    assert str(caught.value) == (
        f"{place}: error[weights-missing]: the model has 2 weights that the checkpoint lacks:\n"
        "    layers.0.weight  float32[2, 3]  (did you mean `layer.0.weight`?)\n"
        "    nowhere  float32[1, 2]\n"
        "  = help: map the checkpoint's keys to these paths under `weights: rename:`\n"
        f"{place}: error[weights-unexpected]: the checkpoint has 2 weights that the model lacks:\n"
        "    layer.0.weight  float32[2, 3]\n"
        "    new.extra  float32[2]  (from `old.extra`)\n"
        "  = help: rename them under `weights: rename:`, or list them under `weights: ignore:`\n"
        f"{place}: error[weights-mis-shaped]: the checkpoint and the model disagree about 2 weights:\n"
        "    fc.bias  is float32[4] in the checkpoint, float32[5] in the model\n"
        "    steps  is int64[1] in the checkpoint, float32[1] in the model\n"
        "  = help: check the config values against the checkpoint's; `transpose:` and `reshape:` may stand in a rename rule"
    )


def test_long_lists_are_cut(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        checkpoint(tmp_path, {f"k{i:02}": torch.ones(1) for i in range(51)}, {}, [])
    lines = str(caught.value).splitlines()
    assert lines[20:22] == ["    k19  float32[1]", "    ... and 31 more"]


def test_rates_from_their_logarithms_and_back(tmp_path: Path) -> None:
    """-exp(A_log), which a state space computes of what its checkpoint holds; and log(-a), where a checkpoint holds that."""
    logs = torch.randn(3, 2)
    rules = {"rename": {"A_log": {"to": "a", "map": "exp", "scale": -1}, "a": {"to": "A_log", "steps": [{"scale": -1}, {"map": "log"}]}}}
    got = checkpoint(tmp_path, {"A_log": logs, "a": -logs.exp()}, rules, parameters(a=(3, 2), A_log=(3, 2)))
    np.testing.assert_allclose(got["a"], -logs.exp().numpy(), rtol=1e-6)
    np.testing.assert_allclose(got["A_log"], logs.numpy(), rtol=1e-5, atol=1e-6)


JOIN = {
    "rename": {"h.{i}.key.weight": {"to": "layers.{i}.k", "transpose": [1, 0]}},
    "join": {"layers.{i}.qkv": {"dim": 0, "of": ["h.{i}.query.weight", "layers.{i}.k", "h.{i}.value.weight"]}},
}


def parts(i: int, wide: int = 4) -> dict[str, torch.Tensor]:
    shapes = {"query": (6, 4), "key": (wide, 2), "value": (2, 4)}
    return {f"h.{i}.{name}.weight": torch.randn(shape) for name, shape in shapes.items()}


def test_parts_are_joined(tmp_path: Path) -> None:
    """In the order that the rule gives, each after its own rule, whatever order the file has."""
    tensors = parts(0) | parts(1)
    got = checkpoint(tmp_path, tensors, JOIN, parameters(layers__0__qkv=(10, 4), layers__1__qkv=(10, 4)))
    for i in range(2):
        q, k, v = (tensors[f"h.{i}.{name}.weight"] for name in ("query", "key", "value"))
        np.testing.assert_array_equal(got[f"layers.{i}.qkv"], torch.cat([q, k.T, v]).numpy(), strict=True)


def test_a_join_is_for_checkpoints_and_models_that_need_it(tmp_path: Path) -> None:
    """The whole may be there already, and a model may have the parts."""
    whole = torch.randn(10, 4)
    got = checkpoint(tmp_path, {"layers.0.qkv": whole}, JOIN, parameters(layers__0__qkv=(10, 4)))
    np.testing.assert_array_equal(got["layers.0.qkv"], whole.numpy(), strict=True)
    assert checkpoint(tmp_path, parts(0), JOIN, parameters(h__0__query__weight=(6, 4), layers__0__k=(2, 4), h__0__value__weight=(2, 4)))
    ignored = JOIN | {"ignore": ["h.*"]}
    assert checkpoint(tmp_path, parts(0), ignored, parameters(layers__0__qkv=(10, 4))).keys() == {"layers.0.qkv"}


def test_a_join_changes_the_whole_and_dtypes_meet(tmp_path: Path) -> None:
    """Heads that a model keeps side by side, [heads, q and k], of parts in two precisions."""
    q, k = torch.randn(6, 4), torch.randn(6, 4).half()
    steps = [{"reshape": [2, 2, 3, -1]}, {"transpose": [1, 0, 2, 3]}, {"reshape": [12, -1]}]
    rules = {"join": {"qk": {"dim": 0, "of": ["q", "k"], "steps": steps, "scale": 0.5}}}
    got = checkpoint(tmp_path, {"q": q, "k": k}, rules, parameters(qk=(12, 4)))
    expected = torch.stack([q, k.float()]).unflatten(1, (2, 3)).transpose(0, 1).reshape(12, 4) / 2
    np.testing.assert_allclose(got["qk"], expected.numpy(), rtol=1e-6)
    across = {"join": {"qk": {"dim": 1, "of": ["q", "k"]}}}
    got = checkpoint(tmp_path, {"q": q, "k": k.float()}, across, parameters(qk=(6, 8)))
    np.testing.assert_array_equal(got["qk"], torch.cat([q, k.float()], 1).numpy(), strict=True)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({k: v for k, v in parts(0).items() if "value" not in k},
         "`layers.0.qkv` is joined of 3 parts, but nothing becomes `h.0.value.weight`"),
        (parts(0, wide=5),
         "do not fit: `h.0.query.weight` float32[6, 4] and `h.0.key.weight` float32[2, 5] differ in more than dim 0"),
        (parts(0) | {"h.0.value.weight": torch.ones(2, 4, dtype=torch.int64)},
         "the parts of `layers.0.qkv` do not fit: `h.0.query.weight` float32[6, 4] and `h.0.value.weight` int64[2, 4] differ"),
        (parts(0) | {"layers.0.qkv": torch.ones(10, 4)},
         "`layers.0.qkv` and `h.0.query.weight`, `h.0.key.weight`, `h.0.value.weight` both become `layers.0.qkv`"),
    ],
)  # fmt: skip
def test_joins_that_do_not_fit_are_named_at_their_line(tensors: dict[str, torch.Tensor], message: str, tmp_path: Path) -> None:
    place = Span("spec.yaml", 7, 5)
    rules = JOIN | {"join_spans": {"layers.{i}.qkv": place}}
    with pytest.raises(SpecError) as caught:
        checkpoint(tmp_path, tensors, rules, parameters(layers__0__qkv=(10, 4)))
    (found,) = caught.value.diagnostics
    assert found.span == place
    assert message in found.message


def test_a_part_whose_own_rule_fails_is_said_once(tmp_path: Path) -> None:
    tensors = parts(0) | {"h.0.key.weight": torch.ones(8)}
    with pytest.raises(SpecError) as caught:
        checkpoint(tmp_path, tensors, JOIN, parameters(layers__0__qkv=(10, 4)))
    assert [d.message for d in caught.value.diagnostics] == [
        "the rule `h.{i}.key.weight` does not fit `h.0.key.weight`: [1, 0] is not a permutation of the axes of a tensor with 1 dimensions"
    ]


def test_a_joined_whole_of_another_shape_is_mis_shaped(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"layers.0.qkv  is float32\[10, 4\] in the checkpoint, float32\[12, 4\] in the model"):
        checkpoint(tmp_path, parts(0), JOIN, parameters(layers__0__qkv=(12, 4)))


SPEC = """\
lamina: 1
model: joined
config: {heads: 2, log_scale: 0.0}
inputs: {x: "float32[N, T, 6]"}
dims: {N: {min: 1, opt: 2, max: 4}, T: {min: 1, opt: 5, max: 8}}
use: [attention]
body:
  - q, k, v = split(linear(x, 18, name='qkv'), 3)
  - attention(split_heads(q, heads), split_heads(k, heads), split_heads(v, heads))
  - linear(merge_heads(x), 6, name='out')
  - x * parameter([6], name='rates')
outputs: {y: "float32[N, T, 6]"}
weights:
  rename:
    in_proj_bias: qkv.bias
    "out_proj.*": "out.*"
    A_log: {to: rates, map: exp, scale: 1 - 2 * exp(log_scale)}
  join:
    qkv.weight: {dim: 0, of: [q_proj_weight, k_proj_weight, v_proj_weight]}
"""


def test_a_module_of_a_checkpoint_in_parts_is_pytorchs(tmp_path: Path) -> None:
    """Attention with its projections apart, as PyTorch keeps them where keys are of another width; and rates by their logarithms."""
    (tmp_path / "spec.yaml").write_text(SPEC)
    torch.manual_seed(0)
    theirs = torch.nn.MultiheadAttention(6, 2, batch_first=True)
    state = {name: p.detach() for name, p in theirs.named_parameters()}
    state |= dict(zip(("q_proj_weight", "k_proj_weight", "v_proj_weight"), state.pop("in_proj_weight").chunk(3), strict=True))
    state["A_log"] = torch.randn(6)
    save_file({k: t.contiguous() for k, t in state.items()}, tmp_path / "m.safetensors")
    module = lamina.to_torch(lamina.load(tmp_path / "spec.yaml"), weights=tmp_path / "m.safetensors").eval()
    x = torch.randn(2, 5, 6)
    with torch.no_grad():
        torch.testing.assert_close(module(x), -theirs(x, x, x)[0] * state["A_log"].exp(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            {"to": "w", "transpose": [0, 1, 2]},
            r"the rule `\*` does not fit `key`: \[0, 1, 2\] is not a permutation of the axes of a tensor with 2 dimensions",
        ),
        ({"to": "w", "reshape": [5, -1]}, r"12 elements of shape \[3, 4\] do not fit shape \[5, -1\]"),
        ({"split": {"dim": 0, "into": ["w", "v"]}}, "dim 0 is 3, but the model wants `w` 6, `v` 3, 9 together"),
        ({"split": {"dim": 2, "into": ["w", "v"]}}, r"cannot be split along dim 2: its shape is \[3, 4\]"),
        ({"split": {"dim": 0, "into": ["w", "u"]}}, "the model has no weight `u` with a dim 0"),
    ],
)
def test_rules_that_do_not_fit_are_named_at_their_line(rule: object, message: str, tmp_path: Path) -> None:
    place = Span("spec.yaml", 7, 5)
    with pytest.raises(SpecError, match=message) as caught:
        checkpoint(tmp_path, {"key": torch.ones(3, 4)}, {"rename": {"*": rule}, "spans": {"*": place}}, parameters(w=(6, 2), v=(3,)))
    assert place in [d.span for d in caught.value.diagnostics]


def test_two_keys_for_one_path(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="`a` and `b` both become `w`"):
        checkpoint(tmp_path, {"a": torch.ones(1), "b": torch.ones(1)}, {"rename": {"a": "w", "b": "w"}}, parameters(w=(1,)))


def test_damaged_files_are_a_spec_error(tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes(b"123")
    with pytest.raises(SpecError, match="it has only 3 bytes"):
        Checkpoint(tmp_path / "m.safetensors", None, [])


def test_binding_reads_no_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("numbers were read")

    monkeypatch.setattr(np, "memmap", refuse)
    with pytest.raises(AssertionError, match="numbers were read"):
        checkpoint(tmp_path, {"w": torch.ones(1)}, {}, parameters(w=(1,)))
    Checkpoint(tmp_path / "m.safetensors", None, parameters(w=(1,)))
