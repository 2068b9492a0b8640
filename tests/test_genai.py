"""genai_config.json names what the standard file has; `tests/references/try_genai.py` runs the library itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.compiler.weights.seeded import Seeded
from lamina.schema.spec import ModelSpec

SPEC = Path(__file__).parents[1] / "specs" / "language" / "llama.yaml"


def checkpoint(folder: Path, spec: ModelSpec, **generation: Any) -> Path:
    """Weights, a tokenizer, and what generation_config.json says."""
    folder.mkdir()
    parameters = elaborate(spec).graph.parameters()
    save_file({p.name: np.ascontiguousarray(Seeded(0).get(p).numpy()) for p in parameters}, folder / "model.safetensors")
    Tokenizer(models.WordLevel({"a": 0, "b": 1, "c": 2}, unk_token="a")).save(str(folder / "tokenizer.json"))
    (folder / "generation_config.json").write_text(json.dumps(generation))
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    return folder


def test_every_name_is_the_files(tmp_path: Path) -> None:
    spec = lamina.load(SPEC, small=True)
    weights = checkpoint(tmp_path / "checkpoint", spec, eos_token_id=[2, 1])
    bundle = lamina.compile(spec, tmp_path / "bundle", ["onnx"], weights=weights)
    config = json.loads((bundle / "genai_config.json").read_text())
    model, decoder = config["model"], config["model"]["decoder"]
    graph = onnx.load(bundle / decoder["filename"], load_external_data=False).graph
    for part, values in (("inputs", graph.input), ("outputs", graph.output)):
        names = [name % layer for name in decoder[part].values() for layer in range(decoder["num_hidden_layers"]) if "%d" in name]
        names += [name for name in decoder[part].values() if "%d" not in name]
        assert sorted(names) == sorted(value.name for value in values)
    cache = next(value for value in graph.input if value.name.startswith("past.")).type.tensor_type.shape.dim
    assert (cache[1].dim_value, cache[3].dim_value) == (decoder["num_key_value_heads"], decoder["head_size"])
    assert (model["vocab_size"], model["context_length"], model["eos_token_id"], model["pad_token_id"]) == (96, 64, [2, 1], 2)
    assert json.loads((bundle / "tokenizer_config.json").read_text())["chat_template"] == "{{ messages[0].content }}"
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["tokenizer"]["eos"] == [2, 1]
    assert {"genai_config.json", "tokenizer_config.json"} <= manifest["files"].keys()


@pytest.mark.parametrize("missing", ["an end token", "a cache"])
def test_what_cannot_generate_has_no_config(missing: str, tmp_path: Path) -> None:
    spec = lamina.load(SPEC, small=True, **({} if missing == "an end token" else {"layers": 0}))
    weights = checkpoint(tmp_path / "checkpoint", spec, **({} if missing == "an end token" else {"eos_token_id": 2}))
    bundle = lamina.compile(spec, tmp_path / "bundle", ["onnx"], weights=weights)
    assert not (bundle / "genai_config.json").exists()
