"""Errors of ratings, and the test over folds, against hand computation and a simulation."""

import numpy as np
import pytest
import torch
from scipy import stats

from replication.compare import Cell, fold_test, rows
from replication.errors import ReplicationError
from replication.metrics.rating import mae, rmse, summary


def test_errors_by_hand():
    predicted, ratings = [1.0, 2.5, 4.0, 5.0], [1.0, 2.0, 5.0, 3.0]
    assert rmse(predicted, ratings) == pytest.approx(np.sqrt((0 + 0.25 + 1 + 4) / 4))
    assert mae(predicted, ratings) == pytest.approx((0 + 0.5 + 1 + 2) / 4)
    tensors = torch.tensor(predicted), torch.tensor(ratings)
    assert summary(*tensors) == {"RMSE": rmse(predicted, ratings), "MAE": mae(predicted, ratings)}


def test_a_million_small_errors_are_summed_in_double_precision():
    ratings = np.full(2_000_000, 3.0, dtype=np.float32)
    off = np.float32(0.1)
    expected = float(np.abs((ratings + off).astype(np.float64) - 3.0)[0])
    assert rmse(ratings + off, ratings) == pytest.approx(expected, rel=1e-12)


def test_shapes_that_would_broadcast_are_refused():
    with pytest.raises(ValueError, match="predictions for"):
        rmse(np.zeros((3, 1)), np.zeros(3))


def test_the_corrected_interval_by_hand():
    delta = np.array([0.1, 0.2, 0.4, 0.1, 0.2])
    found = fold_test(delta)
    # Nadeau and Bengio: (1/5 + 1/4) * s^2 in the place of s^2 / 5
    se = np.sqrt((1 / 5 + 1 / 4) * delta.var(ddof=1))
    half = stats.t.ppf(0.975, 4) * se
    assert (found.ci_low, found.ci_high) == pytest.approx((0.2 - half, 0.2 + half))
    assert found.pvalue == pytest.approx(2 * stats.t.sf(0.2 / se, 4))
    plain = stats.ttest_1samp(delta, 0.0).pvalue
    assert found.pvalue > plain


def test_folds_that_overlap_need_the_correction():
    """Two equal models in 5-fold cross-validation: the plain test cries wolf, this one does not.

    Nadeau and Bengio take two folds' results to correlate by n_test / n = 1/5; under exactly that
    the corrected test keeps its level.
    """
    rng, n = np.random.default_rng(1), 2_000
    shared, own = rng.normal(size=(n, 1)), rng.normal(size=(n, 5))
    deltas = np.sqrt(1 / 5) * shared + np.sqrt(4 / 5) * own
    corrected = np.mean([fold_test(delta).pvalue < 0.05 for delta in deltas])
    plain = np.mean(stats.ttest_1samp(deltas, 0.0, axis=1).pvalue < 0.05)
    sd = np.sqrt(0.05 * 0.95 / n)
    assert abs(corrected - 0.05) < 3 * sd
    assert plain > 0.05 + 10 * sd


@pytest.mark.parametrize("bad", [[0.1], [0.1, np.nan], [[0.1, 0.2]]])
def test_what_cannot_be_tested(bad):
    with pytest.raises(ReplicationError, match="two folds or more"):
        fold_test(bad)


def test_rows_over_folds_have_their_interval_and_say_folds():
    import pandas as pd

    values = [0.98, 0.99, 1.0]
    records = [
        {
            "key": str(fold), "table": "p/t", "row": "m", "dataset": "d", "protocol": "kfold-10",
            "select": "none", "variant": "", "config": {}, "data_hash": "x", "seed": fold,
            "metrics": {"RMSE": value},
        }
        for fold, value in enumerate(values)
    ]  # fmt: skip
    grid = [Cell("p/t", "m", "d", "kfold-10", "none", "", 10, repeats="folds")]
    published = pd.DataFrame(columns=["table", "row", "dataset", "metric", "value"])
    (row,) = rows(grid, records, {}, published, ["RMSE"])
    test = fold_test(values, n_splits=10)
    assert (row["ci_low"], row["ci_high"]) == (test.ci_low, test.ci_high)
    assert row["status"] == "partial: 3 of 10 folds"
    counted = [record | {"ratings": {"train": 81, "test": 10}} for record in records]
    (row,) = rows(grid, counted, {}, published, ["RMSE"])
    test = fold_test(values, n_splits=10, share=10 / 81)
    assert (row["ci_low"], row["ci_high"]) == (test.ci_low, test.ci_high)
