"""Code of authors who wrote it for an older timm, imported from the checkout that `--source` names."""

from __future__ import annotations

import importlib
import sys
import warnings
from argparse import ArgumentParser
from typing import Any

import timm.layers
import timm.models


def imported(module: str, about: str | None) -> Any:
    """The authors' module, by its name from the root of their checkout; `about` is the script's docstring."""
    parser = ArgumentParser(description=about)
    parser.add_argument("--source", required=True)
    sys.path.insert(0, parser.parse_args().source)
    sys.modules.setdefault("timm.models.layers", timm.layers)
    sys.modules.setdefault("timm.models.layers.helpers", timm.layers.helpers)
    sys.modules.setdefault("timm.models.helpers", timm.models)
    warnings.simplefilter("ignore")  # of names that moved, and of models that timm has too
    return importlib.import_module(module)
