"""Recommendations from made-up measurements, and what lies outside of them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from videox2l.config import CompressionConfig, SelectionConfig, to_dict
from videox2l.errors import ArchiveFormatError, ConfigError, CorruptDataError
from videox2l.evaluation.calibration import Grid, Measurement, Question, Setting, Wanted, calibrate, read_questions
from videox2l.evaluation.calibration.questions import is_right
from videox2l.models.protocol import ModelIdentity
from videox2l.store import Archive, layout
from videox2l.store.calibration import Calibration, CalibrationWatch, HeldOut, load, store

COMPRESSION = CompressionConfig(2, 16, 8)
RAW = {"low": "raw", "high": "raw"}


def measured(
    select: str, k: int, *, agree: int, read: int, right: int | None = None, codec: str = "raw"
) -> list[Measurement]:
    """Twenty questions, of which so many agree and are right."""
    setting = Setting(COMPRESSION, codec, select, k)
    return [
        Measurement("a.mp4", f"q{n}", setting, n < agree, 0.1, n, read, None if right is None else n < right)
        for n in range(20)
    ]


MEASURED = [
    *measured("none", 0, agree=8, read=100),
    *measured("attention", 1, agree=18, read=120),
    *measured("attention", 2, agree=19, read=140),
    *measured("attention", 2, agree=20, read=130, codec="int8"),
    *measured("all", 0, agree=20, read=500),
]


def found(wanted: Wanted, measurements: list[Measurement] = MEASURED) -> Calibration:
    identity = ModelIdentity("ab12", {})
    return calibrate(measurements, wanted, identity=identity, model="some", reference="full")


@pytest.mark.parametrize(
    ("agreement", "codec", "select", "top_k"),
    [(0.3, "raw", "none", 0), (0.9, "raw", "attention", 1), (0.95, "int8", "attention", 2)],
)
def test_the_cheapest_that_is_good_enough(agreement: float, codec: str, select: str, top_k: int) -> None:
    best = found(Wanted(agreement)).recommended
    assert best is not None
    assert (best.codec, best.select, best.top_k) == (codec, select, top_k)


def test_means_and_extremes() -> None:
    one = found(Wanted()).settings[1]
    assert (one.agreement, one.kl, one.logit_difference, one.bytes_read) == (0.9, pytest.approx(0.1), 19, 120)
    assert one.accuracy is None


def test_nothing_is_good_enough() -> None:
    calibration = found(Wanted(0.95), measured("attention", 2, agree=18, read=1))
    assert calibration.recommended is None
    assert "none was good enough" in str(calibration.outside(to_dict(COMPRESSION), RAW, SelectionConfig()))


def test_a_wanted_accuracy() -> None:
    some = measured("keys", 1, agree=20, read=1, right=10) + measured("keys", 2, agree=20, read=2, right=19)
    best = found(Wanted(0.9, 0.9), some).recommended
    assert best is not None
    assert best.top_k == 2
    with pytest.raises(ConfigError, match="no question has a known answer"):
        found(Wanted(0.9, 0.9))


@pytest.mark.parametrize(
    ("changes", "codecs", "selection", "said"),
    [
        ({}, RAW, SelectionConfig("attention", 2), None),
        ({}, RAW, SelectionConfig("attention", 5), None),
        ({}, RAW, SelectionConfig("all"), None),
        ({}, RAW, SelectionConfig("0,2-3"), None),
        ({}, RAW, SelectionConfig("attention", 1), "agreed in 90%"),
        ({}, RAW, SelectionConfig("none"), "high only is not among|high only agreed in 40%"),
        ({}, RAW, SelectionConfig("keys"), "keys of 2 chunks was not calibrated"),
        ({"high_ratio": 32}, RAW, SelectionConfig(), "ratios 2 and 32"),
        ({"frames_per_chunk": 10}, RAW, SelectionConfig(), "10 frames a chunk"),
        ({}, {"low": "int4", "high": "int4"}, SelectionConfig(), "stored as int4, were not"),
    ],
)
def test_what_is_outside(changes, codecs, selection, said) -> None:
    compression = to_dict(dataclasses.replace(COMPRESSION, **changes))
    outside = found(Wanted(0.95)).outside(compression, codecs, selection)
    if said is None:
        assert outside is None
    else:
        import re

        assert outside is not None
        assert re.search(said, outside)
        assert "recommended is ratios 2 and 16, int8, attention of 2 chunks" in outside


def test_stored_whole_and_said_once(tmp_path: Path) -> None:
    archive = Archive.open(tmp_path / "archive", create=True)
    calibration = found(Wanted())
    assert CalibrationWatch(archive.storage, "ab12").state == "none"
    store(archive.storage, calibration)
    assert load(archive.storage, "ab12") == calibration
    watch = CalibrationWatch(archive.storage, "ab12")
    keys = SelectionConfig("keys")
    assert len(watch.news(to_dict(COMPRESSION), RAW, keys)) == 1
    assert watch.news(to_dict(COMPRESSION), RAW, keys) == []
    other = CalibrationWatch(archive.storage, "cd34")
    assert other.state == "other model"
    assert "for other models" in other.news(to_dict(COMPRESSION), RAW, keys)[0]
    path = tmp_path / "archive" / layout.calibration("ab12")
    path.write_bytes(path.read_bytes().replace(b"int8", b"int4"))
    with pytest.raises(CorruptDataError):
        load(archive.storage, "ab12")
    assert CalibrationWatch(archive.storage, "ab12").state == "unreadable"


def test_documents_with_and_without_a_held_out_estimate() -> None:
    held_out = HeldOut(0.9, (0.75, 0.96), 2)
    calibration = dataclasses.replace(found(Wanted()), held_out=held_out)
    document = json.loads(json.dumps(calibration.to_document()))
    assert Calibration.from_document(document, "here") == calibration
    del document["held_out"]  # as before there were any
    assert Calibration.from_document(document, "here") == dataclasses.replace(calibration, held_out=None)
    for wrong in (
        "often",
        {},
        dataclasses.asdict(held_out) | {"interval": [0.9]},
        dataclasses.asdict(held_out) | {"interval": [0.9, "1"]},
    ):
        with pytest.raises(ArchiveFormatError):
            Calibration.from_document(document | {"held_out": wrong}, "here")


def test_the_grid_around_a_model() -> None:
    grid = Grid.around(COMPRESSION)
    assert [(one.low_ratio, one.high_ratio) for one in grid.compressions] == [(2, 16), (2, 32), (4, 16), (4, 32)]
    assert len(list(grid.settings())) == 4 * 4 * (2 + 3 * 3)
    assert grid.most_answers(10) == 10 * (1 + 4 * 3 * (2 + 3 * 3))  # raw and squeeze share theirs
    for wrong in ({"codecs": ("zip",)}, {"scorers": ("all",)}, {"ks": (0,)}):
        with pytest.raises(ConfigError):
            Grid((COMPRESSION,), **wrong)


def test_questions_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "questions.txt"
    file.write_text('What is shown?\n\n{"question": "Which code?", "answer": "7", "video": "a.mp4"}\n')
    assert read_questions(file) == [Question("What is shown?"), Question("Which code?", "7", "a.mp4")]
    for wrong in ("", '{"question": 3}', '{"query": "What?"}', "{"):
        file.write_text(wrong)
        with pytest.raises(ConfigError):
            read_questions(file)


@pytest.mark.parametrize(
    ("said", "answer", "right"),
    [("A red ball.", "a red ball", True), ("B. It rains", "B", True), ("Be quiet", "B", False), ("red", "blue", False)],
)
def test_right_answers(said: str, answer: str, right: bool) -> None:
    assert is_right(said, answer) is right
