"""Images of a cell compared with the images of its baseline, pair by pair: both start from the same noise."""

import numpy as np

from ..device import BLOCK
from ..files import write_npz
from ..metrics.paired import feature_distance, paired, summary
from .cell import key
from .ledger import Ledger


def compare_images(ledger: Ledger, record: dict, plain: dict) -> dict | None:
    """The record of kind `paired` for two quality records of equal noise and n. It is made where there is none yet.

    values: by protocol, as psnr[plain,n=250], the mean with its 95 % interval, quantiles and the worst cases. The npz
    beside the record has the value of every image. PSNR, SSIM and the largest difference use the kept sample images;
    feature_distance uses the features of all n images. Returns None where one record has no sample images or no
    extractor.
    """
    name = pair_name(record["key"], plain["key"])
    if (known := ledger.read("paired", name)) is not None:
        return known
    generations = [key(of["identity"]["generation"]) for of in (record, plain)]
    pixels = [ledger.samples(generation) for generation in generations]
    extractor = record["identity"]["metrics"].get("extractor")
    if any(kept is None for kept in pixels) or extractor is None:  # a likelihood bound shares its generation key
        return None
    n = min(record["n"], plain["n"], *map(len, pixels))
    found = paired(*(kept[:n] for kept in pixels))
    prompted = record["identity"]["metrics"].get("metric") == "clip_score"  # it keeps scores, not features
    both = zip((record, plain), generations)
    features = [None if prompted else _features(ledger, of, generation) for of, generation in both]
    if all(kept is not None for kept in features):
        found["feature_distance"] = feature_distance(*features)
    values = {}
    for metric, value in summary(found).items():
        words = ["plain", *([extractor] if metric == "feature_distance" else []), f"n={value['n']}"]
        values[f"{metric}[{','.join(words)}]"] = {"metric": metric, "value": value.pop("mean"), **value}
    write_npz(ledger.path("paired", name, ".npz"), **found)
    return ledger.write(
        "paired", name, {"kind": "paired", "key": record["key"], "plain": plain["key"], "values": values}
    )


def pair_name(key: str, plain: str) -> str:
    """The ledger's name of the record of two cells."""
    return f"{key}-{plain}"


def _features(ledger: Ledger, record: dict, generation: str) -> np.ndarray | None:
    """The kept features (n D) of a record's images, or None where a block is missing."""
    metrics, n = record["identity"]["metrics"], record["n"]
    scorer = key({name: metrics[name] for name in ("extractor", "sha256", "settings") if name in metrics})
    blocks = [
        ledger.read_block(generation, first // BLOCK, scorer, min(BLOCK, n - first)) for first in range(0, n, BLOCK)
    ]
    return None if any(block is None for block in blocks) else np.concatenate([block["features"] for block in blocks])
