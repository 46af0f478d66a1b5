"""The engine: token ids in, token ids and step statistics out.

It knows nothing of settings, metrics, queues or databases, and its clock is passed in. Reading order is the life of a
request: `sequence`, `llm_engine`, `scheduler` (decides) with `prefill_budget` and `parked_rows`, `kv_cache` (accounts),
`model_runner` (computes), `sampler`, `step_output`; then text: `tokenizer`, `prompt`, `text_stream`.
"""
