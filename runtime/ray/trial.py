"""Whether bundles open on a cluster at all, tried once before many do."""

from __future__ import annotations

import logging
from typing import Any

import ray

from lamina.runtime.errors import BackendMissing, BundleError
from lamina.runtime.ray.cluster import Share
from lamina.runtime.ray.copies import Copies
from lamina.runtime.serve.places import places
from lamina.runtime.session import BackendName, Session

_SECONDS = 30
_LOG = logging.getLogger("lamina.serve")


def try_to_open(shelf: Any, backend: BackendName, share: Share) -> None:
    """Open each bundle of a shelf on some machine. BundleError with what is wrong with each."""
    # Its process ends with it, and leaves the copies for the next.
    task = ray.remote(num_cpus=share.cpus, num_gpus=share.gpus, max_calls=1)(_problems)
    told = task.remote(shelf, backend)
    if not ray.wait([told], timeout=_SECONDS)[0]:
        why = "the bundle is large, or no machine has room for it"
        _LOG.warning("the first session is not open after %d s: %s (%g CPUs, %g GPUs)", _SECONDS, why, share.cpus, share.gpus)
    if problems := ray.get(told):
        raise BundleError("\n".join(problems))


def _problems(shelf: Any, backend: BackendName) -> list[str]:
    copies = Copies(shelf)
    try:
        copies.refresh()
    except BundleError as error:
        return [str(error)]
    found = []
    for place in places([copies.folder]):
        try:
            Session(place.folder, backend).close()
        except (BundleError, BackendMissing) as error:
            found.append(f"{place.model}, version {place.version}: {error}")
    return found
