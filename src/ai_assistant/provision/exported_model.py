"""A package of a graph that optimum exported: what goes into it, and whether it computes what transformers does."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ai_assistant import __version__
from ai_assistant.engine.backends import load_runner
from ai_assistant.engine.config import EngineConfig
from ai_assistant.engine.model_package import (
    CHAT_TEMPLATE_FILE,
    GRAPH_FILE,
    PAST_TENSORS_CONTRACT,
    TOKENIZER_FILE,
    Accuracy,
    DecoderShape,
    Manifest,
    ModelPackage,
    PackageSource,
)
from ai_assistant.engine.model_runner import ModelRunner
from ai_assistant.engine.tokenizer import Tokenizer
from ai_assistant.errors import ExportError, SourceError, UnsupportedModelError
from ai_assistant.provision.checkpoint_json import CONFIG_FILE, read_json_object
from ai_assistant.provision.export_process import run_export
from ai_assistant.provision.model_card import hub_name
from ai_assistant.provision.package_files import describe_files
from ai_assistant.provision.passages import PASSAGES
from ai_assistant.provision.progress import Progress

_MIN_ONNXRUNTIME = "1.32"
_REFERENCE_FILE = "reference.npz"
# Tokens of each passage that are decoded one by one.
_STEPS = 12
# Of the largest logit. PyTorch and ONNX Runtime sum in other orders; a wrong graph is off by the whole of it.
_TOLERANCE = 1e-3
_TIE = 1e-5
_MIN_TOP1, _MAX_MEAN_KL = 0.999, 0.001

_Floats: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True)
class ExportedModel:
    """What the exporter says of the graph that it wrote."""

    shape: DecoderShape
    eos_token_ids: tuple[int, ...]
    special_tokens: Mapping[str, str]
    versions: Mapping[str, str]


@dataclass(frozen=True)
class _Reference:
    """Logits [positions, vocabulary] that transformers computes after the tokens of a text at these positions."""

    token_ids: list[int]
    positions: list[int]
    logits: _Floats


def export_bytes(checkpoint: Path) -> int:
    """About how much room an export takes while it runs: the weights in fp32, twice, for they are put together at its end."""
    try:
        config = json.loads((checkpoint / "config.json").read_bytes())
        weights = sum(file.stat().st_size for file in checkpoint.glob("*.safetensors"))
    except (OSError, ValueError) as error:
        raise SourceError(f"{checkpoint} is no checkpoint that can be exported: {error}.") from error
    is_half = config.get("dtype", config.get("torch_dtype")) in {"float16", "bfloat16"} if isinstance(config, dict) else False
    return 2 * weights * (2 if is_half else 1)


def model_name(checkpoint: Path) -> str | None:
    """The model's name on a hub, where config.json has one."""
    return hub_name(read_json_object(checkpoint / CONFIG_FILE).get("_name_or_path"))


def export_memory(checkpoint: Path) -> int:
    """About how many bytes of memory an export takes: five times the weights in fp32, as measured. Raises as `export_bytes`."""
    return export_bytes(checkpoint) * 5 // 2


def export_model(checkpoint: Path, folder: Path, work: Path, python: Path, progress: Progress) -> ExportedModel:
    """Writes graph and tokenizer into `folder`; what only the check needs stays in `work`. See `run_export` for errors."""
    request = {"checkpoint": str(checkpoint), "texts": PASSAGES, "steps": _STEPS}
    result = run_export(python, request, work, progress)
    for file in (*work.glob(f"{GRAPH_FILE}*"), work / TOKENIZER_FILE, work / CHAT_TEMPLATE_FILE):
        if file.exists():
            # onnx lets only the builder read its data; a worker may be another user.
            file.chmod(0o644)
            file.rename(folder / file.name)
    shape = DecoderShape.model_validate({name: result[name] for name in DecoderShape.model_fields})
    return ExportedModel(shape, tuple(result["eos_token_ids"]), result["special_tokens"], result["versions"])


def check_exported(exported: ExportedModel, folder: Path, work: Path, source: PackageSource) -> Manifest:
    """Runs what is in `folder` as a worker will, and returns its manifest.

    Raises ExportError where it does not compute what transformers did, and UnsupportedModelError for what cannot be served.
    """
    files = describe_files(folder)
    manifest = Manifest(
        files=files,
        source=source,
        architecture=exported.shape,
        graph_contract=PAST_TENSORS_CONTRACT,
        precision="fp32",
        kv_bytes_per_token=1,  # known once the graph is open
        eos_token_ids=exported.eos_token_ids,
        special_tokens=dict(exported.special_tokens),
        tokenizer_sha256=files[TOKENIZER_FILE].sha256,
        built_with={
            "ai-assistant": __version__,
            **exported.versions,
            **{name: importlib.metadata.version(name) for name in ("onnxruntime", "tokenizers")},
        },
        min_onnxruntime=_MIN_ONNXRUNTIME,
    )
    package = ModelPackage(folder, manifest)
    references = list(_read_references(work / _REFERENCE_FILE))
    _compare_tokens(Tokenizer.of_package(package), references)
    runner = load_runner(package, EngineConfig(num_slots=len(references)))
    accuracy = _compare_logits(runner, references)
    return manifest.model_copy(update={"kv_bytes_per_token": runner.kv_bytes_per_token, "accuracy": accuracy}).with_digest()


def _compare_tokens(tokenizer: Tokenizer, references: list[_Reference]) -> None:
    for text, reference in zip(PASSAGES, references, strict=False):
        if tokenizer.encode(text, add_special=True)[: len(reference.token_ids)] != reference.token_ids:
            raise UnsupportedModelError("The model's tokenizer gives other tokens here than in transformers.")


def _compare_logits(runner: ModelRunner, references: list[_Reference]) -> Accuracy:
    runner.resize(len(references), max(len(reference.token_ids) for reference in references), [])
    agreements, divergences = [], []
    for expected, actual in _compared(runner, references):
        scale = max(1.0, float(np.abs(expected).max()))
        difference = float(np.abs(expected - actual).max()) / scale
        if not difference <= _TOLERANCE:
            raise ExportError(
                f"The exported graph does not compute what transformers does (a logit is off by {difference:.1%} of the largest);"
                " optimum writes a wrong graph for this model, so it cannot be served."
            )
        agreements.append(expected[actual.argmax()] >= expected.max() - _TIE * scale)
        divergences.append(_divergence(expected, actual))
    accuracy = Accuracy(
        tokens=len(agreements),
        top1=round(float(np.mean(agreements)), 5),
        mean_kl=round(float(np.mean(divergences)), 6),
        min_top1=_MIN_TOP1,
        max_mean_kl=_MAX_MEAN_KL,
    )
    if not accuracy.is_sufficient:
        raise ExportError(f"The exported graph chooses transformers' token for only {accuracy.top1:.1%} of {accuracy.tokens}.")
    return accuracy


def _compared(runner: ModelRunner, references: list[_Reference]) -> Iterator[tuple[_Floats, _Floats]]:
    """Expected and actual logits: at the end of a prompt, after tokens one by one in a batch, and after a second chunk."""
    lengths = []
    for row, reference in enumerate(references):
        lengths.append(reference.positions[0] + 1)
        yield reference.logits[0], _read(runner, row, reference.token_ids[: lengths[row]], 0)
    for step in range(1, min(_consecutive(reference.positions) for reference in references)):
        token_ids = [reference.token_ids[lengths[row]] for row, reference in enumerate(references)]
        logits = runner.decode(token_ids, lengths)
        lengths = [length + 1 for length in lengths]
        for row, reference in enumerate(references):
            yield reference.logits[step], logits[row]
    for row, reference in enumerate(references):
        if rest := reference.token_ids[lengths[row] :]:
            yield reference.logits[-1], _read(runner, row, rest, lengths[row])


def _read(runner: ModelRunner, row: int, token_ids: list[int], past: int) -> _Floats:
    chunk = EngineConfig().prefill_chunk
    for start in range(0, len(token_ids), chunk):
        logits = runner.prefill(row, token_ids[start : start + chunk], past + start)
    return logits


def _consecutive(positions: list[int]) -> int:
    """How many positions follow each other from the first one on."""
    return next((count for count, position in enumerate(positions) if position != positions[0] + count), len(positions))


def _read_references(file: Path) -> Iterator[_Reference]:
    with np.load(file) as arrays:
        for index in range(len(arrays.files) // 3):
            ids, positions, logits = (arrays[f"{index}.{part}"] for part in ("ids", "positions", "logits"))
            yield _Reference(ids.tolist(), positions.tolist(), logits)


def _divergence(expected: _Floats, actual: _Floats) -> float:
    log_p, log_q = _log_softmax(expected), _log_softmax(actual)
    return float((np.exp(log_p) * (log_p - log_q)).sum())


def _log_softmax(logits: _Floats) -> NDArray[Any]:
    shifted = logits.astype(np.float64) - logits.max()
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))
