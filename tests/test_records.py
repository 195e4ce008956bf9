"""The ledger: written once, whole or not at all, and enough to go on from after a kill."""

import errno
import json
import os

import numpy as np
import pytest

from fastdiff.bench.ledger import Ledger
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
    ledger.write("quality", "b", {"key": "b"})
    ledger.write("quality", "a", {"key": "a"})
    write_npz(ledger.path("quality", "a", ".npz"), fid=np.zeros(3))
    assert [record["key"] for record in ledger.all("quality")] == ["a", "b"]
    assert ledger.read("quality", "c") is None and list(ledger.all("speed")) == []
