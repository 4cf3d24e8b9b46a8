"""Several videos in shared forwards give what each gives alone, up to the rounding of longer matrix products."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

from videox2l.config import CompressionConfig, EdgeRatio
from videox2l.errors import ModelError
from videox2l.kv import KV, LEVELS, ChunkKV
from videox2l.models.video_xl.model import VideoXL
from videox2l.models.video_xl.prefill import append_together
from videox2l.models.video_xl.vst import plan_pass, vst_layout

COMPRESSION = CompressionConfig(low_ratio=2, high_ratio=8)
SINGLE = replace(COMPRESSION, prefill="single-pass")

# float32, values up to ~10 with these random weights
ROUNDING = 2e-4


def videos(*lengths: list[int]) -> list[list[torch.Tensor]]:
    """Visual tokens ``[T, 32]`` of videos whose chunks have these lengths."""
    generator = torch.Generator().manual_seed(0)
    return [[torch.randn(length, 32, generator=generator) for length in video] for video in lengths]


def alone(model: VideoXL, chunks: list[torch.Tensor], compression: CompressionConfig) -> list[ChunkKV]:
    prefill = model.start_prefill(compression)
    return [prefill.append(chunk, last=chunk is chunks[-1]) for chunk in chunks]


def assert_close(found: KV, expected: KV, tolerance: float) -> None:
    torch.testing.assert_close(found.keys_LHTD, expected.keys_LHTD, atol=tolerance, rtol=0)
    torch.testing.assert_close(found.values_LHTD, expected.values_LHTD, atol=tolerance, rtol=0)


CASES = {
    "alike": ([[20] * 3] * 3, [COMPRESSION] * 3),
    "other lengths, and other ends": ([[20, 20, 7], [12, 20], [20]], [COMPRESSION] * 3),
    "other compressions": ([[20] * 3] * 2, [COMPRESSION, CompressionConfig(4, 16, edge_ratio="level")]),
    "a single pass beside two": ([[20] * 3] * 3, [SINGLE, COMPRESSION, replace(SINGLE, edge_ratio="level")]),
    "no summary at all": ([[20, 3, 20], [20, 3, 20]], [replace(COMPRESSION, remainder="floor")] * 2),
}


@pytest.mark.parametrize("case", CASES)
def test_together_is_as_alone(random_model: VideoXL, case: str) -> None:
    lengths, compressions = CASES[case]
    tokens = videos(*lengths)
    expected = [alone(random_model, video, one) for video, one in zip(tokens, compressions, strict=True)]
    prefills = [random_model.start_prefill(compression) for compression in compressions]
    for index in range(max(map(len, tokens))):
        running = [number for number, video in enumerate(tokens) if index < len(video)]
        found = append_together(
            [prefills[n] for n in running],
            [tokens[n][index] for n in running],
            [index == len(tokens[n]) - 1 for n in running],
        )
        for number, level in itertools.product(range(len(running)), LEVELS):
            assert_close(found[number][level], expected[running[number]][index][level], ROUNDING)


def test_videos_at_other_places(random_model: VideoXL) -> None:
    """A video joins while another is in its middle: first, inner and last chunks share a forward."""
    first, second = videos([20] * 4, [20] * 3)
    expected = alone(random_model, first, COMPRESSION), alone(random_model, second, COMPRESSION)
    prefills = [random_model.start_prefill(COMPRESSION) for _ in range(2)]
    prefills[0].append(first[0], last=False)
    for index in range(3):
        found = append_together(prefills, [first[index + 1], second[index]], [index == 2] * 2)
        for level in LEVELS:
            assert_close(found[0][level], expected[0][index + 1][level], ROUNDING)
            assert_close(found[1][level], expected[1][index][level], ROUNDING)


def test_one_video_together_is_append_bit_for_bit(random_model: VideoXL) -> None:
    (chunks,) = videos([20, 20, 7])
    expected = alone(random_model, chunks, COMPRESSION)
    prefill = random_model.start_prefill(COMPRESSION)
    for index, chunk in enumerate(chunks):
        found = append_together([prefill], [chunk], [index == 2])[0]
        for level in LEVELS:
            assert_close(found[level], expected[index][level], 0)


def test_a_finished_video_among_others_changes_nothing(random_model: VideoXL) -> None:
    (chunk,) = videos([20])[0]
    finished, running = (random_model.start_prefill(COMPRESSION) for _ in range(2))
    finished.append(chunk, last=True)
    with pytest.raises(ModelError, match="last chunk"):
        append_together([running, finished], [chunk, chunk], [False, False])
    assert running.memory_tokens("low") == running.prompt.tokens
    for level, kv in running.append(chunk, last=True).items():
        assert_close(kv, alone(random_model, [chunk], COMPRESSION)[0][level], 0)


def test_one_video_twice_is_refused(random_model: VideoXL) -> None:
    (chunk,) = videos([20])[0]
    prefill = random_model.start_prefill(COMPRESSION)
    with pytest.raises(ValueError, match="one chunk at a time"):
        append_together([prefill, prefill], [chunk, chunk], [False, False])


def test_expected_room_is_enough_and_changes_no_bit(random_model: VideoXL) -> None:
    (chunks,) = videos([20, 20, 20, 7])
    expected = alone(random_model, chunks, COMPRESSION)
    prefill = random_model.start_prefill(COMPRESSION)
    prefill.expect(len(chunks), 20)
    rooms = {level: prefill._memory[level].keys_LHTD for level in LEVELS}
    for index, chunk in enumerate(chunks):
        found = prefill.append(chunk, last=index == 3)
        for level in LEVELS:
            assert_close(found[level], expected[index][level], 0)
    for level in LEVELS:
        assert prefill._memory[level].keys_LHTD is rooms[level]


@pytest.mark.parametrize("edge_ratio", ["low", "level", 5])
@pytest.mark.parametrize("chunks", [1, 2, 5])
def test_a_pass_is_planned_as_it_runs(random_model: VideoXL, chunks: int, edge_ratio: EdgeRatio) -> None:
    compression = replace(COMPRESSION, edge_ratio=edge_ratio)
    prefill, seen = random_model.start_prefill(compression), []
    for index in range(chunks):
        before = {level: prefill.memory_tokens(level) for level in LEVELS}
        kvs = prefill.append(torch.zeros(20, 32), last=index == chunks - 1)
        seen.append({level: (before[level], 20 + kvs[level].tokens) for level in LEVELS})
    prompt = prefill.prompt.tokens
    for level in LEVELS:
        plan = plan_pass(level, compression, chunks=chunks, raw_tokens=20, prompt_tokens=prompt)
        windows = [one[level] for one in seen]
        assert list(plan.windows()) == windows
        assert plan.capacity == max(memory + rows for memory, rows in windows)
        assert plan.kept_tokens == prefill.memory_tokens(level) - prompt
        assert plan.most_vsts == max(rows for _, rows in windows) - 20


def test_passes_are_announced(random_model: VideoXL) -> None:
    (chunks,) = videos([20] * 2)
    prefill, seen = random_model.start_prefill(COMPRESSION), []
    prefill.after_pass = seen.append
    for chunk in chunks:
        prefill.append(chunk, last=False)
    assert seen == ["low", "high"] * 2


def test_a_layout_made_for_inference_serves_training() -> None:
    with torch.inference_mode():
        layout = vst_layout(11, 3, "close")
    weight = torch.ones(layout.length, requires_grad=True)
    weight[layout.vst_rows].sum().backward()
    assert weight.grad is not None
    assert weight.grad.sum() == len(layout.vst_rows)
