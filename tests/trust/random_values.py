"""Values of a wanted type, from what a random spec has in scope: sliced, reshaped, cast, squashed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lamina.schema.dims import FLOATS, INTEGERS, Dim, Size, Symbol, TensorType, bounds, product, value_of

LARGEST = 4096  # elements of a value where dims are at their second size
RANGES = {"b": (1, 16, 1), "h": (8, 64, 8), "w": (8, 64, 8), "t": (4, 64, 1)}  # the dims of the ops' examples: min, max, multiple
FIXED = {"b": (1, 2, 3), "h": (8, 16), "w": (8, 16), "t": (4, 5, 8)}
WILD = "wild"  # a value out of an op's domain
UNIT, POSITIVE = "sigmoid tanh sin cos softmax", "exp cosh"
KNOWN = dict.fromkeys(UNIT.split(), "unit") | dict.fromkeys(POSITIVE.split(), "positive")  # of what ops make, in the words of examples
# Helpers that specs hold: a value in any other shape, and a float as a whole number that every integer dtype holds (0.37: what is flat at
# a whole number, as ReLU and tanh are, should not become another by rounding).
WHOLE = {"body": ["clamp(where(isnan(x), zeros_like(x), x) * 3 + 0.37, 0, 100)"]}
FIT = {"args": {"to": "list[size]"}, "body": ["reshape(gather(reshape(x, [-1]), arange(prod(to)) % prod(shape(x))), to)"]}


@dataclass(frozen=True)
class Var:
    """A value in scope. `domain` is what is known of its elements, in the words of the ops' examples."""

    name: str
    type: TensorType
    domain: str = "normal"


class Flow:
    """A list of steps, and what they see."""

    def __init__(self, names: list[Var], *, block: bool = False, loop: bool = False, top: bool = False) -> None:
        self.names, self.block, self.loop, self.top = names, block, loop, top
        self.steps: list[Any] = []

    def bind(self, var: Var) -> Var:
        """Name a value from here on."""
        self.names[:] = [v for v in self.names if v.name != var.name] + [var]
        return var

    @property
    def x(self) -> Var | None:
        return next((v for v in self.names if v.name == "x"), None)


class Values:
    """Choices, the parts of a file, and values of any type."""

    def __init__(self, below: Callable[[int], int]) -> None:
        self.below = below
        self.choices: list[int] = []
        self.count: Counter[str] = Counter()
        self.number = 0
        self.wild = False
        self.inputs: dict[str, Any] = {}
        self.state: dict[str, Any] = {}
        self.config: dict[str, Any] = {}
        self.variant: dict[str, Any] = {}
        self.modules: dict[str, Any] = {}
        self.use: set[str] = set()
        self.adapt: dict[str, Any] = {}
        self.callables: list[tuple[str, int, int, str]] = []  # module, the last dim that it takes and makes, dtype
        self.blocks: dict[str, Any] = {}
        self.made: list[tuple[str, TensorType, TensorType, str, bool]] = []  # block, its input and result, arguments, whether it has states
        self.dtype = self.pick(["float32"] * 16 + ["float64"] * 2 + ["float16"] * 2)
        self.symbols: dict[str, Size] = {}
        self.dims: dict[str, Symbol] = {}
        for name, (low, high, step) in RANGES.items():
            if self.chance(0.3):
                self.symbols[name] = self.config[name] = self.pick(FIXED[name])
                continue
            low += step * self.pick([0, 0, 1])
            self.dims[name] = symbol = Symbol(name, min=low, opt=min(high, low + step), max=high, multiple_of=step)
            self.symbols[name] = Dim.of(symbol)

    def pick(self, options: Sequence[Any]) -> Any:
        return options[self._choice(len(options))]

    def chance(self, share: float) -> bool:
        return self._choice(100) >= 100 - 100 * share

    def _choice(self, n: int) -> int:
        self.choices.append(self.below(n))
        return self.choices[-1]

    def fresh(self, prefix: str) -> str:
        self.number += 1
        return f"{prefix}{self.number}"

    def sized(self, value: Any) -> Any:
        """Sizes of an example's text."""
        if isinstance(value, list):
            return [self.sized(v) for v in value]
        return eval(value, {"__builtins__": {}}, dict(self.symbols)) if isinstance(value, str) else value

    def type(self, text: str) -> TensorType:
        dtype, _, rest = text.partition("[")
        shape = self.sized([part for part in rest.rstrip("]").split(",") if part.strip()])
        return TensorType(self.dtype if dtype == "float32" else dtype, tuple(shape))

    def readable(self, flow: Flow) -> list[Var]:
        """What statements may read: not what has no bound, which is an output and nothing else."""
        return [v for v in flow.names if v.domain != WILD and self.small(v.type)]

    def known(self, name: str) -> str:
        """What is known of what this op makes of the values that were drawn last."""
        wild, self.wild = self.wild, False
        return WILD if wild else KNOWN.get(name, "normal")

    def small(self, type_: TensorType) -> bool:
        """Neither empty nor large."""
        second = {n: s.opt for n, s in self.dims.items()} | {"p": 4}
        return all(bounds(s)[0] >= 1 for s in type_.shape) and value_of(product(type_.shape), second) <= LARGEST

    def value(self, flow: Flow, want: TensorType, domain: str = "normal") -> str:
        """An expression of that type whose elements are in that domain."""
        text, known = self._typed(flow, want, domain)
        if domain == known or domain == "normal" or want.dtype == "bool":
            return text
        if domain.startswith("index:"):
            below = int(domain.partition(":")[2])
            return text if want.dtype in FLOATS else f"({text}) % {below}"
        if want.dtype in INTEGERS:
            return f"abs({text}) % 5 + 1" if domain == "positive" else text
        if self.chance(0.07):
            self.wild = True  # outside of the domain: NaN and infinities are values, too
            return text
        return f"abs({text}) * 0.5 + 0.5" if domain == "positive" else f"{self.pick(['sin', 'tanh'])}({text})"

    def _typed(self, flow: Flow, want: TensorType, domain: str) -> tuple[str, str]:
        exact = [v for v in flow.names if v.type == want and v.domain != WILD]
        known = [v for v in exact if v.domain == domain]
        if (known or exact) and self.chance(0.85):
            var = self.pick(known or exact)
            return var.name, var.domain
        sources = self.readable(flow)
        if not flow.block and not flow.loop and len(self.inputs) < 3 and self.chance(0.4):
            return self.input(flow, want).name, "normal"
        if want.dtype != "bool" and all(isinstance(s, int) for s in want.shape) and (not sources or self.chance(0.2)) and not flow.loop:
            self.count["parameter"] += 1
            init = "normal(0.5)" if want.dtype in FLOATS else "constant(3)"
            return f"parameter({list(want.shape)}, init='{init}', dtype='{want.dtype}')", "normal"
        if not sources:
            return self.filled(want), "normal"
        alike = [v for v in sources if v.type.dtype == want.dtype] or [v for v in sources if v.type.dtype in FLOATS] or sources
        near = [v for v in alike if v.type.rank == want.rank]
        var = self.pick(near if near and self.chance(0.7) else alike)
        return self.cast(self.shaped(flow, var.name, var.type, want.shape), var.type.dtype, want.dtype), "normal"

    def filled(self, want: TensorType) -> str:
        value = {"bool": "True"}.get(want.dtype, "1")
        self.count["full"] += 1
        return f"full([{_sizes(want.shape)}], {value}, dtype='{want.dtype}')"

    def input(self, flow: Flow, type_: TensorType) -> Var:
        name = self.fresh("in")
        self.inputs[name] = str(type_)
        return flow.bind(Var(name, type_))

    def cast(self, text: str, have: str, want: str) -> str:
        """Conversions that mean the same everywhere: to integers only what they hold."""
        if have == want:
            return text
        self.count["cast"] += 1
        if want == "bool":
            return f"{text} > {0.25 if have in FLOATS else 0}"
        if have in FLOATS and want in INTEGERS:
            self.blocks.setdefault("whole", WHOLE)
            text = f"whole({text})"
        elif have in INTEGERS and want in INTEGERS and have != "uint8" and want not in ("int64", "int32"):
            text = f"clamp({text}, 0, 100)"
        return f"cast({text}, '{want}')"

    def shaped(self, flow: Flow, text: str, have: TensorType, want: tuple[Size, ...]) -> str:
        """Some change of shape that leads there."""
        if have.shape == want:
            return text
        ways: list[Callable[[], str]] = []
        rank, fixed = have.rank, [isinstance(s, int) for s in have.shape]
        if product(have.shape) == product(want):
            ways.append(lambda: self.said("reshape", f"({text}, [{_sizes(want)}])"))
            if len(want) == rank and sorted(map(str, want)) == sorted(map(str, have.shape)):
                order = _order(have.shape, want)
                ways.append(lambda: self.said("permute", f"({text}, {order})"))
        if rank == len(want) and all(
            a == b or (f and isinstance(b, int) and b <= a) for a, b, f in zip(have.shape, want, fixed, strict=True)
        ):  # type: ignore[operator]
            parts = ", ".join(":" if a == b else f":{b}" for a, b in zip(have.shape, want, strict=True))
            ways.append(lambda: self.said("slicing", f"{_atom(text)}[{parts}]", word=""))
        if rank > len(want) and have.dtype in FLOATS and have.shape[: len(want)] == want:
            dims = list(range(len(want), rank))
            ways.append(lambda: self.said("mean", f"({text}, dims={dims})"))
        if rank and rank == len(want) and have.dtype in FLOATS and have.shape[:-1] == want[:-1] and isinstance(want[-1], int) and fixed[-1]:
            ways.append(lambda: self.linear(flow, text, want[-1], have.dtype))
        if rank <= len(want) and all(a in (1, b) for a, b in zip(have.shape, want[len(want) - rank :], strict=True)):
            ways.append(lambda: self.said("expand", f"({text}, [{_sizes(want)}])"))
        self.blocks.setdefault("fit", FIT)
        return self.pick(ways)() if ways else self.said("fit", f"({text}, to=[{_sizes(want)}])")

    def linear(self, flow: Flow, text: str, out: Size, dtype: str) -> str:
        """A linear, which an adaptation may stand around."""
        name = self.fresh("to")
        if flow.top and self.chance(0.3):
            self.count["adapt"] += 1
            forms: list[list[str]] = [["step", "tanh"], ["0.5 * step(x * 0.5) + step(x)"]]
            if dtype == "float32":  # the only one that the library's block takes
                self.use.add("adapters")
                forms += [["y = step(x)", f"y + low_rank(x, out={out}, rank=2)"]]
            self.adapt[name] = self.pick(forms)
        return self.said("linear", f"({text}, {out}, name='{name}')")

    def said(self, kind: str, rest: str, word: str | None = None) -> str:
        self.count[kind] += 1
        return f"{kind if word is None else word}{rest}"

    def some(self, flow: Flow, floats: bool = False) -> Var:
        """Any value in scope; a new one where there is none."""
        known = [v for v in self.readable(flow) if v.type.dtype in FLOATS or not floats]
        if known:
            return self.pick(known)
        name, type_ = self.fresh("v"), TensorType(self.dtype, (self.symbols["b"], 8))
        flow.steps.append(f"{name} = {self.value(flow, type_)}")
        return flow.bind(Var(name, type_))

    def set_x(self, flow: Flow, text: str) -> None:
        if text != "x":
            flow.steps.append(text)


def _sizes(shape: Sequence[Size]) -> str:
    return ", ".join(map(str, shape))


def _atom(text: str) -> str:
    return text if text.isidentifier() else f"({text})"


def _order(have: Sequence[Size], want: Sequence[Size]) -> list[int]:
    left = list(range(len(have)))
    order = []
    for size in want:
        order.append(next(i for i in left if str(have[i]) == str(size)))
        left.remove(order[-1])
    return order
