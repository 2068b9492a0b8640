"""Requests for inference, as the Open Inference Protocol writes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from pydantic_core import from_json

from lamina.runtime.dtypes import Array
from lamina.runtime.feeds import name_problems
from lamina.runtime.manifest import Manifest
from lamina.runtime.run import TEXT
from lamina.runtime.serve.read_tensors import TensorReader
from lamina.runtime.serve.refused import Refused
from lamina.runtime.serve.settings import Limits

_MOST_TENSORS = 1000


@final
@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for: arrays by input (or `texts`, for the tokenizer), which outputs, and which of them as bytes."""

    id: str | None
    inputs: dict[str, Array]
    texts: list[str]
    outputs: tuple[str, ...]
    binary: frozenset[str]
    adapter: str | None


def read_infer(body: bytes, header: str | None, manifest: Manifest, limits: Limits) -> Asked:
    """The request in a body, of which the first `header` bytes (all, if None) are JSON. Refused: 400, with every mistake; 413."""
    head, tail = _split(body, header, limits)
    return asked_of(read_json(head), tail, manifest, limits)


def asked_of(request: Mapping[str, Any], tail: memoryview, manifest: Manifest, limits: Limits) -> Asked:
    """The request that JSON and the bytes behind it are. Refused: 400, with every mistake; 413."""
    reader = TensorReader(manifest, tail)
    inputs, texts = _inputs(request, reader, manifest)
    reader.end()
    outputs, binary = _outputs(request, manifest, reader.problems)
    name, adapter = _text(request, "id", reader.problems), _text(_parameters(request, reader.problems), "adapter", reader.problems)
    if reader.problems:
        raise Refused(400, "\n".join(reader.problems))
    if sum(map(len, texts)) > limits.text:
        raise Refused(413, f"the texts have {sum(map(len, texts))} characters, and a request may have {limits.text}")
    return Asked(name, inputs, texts, outputs, binary, adapter)


def read_json(data: bytes | memoryview) -> dict[str, Any]:
    """A JSON object. Refused (400) for anything else, NaN and infinity among it."""
    text = bytes(data)
    try:
        found = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        hint = "; NaN is no number in JSON, nor is infinity: send the tensor as bytes" if b"NaN" in text or b"Infinity" in text else ""
        raise Refused(400, f"the body is not JSON: {error}{hint}") from None
    if not isinstance(found, dict):
        raise Refused(400, "the body must be a JSON object")
    return found


def _split(body: bytes, header: str | None, limits: Limits) -> tuple[memoryview, memoryview]:
    whole = memoryview(body)
    if header is not None and not (header.isascii() and header.isdecimal() and len(header) < 20 and int(header) <= len(body)):
        raise Refused(400, f"Inference-Header-Content-Length is {header[:40]!r}, and the body has {len(body)} bytes")
    size = len(body) if header is None else int(header)
    if size > limits.json:
        raise Refused(413, f"the JSON has {size} bytes, and {limits.json} are read; send tensors as bytes")
    return whole[:size], whole[size:]


def _inputs(request: Mapping[str, Any], reader: TensorReader, manifest: Manifest) -> tuple[dict[str, Array], list[str]]:
    given = request.get("inputs")
    if not isinstance(given, list) or not 1 <= len(given) <= _MOST_TENSORS or not all(_is_named(one) for one in given):
        raise Refused(400, "`inputs` must be a list of tensors: objects with `name`, `shape`, `datatype` and `data`")
    names = [one["name"] for one in given]
    twice = sorted({name for name in names if names.count(name) > 1}) if len({*names}) < len(names) else []
    reader.problems += [f"`{name}` stands twice" for name in twice]
    if TEXT in names and manifest.tokenizer is not None and all(spec.name != TEXT for spec in manifest.inputs):
        fed = {manifest.tokenizer.ids, manifest.tokenizer.mask, manifest.tokenizer.types} - {None}
        reader.problems += name_problems(manifest, [name for name in names if name != TEXT] + [name for name in fed if name])
        texts = [text for one in given if one["name"] == TEXT for text in reader.texts(TEXT, one)]
        arrays = {one["name"]: reader.tensor(one["name"], one) for one in given if one["name"] != TEXT}
    else:
        reader.problems += name_problems(manifest, names)
        texts, arrays = [], {one["name"]: reader.tensor(one["name"], one) for one in given}
    return {name: array for name, array in arrays.items() if array is not None}, texts


def _is_named(one: object) -> bool:
    return isinstance(one, dict) and isinstance(one.get("name"), str)


def _outputs(request: Mapping[str, Any], manifest: Manifest, problems: list[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """The outputs that are wanted, all unless some are named, and those of them that are wanted as bytes."""
    known = [spec.name for spec in manifest.outputs]
    wanted = request.get("outputs")
    binary = _parameters(request, []).get("binary_data_output") is True
    if wanted is None:
        return tuple(known), frozenset(known if binary else ())
    if not isinstance(wanted, list) or len(wanted) > _MOST_TENSORS or not all(_is_named(one) for one in wanted):
        problems.append("`outputs` must be a list of objects with `name`")
        return (), frozenset()
    problems += [f"`{one['name']}` is not an output; the outputs are {', '.join(known)}" for one in wanted if one["name"] not in known]
    chosen = tuple(dict.fromkeys(one["name"] for one in wanted)) or tuple(known)
    as_bytes = {one["name"]: _parameters(one, problems).get("binary_data", binary) is True for one in wanted}
    return chosen, frozenset(name for name in chosen if as_bytes.get(name, binary))


def _parameters(holder: Mapping[str, Any], problems: list[str]) -> Mapping[str, Any]:
    found = holder.get("parameters", {})
    if isinstance(found, dict):
        return found
    problems.append("`parameters` must be an object")
    return {}


def _text(holder: Mapping[str, Any], name: str, problems: list[str]) -> str | None:
    found = holder.get(name)
    if found is None or (isinstance(found, str) and len(found) <= 200):
        return found
    problems.append(f"`{name}` must be a string of at most 200 characters")
    return None
