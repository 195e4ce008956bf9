"""The W&B workspace and report of a project's cells: the same sections of panels in both."""

from typing import Any, NamedTuple

from ..report.rows import Cells
from ..report.table import varying
from .cells import CURVES
from .opening import Tracker

TITLE = "fastdiff: what faster sampling costs"
LOGIN = "a report with panels needs a login: run `wandb login`, then make sync and make dashboard"


class Part(NamedTuple):
    """A section: its name, what it shows, its panels, and a filter of the runs it is of."""

    name: str
    words: str
    panels: list[Any]
    cells: str


def parts(value: str, cells: Cells) -> list[Part]:
    """Every section. value: the name of a quality value in the summary of a run. cells: what was measured; the knobs
    that vary in it are drawn.

    Raises ImportError, saying what to install, where wandb-workspaces is missing.
    """
    wr = _library().reports.v2
    quality, speed, macs = (wr.SummaryMetric(name) for name in (value, "images_per_s", "macs"))
    knobs = varying(cells.rows)

    def against(knob: str):
        return wr.ScatterPlot(title=f"{value} against {knob}", x=wr.Config(knob), y=quality)

    pareto = [wr.ScatterPlot(title=f"{value} against {x.name}", x=x, y=quality) for x in (speed, macs)]
    axes = [wr.ParallelCoordinatesPlotColumn(metric=wr.Config(knob)) for knob in knobs]
    axes += [wr.ParallelCoordinatesPlotColumn(metric=metric) for metric in (speed, quality)]
    samples = [wr.MediaBrowser(media_keys=["samples"]), wr.WeavePanelSummaryTable(table_name="samples_table")]
    tables = [wr.WeavePanelSummaryTable(table_name="cells_table")]
    series = [wr.LinePlot(title=f"{name} over the steps", x="curve/step", y=[f"curve/{name}"]) for name in CURVES]
    every = "JobType = 'cell'"
    found = [
        Part("Quality against speed", "A point a cell. Right is faster; by MACs, left is cheaper.", pareto, every),
        Part("Cells and verdicts", "The tables of the sweeps, with paired differences.", tables, "JobType = 'sweep'"),
        Part("Knobs", "A line a cell.", [wr.ParallelCoordinatesPlot(columns=axes)], every),
        Part("Cells beside one another", "What differs.", [wr.RunComparer(diff_only="split")], every),
        Part("Samples on shared noise", "Image i has the same noise in every cell.", samples, every),
    ]
    for name in cells.accelerators:
        own = [against(knob) for knob in cells.of(name) if knob in knobs] or [against(cells.of(name)[0])]
        found.append(Part(name, f"Cells with {name}.", own, f"{every} and Tags in ['{name}']"))
    return [*found, Part("Trajectories", "Noise levels and score norms, step by step.", series, every)]


def workspace(tracker: Tracker, value: str, cells: Cells):
    """The workspace, not saved: `.save()` needs a login, `as_json` does not."""
    ws = _library().workspaces
    sections = [ws.Section(name=part.name, panels=part.panels, is_open=True) for part in parts(value, cells)]
    columns = ["run:displayName", *(f"summary:{name}" for name in (value, "verdict", "images_per_s", "macs"))]
    runs = ws.RunsetSettings(filters="JobType = 'cell'", pinned_columns=columns)
    settings = ws.WorkspaceSettings(max_runs=100)
    where = {"entity": tracker.entity or "", "project": tracker.project}
    return ws.Workspace(name=TITLE, sections=sections, runset_settings=runs, settings=settings, **where)


def as_json(found: Any) -> str:
    """A workspace as W&B's own JSON."""
    return found._to_model().model_dump_json(by_alias=True, indent=1)


def report(tracker: Tracker, value: str, cells: Cells):
    """The report, not saved. Making it needs a login: W&B looks up what its panels are of."""
    wr = _library().reports.v2
    blocks = [wr.TableOfContents()]
    for part in parts(value, cells):
        runs = wr.Runset(project=tracker.project, entity=tracker.entity or "", name=part.name, filters=part.cells)
        blocks += [wr.H2(part.name), wr.P(part.words), wr.PanelGrid(runsets=[runs], panels=part.panels)]
    return wr.Report(project=tracker.project, entity=tracker.entity or "", title=TITLE, blocks=blocks)


def _library():
    try:
        import wandb_workspaces
        import wandb_workspaces.reports.v2
        import wandb_workspaces.workspaces
    except ImportError as error:
        raise ImportError("dashboards need wandb-workspaces: pip install 'fastdiff-bench[dashboards]'") from error
    return wandb_workspaces
