"""How the samples of PyTorch's own operator tests (`op_db`) are calls of our ops."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from op_harness import op_class
from torch import Tensor

from lamina.compiler.op import signature


class NotTaken(Exception):
    """Our op has not what the sample asks for: the reason."""


@dataclass
class Call:
    """Our op's arguments, inputs by name and weights by name; `function` computes the same in PyTorch from the two."""

    arguments: dict[str, Any]
    inputs: dict[str, Any]
    weights: dict[str, Tensor] = field(default_factory=dict)


# Ours, theirs where the name differs, and PyTorch's parameters in order: `theirs=ours` where their names differ.
# A default follows a colon where PyTorch's is another one than ours.
ROWS = """
abs: x
acos: x
asin: x
atan: x
atan2: y x
ceil: x
cos: x
cosh: x
erf: x
exp: x
expm1: x
floor: x
isnan: x
log: x
log1p: x
neg: x
reciprocal: x
round: x
rsqrt: x
sigmoid: x
sign: x
sin: x
sinh: x
sqrt: x
square: x
tan: x
tanh: x
bitwise_not: x
logical_not: x
identity <- clone: x
identity <- positive: x
zeros_like: x
ones_like: x
relu <- nn.functional.relu: x
relu6 <- nn.functional.relu6: x
silu <- nn.functional.silu: x
mish <- nn.functional.mish: x
softplus <- nn.functional.softplus: x
softsign <- nn.functional.softsign: x
selu <- nn.functional.selu: x
hardswish <- nn.functional.hardswish: x
hardsigmoid <- nn.functional.hardsigmoid: x
celu <- nn.functional.celu: x alpha
elu <- nn.functional.elu: x alpha
gelu <- nn.functional.gelu: x approximate
leaky_relu <- nn.functional.leaky_relu: x negative_slope=slope
hardtanh <- nn.functional.hardtanh: x min_val=low max_val=high
softshrink <- nn.functional.softshrink: x lambd=threshold
hardshrink <- nn.functional.hardshrink: x lambd=threshold
log_sigmoid <- nn.functional.logsigmoid: x
glu <- nn.functional.glu: x dim
add: x other=y
sub: x other=y
mul: x other=y
div: x other=y
pow: x exponent=y
maximum: x other=y
minimum: x other=y
mod <- remainder: x other=y
floor_divide: x other=y
bitwise_and: x other=y
bitwise_or: x other=y
bitwise_xor: x other=y
shift_left <- bitwise_left_shift: x other=y
shift_right <- bitwise_right_shift: x other=y
logical_and: x other=y
logical_or: x other=y
logical_xor: x other=y
equal <- eq: x other=y
not_equal <- ne: x other=y
less <- lt: x other=y
less_equal <- le: x other=y
greater <- gt: x other=y
greater_equal <- ge: x other=y
where: x condition y
lerp: x end=y weight
clamp: x min max
clamp <- clamp_min: x min
clamp <- clamp_max: x max
all: x dim=dims keepdim
any: x dim=dims keepdim
sum: x dim=dims keepdim
prod: x dim=dims keepdim
mean: x dim=dims keepdim
max <- amax: x dim=dims keepdim
min <- amin: x dim=dims keepdim
argmax: x dim keepdim
argmin: x dim keepdim
logsumexp: x dim=dims keepdim
std: x dim=dims correction keepdim
var: x dim=dims correction keepdim
norm <- linalg.vector_norm: x ord=p dim=dims keepdim
cumsum: x dim
softmax: x dim
log_softmax: x dim
sort: x dim descending
top_k <- topk: x k dim largest sorted
matmul: x y
matmul <- bmm: x y
matmul <- mm: x y
matmul <- mv: x y
outer: x y
cosine_similarity <- nn.functional.cosine_similarity: x x2=y dim:1 eps
flip: x dims
roll: x shifts dims
tile: x dims=repeats
expand: x shape
permute: x dims
transpose: x dim0 dim1
squeeze: x dim=dims
unsqueeze: x dim=dims
reshape: x shape
flatten: x start_dim=start:0 end_dim=end
select: x dim index
tril: x diagonal
triu: x diagonal
concat <- cat: xs dim:0
stack: xs dim:0
repeat_interleave: x repeats dim
take_along_dim: x indices=index dim
take_along_dim <- gather: x dim index
gather <- index_select: x dim index
pixel_shuffle <- nn.functional.pixel_shuffle: x upscale_factor=factor
pixel_unshuffle <- nn.functional.pixel_unshuffle: x downscale_factor=factor
grid_sample <- nn.functional.grid_sample: x grid mode padding_mode align_corners
local_response_norm <- nn.functional.local_response_norm: x size alpha beta k
l2_normalize <- nn.functional.normalize: x p dim:1 eps
unfold <- nn.functional.unfold: x kernel_size=kernel dilation padding stride
cast <- double: x
cast <- float: x
cast <- half: x
cast <- bfloat16: x
cast <- long: x
cast <- int: x
cast <- short: x
cast <- char: x
cast <- byte: x
cast <- bool: x
avg_pool <- nn.functional.avg_pool1d: x kernel_size=kernel stride padding ceil_mode count_include_pad
avg_pool <- nn.functional.avg_pool2d: x kernel_size=kernel stride padding ceil_mode count_include_pad divisor_override
avg_pool <- nn.functional.avg_pool3d: x kernel_size=kernel stride padding ceil_mode count_include_pad divisor_override
max_pool <- nn.functional.max_pool1d: x kernel_size=kernel stride padding dilation ceil_mode return_indices
max_pool <- nn.functional.max_pool2d: x kernel_size=kernel stride padding dilation ceil_mode return_indices
max_pool <- nn.functional.max_pool3d: x kernel_size=kernel stride padding dilation ceil_mode return_indices
adaptive_avg_pool <- nn.functional.adaptive_avg_pool1d: x output_size=out
adaptive_avg_pool <- nn.functional.adaptive_avg_pool2d: x output_size=out
adaptive_avg_pool <- nn.functional.adaptive_avg_pool3d: x output_size=out
scatter: x dim index source reduce
scatter <- scatter_add: x dim index source
scatter <- scatter_reduce: x dim index source reduce include_self
linear <- nn.functional.linear: x weight bias
bilinear <- nn.functional.bilinear: x y weight bias
conv <- nn.functional.conv1d: x weight bias stride padding dilation groups
conv <- nn.functional.conv2d: x weight bias stride padding dilation groups
conv <- nn.functional.conv3d: x weight bias stride padding dilation groups
conv_transpose <- nn.functional.conv_transpose1d: x weight bias stride padding output_padding groups dilation
conv_transpose <- nn.functional.conv_transpose2d: x weight bias stride padding output_padding groups dilation
conv_transpose <- nn.functional.conv_transpose3d: x weight bias stride padding output_padding groups dilation
layer_norm <- nn.functional.layer_norm: x shape weight bias eps
rms_norm <- nn.functional.rms_norm: x shape weight eps
group_norm <- nn.functional.group_norm: x groups weight bias eps
instance_norm <- nn.functional.instance_norm: x running_mean running_var weight bias use_input_stats momentum eps
batch_norm <- nn.functional.batch_norm: x running_mean running_var weight bias training momentum eps
prelu <- nn.functional.prelu: x weight
embedding <- nn.functional.embedding: weight ids padding_idx max_norm norm_type scale_grad_by_freq sparse
dropout <- nn.functional.dropout: x p training
one_hot <- nn.functional.one_hot: x num_classes=classes
einsum: xs equation
interpolate <- nn.functional.interpolate: x size scale_factor=scale mode align_corners
pad <- nn.functional.pad: x amounts mode value
split: x parts dim:0
split <- split_with_sizes: x parts dim:0
split <- chunk: x chunks dim:0
slice <- narrow: x dim start length
attention <- nn.functional.scaled_dot_product_attention: q k v attn_mask=mask dropout_p=dropout is_causal=causal
fft <- fft.fft: x n dim norm
fft2 <- fft.fft2: x s dim=dims norm
fftn <- fft.fftn: x s dim=dims norm
ifft <- fft.ifft: x n dim norm
ifft2 <- fft.ifft2: x s dim=dims norm
ifftn <- fft.ifftn: x s dim=dims norm
rfft <- fft.rfft: x n dim norm
rfft2 <- fft.rfft2: x s dim=dims norm
rfftn <- fft.rfftn: x s dim=dims norm
irfft <- fft.irfft: x n dim norm
irfft2 <- fft.irfft2: x s dim=dims norm
irfftn <- fft.irfftn: x s dim=dims norm
eye: n m
arange: start end step
linspace: start end steps
full: shape value
zeros: shape
ones: shape
heaviside: x values
"""
IMMATERIAL = {"memory_format", "device", "layout", "requires_grad", "pin_memory", "padding_idx", "norm_type", "scale_grad_by_freq"}
IMMATERIAL |= {"sparse", "stable", "recompute_scale_factor", "antialias"}
CASTS = {"double": "float64", "float": "float32", "half": "float16", "bfloat16": "bfloat16", "long": "int64", "int": "int32"}
CASTS |= {"short": "int16", "char": "int8", "byte": "uint8", "bool": "bool"}
DEFAULTS = {"divisor_override": None, "return_indices": False, "include_self": True, "max_norm": None, "rounding_mode": None, "alpha": 1}
DEFAULTS |= {"decimals": 0, "enable_gqa": False, "dtype": None, "equation": None, "beta": 1, "threshold": 20, "p": 2.0}


@dataclass(frozen=True)
class Row:
    ours: str
    theirs: str
    parameters: tuple[tuple[str, str], ...]  # theirs, ours
    defaults: Mapping[str, Any]


def _row(line: str) -> Row:
    names, _, parameters = line.partition(": ")
    ours, _, theirs = names.partition(" <- ")
    pairs, defaults = [], {}
    for text in parameters.split():
        name, _, default = text.partition(":")
        their, _, our = name.partition("=")
        pairs.append((their, our or their))
        if default:
            defaults[our or their] = int(default)
    return Row(ours, theirs or ours, tuple(pairs), defaults)


TABLE = [_row(line) for line in ROWS.split("\n") if line]


def call(row: Row, sample: Any, dtype: torch.dtype) -> Call:
    """The sample as a call of our op. Raises NotTaken."""
    given = {our: value for (_, our), value in zip(row.parameters, (sample.input, *sample.args), strict=False)}
    if len(sample.args) >= len(row.parameters):  # trailing numbers that are one list: `x.expand(2, 3)`
        *head, (_, last) = row.parameters
        given[last] = [*sample.args][len(head) - 1 :]
    known = dict(row.parameters)
    for name, value in sample.kwargs.items():
        if name not in known and name in DEFAULTS and value == DEFAULTS[name]:
            continue
        passed = name in IMMATERIAL or name in EXTRA.get(row.ours, ()) or (name == "dtype" and row.ours in MAKERS)
        if name not in known and not passed:
            raise NotTaken(f"argument `{name}`")
        given[known.get(name, name)] = value
    given = {**row.defaults, **{k: v for k, v in given.items() if k not in IMMATERIAL}}
    if row.theirs.endswith(("1d", "2d", "3d")) and given["x"].ndim != int(row.theirs[-2]) + 2:
        raise NotTaken("an input without a batch")
    change = ADAPTERS.get(row.ours)
    weights = change(given, row, dtype) if change else None
    return _sort_out(row, given, weights or {}, dtype)


def _sort_out(row: Row, given: dict[str, Any], weights: dict[str, Tensor], dtype: torch.dtype) -> Call:
    ours = signature(op_class(row.ours))
    inputs, arguments = {}, {}
    for name, value in given.items():
        if name in ours.inputs:
            inputs[name] = value
        elif name in ours.arguments:
            if isinstance(value, Tensor):
                raise NotTaken(f"a tensor as `{name}`")
            if value is not None:
                arguments[name] = _plain(value)
        elif value is not None and not (name in DEFAULTS and value == DEFAULTS[name]):
            raise NotTaken(f"argument `{name}`")
    like = next((v for v in inputs.values() if isinstance(v, Tensor)), None)
    for name, value in inputs.items():
        if isinstance(value, bool | int | float):
            inputs[name] = _scalar(value, like, dtype)
        elif isinstance(value, complex):
            raise NotTaken("a complex number")
    return Call(arguments, inputs, weights)


def _scalar(value: float, like: Tensor | None, dtype: torch.dtype) -> Tensor:
    """A number as the language makes it a tensor: of the other input's dtype."""
    wanted = dtype if like is None else like.dtype
    made = torch.tensor(value, dtype=wanted)
    if isinstance(value, float) and not wanted.is_floating_point:
        raise NotTaken("a float beside integers")
    return made


def _plain(value: Any) -> Any:
    """Lists for tuples, numbers for PyTorch's own."""
    if isinstance(value, list | tuple | torch.Size):
        return [_plain(v) for v in value]
    return value


def _weights(given: dict[str, Any], *names: str) -> dict[str, Tensor]:
    return {name: found for name in names if (found := given.pop(name, None)) is not None}


def _with_bias(given: dict[str, Any], row: Row, dtype: torch.dtype) -> dict[str, Tensor]:
    weights = _weights(given, "weight", "bias")
    given["out"], given["bias"] = weights["weight"].shape[0], "bias" in weights
    return weights


def _conv(given: dict[str, Any], row: Row, dtype: torch.dtype) -> dict[str, Tensor]:
    weights = _with_bias(given, row, dtype)
    given["kernel"] = list(weights["weight"].shape[2:])
    if row.ours == "conv_transpose":
        given["out"] = weights["weight"].shape[1] * given.get("groups", 1)
    return weights


def _norm(given: dict[str, Any], row: Row, dtype: torch.dtype) -> dict[str, Tensor]:
    weights = _weights(given, "weight", "bias")
    if "bias" in weights and "weight" not in weights:
        raise NotTaken("a bias without a weight")
    given["affine"] = "weight" in weights
    if row.ours in ("layer_norm", "group_norm"):
        given["bias"] = "bias" in weights
    elif row.ours in ("batch_norm", "instance_norm") and given["affine"] and "bias" not in weights:
        raise NotTaken("a weight without a bias")
    if row.ours == "layer_norm":
        given["dims"] = len(given.pop("shape"))
    if row.ours == "rms_norm":
        if len(given.pop("shape")) != 1:
            raise NotTaken("statistics over several dims")
        if given.get("eps") is None:
            raise NotTaken("an eps that depends on the dtype")
    if row.ours == "instance_norm":
        if given.pop("use_input_stats", True) is False:
            raise NotTaken("running statistics")
        for name in ("running_mean", "running_var", "momentum"):
            given.pop(name, None)
    if row.ours == "batch_norm":
        if given.pop("training", False):
            raise NotTaken("training")
        given.pop("momentum", None)
        weights |= _weights(given, "running_mean", "running_var")
    return weights


def _prelu(given: dict[str, Any], row: Row, dtype: torch.dtype) -> dict[str, Tensor]:
    weight = given.pop("weight")
    if weight.ndim == 0:
        raise NotTaken("a scalar weight")
    given["per_channel"] = weight.numel() > 1
    return {"weight": weight}


def _embedding(given: dict[str, Any], row: Row, dtype: torch.dtype) -> dict[str, Tensor]:
    weight = given.pop("weight")
    given["count"], given["dim"], given["dtype"] = *weight.shape, str(weight.dtype).removeprefix("torch.")
    return {"weight": weight}


def _dropout(given: dict[str, Any], row: Row, dtype: torch.dtype) -> None:
    if given.pop("training", True):
        raise NotTaken("a random result")


def _pad(given: dict[str, Any], row: Row, dtype: torch.dtype) -> None:
    flat = list(given["amounts"])
    given["amounts"] = [[flat[i], flat[i + 1]] for i in reversed(range(0, len(flat), 2))]
    given["mode"] = {"replicate": "edge", "circular": "wrap"}.get(given.get("mode", "constant"), given.get("mode", "constant"))
    if given.get("value") is not None:
        given["value"] = float(given["value"])


def _interpolate(given: dict[str, Any], row: Row, dtype: torch.dtype) -> None:
    spatial = given["x"].ndim - 2
    for name in ("size", "scale"):
        if given.get(name) is not None and not isinstance(given[name], list | tuple):
            given[name] = [given[name]] * spatial
    if given.get("scale") is not None:
        if any(s != int(s) for s in given["scale"]):
            raise NotTaken("a scale that is no whole number")
        given["scale"] = [int(s) for s in given["scale"]]
    modes = {"bilinear": "linear", "trilinear": "linear", "bicubic": "cubic"}
    given["mode"] = modes.get(given.get("mode", "nearest"), given.get("mode", "nearest"))


def _split(given: dict[str, Any], row: Row, dtype: torch.dtype) -> None:
    size = given["x"].shape[given["dim"]]
    if "chunks" in given:
        given["parts"] = given.pop("chunks")
        if size % given["parts"]:
            raise NotTaken("parts that are not equal")
    elif isinstance(given["parts"], int):
        step = given["parts"]
        given["parts"] = [min(step, size - i) for i in range(0, size, step)] or [0]


def _slice(given: dict[str, Any], row: Row, dtype: torch.dtype) -> None:
    start, length = given["start"], given.pop("length")
    if isinstance(start, Tensor):
        raise NotTaken("a tensor as `start`")
    start = start + given["x"].shape[given["dim"]] if start < 0 else start
    given["start"], given["end"] = start, start + length


def _attention(given: dict[str, Any], row: Row, dtype: torch.dtype) -> None:
    if given.get("dropout"):
        raise NotTaken("a random result")
    if given.get("causal") and given["q"].shape[-2] != given["k"].shape[-2]:
        raise NotTaken("causal from the first key (ours ends at the last)")


def _grid(given: dict[str, Any], row: Row, dtype: torch.dtype) -> None:
    given["mode"] = {"bilinear": "linear", "bicubic": "cubic"}.get(given["mode"], given["mode"])


def _scatter(given: dict[str, Any], row: Row, dtype: torch.dtype) -> None:
    if not isinstance(given["source"], Tensor):
        given["source"] = torch.full(given["index"].shape, given["source"], dtype=given["x"].dtype)
    given["source"] = given["source"][tuple(slice(n) for n in given["index"].shape)] if given["index"].ndim else given["source"]
    names = {"add": "add", "sum": "add", "multiply": "mul", "prod": "mul", "amax": "max", "amin": "min"}
    wanted = given.get("reduce", "add" if row.theirs == "scatter_add" else None)
    if wanted is not None and wanted not in names:
        raise NotTaken(f"the reduction `{wanted}`")
    given["reduce"] = "none" if wanted is None else names[wanted]


def _fft(given: dict[str, Any], row: Row, dtype: torch.dtype) -> None:
    x = given.pop("x")
    many = row.ours.endswith(("2", "n"))
    if not row.ours.startswith("rfft"):
        given["re"], given["im"] = (x.real.clone(), x.imag.clone()) if x.is_complex() else (x, torch.zeros_like(x))
    elif x.is_complex():
        raise NotTaken("a complex input")
    else:
        given["x"] = x
    sizes = given.pop("s", None) if many else None if given.get("n") is None else [given["n"]]
    given.pop("n", None)
    if given.get("norm") is None:
        given.pop("norm", None)
    name = "dims" if many else "dim"
    if given.get(name) is None:
        given.pop(name, None)
    dims = given.get(name, [-2, -1] if row.ours.endswith("2") else list(range(x.ndim)) if many else -1)
    dims = [dims] if isinstance(dims, int) else list(dims)
    if many and name in given:
        given[name] = dims
    if sizes is None:
        return
    if "dim" not in given and "dims" not in given and many:
        dims = list(range(x.ndim))[-len(sizes) :]
        given["dims"] = dims
    half = row.ours.startswith("irfft")
    for dim, size in list(zip(dims, sizes, strict=True))[: -1 if half else None]:
        if size not in (-1, x.shape[dim]):
            raise NotTaken("a size that cuts or fills the input")
    if half:
        if sizes[-1] // 2 + 1 < x.shape[dims[-1]]:
            raise NotTaken("a size that cuts or fills the input")
        given["size"] = [x.shape[d] for d in dims[:-1]] + [sizes[-1]] if many else sizes[-1]


def _pool(given: dict[str, Any], row: Row, dtype: torch.dtype) -> None:
    if not isinstance(given["out"], int) and None in given["out"]:
        raise NotTaken("a size that stays")


def _cast(given: dict[str, Any], row: Row, dtype: torch.dtype) -> None:
    given["to"] = CASTS[row.theirs]


def _norm_p(given: dict[str, Any], row: Row, dtype: torch.dtype) -> None:
    p = given.get("p", 2)
    if (row.ours == "l2_normalize" and given.pop("p", 2) != 2) or p not in (1, 2):
        raise NotTaken("a norm of another order")
    if row.ours == "norm":
        given["p"] = int(p)


def _one_hot(given: dict[str, Any], row: Row, dtype: torch.dtype) -> None:
    if given.get("classes", -1) == -1:
        raise NotTaken("a size that depends on values")
    given["dtype"] = "int64"


def _make(given: dict[str, Any], row: Row, dtype: torch.dtype) -> None:
    given["dtype"] = str(given.get("dtype") or dtype).removeprefix("torch.")
    if row.ours == "eye" and given.pop("m", given["n"]) != given["n"]:
        raise NotTaken("a matrix that is not square")
    if row.ours == "arange" and "end" not in given:
        given["start"], given["end"] = 0, given["start"]
    for name in ("start", "end", "value", "step"):
        if isinstance(given.get(name), complex):
            raise NotTaken("a complex number")
    if isinstance(given.get("shape"), int):
        given["shape"] = [given["shape"]]


def _like(given: dict[str, Any], row: Row, dtype: torch.dtype) -> None:
    if given.pop("dtype", None) not in (None, given["x"].dtype):
        raise NotTaken("argument `dtype`")


def _heaviside(given: dict[str, Any], row: Row, dtype: torch.dtype) -> None:
    values = given.pop("values")
    if values.shape != given["x"].shape or (not bool((values == 1).all()) and bool((given["x"] == 0).any())):
        raise NotTaken("a value at 0 other than 1")


def _shift(given: dict[str, Any], row: Row, dtype: torch.dtype) -> None:
    y = torch.as_tensor(given["y"])
    if bool(((y < 0) | (y >= 63)).any()):
        raise NotTaken("a shift outside 0 to 62")


def _variance(given: dict[str, Any], row: Row, dtype: torch.dtype) -> None:
    if isinstance(given.get("correction"), float) and given["correction"] == int(given["correction"]):
        given["correction"] = int(given["correction"])
    if given.pop("unbiased", True) is False:
        given["correction"] = 0
    if isinstance(given.get("dims"), bool):
        given["correction"] = int(given.pop("dims"))


MAKERS = {"eye", "arange", "linspace", "full", "zeros", "ones", "zeros_like", "ones_like"}
EXTRA = {"std": ("unbiased",), "var": ("unbiased",), "attention": ("scale", "enable_gqa")}
ADAPTERS: dict[str, Callable[..., dict[str, Tensor] | None]] = {
    **dict.fromkeys(("linear", "bilinear"), _with_bias),
    **dict.fromkeys(("conv", "conv_transpose"), _conv),
    **dict.fromkeys(("layer_norm", "rms_norm", "group_norm", "instance_norm", "batch_norm"), _norm),
    **dict.fromkeys(("norm", "l2_normalize"), _norm_p),
    **dict.fromkeys(("eye", "arange", "linspace", "full", "zeros", "ones"), _make),
    **dict.fromkeys(("zeros_like", "ones_like"), _like),
    **dict.fromkeys(("std", "var"), _variance),
    **dict.fromkeys(("fft", "fft2", "fftn", "ifft", "ifft2", "ifftn", "rfft", "rfft2", "rfftn", "irfft", "irfft2", "irfftn"), _fft),
    "adaptive_avg_pool": _pool,
    **dict.fromkeys(("shift_left", "shift_right"), _shift),
    "prelu": _prelu,
    "embedding": _embedding,
    "dropout": _dropout,
    "pad": _pad,
    "interpolate": _interpolate,
    "split": _split,
    "slice": _slice,
    "attention": _attention,
    "grid_sample": _grid,
    "scatter": _scatter,
    "cast": _cast,
    "one_hot": _one_hot,
    "heaviside": _heaviside,
}


def infos() -> dict[str, list[Any]]:
    """PyTorch's operators by name, each with its variants. Needs the package expecttest."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_methods_invocations import op_db
    found: dict[str, list[Any]] = {}
    for info in op_db:
        found.setdefault(info.name, []).append(info)
    return found


def samples(info: Any, dtype: torch.dtype, many: bool) -> Iterator[Any]:
    """The operator's samples, and with `many` its reference inputs too: more shapes, extreme values."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield from (info.reference_inputs if many else info.sample_inputs)("cpu", dtype, requires_grad=False)
