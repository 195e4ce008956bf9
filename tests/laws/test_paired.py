"""Image by image against the slow output: what the measures are, and that no image spoils a mean."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from fastdiff.metrics.paired import paired, summary


@pytest.fixture
def slow():
    return np.random.default_rng(0).integers(0, 200, (7, 3, 16, 20), dtype=np.uint8)


def test_psnr_of_a_known_difference_is_its_formula(slow):
    found = paired(slow + 10, slow, batch=3)
    np.testing.assert_allclose(found["psnr"], 20 * np.log10(255 / 10), rtol=1e-12)
    assert (found["largest_difference"] == 10).all()


def test_psnr_is_that_of_each_image_alone(slow):
    other = slow.copy()
    other[2] += 5
    other[5, 0] += 9
    found = paired(other, slow)["psnr"]
    alone = np.concatenate([paired(other[i : i + 1], slow[i : i + 1])["psnr"] for i in range(7)])
    np.testing.assert_array_equal(found, alone)
    assert found[5] == pytest.approx(10 * np.log10(255**2 / (81 / 3)), rel=1e-12)


def test_psnr_is_torchmetrics_number(slow):
    other = np.random.default_rng(1).integers(0, 256, slow.shape, dtype=np.uint8)
    a, b = torch.from_numpy(other).double(), torch.from_numpy(slow).double()
    theirs = peak_signal_noise_ratio(a, b, data_range=255.0, reduction="none", dim=(1, 2, 3))
    np.testing.assert_allclose(paired(other, slow)["psnr"], theirs, rtol=1e-6)  # it takes its logarithm in float32


def test_identical_images_have_the_psnr_of_one_value_off_by_one_level(slow):
    other = slow.copy()
    other[0, 0, 0, 0] += 1
    found = paired(other, slow)
    np.testing.assert_allclose(found["psnr"], 10 * np.log10(255**2 * 3 * 16 * 20), rtol=1e-12)
    np.testing.assert_array_equal(found["largest_difference"], [1] + 6 * [0])
    np.testing.assert_allclose(found["ssim"][1:], 1, rtol=1e-12)
    assert np.isfinite(summary(found)["psnr"]["mean"])


def test_ssim_is_that_of_the_whole_batch_image_by_image(slow):
    other = np.random.default_rng(1).integers(0, 256, slow.shape, dtype=np.uint8)
    for i, ours in enumerate(paired(other, slow, batch=2)["ssim"]):
        a, b = (torch.from_numpy(x[i : i + 1]).double() for x in (other, slow))
        assert ours == pytest.approx(float(structural_similarity_index_measure(a, b, data_range=255.0)), rel=1e-12)


def test_feature_distance_is_euclidean_also_of_float16(slow):
    a, b = np.zeros((7, 2), np.float16), np.tile(np.array([3, 4], np.float16), (7, 1)) * 10000
    np.testing.assert_allclose(paired(slow, slow, a, b)["feature_distance"], 50000, rtol=1e-3)
    assert "feature_distance" not in paired(slow, slow)


def test_images_that_ssims_window_does_not_fit_have_the_other_measures(slow):
    assert sorted(paired(slow[..., :10], slow[..., :10])) == ["largest_difference", "psnr"]
    assert "ssim" in paired(slow[..., :11], slow[..., :11])


def test_the_summary_keeps_the_distribution_and_the_worst_cases():
    values = {"psnr": np.array([30.0, 10.0, 20.0, 40.0]), "feature_distance": np.array([3.0, 1.0, 2.0, 4.0])}
    found = summary(values, worst=2, first=250)
    assert found["psnr"]["worst"] == [251, 252] and found["psnr"]["worst_values"] == [10, 20]
    assert found["feature_distance"]["worst"] == [253, 250]
    psnr = found["psnr"]
    assert (psnr["n"], psnr["mean"], psnr["quantiles"]["0.5"]) == (4, 25, 25)
    assert psnr["se"] == pytest.approx(values["psnr"].std(ddof=1) / 2)
    assert psnr["high"] - psnr["low"] == pytest.approx(2 * 1.959964 * psnr["se"], rel=1e-6)


def test_what_cannot_be_paired_is_refused(slow):
    with pytest.raises(ValueError, match="paired images have the same shape; these have .7, 3, 16, 20. and .6, 3"):
        paired(slow, slow[:6])
    with pytest.raises(ValueError, match="no images to compare"):
        paired(slow[:0], slow[:0])
    with pytest.raises(ValueError, match="give uint8 of shape .N C H W."):
        paired(slow / 255, slow / 255)
    features = np.zeros((7, 4))
    bad = features.copy()
    bad[3] = np.inf
    with pytest.raises(ValueError, match="features of image 3 are NaN or infinite"):
        paired(slow, slow, features, bad)
    with pytest.raises(ValueError, match="6 images have features, but 7 pixels"):
        paired(slow, slow, features[:6], bad[:6])
