"""A model over two actors: ingests and answers like one, and ends as one."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import ray

from pipelines.parallel import ParallelModel, RanksLostError
from videox2l.answering import ResidentVideo, ask
from videox2l.config import CompressionConfig, GenerationConfig, SamplingConfig, SelectionConfig
from videox2l.errors import ConfigError, QuestionError, UnknownModelError, UnreadableVideoError
from videox2l.models import KVCompressibleModel
from videox2l.prefill import ingest_video
from videox2l.store import Archive

SAMPLING = SamplingConfig(fps=10)
COMPRESSION = CompressionConfig(low_ratio=2, high_ratio=8, frames_per_chunk=10)
GENERATION = GenerationConfig(max_new_tokens=8)

# A killed process is gone at once, but its parent has to notice.
PATIENCE_S = 30.0


def processes(model: ParallelModel) -> list[psutil.Process]:
    pids = ray.get([actor.__ray_call__.remote(lambda _: os.getpid()) for actor in model._actors])
    return [psutil.Process(pid) for pid in pids]


def kill_during_a_call(model: ParallelModel, rank: psutil.Process, pipe: Path, archive: str) -> None:
    """While rank 0 reads its video and the other waits for it."""
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as thread:
        call = thread.submit(model.ingest, pipe, archive)
        writer = os.open(pipe, os.O_WRONLY)  # returns when rank 0 has begun to read
        rank.send_signal(signal.SIGKILL)
        with pytest.raises(RanksLostError, match="rank 1 of 2 died"):
            call.result()
        os.close(writer)


def test_two_ranks_are_one_model(
    ray_cluster: None, clips: Path, random_checkpoint: Path, random_model: KVCompressibleModel, tmp_path: Path
) -> None:
    clip, url = clips / "065.mp4", str(tmp_path / "archive")
    plain = Archive.open(tmp_path / "plain", create=True)
    ingest_video(random_model, plain, clip, sampling=SAMPLING, compression=COMPRESSION)

    with ParallelModel(str(random_checkpoint), ranks=2, device="cpu") as model:
        ranks = processes(model)
        identity, prefilled = model.ingest(clip, url, sampling=SAMPLING, compression=COMPRESSION)
        assert prefilled
        assert model.ingest(clip, url, sampling=SAMPLING, compression=COMPRESSION) == (identity, False)
        with pytest.raises(UnreadableVideoError, match=r"absent\.mp4"):
            model.ingest(tmp_path / "absent.mp4", url)
        with pytest.raises(QuestionError):
            model.ask("065.mp4", " ", url)

        for selection in (SelectionConfig("attention"), SelectionConfig("all")):
            ours = model.ask("065.mp4", "What happens?", url, selection=selection, generation=GENERATION)
            video = ResidentVideo(random_model, plain.open_index("065.mp4"))
            expected = ask(random_model, video, "What happens?", selection, GENERATION)
            assert ours.text == expected.text
            assert [span.chunk for span in ours.spans] == [span.chunk for span in expected.spans]

        kill_during_a_call(model, ranks[1], tmp_path / "pipe.mp4", url)
        with pytest.raises(RanksLostError, match="start another one"):
            model.ask("065.mp4", "What happens?", url, generation=GENERATION)
        _, alive = psutil.wait_procs(ranks, timeout=PATIENCE_S)
        assert alive == []


def test_models_that_cannot_be_placed(ray_cluster: None, random_checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match="no room for 2 ranks of 64 CPU each"):
        ParallelModel(str(random_checkpoint), ranks=2, device="cpu", cpus_per_rank=64, start_timeout_s=0.5)
    with pytest.raises(UnknownModelError, match="absent"):
        ParallelModel(str(random_checkpoint / "absent"), ranks=1, device="cpu")
    assert {group["state"] for group in ray.util.placement_group_table().values()} == {"REMOVED"}
