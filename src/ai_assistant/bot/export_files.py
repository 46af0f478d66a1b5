"""An export as files that Telegram takes: 50 MB each. What is larger is zipped, and cut if that is not enough."""

import zipfile
from pathlib import Path

MAX_BYTES = 50_000_000 - 100_000
"""Of one file; the rest of the request needs room too."""
NAME = "ai-assistant-export.json"
BLOCK = 1 << 20


def prepared(file: Path, limit: int = MAX_BYTES) -> list[Path]:
    """The files to send, in the same folder: the export itself, a zip, or the parts of a zip (put them together by `cat`)."""
    if file.stat().st_size <= limit:
        return [file]
    packed = file.with_suffix(".zip")
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(file, file.name)
    if packed.stat().st_size <= limit:
        return [packed]
    parts: list[Path] = []
    with packed.open("rb") as source:
        while source.peek(1):
            part = packed.with_name(f"{packed.name}.{len(parts) + 1:03}")
            with part.open("wb") as target:
                left = limit
                while left and (block := source.read(min(BLOCK, left))):
                    target.write(block)
                    left -= len(block)
            parts.append(part)
    packed.unlink()
    return parts
