"""``--tensor-parallel``: an ingest and a question on a model that two processes hold, as on one device."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
import ray
import torch

from pipelines.cli import status
from pipelines.ingest import ChunkDone, Event, IngestSettings, ingest
from tests.cli.commands import run, run_json
from tests.ray.decoders import slow
from tests.retriever_checkpoints import write_retriever
from videox2l.config import CompressionConfig, SamplingConfig
from videox2l.errors import ConfigError
from videox2l.kv import LEVELS
from videox2l.kv.heads import head_ranges
from videox2l.models import KVCompressibleModel
from videox2l.prefill import ingest_video
from videox2l.store import Archive, IndexReader

SAMPLING = SamplingConfig(fps=10)
COMPRESSION = CompressionConfig(low_ratio=2, high_ratio=8, frames_per_chunk=10)
QUESTION = "What happens?"

# float32: the sums over ranks are added up in another order.
CLOSE = {"atol": 1e-5, "rtol": 1e-5}

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def videox2l(capsys: pytest.CaptureFixture[str], ray_cluster: None, random_checkpoint: Path) -> Command:
    """A command with everything filled in that the tests share."""

    def command(name: str, *arguments: object) -> tuple[int, str, str]:
        shared = ("--model", random_checkpoint, "--device", "cpu", "--fps", 10, "--low-ratio", 2, "--high-ratio", 8)
        return run(capsys, name, *arguments, *shared)

    return command


def assert_as_of_one_device(found: IndexReader, expected: IndexReader) -> None:
    kvs = zip(found.high(), expected.high(), strict=True)
    kvs_low = ((found.low(index), expected.low(index)) for index in range(len(expected.manifest.chunks)))
    for ours, theirs in ((found.prompt(), expected.prompt()), *kvs, *kvs_low):
        torch.testing.assert_close(ours.keys_LHTD, theirs.keys_LHTD, **CLOSE)
        torch.testing.assert_close(ours.values_LHTD, theirs.values_LHTD, **CLOSE)
    assert found.manifest.spec == expected.manifest.spec
    assert set(found.manifest.totals) == set(LEVELS)


def test_an_ingest_and_questions(
    videox2l: Command,
    capsys: pytest.CaptureFixture[str],
    clips: Path,
    random_model: KVCompressibleModel,
    tmp_path: Path,
) -> None:
    folder, archive = tmp_path / "clips", tmp_path / "archive"
    folder.mkdir()
    for name in ("025.mp4", "065.mp4"):
        shutil.copy(clips / name, folder / name)
    shutil.copy(clips / "025.mp4", folder / "again.mp4")
    (folder / "bad.mp4").write_text("not a video")
    retriever = write_retriever(tmp_path / "retriever", "clip")
    ingesting = ("--tensor-parallel", 2, "--progress", "lines", "--retriever", retriever)
    code, out, err = videox2l("ingest", folder, "--archive", archive, *ingesting)
    assert code == status.SOME_FAILED, err
    assert "2 committed, 1 skipped, 1 failed" in out
    assert "10/10 chunks" in err
    report = run_json(capsys, "report", "--archive", archive)
    assert report["settings"]["tensor_parallel"] == 2

    plain = Archive.open(tmp_path / "plain", create=True)
    for name in ("025.mp4", "065.mp4"):
        settings = {"sampling": SAMPLING, "compression": COMPRESSION, "retriever": str(retriever)}
        ingest_video(random_model, plain, folder / name, **settings)
        found = Archive.open(archive).open_index(name)
        assert found.manifest.head_ranges == [head_ranges(2, 2)]
        assert_as_of_one_device(found, plain.open_index(name))
        # Pictures are seen by one rank alone.
        for vectors, expected in zip(found.vectors(), plain.open_index(name).vectors(), strict=True):
            np.testing.assert_array_equal(vectors, expected)

    # What is committed is skipped, whoever made it, and one device answers from it.
    code, out, err = videox2l("ingest", folder / "065.mp4", "--archive", archive)
    assert (code, "1 skipped" in out) == (status.DONE, True), err
    asked = (QUESTION, "--archive", archive, "--max-new-tokens", 8, "--json")
    of_one = json.loads(videox2l("ask", "065.mp4", *asked)[1])
    of_two = json.loads(videox2l("ask", folder / "065.mp4", *asked, "--tensor-parallel", 2)[1])
    assert of_two["text"] == of_one["text"]
    assert [span["chunk"] for span in of_two["spans"]] == [span["chunk"] for span in of_one["spans"]]

    # A file that the archive lacks is prefilled first.
    code, out, err = videox2l("ask", clips / "100.mp4", QUESTION, "--archive", archive, "--tensor-parallel", 2)
    assert code == 0, err
    assert "prefilling 100.mp4 on 2 ranks" in err
    assert "in detail: " in err
    [index] = run_json(capsys, "show", "100.mp4", "--archive", archive)
    assert index["head_ranges"] == [[[0, 1], [1, 2]]]
    assert {group["state"] for group in ray.util.placement_group_table().values()} == {"REMOVED"}


@dataclass
class KillARank:
    """Once, when so many chunks are done."""

    after: int
    killed: int = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, ChunkDone) and event.done >= self.after and not self.killed:
            ours = psutil.Process().children(recursive=True)
            [rank] = [process for process in ours if "ray::Rank" in " ".join(process.cmdline())]
            rank.kill()
            self.killed = event.done


def test_a_lost_rank_costs_little(
    ray_cluster: None, random_checkpoint: Path, clips: Path, random_model: KVCompressibleModel, tmp_path: Path
) -> None:
    kill = KillARank(after=5)
    settings = IngestSettings(
        model=str(random_checkpoint),
        device="cpu",
        sampling=SAMPLING,
        compression=COMPRESSION,
        tensor_parallel=2,
        journal_every_s=0,
    )
    summary = ingest([clips / "225.mp4"], tmp_path / "archive", settings, decoder=slow, on_progress=kill)
    [row] = summary.rows
    assert row.status == "committed", row.error
    # Two chunks may have been on their way to the archive.
    assert kill.killed - 2 <= row.kept < 23
    plain = Archive.open(tmp_path / "plain", create=True)
    ingest_video(random_model, plain, clips / "225.mp4", sampling=SAMPLING, compression=COMPRESSION)
    assert_as_of_one_device(Archive.open(tmp_path / "archive").open_index("225.mp4"), plain.open_index("225.mp4"))


def test_what_cannot_be_is_said_before_the_work(videox2l: Command, clips: Path, tmp_path: Path) -> None:
    file = tmp_path / "impatient.yaml"
    file.write_text("placement_timeout_s: 0.5")
    ingesting = ("ingest", clips / "025.mp4", "--archive", tmp_path / "archive")
    code, _, err = videox2l(*ingesting, "--tensor-parallel", 64, "--config", file)
    assert code == status.WRONG_USAGE
    assert "no room for 64 ranks of 1 CPU each" in err
    code, _, err = videox2l(*ingesting, "--tensor-parallel", 3)
    assert code == status.WRONG_USAGE
    assert "cannot be spread over 3 devices: its KV heads are shared out evenly, so use 1 or 2" in err
    assert list(Archive.open(tmp_path / "archive").manifests()) == []
    code, _, err = videox2l("ask", clips / "025.mp4", QUESTION, "--archive", tmp_path / "a", "--tensor-parallel", 3)
    assert code == 1
    assert "2 KV heads cannot be shared out evenly over 3 ranks: use 1 or 2" in err


def test_settings_that_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="give tensor_parallel or prefill_actors, not both"):
        IngestSettings(tensor_parallel=2, prefill_actors=2)
    with pytest.raises(ConfigError, match=r"whole GPU, not 0\.5"):
        IngestSettings(tensor_parallel=2, gpus_per_actor=0.5)
    with pytest.raises(ConfigError, match="tensor_parallel must be at least 1"):
        IngestSettings(tensor_parallel=0)
