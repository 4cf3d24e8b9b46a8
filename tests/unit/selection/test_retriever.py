"""Chunks found by a retriever's vectors: through a real archive, as a question does it."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.archives import random_index
from tests.retriever_checkpoints import write_retriever
from videox2l import Archive, ResidentVideo, SelectionConfig, ask
from videox2l.errors import ConfigError, FingerprintMismatchError, UnknownModelError
from videox2l.models.retriever import load_retriever
from videox2l.models.retriever import retriever as retrievers
from videox2l.models.video_xl.model import VideoXL

QUESTION = "Where is the red car?"


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive.open(tmp_path / "archive", create=True)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_retriever(tmp_path / "retriever", "clip")


def test_a_chunk_counts_by_its_best_vector(archive: Archive, random_model: VideoXL, checkpoint: Path) -> None:
    reader = random_index(archive, random_model, retriever=str(checkpoint))
    answer = ask(random_model, ResidentVideo(random_model, reader), QUESTION, SelectionConfig("retriever", 2))
    retriever = load_retriever(str(checkpoint), random_model)
    vectors = reader.vectors()
    assert [found.shape for found in vectors] == [(4, 16)] * 5
    expected = [float(np.max(found @ retriever.of_question(QUESTION))) for found in vectors]
    assert answer.scores == pytest.approx(expected, abs=1e-6)
    assert [span.chunk for span in answer.spans] == sorted(np.argsort(expected)[-2:].tolist())


def test_it_joins_with_other_scorers(archive: Archive, random_model: VideoXL) -> None:
    video = ResidentVideo(random_model, random_index(archive, random_model, retriever="own"))
    answer = ask(random_model, video, QUESTION, SelectionConfig("attention+retriever", 1))
    assert len(answer.spans) == 1


def test_a_video_without_vectors_says_how_to_get_them(archive: Archive, random_model: VideoXL) -> None:
    video = ResidentVideo(random_model, random_index(archive, random_model))
    with pytest.raises(ConfigError, match=r"ingested without a retriever.*--retriever"):
        ask(random_model, video, QUESTION, SelectionConfig("retriever"))


def test_other_weights_than_at_the_ingest_are_refused(
    archive: Archive, random_model: VideoXL, checkpoint: Path
) -> None:
    video = ResidentVideo(random_model, random_index(archive, random_model, retriever=str(checkpoint)))
    shutil.rmtree(checkpoint)
    write_retriever(checkpoint, "clip", seed=1)
    retrievers._load_clip.cache_clear()
    with pytest.raises(FingerprintMismatchError, match="other weights or settings"):
        ask(random_model, video, QUESTION, SelectionConfig("retriever"))


def test_an_archive_makes_nobody_download(archive: Archive, random_model: VideoXL) -> None:
    reader = random_index(archive, random_model, retriever="own")
    stranger = dataclasses.replace(reader.manifest.retriever, name="somebody/clip")
    reader.manifest = dataclasses.replace(reader.manifest, retriever=stranger)
    with pytest.raises(UnknownModelError, match="was not downloaded before"):
        ask(random_model, ResidentVideo(random_model, reader), QUESTION, SelectionConfig("retriever"))
