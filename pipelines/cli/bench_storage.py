"""``videox2l bench storage`` and ``local``: how fast KVs are read."""

from __future__ import annotations

from typing import Annotated

import typer


def storage(
    url: Annotated[str, typer.Argument(help="Where to store 64 MiB for a moment, such as s3://bucket/folder.")],
    repeats: Annotated[int, typer.Option(help="How often each client reads everything, cold and warm.", min=1)] = 5,
) -> None:
    """Measure how fast S3 clients read ranges, against plain ranged GETs.

    The server and the credentials are those of AWS's usual variables and files.

    `videox2l bench storage s3://bucket/folder`
    """
    from rich.console import Console

    from pipelines.bench.storage import measure, table
    from pipelines.bench.storage_kvs import measure_kvs

    console = Console(highlight=False)
    console.print(table(measure(url, repeats)))
    console.print(measure_kvs(url, repeats))


def local(
    repeats: Annotated[int, typer.Option(help="How often everything is read.", min=1)] = 5,
) -> None:
    """Measure how fast a local archive becomes tensors with each codec, against plain reads of the files.

    `videox2l bench local`
    """
    from rich.console import Console

    from pipelines.bench.local import measure, table

    Console().print(table(measure(repeats)))
