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
from collections.abc import Mapping, Sequence
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
extern "C" void grid_(const float* x, const float* rows, const int* offsets, float* y, uint32_t B, uint32_t L, double S, uint32_t H) {
    for (blockIdx.y = 0; blockIdx.y < L; blockIdx.y++)
        for (blockIdx.x = 0; blockIdx.x < B; blockIdx.x++)
            kernel_grid<float, 3, 2>(x, rows, offsets, y, B, L, S, H, false, nullptr, 0, false);
}
extern "C" void harmonics_(const float* x, float* y, uint32_t B, uint32_t degree) {
    for (blockIdx.x = 0; blockIdx.x < B; blockIdx.x++) kernel_sh<float>(x, y, B, 3, degree, false, nullptr);
}
"""
SCALES = [Scale("encoder.embeddings", 0, 1), Scale("*_mat.?", 0, 1), Scale("*_vec.?", 0, 1), Scale("tensor_volume.?", 0, 1)]
TRAINING = ("raymarching", "trimesh", "lpips", "mcubes", "tensorboardX", "cv2", "torch_ema", "IPython")


def kernels(source: Path, exact: bool) -> Any:
    """The two CUDA files up to the end of their forward kernels, as C++; if `exact`, with the growth of the grids in double."""
    grid = (source / "gridencoder/src/gridencoder.cu").read_text()
    if exact:
        assert "const float S" in grid
        assert "exp2f(" in grid
        grid = grid.replace("const float S", "const double S").replace("exp2f(", "exp2(")
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


def pointer(x: torch.Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(x.data_ptr())


def launchers(source: Path, exact: bool = False) -> dict[str, Any]:
    """What their Python calls of the two extensions."""
    library = kernels(source, exact)
    library.grid_.argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_uint32] * 2 + [ctypes.c_double, ctypes.c_uint32]

    def grid(
        x: Any, rows: Any, offsets: Any, y: Any, count: int, d: int, c: int, levels: int, growth: float, coarsest: int, *rest: Any
    ) -> None:
        library.grid_(pointer(x), pointer(rows), pointer(offsets), pointer(y), count, levels, float(growth), coarsest)

    def harmonics(x: Any, y: Any, count: int, d: int, degree: int, *rest: Any) -> None:
        library.harmonics_(pointer(x), pointer(y), count, degree)

    return {"grid_encode_forward": grid, "sh_encode_forward": harmonics}


def load(source: Path) -> tuple[Any, Any]:
    """Both of `network.py`: that which trains a field, and that which converts it. Without what only training needs."""
    for name in ("_gridencoder", "_shencoder"):
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__dict__.update(launchers(source))
    for name in TRAINING:
        sys.modules[name] = ModuleType(name)
    sys.modules["IPython"].__dict__["embed"] = None
    for name in ("just_train_tea.utils", "distill_mutual.utils"):
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__dict__["custom_meshgrid"] = None
    torch.nn.Module.cuda = lambda self: self  # type: ignore[assignment, method-assign]
    sys.path.insert(0, str(source))
    from distill_mutual import network as converting
    from just_train_tea import network

    return network, converting


def arguments(**changes: Any) -> Namespace:
    """The defaults of their command line."""
    numbers = {"PE": 10, "skip": 3, "nerf_layer_num": 8, "nerf_layer_wide": 256, "resolution0": 300, "plenoxel_degree": 3}
    band = {"sigma_clip_min": -2.0, "sigma_clip_max": 7.0, "plenoxel_res": "[128,128,128]", "enable_edit_plenoxel": False}
    return Namespace(**{**numbers, **band, **changes})


def run(model: Any, v: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    density, color = model(v["point"], v["direction"])
    return {"density": density, "color": color}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True, type=Path)
    source = parser.parse_args().source
    network, converting = load(source)
    points = [{"point": Draw((count, 3), low=-1.1, high=1.1), "direction": Draw((count, 3))} for count in (1, 300)]

    def case(kind: str, model: Any, *, suffix: str = "", reference: str = NAME, scales: Sequence[Scale] = (), **options: Any) -> None:
        name = kind + "_small" * ("small" in options) + suffix
        # The kernel of the hash grid gives no gradients; the tables are large enough to matter.
        given = {"own": ["aabb_*", "encoder.offsets"], "inert": ["encoder.embeddings"], "scales": [*scales, *SCALES]}
        write("field/pvd", name, model, points, run, reference=reference, variant=kind, **given, **options)

    for kind in ("hash", "mlp", "vm", "tensors"):
        # The kernel takes the logarithm of the growth as float32: on the finest of 14 grids a point is up to 6e-4 of a cell off.
        tolerance = {"tolerance": 3e-4} if kind == "hash" else {}
        case(kind, network.NeRFNetwork(model_type=kind, args=arguments()), sweep=True, **tolerance)
    # Low ranks whose colour features often leave the band.
    converted = {"scales": [Scale("basis_mat.weight", 0, 3)]}
    case("vm_converted", converting.NeRFNetwork(model_type="vm", args=arguments()), sweep=True, **converted)
    rounded = sys.modules["_gridencoder"].__dict__
    kept = dict(rounded)
    rounded.update(launchers(source, exact=True))
    exact = {"suffix": "_exact", "reference": f"{NAME} with the growth in double"}
    case("hash", network.NeRFNetwork(model_type="hash", args=arguments()), sweep=True, **exact)
    rounded.update(kept)
    encoder = network.get_encoder

    def little(encoding: str, **options: Any) -> Any:
        table = {"num_levels": 3, "base_resolution": 4, "desired_resolution": 32, "log2_hashmap_size": 9}
        return encoder(encoding, **{**options, **(table if encoding == "hashgrid" else {})})

    network.get_encoder = converting.get_encoder = little
    args = arguments(nerf_layer_num=6, nerf_layer_wide=8, resolution0=5, plenoxel_res="[4,4,4]")
    ranks = {"config": {"density_rank": 16, "colour_rank": 48}}
    for kind in ("hash", "mlp", "vm", "tensors"):
        case(kind, network.NeRFNetwork(model_type=kind, args=args, hidden_dim=8), small=True, **(ranks if kind == "vm" else {}))
    case("vm_converted", converting.NeRFNetwork(model_type="vm", args=args, hidden_dim=8), small=True, **ranks, **converted)


if __name__ == "__main__":
    main()
