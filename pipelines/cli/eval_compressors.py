"""``videox2l eval compressors``: what compressors of stock models cost in answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.cli import options, output
from pipelines.cli.eval_suite import numbers, words
from videox2l.errors import ConfigError


def compressors(
    model: Annotated[
        str, typer.Option(help="A stock model that knows the rendered clips, such as the bundled `tiny-plain`.")
    ] = "tiny-plain",
    compressors: Annotated[
        str | None, typer.Option("--compressor", help="Compressors, with commas between. Default: all.")
    ] = None,
    scenes: Annotated[
        str, typer.Option(help="Lengths of the clips, in scenes of eight seconds: one chunk each.")
    ] = "16,64",
    clips: Annotated[int, typer.Option(help="Clips of each length.", min=2)] = 20,
    ratios: Annotated[
        str, typer.Option(help="Ratios of all chunks alike; those above a low ratio are high ratios beside it.")
    ] = "1,2,4,8,16",
    low_ratios: Annotated[str, typer.Option(help="Low ratios that chunks are re-loaded at.")] = "1,2",
    top_k: Annotated[int, typer.Option(help="Chunks re-loaded in detail.", min=1)] = 2,
    seed: Annotated[int, typer.Option(help="Gives other clips and questions.", min=0)] = 0,
    report: Annotated[Path | None, typer.Option(help="Folder for compressors.md, its plots and results.json.")] = None,
    as_json: options.Json = False,
    device: options.Device = None,
    dtype: options.Dtype = None,
) -> None:
    """Ask questions with known answers over what each compressor keeps, at several ratios.

    All compressors get the same weights, clips and questions. Clips are rendered on the spot from seeds that nothing
    was trained on.

    `videox2l eval compressors --scenes 16 --clips 8 --compressor average,key_similarity`
    """
    from videox2l.evaluation.suites.compressors import Comparison, compare
    from videox2l.models import load_model
    from videox2l.models.plain.compressors import COMPRESSORS
    from videox2l.models.plain.settings import parse_settings
    from videox2l.video.synthetic import KEYS

    if "?" in model:
        raise ConfigError(f"{model}: name the compressors with --compressor, and other settings not at all")
    lengths, every = numbers(scenes, "--scenes"), numbers(ratios, "--ratios")
    if not all(2 <= length <= len(KEYS) for length in lengths):
        raise ConfigError(f"a clip has 2 to {len(KEYS)} scenes, because each has a colour and shape of its own")
    lows = numbers(low_ratios, "--low-ratios")
    if min(*every, *lows) < 1:
        raise ConfigError("a ratio is 1 or more")
    names = {name: f"{model}?compressor={name}" for name in (words(compressors) if compressors else COMPRESSORS)}
    for name in names.values():
        parse_settings(name)
    pairs = tuple((low, high) for low in lows for high in every if high > low)
    comparison = Comparison(lengths, clips, ratios=every, pairs=pairs, k=top_k, seed=seed)
    from pipelines.evaluate.compressor_report import share, tables, write_report

    with output.notes().status("loading the model") as status:
        models = {name: load_model(full, device=device, dtype=dtype) for name, full in names.items()}
        results: dict[str, Any] = compare(models, comparison, status.update)
    if report is not None:
        write_report(results, report)
    if as_json:
        typer.echo(json.dumps(results, indent=1))
        return
    for one in tables(results):
        shown = output.table("compressor", *(f"{ratio}x >" for ratio in one.ratios), title=one.title)
        for name, line in one.lines.items():
            shown.add_row(name, *("" if row is None else output.plain(share(row)) for row in line))
        output.console().print(shown)
    if report is not None:
        output.notes().print(f"the report is {report / 'compressors.md'}", soft_wrap=True)
