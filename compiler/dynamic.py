"""Products that round what they are given as a whole: one scale and zero for all of x, and one scale for each row of the weight.

ONNX Runtime multiplies such integers two to seventeen times as fast as float32 where x has many rows. Its convolution of this form
(ConvInteger) takes twenty to fifty times as long, so only products have it.
"""

from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.numeric import ONNX_DTYPE


def dynamic_product(g: Builder, x: Value, codes: Value, scales: Value, zero: int) -> Value:
    """x @ weight.T, x being rounded to 8 bits between its least and greatest number.

    x: float32 [..., K]; codes: uint8 [N, 1, K], `zero` standing for 0; scales: float32 [N, 1]. The result is float32 [..., N].
    """
    wide, signed = ONNX_DTYPE["int32"], ONNX_DTYPE["int8"]
    centred = g("Cast", g("Sub", g("Cast", codes, to=wide), g.constant(zero, "int32")), to=signed)
    matrix = g.transpose(g("Squeeze", centred, g.ints(1)), 1, 0)
    rounded, step, shift = g("DynamicQuantizeLinear", x, outputs=3)
    whole = g("Cast", g("MatMulInteger", rounded, matrix, shift), to=ONNX_DTYPE["float32"])
    return g("Mul", whole, g("Mul", step, g("Squeeze", scales, g.ints(1))))
