"""Whether bundles open on a cluster at all, tried once before many do."""

from __future__ import annotations

from typing import Any

import ray

from lamina.runtime.errors import BackendMissing, BundleError
from lamina.runtime.ray.cluster import Share
from lamina.runtime.ray.copies import Copies
from lamina.runtime.serve.places import places
from lamina.runtime.session import BackendName, Session


def try_to_open(shelf: Any, backend: BackendName, share: Share) -> None:
    """Open each bundle of a shelf on some machine. BundleError with what is wrong with each."""
    # Its process ends with it, and leaves the copies for the next.
    task = ray.remote(num_cpus=share.cpus, num_gpus=share.gpus, max_calls=1)(_problems)
    if problems := ray.get(task.remote(shelf, backend)):
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
