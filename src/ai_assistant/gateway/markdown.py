"""Turns what a model wrote into HTML that is safe to show.

A model repeats whatever it was fed, so its text is as untrusted as a stranger's. Two independent gates: the parser never passes
raw HTML through, and the result is cleaned against a list of what is allowed. Nothing in the result loads anything by itself:
images become links, because a picture's address can carry the conversation to a foreign server.
"""

import re
from html import escape

import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

MAX_CHARACTERS = 100_000
"""A longer text is shown as plain text: rendering is repeated while an answer grows, and must stay cheap."""

_SCHEMES = {"http", "https", "mailto", "tel"}
_BARE_URL = re.compile(r"\bhttps?://[^\s<>\"`]+")
_LANGUAGE = re.compile(r"language-[\w+#.-]{1,40}", re.ASCII)
_ALIGNMENTS = {f"text-align:{side}": f"align-{side}" for side in ("left", "center", "right")}
_TAGS = {"a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "s"}
_TAGS |= {"strong", "table", "tbody", "td", "th", "thead", "tr", "ul"}


def render(text: str) -> str:
    """Markdown (CommonMark, tables, strikethrough, bare links) as safe HTML; an unfinished text renders as far as it goes."""
    if len(text) > MAX_CHARACTERS:
        return f"<pre>{escape(text)}</pre>"
    return _CLEANER.clean(_PARSER.render(text))


def _rewrite_links(state: StateCore) -> None:
    """Pictures are named and linked, never loaded; `https://example.org` in running text becomes a link, as people expect."""
    for block in state.tokens:
        children: list[Token] = []
        open_links = 0
        for token in block.children or ():
            if token.type in ("link_open", "link_close"):
                open_links += token.nesting
            if token.type == "image":
                children += _image_as_link(token, inside_link=open_links > 0)
            elif token.type == "text" and not open_links:
                children += _split_urls(state.md, token)
            else:
                children.append(token)
        if block.children:
            block.children = children


def _image_as_link(image: Token, *, inside_link: bool) -> list[Token]:
    source = str(image.attrs.get("src", ""))
    label = image.content or source
    if inside_link or not source.lower().startswith(("http://", "https://")):
        return [_text(label)]
    return _link(source, label)


def _split_urls(parser: MarkdownIt, token: Token) -> list[Token]:
    parts: list[Token] = []
    end = 0
    for match in _BARE_URL.finditer(token.content):
        url = match[0].rstrip(".,;:!?*_'»”…")
        if url.endswith(")") and url.count(")") > url.count("("):
            url = url.rstrip(").,;:!?")
        href = parser.normalizeLink(url)
        if not parser.validateLink(href):
            continue
        parts += [_text(token.content[end : match.start()]), *_link(href, url)]
        end = match.start() + len(url)
    return [*parts, _text(token.content[end:])]


def _link(href: str, label: str) -> list[Token]:
    return [Token("link_open", "a", 1, attrs={"href": href}), _text(label), Token("link_close", "a", -1)]


def _text(content: str) -> Token:
    return Token("text", "", 0, content=content)


def _classes_for_alignment(state: StateCore) -> None:
    """Alignment of table cells as a class: the page's policy forbids style attributes."""
    for token in state.tokens:
        if style := token.attrs.pop("style", None):
            token.attrs["class"] = _ALIGNMENTS.get(str(style), "")


def _allowed_class(tag: str, attribute: str, value: str) -> str | None:
    if attribute != "class":
        return value
    if tag == "code":
        return value if _LANGUAGE.fullmatch(value) else None
    return value if value in _ALIGNMENTS.values() else None


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable(["table", "strikethrough"])
    # Models write `---` right under a paragraph and mean a line, and half-written lists would flash as headings.
    parser.disable("lheading")
    parser.core.ruler.push("links", _rewrite_links)
    parser.core.ruler.push("cell_alignment", _classes_for_alignment)
    return parser


_PARSER = _parser()
_CLEANER = nh3.Cleaner(
    tags=_TAGS,
    clean_content_tags={"script", "style"},
    attributes={"a": {"href", "title"}, "code": {"class"}, "td": {"class"}, "th": {"class"}, "ol": {"start"}},
    attribute_filter=_allowed_class,
    set_tag_attribute_values={"a": {"target": "_blank"}},
    link_rel="noopener noreferrer nofollow",
    url_schemes=_SCHEMES,
    # A relative link would point into this very gateway.
    url_relative="deny",
)
