"""Layers that are rounded in ranges of calibration data, against NumPy, PyTorch and ONNX Runtime's own quantiser."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from safetensors.numpy import save_file

import lamina
from lamina.runtime import InputError, Session
from lamina.schema.diagnostics import SpecError
from lamina.verify import verify

Array = np.ndarray[Any, np.dtype[Any]]
NET = """
lamina: 1
model: net
inputs: {x: "float32[N, 16, 12, 12]"}
dims: {N: {min: 1, opt: 4, max: 8}}
body:
  - {conv: {out: 32, kernel: 3, padding: 1}, name: one}
  - {batch_norm: {}, name: norm}
  - relu
  - {conv: {out: 32, kernel: 3, groups: 32}, name: depthwise}
  - {conv: {out: 16, kernel: 5, stride: 2, bias: false}, name: two}
  - flatten
  - {linear: 48, name: fc}
outputs: {y: "float32[N, 48]"}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Any:
    (tmp_path / "net.yaml").write_text(NET)
    return lamina.load(tmp_path / "net.yaml")


def images(seed: int, count: int = 8) -> Array:
    return np.random.default_rng(seed).standard_normal((count, 16, 12, 12), np.float32)


def data(folder: Path) -> Path:
    np.savez(folder / "data.npz", x=images(1, 24))  # three calls
    return folder / "data.npz"


def weights(folder: Path) -> tuple[Path, dict[str, Array]]:
    rng = np.random.default_rng(2)
    shapes = {
        "one.weight": (32, 16, 3, 3), "one.bias": (32,), "norm.weight": (32,), "norm.bias": (32,), "norm.running_mean": (32,),
        "norm.running_var": (32,), "depthwise.weight": (32, 1, 3, 3), "depthwise.bias": (32,), "two.weight": (16, 32, 5, 5),
        "fc.weight": (48, 144), "fc.bias": (48,),
    }  # fmt: skip
    made = {name: rng.standard_normal(shape, np.float32) / np.float32(np.prod(shape[1:]) ** 0.5) for name, shape in shapes.items()}
    made["norm.running_var"] = rng.uniform(0.5, 2, 32).astype(np.float32)
    save_file(made, folder / "w.safetensors")
    return folder / "w.safetensors", made


def kinds_of(folder: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(folder / "model.ort.onnx", load_external_data=False).graph.node)


class Rounding:
    """Affine codes of 8 bits over the range of what calibration saw, as the QuantizeLinear of ONNX has them."""

    def __init__(self, seen: Any) -> None:
        low, high = min(float(seen.min()), 0), max(float(seen.max()), 0)
        self.step = (high - low) / 255
        self.zero = round(-low / self.step)

    def __call__(self, x: Any) -> Any:
        return ((x / self.step).round() + self.zero).clamp(0, 255).sub(self.zero) * self.step


def by_rows(weight: Any) -> Any:
    step = weight.abs().flatten(1).amax(1).reshape(-1, *[1] * (weight.ndim - 1)) / 127
    return (weight / step).round() * step


def forward(x: Array, w: dict[str, Array], seen: list[Any] | None) -> tuple[Any, list[Any]]:
    """The net in PyTorch, in float64; with what calibration saw of each value that is rounded, as it is rounded."""
    t = {name: torch.from_numpy(array).double() for name, array in w.items()}
    scale = t["norm.weight"] / (t["norm.running_var"] + 1e-5).sqrt()
    first = t["one.weight"] * scale[:, None, None, None], (t["one.bias"] - t["norm.running_mean"]) * scale + t["norm.bias"]
    values: list[Any] = []

    def rounded(value: Any) -> Any:
        values.append(value)
        return value if seen is None else Rounding(seen[len(values) - 1])(value)

    own = by_rows if seen is not None else lambda weight: weight
    h = rounded(torch.from_numpy(x).double())
    h = rounded(torch.nn.functional.conv2d(h, own(first[0]), first[1], padding=1).relu())
    h = rounded(torch.nn.functional.conv2d(h, t["depthwise.weight"], t["depthwise.bias"], groups=32))
    h = rounded(torch.nn.functional.conv2d(h, own(t["two.weight"]), stride=2))
    return torch.nn.functional.linear(h.flatten(1), own(t["fc.weight"]), t["fc.bias"]), values


def test_the_net_is_rounded_as_onnx_defines_it(spec: Any, tmp_path: Path) -> None:
    """All layers but the depthwise one. What lies between two codes may go either way, so a little is left; nothing else is rounded."""
    file, w = weights(tmp_path)
    folder = lamina.compile(spec, tmp_path / "b", weights=file, precision="int8-static", calibration=data(tmp_path))
    with np.load(tmp_path / "data.npz") as arrays:
        _, seen = forward(arrays["x"], w, None)
    x = images(5)
    got = Session(folder)(x=x)["y"]
    want, _ = forward(x, w, seen)
    plain, _ = forward(x, w, None)
    off, rounding = (float(np.sqrt(np.square(a - b).mean() / np.square(b).mean())) for a, b in ((got, want.numpy()), (got, plain.numpy())))
    assert 5e-3 < rounding < 5e-2
    assert off < rounding / 10
    kinds = kinds_of(folder)
    assert kinds["Conv"] == 3
    assert kinds["MatMulIntegerToFloat"] == 1
    assert kinds["DequantizeLinear"] == 3 + 3 + 1  # one.weight, one.bias, two.weight; what one, two give; what two reads


def test_it_is_as_near_as_onnx_runtime_s_quantiser(tmp_path: Path) -> None:
    spec = lamina.load("specs/vision/resnet.yaml", small=True)
    name = spec.inputs[0].name
    shape = (8, 3, 64, 64)
    made = {seed: np.random.default_rng(seed).standard_normal(shape, np.float32) for seed in (1, 2)}
    np.savez(tmp_path / "data.npz", **{name: made[1]})
    folder = lamina.compile(spec, tmp_path / "b", precision="int8-static", calibration=[tmp_path / "data.npz"])

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        calls = iter([{name: made[1]}])

        def get_next(self) -> Any:
            return next(self.calls, None)

    quantize_static(
        folder / "model.onnx",
        tmp_path / "q.onnx",
        Reader(),
        per_channel=True,
        weight_type=QuantType.QInt8,
        activation_type=QuantType.QUInt8,
    )
    theirs = onnxruntime.InferenceSession(tmp_path / "q.onnx", providers=["CPUExecutionProvider"]).run(None, {name: made[2]})[0]
    plain, ours = (next(iter(Session(folder, backend=b).run({name: made[2]}).values())) for b in ("onnx", "onnxruntime"))
    error, peer = (float(np.square(y - plain).mean() / np.square(plain).mean()) ** 0.5 for y in (ours, theirs))
    assert 1e-4 < error < 1.1 * peer


@pytest.mark.parametrize("method", ["percentile", "entropy"])
def test_ranges_leave_out_what_is_far(method: Any, tmp_path: Path) -> None:
    text = 'lamina: 1\nmodel: m\ninputs: {x: "float32[64, 512]"}\nbody: [linear: 32]\noutputs: {y: "float32[64, 32]"}\n'
    (tmp_path / "m.yaml").write_text(text)
    x = np.random.default_rng(1).standard_normal((64, 512), np.float32)
    x[0, 0] = 1e4
    np.savez(tmp_path / "far.npz", x=x)
    found = {}
    for how in ("minmax", method):
        spec = lamina.load(tmp_path / "m.yaml")
        folder = lamina.compile(
            spec, tmp_path / how, ["onnxruntime"], precision="int8-static", calibration=tmp_path / "far.npz", method=how
        )
        found[how] = json.loads((folder / "ranges.json").read_text())["ranges"]
    assert found["minmax"]["x"] == [pytest.approx(x.min()), 1e4]
    assert 1 < found[method]["x"][1] < 5e3
    assert found[method].keys() == {"x"}


def test_ranges_of_a_bundle_make_the_same_bundle(spec: Any, tmp_path: Path) -> None:
    first = lamina.compile(spec, tmp_path / "a", precision="int8-static", calibration=[data(tmp_path)])
    again = lamina.compile(spec, tmp_path / "b", precision="int8-static", calibration=[first / "ranges.json"])
    assert {p.name: p.read_bytes() for p in first.iterdir()} == {p.name: p.read_bytes() for p in again.iterdir()}
    (tmp_path / "other.json").write_text('{"ranges": {"x": [0, 1]}}')
    with pytest.raises(InputError, match="does not hold the ranges of this model's values"):
        lamina.compile(spec, tmp_path / "c", precision="int8-static", calibration=tmp_path / "other.json")


def test_some_layers_alone(tmp_path: Path) -> None:
    """The spec says which; what the model gives is not rounded."""
    (tmp_path / "m.yaml").write_text(NET + 'precision: {"one.*": int8-static, fc.weight: int8-dynamic}\n')
    folder = lamina.compile(lamina.load(tmp_path / "m.yaml"), tmp_path / "b", calibration=data(tmp_path))
    assert kinds_of(folder) >= Counter(QuantizeLinear=2, DynamicQuantizeLinear=1, Conv=3)
    assert kinds_of(folder)["MatMulIntegerToFloat"] == 0
    assert not verify(folder).skipped.keys() ^ {"onnxruntime"}
    report = verify(folder, inputs=[data(tmp_path)])
    assert report.passed
    exact, rounded = report.accuracy
    assert (exact.target, exact.output, exact.samples) == ("onnx", "y", 24)
    assert exact.error < 1e-6 < 1e-3 < rounded.error < 0.1


def test_where_sums_of_bytes_would_saturate(spec: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without VNNI the sums are asked for in full, and are the same; of a bundle in float32 nothing is asked."""
    asked: list[str] = []

    class Options(onnxruntime.SessionOptions):  # type: ignore[misc]
        def add_session_config_entry(self, key: str, value: str) -> None:
            asked.append(key)
            super().add_session_config_entry(key, value)

    folder = lamina.compile(spec, tmp_path / "b", precision="int8-static", calibration=data(tmp_path))
    fast = Session(folder)(x=images(5))["y"]
    monkeypatch.setattr(onnxruntime, "SessionOptions", Options)
    monkeypatch.setenv("LAMINA_INSTRUCTIONS", "avx2")
    assert np.array_equal(Session(folder)(x=images(5))["y"], fast)
    assert asked == ["session.x64quantprecision"]
    Session(folder, backend="onnx")
    assert len(asked) == 1


def test_what_the_model_gives_stays(tmp_path: Path) -> None:
    text = 'lamina: 1\nmodel: m\ninputs: {x: "float32[2, 16, 12, 12]"}\nbody: [{conv: {out: 32, kernel: 3}, name: one}]\n'
    (tmp_path / "m.yaml").write_text(text + 'outputs: {y: "float32[2, 32, 10, 10]"}\n')
    folder = lamina.compile(lamina.load(tmp_path / "m.yaml"), tmp_path / "b", ["onnxruntime"], precision="int8-static")
    assert kinds_of(folder) == Counter(Conv=1)  # so there is nothing to calibrate, either


def test_without_data(spec: Any, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="layers in int8-static take their ranges from data, and none was given"):
        lamina.compile(spec, tmp_path / "b", precision="int8-static")
    assert lamina.compile(spec, tmp_path / "b", weights="none", precision="int8-static").is_dir()
    x = images(1)
    x[0] = np.nan
    np.savez(tmp_path / "nan.npz", x=x)
    with pytest.raises(InputError, match="infinite or NaN"):
        lamina.compile(spec, tmp_path / "b", precision="int8-static", calibration=tmp_path / "nan.npz")
