"""The ten hard cases, written out in full, read as they are meant: what each part is, what it holds, and where it stands."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from lamina.schema.read import read_spec
from lamina.schema.spec import (
    Block,
    Branches,
    Call,
    Flow,
    For,
    If,
    Iterate,
    Map,
    ModelSpec,
    Repeat,
    Residual,
    Scan,
    Statement,
    Step,
)
from lamina.schema.tree import Sequence, plain

FOLDER = Path(__file__).parent
FILES = sorted(FOLDER.glob("*.yaml"), key=lambda f: f.name)

# The steps of each model's body: the kind of each, in order.
BODIES = {
    "01_multigrid": [For, Call],
    "02_shared_experts": [Call, For, Call, Call],
    "03_recurrent_router": [Call, Statement, Repeat, Call, Statement],
    "04_gated_linear_attention": [Call, Statement, For, Statement, Call, Call],
    "05_fixed_point": [Residual, Call, Call, Call],
    "06_learned_functions": [Call, Statement, Statement, Statement, Repeat, Call, Statement, Call],
    "07_neural_operator": [Call, Call, For, Call, Call, Call],
    "08_graph_attention": [Statement, Call, Statement],
    "08_hash_grid": [Statement, For, Statement, Call, Call, Call],
    "08_hypernetwork": [Call, Repeat, Call, Call],
    "09_cells": [Call, Call, Statement, For, Call, Call, Call],
    "09_columns": [Call, Call, Statement, Statement, For, Statement, Call, Call],
    "09_unet": [Statement, For, Call, For, Call],
    "10_nested_networks": [Call, For, Statement, Statement],
}


@cache
def spec(name: str) -> ModelSpec:
    return read_spec(FOLDER / f"{name}.yaml")


def block(name: str, of: str) -> Block:
    return spec(name).file.blocks[of]


def only(flow: Flow, kind: type[Step]) -> Step:
    """The one step of that kind in a flow, at any depth."""
    (found,) = (step for step in steps(flow) if type(step) is kind)
    return found


def steps(flow: Flow | None) -> Iterator[Step]:
    """Every step of a flow and of the flows inside it."""
    for step in flow.steps if flow else ():
        yield step
        for inner in inside(step):
            yield from steps(inner)


def inside(step: Step) -> tuple[Flow | None, ...]:
    if isinstance(step, Residual):
        return step.body, step.skip
    if isinstance(step, Branches):
        return step.flows
    if isinstance(step, If):
        return step.then, step.otherwise
    return (step.body,) if isinstance(step, Repeat | For | Scan | Iterate | Map) else ()


def text(expression: object) -> str:
    """A formula as Python writes it."""
    return ast.unparse(expression.tree)  # type: ignore[attr-defined]


def called(step: Step) -> str:
    """What a call step calls, or what a statement's outermost call calls."""
    if isinstance(step, Call):
        return step.callee.text
    assert isinstance(step, Statement)
    tree = step.assignment.value.tree
    assert isinstance(tree, ast.Call)
    assert isinstance(tree.func, ast.Name)
    return tree.func.id


def test_all_ten_cases_are_here() -> None:
    assert [file.stem for file in FILES] == list(BODIES)
    assert {name[:2] for name in BODIES} == {f"{i:02}" for i in range(1, 11)}


@pytest.mark.parametrize("name", BODIES)
def test_body(name: str) -> None:
    assert [type(step) for step in spec(name).body.steps] == BODIES[name]


@pytest.mark.parametrize("name", BODIES)
def test_every_step_stands_where_its_span_says(name: str) -> None:
    model = spec(name)
    lines = (FOLDER / f"{name}.yaml").read_text().splitlines()
    flows = [model.body, *(b.body for b in model.file.blocks.values())]
    found = [step for flow in flows for step in steps(flow)]
    for step in found:
        written = lines[step.span.line - 1][step.span.column - 1 :].lstrip("\"'")
        if isinstance(step, Call):
            assert written.startswith(step.callee.text)
        elif isinstance(step, Statement):
            assert written.startswith(step.assignment.value.source.text)
        else:
            assert written.startswith(type(step).__name__.lower())
    assert len({step.span for step in found}) == len(found)


def test_multigrid_shares_modules_and_calls_itself() -> None:
    vcycle = block("01_multigrid", "vcycle")
    assert vcycle.inputs == ("f", "u")
    assert [(a.name, str(a.type), a.type.default.value) for a in vcycle.args] == [("level", "int", 0)]  # type: ignore[union-attr]
    assert vcycle.modules is not None
    assert [(key.text, plain(value)) for key, value in vcycle.modules.entries] == [
        ("A", {"conv3": "shape(f)[1]"}),
        ("S", {"conv3": "width"}),
    ]
    assert [type(s) for s in vcycle.body.steps] == [If, For, If, For]
    start, down, coarser, _ = vcycle.body.steps
    assert isinstance(start, If)
    assert text(start.condition) == "u is null"
    assert isinstance(down, For)
    assert (down.targets, text(down.items)) == (("step",), "range(1, pre[level])")
    assert isinstance(coarser, If)
    assert coarser.otherwise is None
    assert [s.assignment.targets for s in coarser.then.steps if isinstance(s, Statement)] == [
        ("rest",),
        ("rest",),
        ("start",),
        ("coarse",),
        ("u",),
    ]
    assert called(coarser.then.steps[3]) == "vcycle"
    assert text(vcycle.body.result) == "u"
    layers = spec("01_multigrid").body.steps[0]
    assert isinstance(layers, For)
    assert layers.name == "layers"
    variants = {k: {o.name: plain(o.value) for o in v} for k, v in spec("01_multigrid").variants.items()}
    assert variants == {"dirichlet": {}, "periodic": {"boundary": "circular"}, "textbook": {"restrict_residual": True}}


def test_experts_are_blocks_given_as_arguments() -> None:
    mixture = block("02_shared_experts", "mixture")
    assert [(a.name, str(a.type)) for a in mixture.args] == [("expert", "block"), ("always", "block")]
    (layers,) = (s for s in spec("02_shared_experts").body.steps if isinstance(s, For))
    choice = only(layers.body, If)
    assert isinstance(choice, If)
    assert choice.otherwise is not None
    (dense,), (sparse,) = choice.then.steps, choice.otherwise.steps
    assert isinstance(dense, Call)
    assert isinstance(sparse, Call)
    assert (dense.callee.text, plain(dense.first)) == ("swiglu", "dense")  # type: ignore[arg-type]
    assert {k.text: plain(v) for k, v in sparse.named} == {"expert": "swiglu(hidden)", "always": "swiglu(shared * hidden)"}
    config = {c.name: c.type for c in spec("02_shared_experts").config}
    assert text(config["head_dim"].default) == "dim // heads"
    assert spec("02_shared_experts").published["16b"].params == "16.4B"


def test_router_state_outlives_the_loop() -> None:
    model = spec("03_recurrent_router")
    assert model.modules is not None
    assert [(k.text, plain(v)) for k, v in model.modules.entries] == [("memory", {"gru_cell": {"hidden": "router"}})]
    loop = only(model.body, Repeat)
    assert isinstance(loop, Repeat)
    assert text(loop.count) == "layers"
    assigned = [s.assignment.targets for s in loop.body.steps if isinstance(s, Statement)]
    assert assigned == [("u",), ("h",), ("scores",), ("weight", "choice"), ("weight",), ()]
    assert [o.name for o in model.outputs] == ["logits", "h"]


def test_recurrence_has_two_forms_and_a_declared_state() -> None:
    model, gla = spec("04_gated_linear_attention"), block("04_gated_linear_attention", "gla")
    assert [(t.name, t.dtype, [text(s) for s in t.shape]) for t in model.state] == [
        ("memory", "float32", ["layers", "N", "heads", "key", "value"])
    ]
    assert gla.inputs == ("x", "s")
    assert text(gla.body.result) == "[y, s]"
    (form,) = (s for s in gla.body.steps if isinstance(s, If))
    (scan,), (closed,) = form.then.steps, form.otherwise.steps if form.otherwise else ()
    assert isinstance(scan, Scan)
    assert text(scan.over) == "2"
    assert [(k, text(v)) for k, v in scan.values] == [("q_t", "q"), ("k_t", "k"), ("v_t", "v"), ("g_t", "g")]
    assert [(k, text(v)) for k, v in scan.carry] == [("s", "s")]
    assert scan.collect == (("o", "o_t"),)
    assert [s.assignment.targets for s in scan.body.steps if isinstance(s, Statement)] == [("s",), ("o_t",)]
    assert isinstance(closed, Statement)
    assert (closed.assignment.targets, called(closed)) == (("o", "s"), "linear_attention")


def test_fixed_points_have_a_tolerance_and_a_bound() -> None:
    for name, carried, until, most in (("hopfield", "xi", "0.0001", "20"), ("equilibrium", "z", "1e-05", "50")):
        loop = only(block("05_fixed_point", name).body, Iterate)
        assert isinstance(loop, Iterate)
        assert [k for k, _ in loop.carry] == [carried]
        assert (text(loop.until), text(loop.at_most)) == (until, most)
        (step,) = loop.body.steps
        assert isinstance(step, Statement)
        assert step.assignment.targets == (carried,)


def test_learned_functions_index_what_they_build() -> None:
    basis = block("06_learned_functions", "spline_basis")
    assert text(basis.body.result) == "b"
    loop = only(basis.body, For)
    assert isinstance(loop, For)
    left, _, joined = loop.body.steps
    assert isinstance(left, Statement)
    assert text(left.assignment.value) == "(x - t[:-(k + 1)]) / (t[k:-1] - t[:-(k + 1)])"
    assert isinstance(joined, Statement)
    assert text(joined.assignment.value) == "left * b[..., :-1] + right * b[..., 1:]"
    mixer = next(c.type for c in spec("06_learned_functions").config if c.name == "channel_mixer")
    assert (str(mixer), text(mixer.default)) == ("block", "gr_kan(hidden=ratio * dim)")
    (override,) = spec("06_learned_functions").variants["spline"]
    assert plain(override.value) == "kan"


def test_operator_takes_pairs_and_any_grid() -> None:
    model, mix = spec("07_neural_operator"), block("07_neural_operator", "mix_modes")
    assert mix.inputs == ("re", "im")
    assert text(mix.body.result) == "[u, v]"
    assert (model.dims["H"].min, model.dims["H"].multiple_of) == (24, 2)
    spectral = [s for s in block("07_neural_operator", "spectral").body.steps if isinstance(s, Statement)]
    assert [s.assignment.targets for s in spectral] == [
        ("n", "c", "h", "w"),
        ("re", "im"),
        ("low",),
        ("high",),
        ("gap",),
        ("rest",),
        ("re", "im"),
        (),
    ]
    assert isinstance(spectral[6].assignment.value.tree, ast.ListComp)


def test_graph_hash_grid_and_hypernetwork() -> None:
    assert [(i.name, i.dtype, [text(s) for s in i.shape]) for i in spec("08_graph_attention").inputs] == [
        ("node", "float32", ["V", "features"]),
        ("edge", "int64", ["2", "E"]),
    ]
    assert [(a.name, str(a.type)) for a in block("08_graph_attention", "segment_softmax").args] == [("count", "size")]
    corners = next(s for s in block("08_hash_grid", "hash_level").body.steps if isinstance(s, For))
    assert isinstance(corners, For)
    assert isinstance(corners.items.tree, ast.ListComp)
    assert len(corners.items.tree.generators) == 3
    conv = next(s for s in block("08_hypernetwork", "fast").body.steps if isinstance(s, Statement) and s.assignment.targets == ("y",))
    assert called(conv) == "conv"
    assert "weight" in {k.arg for k in conv.assignment.value.tree.keywords}  # type: ignore[attr-defined]


def test_cells_are_lists_of_blocks() -> None:
    config = {c.name: c.type for c in spec("09_cells").config}
    assert str(config["normal"]) == "list[block]"
    assert len(config["normal"].default.tree.elts) == 10  # type: ignore[union-attr]
    assert isinstance(config["normal_from"].default, Sequence)
    assert [(a.name, str(a.type)) for a in block("09_cells", "cell").args] == [
        ("ops", "list[block]"), ("sources", "list[int]"), ("kept", "list[int]"), ("out", "int"), ("stride", "int"),
    ]  # fmt: skip
    assert text(block("09_cells", "cell").body.result) == "concat([values[k] for k in kept], dim=1)"
    outer = block("09_cells", "cell").body.steps[1]
    assert isinstance(outer, For)
    assert outer.name == "nodes"


def test_columns_and_skips_live_in_lists() -> None:
    columns = spec("09_columns").body.steps[4]
    assert isinstance(columns, For)
    levels = columns.body.steps[2]
    assert isinstance(levels, For)
    assert [type(s) for s in levels.body.steps] == [Statement, If, Repeat, If, Statement, Statement]
    up = spec("09_unet").body.steps[3]
    assert isinstance(up, For)
    assert (up.targets, text(up.items)) == (("i", "width"), "enumerate(reversed(widths[:-1]))")
    assert isinstance(up.body.steps[1], Statement)
    assert text(up.body.steps[1].assignment.value) == "concat([skips[-1 - i], x], dim=1)"
    unit = spec("09_unet").body.steps[2]
    assert isinstance(unit, Call)
    assert (unit.callee.text, unit.name, plain(unit.first)) == ("unit", "bottom", "widths[-1]")  # type: ignore[arg-type]


def test_nested_networks_slice_their_weights() -> None:
    model = spec("10_nested_networks")
    trained = ["dim", "heads", "layers", "hidden", "kernel"]
    assert [c.name for c in model.config][:5] == trained
    assert not {o.name for overrides in model.variants.values() for o in overrides} & set(trained)
    mlp = [s for s in block("10_nested_networks", "sliced_mlp").body.steps if isinstance(s, Statement)]
    weights = [k.value for s in mlp[2:] for k in ast.walk(s.assignment.value.tree) if isinstance(k, ast.keyword) and k.arg == "weight"]
    assert [ast.unparse(w) for w in weights] == ["up[:width]", "down[:, :width]"]
    mixed = {o.name: plain(o.value) for o in model.variants["mixed"]}
    assert len(mixed["used"]) == 8  # type: ignore[arg-type]
