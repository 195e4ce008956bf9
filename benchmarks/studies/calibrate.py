"""make calibrate: do intervals and verdicts hold? Tests pairs of arms that are drawn from pools of images.

    python benchmarks/studies/calibrate.py device=cpu device.threads=1 pairs=400

A pool holds the features of one arm. The ledger keeps its blocks, and a later run reads them. Nulls are pairs with the
same law. Alternatives differ by the known difference of their pools (`calibration.py`). Writes README.md,
calibration.json and calibration.svg into `out`.
"""

import sys
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from fastdiff_benchmarks.entry import entry, settings_of


@entry("calibrate", package="fastdiff_benchmarks.studies")
def main(cfg: DictConfig) -> None:
    import pandas as pd
    from tqdm import tqdm

    from fastdiff.bench.config import cell_of
    from fastdiff.bench.ledger import Ledger, provenance
    from fastdiff.bench.resources import Resources, labels_of, load_denoiser, scorer_of
    from fastdiff.data import load
    from fastdiff.device import device_name
    from fastdiff.files import write, write_json
    from fastdiff.metrics import frechet, moments
    from fastdiff.report.export import write_figure
    from fastdiff.statistics import outside
    from fastdiff_benchmarks.studies import figures
    from fastdiff_benchmarks.studies.calibration import rows
    from fastdiff_benchmarks.studies.calibration_page import page
    from fastdiff_benchmarks.studies.pools import Mixed, pool, pool_key

    changed = {name: OmegaConf.to_container(change) for name, change in cfg.alternatives.items()}
    cells = {name: cell_of(settings_of(OmegaConf.merge(cfg, change))) for name, change in changed.items()}
    arm, ledger = cell_of(settings_of(cfg)), Ledger(cfg.ledger)
    if arm.metrics.kind not in ("classifier", "clean_fid"):
        raise ValueError("calibration tests the Frechet distance: choose metrics=mnist_classifier or clean_fid")
    if arm.analytic or arm.optimal or arm.model.decoder is not None:
        raise ValueError("calibration needs a network of pixels and a sampler without score norms: choose sampler=ddim")
    if arm.budget.part != "all":
        raise ValueError("calibration draws from all reference images: use budget.part=all")
    if reason := outside(min(cfg.sizes), arm.metrics.dimensions):
        raise ValueError(f"sizes has {min(cfg.sizes)}: {reason}")
    if 2 * max(cfg.sizes) > cfg.pool:
        raise ValueError(f"pool is {cfg.pool}; pairs of {max(cfg.sizes)} images need at least {2 * max(cfg.sizes)}")
    arms = {"arm": (arm, None)}
    arms |= {f"r = {r:g}": (arm, Mixed(r, cfg.other_seed)) for r in cfg.correlations}
    arms |= {name: (cell, None) for name, cell in cells.items()}
    images, _ = load(arm.data)
    owner = Resources()
    extractor, (reference, _) = scorer_of(arm, ledger, images, owner)
    pools = {}
    with tqdm(total=len(arms) * cfg.pool, unit="image") as bar:
        for name, (cell, mixed) in arms.items():
            bar.set_description(name)
            made = load_denoiser(cell, owner), labels_of(cell, images, owner), extractor
            pools[name] = pool(cell, ledger, *made, cfg.pool, mixed, bar.update)
    distance = {name: frechet(moments(features), reference) for name, features in pools.items()}
    cases = cases_of(pools, cells, extractor(images.pixels).features, distance, cfg.real)
    nulls, power = [], []
    with tqdm(total=len(cases) * len(cfg.sizes) * cfg.pairs, unit="pair") as bar:
        for case in cases:
            bar.set_description(case.arms)
            for n in cfg.sizes:
                found = rows(case, n, cfg.pairs, reference, cfg.draw_seed, bar.update)
                into = nulls if case.known is None else power
                into += [{"protocol": arm.metrics.protocol("fid", n)} | row for row in found]
    # folders do not change the result
    given = [word for word in sys.argv[1:] if not word.startswith(("out=", "ledger="))]
    kept = {name: {"key": pool_key(*each), "n": cfg.pool, arm.metrics.protocol("fid", cfg.pool): distance[name]}
            for name, each in arms.items()}  # fmt: skip
    record = summary(nulls, cfg.pairs) | {"sizes": list(cfg.sizes), "nulls": nulls, "power": power, "pools": kept}
    record |= {"seeds": {"noise": arm.budget.seed, "mixed in": cfg.other_seed, "draws": cfg.draw_seed}}
    record |= {"command": " ".join(["python benchmarks/studies/calibrate.py", *given])}
    machine = {"device": device_name(arm.device), "precision": arm.device.precision, "made": provenance()}
    record |= {"machine": machine}
    nulls, power, out = pd.DataFrame(nulls), pd.DataFrame(power), Path(cfg.out)
    write_json(out / "calibration.json", record)
    write(out / "README.md", lambda file: file.write(page(record).encode()))
    if reason := write_figure(figures.calibration(nulls, power), out / "calibration.svg"):
        print(reason, file=sys.stderr)
    shown = ["arms", "n", "method", "sd", "r", "se_over_sd", "false_verdict_rate"]
    print(nulls[shown].round(3).to_string(index=False))
    if len(power):
        print(power[["arms", "paired", "n", "known_difference", "sd", "r", "power"]].round(3).to_string(index=False))
    print(f"{cfg.pairs} pairs per row; written to {out}")


def cases_of(pools: dict, alternatives, digits, distance: dict, common) -> list:
    """All nulls, then all alternatives. pools: `arm`, its partners `r = ...`, and the arms that differ from it."""
    from fastdiff_benchmarks.studies.calibration import Case, independent, paired, real

    own = pools["arm"]
    found = [Case("independent", False, lambda n: independent(own, own, n))]
    for name in pools:
        if name.startswith("r = "):
            found.append(Case(f"paired, {name}", True, lambda n, other=pools[name]: paired(own, other, n, True)))
    for r in common:
        found.append(Case(f"real digits, r = {r:g}", r > 0, lambda n, r=r: real(digits, n, r)))
    for name in alternatives:
        known = distance[name] - distance["arm"]
        found.append(Case(name, True, lambda n, other=pools[name]: paired(other, own, n, False), known))
        found.append(Case(name, False, lambda n, other=pools[name]: independent(other, own, n), known))
    return found


def summary(nulls: list[dict], pairs: int) -> dict:
    """The rates over all sizes, by influence values."""
    from fastdiff.statistics import LEVEL
    from fastdiff_benchmarks.studies.calibration import share

    def total(name: str, chosen) -> dict:
        of = [row for row in nulls if row["method"] == "influence" and chosen(row)]
        if not of:
            return {name: None}
        return share(sum(round(row["false_verdict_rate"] * row["pairs"]) for row in of), len(of) * pairs, name)

    def near(row) -> bool:
        return row["arms"].startswith("real")

    found = {"aa_pairs": pairs, "level": LEVEL, "method": "influence"}
    found |= total("false_verdict_rate", lambda row: not near(row) and not row["paired"])
    found |= total("paired_false_verdict_rate", lambda row: not near(row) and row["paired"])
    return found | total("near_reference_false_verdict_rate", near)


if __name__ == "__main__":
    main()
