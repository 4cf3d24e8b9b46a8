"""Options that several commands share."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import boto3
import pytest

from pipelines.cli import options
from tests.cli.commands import run, run_json
from tests.s3.server import s3_bucket, s3_server
from tests.unit.store.samples import write_index
from videox2l.config import Budget
from videox2l.errors import ConfigError
from videox2l.store import Archive

__all__ = ["s3_bucket", "s3_server"]

DURATIONS = {
    "0s": timedelta(0),
    "90s": timedelta(seconds=90),
    "30min": timedelta(minutes=30),
    "12h": timedelta(hours=12),
    "1.5 d": timedelta(hours=36),
    "2W": timedelta(days=14),
    "1y": timedelta(days=365),
}


@pytest.mark.parametrize("text", DURATIONS)
def test_durations(text: str) -> None:
    assert options.duration(text) == DURATIONS[text]


@pytest.mark.parametrize("text", ["", "30", "d", "-3d", "3m", "1d12h", "1e3d", "99999999999999y"])
def test_durations_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="is no time span"):
        options.duration(text)


@pytest.mark.parametrize("text", ['{"secret": "hunter2"', "[]", '"hunter2"', "hunter2"])
def test_storage_options_that_are_none_are_not_repeated(capsys: pytest.CaptureFixture[str], text: str) -> None:
    code, _, err = run(capsys, "ls", "--storage-options", text)
    assert code == 1
    assert "--storage-options" in err
    assert "hunter2" not in err


@pytest.mark.parametrize("by_variable", [False, True])
def test_storage_options_reach_the_file_system(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    s3_bucket: str,
    by_variable: bool,
) -> None:
    folder = tmp_path_factory.mktemp("here")
    write_index(Archive.open(folder / "archive", create=True))
    run(capsys, "export", "holiday.mp4", "-o", folder / "one.zip", "--archive", folder / "archive")
    text = '{"s3_additional_kwargs": {"ServerSideEncryption": "AES256"}}'
    if by_variable:
        monkeypatch.setenv("VIDEOX2L_STORAGE_OPTIONS", text)
    arguments = [] if by_variable else ["--storage-options", text]
    run_json(capsys, "import", folder / "one.zip", "--archive", f"{s3_bucket}/a", *arguments)
    client, bucket = boto3.client("s3"), s3_bucket.removeprefix("s3://")
    keys = [item["Key"] for item in client.list_objects_v2(Bucket=bucket)["Contents"]]
    assert len(keys) > 4
    assert {client.head_object(Bucket=bucket, Key=key)["ServerSideEncryption"] for key in keys} == {"AES256"}


BUDGETS = {
    "": Budget(),
    "chunks=2": Budget(max_low_chunks=2),
    "bytes=4MiB, ms=2.5": Budget(max_bytes=4 * 2**20, max_first_token_ms=2.5),
    "ms=500 chunks=0 bytes=1.5kb": Budget(0, 1500, 500.0),
}


@pytest.mark.parametrize("text", BUDGETS)
def test_budgets(text: str) -> None:
    assert options.budget(text) == BUDGETS[text]
    assert options.budget(options.budget_words(BUDGETS[text])) == BUDGETS[text]


@pytest.mark.parametrize("text", ["2", "chunks", "chunks=2MiB", "bytes=2miles", "ms=-1", "chunks=1,chunks=2", "ms=nan"])
def test_budgets_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="is no budget"):
        options.budget(text)


def test_the_shell_completes_names_and_ids(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    archive = Archive.open(tmp_path / "archive", create=True)
    video_id = write_index(archive, name="lecture.mp4").video.video_id

    def complete(typed: str, command: str = "ask") -> list[str]:
        words = f"videox2l {command} --archive {archive.url} {typed}"
        monkeypatch.setenv("_VIDEOX2L_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", "4")
        return run(capsys)[1].split()

    assert complete("lec") == complete("lec", "show") == ["lecture.mp4"]
    assert complete(video_id[:4]) == [video_id]
    assert complete("other") == []
    (tmp_path / "archive" / "catalog" / "spoiled.parquet").write_text("no Parquet")
    assert complete("lec") == []


@pytest.mark.parametrize("command", [("eval", "suite"), ("eval", "compressors"), ("bench", "codecs")], ids=" ".join)
@pytest.mark.parametrize(("option", "said"), [("--device", "no device"), ("--dtype", "dtype must be")])
def test_measurements_run_where_and_in_what_is_asked_for(
    capsys: pytest.CaptureFixture[str], command: tuple[str, ...], option: str, said: str
) -> None:
    code, _, err = run(capsys, *command, option, "nowhere")
    assert code == 1
    assert said in err
    assert "'nowhere'" in err
