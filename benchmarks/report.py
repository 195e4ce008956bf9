"""make report: tables, figures and one page from what has been measured. Measures nothing and needs no torch.

    python benchmarks/report.py 'grids=[default,steps]' out=results/report

It writes index.html, <grid>.csv for each grid, pareto.png, pareto.svg and samples.png into `out`.
"""

import functools
from pathlib import Path

from omegaconf import DictConfig

from fastdiff_benchmarks.commands import commands
from fastdiff_benchmarks.entry import entry

# What cells must share to be drawn into one figure. Their samplers and methods may differ.
HELD = ("model", "data", "metrics", "seed", "part", "n", "guidance", "precision", "compile", "memory_format",
        "batch", "device")  # fmt: skip


@entry("report")
def main(cfg: DictConfig) -> None:
    from fastdiff.files import write
    from fastdiff.records import Ledger
    from fastdiff.reports.images import compare_with_plain
    from fastdiff.reports.tables import csv, table, text

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
    for name, content in views(ledger, chosen, tables, every).items():
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


def views(ledger, chosen: dict, tables: dict, every) -> dict[str, bytes]:
    """File name -> content: the page and its pictures."""
    from fastdiff.reports import answer, figures, html
    from fastdiff.reports.rivals import compare
    from fastdiff.reports.rows import image_columns, more_columns, same

    base = baseline(tables)
    column = next(name for name in image_columns(every) if base[name] == base[name])
    alike = every[same(every, base, list(HELD))].dropna(subset=[column, "images_per_s"])
    records = [ledger.read("quality", key) for key in every["key"]]
    failed = [record for keys in chosen.values() for key in keys if (record := ledger.read("failed", key))]
    typed = commands([*records, *failed])
    notes = {name: f"{len(frame)} of {len(chosen[name])} cells" for name, frame in tables.items()}
    others = f" The other {len(every) - len(alike)}, of another protocol or machine, are in the table only."
    names = {line["key"]: answer.sentence(line, column) for _, line in alike.iterrows()}

    drawn = figures.pareto(alike, column, base["key"])
    files_ = {f"pareto.{suffix}": figures.render(drawn, suffix) for suffix in ("svg", "png")}
    caption = f"{len(alike)} cells. Point at a mark for its name; click it for its row."
    caption += others if len(alike) < len(every) else ""
    alt = f"{column} against images_per_s"
    sections = [("", answer.answer(alike, column, base, functools.partial(compare, ledger, column)))]
    sections += [("What the numbers are", answer.meaning(every, base))]
    sections += [("Quality against speed", html.svg_figure(files_["pareto.svg"], "pareto", alt, caption, names))]
    hint = "<p>A key opens the command that makes its row.</p>"
    sections += [("All cells", hint + html.cells_tables(tables, notes, typed))]
    more = html.measures_tables(tables, {name: more_columns(frame) for name, frame in tables.items()})
    if more:
        sections += [("More measures of the same images", answer.measures() + more)]
    if (drawn := figures.knobs(alike, column)) is not None:
        caption = "Interval 1 is the uncached network. Of several branches, schedules or protections the most frequent"
        caption += " are shown. Whiskers are 95 % intervals."
        svg = html.svg_figure(figures.render(drawn, "svg"), "knobs", f"{column} against interval", caption)
        sections += [("Quality against the knobs", svg)]
    if rows := pictures(ledger, alike, base):
        files_["samples.png"] = figures.render(figures.samples(rows), "png")
        caption = "The images of a column start from the same noise, and have the same label where there are labels."
        alt = "First images of " + "; ".join(label.replace("\n", ": ") for label, _ in rows)
        sections += [("The same noise in different cells", html.png_figure(files_["samples.png"], alt, caption))]
    sections += [("Environment", answer.environment(records))]
    if failed:
        lines = [[record["key"], record["reason"], typed[record["key"]]] for record in failed]
        sections += [("Failed cells", html.text_table(["key", "reason", "command"], lines, "failed cells"))]
    page = html.page(f"fastdiff: what faster sampling costs, on {base['model']}", *sections)
    return files_ | {"index.html": page.encode()}


def measured(frame):
    """Which cells have the quality of generated images."""
    from fastdiff.reports.rows import image_columns

    return frame[image_columns(frame)].notna().any(axis=1)


def baseline(tables: dict):
    """The plain cell with the most steps in the first grid that has one; without any, the first cell."""
    from fastdiff.reports.rows import plain

    tables = [frame[measured(frame)] for frame in tables.values() if measured(frame).any()]
    for frame in tables:
        rivals = frame[plain(frame)]
        if len(rivals):
            return rivals.loc[rivals["steps"].idxmax()]
    return tables[0].iloc[0]


def pictures(ledger, frame, base) -> list[tuple]:
    """Label and images of the baseline, each method alone, and all at once, at the baseline's steps and eta."""
    from fastdiff.cell import key
    from fastdiff.reports.rows import cached, plain, same
    from fastdiff.reports.words import describe

    near = frame[same(frame, base, ["steps", "eta"]) & (frame["rho_top"] == 1)]
    tuned, hit, analytic = near["rho_bottom"] != 1, cached(near), near["variance"] == "analytic"
    extremes = near["interval"].isin([near.loc[hit, "interval"].min(), near.loc[hit, "interval"].max()])
    lowest = near["rho_bottom"] == near["rho_bottom"].min()
    picks = [("baseline", near[plain(near) & (near["key"] == base["key"])])]
    picks += [("Skip-Tuning alone", near[tuned & lowest & ~hit & ~analytic])]
    picks += [("DeepCache alone", near[~tuned & hit & extremes & ~analytic])]
    picks += [("Analytic-DPM alone", near[~tuned & ~hit & analytic])]
    picks += [("all three", near[tuned & lowest & hit & extremes & analytic])]
    rows = []
    for name, cells in picks:
        for _, line in cells.iterrows():
            pixels = ledger.samples(key(ledger.read("quality", line["key"])["identity"]["generation"]))
            rows += [] if pixels is None else [(f"{name}\n{describe(line)}", pixels)]
    return rows


if __name__ == "__main__":
    main()
