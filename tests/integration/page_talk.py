"""Talking to the chat page in tests."""

from collections.abc import Callable

from playwright.sync_api import Locator, Page, expect

from unit.gateway.page_double import PageDouble

OpenPage = Callable[..., Page]


def say(page: Page, text: str) -> None:
    page.locator("#input").fill(text)
    page.locator("#input").press("Enter")


def answers(page: Page) -> Locator:
    return page.locator("article:not(.mine) .markdown")


def idle(page: Page) -> None:
    expect(page.locator("#send.stop")).to_have_count(0)


def text_of(double: PageDouble) -> str:
    return "".join(double.reply).strip()
