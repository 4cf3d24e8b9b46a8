"""Tables of questions in every format that people have them in, and what is said of those that are none."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.batch.questions import located, read_table, suffix
from videox2l.errors import ConfigError

ROWS = [
    {"id": "007", "video": "été, 1.mp4", "question": "Who speaks?\nAnd when?"},
    {"id": "8", "video": "b.mp4", "question": 'He said "no"; why?'},
]
CSV = 'id,video,question\n007,"été, 1.mp4","Who speaks?\nAnd when?"\n8,b.mp4,"He said ""no""; why?"\n'
JSONL = (
    '{"id": "007", "video": "été, 1.mp4", "question": "Who speaks?\\nAnd when?"}\n'
    '{"id": "8", "video": "b.mp4", "question": "He said \\"no\\"; why?"}\n'
)


def parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), sink)
    return sink.getvalue()


GOOD = {
    "parquet": ("q.parquet", parquet()),
    "csv": ("q.csv", CSV.encode()),
    "csv from a spreadsheet": ("q.csv", b"\xef\xbb\xbf" + CSV.encode()),
    "csv with the line ends of Windows": ("q.CSV", CSV.replace("\n", "\r\n").replace("?\r\nA", "?\nA").encode()),
    "jsonl": ("q.jsonl", JSONL.encode()),
}


@pytest.mark.parametrize("case", GOOD)
def test_every_format_gives_the_same_rows(tmp_path: Path, case: str) -> None:
    name, data = GOOD[case]
    (tmp_path / name).write_bytes(data)
    assert read_table(str(tmp_path / name)).to_pylist() == ROWS


def test_columns_of_csv_are_texts(tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text("id,top_k,when,empty\n007,2,2026-01-01,\n")
    assert read_table(str(tmp_path / "q.csv")).to_pylist() == [
        {"id": "007", "top_k": "2", "when": "2026-01-01", "empty": ""}
    ]


def test_json_lines_stay_what_they_are(tmp_path: Path) -> None:
    """Times with the offset from UTC that is written in them, or a question by the clock is about another hour."""
    lines = [
        '{"question": "a", "video": "2026-11-21", "from": "2026-11-21T08:00:00+01:00", "to": 90, '
        '"hash": 18446744073709551615, "note": "a\u2028b"}',
        '{"question": "b", "video": "2026-11-22", "from": null, "shift": {"days": ["2026-11-21T06:00:00Z"]}}',
    ]
    (tmp_path / "q.jsonl").write_text("\n\n".join(lines).replace("\n", "\r\n"))
    first, second = read_table(str(tmp_path / "q.jsonl")).to_pylist()
    assert (first["hash"], second["hash"]) == (2**64 - 1, None)
    assert (first["video"], first["from"], first["to"]) == ("2026-11-21", "2026-11-21T08:00:00+01:00", 90)
    assert first["note"] == "a\u2028b"
    assert (second["from"], second["shift"]) == (None, {"days": ["2026-11-21T06:00:00Z"]})


BAD = {
    "no file": ("none.csv", None, "there is no table of questions"),
    "another kind": ("q.xlsx", b"", "must end in .parquet, .csv, .jsonl"),
    "no parquet": ("q.parquet", b"question\n", "cannot read the questions"),
    "no json": ("q.jsonl", b"question\n", "cannot read the questions"),
    "ragged": ("q.csv", b"a,b\n1,2\n3\n", "cannot read the questions"),
    "not UTF-8": ("q.csv", "question\nété\n".encode("latin-1"), "cannot read the questions"),
    "not UTF-8 in JSON": ("q.jsonl", '{"question": "été"}'.encode("latin-1"), "cannot read the questions"),
    "half a character": ("q.jsonl", b'{"question": "\\ud800"}', "cannot read the questions"),
    "a number without end": ("q.jsonl", b'{"question": "a", "id": 1%s}' % (b"0" * 30), "'id' has a number that"),
    "a name twice": (
        "q.jsonl",
        b'{"question": "a"}\n{"video": "a", "video": "b"}',
        "line 2: .*'video' stands there twice",
    ),
    "an array": ("q.jsonl", b'[{"question": "a"}]', "line 1 is no JSON object"),
    "texts and numbers": ("q.jsonl", b'{"from": "a"}\n{"from": 1}', "column 'from'"),
    "no JSON lines": ("q.jsonl", b"\n", "has no questions"),
    "nothing": ("q.csv", b"", "cannot read the questions"),
    "no rows": ("q.csv", b"video,question\n", "has no questions"),
    "one column twice": ("q.csv", b"question,video,question\na,b,c\n", "two columns 'question'"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_said(tmp_path: Path, case: str) -> None:
    name, data, message = BAD[case]
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ConfigError, match=message) as error:
        read_table(str(tmp_path / name))
    assert name in str(error.value)


def test_a_file_in_a_folder_and_at_a_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    storage, name = located("sub/answers.parquet")
    assert (storage.root, name) == (str(tmp_path / "sub"), "answers.parquet")
    storage, name = located("memory://bucket/sub/answers.parquet")
    assert (storage.url, name) == ("memory://bucket/sub", "answers.parquet")
    assert suffix("s3://bucket/a.b/Q.Parquet") == ".parquet"
