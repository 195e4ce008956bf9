"""make report: tables, figures and one page from what has been measured. Measures nothing and needs no torch.

    python benchmarks/report.py 'grids=[default,steps]' out=results/report

It writes index.html, <grid>.csv for each grid, pareto.png, pareto.svg and samples.png into `out`. What `make diagnose`
has drawn of the same model, in the folder diagnostics beside `out`, is on the page too.
"""

from pathlib import Path

from omegaconf import DictConfig

from fastdiff_benchmarks.commands import commands
from fastdiff_benchmarks.entry import entry

# What cells must share to be drawn into one figure. Their samplers and methods may differ.
HELD = ("model", "data", "metrics", "seed", "part", "n", "guidance", "precision", "compile", "memory_format",
        "batch", "device")  # fmt: skip


@entry("report")
def main(cfg: DictConfig) -> None:
    from fastdiff.bench.ledger import Ledger
    from fastdiff.files import write
    from fastdiff.report.images import compare_with_plain
    from fastdiff.report.tables import csv, table, text

    ledger, out = Ledger(cfg.ledger), Path(cfg.out)
    chosen = grids(ledger, cfg.grids)
    compare_with_plain(ledger, list(dict.fromkeys(key for keys in chosen.values() for key in keys)))
    fell = {grid["grid"]: len(grid.get("dropped", [])) for grid in ledger.all("grids")}
    tables = {name: frame for name, keys in chosen.items() if len(frame := table(ledger, keys, fell.get(name, 0)))}
    if not tables:
        raise ValueError(f"there is no finished cell in {ledger.root}; measure some first: make bench")
    for name, frame in tables.items():
        print(f"{name}: {len(frame)} of {len(chosen[name])} cells\n{text(frame)}\n")
        write(out / f"{name}.csv", lambda file, frame=frame: file.write(csv(frame)))
    every = table(ledger, list(dict.fromkeys(key for keys in chosen.values() for key in keys)))
    if not measured(every).any():
        print("no page: it draws the quality of generated images against speed, and only bounds have been measured")
        return
    for name, content in views(ledger, chosen, tables, every, out).items():
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
    single = [record["key"] for kind in kinds for record in ledger.all(kind) if record["key"] not in swept]
    return known | ({"single": single} if single else {})


def views(ledger, chosen: dict, tables: dict, every, out: Path) -> dict[str, bytes]:
    """File name in `out` -> content: the page and its pictures."""
    from fastdiff.report import figures, html
    from fastdiff.report.papers import papers
    from fastdiff.report.rows import image_columns, same
    from fastdiff.report.sections import Story, drawn, sections

    base = baseline(tables)
    column = next(name for name in image_columns(every) if base[name] == base[name])
    alike = every[same(every, base, list(HELD))].dropna(subset=[column, "images_per_s"])
    records = [ledger.read("quality", key) for key in every["key"]]
    failed = [record for keys in chosen.values() for key in keys if (record := ledger.read("failed", key))]
    notes = {name: f"{len(frame)} of {len(chosen[name])} cells" for name, frame in tables.items()}
    story = Story(ledger, tables, every, alike, base, commands([*records, *failed]), notes, failed)

    figure = figures.pareto(alike, column, base["key"])
    files_ = {f"pareto.{suffix}": figures.render(figure, suffix) for suffix in ("svg", "png")}
    if arms := story.arms():
        files_["samples.png"] = figures.render(figures.samples([arm[:2] for arm in arms]), "png")
    title = f"fastdiff: what faster sampling costs, on {base['model']}"
    parts = sections(story, files_["pareto.svg"], papers(out.with_name("diagnostics"), base["model"]))
    page = html.page(title, *parts, data=drawn(story))
    return files_ | {"index.html": page.encode()}


def measured(frame):
    """Which cells have the quality of generated images."""
    from fastdiff.report.rows import image_columns

    return frame[image_columns(frame)].notna().any(axis=1)


def baseline(tables: dict):
    """The plain cell with the most steps in the first grid that has one; without any, the first cell."""
    from fastdiff.report.rows import plain

    tables = [frame[measured(frame)] for frame in tables.values() if measured(frame).any()]
    for frame in tables:
        rivals = frame[plain(frame)]
        if len(rivals):
            return rivals.loc[rivals["steps"].idxmax()]
    return tables[0].iloc[0]


if __name__ == "__main__":
    main()
