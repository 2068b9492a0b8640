"""Fourier transforms and window functions. A complex number is a last axis of two elements."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lamina.compiler.targets.torch.arrays import torch_dtype
from lamina.compiler.targets.torch.registry import Ints, lowering


def _complex(x: Tensor) -> Tensor:
    if x.shape[-1] == 2:
        return torch.view_as_complex(x.contiguous())
    real = x.squeeze(-1)
    return torch.complex(real, torch.zeros_like(real))


@lowering("DFT")
def dft(x: Tensor, length: Ints | None = None, axis: Ints | None = None, *, inverse: int = 0, onesided: int = 0) -> Tensor:
    """A one-sided transform keeps the first half; its inverse is real."""
    dim = axis[0] if axis else -2
    dim = dim % x.dim() if dim < 0 else dim
    wide = x if x.dtype is torch.float64 else x.float()  # there is no transform of narrower floats on the CPU
    return _transformed(wide, length[0] if length else None, dim, inverse, onesided).to(x.dtype)


def _transformed(x: Tensor, n: int | None, dim: int, inverse: int, onesided: int) -> Tensor:
    if onesided and not inverse and x.shape[-1] == 1:
        return torch.view_as_real(_along(torch.fft.rfft, x.squeeze(-1), n, dim))
    signal = _complex(x)
    if inverse and onesided:
        return _along(torch.fft.irfft, signal, n, dim).unsqueeze(-1)
    spectrum = _along(torch.fft.ifft if inverse else torch.fft.fft, signal, n, dim)
    return torch.view_as_real(spectrum.narrow(dim, 0, spectrum.shape[dim] // 2 + 1) if onesided else spectrum)


def _along(transform: Callable[[Tensor, int | None, int], Tensor], x: Tensor, n: int | None, dim: int) -> Tensor:
    """The transform of one axis: of rows where sizes are symbols: `torch.export` else demands that the axis differs from others."""
    if all(isinstance(size, int) for size in x.shape):
        return transform(x, n, dim)
    moved = x.movedim(dim, -1)
    rows = transform(moved.reshape(-1, moved.shape[-1]), n, 1)
    return rows.reshape(*moved.shape[:-1], rows.shape[-1]).movedim(-1, dim)


@lowering("STFT")
def stft(x: Tensor, step: Ints, window: Tensor | None = None, length: Ints | None = None, *, onesided: int = 1) -> Tensor:
    """x: [N, samples, 1 or 2] -> [N, frames, bins, 2]; no padding at the ends."""
    n = length[0] if length else (window.shape[0] if window is not None else x.shape[1])
    frames = _complex(x).unfold(1, n, step[0])
    spectrum = torch.fft.fft(frames if window is None else frames * window)
    return torch.view_as_real(spectrum[..., : n // 2 + 1] if onesided else spectrum)


def _window(size: int, periodic: int, dtype: int, device: torch.device, *terms: float) -> Tensor:
    """A sum of cosines: term 0, minus term 1 times cos(x), plus term 2 times cos(2 x)."""
    steps = torch.arange(size, device=device, dtype=torch.float64)
    angle = steps * (2 * math.pi / (size if periodic else size - 1))
    total = sum((-1) ** i * term * torch.cos(i * angle) for i, term in enumerate(terms))
    assert isinstance(total, Tensor)
    return total.to(torch_dtype(dtype))


@lowering("HannWindow")
def hann_window(size: Ints, *, output_datatype: int = 1, periodic: int = 1, device: torch.device) -> Tensor:
    return _window(size[0], periodic, output_datatype, device, 0.5, 0.5)


@lowering("HammingWindow")
def hamming_window(size: Ints, *, output_datatype: int = 1, periodic: int = 1, device: torch.device) -> Tensor:
    return _window(size[0], periodic, output_datatype, device, 25 / 46, 21 / 46)


@lowering("BlackmanWindow")
def blackman_window(size: Ints, *, output_datatype: int = 1, periodic: int = 1, device: torch.device) -> Tensor:
    return _window(size[0], periodic, output_datatype, device, 0.42, 0.5, 0.08)
