"""The page carries its data, its script and its permission to run nothing else."""

import base64
import hashlib
import io
import json
import re
import sys

import numpy as np
import pytest
from PIL import Image
from test_reports import FID, fill, make

from fastdiff.report import figures, samples
from fastdiff.report.page import _shown_arms, page
from fastdiff.report.papers import KNOWN, papers
from fastdiff.report.table import table


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(ledger, text of the page)."""
    root = tmp_path_factory.mktemp("page")
    ledger = fill(root / "runs")
    done = make(root)
    assert done.returncode == 0, done.stderr
    return ledger, (root / "report" / "index.html").read_text()


def facts(text: str) -> dict:
    return json.loads(re.findall(r'<script type="application/json" id="facts">(.*?)</script>', text, re.S)[0])


def test_the_policy_allows_the_pages_own_script_by_its_hash_and_nothing_from_elsewhere(made):
    text = made[1]
    codes = re.findall(r"<script>(.*?)</script>", text, re.S)
    digests = [base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() for code in codes]
    assert len(codes) == 2  # plotly.js and table.js
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="(.*?)"', text)
    assert (
        policy.startswith("default-src 'none'; ")
        and "script-src " + " ".join(f"'sha256-{each}'" for each in digests) + ";" in policy
    )
    assert not re.search(r"https?:|\*|unsafe-eval", policy)
    assert text.index("Content-Security-Policy") < text.index("<style>")


def test_further_scripts_are_allowed_by_their_hashes_as_a_browser_reads_them():
    text = page("A title", data={}, scripts=["let a = 1;\r\n", "let b;"])
    codes = re.findall(r"<script>(.*?)</script>", text, re.S)
    assert codes == ["let a = 1;\n", "let b;"]
    digests = [base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() for code in codes]
    assert "script-src " + " ".join(f"'sha256-{digest}'" for digest in digests) + ";" in text


def test_without_data_a_page_has_no_script_and_may_run_none():
    text = page("A title", ("A part", "<p>words</p>"))
    assert "<script" not in text and "script-src 'none'" in text


def test_a_name_can_neither_end_the_script_nor_the_page():
    text = page("A title", data={"name": "</script><script>alert(1)</script>"})
    assert text.count("<script") == 1 and facts(text)["name"].startswith("</script>")


def test_the_figures_are_of_the_tables_cells(made):
    ledger, text = made
    found, frame = facts(text), table(ledger).set_index("key")
    assert {cell["key"] for cell in found["cells"]} == set(frame.index)
    for cell in found["cells"]:
        assert (cell["accelerator"] == ["none"]) == (frame.loc[cell["key"], "accelerators"] == "")
    assert found["metrics"][0] == FID and len(found["metrics"]) > 1
    for by, unit in (("images_per_s", 1), ("macs", 1e6), ("nfe", 1)):
        marks = [each for each in found["pareto"][by][FID]["data"] if "error_y" in each]
        assert {key for each in marks for key in each["customdata"]} == set(frame.index)
        for each in marks:
            for key, x, y, above in zip(each["customdata"], each["x"], each["y"], each["error_y"]["array"]):
                assert (x, y) == pytest.approx((frame.loc[key, by] / unit, frame.loc[key, FID]), rel=1e-5)
                assert y + above == pytest.approx(frame.loc[key, f"{FID}.high"], rel=1e-5)


def test_the_legend_names_samplers_and_sets_of_accelerators(made):
    data = figures.pareto(table(made[0]), FID).data
    names = [trace.name for trace in data if trace.showlegend is not False]
    assert names[:2] == ["Pareto front", "baseline"]
    assert names[2:] == ["analytic_ddim", "analytic_ddpm", "ddim", "ddpm", "no accelerator", "deepcache",
                         "deepcache + skip_tuning", "skip_tuning", "no accelerator, no baseline"]  # fmt: skip


def test_equal_figures_are_equal_files_and_without_chrome_there_is_a_sentence(made, monkeypatch):
    figure = figures.pareto(table(made[0]), FID)
    found, why = figures.rendered(figure, "pareto")
    if why is None:  # a Chrome is installed
        assert found["pareto.svg"] == figures.render(figure, "svg")[0] and found["pareto.png"].startswith(b"\x89PNG")

    monkeypatch.setitem(sys.modules, "kaleido", None)
    found, why = figures.rendered(figure, "pareto")
    assert found == {} and why == (
        "pareto.svg and pareto.png are not drawn: no picture is written, because kaleido is not installed:"
        " pip install 'kaleido>=1'"
    )


def test_the_page_answers_a_newcomers_questions_in_their_order(made):
    headings = re.findall(r"<h2 id=[^>]*>(.*?)</h2>", made[1])
    asked = ["Which setting is best at 2, 3 and 4 times the speed", "The same noise in different cells",
             "Quality against speed", "All cells", "What each knob does", "The best cell at equal network calls",
             "What the numbers are", "Environment"]  # fmt: skip
    assert [heading for heading in headings if heading in asked] == asked
    links = re.findall(r'<a href="#([^"]+)">', made[1][made[1].index("<nav") : made[1].index("</nav>")])
    assert len(links) == 4 and all(f' id="{link}"' in made[1] for link in links)


def test_the_pages_csv_is_the_file_beside_it(made):
    address = re.findall(r'<a download="default.csv" href="data:text/csv;charset=utf-8;base64,(.*?)">', made[1])[0]
    written = made[0].root.parent / "report" / "default.csv"
    assert base64.b64decode(address) == written.read_bytes()


def test_the_page_without_its_samples_and_scripts_is_small(made):
    text = re.sub(r'src="data:image/[^"]*"', "", made[1])
    assert len(re.sub(r"<script>.*?</script>", "", text, flags=re.S)) < 1_000_000  # nor plotly.js


def decoded(data: str) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(base64.b64decode(data))))


def test_a_difference_is_that_of_each_image_to_the_baselines_of_the_same_noise():
    base = np.random.default_rng(0).integers(0, 200, (12, 1, 4, 4), dtype=np.uint8)
    moved = base + np.arange(12, dtype=np.uint8)[:, None, None, None]
    found = _shown_arms([("baseline", base, None), ("moved", moved, base)])
    first, second = found["shown"]
    shown, moved_shown, gaps = (decoded(data) for data in (first["png"], second["png"], second["gap"]))
    assert first["gap"] == "" and found["gaps"]
    assert shown.shape == (6, 60) and gaps.shape == (6, 60)  # ten images, one pixel around each
    assert [int(gaps[3, 6 * i + 3]) for i in range(10)] == [8 * i for i in range(10)]  # small ones are shown stronger
    assert second["each"] == [f"{i}.0" for i in range(10)]
    assert found["times"] == 8 and (moved_shown[3, 9] == moved[1, 0, 2, 2]).all()


def test_large_differences_are_not_cut_off_and_large_images_are_made_smaller():
    assert samples.strength([np.full((1, 1, 2, 2), 250, np.uint8)]) == 1
    assert samples.strength([np.full((1, 1, 2, 2), 60, np.uint8)]) == 4
    strip = samples.strip(np.zeros((2, 3, 512, 512), np.uint8))
    assert strip.size == (round(1028 / 4), round(514 / 4)) and strip.mode == "RGB"


def test_the_papers_figures_of_the_same_model_are_on_the_page_and_lead_to_those_that_move(tmp_path):
    (tmp_path / "lines.svg").write_text("<svg></svg>")
    words = {"title": "Loss & noise", "sentence": "n = 3"}
    known = {"model": "mnist", "figures": {"lines": words, "lost": words}}
    (tmp_path / KNOWN).write_text(json.dumps(known))
    found = papers(tmp_path, "mnist")
    assert found.count("<img") == found.count("<details") == 1 and "<summary>Loss &amp; noise</summary>" in found
    assert "index.html" not in found and papers(tmp_path, "other") == papers(tmp_path / "nowhere", "mnist") == ""
    (tmp_path / "index.html").touch()
    assert f'<a href="../{tmp_path.name}/index.html">' in papers(tmp_path, "mnist")
