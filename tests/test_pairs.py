"""Images beside the images of the baseline: what is compared, and what is kept of it."""

from dataclasses import replace

import numpy as np
import pytest

from fastdiff.bench.ledger import Ledger
from fastdiff.bench.paired_images import compare_images
from fastdiff.bench.records import Applied, Cost, Quality
from fastdiff.files import read_npz

EXTRACTOR = {"extractor": "mnist-classifier", "sha256": "0" * 64}


def write(ledger: Ledger, name: str, pixels: np.ndarray, features: np.ndarray | None) -> Quality:
    """A quality record with kept images and, where there are any, blocks of features."""
    from fastdiff.bench.cell import key
    from fastdiff.device import BLOCK

    generation = {"sampler": name}
    ledger.write_samples(key(generation), pixels)
    for index in range(0 if features is None else -(-len(features) // BLOCK)):
        part = features[index * BLOCK : (index + 1) * BLOCK]
        ledger.write_block(key(generation), index, key(EXTRACTOR), features=part)
    identity = {"generation": generation, "metrics": EXTRACTOR | {"is_splits": 10}}
    n, sampler = len(pixels) if features is None else len(features), Applied("ddim", "ddim")
    return Quality(name, identity, {}, sampler, "DDIM", True, n, {}, Cost(1, 1, 1, 1, 1, 1), "speed")


@pytest.fixture
def pair(tmp_path):
    draw, ledger = np.random.default_rng(0), Ledger(tmp_path)
    pixels = draw.integers(0, 200, (20, 1, 16, 16), dtype=np.uint8)
    features = draw.normal(size=(300, 4)).astype(np.float16)
    moved = features.copy()
    moved[270] += np.float16(10)
    darker = pixels.copy()
    darker[7] += 50
    return ledger, write(ledger, "cached", darker, moved), write(ledger, "baseline", pixels, features)


def test_kept_images_are_compared_pixel_by_pixel_and_features_of_all(pair):
    found = compare_images(*pair).values
    psnr, distance = found["psnr[baseline,n=20]"], found["feature_distance[baseline,mnist-classifier,n=300]"]
    assert psnr.worst[0] == 7 and psnr.worst_values[0] == pytest.approx(20 * np.log10(255 / 50))
    assert distance.worst[0] == 270 and distance.worst_values[0] == pytest.approx(20, rel=1e-3)
    assert distance.value == pytest.approx(20 / 300, rel=1e-3) and len(distance.worst) == 8
    assert psnr.low < psnr.value < psnr.high and set(psnr.quantiles) >= {"0.05", "0.5", "0.95"}
    assert {name.partition("[")[0] for name in found} == {"psnr", "ssim", "largest_difference", "feature_distance"}


def test_every_image_s_value_is_kept_and_nothing_is_compared_twice(pair):
    ledger, record, baseline = pair
    first = compare_images(*pair)
    held = read_npz(ledger.path("paired", "cached-baseline", ".npz"))
    assert held["psnr"].shape == (20,) and held["feature_distance"].argmax() == 270
    ledger.path("samples", "nothing", ".npz").parent.rename(ledger.root / "gone")
    assert compare_images(ledger, record, baseline) == first


def test_a_bound_whose_key_is_an_image_cell_s_is_compared_with_nothing(pair):
    ledger, record, baseline = pair
    bounds = [replace(of, key=f"nll-{of.key}", identity=of.identity | {"metrics": {"metric": "nll"}})
              for of in (record, baseline)]  # fmt: skip
    assert compare_images(ledger, *bounds) is None


def test_no_more_images_are_compared_than_the_cells_have_and_scores_are_no_features(pair):
    ledger, record, baseline = pair
    few = [replace(of, n=5, key=f"few-{of.key}") for of in (record, baseline)]
    assert "psnr[baseline,n=5]" in compare_images(ledger, *few).values
    prompted = {"metrics": EXTRACTOR | {"metric": "clip_score"}}
    scores = [replace(of, key=f"clip-{of.key}", identity=of.identity | prompted) for of in (record, baseline)]
    assert not any(name.startswith("feature_distance") for name in compare_images(ledger, *scores).values)


def test_what_is_measured_anew_is_compared_anew(pair):
    from types import SimpleNamespace

    ledger = pair[0]
    compare_images(*pair)
    for key in ("cached", "baseline"):
        compare_images(*pair)
        ledger.forget(SimpleNamespace(key=key), None)
        assert not list(ledger.root.glob("paired/*"))


def test_without_kept_images_there_is_no_record_and_without_features_no_distance(tmp_path):
    ledger = Ledger(tmp_path)
    pixels = np.zeros((3, 1, 12, 12), np.uint8)
    records = [write(ledger, name, pixels, None) for name in ("one", "other")]
    found = compare_images(ledger, *records).values
    assert set(found) == {"psnr[baseline,n=3]", "ssim[baseline,n=3]", "largest_difference[baseline,n=3]"}
    assert found["largest_difference[baseline,n=3]"].value == 0
    unseen = replace(records[0], key="unseen", identity={"generation": {}, "metrics": EXTRACTOR})
    assert compare_images(ledger, unseen, records[1]) is None
