"""Engines kept between builds: a folder of files named by what they were built from."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lamina.compiler.targets.tensorrt.process import EngineError

CAPACITY = 16 * 2**30  # bytes; the engines unused for longest make room


def default_folder() -> Path:
    """`$LAMINA_CACHE`, else `lamina/engines` in the user's cache folder."""
    if chosen := os.environ.get("LAMINA_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lamina" / "engines"


def digest(path: Path) -> str:
    """The file's sha256, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class EngineCache:
    """Engines by key. Each lies beside its sha256: one that does not match, or has none, counts as absent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, key: str) -> Path | None:
        """The engine's file, if it is there and whole."""
        engine, checksum = self._files(key)
        try:
            if checksum.read_text(encoding="utf-8") != digest(engine):
                return None
            engine.touch()
        except (OSError, UnicodeDecodeError):
            return None
        return engine

    @contextlib.contextmanager
    def writing(self) -> Iterator[Path]:
        """A new file in the cache's folder to build into, gone afterwards unless it was kept."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, name = tempfile.mkstemp(suffix=".part", dir=self.folder)
        except OSError as error:
            raise EngineError(
                f"cannot write to the engine cache {self.folder}: {error.strerror}; set LAMINA_CACHE to another folder"
            ) from error
        os.close(handle)
        try:
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)

    def keep(self, key: str, written: Path) -> Path:
        """Make a finished file the engine of that key, and let old ones go if the cache is over its capacity."""
        engine, checksum = self._files(key)
        with self.writing() as part:
            part.write_text(digest(written), encoding="utf-8")
            written.replace(engine)
            part.replace(checksum)
        self._prune(engine)
        return engine

    def _files(self, key: str) -> tuple[Path, Path]:
        return self.folder / f"{key}.engine", self.folder / f"{key}.sha256"

    def _prune(self, newest: Path) -> None:
        engines = sorted(self.folder.glob("*.engine"), key=lambda f: f.stat().st_mtime, reverse=True)
        total = newest.stat().st_size
        for engine in (e for e in engines if e != newest):
            total += engine.stat().st_size
            if total > CAPACITY:
                engine.unlink(missing_ok=True)
                engine.with_suffix(".sha256").unlink(missing_ok=True)
