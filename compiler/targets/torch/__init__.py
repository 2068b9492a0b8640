"""The PyTorch target: a decomposed graph as a trainable module, as float64 reference values, and as an exported archive."""

from lamina.compiler.targets.torch.export import save_pt2
from lamina.compiler.targets.torch.module import LaminaModule, to_module
from lamina.compiler.targets.torch.values import run_values

__all__ = ["LaminaModule", "run_values", "save_pt2", "to_module"]
