"""The list of routes for people: made from /openapi.json on this side, without scripts and without anything from elsewhere."""

from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

router = APIRouter(include_in_schema=False)

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<title>{title}</title></head>
<body><h1>{title}</h1>
<p>Send a key as <code>Authorization: Bearer KEY</code> where the gateway has keys. Shapes of requests and answers are in
<a href="openapi.json">openapi.json</a>, which API tools can read.</p>
<table><thead><tr><th>Method</th><th>Address</th><th>Parameters</th><th></th></tr></thead><tbody>
{rows}
</tbody></table></body></html>
"""


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """Every route with its parameters."""
    schema: dict[str, Any] = request.app.openapi()
    rows = [
        row(method, path, operation) for path, operations in schema["paths"].items() for method, operation in operations.items()
    ]
    title = escape(f"{schema['info']['title']} {schema['info']['version']}")
    return HTMLResponse(PAGE.format(title=title, rows="\n".join(rows)), headers=HEADERS)


def row(method: str, path: str, operation: dict[str, Any]) -> str:
    names = [item["name"] for item in operation.get("parameters", [])]
    if body := operation.get("requestBody"):
        schema = next(iter(body["content"].values()))["schema"]
        names.append("body: " + schema.get("$ref", "JSON").rsplit("/", 1)[-1])
    cells = [f"<code>{method.upper()}</code>", f"<code>{escape(path)}</code>", escape(", ".join(names))]
    cells.append(escape(operation.get("description", operation.get("summary", ""))))
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
