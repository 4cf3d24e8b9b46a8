"""Names and metadata of videos: stored with an index, found by queries, and changed without touching it."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import duckdb
import polars
import pytest

from tests.unit.store.samples import append_all, every_storage, random_chunks, spec, video
from videox2l.errors import AlreadyCommittedError, ArchiveFormatError
from videox2l.identity import VideoIdentity
from videox2l.store import Archive, Manifest
from videox2l.store.metadata import Alias, metadata_problem, name_problem, with_alias
from videox2l.store.verify import verify

METADATA = {"camera": "Nord „Tor 1“", "floor": 3, "height_m": 2.5, "night": True, "note": None}
BEGIN = "2026-05-01T09:00:00+02:00"


def write(archive: Archive, name: str = "holiday.mp4", *, replace: bool = False, **said: Any) -> Manifest:
    with archive.create_index(video(name), spec(), replace=replace, **said) as writer:
        append_all(writer, random_chunks(2))
        return writer.commit()


def called(name: str, source: str) -> VideoIdentity:
    """The video of :func:`write` as it is met again, under another name."""
    return dataclasses.replace(video(), name=name, source=source)


@every_storage
def test_metadata_are_stored_and_in_the_catalog(archive: Archive) -> None:
    manifest = write(archive, metadata=METADATA, recorded_at=BEGIN)
    assert archive.open_index("holiday.mp4").manifest == manifest
    [entry] = archive.videos()
    assert entry.indexes[0].description == manifest.description
    assert manifest.metadata == METADATA


def test_zeros_that_are_no_checksum(local_archive: Archive) -> None:
    write(local_archive, metadata={"serial": "0" * 40})
    assert verify(local_archive.storage).ok


def test_queries(local_archive: Archive) -> None:
    write(local_archive, metadata=METADATA)
    write(local_archive, "birthday.mp4", metadata={"camera": "south"})
    write(local_archive, "plain.mp4")
    glob = Path(local_archive.url) / "catalog" / "*.parquet"
    query = f"SELECT name, (metadata->>'floor')::INT FROM '{glob}' WHERE metadata->>'camera' = 'Nord „Tor 1“'"
    assert duckdb.sql(query).fetchall() == [("holiday.mp4", 3)]
    camera = polars.col("metadata").str.json_path_match("$.camera")
    assert polars.read_parquet(glob).filter(camera == "south")["name"].to_list() == ["birthday.mp4"]


@every_storage
def test_another_name_becomes_known(archive: Archive) -> None:
    before = write(archive, metadata=METADATA)
    copy = called("copy of holiday.mp4", "/elsewhere/copy of holiday.mp4")
    assert archive.describe(copy, before.index_fp) == ["is now also known as copy of holiday.mp4"]
    assert archive.describe(copy, before.index_fp) == []
    for text in ("holiday.mp4", copy.name, copy.source):
        assert archive.resolve(text) == before.video.video_id
    after = archive.open_index(copy.name).manifest
    assert after == dataclasses.replace(before, aliases=(Alias(copy.name, copy.source),))
    assert archive.rebuild_catalog() == 1
    assert archive.resolve(copy.source) == before.video.video_id


def test_a_name_given_later_takes_the_place_of_the_files(archive: Archive) -> None:
    before = write(archive)
    source = before.video.source
    assert archive.describe(called("Ferien 2026", source), before.index_fp) == ["is now called Ferien 2026"]
    assert archive.describe(video(), before.index_fp) == []
    assert archive.describe(called("Vacances", source), before.index_fp) == ["is now called Vacances"]
    assert archive.videos()[0].name == "Vacances"
    for text in ("Ferien 2026", "Vacances", "holiday.mp4", source):
        assert archive.resolve(text) == before.video.video_id


def test_metadata_are_replaced_only_by_others(archive: Archive) -> None:
    before = write(archive, metadata=METADATA)
    assert archive.describe(video(), before.index_fp, metadata=dict(METADATA)) == []
    news = archive.describe(video(), before.index_fp, metadata={"floor": 4}, recorded_at=BEGIN)
    assert news == [f"now begins at {BEGIN}", "has new metadata"]
    after = archive.open_index("holiday.mp4").manifest
    assert (after.metadata, after.recorded_at, after.chunks) == ({"floor": 4}, BEGIN, before.chunks)
    assert archive.describe(video(), before.index_fp) == []
    with pytest.raises(AlreadyCommittedError):
        archive.describe(video("gone.mp4"), before.index_fp, metadata={"floor": 4})


def test_what_is_said_outlives_a_replacement_and_an_extension(archive: Archive) -> None:
    first = write(archive, metadata=METADATA, recorded_at=BEGIN)
    archive.describe(called("copy.mp4", "/elsewhere/copy.mp4"), first.index_fp)
    again = write(archive, replace=True)
    assert (again.metadata, again.recorded_at) == (METADATA, BEGIN)
    assert again.aliases == (Alias("copy.mp4", "/elsewhere/copy.mp4"),)
    assert write(archive, replace=True, metadata={"floor": 1}).metadata == {"floor": 1}

    stored = archive.open_index("copy.mp4").manifest
    moved = dataclasses.replace(called("moved.mp4", "/moved.mp4"), size=2000)
    with archive.extend_index(stored, moved, keep=1) as writer:
        writer.append(1, 10.0, 30.0, 20, random_chunks(1)[0])
        grown = writer.commit()
    assert grown.metadata == {"floor": 1}
    assert {alias.name for alias in grown.aliases} == {"copy.mp4", "holiday.mp4"}
    assert len({archive.resolve(text) for text in ("moved.mp4", "holiday.mp4", "copy.mp4")}) == 1


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        ({"": 1}, "the name ''"),
        ({"x" * 129: 1}, "1 to 128"),
        ({"line\nbreak": 1}, "printable"),
        ({"list": [1]}, "'list' is of type list"),
        ({"nan": math.nan}, "'nan' is nan"),
        ({"big": 2**63}, "64 bits"),
        ({"half": "\ud800"}, "Unicode"),
        ({"text": "x" * 2**14}, "16395 bytes"),
        (METADATA, ""),
    ],
)
def test_metadata_are_small_and_flat(metadata: dict[str, Any], problem: str) -> None:
    found = metadata_problem(metadata)
    assert problem in found
    assert bool(found) == bool(problem)


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 256, " a", "\x1b[31m"])
def test_names_that_cannot_be(name: str) -> None:
    assert name_problem(name)


@pytest.mark.parametrize("name", ["Ferien 2026", "会議 #3", "a/b [c]?.mp4", "7"])
def test_names_that_can_be(name: str) -> None:
    assert name_problem(name) == ""


def test_names_are_bounded() -> None:
    aliases: tuple[Alias, ...] = ()
    for number in range(2000):
        aliases = with_alias(aliases, "a.mp4", "/a.mp4", f"{number}.mp4", f"/{'x' * 100}/{number}.mp4")
    assert 400 < len(aliases) < 600


@pytest.mark.parametrize(
    "changes",
    [{"metadata": {"deep": {"er": 1}}}, {"aliases": (Alias("x" * 2**16, "/x"),)}],
    ids=["metadata", "aliases"],
)
def test_impossible_manifests_are_refused(archive: Archive, changes: dict[str, Any]) -> None:
    manifest = dataclasses.replace(write(archive), **changes)
    with pytest.raises(ArchiveFormatError, match="Ingest the video again"):
        Manifest.from_json(manifest.to_json(), "manifest.json")
