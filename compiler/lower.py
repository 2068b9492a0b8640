"""Which passes run for which target, in order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from lamina.compiler.elaborate.uninterrupted import uninterrupted
from lamina.compiler.graph import Graph
from lamina.compiler.passes.absorb_transposes import absorb_transposes
from lamina.compiler.passes.canonical_names import canonical_names
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


@uninterrupted()
def lower(graph: Graph, target: Target | Literal["module"]) -> Graph:
    """The graph of operators for a target, or for a PyTorch module that is not exported.

    PyTorch keeps its train-time operators and recomputes what depends on weights.
    """
    graph = merge_linears(graph) if target == "onnxruntime" else graph
    operators = drop_identity(decompose(graph, target))
    if target in ("torch", "module"):
        return operators
    operators = hoist_products(operators)
    if target == "onnxruntime":
        operators = group_queries(deduplicate(drop_identity(preallocate_caches(join_heads(absorb_transposes(operators))))))
    if target == "tensorrt":
        operators = split_relus(separate_loops(tie_collected(hoist_constant(operators))))
    operators = fold(merge_products(fold(merge_parallel_convs(fold(fuse_conv_batch_norm(operators))))))
    if target == "onnxruntime":
        operators = fold(linear_kernels(operators))
    if target != "tensorrt":
        operators = part_transposes(operators)
    return canonical_names(deduplicate(operators))


def rounded(graph: Graph, precisions: Mapping[str, Precision], ranges: Ranges) -> Graph:
    """The graph of operators, its layers in int8-static rounded in these ranges."""
    return canonical_names(deduplicate(fold(quantize_layers(graph, precisions, ranges))))


def halved(graph: Graph, precisions: Mapping[str, Precision]) -> Graph:
    """The graph of operators, its layers in float16 and bfloat16 multiplied so."""
    return canonical_names(deduplicate(fold(half_layers(graph, precisions)))) if set(HALF) & {*precisions.values()} else graph
