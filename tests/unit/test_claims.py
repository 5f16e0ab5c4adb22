"""Every predicate, on planted records, can come out each way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from replication.claims import (
    VERDICTS,
    Claim,
    Comparison,
    Evidence,
    NoEvidence,
    Verdict,
    judge,
    judge_number,
    tally,
    verdict_table,
    weakest,
)
from replication.compare import Cell, load_published
from replication.papers.amp_cf import claims as amp
from replication.papers.amp_cf.claims import CLAIMS

Planted = tuple[list[dict[str, Any]], dict[str, Any]]
BY_ID = {claim.id: claim for claim in CLAIMS}
PLACE = ("ml-1m", "loo-ncf")


@pytest.fixture(scope="module")
def published() -> pd.DataFrame:
    return load_published("amp_cf")


def spread(count: int, users: int, start: int = 0) -> np.ndarray:
    """[U] ranks: exactly `count` users have rank 0, the others 50; users of a rank in one block."""
    ranks = np.full(users, 50, dtype=np.uint16)
    ranks[start : start + count] = 0
    return ranks


def plant(
    rates: dict[str, float],
    users: int = 4000,
    seeds: int = 5,
    noise: float = 0.0,
    place: tuple[str, str] = PLACE,
    **changes: Any,
) -> Planted:
    """Records of several models whose HR@10 (and NDCG@10: all hits are in first place) is given.

    Without noise all seeds agree and the better model hits whatever the worse one hits; with noise
    that share of the users is drawn anew for every model and seed.
    """
    rng = np.random.default_rng(5)
    records, ranks = [], {}
    for row, rate in rates.items():
        for seed in range(1 if row == "MostPop" else seeds):
            array = spread(round(rate * users), users)
            if noise:
                again = rng.random(users) < noise
                array[again] = np.where(rng.random(int(again.sum())) < rate, 0, 50)
            rate_now = float((array == 0).mean())
            key = "/".join((row, *place, str(seed)))
            record = {
                "key": key,
                "table": "amp_cf/table2",
                "row": row,
                "dataset": place[0],
                "protocol": place[1],
                "variant": "",
                "select": "none" if row == "MostPop" else "validation",
                "seed": seed,
                "config": {"row": row, "seed": seed},
                "data_hash": "d",
                "metrics": {"HR@10": rate_now, "NDCG@10": rate_now},
                "time": "2026-01-01T00:00:00Z",
            }
            records.append(record | changes)
            ranks[key] = (array, None)
    return records, ranks


def both(*parts: Planted) -> Planted:
    records, ranks = [], {}
    for some, more in parts:
        records += some
        ranks |= more
    return records, ranks


@pytest.fixture()
def judged(published: pd.DataFrame) -> Callable[..., Verdict]:
    def work(name: str, planted: Planted, frame: pd.DataFrame | None = None) -> Verdict:
        table = published if frame is None else frame
        evidence = Evidence("amp_cf/table2", *planted, table, draws=300)
        verdict = BY_ID[name].judge(evidence)
        assert verdict.claim is BY_ID[name]
        assert verdict.sentence.endswith(".")
        assert "nan" not in verdict.sentence.lower()
        return verdict

    return work


# ---------------------------------------------------------------------------------------------
# (a) The printed number is reached
# ---------------------------------------------------------------------------------------------

NUMBER = "number/AMP-2/ml-1m/loo-ncf/HR@10"  # printed: 0.7358


@pytest.mark.parametrize(
    ("rate", "users", "expected", "words"),
    [
        (0.7358, 6040, "replicated", "within the margin of 0.02"),
        (0.7300, 6040, "replicated", "within the margin of 0.02"),
        (0.7180, 6040, "direction only", "near, but not within"),  # 0.018 off, interval 0.011
        (0.6500, 6040, "not replicated", "below the printed number by more than 0.02"),
        (0.8200, 6040, "not replicated", "above the printed number by more than 0.02"),
        (0.7358, 610, "untestable", "too little data: with 610 users one standard error is 0.017"),
        (0.6000, 610, "not replicated", "below"),  # far off can be seen with few users, too
    ],
)
def test_printed_number(
    rate: float, users: int, expected: str, words: str, judged: Callable[..., Verdict]
) -> None:
    verdict = judged(NUMBER, plant({"AMP-2": rate}, users))
    assert verdict.verdict == expected
    assert words in verdict.sentence
    assert verdict.statistic == pytest.approx(rate - 0.7358, abs=1 / users)
    assert verdict.interval is not None
    assert verdict.interval[0] < verdict.statistic < verdict.interval[1]


def test_printed_number_comes_from_the_table(
    judged: Callable[..., Verdict], published: pd.DataFrame
) -> None:
    other = published.copy()
    here = (other["row"] == "AMP-2") & (other["dataset"] == "ml-1m") & (other["metric"] == "HR@10")
    other.loc[here, "value"] = 0.65
    assert judged(NUMBER, plant({"AMP-2": 0.65}, 6040)).verdict == "not replicated"
    assert judged(NUMBER, plant({"AMP-2": 0.65}, 6040), other).verdict == "replicated"


def test_a_number_that_is_not_printed_is_untestable(published: pd.DataFrame) -> None:
    def predicate(claim: Claim, evidence: Evidence) -> Verdict:
        return judge_number(claim, evidence, "AMP-8", *PLACE, "HR@10", 0.02)

    evidence = Evidence("amp_cf/table2", *plant({"AMP-8": 0.7}), published)
    verdict = Claim("number/x", "x", "nowhere", predicate).judge(evidence)
    assert verdict.verdict == "untestable"
    assert verdict.sentence == "the paper prints no HR@10 of AMP-8 on ml-1m."


# ---------------------------------------------------------------------------------------------
# (b), (d) Several personas beat one vector; AMP beats MostPop
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("personas/AMP-4/ml-1m/loo-ncf/HR@10", "MF (r=1)"),
        ("popularity/AMP-8/ml-1m/loo-ncf/NDCG@10", "MostPop"),
    ],
)
@pytest.mark.parametrize(
    ("gain", "users", "noise", "expected", "words"),
    [
        (0.05, 4000, 0.3, "replicated", "at least the margin of 0.01"),
        (0.005, 6000, 0.0, "direction only", "a real difference, but smaller than the margin"),
        (0.0, 6000, 0.0, "not replicated", "a gain of 0.01 is excluded"),
        (-0.05, 4000, 0.3, "not replicated", "is worse"),
        (0.0, 40, 0.8, "untestable", "too little data"),
    ],
)
def test_gain(
    name: str,
    other: str,
    gain: float,
    users: int,
    noise: float,
    expected: str,
    words: str,
    judged: Callable[..., Verdict],
) -> None:
    row = name.split("/")[1]
    verdict = judged(name, plant({row: 0.6 + gain, other: 0.6}, users, noise=noise))
    assert verdict.verdict == expected
    assert words in verdict.sentence
    assert verdict.statistic == pytest.approx(gain, abs=1.5 / users**0.5)


def test_a_gain_that_is_not_established_but_no_loss_is_direction_only(
    judged: Callable[..., Verdict],
) -> None:
    """Ahead by 0.006, interval about ± 0.01: a loss of 0.01 is excluded, no gain is shown."""
    planted = plant({"AMP-2": 0.606, "MF (r=1)": 0.6}, 6000, seeds=5, noise=0.2)
    verdict = judged("personas/AMP-2/ml-1m/loo-ncf/HR@10", planted)
    assert verdict.interval is not None and -0.01 < verdict.interval[0] < 0 < verdict.interval[1]
    assert (verdict.verdict, verdict.interval[1] > 0.01) == ("direction only", True)
    assert "no gain is established, a loss of 0.01 is excluded" in verdict.sentence


def test_the_correction_counts_all_comparisons_of_the_table(
    judged: Callable[..., Verdict],
) -> None:
    """A difference that stands alone falls among many that are nothing."""
    name = "personas/AMP-2/ml-1m/loo-ncf/HR@10"
    alone = plant({"AMP-2": 0.63, "MF (r=1)": 0.6}, 200)  # six users: p about 0.014
    first = judged(name, alone)
    assert first.verdict == "replicated" and "(Holm, 2 comparisons)" in first.sentence
    rates = {"AMP-2": 0.6, "AMP-3": 0.6, "AMP-4": 0.6, "AMP-8": 0.6, "MF (r=1)": 0.6}
    others = [
        plant(rates, 200, noise=0.5, place=(dataset, protocol))
        for dataset, protocol in (("ml-100k", "loo-last"), ("ml-100k", "loo-random"))
    ]
    second = judged(name, both(alone, *others))
    assert "(Holm, 18 comparisons)" in second.sentence
    assert second.statistic == first.statistic
    assert second.verdict == "direction only"


# ---------------------------------------------------------------------------------------------
# (c) AMP-2 is the best of the AMP rows, as printed
# ---------------------------------------------------------------------------------------------

BEST = "best/ml-1m/loo-ncf/HR@10"  # printed leads 0.0042 and 0.0078


@pytest.mark.parametrize(
    ("rates", "users", "noise", "expected"),
    [
        ((0.75, 0.70, 0.71), 4000, 0.2, "replicated"),
        ((0.703, 0.70, 0.70), 1000, 0.02, "direction only"),  # ahead by three users
        ((0.70, 0.75, 0.65), 4000, 0.2, "not replicated"),  # AMP-3 is better
        ((0.70, 0.70, 0.70), 6000, 0.0, "not replicated"),  # no lead as large as printed
        ((0.70, 0.70, 0.70), 150, 0.6, "untestable"),
    ],
)
def test_best(
    rates: tuple[float, float, float],
    users: int,
    noise: float,
    expected: str,
    judged: Callable[..., Verdict],
) -> None:
    planted = plant(dict(zip(amp.PRINTED_ROWS, rates, strict=True)), users, noise=noise)
    assert judged(BEST, planted).verdict == expected


def test_the_printed_best_is_amp_2_where_the_claim_says_so(published: pd.DataFrame) -> None:
    evidence = Evidence("amp_cf/table2", [], {}, published)
    for dataset in ("ml-latest-small", "ml-1m"):
        for metric in amp.METRICS:
            assert amp.printed_best(evidence, dataset, metric) == "AMP-2"
    assert amp.printed_best(evidence, "amazon-video-games", "HR@10") == "AMP-3"
    pair = Comparison("AMP-2", "AMP-3", "ml-latest-small", "loo-last", "HR@10")
    assert pair in amp.comparisons(evidence)


def test_best_needs_every_rival(judged: Callable[..., Verdict]) -> None:
    verdict = judged(BEST, plant({"AMP-2": 0.75, "AMP-3": 0.70}))
    assert verdict.verdict == "untestable"
    assert verdict.sentence == "AMP-4: the model has no records yet."


# ---------------------------------------------------------------------------------------------
# Baselines that are not run yet
# ---------------------------------------------------------------------------------------------


def test_baselines_without_records_are_untestable(judged: Callable[..., Verdict]) -> None:
    planted = plant({"AMP-2": 0.7, "MF (r=1)": 0.6, "MostPop": 0.4})
    for baseline in ("DeepICF+a", "NCF", "ConvNCF", "DiRec", "AISP-2", "AISP-3", "AISP-4"):
        verdict = judged(f"baselines/{baseline}", planted)
        assert (verdict.verdict, verdict.statistic, verdict.interval) == ("untestable", None, None)
        assert verdict.sentence == f"{baseline}: the model has no records yet."


@pytest.mark.parametrize(
    ("rates", "users", "noise", "expected"),
    [
        ((0.75, 0.70), 4000, 0.2, "replicated"),
        ((0.703, 0.70), 1000, 0.02, "direction only"),
        ((0.70, 0.75), 4000, 0.2, "not replicated"),
        ((0.70, 0.70), 150, 0.6, "untestable"),
    ],
)
def test_a_baseline_with_records_is_judged(
    rates: tuple[float, float],
    users: int,
    noise: float,
    expected: str,
    judged: Callable[..., Verdict],
) -> None:
    planted = plant({"AMP-2": rates[0], "NCF": rates[1]}, users, noise=noise)
    verdict = judged("baselines/NCF", planted)
    assert verdict.verdict == expected
    assert "of 2 parts" in verdict.sentence  # HR and NDCG on the one data set that has records


def test_only_printed_leads_are_claimed(published: pd.DataFrame) -> None:
    evidence = Evidence("amp_cf/table2", [], {}, published)
    places = {(c.dataset, c.metric) for c in amp._against(evidence, "AISP-2")}
    assert ("amazon-video-games", "HR@10") not in places  # 0.5752 against 0.5751
    assert ("yahoo-music", "NDCG@10") not in places  # 0.7001 against 0.6988
    assert ("amazon-video-games", "NDCG@10") in places


# ---------------------------------------------------------------------------------------------
# Evidence
# ---------------------------------------------------------------------------------------------

GAIN = "personas/AMP-2/ml-1m/loo-ncf/HR@10"
PAIR = {"AMP-2": 0.7, "MF (r=1)": 0.6}


def test_two_seeds_are_too_few_and_three_are_enough(judged: Callable[..., Verdict]) -> None:
    verdict = judged(GAIN, plant(PAIR, seeds=2))
    assert verdict.verdict == "untestable"
    assert "too little data" in verdict.sentence and "2 of at least 3 seeds" in verdict.sentence
    assert judged(GAIN, plant(PAIR, seeds=3)).verdict == "replicated"
    assert judged(NUMBER, plant(PAIR, seeds=2)).verdict == "untestable"


def test_only_common_seeds_are_paired(published: pd.DataFrame) -> None:
    records, ranks = plant(PAIR, users=100)
    records = [r for r in records if r["row"] == "AMP-2" or r["seed"] != 1]
    evidence = Evidence("amp_cf/table2", records, ranks, published)
    a, b = evidence.pair(Comparison("AMP-2", "MF (r=1)", *PLACE, "HR@10"))
    assert a.shape == b.shape == (4, 100)
    assert evidence.values("AMP-2", *PLACE, "HR@10").shape == (5, 100)


def test_mostpop_needs_one_run(published: pd.DataFrame) -> None:
    planted = plant({"AMP-2": 0.7, "MostPop": 0.4}, users=100)
    evidence = Evidence("amp_cf/table2", *planted, published)
    a, b = evidence.pair(Comparison("AMP-2", "MostPop", *PLACE, "HR@10"))
    assert (a.shape, b.shape) == ((5, 100), (1, 100))
    test = evidence.test(Comparison("AMP-2", "MostPop", *PLACE, "HR@10"))
    assert (test.n_seeds, test.difference) == (5, pytest.approx(0.3))


def test_variants_and_other_selections_are_no_evidence(judged: Callable[..., Verdict]) -> None:
    for change in ({"variant": "printed-loss"}, {"select": "test"}, {"table": "amp_cf/tuning"}):
        verdict = judged(GAIN, plant(PAIR, **change))
        assert verdict.sentence == "AMP-2: the model has no records yet."


def test_models_on_different_data_are_not_compared(judged: Callable[..., Verdict]) -> None:
    planted = both(plant({"AMP-2": 0.7}), plant({"MF (r=1)": 0.6}, data_hash="other"))
    verdict = judged(GAIN, planted)
    assert verdict.verdict == "untestable"
    assert "different versions of ml-1m" in verdict.sentence


def test_the_grid_says_why_there_are_no_records(published: pd.DataFrame) -> None:
    cell = Cell(
        "amp_cf/table2",
        "AMP-2",
        "yahoo-music",
        "loo-random",
        "validation",
        unavailable="the data need a licence.",
    )
    evidence = Evidence("amp_cf/table2", *plant(PAIR), published, grid=[cell])
    verdict = BY_ID["number/AMP-2/yahoo-music/loo-random/HR@10"].judge(evidence)
    assert verdict.verdict == "untestable"
    assert verdict.sentence == (
        "AMP-2 has no records on yahoo-music under loo-random: the data need a licence."
    )


def test_the_grid_says_which_seeds_count(published: pd.DataFrame) -> None:
    planted = plant(PAIR, users=100)
    cell = Cell("amp_cf/table2", "AMP-2", *PLACE, "validation", seeds_required=3)
    evidence = Evidence("amp_cf/table2", *planted, published, grid=[cell])
    assert evidence.values("AMP-2", *PLACE, "HR@10").shape == (3, 100)
    assert evidence.values("MF (r=1)", *PLACE, "HR@10").shape == (5, 100)


def test_holm_is_taken_over_what_has_records(published: pd.DataFrame) -> None:
    evidence = Evidence("amp_cf/table2", *plant(PAIR, noise=0.2), published)
    adjusted = evidence.adjusted(amp.comparisons(evidence))
    assert {(c.a, c.b) for c in adjusted} == {("AMP-2", "MF (r=1)")}
    assert len(adjusted) == 2
    for comparison, p in adjusted.items():
        assert p == pytest.approx(min(1.0, 2 * evidence.test(comparison).pvalue))


# ---------------------------------------------------------------------------------------------
# The list of claims and its tables
# ---------------------------------------------------------------------------------------------


def test_the_list_is_whole_and_without_records_nothing_is_decided(published: pd.DataFrame) -> None:
    assert len(BY_ID) == len(CLAIMS)
    assert {claim.family for claim in CLAIMS} == {
        "number",
        "personas",
        "popularity",
        "best",
        "baselines",
        "simple",
    }
    verdicts = judge(CLAIMS, Evidence("amp_cf/table2", [], {}, published))
    assert {v.verdict for v in verdicts} == {"untestable"}
    counts = tally(verdicts)
    assert list(counts.columns) == list(VERDICTS)
    # 3 rows x 7 places x 2 metrics; 4 rows x 6 places x 2; the same; 4 places x 2;
    # 7 models; 3 models x 8 places x 2
    assert counts["untestable"].to_dict() == {
        "number": 42,
        "personas": 48,
        "popularity": 48,
        "best": 8,
        "baselines": 7,
        "simple": 48,
    }


@pytest.mark.parametrize(
    "rate, verdict", [(0.5, "replicated"), (0.6, "not replicated"), (0.8, "not replicated")]
)
def test_the_best_on_validation_meets_a_simple_model(
    published: pd.DataFrame, rate: float, verdict: str
) -> None:
    """AMP-2 is best on the validation items and AMP-4 on the test items: AMP-2 is compared."""
    curve = {"curve": {"epoch": [1, 2], "NDCG@10": [0.5, 0.4]}}
    worse = {"curve": {"epoch": [1, 2], "NDCG@10": [0.3, 0.4]}}
    records, ranks = both(
        plant({"AMP-2": 0.6}, **curve), plant({"AMP-4": 0.9}, **worse), plant({"EASE^R": rate})
    )
    found = judge(
        [BY_ID[f"simple/EASE^R/{PLACE[0]}/{PLACE[1]}/HR@10"]],
        Evidence("amp_cf/table2", records, ranks, published, draws=300),
    )[0]
    assert found.verdict == verdict
    assert found.statistic == pytest.approx(0.6 - rate)


def test_verdict_table(published: pd.DataFrame) -> None:
    evidence = Evidence("amp_cf/table2", *plant(PAIR, 6040), published, draws=300)
    verdicts = judge([BY_ID[GAIN], BY_ID["baselines/NCF"]], evidence)
    table = verdict_table(verdicts)
    assert table["verdict"].tolist() == ["replicated", "untestable"]
    assert table["difference"].tolist() == ["+0.1000", "–"]
    assert table.loc[0, "95 % interval"].startswith("[+0.0")
    assert table.loc[1, "95 % interval"] == "–"
    assert not table.isna().any().any()
    assert tally(verdicts).loc["personas", "replicated"] == 1
    assert verdict_table([]).empty


def test_the_weakest_part_decides() -> None:
    claim = Claim("x/y", "x", "y", lambda c, e: weakest(c, []))
    parts = {
        kind: Verdict(claim, kind, float(i), (0.0, 1.0), f"{kind} because.")
        for i, kind in enumerate(VERDICTS)
    }
    assert weakest(claim, [parts["replicated"]]) == parts["replicated"]
    assert weakest(claim, [parts["replicated"], parts["direction only"]]).statistic == 1.0
    verdict = weakest(claim, [parts[k] for k in ("direction only", "untestable", "replicated")])
    assert verdict.verdict == "untestable"
    assert verdict.sentence == "untestable because (untestable in 1 of 3 parts)."
    assert weakest(claim, list(parts.values())).verdict == "not replicated"
    with pytest.raises(NoEvidence, match="no part of the claim"):
        weakest(claim, [])


def test_a_verdict_is_one_of_four() -> None:
    with pytest.raises(ValueError, match="not 'maybe'"):
        Verdict(CLAIMS[0], "maybe", None, None, "")
