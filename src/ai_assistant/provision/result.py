"""What came of a build, as one JSON object in a file: for a program that started it and cannot read its output.

In Kubernetes the file is the container's termination message, of which 4096 bytes are kept. A success is

    {"digest": "...", "path": "/models/...", "precision": "int8", "source": "hf://org/name@COMMIT", "revision": "COMMIT",
     "size": 1048576}

and a failure `{"error": CODE, "message": SENTENCE}` with a code of ai_assistant.errors, `interrupted`, or `internal_error`
for what is a bug of ours. A build that is killed leaves the file empty.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ai_assistant.engine.model_package import load_package
from ai_assistant.errors import AssistantError, ConfigurationError
from ai_assistant.provision.store import folder_bytes

# Every byte of it may need another one before it.
_MESSAGE_BYTES = 1900
# What makes a source mean the same bytes for ever: a commit, or a version.
_REVISION = re.compile(r"^(?:hf://[^@#]+@([0-9a-f]{40})|pypi://[^=#]+==([^#]+))(?:#.*)?$")


@contextmanager
def reported(file: Path | None) -> Iterator[Callable[[Path], None]]:
    """Writes to `file` (None: nowhere) how the block ended; call what it gives with the package's folder at success.

    Raises ConfigurationError at once where the file cannot be written: hours later nobody would learn what came of the build.
    """
    if file is None:
        yield lambda folder: None
        return
    _write(file, None)
    try:
        yield lambda folder: _write(file, _success(folder))
    except AssistantError as error:
        _write(file, _failure(error.code, error.message))
        raise
    except KeyboardInterrupt:
        _write(file, _failure("interrupted", "The build was interrupted; start it again to go on with it."))
        raise
    except Exception as error:
        _write(file, _failure(AssistantError.code, f"{type(error).__name__}: {error}"))
        raise


def _success(folder: Path) -> Mapping[str, object]:
    package = load_package(folder)
    source = package.manifest.source.resolved
    match = _REVISION.fullmatch(source)
    return {
        "digest": package.digest,
        "path": str(folder),
        "precision": package.manifest.precision,
        "source": source,
        "revision": (match[1] or match[2]) if match else package.manifest.source.sha256,
        "size": folder_bytes(folder),
    }


def _failure(code: str, message: str) -> Mapping[str, object]:
    plain = "".join(character if character.isprintable() else " " for character in message)
    beginning = plain.encode(errors="replace")[:_MESSAGE_BYTES].decode(errors="ignore")
    return {"error": code, "message": beginning if len(beginning) == len(plain) else f"{beginning}…"}


def _write(file: Path, result: Mapping[str, object] | None) -> None:
    """In place: a container's termination message is a mounted file that nothing can be renamed onto."""
    try:
        file.write_text("" if result is None else json.dumps(result, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written ({error.strerror}); choose another file with --result.") from error
