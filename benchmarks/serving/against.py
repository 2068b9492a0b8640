"""Rows a second at equal 99th percentiles, beside a plain FastAPI server and MLServer: requests of one row in JSON, which all read."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.serving.client import Found
from benchmarks.serving.figures import at_most, percentile
from benchmarks.serving.models import BUILD, MINILM, MLP, ROOT, Model, Request, in_json
from benchmarks.serving.server import Server, free_port, lamina, started

SECONDS = 150.0
MLSERVER = ROOT / ".venv-mlserver" / "bin" / "mlserver"
OURS = "lamina"
P99_MS = (50.0, 100.0, 200.0, 400.0)
_CLIENTS = (1, 2, 4, 8, 16, 32, 64)
_JOINED, _WAIT = 32, 0.01  # rows: as many as ours joins; seconds that MLServer waits for them


def measure(seconds: float) -> dict[str, Any]:
    """Of each model and server, the levels of load: clients, rows a second, milliseconds at p99, by turns."""
    return {model.title: _of(model, seconds / 2 / len(_CLIENTS) / 3) for model in (MINILM, MLP)}


def _of(model: Model, turn: float) -> dict[str, Any]:
    request = in_json(model)
    with ExitStack() as stack:
        servers = {OURS: stack.enter_context(lamina(model)), "fastapi": stack.enter_context(_fastapi(model))}
        if MLSERVER.exists():
            servers["mlserver"] = stack.enter_context(_mlserver(model))
        for server in servers.values():
            _until_answered(server, request)
        levels: dict[str, list[dict[str, float]]] = {name: [] for name in servers}
        for clients in _CLIENTS:
            for name, server in servers.items():
                found = server.ask(request, clients, turn)
                if found.answered:
                    levels[name].append(_level(clients, found))
    return levels


def _level(clients: int, found: Found) -> dict[str, float]:
    p99 = percentile(found.answered, 99)
    return {"clients": clients, "throughput": round(found.throughput, 1), "p99": p99, "client": round(found.processor, 3)}


def _until_answered(server: Server, request: Request) -> None:
    """MLServer listens before its model is open."""
    end = time.monotonic() + 60
    while not (found := server.ask(request, 1, 0.5)).answered:
        if time.monotonic() > end:
            raise RuntimeError(f"{server.log.stem} answers {', '.join(found.times)}, and never 200")


@contextmanager
def _fastapi(model: Model) -> Iterator[Server]:
    app = "benchmarks.serving.peers.fastapi_server:app"
    command = [sys.executable, "-m", "uvicorn", app, "--no-access-log"]
    with started("fastapi", command, free_port(), "--port", FILE=str(_file(model))) as server:
        yield server


@contextmanager
def _mlserver(model: Model) -> Iterator[Server]:
    folder, port = BUILD / "mlserver" / model.name, free_port()
    metrics = folder / "metrics"
    metrics.mkdir(parents=True, exist_ok=True)
    ports = {"http_port": port, "grpc_port": free_port(), "metrics_port": free_port()}
    (folder / "settings.json").write_text(json.dumps({"host": "127.0.0.1", "debug": False, "metrics_dir": str(metrics), **ports}))
    described = {
        "name": model.name,
        "implementation": "mlserver_model.OnnxModel",
        "parameters": {"uri": str(_file(model))},
        "max_batch_size": _JOINED,
        "max_batch_time": _WAIT,
    }
    (folder / "model-settings.json").write_text(json.dumps(described))
    peers = str(Path(__file__).parent / "peers")
    with started("mlserver", [MLSERVER, "start", folder], port, PYTHONPATH=peers) as server:
        yield server


def _file(model: Model) -> Path:
    return model.bundle / "model.ort.onnx"


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """As Markdown."""
    yield "| model | p99 at most | " + " | ".join(next(iter(found.values()))) + " |"
    yield "|---|---|" + "---|" * len(next(iter(found.values())))
    for title, servers in found.items():
        for limit in P99_MS:
            best = {name: at_most(levels, limit) for name, levels in servers.items()}
            yield f"| {title} | {limit:.0f} ms | " + " | ".join(_cell(best[OURS], rate) for rate in best.values()) + " |"
    yield "\nRows a second, and in brackets how many times as many ours answers. A dash: no load of it kept to the time."


def _cell(ours: float | None, rate: float | None) -> str:
    if rate is None:
        return "-"
    return f"{rate:.0f}" + (f" ({ours / rate:.2f}x)" if ours is not None else "")
