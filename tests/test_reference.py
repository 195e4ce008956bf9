"""Reference statistics: what is read of other projects' files, and what their cards refuse."""

import json
from dataclasses import fields

import numpy as np
import pytest

from fastdiff.metrics import moments
from fastdiff.metrics.reference import ReferenceCard, card_path, read_reference, write_reference

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
