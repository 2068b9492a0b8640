"""`lamina bench` of several bundles and backends, by turns; and what has changed between two such runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import handmade
import numpy as np
import pytest
from onnx import helper
from typer.testing import CliRunner

from lamina.cli import app
from lamina.runtime.compare import changes
from lamina.runtime.errors import BundleError, InputError
from lamina.runtime.race import Contender, race, speeds

OTHER = {"targets": {"onnx": {"file": "model.onnx", "opset": 21}, "onnxruntime": {"file": "model.onnx", "opset": 21}}}
Write = Callable[..., Path]


def times(products: int) -> bytes:
    """y = x + x, and so many products of a large matrix that nothing can leave out."""
    matrix = np.full((200, 200), 1e-3, np.float32)
    nodes = [helper.make_node("MatMul", [f"m{i}", "m"], [f"m{i + 1}"]) for i in range(products)]
    start = [helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0), helper.make_node("Add", ["m", "s"], ["m0"])]
    end = [
        helper.make_node("ReduceMax", [f"m{products}"], ["r"], keepdims=0),
        helper.make_node("Mul", ["r", "zero"], ["z"]),
        helper.make_node("Add", ["x", "x"], ["d"]),
        helper.make_node("Add", ["d", "z"], ["y"]),
    ]
    constants = {"m": matrix, "zero": np.float32(0)}
    shape: Mapping[str, Any] = {"x": ("float32", ["N", 3])}, {"y": ("float32", ["N", 3])}
    return handmade.model([*start, *nodes, *end], *shape, constants)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two bundles, the second with twenty times the products of the first."""
    folders = []
    for name, products in (("short", 2), ("long", 40)):
        (tmp_path / name).mkdir()
        folders.append(handmade.write(tmp_path / name, {"model.onnx": times(products)}))
    return folders[0], folders[1]


def test_the_ratio_is_the_work(pair: tuple[Path, Path]) -> None:
    found = race([Contender(bundle, "auto") for bundle in pair], {"N": 1}, rounds=5, threads=1)
    short, long = found.contenders
    assert (short.name, long.name) == tuple(map(str, pair))
    assert (short.ratio, short.ratio_p10, short.ratio_p90) == (1, 1, 1)
    assert 1 / 40 < long.ratio < 1 / 4  # a twentieth, but for what a call costs by itself and for who else uses the machine
    assert long.ratio_p10 <= long.ratio <= long.ratio_p90
    for one, bundle in zip(found.contenders, pair, strict=True):
        assert one.p10_ms <= one.median_ms <= one.p90_ms
        assert one.throughput == pytest.approx(1e3 / one.median_ms)
        assert one.size_mb == pytest.approx((bundle / "model.onnx").stat().st_size / 1e6)
        assert (one.target, one.dims) == ("onnx", {"N": 1})
        assert one.load_ms > 0
        assert one.peak_mb > 10
    assert {"processor", "cores", "onnxruntime"} <= found.machine.keys()


def test_backends_of_one_bundle(tmp_path: Path) -> None:
    bundle = handmade.write(tmp_path, **OTHER)
    found = race([Contender(bundle, "onnxruntime"), Contender(bundle, "onnx")], rounds=1)
    assert [(one.name, one.target) for one in found.contenders] == [("onnxruntime",) * 2, ("onnx",) * 2]


def test_what_goes_wrong_in_a_process_is_said_here(tmp_path: Path) -> None:
    bundle = handmade.write(tmp_path)
    with pytest.raises(InputError, match=r"N = 9, and N must be 1 to 8"):
        race([Contender(bundle, "auto")], {"N": 9})
    with pytest.raises(BundleError, match="nothing for the backend torch"):
        race([Contender(bundle, "torch")])
    with pytest.raises(InputError, match="stands twice"):
        race([Contender(bundle, "auto"), Contender(bundle, "auto")])
    with pytest.raises(InputError, match="0 rounds: give at least 1"):
        race([Contender(bundle, "auto")], rounds=0)


def test_changes() -> None:
    """By more than five percent, of what both have."""
    before = {"a": 1.0, "b": 1.0, "c": 1.0, "d": 2.0, "gone": 1.0}
    found = changes(before, {"a": 1.04, "b": 0.94, "c": 0.96, "d": 2.2, "new": 1.0}, margin=5)
    assert [(change.key, round(change.percent)) for change in found] == [("b", -6), ("d", 10)]


def figures(path: Path, ratios: Mapping[str, float]) -> Path:
    path.write_text(json.dumps({"machine": {}, "contenders": [{"name": n, "ratio": r, "throughput": 100 * r} for n, r in ratios.items()]}))
    return path


@pytest.mark.parametrize(
    ("after", "code", "said"),
    [
        ({"a": 1, "b": 1.22}, 0, "nothing changed by more than 5%"),
        ({"a": 9, "b": 1.5}, 0, "b: 1.20 to 1.50, +25%"),
        ({"a": 1, "b": 1.0}, 1, "b: 1.20 to 1.00, -17%"),
        ({"a": 1, "c": 1.2}, 1, "b: not in"),
    ],
)
def test_the_command_compares(tmp_path: Path, after: Mapping[str, float], code: int, said: str) -> None:
    old, new = figures(tmp_path / "old.json", {"a": 1, "b": 1.2}), figures(tmp_path / "new.json", after)
    run = CliRunner().invoke(app(), ["bench", "--compare", str(old), str(new)])
    assert run.exit_code == code
    assert said in run.output


def test_one_alone_is_compared_by_its_calls(tmp_path: Path) -> None:
    assert speeds(figures(tmp_path / "one.json", {"a": 1.0})) == {"a": 100.0}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"contenders": []}', '{"contenders": [{"name": "a", "throughput": 0}]}', "[" * 100_000])
def test_a_file_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "file.json").write_text(text)
    with pytest.raises(InputError, match=r"is no file that `lamina bench --out` writes"):
        speeds(tmp_path / "file.json")


def test_the_command_writes_what_it_compares(tmp_path: Path) -> None:
    bundle = handmade.write(tmp_path, **OTHER)
    out = tmp_path / "new.json"
    options = ["--backend", "onnxruntime", "--backend", "onnx", "--repeats", "2", "--at", "N=2", "--out", str(out)]
    run = CliRunner().invoke(app(), ["bench", str(bundle), *options])
    assert run.exit_code == 0, run.output
    head, first, second = run.output.splitlines()
    assert head.split("  ")[-1] == "files, MB"
    assert [line.split()[0] for line in (first, second)] == ["onnxruntime", "onnx"]
    assert speeds(out).keys() == {"onnx"}
    assert json.loads(out.read_text())["contenders"][0]["dims"] == {"N": 2}
