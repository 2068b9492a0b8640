"""A Ray cluster, seen from one of its machines."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

from lamina.runtime.errors import BackendMissing, InputError

try:
    import ray
except ImportError as error:
    raise BackendMissing(f"Ray cannot be imported ({error}); pip install lamina[ray]") from error


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one session takes of a machine, in Ray's count of its processors and GPUs."""

    cpus: float = 1.0
    gpus: float = 0.0

    @property
    def threads(self) -> int:
        """A thread for each processor."""
        return max(1, round(self.cpus))


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Be a driver of the cluster at this address, unless this process is one already.

    None is the cluster that RAY_ADDRESS or `ray start` on this machine names, else one that is started here and ends with this.
    InputError: an address of Ray's client. BackendMissing: no cluster answers there.
    """
    if ray.is_initialized():
        yield
        return
    if (address or os.environ.get("RAY_ADDRESS", "")).startswith("ray://"):
        raise InputError("`ray://` is of programs outside the cluster: run this on a machine of it, and give HOST:PORT, or no address")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
    except (ConnectionError, ValueError) as error:
        raise BackendMissing(f"no Ray cluster answers at {address or os.environ.get('RAY_ADDRESS', 'this machine')}: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


def here() -> dict[str, str]:
    """The labels of this machine, and of no other."""
    return {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
