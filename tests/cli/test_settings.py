"""Settings of an ingest from YAML and from options."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from pipelines.cli import status
from pipelines.ingest import IngestSettings
from pipelines.ingest.yaml_settings import read_settings, write_settings
from tests.cli.commands import run
from videox2l.config import CompressionConfig, SamplingConfig
from videox2l.errors import ConfigError
from videox2l.models.registry import default_compression

FILE = """
sources: [lectures/, "talk – été.mp4"]
archive: s3://bucket/lectures
sampling: {fps: 2}
compression:
  low_ratio: 4
codecs: {high: squeeze}
prefill_actors: 3
progress_every_s: 5
recorded_at: 2026-05-01T09:00:00+02:00
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "nightly.yaml"
    path.write_text(FILE, encoding="utf-8")
    return path


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, object]:
    code, out, err = run(capsys, "ingest", *arguments, "--print-config")
    assert code == status.DONE, err
    return yaml.safe_load(out)


def test_a_file_says_what_options_do_not(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    found = printed(capsys, "--config", file)
    assert found["sources"] == ["lectures/", "talk – été.mp4"]
    assert found["archive"] == "s3://bucket/lectures"
    assert found["sampling"] == {"fps": 2.0, "frames": None, "max_frames": None}
    # What is not given of the compression is the model's own, not a default of ours.
    own = dataclasses.replace(default_compression("tiny"), low_ratio=4)
    assert found["compression"] == dataclasses.asdict(own)
    assert found["codecs"] == {"low": "raw", "high": "squeeze"}
    assert found["recorded_at"] == "2026-05-01T09:00:00+02:00"
    assert (found["prefill_actors"], found["progress_every_s"]) == (3, 5.0)


def test_options_win_over_the_file(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    found = printed(
        capsys,
        "other.mp4",
        "--config",
        file,
        "--archive",
        "here",
        "--fps",
        1,
        "--high-ratio",
        32,
        "--prefill",
        "single-pass",
        "--low-codec",
        "int8",
        "--no-thumbnails",
    )
    assert (found["sources"], found["archive"]) == (["other.mp4"], "here")
    # 1 is the default, too: that it was given counts.
    assert found["sampling"] == {"fps": 1.0, "frames": None, "max_frames": None}
    assert found["compression"] == dataclasses.asdict(
        dataclasses.replace(default_compression("tiny"), low_ratio=4, high_ratio=32, prefill="single-pass")
    )
    assert found["codecs"] == {"low": "int8", "high": "squeeze"}
    assert found["thumbnails"] is False


def test_variables_win_over_the_file(
    capsys: pytest.CaptureFixture[str], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDEOX2L_ARCHIVE", "s3://from/environment")
    assert printed(capsys, "--config", file)["archive"] == "s3://from/environment"


def test_what_is_printed_can_be_fed_back(capsys: pytest.CaptureFixture[str], file: Path, tmp_path: Path) -> None:
    first = printed(capsys, "--config", file, "--replace", "--edge-ratio", "level")
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump(first), encoding="utf-8")
    assert printed(capsys, "--config", again) == first
    without = printed(capsys)
    again.write_text(yaml.safe_dump(without), encoding="utf-8")
    assert printed(capsys, "--config", again) == without


SETTINGS = {
    "defaults": IngestSettings(),
    "everything": IngestSettings(
        model="folder/with: a colon",
        device="cuda:1",
        dtype="bfloat16",
        sampling=SamplingConfig(0.5, max_frames=100),
        compression=CompressionConfig(4, 16, 5, edge_ratio=3, remainder="floor", prefill="single-pass"),
        codecs={"low": "int8", "high": "raw"},
        prefill_actors=7,
        gpus_per_actor=0.25,
        replace=True,
        recorded_at="2026-05-01T09:00:00+02:00",
    ),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_every_setting_survives_yaml(tmp_path: Path, case: str) -> None:
    settings = SETTINGS[case]
    (tmp_path / "settings.yaml").write_text(write_settings(settings, ["a"], "b"), encoding="utf-8")
    found = read_settings(tmp_path / "settings.yaml")
    assert found.keys() == {field.name for field in dataclasses.fields(IngestSettings)} | {"sources", "archive"}
    expected = {**settings.to_dict(), "sources": ["a"], "archive": "b"}
    assert found == expected


# What the file says, and what the message must
BAD = {
    "an unknown name": ("prefil_actors: 2", "prefil_actors: no such setting; did you mean prefill_actors?"),
    "an unknown name inside": ("sampling: {fsp: 2}", "sampling.fsp: no such setting; did you mean fps?"),
    "nothing like any name": ("zzz: 2", "zzz: no such setting; known: model, "),
    "a text for a number": ("sampling: {fps: '2'}", "sampling.fps: input should be a valid number, got '2'"),
    "a number for a yes": ("append: 1", "append: input should be a valid boolean, got 1"),
    "a fraction of an actor": ("prefill_actors: 1.5", "prefill_actors: input should be a valid integer"),
    "no number at all": ("sampling: {fps: .nan}", "sampling.fps: input should be a finite number"),
    "an unknown level": ("codecs: {middle: raw}", "codecs.middle: input should be 'low' or 'high'"),
    "one of several types": (
        "compression: {edge_ratio: most}",
        "compression.edge_ratio: input should be a valid integer",
    ),
    "a group that is none": ("sampling: 2", "sampling: input should be"),
    "a list": ("- 1", "must hold settings by their names"),
    "no YAML": ("a: [", "is not YAML"),
    "a name twice": ("model: a\nmodel: b", "'model' is there twice"),
    "code": ("model: !!python/object/apply:os.getcwd []", "is not YAML"),
    "an impossible value": ("sampling: {fps: -1}", "fps must be above 0"),
    "an impossible pair": ("append: true\nreplace: true", "append or replace"),
    "sources that are none": ("sources: [1]", "sources: input should be a valid string, got 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_by_name(capsys: pytest.CaptureFixture[str], tmp_path: Path, case: str) -> None:
    text, message = BAD[case]
    (tmp_path / "bad.yaml").write_text(text)
    code, out, err = run(capsys, "ingest", "a.mp4", "--config", tmp_path / "bad.yaml")
    assert code == status.WRONG_USAGE
    assert "bad.yaml" in err
    assert message in err
    assert out == ""


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("append: 1\nsampling: {fsp: 1, fps: x}")
    with pytest.raises(ConfigError) as error:
        read_settings(tmp_path / "bad.yaml")
    assert len(str(error.value).splitlines()) == 3


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = run(capsys, "ingest", "a.mp4", "--config", tmp_path / "none.yaml")
    assert code == status.WRONG_USAGE
    assert "none.yaml cannot be read" in err


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")
    assert read_settings(tmp_path / "empty.yaml") == {}
