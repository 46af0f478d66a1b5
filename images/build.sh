#!/usr/bin/env bash
# Builds the container images with docker or buildah.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'HELP'
Usage: images/build.sh [TARGET...]        targets: gateway worker bot (default: these), worker-cuda

Makes the images PREFIX-TARGET:TAG from images/Dockerfile.

Environment:
  TAG         tag of the images             [dev]
  PREFIX      first part of their names     [ai-assistant]; with a registry: registry.example.org/team/ai-assistant
  BASE_IMAGE  image with Python >= 3.11     [the Dockerfile's], for example one from your own registry
  BUILDER     docker or buildah             [what is installed, docker first]
  BUILD_ARGS  more arguments for the builder, split at spaces, for example: --pull --network host

The packages come from pip's usual index; for another one pass it at build time, as pip.conf of your BASE_IMAGE.
HELP
}

targets=()
for argument in "$@"; do
  case "$argument" in
    -h | --help)
      usage
      exit 0
      ;;
    gateway | worker | worker-cuda | bot) targets+=("$argument") ;;
    *)
      echo "error: $argument is not a target: gateway, worker, worker-cuda or bot (see --help)" >&2
      exit 2
      ;;
  esac
done
[ ${#targets[@]} -gt 0 ] || targets=(gateway worker bot)

builder=${BUILDER:-}
if [ -z "$builder" ]; then
  for candidate in docker buildah; do
    if command -v "$candidate" >/dev/null; then
      builder=$candidate
      break
    fi
  done
fi
case "$builder" in
  docker) build=(docker build) ;;
  buildah) build=(buildah build --format docker) ;; # the OCI format has no health checks
  "")
    echo "error: neither docker nor buildah is installed" >&2
    exit 1
    ;;
  *)
    echo "error: BUILDER must be docker or buildah, not $builder" >&2
    exit 2
    ;;
esac

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml | head -n 1)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
arguments=(--file images/Dockerfile --build-arg "VERSION=$version" --build-arg "REVISION=$revision")
[ -z "${BASE_IMAGE:-}" ] || arguments+=(--build-arg "BASE_IMAGE=$BASE_IMAGE")

for target in "${targets[@]}"; do
  image="${PREFIX:-ai-assistant}-$target:${TAG:-dev}"
  echo "Building $image..."
  # shellcheck disable=SC2086 # BUILD_ARGS is meant to be split
  "${build[@]}" "${arguments[@]}" --target "$target" --tag "$image" ${BUILD_ARGS:-} .
done
