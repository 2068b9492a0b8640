"""Random specs over the whole language, as YAML text that a user might write.

Every statement is drawn with the types that it must have: what an op takes comes from its examples, or from any value in scope that
its shape rule accepts, with arguments changed at random. A value that does not fit is adapted: sliced, reshaped, cast, squashed.
"""

from __future__ import annotations

import io
import re
import typing
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

from hypothesis import strategies as st
from pydantic import ValidationError
from ruamel.yaml import YAML

from lamina.compiler.body import Body
from lamina.compiler.op import Example, Op, signature
from lamina.compiler.registry import find_op, op_names
from lamina.schema.diagnostics import Fault
from lamina.schema.dims import FLOATS, INTEGERS, Dim, Size, Symbol, TensorType, bounds, product, value_of

LARGEST = 4096  # elements of a value where dims are at their second size
LONG = 300  # a size in an example from which it is drawn seldom
RANGES = {"b": (1, 16, 1), "h": (8, 64, 8), "w": (8, 64, 8), "t": (4, 64, 1)}  # the dims of the ops' examples: min, max, multiple
FIXED = {"b": (1, 2, 3), "h": (8, 16), "w": (8, 16), "t": (4, 5, 8)}
WILD = "wild"  # a value out of an op's domain
BOUNDED = ("mod", "floor_divide", "div", "pow", "shift_left", "shift_right")  # not of any integers
UNIT, POSITIVE = "sigmoid tanh sin cos softmax", "exp cosh"
KNOWN = dict.fromkeys(UNIT.split(), "unit") | dict.fromkeys(POSITIVE.split(), "positive")  # of what ops make, in the words of examples
# Helpers that specs hold: a value in any other shape, and a float as a whole number that every integer dtype holds.
WHOLE = {"body": ["clamp(where(isnan(x), zeros_like(x), x) * 3, 0, 100)"]}
FIT = {"args": {"to": "list[size]"}, "body": ["reshape(gather(reshape(x, [-1]), arange(prod(to)) % prod(shape(x))), to)"]}


@dataclass(frozen=True)
class Var:
    """A value in scope. `domain` is what is known of its elements, in the words of the ops' examples."""

    name: str
    type: TensorType
    domain: str = "normal"


@dataclass(frozen=True)
class Drawn:
    """A spec's text, the variant to try, how often each op and structure stands in it, and the choices that led to it."""

    text: str
    variant: str | None
    count: Counter[str]
    choices: tuple[int, ...]


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


class Writer:
    """Writes one spec."""

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

    # Draws.

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

    # Types.

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

    # Values of a wanted type.

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
        if rank == len(want) and all(a == b or (f and isinstance(b, int) and b <= a) for a, b, f in zip(have.shape, want, fixed, strict=True)):  # type: ignore[operator]
            parts = ", ".join(":" if a == b else f":{b}" for a, b in zip(have.shape, want, strict=True))
            ways.append(lambda: self.said("slicing", f"{_atom(text)}[{parts}]", word=""))
        if rank > len(want) and have.dtype in FLOATS and have.shape[: len(want)] == want:
            dims = list(range(len(want), rank))
            ways.append(lambda: self.said("mean", f"({text}, dims={dims})"))
        if rank and rank == len(want) and have.dtype in FLOATS and have.shape[:-1] == want[:-1] and isinstance(want[-1], int) and fixed[-1]:
            ways.append(lambda: self.said("linear", f"({text}, {want[-1]}, name='{self.fresh('to')}')"))
        if rank <= len(want) and all(a in (1, b) for a, b in zip(have.shape, want[len(want) - rank :], strict=True)):
            ways.append(lambda: self.said("expand", f"({text}, [{_sizes(want)}])"))
        self.blocks.setdefault("fit", FIT)
        return self.pick(ways)() if ways else self.said("fit", f"({text}, to=[{_sizes(want)}])")

    def said(self, kind: str, rest: str, word: str | None = None) -> str:
        self.count[kind] += 1
        return f"{kind if word is None else word}{rest}"

    # Statements.

    def fill(self, flow: Flow, steps: int, depth: int) -> None:
        """Add so many statements."""
        for _ in range(steps):
            options = [self.op] * 12 + [self.operator] * 3 + [self.dynamic]
            if depth:
                options += [self.residual, self.branches, self.repeat, self.loop, self.choice, self.scan, self.scan, self.map, self.iterate]
                options += [self.block, self.block, self.module, self.comprehension]
                options += [self.remember, self.grow] if flow.top else []
            self.pick(options)(flow, depth)

    def op(self, flow: Flow, depth: int = 0, name: str | None = None) -> None:
        """A call of an op."""
        cls = find_op(name or self.pick(sorted(op_names())))
        assert cls is not None
        examples = [e for e in cls.examples if self.chance(0.02) or not _long(e)] or cls.examples[:1]
        example = self.pick(examples)
        if any(f.annotation is Body for f in cls.model_fields.values()):
            self.experts(flow, cls, example)
            return
        for attempt in range(3):
            types = [self.type(text) if text else None for text in example.inputs]
            arguments = dict(example.arguments)
            texts: list[str | None] = [None] * len(types)
            if attempt == 0 and example.values == "normal" and cls.name not in BOUNDED:
                types, texts = self.natural(flow, cls, types)
            if attempt < 2 and self.chance(0.5):
                arguments = self.mutated(cls, arguments, example, types)
            made = self.inferred(cls, arguments, types)
            if made is not None and (all(self.small(t) for t in made) or attempt == 2):
                break
        else:
            return
        texts = [t and (known or self.value(flow, t, example.values)) for t, known in zip(types, texts, strict=True)]
        self.count[cls.name] += 1
        self.write(flow, cls, arguments, texts, made, self.known(cls.name))

    def natural(self, flow: Flow, cls: type[Op], types: list[TensorType | None]) -> tuple[list[TensorType | None], list[str | None]]:
        """Any value in scope for the first input, and for the others what the example says, or a part of that."""
        texts: list[str | None] = [None] * len(types)
        if not types or types[0] is None or not flow.names:
            return types, texts
        first = self.pick(self.readable(flow) or [Var("", types[0])])
        if first.name and all(t == types[0] for t in types):
            others = [first.type] * len(types)
            if len(types) == 2 and self.chance(0.3):
                drop = self.pick(range(first.type.rank + 1))
                others[1] = first.type.with_shape(1 if self.chance(0.3) else s for s in first.type.shape[drop:])
            return list(others), [first.name, *texts[1:]]
        if first.name and len(types) == 1:
            return [first.type], [first.name]
        return types, texts

    def inferred(self, cls: type[Op], arguments: Mapping[str, Any], types: Sequence[TensorType | None]) -> tuple[TensorType, ...] | None:
        """What the op makes of these; None where it refuses them."""
        with suppress(Fault, ValidationError, IndexError, ZeroDivisionError, TypeError):
            bound = cls(**{k: self.sized(v) if _is_size(cls, k) else v for k, v in arguments.items()})
            made = bound.infer(*types)
            bound.parameters(*types)
            return made if isinstance(made, tuple) else (made,)
        return None

    def mutated(self, cls: type[Op], arguments: dict[str, Any], example: Example, types: Sequence[TensorType | None]) -> dict[str, Any]:
        """With one argument changed."""
        indexed = example.values.startswith("index")
        names = [n for n in cls.model_fields if not indexed or n in ("bias", "reduce", "dtype", "interleaved")]
        if not names:
            return arguments
        name = self.pick(names)
        annotation, old = cls.model_fields[name].annotation, arguments.get(name, cls.model_fields[name].default)
        choices = typing.get_args(annotation)
        if typing.get_origin(annotation) is typing.Literal:
            new: Any = self.pick([c for c in choices if c in (*FLOATS[:3], *INTEGERS, "bool")] if name in ("to", "dtype") else choices)
        elif isinstance(old, bool):
            new = not old
        elif isinstance(old, int):
            new = old + self.pick([-1, 1, 2])
        elif isinstance(old, float):
            new = old * self.pick([0.5, 2.0])
        elif isinstance(old, list) and old and all(type(v) is int for v in old):
            at = self.pick(range(len(old)))
            new = [v + self.pick([-1, 1]) if i == at else v for i, v in enumerate(old)]
        elif name in ("dim", "dims") and types and types[0] is not None and types[0].rank:
            new = self.pick(range(-types[0].rank, types[0].rank))
        else:
            return arguments
        return {**arguments, name: new}

    def write(
        self, flow: Flow, cls: type[Op], arguments: Mapping[str, Any], texts: Sequence[str | None], made: Sequence[TensorType], domain: str
    ) -> None:
        """The call, as a text or as a step on x."""
        inputs = signature(cls)
        plain = {k: v for k, v in arguments.items() if v is not None}
        if len(made) == 1 and not inputs.variadic and texts and all(texts) and cls.name != "split" and _apart(texts) and self.chance(0.3):
            self.set_x(flow, str(texts[0]))
            rest = dict(zip(inputs.inputs[1:], texts[1:], strict=False))
            flow.steps.append({cls.name: {**rest, **plain}} if rest or plain else cls.name)
            flow.bind(Var("x", made[0], domain))
            return
        given = [f"[{', '.join(map(str, texts))}]"] if inputs.variadic else [t or "null" for t in texts]
        given += [f"{k}={_argument(v, _is_size(cls, k))}" for k, v in plain.items()]
        call = f"{cls.name}({', '.join(given)})"
        names = [self.fresh("v") for _ in made]
        single = len(made) == 1 and cls.name == "split"
        flow.steps.append(f"{', '.join(names)} = {call}{'[0]' if single else ''}")
        for new, type_ in zip(names, made, strict=True):
            flow.bind(Var(new, type_, domain))

    def set_x(self, flow: Flow, text: str) -> None:
        if text != "x":
            flow.steps.append(text)

    def experts(self, flow: Flow, cls: type[Op], example: Example) -> None:
        """An op that takes a block: experts of a few forms."""
        x, weight, choice = map(self.type, example.inputs)
        width = self.pick([3, 5])
        forms = [
            [{"linear": width}],
            ["layer_norm", {"linear": 4}, self.pick(["gelu", "relu", "silu"]), {"linear": {"out": width, "bias": False}}],
            [f"silu(linear(x, {width}, name='gate')) * linear(x, {width}, name='up')"],
        ]
        texts = [self.value(flow, t, d) for t, d in ((x, "normal"), (weight, "unit"), (choice, example.values))]
        if not _apart(texts):
            return
        self.set_x(flow, texts[0])
        count = example.arguments["count"]
        flow.steps.append({cls.name: {"weight": texts[1], "choice": texts[2], "expert": self.pick(forms), "count": count}})
        flow.bind(Var("x", x.with_shape((*x.shape[:-1], width)), self.known("moe")))
        self.count[cls.name] += 1

    def operator(self, flow: Flow, depth: int) -> None:
        """An expression of operators, indices and numbers."""
        var = self.some(flow)
        name, a = self.fresh("v"), var.type
        other = self.value(flow, a)
        number = a.dtype != "bool"
        forms: list[tuple[str, TensorType]] = [(f"{var.name} {self.pick(['<', '>', '<=', '>=', '==', '!='])} {other}", TensorType("bool", a.shape))] if number else []
        if number and a.dtype not in ("uint8", "int8", "int16"):
            forms += [(f"{var.name} {self.pick(['+', '-', '*'])} {other}", a), (f"-{var.name} + {self.pick([1, 2])}", a)]
            forms += [(f"{var.name} {self.pick(['%', '//'])} ({self.value(flow, a, 'positive')})", a)]
        if a.dtype in FLOATS:
            forms += [(f"{var.name} / ({self.value(flow, a, 'positive')})", a), (f"{var.name} * {self.pick([0.5, -1.25, 3])}", a)]
            forms += [(f"({self.value(flow, a, 'positive')}) ** {self.pick([2, 0.5, -1])}", a)]
            forms += [(f"{other} if {self.pick(['True', f'rank({var.name}) > 2'])} else {var.name}", a)]
        if a.rank:
            forms += [(f"{var.name}[:, None]", a.with_shape((a.shape[0], 1, *a.shape[1:]))), (f"{var.name}[..., :1]", a.with_shape((*a.shape[:-1], 1)))]
            forms += [(f"{var.name}[{self.pick([0, -1])}]", a.with_shape(a.shape[1:]))]
        if a.rank >= 2 and a.dtype in FLOATS and self.small(a.with_shape((*a.shape[:-1], a.shape[-2]))):
            forms += [(f"{var.name} @ transpose({other}, -1, -2)", a.with_shape((*a.shape[:-1], a.shape[-2])))]
        if forms:
            text, type_ = self.pick(forms)
            self.count["operator"] += 1
            flow.steps.append(f"{name} = {text}")
            flow.bind(Var(name, type_, self.known("operator")))

    def dynamic(self, flow: Flow, depth: int) -> None:
        """A size as an operand."""
        var = self.some(flow, floats=True)
        size = self.pick(sorted(self.dims) or ["shape(%s)[0]" % var.name if var.type.rank else "3"])
        name = self.fresh("v")
        flow.steps.append(f"{name} = {var.name} {self.pick(['/', '*', '+'])} ({size} + {self.pick([1, 2])})")
        flow.bind(Var(name, var.type))
        self.count["size as an operand"] += 1

    def some(self, flow: Flow, floats: bool = False) -> Var:
        """Any value in scope; a new one where there is none."""
        known = [v for v in self.readable(flow) if v.type.dtype in FLOATS or not floats]
        if known:
            return self.pick(known)
        name, type_ = self.fresh("v"), TensorType(self.dtype, (self.symbols["b"], 8))
        flow.steps.append(f"{name} = {self.value(flow, type_)}")
        return flow.bind(Var(name, type_))

    # Structures.

    def inner(self, flow: Flow, names: list[Var], depth: int, steps: int | None = None, loop: bool | None = None) -> Flow:
        """A flow inside a step."""
        made = Flow(names, block=flow.block, loop=flow.loop if loop is None else loop)
        self.fill(made, self.pick([1, 2]) if steps is None else steps, depth - 1)
        return made

    def start(self, flow: Flow) -> Var:
        """x, floating point."""
        var = self.some(flow, floats=True)
        self.set_x(flow, var.name)
        return flow.bind(Var("x", var.type))

    def back(self, flow: Flow, want: TensorType, squash: bool = False) -> None:
        """End with an x of that type."""
        text = self.value(flow, want)
        flow.steps.append(f"tanh({text})" if squash else text if text != "x" else "identity")
        flow.bind(Var("x", want))

    def residual(self, flow: Flow, depth: int) -> None:
        x = self.start(flow)
        body = self.inner(flow, flow.names, depth)
        self.back(body, x.type)
        step: dict[str, Any] = {"residual": body.steps}
        if self.chance(0.3):
            step["skip"] = [self.pick(["tanh", "x * 0.5"])]
        flow.steps.append(step)
        self.count["residual"] += 1

    def branches(self, flow: Flow, depth: int) -> None:
        x = self.start(flow)
        flows = []
        for _ in range(2):
            flow.bind(x)
            flows.append(self.inner(flow, flow.names, depth, 1))
            self.back(flows[-1], x.type)
        merges = ["add", "mul", *(["concat", "list"] if x.type.rank else [])]
        merge, dim = self.pick(merges), self.pick(range(max(x.type.rank, 1)))
        step = {"branches": [f.steps for f in flows], "merge": merge}
        flow.steps.append({**step, "dim": dim} if merge == "concat" else step)
        if merge == "list":
            flow.steps.append(f"concat(x, dim={dim})")
        if merge in ("concat", "list"):
            flow.bind(Var("x", x.type.with_shape(2 * s if i == dim else s for i, s in enumerate(x.type.shape))))
        self.count["branches"] += 1

    def repeat(self, flow: Flow, depth: int) -> None:
        x = self.start(flow)
        body = self.inner(flow, flow.names, depth)
        self.back(body, x.type, squash=True)
        times: Any = self.pick([1, 2])
        if self.chance(0.4):
            name = self.fresh("times")
            self.config[name], self.variant[name] = times, 3 - times
            times = name
        flow.steps.append({"repeat": times, "do": body.steps})
        self.count["repeat"] += 1

    def loop(self, flow: Flow, depth: int) -> None:
        x = self.start(flow)
        kept, item = self.fresh("kept"), self.fresh("i")
        flow.steps.append(f"{kept} = []")
        body = self.inner(flow, flow.names, depth)
        self.back(body, x.type, squash=True)
        body.steps += [f"{kept} = {kept} + [x * ({item} + 1)]"]
        flow.steps.append({"for": f"{item} in {self.pick(['range(2)', '[1, 3]', 'reversed(range(2))'])}", "do": body.steps})
        name = self.fresh("v")
        flow.steps.append(f"{name} = stack({kept}, dim=0)")
        flow.bind(Var(name, x.type.with_shape((2, *x.type.shape))))
        self.count["for"] += 1

    def choice(self, flow: Flow, depth: int) -> None:
        x = self.start(flow)
        first, second = (self.inner(flow, list(flow.names), depth, 1) for _ in range(2))
        self.back(first, x.type)
        self.back(second, x.type)
        name = self.fresh("on")
        condition = self.pick([name, f"rank(x) == {x.type.rank} and not {name}"])
        self.config[name], self.variant[name] = True, False
        flow.steps.append({"if": condition, "then": first.steps, "else": second.steps})
        self.count["if"] += 1

    def sequences(self, flow: Flow) -> tuple[int, dict[str, str], list[Var]] | None:
        """What a scan goes along: an axis of one or two values, and a slice of each."""
        known = [v for v in self.readable(flow) if v.type.rank]
        if not known:
            return None
        first = self.pick(known)
        over = self.pick(range(first.type.rank))
        same = [v for v in known if v.type.rank > over and v.type.shape[over] == first.type.shape[over] and v is not first]
        chosen = [first, *([self.pick(same)] if same and self.chance(0.5) else [])]
        slices = [Var(self.fresh("s"), v.type.with_shape(s for i, s in enumerate(v.type.shape) if i != over)) for v in chosen]
        return over, {s.name: v.name for s, v in zip(slices, chosen, strict=True)}, slices

    def scan(self, flow: Flow, depth: int, carried: bool = True) -> None:
        found = self.sequences(flow)
        if found is None:
            return
        over, values, slices = found
        length = next(v.type.shape[over] for v in flow.names if v.name in values.values())
        carry, outer = {}, [v for v in flow.names if v.name != "x"]
        states = []
        if carried:
            type_ = next((s.type for s in slices if s.type.dtype in FLOATS), TensorType(self.dtype, (3,)))
            states = [Var(self.fresh("c"), type_)]
            start = self.pick([self.filled(type_), self.value(flow, type_)])
            carry = {states[0].name: start}
        body = self.inner(flow, [*outer, *slices, *states], depth, loop=True)
        for var in states:
            body.steps.append(f"{var.name} = tanh({self.value(body, var.type)} + 0.5 * {var.name})")
        own = [v for v in self.readable(body) if v not in outer and v.name != "x" and v.type.rank >= over]
        body.steps.append(f"last = {self.value(body, self.pick(own).type if own else slices[0].type)}") if not own else None
        collected = self.pick(own) if own else Var("last", slices[0].type)
        if collected.type.rank < over:
            return
        name, shape = self.fresh("v"), collected.type.shape
        step: dict[str, Any] = {"over": over, "values": values, **({"carry": carry} if carried else {}), "do": body.steps}
        flow.steps.append({"scan" if carried else "map": {**step, "collect": {name: collected.name}}})
        flow.bind(Var(name, collected.type.with_shape((*shape[:over], length, *shape[over:]))))
        for var in states:
            flow.bind(var)
        self.count["scan" if carried else "map"] += 1

    def map(self, flow: Flow, depth: int) -> None:
        self.scan(flow, depth, carried=False)

    def iterate(self, flow: Flow, depth: int) -> None:
        var, name = self.some(flow, floats=True), self.fresh("z")
        body = self.inner(flow, [v for v in [*flow.names, Var(name, var.type)] if v.name != "x"], depth, 1, loop=True)
        body.steps.append(f"{name} = tanh(0.1 * {name} + 0.5 * ({self.value(body, var.type)}))")
        until = self.pick(['null', 0.01])
        flow.steps.append({"iterate": {"carry": {name: self.filled(var.type)}, "do": body.steps, "until": until, "at_most": self.pick([2, 4])}})
        flow.bind(Var(name, var.type))
        self.count["iterate"] += 1

    def block(self, flow: Flow, depth: int) -> None:
        """A call of a block, an old one or a new."""
        fitting = [b for b in self.made if not (b[4] and flow.loop)]
        if not fitting or self.chance(0.6):
            self.define(flow, depth)
            fitting = [b for b in self.made[-1:] if not (b[4] and flow.loop)]
        if not fitting:
            return
        name, taken, given, arguments, _ = self.pick(fitting)
        new = self.fresh("v")
        flow.steps.append(f"{new} = {name}({self.value(flow, taken)}{arguments})")
        flow.bind(Var(new, given))
        self.count["block"] += 1

    def define(self, flow: Flow, depth: int) -> None:
        name, x = self.fresh("block"), self.some(flow, floats=True)
        body = Flow([Var("x", x.type)], block=True)
        args = {"gain": "float = 0.5", "act": self.pick(["block = gelu", "block = tanh"]), "width": "int = 6"}
        entry: dict[str, Any] = {"args": args}
        stateful = not flow.loop and not flow.block and self.chance(0.3)
        if stateful:
            kept = self.fresh("m")
            entry["state"] = {kept: str(x.type)}
            body.steps += [f"{kept} = 0.5 * {kept} + x", f"x * {kept}"]
            self.count["state of a block"] += 1
        if x.type.rank and isinstance(x.type.shape[-1], int):
            entry["modules"] = {"inside": {"linear": "width"}}
            body.steps += ["act(inside(x) + inside(x * gain))"]
            body.bind(Var("x", x.type.with_shape((*x.type.shape[:-1], 6))))
        else:
            body.steps += ["act(x * gain) + width"]
        self.fill(body, self.pick([1, 2]), depth - 1)
        floats = [v for v in self.readable(body) if v.type.dtype in FLOATS]
        result = self.pick(floats) if floats else Var("x", x.type)
        entry |= {"body": body.steps, "result": result.name}
        if not floats:
            body.steps.append(self.value(body, x.type))
        self.blocks[name] = entry
        arguments = self.pick(["", ", gain=0.25", ", act=relu", ", 0.75, act=sigmoid"])
        self.made.append((name, x.type, result.type, arguments, stateful))

    def module(self, flow: Flow, depth: int) -> None:
        """A module that is called twice."""
        known = [v for v in self.readable(flow) if v.type.dtype in FLOATS and v.type.rank and isinstance(v.type.shape[-1], int)]
        if flow.block or not known:
            return
        var = self.pick(known)
        size = var.type.shape[-1]
        assert isinstance(size, int)
        fitting = [m for m in self.callables if m[1] == size and m[3] == var.type.dtype]
        if not fitting or self.chance(0.4):
            out = self.pick([3, 5, size])
            self.modules[name := self.fresh("shared")] = self.pick([{"linear": out}, {"linear": {"out": out, "bias": False}}])
            self.callables.append((name, size, out, var.type.dtype))
            fitting = self.callables[-1:]
        name, _, out, _ = self.pick(fitting)
        new = self.fresh("v")
        flow.steps.append(f"{new} = {name}({var.name}) * 0.5 + {name}({self.value(flow, var.type)})")
        flow.bind(Var(new, var.type.with_shape((*var.type.shape[:-1], out))))
        self.count["module"] += 1

    def comprehension(self, flow: Flow, depth: int) -> None:
        """A list of calls, of ops from a list."""
        var, name = self.some(flow, floats=True), self.fresh("v")
        form = self.pick(["act(x_) for act in [gelu, relu]", "x_ * i for i in [1, 2]", "acts[i](x_) for i in range(len(acts))"])
        if "acts" in form:
            self.config["acts"] = "list[block] = [tanh, sigmoid]"
        flow.steps.append(f"{name} = {self.pick(['sum', 'prod'])}([{form.replace('x_', var.name)}])")
        flow.bind(Var(name, var.type))
        self.count["comprehension"] += 1

    def remember(self, flow: Flow, depth: int) -> None:
        """A state of the model."""
        var, name = self.some(flow, floats=True), self.fresh("state")
        if any(isinstance(s, Dim) and s not in self.symbols.values() for s in var.type.shape):
            return
        self.state[name] = str(var.type) if self.chance(0.6) else {"type": str(var.type), "init": 1}
        flow.steps.append(f"{name} = tanh(0.5 * {name} + {self.value(flow, var.type)})")
        flow.bind(Var(name, var.type))
        self.count["state"] += 1

    def grow(self, flow: Flow, depth: int) -> None:
        """A state that grows, as a cache of keys does, and attention to it."""
        if "p" in self.dims:
            return
        b, t = self.symbols["b"], self.symbols["t"]
        self.dims["p"] = p = Symbol("p", min=0, opt=3, max=32)
        heads, size = self.pick([(2, 4), (1, 8)])
        new = TensorType(self.dtype, (b, heads, t, size))
        name, out = self.fresh("cache"), self.fresh("v")
        self.state[name] = f"{self.dtype}[b, {heads}, p, {size}]"
        flow.steps.append(f"{name} = concat([{name}, {self.value(flow, new)}], dim=2)")
        flow.bind(Var(name, new.with_shape((b, heads, Dim.of(p) + t, size))))
        flow.steps.append(f"{out} = attention({self.value(flow, new)}, {name}, {name}, causal=True)")
        flow.bind(Var(out, new))
        self.count["state that grows"] += 1
        self.count["attention"] += 1

    # The file.

    def text(self, flow: Flow) -> str:
        """The whole spec: what nothing reads is an output."""
        body = flow.steps
        read = set(re.findall(r"\w+", " ".join(_texts(body, right=True))))
        leaves = [v for v in flow.names if v.name not in read and v.name not in self.inputs and v.name != "x" and v.name not in self.state]
        if flow.x is not None:
            body.append("y = x")
            leaves.append(Var("y", flow.x.type))
        leaves = leaves[-8:] or [v for v in flow.names if v.name not in self.inputs][-1:]
        shown = {s for text in self.inputs.values() for s in re.findall(r"\w+", text)}
        shapes = " ".join([*self.inputs.values(), *map(str, self.state.values()), *(str(v.type) for v in leaves)])
        words = set(re.findall(r"\w+", " ".join(_texts([body, self.blocks])) + shapes))
        for name in sorted(words & self.dims.keys() - {"p"}):
            if not re.search(rf"[\[ ]{name}[,\]]", " ".join(self.inputs.values())) or name not in shown:
                self.inputs[f"d_{name}"] = f"float32[{name}]"
        if not self.inputs:
            self.inputs["given"] = "float32[3]"
        used = words | set(re.findall(r"\w+", " ".join(self.inputs.values())))
        variant = {k: v for k, v in self.variant.items() if k in used}
        spec = {
            "lamina": 1,
            "model": "random",
            "config": {k: v for k, v in self.config.items() if k in used},
            "variants": {"other": variant} if variant else {},
            "inputs": self.inputs,
            "dims": {n: {"min": s.min, "opt": s.opt, "max": s.max, "multiple_of": s.multiple_of} for n, s in self.dims.items() if n in used},
            "state": self.state,
            "modules": self.modules,
            "blocks": {k: v for k, v in self.blocks.items() if k in words},
            "body": body,
            "outputs": {v.name: str(v.type) for v in leaves},
        }
        out = io.StringIO()
        yaml = YAML(pure=True)
        yaml.width = 4096
        yaml.dump({k: v for k, v in spec.items() if v not in ({}, [])}, out)
        return out.getvalue()


def specs() -> st.SearchStrategy[Drawn]:
    """Specs of one to eight statements, some of them with others inside. Drawn choice by choice they would be much alike."""
    return st.integers(0, 2**32).map(numbered)


def numbered(number: int) -> Drawn:
    """The spec of that number."""
    return written(Random(number).randrange)


def written(below: Callable[[int], int]) -> Drawn:
    """The spec that follows from choices; a choice is a number below the given one, and 0 the simplest."""
    writer = Writer(below)
    flow = Flow([], top=True)
    shapes = ["b, 8", "b, t, 8", "b, 3, h, w", "t, 6", "b, t", "b, 2, t, 8"]
    writer.input(flow, writer.type(f"float32[{writer.pick(shapes)}]"))
    if writer.chance(0.25):
        writer.input(flow, writer.type(f"{writer.pick(['int64', 'bool', 'int32', 'float64', 'float16'])}[b, t]"))
    writer.fill(flow, 1 + writer.pick(range(8)), 2)
    if not [v for v in flow.names if v.name not in writer.inputs]:
        writer.operator(flow, 0)
    variant = "other" if writer.variant and writer.chance(0.5) else None
    text = writer.text(flow)
    return Drawn(text, variant if "variants:" in text else None, writer.count, tuple(writer.choices))


def simpler(found: Drawn, fails: Callable[[Drawn], bool]) -> Drawn:
    """A spec of fewer and simpler choices that still fails."""

    def replay(choices: Sequence[int]) -> Drawn:
        left = iter(choices)
        return written(lambda n: min(next(left, 0), n - 1))

    size = len(found.choices) // 2
    while size:
        at = 0
        while at < len(found.choices):
            before, after = found.choices[:at], found.choices[at + size :]
            for tried in (before + after, before + (0,) * size + after):
                new = replay(tried)
                if (len(new.text), new.choices) < (len(found.text), found.choices) and fails(new):
                    found = new
                    break
            else:
                at += size
        size //= 2
    return found


def _apart(texts: Sequence[str | None]) -> bool:
    """Whether the first may become x: the others do not read the x before."""
    return texts[0] == "x" or not any(re.search(r"\bx\b", str(text)) for text in texts[1:])


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


@cache
def _is_size(cls: type[Op], name: str) -> bool:
    info = cls.model_fields[name]
    return "_SizeSchema" in f"{info.annotation!r} {info.metadata!r}"


def _argument(value: Any, size: bool) -> str:
    """An argument in a text."""
    if isinstance(value, list):
        return f"[{', '.join(_argument(v, size) for v in value)}]"
    return value if size and isinstance(value, str) else repr(value)


def _long(example: Example) -> bool:
    return any(int(n) >= LONG for text in example.inputs for n in re.findall(r"\d+(?![\d\[])", text.partition("[")[2]))


def _texts(node: Any, right: bool = False) -> Iterator[str]:
    """Every text in steps; of an assignment, if `right`, what stands right of it."""
    if isinstance(node, str):
        yield node.partition(" = ")[2] if right and re.match(r"[\w, ]+ = ", node) else node
    elif isinstance(node, dict):
        for key, value in node.items():
            if not right:
                yield str(key)
            yield from _texts(value, right)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _texts(value, right)
