"""A few of the interruptions that `crashes.py` makes by the hundred, in a process without this one's threads."""

import subprocess
import sys
from pathlib import Path


def test_interrupted_compilations_leave_whole_bundles() -> None:
    script = Path(__file__).with_name("crashes.py")
    done = subprocess.run([sys.executable, str(script), "--count", "6", "--dry"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "'killed': 6" in done.stdout
