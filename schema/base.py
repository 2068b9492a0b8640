"""The bases of every model in the schema."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, InstanceOf

from lamina.schema.diagnostics import Span


class Strict(BaseModel):
    """Frozen; unknown keys are errors; numbers are not coerced."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Located(Strict):
    """Anything with a place in a file."""

    span: InstanceOf[Span]
