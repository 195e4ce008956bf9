"""The ledger: written once, whole or not at all, and enough to go on from after a kill."""

import errno
import json
import os

import numpy as np
import pytest

from fastdiff.bench.ledger import Ledger
from fastdiff.bench.records import Applied, Cost, Failed, Paired, PairedValue, Quality, Speed, Value
from fastdiff.files import read_json, sha256, write, write_json, write_npz


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    def interrupted(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "record.json", interrupted)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_gives_one_sentence_and_leaves_the_old_record(tmp_path, monkeypatch):
    write_json(tmp_path / "record.json", {"old": True})

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        OSError, match="cannot write .*record.json: No space left on device; free space or choose another folder"
    ):
        write_json(tmp_path / "record.json", {"old": False})
    assert json.loads((tmp_path / "record.json").read_text()) == {"old": True}
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "record.json").write_text("{")
    with pytest.raises(ValueError, match="record.json is damaged .*; delete it and run again"):
        read_json(tmp_path / "record.json")


def test_a_block_serves_every_smaller_number_of_images_and_no_larger_one(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.write_block("cell", 0, "extractor", features=np.arange(20).reshape(10, 2))
    assert ledger.read_block("cell", 0, "extractor", 4)["features"].tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert ledger.read_block("cell", 0, "extractor", 11) is None
    assert ledger.read_block("cell", 1, "extractor", 4) is None
    assert ledger.read_block("cell", 0, "other", 4) is None


def test_json_written_twice_is_the_same_bytes(tmp_path):
    first = sha256(write_json(tmp_path / "a.json", {"b": 1, "a": [1.5]}))
    assert sha256(write_json(tmp_path / "b.json", {"a": [1.5], "b": 1})) == first


def test_records_are_listed_by_kind_and_missing_ones_are_none(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.write("quality", "b", record(key="b"))
    ledger.write("quality", "a", record(key="a"))
    write_npz(ledger.path("quality", "a", ".npz"), fid=np.zeros(3))
    assert [each.key for each in ledger.all("quality")] == ["a", "b"]
    assert ledger.read("quality", "c") is None and list(ledger.all("speed")) == []


def record(**changed) -> Quality:
    given = {
        "key": "a", "identity": {"generation": {"seed": 0}}, "settings": {"sampler": {"steps": 5}},
        "sampler": Applied("ddim", "ddim", {"eta": 0.0, "clip": None}), "solver": "DDIM", "baseline": False, "n": 10,
        "values": {"nll[n=10]": Value("nll", 1.5, 0.1, 1.3, 1.7, parts={"prior": 0.5}), "is[n=10]": Value("is", 9.0)},
        "cost": Cost(5, 3, 70, 60, 20, 5), "speed_key": "b",
        "accelerators": (Applied("x", "x 1", {"z": 1, "a": "2,3"}),),
    }  # fmt: skip
    return Quality(**given | changed)


@pytest.mark.parametrize(
    "written",
    [
        record(),
        record(score_norms=Applied("score_norms", "mse", {"images": 8}), compiled={"graphs": 2}, images="images/a"),
        Speed("b", 20.0, 50.0, peak_mb=3.5),
        Failed("c", "out of memory", {"sampler": {}}),
        Paired("a", "b", {"psnr[n=2]": PairedValue("psnr", 30.0, 2, quantiles={"0.5": 30.0}, worst=(1, 0))}),
    ],
    ids=lambda written: written.kind,
)
def test_a_record_comes_back_as_it_was_written(written, tmp_path):
    ledger = Ledger(tmp_path)
    ledger.write(written.kind, "name", written)
    assert ledger.read(written.kind, "name") == written and list(ledger.all(written.kind)) == [written]
    kept = read_json(ledger.path(written.kind, "name"))
    assert (kept["kind"], kept["schema"]) == (written.kind, 2) and None not in kept.values()


def test_knobs_stay_in_the_order_that_people_read_them(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.write("quality", "a", record())
    assert list(ledger.read("quality", "a").accelerators[0].knobs) == ["z", "a"]


def test_fields_of_a_later_version_are_ignored_and_those_of_an_earlier_one_have_defaults(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.write("speed", "b", Speed("b", 20.0, 50.0, batches=3))
    kept = read_json(ledger.path("speed", "b"))
    del kept["batches"]
    write_json(ledger.path("speed", "b"), kept | {"unknown": 1, "schema": 3})
    assert ledger.read("speed", "b") == Speed("b", 20.0, 50.0)


def test_a_record_of_an_earlier_schema_or_without_a_field_is_one_sentence(tmp_path):
    ledger = Ledger(tmp_path)
    write_json(ledger.path("speed", "old"), {"kind": "speed", "key": "old"})
    with pytest.raises(
        ValueError, match="old.json was written by an earlier version of fastdiff .schema 1, 2 is needed"
    ):
        ledger.read("speed", "old")
    write_json(ledger.path("speed", "part"), {"kind": "speed", "schema": 2, "key": "part"})
    with pytest.raises(ValueError, match="part.json is no complete record of kind 'speed' .*; delete it and run again"):
        ledger.read("speed", "part")
