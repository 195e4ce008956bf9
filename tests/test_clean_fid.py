"""clean-fid's Inception-v3 as an extractor, on a stand-in for its weights (they have to be downloaded)."""

from hashlib import sha256

import numpy as np
import pytest
import torch

from fastdiff.metrics import ImageMetrics, build_extractor, clean_fid
from fastdiff.weights.download import cached

CARD = ImageMetrics("inception-v3", "clean_fid", mode="clean")


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
        FileNotFoundError, match="not at .*inception-2015-12-05.pt .*fetch https://.* and put it there$"
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
    card = ImageMetrics("mnist-classifier", "classifier")
    assert card.protocol("fid", 1000) == "fid[mnist-classifier,n=1000]"
    assert card.protocol("is", 1000) == "is[mnist-classifier,splits=10,n=1000]"


def test_an_unknown_mode_is_refused():
    with pytest.raises(
        ValueError, match="metrics.mode 'dirty' is not one of: clean, legacy_pytorch, legacy_tensorflow"
    ):
        ImageMetrics("inception-v3", "clean_fid", mode="dirty")


def weights(path, monkeypatch, content=b"weights"):
    path.write_bytes(content)
    monkeypatch.setattr(clean_fid, "TORCHSCRIPT", path)
    monkeypatch.setattr(clean_fid, "SMALLEST", 1)


def test_the_weights_digest_is_part_of_what_features_depend_on(monkeypatch, tmp_path):
    weights(tmp_path / "inception-2015-12-05.pt", monkeypatch)
    card = CARD.resolved()
    assert card.extractor_identity()["sha256"] == card.identity()["sha256"] == sha256(b"weights").hexdigest()


def test_weights_that_are_no_longer_those_of_the_key_are_refused(monkeypatch, tmp_path):
    weights(tmp_path / "inception-2015-12-05.pt", monkeypatch)
    card = CARD.resolved()
    (tmp_path / "inception-2015-12-05.pt").write_bytes(b"others, put there meanwhile")
    for act in (build_extractor, ImageMetrics.resolved):
        with pytest.raises(ValueError, match=f"has sha256 .*, but {card.sha256} is known; delete it"):
            act(card)


def test_pytorch_fid_s_weights_have_to_have_the_digest_of_their_name(monkeypatch, tmp_path):
    weights(tmp_path / clean_fid.PYTORCH, monkeypatch)
    monkeypatch.setattr(clean_fid, "weights_path", lambda mode: tmp_path / clean_fid.PYTORCH)
    with pytest.raises(ValueError, match="but 6726825d is known"):
        ImageMetrics("inception-v3", "clean_fid", mode="legacy_pytorch").resolved()


def test_missing_weights_are_fetched_for_the_key(monkeypatch, tmp_path):
    monkeypatch.setenv("FASTDIFF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(clean_fid, "TORCHSCRIPT", tmp_path / "inception-2015-12-05.pt")
    monkeypatch.setattr(clean_fid, "SMALLEST", 1)
    monkeypatch.setitem(clean_fid.URLS, "inception-2015-12-05.pt", "http://127.0.0.1:9/inception-2015-12-05.pt")
    with pytest.raises(FileNotFoundError, match="is not at .* and cannot be downloaded .* on another machine"):
        clean_fid.pinned(CARD)
    assert CARD.resolved() == CARD  # offline a cell can still be described
    place = cached("http://127.0.0.1:9/inception-2015-12-05.pt")
    place.write_bytes(b"weights")
    assert CARD.resolved().sha256 == sha256(b"weights").hexdigest()
    assert (tmp_path / "inception-2015-12-05.pt").read_bytes() == b"weights"


def test_weights_that_came_after_the_key_was_made_are_not_scored_with(monkeypatch, tmp_path):
    import cleanfid.features

    monkeypatch.setattr(clean_fid, "TORCHSCRIPT", tmp_path / "inception-2015-12-05.pt")

    def fetching(*_, **__):
        clean_fid.TORCHSCRIPT.write_bytes(b"weights")

    monkeypatch.setattr(cleanfid.features, "build_feature_extractor", fetching)
    with pytest.raises(ValueError, match="fetched only now: run again to make its sha256 part of the key"):
        build_extractor(CARD)
