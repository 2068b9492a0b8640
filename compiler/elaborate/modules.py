"""`modules:`: callables whose weights are made once."""

from __future__ import annotations

from dataclasses import replace

from lamina.compiler.elaborate.context import Context
from lamina.compiler.elaborate.resolve import resolve
from lamina.compiler.elaborate.values import Frame, Given, Module
from lamina.compiler.elaborate.wants import Want
from lamina.schema.diagnostics import Fault, Note
from lamina.schema.spec import Modules
from lamina.schema.tree import Scalar


def declare_modules(context: Context, modules: Modules | None, frame: Frame) -> None:
    """Add modules to the frame; each has one path, whoever calls it, and sees the locals as they are here, wherever that is."""
    for key, node in modules.entries if modules is not None else ():
        given = Given(node.span, replace(frame, values=dict(frame.values)), node)
        callee = context.guard(lambda g=given: resolve(context, g, Want(block=True)), node.span)  # type: ignore[misc]
        path, found = context.scope.join(key.text), frame.modules.get(key.text)
        if found is not None and found.path == path:
            context.report(_twice(key, found), key.span)
        elif callee is not None:
            frame.modules[key.text] = Module(callee, path, key.text, key.span)


def _twice(key: Scalar, found: Module) -> Fault:
    notes = [Note("it is first declared here", found.span)]
    hint = "rename one of them; to call it again, name it in a step"
    return Fault("name", f"the module `{key.text}` is declared twice", key.span, hint, notes)
