"""``videox2l verify`` and ``catalog``: what they find in an archive, and what others can read there."""

from __future__ import annotations

from pathlib import Path

import duckdb
import polars
import pytest

from tests.cli.archives import leave_attempt, spoil
from tests.cli.commands import run, run_json
from videox2l.store import layout

FILES = [
    "archive.json",
    "models/*.json",
    "catalog/*.parquet",
    "videos/*/*/manifest.json",
    "videos/*/*/attempts/*/prompt.arrow",
    "videos/*/*/attempts/*/low-*.arrow",
    "videos/*/*/attempts/*/high-*.arrow",
]


@pytest.mark.parametrize("pattern", FILES)
@pytest.mark.parametrize("damage", [spoil, Path.unlink])
def test_verify_finds_damage(capsys: pytest.CaptureFixture[str], folder: Path, pattern: str, damage: object) -> None:
    assert run_json(capsys, "verify", "--archive", folder)["ok"]
    path = next(folder.glob(pattern))
    assert callable(damage)
    damage(path)
    expected = str(path.relative_to(folder))
    if not path.exists() and pattern.startswith("catalog"):  # only a cache
        assert run_json(capsys, "verify", "--archive", folder)["ok"]
        return
    if not path.exists() and pattern.endswith("manifest.json"):  # what tells of it is its row
        expected = layout.catalog(*path.parts[-3:-1])
    report = run_json(capsys, "verify", "--archive", folder, code=1)
    assert not report["ok"]
    assert [item["path"] for item in report["damaged"]] == [expected]
    if "attempts" in pattern:
        assert report["damaged"][0]["index"] == path.parts[-4]
    code, out, _ = run(capsys, "verify", "--archive", folder)
    assert code == 1
    assert expected in out
    assert "1 damaged" in out


def test_verify_hints_at_unused_files(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    leave_attempt(folder)
    code, out, _ = run(capsys, "verify", "--archive", folder)
    assert code == 0
    assert "3 files not used" in out
    assert "videox2l gc" in out


@pytest.mark.parametrize("damaged", [False, True])
def test_the_catalog_is_a_table_for_others(capsys: pytest.CaptureFixture[str], folder: Path, damaged: bool) -> None:
    if damaged:
        rows = sorted((folder / "catalog").glob("*.parquet"))
        spoil(rows[0])
        rows[1].unlink()
    code, out, _ = run(capsys, "catalog", "--rebuild", "--archive", folder)
    glob = out.strip()
    assert code == 0
    expected = [(row["name"], row["bytes"]["low"]) for row in run_json(capsys, "ls", "--archive", folder)]
    query = f"SELECT name, low_bytes FROM '{glob}'"
    assert sorted(duckdb.sql(query).fetchall()) == sorted(expected)
    assert sorted(polars.read_parquet(glob).select("name", "low_bytes").rows()) == sorted(expected)
    assert run_json(capsys, "catalog", "--archive", folder) == {"glob": glob, "rows": 3, "rebuilt": False}
