"""The house has floors, and imports go down only, between packages and between files (docs/architecture.md)."""

import ast
from pathlib import Path

import pytest

import fastdiff

ROOT = Path(fastdiff.__file__).parent

# From the lowest to the highest, along the path of the data. The first are modules; anyone may import them.
FLOORS = [
    "files", "knobs", "registry", "device", "diffusion", "weights", "data", "unets", "accelerators", "samplers",
    "analytic", "sampling", "metrics", "statistics", "profiling", "bench", "report", "tracking", "diagnostics",
]  # fmt: skip


def module_of(path: Path) -> str:
    parts = ["fastdiff", *path.relative_to(ROOT).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def imported(module: str) -> set[str]:
    """Absolute names of the modules a file imports, wherever in the file; relative imports are resolved."""
    path = FILES[module]
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            below = {f"{source}.{alias.name}" for alias in node.names}
            names |= {name if name in FILES else source for name in below}
    return names


def own(module: str) -> set[str]:
    """The files of the suite that a file imports."""
    return {name for name in imported(module) if name in FILES and name not in (module, "fastdiff")}


def room(module: str) -> str:
    return module.split(".")[1]


def test_every_package_has_a_floor():
    assert {room(module) for module in FILES if module != "fastdiff"} - {"assets"} == set(FLOORS)


def test_imports_go_down_only():
    climbs = [
        f"{module} imports {name}"
        for module in FILES
        for name in own(module)
        if module != "fastdiff" and FLOORS.index(room(name)) > FLOORS.index(room(module))
    ]
    assert not climbs


def test_no_file_imports_itself_through_others():
    """Function-level imports count too. A package's __init__ gathers its files, and these may not import it back."""
    open_, closed = [], set()

    def visit(module: str) -> None:
        if module in open_:
            pytest.fail("import cycle: " + " -> ".join([*open_[open_.index(module) :], module]))
        if module in closed:
            return
        open_.append(module)
        for name in sorted(own(module)):
            visit(name)
        closed.add(open_.pop())

    for module in FILES:
        visit(module)


def test_foreign_libraries_stay_in_their_rooms():
    allowed = {
        "wandb": {"tracking"},
        "wandb_workspaces": {"tracking.dashboard"},
        "hydra": set(),
        "omegaconf": set(),
        "diffusers": {"unets.hf", "unets.hf_cpu", "sampling.latents"},
        "transformers": {"sampling.latents", "metrics.clip_score"},
        "plotly": {"report", "diagnostics"},
        "kaleido": {"report"},
        "jinja2": {"report", "diagnostics"},
        "cleanfid": {"metrics.clean_fid"},
    }
    strays = []
    for module in FILES:
        for name in imported(module):
            library = name.split(".")[0]
            here = module.removeprefix("fastdiff.")
            if library in allowed and not {here, here.split(".")[0]} & allowed[library]:
                strays.append(f"{module} imports {library}")
    assert not strays


def test_public_functions_have_typed_arguments():
    untyped = []
    for module, path in FILES.items():
        tree = ast.parse(path.read_text())
        scopes = [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name[0] != "_")]
        for scope in scopes:
            for node in scope.body:
                if not isinstance(node, ast.FunctionDef) or (node.name[0] == "_" and node.name != "__init__"):
                    continue
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                arguments += [each for each in (node.args.vararg, node.args.kwarg) if each]
                bare = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
                untyped += [f"{module}.{node.name}({argument})" for argument in bare]
    assert not untyped
