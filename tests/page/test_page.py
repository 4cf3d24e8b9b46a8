"""The web page in a real browser, against the real service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.page.conftest import HOSTILE

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
Browser, Locator, Page, expect = sync_api.Browser, sync_api.Locator, sync_api.Page, sync_api.expect

QUESTION = "Which scene comes first?"
PHONE = {"width": 390, "height": 844}

# Of a slow machine's first answer, which loads the model's kernels.
sync_api.expect.set_options(timeout=20_000)


@pytest.fixture
def page(browser: Browser, service: str, key: str) -> Iterator[Page]:
    """An open page. An error in its scripts fails the test, as does anything that its policy refuses."""
    yield from opened(browser, service, key)


def opened(browser: Browser, url: str, key: str = "", **options: object) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1200, "height": 900}, **options)
    if key:
        context.add_init_script(f"sessionStorage.setItem('videox2l-key', {json.dumps(key)})")
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: (problems.append(dialog.message), dialog.dismiss()))
    page.on("console", lambda said: problems.append(said.text) if "Content Security" in said.text else None)
    page.goto(url)
    yield page
    context.close()
    assert problems == []


def choose(page: Page, name: str = "shapes.mp4") -> None:
    page.get_by_role("button", name=name).click()


def ask(page: Page, question: str = QUESTION) -> None:
    turns = page.locator(".turn").count()
    page.get_by_label("Your question").fill(question)
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator(".turn")).to_have_count(turns + 1)
    expect(page.locator(".turn").last.get_by_role("slider")).to_be_visible()


def no_sideways_scroll(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))


def test_an_answer_and_what_it_rests_on(page: Page) -> None:
    choose(page)
    ask(page)
    turn = page.locator(".turn")
    assert turn.locator(".answer").inner_text().strip()
    expect(turn.locator(".timeline rect.gist, .timeline rect.detail")).to_have_count(12)
    spans = turn.get_by_role("list", name="Parts that were chosen").get_by_role("button")
    assert spans.count() == turn.locator(".timeline rect.detail").count() > 0
    spans.first.click()
    expect(spans.first).to_have_attribute("aria-pressed", "true")
    shown = turn.locator("figure.chosen img")
    expect(shown).to_be_visible()
    assert shown.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    turn.get_by_text("What it took").click()
    expect(turn.get_by_role("row", name="Tokens")).to_be_visible()


def test_the_video_plays_from_where_a_part_begins(page: Page) -> None:
    choose(page)
    ask(page)
    turn = page.locator(".turn")
    turn.get_by_role("slider").press("End")
    turn.get_by_role("button", name="Play from 1:28").click()
    video = turn.locator("video")
    page.wait_for_function("video => video.currentTime >= 88 && video.readyState >= 2", arg=video.element_handle())
    turn.get_by_role("slider").press("Home")  # it goes along
    page.wait_for_function("video => video.currentTime < 20", arg=video.element_handle())


def test_the_answer_streams(page: Page) -> None:
    choose(page)
    page.evaluate("""() => {
        window.seen = [];
        new MutationObserver(() => {
            const text = document.querySelector(".answer");
            if (text) seen.push([text.textContent, text.getAttribute("aria-busy")]);
        }).observe(document.getElementById("turns"), {subtree: true, childList: true, characterData: true});
    }""")
    ask(page)
    seen = page.evaluate("seen")
    assert len({text for text, busy in seen if busy == "true"}) > 2


def test_a_follow_up_question(page: Page) -> None:
    choose(page)
    ask(page)
    with page.expect_request("**/v1/chat/completions") as sent:
        ask(page, "And which scene comes last?")
    messages = json.loads(sent.value.post_data or "")["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    page.get_by_role("button", name="Start over").click()
    expect(page.locator(".turn")).to_have_count(0)


def test_what_an_answer_lacks_is_said(page: Page) -> None:
    choose(page)
    page.get_by_text("Settings").click()
    page.get_by_label("Parts to read in detail").fill("3")
    page.get_by_label("At most").fill("1")
    ask(page)
    note = page.get_by_role("note")
    expect(note).to_contain_text("Of 2 parts the answer has only the gist")
    expect(note).to_contain_text("max_low_chunks is 1")
    expect(page.locator(".timeline rect.lost")).to_have_count(2)


def test_a_link_asks_again(page: Page, browser: Browser, key: str) -> None:
    choose(page)
    page.get_by_text("Settings").click()
    page.get_by_label("Parts to read in detail").fill("2")
    ask(page)
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject() }")  # as where a page may not use it
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_text("It is in the address bar")).to_be_visible()
    said = page.locator(".answer").inner_text()
    for other in opened(browser, page.url, key):
        expect(other.get_by_role("heading", name=QUESTION)).to_be_visible()
        expect(other.locator(".timeline rect.detail")).to_have_count(2)
        assert other.locator(".answer").inner_text() == said


def go_to(page: Page, target: Locator, press: str = "Tab", most: int = 25) -> None:
    """Move the focus there by the keyboard, and see that it shows."""
    for _ in range(most):
        if target.evaluate("element => element === document.activeElement"):
            break
        page.keyboard.press(press)
    expect(target).to_be_focused()
    assert target.evaluate("element => getComputedStyle(element).outlineStyle") == "solid"


def test_with_the_keyboard_alone(page: Page) -> None:
    """Pick a video, ask, look along the timeline, open a part, copy the link, ask again: no click, and no focus set."""
    video = page.get_by_role("button", name="shapes.mp4")
    expect(video).to_be_visible()
    go_to(page, page.get_by_role("link", name="Skip to the question"))
    go_to(page, page.get_by_label("Find a video"))
    go_to(page, video)
    page.keyboard.press("Enter")
    expect(page.get_by_label("Your question")).to_be_focused()
    page.keyboard.type(QUESTION)
    page.keyboard.press("Enter")
    slider = page.get_by_role("slider")
    expect(slider).to_be_visible()
    expect(page.get_by_label("Your question")).to_be_focused()
    go_to(page, page.get_by_text("What it took"), "Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("row", name="Tokens")).to_be_visible()
    copy = page.get_by_role("button", name="Copy link")
    page.evaluate("() => { navigator.clipboard.writeText = async (text) => { window.copied = text } }")
    go_to(page, copy, "Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Copied")).to_be_focused()
    expect(page.get_by_role("status").filter(has_text="The link is copied.")).to_have_count(1)
    assert "q=Which+scene" in page.evaluate("copied")
    part = page.get_by_role("list", name="Parts that were chosen").get_by_role("button").first
    go_to(page, part, "Shift+Tab")
    page.keyboard.press("Space")
    expect(part).to_have_attribute("aria-pressed", "true")
    expect(page.locator("figure.chosen")).to_be_visible()
    go_to(page, slider, "Shift+Tab")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(slider).to_have_attribute("aria-valuenow", "1")
    page.keyboard.press("End")
    expect(slider).to_have_attribute("aria-valuenow", "11")
    go_to(page, page.get_by_label("Your question"))
    page.keyboard.type("And which scene comes last?")
    page.keyboard.press("Enter")
    expect(page.locator(".turn").last.get_by_role("slider")).to_be_visible()
    go_to(page, page.get_by_role("button", name="Start over"))
    page.keyboard.press("Enter")
    expect(page.get_by_label("Your question")).to_be_focused()


def test_search(page: Page) -> None:
    page.get_by_label("Find a video").fill("shap")
    expect(page.locator("#videos button")).to_have_count(1)
    page.get_by_label("Find a video").fill("[")
    expect(page.get_by_text("No such video.")).to_be_visible()


def test_names_and_questions_stay_text(page: Page) -> None:
    choose(page, HOSTILE)
    expect(page.get_by_role("heading", name=HOSTILE)).to_be_visible()
    ask(page, "<script>alert(2)</script><b>bold</b>")
    assert page.locator(".turn h3").inner_text() == "<script>alert(2)</script><b>bold</b>"
    assert page.locator(".turn b, .turn script, #room img[src=x]").count() == 0
    page.locator(".spans button").first.click()
    expect(page.locator("figure.chosen")).to_contain_text("no picture")


@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        (404, {}, "No such thing."),
        (429, {"Retry-After": "7"}, "You are asking faster than your key allows. Try again in 7 s."),
        (None, {}, "The connection to the service was lost."),
    ],
)
def test_errors_are_sentences(page: Page, status: int | None, headers: dict[str, str], words: str) -> None:
    body = json.dumps({"error": {"message": "no such thing"}})
    page.route(
        "**/v1/chat/completions",
        lambda route: route.abort() if status is None else route.fulfill(status=status, headers=headers, body=body),
    )
    choose(page)
    page.get_by_label("Your question").fill(QUESTION)
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.get_by_role("alert").filter(has_text=words)).to_be_visible()
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_enabled()


# Of what can be used, and of what a screen reader says in one piece.
NAMED = {
    "button",
    "link",
    "textbox",
    "searchbox",
    "spinbutton",
    "slider",
    "image",
    "dialog",
    "navigation",
    "DisclosureTriangle",
}


def nameless(page: Page) -> list[str]:
    """What the browser tells a screen reader of, without a name. An empty ``alt`` keeps a picture out of that."""
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    found = [node for node in tree if not node["ignored"] and node["role"]["value"] in NAMED]
    assert found
    return [node["role"]["value"] for node in found if not node.get("name", {}).get("value", "").strip()]


def test_everything_has_a_name(page: Page) -> None:
    expect(page.locator("#videos button")).to_have_count(3)
    assert nameless(page) == []
    choose(page)
    page.get_by_text("Settings").click()
    ask(page)
    page.locator(".spans button").first.click()
    page.get_by_text("What it took").click()
    expect(page.get_by_role("button", name="Play from")).to_be_visible()
    assert nameless(page) == []
    assert page.evaluate("[...document.images].every(image => image.hasAttribute('alt'))")
    assert page.evaluate("document.documentElement.lang") == "en"
    twice = page.evaluate("""() => { const ids = [...document.querySelectorAll("[id]")].map(e => e.id);
        return ids.filter((id, at) => ids.indexOf(id) !== at) }""")
    assert twice == []
    page.get_by_role("button", name="Change key").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert nameless(page) == []


def test_an_answer_is_read_out_once_it_is_whole(page: Page) -> None:
    """A live region that is busy while tokens come: a screen reader would begin anew with each of them."""
    choose(page)
    page.evaluate("""() => {
        window.seen = [];
        new MutationObserver(() => {
            const said = document.querySelector(".answer");
            if (said) seen.push([said.getAttribute("aria-live"), said.getAttribute("aria-busy"), said.textContent]);
        }).observe(document.getElementById("turns"),
            {subtree: true, childList: true, characterData: true, attributes: true});
    }""")
    ask(page)
    seen = page.evaluate("seen")
    assert seen[0] == ["polite", "true", ""]  # there before its text is, or it would not be listened to
    assert seen[-1] == ["polite", "false", page.locator(".answer").text_content()]
    assert {live for live, _, _ in seen} == {"polite"}


def test_nothing_is_wider_than_a_small_screen(page: Page) -> None:
    """320 px: a small phone, and a page at 400 % (WCAG 1.4.10)."""
    page.set_viewport_size({"width": 320, "height": 640})
    expect(page.locator("#videos button")).to_have_count(3)
    assert no_sideways_scroll(page)
    choose(page, HOSTILE)
    page.get_by_text("Settings").click()
    page.get_by_label("Parts to read in detail").fill("2")
    page.get_by_label("At most").fill("1")
    assert no_sideways_scroll(page)
    ask(page, "W" * 200)
    page.locator(".spans button").first.click()
    page.get_by_text("What it took").click()
    expect(page.get_by_role("note")).to_be_visible()
    assert no_sideways_scroll(page)
    page.route("**/v1/chat/completions", lambda route: route.abort())
    page.get_by_label("Your question").fill(QUESTION)
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.get_by_role("alert").filter(has_text="connection")).to_be_visible()
    assert no_sideways_scroll(page)
    page.get_by_role("button", name="Change key").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert no_sideways_scroll(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_and_a_phone(browser: Browser, service: str, key: str, pictures: Path | None, scheme: str) -> None:
    for page in opened(browser, service, key, color_scheme=scheme, device_scale_factor=1.5):
        page.get_by_label("Find a video").fill("s.mp4")
        expect(page.locator("#videos button")).to_have_count(2)
        choose(page)
        page.get_by_text("Settings").click()
        page.get_by_label("Parts to read in detail").fill("3")
        page.get_by_label("At most").fill("2")
        page.get_by_text("Settings").click()
        ask(page)
        page.locator(".spans button").nth(1).click()
        expect(page.locator("figure.chosen img")).to_be_visible()
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(21, 24, 28)"
        assert dark == (scheme == "dark")
        if pictures:
            page.screenshot(path=pictures / f"page-{scheme}.png")
        page.set_viewport_size(PHONE)
        assert no_sideways_scroll(page)
        if pictures:
            page.evaluate("window.scrollTo(0, 0)")
            page.screenshot(path=pictures / f"phone-{scheme}.png")
        page.get_by_role("button", name="All videos").click()
        expect(page.get_by_role("button", name="shapes.mp4")).to_be_visible()
        assert no_sideways_scroll(page)


def test_a_key_is_asked_for(browser: Browser, service: str, key: str) -> None:
    for page in opened(browser, service):
        dialog = page.get_by_role("dialog", name="This service needs a key")
        expect(dialog).to_be_visible()
        page.get_by_label("API key").fill("videox2l-wrong")
        page.keyboard.press("Enter")
        expect(dialog.get_by_role("alert")).to_have_text("The service does not know this key.")
        page.get_by_label("API key").fill(key)
        page.keyboard.press("Enter")
        choose(page)
        expect(page.locator("#videos img").first).to_be_visible()  # which also needs the key
        page.reload()
        expect(page.locator("#videos button").first).to_be_visible()
        assert page.evaluate("localStorage.length") == 0


def test_nothing_from_elsewhere(service: str) -> None:
    with urlopen(service) as reply:
        policy = reply.headers["Content-Security-Policy"]
        text = reply.read().decode()
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert "http" not in text
    assert "<style" not in text
