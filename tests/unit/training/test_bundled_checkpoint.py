"""The checkpoint in the repository does what its model card says, on a video file that was never trained on."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

import videox2l.models.tiny
from videox2l.models.relevance import read_relevance_heads
from videox2l.models.video_xl.checkpoint import load_network
from videox2l.training.clips import QuestionEncoder
from videox2l.training.files import FilePrefill, as_memories
from videox2l.training.relevance import best_chunk, question_attention
from videox2l.video.synthetic import HELD_OUT_SEED, SyntheticClip, ask, normalise, render

FOLDER = Path(videox2l.models.tiny.__file__).parent / "checkpoint"
SCENES = 8
MEGABYTE = 10**6

pytestmark = pytest.mark.skipif(not (FOLDER / "model.safetensors").exists(), reason="no checkpoint was trained yet")


@pytest.fixture(scope="module")
def model():
    network = load_network(FOLDER, device=torch.device("cpu"), dtype=torch.float32)
    return network, AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def clip() -> SyntheticClip:
    return SyntheticClip.from_seed(HELD_OUT_SEED + 123_456, SCENES)


@pytest.fixture(scope="module")
def video(model, clip, tmp_path_factory) -> FilePrefill:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    render(clip, path)
    return FilePrefill(*model, path, SCENES)


def right(video: FilePrefill, clip: SyntheticClip, kind: str, reloaded=None) -> float:
    """Share of right answers to questions about inner scenes; ``reloaded`` gives the low chunks for a question."""
    rng = np.random.default_rng(5)
    asked = [ask(clip, kind, rng, code_scenes=range(1, SCENES - 1)) for _ in range(12)]
    return float(
        np.mean(
            [
                normalise(video.answer(video.memory(reloaded(q) if reloaded else ()), q.text)) == normalise(q.answer)
                for q in asked
            ]
        )
    )


def test_codes_need_the_low_level_and_one_chunk_of_it_is_enough(video, clip) -> None:
    assert right(video, clip, "code") <= 0.4
    assert right(video, clip, "code", lambda _: range(SCENES)) >= 0.8
    assert right(video, clip, "code", lambda question: (question.chunk,)) >= 0.8


def test_gist_is_in_the_high_level(video, clip) -> None:
    assert right(video, clip, "exists") >= 0.8


def test_calibrated_heads_find_the_scene(model, video, clip) -> None:
    network, tokenizer = model
    heads = read_relevance_heads(FOLDER, 4, 4)
    assert heads is not None
    memory = video.memory(())
    encoder, rng = QuestionEncoder(tokenizer), np.random.default_rng(6)
    with torch.inference_mode():
        for _ in range(8):
            question = ask(clip, "code", rng)
            weights = question_attention(network, encoder, as_memories(memory), question)
            assert best_chunk(weights, memory.chunk_slices, heads) == question.chunk


def test_folder_is_small_and_complete() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 15 * MEGABYTE
    assert "## Results on held-out clips" in (FOLDER / "README.md").read_text()
    rows = json.loads((FOLDER / "evaluation.json").read_text())["rows"]
    assert {row["kind"] for row in rows} == {"code", "exists", "after", "first", "last"}
