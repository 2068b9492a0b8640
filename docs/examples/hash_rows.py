"""Which rows of a shared table ids are embedded by: specs/blocks/hashing.yaml in plain Python, to serve the rows from elsewhere.

Ids are integers of 64 bits. Texts become ids before: `hash_text` is one way, the same on every machine (Python's own `hash` is not).

python docs/examples/hash_rows.py ROWS ID_OR_TEXT ..., one a field, each with a single lookup
"""

import hashlib
import sys

PRIME = 2**31 - 1


def coefficients(count: int, seed: int = 1) -> list[tuple[int, int, int]]:
    """a, b and c of each lookup, from the generator that C++ calls minstd_rand: first every a, then every b, then every c."""
    drawn, state = [], seed
    for _ in range(3 * count):
        state = state * 48271 % PRIME
        drawn.append(state)
    return list(zip(drawn[:count], drawn[count : 2 * count], drawn[2 * count :], strict=True))


def hash_rows(ids: list[int], lookups: list[int], rows: int, seed: int = 1) -> list[int]:
    """Of one sample, an id for each field: the rows that its fields use, one after the other."""
    chosen = [i for i, count in zip(ids, lookups, strict=True) for _ in range(count)]
    return [
        (a * (i % 2**31) + b * (i // 2**31 % PRIME) + c) % PRIME % rows
        for i, (a, b, c) in zip(chosen, coefficients(len(chosen), seed), strict=True)
    ]


def hash_text(text: str) -> int:
    """A text's id: eight bytes of its BLAKE2b, as a signed integer."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    given = [int(word) if word.lstrip("-").isdecimal() else hash_text(word) for word in sys.argv[2:]]
    print(*hash_rows(given, [1] * len(given), int(sys.argv[1])))
