"""The models that are served, and the watch over their folders."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from lamina.runtime.errors import BackendMissing, BundleError, InputError
from lamina.runtime.serve.metrics import Metrics
from lamina.runtime.serve.places import Place, Signature, places, signature
from lamina.runtime.serve.refused import Refused
from lamina.runtime.serve.served import Served
from lamina.runtime.serve.settings import Settings

_LOG = logging.getLogger("lamina.serve")
_FAULTS = (BundleError, BackendMissing, InputError, OSError, MemoryError)


@final
@dataclass(frozen=True, slots=True)
class _Found:
    """What was seen of a place, and what it serves: None, if it could not be opened. `gone`: it was not there at the last look."""

    signature: Signature
    served: Served | None
    gone: bool = False


@final
class Repository:
    """Models by name and version. `open` comes first; all else but `scan` is for the event loop's thread."""

    def __init__(self, given: Sequence[Path], settings: Settings, metrics: Metrics) -> None:
        self._given, self._settings, self._metrics = given, settings, metrics
        self._found: dict[Place, _Found] = {}
        self._models: dict[str, dict[str, Served]] = {}
        self._retiring: set[asyncio.Future[None]] = set()
        self.ready = False

    @property
    def models(self) -> dict[str, dict[str, Served]]:
        """The versions of each model, the newest last."""
        return self._models

    def served(self, name: str, version: str | None = None) -> Served:
        """A version of a model, the newest unless one is named. Refused: 404."""
        versions = self._models.get(name)
        if versions is None:
            raise Refused(404, f"there is no model `{name[:200]}`; there are {', '.join(self._models) or 'none'}")
        if version is None:
            return next(reversed(versions.values()))
        if version not in versions:
            raise Refused(404, f"the model `{name}` has no version {version[:200]}; it has {', '.join(versions)}")
        return versions[version]

    def open(self) -> None:
        """Open every bundle, before there is an event loop. BundleError with what is wrong with each."""
        found, problems = self.scan({})
        if problems or not found:
            raise BundleError("\n".join(problems) or f"there is no bundle in {', '.join(map(str, self._given))}")
        self._replace(found)
        self.ready = True

    async def watch(self) -> None:
        """Open what is new or changed, and let go of what is gone, until cancelled. What cannot be opened leaves what was there."""
        told: list[str] = []
        while True:
            await asyncio.sleep(self._settings.poll)
            try:
                found, problems = await asyncio.to_thread(self.scan, dict(self._found))
            except Exception:  # the watch must outlive whatever a folder holds
                _LOG.exception("the folders cannot be looked at")
                continue
            for problem in problems:
                if problem not in told:
                    _LOG.error("a bundle cannot be opened: %s", problem)
            told = problems
            self._replace(found)

    async def close(self) -> None:
        """Answer what was accepted, and close all."""
        self.ready = False
        self._replace({})
        await asyncio.gather(*self._retiring)

    def scan(self, known: dict[Place, _Found]) -> tuple[dict[Place, _Found], list[str]]:
        """What is there now, opening only what is not known as it is, and what could not be opened."""
        try:
            there = places(self._given)
        except BundleError as error:
            return known, [str(error)]
        found, problems = {}, []
        for place in there:
            now, before = signature(place.folder), known.get(place)
            if before is not None and before.signature == now:
                found[place] = replace(before, gone=False)
                continue
            try:
                found[place] = _Found(now, Served(place.model, place.version, place.folder, self._settings, self._metrics))
            except Exception as error:  # one bundle must not keep the others from being served
                problems.append(f"{place.folder}: {error}" if isinstance(error, _FAULTS) else f"{place.folder}: {error!r}")
                found[place] = _Found(now, before.served if before is not None else None)
        # A folder that is replaced by two renames is away for a moment.
        away = {place: replace(one, gone=True) for place, one in known.items() if place not in found and not one.gone}
        return found | away, problems

    def _replace(self, found: dict[Place, _Found]) -> None:
        """Serve what was found, in one step, and retire what that leaves out."""
        old = {one.served for one in self._found.values() if one.served is not None}
        new = {one.served for one in found.values() if one.served is not None}
        self._found, self._models = found, {}
        for place in sorted(found, key=lambda place: (place.model, int(place.version))):
            if (served := found[place].served) is not None:
                self._models.setdefault(place.model, {})[place.version] = served
                if served not in old:
                    _LOG.info("serving", extra=served.told)
        for served in old - new:
            _LOG.info("retiring", extra={"model": served.name, "version": served.version})
            self._retiring.add(task := asyncio.ensure_future(served.retire()))
            task.add_done_callback(self._retiring.discard)
