"""Everything on the page can be read, in light and dark: contrasts of WCAG AA, from what the browser computes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.page.conftest import HOSTILE
from tests.page.test_page import QUESTION, ask, choose, opened

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
Browser, Page, expect = sync_api.Browser, sync_api.Page, sync_api.expect

CONTRAST = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")


@pytest.fixture(params=["light", "dark"])
def page(browser: Browser, service: str, key: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    yield from opened(browser, service, key, color_scheme=request.param, reduced_motion="reduce")


class Contrasts:
    """Collects what falls short, so that one run of the test tells of every state."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self.short: dict[str, list[str]] = {}

    def __call__(self, state: str, least_texts: int) -> None:
        # Pictures are not looked at; texts in place of missing ones are.
        found = self._page.evaluate(CONTRAST)
        assert found["texts"] >= least_texts, (state, found)
        if found["short"]:
            self.short[state] = found["short"]


def test_every_state_can_be_read(page: Page) -> None:
    readable = Contrasts(page)
    expect(page.locator("#videos button")).to_have_count(3)
    readable("nothing chosen", 10)
    page.get_by_label("Find a video").fill("no such video")
    expect(page.get_by_text("No such video.")).to_be_visible()
    readable("nothing found", 6)
    page.get_by_label("Find a video").fill("")

    choose(page)
    page.get_by_text("Settings").click()
    page.get_by_label("Parts to read in detail").fill("3")
    readable("a question to be written", 15)
    page.get_by_label("At most").fill("2")
    ask(page)
    page.locator(".spans button").first.click()
    expect(page.locator("figure.chosen img")).to_be_visible()
    page.get_by_text("What it took").click()
    readable("an answer that lacks detail, its pictures and what it took", 50)
    page.locator(".spans .lost").click()
    readable("a part whose detail is missing", 50)
    page.locator(".spans .lost").hover()
    readable("the pointer on a button", 50)

    page.route("**/v1/chat/completions", lambda route: route.abort())
    page.get_by_label("Your question").fill(QUESTION)
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.get_by_role("alert").filter(has_text="connection")).to_be_visible()
    readable("an error", 50)
    page.unroute("**/v1/chat/completions")

    choose(page, HOSTILE)  # which has no pictures
    ask(page)
    page.locator(".spans button").first.click()
    expect(page.locator("figure.chosen")).to_contain_text("no picture")
    readable("no pictures", 25)
    page.get_by_role("button", name="Change key").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.evaluate("document.getElementById('key-problem').textContent = 'The service does not know this key.'")
    readable("a key that is asked for", 5)
    assert readable.short == {}


def test_what_cannot_be_read_is_found(page: Page) -> None:
    choose(page)
    ask(page)
    page.evaluate("""() => {
        document.querySelector("h2#video-name").style.color = getComputedStyle(document.body).backgroundColor;
        document.querySelector(".answer").style.opacity = "0.4";
        const turn = getComputedStyle(document.querySelector(".turn"));
        document.querySelector(".timeline rect.gist").style.fill = turn.backgroundColor;
    }""")
    found = " ".join(page.evaluate(CONTRAST)["short"])
    for part in ('h2. "shapes.mp4": 1.00', "p.answer", "timeline gist: 1.00"):
        assert part in found
