"""Compare our numbers with the numbers of the official code, for every case in a folder of fixtures."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

from . import analytic, metrics, networks, trajectories
from .case import Case, Check, cases

FAMILIES: dict[str, Callable[[Case], Iterator[Check]]] = {
    "adm_unet": networks.adm,
    "analytic": analytic.checks,
    "ddim_unet": networks.ddim,
    "deepcache": trajectories.deepcache,
    "edm_sampler": trajectories.edm_sampler,
    "edm_unet": networks.edm,
    "metrics": metrics.checks,
    "skip_tuning": trajectories.skip_tuning,
}

__all__ = ["FAMILIES", "Case", "Check", "cases", "run"]


def run(folder: Path, progress: Callable = iter) -> tuple[list[Check], dict[str, list[str]]]:
    """Run all cases of a folder with the layout of tests/fixtures/README.md.

    Returns the checks, and by family the outputs that no check covers. A case that cannot run, or whose family has no
    checks here, becomes a failed check with the reason. Raises FileNotFoundError if the folder has no case.
    """
    families = (
        sorted({*FAMILIES, *(path.name for path in folder.iterdir() if path.is_dir())}) if folder.is_dir() else []
    )
    found = [case for family in families for case in cases(folder, family)]
    if not found:
        raise FileNotFoundError(f"no fixture of {', '.join(FAMILIES)} in {folder}; give the folder that holds them")
    checks, uncovered = [], {}
    for case in progress(found):
        made, left = attempt(case)
        checks += made
        uncovered.setdefault(case.family, []).extend(f"{case.name}/{output}" for output in left)
    return checks, uncovered


def attempt(case: Case) -> tuple[list[Check], list[str]]:
    """The checks of a case, and the outputs that no check covers."""
    try:
        if case.family not in FAMILIES:
            raise ValueError(f"family '{case.family}' is not one of: {', '.join(FAMILIES)}")
        made = list(FAMILIES[case.family](case))
        return made, sorted(case.outputs.keys() - {check.output for check in made})
    except Exception as error:  # one bad case must not hide the others
        reason = " ".join(str(error).split()) or type(error).__name__
        return [Check(case.family, case.name, reason, math.inf, 0.0)], []
