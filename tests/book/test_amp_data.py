"""The page of AMP-CF's Table 1: digits that are cut, and what the draws explain, from records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from replication.page import PENDING, Study, agrees, cut_to, stored_table
from replication.papers.amp_cf import draws, experiments
from replication.papers.amp_cf.pages import data
from replication.papers.registry import TABLES

Changes = Mapping[str, float]
NO_CHANGE: Changes = {}
PRINTED = {  # dataset -> the printed statistics of Table 1, in the order of STATISTICS
    "ml-latest-small": (610, 6278, 96683, 0.975, 158.6, 250.9, 69, 15.4, 26.2, 6),
    "ml-1m": (6040, 3592, 993060, 0.954, 164.5, 192.7, 95, 276.7, 384.1, 130),
    "pinterest": (15001, 9175, 374017, 0.997, 24.9, 7.3, 23, 40.8, 40.6, 29),
    "amazon-video-games": (7868, 12802, 98421, 0.999, 12.5, 11.8, 9, 7.6, 12.8, 4),
}


def metrics_of(dataset: str, changed: Changes) -> dict[str, float]:
    values = dict(zip(experiments.STATISTICS, PRINTED[dataset], strict=True))
    return {**values, **{name.replace("_", " "): value for name, value in changed.items()}}


def record(
    table: str, row: str, dataset: str, seed: int = 0, changed: Changes = NO_CHANGE
) -> dict[str, Any]:
    return {
        "table": table,
        "row": row,
        "dataset": dataset,
        "data_hash": "0",
        "data_source": "planted",
        "protocol": "loo-random",
        "variant": "",
        "select": "none",
        "config": {},
        "seed": seed,
        "key": f"{row}{dataset}{seed}",
        "time": "2026-01-01T00:00:00Z",
        "metrics": metrics_of(dataset, changed),
    }


def study(table: str, records: list[dict[str, Any]]) -> Study:
    found = stored_table(experiments.TABLE1)
    grid = TABLES[table].grid("validation", "")
    return Study(table, "stored", "validation", records, {}, found.published, grid)


def table1(**changed: dict[str, float]) -> Study:
    """All four data sets as printed, but for what is changed (``_`` for ``-`` in their names)."""
    return study(
        experiments.TABLE1,
        [
            record(
                experiments.TABLE1,
                experiments.DATASETS[name],
                name,
                changed=changed.get(name.replace("-", "_"), NO_CHANGE),
            )
            for name in PRINTED
        ],
    )


def over(changed: Mapping[str, Mapping[str, Sequence[float]]]) -> Study:
    """Every reading with every seed, as printed, but for what is changed by reading.

    A change is a list with one value a seed, by "dataset/statistic".
    """
    records = []
    for cell in draws.grid():
        for seed in range(cell.seeds_required):
            changes = changed.get(cell.row, {})
            own = {
                name.split("/")[1]: values[min(seed, len(values) - 1)]
                for name, values in changes.items()
                if name.split("/")[0] == cell.dataset
            }
            made = record(draws.TABLE, cell.row, cell.dataset, seed)
            made["metrics"] = made["metrics"] | own
            records.append(made)
    return study(draws.TABLE, records)


def in_every(name: str, value: float) -> dict[str, dict[str, list[float]]]:
    return {reading: {name: [value]} for reading in draws.READINGS}


@pytest.mark.parametrize(
    ("value", "places", "cut"),
    [(158.6557, 1, 158.6), (158.69999, 1, 158.6), (0.29, 2, 0.29), (132.5, 0, 132), (7, 1, 7)],
)
def test_digits_are_cut(value: float, places: int, cut: float) -> None:
    assert cut_to(value, places) == cut


def test_a_statistic_agrees_cut_or_rounded() -> None:
    row = {"mean": 158.6557, "published": 158.6}
    assert agrees(row, 1, cut=True) and not agrees(row, 1)
    row = {"mean": 0.97473, "published": 0.975}
    assert agrees(row, 3) and not agrees(row, 3, cut=True)
    assert not agrees({"mean": None, "published": 158.6}, 1, cut=True)


def test_how_often_cutting_and_rounding_fit() -> None:
    same = data.digits_found(table1())
    assert "Of the 40 statistics" in same and "leaves open" in same
    one = table1(ml_1m={"ratings_per_user_mean": 164.57})
    text = data.digits_found(one)
    assert "40 are the printed ones when the measured digits are cut" in text
    assert "39 when they are rounded" in text and "taken to be cut" in text
    assert "ML-1M, ratings per user mean: 164.570, printed 164.5" in text
    assert data.statistics_table(one).loc[("ratings per user mean", "measured"), "ML-1M"] == "164.5"
    other = data.digits_found(table1(ml_latest_small={"sparsity": 0.97473}))
    assert "39 are the printed ones when the measured" in other and "taken to be rounded" in other
    assert data.digits_found(study(experiments.TABLE1, [])) == PENDING


def test_a_printed_mean_may_be_rounded_or_cut() -> None:
    """Amazon: 98,421 examples of 12,802 items are 7.688 an item, printed 7.6; ML-1M: neither."""
    found = data.consistency(table1())
    assert found.loc["Amazon", "items agree"] == "yes"
    assert found.loc["Amazon", "mean per item × items"] == "96,655 to 98,575"
    assert found.loc["ML-1M"][["users agree", "items agree"]].tolist() == ["NO", "NO"]
    text = data.contradictions(table1())
    assert "Amazon" not in text and "ML-1M: 6,040 users × 164.5 = 993,580, printed 993,060" in text


def test_a_difference_has_the_reading_that_reaches_it() -> None:
    # The draw encloses the first, 99.9 % gives the second, rounding the third, nothing the fourth.
    ours = table1(
        pinterest={"ratings_per_user_std": 7.46},
        ml_1m={"training_examples": 994055, "ratings_per_item_median": 132.0},
        ml_latest_small={"sparsity": 0.9747},
    )
    changes: dict[str, Any] = in_every("ml-1m/ratings per item median", 132.0)
    changes[draws.TESTS]["ml-1m/training examples"] = [994055]
    changes[draws.USERS]["pinterest/ratings per user std"] = [7.28, 7.51]
    found = data.differences(ours, over(changes))
    by = {(at, line["statistic"]): line for at, line in found.iterrows()}
    assert len(by) == 4
    spread = by["Pinterest", "ratings per user std"]
    assert spread["reached by"] == "other users and test items (7.2 to 7.5)"
    assert spread["over draws (how many)"] == "7.2 to 7.5 (10)"
    kept = by["ML-1M", "training examples"]
    assert kept["reached by"] == "99.9 % of the examples (993,060)"
    assert by["ML-100k", "sparsity"]["reached by"] == "the measured value, rounded (0.975)"
    median = by["ML-1M", "ratings per item median"]
    assert median["reached by"] == "unexplained"
    assert median["over draws (how many)"] == "132 (5)"
    text = data.differences_found(ours, over(changes))
    assert text.startswith("4 of the 40 statistics differ; 3 of them are reached")
    assert text.endswith("1 is unexplained: ML-1M, ratings per item median (132, printed 130).")


def test_nothing_is_unexplained_before_all_draws_are_there() -> None:
    ours = table1(ml_1m={"ratings_per_item_median": 132.0})
    whole = over(in_every("ml-1m/ratings per item median", 132.0))
    whole.records = [r for r in whole.records if (r["row"], r["seed"]) != (draws.TESTS, 4)]
    assert data.differences(ours, whole)["reached by"].tolist() == [PENDING]
    assert data.differences_found(ours, whole) == PENDING
    nothing = study(draws.TABLE, [])
    assert data.differences(ours, nothing)["over draws (how many)"].tolist() == ["pending"]
    for page in (data.differences_found, data.pinterest_draws, data.amazon_draws):
        assert page(study(experiments.TABLE1, []), nothing) == PENDING
    assert data.differences(study(experiments.TABLE1, []), nothing).index.tolist() == [PENDING]
    assert data.differences(table1(), nothing).empty


def test_the_draw_explains_pinterest_or_not() -> None:
    ours = table1(pinterest={"items": 9387, "training_examples": 385190})
    apart: dict[str, Any] = {
        draws.USERS: {
            "pinterest/items": [9330, 9390],
            "pinterest/training examples": [385057, 386419],
        },
        draws.LOWEST: {"pinterest/items": [9206], "pinterest/training examples": [390000]},
    }
    text = data.pinterest_draws(ours, over(apart))
    assert text.startswith("Over 10 draws of the users and of their test items: items 9,330 to 9,3")
    assert "items 9,330 to 9,390 (printed 9,175, lowest ids 9,206)" in text
    assert "So the draw does not explain the printed items, training examples; what does" in text
    assert text.endswith("The 15,001 lowest ids come nearer than every draw to 1 of the 2.")
    apart[draws.USERS] |= {"pinterest/items": [9100, 9390]}
    text = data.pinterest_draws(ours, over(apart))
    assert "does not explain the printed training examples and the draw may explain" in text
    apart[draws.USERS] |= {"pinterest/training examples": [370000, 386419]}
    text = data.pinterest_draws(ours, over(apart))
    assert "does not explain" not in text and "what does is not known" not in text
    assert data.pinterest_draws(table1(), over({})) == "Every statistic is the printed one."


def test_the_released_draw_reaches_amazon_or_not() -> None:
    changes: dict[str, Any] = {
        draws.RELEASED: {"amazon-video-games/users": [7876], "amazon-video-games/items": [12806]},
        draws.THREE: {"amazon-video-games/training examples": [98520]},
        draws.OTHER_SEEDS: {"amazon-video-games/items": [12808, 12807]},
    }
    text = data.amazon_draws(table1(), over(changes))
    assert "there are 7,876 users and 12,806 items" in text
    assert "of 98,520 training examples, 99.9 % or 98,421 remain: all three are the printed" in text
    assert "of 10 other seeds, which give 12,807 to 12,808 items, none gives the printed" in text
    changes[draws.THREE_KEPT] = {"amazon-video-games/items": [12809]}
    changes[draws.OTHER_SEEDS] = {"amazon-video-games/items": [12802, 12807]}
    text = data.amazon_draws(table1(), over(changes))
    assert "remain: the printed ones are users, training examples; of 10" in text
    assert "1 gives the printed items" in text
