"""What a cell's record says of its images: every metric with its protocol and interval, and nothing generated twice."""

import json

import numpy as np
import pytest
from hydra import compose, initialize_config_module

from fastdiff.bench.cell import key
from fastdiff.bench.config import cell_of
from fastdiff.bench.ledger import Ledger
from fastdiff.bench.records import SCHEMA, to_json
from fastdiff.bench.reference import reference_of
from fastdiff.bench.run_cell import run_cell
from fastdiff.metrics import frechet, inception_score, kid, moments, prdc, shuffled
from fastdiff_benchmarks.entry import settings_of

TINY = ["sampler=ddim", "sampler.steps=2", "device=cpu", "device.precision=float32", "budget.n=250"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The cell, its settings, the ledger, and its outcome."""
    with initialize_config_module("fastdiff_conf", version_base="1.3"):
        conf = settings_of(compose("config", overrides=TINY))
    cell, ledger = cell_of(conf), Ledger(tmp_path_factory.mktemp("scoring"))
    outcome = run_cell(cell, ledger, conf)
    assert outcome.kind == "quality", outcome.record.reason
    return cell, conf, ledger, outcome


def test_a_record_has_every_metric_by_the_protocol_that_it_depends_on(measured):
    values = measured[3].record.values
    pairs = "mnist-classifier,k=5,m=9000,n=250"
    assert set(values) == {
        "fid[mnist-classifier,n=250]", "is[mnist-classifier,splits=10,n=250]", "kid[mnist-classifier,m=9000,n=250]",
        f"precision[{pairs}]", f"recall[{pairs}]", f"density[{pairs}]", f"coverage[{pairs}]",
    }  # fmt: skip
    for value in values.values():
        assert value.low < value.value < value.high and value.se > 0


def test_values_are_those_of_the_metrics_on_the_kept_features(measured):
    cell, _, ledger, outcome = measured
    block = ledger.read_block(key(cell.generation()), 0, key(cell.metrics.extractor_identity()), 250)
    reference = reference_of(cell, ledger, None, None)
    features, y = block["features"], reference.sample.features
    found = {value.metric: value.value for value in outcome.record.values.values()}
    assert found["fid"] == pytest.approx(frechet(moments(features), reference.moments), rel=1e-12)
    assert found["is"] == pytest.approx(inception_score(block["probabilities"], shuffled(250), 10), rel=1e-12)
    assert found["kid"] == pytest.approx(kid(features, y), rel=1e-9)
    four = prdc(features, y)._asdict()
    assert {name: found[name] for name in four} == pytest.approx(four)
    assert set(ledger.influence(cell.key)) == set(found)


def test_a_record_of_an_earlier_version_is_scored_anew_and_nothing_is_generated_or_timed_again(measured):
    cell, conf, ledger, outcome = measured
    path = ledger.path("quality", cell.key)
    old = {name: value for name, value in to_json(outcome.record).items() if name != "scored"}
    path.write_text(
        json.dumps(old | {"schema": SCHEMA, "values": {"fid[mnist-classifier,n=250]": {"metric": "fid", "value": 1.0}}})
    )
    kept = {
        p: p.stat().st_mtime_ns for kind in ("blocks", "speed", "samples") for p in ledger.root.rglob(f"{kind}/**/*.*")
    }
    again = run_cell(cell, ledger, conf)
    assert not again.reused and again.record.values == outcome.record.values
    assert all(to_json(again.record)[name] == value for name, value in old.items() if name != "values")
    assert again.record.rescored["versions"] == outcome.record.made["versions"]
    assert kept and all(p.stat().st_mtime_ns == at for p, at in kept.items())
    assert run_cell(cell, ledger, conf).reused


def test_a_record_that_cannot_be_scored_anew_is_kept_and_nothing_failed(measured, monkeypatch, capsys):
    from fastdiff.bench import run_cell as bench

    cell, conf, ledger, outcome = measured
    path = ledger.path("quality", cell.key)
    whole = path.read_text()
    path.write_text(
        json.dumps({"schema": SCHEMA} | {n: value for n, value in to_json(outcome.record).items() if n != "scored"})
    )

    def gone(*_):
        raise FileNotFoundError("the weights are gone")

    monkeypatch.setattr(bench, "load_denoiser", gone)
    again = run_cell(cell, ledger, conf)
    assert again.kind == "quality" and again.reused and again.record.values == outcome.record.values
    assert "keeps the metrics it had: the weights are gone" in capsys.readouterr().err
    assert not list(ledger.all("failed"))
    path.write_text(whole)


def test_identical_arms_differ_by_exactly_nothing_in_every_metric(measured):
    from fastdiff.statistics import difference, verdicts

    cell, _, ledger, outcome = measured
    psi = ledger.influence(cell.key)
    for value in outcome.record.values.values():
        same = [psi[value.metric], psi[value.metric].copy()]
        found = difference(value.value, value.value, *same, paired=True)
        assert found.value == 0 and found.se == 0 and verdicts([found])[0].word == "indistinguishable"


def test_with_too_few_images_every_metric_says_why_it_has_no_interval(measured):
    from fastdiff.bench.scoring import score

    cell, _, ledger, _ = measured
    block = ledger.read_block(key(cell.generation()), 0, key(cell.metrics.extractor_identity()), 60)
    values, influence = score(cell, block["features"], block["probabilities"], reference_of(cell, ledger, None, None))
    for value in values.values():
        if value.metric != "is":
            assert value.no_interval.startswith("no interval: 60 images are too few") and value.low is None
    assert set(influence) == {"is"} and all(np.isfinite(value.value) for value in values.values())
