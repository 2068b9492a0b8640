"""What Python does behind the compiler's back, adapted to it for as long as it runs."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

FRAMES = 50_000  # 100 calls deep, each inside steps and expressions as deep as the language lets them be


@contextmanager
def uninterrupted() -> Iterator[None]:
    """No garbage collection, and room for recursion.

    An elaboration makes many small objects, keeps nearly all of them, and leaves hardly a cycle: looking for garbage took up to
    two thirds of its time. So do the passes, where it took a quarter, the more the deeper the model. Calls nest as deep as the budget
    lets them, which is deeper than Python's own limit.
    """
    collecting, limit = gc.isenabled(), sys.getrecursionlimit()
    gc.disable()
    sys.setrecursionlimit(max(limit, FRAMES))
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)
        if collecting:
            gc.enable()
