"""Where weights are named: the dotted path of the part that is being run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count


@dataclass(slots=True)
class Scope:
    """The path so far, and how often each name was used in it."""

    path: str = ""
    shared: bool = False  # inside a module: the same names mean the same weights
    counts: dict[str, int] = field(default_factory=dict)
    element: Element | None = None

    def join(self, name: str) -> str:
        """The path of a name in this scope; of no name, the scope's own."""
        return f"{self.path}.{name}" if self.path and name else self.path or name

    def unique(self, name: str) -> str:
        """The name, with a number from its second use on."""
        self.counts[name] = self.counts.get(name, 0) + 1
        if self.element is not None:
            return self.element.agreed(name, self.counts[name])
        return name if self.counts[name] == 1 else f"{name}_{self.counts[name]}"

    def child(self, name: str) -> Scope:
        return Scope(self.join(f"{name}.{self.element.index}" if self.element is not None and name else name), self.shared)

    def elements(self) -> Iterator[Scope]:
        """A scope for each element of a comprehension: the same names in each, followed by the element's index."""
        names: dict[tuple[str, int], str] = {}
        prefix = f"{self.element.index}." if self.element is not None else ""
        for index in count():
            yield Scope(self.path, self.shared, element=Element(self, f"{prefix}{index}", names))

    def enter(self, label: Label) -> Scope:
        """The scope of a call: named, or unnamed and so numbered, or (a module's) this one."""
        if label is HERE:
            return self
        return self.child(label.text if label.fixed else self.unique(label.text))


@dataclass(frozen=True, slots=True)
class Element:
    """An element of a comprehension: its index, the scope around it, and the names that its elements have agreed on."""

    around: Scope
    index: str
    names: dict[tuple[str, int], str]

    def agreed(self, name: str, use: int) -> str:
        """What the use-th call of that name in each element is named by."""
        if (name, use) not in self.names:
            self.names[name, use] = self.around.unique(name)
        return self.names[name, use]


@dataclass(frozen=True, slots=True)
class Label:
    """What a call's weights are named by: a `name:` (fixed), or the word that was called (numbered from its second use on)."""

    text: str
    fixed: bool = True


HERE = Label("")  # no scope of its own
