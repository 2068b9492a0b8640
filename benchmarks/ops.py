"""What spectra, loops, recurrences and sums over segments cost in ONNX Runtime: our form against the naive one and against PyTorch.

    python -m benchmarks.ops [--threads 2] [--rounds 20]

All three run in turn, round after round, so that a busy moment hits all; a ratio is the median over rounds of the other's time
against ours in the same round. Outputs must agree to 1e-3 of their largest magnitude.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import lamina
from benchmarks.op_forms import model, session

Array = np.ndarray[Any, Any]
Run = Callable[[], Array]


@dataclass(frozen=True)
class Case:
    """One computation three times: as steps of ours; as others write it, in our steps or ONNX's text; as a PyTorch function."""

    name: str
    inputs: Mapping[str, Array]
    ours: str
    naive: str
    torch: Callable[..., torch.Tensor]
    rank: int = 0  # of the output, where `naive` is ONNX's text


def noise(*shape: int) -> Array:
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


def spectra() -> Iterator[Case]:
    """The power of each frequency."""
    for shape in ((1, 64, 56, 56), (1, 64, 64, 64), (8, 16, 128, 128), (1, 4, 512, 512)):
        naive = """minus = Constant<value_int=-1>() w = Constant<value_int=-2>() h = Constant<value_int=-3>()
            last = Constant<value_ints=[-1]>() u = Unsqueeze(x, minus) a = DFT<onesided=1>(u, , w) b = DFT(a, , h)
            c = Mul(b, b) y = ReduceSum<keepdims=0>(c, last)"""
        ours = "- re, im = rfft2(x)\n- re * re + im * im"
        yield Case(f"rfft2 {list(shape)}", {"x": noise(*shape)}, ours, naive, lambda x: torch.fft.rfft2(x).abs().square(), len(shape))
    for shape in ((8, 64, 512), (2, 16, 4096)):
        naive = """minus = Constant<value_int=-1>() w = Constant<value_int=-2>() last = Constant<value_ints=[-1]>()
            u = Unsqueeze(x, minus) a = DFT<onesided=1>(u, , w) c = Mul(a, a) y = ReduceSum<keepdims=0>(c, last)"""
        ours = "- re, im = rfft(x)\n- re * re + im * im"
        yield Case(f"rfft {list(shape)}", {"x": noise(*shape)}, ours, naive, lambda x: torch.fft.rfft(x).abs().square(), len(shape))


def truncated() -> Iterator[Case]:
    """The lowest 12 frequencies of each dim and back, as neural operators use them."""
    shape = (1, 64, 56, 56)

    def low(x: torch.Tensor) -> torch.Tensor:
        spectrum = torch.fft.rfft2(x)
        kept = torch.zeros_like(spectrum)
        kept[..., :12, :12], kept[..., -12:, :12] = spectrum[..., :12, :12], spectrum[..., -12:, :12]
        return torch.fft.irfft2(kept, s=x.shape[-2:])

    ours = "- re, im = rfft2(x, modes=[12, 12])\n- irfft2(re, im, [56, 56])"
    naive = """- re, im = rfft2(x)
- low = concat([ones([12, 29]), zeros([32, 29]), ones([12, 29])], dim=0) * concat([ones([1, 12]), zeros([1, 17])], dim=1)
- irfft2(re * low, im * low, [56, 56])"""
    yield Case(f"12 modes of {list(shape)}", {"x": noise(*shape)}, ours, naive, low)


def loops() -> Iterator[Case]:
    """A recurrence of 256 steps, and a fixed point of 20."""
    scan = '- scan: {over: 1, values: {x_t: x}, carry: {h: "zeros([8, 64])"}, do: ["h = tanh(h @ w + x_t)"], collect: {y: h}}\n- y'
    unrolled = """- h = zeros([8, 64])
- hs = []
- for: t in range(256)
  do: ["h = tanh(h @ w + x[:, t])", "hs = hs + [h]"]
- stack(hs, dim=1)"""

    def recur(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        h, found = x.new_zeros(8, 64), []
        for t in range(256):
            h = torch.tanh(h @ w + x[:, t])
            found.append(h)
        return torch.stack(found, 1)

    inputs = {"x": noise(8, 256, 64), "w": noise(64, 64) / 16}
    yield Case("scan of 256 steps [8, 64]", inputs, scan, unrolled, recur)
    loop = '- iterate: {carry: {z: x}, do: ["z = tanh(z @ w + x)"], until: null, at_most: 20}\n- z'
    passes = "- z = x\n- repeat: 20\n  do: ['z = tanh(z @ w + x)']\n- z"

    def settle(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        z = x
        for _ in range(20):
            z = torch.tanh(z @ w + x)
        return z

    yield Case("iterate of 20 passes [256, 64]", {"x": noise(256, 64), "w": noise(64, 64) / 16}, loop, passes, settle)


def segments() -> Iterator[Case]:
    """Messages along 20,000 edges to 2,000 nodes."""
    index = np.random.default_rng(0).integers(0, 2000, 20000)
    elements = """rows = Constant<value_ints=[2000, 64]>() wide = Constant<value_ints=[20000, 64]>() one = Constant<value_ints=[1]>()
        zero = ConstantOfShape(rows) column = Unsqueeze(index, one) full = Expand(column, wide)
        y = ScatterElements<axis=0, reduction="add">(zero, full, x)"""

    def add(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        return torch.zeros(2000, 64).index_add(0, index, x)

    inputs = {"x": noise(20000, 64), "index": index}
    yield Case("segment_sum, 20000 of [64] to 2000", inputs, "- segment_sum(x, index, count=2000)", elements, add, 2)


def recurrences() -> Iterator[Case]:
    """States that linear steps carry: the naive form is a plain Scan, PyTorch's a loop."""
    for steps in (1024, 4096):
        heads = """s = Constant<value_float=0.0>() shape = Constant<value_ints=[4, 64, 64]>() start = Expand(s, shape)
            zero = Constant<value_ints=[0]>() one = Constant<value_ints=[1]>() c = Constant<value_float=0.125>() a = Squeeze(q, zero)
            b = Squeeze(k, zero) d = Squeeze(v, zero) e = Squeeze(g, zero)
            z, o = Scan<num_scan_inputs=4, scan_input_axes=[1,1,1,1], scan_output_axes=[1], body = step
            (float[4,64,64] h, float[4,64] qt, float[4,64] kt, float[4,64] vt, float[4,64] gt) => (float[4,64,64] n, float[4,64] yt) {
            two = Constant<value_ints=[2]>() first = Constant<value_ints=[1]>() x = Exp(gt) f = Unsqueeze(x, two) r = Mul(h, f)
            i = Unsqueeze(kt, two) j = Unsqueeze(vt, first) m = Mul(i, j) n = Add(r, m) w = Unsqueeze(qt, first) u = MatMul(w, n)
            yt = Squeeze(u, first) }>(start, a, b, d, e) l = Mul(o, c) y = Unsqueeze(l, zero)"""
        shape = (1, 4, steps, 64)
        inputs = {name: noise(*shape) for name in "qkv"} | {"g": -abs(noise(*shape)) / 16}
        yield Case(f"linear_attention {list(shape)}", inputs, "- y, last = linear_attention(q, k, v, decay=g)\n- y", heads, attend, 4)
    plain = """s = Constant<value_float=0.0>() shape = Constant<value_ints=[512, 16]>() start = Expand(s, shape)
        zero = Constant<value_ints=[0]>() p = Squeeze(u, zero) q = Squeeze(delta, zero) r = Squeeze(b, zero) t = Squeeze(c, zero)
        z, o = Scan<num_scan_inputs=4, body = step
        (float[512,16] h, float[512] ut, float[512] dt, float[16] bt, float[16] ct) => (float[512,16] n, float[512] yt) {
        one = Constant<value_ints=[1]>() e = Unsqueeze(dt, one) f = Mul(e, a) k = Exp(f) m = Mul(k, h) i = Mul(dt, ut) j = Unsqueeze(i, one)
        l = Mul(j, bt) n = Add(m, l) yt = MatMul(n, ct) }>(start, p, q, r, t) y = Unsqueeze(o, zero)"""
    inputs = {"u": noise(1, 1024, 512), "delta": abs(noise(1, 1024, 512)) / 10, "a": -abs(noise(512, 16))}
    inputs |= {"b": noise(1, 1024, 16), "c": noise(1, 16, 1024).transpose(0, 2, 1).copy()}
    yield Case("selective_scan [1, 1024, 512], 16", inputs, "- y, last = selective_scan(u, delta, a, b, c)\n- y", plain, select, 3)
    for width in (256, 1024):
        inputs = {"a": 1 / (1 + np.exp(-noise(1, 1024, width))), "b": noise(1, 1024, width) + 1}
        carry = f'{{h: "zeros([1, {width}])"}}'
        scan = f'- scan: {{over: 1, values: {{r: a, i: b}}, carry: {carry}, do: ["h = r * h + i"], collect: {{y: h}}}}\n- y'
        yield Case(f"linear_recurrence [1, 1024, {width}]", inputs, "- h, last = linear_recurrence(a, b)\n- h", scan, recurrence)


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    state, found, q, g = q.new_zeros(1, 4, 64, 64), [], q / 8, g.exp()
    for t in range(q.shape[2]):
        state = state * g[:, :, t, :, None] + k[:, :, t, :, None] * v[:, :, t, None]
        found.append(q[:, :, t, None] @ state)
    return torch.cat(found, 2)


def select(u: torch.Tensor, delta: torch.Tensor, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    state, found, kept = u.new_zeros(1, 512, 16), [], torch.exp(delta[..., None] * a)
    added = (delta * u)[..., None] * b[:, :, None]
    for t in range(u.shape[1]):
        state = state * kept[:, t] + added[:, t]
        found.append(state @ c[0, t])
    return torch.stack(found, 1)


def recurrence(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    state, found = torch.zeros_like(a[:, 0]), []
    for t in range(a.shape[1]):
        state = torch.addcmul(b[:, t], a[:, t], state)
        found.append(state)
    return torch.stack(found, 1)


def row(case: Case, threads: int, rounds: int) -> str:
    """Race the three and give a line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        runs = [_in_onnx_runtime(case, case.ours, Path(folder) / "ours", threads)]
        runs.append(_in_text(case, threads) if case.rank else _in_onnx_runtime(case, case.naive, Path(folder) / "naive", threads))
        runs.append(_in_torch(case))
        want = runs[0]()
        for run in runs[1:]:
            np.testing.assert_allclose(run(), want, atol=1e-3 * float(np.abs(want).max()))
        times = [[_timed(run) for run in runs] for _ in range(rounds)]
    ours = statistics.median(round_[0] for round_ in times) * 1e3
    ratios = [statistics.median(round_[i] / round_[0] for round_ in times) for i in (1, 2)]
    return f"| {case.name} | {ours:.2f} | {ratios[0]:.2f} | {ratios[1]:.2f} |"


def _timed(run: Run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _in_onnx_runtime(case: Case, steps: str, folder: Path, threads: int) -> Run:
    """The steps, compiled for ONNX Runtime."""
    declared = ", ".join(f'{name}: "{array.dtype}[{", ".join(map(str, array.shape))}]"' for name, array in case.inputs.items())
    body = steps.replace("\n", "\n  ")
    folder.mkdir()
    path = folder / "spec.yaml"
    with torch.no_grad():
        shape = ", ".join(map(str, _in_torch(case)().shape))
    path.write_text(f'lamina: 1\nmodel: op\ninputs: {{{declared}}}\nbody:\n  {body}\noutputs: {{out: "float32[{shape}]"}}\n')
    bundle = lamina.Session(lamina.compile(lamina.load(path), folder / "bundle", targets=["onnxruntime"]), threads=threads)
    return lambda: bundle(**case.inputs)["out"]


def _in_text(case: Case, threads: int) -> Run:
    """ONNX's text, in ONNX Runtime."""
    names = {"float32": "float", "int64": "int64"}
    inputs = ", ".join(f"{names[str(a.dtype)]}[{','.join(map(str, a.shape))}] {name}" for name, a in case.inputs.items())
    opened = session(model(inputs, f"float[{','.join('ABCD'[: case.rank])}]", case.naive, {}), threads)
    return lambda: opened.run(None, dict(case.inputs))[0]


def _in_torch(case: Case) -> Run:
    tensors = {name: torch.from_numpy(array) for name, array in case.inputs.items()}

    def run() -> Array:
        with torch.inference_mode():
            return case.torch(**tensors).numpy()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print("| computation | ours, ms | naive / ours | PyTorch / ours |\n|---|---|---|---|")
    for cases in (spectra, truncated, loops, segments, recurrences):
        for case in cases():
            print(row(case, options.threads, options.rounds), flush=True)


if __name__ == "__main__":
    main()
