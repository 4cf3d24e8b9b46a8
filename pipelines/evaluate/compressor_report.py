"""The comparison of compressors for people: tables, as Markdown with plots beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pipelines.evaluate import suite_plots as plots
from videox2l.evaluation.suites.compressors import DENSE
from videox2l.evaluation.suites.methods import DEFAULT, LOW_ONLY
from videox2l.evaluation.suites.tasks import DETAIL

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Comparison:
    """Accuracies of every compressor (down) by ratio (right): ``lines`` hold one row of the results for each ratio."""

    scenes: int
    suite: str
    how: str
    ratios: list[int]
    lines: dict[str, list[Row | None]]

    @property
    def title(self) -> str:
        return f"{self.scenes} chunks, {self.suite}: {self.how}"


def write_report(results: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write ``compressors.md``, its plots and ``results.json`` into ``folder``; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    found = tables(results)
    drawn = {f"compressors-{number}": _draw(one) for number, one in enumerate(found) if one.suite == DETAIL}
    environment = Environment(
        loader=PackageLoader("pipelines.evaluate"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"share": share}
    template = environment.get_template("compressors.md.j2")
    files = {f"{name}.svg": svg for name, svg in drawn.items()}
    files["compressors.md"] = template.render(results=results, tables=found, drawn=drawn)
    files["results.json"] = json.dumps(results, indent=1) + "\n"
    for name, text in files.items():
        (folder / name).write_text(text)
    return [folder / name for name in files]


def tables(results: Mapping[str, Any]) -> list[Comparison]:
    """For each length: every suite with all chunks at one ratio, and detail with chunks re-loaded at each low ratio."""
    found = []
    for scenes in results["comparison"]["scenes"]:
        rows = [row for row in results["rows"] if row["scenes"] == scenes]
        for suite in results["comparison"]["suites"]:
            alike = [row for row in rows if row["suite"] == suite and row["method"] == LOW_ONLY]
            found.append(_table(scenes, suite, "all chunks at one ratio", alike))
        reloaded = [row for row in rows if row["method"] == DEFAULT]
        for low in sorted({row["low"] for row in reloaded}):
            how = f"gist at a high ratio, chunks re-loaded at {low}x"
            found.append(_table(scenes, DETAIL, how, [row for row in reloaded if row["low"] == low]))
    return found


def share(row: Row) -> str:
    """Accuracy with its interval."""
    low, high = row["interval"]
    return f"{row['accuracy']:.0%} [{100 * low:.0f}…{100 * high:.0f}]"


def _table(scenes: int, suite: str, how: str, rows: Sequence[Row]) -> Comparison:
    cells = {(row["compressor"], row["high"]): row for row in rows}
    ratios = sorted({ratio for _, ratio in cells})
    names = [name for name in dict.fromkeys(name for name, _ in cells) if name != DENSE] or [DENSE]
    lines = {name: [cells.get((name, ratio), cells.get((DENSE, ratio))) for ratio in ratios] for name in names}
    return Comparison(scenes, suite, how, ratios, lines)


def _draw(one: Comparison) -> str:
    values = [[None if row is None else row["accuracy"] for row in line] for line in one.lines.values()]
    ratios = [f"{ratio}x" for ratio in one.ratios]
    return plots.heat_map(list(one.lines), ratios, values, one.title, "down: compressor; right: ratio")
