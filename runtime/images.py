"""Image files as float arrays, prepared as torchvision's and timm's evaluation transforms do it on PIL images.

Resize (the longer side truncated), CenterCrop (offsets rounded half to even, zeros where the image is smaller), ToTensor, Normalize.
Like theirs, it does not turn an image by its EXIF orientation.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lamina.runtime.dtypes import Array, numpy_dtype
from lamina.runtime.errors import BackendMissing, InputError
from lamina.runtime.manifest import ImagePreprocess, Input, Manifest
from lamina.schema.dtypes import FLOATS

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg")
_MODES = {1: "L", 3: "RGB"}
_MOST_PIXELS = 2**27  # half a gigabyte of RGB: more is a bomb, not a picture


def read_images(images: Sequence[Path | bytes], spec: Input, manifest: Manifest) -> Array:
    """The images as one batch [n, channels, height, width] in the input's float dtype. InputError names the file that will not do.

    An image is a file, or what one holds.
    """
    how = (manifest.preprocess or {}).get(spec.name)
    if how is None:
        raise InputError(
            f"the bundle says no `preprocess` for `{spec.name}`; give {spec} as a .npy file, or declare preprocess in the spec"
        )
    channels = spec.shape[1] if len(spec.shape) == 4 else None
    if channels not in (1, 3) or spec.dtype not in FLOATS or {len(how.mean), len(how.std)} - {1, channels}:
        raise InputError(f"an image becomes float [N, 3, H, W] or [N, 1, H, W] with as many means and stds, and `{spec.name}` wants {spec}")
    _check_count(len(images), spec, manifest)
    batch: Array | None = None
    for index, image in enumerate(images):
        pixels = _read(image, _MODES[int(channels)], how)
        if batch is None:
            batch = np.empty((len(images), *pixels.shape), numpy_dtype(spec.dtype))
        if pixels.shape != batch.shape[1:]:
            raise InputError(
                f"{_name(image)} is {_size(pixels)} and {_name(images[0])} is {_size(batch)}: images of one batch need one size "
                "(declare a crop)"
            )
        batch[index] = pixels
    assert batch is not None, "callers give at least one path"
    return batch


def _check_count(count: int, spec: Input, manifest: Manifest) -> None:
    # Before any is decoded: a folder may hold a million.
    most = manifest.dims[size].max if (size := spec.shape[0]) in manifest.dims and isinstance(size, str) else size
    if isinstance(most, int) and count > most:
        raise InputError(f"{count} images for `{spec.name}: {spec}`, which takes at most {most} at once")


def _name(image: Path | bytes) -> Path | str:
    return "an image" if isinstance(image, bytes) else image


def _read(given: Path | bytes, mode: str, how: ImagePreprocess) -> Array:
    try:
        from PIL import Image
    except ImportError as error:
        raise BackendMissing(f"Pillow cannot be imported ({error}); pip install lamina[images]") from error
    try:
        with Image.open(io.BytesIO(given) if isinstance(given, bytes) else given, formats=["PNG", "JPEG"]) as image:
            _check_size(image.height, image.width)
            return normalised(prepared(_converted(image, mode, _name(given)), how), how)
    except InputError:
        raise
    except Exception as error:  # on a hostile file Pillow raises nearly anything: SyntaxError, struct.error, a bomb, ...
        raise InputError(f"{_name(given)} cannot be read as an image: {error}") from error


def _check_size(height: int, width: int) -> None:
    if height * width > _MOST_PIXELS:
        raise ValueError(f"{height} x {width} is over {_MOST_PIXELS} pixels")


def _converted(image: Image, mode: str, name: Path | str) -> Image:
    if image.mode.startswith(("I", "F")):
        raise InputError(f"{name} has {image.mode} pixels, of more than 8 bits, which `preprocess` does not cover; give a .npy file")
    return image.convert(mode)


def prepared(image: Image, how: ImagePreprocess) -> Image:
    """The image resized and cropped."""
    from PIL.Image import Resampling

    if how.resize is not None:
        height, width = _resized(image.height, image.width, how.resize)
        _check_size(height, width)
        image = image.resize((width, height), Resampling[how.interpolation.upper()])
    if how.crop is not None:
        height, width = (how.crop, how.crop) if isinstance(how.crop, int) else how.crop
        top, left = _offset(image.height, height), _offset(image.width, width)
        image = image.crop((left, top, left + width, top + height))
    return image


def _resized(height: int, width: int, size: int | tuple[int, int]) -> tuple[int, int]:
    if not isinstance(size, int):
        return size
    longer = int(size * max(height, width) / min(height, width))
    return (size, longer) if height <= width else (longer, size)


def _offset(size: int, crop: int) -> int:
    return -((crop - size) // 2) if crop > size else round((size - crop) / 2)


def normalised(image: Image, how: ImagePreprocess) -> Array:
    """float32[channels, height, width]: (pixel / 255 - mean) / std."""
    mean, std = np.array(how.mean, np.float32), np.array(how.std, np.float32)
    pixels: Array = np.asarray(image, np.float32).reshape(image.height, image.width, -1) / np.float32(255)
    return ((pixels - mean) / std).transpose(2, 0, 1)


def _size(array: Array) -> str:
    return f"{array.shape[-2]} x {array.shape[-1]}"
