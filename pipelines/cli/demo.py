"""``videox2l demo``: the whole path on a few rendered clips."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def demo(
    scenes: Annotated[str, typer.Option(help="Scenes (8 s each) of every clip, comma separated.")] = "6,12,24",
    questions: Annotated[int, typer.Option(help="Questions per clip for the closing table.", min=1, max=30)] = 12,
    picture: Annotated[Path | None, typer.Option(help="Save what is printed as an SVG file.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Keep clips and archive here. Default: nothing is kept.")] = None,
) -> None:
    """Render clips, ingest them on Ray Data, serve them on Ray Serve, ask, and compare the levels.

    Needs no GPU, server or download. The clips are new to the bundled model: it was trained on other seeds.

    `videox2l demo --scenes 8,24 --folder demo`
    """
    from pipelines.demo import run_demo
    from videox2l.errors import ConfigError
    from videox2l.video.synthetic import KEYS

    try:
        counts = [int(part) for part in scenes.split(",")]
    except ValueError:
        raise ConfigError(f"--scenes takes numbers such as 6,12,24, got {scenes!r}") from None
    if not counts or min(counts) < 2 or max(counts) > len(KEYS):
        raise ConfigError(f"a clip has 2 to {len(KEYS)} scenes, got {scenes!r}")
    # A picture wants the same width everywhere.
    console = Console(
        highlight=False, emoji=False, record=picture is not None, width=110 if picture is not None else None
    )
    ok = run_demo(console, scenes=counts, questions_per_clip=questions, folder=folder)
    if picture is not None:
        console.save_svg(str(picture), title="videox2l demo")
    if not ok:
        raise typer.Exit(1)
