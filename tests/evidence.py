"""What a test says of a spec once it has passed; `conftest.py` gives the fixture `record` and writes what was recorded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Record = Callable[[Path, str | None, str, str], None]
LARGEST = 10**9  # parameters of a variant that is run whole: the reference takes 8 bytes for each, the files and sessions 4 again and again
