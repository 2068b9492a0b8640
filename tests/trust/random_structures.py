"""Structures of a random spec: loops, branches, blocks, modules, states, each with statements inside."""

from __future__ import annotations

from typing import Any

from random_statements import Statements
from random_values import Flow, Var

from lamina.schema.dims import FLOATS, Dim, Symbol, TensorType


class Structures(Statements):
    """Adds statements that may hold others, to some depth."""

    def fill(self, flow: Flow, steps: int, depth: int) -> None:
        """Add so many statements."""
        for _ in range(steps):
            options = [self.op] * 12 + [self.operator] * 3 + [self.dynamic]
            if depth:
                options += [self.residual, self.branches, self.repeat, self.loop, self.choice, self.scan, self.scan, self.map, self.iterate]
                options += [self.block, self.block, self.library, self.module, self.comprehension]
                options += [self.remember, self.grow, self.optional] if flow.top else []
            self.pick(options)(flow, depth)

    def inner(self, flow: Flow, names: list[Var], depth: int, steps: int | None = None, loop: bool | None = None) -> Flow:
        """A flow inside a step."""
        made = Flow(names, block=flow.block, loop=flow.loop if loop is None else loop)
        self.fill(made, self.pick([1, 2]) if steps is None else steps, depth - 1)
        return made

    def start(self, flow: Flow) -> Var:
        """x, floating point."""
        var = self.some(flow, floats=True)
        self.set_x(flow, var.name)
        return flow.bind(Var("x", var.type))

    def back(self, flow: Flow, want: TensorType, squash: bool = False) -> None:
        """End with an x of that type."""
        text = self.value(flow, want)
        flow.steps.append(f"tanh({text})" if squash else text if text != "x" else "identity")
        flow.bind(Var("x", want))

    def residual(self, flow: Flow, depth: int) -> None:
        x = self.start(flow)
        body = self.inner(flow, flow.names, depth)
        self.back(body, x.type)
        step: dict[str, Any] = {"residual": body.steps}
        if self.chance(0.3):
            step["skip"] = [self.pick(["tanh", "x * 0.5"])]
        flow.steps.append(step)
        self.count["residual"] += 1

    def branches(self, flow: Flow, depth: int) -> None:
        x = self.start(flow)
        flows = []
        for _ in range(2):
            flow.bind(x)
            flows.append(self.inner(flow, flow.names, depth, 1))
            self.back(flows[-1], x.type)
        merges = ["add", "mul", *(["concat", "list"] if x.type.rank else [])]
        merge, dim = self.pick(merges), self.pick(range(max(x.type.rank, 1)))
        step = {"branches": [f.steps for f in flows], "merge": merge}
        flow.steps.append({**step, "dim": dim} if merge == "concat" else step)
        if merge == "list":
            flow.steps.append(f"concat(x, dim={dim})")
        if merge in ("concat", "list"):
            flow.bind(Var("x", x.type.with_shape(2 * s if i == dim else s for i, s in enumerate(x.type.shape))))
        self.count["branches"] += 1

    def repeat(self, flow: Flow, depth: int) -> None:
        x = self.start(flow)
        body = self.inner(flow, flow.names, depth)
        self.back(body, x.type, squash=True)
        times: Any = self.pick([1, 2])
        if self.chance(0.4):
            name = self.fresh("times")
            self.config[name], self.variant[name] = times, 3 - times
            times = name
        flow.steps.append({"repeat": times, "do": body.steps})
        self.count["repeat"] += 1

    def loop(self, flow: Flow, depth: int) -> None:
        x = self.start(flow)
        kept, item = self.fresh("kept"), self.fresh("i")
        flow.steps.append(f"{kept} = []")
        body = self.inner(flow, flow.names, depth)
        self.back(body, x.type, squash=True)
        body.steps += [f"{kept} = {kept} + [x * ({item} + 1)]"]
        flow.steps.append({"for": f"{item} in {self.pick(['range(2)', '[1, 3]', 'reversed(range(2))'])}", "do": body.steps})
        name = self.fresh("v")
        flow.steps.append(f"{name} = stack({kept}, dim=0)")
        flow.bind(Var(name, x.type.with_shape((2, *x.type.shape))))
        self.count["for"] += 1

    def choice(self, flow: Flow, depth: int) -> None:
        x = self.start(flow)
        first, second = (self.inner(flow, list(flow.names), depth, 1) for _ in range(2))
        self.back(first, x.type)
        self.back(second, x.type)
        name = self.fresh("on")
        condition = self.pick([name, f"rank(x) == {x.type.rank} and not {name}"])
        self.config[name], self.variant[name] = True, False
        flow.steps.append({"if": condition, "then": first.steps, "else": second.steps})
        self.count["if"] += 1

    def sequences(self, flow: Flow) -> tuple[int, dict[str, str], list[Var]] | None:
        """What a scan goes along: an axis of one or two values, and a slice of each."""
        known = [v for v in self.readable(flow) if v.type.rank]
        if not known:
            return None
        first = self.pick(known)
        over = self.pick(range(first.type.rank))
        same = [v for v in known if v.type.rank > over and v.type.shape[over] == first.type.shape[over] and v is not first]
        chosen = [first, *([self.pick(same)] if same and self.chance(0.5) else [])]
        slices = [Var(self.fresh("s"), v.type.with_shape(s for i, s in enumerate(v.type.shape) if i != over)) for v in chosen]
        return over, {s.name: v.name for s, v in zip(slices, chosen, strict=True)}, slices

    def scan(self, flow: Flow, depth: int, carried: bool = True) -> None:
        found = self.sequences(flow)
        if found is None:
            return
        over, values, slices = found
        length = next(v.type.shape[over] for v in flow.names if v.name in values.values())
        carry, outer = {}, [v for v in flow.names if v.name != "x"]
        states = []
        if carried:
            type_ = next((s.type for s in slices if s.type.dtype in FLOATS), TensorType(self.dtype, (3,)))
            states = [Var(self.fresh("c"), type_)]
            start = self.pick([self.filled(type_), self.value(flow, type_)])
            carry = {states[0].name: start}
        body = self.inner(flow, [*outer, *slices, *states], depth, loop=True)
        for var in states:
            body.steps.append(f"{var.name} = tanh({self.value(body, var.type)} + 0.5 * {var.name})")
        own = [v for v in self.readable(body) if v not in outer and v.name != "x" and v.type.rank >= over]
        body.steps.append(f"last = {self.value(body, self.pick(own).type if own else slices[0].type)}") if not own else None
        collected = self.pick(own) if own else Var("last", slices[0].type)
        if collected.type.rank < over:
            return
        name, shape = self.fresh("v"), collected.type.shape
        step: dict[str, Any] = {"over": over, "values": values, **({"carry": carry} if carried else {}), "do": body.steps}
        flow.steps.append({"scan" if carried else "map": {**step, "collect": {name: collected.name}}})
        flow.bind(Var(name, collected.type.with_shape((*shape[:over], length, *shape[over:]))))
        for var in states:
            flow.bind(var)
        self.count["scan" if carried else "map"] += 1

    def map(self, flow: Flow, depth: int) -> None:
        self.scan(flow, depth, carried=False)

    def iterate(self, flow: Flow, depth: int) -> None:
        var, name = self.some(flow, floats=True), self.fresh("z")
        body = self.inner(flow, [v for v in [*flow.names, Var(name, var.type)] if v.name != "x"], depth, 1, loop=True)
        body.steps.append(f"{name} = tanh(0.1 * {name} + 0.5 * ({self.value(body, var.type)}))")
        until = self.pick(["null", 0.01])
        flow.steps.append(
            {"iterate": {"carry": {name: self.filled(var.type)}, "do": body.steps, "until": until, "at_most": self.pick([2, 4])}}
        )
        flow.bind(Var(name, var.type))
        self.count["iterate"] += 1

    def block(self, flow: Flow, depth: int) -> None:
        """A call of a block, an old one or a new."""
        fitting = [b for b in self.made if not (b[4] and flow.loop)]
        if not fitting or self.chance(0.6):
            self.define(flow, depth)
            fitting = [b for b in self.made[-1:] if not (b[4] and flow.loop)]
        if not fitting:
            return
        name, taken, given, arguments, _ = self.pick(fitting)
        new = self.fresh("v")
        flow.steps.append(f"{new} = {name}({self.value(flow, taken)}{arguments})")
        flow.bind(Var(new, given))
        self.count["block"] += 1

    def define(self, flow: Flow, depth: int) -> None:
        name, x = self.fresh("block"), self.some(flow, floats=True)
        body = Flow([Var("x", x.type)], block=True)
        args = {"gain": "float = 0.5", "act": self.pick(["block = gelu", "block = tanh"]), "width": "int = 6"}
        entry: dict[str, Any] = {"args": args}
        stateful = not flow.loop and not flow.block and self.chance(0.3)
        if stateful:
            kept = self.fresh("m")
            entry["state"] = {kept: str(x.type)}
            body.steps += [f"{kept} = 0.5 * {kept} + x", f"x * {kept}"]
            self.count["state of a block"] += 1
        if x.type.rank and isinstance(x.type.shape[-1], int):
            entry["modules"] = {"inside": {"linear": "width"}}
            body.steps += ["act(inside(x) + inside(x * gain))"]
            body.bind(Var("x", x.type.with_shape((*x.type.shape[:-1], 6))))
        else:
            body.steps += ["act(x * gain) + width"]
        self.fill(body, self.pick([1, 2]), depth - 1)
        floats = [v for v in self.readable(body) if v.type.dtype in FLOATS]
        result = self.pick(floats) if floats else Var("x", x.type)
        entry |= {"body": body.steps, "result": result.name}
        if not floats:
            body.steps.append(self.value(body, x.type))
        self.blocks[name] = entry
        arguments = self.pick(["", ", gain=0.25", ", act=relu", ", 0.75, act=sigmoid"])
        self.made.append((name, x.type, result.type, arguments, stateful))

    def library(self, flow: Flow, depth: int) -> None:
        """A block of the library."""
        sized = [v for v in self.readable(flow) if v.type.dtype in FLOATS and v.type.rank and isinstance(v.type.shape[-1], int)]
        if not sized:
            return
        var, new = self.pick(sized), self.fresh("v")
        file, call = self.pick([("ffn", "mlp({}, 5)"), ("ffn", "mlp({}, 4, act=tanh, bias=False)"), ("ffn", "swiglu({}, hidden=3)")])
        self.use.add(file)
        flow.steps.append(f"{new} = {call.format(var.name)}")
        flow.bind(Var(new, var.type))
        self.count["block of the library"] += 1

    def module(self, flow: Flow, depth: int) -> None:
        """A module that is called twice."""
        known = [v for v in self.readable(flow) if v.type.dtype in FLOATS and v.type.rank and isinstance(v.type.shape[-1], int)]
        if flow.block or not known:
            return
        var = self.pick(known)
        size = var.type.shape[-1]
        assert isinstance(size, int)
        fitting = [m for m in self.callables if m[1] == size and m[3] == var.type.dtype]
        if not fitting or self.chance(0.4):
            out = self.pick([3, 5, size])
            self.modules[name := self.fresh("shared")] = self.pick([{"linear": out}, {"linear": {"out": out, "bias": False}}])
            self.callables.append((name, size, out, var.type.dtype))
            fitting = self.callables[-1:]
        name, _, out, _ = self.pick(fitting)
        new = self.fresh("v")
        flow.steps.append(f"{new} = {name}({var.name}) * 0.5 + {name}({self.value(flow, var.type)})")
        flow.bind(Var(new, var.type.with_shape((*var.type.shape[:-1], out))))
        self.count["module"] += 1

    def comprehension(self, flow: Flow, depth: int) -> None:
        """A list of calls, of ops from a list."""
        var, name = self.some(flow, floats=True), self.fresh("v")
        form = self.pick(["act(x_) for act in [gelu, relu]", "x_ * i for i in [1, 2]", "acts[i](x_) for i in range(len(acts))"])
        if "acts" in form:
            self.config["acts"] = "list[block] = [tanh, sigmoid]"
        flow.steps.append(f"{name} = {self.pick(['sum', 'prod'])}([{form.replace('x_', var.name)}])")
        flow.bind(Var(name, var.type))
        self.count["comprehension"] += 1

    def optional(self, flow: Flow, depth: int) -> None:
        """An input that only some configs have."""
        var, name, on, new = self.some(flow, floats=True), self.fresh("in"), self.fresh("has"), self.fresh("v")
        self.inputs[name] = {"type": str(var.type), "if": on}
        self.config[on], self.variant[on] = True, False
        flow.steps.append(f"{new} = {var.name} if {name} is null else {var.name} + {name}")
        flow.bind(Var(new, var.type))
        self.count["optional input"] += 1

    def remember(self, flow: Flow, depth: int) -> None:
        """A state of the model."""
        var, name = self.some(flow, floats=True), self.fresh("state")
        if any(isinstance(s, Dim) and s not in self.symbols.values() for s in var.type.shape):
            return
        self.state[name] = str(var.type) if self.chance(0.6) else {"type": str(var.type), "init": 1}
        flow.steps.append(f"{name} = tanh(0.5 * {name} + {self.value(flow, var.type)})")
        flow.bind(Var(name, var.type))
        self.count["state"] += 1

    def grow(self, flow: Flow, depth: int) -> None:
        """A state that grows, as a cache of keys does, and attention to it."""
        if "p" in self.dims:
            return
        b, t = self.symbols["b"], self.symbols["t"]
        self.dims["p"] = p = Symbol("p", min=0, opt=3, max=32)
        heads, size = self.pick([(2, 4), (1, 8)])
        new = TensorType(self.dtype, (b, heads, t, size))
        name, out = self.fresh("cache"), self.fresh("v")
        self.state[name] = f"{self.dtype}[b, {heads}, p, {size}]"
        flow.steps.append(f"{name} = concat([{name}, {self.value(flow, new)}], dim=2)")
        flow.bind(Var(name, new.with_shape((b, heads, Dim.of(p) + t, size))))
        flow.steps.append(f"{out} = attention({self.value(flow, new)}, {name}, {name}, causal=True)")
        flow.bind(Var(out, new))
        self.count["state that grows"] += 1
        self.count["attention"] += 1
