"""make report: tables, figures and one page from what has been measured. Measures nothing and needs no torch.

    python benchmarks/report.py 'grids=[default,steps]' out=results/report

It writes index.html, <grid>.csv for each grid, pareto.png, pareto.svg and samples.png into `out`. The two pictures of
the Pareto front need a Chrome or Chromium. The page also has the figures that `make diagnose` has drawn of the same
model, if they are in the folder diagnostics beside `out`.
"""

from pathlib import Path

from omegaconf import DictConfig

from fastdiff_benchmarks.commands import commands
from fastdiff_benchmarks.entry import entry

# What cells must share to be drawn into one figure. Their samplers and accelerators may differ.
HELD = ["model", "data", "metrics", "seed", "part", "n", "guidance", "precision", "compile", "memory_format", "batch"]
HELD += ["device"]


@entry("report")
def main(cfg: DictConfig) -> None:
    from fastdiff.bench.ledger import Ledger
    from fastdiff.files import write
    from fastdiff.report.comparisons import compare_with_baselines
    from fastdiff.report.rows import Cells
    from fastdiff.report.table import csv, table, text

    ledger, out = Ledger(cfg.ledger), Path(cfg.out)
    chosen = grids(ledger, cfg.grids)
    keys = list(dict.fromkeys(key for keys in chosen.values() for key in keys))
    compare_with_baselines(ledger, keys)
    cells = Cells(ledger)
    fell = {grid["grid"]: len(grid.get("dropped", [])) for grid in ledger.all("grids")}
    tables = {name: frame for name, keys in chosen.items() if len(frame := table(cells, keys, fell.get(name, 0)))}
    if not tables:
        raise ValueError(f"there is no finished cell in {ledger.root}; measure some first: make bench")
    for name, frame in tables.items():
        print(f"{name}: {len(frame)} of {len(chosen[name])} cells\n{text(frame)}\n")
        write(out / f"{name}.csv", lambda file, frame=frame: file.write(csv(frame)))
    every = table(cells, keys)
    if not measured(every).any():
        print("no page: it draws the quality of generated images against speed, and only bounds have been measured")
        return
    for name, content in views(cells, chosen, tables, every, out).items():
        write(out / name, lambda file, content=content: file.write(content))
    print(f"report: {out / 'index.html'}")


def grids(ledger, names: list[str] | None) -> dict[str, list[str]]:
    """Grid -> keys, `default` first; without names all of them, and `single` for cells of no grid."""
    known = {grid["grid"]: grid["keys"] for grid in ledger.all("grids")}
    known = {name: known[name] for name in sorted(known, key=lambda name: (name != "default", name))}
    for name in names or []:
        if name not in known:
            raise ValueError(f"grid '{name}' is not one of: {', '.join(sorted(known)) or 'none has been measured yet'}")
    if names is not None:
        return {name: known[name] for name in names}
    swept = {key for keys in known.values() for key in keys}
    kinds = ("quality", "failed")
    single = [record.key for kind in kinds for record in ledger.all(kind) if record.key not in swept]
    return known | ({"single": single} if single else {})


def views(cells, chosen: dict[str, list[str]], tables: dict, every, out: Path) -> dict[str, bytes]:
    """File name in `out` -> content: the page and its pictures. Prints why a picture is not drawn."""
    from fastdiff.report import figures, page, samples
    from fastdiff.report.papers import papers
    from fastdiff.report.rows import image_columns, same

    base = baseline(tables)
    column = next(name for name in image_columns(every) if base[name] == base[name])
    alike = every[same(every, base, HELD)].dropna(subset=[column, "images_per_s"])
    failed = [record for keys in chosen.values() for key in keys if (record := cells.ledger.read("failed", key))]
    typed = commands([*(cells.records[key] for key in every["key"]), *failed])
    notes = {name: f"{len(frame)} of {len(chosen[name])} cells" for name, frame in tables.items()}
    story = page.Story(cells, tables, every, alike, base, typed, notes, failed)

    found, absent = figures.rendered(figures.pareto(alike, column, base["key"]), "pareto")
    if absent:
        print(absent)
    if story.arms:
        found["samples.png"] = samples.png(samples.sheet([arm[:2] for arm in story.arms]))
    text = page.report(story, found.get("pareto.svg"), papers(out.with_name("diagnostics"), base["model"]))
    return found | {"index.html": text.encode()}


def measured(frame):
    """Which cells have the quality of generated images."""
    from fastdiff.report.rows import image_columns

    return frame[image_columns(frame)].notna().any(axis=1)


def baseline(tables: dict):
    """The baseline with the most steps in the first grid that has one; without any, the first cell."""
    tables = [frame[measured(frame)] for frame in tables.values() if measured(frame).any()]
    for frame in tables:
        baselines = frame[frame["baseline"].astype(bool)]
        if len(baselines):
            return baselines.loc[baselines["steps"].idxmax()]
    return tables[0].iloc[0]


if __name__ == "__main__":
    main()
