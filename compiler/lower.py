"""Which passes run for which target, in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping
from typing import Literal

from lamina.compiler.elaborate.uninterrupted import uninterrupted
from lamina.compiler.graph import Graph
from lamina.compiler.passes.absorb_transposes import absorb_transposes
from lamina.compiler.passes.canonical_names import canonical_names
from lamina.compiler.passes.conv_kernels import conv_kernels
from lamina.compiler.passes.decompose import decompose
from lamina.compiler.passes.deduplicate import deduplicate
from lamina.compiler.passes.drop_identity import drop_identity
from lamina.compiler.passes.fold import fold
from lamina.compiler.passes.fuse_conv_batch_norm import fuse_conv_batch_norm
from lamina.compiler.passes.group_queries import group_queries
from lamina.compiler.passes.half_layers import half_layers
from lamina.compiler.passes.hoist_constant import hoist_constant
from lamina.compiler.passes.hoist_products import hoist_products
from lamina.compiler.passes.join_heads import join_heads
from lamina.compiler.passes.linear_kernels import linear_kernels
from lamina.compiler.passes.merge_linears import merge_linears
from lamina.compiler.passes.merge_parallel_convs import merge_parallel_convs
from lamina.compiler.passes.merge_products import merge_products
from lamina.compiler.passes.part_transposes import part_transposes
from lamina.compiler.passes.preallocate_caches import preallocate_caches
from lamina.compiler.passes.quantize_layers import Ranges, quantize_layers
from lamina.compiler.passes.separate_loops import separate_loops
from lamina.compiler.passes.split_relus import split_relus
from lamina.compiler.passes.tie_collected import tie_collected
from lamina.compiler.precision import HALF
from lamina.schema.dims import Precision

Target = Literal["onnx", "onnxruntime", "tensorrt", "torch"]
OPTIONAL = ("join_heads", "group_queries", "linear_kernels", "conv_kernels")
_NEEDED = ("dropout.kept", "gelu.tanh_in_float64", "scatter.in_float32")  # forms that are not there for speed


@uninterrupted()
def lower(graph: Graph, target: Target | Literal["module"], left_out: Container[str] = ()) -> Graph:
    """The graph of operators for a target, or for a PyTorch module that is not exported.

    PyTorch keeps its train-time operators and recomputes what depends on weights. For onnxruntime, passes of `OPTIONAL` and forms of ops
    (`attention.operator`) may be left out.
    """
    graph = merge_linears(graph) if target == "onnxruntime" else graph
    operators = drop_identity(decompose(graph, target, left_out=left_out))
    if target in ("torch", "module"):
        return operators
    operators = hoist_products(operators)
    if target == "onnxruntime":
        operators = absorb_transposes(operators)
        operators = operators if "join_heads" in left_out else join_heads(operators)
        operators = deduplicate(drop_identity(preallocate_caches(operators)))
        operators = operators if "group_queries" in left_out else group_queries(operators)
    if target == "tensorrt":
        operators = split_relus(separate_loops(tie_collected(hoist_constant(operators))))
    operators = fold(merge_products(fold(merge_parallel_convs(fold(fuse_conv_batch_norm(operators))))))
    if target == "onnxruntime" and "linear_kernels" not in left_out:
        operators = fold(linear_kernels(operators))
    if target == "onnxruntime" and "conv_kernels" not in left_out:
        operators = conv_kernels(operators)
    if target != "tensorrt":
        operators = part_transposes(operators)
    return canonical_names(deduplicate(operators))


def choices(graph: Graph) -> tuple[str, ...]:
    """What may be left out for onnxruntime and makes a difference: passes, and the forms of ops that are there for speed."""
    whole = lower(graph, "onnxruntime")
    forms = {node.origin.form for node in whole.all_nodes() if "." in node.origin.form} - {*_NEEDED}
    operators = _operators(whole)
    return tuple(name for name in (*OPTIONAL, *sorted(forms)) if _operators(lower(graph, "onnxruntime", (name,))) != operators)


def _operators(graph: Graph) -> Counter[tuple[str, str]]:
    return Counter((node.domain, node.op_type) for node in graph.all_nodes())


def rounded(graph: Graph, precisions: Mapping[str, Precision], ranges: Ranges) -> Graph:
    """The graph of operators, its layers in int8-static rounded in these ranges."""
    return canonical_names(deduplicate(fold(quantize_layers(graph, precisions, ranges))))


def halved(graph: Graph, precisions: Mapping[str, Precision]) -> Graph:
    """The graph of operators, its layers in float16 and bfloat16 multiplied so."""
    return canonical_names(deduplicate(fold(half_layers(graph, precisions)))) if set(HALF) & {*precisions.values()} else graph
