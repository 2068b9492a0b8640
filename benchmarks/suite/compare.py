"""What has become slower or faster between two runs of the suite: `python -m benchmarks.suite.compare BEFORE.json AFTER.json [--margin 5]`.

Two runs on one machine are compared by the ratio of the best peer's time to ours, which the machine's mood does not change.
Ends with 1 where a ratio fell by more than the margin, in percent.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks.suite.results import ratios


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--margin", type=float, default=5)
    options = parser.parse_args()
    before, after = (ratios(json.loads(path.read_text())["models"]) for path in (options.before, options.after))
    slower = 0
    for key in sorted(before.keys() & after.keys()):
        change = 100 * (after[key] / before[key] - 1)
        if abs(change) > options.margin:
            print(f"{key[0]}, batch {key[1]}: {before[key]:.2f}x to {after[key]:.2f}x, {change:+.0f}%")
            slower += change < 0
    for key in sorted(before.keys() - after.keys()):
        print(f"{key[0]}, batch {key[1]}: not in {options.after}")
    return int(slower > 0 or not before.keys() <= after.keys())


if __name__ == "__main__":
    sys.exit(main())
