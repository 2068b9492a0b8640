"""Blocks that are called again are copied: the graph is the one that working each call out anew gives, to the last name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lamina
from lamina.compiler.elaborate import block_calls, elaborate
from lamina.compiler.elaborate.again import Recording
from lamina.compiler.graph import Constant, Graph, Value
from lamina.schema.diagnostics import SpecError

ZOO = Path(__file__).parents[2] / "specs"
HEAD = "lamina: 1\nmodel: again\ninputs: {x: 'float32[N, 4]'}\ndims: {N: {min: 1, opt: 2, max: 8}}\n"


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that calls were copied to."""
    found: list[str] = []
    copied = Recording.copied

    def counted(self: Recording, context: Any, given: Any, path: str) -> Any:
        found.append(path)
        return copied(self, context, given, path)

    monkeypatch.setattr(Recording, "copied", counted)
    return found


def anew(context: Any, block: Any, frame: Any, scope: Any, run: Callable[[], Any]) -> Any:
    return run()


def described(graph: Graph) -> Iterator[object]:
    for node in graph.all_nodes():
        yield node.op_type, [known(v) for v in node.inputs], [(v.name, v.type) for v in node.outputs], node.origin, repr(node.op)
    for weight in graph.parameters():
        yield weight.name, weight.type, weight.init, weight.trainable, weight.origin
    yield [v.name for v in graph.outputs]


def known(value: Value | None) -> object:
    return (value.type, value.array.tobytes()) if isinstance(value, Constant) else value and value.name


def same(spec: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = list(described(elaborate(spec).trained))
    with monkeypatch.context() as patch:
        patch.setattr(block_calls, "once", anew)
        assert found == list(described(elaborate(spec).trained))


@pytest.mark.parametrize(
    "name", ["language/deepseek_moe", "language/mamba2", "language/t5", "language/rmoe", "restoration/maxim", "vision/kat"]
)
def test_a_zoo_s_model_is_the_same(name: str, monkeypatch: pytest.MonkeyPatch, copies: list[str]) -> None:
    path = ZOO / f"{name}.yaml"
    spec = lamina.load(path, variant=next(iter(lamina.load(path).variants), None), small=name == "restoration/maxim")
    same(spec, monkeypatch)
    assert len(copies) > 3


# blocks; the body; how often a call is copied; what it makes of four columns
CASES = {
    "siblings": ("layer: {body: [linear: 4, relu]}", "repeat: 12, do: [layer]", 10, 4),
    "an index": ("layer: {args: {i: int}, body: [linear: 4, 'x * i']}", "for: 'i in [1, 2, 2, 2, 1]', do: ['layer(x, i)']", 1, 4),
    "a wider input": ("layer: {body: [linear: 4, 'concat([x, x], -1)']}", "repeat: 4, do: [layer]", 1, 8),
    "a number": ("add: {inputs: [a, b], body: ['x = a + b']}", "for: 'i in [1, 2, 3, 3]', do: ['x = add(x, i)']", 0, 4),
    "a zero's sign": ("by: {args: {k: float}, body: ['x * k']}", "for: 'k in [0.0, -0.0, 0.0, -0.0]', do: ['by(x, k)']", 0, 4),
    "positions": ("at: {inputs: [x, i], body: ['gather(x, i, 1)']}", "for: 'i in [1, 0, 0, 0]', do: ['at(x, arange(3) + i)']", 1, 3),
    "a list": ("sum: {inputs: [xs], body: ['x = xs[0] + xs[1]']}", "repeat: 4, do: ['x = sum([x, x * 2])']", 2, 4),
    "two results": ("two: {body: [y = relu(x)], result: '[x, y]'}", "repeat: 4, do: ['a, b = two(x)', 'x = a - b']", 2, 4),
    "nested": ("inner: {body: [linear: 4]}, outer: {body: [inner, relu, inner]}", "repeat: 3, do: [outer]", 3, 4),
    "one value twice": (
        "sum: {inputs: [a, b], body: ['x = a + b * 2']}",
        "repeat: 2, do: [y = relu(x), 'x = sum(x, y)', 'x = sum(x, x)', 'x = sum(x, x)', 'x = sum(x, x)', 'x = sum(y, x)']", 6, 4,
    ),
}  # fmt: skip


def written(tmp_path: Path, blocks: str, body: str, columns: int = 4) -> Any:
    path = tmp_path / "again.yaml"
    path.write_text(f"{HEAD}blocks: {{{blocks}}}\nbody: [{{{body}}}]\noutputs: {{y: 'float32[N, {columns}]'}}\n")
    return lamina.load(path)


@pytest.mark.parametrize(("blocks", "body", "count", "columns"), CASES.values(), ids=CASES)
def test_calls_that_differ_are_told_apart(
    blocks: str, body: str, count: int, columns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copies: list[str]
) -> None:
    spec = written(tmp_path, blocks, body, columns)
    copies.clear()  # loading works it out, too
    same(spec, monkeypatch)
    assert len(copies) == count


def test_a_path_that_is_taken_is_refused(tmp_path: Path) -> None:
    named = "{layer: {}, name: a}"
    spec = written(tmp_path, "layer: {body: [linear: 4]}", f"repeat: 1, do: [layer, layer, layer, {named}, {named}]")
    with pytest.raises(SpecError, match=r"two weights have the path `repeat\.0\.a\.linear\.weight`"):
        elaborate(spec)


def test_copies_are_bounded_work(tmp_path: Path) -> None:
    spec = written(tmp_path, f"layer: {{body: [{', '.join(['relu'] * 20)}]}}", "repeat: 50000, do: [layer]")
    with pytest.raises(SpecError, match="more than 2,000,000 evaluations at compile time"):
        elaborate(spec)
