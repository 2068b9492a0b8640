"""The parts of manifest.json. Strict and frozen, because a bundle may come from anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from lamina.runtime import shapes
from lamina.runtime.strict import Count, Name, Positive, Strict
from lamina.runtime.tuning import Tuning
from lamina.schema import carried
from lamina.schema.dtypes import DType, Precision

Pixels = Annotated[int, Field(ge=1, le=65536)]
Capability = Annotated[str, Field(pattern=r"^\d{1,2}\.\d$")]


def _inside(name: str) -> str:
    if any(part in ("", ".", "..") for part in name.split("/")) or "\\" in name or ":" in name or not name.isprintable():
        raise ValueError(f"`{name}` is not a plain relative path inside the bundle")
    return name


def _a_size(size: int | str) -> int | str:
    shapes.names(size)
    return size


FileName = Annotated[str, Field(max_length=255), AfterValidator(_inside)]
Size = Annotated[Count | str, AfterValidator(_a_size)]


class Tensor(Strict):
    """One named tensor. A size is an integer, a dim's name, or text over dims (`H // 4`)."""

    name: Name
    dtype: DType
    shape: tuple[Size, ...]

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


class Input(Tensor):
    """An input. `below`, of an integer input, says that its values index something with that many entries."""

    below: Positive | None = None

    @property
    def is_adapter(self) -> bool:
        """Whether it is fed by the adapter that is chosen, if the caller does not."""
        return self.name.startswith(carried.ADAPTER)


class Adapter(Strict):
    """Matrices for every input that is an adapter's, in the order of these inputs, one after the other in a file."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    file: FileName
    rank: Positive


class State(Strict):
    """A tensor that is carried from call to call: the input `past` is what the call before left in the output `present`.

    The first call finds `initial` in every place.
    """

    name: Name
    initial: float | int | bool = 0

    @property
    def past(self) -> str:
        return carried.past(self.name)

    @property
    def present(self) -> str:
        return carried.present(self.name)


class Range(Strict):
    """The sizes that a dim may take: multiples of `multiple_of` from `min` to `max`, tuned for `opt`.

    `at_most` is a size that it does not exceed, either: what other dims leave for it, as in `1024 - T`.
    """

    min: Count = 1
    opt: Count = 1
    max: Count = 2**31 - 1
    multiple_of: Positive = 1
    at_most: str | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.min <= self.opt <= self.max:
            raise ValueError(f"min {self.min}, opt {self.opt}, max {self.max} are not in order")
        return self

    @property
    def typical(self) -> int:
        """`opt`, at the nearest multiple below it that is allowed."""
        least = -(-self.min // self.multiple_of)
        return max(least, self.opt // self.multiple_of) * self.multiple_of

    def __contains__(self, value: int) -> bool:
        return self.min <= value <= self.max and value % self.multiple_of == 0

    def __str__(self) -> str:
        step = f", a multiple of {self.multiple_of}" if self.multiple_of > 1 else ""
        return f"{self.min} to {self.max}{step}"


class Layered(Strict):
    """What layers of a target are kept in: `precision`, but for those that a pattern of `precisions` matches.

    It is of linear layers, and of convolutions where they have it.
    """

    precision: Precision = "float32"
    precisions: Mapping[str, Precision] = {}

    @property
    def kept(self) -> frozenset[Precision]:
        """What layers may be kept in."""
        return frozenset((self.precision, *self.precisions.values()))


class OnnxTarget(Layered):
    """An ONNX file, with external weights beside it.

    The states that grow along a dim in `preallocated` are buffers with room: the input `length.DIM` says how much of them is filled.
    `tuning` is what was measured to be fastest, if it was.
    """

    file: FileName
    opset: Positive
    preallocated: tuple[Name, ...] = ()
    tuning: Tuning | None = None

    @property
    def left_out(self) -> tuple[str, ...]:
        """What the file was written without, since that was measured to be faster."""
        return () if self.tuning is None else self.tuning.left_out

    @property
    def calibrated(self) -> bool:
        """Whether it may hold layers that are rounded in ranges of somebody's data."""
        return "int8-static" in self.kept

    @property
    def own_files(self) -> tuple[str, ...]:
        """The files that this target alone reads."""
        return (self.file,)

    @property
    def rounded(self) -> bool:
        """Whether it may hold rounded weights."""
        return self.kept != {"float32"}


class Engine(Strict):
    """A serialised engine, and the GPUs that it fits. No `compute_capabilities` ("8.6") means the library's portable default."""

    file: FileName
    compute_capabilities: tuple[Capability, ...] = ()
    key: str


class TensorRTTarget(Layered):
    """Engines for `library` of exactly `version`, for different GPUs."""

    library: Literal["tensorrt", "tensorrt_rtx"]
    version: str
    engines: Annotated[tuple[Engine, ...], Field(min_length=1)]

    @property
    def own_files(self) -> tuple[str, ...]:
        """The files that this target alone reads."""
        return tuple(engine.file for engine in self.engines)


class TorchTarget(Strict):
    """A `torch.export` archive, written by torch `version`."""

    file: FileName
    version: str

    @property
    def own_files(self) -> tuple[str, ...]:
        """The files that this target alone reads."""
        return (self.file,)


class Targets(Strict):
    """The artifacts in the bundle, each absent or null when it was not built."""

    onnx: OnnxTarget | None = None
    onnxruntime: OnnxTarget | None = None
    tensorrt: TensorRTTarget | None = None
    torch: TorchTarget | None = None

    def built(self) -> dict[str, OnnxTarget | TensorRTTarget | TorchTarget]:
        """The targets that the bundle holds, by name."""
        return {name: target for name in type(self).model_fields if (target := getattr(self, name)) is not None}


class ImagePreprocess(Strict):
    """How an image file becomes an input: resize, crop the centre, scale to 0..1, then (x - mean) / std per channel.

    `resize` as one number is the shorter side; a pair is (height, width). One mean or std serves all channels.
    """

    resize: Pixels | tuple[Pixels, Pixels] | None = None
    crop: Pixels | tuple[Pixels, Pixels] | None = None
    interpolation: Literal["bicubic", "bilinear", "nearest"] = "bicubic"
    mean: Annotated[tuple[float, ...], Field(min_length=1)] = (0.0,)
    std: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (1.0,)


class Tokenizer(Strict):
    """The Hugging Face tokenizer that turns text into the inputs `ids` and, where named, `mask` and `types`.

    For generation, `eos` are the tokens that end a text, `start` those that a decoder with an encoder reads first, and `chat_template` is
    the Jinja template that makes a prompt of messages.
    """

    file: FileName
    ids: Name
    mask: Name | None = None
    types: Name | None = None
    max_length: Positive
    eos: Annotated[tuple[Count, ...], Field(max_length=100)] = ()
    start: Annotated[tuple[Count, ...], Field(max_length=100)] = ()
    chat_template: Annotated[str, Field(max_length=2**17)] | None = None


class Provenance(Strict):
    """Where the weights came from: `seed:0`, or the checkpoint's file name."""

    source: str


class FileRecord(Strict):
    """What a file of the bundle must hash and measure to."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Count
