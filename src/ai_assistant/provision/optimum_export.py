"""Exports a checkpoint by optimum and notes what transformers computes with it, for the graph to be compared with.

This file is run by path, by the Python of the export environment, in which ai_assistant is not installed: it imports
nothing of ours. Its only argument is a JSON file, see `export_process`; it writes into the folder `output`:

    model.onnx, model.onnx_data   the graph
    tokenizer.json                as transformers has it, chat_template.jinja where the model has one
    reference.npz                 N.ids of each text, N.logits [positions, vocabulary] after those at N.positions
    result.json                   what the manifest tells of the model, or {"problem": kind, "message": sentence}
"""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

_TASK = "text-generation-with-past"
_FAILED = 3
# All that optimum does to a decoder afterwards is to write a tied matrix once; with more than 2 GiB that fails.
_LARGEST_POST_PROCESSED = 1_900_000_000


class Refusal(Exception):  # noqa: N818  # it is the model that is at fault
    """What is wrong with the model, as a sentence."""


def main(request_path: str) -> int:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    request = json.loads(Path(request_path).read_text(encoding="utf-8"))
    output = Path(request["output"])
    try:
        result = export(Path(request["checkpoint"]), output, request["texts"], request["steps"])
    except Exception as error:
        import traceback

        traceback.print_exc()
        _write_json(output / "result.json", {"problem": _kind(error), "message": _sentence(error)})
        return _FAILED
    _write_json(output / "result.json", result)
    return 0


def export(checkpoint: Path, output: Path, texts: list[str], steps: int) -> dict[str, Any]:
    """Does it all; raises whatever the libraries raise, and Refusal."""
    import torch
    import transformers
    from optimum.exporters.onnx import onnx_export_from_model

    config = transformers.AutoConfig.from_pretrained(checkpoint, local_files_only=True, trust_remote_code=False)
    _check_supported(config)
    tokenizer = _tokenizer(checkpoint, transformers)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        checkpoint, dtype=torch.float32, local_files_only=True, trust_remote_code=False, use_safetensors=True
    ).eval()
    decoder = model.config.get_text_config(decoder=True)
    positions = _max_positions(decoder, tokenizer)
    vocab_size = _write_reference(model, tokenizer, _with_long(texts, decoder, tokenizer, positions), positions, steps, output)
    _write_tokenizer(tokenizer, output)
    # What optimum warns of is compared with the reference afterwards, by the program that will serve the model.
    size = sum(weight.numel() * weight.element_size() for weight in model.state_dict().values())
    onnx_export_from_model(
        model, output, task=_TASK, do_validation=False, device="cpu", no_post_process=size > _LARGEST_POST_PROCESSED
    )
    return {
        "family": decoder.model_type,
        "layers": decoder.num_hidden_layers,
        "vocab_size": vocab_size,
        "max_positions": positions,
        "eos_token_ids": _eos_token_ids(model, tokenizer),
        "special_tokens": _special_tokens(tokenizer),
        "versions": _versions(),
    }


def _check_supported(config: Any) -> None:
    from optimum.exporters.tasks import TasksManager

    if getattr(config, "quantization_config", None):
        raise Refusal("The model is quantised, which cannot be exported; choose its original weights.")
    if config.is_encoder_decoder:
        raise Refusal(f"A model of the kind {config.model_type!r} has an encoder; only plain decoders can chat here.")
    try:
        tasks = TasksManager.get_supported_tasks_for_model_type(config.model_type, "onnx", library_name="transformers")
    except KeyError:
        tasks = {}
    if _TASK not in tasks:
        raise Refusal(f"optimum cannot export models of the kind {config.model_type!r} for text generation.")


def _tokenizer(checkpoint: Path, transformers: Any) -> Any:
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, TypeError) as error:
        raise Refusal(f"The checkpoint has no tokenizer that transformers can read: {_first_line(error)}") from error
    if not tokenizer.is_fast:
        raise Refusal(f"The model's tokenizer ({type(tokenizer).__name__}) has no form as tokenizer.json.")
    return tokenizer


def _max_positions(config: Any, tokenizer: Any) -> int:
    names = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "seq_length")
    found = [value for name in names if isinstance(value := getattr(config, name, None), int) and value > 1]
    # Tokenizers that know no limit say 1e30.
    found += [tokenizer.model_max_length] if 1 < tokenizer.model_max_length < 1 << 24 else []
    if not found:
        raise Refusal("Neither config.json nor tokenizer_config.json says how many tokens the model can read.")
    return int(found[0])


def _with_long(texts: list[str], config: Any, tokenizer: Any, positions: int) -> list[str]:
    """The texts, and for a model with a sliding window one that is longer than it, where that can be computed."""
    window = getattr(config, "sliding_window", None)
    if not window or window >= min(positions, 8192):
        return texts
    long = "\n".join(texts)
    while len(tokenizer(long).input_ids) < min(window * 5 // 4 + 32, positions):
        long = f"{long}\n{long}"
    return [*texts, long]


def _write_reference(model: Any, tokenizer: Any, texts: list[str], limit: int, steps: int, output: Path) -> int:
    """Logits at the end of the first half of each text, after each of the next `steps` tokens, and at its end."""
    import inspect

    import numpy
    import torch

    window = getattr(model.config.get_text_config(decoder=True), "sliding_window", None) or 0
    can_choose = "logits_to_keep" in inspect.signature(model.forward).parameters
    arrays: dict[str, Any] = {}
    vocab_size = 0
    for index, text in enumerate(texts):
        ids = tokenizer(text).input_ids
        ids = ids[: min(limit, max(window * 5 // 4 + 32, 1024))]
        # Of a text that is longer than the window, the steps are taken behind it.
        half = len(ids) * 9 // 10 if window and len(ids) > window else len(ids) // 2
        chosen = sorted({position for position in (*range(max(half - 1, 0), half + steps), len(ids) - 1) if position < len(ids)})
        if not chosen:
            raise Refusal("The model's tokenizer knows none of the letters of plain English text.")
        with torch.inference_mode():
            options = {"logits_to_keep": torch.tensor(chosen)} if can_choose else {}
            logits = model(input_ids=torch.tensor([ids]), use_cache=False, **options).logits[0]
        logits = logits if can_choose else logits[chosen]
        vocab_size = logits.shape[-1]
        arrays |= {f"{index}.ids": ids, f"{index}.positions": chosen, f"{index}.logits": logits.float().numpy()}
    numpy.savez(output / "reference.npz", **arrays)
    return vocab_size


def _write_tokenizer(tokenizer: Any, output: Path) -> None:
    backend = tokenizer.backend_tokenizer
    # Settings of a single call that files keep by accident.
    backend.no_truncation()
    backend.no_padding()
    (output / "tokenizer.json").write_text(backend.to_str(), encoding="utf-8")
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    if template:
        (output / "chat_template.jinja").write_text(template, encoding="utf-8")


def _eos_token_ids(model: Any, tokenizer: Any) -> list[int]:
    found: list[int] = []
    for value in (model.generation_config.eos_token_id, model.config.eos_token_id, tokenizer.eos_token_id):
        found += value if isinstance(value, list) else [] if value is None else [value]
    if not found:
        raise Refusal("The model names no token that ends an answer.")
    return list(dict.fromkeys(found))


def _special_tokens(tokenizer: Any) -> dict[str, str]:
    names = ("bos_token", "eos_token", "unk_token", "pad_token")
    return {name: str(token) for name in names if (token := getattr(tokenizer, name, None)) is not None}


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("onnx", "optimum", "optimum-onnx", "torch", "transformers")}


def _kind(error: Exception) -> str:
    if isinstance(error, Refusal):
        return "unsupported"
    if isinstance(error, ImportError):
        return "environment"
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error) or "bad_alloc" in str(error):
        return "memory"
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return "space"
    return "failed"


def _sentence(error: Exception) -> str:
    if isinstance(error, Refusal):
        return str(error)
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return f"{type(cause).__name__}: {_first_line(cause)}"


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def _end_with_parent() -> None:
    """The parent holds our standard input open; when it dies, of whatever, nobody wants the export any more."""
    while os.read(0, 1):
        pass
    os._exit(_FAILED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
