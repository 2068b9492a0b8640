"""lamina doctor"""

from __future__ import annotations

from lamina import __version__
from lamina.cli._options import Json

_PACKAGES = ("numpy", "onnx", "onnx-ir", "onnxruntime", "safetensors", "tokenizers", "torch", "tensorrt-rtx-cu13", "gguf", "jinja2")


def command(json: Json = False) -> None:
    """Say what this machine has: versions, ONNX Runtime's providers, our kernels for it, TensorRT."""
    from lamina.runtime.native import instructions

    versions = {package: _version(package) for package in _PACKAGES}
    machine = {"providers": _providers(), "kernels": instructions(), "tensorrt": _tensorrt()}
    found = {"lamina": __version__, "python": _python(), **versions, **machine}
    if json:
        import json as encoder

        print(encoder.dumps(found, indent=1))
        return
    for name, value in found.items():
        print(f"{name:<18} {', '.join(value) if isinstance(value, list) else value or 'not installed'}")


def _python() -> str:
    import platform

    return f"{platform.python_version()} on {platform.platform()}"


def _version(package: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _providers() -> list[str]:
    try:
        import onnxruntime
    except ImportError:
        return []
    return list(onnxruntime.get_available_providers())


def _tensorrt() -> str | None:
    from lamina.compiler.missing import MissingDependency
    from lamina.compiler.targets.tensorrt import find

    try:
        return str(find())
    except MissingDependency:
        return None
