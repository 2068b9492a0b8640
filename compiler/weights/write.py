"""Tensors to one file of external data, at the speed of memory, hashed on the way by a second thread."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lamina.compiler.weights.tensor import PIECE, Tensor

ALIGNMENT = 64  # bytes: a cache line, and the widest vector
PAGE = 4096  # tensors over 1 MiB start on a page, so that they can be mapped
_PIECES = 512  # buffers in one system call; Linux takes 1,024
_WAITING = 4  # batches that may wait for the hash before writing waits too


@dataclass(frozen=True, slots=True)
class External:
    """A file of external data: (offset, length) in bytes of every tensor, in order, the file's SHA-256 and its size."""

    places: tuple[tuple[int, int], ...]
    sha256: str
    nbytes: int


def write_external(tensors: Iterable[Tensor], path: Path) -> External:
    """Write tensors one after the other, little-endian and aligned. Holds a few MiB at a time, if the tensors can be made in pieces."""
    places: list[tuple[int, int]] = []
    with path.open("wb", buffering=0) as file, ThreadPoolExecutor(1) as hasher:
        sink = _Sink(file.fileno(), hasher)
        for tensor in tensors:
            start = sink.align(PAGE if tensor.nbytes > 1 << 20 else ALIGNMENT)
            for piece in tensor.chunks(PIECE):
                sink.put(piece.view(np.uint8).data)
            if sink.position - start != tensor.nbytes:
                raise RuntimeError(f"{tensor.name} gave {sink.position - start} bytes, not {tensor.nbytes}")
            places.append((start, tensor.nbytes))
        return External(tuple(places), sink.finish(), sink.position)


@dataclass(slots=True)
class _Sink:
    """Gathers small pieces into batches; a batch is written by one system call while the other thread hashes it."""

    fd: int
    hasher: ThreadPoolExecutor
    position: int = 0
    batch: list[memoryview] = field(default_factory=list)
    batched: int = 0
    waiting: deque[Future[None]] = field(default_factory=deque)
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def align(self, alignment: int) -> int:
        """Pad with zeros to a multiple of `alignment`; returns the position."""
        self.put(memoryview(bytes(-self.position % alignment)))
        return self.position

    def put(self, piece: memoryview) -> None:
        """Take bytes; they must not change any more."""
        self.batch.append(piece)
        self.batched += piece.nbytes
        self.position += piece.nbytes
        if self.batched >= PIECE or len(self.batch) >= _PIECES:
            self.flush()

    def flush(self) -> None:
        self.waiting.append(self.hasher.submit(_update, self.digest, self.batch))
        write_all(self.fd, self.batch)
        self.batch, self.batched = [], 0
        while len(self.waiting) > _WAITING:
            self.waiting.popleft().result()

    def finish(self) -> str:
        """Write what is left; returns the SHA-256 of everything."""
        self.flush()
        for future in self.waiting:
            future.result()
        return self.digest.hexdigest()


def _update(digest: hashlib._Hash, batch: list[memoryview]) -> None:
    for piece in batch:
        digest.update(piece)


def write_all(fd: int, batch: list[memoryview]) -> None:
    """Write the buffers, going on after a short write."""
    written = os.writev(fd, batch)
    if written == sum(piece.nbytes for piece in batch):
        return
    rest = memoryview(b"".join(batch))[written:]
    while rest:
        rest = rest[os.write(fd, rest) :]
