"""Tuning on one part and confirming on another: what the parts share (nothing that chooses), and what is said."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module

from fastdiff.bench.cell import PARTS
from fastdiff.bench.config import cell_of
from fastdiff.bench.ledger import Ledger
from fastdiff.bench.reference import HALVES, reference_of
from fastdiff.diffusion.noise import IMAGES, LABELS, LIKELIHOOD, SCORE_NORMS, noise_of
from fastdiff.metrics import Features
from fastdiff_benchmarks import tune
from fastdiff_benchmarks.entry import settings_of

TINY = ["device=cpu", "device.precision=float32", "device.batch=6", "sampler=ddim", "sampler.steps=2", "budget.n=12"]


@pytest.fixture
def cell():
    def make(*overrides: str):
        with initialize_config_module("fastdiff_conf", version_base="1.3"):
            return cell_of(settings_of(compose("config", overrides=[*TINY, *overrides])))

    return make


def test_every_part_has_a_stream_of_noise_of_its_own():
    assert set(IMAGES) == set(HALVES) == set(PARTS)
    assert len({*IMAGES.values(), SCORE_NORMS, LIKELIHOOD, LABELS}) == 6


def test_no_noise_of_one_part_is_met_in_another_under_any_seed():
    drawn = {}
    for part, stream in IMAGES.items():
        for seed in (0, 1, 2):
            noise = noise_of(seed, range(50), (1, 4, 4), stream=stream)
            drawn |= {(part, seed, step, i): z.numpy().tobytes() for step in (0, 1) for i, z in enumerate(noise(step))}
    assert len(set(drawn.values())) == len(drawn) == 3 * 3 * 2 * 50


def test_generated_images_take_the_noise_of_their_part(cell, denoiser):
    from fastdiff.bench.blocks import sampling
    from fastdiff.sampling.generate import to_uint8

    for part in PARTS:
        of = cell(f"budget.part={part}")
        (batch,) = sampling(of, denoiser, None, None)(np.arange(4))
        noise = noise_of(0, range(4), denoiser.shape, stream=IMAGES[part])
        with torch.inference_mode():
            expected = to_uint8(of.sampler(denoiser, noise, None, None), denoiser.value_range)
        assert np.array_equal(batch.pixels, expected.numpy())


def test_the_references_of_tune_and_confirm_have_no_image_in_common_and_are_everything_together(cell, tmp_path):
    seen, images = {}, SimpleNamespace(pixels=np.arange(33, dtype=np.uint8).reshape(-1, 1, 1, 1))
    for part in PARTS:

        def extractor(pixels, part=part):
            seen[part] = pixels.ravel().tolist()
            return Features(np.stack([pixels.ravel(), pixels.ravel() ** 2], 1).astype(np.float16), None)

        first = reference_of(cell(f"budget.part={part}"), Ledger(tmp_path), images, extractor).moments
        assert first.mean[0] == np.mean(seen[part])
    assert not set(seen["tune"]) & set(seen["confirm"])
    assert sorted(seen["tune"] + seen["confirm"]) == seen["all"] == list(range(33))
    assert len(list(tmp_path.glob("reference/*.card.json"))) == 3


def test_the_part_all_is_in_no_key_and_the_others_are_in_all_but_that_of_speed(cell):
    usual, (confirm, tuned) = cell(), [cell(f"budget.part={part}") for part in ("confirm", "tune")]
    assert "part" not in json.dumps(usual.quality()) and "ladder" not in json.dumps(usual.quality())
    assert tuned.generation() == usual.generation() | {"part": "tune"}
    assert tuned.quality()["reference"] == usual.quality()["reference"] | {"part": "tune"}
    assert len({usual.key, confirm.key, tuned.key}) == 3
    assert usual.speed("here") == confirm.speed("here") == tuned.speed("here")


@pytest.mark.parametrize("metrics", ["nll"])
def test_metrics_without_reference_images_have_no_parts(cell, metrics):
    with pytest.raises(
        ValueError, match=f"and metrics={metrics} has none; choose metrics=mnist_classifier or clean_fid"
    ):
        cell("sampler=ddpm", f"metrics={metrics}", "budget.part=tune")


def test_an_unknown_part_gives_the_menu(cell):
    with pytest.raises(ValueError, match="budget.part 'test' is not one of: all, confirm, tune"):
        cell("budget.part=test")


def call(folder: Path, *overrides: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(Path(tune.__file__)), *TINY, f"ledger={folder}", *overrides]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder.parent)


def test_the_best_value_on_tune_is_confirmed_beside_the_usual_one_on_other_images(tmp_path, monkeypatch, capsys):
    """Of one step and three the three are better by far: no luck in who is chosen."""
    monkeypatch.setattr("fastdiff.statistics.influence.ENOUGH", 1)  # intervals of few images
    monkeypatch.chdir(tmp_path)
    tiny = [*TINY, "ledger=runs", "budget.n=66", "device.batch=22", "sampler.steps=1"]
    monkeypatch.setattr(sys, "argv", ["tune.py", *tiny, "knob=sampler.steps", "values=[3]"])
    tune.main()
    said = capsys.readouterr().out
    records = [json.loads(path.read_text()) for path in Path("runs/quality").glob("*.json")]
    found = {(r["settings"]["budget"]["part"], r["settings"]["sampler"]["steps"]): r["values"] for r in records}
    assert set(found) == {(part, steps) for part in ("tune", "confirm") for steps in (1, 3)}
    one, three = ({part: found[part, steps][f"fid[mnist-classifier,part={part},n=66]"]["value"]
                   for part in ("tune", "confirm")} for steps in (1, 3))  # fmt: skip
    assert three["tune"] < one["tune"] and three["tune"] != three["confirm"]
    assert "sampler.steps=3, the best of 2, against 1:\n" in said
    assert f"  tune     {three['tune'] - one['tune']:+.2f} [" in said and "]  too good on average" in said
    assert f"  confirm  {three['confirm'] - one['confirm']:+.2f} [" in said
    assert "]  on other noise and reference images: better (p = " in said

    before = {path: path.stat().st_mtime_ns for path in Path("runs/quality").iterdir()}
    tune.main()
    assert capsys.readouterr().out == said  # all of it from the ledger
    assert {path: path.stat().st_mtime_ns for path in Path("runs/quality").iterdir()} == before


def test_where_the_usual_value_is_best_nothing_is_confirmed(tmp_path):
    done = call(tmp_path / "runs", "knob=sampler.steps", "values=[1]", "budget.n=250", "device.batch=125")
    assert done.returncode == 0, done.stderr
    assert "no value is better than the usual sampler.steps=2; there is nothing to confirm" in done.stdout
    assert len(list((tmp_path / "runs" / "quality").glob("*.json"))) == 2


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["knob=budget.n"],
            "error: knob 'budget.n' is not one of: guidance, accelerator.<plan>.<knob>, sampler.<knob>",
        ),
        (["knob=sampler.stepz"], "error: knob 'sampler.stepz' does not exist; sampler has: clip, eta,"),
        (["knob=sampler"], "error: knob 'sampler' does not exist"),
        (["values=[1.0]"], "error: values are [1.0] and the usual one is 1.0: there is nothing to choose from"),
        (["values=0.9"], "error: values is 0.9; a list is needed, as [0.7,0.8]"),
        (["budget.n=249"], "error: nothing can be confirmed with budget.n=249 (no interval: 249 images are too few"),
        (["budget.part=tune"], "error: make tune chooses the part itself and has no ladder"),
    ],
)
def test_a_knob_that_cannot_be_tuned_is_refused_in_one_sentence(tmp_path, overrides, said):
    done = call(tmp_path / "runs", *overrides)
    assert done.returncode == 2 and done.stderr.startswith(said) and done.stderr.count("\n") == 1
