"""One fixture: inputs and outputs of the official code, and how far our outputs may be from them."""

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
    """The largest absolute difference of one output, and the tolerance of its fixture.

    Some outputs have a tolerance per leading index. Then both numbers are of the index nearest to its limit.
    """

    family: str
    case: str
    output: str
    error: float
    tolerance: float

    @property
    def ok(self) -> bool:
        return self.error <= self.tolerance  # false for NaN

    @property
    def share(self) -> float:
        """Error over tolerance. Infinite for an error above a tolerance of 0, and for NaN."""
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
        """Official class_labels (B classes) or y (B), None if the case has neither."""
        if "class_labels" in self.inputs:
            return self.inputs["class_labels"]
        return self.inputs["y"].long() if "y" in self.inputs else None

    def card(self, family: str, arch: dict, parameterisation: str = "eps") -> ModelCard:
        """A model card for the network of the case. Level n of the schedule is fed as t = n - 1."""
        given = next(self.inputs[name] for name in ("x", "x_T", "x_N", "latents", "x_full") if name in self.inputs)
        shape, schedule = tuple(given.shape[-3:]), Schedule() if parameterisation == "edm" else self.schedule
        return ModelCard(self.name, family, arch, shape, "none", None, parameterisation, schedule, time_shift=-1.0)

    @property
    def schedule(self) -> Schedule:
        """The schedule of the input `betas`, or of the config. Raises ValueError if none of ours has these betas."""
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
        known = "linear, scaled_linear, cosine"
        raise ValueError(f"the betas of {self.family}/{self.name} are of no known schedule; known: {known}")

    def check(self, output: str, found) -> Check:
        """Compare our value of an output with the official value."""
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
        """Compare lists (steps, calls) that must be equal. The error is the number of differences."""
        differences = len(set(found) ^ set(expected)) if len(found) != len(expected) else 0
        differences += sum(ours != theirs for ours, theirs in zip(found, expected))
        return Check(self.family, self.name, output, float(differences), 0.0)


def cases(folder: Path, family: str) -> Iterator[Case]:
    """The cases of a family, in the order of their names."""
    for path in sorted((folder / family).glob("*.json")):
        yield Case(folder, family, path.stem)
