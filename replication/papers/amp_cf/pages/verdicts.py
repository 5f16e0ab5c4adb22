"""What the book says about the claims of AMP-CF."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from replication.claims import Evidence, Judgement, arms, judge_all
from replication.page import Study, stored_table
from replication.papers.amp_cf import experiments, explanations, lists
from replication.papers.amp_cf.claims import ARMS, BEST, CLAIMS
from replication.papers.amp_cf.pages.explanations import collapsed
from replication.verdicts import Book, Verdicts, folded, in_print, refuted

# Families of claims that the paper makes, and the study's own checks.
CLAIMED = {
    "number": "a printed number of Table 2 is reached",
    "outperforms": "an AMP is more accurate than another printed model",
    "competitive": "the best AMP is not worse than another printed model",
    "personas": "several personas beat one vector a user",
    "best": "the best printed number of personas is the best",
    "negatives": "four negatives beat more",
    "factors": "64 factors are NCF's best",
    "similarity": "a small network as similarity brings no gain and takes longer",
    "tastes": "an AMP is closer to the users' tastes than another printed model",
    "aisp": "clustering the PCA space does not suffice",
    "domain": "the gain in taste distance is lower on Amazon than elsewhere",
    "explain": "personas are distinct and explain the list",
    "minority": "several personas give more of the list to minority tastes than one vector",
    "formula": "Table 3 can come from its printed formulas",
}
CHECKS = {
    "popularity": "an AMP beats what is popular",
    "simple": "an AMP is more accurate than a simple model",
    "simple-ties": "an AMP is more accurate than ItemKNN, ties decided for ItemKNN",
    "aisp-unit": "an AMP is more accurate than AISP on item vectors of unit length",
    "direc-near": "an AMP is more accurate than DiRec with a small radius",
    "tastes-single": "several personas are closer to the users' tastes than one vector",
    "tastes-simple": "an AMP is closer to the users' tastes than a simple model",
}


def judgements(accuracy: Study, tastes: Study, told: Study) -> list[Judgement]:
    """All claims by the records of three tables, under full ranking, and in print."""
    first = _evidence(accuracy)
    rows, values = arms(told.records, told.ranks, ARMS)
    third = Evidence(told.table, rows, values, told.published)
    return judge_all(CLAIMS, [first, _evidence(tastes, first), third])


def _evidence(study: Study, validation: Evidence | None = None) -> Evidence:
    return Evidence(
        study.table,
        study.records,
        study.ranks,
        study.published,
        study.grid,
        validation=validation,
    )


def _stored() -> list[Judgement]:
    tables = (experiments.TABLE2, lists.TABLE3, explanations.TABLE)
    return judgements(*(stored_table(table) for table in tables))


# Of these the paper leaves so much open that their numbers here say little about its own.
OPEN = ("AISP-2", "AISP-3", "AISP-4", "DiRec")


def _counts(found: Verdicts) -> dict[str, int]:
    own = found.of(CLAIMED)
    against_open = [j for j in own if j.claim.opponent in OPEN or j.claim.family == "aisp"]
    against_ncf = [
        j.main.verdict
        for j in found.of(["outperforms"])
        if j.claim.opponent == "NCF" and j.main.verdict != "untestable"
    ]
    one_vector, models = collapsed(stored_table(explanations.TABLE))
    return {
        "collapsed": len(one_vector),
        "models": models,
        "open_replicated": sum(j.main.verdict == "replicated" for j in against_open),
        "ncf_replicated": against_ncf.count("replicated"),
        "ncf_tested": len(against_ncf),
    }


def _more(n: Mapping[str, str]) -> str:
    return (
        f"{n['open_replicated']} of the replicated ones are against AISP and DiRec, whose settings "
        f"the paper leaves open, and {n['ncf_replicated']} of {n['ncf_tested']} say that an AMP is "
        f"more accurate than NCF; {n['number_replicated']} of {n['number_tested']} printed numbers "
        "are reached. Where a comparison can be decided, several personas beat one vector a user "
        f"in {n['personas_replicated']} of {n['personas_tested']}, and an AMP beats a simple model "
        f"with the same tuning in {n['simple_replicated']} of {n['simple_tested']}. "
    )


BOOK = Book(
    title="AMP-CF",
    claimed=CLAIMED,
    checks=CHECKS,
    second="under full ranking",
    told=frozenset({"aisp", "domain", "formula"}),
    counted="model, opponent, data set, protocol and metric",
    judgements=_stored,
    counts=_counts,
    more=_more,
)


def own_numbers(found: Verdicts) -> str:
    """What the paper's own tables say of the sentences that it draws from them."""
    own = found.of(CLAIMED)
    printed, lost = in_print(own), refuted(own)
    of_best = [text for text in lost if BEST in text]
    small = sum(j.in_print.verdict == "direction only" for j in printed.values())
    return (
        f"Of {len(printed)} statements, each an AMP row or the best one against another printed "
        f"model, or a sentence of Section 4.4, the printed numbers refute {len(lost)}, "
        f"{len(of_best)} of them about the best AMP; {small} hold by less than the margin that "
        "this study asks for."
    )


def refuted_in_print(found: Verdicts, of_best: bool) -> pd.DataFrame:
    """The sentences that the paper's own tables refute: of the best AMP, or of each row."""
    return found.refuted_in_print(lambda j: ("/AMP-" not in j.claim.id) is of_best)


def folded_refutations(found: Verdicts) -> str:
    """Every statement on a single AMP row that the paper's own tables refute, folded."""
    return folded("Each AMP row by itself", refuted_in_print(found, of_best=False))
