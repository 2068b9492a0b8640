"""Embed sentences with a compiled bundle and print how similar each pair is.

python docs/examples/similarity.py BUNDLE sentences.txt          (one sentence a line)
python docs/examples/similarity.py BUNDLE "A first sentence." "A second one."
"""

import sys
from pathlib import Path

import lamina
from lamina.runtime.run import run


def main(bundle: str, *given: str) -> None:
    """Print the matrix of cosine similarities."""
    path = Path(given[0]) if len(given) == 1 else None
    sentences = path.read_text().splitlines() if path is not None and path.is_file() else list(given)
    with lamina.Session(bundle) as session:
        embeddings = run(session, {"text": sentences})["embedding"]
    similarities = embeddings @ embeddings.T
    for index, sentence in enumerate(sentences):
        print(f"{index + 1:>3}  {sentence}")
    print("\n     " + " ".join(f"{i + 1:>5}" for i in range(len(sentences))))
    for index, row in enumerate(similarities):
        print(f"{index + 1:>3}  " + " ".join(f"{value:5.2f}" for value in row))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
