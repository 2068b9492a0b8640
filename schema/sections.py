"""Sections of a spec that hold plain values: dims, the publication, what prepares files and texts for the inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidatorFunctionWrapHandler, WithJsonSchema, WrapValidator, model_validator

from lamina.schema.base import Located, Strict
from lamina.schema.expressions import Expression


def _expression_or(value: Any, number: ValidatorFunctionWrapHandler) -> float | Expression:
    """A union would say of a wrong number, too, that it is no expression."""
    return value if isinstance(value, Expression) else number(value)


OR_TEXT = WrapValidator(_expression_or), WithJsonSchema({"type": ["integer", "string"]})
NUMBER_OR_TEXT = WrapValidator(_expression_or), WithJsonSchema({"type": ["number", "string"]})
if TYPE_CHECKING:
    Bound = int | Expression
    Positive = int | Expression
else:
    Bound = Annotated[int, Field(ge=0), *OR_TEXT]
    Positive = Annotated[int, Field(ge=1), *OR_TEXT]


class DimDecl(Located):
    """The range of a dynamic size, and what it is a multiple of: numbers, or expressions over the config."""

    min: Bound = 1
    opt: Bound = 0
    max: Positive = 2**31 - 1
    multiple_of: Positive = 1

    @property
    def expressions(self) -> tuple[Expression, ...]:
        """Those of its values that follow the config."""
        return tuple(v for v in (self.multiple_of, self.max, self.min, self.opt) if isinstance(v, Expression))

    @model_validator(mode="before")
    @classmethod
    def _opt_in_range(cls, data: dict[str, object]) -> dict[str, object]:
        """Without `min`, the smallest multiple; without `opt`, the smallest size."""
        unit = data.get("multiple_of", 1)
        least = data.get("min", 1 if isinstance(unit, Expression) else unit)
        return {"min": least, "opt": least} | {k: v for k, v in data.items() if v is not None}


class Paper(Strict):
    """Where the architecture was published."""

    title: str
    arxiv: str | None = None
    url: str | None = None


class Published(Strict):
    """Figures that a publication gives for a variant, as text such as `11.9M`, at named sizes."""

    params: str | int | None = None
    macs: str | int | None = None
    at: dict[str, int] = Field(default_factory=dict)


class ImagePreprocess(Strict):
    """Resize the shorter side, crop the centre, scale to 0..1, normalise; both sizes may be expressions over the config."""

    resize: Positive | None = None
    crop: Positive | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bicubic"
    mean: list[float] = Field(default_factory=lambda: [0.0, 0.0, 0.0])
    std: list[float] = Field(default_factory=lambda: [1.0, 1.0, 1.0])


class Tokenizer(Strict):
    """A `tokenizers` file beside the checkpoint, and the inputs that its ids and mask feed."""

    file: str = "tokenizer.json"
    ids: str
    mask: str | None = None
    types: str | None = None
    max_length: int = Field(default=512, ge=1)
