"""``videox2l doctor``: is everything there, and does it fit together?"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli import options, output, status

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(
    archive: Annotated[
        str | None,
        typer.Option(
            help=f"An archive to look at. Default: `{options.DEFAULT_ARCHIVE}`, if there is one.",
            envvar="VIDEOX2L_ARCHIVE",
            show_envvar=True,
        ),
    ] = None,
    model: options.Model = "tiny",
    device: options.Device = None,
    dtype: options.Dtype = None,
    as_json: options.Json = False,
    storage_options: options.StorageOptions = None,
) -> None:
    """Check what is installed, the machine, and whether an archive and a model fit together.

    Each line is ok, a warning, or a failure with what to do. Exits with 1 where something fails.

    `videox2l doctor`

    `videox2l doctor --archive s3://bucket/lectures --model checkpoints/video-xl`
    """
    from pipelines.doctor import checks

    if archive is None and Path(options.DEFAULT_ARCHIVE).is_dir():
        archive = options.DEFAULT_ARCHIVE
    console, found = output.console(), []
    for check in checks(archive, model, device=device, dtype=dtype, storage_options=storage_options):
        found.append(check)
        if as_json:
            continue
        style = _STYLES[check.status]
        console.print(
            f"[{style}]{check.status:<4}[/]  [bold]{check.name:<17}[/] {output.plain(check.said)}", soft_wrap=True
        )
        if check.remedy:
            console.print(f"{'':<24}{output.plain(check.remedy)}", style=style, soft_wrap=True)
    failed = any(check.status == "fail" for check in found)
    if as_json:
        output.print_json({"ok": not failed, "checks": [dataclasses.asdict(check) for check in found]})
    if failed:
        raise typer.Exit(status.SOME_FAILED)
