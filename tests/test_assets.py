"""The embedded network and classifier are what their cards say, and good enough to measure with."""

import numpy as np
import pytest
import torch

from fastdiff import data
from fastdiff.bench.config import card
from fastdiff.files import ASSETS, read_json, sha256
from fastdiff.metrics import build_extractor
from fastdiff.sampling.denoiser import Denoiser, load_unet


@pytest.fixture(scope="module")
def digits():
    return data.load(card("data", "mnist10k"))


@pytest.mark.parametrize("name", ["mnist_unet", "mnist_classifier"])
def test_a_model_card_tells_how_its_weights_were_made_and_has_their_digest(name):
    facts = read_json(ASSETS / f"{name}.json")
    assert facts["sha256"] == sha256(ASSETS / f"{name}.safetensors")
    assert facts["data_sha256"] == sha256(ASSETS / "mnist10k.npz")
    assert {"command", "seed", "arch", "licence", "parameters", "held_out_images"} <= set(facts)


def test_the_cards_in_conf_pin_the_digests_and_describe_the_networks():
    network, classifier = read_json(ASSETS / "mnist_unet.json"), read_json(ASSETS / "mnist_classifier.json")
    model, metrics = card("model", "mnist"), card("metrics", "mnist_classifier")
    assert model.sha256 == network["sha256"] and metrics.sha256 == classifier["sha256"]
    assert model.arch == network["arch"] and metrics.arch == classifier["arch"]
    assert vars(model.schedule) == network["schedule"]


def test_the_classifier_knows_the_held_out_digits_and_its_features_have_no_dead_direction(digits):
    _, held_out = digits
    found = build_extractor(card("metrics", "mnist_classifier"))(held_out.pixels)
    right = (found.probabilities.argmax(1) == held_out.labels).mean()
    assert right >= 0.985
    assert right == pytest.approx(read_json(ASSETS / "mnist_classifier.json")["held_out_accuracy"], abs=1e-3)
    assert 64 <= found.features.shape[1] <= 96
    spread = np.linalg.eigvalsh(np.cov(found.features.astype(np.float64), rowvar=False))
    assert spread[0] > 1e-6 * spread[-1]


def test_the_network_s_held_out_loss_is_that_of_its_card(digits):
    _, held_out = digits
    said = read_json(ASSETS / "mnist_unet.json")["held_out_eps_mse_per_n"]
    model = card("model", "mnist")
    sigma = float(model.noise_levels.levels[300 - 1])
    denoise = Denoiser(load_unet(model), model).start([sigma], torch.from_numpy(held_out.labels[:500]))
    x0 = torch.from_numpy(held_out.pixels[:500]).float() / 127.5 - 1
    z = torch.randn(x0.shape, generator=torch.Generator().manual_seed(7))
    with torch.inference_mode():
        eps = (x0 + sigma * z - denoise(x0 + sigma * z, sigma)) / sigma
    # other noise than the card's and half the images: a few per cent of scatter
    assert (eps - z).square().mean().item() == pytest.approx(said["300"], rel=0.1)
