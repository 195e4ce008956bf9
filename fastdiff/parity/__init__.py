"""Our numbers beside those of the official code: every case of a folder of fixtures, family by family."""

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
    """All checks of all cases in a folder laid out as tests/fixtures/README.md says, and the outputs that no check
    covers, by family. Raises FileNotFoundError where there is no case at all."""
    found = [case for family in FAMILIES for case in cases(folder, family)]
    if not found:
        raise FileNotFoundError(f"no fixture of {', '.join(FAMILIES)} in {folder}; give the folder that holds them")
    checks, uncovered = [], {}
    for case in progress(found):
        made = list(FAMILIES[case.family](case))
        checks += made
        covered = {check.output for check in made}
        uncovered.setdefault(case.family, []).extend(
            f"{case.name}/{output}" for output in case.outputs if output not in covered
        )
    return checks, uncovered
