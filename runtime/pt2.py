"""Loads a `torch.export` archive that may come from anywhere.

`torch.export.load` unpickles parts of the archive, loads compiled libraries that it finds there, evaluates size expressions, writes names
into source code and calls any function of torch. So the archive is read here first, by torch's own reader, and refused unless it is
weights as plain bytes and a graph of aten operators.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lamina.runtime.errors import BackendMissing, BundleError

_MODEL, _INPUTS = "models/model.json", "data/sample_inputs/model.pt"
_WEIGHTS, _CONSTANTS = "data/weights/model_weights_config.json", "data/constants/model_constants_config.json"
_RECORD = re.compile(r"archive_format|archive_version|byteorder|version|\.data/\w+|data/weights/weight_\d+|data/constants/tensor_\d+")
_PAYLOAD = re.compile(r"weight_\d+|tensor_\d+")
_PLAIN = re.compile(r"[\w.:+\-]*", re.ASCII)
# aten::from_file opens a path. `_operator` is for arithmetic on sizes and for taking one of several outputs. Loops run graphs that stand
# in the archive too, under the same rules.
_TARGET = re.compile(
    r"torch\.ops\.aten\.(?!from_file\b)\w+\.\w+|torch\.ops\.higher_order\.(scan|while_loop)|_operator\.(getitem|add|sub|mul|truediv|floordiv|mod|neg|eq|ne|lt|le|gt|ge|and_)|torch\.sym_\w+",
    re.ASCII,
)
_SYMBOL = r"Symbol\('[a-z]+\d{1,6}'(?:, (?:positive|integer|nonnegative)=True)*\)"
_NUMBER = r"Integer\(-?\d{1,19}\)|Rational\(-?\d{1,19}, \d{1,19}\)|Float\('-?\d{1,20}(?:\.\d{1,40})?', precision=53\)"
_FUNCTION = r"(?:Add|Mul|FloorDiv|Mod|PythonMod|CleanDiv|CeilDiv|Max|Min|ToFloat|IntTrueDiv|FloatTrueDiv)\("


def _nested(levels: int) -> str:
    """Arithmetic without powers, so many functions deep."""
    if levels == 0:
        return f"(?:{_SYMBOL}|{_NUMBER})"
    inner = _nested(levels - 1)
    return rf"(?:{_SYMBOL}|{_NUMBER}|{_FUNCTION}{inner}(?:, {inner})*\))"


# A power of a power, or one of another number than a digit, may be a number without end.
_SIZE = re.compile(
    rf"(?:Pow\({_nested(3)}, Integer\(\d\)\)|{_SYMBOL}|{_NUMBER}|{_FUNCTION}"
    r"|(?:Equality|Unequality|(?:Strict)?(?:Less|Greater)Than)\(|[), ]|true|false)*"
)
_TREE = re.compile(
    r'(?:[\[\]{}:, \d]|null|"(?:type|context|children_spec|null|\[\]|builtins\.(?:tuple|list|dict))"|"\[(?:\\"[\w.]+\\"(?:, )?)*\]")*',
    re.ASCII,
)
# Torch counts up to the number of an unbacked symbol (u7, zuf7).
_RANGE = re.compile(r"(?:u|zuf)\d{1,6}|(?!u|zuf)[\w*+\-/(), ]*", re.ASCII)
_RULES = {"target": _TARGET, "as_operator": _TARGET, "expr_str": _SIZE, "in_spec": _TREE, "out_spec": _TREE, "range_constraints": _RANGE}
# Strings that torch repeats in quotes, shows, or does not execute here.
_FREE = {"as_string", "as_strings", "metadata", "guards_code"}


def load_module(path: Path) -> Any:
    """The program in the archive as an `nn.Module`. BundleError if it holds anything but plain weights and a graph of aten operators."""
    try:
        import torch
        from torch.export.pt2_archive._package import PT2ArchiveReader, load_pt2
        from torch.fx.experimental import _config as shape_config
    except ImportError as error:
        raise BackendMissing(f"this torch cannot load an exported archive ({error}); pip install lamina[torch]") from error
    try:
        with PT2ArchiveReader(str(path)) as reader:
            problem = next(_problems(reader, torch), None)
        if problem is None:
            # Else a size that equals another in the program's example is taken for a constant.
            with shape_config.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]
                program = load_pt2(str(path)).exported_programs["model"]
            # The guards are code in the file. The manifest has the shapes checked before, and may allow a size of 0: PyTorch does not.
            module: Any = program.module(check_guards=False)
            module.validate_inputs = False
            return module
    except (RuntimeError, ValueError, LookupError, AttributeError, AssertionError, TypeError, SyntaxError) as error:
        raise BundleError(f"torch {torch.__version__} cannot load {path}: {error}; compile the spec again") from error
    raise BundleError(
        f"{path} is refused: {problem}. A bundle's archive holds plain weights and aten operators, nothing that can run other code"
    )


def _problems(reader: Any, torch: Any) -> Iterator[str]:
    names = reader.get_file_names()
    if len(set(names)) != len(names):
        yield "two records have one name"
    yield from (
        f"it holds `{name}`" for name in names if name not in (_MODEL, _INPUTS, _WEIGHTS, _CONSTANTS) and not _RECORD.fullmatch(name)
    )
    for name in (_WEIGHTS, _CONSTANTS):
        yield from _payload_problems(json.loads(reader.read_string(name)))
    yield from _string_problems(json.loads(reader.read_string(_MODEL)), _PLAIN)
    try:
        torch.load(io.BytesIO(reader.read_bytes(_INPUTS)), weights_only=True)
    except Exception as error:  # whatever it is, torch would go on to unpickle
        yield f"its sample inputs are not plain tensors ({type(error).__name__})"


def _payload_problems(config: dict[str, Any]) -> Iterator[str]:
    for name, payload in config["config"].items():
        if payload["use_pickle"] is not False or not _PAYLOAD.fullmatch(payload["path_name"]) or not _PLAIN.fullmatch(name):
            yield f"the weight {name!r} is not plain bytes"


def _string_problems(value: Any, rule: re.Pattern[str]) -> Iterator[str]:
    """Every string and key of the program must match the rule of the key that it stands under."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _string_problems(key, _RANGE if rule is _RANGE else _PLAIN)
            if key not in _FREE or not _is_flat(child):
                yield from _string_problems(child, _RULES.get(key, _PLAIN))
    elif isinstance(value, list):
        for child in value:
            yield from _string_problems(child, rule)
    elif isinstance(value, str) and (len(value) > 100_000 or not rule.fullmatch(value)):
        yield f"its graph holds {value[:200]!r}"


def _is_flat(value: Any) -> bool:
    # A tensor may bear the name `metadata`: what stands under it is then more than text.
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
    return all(isinstance(child, str) for child in children)
