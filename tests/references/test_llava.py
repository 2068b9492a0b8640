"""LLaVA-1.5 against transformers: texts with and without images in one batch, and words after them one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from causal_lm import Array
from evidence import Record
from llava import prompt, reference, sized

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.compiler.summary import summarize
from lamina.schema.spec import ModelSpec

SPEC = Path(__file__).parents[2] / "specs" / "multimodal" / "llava.yaml"
NO_IMAGE = np.zeros((0, 3, 28, 28), np.float32)


def small(variant: str = "7b", **config: object) -> ModelSpec:
    return lamina.load(SPEC, variant, small=True, every=True, **config).model_copy(update={"tokenizer": None})


def theirs(model: torch.nn.Module, feeds: dict[str, Array]) -> Array:
    positions = np.maximum(feeds["attention_mask"].cumsum(1) - 1, 0)
    with torch.no_grad():
        found = model(**{k: torch.from_numpy(v) for k, v in (feeds | {"position_ids": positions}).items()}).logits
    return np.asarray(found)


def error(got: Array, want: Array, mask: Array) -> float:
    return float(np.abs((got - want)[mask != 0]).max() / np.abs(want).max())


@pytest.mark.parametrize(("select", "rows"), [("default", 4), ("full", 5)])
@pytest.mark.parametrize("variant", ["7b", "13b"])
def test_logits(variant: str, select: str, rows: int, tmp_path: Path, record: Record) -> None:
    spec = small(variant, select=select)
    config = elaborate(spec).config
    model = reference(config)
    model.save_pretrained(tmp_path / "checkpoint")
    feeds = prompt(config, rows)
    want, mask = theirs(model, feeds), feeds["attention_mask"]
    session = lamina.Session(lamina.compile(spec, tmp_path / "bundle", weights=tmp_path / "checkpoint"))
    worst = error(session(**feeds)["logits"], want, mask)
    stream, t = session.stream(), mask.shape[1] - 1  # the first of them has both images, whose rows end there
    first = stream(**feeds | {"input_ids": feeds["input_ids"][:, :t], "attention_mask": mask[:, :t]})["logits"]
    last = stream(input_ids=feeds["input_ids"][:, t:], attention_mask=mask, pixel_values=NO_IMAGE)["logits"]
    worst = max(worst, error(np.concatenate([first, last], axis=1), want, mask))
    module = lamina.to_torch(spec, weights=tmp_path / "checkpoint").eval()
    states = {f"past.layers.{i}.self_attn.kv_cache.{part}": torch.zeros(3, config["kv_heads"], 0, config["head_dim"]) for i in range(2) for part in ("keys", "values")}
    with torch.no_grad():
        found = module(**{k: torch.from_numpy(v) for k, v in feeds.items()}, **states)
    worst = max(worst, error(found["logits"].numpy(), want, mask))
    assert worst < 2e-5
    record(SPEC, variant, "parity", f"{worst:.0e} of transformers {transformers.__version__}, small")


def test_each_image_stands_where_its_text_has_it(tmp_path: Path) -> None:
    spec = small()
    feeds = prompt(elaborate(spec).config, 4)
    session = lamina.Session(lamina.compile(spec, tmp_path / "bundle"))
    before = session(**feeds)["logits"]
    for image, row in enumerate([1, 2, 2]):
        other = feeds["pixel_values"].copy()
        other[image] += 1
        changed = np.abs(session(**feeds | {"pixel_values": other})["logits"] - before).max(axis=-1) > 1e-6
        starts = np.flatnonzero(feeds["input_ids"][row] == 95)[4 * (image == 2)]
        np.testing.assert_array_equal(changed, (np.arange(3)[:, None] == row) & (np.arange(12) >= starts))


@pytest.mark.parametrize("variant", ["7b", "13b"])
def test_parameters_are_all_that_is_read_of_transformers_model(variant: str) -> None:
    model = elaborate(lamina.load(SPEC, variant))
    with torch.device("meta"):
        whole = transformers.LlavaForConditionalGeneration(sized(model.config))
    tower = whole.model.vision_tower
    unread = [*tower.encoder.layers[-1].parameters(), *tower.post_layernorm.parameters()]
    assert summarize(model, {name: dim.min for name, dim in model.dims.items()}).parameters == whole.num_parameters() - sum(p.numel() for p in unread)


def test_the_authors_checkpoint_beside_clips(tmp_path: Path) -> None:
    """By their names, of the same numbers."""
    spec = small()
    config = elaborate(spec).config
    model = reference(config)
    model.save_pretrained(tmp_path / "transformers")
    state = {key.removeprefix("model."): value for key, value in model.state_dict().items()}
    projector = {"multi_modal_projector.linear_1": "model.mm_projector.0", "multi_modal_projector.linear_2": "model.mm_projector.2"}
    clip = {key.replace("vision_tower.", "vision_model."): value for key, value in state.items() if key.startswith("vision_tower.")}
    clip |= {"text_model.encoder.layers.0.mlp.fc1.bias": torch.zeros(3), "visual_projection.weight": torch.zeros(3, 3), "logit_scale": torch.tensor(1.0)}
    own = {key.replace("language_model.", "model."): value for key, value in state.items() if key.startswith(("language_model.", "lm_head."))}
    own |= {key.replace(old, new): value for old, new in projector.items() for key, value in state.items() if key.startswith(old)}
    torch.save(own, tmp_path / "llava.pt")
    torch.save(clip, tmp_path / "clip.pt")
    feeds = prompt(config, 4)
    files = [tmp_path / "llava.pt", tmp_path / "clip.pt"]
    first, second = (lamina.Session(lamina.compile(spec, tmp_path / f"bundle{i}", weights=w)) for i, w in enumerate([tmp_path / "transformers", files]))
    np.testing.assert_array_equal(second(**feeds)["logits"], first(**feeds)["logits"])
