"""Settings as they stand in conf/ -> a cell. No torch here: a finished cell is recognised without it."""

from dataclasses import replace

from ..accelerators import ACCELERATORS, Accelerator
from ..analytic import ScoreNorms
from ..data import DataCard
from ..device import Device, resolved_device
from ..knobs import build, coerced
from ..metrics import MetricsCard, metrics_card
from ..registry import load_plugins
from ..samplers import SAMPLERS, Sampler
from ..weights.model_card import ModelCard
from .cell import Budget, Cell
from .cost import calls_of
from .records import Quality

CARDS = {"data": DataCard, "model": ModelCard}
GROUPS = ("accelerator", "budget", "data", "device", "guidance", "metrics", "model", "sampler", "score_norms")


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
    load_plugins(conf.get("plugins", ()))
    model, data, metrics = (build_card(group, conf[group]) for group in ("model", "data", "metrics"))
    if metrics.needs_prompts and model.text is None:
        raise ValueError(f"metrics=clip_score needs a model with prompts, and '{model.name}' has none:"
                         " model=stable_diffusion_15")  # fmt: skip
    if resolve:
        model, data, metrics = (card.resolved() for card in (model, data, metrics))
    if (data.channels, data.size, data.size) != model.image_shape:
        raise ValueError(f"model '{model.name}' makes images {model.image_shape}, but data '{data.name}' has"
                         f" {(data.channels, data.size, data.size)}; choose data of the model's size")  # fmt: skip
    budget = build(Budget, _unnamed(conf["budget"]), "budget")
    sampler = sampler_of(conf["sampler"])
    cell = Cell(
        model=model,
        data=data,
        sampler=sampler,
        accelerators=accelerators_of(conf["accelerator"]),
        score_norms=build(ScoreNorms, conf["score_norms"], "score_norms"),
        metrics=metrics,
        budget=budget,
        device=resolved_device(conf["device"], exact=not metrics.generates_images),
        guidance=coerced(conf["guidance"], float, "guidance"),
        sampler_name=str(conf["sampler"]["name"]),
    )
    calls_of(cell)  # refuses steps and schedules that this network does not have
    metrics.check(cell)
    if model.decoder is not None and (cell.analytic or cell.optimal or not metrics.generates_images):
        raise ValueError(f"model '{model.name}' works in latents, and there are no score norms or bounds of latents:"
                         " choose a sampler of variance small, and metrics of images")  # fmt: skip
    return cell


def sampler_of(settings: dict) -> Sampler:
    """The node `sampler` -> a sampler. `solver` names the class where `name` is a preset of the user's own."""
    cls = SAMPLERS.get(str(settings.get("solver", settings.get("name"))))
    return build(cls, {knob: value for knob, value in settings.items() if knob not in ("name", "solver")}, "sampler")


def accelerators_of(settings: dict) -> tuple[Accelerator, ...]:
    """The nodes of `accelerator` -> accelerators, in the order of the settings. Members may be off."""
    nodes = {name: knobs for name, knobs in settings.items() if name != "name"}
    return tuple(build(ACCELERATORS.get(name), knobs, f"accelerator.{name}") for name, knobs in nodes.items())


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
    return replace(
        cell,
        data=replace(cell.data, sha256=identity["reference"]["sha256"]),
        metrics=cell.metrics.as_recorded(metrics),
        device=build(Device, used, "device"),
    )


def card(group: str, name: str) -> DataCard | MetricsCard | ModelCard:
    """A card of conf/data, conf/metrics or conf/model by its file's name, resolved: card("model", "mnist")."""
    import fastdiff_conf

    if group not in (*CARDS, "metrics"):
        raise ValueError(f"cards '{group}' is not one of: {', '.join(sorted((*CARDS, 'metrics')))}")
    return build_card(group, fastdiff_conf.member(group, name)).resolved()


def build_card(group: str, conf: dict) -> DataCard | MetricsCard | ModelCard:
    """A group of conf/ as a plain dict -> its card, not resolved."""
    return metrics_card(conf) if group == "metrics" else build(CARDS[group], conf, group)


def _unnamed(group: dict) -> dict:
    """A preset's name is a label for people; what is measured are its fields."""
    return {name: value for name, value in group.items() if name != "name"}
