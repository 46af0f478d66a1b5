"""Markdown that is still being written, completed so that it looks like what it becomes.

Only the last block can be unfinished, and only its end: the rest is left as it is, so that a preview costs little.
"""

import re

_FENCE = re.compile(r"^(?: {0,3}(?:>[ ]?|[-*+][ ]+|\d{1,9}[.)][ ]+)*[ ]*)(`{3,}|~{3,})([^\n]*)$", re.MULTILINE)
_BARE_MARK = re.compile(r"(?:^|\n)[ \t>]*(?:[-*+=_~`#|]{1,3}|\d{1,9}[.)]|[-*+] \[[ xX]?\]?)[ \t]*\Z")
_BARE_NUMBER = re.compile(r"(?:^|\n)[ \t>]*\d{1,3}\Z")
_HALF_LINK = re.compile(r"(!?)\[([^\[\]\n]*)(?:\](?:\([^()\n]*)?)?\Z")
_TABLE_HEAD = re.compile(r"(?:^|\n)([ \t]*\|[^\n]*)(?:\n[ \t]*\|?[ \t:|-]*)?\Z")
_TOKEN = re.compile(r"\\.|(`+)|(\*{1,3}|_{1,3}|~~|\|\|)", re.DOTALL)
_NEVER_IN_WORDS = {"*", "_", "__", "___"}
_HALF_END = re.compile(r"(?:[*_~|`\\!]+|<[a-zA-Z/][^<>\n]{0,20}|&#?\w{0,8})\Z")


def completed(markdown: str) -> str:
    """The text with what is open at its end closed, and without marks of which nothing is to be seen yet."""
    fence, code_end = fences(markdown)
    if fence is not None:
        # A fence that is about to be closed.
        return re.sub(r"\n[ \t]*[`~]{1,2}\Z", "", markdown)
    start = max(markdown.rfind("\n\n") + 2, code_end) if "\n\n" in markdown else code_end
    head, block = markdown[:start], markdown[start:]
    # Two bars begin a spoiler.
    if block.lstrip().startswith("|") and not block.lstrip().startswith("||"):
        return head + _completed_table(block.strip("\n"))
    block = _BARE_MARK.sub("", block.rstrip())
    if head or "\n" in block:
        block = _BARE_NUMBER.sub("", block)
    return head + _closed(block)


def fences(markdown: str) -> tuple[str | None, int]:
    """The line that began the block of code in which the text ends, None outside of code; and where the last fence ends."""
    opened: re.Match[str] | None = None
    end = 0
    for match in _FENCE.finditer(markdown):
        mark, info = match[1], match[2]
        if opened is None:
            if mark[0] == "~" or "`" not in info:
                opened, end = match, match.end()
        elif mark[0] == opened[1][0] and len(mark) >= len(opened[1]) and not info.strip():
            opened, end = None, match.end()
    return opened[0] if opened else None, end


def _completed_table(block: str) -> str:
    """The first line of a table is one before the line below it has come."""
    head = _TABLE_HEAD.fullmatch(block.rstrip("\n"))
    if not head:
        before, line, last = block.rpartition("\n")
        before, bar, cell = (before + line + last).rpartition("|")
        return before.rstrip("\n") if not cell.strip() and not last.strip(" |") else before + bar + _closed(cell)
    row = head[1].rstrip().rstrip("|")
    if not row.strip(" |"):
        return ""
    return f"{row}|\n" + "|-" * max(row.replace("\\|", "").count("|"), 1) + "|"


def _closed(block: str) -> str:
    """The block with its last code, emphasis, spoiler and link closed."""
    stack: list[str] = []
    position = closed = 0
    while match := _TOKEN.search(block, position):
        position = match.end()
        if ticks := match[1]:
            end = re.compile(rf"(?<!`){ticks}(?!`)").search(block, position)
            if end is None:
                inner = block[position:].rstrip("` \n")
                return (block[:position] + inner + ticks if inner else block[: match.start()].rstrip()) + "".join(reversed(stack))
            position = closed = end.end()
        elif mark := match[2]:
            before, after = block[match.start() - 1 : match.start()], block[position : position + 1]
            if mark in stack and not (before.isspace() or not before):
                del stack[stack.index(mark) :]
                closed = position
            elif after and not after.isspace() and not (mark in _NEVER_IN_WORDS and before.isalnum()):
                stack.append(mark)
    # What closed something stays.
    block = block[:closed] + _HALF_END.sub("", block[closed:])
    block = _without_half_link(block.rstrip())
    for mark in reversed(stack):
        # Nothing between the marks yet.
        block = block[: -len(mark)].rstrip() if block.endswith(mark) else block + mark
    return block


def _without_half_link(block: str) -> str:
    """Of a link whose address is not there yet only the text; of a picture nothing."""
    match = _HALF_LINK.search(block, max(len(block) - 2000, 0))
    if match is None:
        return block
    text = "" if match[1] else match[2]
    return (block[: match.start()] + text).rstrip()
