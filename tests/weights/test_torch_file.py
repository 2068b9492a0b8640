"""PyTorch's files: state dicts are read, code is not run."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lamina.compiler.missing import MissingDependency
from lamina.compiler.weights.files import read_tensors
from lamina.schema.diagnostics import Fault


class Hostile:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> object:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"epoch": 3, "state_dict": s}, lambda s: {"model": s, "args": {"lr": 0.1}}])
def test_state_dicts(zipped: bool, wrap: object, tmp_path: Path) -> None:
    layer = torch.nn.BatchNorm1d(5)
    torch.nn.init.normal_(layer.weight)
    state = {**layer.state_dict(), "half": torch.randn(3, 2).bfloat16(), "strided": torch.randn(4, 3).t()}
    torch.save(wrap(state), tmp_path / "m.pt", _use_new_zipfile_serialization=zipped)
    read = read_tensors(tmp_path / "m.pt")
    assert read.keys() == state.keys()
    for key, tensor in state.items():
        assert read[key].dtype == str(tensor.dtype).removeprefix("torch.")
        np.testing.assert_array_equal(read[key].numpy().astype(np.float64), tensor.double().numpy(), strict=True)
        np.testing.assert_array_equal(np.concatenate(list(read[key].chunks(8))), read[key].numpy().reshape(-1))


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_objects_are_refused_and_not_run(zipped: bool, tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1), "x": Hostile(tmp_path / "marker")}, tmp_path / "m.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(Fault, match="holds pickled Python objects, which could run any code") as caught:
        read_tensors(tmp_path / "m.pth")
    assert "torch.save(model.state_dict(), path)" in caught.value.hint
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("data", [b"", b"not a checkpoint", b"PK\x03\x04 not a zip", b"\x80\x02}q\x00."])
def test_damaged_files_are_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.bin").write_bytes(data)
    with pytest.raises(Fault, match="is damaged, or not a PyTorch file"):
        read_tensors(tmp_path / "m.bin")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.randn(1000)}, tmp_path / "m.pt")
    data = (tmp_path / "m.pt").read_bytes()
    (tmp_path / "m.pt").write_bytes(data[: len(data) // 2])
    with pytest.raises(Fault, match="is damaged"):
        read_tensors(tmp_path / "m.pt")


@pytest.mark.parametrize(
    ("value", "kind"), [(torch.eye(3).to_sparse(), "a torch.sparse_coo tensor"), (torch.ones(2, dtype=torch.complex64), "complex64")]
)
def test_other_tensors_are_refused(value: torch.Tensor, kind: str, tmp_path: Path) -> None:
    torch.save({"w": value}, tmp_path / "m.pt")
    with pytest.raises(Fault, match=f"holds `w` as {kind}, which is not supported"):
        read_tensors(tmp_path / "m.pt")


def test_without_torch_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({}, tmp_path / "m.pt")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependency, match=r"pip install 'lamina\[torch\]'"):
        read_tensors(tmp_path / "m.pt")


def test_torch_is_not_imported_for_safetensors() -> None:
    code = "import sys, lamina.compiler.weights.checkpoint; sys.exit('torch' in sys.modules or 'onnx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
