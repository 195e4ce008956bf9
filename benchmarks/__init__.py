"""Entry points: thin, one per make target. `python benchmarks/run.py` and `fastdiff run` are the same."""
