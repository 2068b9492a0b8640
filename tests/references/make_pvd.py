"""PVD's four fields by the authors' code (github.com/megvii-research/AAAI2023-PVD, commit e5d0ab1). Needs numpy, torch and g++.

python tests/references/make_pvd.py --source AAAI2023-PVD

Their hash grid and spherical harmonics are CUDA kernels: here the kernels themselves are compiled for the CPU, one thread after the other.
"""

from __future__ import annotations

import argparse
import ctypes
import subprocess
import sys
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import torch
from fill import Draw, Scale
from making import write

NAME = "PVD e5d0ab1"
SHIM = """
#include <cmath>
#include <cstdint>
#define __global__
#define __device__
#define __host__
#define __restrict__
struct dim { uint32_t x, y; };
static dim blockIdx, threadIdx, blockDim{1, 1};
"""
LAUNCH = """
extern "C" void grid_(const float* x, const float* rows, const int* offsets, float* y, uint32_t B, uint32_t L, float S, uint32_t H) {
    for (blockIdx.y = 0; blockIdx.y < L; blockIdx.y++)
        for (blockIdx.x = 0; blockIdx.x < B; blockIdx.x++)
            kernel_grid<float, 3, 2>(x, rows, offsets, y, B, L, S, H, false, nullptr, 0, false);
}
extern "C" void harmonics_(const float* x, float* y, uint32_t B, uint32_t degree) {
    for (blockIdx.x = 0; blockIdx.x < B; blockIdx.x++) kernel_sh<float>(x, y, B, 3, degree, false, nullptr);
}
"""
SCALES = [Scale("encoder.embeddings", 0, 1), Scale("*_mat.?", 0, 1), Scale("*_vec.?", 0, 1), Scale("tensor_volume.?", 0, 1)]
TRAINING = ("raymarching", "trimesh", "lpips", "mcubes", "tensorboardX", "cv2", "torch_ema")


def kernels(source: Path) -> Any:
    """The two CUDA files up to the end of their forward kernels, as C++."""
    grid = (source / "gridencoder/src/gridencoder.cu").read_text()
    harmonics = (source / "shencoder/src/shencoder.cu").read_text()
    forward = grid[grid.index("template <uint32_t D>") : grid.rindex("template", 0, grid.index("kernel_grid_backward"))]
    spherical = harmonics[
        harmonics.index("template <typename scalar_t>") : harmonics.rindex("template", 0, harmonics.index("kernel_sh_backward"))
    ]
    with TemporaryDirectory() as folder:
        (Path(folder) / "kernels.cpp").write_text(SHIM + forward + spherical + LAUNCH)
        command = ["g++", "-O1", "-shared", "-fPIC", "-ffp-contract=off", "-o", f"{folder}/kernels.so", f"{folder}/kernels.cpp"]
        subprocess.run(command, check=True)
        return ctypes.CDLL(f"{folder}/kernels.so")


def between(path: Path, first: str, kernel: str) -> str:
    """The text of a file from `first` to the template that is that kernel."""
    text = path.read_text()
    return text[text.index(first) : text.rindex("template", 0, text.index(kernel))]


def pointer(x: torch.Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(x.data_ptr())


def load(source: Path) -> Any:
    """`network.py`, with the kernels on the CPU and without what only training needs."""
    library = kernels(source)
    library.grid_.argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_uint32] * 2 + [ctypes.c_float, ctypes.c_uint32]

    def grid(
        x: Any, rows: Any, offsets: Any, y: Any, count: int, d: int, c: int, levels: int, growth: float, coarsest: int, *rest: Any
    ) -> None:
        library.grid_(pointer(x), pointer(rows), pointer(offsets), pointer(y), count, levels, float(growth), coarsest)

    def harmonics(x: Any, y: Any, count: int, d: int, degree: int, *rest: Any) -> None:
        library.harmonics_(pointer(x), pointer(y), count, degree)

    for name, functions in {"_gridencoder": {"grid_encode_forward": grid}, "_shencoder": {"sh_encode_forward": harmonics}}.items():
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__dict__.update(functions)
    for name in TRAINING:
        sys.modules[name] = ModuleType(name)
    sys.modules["just_train_tea.utils"] = ModuleType("just_train_tea.utils")
    sys.modules["just_train_tea.utils"].__dict__["custom_meshgrid"] = None
    torch.nn.Module.cuda = lambda self: self  # type: ignore[assignment, method-assign]
    sys.path.insert(0, str(source))
    from just_train_tea import network

    return network


def arguments(**changes: Any) -> Namespace:
    """The defaults of their command line."""
    numbers = {"PE": 10, "skip": 3, "nerf_layer_num": 8, "nerf_layer_wide": 256, "resolution0": 300, "plenoxel_degree": 3}
    band = {"sigma_clip_min": -2.0, "sigma_clip_max": 7.0, "plenoxel_res": "[128,128,128]"}
    return Namespace(**{**numbers, **band, **changes})


def run(model: Any, v: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    density, color = model(v["point"], v["direction"])
    return {"density": density, "color": color}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True, type=Path)
    network = load(parser.parse_args().source)
    points = [{"point": Draw((count, 3), low=-1.1, high=1.1), "direction": Draw((count, 3))} for count in (1, 300)]

    def case(kind: str, model: Any, **options: Any) -> None:
        name = kind + "_small" * ("small" in options)
        # The kernel of the hash grid gives no gradients; the tables are large enough to matter.
        given = {"own": ["aabb_*", "encoder.offsets"], "inert": ["encoder.embeddings"], "scales": SCALES}
        write("field/pvd", name, model, points, run, reference=NAME, variant=kind, **given, **options)

    for kind in ("hash", "mlp", "vm", "tensors"):
        # The kernel has a level's scale from exp2f: on the finest of 14 grids a point is up to 6e-4 of a cell off.
        tolerance = {"tolerance": 3e-4} if kind == "hash" else {}
        case(kind, network.NeRFNetwork(model_type=kind, args=arguments()), sweep=True, **tolerance)
    encoder = network.get_encoder

    def little(encoding: str, **options: Any) -> Any:
        table = {"num_levels": 3, "base_resolution": 4, "desired_resolution": 32, "log2_hashmap_size": 9}
        return encoder(encoding, **{**options, **(table if encoding == "hashgrid" else {})})

    network.get_encoder = little
    args = arguments(nerf_layer_num=6, nerf_layer_wide=8, resolution0=5, plenoxel_res="[4,4,4]")
    for kind in ("hash", "mlp", "vm", "tensors"):
        ranks = {"config": {"density_rank": 16, "colour_rank": 48}} if kind == "vm" else {}
        case(kind, network.NeRFNetwork(model_type=kind, args=args, hidden_dim=8), small=True, **ranks)


if __name__ == "__main__":
    main()
