"""One URL into one file over http(s): with a bar, and going on where it broke off.

While it grows the file is <name>.part, and <name>.part.json says which of the server's versions that is. A server that
knows no ranges, or has another version by now, makes it start again.
"""

import http.client
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib import request
from urllib.error import HTTPError
from urllib.parse import urlsplit

from ...files import sha256, write_json

CHUNK = 1 << 20
SILENCE = 30  # seconds without a byte after which a connection is given up


class Redirects(request.HTTPRedirectHandler):
    def redirect_request(self, req, fp, code, msg, headers, newurl):
        if urlsplit(req.full_url).scheme == "https" != urlsplit(newurl).scheme:  # in lower case, however written
            raise HTTPError(newurl, code, "a redirection away from https", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def transfer(url: str, path: Path, expected: str | None = None, whose: str = "the card") -> None:
    """Download url to path, whole or not at all. Only one process at a time may do so.

    Raises ConnectionError with one sentence (which file, from where, where to put it by hand), OSError when the disk is
    full; in both cases what has arrived is kept, and the next call goes on from there. Raises ValueError when its
    sha256 is not the expected one, that of `whose`; then nothing is kept.
    """
    part, note = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.part.json")
    _receive(url, path, part, note)
    note.unlink(missing_ok=True)
    if expected is not None and (digest := sha256(part)) != expected:
        part.unlink()
        raise ValueError(
            f"{url} has sha256 {digest}, but {whose} says {expected}; the file was not kept: run again to fetch it"
            " again, or write the new one into the card to accept it"
        )
    os.replace(part, path)


def _opener() -> request.OpenerDirector:
    """http and https, with the proxies of the environment; no ftp, no file."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler,
        request.HTTPHandler,
        request.HTTPSHandler,
        request.UnknownHandler,
        Redirects,
        request.HTTPDefaultErrorHandler,
        request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


def _receive(url: str, path: Path, part: Path, note: Path) -> None:
    have, version = _begun(part, note)
    headers = {"User-Agent": "fastdiff", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    try:
        response = _opener().open(request.Request(url, headers=headers), timeout=SILENCE)
    except HTTPError as error:
        if have and error.code == 416:  # nothing lies behind what we have: it is another version
            part.unlink()
            return _receive(url, path, part, note)
        raise _lost(url, path, part, f"HTTP {error.code}: {error.reason}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _lost(url, path, part, error) from error
    with response:
        goes_on = response.status == 206
        if goes_on and (_version(response), _first(response)) != (version, have):
            if not have:
                raise _lost(url, path, part, "the server sent a part that was not asked for")
            part.unlink()
            return _receive(url, path, part, note)
        if response.headers.get_content_type() == "text/html":
            raise _lost(url, path, part, "the server answered with a web page")
        have = have if goes_on else 0
        if not have:
            part.unlink(missing_ok=True)  # before the note: a note must never speak of an older part
            write_json(note, {"url": url, "version": _version(response)})
        length = response.headers.get("Content-Length")
        if length is not None and not re.fullmatch("[0-9]{1,18}", length.strip()):
            raise _lost(url, path, part, f"the server says that its length is {length[:20]!r}")
        total = None if length is None else have + int(length)
        _copy(response, url, path, part, have, total)
    if total is not None and part.stat().st_size != total:
        raise _lost(url, path, part, f"the connection ended after {part.stat().st_size:,} of {total:,} bytes")


def _begun(part: Path, note: Path) -> tuple[int, str | None]:
    """How many bytes there are, of which version; 0 unless both are known."""
    try:
        version = json.loads(note.read_text())["version"]
        return (part.stat().st_size, version) if isinstance(version, str) else (0, None)
    except (OSError, ValueError, KeyError, TypeError):
        return 0, None


def _version(response) -> str | None:
    """What If-Range takes: a strong ETag, else the date."""
    tag = response.headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")


def _first(response) -> int | None:
    found = re.match("bytes ([0-9]{1,18})-", response.headers.get("Content-Range", ""))
    return int(found.group(1)) if found else None


def _copy(response, url: str, path: Path, part: Path, have: int, total: int | None) -> None:
    from tqdm import tqdm

    bar = tqdm(desc=path.name, total=total, initial=have, unit="B", unit_scale=True, unit_divisor=1024, disable=None)
    with bar, _disk(part, lambda: open(part, "ab", buffering=0)) as file:
        while True:
            try:
                chunk = response.read(CHUNK)
            except (OSError, http.client.HTTPException) as error:
                raise _lost(url, path, part, error) from error
            if not chunk:
                break
            while chunk:  # an unbuffered file may take less than all
                taken = _disk(part, lambda rest=chunk: file.write(rest))
                chunk = chunk[taken:]
                bar.update(taken)
        _disk(part, lambda: os.fsync(file.fileno()))


def _disk(part: Path, act: Callable):
    try:
        return act()
    except OSError as error:
        raise OSError(
            f"cannot write {part}: {error.strerror or error}; free space, or set FASTDIFF_CACHE to another folder, and"
            " run again: what has arrived is kept"
        ) from error


def _lost(url: str, path: Path, part: Path, reason) -> ConnectionError:
    reason = " ".join(str(getattr(reason, "reason", reason)).split()) or type(reason).__name__
    begun = part.stat().st_size if part.exists() else 0
    kept = f" {begun:,} bytes have arrived and are kept, so run again to go on, or" if begun else ""
    return ConnectionError(f"cannot download {url} ({reason});{kept} get the file elsewhere and put it at {path}")
