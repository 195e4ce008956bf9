"""Image sets: what is read is what the card says, and what is wrong with a file is said in one sentence."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fastdiff.data import DataCard, load
from fastdiff.files import ASSETS, sha256


def npz(path, **arrays) -> DataCard:
    np.savez(path, **arrays)
    return DataCard("mine", "npz", str(path), size=8, channels=1)


def test_the_embedded_digits_are_the_card_s_and_split_9000_to_1000():
    card = DataCard("mnist10k", "npz", "assets/mnist10k.npz", size=28, channels=1, held_out=1000).resolved()
    train, held_out = load(card)
    assert train.pixels.shape == (9000, 1, 28, 28) and held_out.pixels.shape == (1000, 1, 28, 28)
    assert train.pixels.dtype == np.uint8 and set(np.unique(train.labels)) == set(range(10))
    assert card.sha256 == sha256(ASSETS / "mnist10k.npz")
    # class counts 0-9, from the note that came with the file
    counts = np.bincount(np.concatenate([train.labels, held_out.labels]))
    assert counts.tolist() == [1001, 1127, 991, 1032, 980, 863, 1014, 1070, 944, 978]


def test_label_of_image_i_is_label_i_of_the_data_and_begins_again_where_the_data_ends(tmp_path):
    images, _ = load(npz(tmp_path / "a.npz", images=np.zeros((5, 8, 8), np.uint8), labels=np.arange(5)))
    assert images.label_of(np.array([0, 4, 5, 12])).tolist() == [0, 4, 0, 2]


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"pixels": np.zeros((4, 8, 8), np.uint8)}, "has no array 'images'; it holds: pixels"),
        ({"images": np.zeros((4, 8, 8), np.float32)}, "is float32; uint8 in 0 .. 255 is needed"),
        ({"images": np.zeros((4, 9, 9), np.uint8)}, "but the card says"),
        ({"images": np.zeros((4, 8, 8), np.uint8), "labels": np.zeros(3)}, "4 images but 3 labels"),
        ({"images": np.zeros((1, 8, 8), np.uint8)}, "too few are left"),
    ],
)
def test_an_npz_that_does_not_fit_is_refused(tmp_path, arrays, said):
    with pytest.raises(ValueError, match=said):
        load(npz(tmp_path / "a.npz", **arrays))


def test_a_damaged_npz_and_one_with_pickled_objects_are_refused(tmp_path):
    card = npz(tmp_path / "a.npz", images=np.array([{"an": "object"}]))
    with pytest.raises(ValueError, match="not a readable npz"):
        load(card)
    (tmp_path / "b.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:40])
    with pytest.raises(ValueError, match="not a readable npz"):
        load(replace(card, path=str(tmp_path / "b.npz")))


def test_a_digest_that_is_not_the_card_s_is_refused(tmp_path):
    card = npz(tmp_path / "a.npz", images=np.zeros((4, 8, 8), np.uint8))
    with pytest.raises(ValueError, match="but the card of 'mine' says 0000"):
        replace(card, sha256="0" * 64).resolved()


def folder(path, size=8, channels=3) -> DataCard:
    return DataCard("folder", "folder", str(path), size=size, channels=channels)


def test_a_folder_is_read_in_name_order_with_its_parents_as_classes(tmp_path):
    for name, value in (("b/2.png", 30), ("a/1.png", 20), ("a/0.jpg", 10)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(tmp_path / name)
    images, _ = load(folder(tmp_path))
    assert images.pixels[:, 0, 0, 0].tolist() == [10, 20, 30] and images.labels.tolist() == [0, 0, 1]


def test_a_folder_s_images_are_resized_on_the_shorter_side_and_cropped_about_the_centre(tmp_path):
    wide = np.zeros((16, 48, 3), np.uint8)
    wide[:, 16:32] = 255  # the middle third
    for name in ("0.png", "1.png"):
        Image.fromarray(wide).save(tmp_path / name)
    images, _ = load(folder(tmp_path))
    assert images.pixels.shape == (2, 3, 8, 8) and images.pixels.mean() > 250


def test_a_folder_s_digest_changes_with_a_pixel_and_a_broken_image_is_named(tmp_path):
    for name in ("0.png", "1.png"):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / name)
    before = folder(tmp_path).resolved().sha256
    Image.fromarray(np.ones((8, 8, 3), np.uint8)).save(tmp_path / "1.png")
    assert folder(tmp_path).resolved().sha256 != before
    (tmp_path / "1.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="1.png is not a readable image"):
        load(folder(tmp_path))


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no png or jpg file"):
        folder(tmp_path).resolved()
