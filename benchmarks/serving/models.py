"""The models that are served, compiled once, and requests of one row to them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import lamina
from lamina.runtime.serve.datatypes import DATATYPES

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "serving"
LENGTH = "Inference-Header-Content-Length"
Arrays = dict[str, "np.ndarray[Any, Any]"]


@dataclass(frozen=True, slots=True)
class Model:
    """A bundle, and how many tokens a row of it has (None: its rows are all of one size)."""

    name: str
    tokens: int | None = None

    @property
    def title(self) -> str:
        """As it stands in results."""
        return self.name if self.tokens is None else f"{self.name}, {self.tokens} tokens"

    @property
    def bundle(self) -> Path:
        """Its folder. It is compiled where it is not there."""
        folder = BUILD / self.name
        if not (folder / "manifest.json").exists():
            if self.name == "minilm":
                subprocess.run([sys.executable, "docs/examples/minilm_weights.py"], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
                lamina.compile(
                    lamina.load(ROOT / "specs" / "embedding" / "minilm.yaml"), folder, ["onnxruntime"], ROOT / "build" / "minilm-weights"
                )
            else:
                lamina.compile(lamina.load(Path(__file__).parent / "mlp.yaml", width=_WIDTHS[self.name]), folder, ["onnxruntime"])
        return folder

    def inputs(self, rows: int) -> Arrays:
        """Random ones, the same each time."""
        rng = np.random.default_rng(0)
        if self.tokens is None:
            return {"x": rng.standard_normal((rows, 1024), np.float32)}
        shape = (rows, self.tokens)
        return {"input_ids": rng.integers(1000, 30000, shape), "attention_mask": np.ones(shape, np.int64)}


MINILM, SHORT, MLP, TINY = Model("minilm", 16), Model("minilm", 4), Model("mlp"), Model("tiny")
_WIDTHS = {"mlp": 4096, "tiny": 64}


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sends."""

    path: str
    headers: Mapping[str, str]
    body: bytes


def in_bytes(model: Model) -> Request:
    """One row, its tensors and those of the answer as bytes."""
    inputs = model.inputs(1)
    tensors = [{**_described(name, array), "parameters": {"binary_data_size": array.nbytes}} for name, array in inputs.items()]
    head = json.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}}).encode()
    return Request(_path(model), {LENGTH: str(len(head))}, head + b"".join(array.tobytes() for array in inputs.values()))


def in_json(model: Model) -> Request:
    """One row in JSON, which every server reads."""
    tensors = [{**_described(name, array), "data": array.ravel().tolist()} for name, array in model.inputs(1).items()]
    return Request(_path(model), {"Content-Type": "application/json"}, json.dumps({"inputs": tensors}).encode())


def _path(model: Model) -> str:
    return f"/v2/models/{model.name}/infer"


def _described(name: str, array: np.ndarray[Any, Any]) -> dict[str, Any]:
    return {"name": name, "datatype": DATATYPES[array.dtype.name], "shape": list(array.shape)}
