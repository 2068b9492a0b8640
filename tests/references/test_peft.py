"""Adapters that PEFT made, chosen and mixed in a session, against what PEFT computes with them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from causal_lm import session
from test_llama import SPEC, reference
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.compiler.load import load_spec
from lamina.runtime import BundleError, InputError, Session, generate
from lamina.schema.diagnostics import SpecError
from lamina.verify import verify

FOLDER = Path(__file__).parent / "expected" / "peft"
NAMES = ("queries", "all", "patterns")
EXPECTED = np.load(FOLDER / "logits.npz")
INPUTS = {"input_ids": EXPECTED["ids"], "attention_mask": np.ones_like(EXPECTED["ids"])}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with three adapters, and the checkpoint beside it."""
    folder = tmp_path_factory.mktemp("peft")
    spec = load_spec(SPEC, small=True)
    reference(elaborate(spec).config).save_pretrained(folder / "checkpoint")
    Tokenizer(WordLevel({"a": 0}, "a")).save(str(folder / "checkpoint" / "tokenizer.json"))
    compiled(folder, "bundle", ("onnx", "onnxruntime"))
    return folder


def compiled(folder: Path, name: str, targets: Sequence[str]) -> Path:
    adapters = {name: FOLDER / name for name in NAMES}
    return lamina.compile(load_spec(SPEC, small=True), folder / name, targets, folder / "checkpoint", adapters=adapters)


@pytest.fixture(scope="module", params=["onnxruntime", "onnx", pytest.param("torch", marks=pytest.mark.sweep)])
def opened(request: pytest.FixtureRequest, folder: Path) -> Iterator[Session]:
    bundle = compiled(folder, "torch", ["torch"]) if request.param == "torch" else folder / "bundle"
    with Session(bundle, backend=request.param) as opened:
        yield opened


def error(found: Any, wanted: Any) -> float:
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("name", NAMES)
def test_each_adapter_gives_what_peft_does(name: str, opened: Session) -> None:
    opened.set_adapter(name)
    assert error(opened(**INPUTS)["logits"], EXPECTED[name]) < 1e-5
    assert error(opened(**INPUTS)["logits"], EXPECTED[f"{name}.merged"]) < 1e-5


def test_none_is_the_model_alone(opened: Session, folder: Path, tmp_path: Path) -> None:
    plain = session(reference(elaborate(load_spec(SPEC, small=True)).config), load_spec(SPEC, small=True), tmp_path)
    opened.set_adapter(None)
    assert error(opened(**INPUTS)["logits"], plain(**INPUTS)["logits"]) < 1e-6


def test_a_mixture_is_the_weighted_sum_of_the_changes(opened: Session) -> None:
    """Alone, an adapter with weight w is the one whose second matrix is w times as large; two of one adapter are it with their sum."""
    opened.set_adapter("all")
    whole = opened(**INPUTS)["logits"]
    opened.set_adapter({"all": 1.0})
    np.testing.assert_array_equal(opened(**INPUTS)["logits"], whole)
    opened.set_adapter({"all": 0.0, "queries": 1.0})
    assert error(opened(**INPUTS)["logits"], EXPECTED["queries"]) < 1e-5
    opened.set_adapter({"all": 0.5, "queries": -0.5})
    assert error(opened(**INPUTS)["logits"], EXPECTED["queries"]) > 1e-2


def test_a_mixture_is_the_merged_model(folder: Path, tmp_path: Path) -> None:
    """Of base weights to which both adapters' products are added, by NumPy."""
    state = safetensors.numpy.load_file(folder / "checkpoint" / "model.safetensors")
    for name, weight in {"queries": 0.75, "patterns": -0.5}.items():
        config = json.loads((FOLDER / name / "adapter_config.json").read_text())
        tensors = safetensors.numpy.load_file(FOLDER / name / "adapter_model.safetensors")
        for key in [k for k in tensors if "lora_A" in k]:
            module = key.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            a, b = tensors[key], tensors[key.replace("lora_A", "lora_B")]
            alpha = config["alpha_pattern"].get(module.removeprefix("model."), config["lora_alpha"])
            state[f"{module}.weight"] = state[f"{module}.weight"] + weight * alpha / len(a) * (b @ a)
    shutil.copytree(folder / "checkpoint", tmp_path / "checkpoint")
    safetensors.numpy.save_file(state, tmp_path / "checkpoint" / "model.safetensors")
    spec = load_spec(SPEC, small=True).model_copy(update={"tokenizer": None})
    merged = Session(lamina.compile(spec, tmp_path / "merged", weights=tmp_path / "checkpoint"))
    with Session(folder / "bundle") as opened:
        opened.set_adapter({"queries": 0.75, "patterns": -0.5})
        assert error(opened(**INPUTS)["logits"], merged(**INPUTS)["logits"]) < 1e-5


def test_a_call_and_a_stream_may_have_one_of_their_own(opened: Session) -> None:
    opened.set_adapter("queries")
    assert error(opened.run(INPUTS, adapter="all")["logits"], EXPECTED["all"]) < 1e-5
    assert error(opened(**INPUTS)["logits"], EXPECTED["queries"]) < 1e-5
    stream = opened.stream(adapter="all")
    opened.set_adapter(None)
    for at in range(7):
        ids = INPUTS["input_ids"][:, at : at + 1]
        logits = stream(input_ids=ids, attention_mask=np.ones((2, at + 1), np.int64))["logits"]
    assert error(logits, EXPECTED["all"]) < 1e-5


def test_generation_follows_the_adapter(folder: Path) -> None:
    with Session(folder / "bundle") as opened:
        texts = []
        for name in (None, "all"):
            opened.set_adapter(name)
            texts.append(generate(opened, [[1, 2, 3]], max_new_tokens=8)[0].ids)
            expected = opened(input_ids=np.array([[1, 2, 3]]), attention_mask=np.ones((1, 3), np.int64))["logits"][0, -1].argmax()
            assert texts[-1][0] == expected
    assert texts[0] != texts[1]


def test_the_bundle_verifies(folder: Path) -> None:
    report = verify(folder / "bundle", weights=folder / "checkpoint")
    assert report.passed
    assert {c.target for c in report.comparisons} == {"onnx", "onnxruntime"}
    assert all("adapter_rank" in c.dims for c in report.comparisons)


def test_quantised_weights_have_adapters_too(folder: Path, tmp_path: Path) -> None:
    spec = load_spec(SPEC, small=True).model_copy(update={"tokenizer": None})
    checkpoint = folder / "checkpoint"
    adapters = {"all": FOLDER / "all"}
    with Session(lamina.compile(spec, tmp_path / "b", ["onnxruntime"], checkpoint, precision="int8", adapters=adapters)) as opened:
        opened.set_adapter("all")
        assert error(opened(**INPUTS)["logits"], EXPECTED["all"]) < 5e-2


def test_unknown_names(opened: Session) -> None:
    with pytest.raises(InputError, match=r"`querys` is not an adapter; the adapters are queries, all, patterns; did you mean `queries`\?"):
        opened.set_adapter("querys")
    with pytest.raises(InputError, match="finite"):
        opened.set_adapter({"all": float("nan")})


def test_a_file_that_is_too_short_is_refused(folder: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(folder / "bundle", bundle)
    data = (bundle / "adapters" / "1.bin").read_bytes()
    (bundle / "adapters" / "1.bin").write_bytes(data[:-4])
    with pytest.raises(BundleError):
        Session(bundle)


def changed(tmp_path: Path, name: str = "queries", config: dict[str, Any] | None = None, rename: tuple[str, str] = ("", "")) -> Path:
    """An adapter's folder with something else in it."""
    shutil.copytree(FOLDER / name, tmp_path / name)
    path = tmp_path / name / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **(config or {})}))
    tensors = safetensors.numpy.load_file(tmp_path / name / "adapter_model.safetensors")
    tensors = {key.replace(*rename): value for key, value in tensors.items()}
    safetensors.numpy.save_file(tensors, tmp_path / name / "adapter_model.safetensors")
    return tmp_path / name


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "kind": ({"config": {"peft_type": "IA3"}}, "the adapter is of PEFT's type IA3"),
    "dora": ({"config": {"use_dora": True}}, "the adapter has `use_dora: True`"),
    "bias": ({"config": {"bias": "all"}}, "the adapter has `bias: all`"),
    "module": ({"rename": ("q_proj", "w_proj")}, r"the adapter changes `model\.layers\.0\.self_attn\.w_proj`, but the model has no linear"),
    "size": ({"rename": ("self_attn.q_proj", "mlp.up_proj")}, r"the adapter's .* is for a weight \[32, 32\], but .* is \[48, 32\]"),
    "key": ({"rename": ("lora_A", "lora_embedding_A")}, "is no matrix A or B of a linear layer"),
    "pattern": ({"config": {"alpha_pattern": {"(a+)+$": 3}}}, "must have names of modules for its keys"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_low_rank_adapter_of_the_model_is_refused(case: str, folder: Path, tmp_path: Path) -> None:
    change, message = REFUSED[case]
    spec = load_spec(SPEC, small=True).model_copy(update={"tokenizer": None})
    with pytest.raises(SpecError, match=message):
        lamina.compile(spec, tmp_path / "bundle", weights="none", adapters={"a": changed(tmp_path, **change)})
    assert not (tmp_path / "bundle").exists()


def test_a_missing_folder(tmp_path: Path) -> None:
    spec = load_spec(SPEC, small=True).model_copy(update={"tokenizer": None})
    with pytest.raises(SpecError, match=r"`adapter_config.json` of the adapter cannot be read: No such file"):
        lamina.compile(spec, tmp_path / "bundle", weights="none", adapters={"a": tmp_path / "nothing"})
