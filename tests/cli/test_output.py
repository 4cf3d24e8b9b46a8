"""What commands print stays as it is, whatever marks of rich's own are in it."""

from __future__ import annotations

import pytest

from pipelines.cli import output
from pipelines.cli.answers import print_pieces

TEXTS = ["a:b:c", ":red_circle:", "[1]", "[/]", "[bold]x[/bold]", r"C:\[x]\y", r"\[/x]", "C:\\videos\\", r"\\[x]"]


@pytest.mark.parametrize("text", TEXTS)
def test_an_answer_and_what_messages_quote_stay_as_they_are(capsys: pytest.CaptureFixture[str], text: str) -> None:
    print_pieces([text, "!"], output.console())
    output.notes().print(f"[bold]{output.plain(text)}[/]!", soft_wrap=True)
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == (f"{text}!\n", f"{text}!\n")
