"""The chat page in a real browser: what it tells, signing in, Markdown, the list of conversations, how it looks."""

import re
import time

import pytest
from playwright.sync_api import expect

from ai_assistant.errors import OverloadedError, PromptTooLongError
from ai_assistant.gateway.schemas import ErrorBody
from integration.page_talk import OpenPage, answers, idle, say, text_of
from unit.gateway.page_double import PageDouble

pytestmark = pytest.mark.browser
pytest_plugins = ["integration.page_fixtures"]


def test_the_place_in_the_queue_is_told(open_page: OpenPage, double: PageDouble) -> None:
    double.queue = [{"position": 3, "eta_seconds": 20}, {"position": 1, "eta_seconds": None}]
    double.queue_pause = 0.8
    page = open_page(locale="ru-RU")
    say(page, "go")
    expect(page.get_by_text("Вы 3-й в очереди, примерно 20 с")).to_be_visible()
    expect(page.get_by_text(re.compile("^Вы 1-й в очереди$"))).to_be_visible()
    expect(answers(page)).to_have_text(text_of(double))


def test_a_model_in_preparation_is_told(open_page: OpenPage, double: PageDouble) -> None:
    double.assistants = [{"name": "assistant", "state": "provisioning", "details": {"progress": 43}}]
    page = open_page()
    expect(page.locator("#readiness")).to_contain_text("The model is being prepared, 43 %.")
    double.assistants[0] |= {"state": "ready", "details": {}}
    expect(page.locator("#readiness")).to_be_hidden()


def test_one_of_several_assistants_can_be_chosen(open_page: OpenPage, double: PageDouble) -> None:
    double.assistants = [{"name": name, "state": "ready", "details": {}} for name in ("assistant", "lawyer")]
    page = open_page()
    page.get_by_label("Assistant", exact=True).select_option("lawyer")
    say(page, "go")
    expect(answers(page)).to_have_text(text_of(double))
    expect(page.get_by_label("Assistant", exact=True)).to_be_hidden()
    assert [item["assistant"] for item in double.conversations.values()] == ["lawyer"]


def test_a_key_is_asked_for_and_nothing_stays_after_signing_out(open_page: OpenPage, double: PageDouble) -> None:
    double.protected = True
    page = open_page()
    dialog = page.get_by_role("dialog", name="Sign in")
    page.get_by_label("Key").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("This key is not valid.")).to_be_visible()
    page.get_by_label("Key").fill("open-sesame")
    page.get_by_label("Key").press("Enter")
    expect(dialog).to_be_hidden()
    expect(page.locator("#user")).to_have_text("alice")
    say(page, "secret of alice")
    expect(answers(page)).to_have_text(text_of(double))
    idle(page)
    page.locator("#input").fill("draft of alice")
    [cookie] = page.context.cookies()
    assert cookie.get("httpOnly")
    assert cookie.get("sameSite") == "Strict"
    page.get_by_role("button", name="Sign out").click()
    expect(dialog).to_be_visible()
    assert "alice" not in page.content()
    assert page.evaluate("sessionStorage.length + localStorage.length") == 0
    assert "#" not in page.url
    assert not double.sessions


def test_a_session_that_ends_is_renewed_in_place(open_page: OpenPage, double: PageDouble) -> None:
    double.protected = True
    page = open_page()
    page.get_by_label("Key").fill("open-sesame")
    page.get_by_label("Key").press("Enter")
    expect(page.locator("#user")).to_have_text("alice")
    double.sessions.clear()
    say(page, "still here")
    expect(page.get_by_role("dialog", name="Sign in")).to_be_visible()
    page.get_by_label("Key").fill("open-sesame")
    page.get_by_label("Key").press("Enter")
    expect(page.locator(".bubble")).to_have_text(["still here"])
    expect(answers(page)).to_have_text(text_of(double))
    assert double.sent == ["still here"]


def test_another_user_in_the_same_tab_sees_nothing_old(open_page: OpenPage, double: PageDouble) -> None:
    double.protected = True
    page = open_page()
    page.get_by_label("Key").fill("open-sesame")
    page.get_by_label("Key").press("Enter")
    page.locator("#input").fill("draft of alice")
    double.sessions.clear()
    page.reload()
    page.get_by_label("Key").fill("other-key")
    page.get_by_label("Key").press("Enter")
    expect(page.locator("#user")).to_have_text("bob")
    expect(page.locator("#input")).to_have_value("")


CODE_ANSWER = ["Use **this**:\n\n", "```python\n", "print(", "'<b>hi</b>')\n", "```\n\n", "| a | b |\n|---|--:|\n| 1 | 2 |\n"]


def test_markdown_is_shown_and_copied(open_page: OpenPage, double: PageDouble) -> None:
    double.reply = CODE_ANSWER
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    say(page, "go")
    idle(page)
    expect(page.locator(".markdown strong")).to_have_text("this")
    expect(page.locator(".markdown td")).to_have_text(["1", "2"])
    expect(page.locator(".markdown td").nth(1)).to_have_css("text-align", "right")
    expect(page.locator(".code-head span")).to_have_text("python")
    page.get_by_role("button", name="Copy", exact=True).click()
    expect(page.locator(".code-head").get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "print('<b>hi</b>')\n"
    page.get_by_role("button", name="Copy the answer").click()
    expect(page.locator(".bar").get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "".join(CODE_ANSWER)


def test_a_hostile_answer_does_nothing(open_page: OpenPage, double: PageDouble) -> None:
    double.reply = [
        "<script>document.title='pwned'</script>\n\n<img src=x onerror=\"document.title='pwned'\">\n\n",
        "[click](javascript:document.title='pwned') ![p](http://127.0.0.1:9/pixel.png)\n\n",
        "<svg onload=\"document.title='pwned'\">\n\n",
        '```"><img src=x onerror="document.title=\'pwned\'">\nx\n```\n',
    ]
    page = open_page()
    foreign: list[str] = []
    page.on("request", lambda request: foreign.append(request.url) if request.url.endswith((":9/pixel.png", "/x")) else None)
    say(page, "<img src=x onerror=\"document.title='pwned'\">")
    idle(page)
    expect(page.locator(".code")).to_be_visible()
    expect(page.locator("#conversations li")).to_have_count(1)
    for reloaded in (False, True):
        if reloaded:
            page.reload()
            expect(page.locator(".code")).to_be_visible()
        assert page.locator("main img, main script, main .markdown svg:not(.copy svg), main iframe").count() == 0
        assert page.locator("a[href^='javascript' i]").count() == 0
        assert not page.title().startswith("pwned")
    assert foreign == []


def test_failures_are_sentences_with_a_way_out(open_page: OpenPage, double: PageDouble) -> None:
    page = open_page()
    double.refuse = OverloadedError()
    say(page, "question")
    expect(page.get_by_text("Too many questions are waiting right now.")).to_be_visible()
    page.get_by_role("button", name="Try again").click()
    expect(answers(page)).to_have_text(text_of(double))
    expect(page.locator(".bubble")).to_have_text(["question"])
    idle(page)

    double.refuse = PromptTooLongError()
    say(page, "much too long")
    expect(page.get_by_role("alert")).to_contain_text("Shorten it and send it again.")
    expect(page.locator("#input")).to_have_value("much too long")
    expect(page.locator(".bubble")).to_have_text(["question"])

    double.fail_with, double.reply = ErrorBody(code="model_error", message="The model stumbled."), ["half "]
    say(page, "again")
    expect(page.get_by_text("The model stumbled.")).to_be_visible()
    double.fail_with, double.reply = None, ["whole"]
    page.get_by_role("button", name="Try again").click()
    expect(answers(page).last).to_have_text("whole")
    expect(page.locator(".versions")).to_contain_text("2/2")


def test_conversations_are_listed_opened_renamed_and_deleted(open_page: OpenPage, double: PageDouble) -> None:
    page = open_page()
    for text in ("first", "second"):
        double.reply = [f"answer to {text}"]
        page.get_by_role("button", name="New chat").click()
        say(page, text)
        expect(answers(page)).to_have_text(f"answer to {text}")
        idle(page)
    links = page.locator("#conversations a")
    expect(links).to_have_text(["second", "first"])
    links.nth(1).click()
    expect(answers(page)).to_have_text("answer to first")
    expect(links.nth(1)).to_have_attribute("aria-current", "page")
    page.go_back()
    expect(answers(page)).to_have_text("answer to second")

    page.locator("#conversations li").nth(1).hover()
    page.get_by_role("button", name="Rename “first”").click()
    page.get_by_label("Name of the conversation").fill("<i>Новое</i> имя")
    page.get_by_label("Name of the conversation").press("Enter")
    expect(links).to_have_text(["second", "<i>Новое</i> имя"])
    page.locator("#conversations li").first.hover()
    page.get_by_role("button", name="Delete “second”").click()
    page.get_by_role("button", name="Cancel").click()
    expect(links).to_have_count(2)
    page.locator("#conversations li").first.hover()
    page.get_by_role("button", name="Delete “second”").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(links).to_have_text(["<i>Новое</i> имя"])
    expect(page.locator("#empty")).to_be_visible()
    page.reload()
    expect(links).to_have_text(["<i>Новое</i> имя"])
    assert len(double.conversations) == 1


def test_many_conversations_come_in_pages(open_page: OpenPage, double: PageDouble) -> None:
    page = open_page()
    double.reply = ["ok"]
    say(page, "go")
    idle(page)
    [only] = double.conversations.values()
    for number in range(40):
        identifier = f"00000000-0000-0000-0000-{number:012}"
        double.conversations[identifier] = only | {"id": identifier, "title": f"old {number}"}  # type: ignore[index]
    page.reload()
    expect(page.locator("#conversations a")).to_have_count(30)
    page.get_by_role("button", name="Show more").click()
    expect(page.locator("#conversations a")).to_have_count(41)
    expect(page.get_by_role("button", name="Show more")).to_be_hidden()


def test_a_conversation_that_is_gone_is_told(open_page: OpenPage, double: PageDouble) -> None:
    page = open_page("#00000000-0000-4000-8000-000000000000")
    expect(page.get_by_role("alert")).to_contain_text("This conversation does not exist any more.")
    expect(page.locator("#empty")).to_be_visible()


def test_a_phone_needs_no_sideways_scrolling(open_page: OpenPage, double: PageDouble) -> None:
    double.reply = [
        "x" * 300,
        "\n\n",
        *CODE_ANSWER,
        "```\n",
        "y" * 200,
        "\n```\n\n|" + "a long cell|" * 12,
        "\n|" + "-|" * 12,
        "\n",
    ]
    page = open_page(viewport={"width": 375, "height": 700}, has_touch=True, is_mobile=True)
    say(page, "z" * 200)
    idle(page)
    expect(page.locator(".code")).to_have_count(2)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    assert page.evaluate("document.getElementById('scroller').scrollWidth <= document.getElementById('scroller').clientWidth")
    page.get_by_role("button", name="Show conversations").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    expect(page.locator("#conversations a")).to_be_in_viewport()
    page.locator("#conversations a").press("Escape")
    expect(page.locator("#conversations a")).not_to_be_in_viewport()
    expect(page.get_by_role("button", name="Show conversations")).to_be_focused()


def test_dark_and_light_follow_the_system(open_page: OpenPage, double: PageDouble) -> None:
    grounds = []
    for scheme in ("light", "dark"):
        page = open_page(color_scheme=scheme)
        expect(page.locator("#composer")).to_be_visible()
        script = "getComputedStyle(document.body)"
        grounds.append((page.evaluate(f"{script}.backgroundColor"), page.evaluate(f"{script}.color")))
    assert grounds[0] == ("rgb(255, 255, 255)", "rgb(32, 36, 42)")
    assert grounds[1] == ("rgb(26, 27, 29)", "rgb(230, 230, 227)")


def test_scrolling_up_is_respected(open_page: OpenPage, double: PageDouble) -> None:
    double.reply = [f"line {number}\n\n" for number in range(150)]
    page = open_page(viewport={"width": 900, "height": 400})
    say(page, "go")
    expect(answers(page)).to_contain_text("line 40")
    below = "(() => { const s = document.getElementById('scroller'); return s.scrollHeight - s.clientHeight - s.scrollTop; })()"
    assert page.evaluate(below) < 60
    page.locator("#scroller").hover()
    page.mouse.wheel(0, -400)
    expect(page.get_by_role("button", name="To the newest message")).to_be_visible()
    time.sleep(0.3)
    top = page.evaluate("document.getElementById('scroller').scrollTop")
    idle(page)
    assert page.evaluate("document.getElementById('scroller').scrollTop") == top
    page.get_by_role("button", name="To the newest message").click()
    assert page.evaluate(below) < 60
