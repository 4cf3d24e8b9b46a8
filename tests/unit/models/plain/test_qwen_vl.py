"""What only models with three positions a token have."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.plain_checkpoints import SETTINGS
from tests.unit.answering.by_hand import assert_equal, mixed
from tests.unit.models.plain.conftest import plain
from tests.unit.models.plain.reference import timeline
from tests.unit.models.plain.test_exact import QUESTION, frames, prefilled
from tests.unit.video.clips import regular, write_numbered_clip
from videox2l import Archive, CompressionConfig, ResidentVideo, SelectionConfig, ingest_video
from videox2l.answering.costs import Costs
from videox2l.answering.dialogue import tokenize
from videox2l.answering.memory import build_memory
from videox2l.config import SamplingConfig
from videox2l.errors import ConfigError, ModelError
from videox2l.evaluation.benchmarks.full_kv import FullKV
from videox2l.kv import LEVELS, mix
from videox2l.kv.rope import rotate
from videox2l.models import PrefillState, Timeline
from videox2l.models.plain.model import PlainModel
from videox2l.models.plain.qwen_vl import step_times
from videox2l.prefill.append import stored_state
from videox2l.prefill.chunks import timeline_of
from videox2l.video import decode_chunks, plan_video

COMPRESSION = CompressionConfig(low_ratio=2, high_ratio=8, frames_per_chunk=4)


@pytest.fixture(scope="module", params=sorted(SETTINGS))
def qwen(request: pytest.FixtureRequest, plain_checkpoints: dict[str, Path]) -> PlainModel:
    return plain(plain_checkpoints[request.param], SETTINGS[request.param])


def test_the_archive_gives_back_what_was_prefilled(qwen: PlainModel, tmp_path: Path) -> None:
    """With the file's own times, through a cut-off ingest's state, up to the memory of a question."""
    clip, sampling = tmp_path / "clip.mp4", SamplingConfig(fps=5)
    write_numbered_clip(clip, pts=regular(50))
    archive = Archive.open(tmp_path / "archive", create=True)
    identity, manifest = ingest_video(qwen, archive, clip, sampling=sampling, compression=COMPRESSION)
    assert manifest is not None
    reader = archive.open_index(identity.video_id)
    state = stored_state(reader, len(manifest.chunks))
    assert state is not None
    stored = list(state.chunks)
    plan = plan_video(clip, sampling, COMPRESSION.frames_per_chunk)
    resumed = qwen.start_prefill(COMPRESSION, PrefillState(reader.prompt(), stored[:2]), timeline_of(plan.chunks))
    last = len(plan.chunks) - 1
    for item in list(decode_chunks(clip, plan.chunks, qwen.frame_format))[2:]:
        again = resumed.append(qwen.encode_frames(torch.from_numpy(item.frames_FHWC)), last=item.chunk.index == last)
        for level in LEVELS:
            kept = stored[item.chunk.index][level]
            assert torch.equal(again[level].keys_LHTD, kept.keys_LHTD)
            assert again[level].next_position == kept.next_position
    ends = [chunk["low"].next_position for chunk in stored]
    assert ends == [chunk["high"].next_position for chunk in stored] == sorted(ends)
    video = ResidentVideo(qwen, reader)
    dialogue = tokenize(qwen, QUESTION)
    for chosen in ([], [1], [0, last]):
        selection = SelectionConfig(select=",".join(map(str, chosen)) or "none")
        memory = build_memory(qwen, video, dialogue, selection, range(last + 1), Costs())
        levels = {number: "low" if number in chosen else "high" for number in range(last + 1)}
        assert_equal(memory.mixed, mixed(qwen, reader, levels))


def test_full_kv_is_a_prefill_at_ratio_1(qwen: PlainModel) -> None:
    clip_FHWC = frames(10)
    prompt, kvs = prefilled(qwen, clip_FHWC, CompressionConfig(1, 1, frames_per_chunk=4))
    memory = FullKV(qwen, prompt, [qwen.encode_frames(part) for part in clip_FHWC.split(4)], timeline(qwen, 10))
    expected = mix(prompt, [chunk["low"] for chunk in kvs], lambda n, dtype: qwen.rope_tables(0, n, dtype))
    assert memory.tokens == expected.tokens
    for layer, keys_HTD in zip(memory._cache.layers, expected.keys_LHTD, strict=True):
        assert torch.equal(layer.keys[0], keys_HTD)


def test_a_wide_window_is_dense(qwen: PlainModel) -> None:
    windowed = plain(Path(qwen.name.partition("?")[0]), SETTINGS[qwen.network.config.model_type] + "&window=9")
    compression = CompressionConfig(low_ratio=2, high_ratio=8, frames_per_chunk=4, edge_ratio=1)
    last_chunks = [
        prefilled(model, frames(12), how)[1][-1]["low"]
        for model, how in ((windowed, compression), (qwen, CompressionConfig(1, 1, frames_per_chunk=4)))
    ]
    torch.testing.assert_close(last_chunks[0].keys_LHTD, last_chunks[1].keys_LHTD, atol=1e-5, rtol=1e-4)
    assert last_chunks[0].next_position == last_chunks[1].next_position


def test_times_of_frames_reach_the_model(plain_checkpoints: dict[str, Path]) -> None:
    """Half as fast is twice as long: in positions with Qwen2.5-VL, in words with Qwen3-VL, not at all with Qwen2-VL."""
    clip_FHWC = frames(4)
    ends: dict[str, tuple[int | None, int | None]] = {}
    changed = {}
    for family in sorted(SETTINGS):
        model = plain(plain_checkpoints[family], SETTINGS[family])
        found = []
        for seconds in (1.0, 2.0):
            prefill = model.start_prefill(COMPRESSION, timeline=Timeline.steady(4, fps=1 / seconds))
            found.append(prefill.append(model.encode_frames(clip_FHWC), last=True)["low"])
        ends[family] = found[0].next_position, found[1].next_position
        changed[family] = not torch.equal(found[0].keys_LHTD, found[1].keys_LHTD)
    prompt = len(model.chat.prefix_ids())
    assert changed == {"qwen2_vl": False, "qwen2_5_vl": True, "qwen3_vl": True}
    assert ends["qwen2_vl"] == (prompt + 4, prompt + 4)  # four columns are more than two steps
    assert ends["qwen2_5_vl"] == (prompt + 5, prompt + 9)  # the second pair begins after 2 or 4 seconds
    assert ends["qwen3_vl"][0] == ends["qwen3_vl"][1]  # as many letters


def test_text_between_frames_is_never_compressed(plain_checkpoints: dict[str, Path]) -> None:
    model = plain(plain_checkpoints["qwen3_vl"], SETTINGS["qwen3_vl"] + "&compressor=key_norm")
    _, kvs = prefilled(model, frames(12), COMPRESSION)
    text = 2 * len("<0.1 seconds>") + 4  # a token a letter here, and two around each of the two pairs
    assert (kvs[1]["low"].tokens, kvs[1]["high"].tokens) == (16 + text, 4 + text)
    first = slice(0, text // 2)  # in front of the chunk's first pair
    assert torch.equal(kvs[1]["low"].keys_LHTD[:, :, first], kvs[1]["high"].keys_LHTD[:, :, first])


def test_times_of_steps() -> None:
    told = Timeline((0.0, 1.0, 2.0, 2.5, 3.0), 4.0)
    assert step_times(2, told) == (2.0, 2.5)
    assert step_times(4, told) == (3.0, 3.0)  # a single last frame makes a pair with itself
    assert step_times(4, Timeline((), 0.0)) == (2.0, 2.5)  # 2 frames a second where nobody says
    with pytest.raises(ModelError, match="more frames than the 5"):
        step_times(6, told)


def test_what_cannot_be(qwen: PlainModel, plain_checkpoints: dict[str, Path]) -> None:
    for refused in (qwen.start_prefill, lambda compression: qwen.workload(compression, 1)):
        with pytest.raises(ConfigError, match="multiple of 2"):
            refused(CompressionConfig(2, 8, frames_per_chunk=5))
    for size in ("32", "36x32", "0x32", "32x32x3"):
        with pytest.raises(ConfigError, match="multiples of 8 pixels"):
            plain(plain_checkpoints["qwen2_vl"], f"?size={size}")
    with pytest.raises(ConfigError, match="size of its own"):
        plain(plain_checkpoints["llava_onevision"], "?size=32x32")


def test_a_frame_has_the_shape_of_most_videos(plain_checkpoints: dict[str, Path]) -> None:
    model = plain(plain_checkpoints["qwen2_vl"])
    assert (model.frame_format.width, model.frame_format.height, model.tokens_per_frame) == (128, 72, 72)


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl"])
def test_weights_under_their_published_names(plain_checkpoints: dict[str, Path], tmp_path: Path, family: str) -> None:
    """Published before transformers moved its modules."""
    folder = tmp_path / "published"
    shutil.copytree(plain_checkpoints[family], folder)
    weights = load_file(folder / "model.safetensors")
    older = {
        name.replace("model.language_model.", "model.").replace("model.visual.", "visual."): tensor
        for name, tensor in weights.items()
    }
    assert {name.partition(".")[0] for name in older} == {"model", "visual", "lm_head"}
    save_file(older, folder / "model.safetensors", {"format": "pt"})
    model, moved = plain(plain_checkpoints[family], SETTINGS[family]), plain(folder, SETTINGS[family])
    blank = torch.from_numpy(np.full((2, 32, 32, 3), 9, np.uint8))
    assert torch.equal(model.encode_frames(blank), moved.encode_frames(blank))


def test_positions_need_not_be_whole(qwen: PlainModel) -> None:
    """Three equal numbers are one position; halves lie between."""
    keys_LHKD = torch.randn(2, 2, 5, 8)
    one_by_one = qwen.rotate_to(keys_LHKD, torch.arange(5).expand(3, 1, 1, 5))
    torch.testing.assert_close(one_by_one, rotate(keys_LHKD, qwen.rope_tables(0, 5, torch.float32)))
    half = qwen.rotate_to(qwen.rotate_to(keys_LHKD, torch.full((3, 1, 1, 5), 0.5)), torch.full((3, 1, 1, 5), 0.5))
    torch.testing.assert_close(half, qwen.rotate_to(keys_LHKD, torch.ones(3, 1, 1, 5)))
