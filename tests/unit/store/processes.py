"""Work in a process of its own that may die."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable
from datetime import timedelta

from tests.unit.store.samples import append_all, random_chunks, spec, video
from videox2l.errors import AlreadyCommittedError
from videox2l.store import Archive
from videox2l.store.sweep import collect, find_garbage
from videox2l.store.verify import verify

KILLED = 9
"""The exit status of a process that killed itself."""


def exit_status(run: Callable[[], object]) -> int:
    """How a forked process ends that calls ``run``: 0, or 1 after an error, unless it ended itself."""
    process = os.fork()
    if process == 0:
        try:
            run()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def ingest(archive: Archive, replace: bool = False, **changes: object) -> str:
    """Commit random KVs and return the attempt."""
    with archive.create_index(video(), spec(**changes), replace=replace) as writer:
        append_all(writer, random_chunks(2))
        return writer.commit().attempt


def race(archive: Archive, replace: bool, processes: int) -> list[str]:
    """Let processes ingest the same video at once; the attempts that won. The archive must be whole afterwards."""
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        outcomes = pool.starmap(_ingest_elsewhere, [(archive.url, replace)] * processes, chunksize=1)
    winners = [outcome for outcome in outcomes if outcome is not None]
    assert archive.open_index(video().video_id).manifest.attempt in winners
    # Clocks of servers have whole seconds, so what was just written may seem to lie ahead.
    collect(archive.storage, find_garbage(archive.storage, older_than=timedelta(seconds=-2)))
    report = verify(archive.storage)
    assert report.ok
    assert report.unused == ()
    return winners


def _ingest_elsewhere(url: str, replace: bool) -> str | None:
    try:
        return ingest(Archive.open(url), replace)
    except AlreadyCommittedError:
        return None
