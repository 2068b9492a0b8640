"""Three specs, as `reproduce.py` compiles the whole zoo: one folds exponentials, one Fourier matrices, one norms into convolutions."""

import subprocess
import sys
from pathlib import Path

SPECS = "language/mamba,operator/t1_1d,vision/resnet"


def test_two_machines_make_the_same_bytes() -> None:
    script = Path(__file__).with_name("reproduce.py")
    command = [sys.executable, str(script), "--only", SPECS, "--torch", "9", "--tensorrt", "9", "--dry"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "'bundles for onnx and onnxruntime': 3" in done.stdout
    assert "'bundles for torch': 1" in done.stdout
