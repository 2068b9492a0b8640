"""How files become inputs, with the sizes that this config says."""

from __future__ import annotations

from lamina.compiler.elaborate.context import Context
from lamina.compiler.elaborate.numbers import whole_number
from lamina.compiler.elaborate.values import Frame
from lamina.schema.sections import ImagePreprocess


def preprocessing(context: Context, frame: Frame) -> dict[str, ImagePreprocess]:
    """By input. What is wrong with one is reported, and it is left out."""
    found = {}
    for name, how in context.spec.preprocess.items():
        context.guard(lambda n=name, h=how: found.update({n: _sized(context, h, frame)}), context.spec.body.span)  # type: ignore[misc]
    return found


def _sized(context: Context, how: ImagePreprocess, frame: Frame) -> ImagePreprocess:
    sizes = {key: getattr(how, key) for key in ("resize", "crop")}
    known = {k: whole_number(context, v, frame, f"`{k}` must be", "preprocess") for k, v in sizes.items() if v is not None}
    return how.model_copy(update=known)
