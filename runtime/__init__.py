"""Run a bundle: named numpy arrays in, named numpy arrays out. Imports neither torch nor the compiler."""

from lamina.runtime.errors import BackendMissing, BundleError, InputError
from lamina.runtime.generation.generate import Generated, generate, generate_stream
from lamina.runtime.session import Session

__all__ = ["BackendMissing", "BundleError", "Generated", "InputError", "Session", "generate", "generate_stream"]
