"""make tune: choose a knob's value on one half of the noise and reference images, and confirm it on the other half.

    python benchmarks/tune.py knob=accelerator.skip_tuning.rho_bottom values=[0.6,0.7,0.8,0.9] sampler.steps=10

All values are measured with budget.part=tune. The best of them and the usual value are then measured with
budget.part=confirm, which has other noise and other training images as the reference. The gain on `tune` is too large
on average, because the best of several values was chosen by it. The gain on `confirm` is not.
"""

import sys

from omegaconf import DictConfig, ListConfig, OmegaConf

from fastdiff_benchmarks.entry import entry, settings_of
from fastdiff_benchmarks.run import number

TUNABLE = ("accelerator", "guidance", "sampler")


@entry("tune")
def main(cfg: DictConfig) -> None:
    import pandas as pd

    from fastdiff.bench.config import cell_of
    from fastdiff.bench.ledger import Ledger
    from fastdiff.metrics.cards import judged_by, sign
    from fastdiff.statistics import LEVEL, outside, verdicts

    usual, ledger = usual_value(cfg), Ledger(cfg.ledger)
    if not isinstance(cfg["values"], ListConfig):
        raise ValueError(f"values is {cfg['values']}; a list is needed, as [0.7,0.8]")
    values = list(dict.fromkeys([*cfg["values"], usual]))
    if len(values) == 1:
        raise ValueError(
            f"values are {list(cfg['values'])} and the usual one is {usual}: there is nothing to choose from"
        )
    if cfg.budget.ladder is not None or cfg.budget.part != "all":
        raise ValueError("make tune chooses the part itself and has no ladder; leave budget.part and budget.ladder out")
    if reason := outside(cfg.budget.n, cell_of(settings_of(cfg)).metrics.dimensions):
        raise ValueError(f"nothing can be confirmed with budget.n={cfg.budget.n} ({reason})")
    tuned = measured(cfg, ledger, "tune", values)
    column = judged_by(tuned[usual].values)
    gains = {value: gain(ledger, tuned[value], tuned[usual]) for value in values}
    lines = [{cfg.knob: value, column: number(tuned[value].values[column]), f"against {usual}": signed(gains[value])}
             for value in values]  # fmt: skip
    print(f"\n{pd.DataFrame(lines).to_string(index=False)}\n")
    best = min(values, key=lambda value: (sign(column) * gains[value].value, value != usual))
    if best == usual:
        print(f"tune: no value is better than the usual {cfg.knob}={usual}; there is nothing to confirm")
        return
    confirmed = measured(cfg, ledger, "confirm", [best, usual])
    found = gain(ledger, confirmed[best], confirmed[usual])
    (verdict,) = verdicts([found], sign(column))
    print(f"\n{cfg.knob}={best}, the best of {len(values)}, against {usual}:")
    print(f"  tune     {signed(gains[best])}  too good on average: it was chosen by this")
    print(f"  confirm  {signed(found)}  on other noise and reference images: {verdict.word}"
          f" (p = {verdict.p:.2g}, level {LEVEL:g})")  # fmt: skip


def usual_value(cfg: DictConfig):
    """The knob's value in the settings; the others are compared with it. Raises ValueError for an unknown knob."""
    group, _, name = cfg.knob.rpartition(".")
    if cfg.knob.split(".")[0] not in TUNABLE:
        raise ValueError(f"knob '{cfg.knob}' is not one of: guidance, accelerator.<plan>.<knob>, sampler.<knob>")
    around = OmegaConf.select(cfg, group) if group else cfg
    if not isinstance(around, DictConfig) or name not in around or isinstance(around[name], DictConfig):
        known = [str(key) for key in around if not isinstance(around[key], DictConfig)] if group and around else []
        raise ValueError(f"knob '{cfg.knob}' does not exist; {group} has: {', '.join(sorted(known)) or 'no knobs'}")
    return around[name]


def measured(cfg: DictConfig, ledger, part: str, values: list) -> dict:
    """Value of the knob -> its quality record on a part. Exits with code 1 if a cell fails."""
    from tqdm import tqdm

    from fastdiff.bench.config import cell_of
    from fastdiff.bench.run_cell import run_cell

    settings = {}
    for value in values:
        changed = cfg.copy()
        OmegaConf.update(changed, cfg.knob, value)
        OmegaConf.update(changed, "budget.part", part)
        settings[value] = settings_of(changed)
    cells = {value: cell_of(of) for value, of in settings.items()}  # refuses before anything is measured
    records, n = {}, cfg.budget.n
    with tqdm(total=len(values) * n, unit="image", disable=None) as bar:
        for i, (value, cell) in enumerate(cells.items()):
            bar.set_description(f"{part}: {cfg.knob}={value}")
            begun = i * n
            outcome = run_cell(
                cell, ledger, settings[value], cfg.force, lambda done, begun=begun: bar.update(begun + done - bar.n)
            )
            if outcome.kind == "failed":
                print(f"error: {cfg.knob}={value} failed: {outcome.record.reason}", file=sys.stderr)
                sys.exit(1)
            records[value] = outcome.record
    return records


def gain(ledger, record, usual):
    """record - usual in the first quality value, paired by noise."""
    from fastdiff.metrics.cards import judged_by
    from fastdiff.report.comparisons import compare

    column = judged_by(record.values)
    lines = [{"key": each.key, column: each.values[column].value} for each in (record, usual)]
    return compare(ledger, column, *lines)


def signed(found) -> str:
    """A difference with its 95 % interval."""
    return f"{found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


if __name__ == "__main__":
    main()
