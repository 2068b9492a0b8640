"""Blocks: what moves whole rows keeps them, what cuts through them gives numbers; either way the numbers are the array's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf_files import random_blocks, write_gguf

from lamina.compiler.graph import Parameter
from lamina.compiler.weights.blocks import BlockQuantized
from lamina.compiler.weights.checkpoint import Checkpoint
from lamina.compiler.weights.files import read_tensors
from lamina.compiler.weights.ggml import FORMATS
from lamina.compiler.weights.tensor import Tensor, cast, renamed, reshaped, sliced, transposed
from lamina.schema.dims import TensorType
from lamina.schema.weights import WeightRules

Array = np.ndarray[Any, np.dtype[Any]]
RAW = random_blocks("Q4_1", (12, 64))
NUMBERS = gguf.dequantize(RAW, gguf.GGMLQuantizationType.Q4_1)


@pytest.fixture
def tensor(tmp_path: Path) -> Tensor:
    return read_tensors(write_gguf(tmp_path / "m.gguf", {"first": np.ones(3, np.float32), "w": (RAW, "Q4_1")}))["w"]


KEPT: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Array], Array]]] = {
    "a name": (lambda t: renamed(t, "v"), lambda a: a),
    "a part of the rows": (lambda t: sliced(t, 0, 3, 8), lambda a: a[3:8]),
    "one row": (lambda t: sliced(t, 0, 11, 12), lambda a: a[11:]),
    "no row": (lambda t: sliced(t, 0, 4, 4), lambda a: a[4:4]),
    "heads": (lambda t: reshaped(t, (3, -1, 64)), lambda a: a.reshape(3, 4, 64)),
    "rotary order": (
        lambda t: reshaped(transposed(reshaped(t, (2, 3, 2, 64)), (0, 2, 1, 3)), (12, -1)),
        lambda a: a.reshape(2, 3, 2, 64).transpose(0, 2, 1, 3).reshape(12, 64),
    ),
    "a part of rows in another order": (
        lambda t: sliced(transposed(reshaped(t, (3, 4, 64)), (1, 0, 2)), 1, 1, 3),
        lambda a: a.reshape(3, 4, 64).transpose(1, 0, 2)[:, 1:3],
    ),
}
LOST: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Array], Array]]] = {
    "transposed": (lambda t: transposed(t, (1, 0)), lambda a: a.T),
    "columns": (lambda t: sliced(t, 1, 0, 32), lambda a: a[:, :32]),
    "flat": (lambda t: reshaped(t, (-1,)), lambda a: a.reshape(-1)),
    "rows cut in two": (lambda t: reshaped(t, (24, 32)), lambda a: a.reshape(24, 32)),
    "float16": (lambda t: cast(t, "float16"), lambda a: a.astype(np.float16)),
}


@pytest.mark.parametrize("case", [*KEPT, *LOST])
def test_forms(case: str, tensor: Tensor) -> None:
    change, expected = {**KEPT, **LOST}[case]
    changed, want = change(tensor), expected(NUMBERS)
    np.testing.assert_array_equal(changed.numpy(), want, strict=True)
    for size in (4, 512, 1 << 20):
        np.testing.assert_array_equal(np.concatenate([*changed.chunks(size), want[:0].reshape(-1)]), want.reshape(-1))
    assert isinstance(changed, BlockQuantized) == (case in KEPT)
    if isinstance(changed, BlockQuantized):
        np.testing.assert_array_equal(changed.blocks().numbers().reshape(want.shape), want)
        assert changed.raw().shape == (want.size // 64, 2, 20)


@pytest.mark.parametrize("kind", FORMATS)
def test_blocks_say_what_the_numbers_are_made_of(kind: str, tmp_path: Path) -> None:
    """Codes within their bits, scales and minima for every group: computed apart, they give ggml's numbers."""
    raw = random_blocks(kind, (5, 512))
    tensor = read_tensors(write_gguf(tmp_path / "m.gguf", {"w": (raw, kind)}))["w"]
    assert isinstance(tensor, BlockQuantized)
    blocks, bits = tensor.blocks(1, 4), tensor.format.bits
    low, high = (-128, 127) if kind == "Q8_0" else (0, 2**bits - 1)
    assert (blocks.codes.min(), blocks.codes.max()) == (low, high)
    assert blocks.scales.shape == (3, 512 // blocks.group)
    wide = blocks.codes.astype(np.float64).reshape(3, -1, blocks.group) - blocks.zero
    minima = 0 if blocks.minima is None else blocks.minima.astype(np.float64)[..., None]
    found = (wide * blocks.scales.astype(np.float64)[..., None] + minima).reshape(3, 512)
    np.testing.assert_allclose(found, gguf.dequantize(raw, gguf.GGMLQuantizationType[kind])[1:4], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(tensor.raw(1, 4).reshape(3, -1), raw[1:4])


def test_a_checkpoint_hands_out_blocks_after_its_rules(tmp_path: Path) -> None:
    """Heads' rows put in order, and a fused projection split by rows."""
    path = write_gguf(tmp_path / "m.gguf", {"q": (RAW, "Q4_1"), "kv": (RAW, "Q4_1")})
    steps = [{"reshape": [2, 3, 2, 64]}, {"transpose": [0, 2, 1, 3]}, {"reshape": [12, -1]}]
    rules = WeightRules.model_validate(
        {"rename": {"q": {"to": ["wq", "also"], "steps": steps}, "kv": {"split": {"dim": 0, "into": ["wk", "wv"]}}}}
    )
    shapes = {"wq": (12, 64), "also": (12, 64), "wk": (4, 64), "wv": (8, 64)}
    parameters = [Parameter(name, TensorType("float32", shape)) for name, shape in shapes.items()]
    checkpoint = Checkpoint(path, rules, parameters)
    ordered = NUMBERS.reshape(2, 3, 2, 64).transpose(0, 2, 1, 3).reshape(12, 64)
    for parameter, expected in zip(parameters, (ordered, ordered, NUMBERS[:4], NUMBERS[4:]), strict=True):
        found = checkpoint.get(parameter)
        assert isinstance(found, BlockQuantized)
        assert found.name == parameter.name
        np.testing.assert_array_equal(found.numpy(), expected)


def test_experts_of_a_stack_keep_their_blocks(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", {"ffn": (RAW.reshape(3, 4, -1), "Q4_1")})
    rules = WeightRules.model_validate({"rename": {"ffn": {"unstack": "n", "to": "experts.{n}"}}})
    parameters = [Parameter(f"experts.{n}", TensorType("float32", (4, 64))) for n in range(3)]
    checkpoint = Checkpoint(path, rules, parameters)
    for parameter, expected in zip(parameters, NUMBERS.reshape(3, 4, 64), strict=True):
        found = checkpoint.get(parameter)
        assert isinstance(found, BlockQuantized)
        np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize(("kind", "bits"), [("Q4_0", 4), ("Q4_1", 4), ("Q8_0", 8)])
def test_blocks_repack_into_matmul_nbits(kind: str, bits: int, tmp_path: Path) -> None:
    """ONNX Runtime's product of the same codes and scales is that of the numbers: what `blocks` gives is enough to repack them."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    out, width = 48, 128
    tensor = read_tensors(write_gguf(tmp_path / "m.gguf", {"w": (random_blocks(kind, (out, width)), kind)}))["w"]
    assert isinstance(tensor, BlockQuantized)
    blocks = tensor.blocks()
    codes = (blocks.codes.astype(np.int16) + (128 if bits == 8 else 0)).astype(np.uint8)
    packed = (codes[:, 0::2] | codes[:, 1::2] << 4 if bits == 4 else codes).reshape(out, width // 32, -1)
    stored = {"packed": packed, "scales": blocks.scales}
    if blocks.minima is not None:
        stored["zeros"] = -blocks.minima / blocks.scales
    node = helper.make_node("MatMulNBits", ["x", *stored], ["y"], domain="com.microsoft", K=width, N=out, bits=bits, block_size=32)
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [3, s]) for n, s in (("x", width), ("y", out))]
    graph = helper.make_graph([node], "g", ports[:1], ports[1:], [numpy_helper.from_array(v, k) for k, v in stored.items()])
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    session = onnxruntime.InferenceSession(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())
    x = np.random.default_rng(1).standard_normal((3, width)).astype(np.float32)
    want = x.astype(np.float64) @ tensor.numpy().T.astype(np.float64)
    np.testing.assert_allclose(session.run(None, {"x": x})[0], want, rtol=1e-4, atol=1e-4 * np.abs(want).max())


def test_memory_stays_small(tmp_path: Path) -> None:
    import tracemalloc

    rows = 4096
    raw = np.tile(random_blocks("Q4_0", (64, 4096)), (rows // 64, 1))
    tensor = read_tensors(write_gguf(tmp_path / "m.gguf", {"w": (raw, "Q4_0")}))["w"]
    moved = reshaped(transposed(reshaped(tensor, (2, -1, 2, 4096)), (0, 2, 1, 3)), (rows, 4096))
    next(iter(moved.chunks()))
    tracemalloc.start()
    total = sum(piece.nbytes for piece in moved.chunks())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == rows * 4096 * 4
    assert peak < 8 << 20
