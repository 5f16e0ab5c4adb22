"""Means, intervals, tests and rows, against values worked out by hand."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from replication import compare
from replication.compare import (
    KEYS,
    Cell,
    bootstrap_interval,
    bootstrap_means,
    cells,
    fixed_test,
    hit_and_ndcg,
    holm,
    page_table,
    paired_test,
    per_user_values,
    render,
    rows,
    user_standard_error,
)
from replication.errors import ReplicationError

# ---------------------------------------------------------------------------------------------
# Per-user values
# ---------------------------------------------------------------------------------------------


def test_hit_and_ndcg_by_hand() -> None:
    ranks = np.array([[0, 1, 2, 9, 10, 65535], [3, 0, 10, 8, 65534, 65535]], dtype=np.uint16)
    hit, gain = hit_and_ndcg(ranks, 10)
    none = math.nan
    np.testing.assert_array_equal(hit, [[1, 1, 1, 1, 0, none], [1, 1, 0, 1, 0, none]])
    expected = [
        [1.0, 1 / math.log2(3), 0.5, 1 / math.log2(11), 0.0, none],
        [1 / math.log2(5), 1.0, 0.0, 1 / math.log2(10), 0.0, none],
    ]
    np.testing.assert_allclose(gain, expected, rtol=1e-12)
    np.testing.assert_array_equal(hit_and_ndcg(ranks, 1)[0][0], [1, 0, 0, 0, 0, none])


def test_per_user_values_leave_out_users_without_an_item() -> None:
    first = np.array([0, 65535, 20, 2], dtype=np.uint16)
    second = np.array([11, 65535, 9, 2], dtype=np.uint16)
    np.testing.assert_array_equal(
        per_user_values([first, second], "HR@10/full"), [[1, 0, 1], [0, 1, 1]]
    )
    np.testing.assert_allclose(per_user_values([first], "NDCG@3"), [[1.0, 0.0, 0.5]])


def test_per_user_values_refuse_what_does_not_fit() -> None:
    a = np.array([0, 1, 65535], dtype=np.uint16)
    with pytest.raises(ReplicationError, match="expected a metric such as HR@10"):
        per_user_values([a], "MRR")
    with pytest.raises(ReplicationError, match="the same users; found 2 and 3"):
        per_user_values([a, a[:2]], "HR@10")
    with pytest.raises(ReplicationError, match="hold out an item for the same users"):
        per_user_values([a, np.array([0, 65535, 1], dtype=np.uint16)], "HR@10")
    with pytest.raises(ReplicationError, match="k must be at least 1"):
        hit_and_ndcg(a, 0)


# ---------------------------------------------------------------------------------------------
# Intervals
# ---------------------------------------------------------------------------------------------


def test_constant_values_have_an_interval_without_width() -> None:
    assert bootstrap_interval(np.ones((5, 40))) == (1.0, 1.0)
    low, high = bootstrap_interval(np.full((3, 17), 0.3))
    assert low == pytest.approx(0.3, abs=1e-12) and high == pytest.approx(0.3, abs=1e-12)


def test_the_bootstrap_counts_users() -> None:
    """Seeds agree: the width is that of a mean over users."""
    hits = np.tile(np.r_[np.ones(146), np.zeros(54)], (5, 1))  # 200 users, HR 0.73
    low, high = bootstrap_interval(hits)
    error = math.sqrt(0.73 * 0.27 / 200)
    assert low == pytest.approx(0.73 - 1.96 * error, abs=0.008)
    assert high == pytest.approx(0.73 + 1.96 * error, abs=0.008)


def test_the_bootstrap_counts_seeds() -> None:
    """Users agree, seeds do not: with two seeds a draw is (low, low), mixed or (high, high)."""
    values = np.repeat([[0.2], [0.6]], 30, axis=1)
    assert bootstrap_interval(values) == (pytest.approx(0.2), pytest.approx(0.6))
    means = bootstrap_means(values, draws=4000)
    share = [np.isclose(means, v).mean() for v in (0.2, 0.4, 0.6)]
    assert share == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


def test_the_weights_are_multinomial_and_do_not_depend_on_the_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weights = compare._user_weights(50, 300, 0)
    assert weights.shape == (300, 50)
    assert (weights.sum(axis=1) == 50).all()
    assert weights.mean() == 1.0
    assert weights.var() == pytest.approx(1 - 1 / 50, abs=0.05)
    assert [b.stop for b in compare._blocks(5, 1_000_000)] == [2, 4, 5]
    values = np.random.default_rng(1).random((3, 50))
    whole = bootstrap_means(values, draws=300)
    monkeypatch.setattr(compare, "_BLOCK", 50 * 7)  # seven draws a block, the last one smaller
    np.testing.assert_allclose(bootstrap_means(values, draws=300), whole, rtol=1e-12)


def test_the_bootstrap_repeats_itself_and_takes_several_metrics_at_once() -> None:
    values = np.random.default_rng(0).random((2, 3, 40))
    together = bootstrap_means(values, draws=50)
    assert together.shape == (50, 2)
    np.testing.assert_allclose(together[:, 1], bootstrap_means(values[1], draws=50))
    assert bootstrap_interval(values[0]) == bootstrap_interval(values[0])
    assert bootstrap_interval(values[0], seed=1) != bootstrap_interval(values[0])
    narrow, wide = bootstrap_interval(values[0], level=0.5), bootstrap_interval(values[0])
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_bad_values_are_refused() -> None:
    with pytest.raises(ReplicationError, match="finite values"):
        bootstrap_interval([[0.0, math.nan]])
    with pytest.raises(ReplicationError, match="at least one seed and one user"):
        bootstrap_interval(np.empty((0, 3)))
    with pytest.raises(ReplicationError, match=r"expected values of shape \[seeds, users\]"):
        bootstrap_interval([0.0, 1.0])
    with pytest.raises(ReplicationError, match="between 0 and 1, found 95"):
        bootstrap_interval([[0.0, 1.0]], level=95)


def test_user_standard_error_by_hand() -> None:
    # Averages of the users: 1, 0.5, 0.5, 0; variance (0.25 + 0 + 0 + 0.25) / 3 = 1 / 6.
    values = np.array([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0]])
    assert user_standard_error(values) == pytest.approx(math.sqrt(1 / 6 / 4))
    # The study's own figure: HR 0.73 at 610 users.
    hits = np.r_[np.ones(445), np.zeros(165)][None]
    assert user_standard_error(hits) == pytest.approx(0.018, abs=0.0005)
    with pytest.raises(ReplicationError, match="at least two users"):
        user_standard_error([[1.0]])


# ---------------------------------------------------------------------------------------------
# Tests
# ---------------------------------------------------------------------------------------------


def test_one_seed_is_a_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 1, 60))
    result = paired_test(a, b)
    assert result.difference == pytest.approx(float((a - b).mean()))
    expected = stats.ttest_rel(a[0], b[0]).pvalue
    assert result.pvalue == pytest.approx(expected)
    assert result.pvalue_crossed == pytest.approx(expected)
    assert (result.n_seeds, result.n_users) == (1, 60)


def test_min_f_by_hand() -> None:
    # Seeds by users, minus zeros: user means 2, 3, 4, 7 (mean 4, variance 14/3, / 4 = 7/6);
    # seed means 3 and 5 (variance 2, / 2 = 1). t = 4 / sqrt(13/6);
    # degrees of freedom (13/6)^2 / ((7/6)^2 / 3 + 1 / 1) = 169 / 36 / (49 / 108 + 1).
    a = np.array([[1.0, 2.0, 3.0, 6.0], [3.0, 4.0, 5.0, 8.0]])
    result = paired_test(a, np.zeros((2, 4)))
    free = (169 / 36) / (49 / 108 + 1)
    assert result.pvalue_crossed == pytest.approx(2 * stats.t.sf(4 / math.sqrt(13 / 6), free))
    assert result.pvalue == pytest.approx(2 * stats.t.sf(4 / math.sqrt(7 / 6), 3))


def test_a_planted_difference_is_found_and_none_is_not() -> None:
    rng = np.random.default_rng(3)
    taste = rng.random(600)  # how easy a user is, for every model and seed
    base = (rng.random((5, 600)) < 0.2 + 0.6 * taste).astype(float)
    same = (rng.random((5, 600)) < 0.2 + 0.6 * taste).astype(float)
    better = (rng.random((5, 600)) < 0.3 + 0.6 * taste).astype(float)
    found = paired_test(better, base)
    assert found.difference == pytest.approx(0.1, abs=0.03)
    assert found.pvalue < 1e-6 and found.pvalue_crossed < 0.01 and found.ci_low > 0.03
    none = paired_test(same, base)
    assert none.pvalue > 0.05 and none.pvalue_crossed > 0.05
    assert none.ci_low < 0 < none.ci_high


def test_one_lucky_set_of_seeds_is_no_difference() -> None:
    """A shift of whole seeds: clear to a test over users alone, not to one over users and seeds."""
    rng = np.random.default_rng(0)
    shift = np.array([0.2, -0.1, 0.15, -0.05, 0.1])[:, None]
    delta = shift + 0.1 * rng.standard_normal((5, 1000))
    result = paired_test(delta, np.zeros_like(delta))
    assert result.pvalue < 1e-6
    assert result.pvalue_crossed > 0.2
    assert result.ci_low < 0 < result.ci_high


@pytest.mark.parametrize("spread", [0.0, 0.1])
def test_false_alarms_keep_to_their_level(spread: float) -> None:
    """No difference, with and without a common shift of all users of a seed."""
    rng = np.random.default_rng(7)
    alarms = {"users": 0, "crossed": 0, "users and interval": 0}
    for _ in range(300):
        users, seeds = rng.standard_normal((1, 150)), spread * rng.standard_normal((5, 1))
        delta = 0.3 * users + seeds + rng.standard_normal((5, 150))
        result = paired_test(delta, np.zeros_like(delta), draws=400)
        outside = result.ci_low > 0 or result.ci_high < 0
        alarms["users"] += result.pvalue < 0.05
        alarms["crossed"] += result.pvalue_crossed < 0.05
        alarms["users and interval"] += outside and result.pvalue < 0.05
    # 15 expected at 5 %; more than 27 come with a probability of 0.1 %.
    assert alarms["crossed"] <= 27
    assert alarms["users and interval"] <= 27
    if spread == 0.0:
        assert 4 <= alarms["users"] <= 27
    else:
        assert alarms["users"] > 27  # what the interval is there for


def test_without_variance() -> None:
    ones, zeros = np.ones((3, 5)), np.zeros((3, 5))
    equal = paired_test(ones, ones)
    assert (equal.difference, equal.pvalue, equal.pvalue_crossed) == (0.0, 1.0, 1.0)
    assert (equal.ci_low, equal.ci_high) == (0.0, 0.0)
    apart = paired_test(ones, zeros)
    assert (apart.difference, apart.pvalue, apart.ci_low, apart.ci_high) == (1.0, 0.0, 1.0, 1.0)


def test_a_model_without_a_seed_meets_every_seed() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((5, 30)), rng.random((1, 30))
    assert paired_test(a, b) == paired_test(a, np.repeat(b, 5, axis=0))
    with pytest.raises(ReplicationError, match="the same seeds on both sides, found 5 and 3"):
        paired_test(a, rng.random((3, 30)))
    with pytest.raises(ReplicationError, match="of the same users"):
        paired_test(a, rng.random((5, 29)))
    with pytest.raises(ReplicationError, match="at least two users, found 1"):
        paired_test(a[:, :1], b[:, :1])


def test_holm_by_hand() -> None:
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1: 0.02, 0.03, 0.06, 0.04 -> 0.06.
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.6, 0.5]), [1.0, 1.0])
    np.testing.assert_allclose(holm([0.2]), [0.2])
    assert holm([]).size == 0
    for bad in ([0.1, math.nan], [1.2], [[0.1]]):
        with pytest.raises(ReplicationError, match="p-values between 0 and 1"):
            holm(bad)


# ---------------------------------------------------------------------------------------------
# Records -> rows
# ---------------------------------------------------------------------------------------------

HITS = {0: [0, 3, 50, 60], 1: [0, 1, 2, 60]}  # HR@10 0.5 and 0.75


def published(**values: float) -> pd.DataFrame:
    lines = [
        {"table": "table2", "row": row, "dataset": "ml-1m", "metric": "HR@10", "value": value}
        for row, value in values.items()
    ]
    return pd.DataFrame(lines, columns=["table", "row", "dataset", "metric", "value"])


def run(seed: int, hr: float | None = None, **changes: Any) -> dict[str, Any]:
    record = {
        "key": f"{changes.get('row', 'A')}-{changes.get('protocol', 'p')}-{seed}",
        "table": "amp_cf/table2",
        "row": "A",
        "dataset": "ml-1m",
        "protocol": "p",
        "variant": "",
        "select": "validation",
        "seed": seed,
        "config": {"seed": seed, "alpha": 0.5},
        "data_hash": "d",
        "metrics": {"HR@10": np.mean(np.array(HITS[seed]) < 10) if hr is None else hr},
        "time": "2026-01-01T00:00:00Z",
    }
    return record | changes


def ranks_for(*records: dict[str, Any]) -> dict[str, Any]:
    array = {seed: np.array(ranks, dtype=np.uint16) for seed, ranks in HITS.items()}
    return {r["key"]: (array[r["seed"]], None) for r in records}


def cell(**changes: Any) -> Cell:
    fields = {
        "table": "amp_cf/table2",
        "row": "A",
        "dataset": "ml-1m",
        "protocol": "p",
        "select": "validation",
        "seeds_required": 2,
    }
    return Cell(**(fields | changes))


def test_a_complete_row_by_hand() -> None:
    records = [run(0), run(1)]
    (row,) = rows([cell()], records, ranks_for(*records), published(A=0.7), ["HR@10"])
    assert tuple(row) == KEYS
    values = np.array([[1.0, 1, 0, 0], [1, 1, 1, 0]])
    low, high = bootstrap_interval(values)
    assert row == {
        "table": "amp_cf/table2",
        "row": "A",
        "dataset": "ml-1m",
        "metric": "HR@10",
        "protocol": "p",
        "select": "validation",
        "published": 0.7,
        "mean": 0.625,
        "sd": pytest.approx(0.125 * math.sqrt(2)),  # ddof 1
        "n": 2,
        "ci_low": low,
        "ci_high": high,
        "status": "complete",
    }


def test_a_metric_that_no_run_of_a_complete_cell_has_is_not_pending() -> None:
    """A model that scores slowly ranks the sampled candidates alone where it is not refitted."""
    both = [run(0), run(1)]
    for found in both:
        found["metrics"].pop("HR@10/full", None)
    want = {
        "HR@10": "complete",
        "HR@10/full": "unavailable: the runs of this cell do not measure it",
    }
    found = rows([cell(seeds_required=2)], both, ranks_for(*both), published(), list(want))
    assert {row["metric"]: row["status"] for row in found} == want
    found = rows([cell(seeds_required=3)], both, ranks_for(*both), published(), list(want))
    assert found[1]["status"].startswith("pending: ")


@pytest.mark.parametrize(
    ("records", "changes", "status", "n"),
    [
        ([], {}, "pending: no run of this cell is recorded yet", 0),
        ([], {"pending": "the next run"}, "pending: the next run", 0),
        ([], {"unavailable": "needs a licence"}, "unavailable: needs a licence", 0),
        ([run(0)], {"seeds_required": 5}, "partial: 1 of 5 seeds", 1),
        ([run(0), run(1)], {"seeds_required": 5}, "partial: 2 of 5 seeds", 2),
        ([run(0), run(1)], {"seeds_required": 1}, "complete", 1),  # seed 1 is not asked for
        ([run(1)], {"unavailable": "needs a licence"}, "partial: 1 of 2 seeds", 1),
    ],
)
def test_status_and_gaps(
    records: list[dict[str, Any]], changes: dict[str, Any], status: str, n: int
) -> None:
    table = rows([cell(**changes)], records, ranks_for(*records), published(), ["HR@10"])
    (row,) = table
    assert (row["status"], row["n"]) == (status, n)
    assert (row["mean"] is None) == (n == 0)
    assert n > 1 or row["sd"] is None
    # One run is all there can be of a model that draws nothing: then users alone count.
    alone = n == 1 and changes.get("seeds_required") == 1
    assert (row["ci_low"] is None) == (row["ci_high"] is None) == (n < 2 and not alone)
    assert "NaN" not in render(table, "json")


def test_published_stands_beside_every_protocol_but_not_beside_the_full_catalogue() -> None:
    grid = [cell(protocol=p) for p in ("p", "q")] + [cell(row="MostPop", select="none")]
    grid.append(cell(dataset="ml-100k"))
    table = rows(grid, [], {}, published(A=0.7), ["HR@10", "HR@10/full"])
    assert [row["published"] for row in table] == [0.7, None, 0.7, None, None, None, None, None]


def test_the_newest_record_of_a_seed_counts() -> None:
    old, new = run(0, 0.1, key="old"), run(0, 0.5, key="new", time="2026-02-01T00:00:00Z")
    for order in ([old, new], [new, old]):
        (row,) = rows([cell()], [*order, run(1)], {}, published(), ["HR@10"])
        assert (row["mean"], row["n"]) == (0.625, 2)


def test_settings_are_never_mixed() -> None:
    """After one new run with another learning rate the old seeds no longer belong to the mean."""
    new = run(0, 0.9, config={"seed": 0, "alpha": 0.9}, time="2026-02-01T00:00:00Z")
    (row,) = rows([cell()], [run(0), run(1), new], {}, published(), ["HR@10"])
    assert (row["mean"], row["status"]) == (0.9, "partial: 1 of 2 seeds")
    moved = run(1, 0.9, data_hash="other", time="2026-02-01T00:00:00Z")
    (row,) = rows([cell()], [run(0), moved], {}, published(), ["HR@10"])
    assert row["n"] == 1


def test_other_cells_do_not_count() -> None:
    others = [
        run(0, 0.9, **change)
        for change in (
            {"table": "amp_cf/tuning"},
            {"row": "B"},
            {"dataset": "ml-100k"},
            {"protocol": "q"},
            {"select": "test"},
            {"variant": "printed-loss"},
        )
    ]
    (row,) = rows([cell()], [*others, run(1)], {}, published(), ["HR@10"])
    assert (row["mean"], row["n"]) == (0.75, 1)
    grid = [cell(), cell(variant="printed-loss")]
    assert len(rows(grid, others, {}, published(), ["HR@10"])) == 1
    (row,) = rows(grid, others, {}, published(), ["HR@10"], variant="printed-loss")
    assert (row["mean"], row["n"]) == (0.9, 1)
    ((_, runs),) = cells([cell()], [*others, run(1)])
    assert list(runs) == [1]


def test_no_nan_reaches_a_row() -> None:
    records = [run(0, math.nan), run(1)]
    table = rows([cell()], records, {}, published(), ["HR@10", "NDCG@10"])
    assert [row["status"] for row in table] == [
        "partial: 1 of 2 seeds",
        "unavailable: the runs of this cell do not measure it",
    ]
    json.loads(render(table, "json"), parse_constant=lambda name: pytest.fail(name))


def test_without_ranks_there_is_no_interval() -> None:
    records = [run(0), run(1)]
    (row,) = rows([cell()], records, ranks_for(records[0]), published(), ["HR@10"])
    assert row["sd"] is not None and row["ci_low"] is None


def test_ranks_that_contradict_the_record_are_an_error() -> None:
    records = [run(0), run(1, 0.8)]
    message = r"record A-p-1 \(A, ml-1m, seed 1\) has HR@10 = 0.8000, but its stored ranks give 0.7"
    with pytest.raises(ReplicationError, match=message):
        rows([cell()], records, ranks_for(*records), published(), ["HR@10"])


# ---------------------------------------------------------------------------------------------
# Rows -> text
# ---------------------------------------------------------------------------------------------


@pytest.fixture()
def table() -> list[dict[str, Any]]:
    records = [run(0), run(1), run(0, row="MostPop", select="none")]
    grid = [
        cell(),
        cell(row="MostPop", select="none", seeds_required=1),
        cell(row="X|Y", unavailable="needs a licence <by application>"),
    ]
    return rows(grid, records, ranks_for(*records), published(A=0.7), ["HR@10"])


def test_json_and_csv_hold_the_same(table: list[dict[str, Any]]) -> None:
    assert json.loads(render(table, "json")) == table
    assert all(tuple(row) == KEYS for row in json.loads(render(table, "json")))
    frame = pd.read_csv(io.StringIO(render(table, "csv")))
    assert tuple(frame.columns) == KEYS
    assert frame["mean"].tolist()[:2] == [0.625, 0.5]
    assert frame["mean"].isna().tolist() == [False, False, True]
    assert render([], "json") == "[]\n"
    with pytest.raises(ValueError, match="not JSON compliant"):
        render([table[0] | {"mean": math.nan}], "json")


def test_markdown_is_for_people(table: list[dict[str, Any]]) -> None:
    text = render(table, "md")
    head, rule, first, popular, gap = [line for line in text.splitlines() if line.startswith("|")]
    low, high = table[0]["ci_low"], table[0]["ci_high"]
    assert "### amp_cf/table2: ml-1m, protocol p" in text
    assert set(rule) == set("|-: ") and all("--" in part for part in rule.split("|")[1:-1])
    for word in ("published", "measured", "95 % interval", "difference"):
        assert word in head
    assert "| 0.6250 | 0.1768 |" in " ".join(first.split())
    assert f"[{low:.4f}, {high:.4f}]" in first
    assert f"-0.0750 [{low - 0.7:+.4f}, {high - 0.7:+.4f}]" in first
    assert "0.5000" in popular and "none" in popular
    assert "X\\|Y" in gap and "unavailable: needs a licence" in gap and "–" in gap
    assert len({len(line) for line in (head, rule, first, popular)}) == 1  # columns line up
    assert "no cells" in render([], "md")


def test_html_is_escaped(table: list[dict[str, Any]]) -> None:
    text = render(table, "html")
    assert "&lt;by application&gt;" in text and "<by" not in text
    assert text.count("<tr>") == 4
    assert "no cells" in render([], "html")


def test_an_unknown_format_is_an_error(table: list[dict[str, Any]]) -> None:
    with pytest.raises(ReplicationError, match="choose one of md, json, csv, html"):
        render(table, "xml")


def test_numbers_have_four_digits_and_no_negative_zero() -> None:
    assert compare.number(-0.00001, signed=True) == "+0.0000"
    assert compare.number(-0.00001) == "0.0000"
    assert compare.number(0.777) == "0.7770"
    assert compare.number(None) == "–"
    assert compare.interval(-0.1, 0.2, signed=True) == "[-0.1000, +0.2000]"
    assert compare.interval(None, 0.2) == "–"


def test_page_table(table: list[dict[str, Any]]) -> None:
    page = page_table(table, "ml-1m", "p")
    assert list(page.columns) == ["HR@10", "status"]
    assert list(page.index) == [
        ("A", "measured"),
        ("A", "published"),
        ("A", "difference"),
        ("MostPop", "measured"),
        ("X|Y", "measured"),
    ]
    low, high = table[0]["ci_low"], table[0]["ci_high"]
    assert page["HR@10"].tolist() == [
        f"0.6250 ± 0.1768 [{low:.4f}, {high:.4f}]",
        "0.7000",
        f"-0.0750 [{low - 0.7:+.4f}, {high - 0.7:+.4f}]",
        "0.5000 [{ci_low:.4f}, {ci_high:.4f}]".format(**table[1]),
        "–",
    ]
    assert page["status"].tolist() == [
        "2 seeds",
        "",
        "",
        "1 run",
        "No number can be had: needs a licence <by application>.",
    ]


def test_page_table_says_what_is_missing() -> None:
    grid = [cell(seeds_required=5), cell(row="B"), cell(row="C", pending="runs next.")]
    table = rows(grid, [run(0), run(1)], {}, published(B=0.5), ["HR@10"])
    page = page_table(table, "ml-1m", "p")
    assert page["status"].tolist() == [
        "2 of 5 seeds so far",
        "No number yet: no run of this cell is recorded yet.",
        "",
        "No number yet: runs next.",
    ]
    assert page["HR@10"].tolist() == ["0.6250 ± 0.1768", "–", "0.5000", "–"]


def test_page_table_wants_one_cell_a_model(table: list[dict[str, Any]]) -> None:
    both = [*table, table[0] | {"select": "test", "mean": 0.9}]
    with pytest.raises(ReplicationError, match="say how the epoch is selected"):
        page_table(both, "ml-1m", "p")
    page = page_table(both, "ml-1m", "p", select="test")
    assert page.loc[("A", "measured"), "HR@10"].startswith("0.9000")
    assert ("MostPop", "measured") in page.index  # nothing to select there
    with pytest.raises(ReplicationError, match="no cell for ml-1m under q"):
        page_table(table, "ml-1m", "q")


# --- one fixed test set ----------------------------------------------------------------------


def one_test_set(rng: np.random.Generator, gap: float = 0.0) -> tuple[np.ndarray, ...]:
    """Errors of two models on the ratings of 80 users; a user's ratings err alike."""
    users = np.repeat(np.arange(80), rng.integers(1, 20, 80))
    own = rng.normal(0, 0.3, 80)[users]
    common = rng.normal(0, 1, len(users))
    first = common + own + rng.normal(0, 0.2, len(users))
    second = common + (1 + gap) * rng.normal(0, 0.3, 80)[users] + rng.normal(0, 0.2, len(users))
    return first, second, users


@pytest.mark.parametrize("squared", [True, False])
def test_the_interval_of_a_fixed_test_set_is_that_of_resampled_users(squared: bool) -> None:
    rng = np.random.default_rng(1)
    first, second, users = one_test_set(rng)
    found = fixed_test(first, second, users, squared)

    def error(values: np.ndarray) -> float:
        return float(np.sqrt((values**2).mean()) if squared else np.abs(values).mean())

    assert found.difference == pytest.approx(error(first) - error(second))
    owned = [np.flatnonzero(users == user) for user in range(80)]
    draws = []
    for _ in range(1000):
        rows = np.concatenate([owned[user] for user in rng.integers(0, 80, 80)])
        draws.append(error(first[rows]) - error(second[rows]))
    half = (found.ci_high - found.ci_low) / 2
    assert half == pytest.approx(1.99 * np.std(draws), rel=0.1)
    alone = fixed_test(first, second, np.arange(len(users)), squared)
    assert alone.ci_high - alone.ci_low < 1.8 * half  # a user's ratings are no sample of their own
    assert (found.n_users, found.n_seeds) == (80, 1)
    assert (found.pvalue < 0.05) == (found.ci_low > 0 or found.ci_high < 0)


def test_two_alike_models_differ_as_rarely_as_they_may() -> None:
    rng = np.random.default_rng(0)
    found = [fixed_test(*one_test_set(rng), squared=True).pvalue < 0.05 for _ in range(1000)]
    assert np.mean(found) == pytest.approx(0.05, abs=0.025)
    far = fixed_test(*one_test_set(rng, gap=2.0), squared=True)
    assert far.ci_high < 0 and far.pvalue < 1e-3


def test_a_fixed_test_set_needs_the_same_ratings_of_some_users() -> None:
    for broken in (([1.0], [1.0, 2.0], [0, 1]), ([1.0, 2.0], [1.0, 2.0], [3, 3]),
                   ([1.0, np.nan], [1.0, 2.0], [0, 1])):  # fmt: skip
        with pytest.raises(ReplicationError, match="finite errors of two models"):
            fixed_test(*broken, squared=True)
    same = fixed_test([1.0, 2.0], [1.0, 2.0], [0, 1], squared=True)
    assert (same.difference, same.pvalue) == (0.0, 1.0)


def test_the_least_and_the_most_are_one_number_where_they_look_alike() -> None:
    assert compare.least_to_most([0.2, -0.1, 0.1]) == "-0.1000 to +0.2000"
    assert compare.least_to_most(x for x in (0.00011, 0.00012)) == "+0.0001"
    assert compare.least_to_most([0.5], signed=False) == "0.5000"
