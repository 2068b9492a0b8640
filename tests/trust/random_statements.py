"""Statements of a random spec that stand alone: calls of ops with arguments changed at random, and expressions."""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

from pydantic import ValidationError
from random_values import Flow, Values, Var

from lamina.compiler.body import Body
from lamina.compiler.op import Example, Op, signature
from lamina.compiler.registry import find_op, op_names
from lamina.schema.diagnostics import Fault
from lamina.schema.dims import FLOATS, INTEGERS, TensorType

LONG = 300  # a size in an example from which it is drawn seldom
BOUNDED = ("mod", "floor_divide", "div", "pow", "shift_left", "shift_right")  # not of any integers


class Statements(Values):
    """Adds a statement to a flow. What an op takes comes from its examples, or is any value in scope that its shape rule accepts."""

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
        names = [n for n in names if n != "sorted"]  # any order is right where it is false
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
        if cls.name == "top_k" and self.chance(0.3):
            self.any_order(flow, arguments, str(texts[0]), made[0])
            return
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

    def any_order(self, flow: Flow, arguments: Mapping[str, Any], text: str, made: TensorType) -> None:
        """The largest in whatever order, and what their indices point at: sorted, since any order is right."""
        whole, largest, index, new = (self.fresh("v") for _ in range(4))
        dim = arguments.get("dim", -1)
        rest = "".join(f", {k}={_argument(v, k == 'k')}" for k, v in {**arguments, "sorted": False}.items())
        flow.steps += [f"{whole} = {text}", f"{largest}, {index} = top_k({whole}{rest})"]
        found = f"take_along_dim({whole}, {index}, dim={dim})"
        flow.steps.append(f"{new} = concat([sort({largest}, dim={dim})[0], sort({found}, dim={dim})[0]], dim={dim})")
        self.count["top_k in any order"] += 1
        flow.bind(Var(new, made.with_shape(2 * s if i == dim % made.rank else s for i, s in enumerate(made.shape))))

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
        forms: list[tuple[str, TensorType]] = (
            [(f"{var.name} {self.pick(['<', '>', '<=', '>=', '==', '!='])} {other}", TensorType("bool", a.shape))] if number else []
        )
        if number and a.dtype not in ("uint8", "int8", "int16"):
            forms += [(f"{var.name} {self.pick(['+', '-', '*'])} {other}", a), (f"-{var.name} + {self.pick([1, 2])}", a)]
            forms += [(f"{var.name} {self.pick(['%', '//'])} ({self.value(flow, a, 'positive')})", a)]
        if a.dtype in FLOATS:
            forms += [(f"{var.name} / ({self.value(flow, a, 'positive')})", a), (f"{var.name} * {self.pick([0.5, -1.25, 3])}", a)]
            forms += [(f"({self.value(flow, a, 'positive')}) ** {self.pick([2, 0.5, -1])}", a)]
            forms += [(f"{other} if {self.pick(['True', f'rank({var.name}) > 2'])} else {var.name}", a)]
        if a.rank:
            forms += [
                (f"{var.name}[:, None]", a.with_shape((a.shape[0], 1, *a.shape[1:]))),
                (f"{var.name}[..., :1]", a.with_shape((*a.shape[:-1], 1))),
            ]
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
        size = self.pick(sorted(self.dims) or [f"shape({var.name})[0]" if var.type.rank else "3"])
        name = self.fresh("v")
        flow.steps.append(f"{name} = {var.name} {self.pick(['/', '*', '+'])} ({size} + {self.pick([1, 2])})")
        flow.bind(Var(name, var.type))
        self.count["size as an operand"] += 1


def _apart(texts: Sequence[str | None]) -> bool:
    """Whether the first may become x: the others do not read the x before."""
    return texts[0] == "x" or not any(re.search(r"\bx\b", str(text)) for text in texts[1:])


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
