"""What a page calls: its parameters are checked, its sentences are computed and cope with gaps."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from replication import page, questions
from replication.compare import load_published
from replication.errors import ReplicationError
from replication.page import Study, check_names, made_by, open_table, two_digits
from replication.papers import registry
from replication.papers.amp_cf import explanations
from replication.papers.amp_cf import planted as planting
from replication.papers.amp_cf.pages import data, table2, table3, verdicts
from replication.papers.amp_cf.pages import explanations as explaining
from replication.tables import COMPLETE
from replication.training import described
from replication.verdicts import Verdicts

PARAMETERS: dict[str, Any] = {
    "mode": "stored",
    "dataset": None,
    "personas": None,
    "protocol": None,
    "select": "validation",
    "seeds": None,
    "device": "auto",
}
PLACE = ("ml-latest-small", "loo-random")
PRINTED = load_published("amp_cf")


# ---------------------------------------------------------------------------------------------
# Parameters
# ---------------------------------------------------------------------------------------------


def test_names_of_the_kernel_are_no_parameters() -> None:
    kernel = {"In": [], "Out": {}, "exit": 0, "quit": 0, "get_ipython": 0, "open": 0, "page": page}
    check_names({**kernel, "_": 1, "__name__": "__main__", "_i1": "", "mode": "stored"}, ["mode"])


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(
        ReplicationError, match=r"unknown parameter sed, zeds; .* takes mode, seeds"
    ):
        check_names({"mode": "stored", "seeds": 5, "zeds": 5, "sed": 5}, ["mode", "seeds"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mode": "fast"}, "unknown mode 'fast'; use one of stored, quick, full"),
        ({"dataset": "ml-10m"}, "unknown dataset 'ml-10m'.*ml-latest-small"),
        ({"dataset": "yahoo-music", "mode": "full"}, "unknown dataset 'yahoo-music'.* ml-100k"),
        ({"protocol": "loo"}, "unknown protocol 'loo'; use one of loo-random"),
        ({"select": "train"}, "unknown select 'train'; use one of validation, test"),
        ({"device": "tpu"}, "device 'tpu'"),
        ({"personas": 0}, "personas should be a whole number of at least 1, not 0"),
        ({"personas": "two"}, "personas should be a whole number of at least 1, not 'two'"),
        ({"personas": 2.5}, "personas should be a whole number"),
        ({"personas": True}, "personas should be a whole number"),
        ({"seeds": -1}, "seeds should be a whole number of at least 1, not -1"),
        ({"personas": 5}, "amp_cf/table2 has no cell of AMP-5; mode 'full' can run it"),
        ({"dataset": "ml-100k", "protocol": "loo-ncf"}, "has no cell of ml-100k, loo-ncf$"),
        ({"sees": 5}, "unknown parameter sees"),
    ],
)
def test_a_wrong_value_is_one_sentence(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ReplicationError, match=words) as caught:
        open_table("amp_cf/table2", PARAMETERS | change, list(PARAMETERS))
    assert "\n" not in str(caught.value)


def test_cuda_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ReplicationError, match="torch finds no CUDA device here; use --device cpu"):
        open_table("amp_cf/table2", PARAMETERS | {"device": "cuda"}, list(PARAMETERS))


def test_a_page_that_only_shows_records_retrains_nothing() -> None:
    for table in ("amp_cf/table1", "amp_cf/table2"):
        assert open_table(table, {"mode": "stored"}, ["mode"]).records
        with pytest.raises(ReplicationError, match="this page only shows stored records"):
            open_table(table, {"mode": "full"}, ["mode"])


def test_parameters_choose_the_cells() -> None:
    everything = open_table("amp_cf/table2", PARAMETERS, list(PARAMETERS))
    assert {c.dataset for c in everything.grid} >= {"ml-latest-small", "ml-1m", "yahoo-music"}
    change = {"dataset": "ml-1m", "protocol": "loo-ncf", "personas": 2, "seeds": 2}
    some = open_table("amp_cf/table2", PARAMETERS | change, list(PARAMETERS))
    assert {(c.dataset, c.protocol) for c in some.grid} == {("ml-1m", "loo-ncf")}
    rows = {c.row for c in some.grid}
    assert {"AMP-2", "MostPop"} <= rows and not {"AMP-3", "MF (r=1)"} & rows
    assert {c.row: c.seeds_required for c in some.grid}["AMP-2"] == 2
    assert {c.row: c.seeds_required for c in some.grid}["MostPop"] == 1
    assert {row["dataset"] for row in some.rows()} == {"ml-1m"}
    assert all(r["dataset"] == "ml-1m" and r["seed"] < 2 for r in some.runs())


# ---------------------------------------------------------------------------------------------
# Sentences and tables, on planted records
# ---------------------------------------------------------------------------------------------


def plant(
    row: str, rate: float, seeds: int = 5, users: int = 600, **changes: Any
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Runs of one model whose HR@10 is `rate`; a fifth of the users changes with the seed."""
    records, ranks = [], {}
    for seed in range(seeds):
        array = np.where(np.arange(users) < round(rate * users), 0, 50).astype(np.uint16)
        rng = np.random.default_rng([seed, round(1000 * rate)])
        again = rng.random(users) < 0.2
        array[again] = np.where(rng.random(int(again.sum())) < rate, 0, 50)
        record = {
            "key": f"{row}/{changes.get('variant', '')}/{changes.get('select', '')}/{seed}",
            "table": "amp_cf/table2",
            "row": row,
            "dataset": PLACE[0],
            "protocol": PLACE[1],
            "variant": "",
            "select": "none" if row == "MostPop" else "validation",
            "seed": seed,
            "config": {"max_epochs": 3},
            "data_hash": "d",
            "data_source": "made up",
            "metrics": dict.fromkeys(
                ("HR@10", "NDCG@10", "HR@10/full", "NDCG@10/full"), float((array < 10).mean())
            ),
            "curve": {
                "epoch": [1, 2, 3],
                "loss": [3.0, 2.0, 1.5],
                "HR@10": [0.5, 0.6, 0.55],
                "NDCG@10": [0.3, 0.4, 0.35],
            },
            "epochs": 2,
            "parameters": 1000,
            "seconds": 60.0,
            "seconds_per_epoch": 0.5,
            "device": "cpu",
            "versions": {"python": "3.11.0", "torch": "2.13.0"},
            "machine": "Linux x86_64, 2 cores",
            "source": "abc",
            "time": "2026-01-01T00:00:00Z",
        } | changes
        if row == "MostPop":
            del record["curve"]
        records.append(record)
        ranks[record["key"]] = (array, array)
    return records, ranks


def cosines(row: str, cosine: float) -> list[dict[str, Any]]:
    """Records of explanations that say how alike a model's personas are."""
    place = {"row": row, "dataset": PLACE[0], "protocol": PLACE[1], "select": "validation"}
    return [
        {"key": f"{row} {seed}", "table": "amp_cf/explanations", "variant": "", "seed": seed,
         "time": "", "metrics": {"overlap/cosine": cosine}} | place
        for seed in range(3)
    ]  # fmt: skip


def study(*parts: tuple[list[dict[str, Any]], dict[str, Any]]) -> Study:
    empty = open_table("amp_cf/table2", PARAMETERS, list(PARAMETERS))
    records: list[dict[str, Any]] = []
    ranks: dict[str, Any] = {}
    for some, more in parts:
        records += some
        ranks |= more
    return Study("amp_cf/table2", "stored", "validation", records, ranks,
                 load_published("amp_cf"), empty.grid)  # fmt: skip


@pytest.fixture(scope="module")
def planted() -> Study:
    return study(
        plant("AMP-2", 0.80),
        plant("AMP-2", 0.70, variant="printed-loss"),
        plant("AMP-2", 0.80, seeds=3, select="validation-no-refit"),
        plant("MF (r=1)", 0.60),
        plant("MostPop", 0.40, seeds=1),
        plant("MostPop", 0.40, seeds=5, variant="redraw"),
    )


def test_the_effect_of_a_variant(planted: Study) -> None:
    worse, missing = planted.effects("printed-loss", metrics=("HR@10",))
    assert worse.row == "AMP-2" and worse.test is not None
    assert worse.test.difference == pytest.approx(-0.10, abs=0.03)
    assert worse.test.ci_high < 0 and worse.test.n_seeds == 5
    assert re.fullmatch(
        r"HR@10 of AMP-2 on ml-latest-small \(loo-random\) goes from 0\.\d{4} to 0\.\d{4}, "
        r"-0\.\d{4} \[-0\.\d{4}, -0\.\d{4}\], 5 seeds: lower",
        worse.sentence,
    )
    assert missing.row == "MF (r=1)" and missing.test is None
    assert missing.sentence == "HR@10 of MF (r=1) on ml-latest-small (loo-random): pending"
    table = page.effect_table([worse, missing])
    assert table.loc["MF (r=1)", "difference [95 %]"] == "pending"
    assert not table.isna().any(axis=None)


@pytest.mark.parametrize(
    ("hits", "words"),
    [(0.95, "above"), (0.73, "no further apart than by chance"), (0.40, "below")],
)
def test_ncf_beside_what_its_authors_print(hits: float, words: str) -> None:
    place = {"variant": "ncf-settings", "seeds": 1, "dataset": "ml-1m", "protocol": "loo-ncf"}
    text = table2.ncf_beside_its_authors(study(plant("NCF", hits, **place)))
    found = re.search(
        r"HR@10 is (\S+) ±(\S+) \(95 %, over users\) and 0.7300 in print: (.*?);", text
    )
    assert found and found[3] == words
    assert float(found[1]) == pytest.approx(hits, abs=0.05) and 0 < float(found[2]) < 0.1
    assert re.search(r"best after epoch \d+ of \d+ since the fusion\.$", text)


def test_ncf_is_set_beside_the_best_amp_row_of_its_split() -> None:
    place = {"dataset": "ml-1m", "protocol": "loo-ncf"}
    text = table2.ncf_beside_its_authors(
        study(
            plant("NCF", 0.7, variant="ncf-settings", seeds=1, **place),
            plant("AMP-2", 0.5, **place),
            plant("AMP-4", 0.6, **place),
            plant("AMP-3", 0.9, dataset="ml-1m", protocol="loo-random"),
        )
    )
    found = re.search(r"The best AMP row there is AMP-4 with (\S+)\.$", text)
    assert found and float(found[1]) == pytest.approx(0.6, abs=0.05)


def test_effects_that_wait_are_one_sentence(planted: Study) -> None:
    measured, waiting = page.measured_effects(planted.effects("printed-loss"))
    assert {e.row for e in measured} == {"AMP-2"}
    assert waiting == "Pending: MF (r=1) on `ml-latest-small`."
    assert page.measured_effects(measured) == (measured, "")


def test_a_variant_beside_another_row(planted: Study) -> None:
    """Goes red if the variant is set against its own row after all."""
    own, other = (planted.effects("printed-loss", against=row) for row in (None, "MF (r=1)"))
    of_amp = [next(e for e in found if e.row == "AMP-2") for found in (own, other)]
    assert of_amp[0].after == of_amp[1].after and of_amp[0].before != of_amp[1].before
    assert of_amp[1].before == pytest.approx(0.60, abs=0.03)
    assert "MF" in page.effect_table(other, "MF").columns


def test_an_effect_takes_the_seeds_that_both_have(planted: Study) -> None:
    (same,) = planted.effects(select="validation-no-refit", metrics=("HR@10",))
    assert same.row == "AMP-2" and same.test is not None and same.test.n_seeds == 3
    assert same.test.difference == 0.0  # the same users and seeds, planted alike
    assert same.sentence.endswith("3 seeds: no difference established")


def test_redrawn_splits_of_a_model_without_a_seed_all_count(planted: Study) -> None:
    found = {e.row: e for e in planted.effects("redraw", metrics=("HR@10",))}
    assert found["MostPop"].test is not None and found["MostPop"].test.n_seeds == 5
    assert found["AMP-2"].test is None


def test_a_run_without_ranks_is_an_error() -> None:
    records, ranks = plant("AMP-2", 0.7, variant="printed-loss")
    del ranks["AMP-2/printed-loss//3"]
    with pytest.raises(ReplicationError, match="AMP-2/printed-loss//3 have no stored ranks"):
        study(plant("AMP-2", 0.8), (records, ranks)).effects("printed-loss")


def test_a_quoted_clause_becomes_a_sentence() -> None:
    assert page.as_sentence("another draw moves it by 0.1") == "Another draw moves it by 0.1."
    assert page.as_sentence("pending") == page.PENDING


def test_first_sentence_is_pending_without_runs() -> None:
    assert page.first_sentence([]) == "pending"
    assert page.first_sentence(study().effects("printed-loss")) == "pending"


def test_a_readable_table_says_what_is_missing(planted: Study) -> None:
    table = page.readable(planted.rows(), *PLACE)
    assert isinstance(table, pd.DataFrame) and not table.isna().any(axis=None)
    assert table.loc[("AMP-2", "published"), "HR@10"] == "0.7376"
    assert table.loc[("AMP-2", "measured"), "runs"] == "5 seeds"
    assert table.loc[("AMP-3", "published"), "runs"] == "pending"
    assert ("AMP-3", "measured") not in table.index
    for dataset, protocol in (("yahoo-music", "loo-random"), ("ml-100k", "loo-last")):
        assert len(page.readable(planted.rows(), dataset, protocol))
    assert "licence" in page.gaps(planted.rows(), "yahoo-music", "loo-random").lower() or (
        "application" in page.gaps(planted.rows(), "yahoo-music", "loo-random")
    )
    complete = [row | {"status": "complete"} for row in planted.rows()]
    assert page.gaps(complete, "ml-100k", "loo-random") == COMPLETE


def test_every_sentence_copes_with_no_records_at_all() -> None:
    nothing = study()
    texts = [
        table2.headline(nothing),
        table2.resolution(nothing),
        table2.oracle(nothing),
        table2.ncf_beside_its_authors(nothing),
        table2.losses(nothing, "printed-loss"),
        table2.best_of_each(nothing, "released"),
        table2.spread(nothing, "redraw"),
        data.convergence_headline(nothing),
        made_by([]),
    ]
    for text in texts:
        assert text and not re.search(r"\bnan\b|\bNone\b|\binf\b", text), text
    assert sum("ending" in text for text in texts) >= 8
    tastes = Study("amp_cf/table3", "stored", "validation", [], {}, nothing.published, [])
    told = replace(tastes, table="amp_cf/explanations")
    found = Verdicts(verdicts.BOOK, verdicts.judgements(nothing, tastes, told))
    # Two claims are about the printed numbers alone.
    assert {j.main.verdict for j in found if j.claim.family != "formula"} == {"untestable"}
    texts = [
        found.headline(),
        found.second(),
        verdicts.own_numbers(found),
        verdicts.folded_refutations(found),
        verdicts.margins(found),
        verdicts.margin_table(found).to_string(),
        table3.headline(tastes),
        table3.established(tastes),
        table3.effect_uncentred(tastes),
        *(found.details(family) for family in verdicts.CLAIMED | verdicts.CHECKS),
    ]
    for text in texts:
        assert text and not re.search(r"\bnan\b|\bNone\b|\binf\b", text), text
    for frame in (
        table3.readings_table(tastes, "JS"),
        table3.pairs_table(tastes),
        table3.uncentred(tastes),
    ):
        assert "Pending" in frame.index[0]


def test_the_headline_counts_what_is_there(planted: Study) -> None:
    text = table2.headline(planted)
    # AMP-2, HR@10 and NDCG@10 (planted at 0.80, printed 0.7376 and 0.4935), one protocol.
    assert "0 of 2 printed AMP values that can be decided are reached" in text
    assert "2 of 2 measured ones can be decided" in text
    assert "Beside print: under `loo-random` 2 of 2 lie above it (measured minus" in text
    assert "2 of 2 comparisons of an AMP row show an established gain of any size" in text
    assert "AMP's draw 5 values at once, those of MF (r=1) 2, " in text
    assert "the most epochs of a trial are 2 on `ml-1m`, 3 on `pinterest`." in text


def test_losses_with_the_settings_of_one_vector_stand_beside_those_of_the_own_search() -> None:
    """AMP-2 loses as searched only, AMP-3 with one vector's settings only; AMP-4 has no runs."""
    of_mf = {"seeds": 3, "variant": "mf-settings"}
    found = study(
        plant("MF (r=1)", 0.60),
        plant("AMP-2", 0.45),
        plant("AMP-2", 0.60, **of_mf),
        plant("AMP-3", 0.80),
        plant("AMP-3", 0.45, **of_mf),
    )
    whole, by_data = table2.with_settings_of_mf(found)
    assert (
        "printed entropy weights: 2 of 4 comparisons under loo-random are losses to MF (r=1) (as "
        "searched 2) and 0 gains (as searched 2), by uncorrected 95 % intervals." in whole
    )
    assert by_data == "Losses by data set: ml-latest-small 2 of 4 (as searched 2)."
    assert whole in table2.headline(found)
    assert table2.with_settings_of_mf(study(plant("MF (r=1)", 0.60))) == []


def test_the_limits_of_the_search_are_those_of_the_code() -> None:
    table = table2.search_limits()
    assert table.loc["AMP-2, AMP-3, AMP-4, AMP-8"].tolist() == [
        "5: learning rate, weight decay, alpha, lambda p, lambda n",
        *("25 / 25", "25 / 25", "2 / 6", "3 / 10", "25 / 25"),
    ]
    assert table.loc["MF (r=1)", "ml-1m"] == "2 / 6"
    assert table.loc["NCF"].tolist()[1:] == ["10 / 25", "10 / 25", "2 / 6", "3 / 10", "10 / 25"]
    assert table.loc["ConvNCF", "ml-100k"] == "3 / 8"
    assert table.loc["DeepICF+a", "pinterest"] == "3 / 10"
    assert "DiRec" not in table.index and "EASE^R" not in table.index


def test_the_page_of_verdicts_counts_what_was_judged() -> None:
    """A family's line, its table and what waits must agree with the verdicts, and the second
    verdict must be counted as a change only where there is one."""
    records, ranks = plant("AMP-2", 0.80, users=2000)
    others, more = plant("MF (r=1)", 0.60, users=2000)
    # Under full ranking the two change places.
    for seed in range(5):
        key_a, key_b = records[seed]["key"], others[seed]["key"]
        first, second = ranks[key_a][0], more[key_b][0]
        ranks[key_a], more[key_b] = (first, second), (second, first)
    planted = study((records, ranks), (others, more))
    tastes = Study("amp_cf/table3", "stored", "validation", [], {}, planted.published, [])
    told = replace(tastes, table="amp_cf/explanations", records=cosines("AMP-2", 0.995))
    found = Verdicts(verdicts.BOOK, verdicts.judgements(planted, tastes, told))
    line = found.overview().loc[verdicts.CLAIMED["personas"]]
    assert (line["replicated"], line["untestable"]) == ("4", "76")  # AMP-2, and as the best
    assert line["changed"] == "4/4"
    table = found.table("personas")
    assert table["verdict"].tolist() == ["replicated"] * 4
    assert table["under full ranking"].tolist() == ["not replicated"] * 4
    assert found.waiting("personas")["claims"].astype(int).sum() == 76
    assert "4 judged, one by one" in found.details("personas")
    # A printed number is its own evidence: the column has nothing to say of it, and goes.
    numbers, column = found.table("number"), "in the paper's numbers"
    assert len(numbers) and column not in numbers and column in table
    words = found.words()
    # The comparisons by the model that is compared with are those of the paper's families.
    against = found.by_opponent()
    assert against.loc["MF (r=1)", "replicated"] == "4" and "MostPop" not in against.index
    assert (words["over_ncf_tested"], words["open_replicated"]) == ("0", "0")
    assert (words["personas_replicated"], words["personas_tested"]) == ("4", "4")
    # In sentences AMP-2 counts once, and not again as the best AMP.
    rows = [words[f"personas_rows_{end}"] for end in ("replicated", "tested", "all")]
    assert rows == ["2", "2", "64"]
    assert "established in 2 (2 of 2 where they are one vector)." in found.headline()
    # The best AMP is the one that it stands for, and no other row's cosine is known.
    assert table["personas"].tolist() == ["one vector"] * 4
    kinds = verdicts.by_personas(found).loc[verdicts.CLAIMED["personas"]]
    assert kinds.tolist() == ["–", "2 + 0 of 2", "–"]
    apart = replace(told, records=cosines("AMP-2", 0.9))
    other = Verdicts(verdicts.BOOK, verdicts.judgements(planted, tastes, apart))
    assert "established in 2 (2 of 2 where personas are several)." in other.headline()
    assert [j.main.verdict for j in other] == [j.main.verdict for j in found]
    assert "personas" not in found.table("number")  # no result of several personas
    assert verdicts.over_ncf_where(words) == "none"
    some = words | {"over_ncf_on_ml-1m_replicated": "1", "over_ncf_on_ml-1m_tested": "3"}
    assert verdicts.over_ncf_where(some) == "ml-1m 1 of 3"
    assert "4 are decided otherwise (4 from replicated to not replicated)" in (found.second())
    assert "AISP-4 0.4058" in verdicts.refuted_in_print(found, True).to_string()
    assert "DeepICF+a 0.0243" in verdicts.refuted_in_print(found, False).to_string()
    assert f"refute {words['printed_refuted']} of the {words['printed_all']} statements" in (
        found.headline()
    )


@pytest.mark.parametrize(
    ("after", "word", "counts"), [(0.06, "reversed", "1 of 1"), (0.03, "same direction", "0 of 1")]
)
def test_claims_on_taste_distance_say_their_direction_over_similarities(
    after: float, word: str, counts: str
) -> None:
    """AMP-2 is closer than EASE^R as printed; over similarities it is as planted."""
    records, values = [], {}
    for row, (printed, other) in {"AMP-2": (0.04, after), "EASE^R": (0.05, 0.05)}.items():
        for seed in range(1 if row == "EASE^R" else 5):
            key = f"{row} {seed}"
            values[key] = {"JS": printed + 0.001 * np.random.default_rng(seed).random(100)}
            records.append(
                {"key": key, "table": "amp_cf/table3", "row": row, "dataset": PLACE[0],
                 "protocol": PLACE[1], "variant": "", "seed": seed, "config": {}, "time": "",
                 "select": "none" if row == "EASE^R" else "validation", "data_hash": "d",
                 "metrics": {"JS": printed, "JS/similarity": other}}
            )  # fmt: skip
    tastes = Study("amp_cf/table3", "stored", "validation", records, values, PRINTED, [])
    told = replace(tastes, table="amp_cf/explanations", records=[])
    found = Verdicts(verdicts.BOOK, verdicts.judgements(study(), tastes, told))
    (judged,) = (j for j in found if j.main.verdict == "replicated")
    assert judged.claim.id == f"tastes-simple/AMP-2/EASE^R/{'/'.join(PLACE)}/JS"
    assert judged.notes == {"over similarities": word}
    assert found.table("tastes-simple")["over similarities"].tolist() == [word]
    line = verdicts.over_similarities(found).loc[(verdicts.CHECKS["tastes-simple"], PLACE[0])]
    assert line.tolist() == [counts, counts]
    assert (
        f"of distances: {counts} claims on it, the study's own checks included, point the other "
        f"way by their means, {counts.replace('of', 'of the')} replicated ones among them."
    ) in found.headline()


def test_recall_at_other_lengths_is_from_the_kept_ranks() -> None:
    records, ranks = plant("AMP-2", 0.5, seeds=2, users=4)
    for key in ranks:
        ranks[key] = (np.zeros(4, dtype=np.uint16), np.array([3, 19, 20, 600], dtype=np.uint16))
    found = table2.at_other_lengths(study((records, ranks)), *PLACE)
    line = found.loc["AMP-2"]
    assert [line[f"recall@{k}"] for k in (5, 20, 50, 100)] == [
        "0.2500",
        "0.5000",
        "0.7500",
        "0.7500",
    ]
    assert float(line["NDCG@5"]) == pytest.approx(1 / np.log2(5) / 4, abs=1e-4)
    # Widest is that of two hits of four users: a standard error of 0.5774 / 2.
    assert line["95 %, at most"] == f"±{1.96 * np.std([1, 1, 0, 0], ddof=1) / 2:.4f}"
    assert not len(table2.at_other_lengths(study((records, ranks)), "ml-1m", "loo-random"))


@pytest.mark.parametrize("alike", [True, False])
def test_taste_distance_beside_diversity_is_what_was_planted(alike: bool) -> None:
    """Over five models they go together; over the users of a run only where that was planted."""
    rng = np.random.default_rng(0)
    records, ranks = [], {}
    for n in range(5):
        key, js = f"model {n}", rng.random(400)
        ranks[key] = {"JS": js, "diversity": js if alike else rng.random(400)}
        place = {"table": "amp_cf/table3", "dataset": PLACE[0], "protocol": PLACE[1]}
        of_a_run = {"select": "validation", "variant": "", "seed": 0, "config": {}}
        metrics = {"JS": 0.1 * n, "Hellinger": 0.1 * n, "diversity": 0.2 * n}
        row = ("AMP-2", "AMP-3", "AMP-4", "AMP-8", "MF (r=1)")[n]
        records.append(
            {"key": key, "row": row, "metrics": metrics, "data_hash": "d"} | place | of_a_run
        )
    grid = registry.TABLES["amp_cf/table3"].grid("validation", "")
    published = load_published("amp_cf")
    found = Study("amp_cf/table3", "stored", "validation", records, ranks, published, grid)
    text = table3.is_it_diversity(found)
    assert "+1.00 with diversity (5 models, p < 0.001)" in text
    assert "over the models of 1 of 1 data sets and over the users of" in text
    assert f"over the users of {5 if alike else 0} of 5 runs" in text
    end = "says" if alike else "does not say"
    assert text.endswith(f"from her tastes {end} much about how diverse that list is.")


def test_the_page_of_verdicts_says_what_hangs_on_the_margins() -> None:
    """A gain of 0.015 is worth its name at the margin and below, and small at twice the margin;
    one of 0.3 hangs on no margin."""
    judged = {}
    for gain in (0.015, 0.3):
        # The same users for all seeds, so that nothing but the margin decides.
        # Nothing is printed of AMP-8; it is judged by its name and as the best.
        parts = [plant(row, 0.5, users=6000) for row in ("AMP-8", "MF (r=1)")]
        for (records, ranks), rate in zip(parts, (0.5 + gain, 0.5), strict=True):
            hits = np.where(np.arange(6000) < round(6000 * rate), 0, 50).astype(np.uint16)
            ranks.update({record["key"]: (hits, None) for record in records})
        planted = study(*parts)
        tastes = Study("amp_cf/table3", "stored", "validation", [], {}, planted.published, [])
        told = replace(tastes, table="amp_cf/explanations")
        judged[gain] = Verdicts(verdicts.BOOK, verdicts.judgements(planted, tastes, told))
    small, large = (verdicts.margins(found) for found in judged.values())
    assert "at half every margin 0 get another verdict and" in small
    assert "at twice every margin 4 get another verdict (4 are decided otherwise" in small
    assert "by family: `personas` 4)" in small
    table = verdicts.margin_table(judged[0.015])
    (line,) = table.index
    assert line == f"{verdicts.CLAIMED['personas']} (`personas`)"
    assert table.loc[line].tolist() == [
        "80",
        "0 (0 decided otherwise)",
        "4 (4 decided otherwise)",
    ]
    assert "at twice every margin 0 get another verdict." in large
    assert verdicts.margin_table(judged[0.3]).index.tolist() == ["none"]


def _told(row: str, cosine: float, claimed: float) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Explanations of one model: all that the headline counts; ``claimed`` items lose so much."""
    rng = np.random.default_rng(1)
    means = {
        "entropy/negatives": 0.5, "entropy/test": 0.4, "entropy/candidates": 0.5,
        "entropy/training": 0.4, "HR@10": 0.6, "HR@10/shuffled": 0.5,
        "genres/AMI": claimed, "genres/AMI shuffled": 0.0, "genres/AMI K-means": 0.9,
        "lost/claimed": claimed, "lost/random": 0.0, "lost/shuffled": 0.0,
    }  # fmt: skip
    records, _ = plant(row, 0.5)
    for record in records:
        record |= {
            "table": explanations.TABLE,
            "key": f"told/{row}/{record['seed']}",
            "protocol": "loo-random",
            "metrics": {"overlap/cosine": cosine},
        }
    values = {
        r["key"]: {k: mean + 0.1 * rng.standard_normal(300) for k, mean in means.items()}
        for r in records
    }
    return records, values


def test_attention_at_inference_has_one_line_a_metric() -> None:
    """Goes red if a value lands under another metric, or if seeds are counted for each."""
    records, values = _told("AMP-3", 0.5, 0.3)
    for record in records:
        record["metrics"] |= {
            f"{metric}{arm}": size + step
            for metric, size in (("HR@10", 0.5), ("NDCG@10", 0.25))
            for arm, step in (("", 0.0), ("/shuffled", 0.01), ("/mean", 0.02), ("/uniform", 0.03))
        }
    grid = explanations.grid()
    told = Study(explanations.TABLE, "stored", "validation", records, values, None, grid)
    frame = explaining.accuracy(told)
    place = ("ml-latest-small", "AMP-3")
    assert list(frame.columns)[:3] == ["own", "shuffled", "user's mean"]
    assert frame.loc[(*place, "NDCG@10"), "uniform"] == "0.2800"
    assert list(frame["seeds"])[:2] == [str(len(records)), ""]
    for record in records:
        record["metrics"]["personas used"] = 2.5
    assert list(explaining.used(told).loc[place])[:2] == ["2.5000", "0.5000"]
    lines = explaining.table_by_metric(explaining.answer_all(told)["conditional"], ["HR@10"])
    assert list(lines.index.get_level_values("metric")) == ["HR@10"]
    text = lines.loc[(*place, "HR@10"), "own minus shuffled"]
    assert float(text.split()[0]) == pytest.approx(0.1, abs=0.03)
    assert explaining.table_by_metric([]).index.tolist() == [explaining.PENDING]


def test_the_page_says_where_agreement_with_genres_cannot_be_measured() -> None:
    assert explaining.without_genres() == (
        "On `pinterest` and `amazon-video-games` items have no genres: agreement with them cannot "
        "be measured there, and of the models the tests take AMP-2 and AMP-4."
    )
    cells = [(c, {0: {"metrics": {"seeds/AMI": 0.25}}}) for c in explanations.grid()[-1:]]
    table = questions.means(cells, {"genres/AMI": "genres", "seeds/AMI": "next seed"}, "")
    assert table.loc[("amazon-video-games", "AMP-4")].tolist() == ["–", "0.2500", "1 of 5"]


def test_the_settings_of_planted_personas_are_those_of_the_records() -> None:
    """Goes red if they are typed, or if the page no longer says that nobody searched them."""
    runs = [
        {"row": row, "config": described(config) | {"learning_rate": 0.025}}
        for row, config in planting.MODELS.items()
    ]
    of = Study(planting.TABLE, "stored", "validation", runs, {}, None, planting.grid())
    text = explaining.planted_settings(of)
    own = planting.MODELS["AMP-3"]
    assert "learning rate of 0.025," in text and "set by hand and not searched" in text
    assert f"= {own.lambda_p:g} and $\\lambda_n$ = {own.lambda_n:g} for *AMP-3*," in text
    assert explaining.planted_settings(replace(of, records=[])) == explaining.PLANTED_PENDING


@pytest.mark.parametrize(
    ("gain", "spread", "outcome"),
    [
        (0.3, 0.1, "personas"),
        (-0.3, 0.1, "cluster"),
        (0.0, 0.1, "alike"),
        (0.0, 3.0, "open"),
    ],
)
def test_claims_against_clusters_come_out_each_way(
    gain: float, spread: float, outcome: str
) -> None:
    """AMP-4's personas are one vector and AMP-2's records are older: neither is judged."""
    parts = [_told(row, cosine, 0.3) for row, cosine in (("AMP-2", 0.5), ("AMP-3", 0.5),
                                                         ("AMP-4", 0.999))]  # fmt: skip
    records = [record for some, _ in parts for record in some]
    values = {key: value for _, some in parts for key, value in some.items()}
    rng = np.random.default_rng(2)
    grid = explanations.grid()

    def told() -> Study:
        return Study(explanations.TABLE, "stored", "validation", records, values, None, grid)

    before = explaining.answer_all(told())
    assert not before["clusters"] and "Pending" in explaining.clusters(told(), []).index[0]
    assert "pending" in explaining.against_clusters(told(), [])
    for record in records:
        if record["row"] == "AMP-2":
            continue
        record["metrics"] |= {"refit/share claimed": 0.5, "refit/share in cluster": 0.25}
        values[record["key"]] |= {
            "excess/claimed": 1.0 + gain + spread * rng.standard_normal(300),
            "excess/cluster": 1.0 + spread * rng.standard_normal(300),
            "lost/cluster": 2.0 + spread * rng.standard_normal(300),
            "lost/random for cluster": 1.0 + spread * rng.standard_normal(300),
        }
    after = explaining.answer_all(told())
    # What was asked before is judged as before.
    assert after["faithful"] == before["faithful"]
    frame = explaining.clusters(told(), after["clusters"])
    assert frame["outcome"].tolist() == [outcome, "one vector"]
    assert set(frame["shares dropped"]) == {"0.5000 / 0.2500"}
    assert frame["cluster"].astype(float).tolist() == pytest.approx([1.0, 1.0], abs=0.3)
    text = explaining.against_clusters(told(), after["clusters"])
    assert "of 1 models whose personas differ" in text and "pending for 1 models" in text
    place = {
        "personas": "more in 1, the cluster", "cluster": "the cluster more in 1",
        "alike": "(within 0.05) in 1", "open": "open in 1",
    }  # fmt: skip
    assert [name for name, words in place.items() if words in text] == [outcome]


@pytest.mark.parametrize(("cosine", "words"), [(0.6, "are not one"), (0.995, "are one")])
def test_of_a_single_planted_taste_nothing_is_recovered(cosine: float, words: str) -> None:
    """Goes red if a set of one taste counts as recovery, or if what a model uses is not told."""
    records = [
        {"key": f"{row}/{dataset}", "table": planting.TABLE, "row": row, "dataset": dataset,
         "protocol": "loo-random", "select": "none", "variant": "", "seed": 0, "config": {},
         "metrics": {"AMI": 0.7 if dataset == "planted-3" else 0.25, "AMI shuffled": 0.0,
                     "personas used": 2.125}
         | ({} if row.startswith("MF") else {"overlap/cosine": cosine})}
        for dataset in planting.DATASETS for row in planting.MODELS
    ]  # fmt: skip
    of = Study(planting.TABLE, "stored", "validation", records, {}, None, planting.grid())
    assert set(explaining.planted_table(of).index.get_level_values(0)) == {"planted-3"}
    assert "0.2500" not in explaining.recovery(of)
    used = explaining.planted_used(of)
    assert used.loc[("planted-1", "AMP-3")].tolist() == ["1", "2.1250", f"{cosine:.4f}", "1"]
    assert used.loc[("planted-3", "MF (r=1), K-means")].tolist() == ["3", "2.1250", "–", "1"]
    text = explaining.planted_single(of)
    assert text.count(f"personas {words} vector") == 2 and "names is 0.2500" in text
    counted = " Of 3 true tastes a history uses 2.12 (AMP-3) and 2.12 (AMP-3, released weights)."
    assert explaining.planted_counts(of) == counted
    for record in records:
        record["metrics"]["AMI"] += 0.1 * record["row"].startswith("MF")
    assert explaining.planted_counts(of) == f"{counted} One vector with K-means, told the number " \
                                            "of parts, recovers most."  # fmt: skip
    for record in records:  # from before it was measured
        record["metrics"].pop("overlap/cosine", None)
    assert explaining.planted_single(of) == explaining.PLANTED_PENDING


@pytest.mark.parametrize(("claimed", "count"), [(0.3, "1 of 1"), (0.0, "0 of 1")])
def test_only_models_whose_personas_differ_count_as_explaining(claimed: float, count: str) -> None:
    """AMP-4's personas are one vector: what its items agree with does not count."""
    parts = [_told("AMP-3", 0.5, claimed), _told("AMP-4", 0.999, 0.3)]
    records = [record for some, _ in parts for record in some]
    values = {key: value for _, some in parts for key, value in some.items()}
    grid = explanations.grid()
    told = Study(explanations.TABLE, "stored", "validation", records, values, PRINTED, grid)
    nothing = Study("amp_cf/planted", "stored", "validation", [], {}, None, [])
    text = explaining.headline(told, explaining.answer_all(told), nothing)
    assert "In 2 of 2 AMP models (`ml-latest-small`) attention has at least 0.05 more" in text
    follow = f"of 1 others with genres {count[0]} follow these beyond chance, 0 beyond K-means.\n"
    assert f"a user's personas are one vector in 1, and {follow}" in text
    assert "HR@10 falls in 2 of 2; with" in text
    assert "in 1 of 2 models, AMP-4 on `ml-latest-small`.\n" in text
    assert f"agree with them beyond chance in {count} but" in text
    assert f"more than random ones in {count}, and the control, shuffled claims, in 0 of 1" in text
    alone = replace(told, records=parts[0][0])
    text = explaining.headline(alone, explaining.answer_all(alone), nothing)
    assert "in 0 of 1 models.\n" in text
    assert f"beyond chance in {count} but" in text
    same = replace(told, records=parts[1][0])
    text = explaining.headline(same, explaining.answer_all(same), nothing)
    assert (
        "more entropy on negatives than positives, a user's personas are one vector in 1.\n" in text
    )
    assert "released code's habits (`" not in text
    # A model with the released habits is counted apart, and does not move the other counts.
    released = [
        record | {"variant": "released", "select": "test", "key": f"released/{record['seed']}"}
        for record in _told("AMP-4", 0.5, 0.3)[0]
    ]
    some = list(_told("AMP-4", 0.5, 0.3)[1].values())
    more = {r["key"]: own for r, own in zip(released, some, strict=True)}
    both = replace(same, records=[*same.records, *released], ranks=values | more)
    found = explaining.collapsed(both), explaining.collapsed(both, "released")
    assert [one.share for one in found] == ["1 of 1", "0 of 1"]
    text = explaining.headline(both, explaining.answer_all(both), nothing)
    assert "habits (`ml-latest-small`): one vector in 0 of 1; of these models entropy is" in text
    assert "In 1 of 1 AMP models" in text and "HR@10 falls in 1 of 1; with" in text
    assert "they are in 0 of 1. Such a model" in explaining.collapse(both)
    # With MF's rate and decay its personas differ, which the opening says beside its own search.
    given = [record | {"variant": "mf-settings", "select": "validation"} for record in released]
    beside = replace(both, records=[*same.records, *given])
    text = explaining.headline(beside, explaining.answer_all(beside), nothing)
    assert "AMP-4 on `ml-latest-small` 0.50 (1.00 by its own search). HR@10 then falls" in text
    assert "with shuffled attention in 1 of 1 (+" in text and "one vector in 1.\n" in text


def test_curves_and_their_limit(planted: Study) -> None:
    # Planted: the best validation NDCG@10 after epoch 2 of 3, and 3 is the limit.
    text = data.convergence_headline(planted)
    assert "is best at epoch 2 of a run (median 2), by the last epoch it has fallen by" in text
    assert text.endswith("before saturation in 10 of 10 runs.") and not re.search(r"\bnan\b", text)
    table = data.epochs_table(planted).reset_index()
    assert not table.isna().any(axis=None)
    assert set(table["model"]) == {"AMP-2", "MF (r=1)"}
    assert set(table["epoch chosen"]) == {"2"} and set(table["epochs run"]) == {"3"}


def test_who_made_the_runs(planted: Study) -> None:
    runs = planted.runs()
    assert len(runs) == 11
    text = made_by(runs)
    assert text.startswith("11 runs on Linux x86_64, 2 cores (cpu); python 3.11.0, torch 2.13.0; ")
    assert "11 minutes of computing in all" in text
    assert made_by(runs[:1]).startswith("1 run on ")
    assert made_by([*runs, *({**run, "dataset": "elsewhere"} for run in runs)]) == text
    without = [
        {k: v for k, v in run.items() if k != "seconds"} | {"key": f"other {at}"}
        for at, run in enumerate(runs)
    ]
    assert "computing" not in made_by(without)
    assert "minutes of computing in the 11 that hold a time." in made_by([*runs, *without])
    slow = [run | {"seconds": 3600.0, "time": f"2026-01-{day:02d}"} for day, run in
            enumerate(runs, 1)]  # fmt: skip
    assert "2026-01-01 to 2026-01-11; 11.0 hours of computing" in made_by(slow)
    three = [run | {"source": f"s{at % 3}"} for at, run in enumerate(slow)]
    assert "; code s0 and s1 and s2; " in made_by(three)
    many = [run | {"source": f"s{at}"} for at, run in enumerate(slow)]
    assert "; 11 versions of the code, the last s10; " in made_by(many[::-1])


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0352, "0.035"), (4.94, "4.9"), (9.96, "10"), (12.4, "12"), (99.6, "100"), (1234, "1234")],
)
def test_two_digits_are_never_written_as_a_power_of_ten(value: float, text: str) -> None:
    assert two_digits(value) == text


def test_statistics_are_compared_at_the_printed_digit() -> None:
    table1 = open_table("amp_cf/table1", {"mode": "stored"}, ["mode"])
    found = {(r["dataset"], r["metric"]): r for r in data.statistics(table1)}
    assert found["ml-latest-small", "users"]["mean"] == 610
    assert found["ml-1m", "items"]["mean"] == found["ml-1m", "items"]["published"] == 3592
    assert "ML-1M" in data.contradictions(table1)
    nothing = Study(table1.table, "stored", "validation", [], {}, table1.published, table1.grid)
    assert "ending" in data.statistics_headline(nothing)
    printed = {row["metric"]: row["published"] for row in data.statistics(table1)
               if row["dataset"] == "ml-1m"}  # fmt: skip
    of = next(record for record in table1.records if record["dataset"] == "ml-1m")
    for change, words in (
        ({}, "for 10 of 10 statistics, and for both users and items on 1 of 1 data sets.\n"),
        ({"items": 1796}, "9 of 10 statistics, and for both users and items on 0 of 1 data sets,"),
    ):
        some = replace(nothing, records=[of | {"metrics": printed | change}])
        text = data.statistics_headline(some)
        assert words in text and ("difference of a statistic is 50.0 %." in text) == bool(change)
        assert text.endswith("the printed ones: none." if change else "the printed ones: ML-1M.")


def test_the_opening_of_table_3_counts_what_its_table_of_personas_shows() -> None:
    study = open_table("amp_cf/table3", {"mode": "stored"}, ["mode"])
    shown = table3.personas(study)["established"]
    text = table3.headline(study)
    closer, farther = ((shown == word).sum() for word in ("closer", "farther"))
    assert f"in {closer} of {len(shown)} comparisons and farther in {farther}.\n" in text
    assert f"closer in {closer} of {len(shown)} where it is not measured which" in text
    known = {("AMP-3", *PLACE): "several", ("AMP-2", "ml-100k", "loo-random"): "one vector"}
    frame = table3.personas(study, known).reset_index().set_index("personas")
    assert dict(frame.index.value_counts())["not known"] == len(shown) - 2
    assert frame.loc["several", "model"] == "AMP-3"
    won = [int(frame.loc[kind, "established"] == "closer") for kind in ("several", "one vector")]
    assert (
        f"closer in {won[0]} of 1 where personas are several, {won[1]} of 1 where they are one "
        f"vector and {closer - sum(won)} of {len(shown) - 2} where it is not measured which"
    ) in table3.headline(study, known)
    assert "Printed JS: 50 of 50 values exceed 0.8326" in text
    alone = replace(study, records=[r for r in study.records if r["row"] == "AMP-2"])
    text = table3.headline(alone)
    assert "and no AMP is compared with one vector yet.\n" in text
    assert "Against one vector" not in text
