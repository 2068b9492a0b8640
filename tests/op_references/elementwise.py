"""PyTorch's namesakes of the elementwise ops."""

import torch
import torch.nn.functional as F

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
    "equal": torch.eq,
    "not_equal": torch.ne,
    "less": torch.lt,
    "less_equal": torch.le,
    "greater": torch.gt,
    "greater_equal": torch.ge,
}
