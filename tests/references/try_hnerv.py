"""The video that HNeRV's authors publish (checkpoints/quant_vid.pth) by our spec and by their decoder, and against its frames.

Needs this project, pillow, and python tests/references/try_hnerv.py --source PATH (a checkout of github.com/haochen-rye/HNeRV).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from make_hnerv import load, model
from PIL import Image
from safetensors.numpy import save_file
from test_hnerv import SPEC

import lamina

FRAMES = (0, 40, 80, 131)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True)
    source = parser.parse_args().source
    modules = load(source)
    from efficient_nvloader import dequant_tensor

    stored = torch.load(source / "checkpoints/quant_vid.pth", map_location="cpu", weights_only=True)
    weights = {k: dequant_tensor(v) for k, v in stored["model"].items()}
    strides = (5, 4, 4, 2, 2)
    decoder = modules.HNeRVDecoder(model(modules, strides, strides, "64_16", len(weights["decoder.0.conv.downconv.bias"]), 12)).eval()
    decoder.load_state_dict(weights)
    with TemporaryDirectory() as folder:
        save_file({k: np.ascontiguousarray(v.numpy()) for k, v in weights.items()}, f"{folder}/weights.safetensors")
        spec = lamina.load(SPEC, "bunny_1500k_stored")
        session = lamina.Session(lamina.compile(spec, f"{folder}/bundle", weights=f"{folder}/weights.safetensors"))
        codes = {name: stored["embed"][key].numpy() for name, key in {"bytes": "quant", "low": "min", "step": "scale"}.items()}
        codes |= {name: codes[name].astype(np.float32) for name in ("low", "step")}
        embedding = dequant_tensor(stored["embed"])
        for i in FRAMES:
            got = session(**{**codes, "bytes": codes["bytes"][i : i + 1]})["decoded"]
            with torch.no_grad():
                want = decoder(embedding[i : i + 1]).numpy()
            error = np.abs(got - want).max() / np.abs(want).max()
            frame = Image.open(source / f"data/bunny/{i + 1:04}.png").convert("RGB")
            left, top = (frame.width - 1280) // 2, (frame.height - 640) // 2
            pixels = np.asarray(frame.crop((left, top, left + 1280, top + 640)), np.float32).transpose(2, 0, 1) / 255
            noise = -10 * np.log10(np.square(got[0] - pixels).mean())
            print(f"frame {i}: {error:.1g} from the authors' decoder, {noise:.2f} dB from the video")
            assert error < 1e-5


if __name__ == "__main__":
    main()
