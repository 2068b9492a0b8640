"""Write the bundles of this folder anew, each with the compiler of a commit before a bundle could hold something more.

python tests/runtime/old_bundles/make.py    (needs the history of the repository)
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
LAYERS = """lamina: 1
model: layers
summary: Two layers
inputs: {x: "float32[N, 4]"}
dims: {N: {min: 1, opt: 2, max: 8}}
body:
  - linear: 3
  - relu
  - linear: 2
outputs: {y: "float32[N, 2]"}
"""
DECODER = """lamina: 1
model: decoder
summary: Attention to all that came before
inputs: {x: "float32[N, T, 4]"}
dims: {N: {min: 1, opt: 1, max: 4}, T: {min: 1, opt: 4, max: 8}, P: {min: 0, opt: 4, max: 16}}
blocks:
  attend:
    state: {k: "float32[N, 2, P, 2]", v: "float32[N, 2, P, 2]"}
    body:
      - n, t, width = shape(x)
      - "q, k1, v1 = [permute(reshape(linear(x, width), [n, t, 2, 2]), [0, 2, 1, 3]) for part in ['q', 'k', 'v']]"
      - k = concat([k, k1], dim=2)
      - v = concat([v, v1], dim=2)
      - attention(q, k, v, causal=True)
      - reshape(permute(x, [0, 2, 1, 3]), [n, t, width])
body:
  - residual: [attend]
outputs: {y: "float32[N, T, 4]"}
"""


@dataclass(frozen=True)
class Old:
    """A commit whose compiler wrote bundles as the next of these no longer did."""

    commit: str
    name: str
    spec: str = LAYERS
    targets: tuple[str, ...] = ("onnx", "onnxruntime")


BUNDLES = (
    Old("fe139e2", "first", targets=("onnx", "onnxruntime", "torch")),
    Old("69c8def", "with_states", DECODER),
    Old("ef82a2c", "with_room_for_states", DECODER),
    Old("727cccd", "with_a_precision"),
    Old("29186fb", "with_precisions_by_layer"),
    Old("127233b", "with_adapters", DECODER),
    Old("e320178", "with_what_others_leave", DECODER.replace("max: 16", "max: 16 - T")),
    Old("a3dadde", "that_may_be_tuned"),
)


def make(old: Old) -> None:
    """Check the commit's files out, and let its compiler write the bundle."""
    root = subprocess.check_output(["git", "rev-parse", "--show-toplevel"], cwd=HERE, text=True).strip()
    with tempfile.TemporaryDirectory() as folder:
        files = subprocess.check_output(["git", "archive", old.commit], cwd=root)
        subprocess.run(["tar", "x", "-C", folder], input=files, check=True)
        spec = Path(folder) / "spec.yaml"
        spec.write_text(old.spec)
        targets = [word for target in old.targets for word in ("--target", target)]
        command = [sys.executable, "-m", "lamina", "compile", str(spec), "-o", str(HERE.resolve() / old.name), *targets]
        subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": folder}, check=True)


if __name__ == "__main__":
    for old in BUNDLES:
        make(old)
