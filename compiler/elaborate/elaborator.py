"""The elaborator: walks the steps, keeps the scope, collects nodes, weights and diagnostics."""

from __future__ import annotations

import ast
from collections.abc import Mapping as MappingType
from collections.abc import Sequence as SequenceType
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.compiler.elaborate.calls import Caller
from lamina.compiler.elaborate.convert import convert
from lamina.compiler.elaborate.evaluator import Evaluator
from lamina.compiler.elaborate.unused import unused_names
from lamina.compiler.elaborate.values import (
    CALLEES,
    UNKNOWN,
    BlockCallee,
    Callee,
    FlowCallee,
    Frame,
    Given,
    Label,
    Module,
    OpCallee,
    Partial,
    Poisoned,
    Scope,
)
from lamina.compiler.elaborate.wants import Want, want_of_type
from lamina.compiler.elaborate.words import shown
from lamina.compiler.graph import LAMINA, Constant, Graph, Node, Origin, Parameter, Value
from lamina.compiler.numeric import numpy_dtype
from lamina.compiler.op import Op, Weight, signature
from lamina.compiler.registry import find_op, op_names
from lamina.schema import spec as s
from lamina.schema.diagnostics import Collector, Fault, Note, Span, did_you_mean
from lamina.schema.dims import Dim, Size, Symbol, TensorType, counterexample
from lamina.schema.expressions import Expression, parse_expression
from lamina.schema.steps import StepReader
from lamina.schema.tree import Mapping, Scalar, Sequence
from lamina.schema.tree import Node as Tree
from lamina.schema.types import TypeDecl

MAX_STEPS = 200_000
_DEPENDS_ON_CALL = ("shape", "dtype", "type", "value", "dynamic", "index")
MAX_WORK = 2_000_000
MAX_FAULTS = 200


@dataclass(frozen=True, slots=True)
class Elaborated:
    """The graph of ops, the config it was made with, and the dims by name."""

    graph: Graph
    config: MappingType[str, Any]
    dims: MappingType[str, Symbol]


def elaborate(spec: s.ModelSpec, collector: Collector | None = None) -> Elaborated:
    """Elaborate a model. Raises SpecError with every diagnostic, those that the collector holds already among them."""
    elaborator = Elaborator(spec, collector or Collector())
    result = elaborator.model()
    elaborator.collector.raise_if_any()
    assert result is not None
    return result


class Elaborator:
    """State of one elaboration."""

    def __init__(self, spec: s.ModelSpec, collector: Collector) -> None:
        self.spec = spec
        self.collector = collector
        self.collector.sources.update(spec.sources)
        self.nodes: list[Node] = []
        self.parameters: dict[str, Parameter] = {}
        self.origins: dict[int, Origin] = {}
        self.scope = Scope()
        self.globals: dict[str, Any] = {}
        self.later: set[str] = set()  # config entries below the one that is being evaluated
        self.called: set[str] = set()
        self.callers: list[tuple[str, Span]] = []  # the blocks that are being run, and where each is called
        self.caller = Caller(self)
        self.dims = {n: Symbol(n, d.min, d.opt, d.max, d.multiple_of) for n, d in spec.dims.items()}
        self._steps = self._work = self._names = self._faults = 0
        self._flows: dict[int, s.Flow] = {}

    # --- the model ---

    def model(self) -> Elaborated | None:
        """The whole graph, or None when something is wrong."""
        self.globals.update({n: Dim.of(d) for n, d in self.dims.items()})
        self.globals.update(dict.fromkeys(self.spec.unreadable, UNKNOWN))
        frame = Frame(self.spec.file, {}, globals=self.globals)
        config = self._config(frame)
        inputs = [v for v in (self._guard(lambda d=d: self._input(d, frame), d.span) for d in self.spec.inputs) if v is not None]
        frame.values.update({d.name: UNKNOWN for d in self.spec.inputs} | {v.name: v for v in inputs})
        if len(self.spec.inputs) == 1:
            frame.values["x"] = frame.values[self.spec.inputs[0].name]
        elif self.spec.unreadable:
            frame.values["x"] = UNKNOWN
        for state in self.spec.state:
            self.collector.error("not-yet", "this version parses `state` and cannot compile it yet", state.span)
            frame.values[state.name] = UNKNOWN
        self._guard(lambda: self._body(frame), self.spec.body.span)
        outputs = [v for v in (self._guard(lambda d=d: self._output(d, frame), d.span) for d in self.spec.outputs) if v is not None]
        self._uncalled()
        self.collector.diagnostics += [d for d in unused_names(self.spec) if not self.collector.diagnostics]
        if self.collector.diagnostics:
            return None
        named = [self._renamed(v, d) for v, d in zip(outputs, self.spec.outputs, strict=True)]
        return Elaborated(Graph(self.spec.model, tuple(inputs), tuple(named), self._live(named)), config, self.dims)

    def _renamed(self, value: Value, decl: s.TensorDecl) -> Value:
        """The output under its declared name: by an `identity` at the end, which lowering turns into a rename."""
        identity = find_op("identity")
        assert identity is not None
        result = Value(decl.name, value.type)
        self.nodes.append(Node("identity", (value,), (result,), Origin(decl.span, decl.name), {"weights": ()}, LAMINA, identity()))
        return result

    def _body(self, frame: Frame) -> None:
        if self.spec.modules is not None:
            self.declare_modules(self.spec.modules, frame)
        self.run(self.spec.body, frame)

    def _uncalled(self) -> None:
        """Blocks that no step calls are run on unknown values, for their names and arguments."""
        for block in self.spec.file.blocks.values():
            if block.name in self.called:
                continue
            arguments = {a.name: UNKNOWN for a in block.args}
            frame = Frame(self.spec.file, dict.fromkeys(block.inputs, UNKNOWN), arguments, globals=self.globals)
            self.scope = Scope(f"{block.name} (never called)")
            self._guard(lambda f=frame, b=block: self._unknown_run(b, f), block.span)

    def _unknown_run(self, block: s.Block, frame: Frame) -> None:
        if block.modules is not None:
            self.declare_modules(block.modules, frame)
        self.run_body(block.body, frame)

    def _config(self, frame: Frame) -> dict[str, Any]:
        overrides = {o.name: o for o in (*self.spec.variants.get(self.spec.variant or "", ()), *self.spec.overrides)}
        config: dict[str, Any] = {}
        for index, entry in enumerate(self.spec.config):
            self.later = {e.name for e in self.spec.config[index:]}
            value = self._guard(lambda e=entry: self._entry(e, overrides.get(e.name), frame), entry.span)
            self.globals[entry.name] = UNKNOWN if value is None and not entry.type.optional else value
            config[entry.name] = value
            self._other_variants(entry, frame)
        self.later = set()
        return config

    def _entry(self, entry: s.ConfigEntry, override: s.Override | None, frame: Frame) -> Any:
        if override is None:
            return self.default(entry.type, frame, entry.name)
        given = Given(override.value.span, frame, override.value)
        try:
            return convert(self.resolve(given, want_of_type(entry.type)), entry.type, f"`{entry.name}`", override.value.span)
        except Fault as fault:
            fault.notes = (*fault.notes, Note(f"`{entry.name}` is declared here", entry.span))
            raise

    def _other_variants(self, entry: s.ConfigEntry, frame: Frame) -> None:
        """What a variant gives must have the entry's type, whether or not it is the chosen one."""
        for given in (o for overrides in self.spec.variants.values() for o in overrides if o.name == entry.name):
            self._guard(lambda o=given: self._entry(entry, o, frame), given.span)

    def default(self, declared: TypeDecl, frame: Frame, name: str) -> Any:
        """The default of a config entry or block argument."""
        if declared.default is None:
            return None
        want = want_of_type(declared)
        if isinstance(declared.default, Expression):
            evaluator = Evaluator(self, declared.default, frame)
            value = evaluator.callee(declared.default.tree) if _wants_block(want) else evaluator.value(declared.default.tree)
            return convert(value, declared, f"`{name}`", declared.default.span)
        return convert(self._literal(declared.default), declared, f"`{name}`", declared.default.span)

    def _literal(self, node: Tree) -> Any:
        if isinstance(node, Sequence):
            return [self._literal(i) for i in node.items]
        assert isinstance(node, Scalar)
        return node.value

    def _type(self, decl: s.TensorDecl, frame: Frame) -> TensorType:
        sizes: list[Size] = []
        for expression in decl.shape:
            names = {n.id for n in ast.walk(expression.tree) if isinstance(n, ast.Name)}
            for name in sorted(names - set(self.globals)):
                hint = did_you_mean(name, self.globals) or f"add `{name}: {{min: 1, opt: 8, max: 64}}` to `dims:`"
                self.globals[name] = UNKNOWN  # one message is enough
                raise Fault("dims", f"the size `{name}` is neither in `dims` nor in `config`", expression.place(expression.tree), hint)
            size = Evaluator(self, expression, frame).value(expression.tree)
            if isinstance(size, bool) or not isinstance(size, int | Dim) or (isinstance(size, int) and size < 0):
                raise Fault(
                    "dims", f"a size must be a whole number of at least 0, but it is {shown(size)}", expression.place(expression.tree)
                )
            sizes.append(size)
        return TensorType(decl.dtype, tuple(sizes))

    def _input(self, decl: s.TensorDecl, frame: Frame) -> Value:
        value = Value(decl.name, self._type(decl, frame))
        self.origins[id(value)] = Origin(decl.span, decl.name)
        return value

    def _output(self, decl: s.TensorDecl, frame: Frame) -> Value:
        declared = self._type(decl, frame)
        value = frame.values.get(decl.name)
        if decl.name in [i.name for i in self.spec.inputs]:
            raise Fault("output", f"`{decl.name}` is both an input and an output", decl.span, "give the output another name")
        if value is None and len(self.spec.outputs) == 1:
            value = frame.values.get("x")
        if value is UNKNOWN or (value is None and frame.lost):
            raise Poisoned
        if value is not None and not isinstance(value, Value):
            raise Fault("output", f"the output `{decl.name}` must be a tensor, but it is {shown(value)}", decl.span)
        if value is None:
            raise Fault("output", f"nothing in the body is named `{decl.name}`", decl.span, f"write `{decl.name} = x` where it is ready")
        if value.type != declared:
            raise self._differs(decl, value, declared)
        return value

    def _differs(self, decl: s.TensorDecl, value: Value, declared: TensorType) -> Fault:
        origin = self.origins.get(id(value))
        notes = [Note(f"{value.type} is made here", origin.span)] if origin else []
        pairs = zip(value.shape, declared.shape, strict=False)
        env = next((e for e in (counterexample(a, b) for a, b in pairs if isinstance(a - b, Dim)) if e), {})
        example = f"; they differ at {', '.join(f'{k} = {v}' for k, v in env.items())}" if env else ""
        hint = f"declare it as `{value.type}`, or change the last steps{example}"
        return Fault("output", f"the output `{decl.name}` is declared {declared}, but it is {value.type}", decl.span, hint, notes)

    def _live(self, outputs: SequenceType[Value]) -> tuple[Node, ...]:
        """The nodes that an output depends on."""
        needed, kept = {id(v) for v in outputs}, []
        for node in reversed(self.nodes):
            if any(id(v) in needed for v in node.outputs):
                needed |= {id(v) for v in node.inputs if v is not None}
                kept.append(node)
        return tuple(reversed(kept))

    # --- services for the evaluator and the caller ---

    def work(self, amount: int) -> None:
        """Count work, and stop a file that would never end. Raises Fault."""
        if self._work > MAX_WORK:
            raise Poisoned  # that has been said
        self._work += amount
        if self._work > MAX_WORK:
            raise Fault("limit", f"the spec needs more than {MAX_WORK:,} evaluations at compile time", hint="use fewer unrolled iterations")

    def globals_of(self, file: s.File) -> dict[str, Any]:
        """Config and dims are seen by the main file's blocks only."""
        return self.globals if file is self.spec.file else {}

    def find_callee(self, name: str, frame: Frame) -> Callee | None:
        """What a name calls: modules, block arguments, the file's blocks, imports, ops."""
        if name in frame.modules:
            return frame.modules[name]
        for held in (frame.arguments, frame.globals):
            if isinstance(held.get(name), CALLEES):
                return held[name]  # type: ignore[no-any-return]
        for file in (frame.file, *frame.file.imports):
            if name in file.blocks:
                return BlockCallee(file.blocks[name], file)
        op = find_op(name)
        return OpCallee(op) if op is not None else None

    def need_callee(self, name: str, frame: Frame, span: Span) -> Callee:
        """As find_callee. Raises Fault, or Poisoned for an argument that failed."""
        found = self.find_callee(name, frame)
        if found is not None:
            return found
        if frame.arguments.get(name) is UNKNOWN or frame.globals.get(name) is UNKNOWN:
            raise Poisoned
        if name in frame.visible():
            raise Fault("type", f"`{name}` is a value, not something to call", span)
        files = (frame.file, *frame.file.imports)
        known = [
            *frame.modules,
            *(a for a, v in frame.arguments.items() if isinstance(v, CALLEES)),
            *(b for f in files for b in f.blocks),
            *op_names(),
        ]
        raise Fault(
            "unknown-op",
            f"there is no op, block or module named `{name}`",
            span,
            did_you_mean(name, known) or "`lamina schema` lists every op",
        )

    def resolve(self, given: Given, want: Want) -> Any:
        """An argument's value, read as the type that is due. Raises Fault or Poisoned."""
        source = given.source
        if source is None:
            if given.value is UNKNOWN:
                raise Poisoned
            return given.value
        if isinstance(source, ast.expr):
            assert given.expression is not None
            evaluator = Evaluator(self, given.expression, given.frame)
            return evaluator.callee(source) if _wants_block(want) else evaluator.value(source)
        return self._resolve_tree(source, want, given.frame)

    def _resolve_tree(self, node: Tree, want: Want, frame: Frame) -> Any:
        if isinstance(node, Scalar):
            return self._resolve_scalar(node, want, frame)
        if want.block and (isinstance(node, Mapping) or want.item is None):
            return self._in_place(node, frame)
        if isinstance(node, Sequence):
            return [self._resolve_tree(i, want.item or Want(choices=want.choices), frame) for i in node.items]
        raise Fault("type", "a mapping is not a value here", node.span)

    def _resolve_scalar(self, node: Scalar, want: Want, frame: Frame) -> Any:
        if not isinstance(node.value, str):
            return node.value
        if want.text or node.text in want.choices:
            return node.text
        try:
            expression = parse_expression(node)
            evaluator = Evaluator(self, expression, frame)
            return evaluator.callee(expression.tree) if _wants_block(want) else evaluator.value(expression.tree)
        except Fault as fault:
            if want.choices and fault.code == "undefined-name" and node.text.isidentifier():
                return node.text  # a misspelt choice, which the op refuses with the choices that there are
            raise

    def _in_place(self, node: Tree, frame: Frame) -> Callee:
        """Steps, or one call, written where a block is due."""
        flow = self._flows.get(id(node))
        if flow is None:
            flow = self._flows[id(node)] = StepReader(self.collector).flow(node)
        if len(flow.steps) == 1 and isinstance(flow.steps[0], s.Call):
            return self._partial(flow.steps[0], frame)
        return FlowCallee(flow, frame)

    def _partial(self, call: s.Call, frame: Frame) -> Callee:
        callee = self.need_callee(call.callee.text, frame, call.callee.span)
        positional = () if call.first is None else (Given(call.first.span, frame, call.first),)
        return (
            Partial(callee, positional, {k.text: Given(v.span, frame, v, key=k.span) for k, v in call.named})
            if positional or call.named
            else callee
        )

    def declare_modules(self, modules: s.Modules, frame: Frame) -> None:
        """Add modules to the frame; each has one path, whoever calls it."""
        for key, node in modules.entries:
            given = Given(node.span, frame, node)
            callee = self._guard(lambda g=given: self.resolve(g, Want(block=True)), node.span)
            path, found = self.scope.join(key.text), frame.modules.get(key.text)
            if found is not None and found.path == path:
                notes = [Note("it is first declared here", found.span)]
                hint = "rename one of them; to call it again, name it in a step"
                self.report(Fault("name", f"the module `{key.text}` is declared twice", key.span, hint, notes), key.span)
            elif callee is not None:
                frame.modules[key.text] = Module(callee, path, key.text, key.span)

    def call(
        self,
        callee: Callee,
        mixed: SequenceType[Given],
        named: dict[str, Given],
        frame: Frame,
        span: Span,
        arguments: SequenceType[Given] = (),
        label: Label | None = None,
    ) -> Any:
        """Call anything with arguments that are not evaluated yet. Without a label, weights are named by the callee."""
        return self.caller.call(callee, mixed, arguments, named, frame, span, label or Label(callee.name, fixed=False))

    def constant(self, value: Any, dtype: str) -> Constant:
        """A scalar constant."""
        self._names += 1
        return Constant(f"const_{self._names}", TensorType(dtype, ()), np.asarray(value, numpy_dtype(dtype)))

    def parameter(self, path: str, weight: Weight, shared: bool, span: Span) -> Parameter:
        """A weight at a path; the same one again inside a module. Raises Fault when two different ones meet."""
        found = self.parameters.get(path)
        if found is None:
            found = Parameter(path, weight.type, weight.init, weight.trainable, Origin(span, path))
            self.parameters[path] = found
            return found
        assert found.origin is not None
        notes = [Note("the first use is here", found.origin.span)]
        if not shared:
            raise Fault(
                "name",
                f"two weights have the path `{path}`",
                span,
                "give one of the steps another `name`, or share weights through `modules`",
                notes,
            )
        if found.type != weight.type:
            raise Fault(
                "shape",
                f"the shared weight `{path}` would be {weight.type} here, but it is {found.type}",
                span,
                "a module is called with the same sizes each time",
                notes,
            )
        return found

    def emit(
        self, op: Op, inputs: SequenceType[Value | None], weights: MappingType[str, Value], types: Any, scope: Scope, span: Span
    ) -> Any:
        """Add a node; its weights follow its inputs in the order of `parameters`."""
        several = isinstance(types, tuple)
        self._names += 1
        base = f"{scope.path or op.name}" if scope.path else f"{op.name}_{self._names}"
        names = [f"{base}#{self._names}" + (f".{i}" if several else "") for i in range(len(types) if several else 1)]
        outputs = tuple(Value(n, t) for n, t in zip(names, types if several else (types,), strict=True))
        origin = Origin(span, scope.path or op.name)
        attributes = {"weights": tuple(weights)}
        self.nodes.append(Node(op.name, (*inputs, *weights.values()), outputs, origin, attributes, LAMINA, op))
        self.origins.update({id(v): origin for v in outputs})
        return list(outputs) if several else outputs[0]

    # --- steps ---

    def _guard(self, act: Any, span: Span) -> Any:
        try:
            return act()
        except Fault as fault:
            self.report(fault, span)
        except Poisoned:
            pass
        return None

    def report(self, fault: Fault, span: Span) -> None:
        """Keep a diagnostic. What depends on the sizes that a block was called with says where that was."""
        self._faults += 1
        if fault.code in _DEPENDS_ON_CALL:
            fault.notes = (*fault.notes, *(Note(f"`{name}` is called here", place) for name, place in self.callers[:-4:-1]))
        self.collector.add(fault.at(span))

    def run_body(self, flow: s.Flow, frame: Frame) -> Any:
        """Run a block's body and give its result."""
        self.run(flow, frame)
        if flow.result is not None:
            return Evaluator(self, flow.result, frame).value(flow.result.tree)
        if flow.steps and isinstance(flow.steps[-1], s.Statement) and "x" not in (t := flow.steps[-1].assignment.targets) and t:
            raise Fault(
                "result",
                f"the body ends by assigning `{', '.join(t)}`, so it does not say what leaves",
                flow.steps[-1].span,
                f"add `result: {t[0]}` beside `body:`, or assign to `x`",
            )
        if "x" not in frame.values:
            raise Fault("result", "the body never sets `x`, so it does not say what leaves", flow.span, "add `result:` beside `body:`")
        return frame.values["x"]

    def run(self, flow: s.Flow, frame: Frame) -> None:
        """Run steps in order; a step that fails leaves unknown values, and the next ones are still checked."""
        for step in flow.steps:
            self._steps += 1
            if self._steps > MAX_STEPS:
                raise Fault("limit", f"the spec unrolls to more than {MAX_STEPS:,} steps", step.span, "lower the repeat counts")
            try:
                getattr(self, f"_step_{type(step).__name__.lower()}")(step, frame)
            except Fault as fault:
                self.report(fault, step.span)
                _poison(step, frame)
                if fault.code == "limit" or self._exhausted():
                    raise Poisoned from fault
            except Poisoned:
                _poison(step, frame)
                if self._exhausted():
                    raise

    def _exhausted(self) -> bool:
        """Whether it is time to stop: a fault in a long loop may be slow to find, and is there at each pass."""
        return self._steps > MAX_STEPS or self._work > MAX_WORK or self._faults > MAX_FAULTS

    def _step_call(self, step: s.Call, frame: Frame) -> None:
        name = step.callee.text
        callee = self.find_callee(name, frame)
        if callee is None and name in frame.values and step.first is None and not step.named:
            frame.values["x"] = frame.lookup(name)  # a lone name that calls nothing is the variable of that name
            return
        callee = callee or self.need_callee(name, frame, step.callee.span)
        needed, named_inputs = _first_input(callee), [k.text for k, _ in step.named]
        if needed and needed not in named_inputs and "x" not in frame.values:
            tensors = [n for n, v in frame.values.items() if isinstance(v, Value)]
            hint = f"name one of {', '.join(tensors)}, as in `{name}({tensors[0]}, ...)`" if tensors else ""
            raise Fault("undefined-name", f"`{name}` needs an input, and there is no current value `x` here", step.callee.span, hint)
        x = Given(step.span, frame, value=frame.values["x"]) if "x" in frame.values else None
        first = [] if step.first is None else [Given(step.first.span, frame, step.first)]
        named = {k.text: Given(v.span, frame, v, key=k.span) for k, v in step.named}
        mixed = [] if x is None or not needed else [x]
        label = Label(step.name) if step.name else Label(name, fixed=False)
        result = self.call(callee, mixed, named, frame, step.span, first, label)
        frame.values["x"] = result

    def _step_statement(self, step: s.Statement, frame: Frame) -> None:
        targets, expression = step.assignment.targets, step.assignment.value
        value = Evaluator(self, expression, frame).value(expression.tree)
        if not targets:
            frame.values["x"] = value
        elif len(targets) == 1:
            frame.values[targets[0]] = value
        else:
            if not isinstance(value, list) or len(value) != len(targets):
                given = f"{len(value)} values" if isinstance(value, list) else f"one, {shown(value)}"
                hint = "divide it with `split`" if isinstance(value, Value) else ""
                raise Fault("assignment", f"{len(targets)} names are assigned, but the right side gives {given}", step.span, hint)
            frame.values.update(zip(targets, value, strict=True))

    def _step_residual(self, step: s.Residual, frame: Frame) -> None:
        outer, self.scope = self.scope, self.scope.child(step.name) if step.name else self.scope
        try:
            start = frame.lookup("x") if "x" in frame.values else UNKNOWN
            side = start
            if step.skip is not None:
                self.run(step.skip, frame)
                side = frame.values["x"]
                frame.values["x"] = start
            self.run(step.body, frame)
            frame.values["x"] = self._residual_sum(side, frame.values["x"], frame, step.span)
        finally:
            self.scope = outer

    def _residual_sum(self, side: Any, result: Any, frame: Frame, span: Span) -> Any:
        try:
            return self._join("add", [side, result], frame, span)
        except Fault as fault:
            if fault.code == "shape":
                fault.message = f"the two sides of `residual` do not fit together: {side.type} beside steps that give {result.type}"
                fault.hint = "make the steps keep the shape, or fit the other side with `skip: [...]`"
            raise

    def _step_branches(self, step: s.Branches, frame: Frame) -> None:
        start = frame.values.get("x", UNKNOWN)
        outer, base = self.scope, self.scope.child(step.name) if step.name else None
        found = []
        try:
            for index, flow in enumerate(step.flows):
                self.scope = outer if base is None else base.child(str(index))
                frame.values["x"] = start
                self.run(flow, frame)
                found.append(frame.values["x"])
        finally:
            self.scope = outer
        frame.values["x"] = found if step.merge == "list" else self._merge(step, found, frame)

    def _merge(self, step: s.Branches, found: list[Any], frame: Frame) -> Any:
        if step.merge == "concat":
            if UNKNOWN in found:
                raise Poisoned
            named = {"dim": Given(step.span, frame, value=step.dim)}
            return self.call(self.need_callee("concat", frame, step.span), [Given(step.span, frame, value=found)], named, frame, step.span)
        return self._join(step.merge, found, frame, step.span)

    def _join(self, op: str, values: SequenceType[Any], frame: Frame, span: Span) -> Any:
        total = values[0]
        for value in values[1:]:
            if total is UNKNOWN or value is UNKNOWN:
                raise Poisoned
            given = [Given(span, frame, value=total), Given(span, frame, value=value)]
            found = find_op(op)
            assert found is not None
            total = self.call(OpCallee(found), given, {}, frame, span)
        return total

    def _step_repeat(self, step: s.Repeat, frame: Frame) -> None:
        count = Evaluator(self, step.count, frame).value(step.count.tree)
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            hint = "only what is known at compile time can be repeated: use a config value" if isinstance(count, Dim) else ""
            raise Fault("type", f"`repeat` needs a fixed whole number of at least 0, but it is {shown(count)}", step.count.span, hint)
        if count > MAX_STEPS:
            raise Fault("limit", f"`repeat: {count}` is more than {MAX_STEPS:,} passes", step.count.span, "lower the count")
        self._loop(step, [{} for _ in range(count)], step.body, frame, "repeat")

    def _step_for(self, step: s.For, frame: Frame) -> None:
        items = Evaluator(self, step.items, frame).value(step.items.tree)
        if not isinstance(items, list):
            text = ast.unparse(step.items.tree)
            raise Fault(
                "type",
                f"`for` needs a list, but `{text}` is {shown(items)}",
                step.items.place(step.items.tree),
                f"write `range({text})`" if isinstance(items, int) else "",
            )
        self._loop(step, [self._bound(step, item) for item in items], step.body, frame, "for")

    def _bound(self, step: s.For, item: Any) -> dict[str, Any]:
        if len(step.targets) == 1:
            return {step.targets[0]: item}
        if not isinstance(item, list) or len(item) != len(step.targets):
            raise Fault("assignment", f"`for` names {len(step.targets)} values, but an element is {shown(item)}", step.span)
        return dict(zip(step.targets, item, strict=True))

    def _loop(self, step: s.Repeat | s.For, passes: list[dict[str, Any]], body: s.Flow, frame: Frame, word: str) -> None:
        outer = self.scope
        base = outer.child(step.name or outer.unique(word))
        try:
            for index, values in enumerate(passes):
                self.scope = base.child(str(index))
                frame.values.update(values)
                self.run(body, frame)
        finally:
            self.scope = outer

    def _step_if(self, step: s.If, frame: Frame) -> None:
        chosen = step.then if Evaluator(self, step.condition, frame).truth(step.condition.tree) else step.otherwise
        if chosen is not None:
            self.run(chosen, frame)

    def _step_modules(self, step: s.Modules, frame: Frame) -> None:
        self.declare_modules(step, frame)

    def _step_scan(self, step: s.Scan | s.Iterate | s.Map, frame: Frame) -> None:
        word = type(step).__name__.lower()
        raise Fault(
            "not-yet",
            f"this version parses `{word}` and cannot compile it yet",
            step.span,
            "unroll it with `for` or `repeat` where its length is fixed",
        )

    _step_iterate = _step_map = _step_scan

    def _step_broken(self, step: s.Broken, frame: Frame) -> None:
        raise Poisoned


def _first_input(callee: Callee) -> str:
    """The name of the first input that a callee takes, or an empty string."""
    while isinstance(callee, Partial | Module):
        callee = callee.callee
    if isinstance(callee, OpCallee):
        return next(iter(signature(callee.op).inputs), "")
    return next(iter(callee.block.inputs), "") if isinstance(callee, BlockCallee) else "x"


def _wants_block(want: Want) -> bool:
    return want.block or (want.item is not None and _wants_block(want.item))


def _poison(step: s.Step, frame: Frame) -> None:
    """Mark what the step should have set as unknown, so that one mistake is reported once."""
    if isinstance(step, s.Statement) and step.assignment.targets:
        frame.values.update(dict.fromkeys(step.assignment.targets, UNKNOWN))
    elif isinstance(step, s.Scan | s.Iterate | s.Map):
        names = [n for n, _ in (*getattr(step, "carry", ()), *getattr(step, "collect", ()))]
        frame.values.update(dict.fromkeys(names, UNKNOWN))
    elif not isinstance(step, s.Modules):
        frame.values["x"] = UNKNOWN
        frame.lost = frame.lost or not isinstance(step, s.Call | s.Statement)
