"""Rules of the language, each in the smallest spec that shows it: what it computes, what its weights are named, what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.schema.diagnostics import Diagnostic

HEAD = """\
lamina: 1
model: rule
{config}
inputs: {{x: "float32[N, 8]"}}
dims: {{N: {{min: 1, opt: 4, max: 64}}}}
{blocks}
body:
{body}
outputs: {{y: "{output}"}}
"""


class Rule:
    """Writes a spec around some steps."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "rule.yaml"

    def write(self, *steps: str, config: str = "", blocks: str = "", output: str = "float32[N, 8]") -> Path:
        body = "\n".join(f"  - {step}" for step in steps)
        self.path.write_text(HEAD.format(config=config, blocks=blocks, body=body, output=output))
        return self.path

    def module(self, *steps: str, **options: str) -> torch.nn.Module:
        return lamina.to_torch(lamina.load(self.write(*steps, **options))).eval()

    def weights(self, *steps: str, **options: str) -> list[str]:
        return [name for name, _ in self.module(*steps, **options).named_parameters()]

    def said(self, *steps: str, **options: str) -> Diagnostic:
        (found,) = lamina.check(self.write(*steps, **options))
        return found

    def words(self, *steps: str, **options: str) -> tuple[str, str]:
        found = self.said(*steps, **options)
        return found.message, found.hint


@pytest.fixture
def rule(tmp_path: Path) -> Rule:
    return Rule(tmp_path)


X = torch.linspace(-2, 2, 24).reshape(3, 8)


def same(found: Any, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


# --- callees as values ---


def test_a_local_that_holds_an_op_is_called(rule: Rule) -> None:
    same(rule.module("f = relu", "f(x)")(X), X.relu())
    same(rule.module("sigmoid = relu", "sigmoid")(X), X.relu())  # a local that holds a callee is found before the op of its name


def test_a_loop_runs_over_ops(rule: Rule) -> None:
    same(rule.module('{for: "f in [relu, tanh]", do: [f]}')(X), X.relu().tanh())
    same(rule.module("concat([f(x) for f in [relu, tanh]], dim=0)", output="float32[2 * N, 8]")(X), torch.cat([X.relu(), X.tanh()]))


def test_a_loop_runs_over_blocks_and_modules(rule: Rule) -> None:
    options = {"blocks": "blocks: {double: {body: [x * 2]}}\nmodules: {shared: {linear: 8}}"}
    assert rule.weights('{for: "f in [double, shared, shared]", do: [f]}', **options) == ["shared.weight", "shared.bias"]


def test_a_module_keeps_what_its_arguments_were_when_it_was_declared(rule: Rule) -> None:
    body = """layers = []
  - for: i in range(3)
    do:
      - modules: {fc: {linear: 4 * (i + 1)}}
      - layers = layers + [fc]
  - for: i in [2, 0, 1]
    do: ["x = layers[i](x)"]"""
    shapes = {name: tuple(p.shape) for name, p in rule.module(body).named_parameters() if name.endswith("weight")}
    assert shapes == {"for.2.fc.weight": (12, 8), "for.0.fc.weight": (4, 12), "for.1.fc.weight": (8, 4)}


def test_a_list_of_a_tensor_and_an_op_is_refused_in_words(rule: Rule) -> None:
    message, _ = rule.words("y = concat([x, relu], dim=0)")
    assert message == "element 1 of the list given to `concat` must be a tensor, but it is the block `relu`"


# --- sums of tensors, maxima ---


def test_sum_and_prod_of_tensors_are_elementwise(rule: Rule) -> None:
    same(rule.module("sum([x, 2 * x, 1])")(X), 3 * X + 1)
    same(rule.module("prod([x, x, x])")(X), X**3)
    same(rule.module("sum(x, dims=1, keepdim=True) + x")(X), X + X.sum(1, keepdim=True))


@pytest.mark.parametrize(
    ("step", "message", "hint"),
    [
        ("x + max(x, 0)", "`max(x, 0)` may mean two things",
         "write `maximum(x, 0)` for the maximum of two, or `max(x, dims=0)` to reduce a dim"),
        ("x + min(x, x)", "`min` reduces one tensor", "write `minimum(x, y)` for the minimum of two"),
        ("max([x, x])", "`max` reduces one tensor", "write `maximum(x, y)` for the maximum of two"),
        ("relu([x, x])",
         "the input `x` of `relu` must be a tensor, but it is the list [a tensor float32[N, 8], a tensor float32[N, 8]]", ""),
    ],
)  # fmt: skip
def test_what_may_mean_two_things_is_refused(rule: Rule, step: str, message: str, hint: str) -> None:
    assert rule.words(step) == (message, hint)


# --- sizes as operands ---


def test_a_dynamic_size_is_an_operand(rule: Rule) -> None:
    same(rule.module("x / shape(x)[0] + (N + 1)")(X), X / 3 + 4)
    with torch.no_grad():
        same(rule.module("maximum(x, N)")(X[:1]), X[:1].clamp(min=1))


# --- block inputs that may be left out ---

OPTIONAL = {
    "blocks": """\
blocks:
  mix:
    inputs: [x, "u = null"]
    args: {scale: 1}
    body:
      - if: u is null
        then: [x * scale]
        else: [(x + u) * scale]"""
}


def test_an_optional_input(rule: Rule) -> None:
    same(rule.module("mix: 3", **OPTIONAL)(X), 3 * X)
    same(rule.module("mix(x, x, 3)", **OPTIONAL)(X), 6 * X)
    same(rule.module("mix(x, null, 3)", **OPTIONAL)(X), 3 * X)
    same(rule.module("mix: {u: x, scale: 3}", **OPTIONAL)(X), 6 * X)


SHIFTED = {
    "blocks": """\
blocks:
  shifted:
    args: {by: 2.0, up: true, most: "float | None = 4.0"}
    body:
      - y = x + by if up else x - by
      - y if most is null else minimum(y, most)"""
}


def test_null_by_position_skips_an_argument(rule: Rule) -> None:
    same(rule.module("shifted(x, null, false)", **SHIFTED)(X), X - 2)
    same(rule.module("shifted(x, 3.0, null)", **SHIFTED)(X), (X + 3).clamp(max=4))
    same(rule.module("shifted(x, 3.0, null, null)", **SHIFTED)(X), X + 3)  # one that may be null is null
    assert rule.weights("linear(x, 8, null)") == ["linear.weight", "linear.bias"]
    same(rule.module("tied = parameter([8, 8], init='ones', name='tied')", "linear(x, null, false, weight=tied)")(X), X @ torch.ones(8, 8))


def test_null_by_position_skips_an_input_of_an_op(rule: Rule) -> None:
    """attention(q, k, v, mask, sink): the mask is left out, alone or before a sink, causality is an argument behind both."""
    heads = "reshape(x, [-1, 2, 2, 2])"
    q = X[:2].reshape(-1, 2, 2, 2)
    plain = torch.nn.functional.scaled_dot_product_attention
    for call, expected in (
        ("attention(q, q, q, null)", plain(q, q, q)),
        ("attention(q, q, q, null, null, true)", plain(q, q, q, is_causal=True)),
        ("attention(q, q, q, null, parameter([2], init='zeros', name='sink'))", _with_a_zero_key(q)),
    ):
        steps = (f"q = {heads}", call, "reshape(x, [-1, 8])")
        with torch.no_grad():
            same(rule.module(*steps)(X[:2]), expected.reshape(-1, 8))


def test_null_passes_through_a_block_to_an_op(rule: Rule) -> None:
    """`causal_features(x, null, kernel)` hands its absent window on by position."""
    module = rule.module("u, w = causal_features(x[None], null, 3)", "u[0]", config="use: [selective]")
    weight, bias = (p.detach() for p in module.parameters())
    padded = torch.nn.functional.pad(X.T[None], (2, 0))
    with torch.no_grad():
        same(module(X), torch.nn.functional.silu(torch.nn.functional.conv1d(padded, weight, bias, groups=8))[0].T)


def _with_a_zero_key(q: torch.Tensor) -> torch.Tensor:
    """Attention of q to itself and to one more key, whose score and value are 0."""
    more = torch.cat([q, torch.zeros_like(q[:, :, :1])], dim=2)
    return torch.nn.functional.scaled_dot_product_attention(q, more, more)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ('[x, "u = 0"]', "an input can only default to null, not to `0`"),
        ('["u = null", x]', "the input `x` must be given, but it follows one that may be left out"),
        ("[x, [u]]", "this must be a list of names"),
    ],
)
def test_inputs_that_are_not_declared_well(rule: Rule, inputs: str, message: str) -> None:
    blocks = f"blocks:\n  mix: {{inputs: {inputs}, body: [x]}}"
    found = lamina.check(rule.write("mix", blocks=blocks))
    assert found[0].message == message


# --- config entries that something uses ---

FLAVOURED = """\
config:
  flavour: {default}
  act: "block = relu"
variants:
  plain: {{}}
  smooth: {{act: "gelu(approximate=flavour)"}}
{small}"""


def test_what_one_variant_alone_uses_is_used(rule: Rule) -> None:
    path = rule.write("act", config=FLAVOURED.format(default="tanh", small=""))
    assert lamina.check(path) == lamina.check(path, variant="plain") == lamina.check(path, variant="smooth") == ()
    smooth = lamina.to_torch(lamina.load(path, variant="smooth"))
    same(smooth(X), torch.nn.functional.gelu(X, approximate="tanh"))


def test_what_a_default_alone_uses_is_used(rule: Rule) -> None:
    assert lamina.check(rule.write("act", config='config: {slope: 0.1, act: "block = leaky_relu(slope=slope)"}')) == ()
    steps = "config: {slope: 0.1, act: {type: block, default: [leaky_relu: {slope: slope}]}}"
    assert lamina.check(rule.write("act", config=steps)) == ()
    assert (
        lamina.check(rule.write("act", config='config: {slope: 0.1, act: "block = relu"}\nsmall: {act: "leaky_relu(slope=slope)"}')) == ()
    )


def test_what_no_variant_uses_is_not(rule: Rule) -> None:
    config = FLAVOURED.format(default="tanh", small="small: {flavour: none}").replace("approximate=flavour", "approximate='tanh'")
    assert rule.words("act", config=config)[0] == "the config entry `flavour` is never used"


# --- the weights of comprehensions ---


def test_each_element_of_a_comprehension_is_named(rule: Rule) -> None:
    named = rule.weights("sum([linear(x, 8, bias=False, name='branch') for i in range(3)])")
    assert named == ["branch.0.weight", "branch.1.weight", "branch.2.weight"]
    plain = rule.weights("sum([linear(relu(linear(x, 8, bias=False)), 8, bias=False) for i in range(2)])")
    assert sorted(plain) == ["linear.0.weight", "linear.1.weight", "linear_2.0.weight", "linear_2.1.weight"]


def test_two_comprehensions_and_nested_ones_do_not_collide(rule: Rule) -> None:
    element = "linear(x, 8, bias=False)"
    assert rule.weights(f"sum([{element} for i in range(2)]) + sum([{element} for i in range(1)])") == [
        "linear.0.weight",
        "linear.1.weight",
        "linear_2.0.weight",
    ]
    assert rule.weights(f"sum([sum([{element} for j in range(2)]) for i in range(2)])") == [
        f"linear.{i}.{j}.weight" for i in range(2) for j in range(2)
    ]


def test_what_a_module_is_given_is_named_where_it_is_written(rule: Rule) -> None:
    blocks = "modules: {shared: {linear: 8}}"
    weights = rule.weights("shared(linear(x, 8, bias=False)) + shared(linear(x, 8, bias=False))", blocks=blocks)
    assert weights == ["linear.weight", "shared.weight", "shared.bias", "linear_2.weight"]


def test_modules_are_shared_by_the_elements(rule: Rule) -> None:
    assert rule.weights("sum([shared(x) for i in range(3)])", blocks="modules: {shared: {linear: 8}}") == ["shared.weight", "shared.bias"]


# --- conditions ---


@pytest.mark.parametrize(
    ("config", "condition", "message", "hint"),
    [
        ("{depth: 3}", "depth and true", "`and` needs true or false, but `depth` is `3`", "write `depth != 0`"),
        ("{widths: [1, 2]}", "false or widths", "`or` needs true or false, but `widths` is `[1, 2]`", "write `len(widths) > 0`"),
        ('{u: "int | None = None"}', "not u", "`not` needs true or false, but `u` is null", "write `u is not null`"),
        ("{a: true}", "a and x > 0", "`x > 0` is a tensor, and `and` is decided at compile time",
         "write logical_and(...), or where(condition, a, b) to choose between tensors"),
    ],
)  # fmt: skip
def test_and_or_not_take_true_or_false(rule: Rule, config: str, condition: str, message: str, hint: str) -> None:
    assert rule.words(f'{{if: "{condition}", then: [relu]}}', config=f"config: {config}") == (message, hint)


# --- texts passed on ---


def test_a_plain_word_that_names_a_text_passes_it_on(rule: Rule) -> None:
    config = 'config: {start: "constant(3)"}'
    same(rule.module("u = x", "{parameter: {shape: [8], init: start}, name: w}", "x * u", config=config)(X), 3 * X)
    (found,) = lamina.check(rule.write('{parameter: {shape: [8], init: "start"}, name: w}', config=config))
    assert found.message == "`parameter`: `start` is not an initialiser"


# --- initial values ---


def test_init_is_a_list_of_numbers_or_computed(rule: Rule) -> None:
    model = rule.module("w = parameter([2, 4], init=[0.5, -1, 2, 3, 4, 5, 6, 7.25], name='w')", "x * reshape(w, [8])")
    same(model(X), X * torch.tensor([0.5, -1, 2, 3, 4, 5, 6, 7.25]))
    bounded = rule.module("x + parameter([8], init=['uniform', 4 ** -0.5], name='w')")
    (weight,) = bounded.parameters()
    assert 0.3 < weight.abs().max() <= 0.5
    same(rule.module("u = x", "{parameter: {shape: [8], init: [constant, 1 / 4]}, name: w}", "x * u")(X), X / 4)


def test_init_counts(rule: Rule) -> None:
    message, _ = rule.words("x + parameter([8], init=[0.5, 1], name='w')")
    assert message == "`parameter`: `init` has 2 numbers, but the shape [8] holds 8"


# --- weights that say the arguments ---


def test_out_and_kernel_come_from_a_weight_that_is_given(rule: Rule) -> None:
    made = "w = parameter([8, 8], init='normal(0.1)', name='w')"
    model = rule.module(made, "linear(x, weight=w, bias=False)")
    (weight,) = model.parameters()
    same(model(X), X @ weight.T)
    kernel, output = "k = parameter([1, 1, 3], init='normal(0.1)', name='k')", "float32[N, 1, 8]"
    for op in ("conv", "conv_transpose"):
        model = rule.module(kernel, f"{op}(x[:, None], weight=k, padding=1, bias=False)", output=output)
        (weight,) = model.parameters()
        same(model(X), getattr(torch, f"{op}1d")(X[:, None], weight, padding=1))


def test_groups_count_in_what_a_weight_says(rule: Rule) -> None:
    kernel, output = "k = parameter([4, 3, 2], init='normal(0.1)', name='k')", "float32[N, 6, 3]"
    model = rule.module(kernel, "conv_transpose(reshape(x, [-1, 4, 2]), weight=k, groups=2, bias=False)", output=output)
    (weight,) = model.parameters()
    same(model(X), torch.conv_transpose1d(X.reshape(-1, 4, 2), weight, groups=2))


# --- state in a block ---


def test_state_in_a_block_is_judged_at_its_declaration(rule: Rule) -> None:
    found = rule.said("cell", blocks='blocks:\n  cell:\n    state: {s: "float32[N, 8]"}\n    body: [x + s]')
    assert (found.code, found.message, found.span.line) == ("state", "nothing in the body changes the state `s`", 8)


# --- which pass of a loop ---


def test_a_fault_says_in_which_pass_it_is(rule: Rule) -> None:
    found = rule.said('{for: "n in [8, 8, 3]", do: ["x = linear(x, 8) * ones([n])"]}')
    assert [(n.message, n.span.line) for n in found.notes if "pass" in n.message] == [("in pass 3 of this loop", 8)]
    found = rule.said('{for: "n in [3]", do: ["x = linear(x, 8) * ones([n])"]}')
    assert not [n for n in found.notes if "pass" in n.message]


# --- words of ours ---


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("min([])", "`min` of an empty list has no value"),
        ("sqrt(-1)", "`sqrt` of -1 has no value"),
        ("sqrt(1, 2)", "`sqrt` takes 1 argument, but 2 are given"),
        ("cos([1])", "`cos` needs a number, but it is given `[1]`"),
        ("range(1, 2, 0)", "the step of `range` is 0"),
        ("zip([1], [1, 2])", "`zip` needs lists of one length, but theirs are 1, 2"),
        ("[1] < 2", "`[1]` and `2` cannot be compared in this way"),
        ("sum([1, null])", "`sum` needs numbers, but it is given null"),
        ("-[1]", "`-[1]` cannot be computed from `[1]`"),
        ("(-8) ** 0.5", "-8 to the power 0.5 is not a real number"),
        ("1 / 0", "`1 / 0` has no value: it divides by zero"),
        ("10.0 ** 999", "`10.0 ** 999` has no value: the result is too large"),
        ("sorted([1, null])", "`sorted` needs values that can be put in order, but it is given `[1, None]`"),
        ("int('a')", "`int` needs a number, but it is given the text `a`"),
        ("[a for a, b in [1]]", "2 names are bound, but an element is `1`"),
        ("max(N, 0.5)", "`max` of a size and `0.5` is not defined"),
    ],
)
def test_messages_are_in_words_of_ours(rule: Rule, expression: str, message: str) -> None:
    found = lamina.check(rule.write(f"y = [{expression}]", "x"))
    assert [d.message for d in found if d.code != "output"] == [message]


def test_recursion_as_deep_as_the_language_lets_it_be(rule: Rule) -> None:
    blocks = """\
blocks:
  b:
    args: {n: int}
    body:
      - if: n > 0
        then:
          - residual:
              - repeat: 1
                do: ["x + relu(tanh(b(x, n - 1)))"]"""
    assert lamina.check(rule.write("b: 98", blocks=blocks)) == ()
    message, _ = rule.words("b: 120", blocks=blocks)
    assert message == "`b` calls itself more than 100 deep"


def test_a_size_that_defaults_to_a_dim_may_be_fixed(tmp_path: Path) -> None:
    path = tmp_path / "rule.yaml"
    path.write_text(
        "lamina: 1\nmodel: rule\nconfig: {rows: 'size = H'}\nvariants: {fixed: {rows: 6}}\n"
        "inputs: {x: 'float32[N, rows]'}\ndims: {N: {min: 1, max: 4}, H: {min: 2, max: 8}}\n"
        "body: [relu]\noutputs: {y: 'float32[N, rows]'}\n"
    )
    assert list(elaborate(lamina.load(path)).dims) == ["N", "H"]
    fixed = elaborate(lamina.load(path, variant="fixed"))
    assert list(fixed.dims) == ["N"]
    assert fixed.graph.outputs[0].shape[1] == 6


@pytest.mark.parametrize(("levels", "expected"), [(0, (3, 3, 50, 1)), (1, (4, 4, 50, 2)), (3, (8, 8, 48, 8))])
def test_a_multiple_that_the_config_says_narrows_the_range(levels: int, expected: tuple[int, ...], tmp_path: Path) -> None:
    path = tmp_path / "rule.yaml"
    path.write_text("""\
lamina: 1
model: rule
config: {levels: 2}
inputs: {x: "float32[T, 8]"}
dims: {T: {min: 3, max: 50, multiple_of: 2 ** levels}}
body: [relu]
outputs: {y: "float32[T // 2 ** levels * 2 ** levels, 8]"}
""")
    found = elaborate(lamina.load(path, levels=levels)).dims["T"]
    assert (found.min, found.opt, found.max, found.multiple_of) == expected


@pytest.mark.parametrize(("rows", "expected"), [(64, (1, 32, 64)), (20, (1, 20, 20))])
def test_a_largest_size_that_the_config_says_bounds_the_range(rows: int, expected: tuple[int, ...], tmp_path: Path) -> None:
    """So that a table of as many rows may be cut to any length in it."""
    path = tmp_path / "rule.yaml"
    path.write_text("""\
lamina: 1
model: rule
config: {rows: 2}
inputs: {x: "float32[T, 8]"}
dims: {T: {min: 1, opt: 32, max: rows}}
body: ["x + parameter([rows, 8], name='table')[:T]"]
outputs: {y: "float32[T, 8]"}
""")
    found = elaborate(lamina.load(path, rows=rows)).dims["T"]
    assert (found.min, found.opt, found.max) == expected


@pytest.mark.parametrize(("modes", "expected"), [(0, (0, 0, 64)), (4, (8, 12, 64)), (20, (40, 60, 64))])
def test_a_smallest_and_a_usual_size_that_the_config_says(modes: int, expected: tuple[int, ...], tmp_path: Path) -> None:
    path = tmp_path / "rule.yaml"
    path.write_text("""\
lamina: 1
model: rule
config: {modes: 2}
inputs: {x: "float32[T, 8]"}
dims: {T: {min: 2 * modes, opt: 3 * modes, max: 64}}
body: [relu]
outputs: {y: "float32[T, 8]"}
""")
    found = elaborate(lamina.load(path, modes=modes)).dims["T"]
    assert (found.min, found.opt, found.max) == expected


def test_a_size_may_default_to_a_dim_that_follows_from_entries_above_it(tmp_path: Path) -> None:
    path = tmp_path / "rule.yaml"
    path.write_text("""\
lamina: 1
model: rule
config: {levels: 2, rows: "size = H"}
variants: {free: {}, fixed: {rows: 12}}
inputs: {x: "float32[rows, 8]"}
dims: {H: {max: 64, multiple_of: 2 ** levels}}
body: [relu]
outputs: {y: "float32[rows // 4 * 4, 8]"}
""")
    assert elaborate(lamina.load(path, variant="free")).dims["H"].multiple_of == 4
    assert elaborate(lamina.load(path, variant="fixed")).graph.outputs[0].shape[0] == 12


@pytest.mark.parametrize(("variant", "crop"), [("usual", 224), ("larger", 320)])
def test_images_are_cropped_as_the_variant_was_trained(variant: str, crop: int, tmp_path: Path) -> None:
    path = tmp_path / "rule.yaml"
    path.write_text("""\
lamina: 1
model: rule
config: {trained_at: 224}
variants: {usual: {}, larger: {trained_at: 320}}
inputs: {image: "float32[N, 3, H, H]"}
dims: {N: {min: 1, max: 4}, H: {min: 32, opt: trained_at, max: 512}}
body: [relu]
outputs: {y: "float32[N, 3, H, H]"}
preprocess: {image: {resize: trained_at + 32, crop: trained_at}}
""")
    model = elaborate(lamina.load(path, variant=variant))
    assert model.dims["H"].opt == crop
    assert (model.preprocess["image"].resize, model.preprocess["image"].crop) == (crop + 32, crop)
