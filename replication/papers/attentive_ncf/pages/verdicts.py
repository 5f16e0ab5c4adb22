"""What the book says about the claims of Attentive NCF."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from replication.claims import Judgement, judge_all
from replication.compare import Ranks, Record
from replication.page import stored_table
from replication.papers.attentive_ncf import experiments
from replication.papers.attentive_ncf.claims import (
    CLAIMS,
    EXPLANATIONS,
    NEWCOMERS,
    single_users,
)
from replication.papers.attentive_ncf.pages.table2 import evidence
from replication.records import Store
from replication.verdicts import Book, of_tested

CLAIMED = {
    "number": "a printed RMSE of Tables I and II is reached",
    "embedding": "a smarter embedding is better, predictor by predictor",
    "attention": "a predictor is best with the attentive user",
    "mlp": "a network predicts better than the inner product",
    "mlp2": "MLP2 is the best predictor of look-ups",
    "best": "attentive + MLP2 is the best of the nine",
    "baselines": "a combination beats every baseline of Table I",
    "parameters": "the attentive embedding has fewer parameters and is better",
    "subsample": "64 drawn context movies in training beat all of them",
    "ensemble": "a mean of models beats its best member",
    "explains": "attention explains the prediction",
    "newcomers": "new users need no retraining",
}
CHECKS = {
    "simple": "attentive + MLP2 beats a simple model",
    "mae": "what is better is so in MAE too, which the paper does not print",
}


def _stored() -> list[Judgement]:
    study = stored_table(experiments.TABLE2)
    explanations, newcomers = (_of_users(table) for table in (EXPLANATIONS, NEWCOMERS))
    told = single_users(explanations, newcomers, study.published)
    return judge_all(CLAIMS, [evidence(study), *told])


def _of_users(table: str) -> tuple[Sequence[Record], Ranks]:
    """Records of a table, and their values of single users."""
    store = Store(table)
    records = store.load()
    return records, store.ranks(r["key"] for r in records)


def _more(n: Mapping[str, str]) -> str:
    return (
        f"{n['number_replicated']} of the replicated ones are printed numbers that are reached. A "
        f"smarter embedding is better in {of_tested(n, 'embedding')} comparisons that can be "
        f"decided, and attentive + MLP2 beats a simple model on the same folds in "
        f"{of_tested(n, 'simple')}. "
    )


BOOK = Book(
    title="Attentive NCF",
    claimed=CLAIMED,
    checks=CHECKS,
    second="at an honest epoch",
    told=frozenset({"parameters", "best", "explains", "newcomers"}),
    counted="row, predictor or opponent",
    judgements=_stored,
    more=_more,
)
