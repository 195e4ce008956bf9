"""The whole path without a download: resize, Inception-v3 with random weights, features, every metric.

The weights are random, the files are those that clean-fid loads, and its own pipeline over a folder of PNGs is what
ours, which writes none, is compared with.
"""

import functools

import inception
import numpy as np
import pytest
import torch
from PIL import Image

from fastdiff.metrics import ImageMetrics, build_extractor, clean_fid, frechet_of, kid, moments, prdc

MODES = ["clean", "legacy_tensorflow", "legacy_pytorch"]


def card(mode: str, batch: int = 250) -> ImageMetrics:
    return ImageMetrics("inception-v3", "clean_fid", mode=mode, batch=batch)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    inception.write_torchscript(folder / clean_fid.TORCHSCRIPT.name)
    inception.write_pytorch(folder / "hub" / "checkpoints" / clean_fid.PYTORCH)
    return folder


@pytest.fixture
def offline(files, monkeypatch):
    """clean-fid finds both files in the test's own folder instead of the machine's."""
    import cleanfid.features

    monkeypatch.setenv("TORCH_HOME", str(files))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr(clean_fid, "TORCHSCRIPT", files / clean_fid.TORCHSCRIPT.name)
    real = cleanfid.features.InceptionV3W
    monkeypatch.setattr(
        cleanfid.features, "InceptionV3W", lambda path, download, resize_inside: real(str(files), False, resize_inside)
    )


@functools.cache
def pixels(n=6, size=24, channels=3):
    return np.random.default_rng(n).integers(0, 256, (n, channels, size, size + 7), dtype=np.uint8)


@pytest.mark.parametrize("mode, channels", zip(MODES, (1, 3, 3)))
def test_features_are_those_of_clean_fid_s_own_pipeline_over_a_folder(mode, channels, offline, tmp_path):
    from cleanfid.features import build_feature_extractor
    from cleanfid.fid import get_folder_features

    images = pixels(2, channels=channels)
    for i, image in enumerate(images):
        Image.fromarray(image.transpose(1, 2, 0).squeeze()).save(tmp_path / f"{i}.png")
    model = build_feature_extractor(mode, torch.device("cpu"), use_dataparallel=False)
    theirs = get_folder_features(
        str(tmp_path), model, num_workers=0, device=torch.device("cpu"), mode=mode, verbose=False
    )
    ours = build_extractor(card(mode)).features(images)
    assert ours.dtype == np.float32 and ours.shape == (2, 2048)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    assert ours.std(0).mean() > 1e-3  # or any network would do


@pytest.mark.slow
def test_the_random_network_s_features_do_not_vanish_and_tell_images_apart(offline):
    features = build_extractor(card("clean")).features(pixels())
    assert 0.05 < features.std() < 50 and features.std(0).mean() > 1e-3


@pytest.mark.slow
def test_features_depend_neither_on_batch_nor_on_threads_and_keep_the_images_order(offline):
    whole = clean_fid.CleanFidExtractor(card("clean"), threads=1).features(pixels())
    parts = clean_fid.CleanFidExtractor(card("clean", batch=4), threads=5).features(pixels())
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-5)  # of other batches oneDNN rounds otherwise
    turned = build_extractor(card("clean")).features(pixels()[::-1])
    np.testing.assert_allclose(turned[::-1], whole, rtol=1e-5, atol=1e-5)
    assert not np.allclose(turned, whole, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("mode", MODES)
def test_resizing_in_threads_gives_the_same_floats(mode, monkeypatch):
    import cleanfid.features

    seen = []
    monkeypatch.setattr(
        cleanfid.features, "build_feature_extractor", lambda *_, **__: lambda x: seen.append(x) or x.mean((2, 3))
    )
    for threads in (1, 4):
        clean_fid.CleanFidExtractor(card(mode), threads=threads).features(pixels())
    assert (seen[0] == seen[1]).all() and seen[0].dtype == torch.float32
    expected = [clean_fid.build_resize(mode)(image.transpose(1, 2, 0)) for image in pixels()]
    assert (seen[0].numpy() == np.stack(expected).transpose(0, 3, 1, 2)).all()


def test_the_resize_of_pytorch_silences_no_warning_of_ours():
    import warnings

    before = warnings.filters[:]
    clean_fid.build_resize("legacy_pytorch")
    assert warnings.filters == before


def test_images_of_two_channels_are_refused(offline):
    with pytest.raises(ValueError, match="images have 2 channels; clean-fid's Inception-v3 takes 1 or 3"):
        build_extractor(card("clean")).features(pixels(channels=2))


def test_every_metric_comes_out_of_one_pass(offline):
    extractor = build_extractor(card("clean"))
    arm, real = pixels(), pixels(7)
    features, reference = extractor(arm).features, extractor(real).features
    assert features.dtype == np.float16
    statistics = moments(reference)
    assert frechet_of(features, statistics) > 0
    own = frechet_of(reference, statistics)
    assert abs(own) < 1e-3 * frechet_of(features, statistics)
    assert np.isfinite(kid(features, reference))
    assert prdc(reference, reference, k=2)[:2] == (1, 1)
    dark = extractor(arm // 4).features  # other images are farther away by each of them
    assert frechet_of(dark, statistics) > frechet_of(features, statistics)
    assert kid(dark, reference) > kid(features, reference)
    assert prdc(dark, reference, k=2).density <= prdc(features, reference, k=2).density


@pytest.mark.slow
def test_clean_fid_s_own_distance_of_these_features_is_ours(offline):
    from cleanfid.fid import kernel_distance

    extractor = build_extractor(card("clean"))
    a, b = extractor.features(pixels()), extractor.features(pixels(7))
    every = kernel_distance(b[:6].astype(np.float64), a.astype(np.float64), num_subsets=1, max_subset_size=6)
    assert kid(a, b[:6]) == pytest.approx(every, rel=1e-9)
