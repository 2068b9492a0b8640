"""PyTorch's namesakes of the elementwise ops."""

import torch
import torch.nn.functional as F


class Step(torch.autograd.Function):
    """torch.heaviside with a derivative that is given."""

    @staticmethod
    def forward(context, x, derivative):
        context.save_for_backward(derivative(x))
        return torch.heaviside(x, torch.ones((), dtype=x.dtype))

    @staticmethod
    def backward(context, gradient):
        (derivative,) = context.saved_tensors
        return gradient * derivative, None


# a is the steepness: spikingjelly's derivatives of its ATan and Sigmoid, and those of a triangle and a rectangle of area 1
DERIVATIVES = {
    "none": lambda x, a: torch.zeros_like(x),
    "atan": lambda x, a: a / 2 / (1 + (torch.pi / 2 * a * x) ** 2),
    "sigmoid": lambda x, a: a / (2 + torch.exp(a * x) + torch.exp(-a * x)),
    "triangle": lambda x, a: torch.where(abs(x) < 1 / a, a - a**2 * abs(x), 0.0),
    "rectangle": lambda x, a: torch.where(abs(x) < 1 / (2 * a), a, 0.0),
}


def heaviside(x, surrogate, alpha):
    return Step.apply(x, lambda x: DERIVATIVES[surrogate](x.detach(), alpha).to(x.dtype))


TORCH = """
neg abs exp log sqrt rsqrt reciprocal sin cos tan asin acos atan sinh cosh tanh sigmoid erf floor ceil round sign square expm1 log1p
logical_not bitwise_not add sub mul div pow maximum minimum logical_and logical_or logical_xor bitwise_and bitwise_or bitwise_xor
"""
FUNCTIONAL = "relu silu mish softplus softsign selu hardswish hardsigmoid relu6 elu celu gelu"
REFERENCES = {
    **{name: getattr(torch, name) for name in TORCH.split()},
    **{name: getattr(F, name) for name in FUNCTIONAL.split()},
    "log_sigmoid": F.logsigmoid,
    "leaky_relu": lambda x, slope: F.leaky_relu(x, slope),
    "hardtanh": lambda x, low, high: F.hardtanh(x, low, high),
    "softshrink": lambda x, threshold: F.softshrink(x, threshold),
    "hardshrink": lambda x, threshold: F.hardshrink(x, threshold),
    "heaviside": heaviside,
    "equal": torch.eq,
    "not_equal": torch.ne,
    "less": torch.lt,
    "less_equal": torch.le,
    "greater": torch.gt,
    "greater_equal": torch.ge,
}
