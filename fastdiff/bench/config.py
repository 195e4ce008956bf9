"""Settings as they stand in conf/ -> a cell. No torch here: a finished cell is recognised without it."""

import os
import platform
import sys
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

from ..accelerators import DeepCache, SkipTuning
from ..analytic import ScoreNorms
from ..analytic.likelihood_bound import check as check_bound
from ..data import DataCard
from ..knobs import build, coerced
from ..metrics import MetricsCard
from ..samplers import DDIM, SOLVERS
from ..weights.model_card import ModelCard
from .cell import Budget, Cell, Device
from .records import Quality

CARDS = {"data": DataCard, "metrics": MetricsCard, "model": ModelCard}
GROUPS = ("accelerator", "budget", "data", "device", "guidance", "metrics", "model", "sampler")


def cell_of(conf: dict, resolve: bool = True) -> Cell:
    """The groups of conf/config.yaml as plain dicts -> Cell, its cards resolved (digests checked against the files).

    resolve False: no file is looked at. Such a cell has no key of use, but tells its costs.
    Raises ValueError or FileNotFoundError with one sentence for an unknown knob, name or file, or a wrong type.
    """
    missing = [group for group in GROUPS if group not in conf]
    if missing:
        raise ValueError(f"the settings have no group: {', '.join(missing)}")
    for group in GROUPS:
        if group != "guidance" and not isinstance(conf[group], dict):
            raise ValueError(f"{group} is {conf[group]!r}; a member of its group in conf/{group} is needed")
    plans = conf["accelerator"]
    for name in plans:
        if name not in ("analytic", "deepcache", "name", "skip_tuning"):
            raise ValueError(f"accelerator has no plan '{name}'; it has: analytic, deepcache, skip_tuning")
    model, data, metrics = (build(CARDS[group], conf[group], group) for group in ("model", "data", "metrics"))
    if metrics.prompted and model.text is None:
        raise ValueError(f"metrics=clip_score needs a model with prompts, and '{model.name}' has none:"
                         " model=stable_diffusion_15")  # fmt: skip
    if resolve:
        model, data, metrics = (card.resolved() for card in (model, data, metrics))
    if (data.channels, data.size, data.size) != model.image_shape:
        raise ValueError(f"model '{model.name}' makes images {model.image_shape}, but data '{data.name}' has"
                         f" {(data.channels, data.size, data.size)}; choose data of the model's size")  # fmt: skip
    budget = build(Budget, _unnamed(conf["budget"]), "budget")
    if metrics.kind == "classifier" and budget.n < metrics.is_splits:
        raise ValueError(f"budget.n is {budget.n}; metrics.is_splits={metrics.is_splits} needs at least as many images")
    sampler = build(SOLVERS.get(conf["sampler"].get("name"), DDIM), _unnamed(conf["sampler"]), "sampler")
    calls = sampler.calls if getattr(sampler, "optimal", False) else sampler.sigmas
    calls(model)  # refuses steps that the network's noise levels cannot give
    cell = Cell(
        model=model,
        data=data,
        sampler=sampler,
        skip_tuning=build(SkipTuning, plans["skip_tuning"], "accelerator.skip_tuning"),
        deepcache=build(DeepCache, plans["deepcache"], "accelerator.deepcache"),
        score_norms=build(ScoreNorms, plans["analytic"], "accelerator.analytic"),
        metrics=metrics,
        budget=budget,
        device=resolved_device(conf["device"], exact=metrics.bound),
        guidance=coerced(conf["guidance"], float, "guidance"),
    )
    cell.deepcache.full_calls(sampler.calls(model), sampler.asked)  # refuses a schedule that this trajectory has not
    if metrics.bound:
        check_bound(cell)
        if cell.device.compile != "none":
            raise ValueError("metrics=nll takes batches of any size, and graphs have one: use device.compile=none")
    if model.decoder is not None and (cell.analytic or cell.optimal or metrics.bound):
        raise ValueError(f"model '{model.name}' works in latents, and there are no score norms or bounds of latents:"
                         " choose a sampler of variance small, and metrics of images")  # fmt: skip
    return cell


def recorded(record: Quality) -> Cell:
    """The cell that a quality record is of, from the record alone: digests and arch are as recorded, no file is looked
    at. Its device is only a name for its precision, and nothing is known of the files of a decoder or text encoder.

    Raises ValueError or KeyError for what no version of these settings wrote.
    """
    identity, conf = record.identity, record.settings
    generation, metrics = identity["generation"], identity["metrics"]
    network = {name: generation["model"][name] for name in ("arch", "sha256")}
    anywhere = {"name": "cpu", "precision": "float32"}
    cell = cell_of(conf | {"model": conf["model"] | network, "device": anywhere}, resolve=False)
    used = conf["device"] | {"name": "cuda", "precision": generation["precision"]}
    digests = {"sha256": metrics.get("sha256"), "reference_sha256": metrics.get("reference")}
    return replace(
        cell,
        data=replace(cell.data, sha256=identity["reference"]["sha256"]),
        metrics=replace(cell.metrics, **digests),
        device=build(Device, used, "device"),
    )


def card(group: str, name: str) -> DataCard | MetricsCard | ModelCard:
    """A card of conf/data, conf/metrics or conf/model by its file's name, resolved: card("model", "mnist")."""
    import yaml

    if group not in CARDS:
        raise ValueError(f"cards '{group}' is not one of: {', '.join(sorted(CARDS))}")
    folder = files("fastdiff_conf") / group
    names = sorted(path.name.removesuffix(".yaml") for path in folder.iterdir() if path.name.endswith(".yaml"))
    if name not in names:
        raise ValueError(f"{group} '{name}' is not one of: {', '.join(names)}")
    return build(CARDS[group], yaml.safe_load((folder / f"{name}.yaml").read_text()), group).resolved()


def _unnamed(group: dict) -> dict:
    """A preset's name is a label for people; what is measured are its fields."""
    return {name: value for name, value in group.items() if name != "name"}


def resolved_device(settings: dict, exact: bool = False) -> Device:
    """`auto` -> cuda where there is a GPU, else cpu; precision `auto` -> bfloat16 where the device computes in it.

    exact: `auto` means float32. Likelihoods: rounding to bfloat16 cost the embedded network 0.05 bits a dimension.
    """
    name, precision = settings.get("name", "auto"), settings.get("precision", "auto")
    kind = str(name).split(":")[0]
    if kind not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device '{name}' is not one of: auto, cpu, cuda, cuda:<number>")
    if name == "auto":
        name = "cuda" if _cuda() else "cpu"
    elif kind == "cuda" and not _cuda():
        raise ValueError(f"device '{name}' was asked for, but torch finds no GPU; use device=cpu")
    if precision == "auto":
        fast = not exact and (_cpu_has_bfloat16() if name == "cpu" else _gpu_has_bfloat16(name))
        precision = "bfloat16" if fast else "float32"
    return build(Device, {**settings, "name": name, "precision": precision}, "device")


def _cuda() -> bool:
    if sys.platform == "linux" and not Path("/dev/nvidiactl").exists() and not Path("/dev/dxg").exists():
        return False  # no driver: torch need not be imported to say so
    import torch

    return torch.cuda.is_available()


def _cpuinfo(field: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(field)), "")


def _cpu_has_bfloat16() -> bool:
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(_cpuinfo("flags").split())


def _gpu_has_bfloat16(name: str) -> bool:
    """From compute capability 8.0 (Ampere) on; older ones emulate it."""
    import torch

    return torch.cuda.get_device_capability(name) >= (8, 0)


def device_name(device: Device) -> str:
    """What a speed record is filed under: a CPU figure never stands in for a GPU's."""
    if device.name == "cpu":
        return f"{_cpuinfo('model name') or platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    import torch

    return torch.cuda.get_device_name(device.name)
