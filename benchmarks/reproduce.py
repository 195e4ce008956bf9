"""make reproduce: a published table beside what this machine measures.

    python benchmarks/reproduce.py table=paper/deepcache_table2
    python benchmarks/reproduce.py table=paper/deepcache_table2 model=mnist data=mnist10k metrics=mnist_classifier

It runs conf/grid/<table>.yaml; cells in the ledger are not measured again. It prints the published values, ours, their
difference, and how the protocols differ. Exit code 3: weights, data or an extractor are missing. A sentence for each
says what, from where and where to put it, and the table shows what needs none of them. Exit code 1: a cell failed.
"""

import re
import subprocess
import sys

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from fastdiff.bench.config import GROUPS
from fastdiff_benchmarks.entry import entry, wanting
from fastdiff_benchmarks.published import Arm, absence, aligned, compared, protocols, published, tables

CARDS = ("data", "metrics", "model")
# Overrides that do not change the published cells: where files are, what is done with results, and the machine.
NEUTRAL = re.compile(
    r"(data\.path|model\.weights|model\.text\.prompts"
    r"|(device(?!\.precision)|force|hydra|ledger|save_images|tracker)\b.*)="
)


@entry("reproduce")
def main(cfg: DictConfig) -> None:
    table = str(cfg.table or "").removeprefix("paper/")
    if table not in tables():
        said = f"table '{cfg.table}' is not" if table else "give table=paper/...:"
        raise ValueError(f"{said} one of: {', '.join(f'paper/{name}' for name in tables())}")
    given = [each for each in HydraConfig.get().overrides.task if not each.startswith("table=")]
    cells, lines = settings_of_cells(f"paper/{table}", given), published(table)
    print(f"looking for the weights and data of paper/{table}", flush=True)
    absent = missing(cells)
    code = 3 if absent else run(f"paper/{table}")
    if code not in (0, 1, 3):
        sys.exit(code)
    arms = arms_of(cells, cfg.ledger, measured=not absent)
    print(f"\npaper/{table}: {len(lines)} published numbers, {len(cells)} cells\n")
    print(aligned(compared(lines, arms)))
    print("\n" + "\n".join(protocols(lines, words := ours(arms[0].settings))))
    if changed := [each for each in given if not NEUTRAL.match(each)]:
        print(f"changed from the table's grid: {', '.join(changed)}; the differences compare different things")
    unmeasured = [] if absent else absence(lines, arms, words["extractor"])
    for sentence in unmeasured + [f"missing: {sentence}" for sentence in absent]:
        print(sentence, file=sys.stderr)
    sys.exit(code)


def settings_of_cells(grid: str, given: list[str]) -> list[dict]:
    """The settings of every cell of a grid, with these overrides. No file is read; ??? stays ???."""
    from hydra import compose

    from fastdiff_benchmarks.sweep import points

    config = compose("config", overrides=[f"+grid={grid}"], return_hydra_config=True)
    OmegaConf.set_readonly(config.hydra, False)  # compose leaves out what a sweep knows of itself
    config.hydra.overrides.task, config.hydra.job.config_name = [f"+grid={grid}", *given], "config"
    return [
        OmegaConf.to_container(OmegaConf.masked_copy(point, list(GROUPS)), resolve=True) for point in points(config)
    ]


def missing(cells: list[dict]) -> list[str]:
    """A sentence for each file that the cells need and that is neither there nor to be had."""
    from fastdiff.bench.config import build_card
    from fastdiff.files import locate

    found: list[str] = []

    def need(attempt, origin: str = "") -> None:
        try:
            attempt()
        except (ModuleNotFoundError, OSError, ValueError) as error:
            sentence = " ".join(str(error).split())
            unknown = isinstance(error, FileNotFoundError) and "://" not in sentence
            found.append(sentence + (f"; it is to be had from {origin}" if origin and unknown else ""))

    for group in CARDS:
        for conf in distinct([cell[group] for cell in cells]):
            if absent := [knob for knob, value in conf.items() if value == "???"]:
                if absent != ["path"]:  # then not even the cost is known
                    raise ValueError(wanting(group, conf))
                found.append(wanting(group, conf))
                continue
            card = build_card(group, conf)
            if group == "model":
                for knob in card.files():
                    need(lambda card=card, knob=knob: card.fetched(knob), card.source)
            elif group == "data":
                need(card.resolved, card.origin)
            else:
                need(card.look_for_files)
    for file in distinct([cell["score_norms"].get("file") for cell in cells]):
        if file is not None:
            need(lambda file=file: locate(file))
    return list(dict.fromkeys(found))


def distinct(values: list) -> list:
    return [value for i, value in enumerate(values) if value not in values[:i]]


def run(grid: str) -> int:
    """Run the grid with the overrides of this command. Returns the exit code."""
    arguments = [each for each in sys.argv[1:] if not each.startswith("table=")]
    command = [sys.executable, "-m", "fastdiff_benchmarks", "run"]
    return subprocess.run([*command, *arguments, f"+grid={grid}"]).returncode


def arms_of(cells: list[dict], ledger: str, measured: bool) -> list[Arm]:
    from fastdiff.bench.config import cell_of
    from fastdiff.bench.cost import cost_of
    from fastdiff.bench.ledger import Ledger
    from fastdiff.bench.resources import Resources
    from fastdiff.bench.run_cell import speed_key

    arms, kept, resources = [], Ledger(ledger), Resources()
    for settings in cells:
        cell = cell_of(settings, resolve=measured)
        try:
            cost = cost_of(cell, resources)
        except (ModuleNotFoundError, ValueError):  # a family whose library is not installed, a branch that is not there
            cost = None
        if not measured:
            arms.append(Arm(settings, cost))
            continue
        failed, quality = (kept.read(kind, cell.key) for kind in ("failed", "quality"))
        speed = kept.read("speed", speed_key(cell)) if cell.metrics.generates_images else None
        arms.append(Arm(settings, cost, quality, speed, failed and failed.reason))
    return arms


def ours(settings: dict) -> dict[str, str]:
    """Our values of the words of a protocol."""
    from fastdiff.device import device_name, resolved_device
    from fastdiff.metrics import metrics_card

    metrics = metrics_card(settings["metrics"])
    device = resolved_device(settings["device"], exact=not metrics.generates_images)
    held = "training images" if metrics.generates_images else "held-out images"
    found = {"n": f"{settings['budget']['n']:,}", "reference": f"{held} of data={settings['data']['name']}"}
    if settings["model"].get("classes"):
        drawn = settings["data"].get("labels") == "uniform"
        found["labels"] = "drawn uniformly" if drawn else "those of the data"
    found |= {"extractor": metrics.extractor, "network": settings["model"]["name"], "device": device_name(device)}
    found |= {"precision": device.precision, "uint8": "rounded", "seed": str(settings["budget"]["seed"])}
    return found | {"score norms of": f"{settings['score_norms']['images']:,} images"}


if __name__ == "__main__":
    main()
