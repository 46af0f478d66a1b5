"""A model package on disk: the folder that provisioning writes and a worker loads.

The reader lives with the engine, so that a worker never imports what is needed to build a package. Reading a package
checks what is cheap (the manifest, that each file is there and has its size); `ModelPackage.verify` reads every byte.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ai_assistant.errors import ModelPackageError

FORMAT_VERSION: Literal[1] = 1
GRAPH_CONTRACT = "gqa-slots/1"
# What an exporter writes: each step gives the keys and values out, longer than it got them.
PAST_TENSORS_CONTRACT = "past-tensors/1"
# 128 bits name a package; all 256 would not fit into a Kubernetes label value.
DIGEST_LENGTH = 32

MANIFEST_FILE = "manifest.json"
GRAPH_FILE = "model.onnx"
GRAPH_DATA_FILE = "model.onnx.data"
TOKENIZER_FILE = "tokenizer.json"
CHAT_TEMPLATE_FILE = "chat_template.jinja"

_BUILD_AGAIN = "build it again with `ai-assistant model build`"


def _plain_name(name: str) -> str:
    if name in {"", ".", ".."} or PurePosixPath(name).name != name or "\\" in name:
        raise ValueError(f"{name!r} is not a plain file name")
    return name


FileName = Annotated[str, AfterValidator(_plain_name)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PackageFile(_Record):
    """One file of a package."""

    sha256: Sha256
    bytes: int = Field(ge=0)


class PackageSource(_Record):
    """Where the weights came from: as asked for, as found, and the checksum of what was read."""

    given: str
    resolved: str
    sha256: Sha256
    name: str | None = None
    licence: str | None = None


class RopeScaling(_Record):
    """How a model stretches its rotations beyond the positions it was first trained on.

    Every published kind comes down to a divisor for each of the head_size / 2 frequencies, and a scale of the tables.
    """

    kind: str  # as the model's authors call it; only people read it
    divisors: tuple[Annotated[float, Field(gt=0)], ...] = Field(min_length=1)
    table_scale: float = Field(default=1.0, gt=0)


def _is_none(value: object) -> bool:
    return value is None


class DecoderShape(_Record):
    """The numbers of a decoder that its server needs, whoever wrote the graph."""

    family: str
    layers: int = Field(gt=0)
    vocab_size: int = Field(gt=0)
    # Twice the longest published context; servers keep something for every position.
    max_positions: int = Field(gt=0, le=1 << 21)


class Architecture(DecoderShape):
    """The numbers from which our own graph writer makes a decoder.

    Fields that came later are left out of a manifest where they say nothing, so that the digests of packages built
    before them stay what they are.
    """

    hidden_size: int = Field(gt=0)
    heads: int = Field(gt=0)
    kv_heads: int = Field(gt=0)
    head_size: int = Field(gt=0)
    intermediate_size: int = Field(gt=0)
    rope_theta: float = Field(gt=0)
    rms_norm_eps: float = Field(gt=0)
    rope_scaling: RopeScaling | None = Field(default=None, exclude_if=_is_none)
    # How many tokens a token sees, itself among them; None: all that came before it.
    sliding_window: int | None = Field(default=None, gt=0, exclude_if=_is_none)


class Accuracy(_Record):
    """How far the graph is from its fp32 reference, over teacher-forced tokens."""

    tokens: int = Field(gt=0)
    top1: float = Field(ge=0, le=1)
    mean_kl: float
    perplexity: float | None = Field(default=None, exclude_if=_is_none)
    reference_perplexity: float | None = Field(default=None, exclude_if=_is_none)
    min_top1: float
    max_mean_kl: float

    @property
    def is_sufficient(self) -> bool:
        return self.top1 >= self.min_top1 and self.mean_kl <= self.max_mean_kl


class Manifest(_Record):
    """`manifest.json`: everything a worker must know before it opens the graph."""

    format_version: Literal[1] = FORMAT_VERSION
    digest: str = ""
    files: dict[FileName, PackageFile]
    source: PackageSource
    architecture: Architecture | DecoderShape
    graph_contract: str = GRAPH_CONTRACT
    precision: str
    kv_dtype: Literal["float32", "float16"] = "float32"
    kv_bytes_per_token: int = Field(gt=0)
    pad_rows_to_multiple: int = Field(default=1, ge=1)
    eos_token_ids: tuple[int, ...] = Field(min_length=1)
    # What a chat template may ask for by name: bos_token, eos_token, unk_token, pad_token.
    special_tokens: dict[str, str] = {}
    tokenizer_sha256: Sha256
    accuracy: Accuracy | None = None
    # True only where the accuracy is below the threshold and someone asked for the package all the same.
    allow_inaccurate: bool = False
    execution_providers: tuple[str, ...] = ("CPUExecutionProvider",)
    session_options: dict[str, str] = {}
    environment: dict[str, str] = {}
    built_with: dict[str, str] = {}
    min_onnxruntime: str

    @property
    def slot_architecture(self) -> Architecture:
        """The numbers of a graph of our own; raises ModelPackageError where the package has none of it."""
        if isinstance(self.architecture, Architecture):
            return self.architecture
        raise ModelPackageError(f"The package describes no graph of the kind {GRAPH_CONTRACT!r}; {_BUILD_AGAIN}.")

    def content_digest(self) -> str:
        """The name of the package: a digest over all of the manifest, and so over the checksums of all files."""
        content = self.model_dump(mode="json", exclude={"digest"})
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()[:DIGEST_LENGTH]

    def with_digest(self) -> Manifest:
        """The same manifest with its digest filled in."""
        return self.model_copy(update={"digest": self.content_digest()})

    def to_json(self) -> str:
        """The text of `manifest.json`."""
        return json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"


@dataclass(frozen=True)
class ModelPackage:
    """A package that was found whole at first sight: its folder and its manifest."""

    path: Path
    manifest: Manifest

    @property
    def digest(self) -> str:
        return self.manifest.digest

    @property
    def graph_path(self) -> Path:
        return self.path / GRAPH_FILE

    @property
    def tokenizer_path(self) -> Path:
        return self.path / TOKENIZER_FILE

    @property
    def chat_template_path(self) -> Path | None:
        """None for a model that was never taught to chat."""
        return self.path / CHAT_TEMPLATE_FILE if CHAT_TEMPLATE_FILE in self.manifest.files else None

    def verify(self) -> None:
        """Reads every byte; raises ModelPackageError on the first that is not what the builder wrote."""
        if self.manifest.content_digest() != self.manifest.digest:
            raise ModelPackageError(f"{self.path / MANIFEST_FILE} was changed after the build; {_BUILD_AGAIN}.")
        for name, expected in self.manifest.files.items():
            file = self.path / name
            try:
                with file.open("rb") as stream:
                    actual = hashlib.file_digest(stream, "sha256").hexdigest()
            except OSError as error:
                raise ModelPackageError(f"{file} cannot be read ({error.strerror}); {_BUILD_AGAIN}.") from error
            if actual != expected.sha256:
                raise ModelPackageError(f"{file} is damaged (its checksum is not the manifest's); {_BUILD_AGAIN}.")


def hold(package: ModelPackage) -> None:
    """Marks the package as in use until this process ends, for whoever wants to remove it on the same machine."""
    # The kernel frees it, whatever the process dies of. Where files cannot be locked, nobody can be told.
    with suppress(OSError):
        fcntl.flock(os.open(package.path / MANIFEST_FILE, os.O_RDONLY | os.O_CLOEXEC), fcntl.LOCK_SH | fcntl.LOCK_NB)


def is_held(folder: Path) -> bool:
    """Whether a living process of this machine holds the package in `folder`, as far as can be known."""
    try:
        descriptor = os.open(folder / MANIFEST_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def load_package(path: Path | str, *, verify: bool = False) -> ModelPackage:
    """Opens the package in folder `path`; `verify` also compares the checksum of every file."""
    folder = Path(path)
    package = ModelPackage(folder, _read_manifest(folder))
    for required in (GRAPH_FILE, TOKENIZER_FILE):
        if required not in package.manifest.files:
            raise ModelPackageError(f"{folder / MANIFEST_FILE} does not list {required}; {_BUILD_AGAIN}.")
    for name, expected in package.manifest.files.items():
        _check_size(folder / name, expected.bytes)
    if verify:
        package.verify()
    return package


def _read_manifest(folder: Path) -> Manifest:
    file = folder / MANIFEST_FILE
    if not folder.is_dir():
        raise ModelPackageError(f"There is no model package {folder}; {_BUILD_AGAIN}.")
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelPackageError(f"{folder} is not a model package: it has no {MANIFEST_FILE}; {_BUILD_AGAIN}.") from error
    except OSError as error:
        raise ModelPackageError(f"{file} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise ModelPackageError(f"{file} is not JSON; {_BUILD_AGAIN}.") from error
    version = content.get("format_version") if isinstance(content, Mapping) else None
    if version != FORMAT_VERSION:
        raise ModelPackageError(
            f"{file} has format version {version!r}, this release reads {FORMAT_VERSION}; {_BUILD_AGAIN} of this release."
        )
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ModelPackageError(f"{file} is not valid ({field}: {first['msg']}); {_BUILD_AGAIN}.") from error


def _check_size(file: Path, expected: int) -> None:
    try:
        actual = file.stat().st_size
    except FileNotFoundError as error:
        raise ModelPackageError(f"{file} is missing; {_BUILD_AGAIN}.") from error
    except OSError as error:
        raise ModelPackageError(f"{file} cannot be read ({error.strerror}).") from error
    if actual != expected:
        raise ModelPackageError(f"{file} has {actual} bytes instead of {expected}; {_BUILD_AGAIN}.")
