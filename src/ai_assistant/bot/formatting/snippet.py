"""Long code goes as a file: easier to save than to select."""

import re
from dataclasses import dataclass

MAX_UNITS = 3000
"""A longer block of code becomes a document."""

_EXTENSIONS = {
    "bash": "sh", "c#": "cs", "c++": "cpp", "console": "sh", "cs": "cs", "csharp": "cs", "dart": "dart", "diff": "diff",
    "elixir": "ex", "erlang": "erl", "fsharp": "fs", "go": "go", "golang": "go", "graphql": "graphql", "groovy": "groovy",
    "haskell": "hs", "hcl": "tf", "html": "html", "ini": "ini", "java": "java", "javascript": "js", "js": "js", "json": "json",
    "jsonc": "json", "jsx": "jsx", "julia": "jl", "kotlin": "kt", "latex": "tex", "less": "less", "lua": "lua",
    "makefile": "mk", "markdown": "md", "md": "md", "mermaid": "mmd", "nix": "nix", "objective-c": "m", "ocaml": "ml",
    "perl": "pl", "php": "php", "powershell": "ps1", "proto": "proto", "protobuf": "proto", "ps1": "ps1", "py": "py",
    "python": "py", "python3": "py", "r": "r", "rb": "rb", "rs": "rs", "ruby": "rb", "rust": "rs", "scala": "scala",
    "scss": "scss", "sh": "sh", "shell": "sh", "sql": "sql", "svelte": "svelte", "swift": "swift", "tcl": "tcl",
    "terraform": "tf", "tex": "tex", "toml": "toml", "ts": "ts", "tsx": "tsx", "typescript": "ts", "vb": "vb", "vue": "vue",
    "xml": "xml", "yaml": "yaml", "yml": "yml", "zig": "zig", "zsh": "sh", "asm": "asm", "bat": "bat", "c": "c", "clojure": "clj",
    "cmake": "cmake", "cpp": "cpp", "css": "css", "csv": "csv",
}  # fmt: skip
_LANGUAGE = re.compile(r"[A-Za-z0-9][\w+#.-]{0,39}", re.ASCII)
_FILENAME = re.compile(r"(?<![\w.-])[\w-][\w.-]{0,50}\.[A-Za-z][A-Za-z0-9]{0,9}(?![\w.-])", re.ASCII)
_COMMENT = re.compile(r"\s*(?:#|//|--|;|/\*|<!--|%)+!?\s*(?:file(?:name)?:\s*)?(\S{1,120}?)\s*(?:\*/|-->)?\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Snippet:
    """A block of code that leaves the text."""

    filename: str
    code: str
    language: str


def language_of(info: str) -> str:
    """The language that a fence names, in the form that Telegram takes; empty if it names none."""
    found = _LANGUAGE.match(info.strip().removeprefix("{.").split(":")[0])
    return found[0].rstrip(".") if found else ""


def remark_of(info: str, code: str) -> str:
    """What a fence says beside its language, such as the name of a file; all of it where it is rather a sentence."""
    info = info.strip()
    language = language_of(info)
    rest = (info.removeprefix("{.").removeprefix(language) if language else info).strip(" \t{}.:")
    return info if not code.strip() or " " in rest else rest


def snippet(info: str, code: str, taken: set[str]) -> Snippet:
    """A file for the code: named as the fence or a comment in its first line says, else by its language; never twice the same."""
    language = language_of(info)
    name = _named(info, code) or f"code.{_EXTENSIONS.get(language.lower(), 'txt')}"
    stem, _, extension = name.rpartition(".")
    count = 1
    while name in taken:
        count += 1
        name = f"{stem}-{count}.{extension}"
    taken.add(name)
    return Snippet(name, code, language)


def _named(info: str, code: str) -> str:
    words = re.split(r"[\s:=\"'{}]+", info.strip())
    comment = _COMMENT.fullmatch(code.lstrip("\n").split("\n", 1)[0])
    for word in [*words[1:], comment[1] if comment else ""]:
        if _FILENAME.fullmatch(name := word.replace("\\", "/").rpartition("/")[2]):
            return name
    return ""
