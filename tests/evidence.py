"""What a test says of a spec once it has passed; `conftest.py` gives the fixture `record` and writes what was recorded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Record = Callable[[Path, str | None, str, str], None]
