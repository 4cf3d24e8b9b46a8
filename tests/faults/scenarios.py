"""Faults done to real jobs on a local cluster of several nodes: ``python -m tests.faults.scenarios FOLDER [SKIP…]``.

A process of its own, because it cannot share one with the other tests' Ray. What happened goes to ``FOLDER/NAME.json``
for each scenario; the tests look at that and at the archives. ``FOLDER/clips`` and ``FOLDER/checkpoint`` are there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

from pipelines.ingest import ChunkDone, Event, VideoStarted
from pipelines.local_ray import QUIET
from tests.faults import decoders, processes
from tests.faults.job import run
from tests.s3.faults import Fault, FaultProxy, Request, healthy
from tests.s3.server import start

_NODE: dict[str, Any] = {"num_cpus": 3, "object_store_memory": 100 * 2**20}

Action = Callable[[], None]


class Stage:
    """The cluster, and the folder with everything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoint = str(folder / "checkpoint")
        # Nothing is scheduled beside the driver, so that losing another node always loses something.
        self.cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "object_store_memory": 100 * 2**20, "include_dashboard": False},
        )
        self.nodes = [self.cluster.add_node(**_NODE) for _ in range(2)]
        ray.init(address=self.cluster.address, **QUIET)

    def clip(self, name: str) -> str:
        return str(self.folder / "clips" / name)

    def kill(self, title: str) -> list[int]:
        return processes.kill(title, {processes.raylet(node) for node in self.nodes})

    def lose_node_of(self, title: str) -> int:
        """Remove the node on which such a process runs, as a spot machine goes; and a new one comes."""
        by_raylet = {processes.raylet(node): node for node in self.nodes}
        for raylet in set(processes.workers(title, set(by_raylet)).values()):
            self.cluster.remove_node(by_raylet[raylet], allow_graceful=False)
            self.nodes.remove(by_raylet[raylet])
            self.nodes.append(self.cluster.add_node(**_NODE))
            return 1
        return 0


class Watch:
    """Notes chunks as they are done, and does something once at some of them; at chunk 0 when the video is begun."""

    def __init__(self, *plans: tuple[str, int, Action]) -> None:
        self._plans = list(plans)
        self.chunks: defaultdict[str, list[int]] = defaultdict(list)

    def __call__(self, event: Event) -> None:
        if isinstance(event, ChunkDone):
            name, done = Path(event.source).name, event.done
            self.chunks[name].extend(range(done - event.new + 1, done + 1))
        elif isinstance(event, VideoStarted):
            name, done = Path(event.source).name, 0
        else:
            return
        plan = next((plan for plan in self._plans if plan[0] == name and done >= plan[1]), None)
        if plan is not None:
            self._plans.remove(plan)
            plan[2]()

    @property
    def left(self) -> int:
        """What did not come to pass."""
        return len(self._plans)


def workers_and_nodes(stage: Stage) -> dict[str, Any]:
    """Decode process killed, prefill process killed, its node lost; videos that crash and hang decoder and prefill."""
    hits: dict[str, Any] = {}

    def note(name: str, do: Callable[[], Any]) -> Action:
        return lambda: hits.update({name: do()})

    watch = Watch(
        ("long.mp4", 4, note("decode", lambda: stage.kill(processes.DECODE))),
        ("long.mp4", 9, note("prefill", lambda: stage.kill(processes.PREFILL))),
        ("long.mp4", 15, note("node", lambda: stage.lose_node_of(processes.PREFILL))),
        ("deadly.mp4", 0, note("deadly", lambda: stage.kill(processes.PREFILL))),
        ("deadly.mp4", 0, note("deadly again", lambda: stage.kill(processes.PREFILL))),
    )
    names = ("long.mp4", "short.mp4", "aborts.mp4", "hangs.mp4", "deadly.mp4")
    summary = run(
        [stage.clip(name) for name in names], str(stage.folder / "archive"), stage.checkpoint, on_progress=watch
    )
    return {"rows": _rows(summary), "chunks": watch.chunks, "hits": hits, "left": watch.left}


def driver(stage: Stage) -> dict[str, Any]:
    """The driver is killed; then the job is started again, by someone who knows what was wrong with the bad videos."""
    names = ("other.mp4", "aborts.mp4", "hangs.mp4", "deadly.mp4")
    sources = [stage.clip(name) for name in names]
    job = {"sources": sources, "archive": str(stage.folder / "archive"), "checkpoint": stage.checkpoint}
    killed: list[dict[str, Any]] = []
    environment = {**os.environ, "RAY_ADDRESS": stage.cluster.address}
    command = [sys.executable, "-m", "tests.faults.job", json.dumps(job)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            with contextlib.suppress(ValueError):
                killed.append(json.loads(line))
            through = sum("status" in event for event in killed)
            if through == len(names) - 1 and any(event.get("done", 0) >= 8 for event in killed):
                os.kill(process.pid, signal.SIGKILL)
                break
    watch = Watch()
    summary = run(**job, retry_quarantined=True, decoder=decoders.slow, on_progress=watch)
    return {"killed": killed, "rows": _rows(summary), "chunks": watch.chunks}


def outage(stage: Stage) -> dict[str, Any]:
    """The archive's object storage goes away in the middle of a video and comes back after a while."""
    import s3fs

    keys = {"key": "test", "secret": "test", "client_kwargs": {"region_name": "us-east-1"}}
    s3fs.S3FileSystem(endpoint_url=start(), **keys).call_s3("create_bucket", Bucket="outage")
    refused: list[str] = []

    def down(request: Request) -> Fault:
        refused.append(request.method)
        return Fault("reset") if len(refused) % 2 else Fault("status", 503)

    with FaultProxy(start()) as proxy:

        def go_down() -> None:
            proxy.plan = down
            threading.Timer(8.0, lambda: setattr(proxy, "plan", healthy)).start()

        watch = Watch(("long.mp4", 5, go_down))
        summary = run(
            [stage.clip("long.mp4")],
            "s3://outage/archive",
            stage.checkpoint,
            storage_options=keys | {"endpoint_url": proxy.url},
            storage_patience_s=120,
            on_progress=watch,
        )
        _copy_archive(stage, keys, stage.folder / "outage")
    return {"rows": _rows(summary), "chunks": watch.chunks, "refused": len(refused), "left": watch.left}


def _copy_archive(stage: Stage, keys: dict[str, Any], target: Path) -> None:
    import s3fs

    filesystem = s3fs.S3FileSystem(endpoint_url=start(), **keys)
    for path in filesystem.find("outage/archive"):
        to = target / path.removeprefix("outage/archive/")
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(filesystem.cat_file(path))


def full(stage: Stage) -> dict[str, Any]:
    """The archive's disk fills up in the middle of a video. Somebody makes room, and starts the job again."""
    disk = stage.folder / "disk"  # a small file system of its own
    filler = disk / "filler"

    def fill() -> None:
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as stream:
            while True:
                stream.write(bytes(1024))

    watch, job = (
        Watch(("long.mp4", 5, fill)),
        {"archive": str(disk / "archive"), "checkpoint": stage.checkpoint},
    )
    sources = [stage.clip("long.mp4"), stage.clip("short.mp4")]
    error = None
    try:
        run(sources, **job, on_progress=watch)
    except Exception as caught:
        error = {"type": type(caught).__name__, "text": str(caught)}
    seen = sorted(str(path.relative_to(disk)) for path in disk.glob("archive/**/*") if path.is_file())
    filler.unlink()
    again = Watch()
    summary = run(sources, **job, decoder=decoders.slow, on_progress=again)
    return {
        "error": error,
        "seen": seen,
        "first": watch.chunks,
        "left": watch.left,
        "rows": _rows(summary),
        "chunks": again.chunks,
    }


def stalled(stage: Stage) -> dict[str, Any]:
    """No machine of the cluster is large enough for a prefill actor."""
    began = time.monotonic()
    try:
        run(
            [stage.clip("short.mp4")],
            str(stage.folder / "stalled"),
            stage.checkpoint,
            cpus_per_actor=64,
            stall_timeout_s=20,  # longer than planning takes on a busy machine
        )
    except Exception as caught:
        return {"type": type(caught).__name__, "text": str(caught), "seconds": time.monotonic() - began}
    return {}


def _rows(summary: Any) -> dict[str, Any]:
    return {Path(row.source).name: dataclasses.asdict(row) for row in summary.rows}


SCENARIOS = (workers_and_nodes, driver, outage, full, stalled)


def main(folder: Path, skip: list[str]) -> None:
    # Workers as fast as anything else on this machine, as in jobs that start Ray themselves.
    os.environ.setdefault("RAY_worker_niceness", "0")
    stage = Stage(folder)
    try:
        for scenario in [scenario for scenario in SCENARIOS if scenario.__name__ not in skip]:
            began = time.monotonic()
            try:
                outcome = scenario(stage)
            except BaseException:
                outcome = {"broke": traceback.format_exc()}
            outcome["seconds"] = time.monotonic() - began
            (folder / f"{scenario.__name__}.json").write_text(json.dumps(outcome, indent=1))
    finally:
        ray.shutdown()
        with contextlib.suppress(ValueError):  # a thread of the stalled job has connected again
            stage.cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
