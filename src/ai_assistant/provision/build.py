"""Builds a model package: fetch, convert, check, publish.

Everything happens beside the store's packages, so a half one is never visible.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import shutil
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from ai_assistant import __version__
from ai_assistant.engine.backends.environment import CPU_ENVIRONMENT
from ai_assistant.engine.model_package import (
    CHAT_TEMPLATE_FILE,
    MANIFEST_FILE,
    TOKENIZER_FILE,
    Accuracy,
    Architecture,
    Manifest,
    PackageSource,
)
from ai_assistant.errors import ModelPackageError, ModelRejectedError, SourceUnreachableError
from ai_assistant.provision.calibration import CALIBRATED, calibrate
from ai_assistant.provision.checkpoint import Checkpoint, TokenizerFiles
from ai_assistant.provision.disk import require_space, writing_to
from ai_assistant.provision.exported_model import check_exported, export_bytes, export_memory, export_model, model_name
from ai_assistant.provision.exporter import AUTO, Exporter
from ai_assistant.provision.graph import (
    PRECISIONS,
    execution_providers,
    graph_bytes,
    kv_bytes_per_token,
    row_multiple,
    write_graph,
)
from ai_assistant.provision.memory import memory_limit, require_export_memory, require_memory
from ai_assistant.provision.model_card import card_licence
from ai_assistant.provision.package_files import describe_files
from ai_assistant.provision.passages import CALIBRATION_PASSAGES
from ai_assistant.provision.precision_choice import precisions_to_try
from ai_assistant.provision.progress import CONVERT, RESOLVE, VERIFY, Progress, no_progress
from ai_assistant.provision.sources import FetchedModel, Source, parse_source
from ai_assistant.provision.store import ModelStore
from ai_assistant.provision.verification import check_answers, check_rows, encoded, logits_bytes, measure_accuracy

# Raised whenever the same source leads to another package than before.
BUILDER_VERSION = 3

_REFERENCE_PRECISION = "fp32"
# The graphs use nothing newer, and the newest onnxruntime-gpu is older than the newest onnxruntime.
_MIN_ONNXRUNTIME = "1.31"
# Tokenizer, manifest and the file system's own needs.
_SPARE_BYTES = 32_000_000


@dataclass(frozen=True)
class _Recipe:
    """All that decides what comes out of a build; several precisions, joined by commas, are tried until one is exact enough."""

    source: str
    # `auto` may end in an exported model, in fp32, which is no answer to one of its precisions asked for by name.
    asked: str
    precision: str
    builder_version: int
    allow_inaccurate: bool
    exporter: str

    @property
    def decisive(self) -> dict[str, object]:
        """Without what is as it was before there was a choice, so that older packages are found."""
        fields = asdict(self)
        if self.exporter == AUTO:
            del fields["exporter"]
        return fields

    @property
    def key(self) -> str:
        return hashlib.sha256(json.dumps(self.decisive, sort_keys=True).encode()).hexdigest()[:32]


def build_package(
    source: str,
    *,
    precision: str = _REFERENCE_PRECISION,
    device: str = "auto",
    exporter: str = AUTO,
    export_python: Path | None = None,
    store: Path,
    allow_inaccurate: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Returns the folder of the package made of `source`, building it unless the store has it whole.

    With the precision `auto`, `device` decides what is tried, in the order of `precisions_to_try`. `exporter` is one of
    EXPORTERS; `export_python` is the program of the environment that optimum is in, None: the one that `make export` makes.
    """
    precisions = precisions_to_try(precision, device)
    chosen = Exporter(exporter, precision, export_python)
    report = progress or no_progress
    parsed = parse_source(source)
    model_store = ModelStore(store)
    recipe = _Recipe("", precision, ",".join(precisions), BUILDER_VERSION, allow_inaccurate, exporter)
    try:
        recipe = replace(recipe, source=parsed.pin(report))
    except SourceUnreachableError as error:
        # What a branch means today cannot be asked; a restart must not depend on that.
        if package := model_store.last_built(parsed.given, recipe.decisive):
            report(RESOLVE, 0, None, None, f"{error.message} Taking what was built of {parsed.given} before.")
            return package
        raise
    if package := model_store.built_from(recipe.key):
        return package
    model_store.prepare()
    with writing_to(model_store.root), model_store.building(recipe.key, report):
        # Whoever held the lock before us may have built it.
        if package := model_store.built_from(recipe.key):
            return package
        model_store.remove_leftovers(but=recipe.key)
        with model_store.downloads(recipe.source, report) as downloads, model_store.workspace(recipe.key) as workspace:
            package = _Build(parsed, recipe, chosen, model_store, downloads, workspace, report).run()
            model_store.remember(recipe.key, recipe.decisive, package.name, given=parsed.given)
        return package


class _Build:
    """One run of the steps, in a folder of its own."""

    def __init__(
        self,
        source: Source,
        recipe: _Recipe,
        exporter: Exporter,
        store: ModelStore,
        downloads: Path,
        workspace: Path,
        progress: Progress,
    ) -> None:
        self._source = source
        self._recipe = recipe
        self._precision, *self._others = recipe.precision.split(",")
        self._exporter = exporter
        self._store = store
        self._folder = workspace / "package"
        self._reference = workspace / "reference"
        self._export = workspace / "export"
        self._downloads = downloads
        self._progress = progress

    def run(self) -> Path:
        fetched = self._source.fetch(self._downloads, self._progress)
        checkpoint = self._exporter.open(fetched.path)
        if checkpoint is None:
            return self._run_export(fetched)
        # Read first: most models that are not supported fail here, before anything large is written.
        tokenizer = checkpoint.tokenizer()
        while True:
            try:
                return self._attempt(fetched, checkpoint, tokenizer)
            except (ModelRejectedError, ModelPackageError) as error:
                # Not exact enough, or not computed right by this processor's kernels.
                if not self._others:
                    raise
                reason = error.message.partition(" Choose ")[0]
                self._progress(CONVERT, 0, None, None, f"{reason} Trying {self._others[0]}.")
                self._precision, *self._others = self._others
                for folder in (self._folder, self._reference):
                    shutil.rmtree(folder, ignore_errors=True)

    def _attempt(self, fetched: FetchedModel, checkpoint: Checkpoint, tokenizer: TokenizerFiles) -> Path:
        require_memory(checkpoint.architecture, self._precision, _REFERENCE_PRECISION, memory_limit())
        needed = self._needed_bytes(checkpoint.architecture)
        require_space(self._store.root, needed)
        with writing_to(self._store.root, needed):
            self._folder.mkdir()
            self._write_tokenizer(tokenizer)
            if not self._is_reference:
                require_space(self._store.root, needed + logits_bytes(self._folder, checkpoint.architecture))
            self._write_graphs(checkpoint)
            accuracy = self._verify(checkpoint.architecture)
            manifest = self._manifest(fetched, checkpoint, tokenizer, accuracy)
            (self._folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
            return self._store.publish(self._folder, manifest.digest)

    def _run_export(self, fetched: FetchedModel) -> Path:
        python = self._exporter.required_python()
        require_export_memory(export_memory(fetched.path), memory_limit())
        needed = export_bytes(fetched.path) + _SPARE_BYTES
        require_space(self._store.root, needed)
        with writing_to(self._store.root, needed):
            self._folder.mkdir()
            self._export.mkdir()
            exported = export_model(fetched.path, self._folder, self._export, python, self._progress)
            self._progress(VERIFY, 0, None)
            source = self._package_source(fetched, model_name(fetched.path), card_licence(fetched.path) or fetched.licence)
            manifest = check_exported(exported, self._folder, self._export, source)
            (self._folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
            return self._store.publish(self._folder, manifest.digest)

    @property
    def _is_reference(self) -> bool:
        return self._precision == _REFERENCE_PRECISION

    def _needed_bytes(self, architecture: Architecture) -> int:
        needed = graph_bytes(architecture, self._precision) + _SPARE_BYTES
        return needed if self._is_reference else needed + graph_bytes(architecture, _REFERENCE_PRECISION)

    def _write_tokenizer(self, tokenizer: TokenizerFiles) -> None:
        (self._folder / TOKENIZER_FILE).write_text(tokenizer.tokenizer_json, encoding="utf-8")
        if tokenizer.chat_template is not None:
            (self._folder / CHAT_TEMPLATE_FILE).write_text(tokenizer.chat_template, encoding="utf-8")

    def _write_graphs(self, checkpoint: Checkpoint) -> None:
        """Writes the graph; before it, for an inexact precision, the fp32 graph to calibrate by and to measure it against."""
        total = self._needed_bytes(checkpoint.architecture) - _SPARE_BYTES
        done = 0

        def written(size: int) -> None:
            nonlocal done
            done += size
            self._progress(CONVERT, min(done, total), total)

        delicate: Collection[int] = ()
        if not self._is_reference:
            self._reference.mkdir()
            write_graph(checkpoint, self._reference, precision=_REFERENCE_PRECISION, on_written=written)
        if self._precision in CALIBRATED:
            texts = encoded(self._folder, CALIBRATION_PASSAGES, checkpoint.architecture)
            calibration = calibrate(checkpoint, self._reference, texts)
            checkpoint, delicate = calibration.applied(checkpoint), calibration.delicate_layers
        write_graph(checkpoint, self._folder, precision=self._precision, delicate_layers=delicate, on_written=written)

    def _verify(self, architecture: Architecture) -> Accuracy | None:
        self._progress(VERIFY, 0, None)
        check_answers(self._folder, architecture, is_exact=self._is_reference)
        check_rows(self._folder, architecture, multiple=row_multiple(self._precision))
        if self._is_reference:
            return None
        accuracy = measure_accuracy(self._folder, self._reference, architecture, self._precision)
        shutil.rmtree(self._reference)
        if not accuracy.is_sufficient and not self._recipe.allow_inaccurate:
            raise ModelRejectedError(
                f"In {self._precision} the model agrees with fp32 on {accuracy.top1:.1%} of {accuracy.tokens} tokens"
                f" with a divergence of {accuracy.mean_kl:.4f}; asked for are at least {accuracy.min_top1:.1%}"
                f" and at most {accuracy.max_mean_kl}. Choose another precision, or publish it all the same with"
                " --allow-inaccurate."
            )
        return accuracy

    def _manifest(
        self, fetched: FetchedModel, checkpoint: Checkpoint, tokenizer: TokenizerFiles, accuracy: Accuracy | None
    ) -> Manifest:
        architecture = checkpoint.architecture
        activation = PRECISIONS[self._precision].activation
        files = describe_files(self._folder)
        return Manifest(
            files=files,
            source=self._package_source(fetched, checkpoint.name, checkpoint.licence or fetched.licence),
            architecture=architecture,
            precision=self._precision,
            kv_dtype="float16" if activation == np.float16 else "float32",
            kv_bytes_per_token=kv_bytes_per_token(architecture, self._precision),
            pad_rows_to_multiple=row_multiple(self._precision),
            eos_token_ids=tokenizer.eos_token_ids,
            special_tokens=dict(tokenizer.special_tokens),
            tokenizer_sha256=files[TOKENIZER_FILE].sha256,
            accuracy=accuracy,
            allow_inaccurate=accuracy is not None and not accuracy.is_sufficient,
            execution_providers=execution_providers(self._precision),
            environment=dict(CPU_ENVIRONMENT),
            built_with={
                "ai-assistant": __version__,
                "builder": str(BUILDER_VERSION),
                **{name: importlib.metadata.version(name) for name in ("gguf", "numpy", "onnx", "onnxruntime", "tokenizers")},
            },
            min_onnxruntime=_MIN_ONNXRUNTIME,
        ).with_digest()

    def _package_source(self, fetched: FetchedModel, name: str | None, licence: str | None) -> PackageSource:
        return PackageSource(
            given=self._source.given, resolved=fetched.resolved, sha256=fetched.sha256, name=name, licence=licence
        )
