"""``videox2l bench all``, ``mix``, ``first-token``, …: parts of the system beside the least that their work takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli import options, output
from pipelines.cli.bench_figures import Figures
from pipelines.cli.option_groups import grouped
from videox2l.errors import ConfigError

if TYPE_CHECKING:
    from pipelines.bench.rows import Report

Repeats = Annotated[int, typer.Option(help="How often a part and its bound are measured, in turn.", min=1)]
Folder = Annotated[
    Path | None,
    typer.Option(help="Where archives are written for a while; choose a local NVMe disk.", file_okay=False),
]
Plot = Annotated[
    Path | None, typer.Option(help="Write how the prefill grows with the video into this SVG.", dir_okay=False)
]


@dataclasses.dataclass(frozen=True)
class Videos:
    """What is measured."""

    size: Annotated[
        str, typer.Option(help="`tiny` (the bundled model's), `small` (hidden 256, 8 layers), or `video-xl-7b`.")
    ] = "small"
    chunks: Annotated[
        list[int] | None,
        typer.Option(help="Length of a video; may be repeated. Default: 24 and 96; for `video-xl-7b` 360 too.", min=3),
    ] = None


@dataclasses.dataclass(frozen=True)
class Place:
    """Where it is measured."""

    device: options.Device = None
    dtype: options.Dtype = None


_CPU = Place("cpu")


@grouped
def all_(
    videos: Videos,
    place: Place,
    ray: Annotated[
        bool, typer.Option("--ray", help="Also a small ingest, service and batch of the bundled model, on Ray.")
    ] = False,
    repeats: Repeats = 15,
    folder: Folder = None,
    plot: Plot = None,
    *,
    figures: Figures,
) -> None:
    """Measure everything that needs no Ray: prefill, mix, first token, decode, store and selection; or everything.

    Each part is run in turn with the least that its work takes here (the stock model over the same tokens, one copy of
    the same bytes, plain files), and the ratio of both is what counts. Weights and KVs are random.

    `videox2l bench all --size small --save new.json --compare old.json`

    `videox2l bench all --ray --save everything.json`

    `videox2l bench all --size video-xl-7b --device cuda --folder /mnt/nvme --plot growth.svg --save gpu.json`
    """
    from pipelines.bench.bounds import PARTS

    measure(PARTS, videos, place, figures, repeats=repeats, folder=folder, plot=plot, ray=ray)


@grouped
def mix(videos: Videos, place: Place, repeats: Repeats = 15, *, figures: Figures) -> None:
    """Mixing a question's memory, beside one copy of its bytes and the rotation of its keys.

    `videox2l bench mix --size small`
    """
    measure(["mix"], videos, place, figures, repeats=repeats)


@grouped
def first_token(
    videos: Videos, place: Place, repeats: Repeats = 15, folder: Folder = None, *, figures: Figures
) -> None:
    """The first token of an answer about a resident video, beside the stock model's forward of the question.

    Over the chunks of the question before, and over chunks that have to be read and mixed.

    `videox2l bench first-token --size small`
    """
    measure(["first-token"], videos, place, figures, repeats=repeats, folder=folder)


@grouped
def decode(videos: Videos, place: Place, repeats: Repeats = 15, folder: Folder = None, *, figures: Figures) -> None:
    """Decoding one answer, beside the stock model's loop and beside reading weights and memory once a token.

    `videox2l bench decode --size small`
    """
    measure(["decode"], videos, place, figures, repeats=repeats, folder=folder)


@grouped
def store(videos: Videos, repeats: Repeats = 15, folder: Folder = None, *, figures: Figures) -> None:
    """Writing a video's KVs to a local archive and reading them, beside plain files of as many bytes.

    Codecs: `videox2l bench local`. Object storage: `videox2l bench storage`.

    `videox2l bench store --folder /mnt/nvme`
    """
    measure(["store"], videos, _CPU, figures, repeats=repeats, folder=folder)


@grouped
def selection(videos: Videos, place: Place, repeats: Repeats = 15, *, figures: Figures) -> None:
    """Scoring a video's chunks for a question, beside the stock model's forward of it over the same gist.

    `videox2l bench selection --size small`
    """
    measure(["selection"], videos, place, figures, repeats=repeats)


@grouped
def passes(videos: Videos, place: Place, plot: Plot = None, *, figures: Figures) -> None:
    """Both passes of a prefill, beside the stock model over as many interleaved tokens and the same visible past.

    Chunk by chunk in turn. Vision, and videos prefilled together: `videox2l bench prefill`.

    `videox2l bench passes --size small --chunks 96 --plot growth.svg`
    """
    measure(["prefill"], videos, place, figures, plot=plot)


def measure(
    parts: Sequence[str],
    videos: Videos,
    place: Place,
    figures: Figures,
    *,
    repeats: int = 1,
    folder: Path | None = None,
    plot: Path | None = None,
    ray: bool = False,
) -> None:
    """Run ``parts``, print what was found, and end with 1 where it is worse than an earlier run."""
    from pipelines.bench import bounds
    from pipelines.bench.bounds.plot import growth_plot
    from pipelines.bench.rows import join
    from videox2l.models.registry import placement

    if videos.size not in bounds.SIZES:
        raise ConfigError(f"no size {videos.size!r}: there are {', '.join(bounds.SIZES)}")
    size = bounds.SIZES[videos.size]
    if videos.chunks:
        size = dataclasses.replace(size, lengths=tuple(sorted(set(videos.chunks))))
    before = figures.before()
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    device, dtype = placement(place.device, place.dtype)
    reports: list[Report] = []
    with output.notes().status("preparing") as shown:
        if ray:
            from pipelines.bench import with_ray

            # First, as this process holds no weights yet, of which the memory of theirs would be taken.
            reports += with_ray.measure(place.device, place.dtype, shown.update)
        report = bounds.run(
            size, parts, device=device, dtype=dtype, repeats=repeats, folder=folder, progress=shown.update
        )
    if plot is not None:
        plot.write_text(growth_plot(report.details["prefill"], f"Prefill: {report.sections[0].setup}"))
    figures.conclude(join([report, *reports]), before)
