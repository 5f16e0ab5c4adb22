"""The pages on Attentive NCF on planted folds: all of them, some, and none."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from replication import page, paths, verdicts
from replication.claims import Judgement, Verdict
from replication.compare import load_published
from replication.errors import ReplicationError
from replication.page import Study, open_table
from replication.papers.attentive_ncf import claims, experiments, rows
from replication.papers.attentive_ncf.model import EMBEDDINGS, MLP1, PREDICTORS, AttentiveNCFConfig
from replication.papers.attentive_ncf.pages import (
    architecture,
    ensemble,
    table1,
    table2,
    variants,
)
from replication.papers.attentive_ncf.pages import verdicts as verdict_page
from replication.records import Store
from replication.training import described

TEN = range(10)
PUBLISHED = load_published("attentive_ncf")
PARAMETERS: dict[str, Any] = {
    "mode": "stored",
    "dataset": None,
    "model": None,
    "protocol": None,
    "select": "best-epoch",
    "seeds": None,
    "device": "auto",
}


@pytest.fixture
def results(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No stored records."""
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    yield


def curve(best: float, at: int, epochs: int = 4) -> list[float]:
    """Falls to its lowest value after epoch ``at``, rises by 0.01 an epoch elsewhere."""
    return [best + 0.01 * abs(epoch - at) for epoch in range(1, epochs + 1)]


def run(row: str, fold: int, error: float, **changes: Any) -> dict[str, Any]:
    """A record of Table II: lowest after epoch 2 on the test, chosen after epoch 3 inside."""
    lowest = curve(error, 2)
    attentive = row.startswith("attentive")
    more = {f"RMSE/draw-{d}": error + 1e-4 * d for d in range(5)} if attentive and not fold else {}
    if more:
        more |= {f"RMSE/context-{name}": error + 0.003 for name in ("16", "64", "all", "none")}
    return {
        "key": f"{row}/{fold}/{changes}",
        "table": experiments.TABLE2,
        "row": row,
        "dataset": "cil",
        "data_hash": "d",
        "data_source": "made up",
        "protocol": "kfold-10",
        "variant": "",
        "select": "fold-minimum",
        "config": {
            "dimension": 64,
            "learning_rate": 0.001,
            "batch_size": 4096,
            "weight_decay": 0.0,
            "max_epochs": 4,
        },
        "seed": fold,
        "metrics": {"RMSE": error, "MAE": error - 0.2} | more,
        "curve": {
            "epoch": [1, 2, 3, 4],
            "loss": [1.0, 0.9, 0.8, 0.7],
            "test RMSE": lowest,
            "test MAE": [x - 0.2 for x in lowest],
        },
        "epochs": 2,
        "parameters": 1000,
        "seconds": 60.0,
        "seconds_pretraining": 5.0,
        "seconds_per_epoch": 12.0 if attentive else 3.0,
        "device": "cpu",
        "versions": {"python": "3.11.0"},
        "machine": "Linux",
        "source": "abc",
        "time": "2026-01-01T00:00:00Z",
    } | changes


def inner(record: dict[str, Any]) -> dict[str, Any]:
    """The run that chooses the epoch honestly: one later than the test would."""
    held = curve(record["metrics"]["RMSE"] + 0.01, 3)
    return record | {
        "select": "validation-no-refit",
        "epochs": 3,
        "curve": record["curve"] | {"validation RMSE": held, "validation MAE": held},
    }


def planted(folds: Any = TEN, variant_gap: float = 0.02) -> Study:
    rng = np.random.default_rng(0)
    level = {"simple": 0.99, "autoencoder": 0.98, "attentive": 0.97}
    made = []
    for row in claims.COMBINATIONS:
        for fold in folds:
            error = level[row.split(" + ")[0]] + rng.normal(0, 1e-4)
            made += [run(row, fold, error), inner(run(row, fold, error))]
    for row in claims.COMBINATIONS:
        for seed in range(5):
            error = level[row.split(" + ")[0]] + rng.normal(0, 1e-4)
            made.append(run(row, seed, error, variant="seeds"))
    for variant in ("mlp2-deep", "all-context", "default-user"):
        for model in experiments.VARIANTS[variant].models:
            row = experiments.row_name(model)
            error = level[row.split(" + ")[0]] + variant_gap
            made.append(run(row, 0, error, variant=variant))
    return study(experiments.TABLE2, made)


def study(table: str, records: list[dict[str, Any]]) -> Study:
    from replication.papers.registry import TABLES

    grid = TABLES[table].grid("best-epoch", "")
    derived = experiments.derived(records) if table != experiments.ENSEMBLE else records
    published = load_published("attentive_ncf")
    return Study(table, "stored", "best-epoch", derived, {}, published, grid)


def nothing(table: str = experiments.TABLE2) -> Study:
    return study(table, [])


# --- parameters ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dataset": "ml-1m"}, "unknown dataset 'ml-1m'; this page can run cil"),
        ({"protocol": "loo-last"}, "unknown protocol 'loo-last'; use one of kfold-10"),
        ({"select": "test"}, "unknown select 'test'; use one of best-epoch"),
        ({"model": "amp-2"}, "unknown model 'amp-2'"),
        ({"seeds": 0}, "seeds should be a whole number of at least 1, not 0"),
        ({"model": "bias"}, "attentive_ncf/table2 has no cell of bias"),
        ({"dataset": "ml-100k"}, "attentive_ncf/table2 has no cell of ml-100k"),
        ({"folds": 3}, "unknown parameter folds"),
    ],
)
def test_a_wrong_value_is_one_sentence(results: None, change: dict[str, Any], words: str) -> None:
    with pytest.raises(ReplicationError, match=words) as caught:
        open_table(experiments.TABLE2, PARAMETERS | change, list(PARAMETERS))
    assert "\n" not in str(caught.value)


def test_a_page_in_quick_mode_runs_its_own_paper(
    results: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data set, models and protocol are the paper's, and a data set that no cell has gets cells."""
    asked = []

    def execute(jobs: Any, device: str, store: Store, progress: bool) -> Iterator[Any]:
        for job in jobs:
            asked.append((job.dataset, job.protocol, job.model, job.number, job.select))
            record = run(experiments.row_name(job.model), job.number, 1.0, dataset=job.dataset)
            store.append(record)
            yield job, record, True

    monkeypatch.setattr("replication.papers.attentive_ncf.tables.execute", execute)
    known = list(PARAMETERS)
    found = open_table(experiments.TABLE2, PARAMETERS | {"mode": "quick"}, known)
    assert asked == [
        ("ml-100k", "kfold-10", model, 0, "fold-minimum") for model in ("simple-ip", "attentive-ip")
    ]
    rows = {r["row"]: r for r in found.rows() if r["metric"] == "RMSE"}
    assert set(rows) == {"simple + inner product", "attentive + inner product"}
    assert all((r["n"], r["status"]) == (1, "complete") for r in rows.values())
    assert set(table2.by_row(found, "fold-minimum")) == set(rows)
    asked.clear()
    change = {"mode": "full", "model": "attentive-mlp1", "seeds": 2, "dataset": "cil"}
    open_table(experiments.TABLE2, PARAMETERS | change, known)
    assert [job[2:4] for job in asked] == [("attentive-mlp1", 0), ("attentive-mlp1", 1)]


# --- Table II --------------------------------------------------------------------------------


def test_the_headline_of_table_2_counts_what_is_there(results: None) -> None:
    text = table2.headline(planted())
    assert "4 of 9 measured RMSEs come out within 0.005 of print, intervals included, while" in text
    assert "Beside print: 1 of 9 came out above it and 8 below, measured minus printed -" in text
    assert "from look-ups to the autoencoder for 3 of 3 predictors and from the auto" in text
    assert "From the autoencoder to the attentive user: an established gain for 3 of 3" in text
    assert "predictors and an established loss for 0." in text and "p is corrected over" in text
    assert "the paper prints attentive + MLP2 as the best with 0.9740" in text
    again = planted()
    # The other way round: what Table II calls attentive is the autoencoder's, and vice versa.
    swap = {"attentive": "autoencoder", "autoencoder": "attentive"}
    for record in again.records:
        embedding, predictor = record["row"].split(" + ")
        record["row"] = f"{swap.get(embedding, embedding)} + {predictor}"
    text = table2.headline(again)
    assert "to the attentive user for 0 of 3 predictors (a loss for 3)." in text
    assert "gain for 0 of 3 predictors and an established loss for 3." in text


def test_the_headline_of_table_2_says_what_is_pending(results: None) -> None:
    """Of one fold there is no interval, and without the attentive rows there is one step."""
    text = table2.headline(planted(range(1)))
    assert "**Found.** No measured RMSE has an interval yet, while a gain is" in text
    assert "- Beside print: measured minus printed -" in text
    assert "- Without an interval, as one fold has none: 9 of 9." in text
    assert "to the attentive user for 0 predictors (all pending)." in text
    assert "From look-ups" not in text and "p is corrected" not in text
    found = planted()
    found.records = [r for r in found.records if not r["row"].startswith("attentive")]
    text = table2.headline(found)
    assert "autoencoder for 3 of 3 predictors and from the autoencoder to the attentive" in text
    assert "for 0 predictors (all pending)." in text and "p is corrected" in text
    assert "From the autoencoder" not in text


def test_pairs_are_compared_in_both_metrics(results: None) -> None:
    """MAE is planted the other way round for the attentive rows."""
    records = []
    for record in planted().records:
        if record["row"].startswith("attentive"):
            record = record | {"metrics": record["metrics"] | {"MAE": record["metrics"]["MAE"] + 1}}
        records.append(record)
    found = planted()
    found.records = records
    embeddings, networks, winner = table2.PAIRS
    frames = {m: table2.comparisons(found, embeddings, m) for m in ("RMSE", "MAE")}
    for better, outcome in (("attentive", "worse"), ("autoencoder", "better")):
        row = f"{better} + MLP1 minus simple + MLP1"
        assert frames["RMSE"].loc[row, "outcome"] == "better"
        assert frames["MAE"].loc[row, "outcome"] == outcome
    line = frames["RMSE"].loc["attentive + MLP1 minus simple + MLP1"]
    assert line["difference [95 %]"].startswith("-0.0199 [") and line["folds"] == "10"
    assert float(line["first"]) < float(line["second"])
    assert len(frames["RMSE"]) == 9 and len(table2.comparisons(found, networks)) == 6
    assert len(table2.comparisons(found, winner)) == 8  # no run of Table I is there yet
    for fold in TEN:
        Store(experiments.TABLE1).append(baseline("SVD-Surprise", fold, 0.5 + 1e-5 * fold))
    again = table2.comparisons(found, winner)
    assert again.loc["attentive + MLP2 minus SVD-Surprise", "outcome"] == "worse"
    one = table2.comparisons(planted(range(1)), embeddings)
    assert set(one["outcome"]) == {"too few folds"} and set(one["p"]) == {"–"}
    assert table2.comparisons(nothing(), embeddings).empty


def test_the_honest_epoch_is_a_hundredth_worse_where_that_was_planted(results: None) -> None:
    found = planted()
    frame = table2.selections(found)
    best = {f"{embedding} + {predictor}" for embedding, predictor in rows.BEST}
    folds = {row: int(text) for row, text in frame["folds of both"].items()}
    assert folds == {row: 10 if row in best else 3 for row in claims.COMBINATIONS}
    assert frame["honest minus paper's [95 %]"].str.startswith("+0.0100 [").all()
    text = table2.optimism(found)
    assert "differs by +0.0100 from" in text and "for 9 of 9 combinations" in text
    fewer = planted(range(1))
    assert set(table2.selections(fewer)["honest minus paper's [95 %]"]) == {"pending"}


def test_test_contexts_and_times(results: None) -> None:
    found = planted()
    frame = table2.contexts(found)
    assert list(frame.index) == [row for row in claims.COMBINATIONS if "attentive" in row]
    assert set(frame["sd of five draws of 128"]) == {f"{np.std(range(5), ddof=1) * 1e-4:.5f}"}
    assert "with all of a user's other movies as context it changes by +0.0028" in (
        table2.context_spread(found)
    )
    times = table2.times(found)
    assert times.loc["attentive + MLP2", "loop over users, CPU seconds"] == "pending"
    assert times.loc["attentive + MLP2", "seconds an epoch of the runs, median"] == "12.0"
    assert table2.timing().endswith("is pending.")
    for row, seconds in (("simple + inner product", 1.5), ("attentive + MLP2", 6.0)):
        Store(experiments.SPEED).append(
            run(row, 0, 1.0, table=experiments.SPEED,
                metrics={"seconds an epoch": seconds, "loop ratio": 41.2,
                         "loop seconds an epoch": 41.2 * seconds},
                config={"steps": 20, "batch": 4096})
        )  # fmt: skip
    times = table2.times(found)
    assert times.loc["attentive + MLP2", "times as slow"] == "41.2"
    assert times.loc["attentive + MLP2", "loop over users, CPU seconds"] == "247.2"
    assert times.loc["attentive + MLP2", "against simple + inner product"] == "4.0"
    assert "are medians of 20 steps of 4,096 ratings, and of as many" in table2.timing()


def test_tables_that_are_shared_are_paid_once_and_not_free(results: None) -> None:
    found = planted()
    changed = []
    for record in found.records:
        made_here = record["row"] == "autoencoder + inner product"
        seconds = 50.0 + record["seed"] if made_here else 0.01
        size = 64 if record["row"].startswith("simple") else 128
        config = record["config"] | {"dimension": size}
        changed.append(record | {"seconds_pretraining": seconds, "config": config})
    found.records = changed
    frame = table2.times(found)["seconds of pretraining, most"]
    assert set(frame[[row for row in frame.index if "autoencoder" in row]]) == {"59"}
    assert set(frame[[row for row in frame.index if "autoencoder" not in row]]) == {"–"}
    assert "kept for the 3, in 59 seconds at most" in table2.pretraining_cost(found)
    found.records = [
        r | {"config": r["config"] | {"dimension": 64}} if "MLP2" in r["row"] else r
        for r in changed
    ]
    text = table2.pretraining_cost(found)
    assert "kept for the 2, in 59" in text
    assert "The tables of autoencoder + MLP2 are pretrained in 0 seconds" in text


def test_the_page_says_how_many_trials_were_cut_off(results: None) -> None:
    found = planted()
    assert set(table2.tuned(found)["trials still cut off"]) == {"–"}
    assert table2.search_limit() == table2.PENDING
    for model, ends in {
        "attentive-mlp2": [(12, 12), (11, 12), (2, 5)],
        "simple-ip": [(9, 12), (3, 6)],
    }.items():
        for number, (best, seen) in enumerate(ends):
            config = experiments.trial_config(model, "cil", number)
            Store(experiments.TUNING).append(
                run(experiments.row_name(model), 0, 1.0, table=experiments.TUNING, trial=number,
                    epochs=best, epochs_run=seen, config=described(config) | {"max_epochs": 12})
            )  # fmt: skip
    frame = table2.tuned(found)
    assert frame.loc["attentive + MLP2", "trials still cut off"] == "2 of 3"
    assert frame.loc["simple + inner product", "trials still cut off"] == "0 of 2"
    text = table2.search_limit()
    assert "2 of 5 trials had not stopped" in text
    assert "0 of 2 with the simple, 2 of 3 with the attentive embedding." in text
    assert "epochs: 0 of 2 have run, 0 of these were cut off again, and the settings" in text
    for number, error in ((0, 0.99), (1, 0.98)):
        config = experiments.trial_config("attentive-mlp2", "cil", number)
        Store(experiments.TUNING).append(
            run("attentive + MLP2", 0, error, table=experiments.TUNING, trial=number, epochs=39,
                epochs_run=40, config=described(config) | {"max_epochs": 40})
        )  # fmt: skip
    text = table2.search_limit()
    assert "2 of 5 trials had not stopped" in text  # in the first round
    assert "epochs: 2 of 2 have run, 2 of these were cut off again, and the settings" in text
    assert text.endswith("are now others for attentive + MLP2.")
    assert table2.two_rounds(found).empty  # no run with the settings of the first round
    older = [
        run(claims.WINNER, fold, 0.99, config={"learning_rate": 0.01, "max_epochs": 4}, time="2025")
        for fold in TEN
    ]
    rounds = table2.two_rounds(
        replace(found, records=experiments.derived([*older, *found.records]))
    )
    assert list(rounds.index) == [(claims.WINNER, "first round"), (claims.WINNER, "both rounds")]
    assert rounds.loc[(claims.WINNER, "first round"), "RMSE"].startswith("0.9900")
    assert rounds.loc[(claims.WINNER, "both rounds"), "RMSE"].startswith("0.9700")
    assert list(rounds["the printed number"]) == ["not replicated", "replicated"]


def test_the_best_simple_model_stands_beside_the_nine(results: None) -> None:
    assert table2.against_simple(planted()) == "pending"
    known = (("ALS with biases", 0.975, "none"), ("MF with biases", 0.99, "fold-minimum"))
    for row, error, select in known:
        for fold in TEN:
            made = run(row, fold, error, table=experiments.TABLE1, select=select)
            Store(experiments.TABLE1).append(made)
    text = table2.against_simple(planted())
    assert text.startswith("the best simple model, ALS with biases, has an RMSE of 0.975")
    assert "attentive + MLP2 minus it is -0.005" in text and " at an honest one)" in text
    assert "is pending as the paper selects its epoch (pending" in table2.against_simple(nothing())


def test_fold_0_stands_alone_beside_the_mean(results: None) -> None:
    """Goes red if another fold's difference is taken for that of the fold that was not searched."""
    found = planted()
    moved = [
        r | {"metrics": {m: x - 0.03 for m, x in r["metrics"].items()}}
        if r["row"] == claims.WINNER and r["seed"] == 0
        else r
        for r in found.records
    ]
    frame = table2.unseen_fold(replace(found, records=moved))
    line = frame.loc["attentive + MLP2 minus simple + MLP2"]
    assert float(line["fold 0"]) == pytest.approx(-0.05, abs=1e-3)
    assert float(line["mean over folds"]) == pytest.approx(-0.023, abs=1e-3)
    assert line["folds"] == "10" and len(frame) == 9
    other = frame.loc["attentive + MLP1 minus simple + MLP1"]
    assert float(other["fold 0"]) == pytest.approx(-0.02, abs=1e-3)


def test_a_narrower_margin_loses_the_numbers_that_are_reached_by_little(results: None) -> None:
    found = planted()  # 0.97 where 0.974 is printed
    text = verdict_page.narrower(table2.evidence(found))
    assert "attentive + MLP2" in text.split("not ")[-1]
    assert (
        "In print 4 of the 9 rows of Table II have a row of another embedding within 0.005" in text
    )
    assert "numbers would be reached, 2 of them of Table II: not " in text
    assert text.count("attentive + inner product") == 0  # of the named rows none is attentive


def test_rows_that_print_tells_apart_are_not_called_near(results: None) -> None:
    """With the printed numbers a tenth apart there is none that could be another embedding's."""
    apart = PUBLISHED.assign(value=[n / 10 for n in range(len(PUBLISHED))])
    found = replace(planted(), published=apart)
    assert "In print 0 of the 9 rows" in verdict_page.narrower(table2.evidence(found))


def test_marks_of_one_table_may_fall_with_the_correction_over_all(results: None) -> None:
    """One small gain: sure among a table's lines, not among all comparisons."""
    found = planted()
    text = table2.marks_that_stand(found)
    n = len(claims.comparisons(table2.evidence(found)))
    assert f"not over all {n} comparisons" in text and "(not" not in text
    marked = {
        metric: len(
            {
                name
                for head in table2.PAIRS
                for name, outcome in table2.comparisons(found, head, metric)["outcome"].items()
                if outcome != "neither"
            }
        )
        for metric in ("RMSE", "MAE")
    }
    assert marked["RMSE"] > 10
    for metric, number in marked.items():
        assert f"{number} of {number} in {metric}" in text
    noise = np.random.default_rng(1).normal(0, 1.0, len(TEN))
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    level = {
        (r["row"], r["seed"]): r["metrics"]["RMSE"]
        for r in found.records
        if (r["select"], r["variant"]) == ("best-epoch", "")
    }
    winner, other = claims.WINNER, "autoencoder + MLP2"
    near = []  # of the winner alone: behind the autoencoder by little, and not alike on all folds
    for record in found.records:
        if record["row"] == winner and not record["variant"]:
            fold = record["seed"]
            error = level[other, fold] - 0.0007 + 0.00055 * noise[fold]
            record = record | {"metrics": {"RMSE": error, "MAE": error - 0.2}}
        near.append(record)
    less = replace(found, records=near)
    head = next(iter(table2.PAIRS))
    name = f"{winner} minus {other}"
    assert table2.comparisons(less, head).loc[name, "outcome"] == "better"
    text = table2.marks_that_stand(less)
    assert f"in RMSE (not {name}" in text


def test_the_front_page_has_all_nine_beside_the_printed(results: None) -> None:
    Store(experiments.TABLE2).append(run("attentive + MLP2", 0, 0.9731))
    text = table2.summary_markdown()
    assert "0.9731 (1 of 10 folds), published 0.9740" in text
    assert text.count("published 0.") == 9 and text.count("pending, published") == 8
    assert text.count("**Found.**") == 2 and "\n- " not in text


# --- the other pages -------------------------------------------------------------------------


def test_variants_against_the_spread_of_seeds(results: None) -> None:
    worse = variants.effects(planted())
    assert {effect.outcome for effect in worse} == {"worse"} and len(worse) == 9
    assert {effect.outcome for effect in variants.effects(planted(variant_gap=-0.02))} == {"better"}
    same = variants.effects(planted(variant_gap=0.0))
    assert {effect.outcome for effect in same} == {"neither"}
    text = variants.headline(planted())
    assert "Of 9 variants on fold 0 so far, 9 came out worse, 0 better and 0 not" in text
    pending = len(variants._questions()) - 9
    assert f"- Pending: the runs of {pending} more." in text and "judged yet" not in text
    assert "and the largest difference is +0.02" in text and "(trained with all context)." in text
    frame = variants.table(planted(), "other-size")
    assert set(frame["main"]) == {"pending"}
    bare = planted()
    bare.records = [r for r in bare.records if r["variant"] != "seeds"]
    assert {effect.outcome for effect in variants.effects(bare)} == {"no spread"}
    text = variants.headline(bare)
    assert "0 better, 0 not established as either and 9 not judged yet, and" in text
    assert "- Not judged yet: 9, until other seeds show the spread." in text
    assert variants.reach(bare) == variants.PENDING


def test_the_page_says_what_a_variant_must_differ_by_and_which_were_cut_off(results: None) -> None:
    found = planted()
    half = [(e.test.ci_high - e.test.ci_low) / 2 for e in variants.effects(found) if e.test]
    text = variants.reach(found)
    assert f"exceed {min(half):.4f} to {max(half):.4f}, by" in text and 0 < min(half) < max(half)
    assert text.endswith("No variant was best at the last epoch that was allowed.")
    for record in found.records:
        if (record["variant"], record["row"]) == ("all-context", claims.WINNER):
            record["epochs"] = record["config"]["max_epochs"]
    assert "(trained with all context, epoch 4)." in variants.reach(found)
    told = f"might change it: {claims.WINNER} (trained with all context), worse, at epoch 4."
    assert told in variants.headline(found)
    assert "last epoch" not in variants.headline(planted())
    found = planted(variant_gap=0.0)  # cut off, but nothing is established
    for record in found.records:
        record["epochs"] = record["config"]["max_epochs"]
    assert "last epoch" not in variants.headline(found)


def test_what_the_autoencoders_learn_is_told_in_stars(results: None) -> None:
    there = {
        ("", 0): {"users": (4, 0.19), "items": (20, 0.20)},
        ("", 1): {"users": (6, 0.21), "items": (22, 0.22)},
        ("user-scale-raw", 0): {"users": (7, 0.96), "items": (20, 0.20)},
    }
    made = [
        run("autoencoder + MLP1", fold, 0.98, variant=variant)
        | {"pretraining": {p: {"epochs": n, "error": error} for p, (n, error) in told.items()}}
        for (variant, fold), told in there.items()
    ]
    frame = variants.pretraining(study(experiments.TABLE2, made))
    users, movies, raw = (frame.loc[label] for label in frame.index)
    assert list(users) == ["2", "4–6", "1.0000", "0.07071"]  # (0.95 + 1.05) / 2
    assert list(movies) == ["2", "20–22", "1.0500", "0.07071"]
    assert list(raw) == ["1", "7", "0.9600", "–"]  # in stars already
    assert set(variants.pretraining(nothing())["error, stars"]) == {"pending"}


def test_learning_curves_turn_where_it_was_planted(results: None) -> None:
    text = variants.overfitting(planted())
    assert "lowest after epoch 2, and by its last epoch it has risen by 0.0200." in text
    fewer = planted()
    fewer.records = [r for r in fewer.records if r["row"] == "attentive + MLP2"]
    assert "it has risen by 0.0200 (1 of 9 are measured)." in variants.overfitting(fewer)
    drawn = variants.curves(planted(), "test")
    assert drawn and variants.curves(planted(), "validation")
    low, high = drawn.axes[0].get_ylim()  # from 0.99 at epoch 2 to 1.01 at epoch 4
    assert low < 0.99 and 1.01 < high < 1.02


def test_an_axis_of_curves_leaves_out_where_they_begin() -> None:
    falls = np.array([3.0, 2.0, 1.1, 1.0, 1.05])
    assert 1.05 < variants._top([falls]) < 1.2
    assert variants._top([falls[:3]]) > 3.0  # so few epochs are all shown


def test_the_figure_of_means_shows_their_best_members(results: None) -> None:
    records = []
    for fold in range(3):
        metrics = {"RMSE": 0.97 + 1e-3 * fold, "RMSE/best member": 0.98 + 1e-3 * fold}
        name = next(iter(experiments.MEMBERS))
        records.append(run(name, fold, 0.97, table=experiments.ENSEMBLE, select="best-epoch",
                           metrics=metrics))  # fmt: skip
    drawn = ensemble.figure(study(experiments.ENSEMBLE, records))
    told = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert told == ["mean", "best member"]
    assert ensemble.figure(study(experiments.ENSEMBLE, [])) is None


def baseline(row: str, fold: int, error: float, **changes: Any) -> dict[str, Any]:
    made = run(row, fold, error, table=experiments.TABLE1, select="none", **changes)
    del made["curve"]
    return made | {"config": {"package_version": "1.1.5"}}


def test_table_1_says_which_baselines_are_off(results: None) -> None:
    records = []
    for fold in TEN:
        records += [
            baseline("BaselineOnly-Surprise", fold, 0.9990 + 1e-5 * fold),
            baseline("SVD-Surprise", fold, 1.0240 + 1e-5 * fold),
            baseline("NMF-Surprise", fold, 1.0000 + 1e-4 * (fold % 3 - 1)),
            baseline("NMF-Surprise", fold, 1.0030 + 1e-4 * (fold - 1), protocol="kfold-10-plain"),
            baseline("ALS with biases", fold, 0.9800 + 1e-5 * fold),
        ]
    found = study(experiments.TABLE1, records)
    text = table1.headline(found)
    assert "within 0.005 of print, interval included, for 2 of 3 baselines measured so far" in text
    assert "Farthest from print: NMF-Surprise, measured minus printed -0.0472." in text
    assert "Order: that of these 3 agrees" in text
    assert "the best simple model, ALS with biases, reaches 0.9800 where the best" in text
    assert "where the best baseline, BaselineOnly-Surprise, has 0.9990." in text
    assert "scikit-surprise 1.1.5" in table1.versions(found)
    text = table1.versions(found)
    assert "interval included: NMF-Surprise (-0.0472, 539.6 sd); sd is that of" in text
    assert "A single fold" not in text
    wide = [
        baseline("NormalPredictor-Surprise", fold, 1.4822 + 0.003 * (-1) ** fold) for fold in TEN
    ]
    text = table1.versions(study(experiments.TABLE1, wide))
    assert "NormalPredictor-Surprise (-0.0040, 1.3 sd)" in text
    assert "A single fold may well have the printed number of NormalPredictor-Surprise:" in text
    assert "None is outside" in table1.versions(study(experiments.TABLE1, records[:20:5]))
    dealt = table1.dealing(found).loc["NMF-Surprise"]
    assert dealt["plain minus within"] == "+0.0030"
    halves = [
        page.over_folds(deviations, dict.fromkeys(TEN, 0.0), "kfold-10")
        for deviations in (
            {fold: 1e-4 * (fold % 3 - 1) for fold in TEN},  # on folds within users
            {fold: 1e-4 * (fold - 1) for fold in range(experiments.PLAIN_FOLDS)},
        )
    ]
    half = np.hypot(*(test.ci_high - test.difference for test in halves))
    low, high = (float(end) for end in dealt["95 % interval"].strip("[]").split(", "))
    assert (low, high) == pytest.approx((0.00301 - half, 0.00301 + half), abs=6e-5)
    assert high - low > 2e-4
    assert "by +0.0030 (measured" in table1.dealing_sentence(found)
    assert table1.figure(found) is not None
    every = [baseline(name, fold, 0.99) for name in claims.BASELINES for fold in TEN]
    text = table1.headline(study(experiments.TABLE1, every))
    assert "of 12 baselines, and no simple model is measured yet." in text


def test_table_1_says_what_was_tried_to_reach_the_printed_nmf(results: None) -> None:
    assert table1.nmf_sentence(nothing(experiments.TABLE1)) == table1.PENDING
    tried = [
        baseline("NMF-Surprise", 0, 1.0100),
        *(baseline("NMF-Surprise", seed, 1.0110, variant="nmf-seeds") for seed in range(5)),
        baseline("NMF-Surprise", 0, 1.0400, variant="nmf-factors-10"),
    ]
    found = study(experiments.TABLE1, tried)
    frame = table1.nmf(found)
    assert frame.loc["NMF of the package from other random starts", "minus printed"] == "-0.0362"
    assert frame.iloc[0]["RMSE"] == "1.0100" and frame.loc["NMF with biases", "runs"] == "pending"
    assert "nearest is NMF with 10 factors, -0.0072 from it" in table1.nmf_sentence(found)
    tried[-1] = baseline("NMF-Surprise", 0, 1.0470, variant="nmf-factors-10")
    text = table1.nmf_sentence(study(experiments.TABLE1, tried))
    assert text == "Within 0.005 of the printed number: NMF with 10 factors."


def test_table_1_says_that_a_trained_row_has_the_papers_epoch(results: None) -> None:
    row = "MF with biases"
    outer = [run(row, fold, 0.99 + 1e-5 * fold, table=experiments.TABLE1) for fold in TEN]
    text = table1.chosen_epochs(study(experiments.TABLE1, outer))
    assert "above are of epoch 2, chosen as the paper chooses" in text
    assert text.endswith("an honest choice has no runs yet.")
    found = study(experiments.TABLE1, [*outer, *(inner(record) for record in outer[:3])])
    assert "it has 1.0000 over 3 folds, +0.0100 [" in table1.chosen_epochs(found)
    assert table1.chosen_epochs(nothing(experiments.TABLE1)) == ""


@pytest.mark.parametrize(
    ("error", "verdict"), [(1.15, "replicated"), (1.12, "not replicated"), (None, "untestable")]
)
def test_table_1_has_what_the_text_prints_of_a_constant(
    results: None, error: float | None, verdict: str
) -> None:
    folds = TEN if error else ()
    made = [baseline("constant", fold, (error or 0) + 1e-5 * fold) for fold in folds]
    found = study(experiments.TABLE1, made)
    assert f"the text prints 1.15 (Section IV), which Table I has not: *{verdict}*, " in (
        table1.constant(found)
    )
    frame = found.published
    frame.loc[(frame["table"] == "text") & (frame["row"] == "constant"), "value"] = 1.25
    assert "prints 1.25 (" in table1.constant(found)


def test_the_ensemble_beside_its_best_member(results: None) -> None:
    def mean(name: str, fold: int, gap: float, select: str) -> dict[str, Any]:
        metrics = {"RMSE": 0.97 + gap, "RMSE/best member": 0.97, "RMSE/mean member": 0.98}
        ends = {"": gap, "/low": gap - 0.001, "/high": gap + 0.001, "/users": 9999}
        metrics |= {f"RMSE/{experiments.LESS_BEST}{end}": value for end, value in ends.items()}
        metrics |= {f"RMSE/{experiments.LESS_WHOLE}{end}": -v for end, v in ends.items()}
        metrics |= {f"RMSE/{experiments.WHOLE}": 0.99, f"RMSE/{experiments.LESS_WHOLE}/users": 7}
        listed = {"members": [["attentive + MLP2", 7, "abc"]]}
        return run(name, fold, 1.0, table=experiments.ENSEMBLE, select=select, metrics=metrics,
                   config=listed)  # fmt: skip

    names = list(experiments.MEMBERS)
    records = [mean(names[0], fold, -0.003, "best-epoch") for fold in range(3)]
    records += [mean(experiments.BAGGED, 0, 0.002, "validation-no-refit")]
    found = study(experiments.ENSEMBLE, records)
    text = ensemble.headline(found)
    assert "a lower RMSE than its best member in 1 of 2 ensembles measured so far (of 4)" in text
    assert "below zero in 1, differing from it by -0.0030 to +0.0020." in text
    wide = [mean(names[0], n, gap, "best-epoch") for n, gap in enumerate((-0.03, 0.01, -0.01))]
    assert "in 1 of 1 ensembles measured so far (of 4), with a 95 % interval below zero in 0," in (
        ensemble.headline(study(experiments.ENSEMBLE, wide))
    )
    one = study(experiments.ENSEMBLE, wide[:1])
    for end in ("low", "high"):
        del one.records[0]["metrics"][f"RMSE/{experiments.LESS_BEST}/{end}"]
    assert "below zero in 0," in ensemble.headline(one)
    assert "- Without an interval so far: 1." in ensemble.headline(one)
    assert f"- Lowest RMSE: that of the {names[0]}." in text
    assert "- Bagging: 0.9720, where one model trained on all" in text
    assert "has 0.9900: -0.0020 [-0.0010, -0.0030] (one fold, over 7 users)." in text
    every = study(experiments.ENSEMBLE, [mean(n, 0, -0.003, "best-epoch") for n in names])
    every.grid = [cell for cell in every.grid if cell.row in names]
    assert f"in {len(names)} of {len(names)} ensembles, with a 95 % interval below zero in " in (
        ensemble.headline(every)
    )
    frame = ensemble.table(found)
    heads = "mean minus best member [95 %]"
    assert frame.loc[names[0], heads].startswith("-0.0030 [")
    assert frame.loc[experiments.BAGGED, heads] == (
        "+0.0020 [+0.0010, +0.0030] (one fold, over 9,999 users)"
    )
    assert frame.loc[names[1], "RMSE"] == "pending"
    assert "attentive + MLP2 (epoch 7)" in ensemble.members(found).to_string()


@pytest.mark.parametrize("folds", [[], range(1), range(2)])
def test_every_sentence_copes_with_gaps(results: None, folds: Any) -> None:
    two = planted(folds) if len(folds) else nothing()
    one, means = nothing(experiments.TABLE1), nothing(experiments.ENSEMBLE)
    made: list[Any] = [
        table2.headline(two), table2.optimism(two), table2.context_spread(two), table2.limit(two),
        table2.selections(two), table2.contexts(two),
        *(table2.comparisons(two, head) for head in table2.PAIRS if len(folds)),
        table2.tuned(two), table2.times(two), table2.pretraining_cost(two), table2.timing(),
        table1.headline(one), table1.dealing(one), table1.dealing_sentence(one),
        table1.versions(one), table1.tuned(one), table1.constant(one),
        variants.headline(two), variants.spread(two),
        variants.spread_sentence(two), variants.without_context(two), variants.tested_with_all(two),
        variants.pretraining(two),
        variants.overfitting(two), ensemble.headline(means), ensemble.table(means),
        ensemble.members(means),
        *(variants.table(two, name) for name in variants.SHOWN),
        *(variants.sentence(two, name) for name in variants.SHOWN),
    ]  # fmt: skip
    for text in made:
        if isinstance(text, pd.DataFrame):
            assert not text.isna().any(axis=None)
            text = page.tables.to_text(text)
        assert text and not re.search(r"\bnan\b|\bNone\b|\binf\b", text), text
    draw: list[Callable[[], Any]] = [
        lambda: table2.dots(two), lambda: variants.figure(two), lambda: variants.curves(two, "test")
    ]  # fmt: skip
    for figure in draw:
        assert (figure() is None) is (not len(folds))


def test_verdicts_of_both_papers_come_from_the_dictionary(results: None) -> None:
    found = verdicts.of("attentive_ncf")
    assert found.book.title == "Attentive NCF"
    families = set(found.book.claimed) | set(found.book.checks)
    assert {claim.family for claim in claims.CLAIMS} == families
    assert {j.main.verdict for j in found if j.claim.id != "parameters/count"} == {"untestable"}
    n = found.words()
    assert (n["claims_replicated"], n["printed_refuted"]) == ("1", "2")
    text = found.headline()
    assert "refute 2 of the" in text
    assert "1 of 94 claims can be decided so far, of which 1 came out replicated, 0 of them" in text
    assert "- Verdicts: replicated 1, in direction only 0, not replicated 0, not to be" in text
    lead = "Attentive NCF's smarter embeddings beat simpler ones in none yet (all pending)"
    assert f"and {lead}." in text
    text = verdicts.headline({"a": found})
    assert f"**Found.** Where a comparison can be decided, {lead}.\n\n- Attentive NCF, 94" in text
    assert f"decided, {lead}, {lead} and {lead}." in verdicts.headline(dict.fromkeys("abc", found))
    assert "Pending" in found.second()
    for family in families:
        assert "<summary>" in found.details(family)
    assert len(found.refuted_in_print()) == 2


def test_the_page_of_verdicts_says_what_hangs_on_the_correction(
    results: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A level between the two corrections of one comparison: the claims that ask for it move."""
    proof = table2.evidence(planted())
    family = claims.comparisons(proof)
    tested = proof.adjusted(family)
    alone = [q for q in family if q.metric == "RMSE"]
    narrow = proof.corrected_over(alone).adjusted(alone)
    text = verdict_page.correction(proof)
    mae = sum(q.metric == "MAE" for q in tested)
    assert (
        mae and f"over the {len(tested)} comparisons" in text and f"of {len(family)} that" in text
    )
    assert f"{mae} of the {len(tested)} are the study's own checks, {mae} in MAE and 0 " in text
    assert f"Were the {len(narrow)} comparisons in RMSE corrected by themselves, 0 of the" in text
    question = claims.pair("attentive + MLP1", "simple + MLP1")
    between = (narrow[question] * tested[question]) ** 0.5
    assert narrow[question] < between < tested[question]
    monkeypatch.setattr("replication.claims.ALPHA", between)
    named = "*attentive is better than simple with MLP1*: replicated, not "
    assert named in verdict_page.correction(table2.evidence(planted()))
    for fold in range(3):
        Store(experiments.TABLE1).append(baseline("constant", fold, 1.1))
        Store(experiments.TABLE1).append(baseline("ALS with biases", fold, 0.98))
    again = table2.evidence(planted())
    assert f"{mae + 2} of the {len(tested) + 2} are the study's own checks, {mae + 1} in MAE and " \
           "1 against simple models" in verdict_page.correction(again)  # fmt: skip
    assert "None of the 284 comparisons" in verdict_page.correction(table2.evidence(nothing()))


# --- Figures 1, 2 and 3 ----------------------------------------------------------------------


def test_no_table_of_users_is_behind_the_attentive_user() -> None:
    for embedding in EMBEDDINGS:
        nodes = {node.name: node for node in architecture.read(embedding, "MLP1")}
        user, movie = nodes["user"].parents, nodes["movie"].parents
        if embedding == "attentive":
            assert {n.split(".")[1] for n in user} == {"structure", "tastes", "default_user"}
            assert movie == ("embedding.structure",)
            assert not any("users" in node.size for node in nodes.values())
        else:
            assert (user, movie) == (("embedding.users",), ("embedding.items",))
            assert nodes["embedding.users"].size == "users × E"
        assert nodes["rating"].size == "B" and nodes["network"].size == "200-100-1"
    assert "network" not in {node.name for node in architecture.read("simple", "inner product")}


def test_layers_are_those_that_ran() -> None:
    layers = architecture.layer_table("MLP2", hidden=(7, 5))
    assert layers["out"].tolist() == ["7", "7", "5", "5", "5", "5"]
    assert layers["layer"].tolist() == ["Linear", "ReLU", "Linear", "ReLU", "Linear", "Softmax"]
    assert layers["parameters"].iloc[0] == f"{(3 * 64 + 1) * 7:,}"
    assert list(architecture.autoencoder_table(True)["out"]) == [
        "512", "512", "128", "128", "512", "512", "1000"
    ]  # fmt: skip
    movies = architecture.autoencoder_table(False)
    assert set(movies["layer"]) == {"Linear", "Sigmoid"} and movies["in"].iloc[0] == "10000"
    assert "has 1,157,224 parameters and the movie autoencoder 2,603,152." in (
        architecture.pretraining()
    )
    product = architecture.layer_table("inner product")
    assert product[["layer", "in", "out"]].to_numpy().tolist() == [["Sigmoid", "1", "1"]]
    model = claims.at_paper_size(AttentiveNCFConfig(embedding="simple", predictor="MLP1"))
    assert architecture.takes_both_and_product(model.predictor)

    class Other(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = torch.nn.Sequential(torch.nn.Linear(12, 1))

        def forward(self, user: torch.Tensor, item: torch.Tensor) -> torch.Tensor:
            return self.network(torch.cat([item, user, user * item], 1))

    assert not architecture.takes_both_and_product(Other())


def test_parameters_add_up_and_are_the_printed_ones() -> None:
    counted = architecture.counts(64)
    for n in counted.values():
        assert n["all"] == n["tables"] + n["default user"] + n["predictor"]
    assert counted["attentive + MLP2"]["tables"] == 128_000
    assert counted["simple + MLP1"]["tables"] == 704_000
    assert architecture.counts()["simple + MLP1"]["tables"] == 2 * 704_000
    text = architecture.headline(load_published("attentive_ncf"))
    assert "128,000" in text and "704,000" in text and ", as printed.\n" in text
    assert "without a vector of the user's own, both MLPs" in text
    wrong = load_published("attentive_ncf")
    wrong.loc[wrong["metric"] == "embedding parameters", "value"] += 1
    assert ", not as printed.\n" in architecture.headline(wrong)


def test_a_table_of_users_behind_the_attentive_user_would_be_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = architecture.Node("user", "B × E", ("embedding.users",))
    monkeypatch.setattr(architecture, "read", lambda embedding, predictor: [own])
    text = architecture.headline(load_published("attentive_ncf"))
    assert "computed with a vector of the user's own" in text
    assert "- Behind the attentive user: a vector of the user's own." in text


def test_every_combination_and_predictor_can_be_drawn() -> None:
    for embedding in EMBEDDINGS:
        nodes = architecture.read(embedding, "inner product")
        assert architecture.draw_combination(nodes).axes
    for predictor in PREDICTORS:
        texts = {t.get_text() for t in architecture.draw_predictor(predictor).axes[0].texts}
        assert ("64→5" in texts) is (predictor == "MLP2")


def test_a_drawing_has_the_layers_of_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn of other layers it has other words, and another range of ratings."""

    def texts(predictor: str) -> list[str]:
        return [t.get_text() for t in architecture.draw_predictor(predictor).axes[0].texts]

    found = {predictor: texts(predictor) for predictor in PREDICTORS}
    assert found["MLP1"].count("linear, ReLU") == 2 and "linear, sigmoid" in found["MLP1"]
    assert found["MLP2"].count("linear, ReLU") == 3 and "linear, softmax" in found["MLP2"]
    assert "$u^T m$, sigmoid" in found["inner product"]
    assert "$4p + 1$" in found["MLP1"] and "$4p + 1$" in found["inner product"]
    assert "$4p + 1$" not in found["MLP2"]
    other = MLP1(np.array([0.5, 5.0]), 64, (3,))
    other.network[1], other.ending = torch.nn.Tanh(), torch.nn.Hardsigmoid()
    made = type("Made", (), {"predictor": other})
    monkeypatch.setattr(architecture, "at_paper_size", lambda config: made)
    changed = texts("MLP1")
    assert "linear, tanh" in changed and "linear, hardsigmoid" in changed
    assert "$4.5p + 0.5$" in changed and "linear, ReLU" not in changed


def test_what_has_runs_in_one_way_only_has_not_changed() -> None:
    """Goes red if a claim whose honest epochs are still to be run counts as another verdict."""
    claim = claims.CLAIMS[0]

    def verdict(kind: str, statistic: float | None) -> Verdict:
        ends = None if statistic is None else (statistic, statistic)
        return Verdict(claim, kind, statistic, ends, "")

    yes, no, vague, none = (
        verdict("replicated", 0.1),
        verdict("not replicated", -0.1),
        verdict("untestable", 0.0),
        verdict("untestable", None),
    )
    made = [
        Judgement(first, second, none)
        for first, second in ((yes, yes), (yes, no), (yes, vague), (yes, none), (none, none))
    ]
    text = verdicts.Verdicts(verdict_page.BOOK, made).second()
    assert text.startswith("Of 3 claims") and ", 2 get another verdict at an honest epoch" in text
    assert "1 cannot be told then, for too few runs or too wide an interval, 0 can be told" in text
    assert "only then, and 1 are decided otherwise" in text
    assert text.endswith("1 more have runs in one way only.")
    assert verdicts.Verdicts(verdict_page.BOOK, made[3:]).second().startswith("Pending")


def test_fewer_honest_folds_are_no_other_verdict() -> None:
    """Goes red if ten folds at the paper's epoch are set against three at the honest one."""
    claim = claims.CLAIMS[0]
    yes, no, vague = (
        Verdict(claim, kind, gain, (gain, gain), "")
        for kind, gain in (("replicated", 0.1), ("not replicated", -0.1), ("untestable", 0.0))
    )
    made = [Judgement(yes, vague, yes, matched=vague), Judgement(yes, no, yes, matched=yes)]
    assert verdicts.changed(made) == [made[1]]
    text = verdicts.Verdicts(verdict_page.BOOK, made).second()
    assert text.startswith("Of 1 claims") and "1 are decided otherwise" in text
    assert "these alone change 1 of 2 verdicts before" in text


def test_a_companion_says_where_its_settings_come_from(results: None) -> None:
    models = ("simple-mlp2", "als", "constant")
    text = table2.settings(models, "ml-100k")
    assert "(0 trials for 2 models" in text and "batches 8 times smaller" in text
    assert f"; {2 * experiments.N_TRIALS} of its trials have not run yet)" in text


def test_the_row_whose_epoch_is_the_last_allowed_is_named(results: None) -> None:
    still = [run("simple + MLP1", fold, 0.99) for fold in TEN]
    for record in still:
        record["epochs"], record["curve"]["test RMSE"] = 4, curve(0.99, 4)
    turned = [run("simple + MLP2", fold, 0.99) for fold in TEN]
    text = table2.limit(study(experiments.TABLE2, [*still, *turned]))
    assert text.startswith("In 10 of 20 runs")
    assert text.endswith("The paper's selection gives the last epoch of simple + MLP1 (4 of 4).")
    assert "gives the last epoch" not in table2.limit(study(experiments.TABLE2, turned))
