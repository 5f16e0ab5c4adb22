"""What the book says about the claims of AFM."""

from __future__ import annotations

from collections.abc import Mapping

from replication.claims import Judgement, judge_all
from replication.page import stored_table
from replication.papers.afm import experiments
from replication.papers.afm.claims import ATTENTION, CLAIMS, evidence, single_users
from replication.records import Store
from replication.verdicts import Book, of_tested

CLAIMED = {
    "number": "a printed error of Table 2 is reached",
    "better": "AFM is better than a baseline",
    "slight": "with genre alone AFM beats a baseline, and slightly",
    "large": "with five features AFM beats NFM by the printed margin",
    "grows": "AFM's gain grows with the number of features",
    "weak": "CDL suffers from features that say little",
    "masks": "attention masks features that do not help",
    "little": "most users give the genre little attention",
    "follows": "attention follows what users rate",
    "faithful": "the prediction rests on what has the attention",
    "overfits": "sharing the map of attention prevents overfitting",
    "integration": "shared attention is better than other ways to use features",
}
CHECKS = {
    "simple": "AFM beats a simple model",
    "planted": "attention finds made-up users who care",
}


def _stored() -> list[Judgement]:
    study = stored_table(experiments.TABLE2)
    alternatives = Store(experiments.ALTERNATIVES).load()
    attention = Store(ATTENTION)
    records = attention.load()
    values = attention.ranks(record["key"] for record in records)
    return judge_all(
        CLAIMS,
        [
            evidence(study.records, alternatives, study.published),
            single_users(records, values, study.published),
        ],
    )


def _more(n: Mapping[str, str]) -> str:
    return (
        f"AFM beats a baseline of the paper in {of_tested(n, 'better')} comparisons that can be "
        f"decided, and a simple model on the same folds in {of_tested(n, 'simple')}. "
    )


BOOK = Book(
    title="AFM",
    claimed=CLAIMED,
    checks=CHECKS,
    second="again",
    told=frozenset(
        {"slight", "large", "grows", "weak", "masks", "follows", "faithful", "overfits"}
        | {"integration", "planted"}
    ),
    counted="row, data set, measure or opponent",
    judgements=_stored,
    more=_more,
)
