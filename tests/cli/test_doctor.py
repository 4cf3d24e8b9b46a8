"""``videox2l doctor``: what it finds here, and what it says where something is amiss."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from pipelines import doctor
from tests.archives import random_index
from tests.cli.commands import run, run_json
from videox2l import Archive
from videox2l.models.video_xl.model import VideoXL


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, random_model: VideoXL) -> str:
    archive = Archive.open(tmp_path_factory.mktemp("doctor") / "archive", create=True)
    random_index(archive, random_model, chunks=2)
    return archive.url


def by_name(document: Any) -> dict[str, dict[str, str]]:
    return {check["name"]: check for check in document["checks"]}


def test_all_is_well(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, archive: str, random_checkpoint: Path
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    options = ["--archive", archive, "--model", random_checkpoint]
    document = run_json(capsys, "doctor", *options)
    found = by_name(document)
    assert document["ok"]
    assert not [check for check in found.values() if check["status"] == "fail"]
    assert found["torch"]["said"] == metadata.version("torch")
    assert found["deepspeed"]["said"] == metadata.version("deepspeed")
    assert found["videos"]["said"].startswith("1 of 1 video can be asked")
    assert "H.264" in found["codecs"]["said"]
    code, out, _ = run(capsys, "doctor", *options)
    assert code == 0
    assert "fail" not in out
    assert "1 of 1 video can be asked" in out


def test_what_is_amiss_is_said_with_its_remedy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, archive: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setattr(doctor, "_RAY_ANSWERS_S", 0.2)
    found = by_name(run_json(capsys, "doctor", "--archive", archive, "--model", "tiny", code=1))
    assert (found["videos"]["status"], found["videos"]["said"]) == ("fail", "0 of 1 video can be asked with tiny")
    assert "ingest them again" in found["videos"]["remedy"]
    assert found["ray cluster"]["status"] == "fail"
    assert "unset RAY_ADDRESS" in found["ray cluster"]["remedy"]


def test_no_model_and_no_archive(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = run(capsys, "doctor", "--archive", tmp_path / "none", "--model", "no-such-model")
    assert code == 1
    assert "no model 'no-such-model'" in out
    assert "is no archive" in out


def test_an_archive_that_fits_in_part_or_is_empty(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, random_checkpoint: Path, random_model: VideoXL, archive: str
) -> None:
    empty = Archive.open(tmp_path / "empty", create=True)
    found = by_name(run_json(capsys, "doctor", "--archive", empty.url, "--model", random_checkpoint))
    assert found["videos"]["status"] == "warn"


def test_packages_that_lack_or_are_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"ray": None, "torch": "1.0", "deepspeed": None}
    real = metadata.version

    def version(name: str) -> str:
        if name in versions:
            if (found := versions[name]) is None:
                raise metadata.PackageNotFoundError(name)
            return found
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    found = {check.name: check for check in doctor.packages()}
    assert found["torch"].status == "fail"
    assert "1.0, but >=" in found["torch"].said
    assert "pip install 'torch" in found["torch"].remedy
    assert (found["ray"].status, found["ray"].remedy) == ("warn", "pip install 'videox2l[ray]'")
    assert "models on several GPUs" in found["deepspeed"].said
    assert found["pyarrow"].status == "ok"


def test_room_and_codecs_that_lack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "_CODECS", {**doctor._CODECS, "Nothing": "no-such-codec"})
    assert (doctor.decoders().status, "cannot read Nothing" in doctor.decoders().said) == ("warn", True)
    monkeypatch.setattr(doctor, "_SOME_DISK", 2**60)
    assert doctor.disk("x", tmp_path).status == "warn"
    monkeypatch.setattr(doctor, "_LITTLE_DISK", 2**60)
    assert doctor.disk("x", tmp_path).status == "fail"
