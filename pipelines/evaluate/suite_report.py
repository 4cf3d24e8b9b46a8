"""The suites' results for people: a page that needs nothing else, and the same as Markdown with its plots beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipelines.evaluate import suite_plots as plots
from videox2l.evaluation.suites.methods import DEFAULT, PRESS
from videox2l.evaluation.suites.metrics import READ_GOALS, RECOVERY_GOAL
from videox2l.evaluation.suites.results import NEEDLE_METHODS
from videox2l.evaluation.suites.tasks import DETAIL

Rows = Sequence[Mapping[str, Any]]

_DESCRIPTIONS = {
    "uniform compression": "all chunks at one ratio, with at least as many bytes",
    "sliding window": "the newest low KVs and nothing else",
    "random tokens": "low KVs by chance",
    "key norm": "low KVs whose keys are small",
    "KeyDiff": "low KVs whose keys are unlike the others",
    "SnapKV-like": "low KVs that a typical question attends to",
    "bi-level, random": "chunks by chance",
    "bi-level, uniform": "chunks spread evenly",
    "bi-level, recent": "the last chunks",
}


def write_report(results: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write ``report.html``, ``report.md``, its plots and ``results.json`` into ``folder``; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = draw(results)
    files = {f"{name}.svg": svg for name, svg in drawn.items()}
    files |= {
        "report.html": _render("suite.html.j2", results, {name: Markup(svg) for name, svg in drawn.items()}),
        "report.md": _render("suite.md.j2", results, drawn),
        "results.json": json.dumps(results, indent=1) + "\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    return [folder / name for name in files]


def draw(results: Mapping[str, Any]) -> dict[str, str]:
    """Every plot by its file's name, in the report's order."""
    lengths = results["plan"]["scenes"]
    shown = [scenes for scenes in lengths if scenes in READ_GOALS] or list(lengths[-1:])
    drawn = {f"accuracy-{scenes}": _accuracy_plot(results["accuracy"], scenes) for scenes in shown}
    for method in NEEDLE_METHODS:
        drawn[f"needle-{method.replace(', ', '-').replace(' ', '-')}"] = _needle_plot(results["needle"], method)
    for count in (1, 2):
        drawn[f"hits-{count}"] = _hit_plot(results["hits"], count)
    if results["timing"]:
        drawn["first-token"] = _timing_plot(results["timing"], lengths[-1])
    return {name: svg for name, svg in drawn.items() if svg}


def _accuracy_plot(rows: Rows, scenes: int) -> str:
    found = [row for row in rows if row["scenes"] == scenes and row["suite"] == DETAIL]
    points = [plots.Point(row["method"], row["read"], row["accuracy"], _kind(row["method"])) for row in found]
    return plots.scatter(points, f"Detail questions, {scenes} chunks: accuracy against bytes") if points else ""


def _descriptions(results: Mapping[str, Any]) -> dict[str, str]:
    presses = results["plan"].get("presses", ())
    return _DESCRIPTIONS | {PRESS + name: "low KVs, pruned by a score of the package kvpress" for name in presses}


def _kind(method: str) -> str:
    if method == DEFAULT:
        return "mark"
    return "other" if method.startswith("bi-level") else "plain"


def _needle_plot(rows: Rows, method: str) -> str:
    found = {(row["depth"], row["scenes"]): row["accuracy"] for row in rows if row["method"] == method}
    if not found:
        return ""
    depths, lengths = (sorted({key[place] for key in found}) for place in (0, 1))
    values = [[found.get((depth, scenes)) for scenes in lengths] for depth in depths]
    names = [f"{depth:.0%}" for depth in depths]
    return plots.heat_map(names, [str(n) for n in lengths], values, method, "down: depth of the needle; right: chunks")


def _hit_plot(rows: Rows, count: int) -> str:
    found = {(row["scorer"], row["scenes"]): row[f"hit_{count}"] for row in rows}
    if not found:
        return ""
    scorers, lengths = list(dict.fromkeys(row["scorer"] for row in rows)), sorted({row["scenes"] for row in rows})
    values = [[found.get((scorer, scenes)) for scenes in lengths] for scorer in scorers]
    title = "The right chunk comes first" if count == 1 else f"The right chunk is among the first {count}"
    return plots.heat_map(scorers, [str(n) for n in lengths], values, title, "down: scorer; right: chunks")


def _timing_plot(rows: Rows, scenes: int) -> str:
    found = [
        (row["select"], row["select_share"] * row["first_token_ms"], row["first_token_ms"])
        for row in rows
        if row["scenes"] == scenes
    ]
    return plots.stacked_bars(found, f"Time to first token, {scenes} chunks", "ms") if found else ""


def verdict(row: Mapping[str, Any]) -> str:
    """Of a claim's row: whether its goals are reached and every baseline is behind beyond doubt, and if not, which."""
    failed = []
    if row["recovery"] is None or row["recovery"] < RECOVERY_GOAL:
        failed.append(f"recovers less than {_share(RECOVERY_GOAL)}")
    if row["read_goal"] is not None and row["read"] > row["read_goal"]:
        failed.append(f"reads more than {_share(row['read_goal'])}")
    failed += [
        f"not ahead of {other['method']}, which reads {_share(other['read'])}"
        for other in row["baselines"]
        if other["ahead_interval"][0] <= 0
    ]
    return "; ".join(failed) or "holds"


def _render(template: str, results: Mapping[str, Any], drawn: Mapping[str, str]) -> str:
    environment = Environment(
        loader=PackageLoader("pipelines.evaluate"),
        autoescape=template.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"share": _share, "interval": _interval, "verdict": verdict}
    return environment.get_template(template).render(
        results=results, drawn=drawn, descriptions=_descriptions(results), recovery_goal=RECOVERY_GOAL, detail=DETAIL
    )


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}".replace(".0%", "%")


def _interval(pair: Sequence[float]) -> str:
    return f"{100 * pair[0]:.0f}…{100 * pair[1]:.0f}"
