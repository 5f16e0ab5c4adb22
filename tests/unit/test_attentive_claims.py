"""Every claim of Attentive NCF can come out the other way, on planted folds."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats

from replication.claims import Claim, Verdict, judge_all
from replication.compare import load_published
from replication.papers.attentive_ncf import claims, experiments, newcomers
from replication.papers.attentive_ncf.claims import CLAIMS

BY_ID = {claim.id: claim for claim in CLAIMS}
PUBLISHED = load_published("attentive_ncf")
PRINTED = {
    row: value
    for table, row, metric, value in zip(
        *(PUBLISHED[name] for name in ("table", "row", "metric", "value")), strict=True
    )
    if metric == "RMSE"
}
EMBEDDING = {"simple": 0.99, "autoencoder": 0.98, "attentive": 0.97}
PREDICTOR = {"inner product": 0.008, "MLP1": 0.004, "MLP2": 0.0}


def claimed(row: str) -> float:
    """The error of a row in a world in which every sentence of the paper is true."""
    if " + " in row:
        embedding, predictor = row.split(" + ")
        return EMBEDDING[embedding] + PREDICTOR[predictor]
    return 1.02


def opposite(row: str) -> float:
    return 2.0 - claimed(row)


def run(row: str, fold: int, error: float, **changes: Any) -> dict[str, Any]:
    table = experiments.TABLE2 if row in claims.COMBINATIONS else experiments.TABLE1
    trained = table == experiments.TABLE2 or row == "MF with biases"
    curve = {"epoch": [1], "test RMSE": [error], "test MAE": [error]}
    return (
        {
            "table": table,
            "row": row,
            "dataset": "cil",
            "data_hash": "d",
            "protocol": "kfold-10",
            "variant": "",
            "select": "fold-minimum" if trained else "none",
            "config": {"row": row},
            "seed": fold,
            "metrics": {"RMSE": error, "MAE": error},
            "parameters": 100 if row.startswith("attentive") else 900,
            "epochs": 1,
            "time": "2026-01-01T00:00:00Z",
        }
        | ({"curve": curve} if trained else {})
        | changes
    )


def world(
    error: Callable[[str], float],
    all_context: float = 0.01,
    ensemble: float = -0.01,
    folds: int = 10,
    noise: float = 1e-4,
) -> tuple[list[Any], list[Any], list[Any]]:
    """Records of Table I, Table II and the ensembles: a fold moves all rows alike, and each has
    noise of its own; fold 0 has seeds of the best of each embedding."""
    rng = np.random.default_rng(0)
    level = rng.normal(0, 0.002, folds)
    tables: dict[str, list[Any]] = {experiments.TABLE1: [], experiments.TABLE2: []}
    for known in claims.ROWS.values():
        for fold in range(folds):
            value = error(known.name) + level[fold] + rng.normal(0, noise)
            made = run(known.name, fold, value)
            tables[made["table"]].append(made)
            if made["select"] == "fold-minimum":  # the same epoch is chosen honestly
                tables[made["table"]].append(made | {"select": "validation-no-refit"})
    table2 = tables[experiments.TABLE2]
    for model in experiments.COMBINATIONS:
        row = claims.ROWS[model].name
        for seed in range(5):
            value = error(row) + level[0] + rng.normal(0, noise)
            table2.append(run(row, seed, value, variant="seeds"))
    for predictor in claims.PREDICTORS:
        row = f"attentive + {predictor}"
        value = error(row) + level[0] + all_context
        table2.append(run(row, 0, value, variant="all-context"))
    ensembles = [
        run(name, fold, 0.97, table=experiments.ENSEMBLE, select=select,
            metrics=of_a_mean(ensemble + rng.normal(0, noise)))
        for name, select, n in (
            *((m, "best-epoch", 3) for m in experiments.MEMBERS),
            (experiments.BAGGED, "validation-no-refit", 1),
        )
        for fold in range(n)
    ]  # fmt: skip
    derive = experiments.derived
    return derive(tables[experiments.TABLE1]), derive(table2), ensembles


def of_a_mean(gap: float, reach: float = 0.002) -> dict[str, float]:
    """Errors of an ensemble and of its rivals; the interval over the users of one set."""
    found = {}
    rivals = (experiments.BEST_MEMBER, experiments.WHOLE)
    for metric, rival in itertools.product(("RMSE", "MAE"), rivals):
        less = f"{metric}/minus {rival}"
        found |= {metric: 0.97 + gap, f"{metric}/{rival}": 0.97, less: gap}
        found |= {f"{less}/low": gap - reach, f"{less}/high": gap + reach, f"{less}/users": 500}
        found[f"{less}/p"] = float(2 * stats.norm.sf(1.96 * abs(gap) / reach))
    return found


def judged(*records: Any, of: Sequence[Claim] = CLAIMS) -> dict[str, Any]:
    found = judge_all(of, [claims.evidence(*records, PUBLISHED)])
    for j in found:
        for verdict in (j.main, j.again, j.in_print):
            assert verdict is None or "nan" not in verdict.sentence.lower()
    return {j.claim.id: j for j in found}


@pytest.fixture(scope="module")
def true() -> dict[str, Any]:
    return judged(*world(claimed))


@pytest.fixture(scope="module")
def false() -> dict[str, Any]:
    return judged(*world(opposite, all_context=-0.01, ensemble=0.01))


COMPARED = [
    claim.id
    for claim in CLAIMS
    if claim.table == claims.TABLE
    and not claim.id.startswith("number/")
    and claim.id not in ("parameters/count", "ensemble/Kaggle")
]


@pytest.mark.parametrize("name", COMPARED)
def test_a_claim_holds_where_it_is_true_and_falls_where_it_is_not(
    name: str, true: dict[str, Any], false: dict[str, Any]
) -> None:
    assert true[name].main.verdict == "replicated", true[name].main.sentence
    assert false[name].main.verdict == "not replicated", false[name].main.sentence
    if BY_ID[name].again:
        assert true[name].again.verdict == "replicated"
        assert false[name].again.verdict == "not replicated"


@pytest.mark.parametrize("name", [c.id for c in CLAIMS if c.id.startswith("number/")])
@pytest.mark.parametrize(
    ("off", "expected"),
    [(0.0, "replicated"), (0.02, "not replicated"), (-0.02, "not replicated"), (0.0045, "direct")],
)
def test_printed_numbers(name: str, off: float, expected: str) -> None:
    row = name.partition("/")[2]
    made = world(lambda r: PRINTED.get(r, 1.0) + off, noise=1e-5)
    found = judged(*made, of=[BY_ID[name]])[name].main
    assert found.verdict.startswith(expected), found.sentence
    assert BY_ID[name].text.startswith(row)


def test_printed_numbers_need_folds_that_agree() -> None:
    noisy = judged(*world(lambda row: PRINTED.get(row, 1.0), noise=0.05))
    assert noisy["number/attentive + MLP2"].main.verdict == "untestable"
    assert "over 10 folds the sd is" in noisy["number/attentive + MLP2"].main.sentence


def test_two_folds_are_no_evidence() -> None:
    found = judged(*world(claimed, folds=2))
    for name in ("best", "embedding/attentive/simple/MLP1", "number/simple + MLP1"):
        assert found[name].main.verdict == "untestable"
        assert "2 of at least 3 folds" in found[name].main.sentence


@pytest.mark.parametrize(("kept", "expected"), [("autoencoder", "not replicated"), ("", None)])
def test_one_refuted_part_refutes_a_claim_whose_other_part_has_no_run(
    kept: str, expected: str | None
) -> None:
    """The attentive row has a run, and of its two opponents one at the most; look-ups have none."""
    for error, then in ((opposite, expected), (claimed, None)):
        tables = world(error)
        left = [r for r in tables[1] if r["row"].split(" + ")[0] in ("attentive", kept)]
        verdict = judged(tables[0], left, tables[2])["attention/MLP2"].main
        assert verdict.verdict == (then or "untestable"), verdict.sentence
        assert ("simple + MLP2 has no records" in verdict.reason) is (then is None)


def test_a_gain_below_the_margin_is_one_of_direction_only() -> None:
    near = judged(*world(lambda row: claimed(row) if "attentive" not in row else
                         claimed(row.replace("attentive", "autoencoder")) - 0.0006,
                         noise=1e-5))  # fmt: skip
    assert near["embedding/attentive/autoencoder/MLP1"].main.verdict == "direction only"


def test_no_records_are_no_verdict_but_the_paper_has_its_own() -> None:
    found = judged([], [], [])
    verdicts = {name: j.main.verdict for name, j in found.items()}
    assert {v for name, v in verdicts.items() if name != "parameters/count"} == {"untestable"}
    printed = {name: j.in_print.verdict for name, j in found.items()}
    assert printed["mlp/simple/MLP1"] == "not replicated"  # 0.9957 against 0.9923
    assert printed["mlp/attentive/MLP1"] == "not replicated"  # 0.9761 twice
    assert found["mlp/attentive/MLP1"].in_print.no_difference
    for name in ("best", "mlp2/simple", "attention/MLP2", "parameters/MLP1", "parameters/count",
                 "baselines/simple + MLP1"):  # fmt: skip
        assert printed[name] == "replicated", found[name].in_print.sentence
    for name in ("subsample/MLP2", "ensemble/mean of all nine", "simple/bias (closed form)"):
        assert printed[name] == "untestable"


def test_parameters_are_counted_in_the_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    assert claims.embedding_numbers("attentive") == 128_000
    assert claims.embedding_numbers("simple") == 704_000
    assert claims.embedding_numbers("simple", 128) == 2 * 704_000
    monkeypatch.setattr(claims, "embedding_numbers", lambda embedding: 128_001)
    (found,) = [j for j in judge_all([BY_ID["parameters/count"]], [
        claims.evidence([], [], [], PUBLISHED)])]  # fmt: skip
    assert found.main.verdict == "not replicated"


def test_as_many_parameters_are_not_fewer() -> None:
    tables = world(claimed)
    for record in tables[1]:
        record["parameters"] = 900
    found = judged(*tables)["parameters/MLP2"].main
    assert found.verdict == "not replicated" and "900 parameters against 900" in found.sentence


def test_the_bag_is_judged_by_the_users_of_its_one_test_set() -> None:
    """Its test set is fixed: three folds cannot be had, and the users of the one decide."""
    names = [f"ensemble/{name}" for name in (experiments.BAGGED, experiments.WHOLE)]
    for gap, reach, expected in (
        (-0.01, 0.002, "replicated"),
        (0.01, 0.002, "not replicated"),
        (0.0001, 0.0002, "not replicated"),  # no difference
        (-0.0005, 0.0002, "direction only"),
        (-0.01, 0.03, "untestable"),
    ):
        table1, table2, ensembles = world(claimed)
        for record in ensembles:
            if record["row"] == experiments.BAGGED:
                record["metrics"] = of_a_mean(gap, reach)
        found = judged(table1, table2, ensembles)
        for verdict in (found[f"{end}{name}"].main for name in names for end in ("", "mae/")):
            assert verdict.verdict == expected, verdict.sentence
            assert "one fixed test set, over its 500 users" in verdict.sentence
            assert verdict.interval == pytest.approx((gap - reach, gap + reach))


def test_another_mean_needs_its_three_folds() -> None:
    """Its record has an interval over users as well, which says nothing of other folds."""
    table1, table2, ensembles = world(claimed)
    found = judged(table1, table2, [r for r in ensembles if not r["seed"]])
    for name in experiments.MEMBERS:
        verdict = found[f"ensemble/{name}"].main
        assert verdict.verdict == "untestable" and "1 of at least 3 folds" in verdict.sentence


def test_the_score_on_kaggle_counts_as_untestable_and_says_why(true: dict[str, Any]) -> None:
    found = true["ensemble/Kaggle"]
    assert found.main.verdict == found.in_print.verdict == "untestable"
    assert "prints no score of a submission" in found.main.sentence
    assert "mae/ensemble/Kaggle" not in true


def test_better_in_rmse_is_not_better_in_mae() -> None:
    """Each is judged by its own errors, and of MAE nothing is printed."""
    table1, table2, ensembles = world(claimed)
    for record in (*table1, *table2):
        if record["row"].startswith("attentive"):
            record["metrics"] = record["metrics"] | {"MAE": record["metrics"]["MAE"] + 0.5}
    found = judged(table1, table2, ensembles)
    for name in ("embedding/attentive/simple/MLP1", "best", "baselines/attentive + MLP2",
                 "simple/ALS with biases"):  # fmt: skip
        in_mae = found[f"mae/{name}"]
        assert (found[name].main.verdict, in_mae.main.verdict) == ("replicated", "not replicated")
        assert in_mae.in_print.verdict == "untestable"
        assert in_mae.main.sentence.count("MAE on cil") == 1


def test_every_claim_of_better_has_its_twin_in_mae() -> None:
    twins = {claim.id.removeprefix("mae/") for claim in CLAIMS if claim.family == "mae"}
    assert twins == {c.id for c in CLAIMS if c.family in claims.BETTER} - {"ensemble/Kaggle"}
    assert {"parameters", "number"} & {name.split("/")[0] for name in twins} == set()


def test_one_fold_is_set_against_the_spread_of_seeds() -> None:
    """Without seeds, or with seeds that differ as much as the variant does, nothing is said."""
    table1, table2, ensembles = world(claimed)
    bare = [r for r in table2 if r["variant"] != "seeds"]
    found = judged(table1, bare, ensembles)["subsample/MLP2"].main
    assert found.verdict == "untestable" and "at least 3 seeds" in found.sentence
    wide = [
        r | {"metrics": {m: x + 0.02 * (r["seed"] - 2) for m, x in r["metrics"].items()}}
        if r["variant"] == "seeds" and r["select"] == "fold-minimum"
        else r
        for r in table2
    ]
    found = judged(table1, wide, ensembles)["subsample/MLP2"].main
    assert found.verdict == "untestable" and "one fold" in found.sentence


def test_the_spread_is_of_the_combination_s_own_seeds() -> None:
    """Seeds of another model of the same embedding that differ more change nothing."""
    table1, table2, ensembles = world(claimed)
    plain = judged(table1, table2, ensembles)["subsample/inner product"].main
    wide = [
        r | {"metrics": {m: x + 0.02 * (r["seed"] - 2) for m, x in r["metrics"].items()}}
        if r["variant"] == "seeds" and r["row"] == claims.WINNER
        else r
        for r in table2
    ]
    assert judged(table1, wide, ensembles)["subsample/inner product"].main == plain
    assert plain.verdict != "untestable"
    assert judged(table1, wide, ensembles)["subsample/MLP2"].main.verdict == "untestable"


def test_the_winner_must_lead_everyone() -> None:
    found = judged(*world(lambda row: 0.96 if row == "simple + MLP1" else claimed(row)))
    assert found["best"].main.verdict == "not replicated"
    assert "simple + MLP1 is better" in found["best"].main.sentence


@pytest.mark.parametrize(
    ("lead", "noise", "rmse", "mae"),
    [
        (0.0005, 1e-5, "replicated", "direction only"),  # established, and less than the margin
        (0.0005, 4e-4, "not replicated", "not replicated"),  # ahead; a lead as printed is excluded
    ],
)
def test_a_printed_lead_has_a_rule_of_its_own_and_its_twin_in_mae_has_not(
    lead: float, noise: float, rmse: str, mae: str
) -> None:
    """As the page of verdicts says it."""
    found = judged(*world(lambda row: 0.97 - lead * (row == claims.WINNER), noise=noise))
    assert found["best"].main.verdict == rmse, found["best"].main.sentence
    assert found["mae/best"].main.verdict == mae, found["mae/best"].main.sentence


def test_honest_epochs_are_judged_apart() -> None:
    table1, table2, ensembles = world(claimed)
    worse = [
        r | {"metrics": {m: x + 0.05 for m, x in r["metrics"].items()}}
        if r["select"] == "validation" and r["row"].startswith("attentive")
        else r
        for r in table2
    ]
    found = judged(table1, worse, ensembles)["embedding/attentive/simple/MLP2"]
    assert (found.main.verdict, found.again.verdict) == ("replicated", "not replicated")


def test_other_data_are_not_compared() -> None:
    table1, table2, ensembles = world(claimed)
    for record in table2:
        if record["row"] == "attentive + MLP2":
            record["data_hash"] = "other"
    found = judged(table1, table2, ensembles)["embedding/attentive/simple/MLP2"].main
    assert "different versions" in found.sentence


def test_ids_are_there_once() -> None:
    assert len(BY_ID) == len(CLAIMS)
    assert isinstance(CLAIMS[0].judge(claims.evidence([], [], [], PUBLISHED)), Verdict)


# --- single users ----------------------------------------------------------------------------


def of_users(gain: float, correlation: float | None = None) -> dict[str, Any]:
    """Claims on explanations and new users, where what is claimed is ``gain`` larger than it.

    The rank correlation with genres is ``correlation``; that of shuffled attention is 0.
    """
    correlation = gain if correlation is None else correlation
    rng = np.random.default_rng(0)
    told: tuple[list[Any], dict[str, Any]] = ([], {})
    new: tuple[list[Any], dict[str, Any]] = ([], {})
    for seed in range(5):
        for (dataset, _), predictor in itertools.product(claims.EXPLAINED, claims.PREDICTORS):
            values = {}
            for k in claims.REMOVED:
                for arm in ("attended", "random", "shuffled", "attended, uniform"):
                    more = gain if arm == "attended" else 0.0
                    values[f"moved/{arm}/{k}"] = 0.1 + 0.1 * more + rng.normal(0, 1e-3, 300)
            for arm in ("own", "uniform"):
                less = gain if arm == "own" else 0.0
                values[f"squared error/{arm}"] = 1.0 - 0.1 * less + rng.normal(0, 1e-3, 300)
            values["genres/attention"] = correlation + rng.normal(0, 1e-3, 300)
            values["genres/shuffled"] = rng.normal(0, 1e-3, 300)
            row = f"attentive + {predictor}"
            key = f"{row}/{dataset}/{seed}"
            made = run(row, seed, 1.0, table=claims.EXPLANATIONS, key=key)
            told[0].append(made | {"dataset": dataset, "select": "validation-no-refit"})
            told[1][key] = values
        for dataset, protocol in claims.NEW_USERS:
            for row in (*claims.TUNED, *claims.TUNED.values()):
                better = gain if row in claims.TUNED else 0.0
                key = f"{row}/{dataset}/{seed}"
                made = run(row, seed, 1.0, table=claims.NEWCOMERS, key=key, protocol=protocol)
                new[0].append(made | {"dataset": dataset, "select": "validation-no-refit"})
                new[1][key] = {
                    f"squared error/{n}": 1.0 - 0.1 * better + rng.normal(0, 1e-3, 300)
                    for n in claims.KNOWN
                }
    found = judge_all(CLAIMS, claims.single_users(told, new, PUBLISHED))
    return {j.claim.id: j.main for j in found}


def test_explanations_and_new_users_can_come_out_both_ways() -> None:
    true, false, none = (of_users(gain) for gain in (0.5, -0.5, 0.0))
    kinds = {"explains-genres", "explains-moved", "explains-weights"}
    assert {name.split("/")[0] for name in true} == {*kinds, "newcomers"} and len(true) == 30
    for name, verdict in true.items():
        assert verdict.verdict == "replicated", verdict.sentence
        assert false[name].verdict == "not replicated", false[name].sentence
        # No worse is enough for new users, but not for an explanation.
        expected = "replicated" if name.startswith("newcomers") else "not replicated"
        assert none[name].verdict == expected, none[name].sentence


def test_weights_that_are_almost_even_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Movies that carry as much under equal weights: attended ones, but not by attention."""
    same = {"attended, uniform": "attended"}
    arms = {
        metric: {arm: name.replace(arm, same.get(arm, arm)) for arm, name in of.items()}
        for metric, of in claims.ARMS.items()
    }
    monkeypatch.setattr(claims, "ARMS", arms)
    found = of_users(0.5)
    for (dataset, _), predictor in itertools.product(claims.EXPLAINED, claims.PREDICTORS):
        assert found[f"explains-moved/{predictor}/{dataset}"].verdict == "replicated"
        assert found[f"explains-weights/{predictor}/{dataset}"].verdict == "not replicated"


def test_attention_that_predicts_no_better_than_equal_weights_does_not_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its movies move the prediction more than with equal weights, but the error is the same."""
    arms = claims.ARMS | {
        claims.ERROR: dict.fromkeys(claims.ARMS[claims.ERROR], f"{claims.ERROR}/own")
    }
    monkeypatch.setattr(claims, "ARMS", arms)
    found = of_users(0.5)
    for (dataset, _), predictor in itertools.product(claims.EXPLAINED, claims.PREDICTORS):
        assert found[f"explains-weights/{predictor}/{dataset}"].verdict == "not replicated"


def test_a_new_user_is_judged_with_the_predictor_unchanged() -> None:
    """Attention and autoencoder stand beside look-ups that differ in the embedding alone."""
    names = {method.name: method for method in newcomers.METHODS.values()}
    for row, tuned in claims.TUNED.items():
        assert names[tuned].way == "tuned"
        pairs = [names[name].model.split("-") for name in (row, tuned)]
        assert pairs[0][1] == pairs[1][1] and pairs[1][0] == "simple"


@pytest.mark.parametrize(
    ("correlation", "expected"),
    [(0.3, "replicated"), (0.05, "direction only"), (0.005, "direction only"),
     (-0.05, "not replicated"), (0.0, "not replicated")],
)  # fmt: skip
def test_a_tiny_correlation_with_genres_is_none(correlation: float, expected: str) -> None:
    """The control is 0 by design: a margin that is a share of it would be nothing."""
    found = of_users(0.5, correlation)
    for (dataset, _), predictor in itertools.product(claims.EXPLAINED, claims.PREDICTORS):
        verdict = found[f"explains-genres/{predictor}/{dataset}"]
        assert verdict.verdict == expected, verdict.sentence
        if correlation >= 0.05:
            assert "margin of 0.1" in verdict.sentence
