"""Files by path or URL. A URL is downloaded once, by pooch, and pinned by its sha256. No torch.

All downloads are in one folder: FASTDIFF_CACHE, by default the user's cache folder (~/.cache/fastdiff on Linux). Their
names are <hash of the URL>-<last part of the URL>. Beside them is fastdiff.lock, a JSON object of URL: sha256. A URL
whose card gives no sha256 gets its line at first use, and must have that sha256 from then on.
"""

import hashlib
import os
import re
import sys
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from ..files import locate, read_json, write, write_json
from ..files import sha256 as digest_of

LOCK = "fastdiff.lock"


class _Failed(Exception):
    """A download failed, for a reason that is not the disk."""


def cache_folder() -> Path:
    from platformdirs import user_cache_path

    folder = os.environ.get("FASTDIFF_CACHE") or user_cache_path("fastdiff", appauthor=False)
    return Path(folder).expanduser().absolute()


def cached(url: str) -> Path:
    """The path of a URL's file, whether it is there or not. Different URLs have different paths."""
    try:
        split = urlsplit(url)
    except ValueError as error:
        raise ValueError(f"'{url}' is no URL ({error}); give a path or a URL of http or https") from error
    last = [part for part in split.path.split("/") if part][-1:] or ["file"]
    name = re.sub("[^A-Za-z0-9._-]+", "_", last[0])[-80:]
    return cache_folder() / f"{hashlib.sha256(url.encode()).hexdigest()[:8]}-{name}"


def fetch(where: str | Path, sha256: str | None = None, name: str | None = None) -> tuple[Path, str | None]:
    """A file and its sha256, which is None for a folder. where: a path, `assets/...`, or a URL of http or https.

    sha256: the card's; the file must have it, and a download that has another is not kept. name: the card's, for error
    messages. Raises FileNotFoundError if there is no such path. Raises ConnectionError if a URL cannot be downloaded;
    the message says where to put the file by hand. Raises OSError if the disk is full. Raises ValueError for other
    URLs, for a path that is neither file nor folder, and for a wrong sha256.
    """
    where = str(where)
    sha256 = None if sha256 is None else sha256.strip().lower()
    whose = f"the card of '{name}'" if name else "the card"
    scheme, url, _ = where.partition("://")
    if url and scheme.lower() not in ("http", "https"):
        raise ValueError(f"'{where}' cannot be downloaded; give a path or a URL of http or https")
    path, new = cached(where) if url else locate(where), False
    if url and not path.exists():
        with _alone(path.parent):
            if new := not path.exists():  # another process may have downloaded it meanwhile
                _download(where, path)
    if url:
        locate(path)  # refuses what is neither file nor folder
    if path.is_dir():
        return path, None
    digest = digest_of(path)
    if sha256 is None and url:
        _pin(where, path, digest)
    elif sha256 not in (None, digest):
        if new:
            path.unlink()
        remedy = "delete it to download it again" if url else "put the right file there"
        if new:
            remedy = "the file was not kept: run again to download it again"
        raise ValueError(
            f"{where if new else path} has sha256 {digest}, but {whose} says {sha256}; {remedy}, or write the new"
            " sha256 into the card to accept it"
        )
    return path, digest


def _download(url: str, path: Path) -> None:
    import requests
    from pooch import HTTPDownloader
    from tqdm import tqdm

    def fill(file):
        bar = tqdm(desc=path.name, total=1, unit="B", unit_scale=True, unit_divisor=1024, disable=None)
        headers = {"User-Agent": "fastdiff", "Accept-Encoding": "identity"}  # the file as it is, not unpacked
        get = HTTPDownloader(bar, 1 << 20, headers=headers, timeout=30, hooks={"response": _check_response})
        try:
            get(url, file, None)
        except (requests.RequestException, ValueError) as error:  # ValueError: a length that is no number
            raise _Failed(" ".join(str(error).split())[:300] or type(error).__name__) from error

    try:
        write(path, fill)
    except _Failed as error:
        said = f"cannot download {url} ({error}); get the file elsewhere and put it at {path}"
        raise ConnectionError(said) from error
    except OSError as error:
        said = str(error).partition("; ")[0]
        raise OSError(f"{said}; free space, or set FASTDIFF_CACHE to another folder") from error


def _check_response(response, **_) -> None:
    """Called by requests for every response, redirections included. Raises _Failed."""
    target = urljoin(response.url, response.headers.get("Location", ""))
    if urlsplit(response.url).scheme == "https" != urlsplit(target).scheme:
        raise _Failed("a redirection away from https")
    if response.ok and not response.is_redirect and response.headers.get("Content-Type", "").startswith("text/html"):
        raise _Failed("the server answered with a web page")


def _pin(url: str, path: Path, digest: str) -> None:
    lock = path.parent / LOCK
    known = _lines(lock)
    if url not in known:
        with _alone(path.parent):
            known = {url: digest} | _lines(lock)
            write_json(lock, known)
    if known[url] != digest:
        raise ValueError(
            f"{path} ({url}) has sha256 {digest}, but had {known[url]} at its first use; delete the file to download it"
            f" again, or its line in {lock} to accept the new one"
        )


def _lines(lock: Path) -> dict[str, str]:
    known = read_json(lock) if lock.exists() else {}
    if not isinstance(known, dict):
        raise ValueError(f"{lock} is damaged (a JSON object of URL: sha256 is needed); repair or delete it")
    return known


@contextmanager
def _alone(folder: Path):
    """One process at a time runs this block, for each folder."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".busy")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"waiting for another process that downloads into {folder}", file=sys.stderr)
            lock.acquire()
    except OSError as error:
        raise OSError(f"cannot write into {folder}: {error.strerror}; set FASTDIFF_CACHE to another folder") from error
    with lock:
        yield
