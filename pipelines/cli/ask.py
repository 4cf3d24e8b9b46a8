"""``videox2l ask``: one question about one video, answered in this process, or in several that share the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from pipelines.cli import options

if TYPE_CHECKING:
    from videox2l.answering import Answer, DegradedSpan, RecordedAt, Span
    from videox2l.config import CompressionConfig, SamplingConfig
    from videox2l.models import KVCompressibleModel
    from videox2l.store import Archive as OpenArchive
    from videox2l.store import IndexReader

# Reasons shown where chunks could not be re-loaded; further ones are mostly the same, and --json has all.
_REASONS = 3


def ask(
    video: Annotated[str, typer.Argument(help="A video file, or the id or name of a video in the archive.")],
    question: Annotated[str, typer.Argument(help="What you want to know.")],
    archive: options.Archive = options.DEFAULT_ARCHIVE,
    model: options.Model = "tiny",
    select: Annotated[
        str,
        typer.Option(
            help="Chunks to re-load in detail: `attention`, `random`, `all`, `none`, or numbers like `0,4-6`."
        ),
    ] = "attention",
    top_k: Annotated[int, typer.Option(help="How many chunks a scorer may choose.")] = 2,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="TIME",
            help="Ask only about the video from here on: seconds, `MM:SS`, `HH:MM:SS`, or a time by the clock such as "
            "`2026-11-21T08:00:00+01:00` where the recording's start is known.",
        ),
    ] = None,
    to: Annotated[str | None, typer.Option(metavar="TIME", help="Ask only about the video up to here.")] = None,
    max_new_tokens: Annotated[int, typer.Option(help="The longest answer, in tokens.")] = 128,
    temperature: Annotated[float, typer.Option(help="0 is greedy: the same answer every time.")] = 0.0,
    top_p: Annotated[float, typer.Option(help="With a temperature: sample from this much of the probability.")] = 1.0,
    seed: Annotated[int | None, typer.Option(help="With a temperature: makes the answer repeatable.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer with all its evidence as JSON.")] = False,
    fps: options.Fps = 1.0,
    frames: options.Frames = None,
    max_frames: options.MaxFrames = None,
    low_ratio: options.LowRatio = None,
    high_ratio: options.HighRatio = None,
    frames_per_chunk: options.FramesPerChunk = None,
    edge_ratio: options.EdgeRatioText = None,
    remainder: options.Remainder = None,
    tensor_parallel: options.TensorParallel = 1,
    device: options.Device = None,
    dtype: options.Dtype = None,
    storage_options: options.StorageOptions = None,
) -> None:
    """Ask one question about a video.

    A file that is not in the archive yet is prefilled first, once; sampling and ratio options apply to that.

    `videox2l ask lecture.mp4 "What is written on the board?"`

    `videox2l ask lecture.mp4 "Who speaks first?" --select 0-2 --json`

    `videox2l ask camera.mp4 "Is the gate open?" --from 1:30:00 --to 1:45:00`

    `videox2l ask lecture.mp4 "Who speaks first?" --model large/ --tensor-parallel 4`
    """
    from videox2l.answering import ResidentVideo, TextDelta, TimeRange, stream_answer
    from videox2l.config import GenerationConfig, SamplingConfig, SelectionConfig
    from videox2l.errors import QuestionError
    from videox2l.models import load_model

    # Settings first: a typing error should not cost a prefill.
    if not question.strip():
        raise QuestionError("the question is empty: ask something about the video")
    selection, generation = SelectionConfig(select, top_k), GenerationConfig(max_new_tokens, temperature, top_p, seed)
    time_range = TimeRange.parse(from_, to)
    sampling = SamplingConfig(fps, frames, max_frames)
    ratios = options.compression(
        model,
        low_ratio=low_ratio,
        high_ratio=high_ratio,
        frames_per_chunk=frames_per_chunk,
        edge_ratio=edge_ratio,
        remainder=remainder,
    )
    console, notes = Console(highlight=False), Console(stderr=True, highlight=False)
    if tensor_parallel > 1:
        from pipelines.cli.ask_parallel import ask_over_ranks

        answer = ask_over_ranks(
            tensor_parallel,
            model,
            video,
            question,
            archive,
            selection=selection,
            generation=generation,
            time_range=time_range,
            sampling=sampling,
            compression=ratios,
            device=device,
            dtype=dtype,
            storage_options=storage_options,
            notes=notes,
        )
        if not as_json:
            console.print(answer.text, markup=False, soft_wrap=True)
        _print_answer(answer, notes, as_json=as_json)
        return
    loaded = load_model(model, device=device, dtype=dtype)
    reader = _open_or_ingest(loaded, archive, video, sampling, ratios, storage_options, notes)
    resident = ResidentVideo(loaded, reader)
    for event in stream_answer(loaded, resident, question, selection, generation, time_range):
        if isinstance(event, TextDelta):
            if not as_json:
                console.print(event.text, end="", markup=False, soft_wrap=True)
        else:
            if not as_json:
                console.print()
            _print_answer(event, notes, as_json=as_json)


def _print_answer(answer: Answer, notes: Console, *, as_json: bool) -> None:
    """All of it as JSON, or for people what it rests on: they have its text."""
    if as_json:
        typer.echo(json.dumps(answer.to_dict(), indent=1, ensure_ascii=False))
        return
    for line in warning_lines(answer):
        notes.print(line, style="yellow", markup=False, soft_wrap=True)
    for line in evidence_lines(answer):
        notes.print(line, style="dim", markup=False, soft_wrap=True)


def warning_lines(answer: Answer) -> list[str]:
    """What the answer should have rested on and does not, for people."""
    lost = answer.degraded
    if not lost:
        return []
    shown = "; ".join(_place(span) for span in lost)
    return [
        f"warning: {len(lost)} of {len(lost) + len(answer.spans)} chosen chunks could not be read in detail, so the "
        f"answer has only their gist: {shown}",
        *(f"  {span.reason}" for span in lost[:_REASONS]),
        *([f"  and {len(lost) - _REASONS} more; --json has all reasons"] if len(lost) > _REASONS else []),
    ]


def evidence_lines(answer: Answer) -> list[str]:
    """What an answer rests on and what it cost, for people."""
    receipt, covered = answer.receipt, answer.covered
    shown = "; ".join(_place(span, span.score) for span in answer.spans) or "nothing"
    part = f"{_times(covered.start_s, covered.end_s, covered.recorded_at)} ({covered.chunks} of {answer.chunks} chunks)"
    read = ", ".join(f"{level} {size / 1024:.1f} KiB" for level, size in receipt.bytes_read.items())
    first = receipt.milliseconds.get("first_token")
    times = f"first token {first:.0f} ms, " if first is not None else ""
    return [
        *([f"asked about: {part}"] if covered.chunks < answer.chunks else []),
        f"in detail: {shown} of {covered.chunks} chunks",
        f"read: {read} · {times}total {receipt.milliseconds['total']:.0f} ms · {receipt.memory_tokens} memory tokens",
    ]


def _place(span: Span | DegradedSpan, score: float | None = None) -> str:
    """``10.0–20.0 s (chunk 1, score 0.5)``."""
    rated = f", score {score:.3g}" if score is not None else ""
    return f"{_times(span.start_s, span.end_s, span.recorded_at)} (chunk {span.chunk}{rated})"


def _times(start_s: float, end_s: float, recorded_at: RecordedAt | None) -> str:
    clock = f", by the clock {recorded_at.start} to {recorded_at.end}" if recorded_at is not None else ""
    return f"{start_s:.1f}–{end_s:.1f} s{clock}"


def _open_or_ingest(
    model: KVCompressibleModel,
    archive_url: str,
    video: str,
    sampling: SamplingConfig,
    compression: CompressionConfig | None,
    storage_options: dict[str, Any] | None,
    notes: Console,
) -> IndexReader:
    """The index of ``video``; made here and now where ``video`` is a file that the archive lacks."""
    from videox2l.prefill import index_spec
    from videox2l.store import Archive

    if not Path(video).expanduser().exists():
        archive = Archive.open(archive_url, storage_options=storage_options)
        return archive.open_index(video, model_fingerprint=model.identity.fingerprint)
    archive = Archive.open(archive_url, create=True, storage_options=storage_options)
    wanted = index_spec(model, sampling, compression or model.default_compression)
    if (stored := archive.find_index(archive.identify(video), wanted)) is not None:
        return stored
    video_id = _ingest_here(model, archive, video, sampling, compression, notes)
    return archive.open_index(video_id, spec=wanted)


def _ingest_here(
    model: KVCompressibleModel,
    archive: OpenArchive,
    video: str,
    sampling: SamplingConfig,
    compression: CompressionConfig | None,
    notes: Console,
) -> str:
    from rich.progress import Progress

    from videox2l.prefill import ingest_video

    with Progress(console=notes, transient=True, disable=not notes.is_terminal) as bar:
        task = bar.add_task(f"prefilling {Path(video).name}", total=None)
        identity, _ = ingest_video(
            model,
            archive,
            Path(video).expanduser(),
            sampling=sampling,
            compression=compression,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
            warn=lambda message: notes.print(f"warning: {message}", style="yellow", markup=False, soft_wrap=True),
        )
    return identity.video_id
