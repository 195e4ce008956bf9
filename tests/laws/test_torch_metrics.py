"""The metrics as torchmetrics classes: in any order, in blocks and on several processes they give the same value."""

import numpy as np
import pytest
import torch
from torchmetrics import MetricCollection

from fastdiff.metrics import frechet, inception_score, kid, moments, prdc, shuffled
from fastdiff.metrics.torch_metrics import FID, KID, PRDC, CLIPScore, InceptionScore

N, D = 305, 12


@pytest.fixture(scope="module")
def features():
    random = np.random.default_rng(0)
    return (random.normal(size=(N, D)) @ random.normal(size=(D, D)) + 3).astype(np.float16)


@pytest.fixture(scope="module")
def reference():
    random = np.random.default_rng(1)
    return random.normal(size=(200, D)) * 2 + 3


@pytest.fixture(scope="module")
def probabilities():
    logits = 2 * np.random.default_rng(2).normal(size=(N, 7))
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def parts(order=None):
    """Blocks of unequal size, in an order of work of their own."""
    blocks = np.split(np.arange(N), [100, 101, 250])
    return [blocks[i] for i in (order or (2, 0, 3, 1))]


def merged(make, feed):
    """One metric a block, as on so many processes; then their states are added."""
    metrics = []
    for part in parts():
        metric = make()
        feed(metric, part)
        metrics.append(metric)
    for other in metrics[1:]:
        metrics[0].merge_state(other)
    return metrics[0]


def test_fid_of_merged_blocks_is_fid_of_the_whole_to_the_last_digit(features, reference):
    real = moments(reference)
    expected = frechet(moments(features), real)
    found = merged(lambda: FID(real, N), lambda metric, part: metric.update(features[part], part))
    assert float(found.compute()) == expected
    one = FID(real, N, torch.float16)
    for part in parts():
        one.update(torch.from_numpy(features[part]), part)
    assert float(one.compute()) == expected


def test_fid_does_not_cancel_far_from_zero(reference):
    """A spread of 1 at 1e6: sums of x x' would leave four digits of it."""
    far = np.random.default_rng(3).normal(size=(N, D)) + 1e6
    real = moments(reference + 1e6)
    metric = FID(real, N, torch.float64)
    for part in parts():
        metric.update(far[part], part)
    assert float(metric.compute()) == frechet(moments(far), real)


def test_inception_score_of_merged_blocks_is_that_of_the_whole_to_the_last_digit(probabilities):
    def feed(metric, part):
        metric.update(probabilities[part], part)

    found = merged(lambda: InceptionScore(N, 7, dtype=torch.float64), feed)
    assert float(found.compute()) == inception_score(probabilities, shuffled(N), 10)
    given = np.arange(N)[::-1]
    metric = InceptionScore(N, 7, 4, given, torch.float64)
    metric.update(probabilities, np.arange(N))
    assert float(metric.compute()) == inception_score(probabilities, given, 4)


def test_clip_score_of_merged_blocks_is_the_mean_of_the_scores(features):
    scores = np.abs(features[:, :1]).astype(np.float32)
    found = merged(lambda: CLIPScore(N), lambda metric, part: metric.update(scores[part], part))
    assert float(found.compute()) == scores.astype(np.float64).mean()


def test_inception_score_takes_probabilities_of_zero():
    metric = InceptionScore(100, 10, 2)
    metric.update(np.eye(10)[np.arange(100) % 10], np.arange(100))
    assert 9 < float(metric.compute()) <= 10


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_kid_and_its_kin_of_merged_blocks_are_those_of_the_whole_to_the_last_digit(features, reference, dtype):
    def feed(metric, part):
        metric.update(features[part], part)

    assert float(merged(lambda: KID(reference, N, dtype=dtype), feed).compute()) == kid(features, reference)
    found = merged(lambda: PRDC(reference, N, 3, dtype=dtype), feed).compute()
    assert {name: float(value) for name, value in found.items()} == prdc(features, reference, 3)._asdict()


def test_a_missing_or_repeated_image_is_named(features, reference, probabilities):
    for make in (lambda: FID(moments(reference), N), lambda: KID(reference, N), lambda: PRDC(reference, N)):
        metric = make()
        metric.update(features[:7], np.arange(7))
        with pytest.raises(ValueError, match="image 7 was seen 0 times; each of the 305 is needed once"):
            metric.compute()
        metric.update(features[3:], np.arange(3, N))
        with pytest.raises(ValueError, match="image 3 was seen 2 times"):
            metric.compute()
    score = InceptionScore(N, 7)
    score.update(probabilities[:300], np.arange(300))
    with pytest.raises(ValueError, match="image 300 was seen 0 times; each of the 305 is needed once"):
        score.compute()


def test_bad_features_name_the_image_by_its_number(features, reference):
    bad = features.copy()
    bad[[104, 110]] = np.nan
    metric = FID(moments(reference), N)
    metric.update(bad[:100], np.arange(100))
    with pytest.raises(ValueError, match=r"features of image 104 are NaN or infinite \(2 of 100 are\)"):
        metric.update(bad[100:200], np.arange(100, 200))
    with pytest.raises(ValueError, match="features of image 104 are NaN or infinite"):
        KID(reference, N).update(bad[::-1], np.arange(N)[::-1])


def test_what_does_not_fit_is_refused(features, reference):
    with pytest.raises(ValueError, match=r"features are \(305, 4\); \(B 12\) is expected"):
        FID(moments(reference), N).update(features[:, :4], np.arange(N))
    with pytest.raises(ValueError, match="2 images need as many numbers in 0 .. 304"):
        KID(reference, N).update(features[:2], [0, 305])
    with pytest.raises(ValueError, match="the order is no permutation of 0 .. 2"):
        InceptionScore(3, 7, 1, [0, 1, 1])
    one = FID(moments(reference), 1)
    one.update(features[:1], [0])
    with pytest.raises(ValueError, match="at least 2 images; 1 was given"):
        one.compute()


def test_a_collection_without_compute_groups_keeps_metrics_apart(features, reference):
    metrics = MetricCollection({"all": KID(reference, N), "some": KID(reference[:100], N)}, compute_groups=False)
    for part in parts():
        metrics.update(features[part], part)
    found = metrics.compute()
    assert float(found["all"]) == kid(features, reference)
    assert float(found["some"]) == kid(features, reference[:100])


def test_metrics_of_one_group_share_their_state(features, probabilities, reference):
    made = {"fid": FID(moments(reference), N), "kid": KID(reference, N), "is": InceptionScore(N, 7)}
    metrics = MetricCollection(made, compute_groups=[["fid", "kid"], ["is"]])
    for part in parts():
        metrics.update(features=features[part], probabilities=probabilities[part], images=part)
    found = metrics.compute()
    assert float(found["fid"]) == frechet(moments(features), moments(reference))
    assert float(found["kid"]) == kid(features, reference)
    assert made["fid"].rows.data_ptr() == made["kid"].rows.data_ptr() != made["is"].rows.data_ptr()


def test_states_survive_a_checkpoint_and_a_reset(features, reference):
    real = moments(reference)
    metric = FID(real, N)
    metric.update(features, np.arange(N))
    other = FID(real, N)
    other.merge_state({name: value.clone() for name, value in metric.metric_state.items()})
    assert np.array_equal(other.kept(), metric.kept()) and float(other.compute()) == float(metric.compute())
    metric.reset()
    metric.update(features[::-1], np.arange(N))
    assert float(metric.compute()) == frechet(moments(features[::-1]), real)


def worker(rank, path, features, reference, results):
    torch.distributed.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=2)
    part = np.arange(N)[rank::2]
    fid, kernel = FID(moments(reference), N), KID(reference, N)
    fid.update(features[part], part)
    kernel.update(features[part], part)
    results[rank] = torch.stack([fid.compute(), kernel.compute()])
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_give_what_one_gives(features, reference, tmp_path):
    results = torch.zeros(2, 2, dtype=torch.float64).share_memory_()
    torch.multiprocessing.spawn(worker, (str(tmp_path / "meet"), features, reference, results), nprocs=2)
    expected = [frechet(moments(features), moments(reference)), kid(features, reference)]
    np.testing.assert_allclose(results, [expected, expected], rtol=1e-9)
