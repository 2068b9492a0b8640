"""A bundle's own spec, with every override written into its config, is the model that was compiled."""

from __future__ import annotations

from pathlib import Path

import pytest
from zoo import SPECS as ZOO
from zoo import Case, files, small_cases

from lamina.compiler.body import Body
from lamina.compiler.elaborate import elaborate
from lamina.compiler.graph import Graph
from lamina.compiler.load import load_spec
from lamina.compiler.op import Op
from lamina.compiler.resolved import resolved_files
from lamina.schema.spec import ModelSpec

SPEC = """
lamina: 1
model: net
config:
  part: "'whole' | 'encoder' = 'whole'"
  padding: "str = 'same'"
  kind: "dtype = 'float32'"
  width: "int = 4 * 2"
  mixer: "block = gelu"
  mixers: "list[block] = [gelu, relu]"
  sizes: [3, 5, 1]
inputs: {x: "float32[N, 8, 16]"}
dims: {N: {min: 1, max: 64}}
body:
  - mixer
  - for: i in range(len(mixers))
    do: ["x = mixers[i](x)", {conv: {out: width, kernel: "sizes[i]", padding: padding}}]
  - if: part == 'encoder'
    then: [linear: 4]
  - cast: kind
outputs: {y: "float32[N, 8, 16]"}
"""


def described(spec: ModelSpec) -> list[object]:
    return steps(elaborate(spec).graph)


def steps(graph: Graph) -> list[object]:
    """Each step's op, arguments, path and types; where an argument is a block, its steps."""
    return [
        (type(n.op), arguments(n.op), n.origin.path, [str(v.type) for v in (*n.inputs, *n.outputs) if v is not None]) for n in graph.nodes
    ]


def arguments(op: Op | None) -> dict[str, object]:
    return {name: steps(value.graph) if isinstance(value, Body) else value for name, value in op or ()}


@pytest.mark.parametrize(
    ("name", "value", "output"),
    [
        ("part", "encoder", "float32[N, 8, 4]"),
        ("padding", "valid", "float32[N, 8, 10]"),
        ("kind", "float16", "float16[N, 8, 16]"),
        ("width", "6", "float32[N, 6, 16]"),
        ("width", "2 + 3", "float32[N, 5, 16]"),
        ("mixer", "relu", "float32[N, 8, 16]"),
        ("mixer", "conv(8, 1)", "float32[N, 8, 16]"),
        ("mixer", "[gelu, {conv: {out: 8, kernel: 1}}]", "float32[N, 8, 16]"),
        ("mixer", "{conv: {out: 8, kernel: 1}}", "float32[N, 8, 16]"),
        ("mixers", '[relu, [gelu, relu], "conv(8, 1)"]', "float32[N, 8, 16]"),
        ("sizes", "[1, 3]", "float32[N, 8, 16]"),
    ],
)
def test_an_override_is_the_config_s_new_default(name: str, value: str, output: str, tmp_path: Path) -> None:
    file = tmp_path / "net.yaml"
    file.write_text(SPEC.replace('{y: "float32[N, 8, 16]"}', f'{{y: "{output}"}}'))
    spec = load_spec(file, overrides={name: value})
    for inner, text in resolved_files(spec).items():
        (tmp_path / inner).write_text(text)
    assert described(load_spec(tmp_path / "spec.yaml")) == described(spec)


def resolved(case: Case, folder: Path) -> list[object]:
    """The model that a case's resolved files give."""
    for name, text in resolved_files(case.spec()).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return described(load_spec(folder / "spec.yaml"))


@pytest.mark.parametrize("name", ["operator/mgno", "operator/lsm", "series/patchtsmixer", "field/cam"])
def test_what_only_another_variant_uses_is_left_out(name: str, tmp_path: Path) -> None:
    for number, case in enumerate(small_cases(ZOO / f"{name}.yaml")):
        assert resolved(case, tmp_path / str(number)) == described(case.spec())


@pytest.mark.sweep
@pytest.mark.parametrize("path", list(files()), ids=lambda path: path.stem)
def test_every_spec_of_the_zoo_resolves(path: Path, tmp_path: Path) -> None:
    for number, case in enumerate(small_cases(path)):
        assert resolved(case, tmp_path / str(number)) == described(case.spec())
