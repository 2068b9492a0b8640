"""The authors' Transformer3d, in TensorFlow's graph mode. Needs `pip install tensorflow-cpu torch`.

python make_axial_transformer.py --source CHECKOUT, of github.com/google-research/google-research. Its planes are predicted one by one,
each from those before it, as its compute_slice_logits has it.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import tensorflow.compat.v1 as tf
import torch
from fill import Draw, Scale
from making import Tensors, write

# A bias of keys adds the same to all scores of a query: inert.
SCALES = (Scale("*.g", 1, 0.25), Scale("*.b", 0, 0.5), Scale("*embs*", 0, 1), Scale("*.w", 0, 0.7))


def key(name: str) -> str:
    """`outer_row_0/attn/q/w` as `outer.0.row.attn.q.w`."""
    return re.sub(r"_(row|col)_(\d+)", r".\2.\1", name).replace("/", ".")


class InTorch(torch.nn.Module):
    """A graph of TensorFlow, as a module whose parameters are its variables."""

    def __init__(self, transformers: Any, n: int, size: int, **sizes: int) -> None:
        super().__init__()
        tf.reset_default_graph()
        options = {"emb_init_scale": 5.0, "res_init_scale": 1.0}
        model = transformers.Transformer3d(name="ar_decoder", img_height=size, img_width=size, img_channels=3, **options, **sizes)
        self.ports = [tf.placeholder(tf.int32, (n, size, size, 3)), tf.placeholder(tf.int32, (n,))]
        self.logits = model.compute_slice_logits(*self.ports, cond=None, dropout=0.0)
        self.variables = {key(v.name.split(":")[0]): v for v in tf.trainable_variables()}
        self.given = [tf.placeholder(tf.float32, v.shape) for v in self.variables.values()]
        self.assign = tf.group(*(v.assign(new) for v, new in zip(self.variables.values(), self.given, strict=True)))
        self.slope = tf.placeholder(tf.float32, self.logits.shape)
        found = tf.gradients(self.logits, list(self.variables.values()), self.slope)
        self.gradients = [tf.convert_to_tensor(gradient) for gradient in found]
        self.session = tf.Session()
        for name, variable in self.variables.items():
            self._place(name.split("."), torch.zeros([int(n) for n in variable.shape]))

    def _place(self, path: list[str], start: torch.Tensor) -> None:
        module: torch.nn.Module = self
        for word in path[:-1]:
            if word not in module._modules:
                module.add_module(word, torch.nn.Module())
            module = module._modules[word]  # type: ignore[assignment]
        module.register_parameter(path[-1], torch.nn.Parameter(start))

    def forward(self, image: torch.Tensor, plane: torch.Tensor) -> torch.Tensor:
        own = dict(self.named_parameters())
        return Run.apply(self, image, plane, *(own[name] for name in self.variables))  # type: ignore[no-any-return, no-untyped-call]


class Run(torch.autograd.Function):
    """One run of the session, and TensorFlow's gradients of it."""

    @staticmethod
    def forward(ctx: Any, model: InTorch, image: torch.Tensor, plane: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        model.session.run(model.assign, {k: v.detach().numpy() for k, v in zip(model.given, weights, strict=True)})
        ctx.model, ctx.feeds = model, {k: v.numpy() for k, v in zip(model.ports, (image, plane), strict=True)}
        return torch.from_numpy(model.session.run(model.logits, ctx.feeds))

    @staticmethod
    def backward(ctx: Any, slope: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        found = ctx.model.session.run(ctx.model.gradients, ctx.feeds | {ctx.model.slope: slope.numpy()})
        return None, None, None, *(torch.from_numpy(gradient) for gradient in found)


def run(model: Any, inputs: Tensors) -> Tensors:
    return {"logits": model(inputs["image"], inputs["plane"])}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--source", type=Path, required=True)
    sys.path.append(str(parser.parse_args().source))
    from axial import transformers

    tf.disable_eager_execution()
    if not hasattr(tf.Module("probe"), "_scope_name"):  # what later versions of tf.Module call it
        tf.Module._scope_name = property(lambda self: self.name_scope.name)
    cases = {
        "layers_2": (3, 4, {"emb_dim": 8, "num_heads": 2, "hdim_factor": 1}, (2, 2, 2), 6),
        "layers_4": (3, 5, {"emb_dim": 12, "num_heads": 3, "hdim_factor": 1}, (2, 4, 3), 9),
    }
    for name, (n, size, width, (exterior, outer, inner), levels) in cases.items():
        depths = {"num_exterior_layers": exterior, "num_outer_layers": outer, "num_inner_layers": inner}
        model = InTorch(transformers, n, size, num_embs=levels, **width, **depths)
        config = {"size": size, "dim": width["emb_dim"], "heads": width["num_heads"], "exterior": exterior, "outer": outer, "inner": inner}
        point = {"image": Draw((n, size, size, 3), "int64", 0, levels), "plane": Draw((n,), "int64", 0, 3)}
        write(
            "sequence/axial_transformer", name, model, [point], run, reference="github.com/google-research/google-research/axial",
            variant="imagenet32", config=config | {"levels": levels}, scales=SCALES, inert=["*.attn.k.b"],
        )  # fmt: skip


if __name__ == "__main__":
    main()
