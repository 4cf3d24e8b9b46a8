"""The tiny model's plain sibling: equal weights in a stock model say the same; the script leaves a checkpoint."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch

from videox2l.config import CompressionConfig
from videox2l.evaluation.suites.clips import levels
from videox2l.evaluation.suites.footage import ComposedClip, Take
from videox2l.kv import mix
from videox2l.models import load_model
from videox2l.models.plain.model import PlainModel
from videox2l.models.video_xl.model import VideoXL
from videox2l.training.clips import QuestionEncoder
from videox2l.training.parallel_prefill import answer_logits, full_attention_memory
from videox2l.training.plain import PLAIN_SMOKE, train_plain
from videox2l.training.plain_export import save_stock
from videox2l.video.synthetic import SECONDS_PER_SCENE, Scene, SyntheticClip

QUESTION = "What is the code in second 3 of the red circle scene?"


@pytest.fixture(scope="module")
def tiny() -> VideoXL:
    model = load_model("tiny", device="cpu")
    assert isinstance(model, VideoXL)
    return model


@pytest.fixture(scope="module")
def stock(tiny: VideoXL, tmp_path_factory: pytest.TempPathFactory) -> PlainModel:
    folder = tmp_path_factory.mktemp("stock")
    save_stock(tiny.network, tiny.tokenizer, folder)
    model = load_model(str(folder), device="cpu")
    assert isinstance(model, PlainModel)
    return model


def test_frames_and_words_are_the_same_tokens(tiny: VideoXL, stock: PlainModel) -> None:
    frames = torch.randint(0, 256, (3, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(stock.encode_frames(frames), tiny.encode_frames(frames), rtol=1e-4, atol=1e-4)
    # The line break in front of a question is the row behind the video.
    line_break, *question = tiny.question_ids(QUESTION)
    assert stock.question_ids(QUESTION) == question
    torch.testing.assert_close(
        stock.rows_behind, tiny.decoder.get_input_embeddings()(torch.tensor([line_break])), rtol=0, atol=1e-3
    )
    assert stock.question_ids(QUESTION, follow_up=True) == tiny.question_ids(QUESTION, follow_up=True)
    assert stock.answer_ids("4 7 1") == tiny.answer_ids("4 7 1")
    assert len(stock.tokenizer) == len(tiny.tokenizer) + 2


@torch.inference_mode()
def test_uncompressed_answers_are_those_of_the_tiny_model_without_vsts(tiny: VideoXL, stock: PlainModel) -> None:
    visual_CWN = 0.5 * torch.randn(3, 32, 128, generator=torch.Generator().manual_seed(1))
    scene = Scene("red", "circle", ((0, 0, 0),) * SECONDS_PER_SCENE)
    clip = ComposedClip(SyntheticClip((scene,) * 3), tuple(Take(scene, visual_WN) for visual_WN in visual_CWN))
    prompt, dense, _ = levels(stock, [clip], CompressionConfig(1, 1, SECONDS_PER_SCENE, "level"))
    memory = mix(prompt, dense[0], partial(stock.rope_tables, 0))
    memories, start = full_attention_memory(tiny.network, torch.tensor(stock.prompt_ids(None)), visual_CWN[None])
    assert memory.tokens == start + 1
    ids = torch.tensor([[QuestionEncoder(tiny.tokenizer).question(QUESTION)]])
    expected = answer_logits(tiny.network, memories, start, ids, torch.ones_like(ids, dtype=torch.bool))
    from videox2l.models.cache import to_cache

    answered = stock.decoder(torch.tensor([stock.question_ids(QUESTION)]), past_key_values=to_cache(memory)).logits[0]
    torch.testing.assert_close(answered[:, : expected.shape[1]], expected[1:], rtol=1e-3, atol=2e-3)


def test_the_whole_script_leaves_a_checkpoint_that_loads(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        results = train_plain(tmp_path / "out", work=tmp_path / "work", steps=2, setting=PLAIN_SMOKE)
    finally:
        torch.set_num_threads(before)
    assert results["training"]["steps"] == 2
    model = load_model(f"{tmp_path / 'out'}?compressor=key_norm", device="cpu")
    assert model.relevance_heads is not None
    card = (tmp_path / "out" / "README.md").read_text()
    assert "--plain --steps 2 --seed 0" in card
    rows = json.loads((tmp_path / "out" / "evaluation.json").read_text())["rows"]
    assert {(row["scenes"], row["suite"]) for row in rows} >= {(2, "retrieval"), (4, "exists")}
