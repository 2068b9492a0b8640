"""A server that is ended and started again while clients ask: nothing that it accepted is lost, and every request is answered."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.serving.client import Found, Job, ask
from benchmarks.serving.models import MINILM, in_bytes
from benchmarks.serving.server import free_port, lamina

SECONDS = 30.0
_RESTARTS = 3
_CLIENTS = 32


def measure(seconds: float) -> dict[str, Any]:
    """Counts: `accepted` are the requests that the server's log tells of, `lost` those of them whose answers did not come."""
    request, port = in_bytes(MINILM), free_port()
    job = Job(port, request.path, request.headers, request.body.hex(), _CLIENTS, seconds, numbered=True)
    accepted, found = set[int](), list[Found]()
    client = threading.Thread(target=lambda: found.append(ask(job)))
    for turn in range(_RESTARTS + 1):
        with lamina(MINILM, port=port) as server:
            log, began = server.log, server.log.stat().st_size
            if turn == 0:
                client.start()
            if turn < _RESTARTS:
                time.sleep(seconds / (_RESTARTS + 1))
            else:
                client.join()
        accepted |= _answered(log, began)
    (one,) = found
    return {
        "restarts": _RESTARTS,
        "accepted": len(accepted),
        "answered": len(one.answered),
        "lost": len(accepted - set(one.ids)),
        "sent_again": one.again,
        "other_statuses": {status: len(times) for status, times in one.times.items() if status != "200"},
        "longest": max(one.answered),
    }


def _answered(log: Path, began: int) -> set[int]:
    """The numbers of the requests that the log says were answered 200, from that byte on."""
    with log.open("rb") as text:
        text.seek(began)
        entries = [json.loads(line) for line in text if line.startswith(b"{")]
    return {int(one["request_id"]) for one in entries if one.get("status") == 200 and one["request_id"].isdecimal()}


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """As Markdown."""
    yield f"{found['restarts']} restarts under the load of {_CLIENTS} clients:"
    yield f"{found['accepted']} requests accepted, {found['lost']} of them lost (bound 0)."
    yield f"{found['sent_again']} were sent again, as their connections were closed before the server had read them;"
    yield f"the longest took {found['longest']:.0f} ms, as the server's start takes."
