"""What a test says of a spec once it has passed; `conftest.py` gives the fixture `record` and writes what was recorded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

LARGEST = 2_000_000_000  # parameters of a model that is run whole: 12 bytes of each is the memory of a small machine
Record = Callable[[Path, str | None, str, str], None]
