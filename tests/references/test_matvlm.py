"""A transformer's checkpoint converts by the spec's own rules, and padded rows are read as they are alone, piece by piece."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from cases import Reference, references
from fill import uniform
from safetensors.numpy import save_file

import lamina
from lamina.runtime import Session

SPEC = Path(__file__).parents[2] / "specs" / "language" / "matvlm.yaml"
WIDTHS = {"gate_proj": 40, "v_proj": 20, "k_proj": 20, "q_proj": 40, "dt_proj": 4}  # [z, x, B, C, dt] of the authors' matrix


def case() -> Reference:
    return next(case for case in references() if case.spec == "language/matvlm" and case.name == "phi_2_quarter")


def session(weights: dict[str, np.ndarray], folder: Path) -> Session:
    save_file({k: np.ascontiguousarray(v) for k, v in weights.items()}, folder / "weights.safetensors")
    spec = lamina.load(SPEC, small=True, every=True)
    return Session(lamina.compile(spec, folder / "bundle", weights=folder / "weights.safetensors"))


def test_projections_of_attention_become_those_of_state_spaces(tmp_path: Path) -> None:
    """x from v, B from k, C from q, and the output's from the output's, as the authors copy them; the rest is new."""
    weights = case().checkpoint()
    for layer in (3, 7):
        theirs = f"model.layers.{layer}.mamba"
        for kind in ("weight", "bias"):
            parts = np.split(weights.pop(f"{theirs}.in_proj.{kind}"), np.cumsum([*WIDTHS.values()])[:-1])
            for name, part in zip(WIDTHS, parts, strict=True):
                new = name in ("gate_proj", "dt_proj")
                weights[f"{theirs if new else f'model.layers.{layer}.self_attn'}.{name}.{kind}"] = part
            weights[f"model.layers.{layer}.self_attn.dense.{kind}"] = weights.pop(f"{theirs}.out_proj.{kind}")
    converted = session(weights, tmp_path)
    for feeds, want in zip(case().inputs(), case().outputs(), strict=True):
        np.testing.assert_allclose(converted(**feeds)["logits"], want["logits"], atol=1e-5 * np.abs(want["logits"]).max())


def test_padding_reaches_neither_the_cache_nor_the_state(tmp_path: Path) -> None:
    ours = session(case().checkpoint(), tmp_path)
    embeddings, padding = uniform("embeddings", (3, 14, 40)), [0, 5, 11]
    mask = (np.arange(14) >= np.array(padding)[:, None]).astype(np.int64)
    whole, stream = ours(embeddings=embeddings, attention_mask=mask)["logits"], ours.stream()
    cuts = itertools.pairwise([0, 3, 4, 12, 13, 14])
    pieces = np.concatenate([stream(embeddings=embeddings[:, a:b], attention_mask=mask[:, :b])["logits"] for a, b in cuts], axis=1)
    for row, start in enumerate(padding):
        alone = ours(embeddings=embeddings[row : row + 1, start:], attention_mask=mask[row : row + 1, start:])["logits"][0]
        for logits in (whole, pieces):
            np.testing.assert_allclose(logits[row, start:], alone, atol=2e-5 * np.abs(alone).max())
