#!/usr/bin/env bash
# Writes requirements/<extra>.txt and operator/requirements/*.txt: every package with version and hashes, for all platforms, without download addresses.
# Usage: compile.sh BIN-FOLDER [--upgrade]
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$1
shift
"$bin/python" -m pip install --quiet uv
compile() {
  local name=$1
  shift
  "$bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
    --custom-compile-command "make requirements" --output-file "requirements/$name.txt" "$@"
}
# One resolution for all, so that every process runs the same versions; the build tool comes along for the editable install.
compile standalone pyproject.toml --extra standalone --group build "$@"
compile dev pyproject.toml --extra standalone --group build --group dev --constraint requirements/standalone.txt "$@"
for extra in gateway bot; do
  compile "$extra" pyproject.toml --extra "$extra" --constraint requirements/standalone.txt "$@"
done
# A worker without a package builds one, and the same image provisions models.
compile worker pyproject.toml --extra worker --extra provision --constraint requirements/standalone.txt "$@"
# The same with onnxruntime-gpu in the place of onnxruntime; the tests of GPUs run in the environment that `make run` makes for them.
compile standalone-cuda pyproject.toml --extra standalone-cuda --group build --group test \
  --constraint requirements/standalone.txt "$@"
compile worker-cuda pyproject.toml --extra worker-cuda --constraint requirements/standalone.txt "$@"
compile build --group build --constraint requirements/standalone.txt "$@"
# The operator is a distribution of its own, and agrees with none of these.
for name in operator dev; do
  "$bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
    --custom-compile-command "make requirements" --output-file "operator/requirements/$name.txt" operator/pyproject.toml \
    $([ "$name" = operator ] || echo --constraint operator/requirements/operator.txt --group operator/pyproject.toml:build \
      --group operator/pyproject.toml:dev) "$@"
done
# An environment beside the others, which agrees with none of them.
compile export pyproject.toml --extra export "$@"
