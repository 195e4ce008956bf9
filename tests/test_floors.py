"""The house has floors, and imports go down only (README, Architecture)."""

import ast
from pathlib import Path

import fastdiff

ROOT = Path(fastdiff.__file__).parent

FLOORS = [
    {"cell", "files", "heap", "knobs", "noise", "preconditioning", "schedules", "spacing"},
    {"downloads"},
    {"checkpoints"},
    {"data", "model_card"},
    {"unets"},
    {"plans"},
    {"denoise", "latents"},
    {"gamma", "samplers"},
    {"generate", "likelihood", "metrics", "profiling"},
    {"records", "settings", "statistics", "tracking"},
    {"blocks", "exports", "norms", "references"},
    {"pairs", "scoring"},
    {"parts"},
    {"bench"},
    {"parity", "reports"},
    {"diagnostics"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def imported(path: Path) -> set[str]:
    """Absolute names of the modules a file imports, wherever in the file; relative imports are resolved."""
    package = ["fastdiff", *path.relative_to(ROOT).parent.parts]
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names |= {module} if node.module else {f"{module}.{alias.name}" for alias in node.names}
    return names


def room(name: str) -> str:
    return name.split(".")[1]


def files() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.name != "__init__.py")


def test_every_file_has_a_floor():
    rooms = {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in files()}
    assert rooms - {"assets"} == set(FLOOR)


def test_imports_go_down_only_and_siblings_do_not_import_one_another():
    climbs = []
    for path in files():
        here = path.relative_to(ROOT).parts[0].removesuffix(".py")
        for name in imported(path):
            if (
                name.startswith("fastdiff.")
                and room(name) in FLOOR
                and room(name) != here
                and FLOOR[room(name)] >= FLOOR[here]
            ):
                climbs.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not climbs


def test_foreign_libraries_stay_in_their_rooms():
    allowed = {
        "wandb": {"tracking/opening.py", "tracking/cells.py", "tracking/sweeps.py"},
        "wandb_workspaces": {"tracking/dashboard.py"},
        "hydra": set(),
        "omegaconf": set(),
        "diffusers": {"unets/hf.py", "unets/hf_cpu.py", "latents.py"},
        "transformers": {"latents.py", "metrics/clip_score.py"},
        "plotly": {"diagnostics/figure.py", "report/export.py"},
        "kaleido": {"report/export.py"},
        "cleanfid": {"metrics/clean_fid.py"},
    }
    strays = []
    for path in files():
        for name in imported(path):
            library = name.split(".")[0]
            if library in allowed and path.relative_to(ROOT).as_posix() not in allowed[library]:
                strays.append(f"{path.relative_to(ROOT)} imports {library}")
    assert not strays
