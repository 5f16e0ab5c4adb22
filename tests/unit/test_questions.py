"""Questions about single users: what is planted is found, the rest is not, and gaps are named."""

from dataclasses import replace

import numpy as np

from replication import questions
from replication.compare import Cell
from replication.questions import Question
from replication.tables import COMPLETE

UP, NONE = Question("a", "b", "a minus b"), Question("c", "b", "c minus b")
CELL = Cell("x/y", "model", "data", "p", "none", seeds_required=3)


def planted(users=300, seeds=3):
    """Records of some seeds; ``a`` lies a tenth above ``b``, ``c`` nowhere, user 0 has no value."""
    rng = np.random.default_rng(0)
    ranks, runs = {}, {}
    for seed in range(seeds):
        b = rng.random(users)
        values = {"a": b + 0.1 + 0.05 * rng.normal(size=users), "b": b}
        values["c"] = b + 0.05 * rng.normal(size=users)
        for name in values:
            values[name][0] = np.nan
        means = {name: float(np.nanmean(v)) for name, v in values.items()}
        runs[seed] = {"key": f"k{seed}", "metrics": means}
        ranks[f"k{seed}"] = values
    return [(CELL, runs)], ranks


def test_a_planted_difference_is_established_and_the_other_is_not():
    found, ranks = planted()
    up, none = questions.answers(found, ranks, (UP, NONE))
    assert (up.direction, none.direction) == (1, 0)
    assert up.test.n_users == 299 and abs(up.test.difference - 0.1) < 0.01
    some = [up, none]
    assert questions.tally(some, UP) == (1, 0, 1) and questions.count(some, NONE) == "0 of 1"
    frame = questions.table(some, "pending")
    assert frame.loc[("data", "model"), "a minus b"].endswith("] *")
    assert not frame.loc[("data", "model"), "c minus b"].endswith("*")
    assert list(questions.table(some, "pending", only=["c"]).columns) == ["c minus b"]
    turned = questions.answers(found, ranks, (Question("b", "a", "b minus a"),))
    assert questions.count(turned, turned[0].question) == "0 of 1 (and the reverse in 1)"


def test_what_is_missing_is_named():
    found, ranks = planted(seeds=2)
    assert questions.gaps(found) == "Pending: model on `data` (2 of 3 seeds)."
    assert questions.means(found, {"a": "A"}, "pending").loc[("data", "model"), "seeds"] == "2 of 3"
    assert questions.answers(found, {"k0": ranks["k0"]}, (UP,)) == []
    assert questions.gaps([(CELL, {n: {} for n in range(3)})]) == COMPLETE
    assert questions.table([], "pending").iloc[0].name == "pending"
    assert questions.means([(CELL, {})], {"a": "A"}, "pending").index[0] == "pending"
    assert questions.dots([(CELL, {})], {}, {"a": "A"}, "x") is None
    assert questions.dots(found, ranks, {"a": "A"}, "x").axes[0].get_xlabel() == "x"


def test_folds_are_called_folds_and_what_cannot_be_had_is_not_missing():
    found, _ = planted(seeds=2)
    folds = replace(CELL, repeats="folds")
    assert questions.gaps([(folds, found[0][1])]) == "Pending: model on `data` (2 of 3 folds)."
    frame = questions.means([(folds, found[0][1])], {"a": "A"}, "pending")
    assert list(frame.columns) == ["A", "folds"]
    assert questions.gaps([(replace(CELL, unavailable="never published"), {})]) == COMPLETE
