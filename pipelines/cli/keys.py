"""``videox2l keys``: API keys of an answering service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli import options, output

if TYPE_CHECKING:
    from pipelines.serve.keys import ApiKey

keys = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help="API keys of an answering service.")

File = Annotated[
    Path,
    typer.Option("--file", help="Where they are kept, hashed.", envvar="VIDEOX2L_API_KEYS", show_envvar=True),
]
_DEFAULT = Path("keys.json")


def _metadata(text: str) -> tuple[str, Any]:
    """``name=value``; what is JSON is taken as such."""
    from videox2l.errors import ConfigError

    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ConfigError(f"{text!r} is no name=value, such as camera=north")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


@keys.command()
def add(
    name: Annotated[str, typer.Argument(help="Whose key it is: letters, digits and `.@-_`.")],
    file: File = _DEFAULT,
    videos: Annotated[
        list[str] | None, typer.Option(help="Only videos whose id or name fits this glob. May be repeated.")
    ] = None,
    metadata: Annotated[
        list[str] | None, typer.Option(help="Only videos with this value, as name=value. May be repeated.")
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option(help="More are refused with 429.", min=1)] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(help="Likewise, of `usage.total_tokens`.", min=1)] = None,
    ingest_from: Annotated[
        list[str] | None,
        typer.Option(help="It may ingest videos below this folder or URL prefix. May be repeated."),
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="It may delete videos.")] = False,
    metrics: Annotated[bool, typer.Option("--metrics", help="It may read /metrics.")] = False,
) -> None:
    """Make a key and print it, this once: the file keeps only its hash.

    A running service takes it within a second.

    `videox2l keys add alice --videos "lectures-*" --requests-per-minute 60`
    """
    from pipelines.serve.keys import change_keys, new_key
    from videox2l.errors import ConfigError

    text, key = new_key(
        name,
        videos=tuple(videos or ()),
        metadata=dict(map(_metadata, metadata or ())),
        ingest_from=tuple(place if "://" in place else str(Path(place).absolute()) for place in ingest_from or ()),
        delete=delete,
        metrics=metrics,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
    )

    def with_new(found: list[ApiKey]) -> list[ApiKey]:
        if any(other.name == name for other in found):
            raise ConfigError(f"there is a key {name!r} already: remove it first, or choose another name")
        return [*found, key]

    change_keys(file, with_new)
    typer.echo(text)


@keys.command("list")
def list_(file: File = _DEFAULT, as_json: options.Json = False) -> None:
    """Show whose keys there are and what they may do.

    `videox2l keys list --file keys.json`
    """
    from pipelines.serve.keys import read_keys

    found = read_keys(file)
    if as_json:
        output.print_json([key.model_dump(exclude={"sha256"}) for key in found])
        return
    table = output.table("name", "created", "videos", "requests a minute>", "tokens a minute>", "may also")
    for key in found:
        seen = [*key.videos, *([output.words(key.metadata)] if key.metadata else [])]
        rights = [f"ingest from {place}" for place in key.ingest_from]
        rights += [right for right in ("delete", "metrics") if getattr(key, right)]
        table.add_row(
            output.plain(key.name),
            key.created[:16].replace("T", " "),
            output.plain(", ".join(seen) or "all"),
            str(key.requests_per_minute or "–"),
            str(key.tokens_per_minute or "–"),
            output.plain(", ".join(rights) or "–"),
        )
    output.console().print(table)


@keys.command()
def remove(
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    file: File = _DEFAULT,
) -> None:
    """Make a key invalid. A running service notices within a second.

    `videox2l keys remove alice`
    """
    from pipelines.serve.keys import change_keys
    from videox2l.errors import ConfigError

    def without(found: list[ApiKey]) -> list[ApiKey]:
        left = [key for key in found if key.name != name]
        if len(left) == len(found):
            raise ConfigError(f"there is no key {name!r}; `videox2l keys list` shows them")
        return left

    change_keys(file, without)
    output.notes().print(f"removed {output.plain(name)}")
