"""``videox2l bench all``, ``mix``, ``first-token``, …: parts of the system beside the least that their work takes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli import options, output, status
from videox2l.errors import ConfigError

Size = Annotated[
    str, typer.Option(help="`tiny` (the bundled model's), `small` (hidden 256, 8 layers), or `video-xl-7b`.")
]
Chunks = Annotated[
    list[int] | None,
    typer.Option(help="Length of a video; may be repeated. Default: 24 and 96; for `video-xl-7b` 360 too.", min=3),
]
Repeats = Annotated[int, typer.Option(help="How often a part and its bound are measured, in turn.", min=1)]
Folder = Annotated[
    Path | None,
    typer.Option(help="Where archives are written for a while; choose a local NVMe disk.", file_okay=False),
]
Save = Annotated[Path | None, typer.Option(help="Write all figures into this JSON file too.", dir_okay=False)]
Compare = Annotated[
    Path | None,
    typer.Option(help="Figures of an earlier run: exit with 1 where a ratio has become worse.", dir_okay=False),
]
Tolerance = Annotated[float, typer.Option(help="By what share a ratio may be above the earlier one.", min=0)]
Plot = Annotated[
    Path | None, typer.Option(help="Write how the prefill grows with the video into this SVG.", dir_okay=False)
]


def all_(
    size: Size = "small",
    chunks: Chunks = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    repeats: Repeats = 15,
    folder: Folder = None,
    plot: Plot = None,
    save: Save = None,
    compare: Compare = None,
    tolerance: Tolerance = 0.25,
    as_json: options.Json = False,
) -> None:
    """Measure everything that needs no Ray: prefill, mix, first token, decode, store and selection.

    Each part is run in turn with the least that its work takes here (the stock model over the same tokens, one copy of
    the same bytes, plain files), and the ratio of both is what counts. Weights and KVs are random.

    `videox2l bench all --size small --save new.json --compare old.json`

    `videox2l bench all --size video-xl-7b --device cuda --folder /mnt/nvme --plot growth.svg --save gpu.json`
    """
    from pipelines.bench.bounds import PARTS

    measure(PARTS, size, chunks, device, dtype, repeats, folder, save, compare, tolerance, as_json, plot)


def mix(
    size: Size = "small",
    chunks: Chunks = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    repeats: Repeats = 15,
    save: Save = None,
    compare: Compare = None,
    tolerance: Tolerance = 0.25,
    as_json: options.Json = False,
) -> None:
    """Mixing a question's memory, beside one copy of its bytes and the rotation of its keys.

    `videox2l bench mix --size small`
    """
    measure(["mix"], size, chunks, device, dtype, repeats, None, save, compare, tolerance, as_json)


def first_token(
    size: Size = "small",
    chunks: Chunks = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    repeats: Repeats = 15,
    folder: Folder = None,
    save: Save = None,
    compare: Compare = None,
    tolerance: Tolerance = 0.25,
    as_json: options.Json = False,
) -> None:
    """The first token of an answer about a resident video, beside the stock model's forward of the question.

    Over the chunks of the question before, and over chunks that have to be read and mixed.

    `videox2l bench first-token --size small`
    """
    measure(["first-token"], size, chunks, device, dtype, repeats, folder, save, compare, tolerance, as_json)


def decode(
    size: Size = "small",
    chunks: Chunks = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    repeats: Repeats = 15,
    folder: Folder = None,
    save: Save = None,
    compare: Compare = None,
    tolerance: Tolerance = 0.25,
    as_json: options.Json = False,
) -> None:
    """Decoding one answer, beside the stock model's loop and beside reading weights and memory once a token.

    `videox2l bench decode --size small`
    """
    measure(["decode"], size, chunks, device, dtype, repeats, folder, save, compare, tolerance, as_json)


def store(
    size: Size = "small",
    chunks: Chunks = None,
    repeats: Repeats = 15,
    folder: Folder = None,
    save: Save = None,
    compare: Compare = None,
    tolerance: Tolerance = 0.25,
    as_json: options.Json = False,
) -> None:
    """Writing a video's KVs to a local archive and reading them, beside plain files of as many bytes.

    Codecs: `videox2l bench local`. Object storage: `videox2l bench storage`.

    `videox2l bench store --folder /mnt/nvme`
    """
    measure(["store"], size, chunks, "cpu", None, repeats, folder, save, compare, tolerance, as_json)


def selection(
    size: Size = "small",
    chunks: Chunks = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    repeats: Repeats = 15,
    save: Save = None,
    compare: Compare = None,
    tolerance: Tolerance = 0.25,
    as_json: options.Json = False,
) -> None:
    """Scoring a video's chunks for a question, beside the stock model's forward of it over the same gist.

    `videox2l bench selection --size small`
    """
    measure(["selection"], size, chunks, device, dtype, repeats, None, save, compare, tolerance, as_json)


def passes(
    size: Size = "small",
    chunks: Chunks = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    plot: Plot = None,
    save: Save = None,
    compare: Compare = None,
    tolerance: Tolerance = 0.25,
    as_json: options.Json = False,
) -> None:
    """Both passes of a prefill, beside the stock model over as many interleaved tokens and the same visible past.

    Chunk by chunk in turn. Vision, and videos prefilled together: `videox2l bench prefill`.

    `videox2l bench passes --size small --chunks 96 --plot growth.svg`
    """
    measure(["prefill"], size, chunks, device, dtype, 1, None, save, compare, tolerance, as_json, plot)


def measure(
    parts: list[str] | tuple[str, ...],
    size: str,
    chunks: list[int] | None,
    device: str | None,
    dtype: str | None,
    repeats: int,
    folder: Path | None,
    save: Path | None,
    compare: Path | None,
    tolerance: float,
    as_json: bool,
    plot: Path | None = None,
) -> None:
    """Run ``parts``, print what was found, and end with 1 where it is worse than the run in ``compare``."""
    from pipelines.bench import bounds
    from pipelines.bench.bounds.compare import change_table
    from pipelines.bench.bounds.plot import growth_plot
    from videox2l.models.registry import placement

    if size not in bounds.SIZES:
        raise ConfigError(f"no size {size!r}: there are {', '.join(bounds.SIZES)}")
    chosen = bounds.SIZES[size]
    if chunks:
        chosen = dataclasses.replace(chosen, lengths=tuple(sorted(set(chunks))))
    before = None if compare is None else bounds.load_report(compare)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    at, kind = placement(device, dtype)
    notes = output.notes()
    with notes.status("preparing") as shown:
        report = bounds.run(chosen, parts, device=at, dtype=kind, repeats=repeats, folder=folder, progress=shown.update)
    if save is not None:
        save.write_text(report.to_json())
    if plot is not None:
        plot.write_text(growth_plot(report.growth, f"Prefill: {report.size}, {report.dtype} on {report.device}"))
    console = output.console()
    if as_json:
        typer.echo(report.to_json())
    else:
        console.print(bounds.table(report))
    if before is not None:
        changes = bounds.compare(before, report, tolerance)
        (notes if as_json else console).print(change_table(changes, tolerance))
        if any(change.worse for change in changes):
            raise typer.Exit(status.SOME_FAILED)
