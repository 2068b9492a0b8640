"""How long a server takes: several clients that ask it over and over."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import final
from urllib.parse import SplitResult, urlsplit

import numpy as np

from lamina.runtime.dtypes import Array
from lamina.runtime.errors import InputError
from lamina.runtime.manifest import read_manifest
from lamina.runtime.samples import chosen_dims, sample_inputs
from lamina.runtime.serve.datatypes import DATATYPES

_SECONDS = 60
_BUSY = (429, 503, 504)


@final
@dataclass(frozen=True, slots=True)
class LoadResult:
    """Wall-clock milliseconds of a request that was answered. `throughput` is answers a second of all clients together.

    `refused` requests found the server busy (429, 503, 504), and are in none of the times.
    """

    url: str
    dims: dict[str, int]
    clients: int
    requests: int
    refused: int
    median_ms: float
    p10_ms: float
    p90_ms: float
    p99_ms: float
    throughput: float


def load(
    url: str, bundle: Path, dims: Mapping[str, int] | None = None, clients: int = 1, repeats: int = 30, token: str | None = None
) -> LoadResult:
    """Let `clients` ask a server `repeats` times each, random inputs for this bundle as bytes, after one request each of warm-up.

    `url` is the server's, or with a path of `/v2/models/...` that of a model; else it is the model named as the bundle's folder.
    InputError: dims out of range, an address that is none, or an answer that is neither good nor busy. OSError: no server answers.
    """
    manifest = read_manifest(bundle)
    inputs = {name: array for name, array in sample_inputs(manifest, dims or {}).items() if name not in manifest.supplied}
    place = urlsplit(url)
    if place.scheme not in ("http", "https") or not place.hostname:
        raise InputError(f"`{url}` is not the address of a server; give one such as http://127.0.0.1:8000")
    path = place.path.rstrip("/") or f"/v2/models/{bundle.resolve().name}"
    request = _Request(place, f"{path}/infer", *_written(inputs, {spec.name: spec.dtype for spec in manifest.inputs}, token))
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(lambda _: request.times(1), range(clients)))
        began = time.perf_counter()
        times = [one for found in pool.map(lambda _: request.times(repeats), range(clients)) for one in found]
        seconds = time.perf_counter() - began
    answered = [one for one in times if one is not None]
    if not answered:
        raise InputError(f"{url} was busy for all {len(times)} requests; ask with fewer clients")
    p10, median, p90, p99 = (float(1e3 * value) for value in np.percentile(answered, [10, 50, 90, 99]))
    sizes = chosen_dims(manifest, dims or {})
    return LoadResult(url, sizes, clients, len(times), len(times) - len(answered), median, p10, p90, p99, len(answered) / seconds)


def _written(inputs: Mapping[str, Array], dtypes: Mapping[str, str], token: str | None) -> tuple[bytes, dict[str, str]]:
    tensors = [
        {"name": name, "datatype": DATATYPES[dtypes[name]], "shape": array.shape, "parameters": {"binary_data_size": array.nbytes}}
        for name, array in inputs.items()
    ]
    head = json.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))} | ({"Authorization": f"Bearer {token}"} if token else {})
    return head + b"".join(array.tobytes() for array in inputs.values()), headers


@final
@dataclass(frozen=True, slots=True)
class _Request:
    place: SplitResult
    path: str
    body: bytes
    headers: Mapping[str, str]

    def times(self, repeats: int) -> list[float | None]:
        """The seconds of each of so many requests over one connection; None where the server was busy."""
        kind = http.client.HTTPSConnection if self.place.scheme == "https" else http.client.HTTPConnection
        connection = kind(self.place.hostname or "", self.place.port, timeout=_SECONDS)
        try:
            return [self._seconds(connection) for _ in range(repeats)]
        finally:
            connection.close()

    def _seconds(self, connection: http.client.HTTPConnection) -> float | None:
        began = time.perf_counter()
        connection.request("POST", self.path, self.body, dict(self.headers))
        answer = connection.getresponse()
        text = answer.read()
        if answer.status in _BUSY:
            return None
        if answer.status != 200:
            raise InputError(f"the server answers {answer.status}: {text[:1000].decode('utf-8', 'replace')}")
        return time.perf_counter() - began
