"""The page's files: headers, caching, and that nothing in them comes from elsewhere."""

import json
import re
from pathlib import Path

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from httpx import ASGITransport, AsyncClient

import ai_assistant.gateway
from ai_assistant.errors import AssistantError
from ai_assistant.gateway.routes import page

FOLDER = Path(ai_assistant.gateway.__file__).parent / "page"
SCRIPTS = sorted(FOLDER.glob("*.js"))


@pytest.fixture
def client() -> AsyncClient:
    app = FastAPI()
    app.include_router(page.router)

    @app.exception_handler(AssistantError)
    def explain(request: Request, error: AssistantError) -> JSONResponse:
        return JSONResponse({"error": {"code": error.code, "message": error.message}}, error.status)

    return AsyncClient(transport=ASGITransport(app), base_url="http://localhost")


async def test_the_page_forbids_everything_foreign(client: AsyncClient) -> None:
    response = await client.get("/")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.split(" ", 1) for part in response.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert "unsafe" not in response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "same-origin"


async def test_every_file_the_page_names_is_served_and_kept_forever(client: AsyncClient) -> None:
    html = (await client.get("/")).text
    assert "{digest}" not in html
    addresses = set(re.findall(r'(?:src|href)="(static/[^"]+)"', html))
    assert {address.rsplit("/", 1)[1] for address in addresses} == {file.name for file in FOLDER.iterdir()} - {"index.html"}
    for address in addresses:
        response = await client.get(f"/{address}")
        assert response.status_code == 200
        assert "immutable" in response.headers["cache-control"]
        assert response.headers["x-content-type-options"] == "nosniff"


async def test_a_newer_page_is_always_noticed(client: AsyncClient) -> None:
    first = await client.get("/")
    assert first.headers["cache-control"] == "no-cache"
    assert (await client.get("/", headers={"If-None-Match": f'W/"x", {first.headers["etag"]}'})).status_code == 304
    assert (await client.get("/", headers={"If-None-Match": '"older"'})).status_code == 200
    assert (await client.head("/")).status_code == 200


async def test_a_file_of_another_version_is_served_but_not_kept(client: AsyncClient) -> None:
    response = await client.get("/static/0123456789abcdef/app.js")
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("name", ["index.html", "nothing.js", "..%2fmarkdown.py", "%2e%2e/schemas.py", "__init__.py"])
async def test_nothing_else_is_served(client: AsyncClient, name: str) -> None:
    assert (await client.get(f"/static/x/{name}")).status_code == 404


async def test_markdown_is_rendered_and_bounded(client: AsyncClient) -> None:
    response = await client.post("/api/markdown", json={"text": "**да** <b>"})
    assert response.json() == {"html": "<p><strong>да</strong> &lt;b&gt;</p>\n"}
    response = await client.post("/api/markdown", json={"text": "x" * (page.MAX_MARKDOWN_CHARACTERS + 1)})
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "body_too_large"


@pytest.mark.parametrize("file", [*SCRIPTS, FOLDER / "index.html", *FOLDER.glob("*.css")], ids=lambda file: file.name)
def test_sources_are_small_and_load_nothing_from_elsewhere(file: Path) -> None:
    source = file.read_text(encoding="utf-8")
    assert len(source.splitlines()) < 300
    foreign = set(re.findall(r"https?://[^\s\"')]+", source)) - {"http://www.w3.org/2000/svg"}
    assert not foreign
    assert not re.search(r"\son\w+=\"|style=\"|eval\(|new Function|document\.write", source)
    assert source.count("innerHTML") == (1 if file.name == "answer.js" else 0)


def texts() -> dict[str, dict[str, str]]:
    tables: dict[str, dict[str, str]] = {}
    for line in (FOLDER / "texts.js").read_text(encoding="utf-8").splitlines():
        if opened := re.fullmatch(r"  (\w\w): \{", line):
            table = tables[opened[1]] = {}
        elif entry := re.fullmatch(r"    (\w+): (\".*\"),", line):
            assert entry[1] not in table
            table[entry[1]] = json.loads(entry[2])
    return tables


def test_both_languages_say_the_same() -> None:
    tables = texts()
    assert set(tables) == {"en", "ru"}
    assert list(tables["en"]) == list(tables["ru"])
    for key, sentence in tables["en"].items():
        assert sorted(re.findall(r"\{\w+\}", sentence)) == sorted(re.findall(r"\{\w+\}", tables["ru"][key])), key
        assert re.search("[а-яё]", tables["ru"][key]), key
        assert not re.search("[а-яё]", sentence), key


def test_every_text_exists_and_is_used() -> None:
    code = "".join(file.read_text(encoding="utf-8") for file in SCRIPTS)
    html = (FOLDER / "index.html").read_text(encoding="utf-8")
    used = set(re.findall(r'\bt\("(\w+)"', code)) | set(re.findall(r'data-(?:text|label|placeholder)="(\w+)"', html))
    quoted = set(re.findall(r'"(\w+)"', code))
    assert used <= set(texts()["en"])
    assert set(texts()["en"]) <= used | quoted


def test_every_element_the_scripts_ask_for_exists() -> None:
    code = "".join(file.read_text(encoding="utf-8") for file in SCRIPTS)
    html = (FOLDER / "index.html").read_text(encoding="utf-8")
    assert set(re.findall(r'byId\("([\w-]+)"\)', code)) <= set(re.findall(r'id="([\w-]+)"', html))
    icons = set(re.findall(r'(?:icon|iconButton|turn)\("([a-z]+)"', code))
    assert icons <= set(re.findall(r'id="i-([a-z]+)"', html))
