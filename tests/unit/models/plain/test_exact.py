"""With ratio 1 a prefill in chunks is transformers' own, run on the whole video in one go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.plain_checkpoints import SETTINGS
from tests.unit.models.plain.conftest import plain
from tests.unit.models.plain.reference import FPS, timeline, whole_video
from videox2l.answering.decode import generate
from videox2l.config import CompressionConfig, GenerationConfig
from videox2l.kv import KV, LEVELS, ChunkKV, mix, reload
from videox2l.models.cache import to_cache
from videox2l.models.plain.model import PlainModel

DENSE = CompressionConfig(low_ratio=1, high_ratio=1, frames_per_chunk=4)
QUESTION = "What is in the scene?"


def frames(count: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8))


def prefilled(model: PlainModel, frames_FHWC: torch.Tensor, compression: CompressionConfig) -> tuple[KV, list[ChunkKV]]:
    prefill = model.start_prefill(compression, timeline=timeline(model, len(frames_FHWC)))
    chunks = frames_FHWC.split(compression.frames_per_chunk)
    kvs = [
        prefill.append(model.encode_frames(chunk_FHWC), last=number == len(chunks) - 1)
        for number, chunk_FHWC in enumerate(chunks)
    ]
    return prefill.prompt, kvs


def test_answers_are_those_of_transformers(family_model: PlainModel) -> None:
    model, clip_FHWC = family_model, frames(7)
    inputs = whole_video(model, clip_FHWC, QUESTION)
    check_against_generate(model, clip_FHWC, inputs)


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl"])
def test_a_long_video_ends_before_the_question(plain_checkpoints: dict[str, Path], family: str) -> None:
    """By the papers' definition, which transformers leaves where a video is longer than its picture is wide."""
    model, clip_FHWC = plain(plain_checkpoints[family], SETTINGS[family]), frames(30)
    inputs = whole_video(model, clip_FHWC, QUESTION)
    in_front, question = len(model.prompt_ids(None)), len(model.question_ids(QUESTION))
    positions = [[place] * 3 for place in range(in_front)]
    for pair in range(15):
        time = pair if family == "qwen2_vl" else int(2 * pair * 2 / FPS)
        positions += [[in_front + time, in_front + row, in_front + column] for row in range(4) for column in range(4)]
    behind = max(map(max, positions)) + 1
    positions += [[behind + place] * 3 for place in range(question)]
    count = len(positions)
    text_1T = torch.arange(count)[None]
    inputs["position_ids"] = torch.cat([text_1T, torch.tensor(positions).T])[:, None]
    check_against_generate(model, clip_FHWC, inputs)


def check_against_generate(model: PlainModel, clip_FHWC: torch.Tensor, inputs: dict[str, torch.Tensor]) -> None:
    with torch.inference_mode():
        theirs = model.network.generate(
            **inputs, max_new_tokens=24, do_sample=False, return_dict_in_generate=True, output_logits=True
        )
    tokens = theirs.sequences[0, inputs["input_ids"].shape[1] :].tolist()
    prompt, kvs = prefilled(model, clip_FHWC, DENSE)
    for level in LEVELS:
        mixed = mix(prompt, [chunk[level] for chunk in kvs], lambda count, dtype: model.rope_tables(0, count, dtype))
        ids = model.question_ids(QUESTION)
        picks = list(generate(model.decoder, ids, to_cache(mixed), GenerationConfig(24), model.stop_ids))
        assert [pick.token for pick in picks] == [token for token in tokens if token not in model.stop_ids]
        fed = torch.tensor([ids + tokens[:-1]])
        with torch.inference_mode():
            ours_TV = model.decoder(fed, past_key_values=to_cache(mixed)).logits[0, len(ids) - 1 :]
        torch.testing.assert_close(ours_TV, torch.cat(theirs.logits), atol=1e-4, rtol=0)


@pytest.mark.parametrize("frames_per_chunk", [2, 4])
def test_chunks_make_no_difference(family_model: PlainModel, frames_per_chunk: int) -> None:
    whole_prompt, [whole] = prefilled(family_model, frames(9), CompressionConfig(1, 1, frames_per_chunk=10))
    prompt, parts = prefilled(family_model, frames(9), CompressionConfig(1, 1, frames_per_chunk=frames_per_chunk))
    assert torch.equal(prompt.keys_LHTD, whole_prompt.keys_LHTD)
    for name in ("keys_LHTD", "values_LHTD"):
        joined = torch.cat([getattr(part["low"], name) for part in parts], dim=2)
        torch.testing.assert_close(joined, getattr(whole["low"], name), atol=1e-5, rtol=1e-4)


def test_reloading_everything_is_the_low_level(plain_model: PlainModel) -> None:
    compression = CompressionConfig(low_ratio=1, high_ratio=4, frames_per_chunk=3)
    _, kvs = prefilled(plain_model, frames(12), compression)
    _, dense = prefilled(plain_model, frames(12), replace(DENSE, frames_per_chunk=3))
    parts = reload([chunk["high"] for chunk in kvs], {number: chunk["low"] for number, chunk in enumerate(kvs)})
    for part, chunk in zip(parts, dense, strict=True):
        assert torch.equal(part.keys_LHTD, chunk["low"].keys_LHTD)
        assert torch.equal(part.values_LHTD, chunk["low"].values_LHTD)
    assert [chunk["high"].tokens for chunk in kvs] == [12, 3, 3, 13]  # both ends at the low ratio, and a line break


def test_a_wide_window_is_dense(plain_model: PlainModel, plain_checkpoints: dict[str, Path]) -> None:
    windowed = plain(plain_checkpoints["llava_onevision"], "?window=9")
    compression = CompressionConfig(low_ratio=2, high_ratio=6, frames_per_chunk=3, edge_ratio=1)
    _, kvs = prefilled(windowed, frames(12), compression)
    _, narrow = prefilled(plain_model, frames(12), compression)
    _, dense = prefilled(plain_model, frames(12), replace(DENSE, frames_per_chunk=3))
    torch.testing.assert_close(kvs[-1]["low"].keys_LHTD, dense[-1]["low"].keys_LHTD, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(narrow[-1]["low"].keys_LHTD, dense[-1]["low"].keys_LHTD, atol=1e-3)
