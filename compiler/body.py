"""A block that is given to an op: its steps as a graph, which the op applies as often as it likes, with weights of its choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, final

from pydantic import GetJsonSchemaHandler
from pydantic_core import core_schema

from lamina.compiler.graph import Graph, Value

if TYPE_CHECKING:
    from lamina.compiler.op import Weight

EACH = "*"  # in paths, the place of the number of an application


@final
@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """The graph's inputs are what the op hands to it, then its `weights`, then what it reads of the place where it is written, `around`."""

    name: str
    graph: Graph
    weights: Mapping[str, Weight]
    around: Mapping[str, Value]

    @property
    def given(self) -> tuple[Value, ...]:
        """What the op hands to it."""
        return self.graph.inputs[: len(self.graph.inputs) - len(self.weights) - len(self.around)]


class _BlockSchema:
    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.is_instance_schema(Body)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "block"}


BlockArg = Annotated[Body, _BlockSchema]  # an argument that is a block, or steps in place
