"""Which well-known model takes how much memory: computed from the numbers of their published configurations."""

from __future__ import annotations

from dataclasses import dataclass

from ai_assistant.engine.device import CPU
from ai_assistant.engine.model_package import Architecture
from ai_assistant.provision.graph import PRECISIONS, execution_providers, graph_bytes, kv_bytes_per_token
from ai_assistant.provision.memory import bytes_to_build, bytes_to_run


@dataclass(frozen=True)
class KnownModel:
    """A model that people ask for, by the name of its repository."""

    name: str
    architecture: Architecture
    is_tied: bool

    @property
    def parameters(self) -> int:
        """Numbers in its matrices; norms and biases are far below a thousandth."""
        a = self.architecture
        attention = a.hidden_size * a.head_size * (2 * a.heads + 2 * a.kv_heads)
        tables = a.vocab_size * a.hidden_size * (1 if self.is_tied else 2)
        return tables + a.layers * (attention + 3 * a.hidden_size * a.intermediate_size)


def _model(name: str, *numbers: int, is_tied: bool = True) -> KnownModel:
    """Layers, hidden size, heads, key/value heads, head size, inner size, vocabulary, positions."""
    layers, hidden, heads, kv_heads, head, inner, vocabulary, positions = numbers
    architecture = Architecture(
        family="llama",
        layers=layers,
        hidden_size=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_size=head,
        intermediate_size=inner,
        vocab_size=vocabulary,
        max_positions=positions,
        rope_theta=1e4,
        rms_norm_eps=1e-5,
    )
    return KnownModel(name, architecture, is_tied)


KNOWN_MODELS = (
    _model("HuggingFaceTB/SmolLM2-135M-Instruct", 30, 576, 9, 3, 64, 1536, 49152, 8192),
    _model("HuggingFaceTB/SmolLM2-360M-Instruct", 32, 960, 15, 5, 64, 2560, 49152, 8192),
    _model("HuggingFaceTB/SmolLM2-1.7B-Instruct", 24, 2048, 32, 32, 64, 8192, 49152, 8192),
    _model("Qwen/Qwen2.5-0.5B-Instruct", 24, 896, 14, 2, 64, 4864, 151936, 32768),
    _model("Qwen/Qwen2.5-1.5B-Instruct", 28, 1536, 12, 2, 128, 8960, 151936, 32768),
    _model("Qwen/Qwen2.5-3B-Instruct", 36, 2048, 16, 2, 128, 11008, 151936, 32768),
    _model("Qwen/Qwen2.5-7B-Instruct", 28, 3584, 28, 4, 128, 18944, 152064, 32768, is_tied=False),
    _model("Qwen/Qwen3-0.6B", 28, 1024, 16, 8, 128, 3072, 151936, 40960),
    _model("Qwen/Qwen3-1.7B", 28, 2048, 16, 8, 128, 6144, 151936, 40960),
    _model("Qwen/Qwen3-4B", 36, 2560, 32, 8, 128, 9728, 151936, 40960),
    _model("Qwen/Qwen3-8B", 36, 4096, 32, 8, 128, 12288, 151936, 40960, is_tied=False),
    _model("meta-llama/Llama-3.2-1B-Instruct", 16, 2048, 32, 8, 64, 8192, 128256, 131072),
    _model("meta-llama/Llama-3.2-3B-Instruct", 28, 3072, 24, 8, 128, 8192, 128256, 131072),
    _model("meta-llama/Llama-3.1-8B-Instruct", 32, 4096, 32, 8, 128, 14336, 128256, 131072, is_tied=False),
    _model("mistralai/Mistral-7B-Instruct-v0.3", 32, 4096, 32, 8, 128, 14336, 32768, 32768, is_tied=False),
)


def size_table() -> tuple[list[str], list[list[str]]]:
    """Heading and rows: parameters, weights per precision, keys and values per 1000 tokens, memory to run and to build."""
    on_cpu = [name for name in PRECISIONS if execution_providers(name)[0] == CPU]
    on_gpu = [name for name in PRECISIONS if name not in on_cpu]
    heading = [
        "Model",
        "Parameters",
        *on_cpu,
        *on_gpu,
        "1000 tokens, CPU / GPU",
        "RAM to build",
        "RAM to run int8",
        "GPU memory to run fp16",
    ]
    return heading, [_row(model, on_cpu, on_gpu) for model in KNOWN_MODELS]


def _row(model: KnownModel, on_cpu: list[str], on_gpu: list[str]) -> list[str]:
    architecture = model.architecture
    weights = [_gigabytes(graph_bytes(architecture, name, is_tied=model.is_tied)) for name in (*on_cpu, *on_gpu)]
    context = " / ".join(f"{1000 * kv_bytes_per_token(architecture, name) / 1e6:.0f}" for name in (on_cpu[0], on_gpu[0]))
    return [
        model.name,
        f"{model.parameters / 1e9:.2f} B" if model.parameters >= 1e9 else f"{model.parameters / 1e6:.0f} M",
        *weights,
        f"{context} MB",
        _gigabytes(bytes_to_build(architecture, "int8", "fp32")),
        _gigabytes(bytes_to_run(architecture, "int8")),
        _gigabytes(bytes_to_run(architecture, "fp16", is_tied=model.is_tied)),
    ]


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
