"""What has to hold for any model runner is tested with the fake here and with a real model among the integration tests."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ai_assistant.engine import try_command
from ai_assistant.engine.backends import load_runner
from ai_assistant.engine.backends.fake import FakeRunner
from ai_assistant.engine.config import EngineConfig
from ai_assistant.engine.kv_cache import KVCache
from ai_assistant.engine.model_package import Manifest, ModelPackage
from ai_assistant.errors import UnsupportedModelError


def test_an_unknown_graph_is_refused_by_name(tmp_path: Path) -> None:
    package = ModelPackage(tmp_path, Manifest.model_construct(graph_contract="paged/9"))
    with pytest.raises(UnsupportedModelError, match="paged/9"):
        load_runner(package, EngineConfig())


def test_the_fake_notices_a_row_that_was_never_written() -> None:
    runner = FakeRunner()
    runner.resize(2, 8, [])
    runner.prefill(0, [1, 2], 0)
    with pytest.raises(AssertionError, match="Row 1"):
        runner.decode([3, 4], [2, 1])


def test_capacity_comes_in_classes_and_memory_limits_rows() -> None:
    cache = KVCache(EngineConfig(num_slots=8, kv_memory_bytes=16 * 2048), FakeRunner(max_positions=3000))
    assert cache.max_context == 2048
    assert [cache.capacity_for(length) for length in (0, 1, 256, 257, 1500, 2048)] == [256, 256, 256, 512, 2048, 2048]
    assert [cache.rows_for(length) for length in (1, 257, 600, 2000)] == [8, 4, 2, 1]
    cache.capacity = 1024
    assert [cache.new_capacity(length) for length in (1100, 700)] == [2048, 1024]
    roomy = KVCache(EngineConfig(num_slots=8), FakeRunner())
    roomy.capacity = 1024
    assert [roomy.new_capacity(length) for length in (1100, 300, 200)] == [2048, 1024, 256]


@pytest.fixture
def cli() -> CliRunner:
    return CliRunner()


def command(cli: CliRunner, *arguments: str) -> tuple[int, str]:
    import typer

    app = typer.Typer()
    app.command()(try_command.try_model)
    result = cli.invoke(app, list(arguments))
    return result.exit_code, result.output


def test_try_answers_a_bad_package_with_one_sentence(cli: CliRunner, tmp_path: Path) -> None:
    code, output = command(cli, str(tmp_path), "hello")
    assert code == 1
    assert output.startswith("error: ")
    assert output.count("\n") == 1


@pytest.mark.parametrize("content", ["[", "{}", '[{"role": 1, "content": "x"}]'])
def test_try_answers_a_bad_message_file_with_one_sentence(cli: CliRunner, tmp_path: Path, content: str) -> None:
    file = tmp_path / "messages.json"
    file.write_text(content)
    code, output = command(cli, str(tmp_path), "--messages", str(file))
    assert code == 1
    assert str(file) in output.replace("\n", "")


def test_importing_the_command_loads_no_heavy_library() -> None:
    heavy = "{'numpy', 'onnxruntime', 'tokenizers', 'jinja2'}"
    program = f"import sys, ai_assistant.engine.try_command; print({heavy} & {{*sys.modules}})"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
