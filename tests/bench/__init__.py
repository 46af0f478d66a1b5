"""`make bench`: this engine beside its rivals, on this machine, with the same prompts and lengths for all.

`rounds` runs the contenders one after the other, each in a process of its own; `results` and `gates` are pure functions of
what they measured; `report` writes docs/benchmarks.md out of docs/benchmarks.json. What runs inside a rival's environment
(`contenders`, `child`, `closed_loop`, `timeline`) needs the standard library and psutil only.
"""
