"""Bundles that replicas on a cluster answer for, behind one server."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from lamina.runtime.errors import BackendMissing, BundleError
from lamina.runtime.ray.cluster import Share, connected
from lamina.runtime.serve.settings import Settings

try:
    from ray import serve
    from ray.serve.config import AutoscalingConfig

    from lamina.runtime.ray.front import front
    from lamina.runtime.ray.replica import Replica
    from lamina.runtime.ray.shelf import shelved
    from lamina.runtime.ray.trial import try_to_open
    from lamina.runtime.serve.logs import log_as_json
    from lamina.runtime.serve.run import bound, run
    from lamina.runtime.serve.server import Describe
except ImportError as error:
    raise BackendMissing(f"Ray Serve cannot be imported ({error}); pip install lamina[ray]") from error

_QUIET = {"enable_access_log": False, "log_level": "WARNING"}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """How many replicas there are: `least` to `most`, so that each has about `target` requests at a time.

    One is added when there are too few for `up` seconds, and taken away when there are too many for `down` seconds.
    """

    least: int = 1
    most: int = 4
    target: float = 8.0
    up: float = 10.0
    down: float = 120.0


def deploy(
    given: Sequence[Path], settings: Settings, describe: Describe, *, name: str, address: str | None, scaling: Scaling, share: Share
) -> None:
    """As `serve`, by replicas on the cluster at `address` (`connected`), as the application `name` of Ray Serve, which ends with this.

    BundleError: a bundle is not whole, or does not open on a replica. BackendMissing: no cluster. OSError: the address is not free.
    """
    log_as_json()
    with bound(settings) as listening, connected(address), shelved(given) as shelf:
        try_to_open(shelf, settings.backend, share)
        with deployed(shelf, settings, describe, name=name, scaling=scaling, share=share) as handle:
            run(front(handle, settings), settings, listening)


@contextmanager
def deployed(shelf: Any, settings: Settings, describe: Describe, *, name: str, scaling: Scaling, share: Share) -> Iterator[Any]:
    """A streaming handle of `Replica.answer`, once a replica answers. BundleError: none can."""
    serve.start(proxy_location="Disabled", logging_config=_QUIET)
    _log_as_we_do()
    deployment = serve.deployment(**_options(settings, scaling, share))(Replica)
    try:
        try:
            application = deployment.bind(shelf, _of_replica(settings, scaling, share), describe)
            handle = serve.run(application, name=name, route_prefix=None, logging_config=_QUIET)
        except RuntimeError as error:
            raise BundleError(f"the replicas do not start: {error}") from error
        yield handle.options(method_name="answer", stream=True)
    finally:
        serve.delete(name)
        if not serve.status().applications:
            serve.shutdown()  # type: ignore[no-untyped-call]


def _log_as_we_do() -> None:
    """Let Ray's warnings in this process be lines of our log."""
    for name in ("ray", "ray.serve"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.setLevel(logging.WARNING)
        logger.propagate = True


def _options(settings: Settings, scaling: Scaling, share: Share) -> dict[str, Any]:
    return {
        "autoscaling_config": AutoscalingConfig(
            min_replicas=scaling.least,
            max_replicas=scaling.most,
            target_ongoing_requests=scaling.target,
            upscale_delay_s=scaling.up,
            downscale_delay_s=scaling.down,
            metrics_interval_s=1.0,
            look_back_period_s=max(2.0, min(30.0, scaling.up)),
        ),
        "max_ongoing_requests": _most_ongoing(scaling),
        "max_queued_requests": settings.limits.queue,
        "graceful_shutdown_timeout_s": settings.grace,
        "ray_actor_options": {"num_cpus": share.cpus, "num_gpus": share.gpus},
    }


def _most_ongoing(scaling: Scaling) -> int:
    return max(1, round(2 * scaling.target))


def _of_replica(settings: Settings, scaling: Scaling, share: Share) -> Settings:
    """A replica does not refuse for want of room what Serve lets it have."""
    limits = dataclasses.replace(settings.limits, queue=max(settings.limits.queue, _most_ongoing(scaling)))
    return dataclasses.replace(settings, threads=settings.threads or share.threads, limits=limits)
