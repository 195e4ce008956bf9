"""Files by URL: downloaded once, pinned; what goes wrong is said in one sentence. All on a local server."""

import contextlib
import http.server
import json
import re
import subprocess
import sys
import threading
from hashlib import sha256

import pytest
import requests

from fastdiff.weights.download import LOCK, _check_response, _Failed, cached, fetch

CONTENT = bytes(range(256)) * 4000  # 1 MB


class Server(http.server.BaseHTTPRequestHandler):
    """Serves /weights.bin; each test changes `server.files` and the manners below."""

    def log_message(self, *args):
        pass

    def do_GET(self):
        manners, asked = self.server.manners, dict(self.headers)
        self.server.asked.append(asked)
        if self.path in manners.get("redirects", {}):
            self.send_response(302)
            self.send_header("Location", manners["redirects"][self.path])
            return self.end_headers()
        content = self.server.files.get(self.path)
        if content is None:
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Type", manners.get("type", "application/octet-stream"))
        self.send_header("Content-Length", manners.get("length", str(len(content))))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # a client that has seen enough
            self.wfile.write(content[: manners.get("breaks_off", len(content))])


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTDIFF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        server.files, server.manners, server.asked = {"/weights.bin": CONTENT}, {}, []
        server.url = f"http://127.0.0.1:{server.server_address[1]}/weights.bin"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def lock(server) -> dict:
    return json.loads((cached(server.url).parent / LOCK).read_text())


def leftovers(server) -> set[str]:
    return {path.name.removeprefix(cached(server.url).name) for path in cached(server.url).parent.iterdir()}


def test_a_url_is_downloaded_once_and_pinned(server):
    path, digest = fetch(server.url)
    assert path.read_bytes() == CONTENT and digest == sha256(CONTENT).hexdigest()
    assert fetch(server.url) == (path, digest) and len(server.asked) == 1
    assert lock(server) == {server.url: digest} and leftovers(server) == {"", LOCK, ".busy"}


def test_a_path_needs_no_server_and_a_folder_has_no_digest(server, tmp_path):
    (tmp_path / "a.bin").write_bytes(b"abc")
    assert fetch(tmp_path / "a.bin") == (tmp_path / "a.bin", sha256(b"abc").hexdigest())
    assert fetch(tmp_path) == (tmp_path, None)
    with pytest.raises(FileNotFoundError, match="gone.bin does not exist"):
        fetch("gone.bin")
    assert not server.asked


def test_a_download_that_breaks_off_leaves_nothing_and_is_started_again(server):
    server.manners["breaks_off"] = 300_000
    with pytest.raises(
        ConnectionError, match="cannot download .*300000 bytes read.*; get the file elsewhere"
    ) as raised:
        fetch(server.url)
    assert "\n" not in str(raised.value) and leftovers(server) == {".busy"}
    del server.manners["breaks_off"]
    assert fetch(server.url)[0].read_bytes() == CONTENT


def test_another_file_than_at_first_use_is_refused_until_its_line_is_deleted(server):
    path, before = fetch(server.url)
    path.write_bytes(b"another")
    with pytest.raises(
        ValueError, match="delete the file to download it again, or its line in .*fastdiff.lock"
    ) as raised:
        fetch(server.url)
    after = sha256(b"another").hexdigest()
    assert before in str(raised.value) and after in str(raised.value) and str(path) in str(raised.value)
    (path.parent / LOCK).write_text("{}")
    assert fetch(server.url) == (path, after) and lock(server) == {server.url: after}


def test_a_card_s_digest_is_the_pin_where_there_is_one(server):
    digest = sha256(CONTENT).hexdigest()
    assert fetch(server.url, digest)[1] == digest
    with pytest.raises(
        ValueError,
        match=f"has sha256 {digest}, but the card of 'mine' says {'0' * 64}; delete it to download it again",
    ):
        fetch(server.url, "0" * 64, "mine")
    assert not (cached(server.url).parent / LOCK).exists()


def test_offline_one_sentence_says_which_file_and_where_to_put_it_and_there_it_is_found(server):
    gone = "http://127.0.0.1:9/models/net.pkl"  # nothing listens on port 9
    with pytest.raises(
        ConnectionError, match=f"cannot download {gone} .*; get the file elsewhere and put it at "
    ) as said:
        fetch(gone)
    place = str(said.value).rpartition("put it at ")[2]
    assert place.endswith("-net.pkl") and "\n" not in str(said.value)
    with open(place, "wb") as file:
        file.write(b"by hand")
    assert fetch(gone)[1] == sha256(b"by hand").hexdigest()


@pytest.mark.parametrize(
    ("path", "manners", "said"),
    [
        ("/gone.bin", {}, "404 Client Error: Not Found"),
        ("/weights.bin", {"type": "text/html"}, "the server answered with a web page"),
        ("/a", {"redirects": {"/a": "ftp://127.0.0.1/weights.bin"}}, "ftp"),
        ("/a", {"redirects": {"/a": "file:///etc/hostname"}}, "No connection adapters were found for"),
        ("/a", {"redirects": {"/a": "/a"}}, "Exceeded 30 redirects"),
    ],
)
def test_what_a_server_does_wrong_is_said_in_one_sentence_and_leaves_no_file(server, path, manners, said):
    server.manners |= manners
    url = server.url.replace("/weights.bin", path)
    with pytest.raises(ConnectionError, match=said) as raised:
        fetch(url)
    assert "\n" not in str(raised.value) and not cached(url).exists()


def test_a_redirection_is_followed(server):
    server.manners["redirects"] = {"/a": "/weights.bin"}
    assert fetch(server.url.replace("/weights.bin", "/a"))[0].read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["ftp://a/b", "file:///etc/hostname", "data://x", "gopher://a"])
def test_only_http_is_spoken(server, url):
    with pytest.raises(ValueError, match="give a path or a URL of http or https"):
        fetch(url)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://a.org/x/../../../etc/passwd", "passwd"),
        ("https://a.org/..%2f..%2fetc", "_2f.._2fetc"),
        ("https://a.org/.", "."),
        ("https://a.org/f/0123/?dl=1", "0123"),
        ("https://a.org", "file"),
        ("https://a.org/a\\b\x00c\n.pt", "a_b_c.pt"),
        ("https://a.org/" + "a" * 300 + ".pt", "a" * 77 + ".pt"),
    ],
)
def test_no_url_chooses_where_its_file_lies(server, url, name):
    found = cached(url)
    assert found.parent == cached(server.url).parent
    assert re.fullmatch(r"[0-9a-f]{8}-[A-Za-z0-9._-]{1,80}", found.name) and found.name.endswith(name)
    assert found != cached(url + "?")


def test_a_full_disk_is_said_in_one_sentence(server):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
    try:
        with pytest.raises(OSError, match=r"cannot write .*: .*; free space, or set FASTDIFF_CACHE") as raised:
            fetch(server.url)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not isinstance(raised.value, ConnectionError) and not cached(server.url).exists()
    assert fetch(server.url)[0].read_bytes() == CONTENT


def test_a_cache_folder_that_cannot_be_made_is_named(server, tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv("FASTDIFF_CACHE", str(tmp_path / "taken" / "cache"))
    with pytest.raises(OSError, match="set FASTDIFF_CACHE to another folder"):
        fetch(server.url)


def test_a_broken_lock_file_is_named(server):
    fetch(server.url)
    for broken in ("[]", "{"):
        (cached(server.url).parent / LOCK).write_text(broken)
        with pytest.raises(ValueError, match="fastdiff.lock is damaged"):
            fetch(server.url)


def test_processes_that_want_the_same_file_download_it_once(server):
    code = "import sys; from fastdiff.weights.download import fetch; print(fetch(sys.argv[1])[1])"
    runs = [
        subprocess.Popen([sys.executable, "-c", code, server.url], stdout=subprocess.PIPE, text=True) for _ in "1234"
    ]
    assert {run.communicate()[0].strip() for run in runs} == {sha256(CONTENT).hexdigest()}
    assert len(server.asked) == 1 and lock(server) == {server.url: sha256(CONTENT).hexdigest()}


def test_no_torch_is_needed():
    code = "import sys, fastdiff.weights.download, fastdiff.data; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_download_with_another_digest_than_the_card_s_is_not_kept(server):
    digest = sha256(CONTENT).hexdigest()
    for count in (1, 2):
        with pytest.raises(ValueError, match=f"has sha256 {digest}, but the card of 'mine' says {'0' * 64}; the file"):
            fetch(server.url, "0" * 64, "mine")
        assert len(server.asked) == count and leftovers(server) == {".busy"}
    assert fetch(server.url, digest)[0].read_bytes() == CONTENT


def test_a_digest_may_be_written_in_capitals_and_with_spaces(server):
    digest = sha256(CONTENT).hexdigest()
    assert fetch(server.url, f" {digest.upper()}\n")[1] == digest


@pytest.mark.parametrize("length", ["²", "9" * 5000, "many"])
def test_a_length_that_is_no_number_is_said_in_one_sentence(server, length):
    server.manners["length"] = length
    with pytest.raises(ConnectionError, match="cannot download .*; get the file elsewhere") as raised:
        fetch(server.url)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 700


def test_https_is_not_left_however_its_url_is_written():
    response = requests.Response()
    response.status_code = 302
    for response.url in ("https://a.org/x", "HTTPS://a.org/x"):
        for target in ("http://a.org/x", "HTTP://a.org/x", "ftp://a.org/x"):
            response.headers["Location"] = target
            with pytest.raises(_Failed, match="away from https"):
                _check_response(response)
        for target in ("HTTPS://b.org/x", "/y"):
            response.headers["Location"] = target
            _check_response(response)


def test_a_url_that_is_none_is_said_to_be_that(server):
    with pytest.raises(ValueError, match=r"'http://\[::1' is no URL .*; give a path or a URL of http or https"):
        fetch("http://[::1")
