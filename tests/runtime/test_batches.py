"""A user's own data as calls of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import lamina
from lamina.runtime import InputError
from lamina.runtime.batches import read_batches
from lamina.runtime.manifest import Manifest, read_manifest

IMAGES = """
lamina: 1
model: m
inputs: {image: "float32[N, 3, 8, 8]"}
dims: {N: {min: 1, opt: 4, max: 48}}
body: [{mean: {dims: [2, 3]}}]
outputs: {y: "float32[N, 3]"}
preprocess: {image: {resize: 8, crop: 8}}
"""
PAIRS = """
lamina: 1
model: m
inputs: {a: "float32[N, 2]", b: "int64[N]", by: "float32[]"}
dims: {N: {min: 2, opt: 4, max: 50, multiple_of: 2}}
body: ["y = by * a + cast(b, 'float32')[:, None]"]
outputs: {y: "float32[N, 2]"}
"""


def bundle(text: str, folder: Path) -> tuple[Path, Manifest]:
    (folder / "m.yaml").write_text(text)
    made = lamina.compile(lamina.load(folder / "m.yaml"), folder / "bundle", ["onnx"])
    return made, read_manifest(made)


def sizes(given: Any, made: tuple[Path, Manifest]) -> list[dict[str, tuple[int, ...]]]:
    return [{name: array.shape for name, array in call.items()} for call in read_batches(given, *made)]


def test_what_is_large_is_cut(tmp_path: Path) -> None:
    made = bundle(IMAGES, tmp_path)
    image = np.arange(70 * 192, dtype=np.float32).reshape(70, 3, 8, 8)
    np.savez(tmp_path / "x.npz", image=image)
    calls = list(read_batches([tmp_path / "x.npz"], *made))
    assert [len(call["image"]) for call in calls] == [32, 32, 6]
    assert np.array_equal(np.concatenate([call["image"] for call in calls]), image)
    np.save(tmp_path / "x.npy", image[:33])
    assert sizes([f"image={tmp_path / 'x.npy'}"], made) == [{"image": (32, 3, 8, 8)}, {"image": (1, 3, 8, 8)}]


def test_inputs_that_share_no_dim_stay_whole(tmp_path: Path) -> None:
    made = bundle(PAIRS, tmp_path)
    np.savez(tmp_path / "x.npz", a=np.ones((4, 2), np.float32), b=np.arange(4), by=np.float32(2))
    assert sizes([tmp_path / "x.npz", "a=[[1, 2], [3, 4]]", "b=[1, 2]", "by=3"], made) == [
        {"a": (4, 2), "b": (4,), "by": ()},
        {"a": (2, 2), "b": (2,), "by": ()},
    ]


def test_a_folder_of_images(tmp_path: Path) -> None:
    made = bundle(IMAGES, tmp_path)
    (tmp_path / "photos").mkdir()
    for name, shade in (("b.png", 255), ("a.jpg", 0)):
        Image.new("RGB", (16, 12), (shade, shade, shade)).save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "notes.md").write_text("not read")
    first, second = read_batches([tmp_path / "photos"], *made)
    assert (first["image"].max(), second["image"].min()) == (0, 1)  # by name, each a call of its own


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nowhere", "there is no file or folder `nowhere`"),
        ("empty", "empty holds nothing to read"),
        ("x.npz", "holds no array `image`"),
        ("odd.npz", "odd.npz cannot be read"),
        ("m.yaml", "m.yaml cannot be read"),
        ("words.txt", "carries no tokenizer"),
        ("shape.npz", "wanted float32"),
    ],
)
def test_what_will_not_do(given: str, message: str, tmp_path: Path) -> None:
    made = bundle(IMAGES, tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd.npz").write_text("no archive")
    (tmp_path / "words.txt").write_text("a line\n")
    np.savez(tmp_path / "x.npz", a=np.zeros(2), b=np.zeros(2))
    np.savez(tmp_path / "shape.npz", image=np.zeros((1, 3, 9, 9), np.float32))
    with pytest.raises(InputError, match=message):
        list(read_batches([tmp_path / given if given != "nowhere" else given], *made))


def test_an_image_is_for_one_input(tmp_path: Path) -> None:
    made = bundle(PAIRS, tmp_path)
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="is an image, and the model has the inputs a, b, by"):
        list(read_batches([tmp_path / "a.png"], *made))
