"""`show --profile`: what ONNX Runtime ran is told by the steps that it stands for, nothing is counted twice, and all adds up."""

from __future__ import annotations

import html.parser
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from safetensors.numpy import save_file
from test_cli import SPEC, cli  # noqa: F401  # a fixture

import lamina
from lamina.compiler.targets.onnx import OPSET
from lamina.fused import Made, fused
from lamina.profile import Profile, Row, _calls, profile
from lamina.profile_view import ProfileView, shown
from lamina.runtime import BundleError, InputError

ROUGH = 1e-9
CHAIN = """\
lamina: 1
model: chain
inputs: {image: "float32[N, 16, 8, 8]", steps: "float32[N, T, 4]"}
dims: {N: {min: 1, opt: 2, max: 8}, T: {min: 2, opt: 6, max: 64}}
blocks:
  unit:
    body:
      - conv: {out: 16, kernel: 5, padding: 2}
      - relu
body:
  - x = image
  - repeat: 3
    name: units
    do: [unit: {}]
  - {linear: 4, name: wide}
  - seen = x
  - scan:
      over: 1
      values: {s: steps}
      carry: {h: "zeros([shape(steps)[0], 4])"}
      do: ["h = tanh(linear(s, 4, name='in') + linear(h, 4, name='hidden'))"]
  - mean(seen, dims=[1, 2]) + h
outputs: {y: "float32[N, 4]"}
"""


def line_of(text: str, part: str) -> int:
    (number,) = [n for n, line in enumerate(text.splitlines(), 1) if part in line]
    return number


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("profile")


@pytest.fixture(scope="module")
def chain(folder: Path) -> ProfileView:
    (folder / "chain.yaml").write_text(CHAIN)
    spec = lamina.load(folder / "chain.yaml")
    return ProfileView("chain", profile(lamina.compile(spec, folder / "bundle"), spec, {}), spec.sources, str(spec.path))


def costs(view: ProfileView) -> Mapping[int, Any]:
    (found,) = view.lines().values()
    return found


def test_everything_adds_up(chain: ProfileView) -> None:
    found = chain.profile
    assert found.between >= 0
    assert all(row.milliseconds >= 0 for row in found.rows)
    assert math.isclose(sum(row.milliseconds for row in found.rows) + found.between, found.milliseconds)
    lines = sum(cost.milliseconds for cost in costs(chain).values())
    assert math.isclose(lines + sum(cost.milliseconds for cost in chain.of_no_line().values()), found.milliseconds)
    assert found.calls >= 8
    assert found.sizes == {"N": 2, "T": 6}


def test_repeated_blocks_are_summed_on_their_line(chain: ProfileView) -> None:
    conv = costs(chain)[line_of(CHAIN, "- conv:")]
    assert conv.calls == 3
    assert conv.bytes == 3 * 2 * 16 * 8 * 8 * 4


def test_what_was_fused_names_all_its_steps(chain: ProfileView) -> None:
    conv, relu = line_of(CHAIN, "- conv:"), line_of(CHAIN, "- relu")
    rows = [row for row in chain.steps() if row.origins[0].span.line == conv]
    assert [[origin.span.line for origin in row.origins] for row in rows] == [[conv, relu]] * 3
    assert list(costs(chain)[relu].within) == [(chain.root, conv)]
    assert costs(chain)[relu].milliseconds == 0


def test_a_loop_s_body_is_counted_as_often_as_it_runs_and_once(chain: ProfileView) -> None:
    """6 passes; the loop's own row is without what its body took, or rows would be more than the whole."""
    body, loop = costs(chain)[line_of(CHAIN, 'do: ["h')], costs(chain)[line_of(CHAIN, "- scan:")]
    tanh = next(row for row in chain.profile.rows if row.op == "Tanh")
    assert tanh.calls == 6
    assert tanh.bytes == 6 * 2 * 4 * 4
    assert body.calls >= 18
    assert loop.milliseconds > 0


def test_what_the_runtime_adds_stands_apart(chain: ProfileView) -> None:
    added = {row.op for row in chain.profile.rows if row.added}
    assert added == {"ReorderInput", "ReorderOutput"}
    assert {f"{op}, which ONNX Runtime added" for op in added} < chain.of_no_line().keys()


def test_steps_by_their_paths(chain: ProfileView) -> None:
    found = chain.paths(2)
    assert [found[f"units.{i}"].calls for i in range(3)] == [1, 1, 1]
    table = ProfileView(chain.title, chain.profile, chain.sources, chain.root, depth=2).render("table").splitlines()
    assert [line.split()[-1] for line in table if "units" in line] == ["units.0", "units.1", "units.2"]


def test_the_table_is_the_spec_with_a_margin(chain: ProfileView) -> None:
    first, _, head, *lines = chain.render("table").splitlines()
    assert first.startswith("chain at N=2, T=6, onnxruntime on the CPU: ")
    assert head.split() == ["time", "share", "calls", "memory", "chain.yaml"]
    source = dict(enumerate(CHAIN.splitlines(), 1))
    listed = [line[len(head) - len("chain.yaml") :] for line in lines[: lines.index("")]]
    numbers = [int(text[:4]) for text in listed if "⋮" not in text]
    assert [text[5:] for text in listed if "⋮" not in text] == [source[n] for n in numbers]
    assert {*costs(chain)} <= {*numbers}
    relu = line_of(CHAIN, "- relu")
    assert next(line for line in lines if "- relu" in line).split()[:4] == ["in", "line", str(relu - 1), str(relu)]
    shares = [float(line.split()[2].rstrip("%")) for line in lines if "%" in line]
    assert shares[-1] == 100.0
    assert abs(sum(shares[:-1]) - 100) < 0.1 * len(shares)
    assert lines[-1].endswith("in all")


def test_lines_that_cost_nothing_are_left_out_but_for_what_stands_above() -> None:
    steps = "      - two\n      - three\n      - four\n      - five\n"
    text = f"blocks:\n  a:\n    body:\n      - one\n  # a note\n  b:\n    args: {{}}\n    body:\n{steps}"
    assert [*shown(text, {9: None, 12: None})] == [  # type: ignore[dict-item]
        (1, "blocks:"),
        (0, ""),
        (6, "  b:"),
        (7, "    args: {}"),
        (8, "    body:"),
        (9, "      - two"),
        (10, "      - three"),
        (11, "      - four"),
        (12, "      - five"),
    ]


def event(name: str, start: int, length: int, cat: str = "Node") -> dict[str, Any]:
    return {"cat": cat, "name": name, "ts": start, "dur": length, "args": {"op_name": "Op", "output_size": "8"}}


def test_a_trace_that_breaks_off() -> None:
    """What a node's body took is not the node's; runs of a call that does not end are of none."""
    events = [
        event("inner_kernel_time", 2, 3),
        event("inner_kernel_time", 6, 1),
        event("loop_kernel_time", 1, 9),
        event("after_kernel_time", 10, 2),
        event("model_run", 0, 13, "Session"),
        event("loop_kernel_time", 21, 9),
    ]
    (call,) = _calls(events)
    assert call.milliseconds == 0.013
    assert [(e.name, e.milliseconds, e.bytes) for e in call.events] == [
        ("loop", 0.005, 8),
        ("inner", 0.003, 8),
        ("inner", 0.001, 8),
        ("after", 0.002, 8),
    ]


def graph(*nodes: tuple[str, list[str], list[str], str]) -> onnx.ModelProto:
    """Nodes (operator, inputs, outputs, name) from `x` to `y`."""
    made = [helper.make_node(op, inputs, outputs, name=name) for op, inputs, outputs, name in nodes]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
    return helper.make_model(helper.make_graph(made, "g", ports[:1], ports[1:]), opset_imports=[helper.make_opsetid("", OPSET)])


FILE = graph(
    ("Conv", ["x", "w"], ["a#1"], "a#1"),
    ("Relu", ["a#1"], ["b#2"], "b#2"),
    ("Add", ["b#2", "c"], ["d#3"], "d#3"),
    ("Sqrt", ["d#3"], ["y"], "y"),
)


@pytest.mark.parametrize(
    ("runtime", "wanted"),
    [
        pytest.param(
            graph(("FusedConv", ["x", "w"], ["b#2"], "fused"), ("Add", ["b#2", "c"], ["d#3"], "d#3"), ("Sqrt", ["d#3"], ["y"], "y")),
            {"fused": Made(("a#1", "b#2")), "d#3": Made(("d#3",)), "y": Made(("y",))},
            id="several are one, which has the last one's output",
        ),
        pytest.param(
            graph(
                ("ReorderInput", ["x"], ["t_0"], "r_0"),
                ("Conv", ["t_0", "w"], ["t_1"], "a#1_nchwc"),
                ("ReorderOutput", ["t_1"], ["b#2"], "r_1"),
                ("Add", ["b#2", "c"], ["d#3"], "d#3"),
                ("Sqrt", ["d#3"], ["y"], "y"),
            ),
            {
                "r_0": Made(("a#1", "b#2"), True),
                "a#1_nchwc": Made(("a#1", "b#2")),
                "r_1": Made(("b#2",), True),
                "d#3": Made(("d#3",)),
                "y": Made(("y",)),
            },
            id="values are renamed on the way through another layout",
        ),
        pytest.param(
            graph(
                ("Conv", ["x", "w"], ["a#1"], "a#1"),
                ("Relu", ["a#1"], ["b#2"], "b#2"),
                ("One", ["b#2"], ["new"], "one"),
                ("Two", ["new", "c"], ["y"], "two"),
            ),
            {"a#1": Made(("a#1",)), "b#2": Made(("b#2",)), "one": Made(("d#3", "y")), "two": Made(("d#3", "y"))},
            id="two are two others, with a value between them that the file has not",
        ),
        pytest.param(
            graph(
                ("Conv", ["x", "w"], ["a#1"], "a#1"),
                ("Transpose", ["a#1"], ["new"], "t"),
                ("Relu", ["new"], ["b#2"], "b#2"),
                ("Add", ["b#2", "c"], ["d#3"], "d#3"),
                ("Sqrt", ["d#3"], ["y"], "y"),
            ),
            {"a#1": Made(("a#1",)), "t": Made(("a#1",), True), "b#2": Made(("b#2",)), "d#3": Made(("d#3",)), "y": Made(("y",))},
            id="a transpose that the file has not",
        ),
    ],
)
def test_what_a_node_stands_for(runtime: onnx.ModelProto, wanted: dict[str, Made]) -> None:
    found = fused(FILE, runtime)
    assert {name: Made(tuple(sorted(made.nodes)), made.added) for name, made in found.items()} == wanted


def test_the_step_comes_first_that_the_node_is_named_for() -> None:
    runtime = graph(("FusedConv", ["x", "w"], ["b#2"], "fused"), ("SqrtOfAdd", ["b#2", "c"], ["y"], "both"))
    found = fused(FILE, runtime)
    assert found["fused"].nodes == ("a#1", "b#2")
    assert found["both"].nodes == ("y", "d#3")


def test_the_command(cli: Any, folder: Path) -> None:  # noqa: F811
    (folder / "spec.yaml").write_text(SPEC)
    done = cli("show", folder / "spec.yaml", "--profile", "--at", "N=1", "--variant", "large")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("classifier (large) at H=16, N=1, onnxruntime on the CPU: ")
    found = json.loads(cli("show", folder / "spec.yaml", "--profile", "--format", "json", "--target", "onnx", "--depth", "1").out)
    assert found["target"] == "onnx"
    assert {line["line"] for line in found["lines"]} >= {line_of(SPEC, "name: stem"), line_of(SPEC, "- mean"), line_of(SPEC, "name: head")}
    assert {step["path"] for step in found["steps"]} == {"stem", "blocks", "mean", "head"}


def test_a_bundle_is_shown_by_its_own_spec(cli: Any, folder: Path) -> None:  # noqa: F811
    (folder / "spec.yaml").write_text(SPEC)
    cli("compile", folder / "spec.yaml", "-o", folder / "own", "--variant", "large")
    own = (folder / "own" / "spec.yaml").read_text()
    assert "variants" not in own
    found = json.loads(cli("show", folder / "own", "--profile", "--format", "json").out)
    assert {line["file"] for line in found["lines"]} == {str(folder / "own" / "spec.yaml")}
    assert line_of(own, "name: head") in {line["line"] for line in found["lines"]}
    assert "blocks.1.conv" in cli("show", folder / "own").out
    refused = cli("show", folder / "own", "--profile", "--set", "hidden=8")
    assert (refused.code, refused.out) == (1, "")
    assert "a bundle is profiled as it was compiled" in refused.err


def test_the_page(chain: ProfileView) -> None:
    opened: list[str] = []

    class Reader(html.parser.HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            opened.extend([tag] if tag in ("table", "html", "body", "div", "i") else [])

        def handle_endtag(self, tag: str) -> None:
            assert tag not in ("table", "html", "body", "div", "i") or opened.pop() == tag

    page = chain.render("html")
    Reader().feed(page)
    assert opened == []
    assert "- conv: {out: 16, kernel: 5, padding: 2}" in page
    assert "<i>in line 8</i>" in page


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--format", "mermaid"], "a profile is a table, json or html"),
        (["--target", "torch"], "it does not run the target torch"),
        (["--at", "N=99"], "N = 99, and N must be 1 to 8"),
        (["--at", "Q=1"], "`Q` is not a dim"),
    ],
)
def test_what_will_not_do(cli: Any, folder: Path, options: list[str], said: str) -> None:  # noqa: F811
    (folder / "spec.yaml").write_text(SPEC)
    done = cli("show", folder / "spec.yaml", "--profile", *options)
    assert (done.code, done.out) == (1, "")
    assert said in done.err


def test_a_bundle_without_an_onnx_file(folder: Path, tmp_path: Path) -> None:
    (folder / "spec.yaml").write_text(SPEC)
    spec = lamina.load(folder / "spec.yaml")
    bundle = lamina.compile(spec, tmp_path / "bundle", ["onnx"])
    with pytest.raises(BundleError, match="needs the target onnxruntime"):
        profile(bundle, spec, {}, "onnxruntime")
    with pytest.raises(InputError):
        profile(bundle, spec, {"N": 0})
    (bundle / "weights.bin").write_bytes(b"\1" * (bundle / "weights.bin").stat().st_size)
    with pytest.raises(BundleError, match="does not have the SHA-256"):
        profile(bundle, spec, {})


@pytest.mark.parametrize("precision", ["int8", "int4", "int8-dynamic"])
def test_rounded_weights_and_adapters(precision: str, tmp_path: Path) -> None:
    """Their nodes have other names; states that grow have room."""
    (tmp_path / "m.yaml").write_text(
        "lamina: 1\nmodel: m\ninputs: {x: 'float32[N, 64]'}\ndims: {N: {min: 1, opt: 2, max: 4}}\n"
        "body:\n  - {linear: 64, name: one}\n  - a, b = [linear(x, 64, name='two'), linear(x, 64, name='three')]\n  - a * b\n"
        "outputs: {y: 'float32[N, 64]'}\n"
    )
    spec = lamina.load(tmp_path / "m.yaml")
    low_rank = {f"one.lora_{part}.weight": np.ones((2, 64) if part == "A" else (64, 2), np.float32) for part in "AB"}
    save_file(low_rank, tmp_path / "brief.safetensors")
    plain = lamina.compile(spec, tmp_path / "plain", ["onnxruntime"], precision=precision)  # type: ignore[arg-type]
    adapted = lamina.compile(spec, tmp_path / "adapted", ["onnx"], adapters={"brief": tmp_path / "brief.safetensors"})
    for bundle in (plain, adapted):
        found = profile(bundle, spec, {})
        assert {origin.span.line for row in found.rows for origin in row.origins} == {6, 7, 8}


def test_a_row_that_nothing_is_known_of_is_of_no_line() -> None:
    row = Row("odd", "Odd", 1.0, 1, 4, (), added=True)
    view = ProfileView("t", Profile("onnx", {}, (row,), 2.0, 2.0, 8), {}, "t.yaml")
    assert view.lines() == {}
    assert view.of_no_line()["Odd, which ONNX Runtime added"].milliseconds == 1.0
