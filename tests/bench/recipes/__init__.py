"""Make the rivals' models out of the demo model's GGUF file; they run in optimum's environment."""
