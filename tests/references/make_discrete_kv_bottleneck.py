"""Write what `discrete-key-value-bottleneck-pytorch` computes. Run by hand:

pip install torch discrete-key-value-bottleneck-pytorch && python tests/references/make_discrete_kv_bottleneck.py

The package is given `codebook_dim`, without which it puts a learnt projection before the keys; the paper has none. It has no decoder:
the mean over the positions and the softmax are added here. The indices are compared as integers.
"""

from __future__ import annotations

from importlib.metadata import version

from discrete_key_value_bottleneck_pytorch import DiscreteKeyValueBottleneck
from fill import Draw, Scale
from making import Tensors, write
from torch import nn

SPEC = "memory/discrete_kv_bottleneck"
REFERENCE = f"discrete-key-value-bottleneck-pytorch {version('discrete-key-value-bottleneck-pytorch')}"
POINTS = [{"features": Draw((2, 3, 512))}, {"features": Draw((1, 9, 512))}]
SCALES = [Scale("*embed", 0, 2), Scale("values", 0, 1), Scale("*rand_proj", 0, 0.1)]
OWN = ["*initted", "*cluster_size", "*embed_avg"]


def bottleneck(heads: int, pairs: int, value_width: int) -> DiscreteKeyValueBottleneck:
    return DiscreteKeyValueBottleneck(
        dim=8, dim_embed=512, codebook_dim=8, num_memories=pairs, num_memory_codebooks=heads, dim_memory=value_width
    )


class Decoded(nn.Module):
    """The bottleneck, and the paper's linear decoder."""

    def __init__(self, heads: int, pairs: int) -> None:
        super().__init__()
        self.bottleneck = bottleneck(heads, pairs, 16)
        self.decoder = nn.Linear(16, 10)


def run(model: nn.Module, inputs: Tensors) -> Tensors:
    inner = getattr(model, "bottleneck", model)
    memories, (_, codes, _) = inner(inputs["features"], return_intermediates=True)
    logits = memories.mean(1)
    logits = model.decoder(logits) if inner is not model else logits
    return {"probabilities": logits.softmax(-1), "memories": memories, "codes": codes}


if __name__ == "__main__":
    few = {"heads": 6, "pairs": 20}
    common = {"run": run, "reference": REFERENCE, "scales": SCALES, "own": OWN}
    write(SPEC, "few", bottleneck(value_width=10, **few), POINTS, variant="values", config=few, **common)
    write(SPEC, "few_linear", Decoded(**few), POINTS, variant="linear", config=few, **common)
    write(SPEC, "values", bottleneck(256, 4096, 10), POINTS[:1], variant="values", sweep=True, **common)
    write(SPEC, "linear", Decoded(256, 4096), POINTS[:1], variant="linear", sweep=True, **common)
