"""``videox2l plan`` on the bundled model."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from pipelines.cli.main import main


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    main_status = 0
    try:
        main(["plan", *arguments])
    except SystemExit as ended:
        main_status = int(ended.code or 0)
    assert main_status == 0
    return capsys.readouterr().out


def test_what_was_measured_once_gives_the_same_plan_again(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    times = tmp_path / "times.json"
    measured = json.loads(run(capsys, "--hours", "0.1", "--hours", "1", "--save-times", str(times), "--json"))
    again = json.loads(run(capsys, "--hours", "1", "--hours", "0.1", "--times", str(times), "--json"))
    assert again == measured
    assert [(row["hours"], row["way"]) for row in again[:5]] == [
        (0.1, "direct"),
        (0.1, "full"),
        (0.1, "high"),
        (0.1, "selected"),
        (1.0, "direct"),
    ]
    # Sizes do not depend on how busy the machine is.
    hour = {row["way"]: row for row in again if row["hours"] == 1}
    assert hour["full"]["stored_bytes"] > hour["selected"]["stored_bytes"] > hour["high"]["stored_bytes"] > 0
    assert hour["selected"]["read_bytes"] < hour["full"]["read_bytes"] / 5


def test_the_table_and_the_plots_name_every_way(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    times = tmp_path / "times.json"
    run(capsys, "--hours", "1", "--save-times", str(times), "--json")
    table = run(capsys, "--times", str(times), "--plots", str(tmp_path / "plots"))
    names = ("ask the model directly", "all KVs stored", "gist only", "Video-X²L")
    plots = sorted((tmp_path / "plots").iterdir())
    assert [plot.name for plot in plots] == ["plan-price.svg", "plan-seconds.svg"]
    for shown in (table, *(" ".join(ET.parse(plot).getroot().itertext()) for plot in plots)):
        assert all(name in shown for name in names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hours", "0"], "must be above 0"),
        (["--times", "nowhere.json"], "write them with --save-times"),
        (["--model", "no/such/folder/here"], "no/such/folder/here"),
    ],
)
def test_what_cannot_be_planned_says_why(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["plan", *arguments])
    assert ended.value.code
    assert message in " ".join(capsys.readouterr().err.split())
