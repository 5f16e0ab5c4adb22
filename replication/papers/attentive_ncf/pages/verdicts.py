"""What the book says about the claims of Attentive NCF."""

from __future__ import annotations

from collections.abc import Mapping

from replication.claims import Comparison, Evidence, Judgement, judge, judge_all
from replication.page import enumeration, stored_table
from replication.papers.attentive_ncf import experiments
from replication.papers.attentive_ncf.claims import (
    CLAIMS,
    COMBINATIONS,
    DATASET,
    EXPLANATIONS,
    METRIC,
    NARROWER,
    NEWCOMERS,
    NUMBER_MARGIN,
    single_users,
)
from replication.papers.attentive_ncf.pages.table2 import evidence
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
    "explains-genres": "attention goes to movies that share genres with the target",
    "explains-moved": "attended movies carry the prediction more than others",
    "explains-weights": "weights matter: attention does better than equal weights",
    "newcomers": "new users need no retraining",
}
EXPLAINS = [family for family in CLAIMED if family.startswith("explains-")]
CHECKS = {
    "simple": "attentive + MLP2 beats a simple model",
    "mae": "what is better is so in MAE too, which the paper does not print",
}


def _stored() -> list[Judgement]:
    study = stored_table(experiments.TABLE2)
    told, new = map(stored_table, (EXPLANATIONS, NEWCOMERS))
    of_users = single_users((told.records, told.ranks), (new.records, new.ranks), study.published)
    return judge_all(CLAIMS, [evidence(study), *of_users])


def correction(proof: Evidence) -> str:
    """Over how many comparisons p-values are corrected, and what a narrower family would change."""
    family = proof.asked(CLAIMS)
    tested = proof.adjusted(family)
    if not tested:
        return f"None of the {len(family)} comparisons behind these claims has its runs yet."
    here = [claim for claim in CLAIMS if claim.table == proof.table]
    claimed = {q for claim in here if claim.family in CLAIMED for q in claim.asks(proof)}
    own = tested.keys() - claimed
    in_mae = sum(question.metric == "MAE" for question in own)
    simple = len(own) - in_mae
    alone = [q for q in family if isinstance(q, Comparison) and q.metric == METRIC]
    rests = [claim for claim in here if set(claim.asks(proof)) & set(alone)]
    others = zip(judge(rests, proof), judge(rests, proof.corrected_over(alone)), strict=True)
    moved = [(a, b) for a, b in others if a.verdict != b.verdict]
    named = "; ".join(f"*{a.claim.text}*: {b.verdict}, not {a.verdict}" for a, b in moved)
    grows = (
        ": as runs come in it grows, and with it every corrected p-value may"
        if len(tested) < len(family)
        else ""
    )
    changed = f"{len(moved)} of the {len(rests)} verdicts on them would be another"
    return (
        f"The correction is over the {len(tested)} comparisons of Tables I and II, the variants "
        f"and the ensembles that have their runs, of {len(family)} that the claims ask for{grows}. "
        f"{len(own)} of the "
        f"{len(tested)} are the study's own checks, {in_mae} in MAE and {simple} against simple "
        f"models. Were the {sum(q in tested for q in alone)} comparisons in {METRIC} corrected by "
        f"themselves, {changed}{f' ({named})' if moved else ''}."
    )


def narrower(proof: Evidence) -> str:
    """Which printed rows the margin does not tell apart, and what one half as wide would leave."""
    numbers = [claim for claim in CLAIMS if claim.family == "number"]
    found = [claim.judge(proof) for claim in numbers]
    reached = [v for v in found if v.verdict == "replicated" and v.interval is not None]
    lost = [v for v in reached if max(map(abs, v.interval or ())) >= NARROWER]
    rows = {v.claim.id.removeprefix("number/"): v in lost for v in reached}
    in_table2 = sum(row in COMBINATIONS and not gone for row, gone in rows.items())
    named = enumeration([row for row, gone in rows.items() if gone])
    return (
        f"{_neighbours(proof)} With a margin of {NARROWER:g} {len(reached) - len(lost)} of the "
        f"{len(reached)} numbers would be reached, {in_table2} of them of Table II"
        f"{f': not {named}' if lost else ''}."
    )


def _neighbours(proof: Evidence) -> str:
    """The rows of Table II that have a row of another embedding in print within the margin."""
    printed = {row: proof.printed(row, DATASET, METRIC) for row in COMBINATIONS}
    near = [
        row
        for row, number in printed.items()
        if any(
            other.split(" + ")[0] != row.split(" + ")[0] and abs(number - value) < NUMBER_MARGIN
            for other, value in printed.items()
        )
    ]
    return (
        f"In print {len(near)} of the {len(printed)} rows of Table II have a row of another "
        f"embedding within {NUMBER_MARGIN:g} ({enumeration(near)}): there a number that is reached "
        "does not tell the embeddings apart."
    )


def _lead(n: Mapping[str, str]) -> str:
    return f"Attentive NCF's smarter embeddings beat simpler ones in {of_tested(n, 'embedding')}"


def _more(n: Mapping[str, str]) -> list[str]:
    return [
        f"Printed numbers that are reached: {of_tested(n, 'number')}.",
        "Against a simple model on the same folds, where a comparison can be decided: attentive + "
        f"MLP2 is better in {of_tested(n, 'simple')}.",
    ]


def _among(n: Mapping[str, str]) -> str:
    return f"{n['number_replicated']} of them printed numbers"


BOOK = Book(
    title="Attentive NCF",
    claimed=CLAIMED,
    checks=CHECKS,
    second="at an honest epoch",
    told=frozenset({"parameters", "best", *EXPLAINS, "newcomers"}),
    counted="row, predictor or opponent",
    judgements=_stored,
    lead=_lead,
    more=_more,
    among=_among,
)
