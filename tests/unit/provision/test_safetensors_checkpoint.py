"""A checkpoint folder: every weight under its name, one at a time, and no token that the tokenizer does not have."""

import functools
import json
import math
import operator
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from ai_assistant.errors import ModelPackageError, UnsupportedModelError
from ai_assistant.provision.checkpoint import LAYER_WEIGHTS, OPTIONAL_LAYER_WEIGHTS
from ai_assistant.provision.checkpoints import open_checkpoint
from ai_assistant.provision.graph import write_graph
from ai_assistant.provision.graph_session import GraphSession
from ai_assistant.provision.safetensors_checkpoint import SafetensorsCheckpoint
from unit.provision.tiny_checkpoint import tensors_of, write_checkpoint, write_safetensors
from unit.provision.tiny_llama import HIDDEN, LAYERS, VOCABULARY, TinyLlama

BIASES = {"attention_bias": True, "mlp_bias": True}
UP = "model.layers.1.mlp.up_proj.weight"


def test_every_weight_has_its_name(tiny: TinyLlama, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write_checkpoint(tmp_path, tiny))
    assert isinstance(checkpoint, SafetensorsCheckpoint)
    names = ("norm1", "q", "k", "v", "o", "norm2", "gate", "up", "down")
    for index in range(LAYERS):
        for ours, theirs in zip(LAYER_WEIGHTS, names, strict=True):
            np.testing.assert_array_equal(checkpoint.layer(index, ours), tiny.weights[f"{index}.{theirs}"])
    assert {checkpoint.optional_layer(0, weight) is None for weight in OPTIONAL_LAYER_WEIGHTS} == {True}
    np.testing.assert_array_equal(checkpoint.embedding(), tiny.weights["embed"])
    np.testing.assert_array_equal(checkpoint.lm_head(), tiny.weights["embed"])
    np.testing.assert_array_equal(checkpoint.output_norm(), tiny.weights["norm"])


def test_optional_weights_have_their_names(tmp_path: Path) -> None:
    tiny = TinyLlama(is_tied=False, has_biases=True)
    checkpoint = open_checkpoint(write_checkpoint(tmp_path, tiny, config=BIASES))
    names = {"query": "q", "key": "k", "value": "v", "attention_output": "o", "gate": "gate", "up": "up", "down": "down"}
    for ours, theirs in names.items():
        np.testing.assert_array_equal(checkpoint.optional_layer(1, f"{ours}_bias"), tiny.weights[f"1.{theirs}_bias"])
    assert checkpoint.optional_layer(1, "query_norm") is None
    np.testing.assert_array_equal(checkpoint.lm_head(), tiny.weights["head"])


@pytest.mark.parametrize("is_tied", [True, False])
def test_rows_that_name_no_token_are_not_in_the_model(tmp_path: Path, is_tied: bool) -> None:
    """Qwen2 pads its vocabulary; here the padding would win every time."""
    tiny = TinyLlama(is_tied=is_tied, seed=3)
    tensors = tensors_of(tiny)
    for name in {"model.embed_tokens.weight", "lm_head.weight"} & tensors.keys():
        tensors[name] = np.concatenate([tensors[name], np.full((10, HIDDEN), 50, np.float32)])
    folder = write_checkpoint(tmp_path / "m", tiny, config={"vocab_size": VOCABULARY + 10}, tensors=tensors)
    checkpoint = open_checkpoint(folder)
    assert checkpoint.architecture.vocab_size == VOCABULARY
    write_graph(checkpoint, tmp_path, precision="fp32")
    logits = GraphSession(tmp_path / "model.onnx", checkpoint.architecture).logits([5, 100, 7])
    np.testing.assert_allclose(logits, tiny.logits([5, 100, 7]), atol=2e-4)


def test_an_output_matrix_that_is_saved_twice_is_not_read(tiny: TinyLlama, tmp_path: Path) -> None:
    tensors = tensors_of(tiny) | {"lm_head.weight": np.zeros((VOCABULARY, HIDDEN), np.float32)}
    checkpoint = open_checkpoint(write_checkpoint(tmp_path, tiny, tensors=tensors))
    np.testing.assert_array_equal(checkpoint.lm_head(), tiny.weights["embed"])


def test_tables_that_follow_from_the_config_are_passed_over(tiny: TinyLlama, tmp_path: Path) -> None:
    tensors = tensors_of(tiny) | {"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(8, np.float32)}
    open_checkpoint(write_checkpoint(tmp_path, tiny, tensors=tensors))


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({UP: None}, ModelPackageError, rf"no tensor {UP} \(1 missing\)"),
        ({UP: np.ones((3, HIDDEN), np.float32)}, ModelPackageError, rf"{UP} has the shape \(3, 64\) instead of \(96, 64\)"),
        ({"model.norm.weight": np.ones((HIDDEN, 1), np.float32)}, ModelPackageError, r"\(64, 1\) instead of \(64,\)"),
        (
            {"model.layers.0.self_attn.q_proj.bias": np.ones(64, np.float32)},
            UnsupportedModelError,
            "does not explain .*q_proj.bias",
        ),
        ({"model.layers.2.mlp.up_proj.weight": np.ones(4, np.float32)}, UnsupportedModelError, "does not explain"),
    ],
)
def test_tensors_and_config_must_belong_together(
    tiny: TinyLlama, tmp_path: Path, changes: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    tensors = {name: values for name, values in (tensors_of(tiny) | changes).items() if values is not None}
    with pytest.raises(error, match=sentence):
        open_checkpoint(write_checkpoint(tmp_path, tiny, tensors=tensors))


def test_an_untied_model_needs_its_output_matrix(tiny: TinyLlama, tmp_path: Path) -> None:
    with pytest.raises(ModelPackageError, match=r"no tensor lm_head.weight"):
        open_checkpoint(write_checkpoint(tmp_path, tiny, config={"tie_word_embeddings": False}))


def test_more_layers_than_tensors_are_refused_at_once(tiny: TinyLlama, tmp_path: Path) -> None:
    with pytest.raises(ModelPackageError, match="too few tensors for 2000000000 layers"):
        open_checkpoint(write_checkpoint(tmp_path, tiny, config={"num_hidden_layers": 2_000_000_000}))


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlibrary_name: x\nlicense: apache-2.0\n---\n# Tiny", "apache-2.0"),
        ("---\nlicense: 'llama3.2'\n---", "llama3.2"),
        ("# Tiny\nlicense: mit", None),
        (None, None),
    ],
)
def test_the_licence_is_in_the_model_card(tiny: TinyLlama, tmp_path: Path, card: str | None, licence: str | None) -> None:
    folder = write_checkpoint(tmp_path, tiny)
    if card:
        (folder / "README.md").write_text(card)
    assert open_checkpoint(folder).licence == licence


def test_a_model_is_never_in_memory_whole(tmp_path: Path) -> None:
    """48 layers of bf16: converting takes the memory of the largest product's weights, not of the model."""
    tiny, layers = TinyLlama(), 48
    shapes = {name: values for name, values in tensors_of(tiny).items() if name.startswith("model.layers.0.")}
    tensors = {name: values for name, values in tensors_of(tiny).items() if ".layers." not in name}
    for index in range(layers):
        for name, values in shapes.items():
            bits = (values.view(np.uint32) >> 16).astype(np.uint16)
            tensors[name.replace(".0.", f".{index}.", 1)] = bits
    folder = write_checkpoint(tmp_path / "m", tiny, config={"num_hidden_layers": layers}, tensors=tensors)
    checkpoint = open_checkpoint(folder)
    tracemalloc.start()
    write_graph(checkpoint, tmp_path, precision="fp32")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < (tmp_path / "model.onnx.data").stat().st_size / 4


# Opening


def test_what_is_no_model_says_why(tiny: TinyLlama, tmp_path: Path) -> None:
    with pytest.raises(ModelPackageError, match=r"is not a model: it has no config.json"):
        open_checkpoint(tmp_path)
    (tmp_path / "some.gguf").touch()
    with pytest.raises(UnsupportedModelError, match=r"GGUF files; name one of them, such as some.gguf"):
        open_checkpoint(tmp_path)
    weights = write_safetensors(tmp_path / "model.safetensors", tensors_of(tiny))
    with pytest.raises(UnsupportedModelError, match="name the folder that holds it"):
        open_checkpoint(weights)
    with pytest.raises(ModelPackageError, match="cannot be read"):
        open_checkpoint(tmp_path / "gone")


def test_a_gguf_file_is_known_by_its_first_bytes(tiny: TinyLlama, tmp_path: Path) -> None:
    assert open_checkpoint(tiny.write_gguf(tmp_path / "model.bin")).name == "Tiny"


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to everything in a JSON value, to no more than five things of one long list or object."""
    children = [*value.items()] if isinstance(value, dict) else [*enumerate(value)] if isinstance(value, list) else []
    for key, child in children if len(children) < 25 else children[-5:]:
        yield (*path, key)
        yield from places(child, (*path, key))


def test_no_damaged_file_is_a_surprise(tiny: TinyLlama, tmp_path: Path) -> None:
    folder, random = write_checkpoint(tmp_path, tiny), Random(0)
    values = [None, [], {}, "x", "2", "\ud800", -1, 1.5, math.inf, math.nan, True, [[]], [{}], {"a": []}, 10**30]
    refused = 0
    for name in ("config.json", "tokenizer_config.json", "tokenizer.json"):
        original = (folder / name).read_text()
        for _ in range(100):
            changed = json.loads(original)
            *way, last = random.choice([*places(changed)])
            functools.reduce(operator.getitem, way, changed)[last] = random.choice(values)
            (folder / name).write_text(json.dumps(changed))
            try:
                open_checkpoint(folder)
            except (ModelPackageError, UnsupportedModelError):
                refused += 1
        (folder / name).write_text(original)
    open_checkpoint(folder)
    assert refused > 100
