"""Cells beside the plain cells of their settings, image by image (`fastdiff.bench.paired_images`): which pairs, and as columns."""

import pandas as pd
from tqdm import tqdm

from ..bench.ledger import Ledger
from ..bench.paired_images import compare_images, pair_name
from .rivals import plain_cell
from .rows import rows


def compare_with_plain(ledger: Ledger, keys: list[str] | None = None) -> None:
    """Compare the images of those cells, or of all, with those of their plain cells, where that was not done before."""
    records = {record["key"]: record for record in ledger.all("quality")}
    if not records:
        return
    every = rows(records.values(), ledger)
    pairs = [(line["key"], plain["key"]) for line, plain in _pairs(every if keys is None else _of(every, keys), every)]
    todo = [pair for pair in pairs if not ledger.path("paired", pair_name(*pair)).exists()]
    for pair in tqdm(todo, desc="comparing images", unit="cell", leave=False, disable=None if len(todo) > 9 else True):
        compare_images(ledger, *(records[each] for each in pair))


def columns_of_pairs(frame: pd.DataFrame, every: pd.DataFrame, ledger: Ledger) -> pd.DataFrame:
    """A line each: mean and 95 % interval of every measure of a cell's images beside those of its plain cell."""
    lines = [{} for _ in range(len(frame))]
    places = {key: line for key, line in zip(frame["key"], lines)}
    for line, plain in _pairs(frame, every):
        record = ledger.read("paired", pair_name(line["key"], plain["key"])) or {"values": {}}
        for protocol, value in record["values"].items():
            found = {protocol: value["value"], f"{protocol}.low": value["low"], f"{protocol}.high": value["high"]}
            places[line["key"]].update(found)
    return pd.DataFrame(lines, index=frame.index)


def _of(every: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    return every[every["key"].isin(keys)]


def _pairs(frame: pd.DataFrame, every: pd.DataFrame) -> list[tuple[pd.Series, pd.Series]]:
    """Lines that have a plain cell other than themselves, and that cell."""
    found = [(line, plain_cell(line, every)) for _, line in frame.iterrows()]
    return [(line, plain) for line, plain in found if plain is not None and plain["key"] != line["key"]]
