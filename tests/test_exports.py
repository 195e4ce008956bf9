"""save_images: the first images of a cell as files for people and for other evaluators."""

import json
import shutil

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from PIL import Image

from fastdiff.bench.cell import key
from fastdiff.bench.config import cell_of
from fastdiff.bench.ledger import Ledger
from fastdiff.bench.run_cell import run_cell
from fastdiff_benchmarks.entry import settings_of

TINY = ["sampler=ddim", "sampler.steps=2", "device=cpu", "device.batch=5", "device.precision=float32"]


@pytest.fixture(scope="module")
def conf():
    with initialize_config_module("fastdiff_conf", version_base="1.3"):
        return settings_of(compose("config", overrides=[*TINY, "budget.n=10"]))


@pytest.fixture
def ledger(kept, tmp_path):
    """The root of a ledger that knows nothing but the reference, which takes seconds."""
    shutil.copytree(kept[0] / "reference", tmp_path / "reference")
    return tmp_path


def run(conf, root, save_images, **changed):
    cell = cell_of(conf | changed)
    outcome = run_cell(cell, Ledger(root), conf, save_images=save_images)
    assert outcome.kind == "quality", outcome.record.reason
    return outcome, root / "images" / key(cell.generation())


def arrays(folder) -> dict:
    with np.load(folder / "images.npz", allow_pickle=False) as held:
        return {name: held[name] for name in held.files}


@pytest.fixture(scope="module")
def kept(conf, tmp_path_factory):
    """The ledger's root, the outcome, and the folder of a cell that kept 7 of its 10 images."""
    root = tmp_path_factory.mktemp("kept")
    return root, *run(conf, root, 7)


def test_files_hold_the_images_whose_features_were_taken(kept):
    root, outcome, folder = kept
    pixels, found = Ledger(root).samples(folder.name)[:7], arrays(folder)
    assert found["arr_0"].shape == (7, 28, 28, 1) and found["arr_0"].dtype == np.uint8
    assert np.array_equal(found["arr_0"].transpose(0, 3, 1, 2), pixels)
    assert found["arr_1"].tolist() == np.load("fastdiff/assets/mnist10k.npz")["labels"][:7].tolist()
    assert sorted(path.name for path in (folder / "png").iterdir()) == [f"{i:06d}.png" for i in range(7)]
    for i in range(7):
        assert np.array_equal(np.asarray(Image.open(folder / "png" / f"{i:06d}.png")), pixels[i, 0])


def test_the_record_says_where_they_are_and_how_they_were_rounded(kept):
    root, outcome, folder = kept
    assert outcome.record.uint8 == "rounded half to even" and root / outcome.record.images == folder
    about = json.loads((folder / "about.json").read_text())
    assert about["n"] == 7 and about["uint8"] == "rounded half to even" and key(about["identity"]) == folder.name


def test_how_many_are_kept_changes_no_key_and_none_are_kept_unless_asked_for(kept, conf, ledger):
    plain, folder = run(conf, ledger, 0)
    assert plain.key == kept[1].key and not folder.exists() and plain.record.images is None
    assert plain.record.values == kept[1].record.values


def test_images_of_a_finished_cell_are_generated_anew_and_nothing_else_is_touched(kept, conf, ledger):
    run(conf, ledger, 0)
    before = {path: path.read_bytes() for path in ledger.rglob("*") if path.is_file()}
    again, folder = run(conf, ledger, 7)
    assert not again.reused
    assert all(np.array_equal(array, arrays(kept[2])[name]) for name, array in arrays(folder).items())
    assert {path: path.read_bytes() for path in before} == before
    assert run(conf, ledger, 3)[0].reused and run(conf, ledger, 7)[0].reused


def test_more_images_join_those_that_are_there_and_there_are_no_more_than_the_cell_has(conf, ledger):
    _, folder = run(conf, ledger, 4)
    first = folder / "png" / "000000.png"
    stamp = first.stat().st_mtime_ns
    run(conf, ledger, 1000)
    assert len(arrays(folder)["arr_0"]) == 10 and first.stat().st_mtime_ns == stamp


def test_a_cell_that_was_killed_between_its_images_ends_with_all_of_them(kept, conf, ledger):
    _, folder = run(conf, ledger, 7)
    (folder / "about.json").unlink()
    (folder / "images.npz").unlink()
    (folder / "png" / "000003.png").unlink()
    run(conf, ledger, 7)
    assert np.array_equal(arrays(folder)["arr_0"], arrays(kept[2])["arr_0"])


def test_a_negative_number_is_refused(conf, ledger):
    with pytest.raises(ValueError, match="save_images is -1; it counts images"):
        run(conf, ledger, -1)
