"""Resizing: each axis in turn is indexed (nearest) or multiplied by a matrix of interpolation weights (linear, cubic)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import statically_known_true
from torch.nn import functional as F

from lamina.compiler.targets.torch.registry import Floats, Ints, lowering

_LEAST = 2.0**-20
_MODES = {"linear": {3: "linear", 4: "bilinear", 5: "trilinear"}, "cubic": {4: "bicubic"}}


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis to resize: old and new size, the factor between them (which rounding may have moved), and the region to cut out."""

    index: int
    old: int
    new: int
    scale: float
    start: float = 0.0
    end: float = 1.0


@lowering("Resize")
def resize(
    x: Tensor,
    roi: Floats | None = None,
    scales: Floats | None = None,
    sizes: Ints | None = None,
    *,
    antialias: int = 0,
    axes: Ints = (),
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Tensor:
    places = tuple(a % x.dim() for a in axes) if axes else tuple(range(x.dim()))
    plan = _plan(x, places, scales, sizes, keep_aspect_ratio_policy)
    if coordinate_transformation_mode == "tf_crop_and_resize" and roi:
        n = len(places)
        plan = [Axis(a.index, a.old, a.new, a.scale, roi[i], roi[n + i]) for i, a in enumerate(plan)]
    else:
        plan = [a for a in plan if not (statically_known_true(a.new == a.old) if isinstance(a.scale, torch.SymFloat) else a.scale == 1)]
        direct = _direct(x, plan, mode, coordinate_transformation_mode, nearest_mode)
        if direct and not antialias and not exclude_outside and cubic_coeff_a == -0.75:
            return F.interpolate(x, size=_spatial(x, plan), mode=direct, align_corners=_aligned(direct, coordinate_transformation_mode))
    for axis in plan:
        at = _coordinates(axis, coordinate_transformation_mode, x.device)
        if mode == "nearest":
            y = x.index_select(axis.index, _nearest(at, nearest_mode).clamp(0, axis.old - 1))
        else:
            weights = _weights(axis, at, mode, bool(antialias), bool(exclude_outside), cubic_coeff_a)
            y = (x.movedim(axis.index, -1) @ weights.to(x.dtype).t()).movedim(-1, axis.index)
        x = _outside(y, axis, at, extrapolation_value) if coordinate_transformation_mode == "tf_crop_and_resize" else y
    return x


def _plan(x: Tensor, places: Ints, scales: Floats | None, sizes: Ints | None, policy: str) -> list[Axis]:
    old = [x.shape[p] for p in places]
    if not sizes:
        assert scales is not None
        return [Axis(p, n, _scaled(n, s), s) for p, n, s in zip(places, old, scales, strict=True)]
    if policy == "stretch":
        return [Axis(p, n, m, m / n) for p, n, m in zip(places, old, sizes, strict=True)]
    choose = min if policy == "not_larger" else max
    scale = choose(m / n for n, m in zip(old, sizes, strict=True))
    return [Axis(p, n, math.floor(scale * n + 0.5), scale) for p, n in zip(places, old, strict=True)]


def _scaled(size: int, scale: float) -> int:
    return size * int(scale) if scale == int(scale) else int(size * scale)


def _direct(x: Tensor, plan: list[Axis], mode: str, transform: str, nearest: str) -> str | None:
    """PyTorch's own mode that computes just this, if there is one. It knows sizes, so the factor must be their exact ratio."""
    if not all(a.index >= 2 and _is_exact(a) for a in plan) or x.dim() not in (3, 4, 5) or not x.is_floating_point():
        return None
    if mode == "nearest":
        known = {("asymmetric", "floor"): "nearest", ("half_pixel", "round_prefer_ceil"): "nearest-exact"}
        return known.get((transform, nearest))
    return _MODES[mode].get(x.dim()) if transform in ("half_pixel", "align_corners") else None


def _is_exact(axis: Axis) -> bool:
    return (
        isinstance(axis.scale, torch.SymFloat) or axis.scale == int(axis.scale) or statically_known_true(axis.new == axis.old * axis.scale)
    )


def _spatial(x: Tensor, plan: list[Axis]) -> list[int]:
    new = {a.index: a.new for a in plan}
    return [new.get(i, x.shape[i]) for i in range(2, x.dim())]


def _aligned(mode: str, transform: str) -> bool | None:
    return None if mode.startswith("nearest") else transform == "align_corners"


def _coordinates(axis: Axis, transform: str, device: torch.device) -> Tensor:
    """Where each new element lies on the old axis."""
    i = torch.arange(axis.new, device=device, dtype=torch.float64)
    whole = axis.old * axis.scale  # the new size before it was rounded
    if transform == "asymmetric":
        return i / axis.scale
    if transform == "align_corners":
        span: float = torch.sym_max(whole - 1, _LEAST)  # type: ignore[no-untyped-call]  # where it is 0, so is i
        return i * ((axis.old - 1) / span)
    if transform == "tf_crop_and_resize":
        span = axis.end - axis.start
        if axis.new == 1:
            return i + 0.5 * (axis.start + axis.end) * (axis.old - 1)
        return axis.start * (axis.old - 1) + i * (span * (axis.old - 1) / (axis.new - 1))
    if transform == "pytorch_half_pixel" and axis.new == 1:
        return i * 0
    shift = axis.old / 2 * (1 - axis.new / whole) if transform == "half_pixel_symmetric" else 0.0
    return shift + (i + 0.5) / axis.scale - 0.5


def _nearest(at: Tensor, mode: str) -> Tensor:
    if mode == "floor":
        return at.floor().long()
    if mode == "ceil":
        return at.ceil().long()
    return ((at - 0.5).ceil() if mode == "round_prefer_floor" else (at + 0.5).floor()).long()


def _weights(axis: Axis, at: Tensor, mode: str, antialias: bool, exclude: bool, a: float) -> Tensor:
    """[new, old]: how much each old element counts. Taps beyond the ends count for the end element, or not at all with `exclude`."""
    squeeze = min(axis.scale, 1.0) if antialias else 1.0
    first = math.floor(-(1 if mode == "linear" else 2) / squeeze) + 1
    left = at.ceil() - 1
    places = left.unsqueeze(1) + torch.arange(first, 2 - first, device=at.device)
    distance = ((places - at.unsqueeze(1)) * squeeze).abs()
    weights = (1 - distance).clamp(min=0) if mode == "linear" else _cubic(distance, a)
    if exclude:
        weights = torch.where((places >= 0) & (places < axis.old), weights, 0.0)
    if exclude or antialias:
        weights = weights / weights.sum(1, keepdim=True)
    matrix = torch.zeros(axis.new, axis.old, dtype=at.dtype, device=at.device)
    return matrix.scatter_add(1, places.clamp(0, axis.old - 1).long(), weights)


def _cubic(d: Tensor, a: float) -> Tensor:
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return torch.where(d <= 1, near, torch.where(d < 2, far, 0.0))


def _outside(y: Tensor, axis: Axis, at: Tensor, value: float) -> Tensor:
    beyond = (at < 0) | (at > axis.old - 1)
    shape = [-1 if d == axis.index else 1 for d in range(y.dim())]
    return torch.where(beyond.reshape(shape), torch.full_like(y[:1], value), y)
