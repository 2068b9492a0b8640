"""Tokens to the experts that they choose, and what these make of them back: the forms of the op `moe`.

x: [T, D]; weight: [T, k]; choice: [T, k], integers. A choice that is not an expert's number is nobody's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lamina.compiler.batched import BATCHED, batched
from lamina.compiler.blocked import Blocked, Joined
from lamina.compiler.body import EACH, Body
from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.grouped import Groups, Multiply, grouped
from lamina.compiler.numeric import ONNX_DTYPE
from lamina.schema.dims import Size, TensorType, product

_TAKE_NOTHING = BATCHED | {"BlockMatMul"}  # operators that make nothing of nothing


@dataclass(frozen=True, slots=True)
class Experts:
    """A block and the weights of so many copies of it, `{number}.{name}`, and of what it reads of its surroundings."""

    body: Body
    count: int
    weights: Mapping[str, Value]

    def __call__(self, g: Builder, number: int, rows: Value) -> Value:
        """What one of them makes of its rows."""
        own = {name: self.weights[f"{number}.{name}"] for name in self.body.weights}
        return g.apply(self.body, (rows,), {**own, **self.around}, str(number))[0]

    def of_pieces(self, g: Builder, pieces: Sequence[Value]) -> list[Value]:
        """What each makes of its rows, of which there may be none: where an operator may not take that, there is a row of zeros more."""
        inner, (given,) = g.apart(), self.body.given
        self(inner, 0, Value("rows", given.type))
        if all(node.op_type in _TAKE_NOTHING and not node.bodies for node in inner.nodes):
            return [self(g, number, piece) for number, piece in enumerate(pieces)]
        row = g("Expand", g.constant(0, given.dtype), g.shape([1, given.shape[1]]))
        made = [self(g, number, g("Concat", piece, row, axis=0)) for number, piece in enumerate(pieces)]
        return [g("Slice", rows, g.ints(0), g.ints(-1), g.ints(0)) for rows in made]

    @property
    def around(self) -> dict[str, Value]:
        return {name: self.weights[name] for name in self.body.around}

    @property
    def width(self) -> int:
        """The size of what an expert makes of a row."""
        width = self.body.graph.outputs[0].shape[-1]
        assert isinstance(width, int)
        return width


@dataclass(frozen=True, slots=True)
class Routed:
    """What is routed: flat tokens, and of each so many choices; and to whom."""

    x: Value
    weight: Value
    choice: Value
    tokens: Size
    chosen: Size
    dtype: str
    experts: Experts

    @property
    def count(self) -> int:
        return self.experts.count

    @property
    def width(self) -> int:
        return self.experts.width


def everywhere(g: Builder, routed: Routed) -> Value:
    """[T, width]: every expert sees every token, and counts where it was chosen."""
    zero, total = g.constant(0, routed.dtype), None
    for number in range(routed.count):
        hit = g("Equal", routed.choice, g.constant(number, "int64"))
        weight = g("ReduceSum", g("Where", hit, routed.weight, zero), g.ints(-1), keepdims=1)
        chosen = g("Greater", g("ReduceSum", g("Cast", hit, to=ONNX_DTYPE["int64"]), g.ints(-1), keepdims=1), g.constant(0, "int64"))
        part = g("Where", chosen, g("Mul", weight, routed.experts(g, number, routed.x)), zero)
        total = part if total is None else g("Add", total, part)
    assert total is not None
    return total


def by_pieces(g: Builder, routed: Routed) -> Value:
    """[T, width]: tokens sorted by their expert, so that each expert sees one piece, of those that chose it alone."""
    real, found = _sorted(g, routed)
    pieces = g("Split", found.rows, found.loads, outputs=routed.count + 1, axis=0)
    made = routed.experts.of_pieces(g, pieces[:-1])
    left = g("Concat", g("Shape", pieces[-1], end=1), g.ints(routed.width), axis=0)
    sorted_ = g("Concat", *made, g("Expand", g.constant(0, routed.dtype), left), axis=0)
    return _combined(g, routed, real, g("Gather", sorted_, found.back))


def by_groups(g: Builder, routed: Routed, multiply: Multiply) -> Value | None:
    """[T, width]: sorted, but not split, as rows of all experts are multiplied at once. None where the block has no such form."""
    body, experts = routed.experts.body, routed.experts
    if any(isinstance(w, Blocked | Joined) for w in experts.weights.values()):
        return None
    real, found = _sorted(g, routed)
    (given,) = body.given
    places = {name: Value(f"{g.prefix}/{name}", weight.type) for name, weight in body.weights.items()}
    place = Value(f"{g.prefix}/rows", given.type)
    graph = g.operators(body, (place,), {**places, **experts.around}, EACH)
    own = {id(v): tuple(experts.weights[f"{n}.{name}"] for n in range(routed.count)) for name, v in places.items()}
    loads = g("Slice", found.loads, g.ints(0), g.ints(routed.count), g.ints(0))
    numbers = g("Min", g("Gather", found.numbers, found.order), g.constant(routed.count - 1, "int64"))
    made = grouped(g, graph, Groups(found.rows, loads, numbers, routed.count, multiply), place, own)
    if made is None:
        return None
    rows = g("Gather", made, found.back)
    if not any(node.op_type in ("GroupedMatMul", "grouped_matmul") and made in node.outputs for node in g.nodes):  # zeros of nobody's rows
        rows = g("Where", g("Reshape", real, g.ints(-1, 1)), rows, g.constant(0, routed.dtype))
    return _combined(g, routed, real, rows)


@dataclass(frozen=True, slots=True)
class _Sorted:
    """A row for each choice, in the order of experts and then of tokens; whose each choice is; where rows come from and go back to."""

    rows: Value
    numbers: Value
    loads: Value
    order: Value
    back: Value


def _sorted(g: Builder, routed: Routed) -> tuple[Value, _Sorted]:
    """Which choices are of an expert; and rows sorted by numbers, where nobody's come last.

    A sort by number * rows + place is stable, and its indices are what takes rows there and back.
    """
    real, numbers = _numbers(g, routed)
    rows = g("Shape", numbers)
    one = g("Squeeze", rows)
    places = g("Range", g.constant(0, "int64"), one, g.constant(1, "int64"))
    _, order = g("TopK", g("Add", g("Mul", numbers, one), places), rows, outputs=2, largest=0)
    zeros = g("Expand", g.constant(0, "int64"), g.ints(routed.count + 1))
    ones = g("Expand", g.constant(1, "int64"), rows)
    loads = g("ScatterElements", zeros, numbers, ones, axis=0, reduction="add")
    tokens = g("Div", order, g.size(routed.chosen))
    back = g("ScatterElements", g("Expand", g.constant(0, "int64"), rows), order, places, axis=0)
    return real, _Sorted(g("Gather", routed.x, tokens), numbers, loads, order, back)


def by_tiles(g: Builder, routed: Routed) -> Value:
    """[T, width]: no size depends on a choice. Tokens lie in tiles of as many rows each, of one expert, whose weights are gathered for it.

    Of r choices and n experts there are at most (r + n * (rows - 1)) // rows tiles, and at most r. With r // 2n rows these are 3n tiles,
    and 4n where that is rounded down, which bounds both the weights that are gathered and the rows that are zeros: half of r at most.
    TensorRT, which takes r and rows for independent, is told so, or it would want room for the weights of r tiles. It has a layer of its
    own, MoE, but TensorRT-RTX 1.7.1 builds it for none of the GPUs that it knows (7.5 to 12.1).
    """
    real, numbers = _numbers(g, routed)
    (size,) = routed.experts.body.given[0].shape[1:]
    choices = g.size(product([routed.tokens, routed.chosen]))
    rows = g("Max", g("Div", choices, g.ints(2 * routed.count)), g.ints(1))
    less = g("Sub", rows, g.ints(1))
    most = g("Min", choices, g("Div", g("Add", choices, g("Mul", less, g.ints(routed.count))), rows), g.ints(4 * routed.count))
    slots = g("Mul", most, rows)
    experts = g.constant(list(range(routed.count)), "int64")
    hits = g("Cast", g("Equal", g("Unsqueeze", numbers, g.ints(1)), experts), to=ONNX_DTYPE["int64"])
    place = g("Sub", g("ReduceSum", g("Mul", _cumulated(g, hits), hits), g.ints(1), keepdims=0), g.ints(1))
    loads = g("ReduceSum", hits, g.ints(0), keepdims=0)
    tiles = g("Div", g("Add", loads, less), rows)
    ends = _cumulated(g, tiles)
    starts = g("Mul", g("Concat", g("Sub", ends, tiles), g.ints(0), axis=0), rows)
    inside = g("Add", g("Gather", starts, numbers), place)
    slot = g("Where", g("Reshape", real, g.ints(-1)), inside, slots)  # nobody's choices share one that is left out
    source = g("ScatterElements", g("Expand", choices, g("Add", slots, g.ints(1))), slot, _upto(g, choices), axis=0)
    source = g("Div", g("Slice", source, g.ints(0), slots, g.ints(0)), g.size(routed.chosen))
    tokens = g("Concat", routed.x, g("Expand", g.constant(0, routed.dtype), g.shape([1, size])), axis=0)
    tiled = g("Reshape", g("Gather", tokens, source), g("Concat", g.ints(-1), rows, g.size(size), axis=0))
    passed = g("LessOrEqual", ends, g("Unsqueeze", _upto(g, most), g.ints(1)))
    whose = g("ReduceSum", g("Cast", passed, to=ONNX_DTYPE["int64"]), g.ints(1), keepdims=0)
    made = _of_tiles(g, routed, tiled, g("Min", whose, g.constant(routed.count - 1, "int64")))
    flat = g("Reshape", made, g.ints(-1, routed.width))
    return _combined(g, routed, real, g("Gather", flat, g("Min", slot, g("Sub", slots, g.ints(1)))))


def _of_tiles(g: Builder, routed: Routed, tiles: Value, whose: Value) -> Value:
    """[tiles, rows, width]: all at once, or where the block has no such form one after the other."""
    body, experts = routed.experts.body, routed.experts
    stacks = {name: _stack(g, [experts.weights[f"{n}.{name}"] for n in range(routed.count)]) for name in body.weights}
    own = {name: g("Gather", stack, whose) for name, stack in stacks.items()}
    (given,) = body.given
    places = {name: Value(f"{g.prefix}/{name}", weight.type) for name, weight in body.weights.items()}
    tile = Value(f"{g.prefix}/tile", given.type)
    graph = g.operators(body, (tile,), {**places, **experts.around}, EACH)
    made = batched(g, graph, {id(tile): tiles, **{id(place): own[name] for name, place in places.items()}})
    if made is not None:
        return made[0]

    def step(inner: Builder, piece: Value, *weights: Value) -> tuple[Value, ...]:
        named = dict(zip(body.weights, weights, strict=True))
        return inner.apply(body, (piece,), {**named, **experts.around}, EACH)

    assert given.type is not None
    over = [(tiles, given.type), *((own[name], weight.type) for name, weight in body.weights.items())]
    return g.scan(step, [], over, [TensorType(routed.dtype, (given.shape[0], routed.width))])[0]


def _stack(g: Builder, weights: list[Value]) -> Value:
    return g("Concat", *(g("Unsqueeze", weight, g.ints(0)) for weight in weights), axis=0)


def _upto(g: Builder, size: Value) -> Value:
    """0 to size - 1, where size is [1]."""
    return g("Range", g.constant(0, "int64"), g("Squeeze", size, g.ints(0)), g.constant(1, "int64"))


def _cumulated(g: Builder, x: Value) -> Value:
    return g("CumSum", x, g.constant(0, "int64"))


def _numbers(g: Builder, routed: Routed) -> tuple[Value, Value]:
    """Which choices are of an expert, and the choices [T * k], with a number that stands for nobody in the place of the others."""
    nobody = g.constant(routed.count, "int64")
    real = g("And", g("GreaterOrEqual", routed.choice, g.constant(0, "int64")), g("Less", routed.choice, nobody))
    return real, g("Reshape", g("Where", real, routed.choice, nobody), g.ints(-1))


def _combined(g: Builder, routed: Routed, real: Value, rows: Value) -> Value:
    """[T, width]: the weighted sum of what the experts made, [T * k, width], of each token."""
    each = g("Reshape", rows, g("Concat", g.ints(-1), g.size(routed.chosen), g.ints(routed.width), axis=0))
    weight = g("Unsqueeze", g("Where", real, routed.weight, g.constant(0, routed.dtype)), g.ints(1))
    return g("Squeeze", g("MatMul", weight, each), g.ints(1))
