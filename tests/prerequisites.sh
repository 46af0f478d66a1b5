#!/usr/bin/env bash
# What the tests need besides Python packages: a Chromium for the page tests. Installed where apt and root are at hand.
set -euo pipefail
if command -v chromium >/dev/null || command -v chromium-browser >/dev/null || [ -n "${PLAYWRIGHT_CHROMIUM:-}" ]; then exit 0; fi
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  echo "Installing Chromium for the page tests..."
  apt-get update -qq >/dev/null
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null
else
  echo "error: the page tests need a Chromium: install the package 'chromium', or set PLAYWRIGHT_CHROMIUM=/path/to/chrome" >&2
  exit 1
fi
