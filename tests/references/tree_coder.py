"""A coder's walk along a tree of variables: a message down each edge before its node is coded, and one up after all below it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from arithmetic_coder import Decoder, Encoder
from fill import Array

import lamina

Symbols = Callable[[int, Array], Array]  # of a node and the log-probabilities of its values, the values: written, or read


class Walk:
    """Visits parents first and each subtree to its end, so that all that was seen before a node is in the one message to it."""

    def __init__(self, down: lamina.Session, up: lamina.Session, parents: Sequence[int], states: int) -> None:
        """`parents` of all nodes but the root, which is node 0; `states` of each hidden variable."""
        self.down, self.up, self.states = down, up, states
        self.children = [[node for node, parent in enumerate(parents, 1) if parent == p] for p in range(len(parents) + 1)]
        self.messages = 0

    def __call__(self, count: int, symbols: Symbols) -> None:
        """Walk for some images at once."""
        self._visit(0, np.zeros((count, self.states), np.float32), symbols)

    def _visit(self, node: int, above: Array, symbols: Symbols) -> tuple[Array, Array]:
        """Of a node, whose parent knows what is `above`, the values and the sum of its children's messages."""
        heard = self._send(self.down, node=np.array(node), above=above)
        value = symbols(node, heard["log_p"])
        knows, below = heard["knows"][np.arange(len(value)), value], np.zeros_like(above)
        for child in self.children[node]:
            seen, further = self._visit(child, knows, symbols)
            message = self._send(self.up, node=np.array(child), value=seen, below=further)["message"]
            knows, below = knows + message, below + message
        return value, below

    def _send(self, session: lamina.Session, **feeds: Array) -> dict[str, Array]:
        self.messages += 1
        return session(**feeds)


def encode(walk: Walk, images: Array) -> list[int]:
    """The bits of images [count, nodes]."""
    encoder = Encoder()

    def symbols(node: int, log_p: Array) -> Array:
        for value, row in zip(images[:, node], log_p, strict=True):
            encoder.put(value, _frequencies(row))
        return images[:, node]

    walk(len(images), symbols)
    return encoder.finish()


def decode(walk: Walk, bits: Sequence[int], count: int) -> Array:
    """The images again."""
    decoder = Decoder(bits)
    images = np.zeros((count, len(walk.children)), np.int64)

    def symbols(node: int, log_p: Array) -> Array:
        images[:, node] = [decoder.get(_frequencies(row)) for row in log_p]
        return images[:, node]

    walk(count, symbols)
    return images


def _frequencies(log_p: Array) -> list[int]:
    """As integers of which none is 0."""
    return [int(f) for f in np.round(np.exp(log_p.astype(np.float64)) * 2**16) + 1]
