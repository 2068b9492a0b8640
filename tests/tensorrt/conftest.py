"""The bench for ops lies one folder up."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent))
