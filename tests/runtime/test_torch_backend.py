"""The PyTorch backend: it runs what `torch.export` wrote, and refuses archives that could run other code."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import handmade
import ml_dtypes
import numpy as np
import pytest
import torch

from lamina.runtime import BundleError, InputError, Session
from lamina.runtime.dtypes import Array

Records = dict[str, bytes]
X = np.random.default_rng(0).standard_normal((3, 4), dtype=np.float32)
IDS = np.array([[0, 1], [2, 0], [1, 1]])
TENSORS = {
    "inputs": [{"name": "x", "dtype": "float32", "shape": ["N", 4]}, {"name": "ids", "dtype": "int64", "shape": ["N", "T"], "below": 3}],
    "outputs": [{"name": "a", "dtype": "float32", "shape": ["N", 4]}, {"name": "b", "dtype": "float32", "shape": ["2 * N * T", 4]}],
    "dims": {"N": {"min": 1, "opt": 3, "max": 64}, "T": {"min": 1, "opt": 2, "max": 64, "multiple_of": 1}},
    "targets": {"torch": {"file": "model.pt2", "version": "2.13.0"}},
}


class Small(torch.nn.Module):  # type: ignore[misc]
    """Weights, a buffer, sizes that depend on the inputs', and string arguments."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.table = torch.nn.Linear(4, 4), torch.nn.Embedding(3, 4)
        self.register_buffer("scale", torch.tensor([2.0]))

    def forward(self, x: Any, ids: Any) -> Any:
        a = torch.nn.functional.gelu(self.linear(x), approximate="tanh") * self.scale
        b = torch.einsum("ntc,cd->ntd", self.table(ids), self.linear.weight)
        return a, torch.cat([b, b]).reshape(2 * ids.shape[0] * ids.shape[1], 4)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("torch") / "model.pt2"
    n, t = torch.export.Dim("N", min=1, max=64), torch.export.Dim("T", min=1, max=64)
    example = (torch.from_numpy(X), torch.from_numpy(IDS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(Small().eval(), example, dynamic_shapes={"x": {0: n}, "ids": {0: n, 1: t}}), path)
    return path.read_bytes()


def opened(folder: Path, data: bytes) -> Session:
    return Session(handmade.write(folder, {"model.pt2": data}, **TENSORS), threads=1)


def records(data: bytes) -> Records:
    reader = torch._C.PyTorchFileReader(io.BytesIO(data))
    return {name: reader.get_record(name) for name in reader.get_all_records() if not name.startswith(".data/") and name != "byteorder"}


def packed(contents: Records) -> bytes:
    buffer = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(buffer)
    for name, content in contents.items():
        writer.write_record(name, content, len(content))
    writer.write_end_of_file()
    return buffer.getvalue()


def test_it_computes_what_the_module_computes(tmp_path: Path, archive: bytes) -> None:
    with opened(tmp_path, archive) as session:
        assert session.target == "torch"
        for rows in (3, 1):
            outputs = session(x=X[:rows], ids=IDS[:rows])
            with torch.no_grad():
                expected = Small().eval()(torch.from_numpy(X[:rows]), torch.from_numpy(IDS[:rows]))
            assert list(outputs) == ["a", "b"]
            for got, want in zip(outputs.values(), expected, strict=True):
                np.testing.assert_allclose(got, want.numpy(), atol=1e-6)
        with pytest.raises(InputError, match="`ids` holds values from 0 to 3"):
            session(x=X, ids=np.full((3, 2), 3) - [[3, 0]])


def test_sizes_that_are_multiples(tmp_path: Path) -> None:
    class Halve(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return torch.nn.functional.avg_pool1d(x, 4)

    size = 4 * torch.export.Dim("unit", min=1, max=16)
    torch.export.save(torch.export.export(Halve(), (torch.ones(1, 2, 8),), dynamic_shapes={"x": {2: size}}), tmp_path / "made.pt2")
    changes = TENSORS | {
        "inputs": [{"name": "x", "dtype": "float32", "shape": [1, 2, "H"]}],
        "outputs": [{"name": "y", "dtype": "float32", "shape": [1, 2, "H // 4"]}],
        "dims": {"H": {"min": 4, "opt": 8, "max": 64, "multiple_of": 4}},
    }
    session = Session(handmade.write(tmp_path / "bundle", {"model.pt2": (tmp_path / "made.pt2").read_bytes()}, **changes))
    x = np.arange(24, dtype=np.float32).reshape(1, 2, 12)
    np.testing.assert_array_equal(session(x=x)["y"], x.reshape(1, 2, 3, 4).mean(-1))


def test_read_only_inputs(tmp_path: Path, archive: bytes) -> None:
    frozen = X.copy()
    frozen.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert opened(tmp_path, archive)(x=frozen, ids=IDS)["a"].shape == (3, 4)


def test_bfloat16(tmp_path: Path) -> None:
    class Double(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return x + x

    torch.export.save(torch.export.export(Double(), (torch.ones(2, 3, dtype=torch.bfloat16),)), tmp_path / "made.pt2")
    tensor = {"dtype": "bfloat16", "shape": [2, 3]}
    changes = TENSORS | {"inputs": [{"name": "x"} | tensor], "outputs": [{"name": "y"} | tensor]}
    session = Session(handmade.write(tmp_path / "bundle", {"model.pt2": (tmp_path / "made.pt2").read_bytes()}, **changes))
    x: Array = np.arange(6).reshape(2, 3).astype(ml_dtypes.bfloat16)
    y = session(x=x)["y"]
    assert y.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(y.astype(np.float32), 2 * x.astype(np.float32))


def test_repacking_alone_is_harmless(tmp_path: Path, archive: bytes) -> None:
    assert opened(tmp_path, packed(records(archive)))(x=X, ids=IDS)["a"].shape == (3, 4)


def test_the_wrong_number_of_outputs(tmp_path: Path, archive: bytes) -> None:
    session = Session(handmade.write(tmp_path, {"model.pt2": archive}, **TENSORS | {"outputs": TENSORS["outputs"][:1]}))
    with pytest.raises(BundleError, match=r"gives 2 outputs where the manifest declares \['a'\]"):
        session(x=X, ids=IDS)


WEIGHTS, MODEL, INPUTS = "data/weights/model_weights_config.json", "models/model.json", "data/sample_inputs/model.pt"


class Bomb:
    """Unpickling it leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


def in_json(name: str, change: Callable[[Any], Any]) -> Callable[[Records, Path], None]:
    def edit(contents: Records, mark: Path) -> None:
        value = json.loads(contents[name])
        change(value)
        contents[name] = json.dumps(value).replace("MARK", str(mark)).encode()

    return edit


def pickled(name: str) -> Callable[[Records, Path], None]:
    def edit(contents: Records, mark: Path) -> None:
        buffer = io.BytesIO()
        torch.save(Bomb(mark), buffer)
        contents[name] = buffer.getvalue()

    return edit


def nodes(value: Any) -> Any:
    return value["graph_module"]["graph"]["nodes"]


def a_size(value: Any) -> Any:
    graph = value["graph_module"]["graph"]
    return next(iter(graph["sym_int_values"].values()))["as_expr"]


CODE = "__import__('pathlib').Path('MARK').touch()"
ATTACKS: dict[str, Callable[[Records, Path], None]] = {
    "pickled sample inputs": pickled(INPUTS),
    "legacy pickled weights": pickled("data/weights/model.pt"),
    "a compiled library": lambda contents, mark: contents.update({"data/aotinductor/model/x.so": b""}),
    "a pickled weight": in_json(WEIGHTS, lambda v: next(iter(v["config"].values())).update(use_pickle=True)),
    "a weight at another path": in_json(WEIGHTS, lambda v: next(iter(v["config"].values())).update(path_name="../sample_inputs/model.pt")),
    "a pickled constant": in_json(
        "data/constants/model_constants_config.json",
        lambda v: v["config"].update(c={"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}),
    ),
    "another function of torch": in_json(MODEL, lambda v: nodes(v)[0].update(target="torch.hub.load")),
    "a module by way of torch": in_json(MODEL, lambda v: nodes(v)[0].update(target="torch.os.system")),
    "a file as a tensor": in_json(MODEL, lambda v: nodes(v)[0].update(target="torch.ops.aten.from_file.default")),
    "an operator of Python": in_json(MODEL, lambda v: nodes(v)[0].update(target="_operator.call")),
    "code in a size": in_json(MODEL, lambda v: a_size(v).update(expr_str=CODE)),
    "an endless size": in_json(MODEL, lambda v: a_size(v).update(expr_str="Pow(Integer(9), Pow(Integer(9), Integer(99)))")),
    "code in a size of a tensor called metadata": in_json(
        MODEL,
        lambda v: v["graph_module"]["graph"]["tensor_values"].update(metadata={"sizes": [{"as_expr": {"expr_str": CODE, "hint": None}}]}),
    ),
    "code in an argument's name": in_json(MODEL, lambda v: nodes(v)[0]["outputs"][0].update(as_tensor={"name": f"x\n    {CODE}\n    y"})),
    "code in a node's name": in_json(MODEL, lambda v: nodes(v)[0].update(name=f"x={CODE}")),
    "code in a forward argument": in_json(
        MODEL, lambda v: v["graph_module"]["module_call_graph"][0]["signature"].update(forward_arg_names=[f"x={CODE}"])
    ),
    "a range to count up to": in_json(MODEL, lambda v: v["range_constraints"].update(u99999999999={"min_val": 0, "max_val": 1})),
    "a range that int() still reads": in_json(
        MODEL, lambda v: v["range_constraints"].update({"u 99999999999": {"min_val": 0, "max_val": 1}})
    ),
    "code in a range": in_json(MODEL, lambda v: v["range_constraints"].update({CODE: {"min_val": 0, "max_val": 1}})),
    "a class in a tree": in_json(
        MODEL,
        lambda v: v["graph_module"]["module_call_graph"][0]["signature"].update(in_spec='[1, {"type": "os.system", "context": "null"}]'),
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_are_refused_before_torch_loads_the_archive(
    tmp_path: Path, archive: bytes, attack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents, mark = records(archive), tmp_path / "executed"
    ATTACKS[attack](contents, mark)
    monkeypatch.setattr("torch.export.pt2_archive._package.load_pt2", lambda path: pytest.fail("torch was asked to load it"))
    with pytest.raises(BundleError, match="is refused"):
        opened(tmp_path / "bundle", packed(contents))
    assert not mark.exists()


def test_guards_are_not_executed(tmp_path: Path, archive: bytes) -> None:
    contents, mark = records(archive), tmp_path / "executed"
    in_json(MODEL, lambda v: v.update(guards_code=[CODE + " or True"]))(contents, mark)
    opened(tmp_path / "bundle", packed(contents))(x=X, ids=IDS)
    assert not mark.exists()


@pytest.mark.parametrize("data", [b"", b"PK", b"not an archive" * 100])
def test_damaged_archives(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(BundleError, match="cannot load"):
        opened(tmp_path, data)


def test_a_missing_part(tmp_path: Path, archive: bytes) -> None:
    for name in (MODEL, WEIGHTS, INPUTS):
        contents = records(archive)
        del contents[name]
        with pytest.raises(BundleError, match=r"is refused|cannot load"):
            opened(tmp_path / name.replace("/", "_"), packed(contents))
