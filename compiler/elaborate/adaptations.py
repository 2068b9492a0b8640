"""Which steps are adapted: the rules of `adapt:`, by patterns of paths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, final

from lamina.schema.diagnostics import Diagnostic
from lamina.schema.patterns import Pattern
from lamina.schema.spec import Adaptation

if TYPE_CHECKING:
    from lamina.compiler.elaborate.values import Frame, Module

WHOLE = "model"  # the pattern of the whole body
OWN = "adapter"  # the part of a path that weights of an adaptation have before their own


@final
class Adaptations:
    """The rules, the adaptations that are being run, which rules have found a step, and what the body begins with: values and modules."""

    def __init__(self, rules: Sequence[Adaptation]) -> None:
        self._rules = [(Pattern.parse(text), rule) for rule in rules for text in rule.patterns]
        self.around: list[Frame] = []  # of the adaptations inside which steps are run, the innermost last
        self.modules: dict[str, Module] = {}
        self._used: set[str] = set()
        self.inputs: dict[str, Any] = {}

    def find(self, path: str) -> tuple[Adaptation, dict[str, Any]] | None:
        """The first rule whose pattern matches a path, and what its wildcards stand for: numbers where they are numbers.

        A `*` does not reach into what adaptations add, or a rule would be around its own steps.
        """
        added = OWN in path.split(".")
        for pattern, rule in self._rules:
            apart = pattern.text == WHOLE or (added and OWN not in pattern.text.split("."))
            captures = pattern.captures(path) if path and not apart else None
            if captures is not None:
                self._used.add(pattern.text)
                named = {name: text for name, text in captures.items() if name.isidentifier()}
                return rule, {name: int(text) if text.isdecimal() else text for name, text in named.items()}
        return None

    def whole(self) -> Adaptation | None:
        """The rule for the whole body: no wildcard stands for that."""
        self._used.add(WHOLE)
        return next((rule for pattern, rule in self._rules if pattern.text == WHOLE), None)

    def unused(self) -> list[Diagnostic]:
        """A diagnostic for each rule that matches no step."""
        missed = [(pattern.text, rule) for pattern, rule in self._rules if pattern.text not in self._used]
        hint = "a pattern is of a step's whole path, as `lamina show` prints it; `{i}` stands for a part of it, `*` for anything"
        return [Diagnostic("adapt", f"`{text}` matches the path of no step", rule.span, hint) for text, rule in missed]
