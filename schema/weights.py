"""How a checkpoint's keys map to our paths: the `weights:` section."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, InstanceOf, WithJsonSchema, model_validator
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError

from lamina.schema.base import Strict
from lamina.schema.diagnostics import Span
from lamina.schema.expressions import Expression
from lamina.schema.patterns import Pattern, wildcards
from lamina.schema.sections import NUMBER_OR_TEXT, OR_TEXT


def _checked(text: str) -> str:
    wildcards(text)
    return text


def _parsed(text: str) -> str:
    Pattern.parse(text)
    return text


def _as_rule(value: Any) -> Any:
    return {"to": value} if isinstance(value, str) else value


def _as_list(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


WeightPath = Annotated[str, AfterValidator(_checked)]
Key = Annotated[str, AfterValidator(_parsed)]
Axes = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(strict=False)]
Paths = Annotated[tuple[WeightPath, ...], Field(strict=False, min_length=2, max_length=64)]
OneOrMore = Annotated[tuple[WeightPath, ...], Field(strict=False, max_length=64), BeforeValidator(_as_list, str | list[str])]
Map = Literal["log", "exp"]
Names = Annotated[tuple[str, ...], Field(strict=False, max_length=64), BeforeValidator(_as_list, str | list[str])]
if TYPE_CHECKING:
    Size = int | Expression
    Factor = float | Expression
    Formula = Expression
else:
    Size = Annotated[int, Field(ge=-1), *OR_TEXT]
    Factor = Annotated[float, Field(allow_inf_nan=False), *NUMBER_OR_TEXT]
    Formula = Annotated[InstanceOf[Expression], WithJsonSchema({"type": ["string", "number", "boolean"]})]
Sizes = Annotated[tuple[Size, ...], Field(strict=False)]


class Split(Strict):
    """Cut a tensor along a dim into several weights, each as long as the model says."""

    dim: Annotated[int, Field(ge=0)]
    into: Paths


class Step(Strict):
    """One change of a tensor: its axes permuted, the same elements in another shape (0 keeps a size, -1 is what remains), the logarithm or
    exponential of each number, or each times a factor."""

    transpose: Axes | None = None
    reshape: Sizes | None = None
    map: Map | None = None
    scale: Factor | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len([value for value in (self.transpose, self.reshape, self.map, self.scale) if value is not None]) != 1:
            raise ValueError("a step says one of `transpose:`, `reshape:`, `map:` and `scale:`")
        return self


class Changes(Strict):
    """What is done to a tensor: transposed, then reshaped (or `steps` in any order); then `map` takes the logarithm or exponential of its
    numbers, where ours are the logarithms of the checkpoint's or the other way round, and `scale` multiplies them. Sizes and factors may
    be expressions over the config.
    """

    transpose: Axes | None = None
    reshape: Sizes | None = None
    steps: Annotated[tuple[Step, ...], Field(strict=False, max_length=16)] | None = None
    map: Map | None = None
    scale: Factor | None = None

    @model_validator(mode="after")
    def _one_order(self) -> Self:
        if self.steps and (self.transpose is not None or self.reshape is not None):
            raise ValueError("a rule says either `steps:`, or `transpose:` and `reshape:`")
        return self

    @property
    def order(self) -> tuple[Step, ...]:
        """The changes, in the order in which they are made."""
        named = {name: getattr(self, name) for name in ("transpose", "reshape", "map", "scale")}
        return (*(self.steps or ()), *(Step.model_validate({name: value}) for name, value in named.items() if value is not None))


class Rule(Changes):
    """What becomes of a key's tensor: changed, then given to one path, to each of several that share it, or split among several.

    `unstack: n` takes the tensor apart along its first dim before, into as many as the model has paths: all else is said of each of
    them, and `{n}` in a path is its number, from 0.
    """

    to: OneOrMore | None = None
    split: Split | None = None
    unstack: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.to) == bool(self.split):
            raise ValueError("a rule says either `to:` or `split:`")
        return self

    @property
    def paths(self) -> tuple[str, ...]:
        """Where the tensor goes, wildcards not yet replaced."""
        return self.split.into if self.split else self.to or ()


class Join(Changes):
    """Tensors that lie one after the other along a dim of one weight, and how the whole is changed then. `of` are the paths that they have
    after `rename`."""

    dim: Annotated[int, Field(ge=0)]
    of: Paths

    @property
    def paths(self) -> tuple[str, ...]:
        """Where the tensors come from, wildcards not yet replaced."""
        return self.of


RuleOrPath = Annotated[Rule, BeforeValidator(_as_rule, json_schema_input_type=str | Rule)]


class WeightRules(Strict):
    """The `weights:` section. `architecture` and `metadata` are what a GGUF file's metadata, or the config.json beside the weights, must
    say where it says anything of it. For errors, `spans` tells where each pattern of `rename` stands, `join_spans` where each of `join`
    does, `place` where `architecture` does.
    """

    architecture: Names = ()
    metadata: dict[str, Formula] = Field(default={})
    rename: dict[Key, RuleOrPath] = Field(default={})
    join: dict[Key, Join] = Field(default={})
    ignore: Annotated[tuple[Key, ...], Field(strict=False)] = ()
    spans: SkipJsonSchema[dict[str, Span]] = Field(default={}, exclude=True, repr=False)
    join_spans: SkipJsonSchema[dict[str, Span]] = Field(default={}, exclude=True, repr=False)
    place: SkipJsonSchema[Span | None] = Field(default=None, exclude=True, repr=False)

    @model_validator(mode="after")
    def _known_wildcards(self) -> Self:
        for section, rules in (("rename", self.rename), ("join", self.join)):
            for pattern, rule in rules.items():
                own = _number(section, pattern, rule) if isinstance(rule, Rule) else frozenset()
                _check_wildcards(section, pattern, rule.paths, own)
        return self


def _check_wildcards(section: str, pattern: str, paths: tuple[str, ...], own: frozenset[str]) -> None:
    known = Pattern.parse(pattern).wildcards | own
    for path in paths:
        if unknown := [w for w in wildcards(path) if w not in known]:
            raise _fault(section, pattern, f"`{path}` uses {_named(unknown[0])}, which `{pattern}` does not have")


def _number(section: str, pattern: str, rule: Rule) -> frozenset[str]:
    """What the parts of an unstacked tensor are numbered by: every path must say it, or two parts would have one."""
    if rule.unstack is None:
        return frozenset()
    if rule.unstack in Pattern.parse(pattern).wildcards:
        raise _fault(section, pattern, f"`unstack: {rule.unstack}` numbers the parts, but `{{{rule.unstack}}}` is in `{pattern}` already")
    if without := [path for path in rule.paths if rule.unstack not in wildcards(path)]:
        raise _fault(section, pattern, f"`{without[0]}` must say where the number of a part stands: `{{{rule.unstack}}}`")
    return frozenset({rule.unstack})


def _fault(section: str, pattern: str, message: str) -> PydanticCustomError:
    return PydanticCustomError("lamina", "{message}", {"message": message, "loc": (section, pattern)})


def _named(wildcard: str) -> str:
    return f"a `*` number {wildcard[1:]}" if wildcard.startswith("*") else f"`{{{wildcard}}}`"
