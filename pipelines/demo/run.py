"""The demo as a recipe; ``clips.py`` makes its material, ``client.py`` talks to the service, ``report.py`` prints."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.progress import track

from pipelines.demo.client import Client
from pipelines.demo.clips import DemoClip, render_clips
from pipelines.demo.report import Score, print_answer, print_scores
from pipelines.ingest import ingest
from pipelines.ingest.cluster import ray_cluster
from pipelines.ingest.progress import IngestProgress
from pipelines.serve import running_service

# Selections that the closing table compares, and what each stands for.
COMPARED = {"none": "high only", "attention": "low for the selected chunks", "all": "low for all"}

# What can be seen only while it runs goes to stderr, so that the rest may be piped or recorded.
PROGRESS = Console(stderr=True)


def run_demo(console: Console, *, scenes: Sequence[int], questions_per_clip: int, folder: Path | None = None) -> bool:
    """Run the whole path and print it on ``console``; ``folder`` keeps clips and archive.

    Returns whether every clip was ingested. Nothing is left running, and without ``folder`` nothing is left on disk.
    """
    start = time.perf_counter()
    with ExitStack() as stack:
        base = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="videox2l-demo-")))
        console.rule("1 · render clips to H.264 files")
        rendered = render_clips(base / "videos", tuple(scenes))
        clips = list(track(rendered, "rendering", len(scenes), console=PROGRESS, transient=True))
        for clip in clips:
            console.print(f"{clip.name}: {clip.clip.duration_s} s, {clip.path.stat().st_size / 1024:.0f} KiB")
        archive = str(base / "archive")
        stack.enter_context(ray_cluster(prefill_actors=1, cpus_per_actor=1))
        console.rule("2 · ingest on Ray Data")
        with IngestProgress() as show:
            summary = ingest([base / "videos"], archive, on_progress=show)
        console.print(summary)
        console.rule("3 · ask through Ray Serve")
        client = Client(stack.enter_context(running_service(archive, model="tiny")))
        ask_shown(console, client, clips)
        console.rule("4 · what re-loading buys")
        print_scores(console, compare(client, clips, questions_per_clip))
    console.print(f"done in {time.perf_counter() - start:.0f} s", style="dim")
    return summary.ok


def ask_shown(console: Console, client: Client, clips: Sequence[DemoClip]) -> None:
    """A few questions of each kind about the longest clip, streamed."""
    longest = max(clips, key=lambda clip: clip.clip.duration_s)
    for question in longest.shown():
        print_answer(console, longest.name, question, client.stream(longest.name, question.text))


def compare(client: Client, clips: Sequence[DemoClip], per_clip: int) -> list[Score]:
    """The same detail questions with every selection of ``COMPARED``: accuracy against bytes read."""
    asked = [(clip, question) for clip in clips for question in clip.compared(per_clip)]
    scores = {select: Score(title) for select, title in COMPARED.items()}
    jobs = [(select, clip, question) for select in COMPARED for clip, question in asked]
    for select, clip, question in track(jobs, "asking", console=PROGRESS, transient=True):
        scores[select].add(question, client.ask(clip.name, question.text, select))
    return list(scores.values())
