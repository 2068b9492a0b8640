"""Hostile bundles, checkpoints and adapters: good ones with bytes, headers, sizes, names and links changed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle  # noqa: TID251  # to write what must be refused
import shutil
import struct
import sys
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "weights"))

import numpy as np
import onnx
import safetensors.numpy
import torch
from gguf_files import write_gguf
from hostile_specs import EXPRESSIONS, TRICKS, change

import lamina
from lamina.compiler.adapters import adapted
from lamina.compiler.compile import weight_source
from lamina.compiler.elaborate import Elaborated, elaborate
from lamina.compiler.prompting import prompting
from lamina.compiler.weights.gguf_tokenizer import gguf_tokenizer
from lamina.runtime.samples import sample_inputs
from lamina.schema.diagnostics import Fault, Span, SpecError
from lamina.schema.spec import ModelSpec

Attempt = tuple[str, Callable[[], object]]
SPEC = """lamina: 1
model: small
inputs: {x: "float32[N, 8]"}
dims: {N: {min: 1, opt: 2, max: 4}}
body:
  - {linear: 16, name: up}
  - relu
  - {linear: 8, name: down}
outputs: {y: "float32[N, 8]"}
weights: {metadata: {small.width: 8}}
"""
SHAPES = {"up.weight": (16, 8), "up.bias": (16,), "down.weight": (8, 16), "down.bias": (8,)}
VALUES = (
    -1, 0, 1, 2**31, 2**63, 2**64, 10**30, 1e308, 1.5, None, True, "", "x", [], {}, [[]], [0], [-1, 4], [2**63, 2], [0, 2**62], "NaN",
    "../outside/secret", "/etc/passwd", "a/../../outside/secret", "a\0b", "x" * 5000, "\x1b[31m", "\u202e", "\ud800", *EXPRESSIONS[:9],
    *TRICKS[:9],
)  # fmt: skip
VOCABULARY = ["a", "b", "ab", "<s>", "</s>", *map(chr, range(0x100, 0x140))]
TOKENIZER = {
    "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "llama-bpe", "tokenizer.ggml.tokens": VOCABULARY,
    "tokenizer.ggml.merges": ["a b"],
    "tokenizer.ggml.token_type": [1] * 3 + [3] * 2 + [1] * 64, "tokenizer.ggml.bos_token_id": 3,
}  # fmt: skip


class Lying:
    """An object whose unpickling would run a command."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


@cache
def model() -> tuple[ModelSpec, Elaborated]:
    """What the checkpoints are read for."""
    path = good() / "small.yaml"
    return (spec := lamina.load(path)), elaborate(spec)


def prepare(folder: Path) -> None:
    """Write the good files, which every hostile one starts from."""
    (folder / "small.yaml").write_text(SPEC)
    random = np.random.default_rng(0)
    arrays = {name: random.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    safetensors.numpy.save_file(arrays, folder / "model.safetensors")
    torch.save(tensors, folder / "zip.pt")
    torch.save({"state_dict": tensors, "epoch": 3}, folder / "old.pt", _use_new_zipfile_serialization=False)
    blocks = {"up.weight": (np.zeros((16, 32), np.float32), "Q8_0"), "down.weight": (np.zeros((8, 32), np.float32), "Q4_0")}
    write_gguf(folder / "model.gguf", arrays, {"small.width": 8, **TOKENIZER})
    write_gguf(folder / "blocks.gguf", {**arrays, **blocks}, TOKENIZER)
    shards = folder / "shards"
    shards.mkdir()
    for number, names in enumerate((("up.weight", "up.bias"), ("down.weight", "down.bias"))):
        safetensors.numpy.save_file({name: arrays[name] for name in names}, shards / f"{number}.safetensors")
    index = {"weight_map": {name: f"{int(name.startswith('down'))}.safetensors" for name in SHAPES}}
    (shards / "model.safetensors.index.json").write_text(json.dumps(index))
    adapter = folder / "adapter"
    adapter.mkdir()
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "alpha_pattern": {"up": 8}, "target_modules": ["up", "down"]}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    pairs = {
        f"base_model.model.{m}.lora_{p}.weight": (2, i) if p == "A" else (o, 2)
        for m, o, i in (("up", 16, 8), ("down", 8, 16))
        for p in "AB"
    }
    matrices = {key: random.standard_normal(shape).astype(np.float32) for key, shape in pairs.items()}
    safetensors.numpy.save_file(matrices, adapter / "adapter_model.safetensors")
    alone = {key.removeprefix("base_model.model."): array for key, array in matrices.items()}
    said = {"lora_adapter_metadata": json.dumps({"lora_alpha": 4, "alpha_pattern": {"up": 8}})}
    safetensors.numpy.save_file(alone, folder / "pytorch_lora_weights.safetensors", said)
    spec = lamina.load(folder / "small.yaml")
    lamina.compile(spec, folder / "bundle", ("onnx", "onnxruntime", "torch"))
    lamina.compile(spec, folder / "adapted", adapters={"one": adapter})
    language = Path(lamina.__file__).parent / "specs" / "language" / "gpt2.yaml"
    lamina.compile(lamina.load(language, small=True), folder / "language")


def start_from(folder: Path) -> None:
    """Let hostile files start from the good ones in a folder."""
    _folder.append(folder)


def good() -> Path:
    """The folder of the good files."""
    return _folder[-1]


_folder: list[Path] = []


def bundle(chance: Random, folder: Path) -> Attempt:
    """A bundle that is opened and run."""
    kind, place = chance.choice(("bundle", "bundle", "adapted", "language")), folder / "bundle"
    shutil.copytree(good() / kind, place)
    how = chance.choice((_manifest_bytes, _manifest_nodes, _manifest_nodes, _member, _member, _link, _lost, _onnx, _onnx, _onnx))
    backend = "torch" if kind == "bundle" and chance.random() < 0.2 else chance.choice(("onnxruntime", "onnx"))
    if backend == "torch" and how is _onnx:
        how = _archive
    name = how(chance, place)

    def opened() -> None:
        with lamina.Session(place, backend=backend, threads=1) as session:
            if how is not _onnx:  # a graph that was changed is another program: it may run as long as it likes
                if session.manifest.adapters:
                    session.set_adapter(session.manifest.adapters[0].name)
                session.run(sample_inputs(session.manifest, {}))

    return f"bundle: {name}", opened


def checkpoint(chance: Random, folder: Path) -> Attempt:
    """A checkpoint of which every weight is read."""
    name, path = chance.choice((_safetensors, _safetensors, _torch, _torch, _gguf, _gguf, _shards, _checkpoint_file))(chance, folder)

    def read() -> None:
        spec, elaborated = model()
        source = weight_source(spec, elaborated, path, 0)
        assert source.weights is not None
        for parameter in elaborated.graph.parameters():
            for piece in source.weights.get(parameter).chunks():
                piece.sum()
        prompting(path)

    def tokens() -> None:
        try:
            gguf_tokenizer(path)
        except Fault as fault:  # as `tokenizer_file` has it
            raise SpecError([fault.at(Span(str(path), 1, 1))]) from fault

    return f"checkpoint: {name}", tokens if path.suffix == ".gguf" and chance.random() < 0.5 else read


def adapter(chance: Random, folder: Path) -> Attempt:
    """An adapter of which every matrix is read."""
    place = folder / "adapter"
    shutil.copytree(good() / "adapter", place)
    kind = chance.choice(("config", "weights", "weights", "alone", "link", "lost"))
    path = place / ("adapter_config.json" if kind == "config" else "adapter_model.safetensors")
    if kind == "config":
        path.write_bytes(_json(chance, path.read_bytes()))
    elif kind == "weights":
        path.write_bytes(_any_header(chance, path.read_bytes()))
    elif kind == "alone":
        place = folder / "pytorch_lora_weights.safetensors"
        place.write_bytes(_any_header(chance, (good() / place.name).read_bytes()))
    else:
        path = chance.choice(list(place.iterdir()))
        path.unlink()
        if kind == "link":
            path.symlink_to(chance.choice((path.name, "/dev/zero", "/dev/full", ".", "nothing")))

    def read() -> None:
        _, elaborated = model()
        for pair in adapted(elaborated, {"one": place})[1]["one"].values():
            pair.arrays(pair.rank, np.dtype(np.float32))

    return f"adapter: {kind}", read


def _bytes(chance: Random, data: bytes) -> bytes:
    """Bytes changed, mostly near the start, where headers are; or cut, or made longer."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        end = min(len(changed), 600) if chance.random() < 0.7 else len(changed)
        at = chance.randrange(end)
        new = chance.choice(
            (bytes([chance.randrange(256)]), b"\xff" * 8, b"\0" * 8, struct.pack("<Q", chance.choice((2**63, 2**62, 2**40, 1 << 20))))
        )
        changed[at : at + len(new)] = new
    kind = chance.randrange(8)
    if kind == 0:
        del changed[chance.randrange(len(changed)) :]
    elif kind == 1:
        changed += b"\0" * chance.randint(1, 5000)
    return bytes(changed)


def _json(chance: Random, data: bytes) -> bytes:
    """JSON with nodes or bytes changed, or what is no JSON."""
    kind = chance.randrange(8)
    if kind == 0:
        return _bytes(chance, data)
    if kind == 1:
        deep = chance.choice(("[", '{"a":', "[[],")) * int(10 ** chance.uniform(1, 6))
        return chance.choice(
            (deep, '{"a": 1, "a": 2}', "9" * 100_000, "[" + "9" * 5000 + "]", "NaN", '"' + "x" * 10**6, "null", "[]", "")
        ).encode()
    tree = json.loads(data)
    for _ in range(chance.randint(1, 3)):
        change(tree, chance, VALUES)
    return json.dumps(tree).encode()


def _any_header(chance: Random, data: bytes) -> bytes:
    """A safetensors file whose header lies about tensors, or about its own length."""
    kind, length = chance.randrange(6), int.from_bytes(data[:8], "little")
    if kind == 0:
        return _bytes(chance, data)
    header = _json(chance, data[8 : 8 + length])
    claimed = chance.choice((0, 1, length, 2**63, 2**64 - 1, 10**8, len(data))) if kind == 1 else len(header)
    return claimed.to_bytes(8, "little") + header + data[8 + length :]


def _safetensors(chance: Random, folder: Path) -> tuple[str, Path]:
    path = folder / "model.safetensors"
    path.write_bytes(_any_header(chance, (good() / "model.safetensors").read_bytes()))
    return "safetensors", path


def _gguf(chance: Random, folder: Path) -> tuple[str, Path]:
    path = folder / "model.gguf"
    data = bytearray((good() / chance.choice(("model.gguf", "blocks.gguf"))).read_bytes())
    for _ in range(chance.randint(1, 2)):  # a number of the header, wherever one stands
        at, width = chance.randrange(min(len(data), 3500)), chance.choice((4, 8))
        data[at : at + width] = (
            chance.choice((0, 1, 2, 3, 8, 9, 39, 2**16, 2**31, 2**32 - 1, 2**63, 2**64 - 1)) % 2 ** (8 * width)
        ).to_bytes(width, "little")
    path.write_bytes(_bytes(chance, bytes(data)) if chance.random() < 0.4 else data)
    return "gguf", path


def _torch(chance: Random, folder: Path) -> tuple[str, Path]:
    path = folder / chance.choice(("model.pt", "model.bin", "model.pth"))
    kind = chance.choice(("zip bytes", "old bytes", "records", "records", "command", "views", "bomb"))
    data = (good() / ("old.pt" if kind == "old bytes" else "zip.pt")).read_bytes()
    if kind in ("zip bytes", "old bytes"):
        path.write_bytes(_bytes(chance, data))
    elif kind == "records":
        kind += _records(chance, data, path)
    elif kind == "command":
        lie = {"up.weight": Lying(folder.parent / "outside" / "touched"), **dict.fromkeys(SHAPES, 1)}
        path.write_bytes(pickle.dumps(lie)) if chance.random() < 0.3 else torch.save(
            lie, path, _use_new_zipfile_serialization=chance.random() < 0.5
        )
    elif kind == "views":
        one = torch.zeros(1)
        sizes = {name: chance.choice((shape, (10**9, 10**9), (2**40,))) for name, shape in SHAPES.items()}
        torch.save({name: one.expand(size) for name, size in sizes.items()}, path)
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(dict.fromkeys(SHAPES, 1)))
            archive.writestr("archive/data/0", b"\0" * chance.choice((10**3, 10**7)))
    return f"torch: {kind}", path


def _records(chance: Random, data: bytes, path: Path) -> str:
    """The archive written again, with records lost, doubled, renamed, packed or changed, and perhaps sizes that lie: says so."""
    with zipfile.ZipFile(io.BytesIO(data)) as given:
        records = [(name, given.read(name)) for name in given.namelist()]
    at = chance.randrange(len(records))
    name, content = records[at]
    records[at : at + 1] = chance.choice(
        (
            [],
            [(name, _bytes(chance, content or b"x"))],
            [(name, _opcodes(chance, content))],
            [(name, content), (name, b"")],
            [("../../outside/touched", content), (name, content)],
            [("/" + name, content)],
            [(name, content[: len(content) // 2])],
        )
    )
    with zipfile.ZipFile(path, "w", chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, content in records:
            archive.writestr(name, content)
    if chance.random() < 0.7:
        return ""
    changed = bytearray(path.read_bytes())
    start = changed.rfind(b"PK\x01\x02")  # in the directory, which stands at the end
    changed[start + 20 : start + 28] = struct.pack("<II", *chance.choices((0, 1, 2**31, 2**32 - 1), k=2))
    path.write_bytes(changed)
    return ", sizes that lie"


def _opcodes(chance: Random, content: bytes) -> bytes:
    """A pickle with other instructions, or other numbers, in the midst of it."""
    changed = bytearray(content or b"x")
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(changed))
        new = chance.choice(
            (
                b"J\xff\xff\xff\x7f",
                b"K\xff",
                b"\x8a\x08" + b"\xff" * 7 + b"\x7f",
                b"(",
                b"t",
                b"R",
                b"0",
                b"2",
                b"cos\nsystem\n",
                b"h\x00",
                b"r\xff\xff\xff\x7f",
                b".",
            )
        )
        changed[at : at + chance.choice((0, len(new)))] = new
    return bytes(changed)


def _shards(chance: Random, folder: Path) -> tuple[str, Path]:
    place = folder / "shards"
    shutil.copytree(good() / "shards", place)
    path = place / "model.safetensors.index.json"
    if chance.random() < 0.6:
        path.write_bytes(_json(chance, path.read_bytes()))
    else:
        path = place / "0.safetensors"
        path.write_bytes(_any_header(chance, path.read_bytes()))
    return "shards", place


def _checkpoint_file(chance: Random, folder: Path) -> tuple[str, Path]:
    path = folder / chance.choice(
        ("m.safetensors", "m.gguf", "m.pt", "m.bin", "m.npz", "m.index.json", "m", "m\u202e.pt", "m\n.gguf", "m\x1b[31m.pt")
    )
    kind = chance.choice(("none", "empty", "device", "loop", "folder", "random", "other"))
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "device":
        path.symlink_to(chance.choice(("/dev/zero", "/dev/null", "/dev/full")))
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "folder":
        path.mkdir()
        (path / "model.safetensors").symlink_to(chance.choice(("model.safetensors", "/dev/zero", "nothing", ".")))
    elif kind == "random":
        path.write_bytes(chance.randbytes(chance.randint(1, 3000)))
    elif kind == "other":
        path.write_bytes((good() / chance.choice(("model.safetensors", "model.gguf", "zip.pt", "old.pt", "small.yaml"))).read_bytes())
    return f"file: {kind}", path


def _manifest_bytes(chance: Random, place: Path) -> str:
    path = place / "manifest.json"
    path.write_bytes(_bytes(chance, path.read_bytes()) if chance.random() < 0.7 else _json(chance, path.read_bytes()))
    return "manifest bytes"


def _manifest_nodes(chance: Random, place: Path) -> str:
    path = place / "manifest.json"
    tree = json.loads(path.read_bytes())
    for _ in range(chance.randint(1, 2)):
        change(
            tree if chance.random() < 0.5 else chance.choice([v for v in tree.values() if v and isinstance(v, dict | list)] or [tree]),
            chance,
            VALUES,
        )
    path.write_text(json.dumps(tree))
    return "manifest nodes"


def _members(place: Path) -> list[Path]:
    return sorted(path for path in place.rglob("*") if path.is_file() and path.name != "manifest.json")


def _member(chance: Random, place: Path) -> str:
    """A file that is not what it was, and a manifest that says so, or does not."""
    path = chance.choice(_members(place))
    path.write_bytes(_bytes(chance, path.read_bytes() or b"x"))
    if chance.random() < 0.7:
        _record(place)
    return f"bytes of {path.suffix}"


def _archive(chance: Random, place: Path) -> str:
    """A program of PyTorch whose archive says other things, which the manifest's hashes vouch for."""
    path = place / "model.pt2"
    lies = _records(chance, path.read_bytes(), path)
    _record(place)
    return f"archive{lies}"


def _record(place: Path) -> None:
    tree = json.loads((place / "manifest.json").read_bytes())
    for path in _members(place):
        data = path.read_bytes()
        tree["files"][path.relative_to(place).as_posix()] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (place / "manifest.json").write_text(json.dumps(tree))


def _link(chance: Random, place: Path) -> str:
    """A file, or the manifest, that is elsewhere."""
    path = chance.choice((*_members(place), place / "manifest.json"))
    elsewhere = place.parent.parent / "outside" / "copy"
    kind = chance.choice(("outside", "device", "itself", "folder", "pipe"))
    shutil.copyfile(path, elsewhere) if kind == "outside" else None
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"outside": elsewhere, "device": Path("/dev/zero"), "itself": Path(path.name)}[kind])
    return f"link: {kind}"


def _lost(chance: Random, place: Path) -> str:
    path = chance.choice((*_members(place), place / "manifest.json"))
    path.unlink() if chance.random() < 0.5 else os.truncate(path, chance.choice((0, 1, path.stat().st_size // 2, 2**40)))
    return "lost or cut"


def _onnx(chance: Random, place: Path) -> str:
    """A graph that says other things, which the manifest's hashes vouch for."""
    path = chance.choice([path for path in _members(place) if path.suffix == ".onnx"])
    proto = onnx.load(path, load_external_data=False)
    name = chance.choice(("external data", "external data", "dims", "node", "attribute", "nesting", "names", "types"))
    tensor, node = chance.choice(proto.graph.initializer), chance.choice(proto.graph.node)
    if name == "external data":
        where = (
            "../../outside/copy",
            "/etc/passwd",
            "../outside/secret.yaml",
            "/dev/zero",
            ".",
            "",
            "manifest.json",
            "weights.bin",
            "a/../../bundle/weights.bin",
            "\0",
        )
        pairs = {
            "location": chance.choice(where),
            "offset": chance.choice(("0", "-1", str(2**63), "x", "16")),
            "length": chance.choice(("64", "-1", str(2**62), "0")),
        }
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.ClearField("raw_data")
        del tensor.external_data[:]
        for key, value in pairs.items():
            tensor.external_data.add(key=key, value=value)
    elif name == "dims":
        tensor.dims[:] = chance.choice(([-1], [2**62, 2**62], [2**40], [0], [1] * 1000, []))
    elif name == "node":
        node.op_type = chance.choice(
            ("Loop", "If", "Scan", "Nothing", "", "Reshape", "Tile", "ConstantOfShape", "Conv", "Gather", "x" * 10000)
        )
        node.domain = chance.choice(("", "com.microsoft", "lamina", "ai.onnx.ml"))
    elif name == "attribute":
        node.attribute.append(
            onnx.helper.make_attribute(
                chance.choice(("axis", "perm", "alpha", "to", "body", "value")), chance.choice((2**62, "x" * 9999, [2**62] * 9, 1e308))
            )
        )
    elif name == "nesting":
        graph = onnx.GraphProto(name="deep")
        for _ in range(chance.choice((5, 20))):
            outer = onnx.GraphProto(name="deep")
            outer.node.add(op_type="If", input=["c"], output=["o"]).attribute.append(onnx.helper.make_attribute("then_branch", graph))
            graph = outer
        node.attribute.append(onnx.helper.make_attribute("then_branch", graph))
    elif name == "names":
        node.input[:] = chance.choice(
            ([node.output[0]], [""], ["nothing"], [*node.input] * 500, ["\udcff".encode("utf-8", "replace").decode()])
        )
    else:
        tensor.data_type = chance.choice((0, 8, 99, 14, 16, 23))
    path.write_bytes(proto.SerializeToString())
    _record(place)
    return f"onnx {name}"
