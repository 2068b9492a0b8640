"""What a server is told when it starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from lamina.runtime.session import BackendName

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a stranger may ask for.

    Bytes: `body` of a request, `json` of its JSON, `bodies` of all requests that are being answered, `answer` of a call's outputs, `cache`
    of the states of the texts that one model writes at a time.
    `text` is characters of a request, `batch` the rows that requests are joined to (1: none are), `queue` the requests that wait for one
    model, `connections` those that are open, `seconds` the time for an answer. `tokens` is what one completion may add, `texts` its
    prompts times its answers.
    """

    body: int = 64 * 2**20
    json: int = 16 * 2**20
    bodies: int = 2**30
    answer: int = 256 * 2**20
    cache: int = 4 * 2**30
    text: int = 2**20
    batch: int = 32
    queue: int = 64
    connections: int = 512
    seconds: float = 30.0
    tokens: int = 1024
    texts: int = 16


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to serve: over HTTP at `port`, and over gRPC too where there is a `grpc_port`.

    `token` is what a client must say as `Authorization: Bearer TOKEN`. `certificate` and `key` are PEM files. `workers` is how many calls
    of one model run at a time, `threads` what each may use. `poll` is the seconds between two looks at the folders (0: none);
    `grace` the seconds that answers may still take after SIGTERM.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    grpc_port: int | None = None
    token: str | None = None
    certificate: Path | None = None
    key: Path | None = None
    backend: BackendName = "auto"
    threads: int | None = None
    workers: int = 1
    poll: float = 2.0
    grace: float = 30.0
    limits: Limits = field(default_factory=Limits)

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in _LOOPBACK
