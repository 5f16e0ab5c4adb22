"""Evidence of folds: the corrected test over common folds, and the spread of seeds on one fold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from replication.claims import Comparison, Contrast, NoEvidence
from replication.compare import (
    PUBLISHED_COLUMNS,
    PairedTest,
    fold_test,
    n_splits,
    overlap_share,
)
from replication.errors import ReplicationError
from replication.fold_claims import FoldEvidence, one_fold_test

NOTHING = pd.DataFrame(columns=list(PUBLISHED_COLUMNS))
PLACE = ("cil", "kfold-10")


def runs(values: dict[int, float], **changes: Any) -> dict[int, dict]:
    return {n: {"metrics": {"RMSE": v}, "data_hash": "d"} | changes for n, v in values.items()}


def evidence(**rows: dict[int, float]) -> FoldEvidence:
    places = {(row, *PLACE): runs(values) for row, values in rows.items()}
    spread = {"a": {"RMSE": [1.0, 1.01, 0.99]}, "b": {"RMSE": [1.0, 1.01, 0.99]}}
    return FoldEvidence("p/t", places, NOTHING, ("t",), spread)


def test_three_of_ten_folds_are_corrected_for_ten() -> None:
    """The ratio of test to training ratings is that of the cut, however many folds were run."""
    delta = [0.01, 0.02, 0.04]
    assert n_splits("kfold-10") == n_splits("kfold-10-plain") == 10 and n_splits("loo") is None
    few, all_ = fold_test(delta, n_splits=10), fold_test(delta)
    half = stats.t.ppf(0.975, 2) * np.std(delta, ddof=1) * np.sqrt(1 / 3 + 1 / 9)
    assert few.ci_high - few.difference == pytest.approx(half)
    assert all_.ci_high - all_.ci_low > few.ci_high - few.ci_low
    with pytest.raises(ReplicationError, match="3 folds of a cross-validation that has 2"):
        fold_test(delta, n_splits=2)


def test_what_is_held_back_to_choose_the_epoch_is_not_trained_on() -> None:
    """Five folds, a tenth of the training ratings held back: 0.2/0.72, and not 1/4."""
    delta = [0.01, 0.02, 0.04, 0.0, 0.02]
    share = overlap_share([{"ratings": {"train": 72, "test": 20}}, {"seed": 3}])
    assert share == pytest.approx(0.2 / 0.72) and overlap_share([{"seed": 3}]) is None
    half = stats.t.ppf(0.975, 4) * np.std(delta, ddof=1) * np.sqrt(1 / 5 + 20 / 72)
    found = fold_test(delta, n_splits=5, share=share)
    assert found.ci_high - found.difference == pytest.approx(half)
    assert found.pvalue > fold_test(delta, n_splits=5).pvalue


def counted(train: int, values: dict[int, float]) -> dict[int, dict]:
    return runs(values, ratings={"train": train, "test": 20})


def test_of_two_rows_the_one_that_learns_from_fewer_ratings_decides() -> None:
    first, second = {0: 1.0, 1: 1.1, 2: 1.3}, {0: 0.9, 1: 0.95, 2: 1.2}
    places = {
        ("refit", *PLACE): counted(80, first),
        ("held back", *PLACE): counted(72, second),
        ("silent", *PLACE): runs(second),
    }
    proof = FoldEvidence("p/t", places, NOTHING, ("t",))
    delta = [first[fold] - second[fold] for fold in first]
    for other, share in (("held back", 20 / 72), ("silent", 20 / 80)):
        found = proof.test(Comparison("refit", other, *PLACE, "RMSE"))
        assert found.ci_high == pytest.approx(fold_test(delta, share=share).ci_high)
    gain = proof.test(Contrast(Comparison("refit", "held back", *PLACE, "RMSE")))
    expected = fold_test([1 - first[fold] / second[fold] for fold in first], share=20 / 72)
    assert gain.difference == expected.difference and gain.ci_low == expected.ci_low
    assert proof.estimate("refit", *PLACE, "RMSE").high == pytest.approx(
        fold_test(list(first.values()), share=20 / 80).ci_high
    )


def test_only_common_folds_are_compared() -> None:
    proof = evidence(a={0: 1.0, 1: 1.1, 2: 1.3, 3: 9.0}, b={0: 0.9, 1: 1.0, 2: 1.1, 5: 5.0})
    test = proof.test(Comparison("a", "b", *PLACE, "RMSE"))
    assert test.n_seeds == 3
    assert test.difference == pytest.approx((0.1 + 0.1 + 0.2) / 3)
    assert test.ci_high == pytest.approx(fold_test([0.1, 0.1, 0.2], n_splits=10).ci_high)


def test_two_common_folds_are_too_few_and_none_too() -> None:
    proof = evidence(a={0: 1.0, 1: 1.1}, b={0: 0.9, 1: 1.0}, c={5: 1.0})
    for other in ("b", "c"):
        with pytest.raises(NoEvidence, match="of at least 3 folds"):
            proof.test(Comparison("a", other, *PLACE, "RMSE"))
    with pytest.raises(NoEvidence, match="d has no records"):
        proof.test(Comparison("a", "d", *PLACE, "RMSE"))


def test_one_fold_by_hand() -> None:
    seeds = [1.0, 1.01, 0.99, 1.02, 0.98]
    test = one_fold_test(1.03, 1.00, seeds, seeds)
    error = np.std(seeds, ddof=1) * np.sqrt(2)
    assert test.difference == pytest.approx(0.03)
    assert test.ci_low == pytest.approx(0.03 - stats.t.ppf(0.975, 4) * error)
    assert test.pvalue == pytest.approx(2 * stats.t.sf(0.03 / error, 4))
    # Two models with a spread of their own have more degrees of freedom.
    other = [x + 0.001 * n for n, x in enumerate(seeds)]
    assert one_fold_test(1.03, 1.00, seeds, other).pvalue < test.pvalue
    with pytest.raises(NoEvidence, match="at least 3 seeds"):
        one_fold_test(1.03, 1.00, seeds[:2], seeds)


def test_two_seeds_of_one_model_differ_by_chance_only_as_often_as_they_may() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(4000):
        seeds, pair = rng.normal(1, 0.01, 5), rng.normal(1, 0.01, 2)
        found.append(one_fold_test(*pair, seeds, seeds).pvalue < 0.05)
    assert np.mean(found) == pytest.approx(0.05, abs=0.012)


def test_one_common_fold_needs_a_spread() -> None:
    proof = evidence(a={0: 1.2}, b={0: 1.0, 1: 1.0}, c={0: 1.0})
    test = proof.test(Comparison("a", "b", *PLACE, "RMSE"))
    assert test.n_seeds == 1 and test.ci_low > 0
    with pytest.raises(NoEvidence, match="1 of at least 3 folds"):
        proof.test(Comparison("a", "c", *PLACE, "RMSE"))


def test_one_fixed_test_set_is_said_to_be_one() -> None:
    question, test = Comparison("a", "b", *PLACE, "RMSE"), PairedTest(-1, -2, 0, 0.01, 0.01, 1, 7)
    places = {(row, *PLACE): runs({0: 1.0}) for row in "ab"}
    proof = FoldEvidence("p/t", places, NOTHING, ("t",), fixed={question: test})
    assert proof.test(question) == test
    assert proof.describe(question, test, 0.01, 1).endswith("one fixed test set, over its 7 users")
    with pytest.raises(NoEvidence, match="1 of at least 3 folds"):
        proof.test(question._replace(a="b", b="a"))


def test_p_values_are_corrected_over_the_comparisons_that_are_named() -> None:
    numbers = {
        name: {fold: level + 0.01 * ((fold * step) % 5) for fold in range(5)}
        for name, level, step in (("a", 1.0, 1), ("b", 1.02, 2), ("c", 1.03, 3))
    }
    proof = evidence(**numbers)
    one, two = (Comparison("a", other, *PLACE, "RMSE") for other in "bc")
    plain = {q: proof.test(q).pvalue for q in (one, two)}
    assert proof.adjusted((one, two))[two] == pytest.approx(2 * plain[two])
    alone = proof.corrected_over([two])
    assert alone.asked([]) == (two,) and alone.adjusted(alone.asked([])) == {two: plain[two]}
    assert proof.adjusted((one, two))[two] == pytest.approx(2 * plain[two])
