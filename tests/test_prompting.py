"""What the files beside weights say of the texts that a model writes: the keys are those of transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lamina.compiler.prompting import prompting

START = "decoder_start_token_id"


@pytest.mark.parametrize(
    ("generation", "config", "start"),
    [
        (None, {START: 0}, (0,)),
        ({START: 7}, {START: 0}, (7,)),
        ({START: None}, {START: 3}, (3,)),
        ({}, {}, ()),
        ({START: [1, 2]}, {}, ()),  # one for each row of a batch, which a bundle knows nothing of
        ({START: -1}, {}, ()),
        ({START: True}, {}, ()),
    ],
)
def test_where_a_text_starts(tmp_path: Path, generation: dict[str, Any] | None, config: dict[str, Any], start: tuple[int, ...]) -> None:
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "config.json").write_text(json.dumps(config))
    if generation is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(generation))
    assert prompting(tmp_path)["start"] == start
