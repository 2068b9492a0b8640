"""Low-rank adapters: a folder of PEFT's, with `adapter_config.json` and `adapter_model.safetensors`, or diffusers' single file."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from lamina.compiler.weights.rename import Move, Renamer
from lamina.compiler.weights.safetensors import load_json, read_metadata, read_safetensors
from lamina.compiler.weights.tensor import Array, Tensor
from lamina.schema.diagnostics import Collector, Fault, Span, SpecError, did_you_mean
from lamina.schema.weights import WeightRules

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
ALONE, _METADATA = "pytorch_lora_weights.safetensors", "lora_adapter_metadata"  # of diffusers
_LARGEST_CONFIG = 1 << 20
_KEY = re.compile(r"(?:base_model\.model\.)?(?P<module>.+)\.lora_(?P<part>[AB])(?:\.default)?\.weight")
_KEY_ALONE = re.compile(r"(?:transformer\.)?(?P<module>.+)\.(?:lora_(?P<part>[AB])\.weight|alpha)")
_PATTERN = re.compile(r"\^?[\w.]+")
_MORE = (  # what an adapter may be beside products of two matrices
    "alora_invocation_tokens", "arrow_config", "bias", "kasa_config", "layer_replication", "lora_bias", "modules_to_save",
    "monteclora_config", "target_parameters", "trainable_token_indices", "use_bdlora", "use_dora", "use_qalora",
)  # fmt: skip


@final
@dataclass(frozen=True, slots=True)
class LowRank:
    """What one weight of the model gets: `scale * (b @ a)`, with a [rank, in] and b [out, rank]."""

    a: Tensor
    b: Tensor
    scale: float

    @property
    def rank(self) -> int:
        return self.a.shape[0]

    def arrays(self, rank: int, dtype: np.dtype[Any]) -> tuple[Array, Array]:
        """a [in, rank] and b [rank, out], scaled, as the model's inputs take them: zeros where the rank is larger."""
        missing = rank - self.rank
        a = np.pad(self.a.numpy().astype(np.float32).T, ((0, 0), (0, missing)))
        b = np.pad(self.scale * self.b.numpy().astype(np.float32).T, ((0, missing), (0, 0)))
        return np.ascontiguousarray(a, dtype), np.ascontiguousarray(b, dtype)


def read_peft(path: Path, rules: WeightRules | None, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, LowRank]:
    """The adapter by the paths of the weights that it changes; `shapes` are those that can be changed.

    The spec's own rules say which of its weights the adapter's modules are. Raises SpecError with everything that does not fit.
    """
    collector, place = Collector(), Span(str(path), 1, 1)
    found: dict[str, LowRank] = {}
    alone = path if path.is_file() else path / ALONE
    try:
        if alone.is_file():
            config, pairs = _said_in(alone), _pairs(alone, _KEY_ALONE)
        else:
            config, pairs = _config(path / CONFIG), _pairs(path / WEIGHTS, _KEY)
        _check(config)
    except Fault as fault:
        raise SpecError([fault.at(place)]) from fault
    renamer = Renamer(rules or WeightRules())
    for module, parts in pairs.items():
        try:
            found.update(_placed(module, parts, _scale(config, module, parts), renamer, shapes))
        except Fault as fault:
            collector.add(fault.at(place))
    collector.raise_if_any()
    return found


def _config(path: Path) -> dict[str, Any]:
    """What the adapter is."""
    try:
        with path.open("rb") as file:
            return load_json(path, file.read(_LARGEST_CONFIG), "JSON", "it")
    except OSError as error:
        raise Fault(
            "adapter",
            f"`{path.name}` of the adapter cannot be read: {error.strerror}",
            hint="name a folder that PEFT saved, or diffusers' file",
        ) from error


def _said_in(path: Path) -> dict[str, Any]:
    """The same, as diffusers' file may say it of itself; where it does not, products are not scaled but by a module's own alpha."""
    said = read_metadata(path).get(_METADATA)
    config = {"lora_alpha": None} if said is None else load_json(path, said.encode(), what=f"its `{_METADATA}`")
    return {key.removeprefix("transformer."): value for key, value in config.items()}


def _check(config: Mapping[str, Any]) -> None:
    """Raises Fault for a kind that is more than a product of two matrices beside a weight."""
    if config.get("peft_type", "LORA") != "LORA":
        raise Fault("adapter", f"the adapter is of PEFT's type {config['peft_type']}, and LORA is what can be given to a compiled model")
    for key in _MORE:
        if config.get(key) not in (None, False, "none", [], {}):
            raise Fault("adapter", f"the adapter has `{key}: {config[key]}`, which is more than low-rank products beside weights")


def _pairs(path: Path, keys: re.Pattern[str]) -> dict[str, dict[str, Tensor]]:
    """A, B and perhaps alpha by module. Raises Fault for keys that are none of these, or stand alone."""
    pairs: dict[str, dict[str, Tensor]] = {}
    for key, tensor in read_safetensors(path).items():
        match = keys.fullmatch(key)
        if match is None:
            raise Fault("adapter", f"the adapter's `{key}` is no matrix A or B of a linear layer")
        pairs.setdefault(match["module"], {})[match["part"] or "alpha"] = tensor
    for module, parts in pairs.items():
        shapes = [parts[part].shape for part in ("A", "B") if part in parts]
        if len(shapes) < 2 or any(len(shape) != 2 for shape in shapes) or shapes[0][0] != shapes[1][1]:
            raise Fault("adapter", f"the adapter's `{module}` must have matrices A [rank, in] and B [out, rank], but has {shapes}")
    return pairs


def _scale(config: Mapping[str, Any], module: str, parts: Mapping[str, Tensor]) -> float:
    """alpha / rank, or alpha / sqrt(rank) where the adapter is rank-stabilised; patterns say which modules have an alpha of their own."""
    rank = parts["A"].shape[0]
    patterns: Any = config.get("alpha_pattern") or {}
    if not isinstance(patterns, dict) or not all(_PATTERN.fullmatch(key) for key in patterns):
        raise Fault("adapter", f"the adapter's `alpha_pattern` must have names of modules for its keys, but it is {patterns}")
    alpha = next((value for key, value in patterns.items() if _matches(key, module)), config.get("lora_alpha", 8))
    if "alpha" in parts:
        alpha = parts["alpha"].numpy().squeeze().tolist()
    elif alpha is None:
        alpha = rank
    if not isinstance(alpha, int | float):
        raise Fault("adapter", f"the adapter's alpha for `{module}` must be a number, but it is {alpha!r}")
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _matches(pattern: str, module: str) -> bool:
    """As PEFT has it: the whole name, or its last parts where the pattern does not begin with `^`."""
    if pattern.startswith("^"):
        return module == pattern[1:]
    return f".{module}".endswith(f".{pattern}")


def _placed(
    module: str, parts: Mapping[str, Tensor], scale: float, renamer: Renamer, shapes: Mapping[str, tuple[int, ...]]
) -> Iterator[tuple[str, LowRank]]:
    """The weights that the module is in the model, each with its part of B. Raises Fault."""
    move = renamer.move(f"{module}.weight", shapes)
    if missing := [path for path in move.paths if path not in shapes]:
        hint = did_you_mean(missing[0], shapes) or "the spec's `weights: rename:` says what checkpoints' names become"
        raise Fault(
            "adapter", f"the adapter changes `{module}`, but the model has no linear layer with the weight `{missing[0]}`", hint=hint
        )
    for path, b in zip(move.paths, _rows(move, parts["B"], shapes), strict=True):
        rows, columns = shapes[path]
        if (b.shape[0], parts["A"].shape[1]) != (rows, columns):
            message = f"the adapter's `{module}` is for a weight [{b.shape[0]}, {parts['A'].shape[1]}], but `{path}` is [{rows}, {columns}]"
            raise Fault("adapter", message)
        yield path, LowRank(parts["A"], b, scale)


def _rows(move: Move, b: Tensor, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Tensor, ...]:
    """B's rows as the rule for the weight itself divides them. A weight that is kept turned round has its adapter as others have."""
    turned = [step.transpose for step in move.rule.order] == [(1, 0)]
    if (move.rule.order and not turned) or (move.rule.split and (turned or move.rule.split.dim)):
        raise Fault("adapter", f"the rule `{move.pattern}` changes the weight, so an adapter of `{move.key}` cannot be read by it")
    return move.apply(b, shapes) if move.rule.split else (b,) * len(move.paths)
