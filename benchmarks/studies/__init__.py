"""Studies of the suite itself: do its verdicts hold, and how fast is it beside other packages? They run from a checkout
and are not in the wheel: `python benchmarks/studies/calibrate.py`, `python benchmarks/studies/speed.py`."""
