"""`python -m bench.recipes.optimum_export CHECKPOINT TARGET`: optimum's own ONNX export, with keys and values."""

from __future__ import annotations

import sys

from optimum.exporters.onnx import main_export

if __name__ == "__main__":
    main_export(sys.argv[1], output=sys.argv[2], task="text-generation-with-past", library_name="transformers", device="cpu")
