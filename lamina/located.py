"""Where the nodes of a bundle's ONNX file come from in its spec, and what ONNX Runtime says of them, told by lines of it."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

from lamina.compiler.elaborate import Elaborated
from lamina.compiler.graph import Origin
from lamina.compiler.lower import lower
from lamina.compiler.protos import all_nodes
from lamina.compiler.provenance import PATH, mentioned
from lamina.runtime.errors import BundleError
from lamina.schema.diagnostics import Diagnostic


def node_origins(file: Path, model: Elaborated, target: str, left_out: Container[str] = ()) -> dict[str, Origin]:
    """The origin of each node, by name, in the spec that `model` was made of. BundleError for a node that the spec does not make.

    `left_out` is as in `lower`.
    Nodes have the names of what they make, which are the same each time; those of rounded weights are found by their paths.
    """
    import onnx

    lowered = [(node.outputs[0].name, node.origin) for node in lower(model.graph, target, left_out).all_nodes()]  # type: ignore[arg-type]
    names, paths = dict(lowered), {origin.path: origin for _, origin in lowered}
    found = {}
    for node in all_nodes(onnx.load(file, load_external_data=False).graph.node):
        path = next((entry.value for entry in node.metadata_props if entry.key == PATH), "")
        origin = names.get(node.name) or paths.get(path)
        if origin is None:
            raise BundleError(f"{file} has a node `{node.name}` (of `{path}`), which its spec does not make; compile the spec again")
        found[node.name] = origin
    return found


def diagnosed(error: Exception, file: Path, model: Elaborated, target: str, left_out: Container[str] = ()) -> tuple[Diagnostic, ...]:
    """Why ONNX Runtime does not open a file, or cannot run it, at lines of its spec; nothing where it is not the graph's fault."""
    import onnx

    from lamina.compiler.targets.onnxruntime import check_support

    origins = node_origins(file, model, target, left_out)
    if found := check_support(onnx.load(file, load_external_data=False), origins):
        return found
    name = mentioned(str(error), origins)
    return (Diagnostic(target, f"{error} (in `{origins[name].path}`)", origins[name].span),) if name else ()
