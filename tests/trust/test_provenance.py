"""Every node, weight, layer and profile row leads back to a line, and to the right one: a cross-section of what `provenance.py` counts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import provenance
import pytest
from zoo import Case, files, small_case

import lamina
from lamina.compiler.protos import all_graphs
from lamina.runtime import BundleError

# A decoder with experts and caches, kernels of our own, a Scan with convolutions, a Loop, convolutions with norms, and a plain encoder.
CASES = {path.stem: path for path in files() if path.stem in ("mixtral", "gla", "lrcn", "hopfield", "resnet", "minilm")}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return small_case(CASES[request.param])


@pytest.fixture(scope="module")
def bundle(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lamina.compile(case.spec(), tmp_path_factory.mktemp("provenance") / "bundle")


def sound(found: Counter[str]) -> bool:
    return found["all"] == found["placed"] == found["right"] > 0


@pytest.mark.parametrize("target", provenance.FILES)
def test_nodes(case: Case, bundle: Path, target: str) -> None:
    assert sound(provenance.nodes_of(case, bundle, target))


def test_parameters(case: Case) -> None:
    assert sound(provenance.parameters_of(case))


def test_rows(case: Case, bundle: Path) -> None:
    assert sound(provenance.rows_of(case, bundle))


def test_the_cross_section_has_bodies_functions_and_added_rows(tmp_path: Path) -> None:
    def proto(name: str) -> onnx.ModelProto:
        bundle = lamina.compile(small_case(CASES[name]).spec(), tmp_path / name)
        return onnx.load(bundle / provenance.FILES["onnxruntime"], load_external_data=False)

    assert len([*all_graphs(proto("lrcn").graph)]) > 1
    assert len([*all_graphs(proto("hopfield").graph)]) > 1
    assert proto("gla").functions
    resnet = small_case(CASES["resnet"])
    assert provenance.rows_of(resnet, lamina.compile(resnet.spec(), tmp_path / "resnet"))["added"]


def test_archives(tmp_path: Path) -> None:
    assert sound(provenance.archive_of(small_case(CASES["minilm"]), tmp_path / "bundle"))


@pytest.mark.parametrize("name", ["minilm", "lrcn"])
def test_layers_of_engines(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path / "cache"))
    assert sound(provenance.layers_of(small_case(CASES[name]), tmp_path / "bundle"))


def test_a_wrong_line_is_seen() -> None:
    sources = provenance.Sources(small_case(CASES["minilm"]))
    (number,) = [n for n, text in enumerate(sources.texts["minilm.yaml"], 1) if "l2_normalize" in text]
    assert sources.has_op(f"minilm.yaml:{number}:5", "l2_normalize", 12)
    assert not sources.has_op(f"minilm.yaml:{number - 1}:5", "l2_normalize", 12)
    assert not sources.has_op(f"minilm.yaml:{number}:5", "sum", 12)
    act, *_ = [n for n, text in enumerate(sources.texts["blocks/ffn.yaml"], 1) if text == "      - act"]
    assert sources.has_op(f"blocks/ffn.yaml:{act}:9", "gelu", 3)
    assert not sources.has_op(f"blocks/ffn.yaml:{act}:9", "layer_norm", 3)


def test_a_bundle_without_a_table(bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"ONNX nodes say their `lamina.source` themselves"):
        lamina.origins(bundle, "onnx")
