"""A cell (a row of the table) in words: its sampler, its steps, the methods at work and what is unusual in them."""

import pandas as pd

from ..accelerators import DeepCache, SkipTuning
from ..accelerators.deepcache import POWER
from ..diffusion.spacing import OPTIMAL
from .rows import cached


def describe(cell) -> str:
    """E.g. `ddpm, 25 steps, interval 3 at branch 2, rho 0.8 to 0.9 (increasing)`."""
    tuned = "" if rho(cell) == "1" else f", rho {rho(cell)}"
    return f"{cell['sampler']}{norms(cell)}, {cell['steps']} steps{f', {cache(cell)}' if cached(cell) else ''}{tuned}"


def methods(cell) -> list[str]:
    """The methods at work in a cell, by their names; none in a plain one."""
    at_work = {"Skip-Tuning": rho(cell) != "1", "DeepCache": cached(cell)}
    at_work["Analytic-DPM"] = cell["variance"] == "analytic"
    return [name for name, works in at_work.items() if works]


def norms(cell) -> str:
    """What is unusual in the norms behind a variance and behind the steps: ` (mse, joint)`, ` (dp)`."""
    spacing = cell["spacing"] if str(cell["spacing"]) in OPTIMAL else None
    return _noted([_unusual(cell, "estimator", "eps_ms"), _unusual(cell, "cached", "base"), spacing])


def rho(cell) -> str:
    """The factors: `0.8`, or `0.8 to 0.9` from the innermost skip to the outermost; `1` is no tuning at all."""
    factors = f"{cell['rho_bottom']:g}" + (f" to {cell['rho_top']:g}" if cell["rho_top"] != 1 else "")
    level = _unusual(cell, "over_level", SkipTuning.over_level)
    notes = [_unusual(cell, "index", SkipTuning.index), f"window {cell['window']}" if level == "window" else level]
    notes += [f"apply {apply}"] if (apply := _unusual(cell, "apply", SkipTuning.apply)) else []
    return factors + _noted(notes)


def cache(cell) -> str:
    """How a cached cell caches: `interval 3 at branch 2`, and where its full calls lie if not evenly."""
    schedule = _unusual(cell, "schedule", DeepCache.schedule)
    if schedule == "list":
        count = len(cell["full"].split(","))
        calls = f"full calls {cell['full']}" if count <= 6 else f"{count} listed full calls"
    else:
        calls = f"interval {cell['interval']:g}"
    notes = [f"centred on call {cell['center']:g}" if schedule == "centred" else None]
    notes += ["quadratic" if schedule == "quadratic" else None]
    power = _unusual(cell, "power", POWER.get(schedule))
    notes += [f"power {power:g}" if power is not None else None, _protection(cell)]
    return f"{calls} at branch {cell['branch']:.0f}{_noted(notes)}"


def _protection(cell) -> str | None:
    ends = {"first": _unusual(cell, "protect_first", 0), "last": _unusual(cell, "protect_last", 0)}
    kept = [f"{end} {count:g}" for end, count in ends.items() if count is not None]
    return f"{' and '.join(kept)} full" if kept else None


def _unusual(cell, knob: str, usual):
    """A knob's value where it is read and not the usual one, else None."""
    return None if pd.isna(cell[knob]) or cell[knob] == usual else cell[knob]


def _noted(notes: list) -> str:
    notes = [note for note in notes if note is not None]
    return f" ({', '.join(notes)})" if notes else ""
