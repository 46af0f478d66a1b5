"""What a model writes must read well and do nothing."""

import re
import time
from html.parser import HTMLParser

import pytest

from ai_assistant.gateway.markdown import MAX_CHARACTERS, render

ALLOWED_TAGS = {"a", "blockquote", "br", "code", "del", "em", "h1", "hr", "li", "ol", "p", "pre", "s", "strong"}
ALLOWED_TAGS |= {"table", "tbody", "td", "th", "thead", "tr", "ul"}
ALLOWED_ATTRIBUTES = {
    "a": {"href", "title", "target", "rel"},
    "code": {"class"},
    "td": {"class"},
    "th": {"class"},
    "ol": {"start"},
}


class Seen(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.mark.parametrize(
    "attack",
    [
        "<script>alert(1)</script>",
        "<SCRIPT SRC=http://evil.example/x.js></SCRIPT>",
        "<scr<script>ipt>alert(1)</scr</script>ipt>",
        "<img src=x onerror=alert(1)>",
        "<svg onload=alert(1)><circle/></svg>",
        "<svg><script>alert(1)</script></svg>",
        "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
        "<iframe src='javascript:alert(1)'></iframe>",
        "<a href='javascript:alert(1)'>x</a>",
        "<details open ontoggle=alert(1)>",
        "<style>@import 'http://evil.example'</style>",
        "<base href='http://evil.example/'>",
        "<form action='http://evil.example'><input name=x></form>",
        "<meta http-equiv=refresh content='0;url=http://evil.example'>",
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](java&#115;cript:alert(1))",
        "[x](&#x6A;avascript:alert(1))",
        "[x](javascript&colon;alert(1))",
        "[x](<java\tscript:alert(1)>)",
        "[x](vbscript:msgbox(1))",
        "[x](data:text/html;base64,PHNjcmlwdD4=)",
        "[x](file:///etc/passwd)",
        "[x](/api/session)",
        "[x](//evil.example/x)",
        "[x](?a=b)",
        "<javascript:alert(1)>",
        "<data:text/html,x>",
        "[x]: javascript:alert(1)\n\n[x]",
        '[x](http://a.example "\\" onmouseover=alert(1) \\"")',
        'http://a.example/"onmouseover="alert(1)',
        "http://a.example/<script>alert(1)</script>",
        "![x](http://evil.example/pixel.png)",
        "![x](javascript:alert(1))",
        "![x](data:image/svg+xml;base64,PHN2Zz4=)",
        '![" onerror="alert(1)](http://evil.example/pixel.png)',
        "[![x](http://evil.example/pixel.png)](javascript:alert(1))",
        "![![x](http://evil.example/a)](http://evil.example/b)",
        '```"><img src=x onerror=alert(1)>\ncode\n```',
        "```js onclick=alert(1)\ncode\n```",
        "`<img src=x onerror=alert(1)>`",
        "| <img src=x onerror=alert(1)> |\n|:-:|\n| <script>alert(1)</script> |",
        "<!--><img src=x onerror=alert(1)>-->",
        "<![CDATA[<script>alert(1)</script>]]>",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "\u0000<script>alert(1)</script>",
        "<x:script xmlns:x='http://www.w3.org/1999/xhtml'>alert(1)</x:script>",
    ],
)
def test_nothing_dangerous_passes(attack: str) -> None:
    for text in (attack, f"> {attack}", f"- {attack}", f"**{attack}**", f"# {attack}"):
        for tag, attributes in Seen(render(text)).tags:
            assert tag in ALLOWED_TAGS, text
            assert set(attributes) <= ALLOWED_ATTRIBUTES.get(tag, set()), text
            if href := attributes.get("href"):
                assert re.match(r"(https?|mailto|tel):", href), text
            if name := attributes.get("class"):
                assert re.fullmatch(r"language-[\w+#.-]+|align-(left|center|right)", name), text


def test_russian_text_with_everything() -> None:
    html = render("## Итог\n\nЭто **важно**, это ~~нет~~, а `код` — вот:\n\n- раз\n- два\n\n1. первый\n")
    assert "<h2>Итог</h2>" in html
    assert "<strong>важно</strong>, это <s>нет</s>, а <code>код</code> — вот:" in html
    assert html.count("<li>") == 3


def test_single_line_breaks_stay() -> None:
    assert render("Мороз и солнце;\nдень чудесный!") == "<p>Мороз и солнце;<br>\nдень чудесный!</p>\n"


def test_tables_align_by_class_because_the_policy_forbids_styles() -> None:
    html = render("| a | b |\n|---|--:|\n| 1 | 2 |")
    assert '<th class="align-right">b</th>' in html
    assert "style" not in html


@pytest.mark.parametrize("language", ["python", "c++", "c#", "objective-c", "F90"])
def test_code_keeps_its_language_and_its_text(language: str) -> None:
    html = render(f"```{language}\nif a < b && c:\n```")
    assert html == f'<pre><code class="language-{language}">if a &lt; b &amp;&amp; c:\n</code></pre>\n'


def test_links_open_apart_and_tell_nobody_where_from() -> None:
    expected = '<p><a href="https://a.example/" target="_blank" rel="noopener noreferrer nofollow">x</a></p>\n'
    assert render("[x](https://a.example/)") == expected


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("см. https://ru.wikipedia.org/wiki/Кот.", "https://ru.wikipedia.org/wiki/%D0%9A%D0%BE%D1%82"),
        ("(http://a.example/b)", "http://a.example/b"),
        ("http://a.example/b_(c), d", "http://a.example/b_(c)"),
        ("**https://a.example**", "https://a.example"),
        ("https://a.example/?x=1&y=2!", "https://a.example/?x=1&y=2"),
    ],
)
def test_bare_addresses_become_links(text: str, url: str) -> None:
    assert [attributes["href"] for tag, attributes in Seen(render(text)).tags if tag == "a"] == [url]


def test_addresses_in_code_stay_text() -> None:
    assert "<a" not in render("`https://a.example` and\n\n```\nhttps://a.example\n```")


def test_an_image_is_a_link_and_loads_nothing() -> None:
    html = render("![кот](https://a.example/cat.png)")
    assert "<img" not in html
    assert ">кот</a>" in html


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Code:\n\n```python\nprint(1", '<pre><code class="language-python">print(1</code></pre>'),
        ("```", "<pre><code></code></pre>"),
        ("- one\n- tw", "<li>tw</li>"),
        ("some **bold", "<p>some **bold</p>"),
        ("[text](https://exam", "<p>[text]("),
        ("| a | b |\n|---|---|\n| 1", "<td>1</td>"),
        ("A line\n---", "<p>A line</p>\n<hr>"),
        ("", ""),
    ],
)
def test_an_unfinished_answer_renders_as_far_as_it_goes(text: str, expected: str) -> None:
    assert expected in render(text)


def test_a_huge_text_is_plain() -> None:
    html = render("<b>" + "*" * MAX_CHARACTERS)
    assert html.startswith("<pre>&lt;b&gt;***")


@pytest.mark.parametrize(
    "piece", ["[", "![", "*a ", "**a_", "<", "> ", "&", "[a](", "|1|2|\n", "~~a", "![a](http://b)", "http://a "]
)
def test_hostile_repetition_stays_cheap(piece: str) -> None:
    started = time.process_time()
    render((piece * 25_000)[:25_000])
    assert time.process_time() - started < 2
