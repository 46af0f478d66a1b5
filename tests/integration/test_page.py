"""The chat page in a real browser: messages, answers that stream, and every way a connection can break."""

import re

import pytest
from playwright.sync_api import expect

from integration.page_talk import OpenPage, answers, idle, say, text_of
from unit.gateway.page_double import PageDouble
from unit.gateway.page_server import Server

pytestmark = pytest.mark.browser
pytest_plugins = ["integration.page_fixtures"]

LONG = [f"слово{number} " for number in range(120)]


@pytest.mark.parametrize(
    ("locale", "placeholder", "stop"), [("en-US", "Write a message…", "Stop"), ("ru-RU", "Напишите сообщение…", "Остановить")]
)
def test_a_message_is_sent_and_its_answer_streams(
    open_page: OpenPage, double: PageDouble, locale: str, placeholder: str, stop: str
) -> None:
    double.reply = LONG
    page = open_page(locale=locale)
    expect(page.locator("html")).to_have_attribute("lang", locale[:2])
    expect(page.locator("#input")).to_have_attribute("placeholder", placeholder)
    expect(page.locator("#examples button")).to_have_count(3)
    say(page, "Привет")
    expect(page.locator(".bubble")).to_have_text("Привет")
    expect(page.get_by_role("button", name=stop, exact=True)).to_be_visible()
    expect(answers(page)).to_contain_text("слово5 ")
    expect(page.locator("#title")).to_have_text("Привет")
    assert "слово119" not in answers(page).inner_text()
    idle(page)
    expect(answers(page)).to_have_text(text_of(double))
    expect(page.locator("#conversations a")).to_have_text(["Привет"])
    assert re.search(r"#[0-9a-f-]{36}$", page.url)


def test_lines_keys_and_composition(open_page: OpenPage, double: PageDouble) -> None:
    page = open_page()
    field = page.locator("#input")
    field.fill("one")
    field.press("Shift+Enter")
    field.type("two")
    field.dispatch_event("keydown", {"key": "Enter", "isComposing": True, "bubbles": True, "cancelable": True})
    field.dispatch_event("keydown", {"key": "Enter", "keyCode": 229, "bubbles": True, "cancelable": True})
    assert field.input_value() == "one\ntwo"
    assert double.sent == []
    field.press("Control+Enter")
    expect(page.locator(".bubble")).to_have_text("one\ntwo")
    field.fill("   ")
    field.press("Enter")
    idle(page)
    assert double.sent == ["one\ntwo"]


def test_stop_keeps_the_partial_text(open_page: OpenPage, double: PageDouble) -> None:
    double.reply = LONG
    page = open_page()
    say(page, "go")
    expect(answers(page)).to_contain_text("слово5 ")
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_text("Stopped.")).to_be_visible()
    idle(page)
    text = answers(page).inner_text()
    assert text.startswith("слово0 слово1")
    assert "слово119" not in text
    page.reload()
    expect(page.get_by_text("Stopped.")).to_be_visible()


def test_answer_again_and_edit_keep_every_version(open_page: OpenPage, double: PageDouble) -> None:
    page = open_page()
    for reply in ("first", "second", "third"):
        double.reply = [reply]
        if reply == "first":
            say(page, "question")
        else:
            page.get_by_role("button", name="Answer again").click()
        expect(answers(page)).to_have_text(reply)
        idle(page)
    versions = page.locator("article:not(.mine) .versions")
    expect(versions).to_contain_text("3/3")
    versions.get_by_role("button", name="Previous version").click()
    expect(answers(page)).to_have_text("second")
    expect(page.get_by_text("This is an earlier version.")).to_be_visible()
    page.locator("#input").fill("x")
    expect(page.locator("#send")).to_be_disabled()
    page.get_by_role("button", name="Show the newest").click()
    expect(answers(page)).to_have_text("third")
    page.locator("#input").fill("")

    double.reply = ["fourth"]
    page.locator(".mine").hover()
    page.get_by_role("button", name="Edit the message").click()
    page.get_by_label("New text of the message").fill("another question")
    page.get_by_label("New text of the message").press("Enter")
    expect(answers(page)).to_have_text("fourth")
    expect(page.locator(".bubble")).to_have_text("another question")
    page.locator(".mine .versions").get_by_role("button", name="Previous version").click()
    expect(answers(page)).to_have_text("third")
    page.reload()
    expect(page.locator(".bubble")).to_have_text("another question")


def test_a_reload_in_mid_answer_goes_on_without_loss(open_page: OpenPage, double: PageDouble) -> None:
    double.reply = LONG
    page = open_page()
    say(page, "go")
    expect(answers(page)).to_contain_text("слово9 ")
    page.locator("#input").fill("a draft")
    page.reload()
    expect(page.locator("#input")).to_have_value("a draft")
    expect(page.locator(".bubble")).to_have_text("go")
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_visible()
    idle(page)
    expect(answers(page)).to_have_text(text_of(double))
    resumed = [last for _, path, last in double.requests if path.endswith("/stream")][-1]
    assert int(resumed or 0) >= len("".join(LONG[:10]))


def test_a_cut_connection_resumes_where_it_broke(open_page: OpenPage, double: PageDouble) -> None:
    double.reply, double.cut_after = LONG, 20
    page = open_page()
    say(page, "go")
    expect(page.get_by_text("The connection was lost; reconnecting…")).to_be_visible()
    idle(page)
    expect(page.locator("#connection")).to_be_hidden()
    expect(answers(page)).to_have_text(text_of(double))
    offsets = [last for _, path, last in double.requests if path.endswith("/stream")]
    assert len(offsets) == 2
    assert offsets[0] is None
    assert int(offsets[1] or 0) > 0


def test_a_gateway_restart_is_survived(open_page: OpenPage, double: PageDouble, server: Server) -> None:
    double.reply = ["before "]
    page = open_page()
    say(page, "one")
    expect(answers(page)).to_have_text("before")
    idle(page)
    server.stop()
    try:
        double.reply = ["after"]
        say(page, "two")
        expect(page.get_by_text("reconnecting…")).to_be_visible()
    finally:
        server.start()
    expect(answers(page)).to_have_text(["before", "after"])
    expect(page.locator("#connection")).to_be_hidden()
    assert double.sent == ["one", "two"]


def test_a_lost_reply_never_doubles_a_message(open_page: OpenPage, double: PageDouble) -> None:
    double.lose_replies = 1
    page = open_page()
    say(page, "only once")
    expect(answers(page)).to_have_text(text_of(double))
    idle(page)
    page.reload()
    expect(page.locator(".bubble")).to_have_text(["only once"])
    posts = [path for method, path, _ in double.requests if (method, path) == ("POST", "/api/chat")]
    assert len(posts) == 2
    assert double.sent == ["only once"]


def test_a_reload_repeats_what_was_never_confirmed(open_page: OpenPage, double: PageDouble) -> None:
    double.lose_replies = 2
    page = open_page()
    say(page, "only once")
    expect(page.get_by_text("reconnecting…")).to_be_visible()
    page.reload()
    expect(answers(page)).to_have_text(text_of(double))
    expect(page.locator(".bubble")).to_have_text(["only once"])
    assert double.sent == ["only once"]


def test_characters_beyond_the_first_plane_count_once(open_page: OpenPage, double: PageDouble) -> None:
    double.reply, double.cut_after = ["😀", "👩‍👩‍👧", " 𝒳", "é", "🇷🇺 "] * 12, 12
    page = open_page()
    say(page, "go")
    idle(page)
    expect(answers(page)).to_have_text(text_of(double))
    resumed = [last for _, path, last in double.requests if path.endswith("/stream")][-1]
    whole = "".join(double.reply)
    assert int(resumed or 0) in {len("".join(double.reply[:count])) for count in range(61)}
    assert int(resumed or 0) < len(whole)


def test_a_reset_begins_the_text_again(open_page: OpenPage, double: PageDouble) -> None:
    double.reply, double.reset_at = LONG, 100
    page = open_page()
    say(page, "go")
    idle(page)
    expect(answers(page)).to_have_text(text_of(double))
