"""What the book says about the claims of AFM."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from replication.claims import ALPHA, Judgement, judge_all
from replication.compare import percent
from replication.fold_gaps import MIN_FOLDS
from replication.page import stored_table
from replication.papers.afm import attention, experiments
from replication.papers.afm.claims import (
    ATTENTION,
    ATTENTION_MARGIN,
    CLAIMS,
    GAIN_MARGIN,
    HOLD_MARGIN,
    NUMBER_MARGIN,
    OVERFIT_MARGIN,
    PRINTED_MARGIN,
    RANK_MARGIN,
    RELATIVE_MARGIN,
    SQUARED_MARGIN,
    evidence,
    single_users,
)
from replication.records import Store
from replication.verdicts import Book, Verdicts, of_tested

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
    "reading": "AFM in its best reading beats a baseline",
    "attended": "the best reading's attention follows ratings and carries the prediction",
    "optimiser": "AFM beats NFM that Adam trains",
    "simple": "AFM beats a simple model",
    "planted": "attention finds made-up users who care",
}
# Section of the page -> what the verdicts mean there, and the margin.
MEANS = {
    "number": (
        "*Replicated*: the whole 95 % interval of measured minus printed lies within "
        f"±{NUMBER_MARGIN:g} stars; *not replicated*: it lies wholly outside; *direction only*: it "
        "is narrow enough to tell, and lies across that margin; *untestable*: it is as wide as "
        "both margins together, so that not even the same number could be shown."
    ),
    "better": (
        "The rule for a gain is the same on the whole page. *Replicated*: it is established (a "
        f"corrected p-value below {ALPHA:g}) and at least the margin, here {GAIN_MARGIN:g} stars, "
        "a fifth of the smallest gap that is printed; *direction only*: it is established and "
        "smaller, or it is not, with a difference on its side and a loss of the margin excluded; "
        "*not replicated*: a gain of the margin is excluded, or the opposite is established; "
        "*untestable*: there is too little data to tell."
    ),
    "slight": (
        f"*Slightly* is a gain by that rule with a margin of {percent(RELATIVE_MARGIN)} of the "
        "other's RMSE, which must also stay below the printed large margin less "
        f"{percent(PRINTED_MARGIN)}: *replicated* where its whole interval does, *not replicated* "
        "where none of it does, *direction only* where that bound lies within."
    ),
    "features": (
        f"The same rule, with a margin of {percent(RELATIVE_MARGIN)} for relative gains and "
        f"losses, {GAIN_MARGIN:g} stars for errors and {ATTENTION_MARGIN:g} for a fall of "
        "attention. A gain over NFM that is established and misses the printed one by more than "
        f"{percent(PRINTED_MARGIN)} holds in *direction only*. A gain that grows must do so "
        "against one feature with the settings of five and against one with its own. What dealt "
        "genres *harm* is the relative gain of one genre for all films over them: by what share of "
        "the error with them the error with one genre is lower. Another model must be harmed, and "
        "by more than AFM. That AFM's error hardly rises is *replicated* where a loss of "
        f"{HOLD_MARGIN:g} stars is excluded, *not replicated* where one that large is established, "
        "*untestable* where the interval is as wide as two such losses, and else *direction only*; "
        "it holds by itself where true genres are worth as little, so that masking is shown only "
        "where other models are harmed. What most users do is *replicated* "
        "or *not replicated* where the whole interval of their share lies above or below one half, "
        "else *untestable*."
    ),
    "attention": (
        "The same rule for each part of a claim, all of which must hold, with a margin of "
        f"{RANK_MARGIN:g} for rank correlations (as they are, and given the number of ratings) and "
        f"of {SQUARED_MARGIN:g} for squared errors of single users. A rank correlation whose "
        "interval includes zero never holds, not even in *direction only*. This rule came after "
        "the first attention records of the small MovieLens, and makes the verdict harder: one on "
        "genres had been *direction only* there and became *untestable*. No other films had any "
        "attention records. The fourth and fifth fold of attention were added then, too."
    ),
    "integration": (
        f"The same rule, with a margin of {GAIN_MARGIN:g} stars for errors; for overfitting, the "
        f"validation error minus the training error, of {OVERFIT_MARGIN:g} stars."
    ),
    "checks": (
        f"The same rule, with a margin of {GAIN_MARGIN:g} stars for errors (in the best reading "
        f"and against NFM by Adam for RMSE and MAE both) and of {RANK_MARGIN:g} for the "
        "probability that a user who cares has more attention than one who does not; on the "
        "attention of the best reading the same as on that of the default."
    ),
}


def how_tested() -> str:
    """Which test is behind the verdicts, of how many folds, and what Holm's correction is over.

    The claims of Table 2 and those of attention are two families: see ``Evidence.asked``.
    """
    of = Counter(claim.table for claim in CLAIMS)
    folds, attended, worlds = experiments.FOLDS, attention.FOLDS, attention.WORLDS
    return (
        "The claims are two families, each with Holm's correction over all comparisons that its "
        f"own claims ask for and that have runs. Fewer than {MIN_FOLDS} folds are no evidence; "
        "each sentence below says how many it rests on.\n\n"
        f"- *Errors* ({of[experiments.TABLE2]} claims, from Table 2 and the alternatives): paired "
        f"over the {folds} folds, with intervals and p-values that allow for the overlap of the "
        "folds' training ratings.\n"
        f"- *Attention* ({of[ATTENTION]} claims, {attended} folds). Whether it falls on dealt "
        "genres is tested as errors are, since two models are trained for it. Where both sides "
        "are one model, with a slot masked or with other attention, squared errors are paired over "
        "users and folds, with Student's t over users and a bootstrap interval over users and "
        "folds; the share of users with little attention has that interval and no p-value. "
        "A rank correlation has an interval and a p-value of each fold: the widest and the largest "
        "count, so that every fold must say so. These do not allow for the folds' overlap and are "
        f"about the models that were trained. Planted users: Student's t over {worlds} worlds."
    )


def _stored() -> list[Judgement]:
    study = stored_table(experiments.TABLE2)
    alternatives = Store(experiments.ALTERNATIVES).load()
    users = stored_table(ATTENTION)
    return judge_all(
        CLAIMS,
        [
            evidence(study.records, alternatives, study.published),
            single_users(users.records, users.ranks, study.published),
        ],
    )


def _counts(found: Verdicts) -> dict[str, int]:
    """Of the claims that cannot be tested so far: those that wait for runs, and those of data that
    were never published."""
    open_ = [j.claim.id for j in found.of(CLAIMED) if j.main.verdict == "untestable"]
    never = sum(not experiments.UNAVAILABLE.keys().isdisjoint(name.split("/")) for name in open_)
    return {"claims_never": never, "claims_pending": len(open_) - never}


def _lead(n: Mapping[str, str]) -> str:
    return f"AFM beats its paper's baselines in {of_tested(n, 'better')}"


def _more(n: Mapping[str, str]) -> list[str]:
    return [
        f"Not to be tested so far: {n['claims_pending']} claims wait for more runs, and "
        f"{n['claims_never']} are of Douban's data, which were never published, and cannot be "
        "tested here at all.",
        "AFM in its best reading against a baseline of the paper, where a comparison can be "
        f"decided: {_better(n, 'reading')}.",
        "AFM against a simple model on the same folds, where a comparison can be decided: "
        f"{_better(n, 'simple')}.",
    ]


def _better(n: Mapping[str, str], family: str) -> str:
    return "pending" if n[f"{family}_tested"] == "0" else f"better in {of_tested(n, family)}"


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
    counts=_counts,
    lead=_lead,
    more=_more,
)
