"""What the tests of the chat page share: a browser, and a double of the gateway.

To run the tests against another gateway, override `page_url`.
"""

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from integration.page_talk import OpenPage
from unit.gateway.page_double import PageDouble
from unit.gateway.page_server import Server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = os.environ.get("PLAYWRIGHT_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not program:
        pytest.fail("The page is tested in Chromium: run `apt-get install chromium`, or name it in PLAYWRIGHT_CHROMIUM.")
    expect.set_options(timeout=15_000)
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server(PageDouble())
    yield server
    server.stop()


@pytest.fixture
def double(server: Server) -> PageDouble:
    server.double.forget()
    return server.double


@pytest.fixture
def page_url(server: Server) -> str:
    return server.url


@pytest.fixture
def open_page(browser: Browser, page_url: str, double: PageDouble) -> Iterator[OpenPage]:
    """Opens the page in a browser profile of its own; a script error or a breach of the page's policy fails the test."""
    contexts: list[BrowserContext] = []
    faults: list[str] = []

    def opened(address: str = "", **options: Any) -> Page:
        context = browser.new_context(**{"locale": "en-US", "viewport": {"width": 1200, "height": 800}} | options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text) if "Content Security" in message.text else None)
        page.goto(page_url + address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not faults
