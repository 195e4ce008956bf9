"""One fixture: what the official code was given, what it gave, and how far we may be from it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from fastdiff.diffusion.schedules import Schedule, sigma_of
from fastdiff.files import read_json
from fastdiff.weights.model_card import ModelCard


class Check(NamedTuple):
    """Largest absolute difference of one output, and the tolerance its fixture sets. Of an output with a tolerance for
    each leading index, the index that is nearest to its limit."""

    family: str
    case: str
    output: str
    error: float
    tolerance: float

    @property
    def ok(self) -> bool:
        return self.error <= self.tolerance  # NaN is not

    @property
    def share(self) -> float:
        """How much of the tolerance is used; infinite where there is none to use, or no number to use it."""
        if not self.ok:
            return self.error / self.tolerance if self.tolerance and not math.isnan(self.error) else math.inf
        return self.error / self.tolerance if self.tolerance else 0.0


@dataclass(frozen=True)
class Case:
    """`<folder>/<family>/<name>.safetensors` and the json beside it (origin, config, call, tolerances)."""

    folder: Path
    family: str
    name: str

    @cached_property
    def facts(self) -> dict:
        return read_json(self.folder / self.family / f"{self.name}.json")

    @cached_property
    def _tensors(self) -> dict[str, torch.Tensor]:
        from safetensors.torch import load_file

        return load_file(self.folder / self.family / f"{self.name}.safetensors")

    def _part(self, kind: str) -> dict[str, torch.Tensor]:
        return {name.partition("/")[2]: t for name, t in self._tensors.items() if name.startswith(f"{kind}/")}

    @cached_property
    def inputs(self) -> dict[str, torch.Tensor]:
        return self._part("inputs")

    @cached_property
    def outputs(self) -> dict[str, torch.Tensor]:
        return self._part("outputs")

    @cached_property
    def weights_case(self) -> "Case":
        """The case that holds the weights."""
        family, _, name = self.facts.get("weights_from", f"{self.family}/{self.name}").partition("/")
        return replace(self, family=family, name=name)

    @property
    def state(self) -> dict[str, torch.Tensor]:
        """The official state dict."""
        return self.weights_case._part("weights")

    @property
    def labels(self) -> torch.Tensor | None:
        """Official class_labels (B classes) or y (B), where the case has them."""
        if "class_labels" in self.inputs:
            return self.inputs["class_labels"]
        return self.inputs["y"].long() if "y" in self.inputs else None

    def card(self, family: str, arch: dict, parameterisation: str = "eps") -> ModelCard:
        """A model card for the case's network; `betas` among the inputs tell the schedule, t = n - 1 the time."""
        given = next(self.inputs[name] for name in ("x", "x_T", "x_N", "latents", "x_full") if name in self.inputs)
        shape, schedule = tuple(given.shape[-3:]), Schedule() if parameterisation == "edm" else self.schedule
        return ModelCard(self.name, family, arch, shape, "none", None, parameterisation, schedule, time_shift=-1.0)

    @property
    def schedule(self) -> Schedule:
        """The schedule with the case's `betas`, or of its config. Raises ValueError when none of ours is it."""
        if "betas" not in self.inputs:
            config = self.facts["config"].get("diffusion", {})
            names = {"num_diffusion_timesteps": "N", "beta_schedule": "name", "beta_start": "beta_start",
                     "beta_end": "beta_end"}  # fmt: skip
            return Schedule(**{ours: config[theirs] for theirs, ours in names.items() if theirs in config})
        betas = self.inputs["betas"].double().numpy()
        betas = betas[1:] if betas[0] == 0 else betas  # Analytic-DPM pads with beta_0 = 0
        ends = float(f"{betas[0]:.6g}"), float(f"{betas[-1]:.6g}")
        for schedule in (Schedule(name, len(betas), *ends) for name in ("linear", "scaled_linear", "cosine")):
            if np.allclose(sigma_of(np.cumprod(1 - betas)), schedule.levels(), rtol=1e-3):
                return schedule
        raise ValueError(f"{self.family}/{self.name} has betas of no schedule that is known here")

    def check(self, output: str, found) -> Check:
        """Our value of an output beside the official one."""
        expected = self.outputs[output].double()
        found = found if isinstance(found, torch.Tensor) else torch.from_numpy(np.array(found))
        found = found.detach().double()
        if found.shape != expected.shape:
            return Check(self.family, self.name, output, math.inf, 0.0)
        tolerances = self.facts.get("tolerance_abs_per_leading_index", {}).get(f"outputs/{output}")
        if tolerances is None:
            tolerances = [self.facts["tolerance_abs"][f"outputs/{output}"]]
        errors = (found - expected).abs().reshape(len(tolerances), -1).amax(1).tolist()
        checks = [Check(self.family, self.name, output, *pair) for pair in zip(errors, tolerances)]
        return max(checks, key=lambda check: check.share)

    def exact(self, output: str, found: list, expected: list) -> Check:
        """A list (steps, calls) that has to be the very same: the number of its differences, of which 0 are allowed."""
        differences = len(set(found) ^ set(expected)) if len(found) != len(expected) else 0
        differences += sum(ours != theirs for ours, theirs in zip(found, expected))
        return Check(self.family, self.name, output, float(differences), 0.0)


def cases(folder: Path, family: str) -> Iterator[Case]:
    """The cases of a family, in the order of their names."""
    for path in sorted((folder / family).glob("*.json")):
        yield Case(folder, family, path.stem)
