"""The base of every model in the schema."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Frozen; unknown keys are errors; numbers are not coerced."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
