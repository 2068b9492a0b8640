"""`lamina export --triton`: Triton's own protobufs read the configs, and ONNX Runtime the models as the configs say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import handmade
import numpy as np
import onnxruntime as ort
import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig, ModelInstanceGroup

import lamina
from lamina.cli import main
from lamina.export.triton import export_triton
from lamina.runtime import BundleError
from lamina.runtime.manifest import read_manifest

ROOT = Path(__file__).parents[2]
NUMPY = {
    "tensor(float)": ("TYPE_FP32", np.float32), "tensor(int64)": ("TYPE_INT64", np.int64), "tensor(bool)": ("TYPE_BOOL", np.bool_),
}  # fmt: skip
FIXED = """\
lamina: 1
model: fixed
inputs: {x: "float32[T, N]", scale: "float32[]", on: "bool[T]"}
dims: {N: {min: 1, opt: 2, max: 4}, T: {min: 2, opt: 4, max: 8}}
body: ["where(on[:, None], x * scale, 0.0)"]
outputs: {y: "float32[T, N]"}
"""
ROWS = """\
lamina: 1
model: rows
inputs: {x: "float32[N, 2 * K, 64]", bias: "float32[N]"}
dims: {N: {min: 1, opt: 8, max: 32}, K: {min: 1, opt: 3, max: 9}}
body:
  - linear(x, 64) + bias[:, None, None]
outputs: {y: "float32[N, 2 * K, 64]"}
"""


def bundle(folder: Path, text: str, **options: Any) -> Path:
    (folder / "spec.yaml").write_text(text)
    spec = lamina.load(folder / "spec.yaml")
    return lamina.compile(spec, folder / spec.model, **options)


def parsed(folder: Path) -> ModelConfig:
    return text_format.Parse((folder / "config.pbtxt").read_text(), ModelConfig())


def warm(config: ModelConfig, session: ort.InferenceSession) -> dict[str, np.ndarray[Any, Any]]:
    """What Triton feeds a model to warm it up: of each input its sizes behind the batch, as its reshape says."""
    (sample,) = config.model_warmup
    declared, feeds = {i.name: i for i in config.input}, {}
    for value in session.get_inputs():
        given, (kind, dtype) = sample.inputs[value.name], NUMPY[value.type]
        assert DataType.Name(given.data_type) == DataType.Name(declared[value.name].data_type) == kind
        inner = [] if declared[value.name].HasField("reshape") else list(given.dims)
        batch = [sample.batch_size] if config.max_batch_size else []
        feeds[value.name] = np.ones([*batch, *inner], dtype)
    return feeds


def agrees(config: ModelConfig, folder: Path) -> None:
    """The config's names, types and dims are those of the model, and the sample runs."""
    session = ort.InferenceSession(folder / "1" / "model.onnx")
    for declared, values in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
        assert [d.name for d in declared] == [v.name for v in values]
        for tensor, value in zip(declared, values, strict=True):
            dims = [] if tensor.HasField("reshape") else list(tensor.dims)
            shape = value.shape[1:] if config.max_batch_size else value.shape
            assert dims == [size if isinstance(size, int) else -1 for size in shape]
    session.run(None, warm(config, session))


def test_rows_are_batched(tmp_path: Path) -> None:
    made = bundle(tmp_path, ROWS, precision="int8")
    (folder,) = export_triton({"rows": made}, tmp_path / "models")
    config = parsed(folder)
    assert (config.name, config.backend, config.platform, config.max_batch_size) == ("rows", "onnxruntime", "", 32)
    assert list(config.dynamic_batching.preferred_batch_size) == [8]
    assert config.dynamic_batching.max_queue_delay_microseconds == 500
    assert [(i.kind, i.count) for i in config.instance_group] == [(ModelInstanceGroup.KIND_AUTO, 1)]
    x, bias = config.input
    assert (list(x.dims), list(bias.dims), list(bias.reshape.shape)) == ([-1, 64], [1], [])
    (sample,) = config.model_warmup
    assert (sample.batch_size, list(sample.inputs["x"].dims), sample.inputs["x"].random_data) == (8, [6, 64], True)
    agrees(config, folder)
    feeds = {"x": np.random.default_rng(0).standard_normal((3, 4, 64), np.float32), "bias": np.zeros(3, np.float32)}
    with lamina.Session(made, "onnxruntime") as before, lamina.Session(folder) as after:
        np.testing.assert_array_equal(after(**feeds)["y"], before(**feeds)["y"])


def test_what_no_dim_leads_is_not_batched(tmp_path: Path) -> None:
    (folder,) = export_triton({"fixed": bundle(tmp_path, FIXED)}, tmp_path / "models")
    config = parsed(folder)
    assert config.max_batch_size == 0
    assert not config.HasField("dynamic_batching")
    x, scale, on = config.input
    assert (list(x.dims), list(scale.dims), list(on.dims)) == ([-1, -1], [1], [-1])
    assert scale.HasField("reshape")
    assert config.model_warmup[0].inputs["on"].zero_data
    agrees(config, folder)


@pytest.mark.parametrize(
    "text",
    [
        ROWS.replace("N: {min: 1", "N: {min: 2"),
        ROWS.replace("max: 32}", "max: 32, multiple_of: 4}").replace("N: {min: 1", "N: {min: 4"),
        ROWS.replace("2 * K", "N * K").replace("max: 32", "max: 8"),
    ],
    ids=["min", "multiple", "elsewhere"],
)
def test_rows_that_are_not_free_are_not_batched(text: str, tmp_path: Path) -> None:
    (folder,) = export_triton({"rows": bundle(tmp_path, text)}, tmp_path / "models")
    assert parsed(folder).max_batch_size == 0
    agrees(parsed(folder), folder)


@pytest.mark.parametrize(
    ("spec", "size"), [("embedding/minilm", 128), ("vision/convnext", 64), ("language/llama", 0)], ids=["minilm", "convnext", "llama"]
)
def test_the_zoo(spec: str, size: int, tmp_path: Path) -> None:
    """A decoder's states are inputs and outputs, which its client carries: no rows are joined."""
    made = lamina.compile(lamina.load(ROOT / "specs" / f"{spec}.yaml", small=True), tmp_path / "bundle")
    (folder,) = export_triton({"zoo": made}, tmp_path / "models")
    config = parsed(folder)
    assert config.max_batch_size == size
    agrees(config, folder)


def test_an_engine(tmp_path: Path) -> None:
    engines = [
        {"file": "engines/portable.engine", "key": "k"},
        {"file": "engines/sm86.engine", "key": "l", "compute_capabilities": ["8.6"]},
    ]
    engine = {"library": "tensorrt", "version": "10.15", "engines": engines}
    files = {"engines/portable.engine": b"an engine", "engines/sm86.engine": b"another", "model.onnx": handmade.scale()}
    made = handmade.write(tmp_path / "bundle", files, targets={"tensorrt": engine, "onnx": {"file": "model.onnx", "opset": 21}})
    (folder,) = export_triton({"scale": made}, tmp_path / "models", "tensorrt")
    config = parsed(folder)
    assert (config.platform, config.backend, config.max_batch_size) == ("tensorrt_plan", "", 8)
    assert config.instance_group[0].kind == ModelInstanceGroup.KIND_GPU
    assert dict(config.cc_model_filenames) == {"8.6": "sm86.plan"}
    assert [(folder / "1" / name).read_bytes() for name in ("model.plan", "sm86.plan")] == [b"an engine", b"another"]
    assert read_manifest(folder).targets.tensorrt
    (folder,) = export_triton({"scale": made}, tmp_path / "models")
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*")) == ["1", "1/model.onnx", "config.pbtxt", "manifest.json"]


def test_all_that_is_wrong_is_said_at_once_and_nothing_is_written(tmp_path: Path) -> None:
    rtx = {"file": "model.onnx", "library": "tensorrt_rtx", "version": "1.7", "key": "k"}
    grown = {"file": "model.onnx", "opset": 21, "preallocated": ["N"]}
    bundles = {
        "engine": handmade.write(tmp_path / "a", targets={"tensorrt": rtx}),
        "grown": handmade.write(tmp_path / "b", targets={"onnxruntime": grown}),
        "../up": handmade.write(tmp_path / "c"),
        "good": handmade.write(tmp_path / "d"),
    }
    with pytest.raises(BundleError) as caught:
        export_triton(bundles, tmp_path / "models")
    engine, grown_, name = str(caught.value).splitlines()
    assert "one of TensorRT-RTX, and Triton runs those of TensorRT" in engine
    assert "writes states in place" in grown_
    assert "`../up` cannot be the name of a model in Triton" in name
    assert not (tmp_path / "models").exists()


def test_other_models_stay(tmp_path: Path) -> None:
    (tmp_path / "models" / "theirs" / "1").mkdir(parents=True)
    made = handmade.write(tmp_path / "bundle")
    export_triton({"mine": made}, tmp_path / "models")
    export_triton({"mine": made}, tmp_path / "models")
    assert sorted(p.name for p in (tmp_path / "models").iterdir()) == ["mine", "theirs"]
    with pytest.raises(BundleError, match="was not exported; it was not touched"):
        export_triton({"theirs": made}, tmp_path / "models")


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str) -> tuple[object, str, str]:
        monkeypatch.setattr("sys.argv", ["lamina", "export", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    first, second, models = (str(handmade.write(tmp_path / "a")), str(handmade.write(tmp_path / "b")), str(tmp_path / "models"))
    code, printed, said = run("--triton", first, f"other={second}", "-o", models)
    assert (code, said) == (0, "")
    assert printed == f"{models}/scale: 0.0 MB in 3 files\n{models}/other: 0.0 MB in 3 files\n"
    for arguments, problem in (
        ((first, second), "two bundles are named `scale`; write NAME=FOLDER"),
        ((first, "--web"), "either --web or --triton"),
        ((first, "--runtime", "."), "--runtime is of --web"),
    ):
        code, printed, said = run("--triton", *arguments, "-o", models)
        assert (code, printed) == (1, "")
        assert problem in " ".join(said.replace("│", " ").split())
