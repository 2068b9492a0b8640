"""The Python face: what `import lamina` gives."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

import lamina
from lamina.compiler.missing import MissingDependency
from lamina.runtime import BundleError
from lamina.schema.diagnostics import SpecError

ZOO = Path(lamina.__file__).parent / "specs"


def test_the_module_and_the_bundle_hold_the_same_weights(tmp_path: Path) -> None:
    spec = lamina.load(ZOO / "vision" / "mixer.yaml", variant="s16", depth=2)
    image = np.random.default_rng(0).standard_normal((2, 3, 224, 224)).astype(np.float32)
    module = lamina.to_torch(spec, seed=7).eval()
    with torch.no_grad():
        expected = module(torch.from_numpy(image)).numpy()
    with lamina.Session(lamina.compile(spec, tmp_path / "bundle", seed=7)) as session:
        found = session(image=image)["logits"]
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_a_module_without_weights_is_on_the_meta_device() -> None:
    module = lamina.to_torch(lamina.load(ZOO / "vision" / "resnet.yaml"), weights="none")
    assert {p.device.type for p in module.parameters()} == {"meta"}


def test_without_torch_the_machine_lacks_something(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else found(name, *rest))
    with pytest.raises(MissingDependency, match=r"pip install lamina\[torch\]"):
        lamina.to_torch(lamina.load(ZOO / "vision" / "resnet.yaml"))


def test_config_values_are_overridden_by_name() -> None:
    assert lamina.check(ZOO / "vision" / "vit.yaml", variant="base", depth=1) == ()
    (diagnostic,) = lamina.check(ZOO / "vision" / "vit.yaml", dept=1)
    assert (diagnostic.code, diagnostic.hint) == ("unknown-config", "did you mean `depth`?")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'sesion'"):
        lamina.sesion  # noqa: B018


def test_a_bundle_without_weights_is_compiled_and_not_run(tmp_path: Path) -> None:
    spec = lamina.load(ZOO / "vision" / "resnet.yaml")
    bundle = lamina.compile(spec, tmp_path / "bundle", weights="none")
    assert not (bundle / "weights.bin").exists()
    with pytest.raises(BundleError, match="compiled without weights"):
        lamina.Session(bundle)
    with pytest.raises(SpecError, match="the target `torch` holds the weights, and there are none"):
        lamina.compile(spec, tmp_path / "other", targets=["torch"], weights="none")
    assert not (tmp_path / "other").exists()
