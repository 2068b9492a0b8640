"""Servers in this process, over bundles made by hand, and requests to them."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import handmade
import httpx
import numpy as np
import pytest
from onnx import helper
from starlette.testclient import TestClient

from lamina.runtime import Session
from lamina.runtime.serve.app import application
from lamina.runtime.serve.settings import Limits, Settings

LENGTH = "Inference-Header-Content-Length"
INFER = "/v2/models/scale/infer"
_SIZE = 1200
X = np.arange(6, dtype=np.float32).reshape(2, 3)


@contextmanager
def client(*folders: Path, limits: Mapping[str, Any] | None = None, **settings: Any) -> Iterator[TestClient]:
    """A client of a server of these folders."""
    chosen = Settings(limits=Limits(**(limits or {})), **{"poll": 0, "threads": 1} | settings)
    with TestClient(application(folders, chosen), base_url="http://localhost", raise_server_exceptions=False) as found:
        yield found


def scale(folder: Path, **changes: Any) -> Path:
    """A bundle named `scale`: y = 2 x."""
    return handmade.write(folder / "scale", **changes)


def average(folder: Path) -> Path:
    """A bundle named `average`: y = x less the mean of its rows, so that rows change each other."""
    nodes = [helper.make_node("ReduceMean", ["x", "axis"], ["mean"]), helper.make_node("Sub", ["x", "mean"], ["y"])]
    data = handmade.model(nodes, {"x": ("float32", ["N", 3])}, {"y": ("float32", ["N", 3])}, {"axis": np.array([0])})
    return handmade.write(folder / "average", {"model.onnx": data}, model="average")


def in_json(**inputs: Any) -> dict[str, Any]:
    """A request with its tensors in JSON: `name=("FP32", array)`."""
    tensors = [
        {"name": name, "datatype": kind, "shape": list(np.shape(array)), "data": np.asarray(array).tolist()}
        for name, (kind, array) in inputs.items()
    ]
    return {"inputs": tensors}


def in_bytes(**inputs: Any) -> tuple[bytes, dict[str, str]]:
    """The body and headers of the same request with its tensors, and those of the answer, as bytes."""
    tensors = [
        {"name": name, "datatype": kind, "shape": list(array.shape), "parameters": {"binary_data_size": array.nbytes}}
        for name, (kind, array) in inputs.items()
    ]
    head = json.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}}).encode()
    return head + b"".join(array.tobytes() for _, array in inputs.values()), {LENGTH: str(len(head))}


def slow(folder: Path) -> Path:
    """A bundle named `slow`: y = 2 x, after products of large matrices; N is 1, so that nothing is joined."""
    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["row"]),
        helper.make_node("Slice", ["row", "zero", "one"], ["first"]),
        helper.make_node("Expand", ["first", "size"], ["m"]),
        helper.make_node("MatMul", ["m", "m"], ["mm"]),
        helper.make_node("MatMul", ["mm", "m"], ["mmm"]),
        helper.make_node("ReduceSum", ["mmm"], ["sum"], keepdims=0),
        helper.make_node("Sub", ["sum", "sum"], ["nothing"]),
        helper.make_node("Add", ["x", "x"], ["twice"]),
        helper.make_node("Add", ["twice", "nothing"], ["y"]),
    ]
    constants = {"flat": np.array([-1]), "zero": np.array([0]), "one": np.array([1]), "size": np.array([_SIZE, _SIZE])}
    data = handmade.model(nodes, {"x": ("float32", ["N", 3])}, {"y": ("float32", ["N", 3])}, constants)
    return handmade.write(folder / "slow", {"model.onnx": data}, dims={"N": {"min": 1, "opt": 1, "max": 1}})


WORDS = ["[PAD]", "[UNK]", "the", "cat", "sat", "on", "a", "mat"]
TABLE = np.arange(16, dtype=np.float32).reshape(8, 2)


def pooled(folder: Path, masked: bool = True) -> Path:
    """A bundle named `pooled`: the mean of rows of TABLE, over the words of a text; without `masked`, over the padding too.

    Its outputs are `embedding` [N, 2] and `words` [N, T, 2].
    """
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ones = helper.make_node("Cast", ["mask"], ["number"], to=handmade.ELEMENT["float32"])
    if not masked:
        ones = helper.make_node("ConstantOfShape", ["shape"], ["number"], value=helper.make_tensor("one", 1, [1], [1.0]))
    nodes = [
        helper.make_node("Shape", ["mask"], ["shape"]),
        ones,
        helper.make_node("Unsqueeze", ["number", "last"], ["weight"]),
        helper.make_node("Gather", ["table", "ids"], ["words"]),
        helper.make_node("Mul", ["words", "weight"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "one"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["weight", "one"], ["count"], keepdims=0),
        helper.make_node("Div", ["sum", "count"], ["embedding"]),
    ]
    inputs = {name: ("int64", ["N", "T"]) for name in ("ids", "mask")}
    outputs = {"embedding": ("float32", ["N", 2]), "words": ("float32", ["N", "T", 2])}
    tokens = {"dtype": "int64", "shape": ["N", "T"]}
    data = handmade.model(nodes, inputs, outputs, {"table": TABLE, "last": np.array([2]), "one": np.array([1])})
    return handmade.write(
        folder / "pooled",
        {"model.onnx": data, "tokenizer.json": tokenizer.to_str().encode()},
        inputs=[{"name": "ids", "below": 8} | tokens, {"name": "mask"} | tokens],
        outputs=[{"name": name, "dtype": dtype, "shape": shape} for name, (dtype, shape) in outputs.items()],
        dims={"N": {"max": 16}, "T": {"max": 32}},
        tokenizer={"file": "tokenizer.json", "ids": "ids", "mask": "mask", "max_length": 16},
    )  # fmt: skip


def vectors(*texts: str) -> Any:
    """What `pooled` makes of texts, by numpy."""
    return np.array([TABLE[[WORDS.index(word) if word in WORDS else 1 for word in text.split()]].mean(0) for text in texts])


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def until_ready(process: subprocess.Popen[str], client: httpx.Client, log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        try:
            assert client.get("/v2/health/ready").status_code == 200
            return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(log.read_text())


class Held:
    """A session whose calls wait until they may go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.began, self.may = threading.Event(), threading.Event()
        whole = Session.run

        def run(session: Session, *given: object, **options: object) -> object:
            self.began.set()
            assert self.may.wait(10)
            return whole(session, *given, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(Session, "run", run)
