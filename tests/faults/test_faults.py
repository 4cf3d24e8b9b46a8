"""After each fault: every good video is there once and exact, little was done twice, and nothing is left behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import CLIPS, LONGEST_S, outcome
from tests.unit.store.samples import assert_same
from videox2l.store import Archive
from videox2l.store.documents import unseal
from videox2l.store.sweep import collect, find_garbage
from videox2l.store.verify import verify

# All scenarios happen before the first test.
pytestmark = pytest.mark.timeout(LONGEST_S + 60)

# One chunk is at work when a process dies; two more may wait to be uploaded, and on a busy machine journals come later.
FEW = 6

LONG, SHORT, OTHER = (-(-CLIPS[name] // 10) for name in ("long", "short", "other"))


def check_exact(archive: Archive, undisturbed: Archive, names: Sequence[str]) -> None:
    """Exactly these videos, each once, with the very KVs that an undisturbed prefill makes."""
    assert [video.name for video in archive.videos()] == sorted(names)
    for name in names:
        expected, found = undisturbed.open_index(name), archive.open_index(name)
        assert len(found.manifest.chunks) == len(expected.manifest.chunks)
        assert_same(found.prompt(), expected.prompt())
        for index, (ours, theirs) in enumerate(zip(found.high(), expected.high(), strict=True)):
            assert_same(ours, theirs)
            assert_same(found.low(index), expected.low(index))
    collect(archive.storage, find_garbage(archive.storage, older_than=timedelta(seconds=-2)))
    report = verify(archive.storage)
    assert report.ok
    assert report.unused == ()


def check_little_twice(chunks: Mapping[str, Sequence[int]], name: str, total: int, faults: int) -> None:
    """Every chunk was done, in order, and only a few again for each process that was lost.

    A process may be lost between storing a chunk and telling of it.
    """
    done = chunks[name]
    assert set(done) <= set(range(1, total + 1))
    assert len(set(done)) >= total - faults * FEW
    assert done[-1] == total
    assert sum(later != earlier + 1 for earlier, later in pairwise(done)) <= faults
    assert len(done) <= total + faults * FEW


def records(archive: Path) -> dict[str, dict[str, Any]]:
    found = [unseal(path.read_bytes(), path.name) for path in (archive / "quarantine").glob("*.json")]
    return {record["name"]: record for record in found}


def test_workers_and_nodes_are_lost(stage: Path, undisturbed: Archive) -> None:
    found = outcome(stage, "workers_and_nodes")
    assert found["left"] == 0
    hits = found["hits"]
    assert hits.pop("decode")
    assert hits.pop("node") == 1
    assert {name: len(pids) for name, pids in hits.items()} == {"prefill": 1, "deadly": 1, "deadly again": 1}
    rows = found["rows"]
    assert {name: row["status"] for name, row in rows.items()} == {
        "long.mp4": "committed",
        "short.mp4": "committed",
        "aborts.mp4": "failed",
        "hangs.mp4": "failed",
        "deadly.mp4": "failed",
    }
    assert rows["long.mp4"]["kept"] >= 15 - FEW
    check_little_twice(found["chunks"], "long.mp4", LONG, faults=2)
    assert rows["aborts.mp4"]["error_type"] == "DecoderCrashedError"
    assert rows["hangs.mp4"]["error_type"] == "DecoderTimeoutError"
    assert rows["deadly.mp4"]["error_type"] == "PrefillWorkerLostError"
    assert "died 2 times behind chunk 0 of 4" in rows["deadly.mp4"]["error"]


def test_the_driver_is_killed_and_bad_videos_are_left_alone_until_told(stage: Path, undisturbed: Archive) -> None:
    found = outcome(stage, "driver")
    first = {event["source"]: event["status"] for event in found["killed"] if "status" in event}
    assert first == dict.fromkeys(("aborts.mp4", "hangs.mp4", "deadly.mp4"), "quarantined")
    assert {name: row["status"] for name, row in found["rows"].items()} == dict.fromkeys(found["rows"], "committed")
    reached = max(event["done"] for event in found["killed"] if "done" in event)
    assert reached >= 8
    assert found["chunks"]["other.mp4"] == list(range(found["rows"]["other.mp4"]["kept"] + 1, OTHER + 1))
    assert found["rows"]["other.mp4"]["kept"] >= reached - FEW
    assert records(stage / "archive") == {}
    check_exact(Archive.open(stage / "archive"), undisturbed, [f"{name}.mp4" for name in CLIPS])


def test_object_storage_goes_away(stage: Path, undisturbed: Archive) -> None:
    found = outcome(stage, "outage")
    assert found["left"] == 0
    assert found["refused"] > 3
    assert found["rows"]["long.mp4"]["status"] == "committed"
    assert found["chunks"]["long.mp4"] == list(range(1, LONG + 1))
    check_exact(Archive.open(stage / "outage"), undisturbed, ["long.mp4"])


def test_the_disk_is_full(stage: Path, undisturbed: Archive) -> None:
    found = outcome(stage, "full")
    assert found["left"] == 0
    assert found["error"]["type"] == "StorageFullError"
    for part in ("No space left", "MiB are free", "long.mp4 needs about", "run the same command again"):
        assert part in found["error"]["text"]
    rows = found["rows"]
    assert not [path for path in found["seen"] if path.endswith(".tmp")]
    assert not [path for path in found["seen"] if "manifest" in path and rows["long.mp4"]["video_id"] in path]
    assert (rows["long.mp4"]["status"], rows["short.mp4"]["error_type"]) == ("committed", "")
    kept = rows["long.mp4"]["kept"]
    assert kept >= 5 - FEW
    assert found["chunks"]["long.mp4"] == list(range(kept + 1, LONG + 1))
    check_exact(Archive.open(stage / "disk" / "archive"), undisturbed, ["long.mp4", "short.mp4"])


def test_a_job_that_nothing_comes_of_says_what_it_waits_for(stage: Path) -> None:
    found = outcome(stage, "stalled")
    assert found["type"] == "StalledError"
    for part in ("for 20 s", "short.mp4 (planned)", "CPUs", "run the same command again"):
        assert part in found["text"]
