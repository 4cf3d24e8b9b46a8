"""Pages of the site that are not in ``docs/``: files from elsewhere in the repository, and references made from code.

Links in Markdown are those of the repository, so that they work where it is read as it is; here they become the site's.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]

# Page of the site: where it is in the repository.
ELSEWHERE = {
    "index.md": "README.md",
    "cluster.md": "cluster/README.md",
    "model-card.md": "videox2l/models/tiny/checkpoint/README.md",
    "model-card-plain.md": "videox2l/models/tiny_plain/checkpoint/README.md",
}

# A docstring's cross-reference, as Markdown leaves it.
_ROLE = re.compile(r":(?:class|func|meth|attr|data|exc|mod):<code>~?(?:[\w.]*\.)?(\w+)</code>")

# ](target) of a link or picture, but neither an address nor a place on the same page.
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?:|mailto:|#)([^)\s]+)\)|(!\[[^\]]*\])\((?!https?:)([^)\s]+)\)")


def command_line() -> str:
    """Every command with its options, from the command line's own help."""
    import typer
    from typer.cli import get_docs_for_click

    from pipelines.cli.main import app

    command = typer.main.get_command(app)
    return get_docs_for_click(obj=command, ctx=typer.Context(command), name="videox2l", title="The command line")


def metrics() -> str:
    """What the service tells Prometheus."""
    from pipelines.serve.metrics import METRICS, PREFIX

    rows = [
        f"| `{PREFIX}{name}` | {about.kind} | {', '.join(about.labels)} | {about.description} |"
        for name, about in METRICS.items()
    ]
    told = "At `/metrics`, for Prometheus. Those of an ingest are in [operating](../operating.md)."
    heads = ["| metric | kind | labels | |", "| --- | --- | --- | --- |"]
    return "\n".join(["# Metrics of the service", "", told, "", *heads, *rows, ""])


def python() -> str:
    """The library's names, from their docstrings."""
    import videox2l

    parts = [f"::: videox2l.{name}" for name in videox2l.__all__]
    return "\n\n".join(["# Python", "Everything here is imported from `videox2l`.", *parts, "::: videox2l.errors"])


def settings() -> str:
    """What can be turned: one class a stage."""
    import dataclasses

    from videox2l import config

    stages = [name for name, value in vars(config).items() if dataclasses.is_dataclass(value)]
    places = [f"videox2l.config.{name}" for name in stages]
    places += [
        "pipelines.ingest.IngestSettings",
        "pipelines.batch.BatchSettings",
        "pipelines.serve.config.ServiceConfig",
    ]
    return "\n\n".join(["# Settings", *(f"::: {place}" for place in places)])


MADE: dict[str, Callable[[], str]] = {
    "reference/cli.md": command_line,
    "reference/python.md": python,
    "reference/settings.md": settings,
    "reference/metrics.md": metrics,
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Called by mkdocs once it has looked into ``docs/``."""
    for page, source in ELSEWHERE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    for page, make in MADE.items():
        files.append(File.generated(config, page, content=make()))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Called by mkdocs for each page."""
    path = page.file.src_uri
    if path in MADE:
        return markdown
    folder = posixpath.dirname(ELSEWHERE.get(path, f"docs/{path}"))
    return to_site(markdown, folder, posixpath.dirname(path))


def on_page_content(html: str, **_: Any) -> str:
    """Called by mkdocs for each page, once it is HTML."""
    return _ROLE.sub(r"<code>\1</code>", html)


def to_site(markdown: str, folder: str, page_folder: str) -> str:
    """Links from a file in ``folder`` of the repository, for a page in ``page_folder`` of the site.

    What is not on the site keeps its text, without the link.

    :raises PluginError: a link to a file that the repository does not have.
    """
    pages = {source: page for page, source in ELSEWHERE.items()}

    def place(target: str) -> str | None:
        path, hash_, anchor = target.partition("#")
        found = posixpath.normpath(posixpath.join(folder, path))
        if found in pages:
            found = pages[found]
        elif found.startswith("docs/"):
            found = found.removeprefix("docs/")
        elif (ROOT / found).exists():
            return None
        else:
            raise PluginError(f"a link from {folder or 'the top'} leads nowhere: {target}")
        return posixpath.relpath(found, page_folder or ".") + hash_ + anchor

    def replace(match: re.Match[str]) -> str:
        text, target, picture, source = match.groups()
        if picture is not None:
            return f"{picture}({place(source) or source})"
        found = place(target)
        return text if found is None else f"[{text}]({found})"

    return _LINK.sub(replace, markdown)
