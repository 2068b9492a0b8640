"""TensorRT and TensorRT-RTX: an ONNX file becomes a serialized engine, in a process of its own.

One implementation serves both libraries: they have the same API. Neither is ever imported here. The library is native code that
logs to stdout, may crash and may take minutes, so `worker.py` alone imports it, in a subprocess that is watched and timed.
"""

from lamina.compiler.targets.tensorrt.build import Engine, build
from lamina.compiler.targets.tensorrt.check import check_support
from lamina.compiler.targets.tensorrt.library import Library, find
from lamina.compiler.targets.tensorrt.process import EngineError

__all__ = ["Engine", "EngineError", "Library", "build", "check_support", "find"]
