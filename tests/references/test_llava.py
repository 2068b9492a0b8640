"""LLaVA-1.5 against transformers: texts with and without images in one batch, and words after them one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from adapting import empty_states
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
    with torch.no_grad():
        found = module(*map(torch.from_numpy, feeds.values()), *empty_states(spec, rows=3))
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
    ours = summarize(model, {name: dim.min for name, dim in model.dims.items()}).parameters
    assert ours == whole.num_parameters() - sum(p.numel() for p in unread)


def test_the_authors_checkpoint_beside_clips(tmp_path: Path) -> None:
    """The same numbers by their names, of which CLIP has some that are not ours."""
    spec = small()
    config = elaborate(spec).config
    model = reference(config)
    model.save_pretrained(tmp_path / "transformers")
    renamed = (
        ("model.multi_modal_projector.linear_1.", "model.mm_projector.0."),
        ("model.multi_modal_projector.linear_2.", "model.mm_projector.2."),
        ("model.language_model.", "model."),
        ("model.vision_tower.", "vision_model."),
        ("lm_head.", "lm_head."),
    )
    state = {new + key.removeprefix(old): value for key, value in model.state_dict().items() for old, new in renamed if key.startswith(old)}
    clip = {key: value for key, value in state.items() if key.startswith("vision_model.")}
    others = ("text_model.encoder.layers.0.mlp.fc1.bias", "visual_projection.weight", "logit_scale")
    torch.save({key: value for key, value in state.items() if key not in clip}, tmp_path / "llava.pt")
    torch.save(clip | {key: torch.zeros(1) for key in others}, tmp_path / "clip.pt")
    feeds = prompt(config, 4)
    found = []
    for weights in ([tmp_path / "transformers"], [tmp_path / "llava.pt", tmp_path / "clip.pt"]):
        session = lamina.Session(lamina.compile(spec, tmp_path / f"bundle{len(found)}", weights=weights))
        found.append(session(**feeds)["logits"])
    np.testing.assert_array_equal(*found)
