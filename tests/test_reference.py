"""Reference statistics: what is read of other projects' files, and what their cards refuse."""

import json
import re
from dataclasses import fields
from types import SimpleNamespace

import numpy as np
import pytest
from hydra import compose, initialize_config_module

from fastdiff.bench.config import cell_of
from fastdiff.bench.ledger import Ledger
from fastdiff.bench.reference import reference_of
from fastdiff.bench.scoring import score
from fastdiff.metrics import Features, moments
from fastdiff.metrics.reference import ReferenceCard, card_path, read_reference, write_reference
from fastdiff_benchmarks.entry import settings_of

CARD = ReferenceCard("ab" * 32, "train", 50, "clean", "inception-v3", "cd" * 32, "0.1")


@pytest.fixture
def found():
    return moments(np.random.default_rng(0).normal(size=(50, 6)))


def test_what_is_written_is_read_with_all_that_is_known(found, tmp_path):
    path = write_reference(tmp_path / "mnist.npz", found, CARD)
    reference = read_reference(path, CARD)
    assert reference.card == CARD and reference.moments.n == 50 and reference.card.unknown == []
    assert (reference.moments.mean == found.mean).all() and (reference.moments.cov == found.cov).all()
    assert str(reference) == "reference statistics (fastdiff), n = 50"
    assert json.loads((tmp_path / "mnist.card.json").read_text())["split"] == "train"


@pytest.mark.parametrize(
    "source, names, more",
    [
        ("mu, sigma", ("mu", "sigma"), {}),
        ("m, s", ("m", "s"), {}),
        ("ADM", ("mu", "sigma"), {"mu_s": np.zeros(3), "sigma_s": np.eye(3), "arr_0": np.zeros((2, 4, 4, 3), "u1")}),
    ],
)
@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_the_npz_of_other_projects_is_read_and_says_what_it_does_not_tell(found, tmp_path, source, names, more, kind):
    path = tmp_path / "other.npz"
    np.savez(path, **dict(zip(names, (found.mean.astype(kind), found.cov.astype(kind)))), **more)
    reference = read_reference(path, CARD)  # nothing is known to be another
    assert reference.source == source and reference.moments.n is None
    np.testing.assert_allclose(reference.moments.cov, found.cov, rtol=1e-6, atol=1e-7)
    assert reference.moments.cov.dtype == np.float64
    assert str(reference).startswith(f"reference statistics ({source}), n unknown; unknown: data_sha256, split, resize")


def test_an_imported_file_can_be_given_a_card(found, tmp_path):
    np.savez(tmp_path / "edm.npz", mu=found.mean, sigma=found.cov)
    read = read_reference(tmp_path / "edm.npz")
    path = write_reference(tmp_path / "ours.npz", read.moments, ReferenceCard(n=50000, split="train"))
    again = read_reference(path)
    assert again.moments.n == 50000 and again.card.unknown[0] == "data_sha256"
    assert write_reference(tmp_path / "unknown.npz", read.moments, ReferenceCard()).exists()
    assert read_reference(tmp_path / "unknown.npz").moments.n is None


@pytest.mark.parametrize("field", [field.name for field in fields(ReferenceCard)])
def test_another_value_than_the_one_asked_for_is_refused_by_its_name(found, tmp_path, field):
    path = write_reference(tmp_path / "r.npz", found, CARD)
    other = {field: 49 if field == "n" else "another"}
    with pytest.raises(ValueError, match=f"has {field} {getattr(CARD, field)}, but {other[field]} is asked for"):
        read_reference(path, ReferenceCard(**other))


def test_a_card_belongs_to_its_own_npz(found, tmp_path):
    path = write_reference(tmp_path / "r.npz", found, CARD)
    np.savez(path, n=50, mean=found.mean + 1, cov=found.cov)
    with pytest.raises(ValueError, match="r.card.json is the card of another npz than r.npz"):
        read_reference(path)


def test_a_card_without_its_digest_or_with_other_fields_is_refused(found, tmp_path):
    path = write_reference(tmp_path / "r.npz", found, CARD)
    card_path(path).write_text('{"n": 50}')
    with pytest.raises(ValueError, match="is the card of another npz"):
        read_reference(path)
    card_path(path).write_text('{"images": 50}')
    with pytest.raises(ValueError, match="is no card: its fields are not among code_version, data_sha256"):
        read_reference(path)


def test_a_card_of_another_n_is_refused(found, tmp_path):
    with pytest.raises(ValueError, match="of n = 50 images, but the card says n = 49"):
        write_reference(tmp_path / "r.npz", found, ReferenceCard(n=49))
    with pytest.raises(ValueError, match="a number of at least 2 images, but its card says n = 1"):
        ReferenceCard(n=1)
    with pytest.raises(ValueError, match="are written as .npz, not as r.pkl"):
        write_reference(tmp_path / "r.pkl", found, CARD)


@pytest.mark.parametrize(
    "arrays, said",
    [
        ({"mu": np.zeros(3), "sigma": np.eye(4)}, r"a mean \(D\) and a covariance \(D D\) of floats"),
        ({"mu": np.zeros(3, int), "sigma": np.eye(3)}, "of floats"),
        ({"mu": np.zeros(2), "sigma": np.array([[1.0, 0.5], [0.1, 1]])}, "no covariance .not symmetric"),
        ({"mu": np.zeros(2), "sigma": -np.eye(2)}, "a negative variance"),
        ({"mu": np.array([0, np.nan]), "sigma": np.eye(2)}, "NaN or infinite; compute them anew"),
        ({"feats": np.zeros((4, 2))}, "holds feats; mean, cov or mu, sigma or m, s are needed"),
        ({"arr_0": np.zeros((9, 8, 8, 3), np.uint8)}, "holds 9 images, not their statistics: pass them through the"),
        ({"mu": np.array([None]), "sigma": np.eye(1)}, "has pickled objects"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, arrays, said):
    path = tmp_path / "other.npz"
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=said):
        read_reference(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no reference statistics at .*r.npz; check the path or compute them"):
        read_reference(tmp_path / "r.npz")


class Extractor:
    """Two features of an image; counts how many images it saw."""

    seen = 0

    def __call__(self, pixels):
        Extractor.seen += len(pixels)
        x = pixels.reshape(len(pixels), -1).astype(np.float32)
        return Features(np.stack([x.mean(1), x.std(1)], 1).astype(np.float16), np.empty((len(pixels), 0), np.float32))


@pytest.fixture
def cell():
    def make(*overrides: str):
        with initialize_config_module("fastdiff_conf", version_base="1.3"):
            return cell_of(settings_of(compose("config", overrides=["device=cpu", "budget.n=20", *overrides])))

    return make


@pytest.fixture
def images():
    return SimpleNamespace(pixels=np.random.default_rng(0).integers(0, 256, (40, 1, 4, 4), dtype=np.uint8))


def test_a_cell_s_reference_is_computed_once_and_has_a_card_that_says_of_what(cell, images, tmp_path, monkeypatch):
    monkeypatch.setattr(Extractor, "seen", 0)
    first, again = (reference_of(cell(), Ledger(tmp_path), images, Extractor()) for _ in range(2))
    assert Extractor.seen == 40 and first.sample.features.shape == (40, 2) and len(first.sample.radii) == 40
    assert np.array_equal(first.moments.cov, again.moments.cov) and first.sample.within == again.sample.within
    (path,) = tmp_path.glob("reference/*.card.json")
    card, of = json.loads(path.read_text()), cell()
    assert card["data_sha256"] == of.data.sha256 and card["extractor_sha256"] == of.metrics.sha256
    assert (card["n"], card["split"], card["resize"]) == (40, "train", "none")
    assert card["extractor"] == "mnist-classifier" and card["code_version"]


@pytest.mark.parametrize("field, value", [("data_sha256", "00"), ("split", "test"), ("extractor_sha256", "11")])
def test_kept_statistics_of_something_else_are_refused_by_the_field_s_name(cell, images, tmp_path, field, value):
    reference_of(cell(), Ledger(tmp_path), images, Extractor())
    (path,) = tmp_path.glob("reference/*.card.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(ValueError, match=f"has {field} {value}, but .* is asked for"):
        reference_of(cell(), Ledger(tmp_path), images, Extractor())


def test_statistics_of_another_version_of_the_code_are_as_good(cell, images, tmp_path, monkeypatch):
    from fastdiff.bench import reference as references

    reference_of(cell(), Ledger(tmp_path), images, Extractor())
    monkeypatch.setattr(references, "__version__", "99.0")
    assert reference_of(cell(), Ledger(tmp_path), images, None).moments.n == 40


def test_a_digest_that_is_not_the_file_s_is_refused(cell, tmp_path):
    np.savez(tmp_path / "edm.npz", mu=np.zeros(64), sigma=np.eye(64))
    with pytest.raises(ValueError, match="has sha256 .*, not metrics.reference_sha256"):
        cell(f"+metrics.reference={tmp_path}/edm.npz", f"+metrics.reference_sha256={'de' * 32}")


def test_statistics_from_a_file_are_another_protocol_and_another_key(cell, tmp_path):
    draw = np.random.default_rng(0).normal(size=(500, 64))
    np.savez(tmp_path / "edm.npz", mu=draw.mean(0), sigma=np.cov(draw.T))
    usual, given = cell(), cell(f"+metrics.reference={tmp_path}/edm.npz")
    assert re.fullmatch(r"fid\[mnist-classifier,reference=edm@[0-9a-f]{8},n=20\]", given.metrics.protocol("fid", 20))
    assert given.key != usual.key and given.generation() == usual.generation()
    found = reference_of(given, Ledger(tmp_path), None, None)
    assert found.sample is None and np.allclose(found.moments.mean, draw.mean(0))
    values, _ = score(given, draw[:20].astype(np.float16), np.full((20, 10), 0.1), found)
    assert sorted(value.metric for value in values.values()) == ["fid", "is"]  # the others need features


def test_statistics_of_another_extractor_and_halves_of_a_file_are_refused(cell, tmp_path):
    np.savez(tmp_path / "inception.npz", mu=np.zeros(2048), sigma=np.eye(2048))
    with pytest.raises(ValueError, match="statistics of 2048 features, but 'mnist-classifier' has 64"):
        reference_of(cell(f"+metrics.reference={tmp_path}/inception.npz"), Ledger(tmp_path), None, None)
    with pytest.raises(ValueError, match="metrics.reference has no halves"):
        cell(f"+metrics.reference={tmp_path}/inception.npz", "budget.part=tune")
