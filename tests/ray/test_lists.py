"""Lists of videos: what they say reaches the archive, and what is wrong with them is said with its place."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.ingest.lists import Entry, read_list
from tests.cli.commands import run
from videox2l.errors import ConfigError

FULL = {
    "source": "Über uns.mp4",
    "id": "lecture 1",
    "recorded_at": "2026-05-01T09:00:00+02:00",
    "fps": 0.5,
    "site": "Köln, Süd",
    "floor": 3,
}


def entry(path: Path, place: str, values: dict[str, Any] = FULL) -> Entry:
    metadata = {name: values[name] for name in ("site", "floor")}
    return Entry(f"{path}, {place}", values["source"], values["id"], values["recorded_at"], values["fps"], metadata)


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\N{ZERO WIDTH NO-BREAK SPACE}"])
def test_text_of_any_system(tmp_path: Path, ends: str, mark: str):
    lines = {
        "a.csv": [
            "source,id,recorded_at,fps,site,floor",
            'Über uns.mp4,lecture 1,2026-05-01T09:00:00+02:00,.5,"Köln, Süd",3',
            "",
        ],
        "a.jsonl": [json.dumps(FULL), "", ""],
        "a.txt": ["# a comment", "Über uns.mp4", ""],
    }
    for name, text in lines.items():
        (tmp_path / name).write_bytes((mark + ends.join(text)).encode())
    csv, jsonl, txt = (tmp_path / name for name in lines)
    assert read_list(str(csv)) == [entry(csv, "line 2", FULL | {"floor": "3"})]  # CSV knows only text
    assert read_list(str(jsonl)) == [entry(jsonl, "line 1")]
    assert read_list(str(txt)) == [Entry(f"{txt}, line 2", "Über uns.mp4")]


def test_parquet(tmp_path: Path):
    path = tmp_path / "list.parquet"
    begin = datetime.datetime(2026, 5, 1, 9, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))
    row = FULL | {"recorded_at": begin, "day": begin.date()}
    pq.write_table(pa.Table.from_pylist([row, {"source": "b.mp4"}], schema=pa.Table.from_pylist([row]).schema), path)
    first, second = read_list(str(path))
    assert first.metadata == {"site": "Köln, Süd", "floor": 3, "day": "2026-05-01"}
    assert first.recorded_at is not None
    assert datetime.datetime.fromisoformat(first.recorded_at) == begin
    assert second == Entry(f"{path}, row 2", "b.mp4", metadata={"site": None, "floor": None, "day": None})


WRONG = {
    "empty text": ("a.txt", "# nothing\n", "a.txt lists no videos"),
    "empty csv": ("a.csv", "", "line 1: no column 'source'.*the columns are none"),
    "only a heading": ("a.csv", "source,id\n", "lists no videos"),
    "missing column": ("a.csv", "path,id\na.mp4,1\n", "line 1: no column 'source'.*'path', 'id'"),
    "misspelled column": ("a.csv", "sources\na.mp4\n", "'sources' is probably meant to be 'source'"),
    "another spelling": ("a.csv", "Source,Recorded-At\n", "'Source' is probably meant to be 'source'"),
    "misspelled setting": ("a.csv", "source,recoded_at\n", "'recoded_at' is probably meant to be 'recorded_at'"),
    "column twice": ("a.csv", "source,site,site\n", "two columns 'site'"),
    "semicolons": ("a.csv", "source;id\na.mp4;1\n", "the columns are 'source;id'"),
    "too many values": ("a.csv", "source,id\na.mp4,1\nb,c.mp4,2\n", "line 3: 3 values for 2 columns"),
    "no source": ("a.csv", "source,id\n,1\n", "line 2: source is None; expected the path or URL"),
    "no number": ("a.csv", "source,fps\na.mp4,fast\n", "line 2: fps is 'fast'; expected frames a second"),
    "impossible number": ("a.csv", "source,fps\na.mp4,0\n", "line 2: fps must be above 0"),
    "no time": ("a.csv", "source,recorded_at\na.mp4,noon\n", "line 2: 'noon' is no ISO 8601 time"),
    "time of no place": ("a.csv", "source,recorded_at\na.mp4,2026-05-01T09:00\n", "offset from UTC"),
    "id twice": ("a.csv", "source,id\na.mp4,x\nb.mp4,x\n", "line 3: the id 'x' is taken, by .*line 2"),
    "id like a content's": ("a.csv", f"source,id\na.mp4,{'0' * 32}\n", "line 2: id is .*looks like the id"),
    "not an object": ("a.jsonl", '"a.mp4"\n', "line 1: expected an object"),
    "not JSON": ("a.jsonl", '{"source": "a.mp4"}\n{oops\n', "line 2, is not a JSON object"),
    "no JSON number": ("a.jsonl", '{"source": "a.mp4", "x": NaN}', "line 1, .*NaN"),
    "value twice": ("a.jsonl", '{"source": "a.mp4", "x": 1, "x": 2}', "line 1, .*twice"),
    "nested value": ("a.jsonl", '{"source": "a.mp4", "x": [1]}', "line 1: of the metadata, 'x' is of type list"),
    "id of a wrong type": ("a.jsonl", '{"source": "a.mp4", "id": true}', "line 1: id is True"),
    "too much": ("a.jsonl", '{"source": "a.mp4", "x": "' + "x" * 20000 + '"}', "more than 16384"),
    "not UTF-8": ("a.csv", "source\nb\udcffd.mp4\n", "it is not UTF-8 text"),
    "not Parquet": ("a.parquet", "source\n", "cannot read the list"),
    "an open quotation mark": ("a.csv", 'source\n"a.mp4\n', "cannot read the list"),
}


@pytest.mark.parametrize("case", WRONG)
def test_lists_that_are_wrong(tmp_path: Path, case: str):
    name, text, complaint = WRONG[case]
    (tmp_path / name).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ConfigError, match=complaint):
        read_list(str(tmp_path / name))


def test_the_command_says_so_before_anything_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "videos").mkdir()
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / "videos" / name).write_bytes(b"x")
    cases = {
        "empty.txt": ("\n", "lists no videos"),
        "nested.txt": ("other.csv\n", "line 1: names another list"),
        "none.txt": ("*.mkv\n", "line 1: nothing matches"),
        "column.csv": ("video\na.mp4\n", "no column 'source'"),
        "folder.csv": ("source,id\nvideos,x\n", "line 2: videos are 2 videos, but the id is that of one"),
    }
    for name, (text, complaint) in cases.items():
        (tmp_path / name).write_text(text)
        code, _, error = run(capsys, "ingest", tmp_path / name, "--archive", tmp_path / "archive")
        assert code != 0
        assert complaint in error
        assert name in error
    assert not (tmp_path / "archive").exists()
