"""What a test says of a spec once it has passed; `conftest.py` gives the fixture `record` and writes what was recorded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

LARGEST = 1_000_000_000  # parameters of a model that is run whole: module, float64 reference and engine take 24 bytes of each
Record = Callable[[Path, str | None, str, str], None]
