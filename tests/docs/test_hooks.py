"""Links of the repository become those of the site. That the site can be built is a step of its own, `make docs`."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from mkdocs.exceptions import PluginError

FILE = Path(__file__).parents[2] / "docs" / "hooks.py"
spec = importlib.util.spec_from_file_location("docs_hooks", FILE)
assert spec is not None
assert spec.loader is not None
hooks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hooks)


@pytest.mark.parametrize(
    ("folder", "page_folder", "written", "expected"),
    [
        ("docs", "", "[a](serving.md#keys)", "[a](serving.md#keys)"),
        ("docs", "", "[a](../cluster/README.md)", "[a](cluster.md)"),
        ("", "", "[a](docs/asking.md), ![d](docs/demo.svg)", "[a](asking.md), ![d](demo.svg)"),
        ("cluster", "", "[a](../docs/serving.md#keys)", "[a](serving.md#keys)"),
        ("docs", "reference", "[a](asking.md)", "[a](../asking.md)"),
        ("cluster", "", "see [these](kubernetes)", "see these"),
        ("docs", "", "[a](https://arxiv.org/abs/1), [b](#here)", "[a](https://arxiv.org/abs/1), [b](#here)"),
    ],
)
def test_links(folder: str, page_folder: str, written: str, expected: str) -> None:
    assert hooks.to_site(written, folder, page_folder) == expected


def test_a_link_to_nothing_is_said() -> None:
    with pytest.raises(PluginError, match="leads nowhere: gone"):
        hooks.to_site("[a](gone.md)", "", "")


def test_every_command_and_metric_has_its_place() -> None:
    commands = hooks.command_line()
    assert all(f"`videox2l {name}`" in commands for name in ("ingest", "ask", "serve", "bench serve"))
    assert "`videox2l_serve_requests_total`" in hooks.metrics()
