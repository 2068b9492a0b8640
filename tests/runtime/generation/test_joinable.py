"""What a manifest says against writing texts together, and what a text takes of memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_decoders import decoder

from lamina.runtime.generation.joinable import Memory, unjoinable
from lamina.runtime.manifest import Manifest, read_manifest

Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return read_manifest(decoder(tmp_path_factory.mktemp("joinable"), "attention"))


def input_of(record: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in record["inputs"] if one["name"] == name)


def without_mask(record: dict[str, Any]) -> None:
    record["inputs"].remove(input_of(record, "attention_mask"))
    record["tokenizer"]["mask"] = None


def short_mask(record: dict[str, Any]) -> None:
    input_of(record, "attention_mask")["shape"] = ["N", "T"]


def one_row(record: dict[str, Any]) -> None:
    record["dims"]["N"]["max"] = 1


def even_rows(record: dict[str, Any]) -> None:
    record["dims"]["N"] |= {"min": 2, "multiple_of": 2, "opt": 2}


def shared_room(record: dict[str, Any]) -> None:
    record["dims"]["P"]["at_most"] = "200 - N"


def own_size(record: dict[str, Any]) -> None:
    record["dims"]["W"] = record["dims"]["T"]
    name = record["states"][0]["name"]
    input_of(record, f"past.{name}")["shape"][1] = "W"
    next(one for one in record["outputs"] if one["name"] == f"present.{name}")["shape"][1] = "W"


OBSTACLES: list[tuple[Change, str]] = [
    (without_mask, "no mask says how much of what it has read is a row's own"),
    (short_mask, "no mask says how much of what it has read is a row's own"),
    (one_row, "N must be 1"),
    (even_rows, "N must be"),
    (shared_room, "the room depends on N"),
    (own_size, "a state has no rows, or sizes of its own: `past."),
]


@pytest.mark.parametrize(("change", "why"), OBSTACLES)
def test_what_keeps_texts_apart(manifest: Manifest, change: Change, why: str) -> None:
    record = json.loads(manifest.dump())
    change(record)
    assert (unjoinable(Manifest.model_validate_json(json.dumps(record))) or "").startswith(why)


def test_nothing_does(manifest: Manifest, tmp_path: Path) -> None:
    assert unjoinable(manifest) is None
    assert unjoinable(read_manifest(decoder(tmp_path, "recurrent"))) is None


def test_memory(manifest: Manifest, tmp_path: Path) -> None:
    """By hand: two layers, keys and values of two heads of eight numbers; of the other a window of 3 and a state of 4 for 64 channels."""
    assert Memory.of(manifest) == Memory(fixed=0, place=2 * 2 * 2 * 8 * 4)
    recurrent = Memory.of(read_manifest(decoder(tmp_path, "recurrent")))
    assert recurrent == Memory(fixed=2 * 64 * (3 + 4) * 4, place=0)
    assert Memory(fixed=10, place=3).needed([5, 7, 2]) == 3 * (10 + 3 * 7)
