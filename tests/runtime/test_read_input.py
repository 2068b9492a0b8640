"""Files, folders and literals as arrays; images against transformers' PIL processor and torchvision's documented arithmetic."""

from __future__ import annotations

import importlib
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import handmade
import numpy as np
import pytest
from PIL import Image

from lamina.runtime.dtypes import Array
from lamina.runtime.errors import InputError
from lamina.runtime.images import read_images
from lamina.runtime.inputs import read_input
from lamina.runtime.manifest import Manifest, read_manifest

MEAN, STD = [0.48, 0.45, 0.4], [0.26, 0.27, 0.28]


def declare(folder: Path, dtype: str = "float32", shape: tuple[Any, ...] = ("N", 3), **changes: Any) -> Manifest:
    return read_manifest(handmade.write(folder / "bundle", inputs=[{"name": "x", "dtype": dtype, "shape": list(shape)}], **changes))


def images(folder: Path, channels: int = 3, **how: Any) -> Manifest:
    return declare(folder, shape=("N", channels, "H", "W"), preprocess={"x": how}, dims={d: {"max": 64} for d in "NHW"})


def read(manifest: Manifest, given: Any) -> Array:
    return read_input(given, manifest.inputs[0], manifest)


def refused(manifest: Manifest, given: Any) -> str:
    with pytest.raises(InputError) as caught:
        read(manifest, given)
    return str(caught.value)


def picture(path: Path, height: int, width: int, mode: str = "RGB") -> Path:
    pixels = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


@pytest.mark.parametrize(
    ("text", "dtype", "expected"), [("3", "int64", 3), ("[1, 2]", "float32", [1, 2]), ("true", "bool", True), ("[]", "int8", [])]
)
def test_literals(tmp_path: Path, text: str, dtype: str, expected: Any) -> None:
    array = read(declare(tmp_path, dtype), text)
    assert array.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(array, expected)


def test_array_files(tmp_path: Path) -> None:
    manifest, x = declare(tmp_path), np.arange(6.0).reshape(2, 3)
    np.save(tmp_path / "a.npy", x.astype(np.float32))
    np.savez(tmp_path / "one.npz", whatever=x)
    np.savez(tmp_path / "two.npz", y=x, x=x + 1)
    (tmp_path / "a.json").write_text(json.dumps(x.tolist()))
    (tmp_path / "b.json").write_text(json.dumps({"x": x.tolist(), "y": 0}))
    for name, expected in (("a.npy", x), ("one.npz", x), ("two.npz", x + 1), ("a.json", x), ("b.json", x)):
        array = read(manifest, str(tmp_path / name))
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, expected)
    np.testing.assert_array_equal(read(manifest, [str(tmp_path / "a.npy"), "[[7, 8, 9]]"]), [*x, [7, 8, 9]])


def test_an_array_file_is_mapped_not_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 3), np.float32))
    assert isinstance(read(declare(tmp_path), tmp_path / "a.npy"), np.memmap)


def test_a_pickle_is_not_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", x=np.array([{"a": 1}], dtype=object))
    (tmp_path / "b.npy").write_bytes(b"\x80\x04K\x01.")
    for name in ("a.npy", "a.npz", "b.npy"):
        assert "cannot be read for `x`" in refused(declare(tmp_path), tmp_path / name)


@pytest.mark.parametrize(
    ("dtype", "given", "expected"),
    [
        ("float32", "cat.pgn", "`cat.pgn` is no file and no JSON; `x` takes an array (.npy, .npz, .json), an image"),
        ("float32", "[[1], [2, 3]]", "its lists are ragged"),
        ("float32", "[" * 100_000, "is no file and no JSON"),
        ("float32", '"hello"', "which cannot stand for `x: float32[N, 3]`"),
        ("float32", "null", "which cannot stand for `x: float32[N, 3]`"),
        ("float32", '{"y": 1}', "the JSON for `x` is an object without that key"),
        ("float16", "70000", "holds values that do not fit `x: float16[N, 3]`"),
        ("int64", "1.5", "holds float64, which cannot stand for `x: int64[N, 3]`"),
        ("int8", "[1, 200]", "holds values that do not fit `x: int8[N, 3]`"),
        ("int64", "100000000000000000000000", "which cannot stand for `x: int64[N, 3]`"),
        ("bool", "2", "holds values that do not fit `x: bool[N, 3]`"),
        ("float32", ["[[1, 2, 3]]", "[1]"], "the 2 values for `x` do not join along the first axis"),
        ("float32", "a\0b", "is no file and no JSON"),
    ],
)
def test_refusals(tmp_path: Path, dtype: str, given: Any, expected: str) -> None:
    assert expected in refused(declare(tmp_path, dtype), given)


def test_refused_files(tmp_path: Path) -> None:
    manifest = declare(tmp_path)
    (tmp_path / "a.mp3").write_bytes(b"")
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00")
    (tmp_path / "a.npz").write_bytes(b"PK")
    (tmp_path / "a.json").write_text("{")
    np.savez(tmp_path / "b.npz", u=0, v=1)
    assert "a.mp3 is not something that `x` can be read from" in refused(manifest, tmp_path / "a.mp3")
    assert "a.npy cannot be read for `x`" in refused(manifest, tmp_path / "a.npy")
    assert "a.npz cannot be read for `x`" in refused(manifest, tmp_path / "a.npz")
    assert "a.json is not JSON" in refused(manifest, tmp_path / "a.json")
    assert "holds no array `x`, only u, v" in refused(manifest, tmp_path / "b.npz")


@pytest.mark.parametrize("shape", [b"(99,)", b"(9**9", b"(-1,)", b"'AB',"])
def test_an_array_header_that_lies(tmp_path: Path, shape: bytes) -> None:
    np.save(tmp_path / "a.npy", np.zeros(16, np.float32))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes().replace(b"(16,)", shape))
    assert "cannot be read for `x`" in refused(declare(tmp_path), tmp_path / "a.npy")


@pytest.mark.parametrize(("height", "width"), [(37, 53), (53, 37), (30, 30), (24, 100), (333, 41)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "nearest"])
def test_images_equal_transformers(tmp_path: Path, height: int, width: int, interpolation: str) -> None:
    reference = importlib.import_module("transformers.models.clip.image_processing_pil_clip")
    path = picture(tmp_path / "a.png", height, width)
    how = {"image_mean": MEAN, "image_std": STD, "resample": Image.Resampling[interpolation.upper()]}
    processor = reference.CLIPImageProcessorPil(size={"shortest_edge": 30}, crop_size={"height": 24, "width": 24}, **how)
    expected = processor(Image.open(path), return_tensors="np")["pixel_values"]
    got = read(images(tmp_path, resize=30, crop=24, interpolation=interpolation, mean=MEAN, std=STD), path)
    # transformers floors the offset of the crop where torchvision rounds half to even: the same here unless the margin is odd.
    if (round((30 * max(height, width) // min(height, width)) - 24)) % 2 == 0:
        np.testing.assert_allclose(got, expected, atol=1e-6)
    assert got.shape == expected.shape == (1, 3, 24, 24)


@pytest.mark.parametrize(("size", "crop", "first"), [(27, 24, 2), (29, 24, 2), (25, 24, 0), (30, 23, 4), (33, 24, 4)])
def test_the_crop_rounds_as_torchvision(tmp_path: Path, size: int, crop: int, first: int) -> None:
    """torchvision: int(round((size - crop) / 2.0)), so 1.5 -> 2, 2.5 -> 2, 0.5 -> 0, 3.5 -> 4, 4.5 -> 4."""
    columns = np.tile(np.arange(size, dtype=np.uint8)[:, None], (1, size))
    Image.fromarray(np.stack([columns, columns.T, columns], axis=-1)).save(tmp_path / "a.png")
    got = read(images(tmp_path, crop=crop), tmp_path / "a.png") * 255
    np.testing.assert_allclose(got[0, 0, :, 0], np.arange(first, first + crop), atol=1e-4)
    np.testing.assert_allclose(got[0, 1, 0, :], np.arange(first, first + crop), atol=1e-4)


def test_a_crop_larger_than_the_image_is_filled_with_zeros(tmp_path: Path) -> None:
    """torchvision pads (crop - size) // 2 before and the rest after."""
    Image.fromarray(np.full((3, 10, 3), 255, np.uint8)).save(tmp_path / "a.png")
    got = read(images(tmp_path, crop=8), tmp_path / "a.png")[0, 0]
    np.testing.assert_array_equal(got, np.repeat([[0], [0], [1], [1], [1], [0], [0], [0]], 8, axis=1))


def test_modes(tmp_path: Path) -> None:
    picture(tmp_path / "grey.png", 8, 8, "L")
    picture(tmp_path / "alpha.png", 8, 8, "RGBA")
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(tmp_path / "deep.png")
    manifest = images(tmp_path, crop=8)
    grey = read(manifest, tmp_path / "grey.png")
    assert (grey[:, 0] == grey[:, 2]).all()
    np.testing.assert_allclose(
        read(manifest, tmp_path / "alpha.png"), np.asarray(Image.open(tmp_path / "alpha.png"))[None, ..., :3].transpose(0, 3, 1, 2) / 255
    )
    assert "of more than 8 bits" in refused(manifest, tmp_path / "deep.png")
    assert read(images(tmp_path, channels=1, mean=[0.5], std=[0.5]), tmp_path / "grey.png").shape == (1, 1, 8, 8)


def test_a_folder_is_a_batch_in_order_of_name(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for index, name in enumerate(["c.png", "a.jpg", "b.PNG"]):
        Image.fromarray(np.full((8, 8, 3), index * 100, np.uint8)).save(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("not an image")
    batch = read(images(tmp_path, crop=8), str(tmp_path / "in"))
    np.testing.assert_allclose(batch.mean((1, 2, 3)) * 255, [100, 200, 0], atol=1)


def test_refused_images(tmp_path: Path) -> None:
    manifest = images(tmp_path)
    (tmp_path / "empty").mkdir()
    picture(tmp_path / "a.png", 8, 8)
    picture(tmp_path / "b.png", 8, 9)
    (tmp_path / "c.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    Image.new("RGB", (4, 4)).save(tmp_path / "d.png", format="GIF")
    assert "holds no image (.png, .jpg, .jpeg)" in refused(manifest, tmp_path / "empty")
    assert "b.png is 8 x 9 and" in refused(manifest, [tmp_path / "a.png", tmp_path / "b.png"])
    assert "c.png cannot be read as an image" in refused(manifest, tmp_path / "c.png")
    assert "d.png cannot be read as an image" in refused(manifest, tmp_path / "d.png")
    assert "65 images for `x: float32[N, 3, H, W]`, which takes at most 64 at once" in refused(manifest, [tmp_path / "a.png"] * 65)
    assert "the bundle says no `preprocess` for `x`" in refused(declare(tmp_path), tmp_path / "a.png")
    assert "as many means and stds" in refused(images(tmp_path, mean=[0.5, 0.5]), tmp_path / "a.png")


def png_header(height: int, width: int) -> bytes:
    """A PNG that says how large it is and holds nothing."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in chunks)


def test_bombs(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_header(60_000, 60_000))
    assert "a.png cannot be read as an image" in refused(images(tmp_path, crop=8), tmp_path / "a.png")
    (tmp_path / "c.png").write_bytes(png_header(8_000, 18_000))
    with pytest.warns(Image.DecompressionBombWarning):
        assert "8000 x 18000 is over" in refused(images(tmp_path, crop=8), tmp_path / "c.png")
    Image.new("RGB", (20_000, 1)).save(tmp_path / "b.png")
    assert "1000 x 20000000 is over" in refused(images(tmp_path, resize=1000, crop=8), tmp_path / "b.png")


def test_half_precision_images(tmp_path: Path) -> None:
    manifest = declare(tmp_path, "float16", ("N", 3, 8, 8), preprocess={"x": {"crop": 8}})
    assert read_images([picture(tmp_path / "a.png", 8, 8)], manifest.inputs[0], manifest).dtype == np.float16
