import json
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest
from pyarrow import parquet

from videox2l.errors import ConfigError
from videox2l.training.vst.examples import Example, example_at, read_examples

ROWS = [
    {"video": "a.mp4", "question": "Who?", "answer": "Ann"},
    {"video": "b.mp4", "question": "Where?", "answer": "Here"},
    {"video": "a.mp4", "question": "When?", "answer": "Now", "source": "a column that is passed over"},
    {"video": "a.mp4", "question": "Why?", "answer": "Because"},
]


def write(folder: Path, rows: list[dict], suffix: str) -> Path:
    path = folder / f"train{suffix}"
    if suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_rows_about_one_video_share_examples(tmp_path, suffix) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).touch()
    a, b = str(tmp_path / "a.mp4"), str(tmp_path / "b.mp4")
    assert read_examples(write(tmp_path, ROWS, suffix), questions=2) == [
        Example(a, (("Who?", "Ann"), ("When?", "Now"))),
        Example(a, (("Why?", "Because"),)),
        Example(b, (("Where?", "Here"),)),
    ]


def test_videos_of_a_remote_list_lie_beside_it() -> None:
    with fsspec.open("memory://lists/train.jsonl", "w") as stream:
        stream.write(json.dumps(ROWS[0]) + "\n" + json.dumps({**ROWS[0], "video": "https://example.com/b.mp4"}))
    videos = [example.video for example in read_examples("memory://lists/train.jsonl", questions=1)]
    assert videos == ["memory://lists/a.mp4", "https://example.com/b.mp4"]


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("", "train.jsonl", "has no rows"),
        ("{", "train.jsonl", "line 1 is not JSON"),
        ("[1]", "train.jsonl", "line 1 is no object"),
        ('{"video": "a.mp4", "question": "Who?"}', "train.jsonl", "row 1 lacks 'answer'"),
        ('{"video": "a.mp4", "question": "Who?", "answer": 4}', "train.jsonl", "answer must be text"),
        ('{"video": "a.mp4", "question": " ", "answer": "4"}', "train.jsonl", "question must be text"),
        ('{"video": "no such.mp4", "question": "Who?", "answer": "4"}', "train.jsonl", "1 of the 1 videos"),
        ("video,question,answer", "train.csv", "is no training list"),
        ("PAR1", "train.parquet", "not a readable Parquet file"),
    ],
)
def test_wrong_lists_are_refused(tmp_path, text, name, message) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_examples(tmp_path / name, questions=1)


def test_a_parquet_list_without_a_column_is_refused(tmp_path) -> None:
    path = write(tmp_path, [{"video": "a.mp4", "question": "Who?"}], ".parquet")
    with pytest.raises(ConfigError, match="lacks the column answer"):
        read_examples(path, questions=1)


def test_a_missing_list_is_refused(tmp_path) -> None:
    with pytest.raises(ConfigError, match="cannot read the training list"):
        read_examples(tmp_path / "none.jsonl", questions=1)


def test_every_epoch_has_each_example_once_in_an_order_of_its_own() -> None:
    examples = [Example(str(number), ()) for number in range(20)]
    epochs = [[example_at(examples, 20 * epoch + place, seed=3) for place in range(20)] for epoch in range(3)]
    for epoch in epochs:
        assert sorted(epoch, key=lambda example: int(example.video)) == examples
    assert epochs[0] != epochs[1] != epochs[2]
