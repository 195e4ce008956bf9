"""clean-fid's Inception-v3 as an extractor, on a stand-in for its weights (they have to be downloaded)."""

import numpy as np
import pytest
import torch

from fastdiff.metrics import MetricsCard, build_extractor, clean_fid

CARD = MetricsCard("inception-v3", "clean_fid", mode="clean")


class StandIn(torch.nn.Module):
    """Takes what Inception takes, 299 x 299 in 0 .. 255, and gives features that tell the channels' means."""

    def forward(self, x):
        assert x.shape[1:] == (3, 299, 299) and x.min() >= 0 and x.max() <= 255
        return torch.cat([x.mean((2, 3)), x.std((2, 3))], 1)


def test_without_weights_and_network_it_says_what_to_put_where(monkeypatch, tmp_path):
    import cleanfid.features

    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(clean_fid, "TORCHSCRIPT", tmp_path / "inception-2015-12-05.pt")
    monkeypatch.setattr(cleanfid.features, "build_feature_extractor", offline)
    with pytest.raises(
        FileNotFoundError, match="not at .*inception-2015-12-05.pt .*fetch https://.* and put it there, or use metrics="
    ):
        build_extractor(CARD)


def test_truncated_weights_are_refused(monkeypatch, tmp_path):
    path = tmp_path / "inception-2015-12-05.pt"
    path.write_bytes(b"half")
    monkeypatch.setattr(clean_fid, "TORCHSCRIPT", path)
    with pytest.raises(ValueError, match="is truncated .4 bytes.; delete it and fetch"):
        build_extractor(CARD)


def test_grey_images_become_three_equal_channels_of_clean_fid_s_own_resize(monkeypatch):
    import cleanfid.features
    from cleanfid.resize import build_resizer

    monkeypatch.setattr(cleanfid.features, "build_feature_extractor", lambda *_, **__: StandIn())
    pixels = np.random.default_rng(0).integers(0, 256, (3, 1, 28, 28), dtype=np.uint8)
    features, probabilities = build_extractor(CARD)(pixels)
    assert probabilities.shape == (3, 0) and features.dtype == np.float16
    resized = build_resizer("clean")(np.repeat(pixels[0].transpose(1, 2, 0), 3, 2))
    np.testing.assert_allclose(features[0, :3], resized.mean((0, 1)), rtol=1e-3)  # float16
    assert (features[:, 0] == features[:, 1]).all()


def test_a_protocol_names_mode_extractor_and_count():
    assert CARD.protocol("fid", 50000) == "fid[clean,inception-v3,n=50000]"
    card = MetricsCard("mnist-classifier", "classifier")
    assert card.protocol("fid", 1000) == "fid[mnist-classifier,n=1000]"
    assert card.protocol("is", 1000) == "is[mnist-classifier,splits=10,n=1000]"


def test_an_unknown_mode_is_refused():
    with pytest.raises(
        ValueError, match="metrics.mode 'dirty' is not one of: clean, legacy_pytorch, legacy_tensorflow"
    ):
        MetricsCard("inception-v3", "clean_fid", mode="dirty")
