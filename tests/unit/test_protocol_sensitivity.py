"""Protocol sensitivity: orders that agree, orders that do not, and what the protocol moves."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau

from replication.metrics.ranking import NO_RANK
from replication.page import Study
from replication.papers.amp_cf import experiments
from replication.papers.amp_cf.pages import protocols as page

USERS = 400
LEVEL = {"AMP-2": 0.50, "AMP-3": 0.55, "AMP-4": 0.60, "AMP-8": 0.65, "MF (r=1)": 0.70}
REVERSED = dict(zip(LEVEL, reversed(LEVEL.values()), strict=True))
PRINTED = pd.DataFrame(
    [("table2", "AMP-2", "ml-latest-small", "HR@10", 0.74),
     ("table2", "AMP-4", "ml-latest-small", "HR@10", 0.72),
     ("table2", "NCF", "ml-latest-small", "HR@10", 0.70)],
    columns=["table", "row", "dataset", "metric", "value"],
)  # fmt: skip


def study(*cells: tuple[dict[str, float], dict[str, str]], noise: float = 0.0) -> Study:
    """Runs whose share of users with a hit is given, by cell: {model: share}, changes."""
    records, ranks = [], {}
    rng = np.random.default_rng(0)
    chance = (
        rng.permutation(USERS) + 0.5
    ) / USERS  # the users that are hit first are the same everywhere
    for shares, changes in cells:
        for row, share in shares.items():
            unseeded = row in ("MostPop", "EASE^R")
            for seed in range(1 if unseeded else 3):
                record = {
                    "table": experiments.TABLE2,
                    "row": row,
                    "dataset": "ml-latest-small",
                    "protocol": "loo-random",
                    "variant": "",
                    "select": "none" if unseeded else "validation",
                    "data_hash": "0",
                    "config": {},
                    "seed": seed,
                    "key": f"{len(records)}",
                } | changes
                draw = chance if not noise else rng.random(USERS)
                rank = np.where(draw < share, 0, 50).astype(np.uint16)
                hits = float((rank < 10).mean())
                record["metrics"] = {"HR@10": hits, "NDCG@10": hits}
                if "metrics" in changes:
                    record["metrics"] |= changes["metrics"]
                records.append(record)
                ranks[record["key"]] = (np.append(rank, NO_RANK).astype(np.uint16), None)
    return Study(experiments.TABLE2, "stored", "validation", records, ranks, PRINTED,
                 experiments.grid())  # fmt: skip


LAST = {"protocol": "loo-last"}


def ways(of: Study) -> page.Ways:
    return page.datasets(of)["ml-latest-small"]


def test_tau_is_that_of_scipy_also_with_ties() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 6, (2, 50, 9)).astype(float)
    expected = [kendalltau(a, b).statistic for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(page.tau_b(first, second), expected)
    assert np.isnan(page.tau_b(np.zeros((1, 4)), first[:1, :4])[0])


def test_the_same_order_agrees_and_a_reversed_one_does_not() -> None:
    """Fails if models of two protocols are matched by place and not by name."""
    lower = {model: share - 0.2 for model, share in reversed(LEVEL.items())}
    own = ways(study((LEVEL, {}), (lower, LAST)))
    same = page.agreement(own["random item"], own["last item"], "HR@10", "HR@10")
    assert same.tau == pytest.approx(1) and same.low > 0.7 and same.models == 5
    own = ways(study((LEVEL, {}), (REVERSED, LAST)))
    turned = page.agreement(own["random item"], own["last item"], "HR@10", "HR@10")
    assert turned.tau == pytest.approx(-1) and turned.high < -0.7
    assert page.agreement(own["random item"], own["last item"], "HR@10/full", "HR@10/full") is None


def test_models_that_are_alike_have_no_order_that_repeats() -> None:
    """Fails if the interval of tau ignores that a resampled order is noise."""
    alike = dict.fromkeys(LEVEL, 0.6)
    own = ways(study((alike, {}), (alike, LAST), noise=1.0))
    found = page.agreement(own["random item"], own["last item"], "HR@10", "HR@10")
    assert found.low < 0 < found.high
    apart = ways(study((LEVEL, {}), (LEVEL, LAST)))
    assert page.repeated(apart["random item"], "HR@10") > 0.95
    assert page.repeated(own["random item"], "HR@10") < 0.6


def test_the_protocol_and_the_models_are_told_apart() -> None:
    """Planted: the protocol moves all by 0.2, the models lie 0.2 apart, no difference moves."""
    of = study((LEVEL, {}), ({m: s - 0.2 for m, s in LEVEL.items()}, LAST))
    line = page.sizes(of).loc["ml-latest-small"]
    assert line["one model over protocols"] == "0.2000"
    assert line["AMP-r and MF under one protocol"] == "0.2000"
    assert line["AMP-r minus MF over protocols"] == "0.0000"
    assert line["printed lead of the best AMP"] == "+0.0400"
    assert (
        "up to 0.2000 on ml-latest-small, while these models differ by at most 0.2000 on"
        in page.headline(of)
    )
    moved = study((LEVEL, {}), (REVERSED, LAST))
    # AMP-2 minus MF goes from -0.2 to 0.2.
    assert (
        page.sizes(moved)
        .loc["ml-latest-small", "AMP-r minus MF over protocols"]
        .endswith("to 0.4000")
    )


def test_what_has_no_epoch_stands_under_every_way_to_choose_one_but_not_without_refit() -> None:
    simple = {"MostPop": 0.3, "EASE^R": 0.8}
    no_refit = {"select": experiments.VALIDATION_NO_REFIT}
    own = ways(
        study(
            (LEVEL | simple, {}),
            (LEVEL, no_refit),
            ({"MF (r=1)": 0.7}, {"select": "test"}),
            ({"MF (r=1)": 0.7}, {"select": "test", "variant": "released"}),
            ({"MostPop": 0.2}, {"variant": "redraw"}),
            (simple, LAST),
        )
    )
    assert own["random item, epoch on test"].keys() == {"MF (r=1)", *simple}
    assert own["released code"].keys() == {"MF (r=1)", *simple}
    assert own["random item, no refit"].keys() == set(LEVEL)
    assert own["random item, redrawn"].keys() == {"MostPop"}
    assert "last item" not in own  # nothing that was trained


def test_the_best_epoch_of_each_metric_is_more_than_the_chosen_one() -> None:
    best = {"select": "test", "curve": {}, "metrics": {"HR@10/best": 0.9, "NDCG@10/best": 0.8}}
    of = study(({"AMP-2": 0.5}, {}), ({"AMP-2": 0.6}, best))
    frame = page.best_epochs(of).reset_index()
    line = frame[frame["metric"] == "HR@10"].iloc[0]
    assert line["gained [95 %]"].startswith("+0.1000 [+0.0")
    assert (line["best epoch of each metric"], line["gained so"]) == ("0.9000", "+0.4000")
    assert "AMP-3 on ml-latest-small (5 of 5 seeds)" in page.missing(of)


def test_redrawing_widens_what_seeds_show() -> None:
    of = study((LEVEL, {}), ({"AMP-2": 0.5}, {"variant": "redraw"}))
    line = page.redrawn(of).reset_index().iloc[0]
    assert (line["sd, same items"], line["seeds"]) == ("0.0000", "3")
    text, how = page.CHANGES[2]
    assert "redrawn" in text and page.change(of, how).index[0] == "AMP-2"


@pytest.mark.parametrize("records", [(), ((LEVEL, {}),)])
def test_without_a_second_protocol_the_page_says_pending(records) -> None:
    of = study(*records)
    assert "Pending" in page.headline(of)
    for own in page.datasets(of).values():
        assert page.between(own).index[0][1] == "itself, redrawn"
        page.levels(own, "HR@10"), page.within(own), page.differences(own, "HR@10")
    assert page.best_epochs(of).iloc[0, 0].startswith("Pending")
    for _, how in page.CHANGES:
        assert page.change(of, how).iloc[0, 0].startswith("Pending")
    page.level_figure(of), page.order_figure(of)
