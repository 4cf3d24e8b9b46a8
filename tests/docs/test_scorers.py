"""What a question's ``select`` may name is told where people look for it."""

from __future__ import annotations

import pytest

from tests.docs.pages import ROOT, spans
from tests.docs.test_commands import PROGRAM
from videox2l.scorers import CONTROLS, REGISTERED


@pytest.mark.parametrize("name", [*REGISTERED, *CONTROLS])
def test_the_help_of_ask_names_it(name: str) -> None:
    (select,) = (option for option in PROGRAM.commands["ask"].params if option.name == "select")
    assert f"`{name}`" in select.help


@pytest.mark.parametrize("name", [*REGISTERED, *CONTROLS])
def test_the_page_about_asking_explains_it(name: str) -> None:
    page = ROOT / "docs" / "asking.md"
    if name in REGISTERED:
        assert f"\n| `{name}` |" in page.read_text(), f"say in the table of docs/asking.md how {name} rates a chunk"
    else:
        assert name in {span.text for span in spans(page)}, f"docs/asking.md does not say what {name} chooses"
