"""GGUF files: what llama.cpp's own package writes is read, to the bit; what lies, ends early or overlaps is refused."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf_files import HALVES, random_blocks, write_gguf
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.compiler.weights import gguf_header
from lamina.compiler.weights.files import read_tensors
from lamina.compiler.weights.ggml import FORMATS
from lamina.compiler.weights.gguf import KINDS
from lamina.compiler.weights.gguf_header import Items, read_header
from lamina.compiler.weights.gguf_tokenizer import gguf_tokenizer
from lamina.compiler.weights.metadata import read_metadata
from lamina.compiler.weights.tensor import Tensor
from lamina.schema.diagnostics import Fault, SpecError

Array = np.ndarray[Any, np.dtype[Any]]
RNG = np.random.default_rng(7)


def test_the_kinds_are_ggmls() -> None:
    theirs = {t.value: t.name for t in gguf.GGMLQuantizationType}
    assert theirs.items() >= KINDS.items()
    for name, format_ in FORMATS.items():
        assert (format_.elements, format_.nbytes) == gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]


@pytest.mark.parametrize("kind", FORMATS)
def test_blocks_become_the_numbers_that_ggml_gives(kind: str, tmp_path: Path) -> None:
    """Every code, random scales, more rows than a piece: equal to the bit, read whole or in pieces of any size."""
    shape = (3, 700, 512)
    raw = random_blocks(kind, shape)
    tensor = read_tensors(write_gguf(tmp_path / "m.gguf", {"w": (raw, kind)}))["w"]
    expected = gguf.dequantize(raw, gguf.GGMLQuantizationType[kind])
    assert (tensor.dtype, tensor.shape) == ("float32", shape)
    np.testing.assert_array_equal(tensor.numpy(), expected, strict=True)
    for size in (1 << 20, 5000, 512, 4):
        pieces = list(tensor.chunks(size)) if size > 4 else list(tensor.part(1, 0, 1).chunks(size))
        whole = expected if size > 4 else expected[:, :1]
        assert max(p.nbytes for p in pieces) <= size
        np.testing.assert_array_equal(np.concatenate(pieces), whole.reshape(-1))


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
def test_quantised_numbers_are_close(kind: str, tmp_path: Path) -> None:
    """Codes in the order of the numbers: an error of at most one step."""
    array = RNG.standard_normal((8, 64)).astype(np.float32)
    tensor = read_tensors(write_gguf(tmp_path / "m.gguf", {"w": (array, kind)}))["w"]
    assert np.abs(tensor.numpy() - array).max() < 8 / 2 ** FORMATS[kind].bits


def test_plain_tensors_and_the_order_of_dims(tmp_path: Path) -> None:
    """A weight [out, in] is written by the package as PyTorch holds it, and described as (in, out)."""
    written = {
        "f32": RNG.standard_normal((3, 4)).astype(np.float32),
        "f16": RNG.standard_normal((2, 3, 4)).astype(np.float16),
        "f64": RNG.standard_normal(5),
        "i32": np.arange(4, dtype=np.int32).reshape(2, 2),
        "i8": np.arange(-4, 4, dtype=np.int8),
    }
    values = RNG.standard_normal((2, 3)).astype(np.float32)
    path = write_gguf(tmp_path / "m.gguf", {**written, "bf16": (values, "BF16")})
    assert gguf.GGUFReader(path).get_tensor(0).shape.tolist() == [4, 3]
    tensors = read_tensors(path)
    for key, array in written.items():
        np.testing.assert_array_equal(tensors[key].numpy(), array, strict=True)
    assert tensors["bf16"].dtype == "bfloat16"
    np.testing.assert_allclose(tensors["bf16"].numpy().astype(np.float32), values, rtol=2**-8)


METADATA = {
    "llama.block_count": 30,
    "llama.rope.freq_base": 1e5,
    "llama.use": True,
    "name": "né 字",
    "ints": [1, 2, 3],
    "texts": ["a", "", "字"],
    "flags": [True, False],
    "floats": [0.5, 2.0],
}


def test_metadata(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", {"w": np.ones(1, np.float32)}, METADATA)
    assert read_metadata(path, [*METADATA, "general.architecture", "none"]) == {**METADATA, "general.architecture": "llama"}
    header = read_header(path)
    assert isinstance(header.metadata["texts"], Items)  # a vocabulary stays in the file
    assert header.items("texts") == ["a", "", "字"]
    assert header.items("name") is None


# What a file consists of, to lie about it piece by piece.


def text(value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def entry(name: str = "w", dims: tuple[int, ...] = (4,), kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


def pair(key: str, kind: int, data: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + data


def build(
    tensors: list[bytes],
    metadata: list[bytes] | None = None,
    data: int = 16,
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    counts: tuple[int, int] | None = None,
) -> bytes:
    metadata = metadata or []
    head = magic + struct.pack("<IQQ", version, *(counts or (len(tensors), len(metadata)))) + b"".join(metadata) + b"".join(tensors)
    return head + bytes(-len(head) % 32) + bytes(data)


def test_what_the_tests_build_is_what_the_package_reads(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(build([entry()], [pair("general.alignment", 4, struct.pack("<I", 32))]))
    assert gguf.GGUFReader(path).get_tensor(0).data.tolist() == read_tensors(path)["w"].numpy().tolist() == [0, 0, 0, 0]


BROKEN: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "it is empty"),
    "another magic": (build([entry()], magic=b"GGML"), "does not begin with `GGUF`"),
    "version 1": (build([entry()], version=1), "a file of GGUF's version 1, which is not read"),
    "big-endian": (build([entry()], version=3 << 24), "in big-endian order, which is not read"),
    "more tensors than bytes": (build([entry()], counts=(900_000, 0)), "a tensor's name is empty"),
    "fewer bytes than a header": (build([])[:20], "its header goes on for 8 bytes from byte 16, but the file has 20"),
    "2**60 tensors": (build([entry()], counts=(1 << 60, 0)), "1,152,921,504,606,846,976 tensors"),
    "2**60 entries": (build([entry()], counts=(1, 1 << 60)), "1,152,921,504,606,846,976 metadata entries"),
    "a key of 2**63 bytes": (build([], [struct.pack("<Q", 1 << 63)], counts=(0, 1)), "should have 9,223,372,036,854,775,808 bytes"),
    "a key that is not UTF-8": (build([], [pair("k", 4, bytes(4)).replace(b"k", b"\xff")]), "a metadata key at byte 32 is not UTF-8"),
    "a key that is empty": (build([], [pair("", 4, bytes(4))]), "a metadata key is empty"),
    "a key of control characters": (build([], [pair("a\x1b[2J", 4, bytes(4))]), r"a metadata key is 'a\\x1b\[2J'"),
    "a key twice": (build([], [pair("k", 4, bytes(4))] * 2), "the metadata key `k` is given twice"),
    "an unknown kind of value": (build([], [pair("k", 13, bytes(8))]), "is of the unknown kind 13"),
    "arrays in an array": (build([], [pair("k", 9, struct.pack("<IQ", 9, 1))]), "an array of arrays"),
    "an array of an unknown kind": (build([], [pair("k", 9, struct.pack("<IQ", 77, 0))]), "the unknown kind 77"),
    "an array of 2**62 numbers": (build([], [pair("k", 9, struct.pack("<IQ", 4, 1 << 62))]), "goes on for 18,446,744,073,709,551,616"),
    "an array of 2**40 texts": (build([], [pair("k", 9, struct.pack("<IQ", 8, 1 << 40))]), "1,099,511,627,776 texts, more than"),
    "texts that run out": (build([], [pair("k", 9, struct.pack("<IQQ", 8, 1, 1 << 50))], data=0), "goes on for 1,125,899,906,842,"),
    "a boolean of 2": (build([], [pair("k", 7, b"\2")]), "a boolean at byte 37 is neither 0 nor 1"),
    "a text of 5 MB": (build([], [pair("k", 8, text(bytes(5 << 20)))]), "a text of the metadata should have 5,242,880"),
    "an alignment of 24": (build([entry()], [pair("general.alignment", 4, struct.pack("<I", 24))]), "alignment is 24; it is a power of"),
    "an alignment of 0": (build([entry()], [pair("general.alignment", 4, struct.pack("<I", 0))]), "its alignment is 0"),
    "an alignment of text": (build([entry()], [pair("general.alignment", 8, text("32"))]), "its alignment is '32'"),
    "an alignment of true": (build([entry()], [pair("general.alignment", 7, b"\1")]), "its alignment is True"),
    "one of several parts": (build([entry()], [pair("split.count", 2, struct.pack("<H", 3))]), "is one of 3 parts"),
    "five dims": (build([entry(dims=(1, 1, 1, 1, 4))]), "`w` should have 5 dimensions; a tensor has at most 4"),
    "2**64 elements": (build([entry(dims=(1 << 32, 1 << 32))]), "`w` should have 18,446,744,073,709,551,616 elements"),
    "a shape that lies": (build([entry(dims=(1000, 1000))]), "3,999,984 bytes are missing at its end"),
    "rows that are no blocks": (build([entry(dims=(48,), kind=2)], data=27), "`w` is Q4_0, blocks of 32, but its rows have 48 elements"),
    "rows that are no blocks, in all a block": (build([entry(dims=(16, 2), kind=8)], data=34), "its rows have 16 elements"),
    "2**40 rows of blocks": (build([entry(dims=(32, 1 << 40), kind=2)]), "bytes are missing at its end"),
    "an unsupported format": (build([entry(dims=(256,), kind=16)], data=66), "holds `w` as IQ2_XXS, which is not supported"),
    "an unknown format": (build([entry(kind=200)]), "holds `w` as the unknown kind 200, which is not supported"),
    "a tensor twice": (build([entry(), entry(offset=32)], data=48), "a tensor is given twice"),
    "an overlap": (build([entry("a"), entry("b")], data=16), "`b` overlaps the tensor before it"),
    "a gap": (build([entry("a"), entry("b", offset=64)], data=80), "`b` does not start where the tensor before it ends"),
    "an offset that is not aligned": (build([entry("a"), entry("b", offset=16)], data=32), "`b` does not start where"),
    "an offset of 2**64 - 1": (build([entry(offset=(1 << 64) - 1)]), "`w` does not start where"),
    "a file cut short": (build([entry()], data=12), "4 bytes are missing at its end"),
    "a tail": (build([entry()], data=33), "it has 17 bytes too many"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_refused(case: str, tmp_path: Path) -> None:
    data, message = BROKEN[case]
    (tmp_path / "m.gguf").write_bytes(data)
    with pytest.raises(Fault, match=message) as caught:
        read_tensors(tmp_path / "m.gguf")
    assert caught.value.span is not None
    assert caught.value.span.file == str(tmp_path / "m.gguf")
    assert caught.value.hint


def test_a_folder_with_one_file_is_that_file(tmp_path: Path) -> None:
    write_gguf(tmp_path / "a.gguf", {"w": np.ones(3, np.float32)})
    assert read_tensors(tmp_path).keys() == {"w"}
    write_gguf(tmp_path / "b.gguf", {"w": np.ones(3, np.float32)})
    with pytest.raises(Fault, match="folder holds 2 gguf files and no index"):
        read_tensors(tmp_path)


def test_padding_at_the_end_is_not_a_tail(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(build([entry()], data=32))
    assert read_tensors(tmp_path / "m.gguf")["w"].shape == (4,)


def test_a_header_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_header, "MAX_HEADER", 100)
    (tmp_path / "m.gguf").write_bytes(build([], [pair("k", 9, struct.pack("<IQ", 0, 4000) + bytes(4000))]))
    with pytest.raises(Fault, match="goes on for 4,000 bytes from byte 49, but a header has at most 100"):
        read_tensors(tmp_path / "m.gguf")


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file with something of everything: kinds of values and of tensors, a tokenizer."""
    tensors: dict[str, Any] = {kind: (random_blocks(kind, (2, 256)), kind) for kind in HALVES}
    tokenizer = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": ["a", "b", "ab", "<|end|>"],
        "tokenizer.ggml.token_type": [1, 1, 1, 3],
        "tokenizer.ggml.merges": ["a b"],
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.bos_token_id": 3,
    }
    path = tmp_path_factory.mktemp("valid") / "m.gguf"
    return write_gguf(path, {**tensors, "norm": np.ones(3, np.float32)}, {**METADATA, **tokenizer}).read_bytes()


def _read_all(path: Path) -> list[Tensor]:
    """Everything that the compiler could ask of a file."""
    tensors = read_tensors(path)
    gguf_tokenizer(path)
    read_metadata(path, METADATA)
    for tensor in tensors.values():
        for piece in tensor.chunks():
            assert piece.dtype == tensor.numpy().dtype
    return list(tensors.values())


def test_the_valid_file_is_valid(valid: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(valid)
    assert len(_read_all(tmp_path / "m.gguf")) == 9


def test_truncation_at_any_place(valid: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    last = len(valid) - len(valid) % 32 if len(valid) % 32 else len(valid)
    for size in [*range(0, last - 32, 7), last - 32 + 11]:
        path.write_bytes(valid[:size])
        with pytest.raises(Fault):
            read_tensors(path)


WORDS = [0, 1, 255, 1 << 20, 1 << 31, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_changed_files_are_read_or_refused(data: st.DataObject, valid: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Bytes changed, cut out and put in, anywhere in the header: a Fault, or numbers; never another error, nor much memory."""
    changed = bytearray(valid)
    header = valid.index(b"Q6_K") + 40
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, header))
        kind = data.draw(st.sampled_from(["byte", "word", "cut", "put"]))
        if kind == "byte":
            changed[place] = data.draw(st.integers(0, 255))
        elif kind == "word":
            changed[place : place + 8] = struct.pack("<Q", data.draw(st.sampled_from(WORDS)))
        elif kind == "cut":
            del changed[place : place + data.draw(st.integers(1, 40))]
        else:
            changed[place:place] = data.draw(st.binary(min_size=1, max_size=40))
    path = tmp_path_factory.getbasetemp() / "changed.gguf"
    path.write_bytes(bytes(changed))
    with contextlib.suppress(Fault, SpecError):
        _read_all(path)
