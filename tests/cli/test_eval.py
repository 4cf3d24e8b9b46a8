"""``videox2l eval suite``: a small real run with its report, and mistakes on the command line."""

import json
import re
from xml.etree import ElementTree

import pytest

from pipelines.cli.main import main
from pipelines.evaluate.suite_report import verdict


def test_a_run_with_its_report(tmp_path, capsys) -> None:
    report = tmp_path / "report"
    arguments = ["--scenes", "4", "--clips", "2", "--scorers", "keys", "--report", str(report), "--json"]
    try:
        main(["eval", "suite", *arguments])
    except SystemExit as ended:
        assert not ended.code
    results = json.loads(capsys.readouterr().out)
    assert json.loads((report / "results.json").read_text()) == results
    rows = {(row["suite"], row["method"]): row for row in results["accuracy"]}
    assert rows["retrieval", "low only"]["accuracy"] >= 0.9
    assert rows["retrieval", "high only"]["accuracy"] <= 0.5
    assert {suite for suite, _ in rows} == {"retrieval", "ordering", "exists", "counting"}
    assert {row["scorer"] for row in results["hits"]} == {"attention", "keys", "random"}
    assert {row["select"] for row in results["timing"]} == {"none", "attention", "keys", "all"}
    assert all(0 <= row["select_share"] < 1 and row["first_token_ms"] > 0 for row in results["timing"])
    page = (report / "report.html").read_text()
    assert not re.search(r"(src|href)=|<script|url\(", page), "the page needs something beside it"
    plots = {path.name for path in report.glob("*.svg")}
    assert page.count("<svg") == len(plots)
    for name in plots:
        ElementTree.parse(report / name)
    told = (report / "report.md").read_text()
    assert set(re.findall(r"\]\((.*?\.svg)\)", told)) == plots
    for row in results["accuracy"]:
        assert f"| {row['suite']} | 4 | {row['method']} |" in told


def test_the_suites_on_a_stock_model(capsys) -> None:
    ratios = ["--low-ratio", "1", "--high-ratio", "8", "--scorers", "attention", "--no-timing"]
    try:
        main(["eval", "suite", "--model", "tiny-plain", "--scenes", "4", "--clips", "2", *ratios, "--json"])
    except SystemExit as ended:
        assert not ended.code
    rows = json.loads(capsys.readouterr().out)["accuracy"]
    detail = {row["method"]: row["accuracy"] for row in rows if row["suite"] == "retrieval"}
    assert min(detail["low only"], detail["bi-level, right chunk"]) >= 0.9
    assert detail["high only"] <= 0.5


def test_compressors_side_by_side(tmp_path, capsys) -> None:
    report = tmp_path / "report"
    arguments = ["--scenes", "4", "--clips", "2", "--compressor", "average,key_norm", "--ratios", "1,16"]
    try:
        main(["eval", "compressors", *arguments, "--low-ratios", "1", "--report", str(report), "--json"])
    except SystemExit as ended:
        assert not ended.code
    results = json.loads(capsys.readouterr().out)
    rows = {(row["compressor"], row["low"], row["high"], row["suite"], row["method"]): row for row in results["rows"]}
    assert rows["no compressor", 1, 1, "retrieval", "low only"]["accuracy"] >= 0.9
    for name in ("average", "key_norm"):
        alike, gist = (rows[name, low, 16, "retrieval", method] for low, method in ((16, "low only"), (1, "high only")))
        reloaded = rows[name, 1, 16, "retrieval", "bi-level, attention"]
        assert max(alike["accuracy"], gist["accuracy"]) < reloaded["accuracy"]
        assert gist["read"] < reloaded["read"] < 1
        assert reloaded["hit_interval"][0] <= reloaded["hit"]
    told = (report / "compressors.md").read_text()
    plots = {path.name for path in report.glob("*.svg")}
    assert set(re.findall(r"\]\((.*?\.svg)\)", told)) == plots
    for name in plots:
        ElementTree.parse(report / name)
    assert "| `key_norm` | 100% [" in told


def test_a_verdict_names_what_fails() -> None:
    behind = {"method": "key norm", "read": 0.1, "ahead_interval": (0.2, 0.4)}
    row = {"recovery": 0.97, "read": 0.18, "read_goal": 0.2, "baselines": [behind]}
    assert verdict(row) == "holds"
    equal = {"method": "uniform compression", "read": 0.5, "ahead_interval": (-0.1, 0.1)}
    failing = row | {"recovery": 0.8, "read": 0.3, "baselines": [behind, equal]}
    assert verdict(failing) == (
        "recovers less than 95%; reads more than 20%; not ahead of uniform compression, which reads 50%"
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--suite", "retrieval,memory"], "no suite memory"),
        (["--scorers", "attention,recent"], "recent is no scorer"),
        (["--scenes", "1"], "2 to 80 scenes"),
        (["--scenes", "many"], "write numbers"),
        (["--edge-ratio", "steep"], "edge ratio"),
    ],
)
def test_mistakes(capsys, arguments, told) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["eval", "suite", *arguments])
    assert ended.value.code == 1
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--compressor", "average,zip"], "no compressor 'zip'"),
        (["--ratios", "0,2"], "a ratio is 1 or more"),
        (["--low-ratios", "half"], "--low-ratios"),
        (["--model", "tiny-plain?share=all"], "--compressor"),
        (["--model", "tiny"], "settings behind a ?"),
    ],
)
def test_mistakes_about_compressors(capsys, arguments, told) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["eval", "compressors", *arguments])
    assert ended.value.code == 1
    assert told in capsys.readouterr().err
