"""A package that is not exactly what the builder wrote is never loaded."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ai_assistant.engine.model_package import Manifest, RopeScaling, load_package
from ai_assistant.errors import ModelPackageError
from ai_assistant.provision.build import build_package


@pytest.fixture(scope="module")
def built(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_package(str(tiny_gguf), store=tmp_path_factory.mktemp("store"))


@pytest.fixture
def package(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "package"))


def test_a_whole_package_verifies_wherever_it_lies(package: Path) -> None:
    loaded = load_package(package, verify=True)
    assert loaded.graph_path.is_file()
    assert loaded.tokenizer_path.is_file()
    assert loaded.chat_template_path == package / "chat_template.jinja"
    assert loaded.manifest.graph_contract == "gqa-slots/1"


def test_a_manifest_from_before_a_field_keeps_its_digest() -> None:
    architecture = {
        "family": "llama",
        "layers": 2,
        "hidden_size": 64,
        "heads": 4,
        "kv_heads": 2,
        "head_size": 16,
        "intermediate_size": 96,
        "vocab_size": 262,
        "max_positions": 512,
        "rope_theta": 5000.0,
        "rms_norm_eps": 1e-05,
    }
    manifest = Manifest.model_validate(
        {
            "digest": "a4f08a29bf72c00ecbd754f7bfe94bbd",
            "files": {},
            "source": {"given": "m.gguf", "resolved": "m.gguf", "sha256": "0" * 64},
            "architecture": architecture,
            "precision": "fp32",
            "kv_bytes_per_token": 512,
            "eos_token_ids": (2,),
            "tokenizer_sha256": "0" * 64,
            "min_onnxruntime": "1.32",
        }
    )
    assert manifest.content_digest() == manifest.digest
    assert json.loads(manifest.to_json())["architecture"] == architecture


def test_scaled_rotations_and_a_window_are_in_the_manifest(package: Path) -> None:
    manifest = load_package(package).manifest
    scaling = RopeScaling(kind="llama3", divisors=(1.0, 1.3333333333333333, 8.0))
    architecture = manifest.architecture.model_copy(update={"rope_scaling": scaling, "sliding_window": 4096})
    changed = manifest.model_copy(update={"architecture": architecture}).with_digest()
    assert changed.digest != manifest.digest
    (package / "manifest.json").write_text(changed.to_json())
    assert load_package(package, verify=True).manifest.architecture == architecture


def test_tampered_bytes_are_found_by_verify(package: Path) -> None:
    data = package / "model.onnx.data"
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    load_package(package)
    with pytest.raises(ModelPackageError, match=r"model.onnx.data is damaged .*ai-assistant model build"):
        load_package(package, verify=True)


def test_a_changed_manifest_is_found_by_verify(package: Path) -> None:
    file = package / "manifest.json"
    file.write_text(file.read_text().replace('"pad_rows_to_multiple": 1', '"pad_rows_to_multiple": 2'))
    with pytest.raises(ModelPackageError, match=r"manifest.json was changed after the build"):
        load_package(package, verify=True)


def change(key: str, value: object) -> Callable[[Path], None]:
    def damage(package: Path) -> None:
        file = package / "manifest.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))

    return damage


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda package: (package / "tokenizer.json").unlink(), "tokenizer.json is missing"),
        (lambda package: (package / "model.onnx").write_bytes(b"short"), "model.onnx has 5 bytes instead of"),
        (lambda package: (package / "manifest.json").write_text("{"), "manifest.json is not JSON"),
        (lambda package: (package / "manifest.json").write_bytes(b"\xff\xfe"), "manifest.json is not JSON"),
        (lambda package: (package / "manifest.json").write_text("[]"), "format version None"),
        (lambda package: (package / "manifest.json").unlink(), "is not a model package: it has no manifest.json"),
        (shutil.rmtree, "There is no model package"),
        (change("format_version", 7), "has format version 7, this release reads 1"),
        (change("eos_token_ids", []), "not valid .eos_token_ids"),
        (change("surprise", 1), "not valid .surprise"),
        (change("files", {"../x": {"sha256": "0" * 64, "bytes": 1}}), "not a plain file name"),
        (change("files", {}), "does not list model.onnx"),
    ],
)
def test_a_broken_package_says_what_is_broken(package: Path, damage: Callable[[Path], None], sentence: str) -> None:
    damage(package)
    with pytest.raises(ModelPackageError, match=sentence) as caught:
        load_package(package)
    assert "ai-assistant model build" in caught.value.message
