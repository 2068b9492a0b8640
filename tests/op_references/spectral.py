"""Whole spectra, of torch.fft and by the sums that scipy.fft documents; the lowest frequencies are taken from them, or put into them."""

import math

import torch


def _axes(x, dims):
    return [d % x.ndim for d in ([dims] if isinstance(dims, int) else range(x.ndim) if dims is None else dims)]


def _lowest(y, axes, modes, half):
    """The lowest frequencies: 0 to m - 1, and -m to -1 except along the last axis of a half spectrum."""
    for i, axis in enumerate(axes):
        m = modes[i] if isinstance(modes, list) else modes
        if m is not None:
            low = y.narrow(axis, 0, m)
            y = low if half and axis == axes[-1] else torch.cat([low, y.narrow(axis, y.shape[axis] - m, m)], axis)
    return y.real, y.imag


def _filled(re, im, axes, size, half):
    """The spectrum with zeros for the highest frequencies, between those of either sign."""
    y = torch.complex(re, im)
    for axis, n in zip(axes, size or [None] * len(axes), strict=True):
        if n is None or (half and axis == axes[-1]):
            continue
        count = y.shape[axis]
        zeros = torch.zeros_like(y.narrow(axis, 0, 1)).repeat_interleave(n - count, axis)
        y = torch.cat([y.narrow(axis, 0, count - count // 2), zeros, y.narrow(axis, count - count // 2, count // 2)], axis)
    return y


def _analysis(function, half):
    def reference(*parts, dims, modes, norm):
        x = parts[0] if half else torch.complex(*parts)
        axes = _axes(x, dims)
        return _lowest(function(x, dim=axes, norm=norm), axes, modes, half)

    return reference


def _synthesis(function, half):
    def reference(re, im, size, dims, norm):
        axes = _axes(re, dims)
        y = function(_filled(re, im, axes, size, half), s=size, dim=axes, norm=norm)
        return y if half else (y.real, y.imag)

    return reference


def _one(reference, inverse):
    """The same along one dim."""
    if inverse:
        return lambda re, im, size, dim, norm: reference(re, im, None if size is None else [size], dim, norm)
    return lambda *parts, dim, modes, norm: reference(*parts, dims=dim, modes=modes, norm=norm)


def _cosine(x, axis, kind, norm, inverse):
    """The sums of scipy.fft's documentation as a matrix."""
    n = x.shape[axis]
    j, k = torch.arange(n, dtype=x.dtype), torch.arange(n, dtype=x.dtype)[:, None]
    if kind == 2:
        matrix = 2 * torch.cos(math.pi * k * (2 * j + 1) / (2 * n))
    else:
        matrix = torch.where(j == 0, torch.ones_like(j + k), 2 * torch.cos(math.pi * j * (2 * k + 1) / (2 * n)))
    if norm == "ortho":
        matrix = matrix / math.sqrt(2 * n)
        first = matrix[0] if kind == 2 else matrix[:, 0]
        first *= math.sqrt(0.5) if kind == 2 else math.sqrt(2)
    elif norm == ("backward" if inverse else "forward"):
        matrix = matrix / (2 * n)
    return torch.movedim(torch.movedim(x, axis, -1) @ matrix.T, -1, axis)


def dct(x, dims, type, modes, norm):
    axes = _axes(x, dims)
    for i, axis in enumerate(axes):
        x = _cosine(x, axis, type, norm, inverse=False)
        m = modes[i] if isinstance(modes, list) else modes
        x = x if m is None else x.narrow(axis, 0, m)
    return x


def idct(x, dims, type, size, norm):
    axes = _axes(x, dims)
    for i, axis in enumerate(axes):
        n = size[i] if isinstance(size, list) else x.shape[axis] if size is None else size
        zeros = torch.zeros_like(x.narrow(axis, 0, 1)).repeat_interleave(n - x.shape[axis], axis)
        x = _cosine(torch.cat([x, zeros], axis), axis, 5 - type, norm, inverse=True)
    return x


rfftn, irfftn = _analysis(torch.fft.rfftn, True), _synthesis(torch.fft.irfftn, True)
fftn, ifftn = _analysis(torch.fft.fftn, False), _synthesis(torch.fft.ifftn, False)
REFERENCES = {
    "rfft": _one(rfftn, False),
    "rfft2": rfftn,
    "rfftn": rfftn,
    "irfft": _one(irfftn, True),
    "irfft2": irfftn,
    "irfftn": irfftn,
    "fft": _one(fftn, False),
    "fft2": fftn,
    "fftn": fftn,
    "ifft": _one(ifftn, True),
    "ifft2": ifftn,
    "ifftn": ifftn,
    "dct": dct,
    "idct": idct,
}
