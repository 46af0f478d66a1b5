"""One module per contender; each runs as a process of its own, `python -m bench.contenders.NAME JOB`."""
