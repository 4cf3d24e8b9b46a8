"""What ``videox2l ask`` does however it is asked: model and archive, a video out of it, questions to that."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import typer
from rich.console import Console
from rich.progress import Progress

import videox2l
from pipelines import calibrated
from pipelines.cli import output, status
from pipelines.cli.answers import print_evidence, print_pieces
from pipelines.indexes import one_index
from videox2l.answering import TimeRange
from videox2l.answering.answer import to_json
from videox2l.config import CompressionConfig, GenerationConfig, SamplingConfig, SelectionConfig
from videox2l.errors import QuestionError, VideoNotFoundError
from videox2l.library import Library, Video
from videox2l.models import KVCompressibleModel, load_model
from videox2l.paths import expanded

# Names shown where a video has to be chosen.
_NAMED = 10


@dataclass(frozen=True)
class How:
    """How questions are asked; ``start`` and ``end`` as written, raises ``TimeRangeError`` for what is no time."""

    selection: SelectionConfig
    generation: GenerationConfig
    start: str | None = None
    end: str | None = None

    def __post_init__(self) -> None:
        TimeRange.parse(self.start, self.end)

    @property
    def time_range(self) -> TimeRange | None:
        return None if self.start is None and self.end is None else TimeRange.parse(self.start, self.end)

    def arguments(self) -> dict[str, Any]:
        """For the questions of a :class:`Video`."""
        return {"selection": self.selection, "generation": self.generation, "start": self.start, "end": self.end}


@dataclass(frozen=True)
class Asking:
    """What is asked: a model and an archive, and how files that it lacks are prefilled."""

    model: str
    archive: str
    sampling: SamplingConfig
    compression: CompressionConfig | None
    device: str | None
    dtype: str | None
    storage_options: dict[str, Any] | None
    notes: Console

    def library(self, *, create: bool) -> Library:
        """The archive, opened; with ``create`` made if there is none. The model first: its name may be wrong."""
        return videox2l.open(self.archive, self._loaded, create=create, storage_options=self.storage_options)

    def video(self, library: Library, video: str, index: str | None = None) -> Video:
        """The video called ``video``; a file that the archive lacks is prefilled here and now.

        Without a name it is the archive's only one. ``index``: the start of the id of one of its indexes.

        :raises VideoNotFoundError: the archive has none, or several; or the video has no such index.
        """
        if not video:
            video = _only(library).id
        if index is not None:
            manifest = one_index(library.archive, video, index)
            return library.video(manifest.video.video_id, index=manifest.index_fp)
        if not is_file(video):
            return library.video(video)
        file = expanded(video)
        with Progress(console=self.notes, transient=True, disable=not self.notes.is_terminal) as bar:
            task = bar.add_task(f"prefilling {file.name}", total=None)
            return library.ingest(
                file,
                sampling=self.sampling,
                compression=self.compression,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
                warn=lambda said: self.notes.print(f"warning: {said}", style="yellow", markup=False, soft_wrap=True),
            )

    def warn_uncalibrated(self, library: Library, video: Video, selection: SelectionConfig) -> None:
        """Say where the archive was calibrated and this is outside of it."""
        entry = library.archive.entry(video.id)
        rows = [row for row in entry.indexes if video.index in (None, row.index_fp)]
        for said in calibrated.warnings(library.archive, self._loaded.identity.fingerprint, rows, selection):
            self.notes.print(f"warning: {output.plain(said)}", style="yellow", soft_wrap=True)

    @cached_property
    def _loaded(self) -> KVCompressibleModel:
        if not self.notes.is_terminal:
            return load_model(self.model, device=self.device, dtype=self.dtype)
        with self.notes.status(f"loading {output.plain(self.model)}"):
            return load_model(self.model, device=self.device, dtype=self.dtype)


def is_file(video: str) -> bool:
    """Whether it names a file of this machine."""
    try:
        return bool(video) and expanded(video).is_file()
    except OSError:  # too long for a path, as a question is
        return False


def ask_once(video: Video, question: str, how: How, console: Console, notes: Console, *, as_json: bool) -> None:
    """Print an answer as it comes, or as one JSON document."""
    if as_json:
        typer.echo(video.ask(question, **how.arguments()).to_json())
        return
    with video.stream(question, **how.arguments()) as stream:
        print_pieces(stream, console)
        print_evidence(stream.answer, notes)


def ask_each(
    video: Video, questions: Iterable[str], how: How, console: Console, notes: Console, *, as_json: bool
) -> None:
    """Answer questions one after the other. One that cannot be asked does not keep the others from it.

    As JSON, each line is an answer, or an object with ``question`` and ``error``.

    :raises typer.Exit: with status 1 at the end, where there was such a question.
    """
    failed = False
    for question in questions:
        try:
            if as_json:
                typer.echo(video.ask(question, **how.arguments()).to_json(indent=None))
            else:
                ask_once(video, question, how, console, notes, as_json=False)
        except QuestionError as error:
            failed = True
            if as_json:
                shown = question.encode(errors="backslashreplace").decode()
                typer.echo(to_json({"question": shown, "error": str(error)}, indent=None))
            notes.print(f"[bold red]error:[/] {output.plain(f'{question[:80]!r}: {error}')}", soft_wrap=True)
        sys.stdout.flush()
    if failed:
        raise typer.Exit(status.SOME_FAILED)


def _only(library: Library) -> Video:
    videos = library.videos()
    if len(videos) == 1:
        return videos[0]
    if not videos:
        raise VideoNotFoundError(f"{library.url} holds no videos yet: ingest one, or give a video file")
    names = ", ".join(video.name for video in videos[:_NAMED]) + (", …" if len(videos) > _NAMED else "")
    raise VideoNotFoundError(f"{library.url} holds {len(videos)} videos, so say which: {names}")
