"""What a file says, as typed and frozen models. Every node knows its place; arguments stay raw until the compiler binds them."""

from __future__ import annotations

from collections.abc import Mapping as MappingType
from pathlib import Path
from typing import Annotated, Literal, Union

from pydantic import InstanceOf, PlainSerializer

from lamina.schema.base import Located, Strict
from lamina.schema.dims import Precision
from lamina.schema.expressions import Assignment, Expression
from lamina.schema.sections import DimDecl, ImagePreprocess, Paper, Published, Tokenizer
from lamina.schema.tree import Mapping, Scalar, Sequence
from lamina.schema.types import TypeDecl
from lamina.schema.weights import WeightRules

Raw = Annotated[Union[InstanceOf[Scalar], InstanceOf[Sequence], InstanceOf[Mapping]], PlainSerializer(repr)]  # noqa: UP007
Formula = InstanceOf[Expression]


class Call(Located):
    """`conv: {out: 64}`, `linear: classes` or `gelu`: a call on the current value."""

    callee: InstanceOf[Scalar]
    first: Raw | None = None
    named: tuple[tuple[InstanceOf[Scalar], Raw], ...] = ()
    name: str | None = None


class Statement(Located):
    """`q, k = split(x, 2)` or a bare expression."""

    assignment: InstanceOf[Assignment]


class Residual(Located):
    """`x + body(x)`, or `skip(x) + body(x)`."""

    body: Flow
    skip: Flow | None = None
    name: str | None = None


class Branches(Located):
    """Several flows from the same value, and how they join."""

    flows: tuple[Flow, ...]
    merge: Literal["concat", "add", "mul", "list"] = "concat"
    dim: int = 1
    name: str | None = None


class Repeat(Located):
    """The body, `count` times."""

    count: Formula
    body: Flow
    name: str | None = None


class For(Located):
    """The body, once for each element of a compile-time list."""

    targets: tuple[str, ...]
    items: Formula
    body: Flow
    name: str | None = None


class If(Located):
    """One of two flows, chosen at compile time."""

    condition: Formula
    then: Flow
    otherwise: Flow | None = None


class Modules(Located):
    """Callables whose weights are made once."""

    entries: tuple[tuple[InstanceOf[Scalar], Raw], ...]


class Scan(Located):
    """A recurrence along an axis: values are read step by step, carries handed on, collected values stacked."""

    over: Formula
    values: tuple[tuple[str, Formula], ...]
    carry: tuple[tuple[str, Formula], ...]
    body: Flow
    collect: tuple[tuple[str, str], ...]


class Iterate(Located):
    """A fixed point: the body until the carries change by less than `until`, or `at_most` times."""

    carry: tuple[tuple[str, Formula], ...]
    body: Flow
    until: Formula
    at_most: Formula


class Map(Located):
    """The body for each slice along an axis, independently."""

    over: Formula
    values: tuple[tuple[str, Formula], ...]
    body: Flow
    collect: tuple[tuple[str, str], ...]


class Broken(Located):
    """A step that could not be read, as a diagnostic says: what follows is judged without what it would have set."""


Step = Call | Statement | Residual | Branches | Repeat | For | If | Modules | Scan | Iterate | Map | Broken


class Flow(Located):
    """Steps in order. `result` names what leaves, when it is not the current value."""

    steps: tuple[Step, ...]
    result: Formula | None = None


class Argument(Located):
    """One argument of a block: its type and, when it has one, its default."""

    name: str
    type: InstanceOf[TypeDecl]


class Block(Located):
    """A reusable part of a network."""

    name: str
    summary: str = ""
    args: tuple[Argument, ...] = ()
    inputs: tuple[str, ...] = ("x",)
    optional: frozenset[str] = frozenset()  # inputs that are null where a call does not give them
    state: tuple[TensorDecl, ...] = ()
    modules: Modules | None = None
    body: Flow


class File(Strict):
    """The blocks that one file defines and the files that it imports."""

    name: str
    blocks: MappingType[str, Block]
    imports: tuple[File, ...] = ()


class ConfigEntry(Located):
    """A named value: its type and default."""

    name: str
    type: InstanceOf[TypeDecl]


class Override(Located):
    """A config value given by a variant or on the command line."""

    name: str
    value: Raw


class TensorDecl(Located):
    """`float32[N, 3, H, W]`; of one that not every config has, `{type: "float32[N, 3, H, W]", if: condition}`.

    A state says by `init` what all its numbers start at, if not at 0; an output by `train` that only training has it.
    """

    name: str
    dtype: str
    shape: tuple[Formula, ...]
    condition: Formula | None = None
    init: Formula | None = None
    train: bool = False


class Adaptation(Located):
    """Steps that stand around the steps whose paths match one of some patterns: they have `x`, what goes in, and the original as `step`."""

    patterns: tuple[str, ...]
    flow: Flow


class WeightPrecision(Located):
    """What the weights of linear layers whose paths match a pattern are kept in, where a target keeps them in blocks."""

    pattern: str
    precision: Precision


class ModelSpec(Strict):
    """A whole specification with the variant and overrides it was loaded with."""

    path: Path
    file: File
    files: tuple[File, ...]  # what `file` is made of: the spec's own, then that of its base, and so on
    model: str
    summary: str = ""
    paper: Paper | None = None
    config: tuple[ConfigEntry, ...] = ()
    variants: MappingType[str, tuple[Override, ...]] = {}
    small: tuple[Override, ...] = ()
    published: MappingType[str, Published] = {}
    inputs: tuple[TensorDecl, ...]
    dims: MappingType[str, DimDecl] = {}
    state: tuple[TensorDecl, ...] = ()
    modules: Modules | None = None
    adapt: tuple[Adaptation, ...] = ()
    body: Flow
    outputs: tuple[TensorDecl, ...]
    weights: WeightRules | None = None
    precision: tuple[WeightPrecision, ...] = ()
    preprocess: MappingType[str, ImagePreprocess] = {}
    tokenizer: Tokenizer | None = None
    sources: MappingType[str, str]
    variant: str | None = None
    overrides: tuple[Override, ...] = ()
    unreadable: frozenset[str] = frozenset()  # declared names whose declarations are wrong, when diagnostics are all that is wanted


for _model in (Residual, Branches, Repeat, For, If, Scan, Iterate, Map, Flow, Block, File, Adaptation, ModelSpec):
    _model.model_rebuild()
