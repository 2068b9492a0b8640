"""A decoder of ours and one of transformers, with the same weights: one pass, padded rows, and piece by piece."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from fill import fill

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.compiler.weights.tensor import fixed_shape
from lamina.runtime import Session
from lamina.schema.dims import Dim, value_of
from lamina.schema.spec import ModelSpec

Array = np.ndarray[Any, Any]


def filled(model: Any) -> Any:
    """The model with weights that follow from their names, in eval mode."""
    tied = {key for key in model.state_dict() if key.startswith("lm_head") and model.config.tie_word_embeddings}
    state = {k: torch.from_numpy(np.ascontiguousarray(fill(k, tuple(v.shape)))) for k, v in model.state_dict().items() if k not in tied}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert set(missing) <= tied
    assert not unexpected
    model.tie_weights()
    return model.eval()


def session(model: Any, spec: ModelSpec, folder: Path) -> Session:
    """Ours, compiled from the checkpoint that transformers writes, which holds no tokenizer."""
    model.save_pretrained(folder / "checkpoint")
    spec = spec.model_copy(update={"tokenizer": None})
    return Session(lamina.compile(spec, folder / "bundle", weights=folder / "checkpoint"))


def tokens(rows: int, length: int, vocabulary: int) -> Array:
    return np.random.default_rng(0).integers(0, vocabulary, (rows, length))


def in_training(spec: ModelSpec, ids: torch.Tensor, weights: Path | None = None, module: Any = None) -> tuple[Any, dict[str, torch.Tensor]]:
    """PyTorch's module in train mode, or one that was made of the spec before, and what it gives where no tokens came before."""
    module = (module or lamina.to_torch(spec, weights=weights)).train()
    at = {"N": ids.shape[0], "T": ids.shape[1], "P": 0}
    past = {
        v.name: [value_of(s, at) if isinstance(s, Dim) else s for s in v.shape]
        for v in elaborate(spec).graph.inputs
        if v.name.startswith("past.")
    }
    found = module(input_ids=ids, attention_mask=torch.ones_like(ids), **{name: torch.zeros(shape) for name, shape in past.items()})
    return module, found


def activated(path: Path, variant: str, like: str, table: bool = True, met: int | None = None) -> str:
    """How many billions of parameters a token meets that chose as many experts as the config says, or `met`, rounded like a figure.
    Some count the embedding's table, of which it meets a row."""
    model = elaborate(lamina.load(path, variant=variant))
    met = model.config["chosen"] if met is None else met
    counted = [p for p in model.graph.parameters() if p.trainable and (table or not p.name.startswith("embed"))]
    numbers = [(re.search(r"\.experts\.(\d+)\.", p.name), math.prod(fixed_shape(p))) for p in counted]
    total = sum(size for found, size in numbers if not found or int(found[1]) < met)
    return str((Decimal(total) / 10**9).quantize(Decimal(like)))


def worst(model: Any, ours: Session, ids: Array, padding: Array) -> float:
    """The largest difference of logits over their magnitude, where there is a token: in one pass, and in pieces of 1 to 5 tokens."""
    mask = (np.arange(ids.shape[1]) >= padding[:, None]).astype(np.int64)
    positions = np.maximum(mask.cumsum(1) - 1, 0)
    with torch.no_grad():
        given = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
        expected = model(**{k: torch.from_numpy(v) for k, v in given.items()}).logits.numpy()
    whole = ours(input_ids=ids, attention_mask=mask)["logits"]
    stream, cuts = ours.stream(), [0, 5, 6, 7, 10, ids.shape[1]]
    of_the_call = ours.manifest.input("attention_mask").shape == ours.manifest.input("input_ids").shape
    seen_by = {b: mask[:, a if of_the_call else 0 : b] for a, b in itertools.pairwise(cuts)}
    pieces = [stream(input_ids=ids[:, a:b], attention_mask=seen_by[b])["logits"] for a, b in itertools.pairwise(cuts)]
    seen = mask.astype(bool)
    return max(float(np.abs((got - expected)[seen]).max() / np.abs(expected).max()) for got in (whole, np.concatenate(pieces, axis=1)))


def parity(path: Path, variant: str, reference: Callable[[Mapping[str, Any]], Any], folder: Path) -> str:
    """How far a small form of the variant is from the model that transformers makes of its config: the evidence's words."""
    spec = lamina.load(path, variant=variant, small=True, every=True)
    model = reference(elaborate(spec).config)
    ours = session(model, spec, folder)
    assert ours.manifest.parameters == model.num_parameters()
    error = worst(model, ours, tokens(3, 12, 96), np.array([0, 4, 7]))
    assert error < 2e-5
    return f"{error:.0e} of transformers {transformers.__version__}, small"
