"""Which files of a repository or folder make up the model, so that nothing else is read or downloaded."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from ai_assistant.errors import SourceError, SourceNotFoundError, UnsupportedModelError

_INDEX = "model.safetensors.index.json"
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
_DESCRIPTION = {
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
}
_LICENCE = re.compile(r"licen[cs]e(\.(txt|md))?", re.IGNORECASE)
_PICKLED = re.compile(r"(pytorch_model.*|consolidated.*|model.*)\.(bin|pth|pt)")
# The best first. All of them are computed with anew, so that the most exact one wins; 32 bits rarely hold more than 16.
_GGUF_PRECISIONS = ("BF16", "F16", "F32", "Q8_0", "Q6_K", "Q4_K_M", "Q4_K_S", "Q4_1", "Q4_0")
_GGUF_LABEL = re.compile(r"[-_.]((?:UD-)?(?:BF16|F16|F32|FP16|FP32|I?Q\d[A-Z0-9_]*|T?MXFP\d\w*))\.gguf", re.IGNORECASE)
_GGUF_PART = re.compile(r"-\d{5}-of-\d{5}\.gguf", re.IGNORECASE)
# Beside a model, and none: an image encoder, the statistics of a quantisation.
_NO_DECODER = re.compile(r"mmproj|imatrix", re.IGNORECASE)


@dataclass(frozen=True)
class Selection:
    """The files to read: one GGUF file, or those of a checkpoint folder."""

    files: tuple[str, ...]

    @property
    def gguf(self) -> str | None:
        return self.files[0] if self.files[0].lower().endswith(".gguf") else None


def may_be_needed(name: str) -> bool:
    """Whether a file of this name can be part of any selection."""
    return name in _DESCRIPTION or name.endswith((".safetensors", _INDEX)) or bool(_LICENCE.fullmatch(name)) or _is_gguf(name)


def select_files(sizes: Mapping[str, int], where: str, wanted: str = "") -> Selection:
    """Chooses among files by path and size; `wanted` is a file's name or a pattern. Safetensors come before GGUF.

    Raises SourceError or UnsupportedModelError, which begin with `where` and list the choice that there is.
    """
    ggufs = [path for path in sizes if _is_gguf(path)]
    if wanted:
        return _wanted(sizes, ggufs, where, wanted)
    if weights := _weights(sizes):
        return _checkpoint(sizes, weights, where)
    if ggufs:
        return Selection((_best_gguf(sizes, ggufs, where),))
    if "adapter_config.json" in sizes:
        raise UnsupportedModelError(f"{where} holds only an adapter (LoRA); name a model that it was merged into.")
    if any(_PICKLED.fullmatch(path) for path in sizes):
        raise UnsupportedModelError(
            f"{where} has its weights only as pickled PyTorch files, which can run any code and are never opened; choose a"
            " repository or revision with .safetensors or .gguf files, or convert them with transformers' save_pretrained."
        )
    if others := sorted(path for path in sizes if path.endswith(".safetensors")):
        raise SourceError(
            f"{where} has neither model.safetensors nor {_INDEX} in its top folder, only {_listed(sizes, others)};"
            " choose a repository in the layout of transformers."
        )
    raise SourceError(f"{where} holds no model: there are neither .safetensors nor .gguf files.")


def _wanted(sizes: Mapping[str, int], ggufs: Collection[str], where: str, wanted: str) -> Selection:
    weights = _weights(sizes)
    if any(fnmatchcase(path, wanted) for path in weights):
        return _checkpoint(sizes, weights, where)
    exact = [path for path in ggufs if wanted in {path, PurePosixPath(path).name}]
    matching = exact or [path for path in ggufs if fnmatchcase(path, wanted) or fnmatchcase(PurePosixPath(path).name, wanted)]
    if matching:
        return Selection((_best_gguf(sizes, matching, where),))
    choice = f"there are {_listed(sizes, ggufs)}" if ggufs else "there is no GGUF file; leave out what follows the #"
    raise SourceNotFoundError(f"{where} has no model file {wanted}: {choice}.")


def _weights(sizes: Mapping[str, int]) -> list[str]:
    """The weights that transformers would load; a repository may hold them a second time under other names."""
    if "model.safetensors" in sizes:
        return ["model.safetensors"]
    shards = [path for path in sizes if _SHARD.fullmatch(path)]
    return [_INDEX, *shards] if shards and _INDEX in sizes else []


def _checkpoint(sizes: Mapping[str, int], weights: Collection[str], where: str) -> Selection:
    if "config.json" not in sizes:
        raise SourceError(f"{where} has weights but no config.json, which says what they mean; choose a whole checkpoint.")
    described = [path for path in sizes if path in _DESCRIPTION or _LICENCE.fullmatch(path)]
    return Selection((*sorted(described), *sorted(weights)))


def _best_gguf(sizes: Mapping[str, int], paths: Collection[str], where: str) -> str:
    decoders = [path for path in paths if not _NO_DECODER.search(path)]
    whole = [path for path in decoders if not _GGUF_PART.search(path)]
    if len(whole) == 1 and len(decoders) == 1:
        return whole[0]
    if decoders and not whole:
        raise UnsupportedModelError(
            f"{where}: {_listed(sizes, decoders)} are parts of a split GGUF file, which is not supported; join them with"
            " `llama-gguf-split --merge`, or choose a repository with one file or with safetensors."
        )
    labels = {path: match[1].upper().replace("FP", "F") for path in whole if (match := _GGUF_LABEL.search(path))}
    stems = {_GGUF_LABEL.sub("", PurePosixPath(path).name).lower() for path in whole}
    if len(stems) == 1:
        for precision in _GGUF_PRECISIONS:
            found = [path for path, label in labels.items() if label == precision]
            if len(found) == 1:
                return found[0]
    raise SourceError(f"{where} has several GGUF files, {_listed(sizes, decoders or paths)}; name one by adding #FILE.")


def _is_gguf(path: str) -> bool:
    return path.lower().endswith(".gguf")


def _listed(sizes: Mapping[str, int], paths: Collection[str]) -> str:
    shown = [f"{path} ({max(sizes[path] // 1_000_000, 1)} MB)" for path in sorted(paths)]
    return ", ".join(shown if len(shown) <= 30 else [*shown[:30], f"and {len(shown) - 30} more"])
