"""YAML files to a ModelSpec. All diagnostics of a file, and of the files it imports, are found in one run."""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Mapping as MappingType
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from lamina.schema import spec as s
from lamina.schema.diagnostics import Collector, Fault, Span, did_you_mean
from lamina.schema.dims import DTYPES
from lamina.schema.expressions import Expression, parse_expression
from lamina.schema.references import check_preprocess, check_references
from lamina.schema.steps import StepReader, scalar
from lamina.schema.tree import Mapping, Node, Scalar, Sequence, parse, read_text
from lamina.schema.types import TypeDecl, is_declaration, literal_type, parse_type
from lamina.schema.validation import validated
from lamina.schema.weights import WeightRules

LIBRARY = Path(__file__).resolve().parent.parent / "specs" / "blocks"
_MODEL_KEYS = (
    "lamina", "model", "summary", "paper", "use", "config", "variants", "published", "inputs", "dims", "state", "modules",
    "blocks", "body", "outputs", "weights", "preprocess", "tokenizer",
)  # fmt: skip
_FILE_KEYS = ("lamina", "summary", "use", "blocks")
_FOUNDATIONS = ("use", "config", "inputs", "dims", "state", "modules", "blocks", "body", "args")  # without one, names look undefined
_TEMPLATES = {
    "lamina": "`lamina: 1`, the version of the language",
    "model": "`model:` and a name",
    "inputs": '`inputs: {x: "float32[N, 16]"}` with your names and sizes',
    "body": "`body:` and a list of steps, such as `- linear: 10`, one a line",
    "outputs": '`outputs: {y: "float32[N, 10]"}` with your names and sizes',
    "blocks": "`blocks:` with a body for each name",
}
_RESERVED = ("adapt", "transform", "search", "train", "decode", "taps")
_BLOCK_KEYS = ("summary", "args", "inputs", "state", "modules", "body", "result")
_DECLARATION = re.compile(r"\s*(\w+)\s*(\[.*\])\s*$", re.DOTALL)
M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


def read_spec(path: str | Path, variant: str | None = None, overrides: MappingType[str, str] | None = None) -> s.ModelSpec:
    """Read a model file. `overrides` are config values as YAML text. Raises SpecError with every diagnostic."""
    collector = Collector()
    spec = read_what_stands(path, collector, variant, overrides)
    collector.raise_if_any()
    assert spec is not None
    return spec


def read_what_stands(
    path: str | Path, collector: Collector, variant: str | None = None, overrides: MappingType[str, str] | None = None
) -> s.ModelSpec | None:
    """A spec without the parts that are wrong, so that the rest is checked in the same run; None when too little stands."""
    return _Reader(collector).model(Path(path), variant, overrides or {})


@dataclass(slots=True)
class _Reader:
    collector: Collector
    files: dict[Path, s.File] = field(default_factory=dict)
    open_files: list[tuple[Path, str]] = field(default_factory=list)
    unreadable: set[str] = field(default_factory=set)
    usable: bool = True  # false once something is wrong that makes the rest look wrong too

    @property
    def steps(self) -> StepReader:
        return StepReader(self.collector)

    def model(self, path: Path, variant: str | None, overrides: MappingType[str, str]) -> s.ModelSpec | None:
        root = self._root(path, str(path), _MODEL_KEYS, ("lamina", "model", "inputs", "body", "outputs"))
        if root is None:
            return None
        variants = self._each(root.get("variants"), "variants", self._variant)
        fields: dict[str, Any] = {
            "path": path,
            "file": self._file(path, str(path), root),
            "model": self._text(root, "model"),
            "summary": self._text(root, "summary"),
            "paper": validated(s.Paper, root.get("paper"), self.collector),
            "config": tuple(self._each(root.get("config"), "config", self._config).values()),
            "variants": variants,
            "published": self._each(root.get("published"), "published", lambda k, v: validated(s.Published, v, self.collector)),
            "inputs": tuple(self._each(root.get("inputs"), "inputs", tensor_decl).values()),
            "dims": self._each(root.get("dims"), "dims", self._dim),
            "state": tuple(self._each(root.get("state"), "state", tensor_decl).values()),
            "modules": self._try(self.steps.modules, root.get("modules")),
            "body": self._body(root.get("body")),
            "outputs": tuple(self._each(root.get("outputs"), "outputs", tensor_decl).values()),
            "weights": self._weights(root.get("weights")),
            "preprocess": self._each(root.get("preprocess"), "preprocess", lambda k, v: validated(s.ImagePreprocess, v, self.collector)),
            "tokenizer": validated(s.Tokenizer, root.get("tokenizer"), self.collector),
            "overrides": self._overrides(overrides),
            "variant": variant,
        }
        check_references(root, self.collector, variant, fields["overrides"])
        check_preprocess(root, self.collector, fields["inputs"], fields["preprocess"])
        if not self.usable or fields["body"] is None:
            return None
        return s.ModelSpec(sources=self.collector.sources, unreadable=frozenset(self.unreadable), **fields)

    def _root(self, path: Path, name: str, known: tuple[str, ...], required: tuple[str, ...], what: str = "a spec") -> Mapping | None:
        try:
            text = read_text(path, name)
        except Fault as fault:
            self.collector.add(fault.at(Span(name, 1, 1)))
            self.usable = False
            return None
        root = parse(text, name, self.collector)
        if root is None and not self.collector.diagnostics:
            self.collector.error("yaml", "the file is empty", Span(name, 1, 1), "start with `lamina: 1`")
        if root is not None and not isinstance(root, Mapping):
            self.collector.error("yaml", "a spec is a mapping of sections, such as `model:` and `body:`", root.span)
        if not isinstance(root, Mapping):
            self.usable = False
            return None
        self._keys(root, known, required, what)
        version = root.get("lamina")
        if isinstance(version, Scalar) and (version.value != 1 or isinstance(version.value, bool)):
            self.collector.error(
                "version", f"`lamina: {version.text}` is not a language version that this release reads", version.span, "write `lamina: 1`"
            )
        return root

    def _keys(self, node: Mapping, known: tuple[str, ...], required: tuple[str, ...] = (), what: str = "a spec") -> None:
        for key, _ in node:
            if key.text in _RESERVED and "body" in known and "lamina" in known:
                self.collector.error("reserved", f"`{key.text}` is reserved for a later version of the language", key.span, "remove it")
            elif key.text not in known:
                hint = did_you_mean(key.text, known) or f"the keys are {', '.join(known)}"
                self.collector.error("unknown-key", f"`{key.text}` is not a key of {what}", key.span, hint)
                self.usable = self.usable and not did_you_mean(key.text, _FOUNDATIONS)
        self._required(node, required, [key.text for key, _ in node if key.text not in known])

    def _required(self, node: Mapping, required: tuple[str, ...], unknown: list[str]) -> None:
        """What is missing, but for a key that stands there misspelt: that has been said."""
        for key in required:
            if key not in node.keys and not did_you_mean(key, unknown):
                self.collector.error("missing-key", f"the file has no `{key}:`", node.span, f"add {_TEMPLATES[key]}")
                self.usable = self.usable and key not in _FOUNDATIONS

    def _file(self, path: Path, name: str, root: Mapping) -> s.File:
        self.open_files.append((path.resolve(), name))
        imports = self._imports(path, root.get("use"))
        blocks = self._each(root.get("blocks"), "blocks", self._block)
        self.open_files.pop()
        owners: dict[str, str] = {}
        for imported in imports:
            for block in imported.blocks:
                if block in owners and block not in blocks:
                    use = root.get("use")
                    assert use is not None
                    message = f"both `{owners[block]}` and `{Path(imported.name).name}` define the block `{block}`"
                    self.collector.error("import", message, use.span, "rename one of them")
                owners[block] = Path(imported.name).name
        return s.File(name=name, blocks=blocks, imports=tuple(imports))

    def _imports(self, path: Path, node: Node | None) -> list[s.File]:
        if node is None:
            return []
        if not isinstance(node, Sequence):
            self.collector.error("type", "`use` must be a list of block files", node.span, "write use: [attention]")
            return []
        found = [self._try(lambda n: self._import(path, n), item) for item in node.items]
        self.usable = self.usable and None not in found
        return [f for f in found if f is not None]

    def _import(self, importer: Path, node: Node) -> s.File | None:
        text = scalar(node, "an import").text
        target, name = _locate(importer, text, node)
        key = target.resolve()
        if any(key == opened for opened, _ in self.open_files):
            chain = " -> ".join(Path(n).name for n in [*(n for _, n in self.open_files), name])
            raise Fault("cycle", f"`{text}` imports itself: {chain}", node.span, "move the shared blocks into a third file")
        if key not in self.files:
            root = self._root(target, name, _FILE_KEYS, ("lamina", "blocks"), "a block file")
            if root is None:
                return None
            self.files[key] = self._file(target, name, root)
        return self.files[key]

    def _block(self, key: Scalar, node: Node) -> s.Block | None:
        if not key.text.isidentifier():
            raise Fault("name", f"`{key.text}` cannot name a block", key.span, "use letters, digits and `_`")
        if not isinstance(node, Mapping):
            raise Fault("type", f"the block `{key.text}` must be a mapping with `body:`", node.span)
        self._keys(node, _BLOCK_KEYS, what="a block")
        body = node.get("body")
        if body is None:
            raise Fault("missing-key", f"the block `{key.text}` has no `body:`", key.span, "add `body:` with its steps")
        inputs = node.get("inputs")
        names, optional = (("x",), frozenset[str]()) if inputs is None else _inputs(inputs)
        state = tuple(self._each(node.get("state"), "state", tensor_decl).values())
        args = tuple(self._each(node.get("args"), "args", _argument).values())
        modules = self._try(self.steps.modules, node.get("modules"))
        flow = self.steps.flow(body, node.get("result"))
        if isinstance(written := node.get("args"), Mapping) and len(args) < len(written.entries):
            return None  # its arguments are not known, so its calls cannot be judged
        return s.Block(
            span=key.span,
            name=key.text,
            summary=self._text(node, "summary"),
            args=args,
            inputs=names,
            optional=optional,
            state=state,
            modules=modules,
            body=flow,
        )

    def _config(self, key: Scalar, node: Node) -> s.ConfigEntry:
        return s.ConfigEntry(span=key.span, name=key.text, type=_declared(node))

    def _variant(self, key: Scalar, node: Node) -> tuple[s.Override, ...]:
        if isinstance(node, Scalar) and node.value is None and node.plain:
            return ()
        if not isinstance(node, Mapping):
            raise Fault("type", f"the variant `{key.text}` must be a mapping of config values", node.span, "write {} for the defaults")
        return tuple(s.Override(span=k.span, name=k.text, value=v) for k, v in node)

    def _overrides(self, overrides: MappingType[str, str]) -> tuple[s.Override, ...]:
        found = []
        for name, text in overrides.items():
            value = parse(text, f"--set {name}", self.collector)
            if value is not None:
                found.append(s.Override(span=value.span, name=name, value=value))
        return tuple(found)

    def _dim(self, key: Scalar, node: Node) -> s.DimDecl | None:
        if not isinstance(node, Mapping):
            raise Fault("type", f"the dim `{key.text}` must be a mapping", node.span, f"write {key.text}: {{min: 1, opt: 8, max: 64}}")
        before = len(self.collector.diagnostics)
        dim = validated(s.DimDecl, node, self.collector, {"span": key.span})
        if dim is None or len(self.collector.diagnostics) > before:
            return None
        problem, where = _range_problem(key.text, dim)
        if problem:
            place = node.get(where)
            raise Fault("dims", problem, place.span if place is not None else key.span, _nearest(dim, where))
        return dim

    def _body(self, node: Node | None) -> s.Flow | None:
        if isinstance(node, Scalar) and node.plain and not node.text:
            self.collector.error("type", "`body` is empty", node.span, "write its steps, such as `- linear: 10`, one a line")
            return None
        return None if node is None else self.steps.flow(node)

    def _each(self, node: Node | None, section: str, read: Callable[[Scalar, Node], T | None]) -> dict[str, T]:
        if node is None or (isinstance(node, Scalar) and node.plain and node.value is None):
            return {}
        if not isinstance(node, Mapping):
            self.collector.error("type", f"`{section}` must be a mapping", node.span)
            return {}
        found: dict[str, T] = {}
        for key, value in node:
            result = self._try(partial(read, key), value)
            if result is not None:
                found[key.text] = result
            else:
                self.unreadable.add(key.text)
        return found

    def _try(self, read: Callable[[Node], T | None], node: Node | None) -> T | None:
        if node is None:
            return None
        try:
            return read(node)
        except Fault as fault:
            self.collector.add(fault.at(node.span))
            return None

    def _text(self, mapping: Mapping, key: str) -> str:
        node = mapping.get(key)
        if node is None:
            return ""
        if isinstance(node, Scalar) and isinstance(node.value, str):
            return node.text
        quoted = f'write "{node.text}" in quotes' if isinstance(node, Scalar) and node.text else ""
        self.collector.error("type", f"`{key}` must be a text", node.span, quoted)
        return ""

    def _weights(self, node: Node | None) -> WeightRules | None:
        rename = node.get("rename") if isinstance(node, Mapping) else None
        spans = {key.text: key.span for key, _ in rename} if isinstance(rename, Mapping) else {}
        return validated(WeightRules, node, self.collector, {"spans": spans}, code="weights")


def _locate(importer: Path, text: str, node: Node) -> tuple[Path, str]:
    if text.startswith("./"):
        if ".." in Path(text).parts:
            raise Fault("path", f"`{text}` leaves the spec's folder", node.span, "copy the file beside the spec")
        target = importer.parent / text
        target = target if target.suffix else target.with_suffix(".yaml")
        if not target.is_file():
            raise Fault("import", f"there is no file `{text}` beside the spec", node.span)
        if not target.resolve().is_relative_to(importer.parent.resolve()):
            raise Fault("path", f"`{text}` leads out of the spec's folder", node.span, "copy the file beside the spec")
        return target, str(target)
    library = sorted(p.stem for p in LIBRARY.glob("*.yaml"))
    if text not in library:
        if "/" in text or ".." in text:
            raise Fault(
                "path",
                f"`{text}` is not a path that a spec may import",
                node.span,
                "a path starts with `./` and stays in the spec's folder",
            )
        raise Fault(
            "import",
            f"there is no block file `{text}`",
            node.span,
            did_you_mean(text, library) or f"for a file of your own write its path, `./{text}.yaml`",
        )
    return LIBRARY / f"{text}.yaml", f"blocks/{text}.yaml"


def tensor_decl(key: Scalar, node: Node) -> s.TensorDecl:
    """`float32[N, 3, H, W]` as a declaration. Raises Fault."""
    text = scalar(node, f"`{key.text}`")
    match = _DECLARATION.match(text.text)
    if not match:
        raise Fault(
            "type", f"`{text.text}` is not a tensor type", node.span, "write dtype[sizes], such as `float32[N, 3, H, W]`, quoted inside {}"
        )
    dtype = match.group(1)
    if dtype not in DTYPES:
        raise Fault(
            "dtype",
            f"`{dtype}` is not a dtype",
            text.at(match.start(1), len(dtype)),
            did_you_mean(dtype, DTYPES) or f"dtypes are {', '.join(DTYPES)}",
        )
    listed = parse_expression(text, match.start(2))
    elements = getattr(listed.tree, "elts", [])
    return s.TensorDecl(span=key.span, name=key.text, dtype=dtype, shape=tuple(Expression(e, text, listed.offset) for e in elements))


def _inputs(node: Node) -> tuple[tuple[str, ...], frozenset[str]]:
    """The names of a block's inputs, and those that are written `u = null`. Raises Fault."""
    names: list[str] = []
    optional: set[str] = set()
    for item in node.items if isinstance(node, Sequence) else ():
        name, default = _input(item)
        if optional and not default:
            hint = "write the inputs that may be left out last"
            raise Fault("type", f"the input `{name}` must be given, but it follows one that may be left out", item.span, hint)
        names.append(name)
        optional |= {name} if default else set()
    if not isinstance(node, Sequence):
        raise Fault("type", "this must be a list of names", node.span, "write [u, f]")
    return tuple(names), frozenset(optional)


def _input(node: Node) -> tuple[str, bool]:
    """`u`, or `u = null`."""
    name, equals, default = (part.strip() for part in (node.text if isinstance(node, Scalar) else "").partition("="))
    if not name.isidentifier():
        raise Fault("type", "this must be a list of names", node.span, "write [u, f]")
    if equals and default not in ("null", "None"):
        raise Fault("type", f"an input can only default to null, not to `{default}`", node.span, f'write "{name} = null"')
    return name, bool(equals)


def _argument(key: Scalar, node: Node) -> s.Argument:
    if isinstance(node, Scalar) and isinstance(node.value, str):
        return s.Argument(span=key.span, name=key.text, type=parse_type(node))
    return s.Argument(span=key.span, name=key.text, type=literal_type(node))


def _declared(node: Node) -> TypeDecl:
    if isinstance(node, Scalar) and isinstance(node.value, str) and is_declaration(node.text):
        return parse_type(node)
    return literal_type(node)


def _nearest(dim: s.DimDecl, key: str) -> str:
    value, unit = getattr(dim, key), dim.multiple_of
    return f"write {value // unit * unit or unit} or {-(-value // unit) * unit}" if value % unit else ""


def _range_problem(name: str, dim: s.DimDecl) -> tuple[str, str]:
    if dim.min > dim.max:
        return f"the dim `{name}` has min {dim.min} above max {dim.max}", "min"
    if not dim.min <= dim.opt <= dim.max:
        return f"the dim `{name}` has opt {dim.opt} outside {dim.min} to {dim.max}", "opt"
    for key, value in (("min", dim.min), ("opt", dim.opt), ("max", dim.max)):
        if value % dim.multiple_of and key in dim.model_fields_set:
            return f"the dim `{name}` is a multiple of {dim.multiple_of}, but its {key} is {value}", key
    return "", ""
