"""Files by path or URL: a URL is downloaded once and pinned by its sha256. No torch.

All of it lies in one folder, FASTDIFF_CACHE (default ~/.cache/fastdiff): <hash of the URL>-<its last part>, and beside
the files fastdiff.lock, JSON: URL -> sha256 of those whose card gives none. A line is written at first use and enforced
ever after.
"""

import hashlib
import os
import re
import sys
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from ...files import locate, read_json, write_json
from ...files import sha256 as digest_of
from .transfer import transfer

LOCK = "fastdiff.lock"


def cache_folder() -> Path:
    return Path(os.environ.get("FASTDIFF_CACHE") or "~/.cache/fastdiff").expanduser().absolute()


def cached(url: str) -> Path:
    """Where the file of a URL is, or will be: always the same for one URL, another for every other."""
    try:
        split = urlsplit(url)
    except ValueError as error:
        raise ValueError(f"'{url}' is no URL ({error}); a path or a URL of http or https is needed") from error
    last = [part for part in split.path.split("/") if part][-1:] or ["file"]
    return (
        cache_folder()
        / f"{hashlib.sha256(url.encode()).hexdigest()[:8]}-{re.sub('[^A-Za-z0-9._-]+', '_', last[0])[-80:]}"
    )


def fetch(where: str | Path, sha256: str | None = None, name: str | None = None) -> tuple[Path, str | None]:
    """A file and its sha256 (None for a folder). where: a path, `assets/...`, or a URL of http or https.

    sha256: what the card says, checked (a download that has another is not kept); a URL without is pinned. name: of the
    card, for the message. Raises FileNotFoundError for a path that is not there; ConnectionError when a URL cannot be
    downloaded, saying where to put the file by hand; OSError for a full disk; ValueError for what is no URL of http or
    https, for what is neither file nor folder, or for another digest.
    """
    where = str(where)
    sha256 = None if sha256 is None else sha256.strip().lower()
    whose = f"the card of '{name}'" if name else "the card"
    scheme, url, _ = where.partition("://")
    if url and scheme.lower() not in ("http", "https"):
        raise ValueError(f"'{where}' cannot be fetched; a path or a URL of http or https is needed")
    path = cached(where) if url else locate(where)
    if url and not path.exists():
        with _alone(path.parent):
            if not path.exists():  # another process may have been faster
                transfer(where, path, sha256, whose)
    if url:
        locate(path)  # says what is neither file nor folder
    if path.is_dir():
        return path, None
    digest = digest_of(path)
    if sha256 is None and url:
        _pin(where, path, digest)
    elif sha256 not in (None, digest):
        raise ValueError(
            f"{path} has sha256 {digest}, but {whose} says {sha256};"
            f" {'delete the file to fetch it again' if url else 'put the right file there'}, or write the new one into"
            " the card to accept it"
        )
    return path, digest


def _pin(url: str, path: Path, digest: str) -> None:
    lock = path.parent / LOCK
    known = _lines(lock)
    if url not in known:
        with _alone(path.parent):
            known = {url: digest} | _lines(lock)
            write_json(lock, known)
    if known[url] != digest:
        raise ValueError(
            f"{path} ({url}) has sha256 {digest}, but had {known[url]} at its first use; delete the file to fetch it"
            f" again, or its line in {lock} to accept the new one"
        )


def _lines(lock: Path) -> dict[str, str]:
    known = read_json(lock) if lock.exists() else {}
    if not isinstance(known, dict):
        raise ValueError(f"{lock} is damaged (a JSON object of URL: sha256 is needed); mend or delete it")
    return known


@contextmanager
def _alone(folder: Path):
    """One process at a time in this block: two downloads would write into the same file."""
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            busy = stack.enter_context(open(folder / ".busy", "wb"))
        except OSError as error:
            raise OSError(
                f"cannot write into {folder}: {error.strerror}; set FASTDIFF_CACHE to a folder that can be written to"
            ) from error
        with suppress(ImportError, OSError):  # Windows and some network file systems know no such locks
            import fcntl

            try:
                fcntl.flock(busy, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"waiting for another process that downloads into {folder}", file=sys.stderr)
                fcntl.flock(busy, fcntl.LOCK_EX)
        yield
