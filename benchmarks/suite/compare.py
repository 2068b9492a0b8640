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
from lamina.runtime.compare import changes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--margin", type=float, default=5)
    options = parser.parse_args()
    before, after = (ratios(json.loads(path.read_text())["models"]) for path in (options.before, options.after))
    found = changes(before, after, options.margin)
    for change in sorted(found, key=lambda change: change.key):
        name, batch = change.key
        print(f"{name}, batch {batch}: {change.before:.2f}x to {change.after:.2f}x, {change.percent:+.0f}%")
    for key in sorted(before.keys() - after.keys()):
        print(f"{key[0]}, batch {key[1]}: not in {options.after}")
    return int(any(change.percent < 0 for change in found) or not before.keys() <= after.keys())


if __name__ == "__main__":
    sys.exit(main())
