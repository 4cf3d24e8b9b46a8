"""From a table of questions to work: each question with its video, grouped by video."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

import pyarrow as pa

from pipelines.batch.settings import BatchSettings
from videox2l.answering import TimeRange
from videox2l.config import SelectionConfig, to_dict
from videox2l.errors import ConfigError, QuestionError, VideoNotFoundError, VideoX2LError
from videox2l.scorers import CONTROLS, entries
from videox2l.selection.select import parse_chunks
from videox2l.store.catalog import CatalogRow
from videox2l.store.lookup import VideoEntry, resolve

QUESTION, VIDEO = "question", "video"

_GLOB = frozenset("*?[")


@dataclass(frozen=True)
class Ask:
    """One question: ``row`` of the output, and what its row says of how to answer."""

    row: int
    question: str
    start: str | float | None = None
    end: str | float | None = None
    select: str | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    index: str | None = None


@dataclass(frozen=True)
class Unit:
    """All questions about one video: what an actor is handed."""

    video_id: str
    asks: tuple[Ask, ...]

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Unit:
        document = json.loads(text)
        return cls(document["video_id"], tuple(Ask(**ask) for ask in document["asks"]))


@dataclass(frozen=True)
class Target:
    """A row of the output: which row of the questions it comes from, and its video where one is found."""

    source: int
    video_id: str | None
    video_name: str | None


@dataclass
class Plan:
    """``targets``: the rows of the output. ``failed``: those that cannot be asked, with the reason.

    ``indexes``: what is asked of each video, by its id and the index that a row may have named.
    """

    targets: list[Target] = field(default_factory=list)
    asks: dict[str, list[Ask]] = field(default_factory=dict)
    failed: dict[int, VideoX2LError] = field(default_factory=dict)
    indexes: dict[tuple[str, str | None], CatalogRow] = field(default_factory=dict)

    def units(self, done: set[int]) -> list[Unit]:
        """What is left to ask, the videos with the most questions first."""
        left = (
            Unit(video_id, tuple(ask for ask in asks if ask.row not in done)) for video_id, asks in self.asks.items()
        )
        return sorted((unit for unit in left if unit.asks), key=lambda unit: -len(unit.asks))

    @cached_property
    def questions(self) -> int:
        """Those that can be asked."""
        return sum(len(asks) for asks in self.asks.values())

    def estimated_bytes(self, settings: BatchSettings) -> dict[str, int]:
        """Bytes that would be read at most: high KVs once a video, low KVs as often as chunks can be chosen."""
        high = sum({(row.video_id, row.index_fp): row.high_bytes for row in self.indexes.values()}.values())
        low = 0
        for (video_id, named), index in self.indexes.items():
            each = index.low_bytes / max(1, index.chunks)
            asks = [ask for ask in self.asks[video_id] if ask.index == named]
            chosen = sum(_most_chunks(ask, settings.selection, index.chunks) for ask in asks)
            low += min(index.low_bytes, round(each * chosen))
        return {"high": high, "low": low}


def _most_chunks(ask: Ask, selection: SelectionConfig, chunks: int) -> int:
    """How many of a video's ``chunks`` the question can have in detail."""
    chosen = selection.select if ask.select is None else ask.select
    top_k = min(selection.top_k if ask.top_k is None else ask.top_k, chunks)
    if chosen in CONTROLS:
        return len(CONTROLS[chosen](range(chunks), top_k))
    if entries(chosen):
        return top_k
    try:
        return len(parse_chunks(chosen))
    except ConfigError:  # which is its answer
        return 0


def make_plan(
    table: pa.Table, videos: Sequence[VideoEntry], fingerprint: str, filters: Sequence[str] | None = None
) -> Plan:
    """Resolve each row of ``table`` among ``videos``; with ``filters`` each is asked of every video that fits them.

    :raises ConfigError: a column is missing or superfluous, or no video fits ``filters``.
    """
    _check_columns(table, filters)
    plan = Plan()
    by_id = {video.video_id: video for video in videos}
    every = None if filters is None else _fitting(videos, filters, fingerprint)
    meant: dict[str, list[VideoEntry] | VideoX2LError] = {}
    for source, row in enumerate(table.to_pylist()):
        if every is not None:
            found: list[VideoEntry] | VideoX2LError = every
        else:
            text = str(row[VIDEO] if row[VIDEO] is not None else "").strip()
            if text not in meant:
                meant[text] = _meant(text, videos, by_id)
            found = meant[text]
        for target in _targets(source, found):
            number = len(plan.targets)
            plan.targets.append(target)
            try:
                if isinstance(found, VideoX2LError):
                    raise found
                assert target.video_id is not None
                ask = _ask(number, row, by_id[target.video_id])
                meant_index = _index(by_id[target.video_id], fingerprint, ask.index)
                plan.indexes[target.video_id, ask.index] = meant_index
                plan.asks.setdefault(target.video_id, []).append(ask)
            except VideoX2LError as error:
                plan.failed[number] = error
    return plan


def digest(table: pa.Table, plan: Plan, settings: BatchSettings, archive_url: str, fingerprint: str) -> str:
    """Equal for jobs whose answers are the same: same questions, videos as they are now, model and settings."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema.remove_metadata()) as writer:
        writer.write_table(table.combine_chunks().replace_schema_metadata(None))
    facts = {
        "archive": archive_url,
        "model": fingerprint,
        "selection": to_dict(settings.selection),
        "generation": to_dict(settings.generation),
        "targets": [(target.source, target.video_id) for target in plan.targets],
        "indexes": sorted((index.video_id, index.index_fp, index.created) for index in plan.indexes.values()),
    }
    state = hashlib.sha256(memoryview(sink.getvalue()))
    state.update(json.dumps(facts, sort_keys=True).encode())
    return state.hexdigest()[:32]


def _check_columns(table: pa.Table, filters: Sequence[str] | None) -> None:
    names = table.column_names
    if QUESTION not in names:
        raise ConfigError(f"the table has no column {QUESTION!r}; its columns: {', '.join(names)}")
    if filters is None and VIDEO not in names:
        raise ConfigError(
            f"the table has no column {VIDEO!r} (an id, name or name glob). To ask every question of many videos, "
            "give --questions and --videos."
        )
    if filters is not None and VIDEO in names:
        raise ConfigError(f"the table has a column {VIDEO!r}, and --videos says which to ask: leave one of them out")


def _meant(
    text: str, videos: Sequence[VideoEntry], by_id: Mapping[str, VideoEntry]
) -> list[VideoEntry] | VideoX2LError:
    """What ``text`` calls: one video, or, as a glob, all whose name fits."""
    if not text:
        return VideoNotFoundError("the row names no video")
    try:
        return [by_id[resolve(text, videos)]]
    except VideoNotFoundError as error:
        if not _GLOB & set(text):
            return error
    found = [video for video in videos if any(fnmatchcase(name, text) for name in video.names)]
    return found or VideoNotFoundError(f"no video of the archive is called {text!r}")


def _fitting(videos: Sequence[VideoEntry], filters: Sequence[str], fingerprint: str) -> list[VideoEntry]:
    """Videos that this model can answer about and that fit every filter: a name glob, or ``key=value`` of metadata."""
    found = [video for video in videos if all(_fits(video, text) for text in filters)]
    if not found:
        raise ConfigError(f"no video of the archive fits {' and '.join(map(repr, filters))}")
    ours = [video for video in found if any(row.model_fingerprint == fingerprint for row in video.indexes)]
    if not ours:
        raise ConfigError(f"{len(found)} videos fit, and none was ingested with this model: choose another --model")
    return ours


def _fits(video: VideoEntry, text: str) -> bool:
    key, equals, value = text.partition("=")
    if not equals:
        return any(fnmatchcase(name, text) for name in video.names)
    metadata = json.loads(video.indexes[-1].metadata)
    return key in metadata and fnmatchcase(_words(metadata[key]), value)


def _words(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _targets(source: int, found: list[VideoEntry] | VideoX2LError) -> Iterator[Target]:
    if isinstance(found, VideoX2LError):
        yield Target(source, None, None)
        return
    for video in found:
        yield Target(source, video.video_id, video.name)


def _index(video: VideoEntry, fingerprint: str, named: str | None) -> CatalogRow:
    """The one that was named, or the newest of this model. Whether there is a choice, the actor finds out."""
    if named is not None:
        return next(row for row in video.indexes if row.index_fp == named)
    ours = [row for row in video.indexes if row.model_fingerprint == fingerprint]
    return ours[-1] if ours else video.indexes[-1]


def _ask(number: int, row: Mapping[str, Any], video: VideoEntry) -> Ask:
    """:raises VideoX2LError: the row says something that cannot be asked."""
    question = row[QUESTION]
    if not isinstance(question, str) or not question.strip():
        raise QuestionError("the question is empty: ask something about the video")
    start, end = _moment(row, "from"), _moment(row, "to")
    TimeRange.parse(start, end)
    select, index = row.get("select"), row.get("index_id")
    return Ask(
        number,
        question,
        start,
        end,
        str(select) if select not in (None, "") else None,
        _count(row, "top_k"),
        _count(row, "max_tokens"),
        video.index_id(str(index)) if index not in (None, "") else None,
    )


def _moment(row: Mapping[str, Any], name: str) -> str | float | None:
    value = row.get(name)
    if value is None or value == "":
        return None
    if hasattr(value, "isoformat"):  # a time stamp of Parquet
        return str(value.isoformat())
    return float(value) if isinstance(value, int | float) else str(value)


def _count(row: Mapping[str, Any], name: str) -> int | None:
    value = row.get(name)
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if number != number // 1 or number < 0:
        raise QuestionError(f"{name} must be a whole number, got {value!r}")
    return int(number)
