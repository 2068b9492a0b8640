"""Which ONNX form of an op does ONNX Runtime run fastest on this CPU? The measurements behind the fast paths of `compiler/ops`.

    python benchmarks/op_forms.py [case ...] [--threads 2] [--rounds 30]

Every case is the op as networks have it, with its neighbours. Forms run in turn, round after round, so that a busy moment hits all;
a ratio is the median over rounds of a form's time against the first form's in the same round. Outputs must agree.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper, parser

from lamina.runtime.native import library

Array = np.ndarray[Any, Any]
Forms = Mapping[str, onnx.ModelProto]
Case = Callable[[], Iterator[tuple[str, Forms, Mapping[str, Array]]]]
CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    """Register a case under its function's name."""
    CASES[function.__name__] = function
    return function


def noise(*shape: int, scale: float = 1.0) -> Array:
    """Standard normal numbers, the same for the same shape."""
    return (np.random.default_rng(shape).standard_normal(shape) * scale).astype(np.float32)


def const(*values: float, dtype: type = np.int64) -> Array:
    return np.array(values, dtype)


def number(value: float) -> Array:
    """A float32 scalar."""
    return np.array(value, np.float32)


def model(inputs: str, output: str, body: str, arrays: Mapping[str, Array], known: Sequence[str] = ()) -> onnx.ModelProto:
    """A model from ONNX's textual form; `known` are intermediate types, as an exporter that infers shapes writes them."""
    head = '<ir_version: 11, opset_import: ["" : 24, "com.microsoft" : 1, "lamina.native" : 1]>'
    info = f" <{', '.join(known)}>" if known else ""
    proto: onnx.ModelProto = parser.parse_model(f"{head} g ({inputs}) => ({output} y){info} {{ {body} }}")
    read = _read(proto.graph)
    proto.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in arrays.items() if n in read)
    return proto


def _read(graph: onnx.GraphProto) -> set[str]:
    """Names that nodes take, those in bodies too."""
    bodies = [a.g for node in graph.node for a in node.attribute if a.HasField("g")]
    return {name for node in graph.node for name in node.input}.union(*map(_read, bodies))


@dataclass
class Racer:
    """One form: its session, its times and its output."""

    name: str
    session: ort.InferenceSession
    times: list[float] = field(default_factory=list)

    def run(self, feeds: Mapping[str, Array]) -> Array:
        start = time.perf_counter()
        (y,) = self.session.run(None, feeds)
        self.times.append(time.perf_counter() - start)
        result: Array = y
        return result


def session(proto: onnx.ModelProto, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    options.register_custom_ops_library(str(library()))
    return ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def race(forms: Forms, feeds: Mapping[str, Array], threads: int, rounds: int) -> None:
    """Time all forms in turn and print one row for each."""
    racers = [Racer(name, session(proto, threads)) for name, proto in forms.items()]
    want = racers[0].run(feeds)
    for racer in racers:
        np.testing.assert_allclose(racer.run(feeds), want, rtol=1e-3, atol=1e-3 * float(np.abs(want).max()), err_msg=racer.name)
        racer.times.clear()
    for _ in range(rounds):
        for racer in racers:
            racer.run(feeds)
    for racer in racers:
        ratio = statistics.median(a / b for a, b in zip(racer.times, racers[0].times, strict=True))
        print(
            f"| {racer.name:34} | {statistics.median(racer.times) * 1e3:9.3f} | {min(racer.times) * 1e3:9.3f} | {ratio:6.2f} |", flush=True
        )


def group_forms(name: str, x: str, groups: int) -> dict[str, str]:
    """Normalise `x` to `name`: the text of each form. Reads s, b, s3, b3 and the small constants of `group_arrays`."""
    flat = f"{name}r = Reshape({x}, flat)"
    back = f"{name}s = Shape({x}) {name}q = Reshape({name}n, {name}s)"
    instance = f"{flat} {name}n = InstanceNormalization<epsilon=1e-5>({name}r, one, zero) {back}"
    layer = f"{flat} {name}n = LayerNormalization<epsilon=1e-5>({name}r, unit) {back}"
    affine = f"{name}m = Mul({name}q, s3) {name} = Add({name}m, b3)"
    moments = f"""{flat} {name}n = ReduceMean({name}r, last) {name}u = Mul({name}r, {name}r) {name}e = ReduceMean({name}u, last)
        {name}d = Mul({name}n, {name}n) {name}v = Sub({name}e, {name}d) {name}w = Add({name}v, eps) {name}t = Sqrt({name}w)
        {name}a = Div(sg, {name}t) {name}f = Mul({name}n, {name}a) {name}c = Sub(bg, {name}f) {name}g = Reshape({name}a, columns)
        {name}h = Reshape({name}c, columns) {name}k = Mul({x}, {name}g) {name} = Add({name}k, {name}h)"""
    return {
        "GroupNormalization": f"{name} = GroupNormalization<num_groups={groups}, epsilon=1e-5>({x}, s, b)",
        "InstanceNormalization, Mul, Add": f"{instance} {affine}",
        "InstanceNormalization, BatchNorm": f"{instance} {name} = BatchNormalization<epsilon=0.0>({name}q, s, b, zeros, ones)",
        "LayerNormalization, Mul, Add": f"{layer} {affine}",
        "moments, folded into Mul, Add": moments,
    }


def group_arrays(c: int, groups: int) -> dict[str, Array]:
    s, b = noise(c, scale=0.3) + 1, noise(c)
    arrays = {"s": s, "b": b, "s3": s.reshape(c, 1, 1), "b3": b.reshape(c, 1, 1)}
    arrays |= {"sg": s.reshape(1, groups, -1), "bg": b.reshape(1, groups, -1), "flat": const(0, groups, -1), "columns": const(0, c, 1, 1)}
    arrays |= {"one": np.ones(groups, np.float32), "zero": np.zeros(groups, np.float32), "unit": np.ones(1, np.float32)}
    arrays |= {"ones": np.ones(c, np.float32), "zeros": np.zeros(c, np.float32), "last": const(2), "eps": const(1e-5, dtype=np.float32)}
    return arrays


@case
def group_norm() -> Iterator[tuple[str, Forms, Mapping[str, Array]]]:
    for n, c, size in ((1, 64, 56), (8, 64, 56), (1, 320, 14)):
        for groups in (1, 32):
            arrays, type_ = group_arrays(c, groups), f"float[N,{c},H,W]"
            forms = {k: model(f"{type_} x", type_, text, arrays) for k, text in group_forms("y", "x", groups).items()}
            yield f"[{n}, {c}, {size}, {size}], groups={groups}", forms, {"x": noise(n, c, size, size)}


def poolformer(c: int, norm: str, pool: str, known: bool) -> onnx.ModelProto:
    """Conv, then two PoolFormer blocks (group norm, pool - x, layer scale; group norm, Conv, Gelu, Conv, layer scale), then Conv."""
    arrays = group_arrays(c, 1) | {"l": noise(c, 1, 1), "w": noise(c, c, 1, 1, scale=c**-0.5), "nine": np.ones((c, 1, 3, 3), np.float32)}
    arrays |= {
        "up": noise(4 * c, c, 1, 1, scale=c**-0.5),
        "down": noise(c, 4 * c, 1, 1, scale=c**-0.5 / 2),
        "one9": np.ones((1, 1, 3, 3), np.float32),
    }
    arrays |= {"pair": const(1, 1)}
    body, x = ["v = Conv<kernel_shape=[1,1]>(x, w)"], "v"
    for i in "pq":
        body += [group_forms(f"{i}a", x, 1)[norm]]
        if pool == "AveragePool":
            body += [f"{i}b = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=0>({i}a)"]
        else:
            body += [f"{i}b1 = Conv<group={c}, kernel_shape=[3,3], pads=[1,1,1,1]>({i}a, nine) {i}b2 = Shape<start=2>({i}a)"]
            body += [f"{i}b3 = Concat<axis=0>(pair, {i}b2) {i}b4 = ConstantOfShape<value=float[1] {{1.0}}>({i}b3)"]
            body += [f"{i}b5 = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>({i}b4, one9) {i}b = Div({i}b1, {i}b5)"]
        body += [f"{i}c = Sub({i}b, {i}a) {i}d = Mul({i}c, l) {i}e = Add({x}, {i}d)", group_forms(f"{i}f", f"{i}e", 1)[norm]]
        body += [f"{i}g = Conv<kernel_shape=[1,1]>({i}f, up) {i}h = Gelu({i}g) {i}i = Conv<kernel_shape=[1,1]>({i}h, down)"]
        body += [f"{i}j = Mul({i}i, l) {i}k = Add({i}e, {i}j)"]
        x = f"{i}k"
    infos = [f"float[N,{c},H,W] {name}" for name in ("pa", "pf", "qa", "qf")] if known else []
    type_ = f"float[N,{c},H,W]"
    return model(f"{type_} x", type_, "\n".join([*body, f"y = Conv<kernel_shape=[1,1]>({x}, w)"]), arrays, infos)


@case
def pool_mixer() -> Iterator[tuple[str, Forms, Mapping[str, Array]]]:
    for n, c, size in ((1, 64, 56), (8, 64, 56), (1, 320, 14)):
        plain, batch, whole = "InstanceNormalization, Mul, Add", "InstanceNormalization, BatchNorm", "GroupNormalization"
        forms = {
            "Mul, Add; AveragePool": poolformer(c, plain, "AveragePool", False),
            "Mul, Add; depthwise Conv": poolformer(c, plain, "Conv", False),
            "BatchNorm; AveragePool": poolformer(c, batch, "AveragePool", False),
            "BatchNorm; AveragePool; types": poolformer(c, batch, "AveragePool", True),
            "GroupNorm; AveragePool": poolformer(c, whole, "AveragePool", False),
            "GroupNorm; AveragePool; types": poolformer(c, whole, "AveragePool", True),
        }
        yield f"two blocks of [{n}, {c}, {size}, {size}]", forms, {"x": noise(n, c, size, size)}


def attention_block(form: str, heads: int, d: int, masked: bool) -> onnx.ModelProto:
    """Two attention layers: one product for q, k and v, Split, heads apart, attention, heads together, product, residual."""
    width = heads * d
    arrays = {
        "w": noise(width, 3 * width, scale=1.5 * width**-0.5),
        "wo": noise(width, width, scale=width**-0.5),
        "heads": const(0, 0, heads, d),
    }
    arrays |= {"flat": const(0, 0, width), "scale": number(d**-0.5), "unit": const(1)}
    body = ["full = Identity(mask)" if "Attention" not in form else "n = Shape<end=1>(x) t = Shape<start=1, end=2>(x)"] if masked else []
    body += ["to = Concat<axis=0>(n, unit, t, t) full = Expand(mask, to)"] if masked and "Attention" in form else []
    mask, contrib_mask = (", full", ",,,full") if masked else ("", "")
    x = "x"
    for i in "pq":
        body += [f"{i}p = MatMul({x}, w) {i}0, {i}1, {i}2 = Split<axis=2, num_outputs=3>({i}p)"]
        apart = " ".join(f"{i}r{k} = Reshape({i}{k}, heads) {i}t{k} = Transpose<perm=[0,2,1,3]>({i}r{k})" for k in range(3))
        together = f"{i}b = Transpose<perm=[0,2,1,3]>({i}a) {i}o = Reshape({i}b, flat)"
        bias = f"{i}m = Add({i}s, full)" if masked else f"{i}m = Identity({i}s)"
        plain = f"""{i}h = Mul({i}t0, scale) {i}k = Transpose<perm=[0,1,3,2]>({i}t1) {i}s = MatMul({i}h, {i}k) {bias}
            {i}w = Softmax<axis=-1>({i}m) {i}a = MatMul({i}w, {i}t2)"""
        rejoined = " ".join(f"{i}u{k} = Transpose<perm=[0,2,1,3]>({i}t{k}) {i}v{k} = Reshape({i}u{k}, flat)" for k in range(3))
        body += {
            "MatMul, Softmax, MatMul": [apart, plain, together],
            "Attention, 4-D": [apart, f"{i}a = Attention({i}t0, {i}t1, {i}t2{mask})", together],
            "Attention, 3-D": [f"{i}o = Attention<q_num_heads={heads}, kv_num_heads={heads}>({i}0, {i}1, {i}2{mask})"],
            "MultiHeadAttention": [f"{i}o = com.microsoft.MultiHeadAttention<num_heads={heads}>({i}0, {i}1, {i}2{contrib_mask})"],
            "MultiHeadAttention, heads rejoined": [
                f"{apart} {rejoined} {i}o = com.microsoft.MultiHeadAttention<num_heads={heads}>({i}v0, {i}v1, {i}v2{contrib_mask})"
            ],
        }[form]
        body += [f"{i}y = MatMul({i}o, wo) {i}z = Add({i}y, {x})"]
        x = f"{i}z"
    inputs = f"float[N,T,{width}] x" + (", float[N,1,1,T] mask" if masked else "")
    return model(inputs, f"float[N,T,{width}]", "\n".join([*body, f"y = Identity({x})"]), arrays)


@case
def attention() -> Iterator[tuple[str, Forms, Mapping[str, Array]]]:
    names = ["MatMul, Softmax, MatMul", "Attention, 4-D", "Attention, 3-D", "MultiHeadAttention", "MultiHeadAttention, heads rejoined"]
    for n, heads, t, d, masked in ((1, 3, 197, 64, False), (8, 3, 197, 64, False), (1, 12, 128, 32, True), (8, 12, 128, 32, True)):
        feeds = {"x": noise(n, t, heads * d)}
        if masked:
            feeds["mask"] = np.where(np.arange(t) < t - 10, 0, -1e9).astype(np.float32) * np.ones((n, 1, 1, 1), np.float32)
        label = f"two layers, N={n}, {heads} heads, T={t}, d={d}{', mask' if masked else ''}"
        yield label, {name: attention_block(name, heads, d, masked) for name in names}, feeds


@case
def gelu() -> Iterator[tuple[str, Forms, Mapping[str, Array]]]:
    erf = "e = Div(h, root) f = Erf(e) i = Add(f, one) j = Mul(h, i) a = Mul(j, half)"
    tanh = 'a = Gelu<approximate="tanh">(h)'
    for n, t, d in ((1, 197, 192), (8, 197, 192)):
        arrays = {"w": noise(d, 4 * d, scale=d**-0.5), "v": noise(4 * d, d, scale=d**-0.5 / 2), "b": noise(4 * d)}
        arrays |= {"root": number(2**0.5), "one": number(1), "half": number(0.5)}
        first, add, last = "g = MatMul(x, w)", "h = Add(g, b)", "y = MatMul(a, v)"
        texts = {
            "Gelu": f"{first} {add} a = Gelu(h) {last}",
            "Div, Erf, Add, Mul, Mul": f"{first} {add} {erf} {last}",
            "BiasGelu (com.microsoft)": f"{first} a = com.microsoft.BiasGelu(g, b) {last}",
            "com.microsoft.Gelu": f"{first} {add} a = com.microsoft.Gelu(h) {last}",
            "Gelu, tanh": f"{first} {add} {tanh} {last}",
            "FastGelu (tanh)": f"{first} a = com.microsoft.FastGelu(g, b) {last}",
        }
        forms = {k: model(f"float[N,T,{d}] x", f"float[N,T,{d}]", text, arrays) for k, text in texts.items()}
        yield f"MLP of [{n}, {t}, {d}]", forms, {"x": noise(n, t, d)}


@case
def rms_norm() -> Iterator[tuple[str, Forms, Mapping[str, Array]]]:
    for n, t, d in ((1, 128, 576), (8, 128, 576)):
        arrays = {"s": noise(d), "w": noise(d, d, scale=d**-0.5), "eps": number(1e-6), "last": const(-1)}
        plain = "a = Mul(x, x) b = ReduceMean(a, last) c = Add(b, eps) e = Sqrt(c) f = Div(x, e) h = Mul(f, s)"
        texts = {
            "RMSNormalization": "h = RMSNormalization<axis=-1, epsilon=1e-6>(x, s) y = MatMul(h, w)",
            "Mul, ReduceMean, Sqrt, Div, Mul": f"{plain} y = MatMul(h, w)",
            "SimplifiedLayerNormalization": "h = SimplifiedLayerNormalization<axis=-1, epsilon=1e-6>(x, s) y = MatMul(h, w)",
        }
        forms = {k: model(f"float[N,T,{d}] x", f"float[N,T,{d}]", text, arrays) for k, text in texts.items()}
        yield f"before a product, [{n}, {t}, {d}]", forms, {"x": noise(n, t, d)}


@case
def layer_norm() -> Iterator[tuple[str, Forms, Mapping[str, Array]]]:
    """After a residual (ONNX Runtime fuses the two into SkipLayerNormalization where it knows the types), and over channels of images."""
    for n, t, d in ((4, 128, 384), (8, 197, 192)):
        arrays, type_ = {"s": noise(d), "b": noise(d), "w": noise(d, d, scale=d**-0.5)}, f"float[N,T,{d}]"
        texts = {
            "Add, LayerNormalization": "a = Add(x, r) h = LayerNormalization(a, s, b) e = Neg(a) y = Add(h, e)",
            "SkipLayerNormalization": "h, _1, _2, a = com.microsoft.SkipLayerNormalization(x, r, s, b) e = Neg(a) y = Add(h, e)",
        }
        forms = {k: model(f"{type_} x, {type_} r", type_, v, arrays) for k, v in texts.items()}
        yield f"after a residual, [{n}, {t}, {d}]", forms, {"x": noise(n, t, d), "r": noise(n, t, d, scale=2.0)}
    for n, c, size in ((1, 96, 56), (8, 96, 56)):
        arrays, type_ = {"s": noise(c), "b": noise(c), "eps": number(1e-5), "at": const(1)}, f"float[N,{c},H,W]"
        arrays |= {"s3": arrays["s"].reshape(c, 1, 1), "b3": arrays["b"].reshape(c, 1, 1)}
        rows = "t = Transpose<perm=[0,2,3,1]>(x) h = LayerNormalization(t, s, b) y = Transpose<perm=[0,3,1,2]>(h)"
        plain = "m = ReduceMean(x, at) d = Sub(x, m) q = Mul(d, d) v = ReduceMean(q, at) e = Add(v, eps) r = Sqrt(e) z = Div(d, r)"
        texts = {"Transpose, LayerNormalization": rows, "ReduceMean, Sub, Mul, ...": f"{plain} i = Mul(z, s3) y = Add(i, b3)"}
        forms = {k: model(f"{type_} x", type_, v, arrays) for k, v in texts.items()}
        yield f"over channels of [{n}, {c}, {size}, {size}]", forms, {"x": noise(n, c, size, size)}


@case
def rotary_embedding() -> Iterator[tuple[str, Forms, Mapping[str, Array]]]:
    for n, heads, t, d in ((1, 9, 128, 64), (1, 9, 1, 64)):
        arrays = {"cos": noise(t, d // 2), "sin": noise(t, d // 2), "ids": np.tile(np.arange(t), (n, 1))}
        rotate = "c = Mul(a, cos) e = Mul(b, sin) f = Sub(c, e) h = Mul(a, sin) i = Mul(b, cos) j = Add(h, i)"
        texts = {
            "Split, Mul, Sub, Add, Concat": f"a, b = Split<axis=-1, num_outputs=2>(x) {rotate} y = Concat<axis=-1>(f, j)",
            "RotaryEmbedding": "y = RotaryEmbedding(x, cos, sin, ids)",
        }
        type_ = f"float[N,{heads},T,{d}]"
        yield (
            f"[{n}, {heads}, {t}, {d}]",
            {k: model(f"{type_} x", type_, v, arrays) for k, v in texts.items()},
            {"x": noise(n, heads, t, d)},
        )


GATED = {
    "LinearAttention, heads packed": """y, z = com.microsoft.LinearAttention<q_num_heads=HEADS, kv_num_heads=HEADS, update_rule="gated",
        scale=1.0>(pq, pk, pv, ps, pg)""",
    "LinearAttention, heads as samples": """r = Unsqueeze(s, one)
        o, z = com.microsoft.LinearAttention<q_num_heads=1, kv_num_heads=1, update_rule="gated", scale=1.0>(q, k, v, r, g)""",
    "our kernel": """q4 = Reshape(pq, apart) k4 = Reshape(pk, apart) v4 = Reshape(pv, apart) g4 = Reshape(pg, gates)
        y4, z = lamina.native.LinearAttention<scale=1.0, joined=79>(q4, k4, v4, g4, , ps) y = Reshape(y4, packed)""",
    "Scan": """z, o = Scan<num_scan_inputs=4, scan_input_axes=[1,1,1,1], scan_output_axes=[1], body = step
        (float[H,D,D] a, float[H,D] qt, float[H,D] kt, float[H,D] vt, float[H,G] gt) => (float[H,D,D] b, float[H,D] yt) {
        e = Exp(gt) f = Unsqueeze(e, two) h = Mul(a, f) i = Unsqueeze(kt, two) j = Unsqueeze(vt, one) m = Mul(i, j) b = Add(h, m)
        n = Unsqueeze(qt, one) p = MatMul(n, b) yt = Squeeze(p, one) }>(s, q, k, v, g)""",
    "chunks, decays of heads": """w, z, c = Loop(count, going, zero, s) <body = chunk
        (int64 i, bool before, int64[1] at, float[H,D,D] a) => (bool after, int64[1] end, float[H,D,D] b, float[H,64,D] yc) {
        after = Identity(before) end = Add(at, size) qc = Slice(q, at, end, one) kc = Slice(k, at, end, one) vc = Slice(v, at, end, one)
        gc = Slice(g, at, end, one) sum = CumSum(gc, axis) rest = CumSum<exclusive=1, reverse=1>(gc, axis) es = Exp(sum) er = Exp(rest)
        kt = Transpose<perm=[0,2,1]>(kc) qk = MatMul(qc, kt) wide = Add(gc, zeros) later = Trilu<upper=0>(wide, minus)
        between = CumSum(later, axis) eb = Exp(between) seen = Mul(qk, eb) low = Trilu<upper=0>(seen) own = MatMul(low, vc)
        qe = Mul(qc, es) old = MatMul(qe, a) yc = Add(own, old) ke = Mul(kc, er) kf = Transpose<perm=[0,2,1]>(ke) new = MatMul(kf, vc)
        all = ReduceSum(gc, one) ea = Exp(all) kept = Mul(a, ea) b = Add(kept, new) }> t = Transpose<perm=[1,0,2,3]>(c)
        o = Reshape(t, flat)""",
}

ROWS = ("LinearAttention, heads packed", "our kernel")  # which give rows; others give heads


@case
def linear_attention() -> Iterator[tuple[str, Forms, Mapping[str, Array]]]:
    """The layout of ONNX Runtime's kernel decides; what our layout costs at the end, its transposition, is counted."""
    for heads, d, t in ((4, 64, 1024), (4, 64, 4096), (4, 128, 1024), (4, 128, 4096)):
        for channels in (1, d):
            q, k, v = (noise(heads, t, d, scale=s) for s in (d**-0.5, 1.0, 0.5))
            g, s = -np.abs(noise(heads, t, channels, scale=0.1)), noise(heads, d, d)
            feeds = {"q": q, "k": k, "v": v, "g": g, "s": s, "ps": s[None]}
            feeds |= {f"p{n}": np.ascontiguousarray(feeds[n].transpose(1, 0, 2)).reshape(1, t, -1) for n in "qkvg"}
            arrays = {"one": const(1), "two": const(2), "zero": const(0), "size": const(64), "axis": np.array(1), "minus": np.array(-1)}
            arrays |= {"zeros": np.zeros(64, np.float32), "count": np.array(t // 64), "going": np.array(True), "flat": const(0, -1, d)}
            arrays |= {"packed": const(1, t, heads * d), "apart": const(1, t, heads, d), "gates": const(1, t, heads, channels)}
            inputs = ", ".join(f"float[{','.join(map(str, a.shape))}] {n}" for n, a in feeds.items())
            forms = {}
            for name, text in GATED.items():
                for size, value in (("HEADS", heads), ("[H,", f"[{heads},"), ("D]", f"{d}]"), ("D,D", f"{d},{d}"), ("G]", f"{channels}]")):
                    text = text.replace(size, str(value).replace("D", str(d)))
                text += "" if name in ROWS else " x = Transpose<perm=[1,0,2]>(o) y = Reshape(x, packed)"
                if channels == 1 or "chunks" not in name:
                    forms[name] = model(inputs, f"float[1,T,{heads * d}]", text, arrays)
            yield f"{heads} heads of {d}x{d}, T={t}, decay of {'heads' if channels == 1 else 'channels'}", forms, feeds


@case
def causal_conv1d() -> Iterator[tuple[str, Forms, Mapping[str, Array]]]:
    for c, t in ((1536, 1), (1536, 32), (1536, 1024)):
        arrays = {"w": noise(c, 1, 4), "b": noise(c)}
        texts = {
            "Concat, Conv": f"f = Concat<axis=2>(s, x) y = Conv<group={c}>(f, w, b)",
            "CausalConvWithState": "y, z = com.microsoft.CausalConvWithState(x, w, b, s)",
        }
        type_ = f"float[1,{c},T]"
        forms = {k: model(f"{type_} x, float[1,{c},3] s", type_, text, arrays) for k, text in texts.items()}
        yield f"[1, {c}, {t}], kernel 4", forms, {"x": noise(1, c, t), "s": noise(1, c, 3)}


@case
def linear() -> Iterator[tuple[str, Forms, Mapping[str, Array]]]:
    for rows, a, b in ((1, 512, 1000), (8, 512, 1000), (256, 384, 384)):
        arrays = {"w": noise(b, a, scale=a**-0.5), "b": noise(b)}
        arrays["wt"] = np.ascontiguousarray(arrays["w"].T)
        texts = {"Gemm, transB": "y = Gemm<transB=1>(x, w, b)", "MatMul, Add": "m = MatMul(x, wt) y = Add(m, b)"}
        forms = {k: model(f"float[N,{a}] x", f"float[N,{b}]", v, arrays) for k, v in texts.items()}
        yield f"[{rows}, {a}] to {b}", forms, {"x": noise(rows, a)}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("case", nargs="*", choices=[[], *CASES], help="all, unless named")
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--rounds", type=int, default=30)
    options = arguments.parse_args()
    for name in options.case or CASES:
        for label, forms, feeds in CASES[name]():
            print(f"\n| {f'{name}: {label}':34} | median ms | lowest ms |  ratio |\n|{'-' * 36}|----------:|----------:|-------:|")
            race(forms, feeds, options.threads, options.rounds)


if __name__ == "__main__":
    main()
