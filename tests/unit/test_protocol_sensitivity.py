"""Protocol sensitivity: orders that agree, orders that do not, and what the protocol moves."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from replication.errors import ReplicationError
from replication.metrics.ranking import NO_RANK
from replication.page import Study
from replication.papers.amp_cf import experiments
from replication.papers.amp_cf.pages import protocols as page
from replication.records import ADDRESS, Store
from replication.tables import COMPLETE
from replication.training import described

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
CODE = {"protocol": "loo-random", "select": "test", "variant": "released"}


def ways(of: Study) -> page.Ways:
    return page.datasets(of)["ml-latest-small"]


def test_the_same_order_agrees_and_a_reversed_one_does_not() -> None:
    """Fails if models of two protocols are matched by place and not by name."""
    lower = {model: share - 0.2 for model, share in reversed(LEVEL.items())}
    own = ways(study((LEVEL, {}), (lower, LAST)))
    same = page.agreement(own["random item"], own["last item"], "HR@10", "HR@10")
    assert same.tau == pytest.approx(1) and same.models == 5
    assert same.low == same.high == 1  # 0.05 apart, the same users everywhere: all established
    own = ways(study((LEVEL, {}), (REVERSED, LAST)))
    turned = page.agreement(own["random item"], own["last item"], "HR@10", "HR@10")
    assert turned.tau == turned.low == turned.high == pytest.approx(-1)
    assert page.agreement(own["random item"], own["last item"], "HR@10/full", "HR@10/full") is None


def test_models_that_are_alike_have_no_order_that_repeats() -> None:
    """Fails if the interval of tau takes differences for real that users do not establish."""
    alike = dict.fromkeys(LEVEL, 0.6)
    own = ways(study((alike, {}), (alike, LAST), noise=1.0))
    found = page.agreement(own["random item"], own["last item"], "HR@10", "HR@10")
    assert (found.low, found.high) == (-1, 1)
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
    text = page.headline(of)
    assert "its HR@10 by up to 0.2000 on ml-latest-small.\n" in text
    assert "of these protocols: they differ by at most 0.2000 on ml-latest-small.\n" in text
    far = page.headline(study((LEVEL, {}), ({m: s - 0.3 for m, s in LEVEL.items()}, LAST)))
    near = page.headline(study((LEVEL, {}), ({m: s - 0.1 for m, s in LEVEL.items()}, LAST)))
    assert "by up to 0.3000, on 1 of 1 data sets with several main protocols by more than" in far
    assert "by up to 0.1000, on 0 of 1 data sets with several main protocols by more than" in near
    moved = study((LEVEL, {}), (REVERSED, LAST))
    # AMP-2 minus MF goes from -0.2 to 0.2.
    assert (
        page.sizes(moved)
        .loc["ml-latest-small", "AMP-r minus MF over protocols"]
        .endswith("to 0.4000")
    )


def test_a_way_that_is_no_main_protocol_moves_nothing() -> None:
    """Fails if leaving out the refit counts as another protocol, or a model that is not in all."""
    without = {"select": "validation-no-refit"}
    far = {model: share - 0.3 for model, share in LEVEL.items()}
    alone = study((LEVEL, {}), (far, without))
    assert page.headline(alone).endswith(page.PENDING)
    assert page.sizes(alone).loc["ml-latest-small", "main protocols"] == "1"
    assert "on ml-latest-small there is one main" in page.one_split(alone).lower()
    few = {model: share for model, share in LEVEL.items() if model != "AMP-8"}
    far = {model: share - 0.3 for model, share in few.items()}
    both = study((few | {"AMP-8": 0.1}, {}), (far, without), (few, LAST))
    line = page.sizes(both).loc["ml-latest-small"]
    assert line["one model over protocols"] == "0.0000"
    # AMP-8, under one of the two alone, would make one of them 0.6.
    assert line["AMP-r and MF under one protocol"] == "0.2000"
    levels = page.levels(ways(both), "HR@10")
    assert levels.loc["AMP-2", "range over protocols"] == "0.3000 (n = 3)"
    assert levels.loc["AMP-8", "range over protocols"] == "–"
    assert levels.loc["range over models", "last item"].endswith("(n = 4)")
    assert levels.loc["range over models", "random item"].endswith("(n = 5)")


def test_a_model_that_ranked_the_candidates_alone_is_left_out_of_the_full_ranking() -> None:
    """As one that scores slowly does without its refit: fails if its absence breaks a table."""
    no_refit = {"select": experiments.VALIDATION_NO_REFIT}
    full = {"metrics": {"HR@10/full": 0.1, "NDCG@10/full": 0.1}}
    some = study((LEVEL | {"ConvNCF": 0.8}, full), (LEVEL, full | no_refit))
    some = replace(some, records=[*some.records, *_later({"ConvNCF": 0.9}, no_refit)])
    own = ways(some)
    lines = page.between(own)
    assert lines.loc[("random item", "random item, no refit"), "models"] == "6, 5 in full ranking"
    assert own["random item, no refit"]["ConvNCF"].mean("NDCG@10/full") is None
    page.headline(some), page.levels(own, "NDCG@10"), page.best_models(own), page.within(own)


def _later(shares: dict[str, float], changes: dict[str, str]) -> list[dict[str, Any]]:
    """More records, whose keys those of ``study`` do not have."""
    return [r | {"key": f"later {r['key']}"} for r in study((shares, changes)).records]


def test_the_interval_of_tau_never_leaves_tau_out() -> None:
    """Quantiles of tau over redrawn users did: fails if the brackets are those again."""
    close = {model: 0.6 + 0.004 * i for i, model in enumerate(LEVEL)}
    for noise in (0.0, 1.0):
        own = ways(study((close, {}), (close, LAST), noise=noise))
        for metric in ("HR@10", "NDCG@10"):
            found = page.agreement(own["random item"], own["last item"], metric, metric)
            assert found.low <= found.tau <= found.high
    assert found.low < found.high


def test_what_has_no_epoch_stands_under_every_way_to_choose_one_but_not_without_refit() -> None:
    """iALS and AISP have seeds, and records that say "validation", but no epoch either."""
    simple = {"MostPop": 0.3, "EASE^R": 0.8, "iALS": 0.75, "AISP-2": 0.4}
    no_refit = {"select": experiments.VALIDATION_NO_REFIT}
    own = ways(
        study(
            (LEVEL | simple | {"DiRec": 0.5, "NCF": 0.6}, {}),
            (LEVEL, no_refit),
            ({"MF (r=1)": 0.7}, {"select": "test"}),
            ({"MF (r=1)": 0.7}, {"select": "test", "variant": "released"}),
            ({"MostPop": 0.2}, {"variant": "redraw"}),
            (simple, LAST),
        )
    )
    assert own["random item, epoch on test"].keys() == {"MF (r=1)", *simple}
    assert own["the released code's habits"].keys() == {"MF (r=1)", *simple}
    assert own["the released code's habits"]["iALS"] is own["random item"]["iALS"]
    assert own["random item, no refit"].keys() == set(LEVEL)
    assert own["random item, redrawn"].keys() == {"MostPop"}
    assert "last item" not in own  # nothing that was trained


def test_the_best_model_is_named_by_protocol_and_that_it_changes() -> None:
    """Fails if only the order is judged, or if a protocol's own models decide."""
    # NCF is nowhere but under one protocol: it is no common model, though the best there.
    own = study((LEVEL | {"NCF": 0.9}, {}), (REVERSED, LAST), (LEVEL, CODE))
    table = page.best_models(ways(own))
    (title,) = table.columns
    assert title == "best of 5 models"
    assert table[title].loc["NDCG@10"].to_dict() == {
        "last item": "AMP-2",
        "random item": "MF (r=1)",
        "the released code's habits": "MF (r=1)",
    }
    assert (table[title].loc["NDCG@10/full"] == "–").all()
    text = page.headline(own)
    assert (
        "- Best model by NDCG@10 on ml-latest-small: AMP-2 by last item, MF (r=1) by random item "
        "and the released code's habits (established).\n- Best model by HR@10: it changes on "
        "ml-latest-small."
    ) in text
    assert "by NDCG@10 changes the best model on 1 of 1, established on 1.\n" in text
    stays = page.headline(study((LEVEL, {}), ({m: s - 0.2 for m, s in LEVEL.items()}, LAST)))
    assert "by NDCG@10 on ml-latest-small: it stays the same, MF (r=1).\n" in stays
    assert stays.endswith("- Best model by HR@10: it changes on no data set.")
    assert "by NDCG@10 changes the best model on 0 of 1.\n" in stays


def test_a_change_of_the_best_that_users_do_not_establish_is_called_so() -> None:
    alike = {model: 0.6 + (0.001 if model == "AMP-3" else 0.0) for model in LEVEL}
    other = {model: 0.6 + (0.001 if model == "AMP-8" else 0.0) for model in LEVEL}
    of = study((alike, {}), (other, LAST), noise=1.0)
    cells = page.best_models(ways(of)).loc["NDCG@10"].iloc[:, 0]
    assert all(all(model in text for model in LEVEL) and " (or " in text for text in cells)
    assert len({one.model for one in page.asked_for_best(ways(of), "NDCG@10").values()}) == 2
    assert "not established: AMP-2, AMP-3, AMP-4, AMP-8 and MF (r=1) may be best in all" in (
        page.headline(of)
    )
    assert "changes the best model on 1 of 1, established on 0.\n" in page.headline(of)
    few = page.best_models(ways(study((LEVEL | {"EASE^R": 0.9}, {}), (LEVEL, LAST))), few=True)
    assert list(few) == ["best of 5 models"] and set(few.loc["HR@10"].iloc[:, 0]) == {"MF (r=1)"}


def test_the_ranking_among_all_items_is_a_way_to_measure() -> None:
    """Planted: the best of 100 candidates is the worst of the full catalogue."""
    of = study((LEVEL, {}))
    for record in of.records:
        share = REVERSED[record["row"]]
        full = np.where(np.arange(USERS) < share * USERS, 0, 50).astype(np.uint16)
        of.ranks[record["key"]] = (of.ranks[record["key"]][0], np.append(full, NO_RANK))
        record["metrics"] |= {"HR@10/full": share, "NDCG@10/full": share}
    found = page.asked_for_best(ways(of), "NDCG@10")
    assert {name: one.model for name, one in found.items()} == {
        "random item": "MF (r=1)",
        "full ranking": "AMP-2",
    }
    line = page.main_orders(of).loc["random item, 100 candidates and full ranking"]
    assert line.loc["ml-latest-small", "all"] == "-1.00 [-1.00, -1.00], n = 5"


def test_protocols_bear_the_names_of_what_they_are() -> None:
    """Fails if "the code's protocol" means a tuned random item, or quantiles are called 95 %."""
    # A model that one of them lacks is in no line: else the lines are about different models.
    of = study((LEVEL | {"NCF": 0.1}, {}), (REVERSED | {"NCF": 0.1}, LAST), (LEVEL, CODE))
    lines = page.main_orders(of)
    found = lines["all"].xs("ml-latest-small", level="data set").to_dict()
    again = found.pop("random item and itself, users and seeds redrawn")
    assert "[" not in again  # one number: redrawn orders have no interval
    drawn = page.order_figure(of).axes
    assert {axis.get_title(loc="left").replace("\n", " ") for axis in drawn} == set(found)
    assert {axis.get_xlim() for axis in drawn} == {(-1.05, 1.05)}
    assert found == {
        "last item and random item": "-1.00 [-1.00, -1.00], n = 5",
        "last item and the released code's habits": "-1.00 [-1.00, -1.00], n = 5",
        "random item and the released code's habits": "+1.00 [+1.00, +1.00], n = 5",
    }
    for text in (page.headline(of), *found):
        assert "text's" not in text and "the code's protocol" not in text
    source = (Path(__file__).parents[2] / "book/sources/beyond/protocols.md").read_text()
    for name in ("last item", "random item", "the released code's habits", "full ranking"):
        assert f"- *{name}*:" in source
    assert not [line for line in source.splitlines() if "tau" in line and "95 % interval" in line]


def test_what_is_no_row_of_the_table_runs_where_it_has_a_cell():
    """Goes red if wider vectors and other numbers of personas run under ``loo-last`` too."""
    jobs = experiments.plan(["ml-100k"], ["amp-2", "amp-5", "mf-128"], seeds=1)
    assert [(job.model, job.protocol) for job in jobs] == [
        ("amp-2", "loo-random"),
        ("amp-5", "loo-random"),
        ("mf-128", "loo-random"),
        ("amp-2", "loo-last"),
    ]
    (asked,) = experiments.plan(["ml-100k"], ["mf-128"], ["loo-last"], seeds=1)
    assert asked.protocol == "loo-last"


def test_the_released_habits_are_run_for_all_that_they_are_defined_for() -> None:
    """Fails if it leaves out a model of the code, or takes one that it would not change."""
    cells = experiments.grid(variant="released")
    assert {(c.dataset, c.protocol) for c in cells} == {
        ("ml-latest-small", "loo-random"),
        ("ml-100k", "loo-random"),
        ("amazon-video-games", "loo-random"),
    }
    assert {c.row for c in cells} == {"AMP-2", "AMP-3", "AMP-4", "AMP-8", "MF (r=1)"}
    assert all((c.select, c.seeds_required) == ("test", 5) for c in cells)
    assert len(experiments.plan(variant="released")) == 3 * 5 * 5
    for cell in cells:
        model = {name: model for model, name in experiments.MODELS.items()}[cell.row]
        assert not experiments.variant_config(model, cell.dataset, "released").attention_projections
    spec = dict(experiments.VARIANTS["released"].changes)
    for name in page.UNTRAINED:  # nothing that the variant changes is theirs
        model = {row: model for model, row in experiments.MODELS.items()}[name]
        own = {field.name for field in fields(experiments.row(model).start)}
        assert not own & spec.keys()
    assert {"iALS", "AISP-2", "ItemKNN", "EASE^R", "MostPop"} <= page.UNTRAINED
    assert not {"DiRec", "NCF"} & page.UNTRAINED


def test_the_best_epoch_of_each_metric_is_more_than_the_chosen_one() -> None:
    best = {"select": "test", "curve": {}, "metrics": {"HR@10/best": 0.9, "NDCG@10/best": 0.8}}
    of = study(({"AMP-2": 0.5}, {}), ({"AMP-2": 0.6}, best))
    frame = page.best_epochs(of).reset_index()
    line = frame[frame["metric"] == "HR@10"].iloc[0]
    assert line["gained [95 %]"].startswith("+0.1000 [+0.0")
    assert (line["best epoch of each metric"], line["gained so"]) == ("0.9000", "+0.4000")
    assert "AMP-3 on ml-latest-small (5 of 5 seeds)" in page.missing(of)
    of = study(({"AMP-3": 0.5}, CODE))
    lacks = page.missing(of, variant="released")
    assert lacks.startswith("Pending, the released code's habits: AMP-2 on ml-latest-small (5 of 5")
    assert "AMP-3 on ml-latest-small (2 of 5 seeds)" in lacks and "MF (r=1) on ml-100k" in lacks


def test_where_nothing_is_pending_the_page_says_so() -> None:
    """An empty text would be shown as the name of an object."""
    every = {"AMP-2": 0.5, "AMP-3": 0.5, "AMP-4": 0.5, "AMP-8": 0.5, "MF (r=1)": 0.5}
    places = [name for name, _ in experiments.VARIANTS["released"].cells]
    of = study(*((every, CODE | {"dataset": name}) for name in places))
    more = [run | {"seed": run["seed"] + 2} for run in of.records]
    of = replace(of, records=[*of.records, *(run for run in more if run["seed"] > 2)])
    assert page.missing(of, variant="released") == COMPLETE == "Nothing is pending."


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
        assert page.between(own).index[0][1] == "itself, users and seeds redrawn"
        page.levels(own, "HR@10"), page.within(own), page.differences(own, "HR@10")
    assert page.best_epochs(of).iloc[0, 0].startswith("Pending")
    assert page.one_split(of) == "" and "best model" not in page.headline(of)
    for _, how in page.CHANGES:
        assert page.change(of, how).iloc[0, 0].startswith("Pending")
    page.level_figure(of), page.order_figure(of)


def test_the_longer_search_takes_the_best_of_the_trials_that_went_on(tmp_path, monkeypatch):
    """Of four short trials the best three go on, and the second of them is best in the end."""
    monkeypatch.setattr(experiments.paths, "RESULTS", tmp_path)
    monkeypatch.setattr(experiments, "MAX_EPOCHS", {"ml-1m": 6})

    def store(table, trial, ndcg):
        record = dict.fromkeys(ADDRESS, "") | {
            "table": table,
            "row": "MF (r=1)",
            "dataset": "ml-1m",
            "config": described(experiments.trial_config("mf", trial)),
            "seed": 0,
            "metrics": {"NDCG@10": ndcg},
            "trial": trial,
        }
        Store(table).append(record)

    with pytest.raises(ReplicationError, match="has 0 of 3 longer trials"):
        experiments.variant_config("mf", "ml-1m", "longer-search")
    for trial, ndcg in enumerate((0.50, 0.40, 0.48, 0.49)):
        store(experiments.TUNING, trial, ndcg)
    assert list(experiments.continued("mf", "ml-1m")) == [0, 3, 2]
    assert experiments.continued("mf", "pinterest") == experiments.continued("amp-8", "ml-1m") == {}
    for trial, ndcg in ((0, 0.51), (3, 0.53), (2, 0.52), (1, 0.60)):  # 1 did not go on
        store(experiments.LONGER, trial, ndcg)
    config = experiments.variant_config("mf", "ml-1m", "longer-search")
    assert config == replace(experiments.trial_config("mf", 3), max_epochs=25)
    assert experiments.tuned_config("mf", "ml-1m") == replace(
        experiments.trial_config("mf", 0), max_epochs=6
    )


@pytest.mark.parametrize("entropy", [True, False])
def test_with_the_settings_of_mf_only_the_entropy_terms_are_amps_own(entropy):
    variant = "mf-settings" if entropy else "mf-settings-no-entropy"
    for dataset, _ in experiments.VARIANTS[variant].cells:
        mf = experiments.tuned_config("mf", dataset)
        for model in experiments.VARIANTS[variant].models:
            start = experiments.row(model).start
            config = experiments.variant_config(model, dataset, variant)
            same = {"learning_rate": mf.learning_rate, "weight_decay": mf.weight_decay}
            none = {} if entropy else {"lambda_p": 0.0, "lambda_n": 0.0}
            assert config == replace(start, **same, **none, max_epochs=mf.max_epochs)
