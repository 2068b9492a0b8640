"""How a checkpoint's keys map to our paths."""

from __future__ import annotations

from lamina.schema.base import Strict


class WeightRules(Strict):
    rename: dict[str, object] = {}
    ignore: list[str] = []
