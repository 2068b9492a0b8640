"""What an oracle would have a token do: python oracle_routes.py BUNDLE TOKEN TOKEN ... NEXT

BUNDLE is of the zoo's `duo_llm`, variant `given`. Every route of the last token but one through the layers is tried, after large networks
alone for the tokens before it, and for each number of large networks the route is printed that finds NEXT the likeliest.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

import lamina

BIG, SMALL, NEITHER = 0, 1, 2
Array = np.ndarray[Any, Any]


def losses(session: lamina.Session, ids: Sequence[int], routes: Array) -> Array:
    """The loss of the last token after the others, for each route [R, layers] of the one before it."""
    read, found = np.asarray(ids[:-1]), []
    most = session.manifest.dims["N"].max
    for some in np.split(routes, range(most, len(routes), most)):
        route = np.full((len(some), routes.shape[1], len(read)), BIG)
        route[:, :, -1] = some
        rows = np.tile(read, (len(some), 1))
        logits = session(input_ids=rows, attention_mask=np.ones_like(rows), route=route)["logits"][:, -1].astype(np.float64)
        most_likely = logits.max(1, keepdims=True)
        found.append(np.log(np.exp(logits - most_likely).sum(1)) + most_likely[:, 0] - logits[:, ids[-1]])
    return np.concatenate(found)


def oracle(session: lamina.Session, ids: Sequence[int]) -> Iterator[tuple[int, float, tuple[int, ...]]]:
    """For each number of large networks: it, the least loss, and the route that has it."""
    layers = session.manifest.input("route").shape[1]
    assert isinstance(layers, int)
    if layers > 12:
        raise SystemExit(f"{layers} layers have {3**layers} routes, too many to try them all")
    routes = np.array(list(itertools.product((BIG, SMALL, NEITHER), repeat=layers)))
    found = losses(session, ids, routes)
    for count in range(layers + 1):
        among = np.flatnonzero((routes == BIG).sum(1) == count)
        best = among[found[among].argmin()]
        yield count, float(found[best]), tuple(routes[best].tolist())


if __name__ == "__main__":
    bundle, *tokens = sys.argv[1:]
    for count, loss, route in oracle(lamina.Session(bundle), [int(token) for token in tokens]):
        print(f"{count} large: loss {loss:.4f} by {' '.join('LSx'[step] for step in route)}")
