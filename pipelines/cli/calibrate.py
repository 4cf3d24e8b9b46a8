"""``videox2l calibrate``: which settings answer as the whole video does, and which of them reads the least."""

from __future__ import annotations

import dataclasses
import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress
from rich.table import Table

from pipelines.cli import options, output, status
from pipelines.cli.option_groups import grouped
from pipelines.cli.prefill_options import Sampling
from videox2l.errors import ConfigError
from videox2l.scorers import CALIBRATED, entries

if TYPE_CHECKING:
    from videox2l.evaluation.calibration import Grid, Question, Watched
    from videox2l.models import KVCompressibleModel
    from videox2l.store.calibration import CalibratedSetting, Calibration

# Rows shown unless all are asked for.
_SHOWN = 12


@grouped
def calibrate(
    files: Annotated[list[Path] | None, typer.Argument(help="More videos.", show_default=False)] = None,
    videos: Annotated[
        list[Path] | None,
        typer.Option(help="A few videos like those that will be asked. With the bundled model they may be left out."),
    ] = None,
    model: options.Model = "tiny",
    questions: Annotated[
        Path | None,
        typer.Option(
            help="One question a line: text, or JSON with `question`, and `answer` and `video` where they are known. "
            "Without it: eight that suit any video."
        ),
    ] = None,
    archive: Annotated[
        str | None, typer.Option(help="Store the result with this archive, whose service and questions then heed it.")
    ] = None,
    agreement: Annotated[float, typer.Option(help="Wanted: share of answers that are the reference's.")] = 0.95,
    accuracy: Annotated[
        float | None, typer.Option(help="Also wanted: share of right answers, where some are known.")
    ] = None,
    reference: Annotated[
        str,
        typer.Option(
            help="What answers are compared with: `full` (the uncompressed video), or `low` (all chunks at the least "
            "low ratio) where a video exceeds the model's context."
        ),
    ] = "full",
    ratios: Annotated[
        str, typer.Option(help="Low and high ratios, as in `2:16,4:32`. Default: the model's own, and doubled.")
    ] = "",
    codecs: Annotated[str, typer.Option(help="Codecs of both levels.")] = "raw,squeeze,int8,int4",
    scorers: Annotated[
        str,
        typer.Option(
            help=f"Scorers, as of `ask --select`. Default: {', '.join(f'`{name}`' for name in CALIBRATED)}; for models "
            "whose keys cannot be compared (Qwen-VL) those of them that compare none."
        ),
    ] = "",
    top_k: Annotated[str, typer.Option(help="Numbers of chunks re-loaded.")] = "1,2,4",
    sampling: Sampling = Sampling(),
    frames_per_chunk: options.FramesPerChunk = None,
    edge_ratio: options.EdgeRatioText = None,
    remainder: options.Remainder = None,
    max_new_tokens: Annotated[int, typer.Option(help="The longest answer that is compared.", min=1)] = 32,
    clips: Annotated[int, typer.Option(help="Without videos: clips that are rendered.", min=1)] = 4,
    scenes: Annotated[int, typer.Option(help="Without videos: scenes of a clip, one chunk each.", min=2)] = 16,
    every: Annotated[bool, typer.Option("--all", help="Show every setting.")] = False,
    report: Annotated[Path | None, typer.Option(help="Also write the result to this JSON file.")] = None,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    device: options.Device = None,
    dtype: options.Dtype = None,
    storage_options: options.StorageOptions = None,
) -> None:
    """Find the cheapest settings that answer as the whole video does.

    Tries ratios, codecs, scorers and numbers of chunks on a few videos, compares answers and logits with those over the
    uncompressed video, and recommends the setting that reads the fewest bytes of those that agree often enough.
    Exits with 1 where none does.

    `videox2l calibrate --videos a.mp4 b.mp4 --model path/to/model --agreement 0.95 --archive archive`
    """
    from videox2l.evaluation import calibration
    from videox2l.models import TINY, load_model
    from videox2l.models.registry import default_compression
    from videox2l.store import Archive
    from videox2l.store.calibration import store

    # What can be wrong is found out before a model is loaded.
    if reference not in ("full", "low"):
        raise ConfigError(f"reference must be full or low, got {reference!r}")
    paths = [*(videos or ()), *(files or ())]
    for path in paths:
        if not path.is_file():
            raise ConfigError(f"{path} is no video file")
    _check_different(paths)
    if not paths and (model != TINY or questions is not None):
        raise ConfigError("give videos to calibrate on: --videos FILES. Only for the bundled model some are rendered.")
    wanted, looked_at = calibration.Wanted(agreement, accuracy), sampling.config()
    settings = {"frames_per_chunk": frames_per_chunk, "edge_ratio": edge_ratio, "remainder": remainder}
    grid = calibration.Grid.around(
        options.compression(model, **settings) or default_compression(model),
        _pairs(ratios),
        codecs=_names(codecs),
        scorers=_names(scorers) or CALIBRATED,
        ks=tuple(_number(part, "--top-k") for part in _names(top_k)),
    )
    asked: Sequence[Question] = calibration.GENERIC if questions is None else calibration.read_questions(questions)
    opened = None if archive is None else Archive.open(archive, storage_options=storage_options)
    loaded = load_model(model, device=device, dtype=dtype)
    if not scorers and loaded.geometry.keys_in_place:
        fitting = tuple(name for name in grid.scorers if not any(one.compares_keys for one in entries(name)))
        grid = dataclasses.replace(grid, scorers=fitting)
    chunk_frames = grid.compressions[0].frames_per_chunk
    with tempfile.TemporaryDirectory(prefix="videox2l-calibrate-") as folder:
        rendered = [] if paths else calibration.rendered_clips(Path(folder), clips, scenes)
        pairs = [*((path, asked) for path in paths), *rendered]
        watched = [calibration.watch(loaded, path, looked_at, chunk_frames, own) for path, own in pairs]
    if dry_run:
        _announce(loaded, watched, grid)
        return
    measurements = _measured(loaded, watched, grid, reference, max_new_tokens)
    found = calibration.calibrate(measurements, wanted, identity=loaded.identity, model=model, reference=reference)
    document = found.to_document()
    if report is not None:
        report.write_text(json.dumps(document, indent=1), encoding="utf-8")
    if as_json:
        output.print_json(document)
    else:
        _print(found, measurements, every=every)
    if opened is not None:
        store(opened.storage, found)
        output.notes().print(f"stored with {output.plain(opened.url)}", soft_wrap=True)
    if found.recommended is None:
        raise typer.Exit(status.SOME_FAILED)


def _check_different(paths: Sequence[Path]) -> None:
    """A video given twice would count twice, and judge a choice that was made from it."""
    from videox2l.identity import hash_file

    seen: dict[str, Path] = {}
    for path in paths:
        first = seen.setdefault(hash_file(path)[0], path)
        if first is not path:
            raise ConfigError(f"{first} and {path} are the same video: give it once")


def _measured(
    model: KVCompressibleModel, watched: Sequence[Watched], grid: Grid, reference: Any, max_new_tokens: int
) -> list[Any]:
    from videox2l.evaluation.calibration import measure

    notes = output.notes()
    found = []
    with Progress(console=notes, transient=True, disable=not notes.is_terminal) as bar:
        steps = len(watched) * len(grid.compressions) * len(grid.codecs)
        task = bar.add_task("calibrating", total=steps)
        for video in watched:
            bar.update(task, description=output.plain(Path(video.name).name))
            found += measure(
                model,
                video,
                grid,
                reference=reference,
                max_new_tokens=max_new_tokens,
                progress=lambda: bar.advance(task),
            )
    return found


def _announce(model: KVCompressibleModel, watched: Sequence[Watched], grid: Grid) -> None:
    from videox2l.evaluation.calibration import estimate_s

    questions = sum(len(video.questions) for video in watched)
    prefills = len(watched) * (len(grid.compressions) + 1)
    console = output.console()
    console.print(
        f"{output.many(len(list(grid.settings())), 'setting')} on {output.many(len(watched), 'video')} with "
        f"{output.many(questions, 'question')}: {output.many(prefills, 'prefill')}, at most "
        f"{grid.most_answers(questions)} answers",
        soft_wrap=True,
    )
    seconds = estimate_s(model, watched, grid)
    console.print(f"about {output.clock(seconds)} (h:mm:ss) here; it may be off by a factor of two or three")


def _print(found: Calibration, measurements: Sequence[Any], *, every: bool) -> None:
    from videox2l.evaluation.suites.metrics import wilson

    console = output.console()
    known = [one.right for one in measurements if one.setting is None and one.right is not None]
    right = f", {sum(known)} of {len(known)} answered right" if known else ""
    what = {"full": "the uncompressed video", "low": "all chunks at the least low ratio"}[found.reference]
    console.print(f"compared with {what}: {output.many(found.questions, 'question')}{right}", soft_wrap=True)
    by_price = sorted(found.settings, key=lambda one: (one.bytes_read, -one.agreement))
    shown = by_price if every else _worth_showing(found, by_price)
    table = output.table("low>", "high>", "codec", "re-loads", "read>", "agrees>", "95 %>", "KL>", "logits>", "right>")
    for one in shown:
        low, high = wilson(round(one.agreement * found.questions), found.questions)
        _row(table, one, f"{low:.0%}–{high:.0%}", best=one == found.recommended)
    console.print(table)
    if len(shown) < len(by_price):
        console.print(f"{len(by_price) - len(shown)} more settings with --all, --report or --json")
    if found.recommended is None:
        nearest = max(found.settings, key=lambda one: (one.agreement, -one.bytes_read))
        console.print(f"none reaches what is wanted; nearest is {nearest.words}", soft_wrap=True)
    else:
        console.print(f"[bold]recommended:[/] {found.recommended.words}", soft_wrap=True)
    console.print(f"[bold]held out:[/] {_held_out(found)}", soft_wrap=True)


def _held_out(found: Calibration) -> str:
    """How often choices agree on the video that they were not made from."""
    if found.held_out is None:
        return "cannot be had from a single video: give two or more"
    said = f"{found.held_out.words} agree, each video asked with the setting that the others recommend"
    if found.held_out.without_setting:
        of = f"{found.held_out.without_setting} of {output.many(found.questions, 'question')}"
        said += f"; for {of} the others recommend none, which counts as no agreement"
    return said


def _worth_showing(found: Calibration, by_price: Sequence[CalibratedSetting]) -> list[CalibratedSetting]:
    """Of settings from the cheapest on: each that agrees more often than all cheaper ones; then others that do well."""
    best, shown = -1.0, []
    for one in by_price:
        if one.agreement > best:
            best = one.agreement
            shown.append(one)
    shown += [one for one in by_price if found.reaches(one) and one not in shown][: max(0, _SHOWN - len(shown))]
    return sorted(shown, key=lambda one: (one.bytes_read, one.agreement))


def _row(table: Table, one: CalibratedSetting, interval: str, *, best: bool) -> None:
    from videox2l.store.calibration import selection_words

    table.add_row(
        str(one.compression["low_ratio"]),
        str(one.compression["high_ratio"]),
        one.codec,
        selection_words(one.select, one.top_k),
        output.size(one.bytes_read),
        f"{one.agreement:.1%}",
        interval,
        f"{one.kl:.4f}",
        f"{one.logit_difference:.2f}",
        "–" if one.accuracy is None else f"{one.accuracy:.1%}",
        style="bold" if best else None,
    )


def _pairs(text: str) -> tuple[tuple[int, int], ...]:
    found = []
    for part in _names(text):
        match = re.fullmatch(r"(\d{1,6}):(\d{1,6})", part)
        if match is None:
            raise ConfigError(f"--ratios: {part!r} is no pair of a low and a high ratio such as 2:16")
        found.append((int(match[1]), int(match[2])))
    return tuple(found)


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _number(text: str, option: str) -> int:
    if not text.isdecimal():
        raise ConfigError(f"{option}: {text!r} is no number")
    return int(text)
