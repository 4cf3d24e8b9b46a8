"""The bundled checkpoint answers questions about real files it has never seen, better with detail than without."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from videox2l import Archive, ResidentVideo, SelectionConfig, ask, ingest_video, load_model
from videox2l.answering import Answer
from videox2l.models.registry import TINY_FOLDER
from videox2l.models.video_xl.model import VideoXL
from videox2l.video.synthetic import HELD_OUT_SEED, Question, SyntheticClip, normalise, questions, render

SEED = HELD_OUT_SEED + 8_000
SCENES = 8


@pytest.fixture(scope="module")
def tiny() -> VideoXL:
    return load_model("tiny", device="cpu")


@pytest.fixture(scope="module")
def clip() -> SyntheticClip:
    return SyntheticClip.from_seed(SEED, SCENES)


@pytest.fixture(scope="module")
def video(tiny: VideoXL, clip: SyntheticClip, tmp_path_factory: pytest.TempPathFactory) -> ResidentVideo:
    folder = tmp_path_factory.mktemp("tiny")
    path = folder / "clip.mp4"
    render(clip, path)
    archive = Archive.open(folder / "archive", create=True)
    identity, _ = ingest_video(tiny, archive, path)
    return ResidentVideo(tiny, archive.open_index(identity.video_id))


@pytest.fixture(scope="module")
def answers(tiny: VideoXL, clip: SyntheticClip, video: ResidentVideo) -> Callable[[str], list[tuple[Question, Answer]]]:
    asked = questions(clip, SEED, count=24)
    inner = [question for question in asked if question.kind != "code" or question.chunk not in (0, SCENES - 1)]

    @functools.cache
    def run(select: str) -> list[tuple[Question, Answer]]:
        return [(question, ask(tiny, video, question.text, SelectionConfig(select, 1))) for question in inner]

    return run


def digits_right(pairs: list[tuple[Question, Answer]]) -> float:
    right = [
        given == digit
        for question, answer in pairs
        if question.kind == "code"
        for digit, given in zip(question.answer.split(), answer.text.split() + ["?"] * 3, strict=False)
    ]
    return sum(right) / len(right)


def test_the_folder_is_small_and_whole() -> None:
    assert sum(file.stat().st_size for file in TINY_FOLDER.iterdir()) < 15e6
    assert (TINY_FOLDER / "README.md").is_file()


def test_detail_needs_low_kvs_and_the_scorer_finds_them(
    answers: Callable[[str], list[tuple[Question, Answer]]],
) -> None:
    high, selected, random, low = (answers(select) for select in ("none", "attention", "random", "all"))
    assert digits_right(low) > 0.9
    assert digits_right(high) < 0.5
    assert digits_right(selected) > 0.9
    assert digits_right(random) < digits_right(selected) - 0.3
    codes = [(question, answer) for question, answer in selected if question.kind == "code"]
    found = [answer.spans[0].chunk == question.chunk for question, answer in codes]
    assert sum(found) / len(found) > 0.9


def test_gist_needs_high_kvs_only(answers: Callable[[str], list[tuple[Question, Answer]]]) -> None:
    gist = [
        normalise(answer.text) == normalise(question.answer)
        for question, answer in answers("none")
        if question.kind != "code"
    ]
    assert sum(gist) / len(gist) >= 0.97


def test_reading_one_chunk_costs_a_fraction(answers: Callable[[str], list[tuple[Question, Answer]]]) -> None:
    def used(select: str) -> int:
        return sum(answers(select)[0][1].receipt.bytes_used.values())

    assert used("none") < used("attention") < 0.75 * used("all")


def test_no_network_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert load_model("tiny").geometry.layers > 0
    assert not any(tmp_path.iterdir())
