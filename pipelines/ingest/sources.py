"""From what a user names, files, folders, globs and lists, to the videos that are meant."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.ingest.lists import LIST_SUFFIXES, Entry, is_list, read_list
from pipelines.ingest.settings import IngestSettings
from videox2l.config import SamplingConfig
from videox2l.errors import ConfigError
from videox2l.identity import VideoIdentity, file_system, is_unicode
from videox2l.paths import expanded
from videox2l.prefill.ingest import wall_clock
from videox2l.store.metadata import MetadataValue

VIDEO_SUFFIXES = frozenset(".mp4 .m4v .mov .mkv .webm .avi .flv .wmv .ts .mts .m2ts .mpg .mpeg .3gp .ogv".split())
"""What counts as a video in a folder. A file that is named itself is taken whatever its suffix."""


@dataclass(frozen=True)
class VideoRequest:
    """A video that is to be ingested, and what was said of it.

    ``source``: path or URL. ``name``: the user's own, or empty for that of the file. ``recorded_at``: wall-clock time
    of its second 0, ISO 8601 with offset. ``fps``: frames looked at per second, where not as in the job's settings.
    ``metadata``: the user's own values. None stands for what was not said.
    """

    source: str
    name: str = ""
    recorded_at: str | None = None
    fps: float | None = None
    metadata: Mapping[str, MetadataValue] | None = None

    def named(self, identity: VideoIdentity) -> VideoIdentity:
        """``identity`` with the user's own name, if there is one."""
        return dataclasses.replace(identity, name=self.name) if self.name else identity

    def sampling(self, usual: SamplingConfig) -> SamplingConfig:
        """Which of its frames are looked at, in a job where it is ``usual`` otherwise."""
        return usual if self.fps is None else dataclasses.replace(usual, fps=self.fps)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> VideoRequest:
        """The inverse of :func:`dataclasses.asdict`."""
        return cls(**data)


def requests_for(sources: Iterable[str | Path | VideoRequest], settings: IngestSettings) -> list[VideoRequest]:
    """:func:`expand_sources`, with what ``settings`` say of the one video.

    :raises ConfigError: as there, or a setting and the videos do not go together.
    """
    requests = expand_sources(sources)
    settings.check_sources(len(requests))
    paced = next((request for request in requests if request.fps is not None), None)
    if paced is not None and settings.sampling.frames is not None:
        raise ConfigError(
            f"the list gives {paced.source} an fps, but the job looks at a fixed number of frames: give one of them"
        )
    if settings.recorded_at is not None:
        requests = [dataclasses.replace(requests[0], recorded_at=wall_clock(settings.recorded_at))]
    return requests


def expand_sources(sources: Iterable[str | Path | VideoRequest]) -> list[VideoRequest]:
    """The videos that ``sources`` stand for, in their order, each once.

    A source is a video file or URL; a folder (its videos, also in folders below, sorted); a glob (``*``, ``?``, ``[]``,
    ``**``), local or on any fsspec file system; or a list, local or remote: ``.txt`` with a path or URL a line (empty
    lines and lines that start with # are passed over), or ``.csv``, ``.jsonl`` or ``.parquet`` with a column ``source``
    and, if you like, ``id``, ``recorded_at``, ``fps`` and columns of metadata. Relative paths in a list count from the
    list's folder. Files that are named need not exist: they become failed rows later. A :class:`VideoRequest` stands
    for itself.

    :raises ConfigError: a folder, glob or list holds nothing, a list is wrong, two lists say different things of one
        video or give one name to two, a file's name is not Unicode, or nothing was given at all.
    """
    found: dict[str, tuple[VideoRequest, str]] = {}
    names: dict[str, str] = {}
    for request, where in (pair for source in sources for pair in _expand(source)):
        if not is_unicode(request.source):
            raise ConfigError(f"the name of {request.source!a} is not valid UTF-8: rename the file")
        before, before_where = found.get(request.source, (VideoRequest(request.source), ""))
        found[request.source] = (_both(before, request, before_where, where), where or before_where)
        if request.name and names.setdefault(request.name, request.source) != request.source:
            raise ConfigError(
                f"{where}: the id {request.name!r} is taken, by {names[request.name]}; ids must be unique"
            )
    if not found:
        suffixes = ", ".join(sorted(LIST_SUFFIXES))
        raise ConfigError(f"no videos were given: name files, folders, globs, or a list of them ({suffixes})")
    return [request for request, _ in found.values()]


def check_some_exist(sources: Iterable[str]) -> None:
    """Before Ray is started on this machine, which may take longer than to see that there is nothing to do.

    :raises ConfigError: all ``sources`` are paths, and none of them exists.
    """
    paths = list(sources)
    if any("://" in path or expanded(path).exists() for path in paths):
        return
    more = f", nor any of the {len(paths) - 1} named with it" if len(paths) > 1 else ""
    raise ConfigError(f"there is no file {paths[0]}{more}: check the path")


def _both(before: VideoRequest, after: VideoRequest, before_where: str, where: str) -> VideoRequest:
    """A video that was named twice: nothing said is like something said, but two different things are an error."""
    nothing = VideoRequest(before.source)
    if before not in (nothing, after) and after != nothing:
        raise ConfigError(
            f"{where}: {before.source} is listed already, with other values, by {before_where}. To have a video at two "
            "settings, ingest it twice."
        )
    return before if after == nothing else after


def _expand(given: str | Path | VideoRequest) -> Iterator[tuple[VideoRequest, str]]:
    """Requests with the place of a list that each comes from, empty for none."""
    if isinstance(given, VideoRequest):
        yield given, ""
        return
    source = str(given)
    if not is_list(source) or _is_local_folder(source):
        yield from ((VideoRequest(video), "") for video in _videos(source))
        return
    for entry in read_list(source if "://" in source else str(expanded(source))):
        yield from ((request, entry.where) for request in _listed(entry, source))


def _listed(entry: Entry, source: str) -> Iterator[VideoRequest]:
    """What an entry of the list ``source`` stands for; it may name folders and globs, too."""
    resolved = _resolve(entry.source, source)
    if is_list(resolved) and not _is_local_folder(resolved):
        raise ConfigError(f"{entry.where}: names another list, {entry.source}: write the videos of both into one")
    try:
        videos = _videos(resolved)
    except ConfigError as error:
        raise ConfigError(f"{entry.where}: {error}") from error
    if len(videos) > 1 and (entry.name or entry.recorded_at):
        what = "id" if entry.name else "recorded_at"
        raise ConfigError(f"{entry.where}: {entry.source} are {len(videos)} videos, but the {what} is that of one")
    for video in videos:
        yield VideoRequest(video, entry.name, entry.recorded_at, entry.fps, entry.metadata)


def _resolve(entry: str, list_source: str) -> str:
    if "://" in entry:
        return entry
    if "://" in list_source:
        return f"{list_source.split('?')[0].rpartition('/')[0]}/{entry}"
    # Path joining leaves absolute entries as they are.
    return str(expanded(list_source).parent / expanded(entry))


def _is_local_folder(source: str) -> bool:
    return "://" not in source and expanded(source).is_dir()


def _videos(source: str) -> Sequence[str]:
    """The videos that a file, URL, folder or glob stands for."""
    if "://" not in source and expanded(source).exists():
        path = expanded(source)
        if not path.is_dir():
            return [str(path)]
        return _found(sorted(str(file) for file in path.rglob("*") if _is_video(file)), f"no videos in {path}")
    # In a web address a question mark begins the query, as in a signed link, and brackets are part of some names.
    marks = "*" if source.startswith(("http://", "https://")) else "*?["
    if any(mark in source for mark in marks):
        return _found(_glob(source), f"nothing matches {source}")
    return [source]


def _is_video(file: Path) -> bool:
    # macOS leaves ._name.mp4 files beside the real ones on foreign disks.
    return file.suffix.lower() in VIDEO_SUFFIXES and not file.name.startswith(".") and file.is_file()


def _glob(pattern: str) -> list[str]:
    try:
        filesystem, path = file_system(pattern)
        filesystem.invalidate_cache()  # of every folder in which it may look
        if "://" in pattern and filesystem.exists(path):
            return [pattern]  # the marks are part of its name
        matches = filesystem.glob(path)
    except Exception as error:  # drivers of remote storages raise types of their own
        raise ConfigError(f"cannot look for {pattern}: {error}") from error
    names = [match for match in sorted(matches) if not filesystem.isdir(match)]
    return [filesystem.unstrip_protocol(name) for name in names] if "://" in pattern else names


def _found(videos: list[str], complaint: str) -> list[str]:
    if not videos:
        raise ConfigError(complaint)
    return videos
