"""Every model card in conf/ describes a network that can be built, of the size its authors tell, and its origin."""

from pathlib import Path

import fastdiff_conf
import pytest
import torch

from fastdiff.data import DataCard
from fastdiff.knobs import build
from fastdiff.unets import build as build_unet
from fastdiff.weights.model_card import ModelCard

CONF = Path(fastdiff_conf.__file__).parent
MILLIONS = {  # parameters, to the digits that papers give (the VE networks and LDM's embedding: counted)
    "adm_imagenet64": 296, "cifar10_ddim": 35.7, "ddpm_cifar10_hf": 35.7, "edm_cifar10_cond_ve": 56.4,
    "edm_cifar10_cond_vp": 55.7, "edm_cifar10_uncond_ve": 56.4, "edm_cifar10_uncond_vp": 55.7, "edm_imagenet64": 296,
    "iddpm_imagenet64": 121, "analytic_cifar10_cs": 52.5, "analytic_cifar10_ls": 52.5, "ldm4_imagenet256": 401,
    "mnist": 1.0, "stable_diffusion_15": 860,
}  # fmt: skip


def card(path: Path, kind=ModelCard):
    return build(kind, fastdiff_conf.member(path.parent.name, path.stem), "card")


MODELS = sorted((CONF / "model").glob("*.yaml"))


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_a_model_card_s_network_has_as_many_parameters_as_it_is_known_for(path):
    model = card(path)
    if model.family == "hf":
        pytest.importorskip("diffusers")
    with torch.device("meta"):
        network = build_unet(model.family, model.arch)
    parameters = sum(p.numel() for p in network.parameters()) / 1e6
    assert parameters == pytest.approx(MILLIONS[path.stem], rel=0.005 if parameters > 2 else 0.02)


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_a_model_card_says_where_from_under_which_licence_and_what_to_expect(path):
    model = card(path)
    assert model.name == path.stem and model.source and model.licence
    if model.weights.startswith("https://"):
        assert model.source.startswith("https://") and model.expected
    assert model.image_shape[0] == 3 or path.stem == "mnist"


def test_labels_of_a_network_are_those_of_its_embedding():
    for path in MODELS:
        model = card(path)
        known = {model.arch.get(word) for word in ("classes", "label_dim")} - {None}
        assert not known or known == {model.classes}
        assert not model.arch.get("class_cond") or model.classes == 1000


def test_the_cifar10_card_pins_the_official_archive():
    data = card(CONF / "data" / "cifar10.yaml", DataCard)
    assert data.held_out == 10000 and len(data.sha256) == 64 and data.path.endswith("/cifar-10-binary.tar.gz")
