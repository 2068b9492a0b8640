"""PyTorch's namesakes of the ops with weights, windows, normalisation and attention, written with the op's own argument names."""

import math

import torch
import torch.nn.functional as F

CONV = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}
CONV_TRANSPOSE = {3: F.conv_transpose1d, 4: F.conv_transpose2d, 5: F.conv_transpose3d}
AVG_POOL = {3: F.avg_pool1d, 4: F.avg_pool2d, 5: F.avg_pool3d}
MAX_POOL = {3: F.max_pool1d, 4: F.max_pool2d, 5: F.max_pool3d}
ADAPTIVE = {3: F.adaptive_avg_pool1d, 4: F.adaptive_avg_pool2d, 5: F.adaptive_avg_pool3d}


def linear(x, weight, bias=None, *, out):
    return F.linear(x, weight, bias)


def around(x, kernel, stride):
    """TensorFlow's SAME for square windows, as torch.nn.functional.pad takes it."""
    totals = [max((-(-s // stride) - 1) * stride + kernel - s, 0) for s in x.shape[2:]]
    return [side for t in reversed(totals) for side in (t // 2, t - t // 2)]


def avg_pool(x, kernel, stride=None, padding=0, **arguments):
    """What is padded counts or not: then the mean is of what the ones under the window say is there."""
    pool = AVG_POOL[x.ndim]
    if padding != "same":
        return pool(x, kernel, stride, padding, **arguments)
    pads = around(x, kernel, stride)
    means = pool(F.pad(x, pads), kernel, stride)
    return means if arguments["count_include_pad"] else means / pool(F.pad(torch.ones_like(x), pads), kernel, stride)


def max_pool(x, kernel, stride=None, padding=0, **arguments):
    if padding == "same":
        x, padding = F.pad(x, around(x, kernel, stride), value=-torch.inf), 0
    return MAX_POOL[x.ndim](x, kernel, stride, padding, **arguments)


def conv(x, weight, bias=None, *, out, kernel, stride, padding, dilation, groups, padding_mode):
    """Convolution as torch.nn.ConvNd does it: an explicit pad unless PyTorch's own padding says the same."""
    n = x.ndim - 2
    if padding == "same":  # TensorFlow's rule, from the sizes of the case at hand; with stride 1 it is PyTorch's
        pads = around(x, kernel, stride)
    elif isinstance(padding, list) and len(padding) == 2 * n:
        pads = [side for i in reversed(range(n)) for side in (padding[i], padding[n + i])]
    else:
        each = padding if isinstance(padding, list) else [0 if padding == "valid" else padding] * n
        pads = [p for p in reversed(each) for _ in range(2)]
    x = F.pad(x, pads, "constant" if padding_mode == "zeros" else padding_mode)
    return CONV[x.ndim](x, weight, bias, stride, 0, dilation, groups)


def conv_transpose(x, weight, bias=None, *, out, kernel, stride, padding, output_padding, dilation, groups):
    return CONV_TRANSPOSE[x.ndim](x, weight, bias, stride, padding, output_padding, groups, dilation)


def attention(q, k, v, mask=None, sink=None, *, causal, window, scale, softcap, dropout):
    """Written out, head by head."""
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    heads = []
    for h in range(q.shape[1]):
        source = h * k.shape[1] // q.shape[1]
        scores = torch.einsum("nid,njd->nij", q[:, h], k[:, source]) * scale
        scores = scores if softcap is None else torch.tanh(scores / softcap) * softcap
        if mask is not None:
            part = mask.expand(q.shape[0], q.shape[1], *scores.shape[1:])[:, h]
            scores = scores.masked_fill(~part, -1e25) if mask.dtype == torch.bool else scores + part
        if causal:
            i, j = torch.meshgrid(*map(torch.arange, scores.shape[1:]), indexing="ij")
            scores = scores.masked_fill(j > i + scores.shape[2] - scores.shape[1], -1e30)
        if window is not None:
            i, j = torch.meshgrid(*map(torch.arange, scores.shape[1:]), indexing="ij")
            distance = i + scores.shape[2] - scores.shape[1] - j
            scores = scores.masked_fill(distance.abs() >= window, -1e30)
        if sink is not None:
            weights = torch.exp(scores - torch.logaddexp(torch.logsumexp(scores, -1, keepdim=True), sink[h]))
        else:
            weights = torch.softmax(scores, -1)
        heads.append(torch.einsum("nij,nje->nie", weights, v[:, source]))
    return torch.stack(heads, 1)


def rotary_embedding(x, positions=None, *, base, interleaved, dim):
    """As complex numbers: every pair times e^(i * angle)."""
    dim = x.shape[3] if dim is None else dim
    positions = torch.arange(x.shape[2]) if positions is None else positions
    angles = positions[..., None].double() * base ** (-torch.arange(0, dim, 2).double() / dim)
    turn = torch.polar(torch.ones_like(angles), angles)
    turn = turn[:, None] if turn.ndim == 3 else turn
    y = x.clone()
    if interleaved:
        y[..., :dim] = torch.view_as_real(torch.view_as_complex(x[..., :dim].unflatten(-1, (-1, 2)).contiguous()) * turn).flatten(-2)
    else:
        turned = torch.complex(x[..., : dim // 2], x[..., dim // 2 : dim]) * turn
        y[..., :dim] = torch.cat([turned.real, turned.imag], -1)
    return y


def sinusoidal_embedding(x, *, dim, base, interleaved):
    angles = x.double()[..., None] / torch.tensor(base).double() ** (2 * torch.arange(dim // 2) / dim)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(-2) if interleaved else torch.cat([angles.sin(), angles.cos()], -1)


def interpolate(x, *, size, scale, mode, align_corners):
    mode = {"linear": {3: "linear", 4: "bilinear", 5: "trilinear"}[x.ndim], "cubic": "bicubic"}.get(mode, mode)
    return F.interpolate(x, size, scale, mode, None if mode == "nearest" else align_corners)


def layer_norm(x, weight=None, bias=None, *, dims, eps, affine):
    return F.layer_norm(x, x.shape[-dims:], weight, bias, eps)


def gru_cell(x, h, weight_ih, weight_hh, bias_ih=None, bias_hh=None, *, hidden):
    return torch.gru_cell(x, h, weight_ih, weight_hh, bias_ih, bias_hh)


def lstm_cell(x, h, c, weight_ih, weight_hh, bias_ih=None, bias_hh=None, *, hidden):
    return torch.lstm_cell(x, (h, c), weight_ih, weight_hh, bias_ih, bias_hh)


def grid_sample(x, grid, *, mode, padding_mode, align_corners):
    return F.grid_sample(x, grid, {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode), padding_mode, align_corners)


REFERENCES = {
    "linear": linear,
    "bilinear": lambda x, y, weight, bias=None, *, out: F.bilinear(x, y, weight, bias),
    "embedding": lambda ids, weight, **_: F.embedding(ids, weight),
    "conv": conv,
    "conv_transpose": conv_transpose,
    "unfold": lambda x, kernel, **arguments: F.unfold(x, kernel, **arguments),
    "avg_pool": avg_pool,
    "max_pool": max_pool,
    "adaptive_avg_pool": lambda x, out: ADAPTIVE[x.ndim](x, out),
    "interpolate": interpolate,
    "grid_sample": grid_sample,
    "layer_norm": layer_norm,
    "rms_norm": lambda x, weight=None, *, eps, affine: F.rms_norm(x, x.shape[-1:], weight, eps),
    "group_norm": lambda x, weight=None, bias=None, *, groups, eps, affine: F.group_norm(x, groups, weight, bias, eps),
    "instance_norm": lambda x, weight=None, bias=None, *, eps, affine: F.instance_norm(x, None, None, weight, bias, eps=eps),
    "batch_norm": lambda x, running_mean, running_var, weight=None, bias=None, *, eps, momentum, affine: F.batch_norm(
        x, running_mean, running_var, weight, bias, eps=eps
    ),
    "running_var": lambda x, weight, *, momentum: weight.reshape(1, -1, *[1] * (x.ndim - 2)),
    "local_response_norm": F.local_response_norm,
    "layer_scale": lambda x, weight, *, init, dim: (x.movedim(dim, -1) * weight).movedim(-1, dim),
    "dropout": lambda x, p: F.dropout(x, p, training=False),
    "drop_path": lambda x, p: x,
    "noise": lambda x, kind: x,
    "prelu": lambda x, weight, **_: F.prelu(x, weight),
    "glu": F.glu,
    "attention": attention,
    "rotary_embedding": rotary_embedding,
    "sinusoidal_embedding": sinusoidal_embedding,
    "gru_cell": gru_cell,
    "lstm_cell": lstm_cell,
    "cosine_similarity": F.cosine_similarity,
}
