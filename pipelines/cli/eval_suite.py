"""``videox2l eval suite``: questions with known answers, over memories made in different ways."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from pipelines.cli import options, output
from videox2l.config import SelectionConfig
from videox2l.errors import ConfigError
from videox2l.scorers import EVALUATED


def suite(
    model: options.Model = "tiny",
    scenes: Annotated[
        str, typer.Option(help="Lengths of the clips, in scenes of eight seconds: one chunk each.")
    ] = "4,8,16,32,64",
    clips: Annotated[int, typer.Option(help="Clips of each length.", min=2)] = 20,
    suites: Annotated[
        str, typer.Option("--suite", help="Suites: retrieval (detail; always asked), ordering, exists, counting.")
    ] = "retrieval,ordering,exists,counting",
    scorers: Annotated[
        str, typer.Option(help="Scorers to compare, as of `ask --select`. The default is always among them.")
    ] = ",".join(EVALUATED),
    presses: Annotated[
        str,
        typer.Option(
            help="Also prune by these scores of `kvpress`, which has to be installed: KnormPress, KeyDiffPress, "
            "CURPress, LagKVPress, SnapKVPress, TOVAPress."
        ),
    ] = "",
    top_k: Annotated[int, typer.Option(help="Chunks re-loaded in detail.", min=1)] = SelectionConfig().top_k,
    low_ratio: Annotated[int, typer.Option(help="Raw tokens per kept token at the low level.", min=1)] = 2,
    high_ratio: Annotated[int, typer.Option(help="Raw tokens per kept token at the high level.", min=1)] = 32,
    edge_ratio: Annotated[
        str, typer.Option(help="Ratio of the first and last chunk: `low`, `level` (like any other) or a number.")
    ] = "level",
    prefill: options.Prefill = "exact",
    seed: Annotated[int, typer.Option(help="Gives other clips and questions.", min=0)] = 0,
    timing: Annotated[bool, typer.Option(help="Also measure what scorers cost.")] = True,
    report: Annotated[
        Path | None, typer.Option(help="Folder for report.html, report.md, its plots and results.json.")
    ] = None,
    as_json: options.Json = False,
    device: options.Device = None,
    dtype: options.Dtype = None,
) -> None:
    """Ask questions with known answers over bi-level memories and over what they have to beat.

    Clips are rendered on the spot from seeds that nothing was trained on. Every method gets the same KVs and the same
    number of bytes. The questions are of the bundled model's world: other models cannot answer them.

    `videox2l eval suite --scenes 16,64 --clips 8 --report report`
    """
    plan = _plan(
        scenes=numbers(scenes, "--scenes"),
        clips=clips,
        suites=words(suites),
        scorers=words(scorers),
        presses=words(presses),
        k=top_k,
        low_ratio=low_ratio,
        high_ratio=high_ratio,
        edge=options.edge_ratio(edge_ratio),
        prefill=prefill,
        seed=seed,
    )
    from pipelines.evaluate.suite_report import write_report
    from videox2l.evaluation.suites.results import measure
    from videox2l.models import load_model

    with output.notes().status("loading the model") as status:
        results = measure(load_model(model, device=device, dtype=dtype), plan, status.update, timing=timing)
    if report is not None:
        write_report(results, report)
    if as_json:
        typer.echo(json.dumps(results, indent=1))
        return
    Console(highlight=False).print(_table(results))
    if report is not None:
        output.notes().print(f"the report is {report / 'report.html'}", soft_wrap=True)


def _plan(**given: Any) -> Any:
    """What is to be run; mistakes are found before a model is loaded."""
    from videox2l.evaluation.suites import SUITES, Plan
    from videox2l.evaluation.suites.pruning import press
    from videox2l.evaluation.suites.tasks import DETAIL
    from videox2l.selection import needs_scores
    from videox2l.video.synthetic import KEYS

    unknown = [name for name in given["suites"] if name not in SUITES]
    if unknown:
        raise ConfigError(f"no suite {', '.join(unknown)}: there are {', '.join(SUITES)}")
    no_scorer = [name for name in given["scorers"] if not needs_scores(SelectionConfig(name))]
    if no_scorer:
        raise ConfigError(f"{', '.join(no_scorer)} is no scorer: see `videox2l ask --help` for --select")
    for name in given["presses"]:
        press(name)  # raises for one that there is not
    if not all(2 <= scenes <= len(KEYS) for scenes in given["scenes"]):
        raise ConfigError(f"a clip has 2 to {len(KEYS)} scenes, because each has a colour and shape of its own")
    given["suites"] = tuple(dict.fromkeys([DETAIL, *given["suites"]]))
    given["scorers"] = tuple(dict.fromkeys([SelectionConfig().select, *given["scorers"]]))
    return Plan(**given)


def words(text: str) -> tuple[str, ...]:
    """Of a list with commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def numbers(text: str, option: str) -> tuple[int, ...]:
    """Of a list with commas, each once and in order.

    :raises ConfigError: it is no such list.
    """
    try:
        found = tuple(sorted({int(part) for part in words(text)}))
    except ValueError:
        found = ()
    if not found:
        raise ConfigError(f"{option} {text!r}: write numbers with commas between, such as 16,64")
    return found


def _table(results: dict[str, Any]) -> Table:
    table = Table(title="Detail questions")
    for name in ("chunks", "method", "right", "95 %", "reads"):
        table.add_column(name, justify="left" if name == "method" else "right")
    for row in results["accuracy"]:
        if row["suite"] == "retrieval":
            low, high = row["interval"]
            table.add_row(
                str(row["scenes"]),
                row["method"],
                f"{row['accuracy']:.1%}",
                f"{low:.0%}…{high:.0%}",
                f"{row['read']:.1%}",
            )
    return table
