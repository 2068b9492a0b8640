"""Files: the blocks that one defines, and those that it imports with `use`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from lamina.schema.blocks import read_block
from lamina.schema.diagnostics import Fault, did_you_mean
from lamina.schema.parts import scalar
from lamina.schema.reading import Reading
from lamina.schema.root import read_root
from lamina.schema.spec import Block, File
from lamina.schema.tree import Mapping, Node, Sequence

LIBRARY = Path(__file__).resolve().parent.parent / "specs" / "blocks"
_KEYS = ("lamina", "summary", "use", "blocks")


def read_file(reading: Reading, path: Path, name: str, root: Mapping) -> File:
    """The blocks of a file and of those that it imports."""
    reading.open_files.append((path.resolve(), name))
    imports = _imports(reading, path, root.get("use"))
    blocks = reading.each(root.get("blocks"), "blocks", partial(read_block, reading))
    reading.open_files.pop()
    _check_unique(reading, imports, blocks, root)
    return File(name=name, blocks=blocks, imports=tuple(imports))


def _check_unique(reading: Reading, imports: list[File], blocks: dict[str, Block], root: Mapping) -> None:
    """Report a block that two imports define."""
    use, owners = root.get("use"), dict[str, str]()
    for imported in imports:
        for block in imported.blocks:
            if block in owners and block not in blocks and use is not None:
                message = f"both `{owners[block]}` and `{Path(imported.name).name}` define the block `{block}`"
                reading.collector.error("import", message, use.span, "rename one of them")
            owners[block] = Path(imported.name).name


def _imports(reading: Reading, path: Path, node: Node | None) -> list[File]:
    if node is None:
        return []
    if not isinstance(node, Sequence):
        reading.collector.error("type", "`use` must be a list of block files", node.span, "write use: [attention]")
        return []
    found = [reading.attempt(partial(_import, reading, path), item) for item in node.items]
    reading.usable = reading.usable and None not in found
    return [f for f in found if f is not None]


def _import(reading: Reading, importer: Path, node: Node) -> File | None:
    text = scalar(node, "an import").text
    target, name = _locate(importer, text, node)
    key = target.resolve()
    if any(key == opened for opened, _ in reading.open_files):
        chain = " -> ".join(Path(n).name for n in [*(n for _, n in reading.open_files), name])
        raise Fault("cycle", f"`{text}` imports itself: {chain}", node.span, "move the shared blocks into a third file")
    if key not in reading.files:
        root = read_root(reading, target, name, _KEYS, ("lamina", "blocks"), "a block file")
        if root is None:
            return None
        reading.files[key] = read_file(reading, target, name, root)
    return reading.files[key]


def _locate(importer: Path, text: str, node: Node) -> tuple[Path, str]:
    """The file that an import names, and how messages name it. Raises Fault."""
    if text.startswith("./"):
        return _beside(importer, text, node)
    library = sorted(p.stem for p in LIBRARY.glob("*.yaml"))
    if text in library:
        return LIBRARY / f"{text}.yaml", f"blocks/{text}.yaml"
    if "/" in text or ".." in text:
        hint = "a path starts with `./` and stays in the spec's folder"
        raise Fault("path", f"`{text}` is not a path that a spec may import", node.span, hint)
    hint = did_you_mean(text, library) or f"for a file of your own write its path, `./{text}.yaml`"
    raise Fault("import", f"there is no block file `{text}`", node.span, hint)


def _beside(importer: Path, text: str, node: Node) -> tuple[Path, str]:
    """A file in the importer's folder."""
    if ".." in Path(text).parts:
        raise Fault("path", f"`{text}` leaves the spec's folder", node.span, "copy the file beside the spec")
    target = importer.parent / text
    target = target if target.suffix else target.with_suffix(".yaml")
    if not target.is_file():
        raise Fault("import", f"there is no file `{text}` beside the spec", node.span)
    if not target.resolve().is_relative_to(importer.parent.resolve()):
        raise Fault("path", f"`{text}` leads out of the spec's folder", node.span, "copy the file beside the spec")
    return target, str(target)
