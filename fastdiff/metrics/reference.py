"""Reference statistics, from our npz files and from other projects' files, with a card that describes them.

| file | arrays | unknown |
|---|---|---|
| ours | n, mean, cov, and a card beside it | nothing |
| EDM, clean-fid, pytorch-fid, Analytic-DPM | mu, sigma | n, data, resize, extractor |
| ADM's evaluator | mu, sigma, mu_s, sigma_s (spatial features, not read), arr_0 (10,000 of the images) | the same |
| older pytorch-fid | m, s | the same |
"""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..files import npz_headers, read_json, read_npz, sha256, write_json, write_npz
from .fid import Moments

ARRAYS = {("mean", "cov"): "fastdiff", ("mu", "sigma"): "mu, sigma", ("m", "s"): "m, s"}
LARGEST = 16384  # dimensions; a covariance of so many is 2 GB


@dataclass(frozen=True)
class ReferenceCard:
    """Describes reference statistics. None: not known.

    data_sha256: digest of the images. split: `train`, `test`. n: number of images. resize: the rule that resizes them
    for the extractor, as `clean`. extractor, extractor_sha256: its name and the digest of its weights. code_version:
    version of the code that computed the statistics.
    """

    data_sha256: str | None = None
    split: str | None = None
    n: int | None = None
    resize: str | None = None
    extractor: str | None = None
    extractor_sha256: str | None = None
    code_version: str | None = None

    def __post_init__(self):
        if self.n is not None and not (isinstance(self.n, int) and self.n >= 2):
            raise ValueError(f"a reference is of a number of at least 2 images, but its card says n = {self.n}")

    @property
    def unknown(self) -> list[str]:
        """Names of the fields that are not known."""
        return [field.name for field in fields(self) if getattr(self, field.name) is None]

    def refuse_other(self, asked: "ReferenceCard", path: Path) -> None:
        """Raise ValueError, naming the field, where both cards know a value and the values differ."""
        for field in fields(self):
            ours, theirs = getattr(self, field.name), getattr(asked, field.name)
            if None not in (ours, theirs) and ours != theirs:
                raise ValueError(
                    f"{path} has {field.name} {ours}, but {theirs} is asked for; give another reference or compute it"
                )


class Reference(NamedTuple):
    """Moments (n is None where it is unknown), their card, and the kind of file they come from."""

    moments: Moments
    card: ReferenceCard
    source: str

    def __str__(self) -> str:
        n = "n unknown" if self.card.n is None else f"n = {self.card.n}"
        rest = [name for name in self.card.unknown if name != "n"]
        return f"reference statistics ({self.source}), {n}" + (f"; unknown: {', '.join(rest)}" if rest else "")


def card_path(path: Path) -> Path:
    """Path of the card of an npz: `name.npz` -> `name.card.json`."""
    return Path(path).with_suffix(".card.json")


def write_reference(path: str | Path, moments: Moments, card: ReferenceCard) -> Path:
    """Write the npz and beside it the card with the npz's digest. Raises ValueError for a card with another n."""
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"reference statistics are written as .npz, not as {path.name}")
    if None not in (card.n, moments.n) and card.n != moments.n:
        raise ValueError(f"the statistics are of n = {moments.n} images, but the card says n = {card.n}")
    n = moments.n if card.n is None else card.n
    write_npz(path, **({} if n is None else {"n": np.int64(n)}), mean=moments.mean, cov=moments.cov)
    write_json(card_path(path), asdict(card) | {"n": n, "statistics_sha256": sha256(path)})
    return path


def read_reference(path: str | Path, asked: ReferenceCard | None = None) -> Reference:
    """Read statistics in any format of the table above. Nothing pickled is read.

    asked: the card that the statistics must match in every field that both know; the fields that are not known are in
    `card.unknown`. Raises FileNotFoundError, and ValueError for a file without statistics, for statistics that are no
    mean and covariance, for a field that does not match, and for the card of another npz.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there are no reference statistics at {path}; check the path or compute them")
    headers = npz_headers(path)
    names = next((names for names in ARRAYS if set(names) <= headers.keys()), None)
    if names is None:
        raise ValueError(f"{path} {_other(headers)}; {' or '.join(', '.join(names) for names in ARRAYS)} are needed")
    _check_shapes(path, names, headers)
    counted = ["n"] if "n" in headers and headers["n"][0] == () else []
    arrays = read_npz(path, [*names, *counted])
    mean, cov = (arrays[name].astype(np.float64) for name in names)
    _check_values(path, mean, cov)
    card = _card(path, int(arrays["n"]) if counted else None)
    if asked is not None:
        card.refuse_other(asked, path)
    return Reference(Moments(card.n, mean, cov), card, "ADM" if "mu_s" in headers else ARRAYS[names])


def _other(headers: dict) -> str:
    shape, dtype = headers.get("arr_0", ((), None))
    if dtype == np.uint8 and len(shape) == 4:
        return f"holds {shape[0]} images, not their statistics: pass them through the extractor"
    return f"holds {', '.join(sorted(headers)) or 'nothing'}"


def _check_shapes(path: Path, names: tuple[str, str], headers: dict) -> None:
    (mean, kind), (cov, other) = (headers[name] for name in names)
    if len(mean) != 1 or cov != mean * 2 or not 0 < mean[0] <= LARGEST or {kind.kind, other.kind} != {"f"}:
        raise ValueError(
            f"{path} has {names[0]} {mean} {kind} and {names[1]} {cov} {other}; a mean (D) and a covariance (D D) of"
            f" floats with D up to {LARGEST} are needed"
        )


def _check_values(path: Path, mean: np.ndarray, cov: np.ndarray) -> None:
    if not (np.isfinite(mean).all() and np.isfinite(cov).all()):
        raise ValueError(f"{path} has statistics that are NaN or infinite; compute them anew")
    scale = np.abs(cov).max()
    if np.abs(cov - cov.T).max() > 1e-5 * scale or cov.diagonal().min() < 0:  # some are of float32
        raise ValueError(f"{path} has a matrix that is no covariance (not symmetric, or a negative variance)")


def _card(path: Path, n: int | None) -> ReferenceCard:
    """The card beside the npz, or one with n only."""
    if not card_path(path).exists():
        return ReferenceCard(n=n)
    said = read_json(card_path(path))
    known = {field.name for field in fields(ReferenceCard)} | {"statistics_sha256"}
    if not isinstance(said, dict) or set(said) - known:
        raise ValueError(f"{card_path(path)} is no card: its fields are not among {', '.join(sorted(known))}")
    if said.pop("statistics_sha256", None) != sha256(path):
        raise ValueError(f"{card_path(path)} is the card of another npz than {path.name}; compute the statistics anew")
    card = ReferenceCard(**said)
    if None not in (n, card.n) and n != card.n:
        raise ValueError(f"{path} has n {n}, but its card says {card.n}; compute the statistics anew")
    return card
