"""A few hundred hostile inputs, as `hostile.py` makes them by the thousand, in a process without this one's threads."""

import subprocess
import sys
from pathlib import Path

from hostile_traits import TRAITS


def test_hostile_inputs_do_no_harm() -> None:
    script = Path(__file__).with_name("hostile.py")
    done = subprocess.run([sys.executable, str(script), "--count", "300", "--dry"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "300 inputs" in done.stdout
    assert [trait for trait in TRAITS if trait not in done.stdout] == []
