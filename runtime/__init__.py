"""Run a bundle: named numpy arrays in, named numpy arrays out. Imports neither torch nor the compiler."""

from lamina.runtime.errors import BackendMissing, BundleError, InputError
from lamina.runtime.session import Session

__all__ = ["BackendMissing", "BundleError", "InputError", "Session"]
