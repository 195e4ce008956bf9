"""The wheel holds what users run and nothing else, and measures a cell where the repository is unknown."""

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def call(folder: Path, *command) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy of what git has."""
    folder = tmp_path_factory.mktemp("wheel")
    (folder / "source").mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    for name in ("fastdiff", "benchmarks", "conf", "tests"):
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__", "fixtures"))
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder]
    call(folder, *build, folder / "source")
    (built,) = folder.glob("fastdiff_bench-*.whl")
    return built


def test_the_wheel_holds_every_file_of_the_package_its_conf_and_its_commands(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for package, folder in (("fastdiff", "fastdiff"), ("fastdiff_conf", "conf"), ("fastdiff_benchmarks", "benchmarks")):
        here = [path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob("*") if path.is_file()]
        here = [path for path in here if "__pycache__" not in path.parts and path.parts[0] != "studies"]
        assert {f"{package}/{path.as_posix()}" for path in here} <= names


def test_the_wheel_holds_no_studies_and_nothing_that_only_tests_need(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    folders = {name.partition("/")[0].partition("-")[0] for name in names}
    assert folders == {"fastdiff", "fastdiff_bench", "fastdiff_benchmarks", "fastdiff_conf"}
    words = ("studies", "parity", "versus", "calibrat", "pools", "ablation", "tests/")
    assert [name for name in names if any(word in name for word in words)] == []


@pytest.mark.slow
def test_the_wheel_measures_a_tiny_cell_outside_the_repository(wheel, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    call(empty, sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    call(empty, sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", site, wheel)
    # The dependencies are borrowed; the repository is not, because a .pth line's own .pth files are not followed.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    python = tmp_path / "venv" / "bin" / "python"
    assert str(site) in call(empty, python, "-c", "import fastdiff; print(fastdiff.__file__)")

    tiny = ["budget.n=10", "device=cpu", "device.batch=5", "sampler.steps=2", "tracker=none"]
    assert "fid[mnist-classifier,n=10]" in call(empty, python, "-m", "fastdiff_benchmarks", "run", *tiny)
    script = site / "bin" / "fastdiff"
    assert "run " in call(empty, python, script, "--help")
    assert "already measured" in call(empty, python, script, "run", *tiny)
    quick = ["device=cpu", "device.batch=2", "sampler.steps=2", "seconds=0", "repeats=1", "intervals=[2]"]
    assert "interval 2" in call(empty, python, script, "speed", *quick)
    assert "score norms" in call(empty, python, script, "score-norms", "--help")
