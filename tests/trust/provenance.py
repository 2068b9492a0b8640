"""Does what a spec becomes lead back to it? Every ONNX node, PyTorch parameter, TensorRT layer and profile row of the zoo's small specs.

python tests/trust/provenance.py [--count 126] [--engines 12]
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import final

sys.path.insert(0, str(Path(__file__).parents[1] / "zoo"))

import onnx
from trust import record
from zoo import Case, files, model, points, small_case, torch_module

import lamina
from lamina.compiler.graph import Origin
from lamina.compiler.lower import lower
from lamina.compiler.protos import all_nodes
from lamina.compiler.provenance import Places
from lamina.compiler.registry import op_names
from lamina.compiler.targets.onnx import external_values, to_onnx
from lamina.compiler.targets.tensorrt.model import Model
from lamina.compiler.targets.tensorrt.process import WORKER
from lamina.compiler.weights.derived import tensor_of
from lamina.compiler.weights.shapes import Shapes
from lamina.profile import Row, profile
from lamina.schema.diagnostics import SpecError

NOTE = (
    "A line is right where the word or the sign of the op stands at the very place, or a name that is given the op in that file (`act` for "
    "a gelu), or a structure that makes it; for a weight, one of the names that its path ends in, or an op where its name is computed. "
    "Neighbours are often alike (three projections), so some lines beside the right one would pass."
)
ROWS, ARCHIVES = "rows of ONNX Runtime's profiles", "parameters and buffers of exported archives, of a sample"
FILES = {"onnx": "model.onnx", "onnxruntime": "model.ort.onnx"}
# What stands for an op in an expression: a sign, or a function of lists.
SIGNS = {
    "add": ("+", "sum"), "sub": ("-",), "mul": ("*", "prod"), "div": ("/",), "matmul": ("@",), "neg": ("-",), "pow": ("**",),
    "floor_divide": ("//",), "mod": ("%",), "equal": ("==",), "not_equal": ("!=",), "less": ("<",), "less_equal": ("<=",),
    "greater": (">",), "greater_equal": (">=",), "select": ("[",), "slice": ("[",), "unsqueeze": ("[",),
}  # fmt: skip
# What structures make themselves; a loop makes much.
STRUCTURES = {"residual": ("add",), "branches": ("add", "concat", "mul", "stack"), "iterate": (), "map": (), "scan": ()}
# The network that the parser makes of a file, layer by layer.
LAYERS = """
import importlib, json, runpy, sys
job = runpy.run_path(sys.argv[1])["Job"](importlib.import_module("tensorrt_rtx"), {"onnx": sys.argv[2]}, sys.stdout)
network, _, taken = job.parse()
print("LAYERS", json.dumps([(layer.name, layer.metadata) for layer in map(network.get_layer, range(network.num_layers))] if taken else []))
"""


@final
class Sources:
    """The texts of a case, by the names that places have."""

    def __init__(self, case: Case) -> None:
        spec = case.spec()
        places = Places(spec.path.parent)
        self.texts = {places.file(name): text.splitlines() for name, text in spec.sources.items()}
        self.words = {word for lines in self.texts.values() for line in lines for word in re.findall(r"\w+", line)}

    def at(self, source: str, length: int) -> str:
        """What stands at a place: the step's word, or the expression; of a list that YAML makes, whose place is its bracket, the rest."""
        rest = self.rest(source)
        return rest if length == 1 and rest.startswith("[") else rest[:length]

    def rest(self, source: str) -> str:
        """The line of a place, from its column on."""
        file, line, column = source.rsplit(":", 2)
        return self.texts[file][int(line) - 1][int(column) - 1 :]

    def has_op(self, source: str, op: str, length: int) -> bool:
        """Whether what stands at a place is of an op: its word or its sign, a structure that makes it, or a name that it was given."""
        text = self.at(source, length)
        words = re.findall(r"\w+", text)
        if op in words or any(sign in text for sign in SIGNS.get(op, ())):
            return True
        first = words[0] if words and text.startswith(words[0]) else ""
        structure = re.match(r"(\w+):", self.rest(source))
        if structure is not None and structure[1] in STRUCTURES:
            return op in (STRUCTURES[structure[1]] or (op,))
        return (op == "size" and bool(words)) or first in self.given(op)  # a size is read where it is needed

    @cache  # noqa: B019  # there are few, and they are short-lived
    def given(self, op: str) -> frozenset[str]:
        """Names that stand for an op, as `act` for a gelu: what stands before it, and before such a name again."""
        found = {op}
        pairs = [pair for lines in self.texts.values() for line in lines for pair in _pairs(line)]
        while more := {name for name, value in pairs if value in found} - found:
            found |= more
        return frozenset(found - op_names())

    def has_name(self, source: str, path: str, length: int) -> bool:
        """Whether the step at a place has one of the names that a weight's path ends in, or is of an op, where the name is computed."""
        named = [part for part in path.split(".") if not part.isdigit()][-3:]
        return bool({*re.findall(r"\w+", self.rest(source))} & {*named}) or bool(
            {*re.findall(r"\w+", self.at(source, length))} & op_names()
        )


def _pairs(line: str) -> Iterator[tuple[str, str]]:
    """Every name and every word after it that it may have been given."""
    for found in re.finditer(r"(\w+)\s*[:=]", line):
        yield from ((found[1], word) for word in re.findall(r"\w+", line[found.end() :]))


def judged(things: Iterable[tuple[str, Iterable[str], Callable[[str], bool]]]) -> Counter[str]:
    """How many things there are, how many have places, and at how many of these all are right; names those that are not."""
    found = Counter[str]()
    for what, places, right in things:
        sources = list(places)
        sound = bool(sources) and all(map(right, sources))
        if not sound:
            print(f"\n{what}: {sources or 'no place'}", flush=True)
        found += Counter({"all": 1, "placed": bool(sources), "right": sound})
    return found


@cache
def ops_of(case: Case, target: str) -> dict[str, tuple[str, int]]:
    """The op of each operator, and the length of what stands at its place, by the operator's name."""
    nodes = lower(model(case).graph, target).all_nodes()  # type: ignore[arg-type]
    return {node.outputs[0].name: _op_at(node.origin, node.op_type) for node in nodes}


def _op_at(origin: Origin, other: str = "") -> tuple[str, int]:
    return origin.form.split(".")[0] or other.lower(), origin.span.length


def beside(case: Case) -> Counter[str]:
    """How sharp the question is: the lines above and below each step of model.onnx, and how many would pass for it."""
    sources, places, found = Sources(case), Places(case.spec().path.parent), Counter[str]()
    for op, length, source in {(*_op_at(n.origin, n.op_type), places.of(n.origin)) for n in lower(model(case).graph, "onnx").all_nodes()}:
        file, line, column = source.rsplit(":", 2)
        for other in (int(line) - 1, int(line) + 1):
            if 1 <= other <= len(sources.texts[file]):
                found += Counter(all=1, right=int(sources.has_op(f"{file}:{other}:{column}", op, length)))
    return found


def nodes_of(case: Case, bundle: Path, target: str) -> Counter[str]:
    """The nodes of an ONNX file, those of bodies and functions among them."""
    proto, sources, ops = onnx.load(bundle / FILES[target], load_external_data=False), Sources(case), ops_of(case, target)
    calls: dict[str, set[tuple[str, int]]] = {}  # of a function: the ops that call it
    for node in all_nodes(proto.graph.node):
        calls.setdefault(node.overload, set()).add(ops[node.name])
    named = [(node, {ops[node.name]}) for node in all_nodes(proto.graph.node)]
    named += [(node, calls[function.overload]) for function in proto.functions for node in function.node]

    def right(source: str, called: set[tuple[str, int]]) -> bool:
        return any(sources.has_op(source, op, length) for op, length in called)

    def places(node: onnx.NodeProto) -> list[str]:
        notes = {entry.key: entry.value for entry in node.metadata_props}
        return notes["lamina.source"].splitlines() if notes.get("lamina.path") else []

    return judged((f"{case}, {target}: {node.name}", places(node), partial(right, called=called)) for node, called in named)


def parameters_of(case: Case) -> Counter[str]:
    """The parameters and buffers of the module."""
    module, places = torch_module(case), Places(case.spec().path.parent)
    names = [name for name, _ in (*module.named_parameters(), *module.named_buffers())]
    return _tensors(case, "module", names, {name: places.of(origin) for name, origin in module.origins.items()})


def archive_of(case: Case, folder: Path) -> Counter[str]:
    """The parameters and buffers of the exported archive, by the table of the bundle; or the refusal to export it."""
    import torch

    try:
        bundle = lamina.compile(case.spec(), folder, ["torch"])
    except SpecError as error:
        print(f"\n{error}", flush=True)
        return Counter(refused=1)
    program = torch.export.load(bundle / "model.pt2")
    table = {name: place.source for name, place in lamina.origins(bundle, "torch").items()}
    return _tensors(case, "model.pt2", [*program.graph_signature.parameters, *program.graph_signature.buffers], table)


def _tensors(case: Case, what: str, names: Iterable[str], places: Mapping[str, str]) -> Counter[str]:
    """Weights have a step that declares them, constants one that reads them."""
    sources, origins = Sources(case), torch_module(case).origins

    def right(name: str, source: str) -> bool:
        op, length = _op_at(origins[name])
        return sources.has_op(source, op, length) if name.startswith("_constant_") else sources.has_name(source, name, length)

    return judged((f"{case}, {what}: {name}", [places[name]] if name in places else [], partial(right, name)) for name in names)


def layers_of(case: Case, folder: Path) -> Counter[str]:
    """The layers of the network that an engine is built of, by the table of the engine's bundle."""
    bundle, sources, ops = lamina.compile(case.spec(), folder, ["tensorrt"]), Sources(case), ops_of(case, "tensorrt")
    table = lamina.origins(bundle, "tensorrt")
    layers = network(case, folder.parent)
    assert layers, case
    steps = [(place.source, *ops[name]) for name, place in table.items()]
    found = ((name, [place.source for place in lamina.layer_origins(said, table)]) for name, said in layers)
    return judged((f"{case}, TensorRT: {name}", places, _right(sources, steps)) for name, places in found)


def _right(sources: Sources, steps: Iterable[tuple[str, str, int]]) -> Callable[[str], bool]:
    """Whether a place, which is that of some of these ops, is right for one of them."""
    at: dict[str, set[tuple[str, int]]] = {}
    for source, op, length in steps:
        at.setdefault(source, set()).add((op, length))
    return lambda source: any(sources.has_op(source, op, length) for op, length in at[source])


def network(case: Case, folder: Path) -> list[tuple[str, str]]:
    """The layers that the parser makes, with what the library keeps of each."""
    graph = lower(model(case).graph, "tensorrt")
    file = folder / "parsed.onnx"
    file.write_bytes(to_onnx(graph, {v.name: tensor_of(v, Shapes()) for v in external_values([graph])}, {}).SerializeToString())
    bare = Model(file).without_weights(folder)
    done = subprocess.run([sys.executable, "-c", LAYERS, str(WORKER), str(bare)], capture_output=True, text=True, check=True)
    found: list[tuple[str, str]] = json.loads(done.stdout.rpartition("LAYERS ")[2])
    return found


def rows_of(case: Case, bundle: Path) -> Counter[str]:
    """The rows of ONNX Runtime's profile: those that it made of steps, and those that it added."""
    spec, sources = case.spec(), Sources(case)
    places = Places(spec.path.parent)
    found = profile(bundle, spec, next(points(model(case))), "onnxruntime")

    def judge(row: Row) -> tuple[str, list[str], Callable[[str], bool]]:
        steps = [(places.of(origin), *_op_at(origin)) for origin in row.origins]
        return f"{case}, profile: {row.name}", [source for source, _, _ in steps], _right(sources, steps)

    return judged(map(judge, found.rows)) + Counter({"added": sum(row.added for row in found.rows)})


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--count", type=int, help="so many specs, spread over the zoo; all of them if not given")
    arguments.add_argument("--engines", type=int, default=12, help="of so many specs, as building takes long; so for archives")
    options = arguments.parse_args()
    found: dict[str, Counter[str]] = {}
    near = Counter[str]()
    paths = list(files())
    cases = [small_case(path) for path in paths[:: max(1, len(paths) // (options.count or len(paths)))]]
    sample = set(cases[:: max(1, len(cases) // options.engines)])
    for number, case in enumerate(cases, 1):
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            bundle = lamina.compile(case.spec(), folder / "bundle")
            tasks = {f"nodes of {FILES[t]}": partial(nodes_of, case, bundle, t) for t in FILES}
            tasks |= {"parameters and buffers of PyTorch modules": partial(parameters_of, case)}
            tasks |= {ROWS: partial(rows_of, case, bundle)}
            if case in sample:
                tasks |= {ARCHIVES: partial(archive_of, case, folder / "archive")}
                tasks |= {"layers of TensorRT's networks, of a sample": partial(layers_of, case, folder / "engine")}
            near += beside(case)
            for what, task in tasks.items():
                found[what] = found.get(what, Counter()) + task()
        print(f"\r{number} of {len(cases)}", end="", flush=True)
    figures: dict[str, int | str] = {"specs, small": len(cases), "of them in the sample": len(sample)}
    for what, count in found.items():
        figures[what] = count["all"]
        figures[f"{what}: with a line, and the right one"] = f"{count['placed']}, {count['right']}"
    figures["rows that ONNX Runtime added (layouts, casts), at the line whose value they move"] = found["rows of ONNX Runtime's profiles"][
        "added"
    ]
    figures["archives that PyTorch refuses to export, of the sample, at the line of the first step with which it does"] = found[ARCHIVES][
        "refused"
    ]
    figures["lines beside the right ones that would pass"] = f"{100 * near['right'] / near['all']:.0f}% of {near['all']}"
    record("provenance", "Lines of everything", shlex.join(["python", *sys.argv]), figures, NOTE)
    unplaced = {what for what, count in found.items() if not count["all"] == count["placed"] == count["right"]}
    sys.exit(f"not all of: {', '.join(sorted(unplaced))}" if unplaced else 0)


if __name__ == "__main__":
    main()
