"""Commands for a terminal: `chat` and `status`. They speak HTTP to a running gateway and nothing else."""
