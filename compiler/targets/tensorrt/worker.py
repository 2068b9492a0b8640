"""The process that holds TensorRT: reads one JSON request from stdin, writes JSON lines to stdout, exits 0.

It is run as a file with `python -P`, so that it needs nothing on the module path but the library itself, and nothing in the
working directory can stand in for a module. A request is
    {"library": "tensorrt_rtx", "onnx": PATH, "engine": PATH or null, "profile": {INPUT: [min, opt, max shapes]}, "capabilities": ["8.6"]}
where a null engine means: parse, do not build. A line is {"progress": 0.5, "phase": "..."}, and the last is an answer:
    {"refused": [{"node": ..., "op": ..., "input": ..., "reason": ..., "known": ...}]}   the parser took the graph if this is empty
    {"failed": [log lines]}   the parser took it, but no engine came out
    {"lacking": TEXT}         the library does not load
    {"capabilities": [...]}   those that it can build for, when others were asked for
    {"broken": TEXT}          a file could not be read or written
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TextIO

SURVEY_LIMIT = 50
_PERSONALITY_UNCHANGED, _ADDR_NO_RANDOMIZE = 0xFFFFFFFF, 0x0040000  # of Linux's <sys/personality.h>


def main() -> None:
    """Answer the request on stdin."""
    _settle_addresses()
    # The library prints to the file descriptor of stdout: lines to the parent go through a copy, and stdout joins stderr.
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    request = json.load(sys.stdin)
    try:
        trt = importlib.import_module(request["library"])
    except (ImportError, OSError) as error:
        answer: dict[str, Any] = {"lacking": str(error)}
    else:
        try:
            seen = _beside_the_model(request)
            answer = _on_a_fresh_heap(lambda: Job(trt, seen, lines).answer())
        except OSError as error:
            answer = {"broken": error.strerror or str(error)}
    _send(lines, answer)


class Job:
    """One network: parsed, and built where the request asks for an engine."""

    def __init__(self, trt: Any, request: dict[str, Any], lines: TextIO) -> None:
        self.trt, self.request, self.lines = trt, request, lines
        self.logger = _logger(trt)
        self.builder = trt.Builder(self.logger)
        self.builder.max_threads = 1  # several race for addresses, and their number is in the engine: one gives the same bytes everywhere
        self.alive: list[Any] = []  # native objects that others point into: a parser crashes if its network goes first

    def answer(self) -> dict[str, Any]:
        """Parse, then build."""
        wanted = [f"SM{c.replace('.', '')}" for c in self.request["capabilities"]]
        known = [n for n in self.trt.ComputeCapability.__members__ if n.startswith("SM")] if wanted else []
        if not set(wanted) <= set(known):
            return {"capabilities": [f"{n[2:-1]}.{n[-1]}" for n in known]}
        network, parser, taken = self.parse()
        if not taken:
            return {"refused": list(self.survey(parser))}
        return self.build(network, wanted) if self.request["engine"] else {"refused": []}

    def parse(self, model: bytes | None = None) -> tuple[Any, Any, bool]:
        """A network, its parser, and whether the parser took the model."""
        flag = getattr(self.trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
        network = self.builder.create_network(1 << int(flag) if flag is not None else 0)
        self.alive.append(network)
        parser = self.trt.OnnxParser(network, self.logger)
        path = self.request["onnx"]
        self.logger.follow(network)
        taken = parser.parse_from_file(path) if model is None else parser.parse(model, path)
        self.logger.name_layers()
        return network, parser, taken

    def build(self, network: Any, capabilities: list[str]) -> dict[str, Any]:
        """Write the serialized engine."""
        trt, config = self.trt, self.builder.create_builder_config()
        config.progress_monitor = monitor = _monitor(trt, self.lines)
        self.alive.append(monitor)
        # On by default, it would round float32 factors to 10 bits: errors near 1e-3, ten times what `verify` allows.
        config.clear_flag(trt.BuilderFlag.TF32)
        # Else the engine says of its layers no more than names of its own making, not which nodes they were fused of.
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        _make_attention_decomposable(trt, network)
        if self.request["profile"]:
            profile = self.builder.create_optimization_profile()
            for name, shapes in self.request["profile"].items():
                profile.set_shape(name, *shapes)
            config.add_optimization_profile(profile)
        if capabilities:
            config.num_compute_capabilities = len(capabilities)
            for i, name in enumerate(capabilities):
                config.set_compute_capability(getattr(trt.ComputeCapability, name), i)
        self.logger.errors.clear()
        engine = self.builder.build_serialized_network(network, config)
        if engine is None:
            return {"failed": self.logger.errors[-20:]}
        with Path(self.request["engine"]).open("wb") as file:
            file.write(engine)
        return {"refused": []}

    def survey(self, parser: Any) -> Iterator[dict[str, Any]]:
        """All that the library refuses. The parser stops at the first: its node makes way for inputs of its outputs' types, and so on."""
        import onnx

        model = onnx.shape_inference.infer_shapes(onnx.load(self.request["onnx"], load_external_data=False))
        stand_ins: set[str] = set()
        for _ in range(SURVEY_LIMIT):
            error = parser.get_error(0)
            refusal = self.refusal(parser, error)
            nodes = model.graph.node
            node = nodes[error.node()] if error.node() >= 0 else next((n for n in nodes if n.name == refusal["node"]), None)
            # A node fed by a stand-in may be refused only for that, unless the library does not know it at all.
            if node is None or not refusal["known"] or stand_ins.isdisjoint(node.input):
                yield refusal
            if node is None or not _replace(model.graph, node):
                return
            stand_ins.update(node.output)
            _, parser, taken = self.parse(model.SerializeToString())
            if taken:
                return

    def refusal(self, parser: Any, error: Any) -> dict[str, Any]:
        """One parser error. A refused input has no node: the parser puts its name where the source file should be.

        Other errors without a node are about the one that the parser was at, which only the log tells.
        """
        is_input = error.func() == "importInput"
        name, op = (error.node_name(), error.node_operator()) if error.node() >= 0 or is_input else self.logger.parsing
        known = not op or parser.supports_operator(op)
        return {"node": name, "op": op, "input": error.file() if is_input else "", "reason": error.desc(), "known": known}


def _settle_addresses() -> None:
    """Start again without random addresses, where that is allowed.

    The library numbers its variables in an order that follows from addresses, so that one engine in three would differ in a few bytes.
    What lies at an address also follows from what was freed before: see `_on_a_fresh_heap`.
    """
    if not sys.platform.startswith("linux"):
        return
    personality = ctypes.CDLL(None).personality
    personality.argtypes, personality.restype = [ctypes.c_ulong], ctypes.c_int
    now = personality(_PERSONALITY_UNCHANGED)
    if now >= 0 and not now & _ADDR_NO_RANDOMIZE and personality(now | _ADDR_NO_RANDOMIZE) >= 0:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _beside_the_model(request: dict[str, Any]) -> dict[str, Any]:
    """The request seen from the model's folder: the library keeps the model's path, whose length must be the same everywhere."""
    model, engine = Path(request["onnx"]).absolute(), request["engine"] and str(Path(request["engine"]).absolute())
    os.chdir(model.parent)
    return {**request, "onnx": model.name, "engine": engine}


def _on_a_fresh_heap(task: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Run it in a thread, which the C library gives a heap of its own.

    The main thread's has holes whose places follow from the environment and from the lengths of paths.
    """
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(task).result()


def _replace(graph: Any, node: Any) -> bool:
    """Take a node out; what it gave becomes an input of the graph. False if a type is not known."""
    types = {v.name: v for v in (*graph.value_info, *graph.output) if v.type.tensor_type.elem_type and v.type.tensor_type.HasField("shape")}
    gone = [name for name in node.output if name]
    if not set(gone) <= set(types):
        return False
    graph.input.extend(types[name] for name in gone)
    kept = [v for v in graph.output if v.name not in gone]
    del graph.output[:]
    graph.output.extend(kept)
    graph.node.remove(node)
    return True


def _make_attention_decomposable(trt: Any, network: Any) -> None:
    """Attention has kernels for some types and head sizes only: elsewhere let the library use matmuls and a softmax."""
    for layer in (network.get_layer(i) for i in range(network.num_layers)):
        if layer.type == getattr(trt.LayerType, "ATTENTION_INPUT", None):
            layer.__class__ = trt.IAttentionInputLayer
            layer.attention.decomposable = True


def _logger(trt: Any) -> Any:
    """A logger that keeps the errors, and the name and operator of the node that the parser is at, with the layers made until then."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []
            self.parsing = ("", "")

        def follow(self, network: Any) -> None:
            """The network that is parsed from here on."""
            self.network, self.starts, self.nodes = network, list[int](), list[str]()

        def name_layers(self) -> None:
            """Let every layer say which node it is of. The parser does not for weights and for what it adds to broadcast and convert."""
            for i in range(self.network.num_layers if self.nodes else 0):
                layer = self.network.get_layer(i)
                if not layer.metadata:
                    layer.metadata = f"[ONNX Layer: {self.nodes[max(bisect_right(self.starts, i) - 1, 0)]}]"

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.ERROR:
                self.errors.append(message)
                print(message, file=sys.stderr, flush=True)  # a crash leaves it in the log
            elif "arsing node: " in message:
                name, _, op = message.partition("arsing node: ")[2].rpartition(" [")
                self.parsing = (name, op.rstrip("]"))
                self.starts.append(self.network.num_layers)
                self.nodes.append(name)

    return Logger()


def _monitor(trt: Any, lines: TextIO) -> Any:
    """Progress as a share of the outermost phase, which counts its own steps and that of the phase inside it."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.steps: dict[str, int] = {}
            self.outer, self.done, self.sent = "", 0, -1.0

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            self.steps[name] = max(steps, 1)
            if parent is None:
                self.outer, self.done = name, 0
            self.send(name, 0)

        def step_complete(self, name: str, step: int) -> bool:
            if name == self.outer:
                self.done = step + 1
            self.send(name, step + 1)
            return True

        def phase_finish(self, name: str) -> None:
            if name == self.outer:
                self.done = self.steps[name]
            self.send(name, self.steps[name])

        def send(self, name: str, done: int) -> None:
            inner = 0.0 if name == self.outer else done / self.steps[name]
            share = min((self.done + inner) / self.steps.get(self.outer, 1), 1.0)
            if share >= self.sent + 0.01:
                self.sent = share
                _send(lines, {"progress": share, "phase": name})

    return Monitor()


def _send(lines: TextIO, message: dict[str, Any]) -> None:
    lines.write(json.dumps(message) + "\n")
    lines.flush()


if __name__ == "__main__":
    main()
