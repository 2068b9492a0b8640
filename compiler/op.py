"""Op: one word of the language. A subclass is its arguments, weights, shape rule, definition, fast paths and examples.

Inputs are the parameters of `infer`, in order: `x` is required, `bias=None` is optional, `*xs` takes a list.
Arguments are the class's annotated fields, in order. Weights are what `parameters` returns; each may be given as a value by its name.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler
from pydantic_core import core_schema

from lamina.compiler.body import Body
from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.integers import Known
from lamina.schema.diagnostics import Fault, Span
from lamina.schema.dims import FLOATS, Dim, Size, TensorType

Types = TensorType | tuple[TensorType, ...]
Values = Value | tuple[Value, ...]
Method = TypeVar("Method", bound=Callable[..., Any])


class _SizeSchema:
    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.union_schema([core_schema.is_instance_schema(Dim), core_schema.int_schema(strict=True)])

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "integer"}


SizeArg = Annotated[Size, _SizeSchema]  # an argument that may be a dynamic size
Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True)
class Weight:
    """What `parameters` says of one weight. `init`: `zeros`, `ones`, `constant(c)`, `normal(std)`, `trunc_normal(std)`,
    `uniform(bound)`. `span` is the step that declares it, where that is one of a block that the op applies."""

    type: TensorType
    init: str = "zeros"
    trainable: bool = True
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """A case that tests run on every target: the op's arguments, and its inputs as `dtype[shape]` texts (b, h, w, t are dynamic dims;
    an empty text is an optional input that is not given).

    `values` says how random inputs are drawn: `normal`, `positive` (0.5 to 2), `unit` (-1 to 1), or `index:K` (integers below K).
    """

    arguments: Mapping[str, Any]
    inputs: Sequence[str]
    values: str = "normal"
    rtol: float = 1e-5
    options: Mapping[str, Any] = field(default_factory=dict)


class Op(BaseModel, ABC):
    """Base of every op. Ops are frozen; the class name in snake case is not used: `name` is the word users write."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True)
    name: ClassVar[str]
    examples: ClassVar[Sequence[Example]] = ()

    def parameters(self, *inputs: Any) -> Mapping[str, Weight]:
        """The weights that the op needs for inputs of these types, by name; an empty name is the path of the step itself."""
        return {}

    @classmethod
    def implied(cls, weights: Mapping[str, TensorType], given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Arguments that weights given as values imply, beside those that are given."""
        return {}

    @classmethod
    def hands(cls, *inputs: Any) -> tuple[TensorType, ...]:
        """What the op hands to each block among its arguments, for inputs of these types. Raises `OpError` when they do not fit."""
        raise NotImplementedError(f"`{cls.name}` takes no block")

    @abstractmethod
    def infer(self, *inputs: Any) -> Types:
        """The output type(s) for these input types. Raises `OpError` when they do not fit."""

    @abstractmethod
    def define(self, g: Builder, *inputs: Any, **weights: Any) -> Values:
        """The meaning: the output value(s), computed with standard ONNX operators."""

    def integers(self, outputs: Any, *inputs: Any) -> Known | tuple[Known, ...]:
        """What is known of the output(s), of these types, from what is known of each input: of integers only, and None where nothing is."""
        return None

    def indexed(self, *inputs: Any) -> Mapping[int, tuple[Size, Size]]:
        """For inputs of these types: which of them, by place, are indices; from what, and below what."""
        return {}

    def macs(self, inputs: Sequence[Any], output: Types) -> Size:
        """Multiply-adds for these types. Elementwise work counts nothing."""
        return 0


class OpError(Fault):
    """The op's inputs or arguments do not fit. The elaborator adds the place."""

    def __init__(self, message: str, hint: str = "", code: str = "shape") -> None:
        super().__init__(code, message, None, hint)


def fast_path(*targets: str) -> Callable[[Method], Method]:
    """Mark a method as a better form of `define` for targets `onnx`, `onnxruntime`, `tensorrt`, `torch`, or for `module`: PyTorch's
    module when it is run and trained as it is, where `torch` is what `torch.export` takes too.

    It takes what `define` takes and returns the same, or NotImplemented to decline.
    """

    def mark(method: Method) -> Method:
        method.__dict__["targets"] = targets
        return method

    return mark


@cache
def paths_for(op_class: type[Op], target: str) -> tuple[str, ...]:
    """Names of the methods to try for a target, best first; `define` is the last."""
    accepted = {target, "torch"} if target == "module" else {target}
    methods = {n: m for base in reversed(op_class.__mro__) for n, m in vars(base).items()}
    marked = [n for n, m in methods.items() if accepted.intersection(getattr(m, "targets", ()))]
    return (*marked, "define")


@dataclass(frozen=True, slots=True)
class Signature:
    """How an op is called: its required and optional inputs, whether the last one takes a list, and its arguments."""

    inputs: tuple[str, ...]
    required: int
    variadic: bool
    arguments: tuple[str, ...]


@cache
def block_arguments(op_class: type[Op]) -> tuple[str, ...]:
    """The arguments that are blocks."""
    return tuple(name for name, field in op_class.model_fields.items() if field.annotation is Body)


@cache
def signature(op_class: type[Op]) -> Signature:
    """Read the call signature off `infer` and the fields."""
    parameters = [p for p in inspect.signature(op_class.infer).parameters.values() if p.name != "self"]
    required = sum(1 for p in parameters if p.default is p.empty and p.kind is not p.VAR_POSITIONAL)
    variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    return Signature(tuple(p.name for p in parameters), required, variadic, tuple(op_class.model_fields))


def need_rank(x: TensorType, rank: int | tuple[int, ...], what: str = "the input") -> None:
    """Raise unless `x` has one of these ranks."""
    ranks = (rank,) if isinstance(rank, int) else rank
    if x.rank not in ranks:
        wanted = " or ".join(map(str, ranks))
        raise OpError(f"{what} must have {wanted} dimensions, but it is {x}")


def need_float(x: TensorType, what: str = "the input") -> None:
    """Raise unless `x` is floating point."""
    if x.dtype not in FLOATS:
        raise OpError(f"{what} must be floating point, but it is {x}", "convert it with cast(x, 'float32')", "dtype")


def need_fixed(size: Size, what: str) -> int:
    """Raise unless the size is a number (weights cannot have dynamic shapes)."""
    if isinstance(size, Dim):
        raise OpError(f"{what} must be fixed, but it is the dynamic size {size}")
    return size


def axis(dim: int, x: TensorType, what: str = "dim") -> int:
    """A dim, counted from the end when negative, as a non-negative axis of `x`."""
    if not -x.rank <= dim < x.rank:
        raise OpError(f"`{what}` is {dim}, but the input {x} has {x.rank} dimensions", f"use -{x.rank} to {x.rank - 1}")
    return dim % x.rank


def broadcast(x: TensorType, y: TensorType) -> tuple[Size, ...]:
    """The shape of an elementwise operation on x and y (ONNX's and NumPy's rule)."""
    rank = max(x.rank, y.rank)
    a, b = (1,) * (rank - x.rank) + x.shape, (1,) * (rank - y.rank) + y.shape
    shape: list[Size] = []
    for m, n in zip(a, b, strict=True):
        if m != n and m != 1 and n != 1:
            raise OpError(f"shapes {x} and {y} do not fit together: {m} against {n}")
        shape.append(n if m == 1 else m)
    return tuple(shape)
