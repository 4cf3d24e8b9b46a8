"""Settings of the bundled model against its uncompressed memory, on one rendered clip."""

from __future__ import annotations

import dataclasses

import pytest

from videox2l.config import CompressionConfig, SamplingConfig
from videox2l.errors import QuestionTooLongError
from videox2l.evaluation.calibration import Grid, Measurement, Watched, measure, rendered_clips, watch
from videox2l.models import KVCompressibleModel, load_model

GRID = Grid((CompressionConfig(2, 32, 8, "level"),), ("raw", "squeeze", "int4"), ("attention",), (1, 2))


@pytest.fixture(scope="module")
def model() -> KVCompressibleModel:
    return load_model("tiny")


@pytest.fixture(scope="module")
def clip(model: KVCompressibleModel, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    (path, questions), *_ = rendered_clips(tmp_path_factory.mktemp("clips"), 1, 5)
    return watch(model, path, SamplingConfig(), 8, questions)


@pytest.fixture(scope="module")
def found(model: KVCompressibleModel, clip: Watched) -> list[Measurement]:
    return measure(model, clip, GRID)


def of(found: list[Measurement], codec: str, select: str, k: int = 0) -> list[Measurement]:
    wanted = (codec, select, k)
    return [
        one for one in found if one.setting and (one.setting.codec, one.setting.select, one.setting.top_k) == wanted
    ]


def test_detail_is_what_the_gist_lacks(clip: Watched, found: list[Measurement]) -> None:
    questions = len(clip.questions)
    references = [one for one in found if one.setting is None]
    assert len(references) == questions
    assert all(one.agrees and one.right and one.kl == one.logit_difference == 0 for one in references)
    high, low = of(found, "raw", "none"), of(found, "raw", "all")
    assert len(high) == len(low) == questions
    assert sum(one.agrees for one in low) == questions
    assert sum(one.agrees for one in high) < questions / 2 + 4
    assert all(one.agrees == one.right for one in high + low), "the reference is always right"
    assert sum(one.kl for one in low) < sum(one.kl for one in high)
    assert sum(one.agrees for one in of(found, "raw", "attention", 2)) > sum(one.agrees for one in high)


def test_bytes_are_those_of_the_codec_and_the_chunks(model: KVCompressibleModel, found: list[Measurement]) -> None:
    token = model.geometry.bytes_per_token
    prompt = model.start_prefill(GRID.compressions[0]).prompt.tokens
    high, low = 5 * 1, 16  # tokens: a ratio of 32 of 32 raw ones, and one chunk at 2
    assert {one.bytes_read for one in of(found, "raw", "none")} == {(prompt + high) * token}
    assert {one.bytes_read for one in of(found, "raw", "attention", 2)} == {(prompt + high + 2 * low) * token}
    assert {one.bytes_read for one in of(found, "raw", "all")} == {(prompt + 5 * low) * token}
    assert of(found, "int4", "all")[0].bytes_read < of(found, "raw", "all")[0].bytes_read


def test_lossless_codecs_change_no_answer(found: list[Measurement]) -> None:
    for select, k in GRID.selections():
        raw, squeezed = of(found, "raw", select, k), of(found, "squeeze", select, k)
        assert [(one.kl, one.agrees) for one in raw] == [(one.kl, one.agrees) for one in squeezed]
    # A single token, as each high chunk is here, survives int4 whole; sixteen do not.
    assert [one.kl for one in of(found, "int4", "all")] != [one.kl for one in of(found, "raw", "all")]


def test_low_as_the_reference(model: KVCompressibleModel, clip: Watched) -> None:
    short = dataclasses.replace(clip, questions=clip.questions[:2])
    low = of(measure(model, short, GRID, reference="low"), "raw", "all")
    assert all(one.agrees and one.kl < 1e-6 for one in low)


def test_a_video_that_does_not_fit(model: KVCompressibleModel, clip: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "context_length", 100)
    with pytest.raises(QuestionTooLongError, match="uncompressed"):
        measure(model, clip, GRID)
