"""Builder: what an op's definition writes standard operators with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, Literal, overload

import numpy as np

from lamina.compiler.body import EACH, Body
from lamina.compiler.graph import NATIVE, STANDARD, Attribute, Constant, Copy, Graph, Node, Origin, Value, copied
from lamina.compiler.numeric import ONNX_DTYPE, numpy_dtype
from lamina.schema.diagnostics import Fault
from lamina.schema.dims import Atom, Dim, Quotient, Size, Symbol, TensorType, bounds

Typed = Sequence[tuple[Value, TensorType]]
Step = Callable[..., Sequence[Value]]  # of a loop: a builder and the values of the pass to its results
Dims = dict[str, tuple[Value, int]]


class Builder:
    """Collects the nodes of a definition. `dims` tells where each named dim can be read: a value and its axis.

    `lowered` gives the operators of a graph of ops, in which dims are read where it is told; `looped`: what is written stands in a loop.
    """

    def __init__(
        self,
        origin: Origin,
        prefix: str,
        dims: Dims,
        fresh: Callable[[str], str],
        lowered: Callable[[Graph, Dims], Graph] | None = None,
        *,
        looped: bool = False,
    ) -> None:
        self.origin, self.prefix, self.dims, self.looped = origin, prefix, dims, looped
        self._fresh, self._lowered = fresh, lowered
        self.nodes: list[Node] = []

    @overload
    def __call__(  # type: ignore[overload-overlap]  # 1 is an int too; the literal is tried first
        self, op_type: str, *inputs: Value | None, outputs: Literal[1] = 1, domain: str = ..., **attributes: Attribute | None
    ) -> Value: ...
    @overload
    def __call__(
        self, op_type: str, *inputs: Value | None, outputs: int, domain: str = ..., **attributes: Attribute | None
    ) -> tuple[Value, ...]: ...
    def __call__(
        self, op_type: str, *inputs: Value | None, outputs: int = 1, domain: str = STANDARD, **attributes: Attribute | None
    ) -> Any:
        """Add an operator; attributes that are None are left out. Returns its value, or a tuple when `outputs` > 1."""
        values = tuple(Value(self._fresh(f"{self.prefix}/{op_type}")) for _ in range(outputs))
        kept = {k: v for k, v in attributes.items() if v is not None}
        trimmed = list(inputs)
        while trimmed and trimmed[-1] is None:
            trimmed.pop()
        self.nodes.append(Node(op_type, tuple(trimmed), values, self.origin, kept, domain))
        return values[0] if outputs == 1 else values

    def native(
        self,
        op_type: str,
        inputs: Sequence[Value | None],
        define: Callable[..., Sequence[Value]],
        outputs: int = 1,
        **attributes: Attribute,
    ) -> tuple[Value, ...]:
        """An operator of our own library of kernels, and `define(g, *inputs)`, which stands for it where that is missing."""
        values = tuple(Value(self._fresh(f"{self.prefix}/{op_type}")) for _ in range(outputs))
        function = _function(op_type, self.origin, inputs, define)
        self.nodes.append(Node(op_type, tuple(inputs), values, self.origin, attributes, NATIVE, function=function))
        return values

    def torch(self, function: str, *inputs: Value | None, outputs: int = 1, **arguments: Any) -> Any:
        """A PyTorch function by its dotted name under `torch` (for fast paths of the `torch` target)."""
        return self(function, *inputs, outputs=outputs, domain="torch", **arguments)

    def scan(self, step: Step, carried: Typed, over: Typed, collected: Sequence[TensorType]) -> tuple[Value, ...]:
        """ONNX's Scan along axis 0: `step(g, *carried, *slices)` gives what is carried on, then what is stacked. Types are a step's."""
        axes = {"scan_input_axes": (0,) * len(over), "scan_output_axes": (0,) * len(collected)}
        kept = [type_ for _, type_ in carried]
        body = self._body("scan", step, [*kept, *(type_ for _, type_ in over)], [*kept, *collected])
        return self._loop(
            "Scan", [value for value, _ in (*carried, *over)], len(kept) + len(collected), body, {"num_scan_inputs": len(over), **axes}
        )

    def loop(self, passes: Value, step: Step, carried: Typed, collected: Sequence[TensorType] = ()) -> tuple[Value, ...]:
        """ONNX's Loop of so many passes, perhaps none: `step(g, *carried)` gives what is carried on, then what is stacked on axis 0."""

        def one(g: Builder, number: Value, going: Value, *values: Value) -> tuple[Value, ...]:
            return (g("Identity", going), *step(g, *values))

        kept, flag = [type_ for _, type_ in carried], TensorType("bool", ())
        body = self._body("loop", one, [TensorType("int64", ()), flag, *kept], [flag, *kept, *collected])
        inputs = (passes, self.constant(True, "bool"), *(value for value, _ in carried))
        return self._loop("Loop", inputs, len(kept) + len(collected), body, {})

    def when(self, condition: Value, step: Step, carried: Typed) -> tuple[Value, ...]:
        """What `step(g, *carried)` gives where a bool scalar is true, else what is carried."""
        return self.loop(self("Cast", condition, to=ONNX_DTYPE["int64"]), step, carried)

    def apart(self) -> Builder:
        """Another builder of the same definition, whose nodes are not added: to see what they would be."""
        return Builder(self.origin, self.prefix, self.dims, self._fresh, self._lowered, looped=self.looped)

    def at(self, origin: Origin) -> Builder:
        """The same builder, for nodes of another origin."""
        found = self.apart()
        found.origin, found.nodes = origin, self.nodes
        return found

    def apply(self, body: Body, given: Sequence[Value], weights: Mapping[str, Value], number: str) -> tuple[Value, ...]:
        """What a block makes of these values with these weights, and with what it reads of its surroundings, by name.

        `number` is what stands in paths for which application it is.
        """
        operators = self.operators(body, given, weights, number)
        self.nodes += operators.nodes
        return operators.outputs

    def operators(self, body: Body, given: Sequence[Value], weights: Mapping[str, Value], number: str) -> Graph:
        """The same, not added yet."""
        assert self._lowered is not None
        retyped = self._own_dims(body)
        values = [self._typed(v, retyped(place.type)) for v, place in zip(given, body.given, strict=True)]
        dims = dict(self.dims)
        for place, value in zip(body.given, values, strict=True):
            for axis, size in enumerate(place.shape):
                if isinstance(size, Dim) and len(size.symbols) == 1 and size == Dim.of(symbol := next(iter(size.symbols))):
                    dims.setdefault(symbol.name, (value, axis))
        values += [weights[name] for name in (*body.weights, *body.around)]
        known = {id(inner): value for inner, value in zip(body.graph.inputs, values, strict=True)}
        here = f"{self.origin.path}.{number}"

        def moved(origin: Origin) -> Origin:
            return replace(origin, path=origin.path.replace(f"{self.origin.path}.{EACH}", here, 1))

        return self._lowered(copied(body.graph, known, Copy(self._fresh, retyped, moved)), dims)

    def _own_dims(self, body: Body) -> Callable[[TensorType | None], TensorType | None]:
        """What types become in one application of a block: a runtime takes sizes of loops' bodies that have one name for equal."""
        if not any(node.bodies for node in body.graph.all_nodes()):
            return lambda type_: type_
        symbols = {s.name: s for value in body.given for size in value.shape if isinstance(size, Dim) for s in size.symbols}
        fresh = {name: Dim.of(replace(symbol, name=self._fresh(name))) for name, symbol in symbols.items()}

        def retyped(type_: TensorType | None) -> TensorType | None:
            return type_ and type_.with_shape(tuple(_with_dims(size, fresh) for size in type_.shape))

        return retyped

    def _typed(self, value: Value, type_: TensorType | None) -> Value:
        """The value, known to be of a type."""
        if value.type == type_:
            return value
        made = Value(self._fresh(f"{self.prefix}/given"), type_)
        self.nodes.append(Node("Identity", (value,), (made,), self.origin))
        return made

    def _body(self, name: str, step: Step, given: Sequence[TensorType], results: Sequence[TensorType]) -> Graph:
        inner = Builder(self.origin, self.prefix, self.dims, self._fresh, self._lowered, looped=True)
        inputs = tuple(Value(self._fresh(f"{self.prefix}/{name}/given"), type_) for type_ in given)
        made = step(inner, *inputs)
        outputs = tuple(Value(self._fresh(f"{self.prefix}/{name}/result"), type_) for type_ in results)
        copies = [Node("Identity", (value,), (output,), self.origin) for value, output in zip(made, outputs, strict=True)]
        return Graph(f"{self.prefix}/{name}", inputs, outputs, (*inner.nodes, *copies))

    def _loop(self, op: str, inputs: Sequence[Value], outputs: int, body: Graph, attributes: Mapping[str, Attribute]) -> tuple[Value, ...]:
        values = tuple(Value(self._fresh(f"{self.prefix}/{op}")) for _ in range(outputs))
        self.nodes.append(Node(op, tuple(inputs), values, self.origin, attributes, body=body))
        return values

    def constant(self, value: Any, dtype: str) -> Constant:
        """An array (or number, or list) known at compile time."""
        array = np.asarray(value, numpy_dtype(dtype))
        return Constant(self._fresh(f"{self.prefix}/const"), TensorType(dtype, array.shape), array)

    def ints(self, *values: int) -> Constant:
        """A one-dimensional int64 constant: axes, sizes, pads."""
        return self.constant(list(values), "int64")

    def size(self, size: Size) -> Value:
        """A size as a one-element int64 tensor, read from a shape at run time when it is dynamic."""
        if not isinstance(size, Dim):
            return self.ints(size)
        total: Value | None = None
        for monomial, coefficient in size.terms:
            divisor, term = 1, None
            for atom in monomial:
                value = self._atom(atom)
                divisor *= atom.multiple_of if isinstance(atom, Symbol) else 1
                term = value if term is None else self("Mul", term, value)
            term = self._scaled(term, coefficient, divisor)
            total = term if total is None else self("Add", total, term)
        assert total is not None
        return total

    def _scaled(self, term: Value | None, coefficient: int, divisor: int) -> Value:
        if term is None:
            return self.ints(coefficient)
        if coefficient % divisor == 0:
            coefficient, divisor = coefficient // divisor, 1
        elif divisor % coefficient == 0:
            coefficient, divisor = 1, divisor // coefficient
        term = term if coefficient == 1 else self("Mul", term, self.ints(coefficient))
        return term if divisor == 1 else self("Div", term, self.ints(divisor))

    def _atom(self, atom: Atom) -> Value:
        if isinstance(atom, Symbol):
            if atom.name not in self.dims:
                hint = f"give an input a dimension `{atom.name}`"
                raise Fault("dims", f"this step needs the size `{atom.name}`, which stands alone in no input", hint=hint)
            value, dim = self.dims[atom.name]
            return self("Shape", value, start=dim, end=dim + 1)
        assert isinstance(atom, Quotient)
        a, b = self.size(atom.numerator), self.size(atom.divisor)
        return self("Mod", a, b) if atom.remainder else self("Div", a, b)

    def shape(self, sizes: Sequence[Size]) -> Value:
        """Sizes as a one-dimensional int64 tensor: a constant when all are fixed."""
        if not any(isinstance(s, Dim) for s in sizes):
            return self.ints(*(s for s in sizes if isinstance(s, int)))
        parts: list[Value] = []
        run: list[int] = []
        for s in sizes:
            if isinstance(s, int):
                run.append(s)
                continue
            if run:
                parts.append(self.ints(*run))
                run = []
            parts.append(self.size(s))
        parts += [self.ints(*run)] if run else []
        return parts[0] if len(parts) == 1 else self("Concat", *parts, axis=0)

    def reshape(self, x: Value, sizes: Sequence[Size]) -> Value:
        """Reshape, with -1 for the only dynamic size (or 0 where it stays in place), so that no shape is computed at run time."""
        kept = x.type.shape if x.type else ()
        stay = [i for i, s in enumerate(sizes) if isinstance(s, Dim) and i < len(kept) and kept[i] == s]
        dynamic = [i for i, s in enumerate(sizes) if isinstance(s, Dim) and i not in stay]
        empty = {i for i, s in enumerate(sizes) if bounds(s)[0] < 1}
        unclear = empty.difference(dynamic or stay)  # beside a size of 0, -1 says nothing; a size of 0 that moved would keep what was there
        if len(dynamic) > 1 or unclear:
            return self("Reshape", x, self.shape(sizes), allowzero=1 if empty else None)
        return self("Reshape", x, self.ints(*(0 if i in stay else s if isinstance(s, int) else -1 for i, s in enumerate(sizes))))

    def transpose(self, x: Value, *perm: int) -> Value:
        """Permute the dimensions."""
        return self("Transpose", x, perm=perm)

    def scalar(self, value: float, like: Value) -> Constant:
        """A scalar constant of another value's dtype."""
        return self.constant(value, like.dtype)


def _function(name: str, origin: Origin, inputs: Sequence[Value | None], define: Callable[..., Sequence[Value]]) -> Graph:
    """What defines an operator, from its inputs alone: their dynamic sizes are dims of its own."""
    numbers, dims = count(1), dict[str, tuple[Value, int]]()
    names: dict[Size, Dim] = {}
    places = [
        Value(f"input_{i}", None if value is None or value.type is None else _within(value.type, names)) for i, value in enumerate(inputs)
    ]
    for place in places:
        for axis, size in enumerate(place.shape if place.type else ()):
            if isinstance(size, Dim):
                dims.setdefault(str(size), (place, axis))
    inner = Builder(origin, "", dims, lambda base: f"{base.strip('/')}_{next(numbers)}")
    results = define(inner, *(value and place for value, place in zip(inputs, places, strict=True)))
    return Graph(name, tuple(places), tuple(results), tuple(inner.nodes))


def _with_dims(size: Size, dims: Mapping[str, Dim]) -> Size:
    for name, dim in dims.items():
        size = size.with_dim(name, dim) if isinstance(size, Dim) else size
    return size


def _within(type_: TensorType, names: dict[Size, Dim]) -> TensorType:
    """A type whose dynamic sizes are dims of the function's own."""
    return type_.with_shape(tuple(_own(size, names) if isinstance(size, Dim) else size for size in type_.shape))


def _own(size: Dim, names: dict[Size, Dim]) -> Dim:
    """A dim that stands for a size, equal sizes for one."""
    low, high = bounds(size)
    return names.setdefault(size, Dim.of(Symbol(f"size_{len(names)}", low, low, high)))
