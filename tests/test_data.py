"""Image sets: what is read is what the card says, and what is wrong with a file is said in one sentence."""

import gzip
import io
import shutil
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from fastdiff.bench.cell import Budget
from fastdiff.bench.resources import Resources, labels_of
from fastdiff.data import DataCard, Images, load
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


def test_labels_of_generated_images_are_the_data_s_or_drawn_by_the_seed_as_the_card_says():
    def labels(**changes):
        data = replace(DataCard("digits", "npz", "none", 8, 1), **changes)
        cell = SimpleNamespace(
            model=SimpleNamespace(text=None, classes=10, name="net"), data=data, budget=Budget(seed=3)
        )
        images = Images(np.zeros((4, 1, 8, 8), np.uint8), np.array([5, 5, 6, 6]))
        return labels_of(cell, images, Resources())(np.arange(200))

    assert labels().tolist() == [5, 5, 6, 6] * 50
    assert set(labels(labels="uniform")) == set(range(10))
    card = DataCard("digits", "npz", "none", 8, 1, sha256="1" * 64)
    assert replace(card, labels="data").identity() == card.identity()
    assert replace(card, labels="uniform").identity() == card.identity() | {"labels": "uniform"}
    with pytest.raises(ValueError, match="data labels 'balanced' is not one of: data, uniform"):
        replace(card, labels="balanced")


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"pixels": np.zeros((4, 8, 8), np.uint8)}, "has no array 'images'; it holds: pixels"),
        ({"images": np.zeros((4, 8, 8), np.float32)}, "is float32; uint8 in 0 .. 255 is needed"),
        ({"images": np.zeros((4, 9, 9), np.uint8)}, "but the card says"),
        ({"images": np.zeros((4, 8, 8), np.uint8), "labels": np.zeros(3)}, "4 images but 3 labels"),
        ({"images": np.zeros((1, 8, 8), np.uint8)}, "leaves too few for training"),
    ],
)
def test_an_npz_that_does_not_fit_is_refused(tmp_path, arrays, said):
    with pytest.raises(ValueError, match=said):
        load(npz(tmp_path / "a.npz", **arrays))


@pytest.mark.parametrize(
    "labels",
    [
        np.array([0, 1, np.nan, 2]),
        np.array([1j, 0, 0, 0]),
        np.array(["2020", "2021", "2022", "2023"], "datetime64[Y]"),
        np.eye(4, dtype=np.int64),
        np.array(3),
        np.array(list("abcd")),
        np.array([-1, 0, 1, 2]),
        np.array([2**63, 1, 2, 3], np.uint64),
        np.array([True, False, True, False]),
    ],
)
def test_labels_are_whole_numbers_from_0_on(tmp_path, labels):
    card = npz(tmp_path / "a.npz", images=np.zeros((4, 8, 8), np.uint8), labels=labels)
    with pytest.raises(ValueError, match="'labels' in .*a.npz .*(whole numbers .N. are needed|classes count from 0)"):
        load(card)


def test_of_an_npz_that_does_not_fit_no_number_is_read(tmp_path):
    """Half a megabyte that unpacks to half a gigabyte."""
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, shape in (("images", (500_000, 32, 32)), ("other", (500_000, 8, 8))):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
                for _ in range(500):
                    file.write(bytes(1000 * shape[1] * shape[2]))
    tracemalloc.start()
    with pytest.raises(ValueError, match="images in .* are .1, 32, 32., but the card says .1, 8, 8."):
        load(DataCard("mine", "npz", str(path), size=8, channels=1))
    npz(tmp_path / "b.npz", images=np.zeros((4, 8, 8), np.uint8))
    with zipfile.ZipFile(path) as other, zipfile.ZipFile(tmp_path / "b.npz", "a", zipfile.ZIP_DEFLATED) as archive:
        for name in ("images", "other.npy"):  # beside images.npy; read by nobody
            with other.open("other.npy") as source, archive.open(name, "w", force_zip64=True) as file:
                shutil.copyfileobj(source, file, 1 << 20)
    assert len(load(DataCard("mine", "npz", str(tmp_path / "b.npz"), size=8, channels=1))[0]) == 4
    assert tracemalloc.get_traced_memory()[1] < 50_000_000
    tracemalloc.stop()


def test_a_shape_that_is_not_the_array_s_size_is_refused(tmp_path):
    card = npz(tmp_path / "a.npz", images=np.zeros((4, 8, 8), np.uint8))
    with zipfile.ZipFile(tmp_path / "a.npz") as old:
        content = old.read("images.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as new:
        new.writestr("images.npy", content.replace(b"(4, 8, 8), }    ", b"(400, 8, 8), }  "))
    with pytest.raises(ValueError, match="a.npz is not a readable npz .*size that does not fit its shape"):
        load(card)


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


def test_an_image_of_too_many_pixels_is_named(tmp_path):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", 30000, 30000, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(100)))
    (tmp_path / "0.png").write_bytes(bomb + chunk(b"IEND", b""))
    with pytest.raises(ValueError, match="0.png is not a readable image .*exceeds limit"):
        load(folder(tmp_path))


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no png or jpg file"):
        folder(tmp_path).resolved()


# The official archives, in small


def cifar(path, batches: dict, kind=tarfile.REGTYPE) -> DataCard:
    """An archive with members name -> bytes, among the others that the official one has."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in {"batches.meta.txt": b"airplane\n", **batches}.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size, member.type = len(content), kind if name in batches else tarfile.REGTYPE
            archive.addfile(member, io.BytesIO(content))
    return DataCard("cifar10", "cifar10_archive", str(path), size=32, channels=3, held_out=2)


def batches() -> dict:
    """Two images a batch; image i is filled with i, its first pixel red 100, green 150, blue 200; label i % 10."""
    found = {}
    for at, name in enumerate([*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]):
        planes = np.repeat(np.arange(2 * at, 2 * at + 2, dtype=np.uint8), 3072).reshape(2, 3, 1024)
        planes[:, :, 0] = [100, 150, 200]
        labels = np.arange(2 * at, 2 * at + 2, dtype=np.uint8)[:, None] % 10
        found[name] = np.concatenate([labels, planes.reshape(2, 3072)], 1).tobytes()
    return found


def test_cifar10_is_read_from_its_archive_with_the_test_batch_held_out(tmp_path):
    shuffled = dict(sorted(batches().items(), reverse=True))  # the order in the archive does not count
    card = cifar(tmp_path / "a.tar.gz", shuffled).resolved()
    assert card.sha256 == sha256(tmp_path / "a.tar.gz")
    train, held_out = load(card)
    assert train.pixels.shape == (10, 3, 32, 32) and len(held_out) == 2 and train.pixels.dtype == np.uint8
    assert train.pixels[:, 0, 5, 5].tolist() == list(range(10)) and held_out.pixels[:, 0, 5, 5].tolist() == [10, 11]
    assert train.pixels[3, :, 0, 0].tolist() == [100, 150, 200]
    assert train.labels.tolist() == list(range(10)) and held_out.labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"test_batch.bin": None}, "has no test_batch.bin; the binary version"),
        ({"data_batch_2.bin": b"\0" * 3000}, "3000 bytes, which are not whole records of 3073"),
        ({"data_batch_2.bin": b""}, "0 bytes, which are not whole records"),
        ({"data_batch_2.bin": b"\x0a" + b"\0" * 3072}, "has a label 10"),
        ({"big.bin": b"\0" * 30_730_001}, "'cifar-10-batches-bin/big.bin' is one member too many, or too large"),
        ({f"{i}.txt": b"" for i in range(50)}, "is one member too many"),
    ],
)
def test_an_archive_that_is_not_cifar10_s_is_refused(tmp_path, change, said):
    content = {name: content for name, content in (batches() | change).items() if content is not None}
    with pytest.raises(ValueError, match=said):
        load(cifar(tmp_path / "a.tar.gz", content))


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.REGTYPE])
def test_an_archive_that_unpacks_to_much_more_is_refused_before_it_does(tmp_path, kind):
    """tarfile reads a header that extends the next one whole, before anybody sees its size."""
    header = tarfile.TarInfo("x")
    header.size, header.type = 300 << 20, kind
    with gzip.open(tmp_path / "a.tar.gz", "wb") as file:
        file.write(header.tobuf(tarfile.USTAR_FORMAT))
        for _ in range(300):
            file.write(bytes(1 << 20))
    tracemalloc.start()
    with pytest.raises(ValueError, match="a.tar.gz is not CIFAR-10's archive, or damaged"):
        load(DataCard("cifar10", "cifar10_archive", str(tmp_path / "a.tar.gz"), size=32, channels=3))
    assert tracemalloc.get_traced_memory()[1] < 50_000_000
    tracemalloc.stop()


def test_headers_within_headers_and_many_large_members_are_refused(tmp_path):
    def archive(kind, content, count):
        header = tarfile.TarInfo("x")
        header.size, header.type = len(content), kind
        block = gzip.compress(header.tobuf(tarfile.USTAR_FORMAT) + content)  # compressed streams may be joined
        (tmp_path / "a.tar.gz").write_bytes(block * count)
        return DataCard("cifar10", "cifar10_archive", str(tmp_path / "a.tar.gz"), size=32, channels=3)

    for card in (archive(tarfile.GNUTYPE_LONGNAME, b"a" * 512, 3000), archive(tarfile.REGTYPE, bytes(30 << 20), 8)):
        with pytest.raises(ValueError, match="a.tar.gz is not CIFAR-10's archive, or damaged"):
            load(card)


def test_extended_headers_before_the_batches_are_skipped(tmp_path):
    card = cifar(tmp_path / "a.tar.gz", batches())
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as archive:
        for name, content in batches().items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size, member.pax_headers = len(content), {"comment": "of another program"}
            archive.addfile(member, io.BytesIO(content))
    again = replace(card, path=str(tmp_path / "b.tar.gz"))
    assert np.array_equal(load(again)[0].pixels, load(card)[0].pixels)


def test_links_and_the_python_version_are_no_batches(tmp_path):
    with pytest.raises(ValueError, match="has no data_batch_1.bin, .*; the binary version"):
        load(cifar(tmp_path / "a.tar.gz", dict.fromkeys(batches(), b""), kind=tarfile.SYMTYPE))
    with pytest.raises(ValueError, match="has no data_batch_1.bin, .*; the binary version"):
        load(cifar(tmp_path / "a.tar.gz", {"data_batch_1": b"\x80\x02c"}))


def test_a_damaged_archive_gives_its_images_or_one_sentence(tmp_path):
    card = cifar(tmp_path / "a.tar.gz", batches())
    whole = (tmp_path / "a.tar.gz").read_bytes()
    broken = [whole[:length] for length in range(0, len(whole), 7)] + [gzip.compress(b"no tar"), b"no gz"]
    for at in range(0, len(whole), 3):
        broken.append(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
    for content in broken:
        (tmp_path / "a.tar.gz").write_bytes(content)
        try:
            assert load(card)[0].pixels.shape[1:] == (3, 32, 32)
        except ValueError as error:
            assert "\n" not in str(error)


def imagenet(folder, per_batch: int = 3, compressed: bool = False) -> DataCard:
    """Ten batches; image i is filled with i, its first pixel red 100, green 150, blue 200; labels 1, 2, 3 in turn."""
    save = np.savez_compressed if compressed else np.savez
    for batch in range(10):
        numbers = np.arange(batch * per_batch, (batch + 1) * per_batch)
        planes = np.repeat(numbers.astype(np.uint8), 12288).reshape(-1, 3, 4096)
        planes[:, :, 0] = [100, 150, 200]
        data = planes.reshape(-1, 12288)
        save(folder / f"train_data_batch_{batch + 1}.npz", data=data, labels=numbers % 3 + 1, mean=np.zeros(12288))
    return DataCard("imagenet64", "imagenet64_npz", str(folder), size=64, channels=3)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTDIFF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("compressed", [False, True])
def test_imagenet64_is_mapped_from_one_file_that_is_made_once(tmp_path, cache, compressed):
    card = imagenet(tmp_path, compressed=compressed).resolved()
    train, held_out = load(card)
    assert isinstance(train.pixels.base, np.memmap) or isinstance(train.pixels, np.memmap)
    assert train.pixels.shape == (30, 3, 64, 64) and len(held_out) == 0 and train.labels is None
    assert train.pixels[:, 0, 5, 5].tolist() == list(range(30))
    assert train.pixels[7, :, 0, 0].tolist() == [100, 150, 200]
    (made,) = cache.glob("*.npy")
    before = made.stat().st_mtime_ns
    load(card)
    assert made.stat().st_mtime_ns == before


def test_imagenet64_s_labels_are_put_in_the_order_of_networks(tmp_path, cache):
    card = imagenet(tmp_path)
    before = card.resolved().sha256
    (tmp_path / "map_clsloc.txt").write_text("n02 1 kit_fox\nn03 2 setter\nn01 3 tench\n")
    assert card.resolved().sha256 != before  # other labels are another set
    assert load(card)[0].labels.tolist() == [1, 2, 0] * 10
    (tmp_path / "map_clsloc.txt").write_text("n02 1 kit_fox\n")
    with pytest.raises(ValueError, match="labels in .* are not 1 .. 1"):
        load(card)
    (tmp_path / "map_clsloc.txt").write_text("n02 kit_fox\n")
    with pytest.raises(ValueError, match="is not the authors' list of synsets"):
        load(card)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"data": np.zeros((2, 12288), np.float32)}, "type float32"),
        ({"data": np.zeros((2, 3072), np.uint8)}, r"shape .2, 3072."),
        ({"data": np.zeros((0, 12288), np.uint8)}, r"shape .0, 12288."),
        ({"data": np.zeros((2, 12288), np.uint8, order="F")}, "type uint8"),
        ({"data": np.array([{"an": "object"}])}, "type object"),
        ({"images": np.zeros(2)}, "no item named"),
    ],
)
def test_a_batch_of_another_set_is_refused_and_leaves_nothing_in_the_cache(tmp_path, cache, arrays, said):
    card = imagenet(tmp_path)
    np.savez(tmp_path / "train_data_batch_4.npz", **arrays)
    with pytest.raises(ValueError, match=f"train_data_batch_4.npz is not a batch of the official ImageNet-64 .*{said}"):
        load(card)
    whole = (tmp_path / "train_data_batch_5.npz").read_bytes()
    imagenet(tmp_path)
    (tmp_path / "train_data_batch_5.npz").write_bytes(whole[:3000])
    with pytest.raises(ValueError, match="train_data_batch_5.npz is not a batch"):
        load(card)
    assert not cache.exists() or not list(cache.iterdir())
    (tmp_path / "train_data_batch_9.npz").unlink()
    with pytest.raises(FileNotFoundError, match="has no train_data_batch_9.npz; unpack both parts"):
        card.resolved()


@pytest.mark.parametrize("kind", ["cifar10_archive", "npz"])
def test_a_folder_in_place_of_a_file_and_other_sizes_are_refused(tmp_path, kind):
    with pytest.raises(ValueError, match=f"is a folder; data of kind {kind} is"):
        DataCard("mine", kind, str(tmp_path), size=32, channels=3).resolved()
    with pytest.raises(ValueError, match="the card says .3, 28, 28."):
        load(replace(cifar(tmp_path / "a.tar.gz", batches()), size=28))


def test_data_may_lie_behind_a_url(tmp_path, cache, monkeypatch):
    """What was put by hand where the message says is used, and pinned."""
    from fastdiff.weights.download import cached

    url = "https://127.0.0.1:9/cifar-10-binary.tar.gz"
    with pytest.raises(ConnectionError, match="put it at"):
        DataCard("cifar10", "cifar10_archive", url, size=32, channels=3).resolved()
    cifar(cached(url), batches())
    card = DataCard("cifar10", "cifar10_archive", url, size=32, channels=3, held_out=2).resolved()
    assert card.sha256 == sha256(cached(url)) and len(load(card)[0]) == 10
    cached(url).write_bytes(b"changed")
    with pytest.raises(ValueError, match="had .* at its first use"):
        replace(card, sha256=None).resolved()
