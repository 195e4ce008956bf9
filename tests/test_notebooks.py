"""The notebooks run, and are what is committed: executed, light, and without a logic of their own."""

import ast
import io
import json
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastdiff.bench.config import GROUPS, cell_of
from fastdiff.report import samples
from fastdiff.report.notebook import shown
from fastdiff_benchmarks.entry import settings_from

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "notebooks"
NAMES = ["01_one_image", "02_skip_tuning", "03_deepcache", "04_analytic_variance", "05_read_the_records",
         "06_your_own_model"]  # fmt: skip
LOGIC = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.While, ast.Try)

each = pytest.mark.parametrize("name", NAMES)


def read(name: str) -> dict:
    return json.loads((FOLDER / f"{name}.ipynb").read_text())


def code(name: str) -> list[dict]:
    return [cell for cell in read(name)["cells"] if cell["cell_type"] == "code"]


def outputs(name: str) -> list[dict]:
    return [output for cell in code(name) for output in cell["outputs"]]


def said(output: dict) -> str:
    """All that an output says in words, of whatever kind; pictures left out."""
    parts = {kind: text for kind, text in output.get("data", {}).items() if not kind.startswith("image/")}
    return "".join("".join(text) for text in [output.get("text", ""), *parts.values()])


def test_the_folder_has_these_notebooks_and_its_readme_and_the_main_one_lead_to_them():
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == NAMES
    listed = re.findall(r"\]\((\w+)\.ipynb\)", (FOLDER / "README.md").read_text())
    assert listed == NAMES
    assert "(notebooks/README.md)" in (ROOT / "README.md").read_text()


@each
def test_a_notebook_begins_with_a_title_and_explains_before_it_shows(name):
    cells = read(name)["cells"]
    assert cells[0]["cell_type"] == "markdown" and cells[0]["source"][0].startswith("# ")
    kinds = [cell["cell_type"] for cell in cells]
    assert kinds.count("markdown") >= 5 and kinds.count("markdown") >= kinds.count("code") / 2


@each
def test_every_cell_was_run_once_from_top_to_bottom_and_none_failed(name):
    assert [cell["execution_count"] for cell in code(name)] == list(range(1, len(code(name)) + 1))
    kinds = {output["output_type"] for output in outputs(name)}
    assert kinds <= {"display_data", "execute_result", "stream"}  # no error
    assert not [output for output in outputs(name) if output.get("name") == "stderr"]


@each
def test_a_notebook_shows_pictures_and_is_light(name):
    assert any("image/png" in output.get("data", {}) for output in outputs(name))
    assert (FOLDER / f"{name}.ipynb").stat().st_size < 200_000


@each
def test_running_a_notebook_again_changes_outputs_alone(name):
    """No times, versions or random names in the file."""
    found = read(name)
    assert found["metadata"]["kernelspec"]["name"] == "python3"
    assert found["metadata"]["language_info"] == {"name": "python"}
    assert [cell["metadata"] for cell in found["cells"]] == [{}] * len(found["cells"])
    assert [cell["id"] for cell in found["cells"]] == [f"cell-{i:02d}" for i in range(1, len(found["cells"]) + 1)]


@each
def test_a_notebook_has_no_logic_of_its_own_and_uses_nothing_private(name):
    for cell in code(name):
        for node in ast.walk(ast.parse("".join(cell["source"]))):
            assert not isinstance(node, LOGIC), f"{type(node).__name__} in {name}: it belongs into the library"
            private = node.attr if isinstance(node, ast.Attribute) else ""
            private = next((a.name for a in node.names), "") if isinstance(node, ast.ImportFrom) else private
            assert not private.startswith("_")


@each
def test_a_notebook_names_no_place_of_the_machine_it_ran_on(name):
    texts = ["".join(cell["source"]) for cell in read(name)["cells"]] + [said(output) for output in outputs(name)]
    assert not [found for text in texts for found in re.findall(r"(?<![\w.:/])/[a-z]+/[\w./-]+|[A-Z]:\\\w+", text)]


@pytest.mark.slow
def test_all_notebooks_run_within_five_minutes_of_two_cores_together(tmp_path):
    """Copies, beside no ledger: what is committed stays as it is, and notebook 05 measures its own. CPU time is what
    counts: a machine with other work takes longer."""
    shutil.copytree(FOLDER, tmp_path / "notebooks")
    options = ["--nbmake", "--nbmake-timeout=900", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, "notebooks"]
    before = cpu_seconds()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0 and f"{len(NAMES)} passed" in done.stdout, done.stdout[-3000:] + done.stderr[-1000:]
    assert cpu_seconds() - before < 2 * 300


def cpu_seconds() -> float:
    """Of all processes that were started here and have ended, and of theirs."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


@pytest.mark.slow
def test_executing_in_place_leaves_outputs_and_nothing_else(tmp_path):
    """nbclient itself would leave the time of every cell and the version of Python."""
    cell = {
        "cell_type": "code",
        "id": "x",
        "metadata": {"a": 1},
        "source": "6 * 7",
        "outputs": [],
        "execution_count": 5,
    }
    path = tmp_path / "tiny.ipynb"
    path.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    subprocess.run([sys.executable, FOLDER / "execute.py", path], check=True, capture_output=True, timeout=120)
    (done,) = json.loads(path.read_text())["cells"]
    assert done["outputs"][0]["data"] == {"text/plain": ["42"]}
    assert (done["id"], done["metadata"], done["execution_count"]) == ("cell-01", {}, 1)


def test_a_shown_figure_is_the_rendered_one_in_fewer_bytes_and_always_the_same():
    digits = np.random.default_rng(0).integers(0, 256, (10, 1, 28, 28), dtype=np.uint8)
    figure = samples.sheet([("a row", digits), ("another", digits)])
    whole, light = samples.png(figure), shown(figure)
    assert light.data == shown(figure).data and len(light.data) < 0.85 * len(whole)
    pixels = [np.asarray(Image.open(io.BytesIO(png)).convert("L"), dtype=int) for png in (whole, light.data)]
    assert pixels[0].shape == pixels[1].shape
    assert np.abs(pixels[0] - pixels[1]).max() <= 4


def test_settings_are_said_as_on_the_command_line():
    found = settings_from("sampler=analytic_ddim", "sampler.steps=7", "accelerator.deepcache.interval=3")
    assert set(found) == set(GROUPS)
    assert (found["sampler"]["name"], found["sampler"]["steps"]) == ("analytic_ddim", 7)
    cell = cell_of(found)
    assert cell.cache.interval == 3 and cell.sampler.variance == "analytic"


@pytest.mark.parametrize(
    "words, said",
    [
        (["sampler=nosuch"], "sampler 'nosuch' is not one of: analytic_ddim,"),
        (["sampler.nosuch=1"], "sampler has no knob 'nosuch'; known: "),
        (["+nosuch=1"], "the settings have no knob 'nosuch'; known: "),
        (["data=folder"], "data 'folder' needs data.path=FOLDER"),
    ],
)
def test_settings_that_are_unknown_or_wanting_are_refused_with_the_menu(words, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        settings_from(*words)
