"""make train: from images to two checkpoints that the suite loads, and a killed run resumes."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fastdiff.metrics.classifier import Classifier
from fastdiff.unets import build
from fastdiff_benchmarks import train

NETWORK = dict(size=28, in_channels=1, channels=8, multipliers=[1, 2], blocks=1, attention=[14], classes=10)


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """trained(*words) -> the folder with the checkpoints of a tiny run on 240 random images."""
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (240, 28, 28), dtype=np.uint8), np.arange(240) % 10
    np.savez(tmp_path / "images.npz", images=images, labels=labels)

    def run(*words: str):
        data = ["data=npz", f"data.path={tmp_path / 'images.npz'}", "data.held_out=40"]
        data += ["data.size=28", "data.channels=1"]
        network = [f"model.{name}={value}" for name, value in NETWORK.items()]
        folders = [f"out={tmp_path / 'out'}", f"state={tmp_path / 'state'}"]
        tiny = ["steps=2", "batch=4", "classifier_epochs=1"]
        monkeypatch.setattr("sys.argv", ["train", *data, *network, *tiny, *folders, *words])
        train.main()
        return tmp_path / "out"

    return run


def test_a_tiny_run_writes_two_checkpoints_that_load_and_cards_that_describe_them(trained):
    out = trained()
    unet, classifier = (json.loads((out / f"mnist_{name}.json").read_text()) for name in ("unet", "classifier"))
    assert unet["arch"] == NETWORK and unet["steps"] == 2 and len(unet["held_out_eps_mse_per_n"]) == len(train.SHOWN)
    assert all(0 < loss < 10 for loss in unet["held_out_eps_mse_per_n"].values())
    network = build("native", unet["arch"], load_file(out / "mnist_unet.safetensors"))
    assert sum(weight.numel() for weight in network.parameters()) == unet["parameters"]
    assert 0 <= classifier["held_out_accuracy"] <= 1
    scorer = Classifier(**classifier["arch"])
    scorer.load_state_dict(load_file(out / "mnist_classifier.safetensors"))
    assert scorer(torch.zeros(2, 1, 28, 28))[1].shape == (2, 10)


def test_a_run_resumes_from_its_state_and_refuses_the_state_of_other_settings(trained, tmp_path, capsys):
    sha256 = json.loads((trained() / "mnist_unet.json").read_text())["sha256"]
    assert json.loads((trained() / "mnist_unet.json").read_text())["sha256"] == sha256
    assert f"resuming from step 2 ({tmp_path / 'state' / 'state.pt'})" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        trained("lr=0.1")
    assert ended.value.code == 2
    assert "state.pt is from a run with other settings; delete it or choose" in capsys.readouterr().err
