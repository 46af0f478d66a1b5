"""What config.json says is understood as transformers understands it, or refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from ai_assistant.errors import ModelPackageError, UnsupportedModelError
from ai_assistant.provision.model_config import ModelConfig, read_config

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-05,
    "rope_theta": 500000.0,
    "tie_word_embeddings": True,
    "eos_token_id": [128001, 128008, 128009],
    "attention_dropout": 0.1,
    "torch_dtype": "bfloat16",
}
LLAMA_3 = {
    "factor": 32.0,
    "high_freq_factor": 4.0,
    "low_freq_factor": 1.0,
    "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}
MISTRAL = LLAMA | {"architectures": ["MistralForCausalLM"], "model_type": "mistral"}
QWEN2 = LLAMA | {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}
QWEN3 = LLAMA | {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"}
INPUT_BIASES = {"query_bias", "key_bias", "value_bias"}


def read(folder: Path, content: Any, without: str | None = None) -> ModelConfig:
    if without:
        content = {key: value for key, value in content.items() if key != without}
    (folder / "config.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return read_config(folder)


def test_a_llama_is_read_in_full(tmp_path: Path) -> None:
    config = read(tmp_path, LLAMA | {"rope_scaling": LLAMA_3})
    shape = config.architecture
    assert (shape.family, shape.layers, shape.hidden_size, shape.intermediate_size) == ("llama", 16, 2048, 8192)
    assert (shape.heads, shape.kv_heads, shape.head_size) == (32, 8, 64)
    assert (shape.vocab_size, shape.max_positions, shape.rope_theta, shape.rms_norm_eps) == (128256, 131072, 500000.0, 1e-5)
    assert shape.rope_scaling is not None
    assert (shape.rope_scaling.kind, len(shape.rope_scaling.divisors), shape.rope_scaling.divisors[-1]) == ("llama3", 32, 32.0)
    assert shape.sliding_window is None
    assert (config.is_tied, config.optional_weights, config.eos_token_ids) == (True, set(), (128001, 128008, 128009))


@pytest.mark.parametrize(
    ("given", "name"), [("org/Tiny-1.5B", "org/Tiny-1.5B"), ("/home/me/tiny", None), ("./tiny/1", None), ("", None), (None, None)]
)
def test_a_path_is_no_name(tmp_path: Path, given: str | None, name: str | None) -> None:
    assert read(tmp_path, LLAMA | {"_name_or_path": given}).name == name


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (LLAMA, set()),
        (LLAMA | {"attention_bias": True}, INPUT_BIASES | {"attention_output_bias"}),
        (LLAMA | {"mlp_bias": True}, {"gate_bias", "up_bias", "down_bias"}),
        (MISTRAL | {"attention_bias": True}, set()),
        (QWEN2, INPUT_BIASES),
        (QWEN3, {"query_norm", "key_norm"}),
        (QWEN3 | {"attention_bias": True}, INPUT_BIASES | {"attention_output_bias", "query_norm", "key_norm"}),
    ],
)
def test_each_family_has_its_weights(tmp_path: Path, content: dict[str, Any], expected: set[str]) -> None:
    assert read(tmp_path, content).optional_weights == expected


def test_what_is_missing_means_what_transformers_takes_it_for(tmp_path: Path) -> None:
    oldest = read(
        tmp_path, {key: LLAMA[key] for key in LLAMA if key not in {"rope_theta", "tie_word_embeddings", "architectures"}}
    )
    assert (oldest.architecture.rope_theta, oldest.is_tied) == (10000.0, False)
    assert read(tmp_path, LLAMA, without="num_key_value_heads").architecture.kv_heads == 32
    assert read(tmp_path, MISTRAL, without="num_key_value_heads").architecture.kv_heads == 8
    assert read(tmp_path, MISTRAL | {"num_key_value_heads": None}).architecture.kv_heads == 32
    assert read(tmp_path, QWEN3).architecture.head_size == 128
    assert read(tmp_path, QWEN2).architecture.head_size == 64


def test_transformers_5_writes_rotations_in_one_place(tmp_path: Path) -> None:
    parameters = LLAMA_3 | {"rope_theta": 500000.0}
    new = read(tmp_path, LLAMA | {"rope_parameters": parameters}, without="rope_theta").architecture
    assert new == read(tmp_path, LLAMA | {"rope_scaling": LLAMA_3}).architecture
    plain = {"rope_type": "default", "rope_theta": 7777.0}
    architecture = read(tmp_path, LLAMA | {"rope_parameters": plain}, without="rope_theta").architecture
    assert (architecture.rope_theta, architecture.rope_scaling) == (7777.0, None)


def test_yarn_reaches_as_far_as_its_factor(tmp_path: Path) -> None:
    yarn = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    architecture = read(tmp_path, QWEN2 | {"max_position_embeddings": 32768, "rope_scaling": yarn}).architecture
    assert architecture.max_positions == 131072
    assert architecture.rope_scaling is not None
    assert architecture.rope_scaling.kind == "yarn"


@pytest.mark.parametrize(
    ("content", "window"),
    [
        (MISTRAL | {"sliding_window": 4096}, 4096),
        (MISTRAL | {"sliding_window": None}, None),
        (MISTRAL, 4096),
        (MISTRAL | {"sliding_window": 131072}, None),
        (LLAMA | {"sliding_window": 4096}, None),
        (QWEN2 | {"sliding_window": 4096, "use_sliding_window": False, "max_window_layers": 0}, None),
        (QWEN2 | {"sliding_window": 4096, "use_sliding_window": True, "max_window_layers": 0}, 4096),
        (QWEN2 | {"sliding_window": 4096, "use_sliding_window": True, "max_window_layers": 16}, None),
        (QWEN3 | {"sliding_window": 64, "use_sliding_window": True, "layer_types": ["full_attention"] * 16}, None),
        (QWEN3 | {"sliding_window": 64, "use_sliding_window": True, "layer_types": ["sliding_attention"] * 16}, 64),
    ],
)
def test_the_window_is_that_of_every_layer(tmp_path: Path, content: dict[str, Any], window: int | None) -> None:
    assert read(tmp_path, content).architecture.sliding_window == window


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            {"architectures": ["GemmaForCausalLM"], "model_type": "gemma"},
            "GemmaForCausalLM is not supported directly",
        ),
        ({"architectures": ["MixtralForCausalLM"], "model_type": "mixtral"}, "MixtralForCausalLM"),
        ({"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe"}, "Qwen3MoeForCausalLM"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "LlamaForSequenceClassification is not supported"),
        ({"architectures": None, "model_type": None}, "The architecture of this model is not supported"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, r"quantised \(gptq\).*original weights"),
        ({"quantization_config": {"quant_method": "fp8"}}, r"quantised \(fp8\)"),
        ({"auto_map": {"AutoModelForCausalLM": "modeling.Own"}}, r"code of its own \(auto_map\)"),
        ({"hidden_act": "gelu"}, "hidden_act = gelu"),
        ({"hidden_act": ["silu"]}, "hidden_act = "),
        ({"partial_rotary_factor": 0.5}, r"partial_rotary_factor = 0.5"),
        ({"use_mrope": True}, "use_mrope"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "rope scaling of the kind dynamic"),
        ({"rope_scaling": {"rope_type": "longrope", "factor": 2.0}}, "rope scaling of the kind longrope"),
        ({"rope_scaling": {"factor": 2.0}}, r"rope scaling of the kind \['factor'\]"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2.0, "twist": 3}}, "rope scaling with twist"),
        ({"rope_scaling": {"rope_type": "linear", "factor": "2"}}, "factor"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 0}}, "factor"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "low_freq_factor"),
        (
            {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.25}},
            "partial_rotary_factor",
        ),
        ({"head_dim": 20}, "head size of 20"),
        ({"num_hidden_layers": "16"}, "num_hidden_layers"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"hidden_size": 10**400}, "hidden_size"),
        ({"max_position_embeddings": 2**30}, "max_positions makes no sense"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 1e11, "original_max_position_embeddings": 8}}, "max_positions"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings"),
    ],
)
def test_what_is_not_supported_is_named(tmp_path: Path, content: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UnsupportedModelError, match=sentence):
        read(tmp_path, LLAMA | content)


@pytest.mark.parametrize("key", ["hidden_size", "num_hidden_layers", "vocab_size", "max_position_embeddings"])
def test_a_number_that_everything_hangs_on_must_be_there(tmp_path: Path, key: str) -> None:
    with pytest.raises(UnsupportedModelError, match=rf"config.json .*{key}"):
        read(tmp_path, LLAMA, without=key)


def test_windows_in_some_layers_are_refused(tmp_path: Path) -> None:
    windows = {"sliding_window": 4096, "use_sliding_window": True, "max_window_layers": 4}
    with pytest.raises(UnsupportedModelError, match="in some of its layers only"):
        read(tmp_path, QWEN2 | windows)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "config.json is not JSON"),
        ("[]", "config.json is not a JSON object"),
        (LLAMA | {"num_key_value_heads": 5}, "32 heads cannot share 5"),
        (LLAMA | {"rope_parameters": {"rope_type": "default", "rope_theta": "much"}}, "rope_theta 'much'"),
        (LLAMA | {"rope_scaling": LLAMA_3 | {"low_freq_factor": 4.0}}, "low_freq_factor must be below"),
        (LLAMA | {"eos_token_id": "</s>"}, "config.json names '</s>'"),
        (LLAMA | {"eos_token_id": [1, True]}, "not a token id"),
    ],
)
def test_damage_is_named(tmp_path: Path, content: Any, sentence: str) -> None:
    with pytest.raises(ModelPackageError, match=sentence):
        read(tmp_path, content)
