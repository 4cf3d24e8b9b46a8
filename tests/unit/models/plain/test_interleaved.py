"""Text between frames: kept whole at both levels, in its place, and told the right numbers and times."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.unit.models.plain.conftest import plain
from tests.unit.models.plain.reference import timeline
from tests.unit.models.plain.test_exact import DENSE, frames, prefilled
from tests.unit.video.clips import regular, write_numbered_clip
from videox2l import Archive, CompressionConfig
from videox2l.answering.decode import generate
from videox2l.config import GenerationConfig, SamplingConfig
from videox2l.errors import CheckpointError, ModelError
from videox2l.evaluation.benchmarks.full_kv import FullKV
from videox2l.kv import KV, LEVELS, mix
from videox2l.models import PrefillState, Timeline
from videox2l.models.cache import to_cache
from videox2l.models.plain.compressors import COMPRESSORS, DenseChunk, Kept, Share
from videox2l.models.plain.interleaved import internvl_text, smolvlm_text
from videox2l.models.plain.model import PlainModel
from videox2l.prefill import append_video
from videox2l.prefill.chunks import timeline_of
from videox2l.video import plan_video

COMPRESSION = CompressionConfig(low_ratio=2, high_ratio=8, frames_per_chunk=4, edge_ratio="level")

# Of a chunk's 16 visual tokens, those in the middle of the groups that means are of, by level.
MIDDLES = {"low": list(range(0, 16, 2)), "high": [3, 11]}


@pytest.fixture(scope="module", params=["internvl", "smolvlm"])
def interleaved(request: pytest.FixtureRequest, plain_checkpoints: dict[str, Path]) -> PlainModel:
    return plain(plain_checkpoints[request.param])


@pytest.fixture(scope="module")
def smolvlm(plain_checkpoints: dict[str, Path]) -> PlainModel:
    return plain(plain_checkpoints["smolvlm"])


def between(model: PlainModel, number: int, frames: int) -> list[int]:
    assert model.frame_text is not None
    return model.chat.frame_ids(model.frame_text.between(number, timeline(model, frames)))


@pytest.mark.parametrize("compressor", ["average", "key_norm"])
def test_text_stays_dense_and_in_its_place(
    plain_checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch, compressor: str
) -> None:
    """Of the first chunk, whose dense KVs do not depend on what is kept of others."""
    seen: list[DenseChunk] = []

    def watched(chunk: DenseChunk, keep: int, share: Share) -> Kept:
        seen.append(chunk)
        return found(chunk, keep, share)

    found = COMPRESSORS[compressor]
    monkeypatch.setitem(COMPRESSORS, compressor, watched)
    model = plain(plain_checkpoints["internvl"], f"?compressor={compressor}")
    _, [dense, *_] = prefilled(model, frames(8), CompressionConfig(1, 1, frames_per_chunk=4))
    _, [chunk, _] = prefilled(model, frames(8), COMPRESSION)
    visual = []
    for number in range(4):
        visual += [False] * (len(between(model, number, 8)) if number else 0) + [True] * model.tokens_per_frame
    visual_X, whole = torch.tensor(visual), dense["low"]
    for given in seen[:2]:
        assert torch.equal(given.kv.keys_LHTD, whole.keys_LHTD[:, :, visual_X])
        assert given.queries_LQTD.shape[2] == 16
    text_S = (~visual_X).nonzero()[:, 0]
    for level, kept in (("low", 8), ("high", 2)):
        kv = chunk[level]  # type: ignore[index]
        assert kv.tokens == kept + len(text_S)
        for head in range(2):
            places = _places(kv, whole, head)
            known = [place for place in places if place is not None]
            assert known == sorted(known)
            assert set(text_S.tolist()) <= set(known)
            if compressor == "average":  # means of no text
                assert places.count(None) == kept
                assert known == text_S.tolist()
                middles = visual_X.nonzero()[MIDDLES[level], 0].tolist()
                layout = sorted([(place, True) for place in middles] + [(place, False) for place in text_S.tolist()])
                assert [place is None for place in places] == [is_mean for _, is_mean in layout]
            else:
                assert places.count(None) == 0


def _places(kv: KV, whole: KV, head: int) -> list[int | None]:
    """Which token of ``whole`` each of ``kv`` is, if any: by the last layer, where equal words differ."""
    same_KT = (kv.values_LHTD[-1, head][:, None] == whole.values_LHTD[-1, head][None]).all(-1)
    return [int(row.int().argmax()) if row.any() else None for row in same_KT]


def test_means_stand_in_the_middle_of_what_they_are_of() -> None:
    states = torch.randn(1, 1, 10, 4)
    kept = COMPRESSORS["average"](DenseChunk(KV(states, states), states, states[:, :, :2], 5), 3, "head")
    assert isinstance(kept, Kept)
    assert kept.places_LHK.tolist() == [[[1, 5, 8]]]  # of groups 0-3, 4-6, 7-9


def test_resumed_bit_for_bit(interleaved: PlainModel) -> None:
    model, clip_FHWC = interleaved, frames(14)
    prompt, kvs = prefilled(model, clip_FHWC, COMPRESSION)
    resumed = model.start_prefill(COMPRESSION, PrefillState(prompt, kvs[:2]), timeline(model, 14))
    for number in (2, 3):
        again = resumed.append(model.encode_frames(clip_FHWC[4 * number : 4 * number + 4]), last=number == 3)
        for level in LEVELS:
            assert torch.equal(again[level].keys_LHTD, kvs[number][level].keys_LHTD)


def test_the_yardstick_sees_all_text(interleaved: PlainModel) -> None:
    """The uncompressed model that an evaluation compares with."""
    model, clip_FHWC = interleaved, frames(10)
    prompt, kvs = prefilled(model, clip_FHWC, DENSE)
    seen = [model.encode_frames(part) for part in clip_FHWC.split(4)]
    memory = FullKV(model, prompt, seen, timeline(model, 10))
    assert memory.tokens == prompt.tokens + sum(chunk["low"].tokens for chunk in kvs)
    mixed = mix(prompt, [chunk["low"] for chunk in kvs], lambda count, dtype: model.rope_tables(0, count, dtype))
    picks = generate(model.decoder, model.question_ids("What?"), to_cache(mixed), GenerationConfig(12), model.stop_ids)
    text, _ = memory.ask("What?", GenerationConfig(12))
    assert text == model.tokenizer.decode([pick.token for pick in picks])


def test_a_recording_that_grew(plain_checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """InternVL counts frames, so it goes on; SmolVLM was told another length before the first frame."""
    clips = {}
    for count in (25, 35):
        clips[count] = tmp_path / f"{count}.mp4"
        write_numbered_clip(clips[count], pts=regular(count))
    sampling, recording = SamplingConfig(fps=10), tmp_path / "recording.mp4"
    for family in ("internvl", "smolvlm"):
        model = plain(plain_checkpoints[family])
        archive = Archive.open(tmp_path / family, create=True)
        recording.write_bytes(clips[25].read_bytes())
        identity, _ = append_video(model, archive, recording, sampling=sampling, compression=COMPRESSION)
        recording.write_bytes(clips[35].read_bytes())
        if family == "smolvlm":
            with pytest.raises(ModelError, match="told a video's length"):
                append_video(model, archive, recording, sampling=sampling, compression=COMPRESSION)
            assert archive.open_index(identity.video_id).manifest.duration_s < 3
        else:
            append_video(model, archive, recording, sampling=sampling, compression=COMPRESSION)
            grown = archive.open_index(identity.video_id)
            fresh = Archive.open(tmp_path / "fresh", create=True)
            again, _ = append_video(model, fresh, clips[35], sampling=sampling, compression=COMPRESSION)
            expected = fresh.open_index(again.video_id)
            for mine, theirs in zip(*(index.low_many(range(5)).values() for index in (grown, expected)), strict=True):
                assert torch.equal(mine.keys_LHTD, theirs.keys_LHTD)


def test_times_are_those_of_the_plan(smolvlm: PlainModel, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    write_numbered_clip(clip, pts=regular(25))
    chunks = plan_video(clip, SamplingConfig(fps=2), 2).chunks
    found = timeline_of(chunks)
    assert found.times_s == tuple(time for chunk in chunks for time in chunk.times_s)
    assert smolvlm.frame_text is not None
    opening = smolvlm.frame_text.opening(found)
    assert "following series of five frames from a 0:00:02 [H:MM:SS] video" in opening
    assert "Frame from 00:01:" in smolvlm.frame_text.between(2, found)


def test_times_must_be_known(smolvlm: PlainModel, plain_checkpoints: dict[str, Path]) -> None:
    with pytest.raises(ModelError, match="the video's timeline"):
        smolvlm.start_prefill(DENSE)
    prefill = smolvlm.start_prefill(DENSE, timeline=Timeline.steady(2))
    with pytest.raises(ModelError, match="more frames than the 2"):
        prefill.append(smolvlm.encode_frames(frames(3)), last=True)
    plain(plain_checkpoints["internvl"]).start_prefill(DENSE)


def test_a_tokenizer_of_another_model(smolvlm: PlainModel) -> None:
    with pytest.raises(CheckpointError, match="start_image_token"):
        internvl_text(smolvlm.tokenizer)


def test_without_number_words(smolvlm: PlainModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "num2words", None)
    with pytest.raises(ModelError, match="pip install num2words"):
        smolvlm_text(smolvlm.tokenizer)
