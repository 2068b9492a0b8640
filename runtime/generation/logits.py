"""What changes scores before a token is chosen. Pure functions of float arrays [rows, vocabulary]; what is ruled out becomes -inf.

Each is the logits processor or warper of transformers 5 that has its name, but for ties: of equal scores at an edge, all are kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lamina.runtime.dtypes import Array


def log_sum_exp(scores: Array) -> Array:
    """log(sum(exp(scores))) of each row: [rows]. At least one of a row must be finite, and none NaN."""
    most = scores.max(-1, keepdims=True)
    return most[:, 0] + np.log(np.exp(scores - most).sum(-1))  # type: ignore[no-any-return]


def log_softmax(scores: Array) -> Array:
    """Log-probabilities of scores, along the last axis."""
    shifted = scores - scores.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))  # type: ignore[no-any-return]


def softmax(scores: Array) -> Array:
    """Probabilities of scores, along the last axis."""
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)  # type: ignore[no-any-return]


def temperature(scores: Array, value: float) -> Array:
    """Flatter above 1, sharper below."""
    return scores / np.float32(value)


def top_k(scores: Array, k: int) -> Array:
    """The k largest of each row."""
    if k >= scores.shape[-1]:
        return scores
    least = np.partition(scores, -k, axis=-1)[:, -k, None]
    return _keep(scores >= least, scores)


def top_p(scores: Array, p: float) -> Array:
    """The fewest largest whose probabilities reach p ("nucleus sampling", arXiv 1904.09751)."""
    ordered = np.sort(scores, axis=-1)
    below = (np.cumsum(softmax(ordered), axis=-1) <= 1 - p).sum(-1, keepdims=True)
    first = np.minimum(below, scores.shape[-1] - 1)
    return _keep(scores >= np.take_along_axis(ordered, first, -1), scores)


def min_p(scores: Array, p: float) -> Array:
    """Those whose probability is at least p of the largest's (arXiv 2407.01082)."""
    probabilities = softmax(scores)
    return _keep(probabilities >= np.float32(p) * probabilities.max(-1, keepdims=True), scores)


def typical_p(scores: Array, p: float) -> Array:
    """The fewest whose surprise is nearest to the expected one and whose probabilities reach p (arXiv 2202.00666)."""
    logs = log_softmax(scores)
    entropy = -(np.where(np.isneginf(logs), 0, logs) * np.exp(logs)).sum(-1, keepdims=True)
    distance = np.abs(-logs - entropy)
    order = np.argsort(distance, axis=-1)
    reached = np.cumsum(softmax(np.take_along_axis(scores, order, -1)), axis=-1)
    last = np.minimum((reached < p).sum(-1, keepdims=True), scores.shape[-1] - 1)
    furthest = np.take_along_axis(distance, np.take_along_axis(order, last, -1), -1)
    return _keep(distance <= furthest, scores)


def repetition_penalty(scores: Array, penalty: float, histories: Sequence[Array]) -> Array:
    """Scores of each row's history (int64[length]) divided by the penalty, or multiplied where negative (arXiv 1909.05858)."""
    changed = scores.copy()
    for row, whole in enumerate(histories):
        history = whole[whole < scores.shape[1]]  # a prompt may hold tokens that the model reads and never writes
        found = changed[row, history]
        changed[row, history] = np.where(found < 0, found * np.float32(penalty), found / np.float32(penalty))
    return changed


def no_repeat_ngram(scores: Array, size: int, histories: Sequence[Array]) -> Array:
    """Rules out what would complete a run of `size` tokens that the row's history (int64[length]) holds already.

    Histories hold no padding, which transformers counts among the tokens.
    """
    changed = scores.copy()
    for row, history in enumerate(histories):
        if len(history) >= size:
            runs = sliding_window_view(history, size)
            alike = (runs[:, :-1] == history[len(history) - size + 1 :]).all(-1)
            found = runs[alike, -1]
            changed[row, found[found < scores.shape[1]]] = -np.inf
    return changed


def suppress(scores: Array, tokens: Sequence[int]) -> Array:
    """Rules these tokens out."""
    changed = scores.copy()
    changed[:, list(tokens)] = -np.inf
    return changed


def _keep(kept: Array, scores: Array) -> Array:
    return np.where(kept, scores, np.float32(-np.inf))
