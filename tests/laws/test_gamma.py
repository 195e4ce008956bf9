"""Score norms: the Monte-Carlo estimate against its closed form, what it depends on, and files from elsewhere."""

import dataclasses
import io
import math
import os
import zipfile

import numpy as np
import pytest
import torch

from fastdiff.accelerators import DeepCache, SkipTuning
from fastdiff.analytic import (
    Joint,
    Norm,
    ScoreNorms,
    covariances,
    estimate,
    export_official,
    import_official,
    read_store,
    write_store,
)
from fastdiff.bench.cell import Budget, key
from fastdiff.bench.score_norms import norms_identity
from fastdiff.data import Images
from fastdiff.device import Device
from fastdiff.metrics import ImageMetrics
from fastdiff.samplers import DDIM
from fastdiff.sampling.denoiser import Denoiser


@pytest.fixture(scope="module")
def images():
    random = np.random.default_rng(0)
    return Images(random.integers(0, 256, (4096, 1, 8, 8), dtype=np.uint8), random.integers(0, 3, 4096))


@pytest.fixture
def linear(fake_unet, make_card):
    """A denoiser whose network says eps = 0.3 x / sqrt(1 + sigma^2)."""
    return Denoiser(fake_unet(lambda x, n, cond: 0.3 * x), make_card())


def closed_form(sigma, images) -> float:
    """E ||eps||^2 / d over images and noise: 0.09 (mean x0^2 + sigma^2) / (1 + sigma^2)."""
    x0 = images.pixels / 255 * 2 - 1
    return 0.09 * ((x0**2).mean() + sigma**2) / (1 + sigma**2)


def some(levels):
    return [float(levels[n - 1]) for n in (1, 100, 400, 1000)]


def test_the_estimate_agrees_with_the_closed_form_within_four_standard_errors(linear, images):
    sigmas = some(linear.noise_levels.levels)
    norms = estimate(linear, images, sigmas, ScoreNorms(images=512), batch=100)
    assert list(norms) == sorted(sigmas)
    for sigma, (eps_ms, se, *_) in norms.items():
        expected = closed_form(sigma, images)
        assert abs(eps_ms - expected) < 4 * se
        assert 0 < se < 0.05 * expected


def test_its_standard_error_is_the_spread_over_seeds_and_shrinks_as_one_over_root_m(linear, images):
    sigma = float(linear.noise_levels.levels[399])
    errors = []
    for count in (64, 1024):
        norms = [estimate(linear, images, [sigma], ScoreNorms(count, seed), batch=1024)[sigma] for seed in range(100)]
        values, errors_of = np.array(norms)[:, :2].T
        errors.append(errors_of.mean())
        # the spread of 100 values is known to 1 / sqrt(200) = 7 %; images drawn without replacement spread a bit less
        assert values.std(ddof=1) == pytest.approx(errors[-1], rel=0.25)
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.02)


def test_the_estimate_is_that_of_the_uncached_network(random_unet, make_card, images):
    sigmas, knobs = [0.5, 5.0, 50.0], ScoreNorms(images=64)
    plain = estimate(Denoiser(random_unet, make_card()), images, sigmas, knobs, batch=32)
    cached = estimate(Denoiser(random_unet, make_card(), (DeepCache(3, 2),)), images, sigmas, knobs, batch=32)
    assert cached == plain
    tuned = estimate(Denoiser(random_unet, make_card(), (SkipTuning(0.5),)), images, sigmas, knobs, batch=32)
    assert all(abs(tuned[sigma].eps_ms - plain[sigma].eps_ms) > 1e-3 for sigma in sigmas)


def test_batch_size_does_not_change_the_estimate(random_unet, make_card, images):
    denoiser, knobs = Denoiser(random_unet, make_card()), ScoreNorms(images=100)
    whole = estimate(denoiser, images, [1.0, 20.0], knobs, batch=100)
    for batch in (1, 7):
        parts = estimate(denoiser, images, [1.0, 20.0], knobs, batch=batch)
        for sigma, norm in whole.items():
            assert parts[sigma].eps_ms == pytest.approx(norm.eps_ms, rel=1e-6)  # float32 sums inside the network


def test_a_level_has_the_same_norm_whatever_other_levels_are_asked_for(random_unet, make_card, images):
    denoiser, knobs = Denoiser(random_unet, make_card()), ScoreNorms(images=32)
    together = estimate(denoiser, images, [5.0, 0.5, 5.0], knobs, batch=32)
    assert list(together) == [0.5, 5.0]
    assert together[5.0] == estimate(denoiser, images, [5.0], knobs, batch=32)[5.0]


def test_labels_are_those_of_the_images(fake_unet, make_card):
    """A network that answers with the label tells which label each image came with."""
    pixels = np.arange(6, dtype=np.uint8).repeat(64).reshape(6, 1, 8, 8)
    labels = np.array([2, 0, 1, 1, 0, 2])
    unet = fake_unet(lambda x, n, cond: cond.reshape(-1, 1, 1, 1).expand(x.shape).to(x.dtype))
    norms = estimate(Denoiser(unet, make_card()), Images(pixels, labels), [1.0], ScoreNorms(images=6), batch=4)
    assert norms[1.0].eps_ms == pytest.approx((labels**2).mean(), rel=1e-6)
    assert torch.cat([cond for _, _, cond in unet.calls]).tolist() == labels.tolist()


def test_images_are_scaled_to_the_range_of_the_data(fake_unet, make_card):
    pixels = np.array([0, 255], dtype=np.uint8).repeat(64).reshape(2, 1, 8, 8)
    unet = fake_unet(lambda x, n, cond: x)
    sigma = float(make_card().noise_levels.levels[0])
    denoiser = Denoiser(unet, make_card(classes=0), value_range=(0.0, 4.0))
    estimate(denoiser, Images(pixels, None), [sigma], ScoreNorms(images=2), batch=2)
    x = unet.calls[0][0] * (1 + sigma**2) ** 0.5
    assert abs(x[0].mean()) < 4 * sigma / 8
    assert abs(x[1].mean() - 4) < 4 * sigma / 8


def test_more_images_than_there_are_and_fewer_than_two_are_refused(linear, images):
    with pytest.raises(ValueError, match="score_norms.images is 10, but the data has 5"):
        estimate(linear, images[:5], [1.0], ScoreNorms(images=10), batch=5)
    with pytest.raises(ValueError, match="at least 2"):
        ScoreNorms(images=1)


def test_a_network_that_gives_nan_is_named_with_the_noise_level(fake_unet, make_card, images):
    denoiser = Denoiser(fake_unet(lambda x, n, cond: x / 0), make_card())
    with pytest.raises(FloatingPointError, match="sigma 2"):
        estimate(denoiser, images, [2.0], ScoreNorms(images=4), batch=4)


def test_covariances_are_clipped_to_between_nothing_and_what_the_data_allows():
    sigmas = [100.0, 10.0, 1.0, 0.5, 0.0]
    store = {100.0: Norm(0.9, 0.0), 10.0: Norm(1.01, 0.0), 1.0: Norm(0.75, 0.0), 0.5: Norm(1.0, 0.0)}
    assert covariances(store, sigmas, None, "eps_ms", 1.0) == [1.0, 0.0, 0.25, 0.0]
    assert covariances(store, sigmas, None, "eps_ms", 0.2) == [0.2, 0.0, 0.2, 0.0]
    assert covariances(store, sigmas, None, "eps_ms", math.inf)[0] == pytest.approx(1000)


def test_a_noise_level_without_a_norm_is_refused_by_its_sigma():
    with pytest.raises(ValueError, match=r"no score norm for 1 of 2 noise levels \(first: sigma 0\.5\)"):
        covariances({1.0: Norm(0.9, 0.0)}, [1.0, 0.5, 0.0], None, "eps_ms", 1.0)


def test_an_unknown_estimator_is_refused_with_the_menu():
    with pytest.raises(ValueError, match="estimator 'npr' is not one of: eps_ms, mse"):
        covariances({}, [0.0], None, "npr", 1.0)
    with pytest.raises(ValueError, match="estimator 'npr' is not one of: eps_ms, mse"):
        ScoreNorms(estimator="npr")
    with pytest.raises(ValueError, match="cached 'on' is not one of: base, joint"):
        ScoreNorms(cached="on")


def test_a_store_keeps_what_it_had_when_norms_are_added(tmp_path):
    path = tmp_path / "norms" / "a.json"
    assert read_store(path) == {}
    old, new = {0.1 + 0.2: Norm(1 / 3, 0.01)}, {5.0: Norm(0.5, 0.02)}
    write_store(path, {"of": "test"}, old)
    write_store(path, {"of": "test"}, new)
    assert read_store(path) == old | new  # to the last bit: sigmas are keys
    both = {5.0: Norm(0.5, 0.02, 0.4, 0.01), 7.0: Norm(0.6, 0.02, 0.3, 0.01)}
    write_store(path, {"of": "test"}, both)
    assert read_store(path) == old | both  # a store of eps_ms alone is read, and kept


def test_a_store_of_shallow_calls_is_read_as_it_was_written(tmp_path):
    norms = {Joint(1.0, 2.0, 0.5): Norm(0.7, 0.1, 0.6, 0.2), Joint(1.0, 3.0, 1 / 3): Norm(0.8, 0.1, 0.5, 0.2)}
    write_store(tmp_path / "a.json", {}, norms)
    assert read_store(tmp_path / "a.json") == norms


LEVELS = np.geomspace(0.01, 100, 6)
VALUES = np.array([0.0, 0.1, 0.2, 0.4, 0.7, 0.9, 1.01])  # index 0 is unused


def test_an_exported_file_comes_back_as_the_same_norms_in_float32(tmp_path):
    store = {float(sigma): Norm(float(value), 0.1) for sigma, value in zip(LEVELS, VALUES[1:])}
    export_official(store, LEVELS, tmp_path / "ms_eps.pth")
    values = torch.load(tmp_path / "ms_eps.pth", weights_only=True)
    assert (values.dtype, values.shape, float(values[0])) == (torch.float32, (7,), 0.0)
    found = import_official(str(tmp_path / "ms_eps.pth"), LEVELS)
    assert [found[float(sigma)].eps_ms for sigma in LEVELS] == VALUES[1:].astype(np.float32).tolist()
    assert all(math.isnan(norm.se) for norm in found.values())


def test_a_partial_store_is_not_exported(tmp_path):
    with pytest.raises(ValueError, match="5 of 6 noise levels have no score norm"):
        export_official({float(LEVELS[0]): Norm(0.1, 0.0)}, LEVELS, tmp_path / "ms_eps.pth")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "values",
    [torch.tensor(VALUES), torch.tensor(VALUES, dtype=torch.float32), VALUES, VALUES.astype(np.float32)],
    ids=["tensor64", "tensor32", "array64", "array32"],
)
def test_official_files_are_read_as_tensor_or_as_numpy_array(tmp_path, values):
    torch.save(values, tmp_path / "ms_eps.pth")
    found = import_official(str(tmp_path / "ms_eps.pth"), LEVELS)
    assert list(found) == LEVELS.tolist()
    np.testing.assert_allclose([norm.eps_ms for norm in found.values()], VALUES[1:], rtol=1e-7)


def test_an_array_saved_under_numpy_1_is_read(tmp_path):
    """The published ms_eps files are of 2022: their pickles say numpy.core, which numpy 2 calls numpy._core."""
    buffer = io.BytesIO()
    torch.save(VALUES.astype(np.float32), buffer)
    with zipfile.ZipFile(buffer) as new, zipfile.ZipFile(tmp_path / "ms_eps.pth", "w") as old:
        for name in new.namelist():
            old.writestr(name, new.read(name).replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    found = import_official(str(tmp_path / "ms_eps.pth"), LEVELS)
    np.testing.assert_allclose([norm.eps_ms for norm in found.values()], VALUES[1:], rtol=1e-7)


def one_sentence(error) -> bool:
    return "\n" not in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize("values", [torch.tensor(VALUES[:-1]), torch.tensor(VALUES[1:]), torch.tensor(VALUES)[:, None]])
def test_a_file_of_the_wrong_length_is_refused_in_one_sentence(tmp_path, values):
    torch.save(values, tmp_path / "ms_eps.pth")
    with pytest.raises(ValueError, match=r"has shape .*; \(7,\) is needed for 6 noise levels") as error:
        import_official(str(tmp_path / "ms_eps.pth"), LEVELS)
    assert one_sentence(error)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.1])
def test_a_file_with_impossible_values_is_refused_in_one_sentence(tmp_path, bad):
    torch.save(torch.tensor([*VALUES[:-1], bad]), tmp_path / "ms_eps.pth")
    with pytest.raises(ValueError, match="negative or not finite") as error:
        import_official(str(tmp_path / "ms_eps.pth"), LEVELS)
    assert one_sentence(error)


@pytest.mark.parametrize("damage", ["empty", "truncated", "garbage", "text", "flipped", "object"])
def test_a_damaged_file_is_refused_in_one_sentence(tmp_path, damage):
    path = tmp_path / "ms_eps.pth"
    torch.save(torch.tensor(VALUES), path)
    whole = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "truncated": whole[: len(whole) // 2],
            "garbage": np.random.default_rng(0).bytes(len(whole)),
            "text": b"<html>404 Not Found</html>",
            "flipped": whole.replace(b"_rebuild_tensor_v2", b"_rebuild_tensor_vX"),
            "object": whole,
        }[damage]
    )
    if damage == "object":
        torch.save({"ms_eps": torch.tensor(VALUES)}, path)
    with pytest.raises(ValueError, match="is not a readable ms_eps file .*; it was not loaded") as error:
        import_official(str(path), LEVELS)
    assert one_sentence(error)


class Malicious:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(tmp_path, wrapped):
    proof, path = tmp_path / "proof", tmp_path / "ms_eps.pth"
    torch.save(np.array([Malicious(proof)], dtype=object) if wrapped else Malicious(proof), path)
    with pytest.raises(ValueError, match="is not a readable ms_eps file .*; it was not loaded") as error:
        import_official(str(path), LEVELS)
    assert one_sentence(error)
    assert not proof.exists()
    torch.load(path, weights_only=False)  # the file is what it claims to be: loading it unsafely does run its code
    assert proof.exists()


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
        import_official("nowhere.pth", LEVELS)


@pytest.fixture
def cell(make_cell):
    return make_cell(sampler=DDIM(10, variance="analytic"))


def test_the_key_of_norms_changes_with_all_that_norms_depend_on(cell):
    changes = [
        {"accelerators": (SkipTuning(0.9),)},
        {"accelerators": (SkipTuning(rho_top=0.9),)},
        {"score_norms": ScoreNorms(seed=1)},
        {"score_norms": ScoreNorms(images=100)},
        {"data": dataclasses.replace(cell.data, sha256="3" * 64)},
        {"data": dataclasses.replace(cell.data, held_out=10)},
        {"data": dataclasses.replace(cell.data, value_range=(0.0, 1.0))},
        {"model": dataclasses.replace(cell.model, sha256="4" * 64)},
        {"device": Device(precision="bfloat16")},
        {"guidance": 2.0},
    ]
    keys = {key(norms_identity(dataclasses.replace(cell, **change))) for change in changes}
    assert len(keys | {key(norms_identity(cell))}) == len(changes) + 1


def test_the_key_of_norms_does_not_change_with_what_they_do_not_depend_on(cell):
    changes = [
        {"accelerators": (DeepCache(3, 2),)},
        {"sampler": DDIM(50, variance="analytic")},
        {"sampler": DDIM(10, "stride", eta=1.0, variance="analytic", clip="x0_and_eps", sigma2_clip=2.0)},
        {"budget": Budget(n=50_000, seed=7)},
        {"metrics": ImageMetrics("other", "clean_fid", mode="clean")},
        {"device": Device(batch=7, threads=2)},
        {"model": dataclasses.replace(cell.model, name="renamed", weights="elsewhere")},
        {"data": dataclasses.replace(cell.data, name="renamed", path="elsewhere")},
    ]
    for change in changes:
        assert key(norms_identity(dataclasses.replace(cell, **change))) == key(norms_identity(cell)), change


def test_a_file_of_norms_is_known_by_its_content(tmp_path, cell):
    def key_of(name, values):
        torch.save(torch.tensor(values), tmp_path / name)
        return key(norms_identity(dataclasses.replace(cell, score_norms=ScoreNorms(file=str(tmp_path / name)))))

    first = key_of("a.pth", VALUES)
    (tmp_path / "b.pth").write_bytes((tmp_path / "a.pth").read_bytes())
    moved = key(norms_identity(dataclasses.replace(cell, score_norms=ScoreNorms(file=str(tmp_path / "b.pth")))))
    assert first == moved
    assert key_of("c.pth", VALUES[::-1].copy()) != first
