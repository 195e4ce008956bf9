"""A third party's extractor is a class in the registry, chosen by metrics.kind; nothing else has to know it."""

import numpy as np
import pytest

from fastdiff.metrics import (
    EXTRACTORS,
    Extractor,
    Features,
    LikelihoodBound,
    PromptMetrics,
    build_extractor,
    metrics_card,
)

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 3, 8, 8), dtype=np.uint8)


class Means(Extractor):
    """The mean of each channel, times a knob of its own."""

    def __init__(self, card, device="cpu", threads=None):
        self.scale = card.settings["scale"]

    def __call__(self, pixels):
        features = (self.scale * pixels.mean((2, 3))).astype(np.float16)
        return Features(features, np.zeros((len(pixels), 0), np.float32))

    @classmethod
    def dimensions(cls, card):
        return 3

    @classmethod
    def check(cls, card):
        if "scale" not in (card.settings or {}):
            raise ValueError("metrics.settings has no scale; give a number")


@pytest.fixture
def conf(monkeypatch):
    monkeypatch.setitem(EXTRACTORS._known, "means", Means)  # nothing else may meet it
    return {"name": "channel-means", "kind": "means", "settings": {"scale": 0.5}}


def test_it_is_built_from_its_card_with_its_own_knobs(conf):
    card = metrics_card(conf).resolved()
    features, probabilities = build_extractor(card)(PIXELS)
    np.testing.assert_allclose(features, 0.5 * PIXELS.mean((2, 3)), rtol=1e-3)
    assert card.dimensions == 3 and probabilities.shape == (5, 0)
    assert card.protocol("fid", 50) == "fid[channel-means,n=50]"


def test_its_knobs_are_part_of_what_features_depend_on(conf):
    card, other = metrics_card(conf), metrics_card(conf | {"settings": {"scale": 2}})
    assert card.extractor_identity() != other.extractor_identity() and card.identity() != other.identity()


def test_it_refuses_its_own_knobs_and_is_on_the_menu(conf):
    with pytest.raises(ValueError, match="metrics.settings has no scale"):
        metrics_card(conf | {"settings": {}})
    with pytest.raises(ValueError, match="metrics kind 'vgg' is not one of: classifier, clean_fid, clip, means, nll"):
        metrics_card(conf | {"kind": "vgg"})


def test_each_kind_of_metric_has_a_card_of_its_own_knobs():
    assert metrics_card({"name": "nll", "kind": "nll"}) == LikelihoodBound()
    assert metrics_card({"name": "ViT-B/32", "kind": "clip"}) == PromptMetrics("ViT-B/32")
    with pytest.raises(ValueError, match="metrics has no knob 'is_splits'; it has: kind, name, sha256, weights"):
        metrics_card({"name": "ViT-B/32", "kind": "clip", "is_splits": 10})
    with pytest.raises(ValueError, match="metrics=nll looks at no generated images"):
        build_extractor(LikelihoodBound())
