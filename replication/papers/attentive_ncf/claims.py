"""Claims of Attentive NCF (Hutter et al.), judged by Tables I and II, the variants, the ensembles.

The margins come from the paper and the design of the study and not from the records:

- 0.005 stars of RMSE for "the printed number is reached": less than the 0.0069 that Table II prints
  between the attentive rows and the best of the others, so that a number that an attentive row
  reaches is not that of another embedding. Of the other rows some are printed closer to each other
  than that: the page counts what a margin half as wide would leave (``NARROWER``);
- 0.001 stars of RMSE for "better" and "no difference": less than half of the smallest gap that a
  claim rests on (0.0021, attentive + MLP2 before attentive + inner product). The same for MAE,
  which the paper does not print: every "better" is judged a second time by it;
- 0.1 for rank correlations, what is commonly called small: the control, shuffled attention, has a
  correlation of 0 by design, so that no share of it can be a margin.

All differences are paired over folds and tested with the correction of Nadeau and Bengio, since
the training sets of the folds overlap; p-values are Holm-corrected over all comparisons of the
table. Each claim about the main cells is judged twice: at the epoch as the paper reports it (the
one with the lowest mean over the test folds) and at the epoch that an inner validation chooses.
Variants were run on one fold: there a difference is set against the spread of seeds. The bagged
ensemble has one fixed test set, and its difference an interval over the users of that set.
Explanations and new users are measured for single users, whose differences are paired over users
and seeds; their other margins: a twentieth of what the control moves the prediction by, and what
0.001 stars of RMSE amount to in the squared error at an RMSE of 1. The shuffled attention of
``explains-moved`` had at first only picked the movies to take away, which is a second random draw;
after the first records on ml-100k it was put into the model too, and they were measured again.
``explains-weights`` was added after all records had been seen, against the paper: where attention
is almost even a shuffled one hardly differs from it, so that ``explains-moved`` can hardly fail.
The look-ups of ``newcomers`` had at first 10 or 100 steps, untuned, and MLP2 beside autoencoder +
MLP1 as well. After the first records look-ups with the same predictor as the model, and with rate,
steps and pull chosen on users who stayed, took their place: a stronger rival, against the claims.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from replication.claims import (
    Claim,
    Comparison,
    Evidence,
    InPrint,
    NoEvidence,
    Question,
    Verdict,
    arms,
    judge_competitive,
    judge_gain,
    judge_lead,
    judge_number,
    judge_parts,
    variant_row,
)
from replication.compare import PairedTest, Ranks, Record, cells
from replication.fold_claims import FoldEvidence, Place
from replication.folds import Ratings, RatingSplit
from replication.papers.attentive_ncf import experiments
from replication.papers.attentive_ncf.experiments import BEST_MEMBER, WHOLE
from replication.papers.attentive_ncf.model import EMBEDDINGS, AttentiveNCF, AttentiveNCFConfig
from replication.papers.attentive_ncf.rows import ROWS, SHORT
from replication.rating_training import METRICS

TABLE = experiments.TABLE2
EXPLANATIONS = f"{experiments.PAPER}/explanations"
NEWCOMERS = f"{experiments.PAPER}/newcomers"
DATASET, PROTOCOL, METRIC = "cil", "kfold-10", "RMSE"
PRINTED_IN = ("table2", "table1", "text")
NUMBER_MARGIN = 0.005
NARROWER = NUMBER_MARGIN / 2
GAIN_MARGIN = 0.001
RELATIVE_MARGIN = 0.05
RANK_MARGIN = 0.1
SELECT, HONEST = "best-epoch", "validation"
OWN = "fold's own minimum"  # the runs that a variant is compared with

PREDICTORS = tuple(SHORT)
COMBINATIONS = tuple(ROWS[model].name for model in experiments.COMBINATIONS)
WINNER = "attentive + MLP2"
SIMPLE = tuple(  # strong and simple; the paper has none of them
    ROWS[model].name for model in ("bias", "als", "item-linear", "mf", "bayesian")
)
BASELINES = tuple(
    ROWS[model].name for model in ROWS if model.startswith("surprise-") or model == "svd-imputed"
)
# What a mean over models is set against.
RIVALS = dict.fromkeys(experiments.MEMBERS, (BEST_MEMBER,)) | {
    experiments.BAGGED: (BEST_MEMBER, WHOLE)
}
SIZES = (10_000, 1_000)  # users and movies of the paper's data, Section II-A1

# Explanations (``explanations.py``) by which values of a record, and new users (``newcomers.py``).
ERROR = "squared error"
REMOVED = (1, 4, 16)
MOVED = tuple(f"prediction moved, {k} removed" for k in REMOVED)
GENRES = "agreement with genres"
ARMS = {
    metric: {
        arm: f"moved/{arm}/{k}" for arm in ("attended", "random", "shuffled", "attended, uniform")
    }
    for metric, k in zip(MOVED, REMOVED, strict=True)
} | {
    ERROR: {arm: f"{ERROR}/{arm}" for arm in ("own", "uniform")},
    GENRES: {"attention": "genres/attention", "shuffled attention": "genres/shuffled"},
}
EXPLAINED = (("ml-100k", PROTOCOL), ("ml-latest-small", PROTOCOL))
NEW_USERS = (("cil", "newcomers-20"), ("ml-100k", "newcomers-20"))
KNOWN = (4, 16, 64)  # ratings of a new user that are told
TUNED = {  # of whom nothing is retrained -> the look-up with the same predictor
    "attentive + MLP2": "simple + MLP2, tuned steps",
    "autoencoder + MLP1": "simple + MLP1, tuned steps",
}


# --- the evidence ----------------------------------------------------------------------------


def evidence(
    table1: Sequence[Record],
    table2: Sequence[Record],
    ensembles: Sequence[Record],
    published: pd.DataFrame,
) -> FoldEvidence:
    """The records of the paper's tables, arranged for its claims.

    Args:
        table1, table2: with what follows from their curves (``experiments.derived``).
        ensembles: means over models of one fold.
        published: as from ``compare.load_published``.
    """
    first = {**_variants(table2), **_ensembles(ensembles)}
    spread, fixed = _spread(table2), _fixed(ensembles)

    def at(select: str, second: FoldEvidence | None = None) -> FoldEvidence:
        runs = {**_main(table1, table2, select), **first}
        return FoldEvidence(TABLE, runs, published, PRINTED_IN, spread, fixed=fixed, second=second)

    return at(SELECT, at(HONEST))


def _main(
    table1: Sequence[Record], table2: Sequence[Record], select: str
) -> dict[Place, Mapping[int, Record]]:
    grid = [
        *experiments.grid(experiments.TABLE1, select),
        *experiments.grid(experiments.TABLE2, select),
    ]
    return {
        (cell.row, cell.dataset, cell.protocol): runs
        for cell, runs in cells(grid, [*table1, *table2])
    }


def _variants(table2: Sequence[Record]) -> dict[Place, Mapping[int, Record]]:
    """Variants by their names, and the main runs as they are compared with them."""
    found: dict[Place, Mapping[int, Record]] = {}
    for variant in ("", *experiments.VARIANTS):
        grid = experiments.grid(experiments.TABLE2, "fold-minimum", variant)
        for cell, runs in cells(grid, table2):
            row = variant_row(cell.row, variant or OWN)
            found[row, cell.dataset, cell.protocol] = runs
    return found


def _ensembles(records: Sequence[Record]) -> dict[Place, Mapping[int, Record]]:
    """Ensembles, and what each is set against as if it were a model."""
    found: dict[Place, Mapping[int, Record]] = {}
    for cell, runs in cells(experiments.ensemble_grid(), records):
        place = (cell.dataset, cell.protocol)
        found[cell.row, *place] = runs
        for rival in RIVALS[cell.row]:
            found[variant_row(cell.row, rival), *place] = {
                fold: {**run, "metrics": {m: run["metrics"][f"{m}/{rival}"] for m in METRICS}}
                for fold, run in runs.items()
            }
    return found


def _fixed(ensembles: Sequence[Record]) -> dict[Comparison, PairedTest]:
    """Of the bagged ensemble, whose test set is fixed: its gain over the users of that set."""
    found = {}
    for cell, runs in cells(experiments.ensemble_grid(), ensembles):
        for run in runs.values() if cell.row == experiments.BAGGED else ():
            for metric, rival in itertools.product(METRICS, RIVALS[cell.row]):
                name = f"{metric}/minus {rival}"
                d, low, high, p, users = (
                    run["metrics"][name + end] for end in ("", "/low", "/high", "/p", "/users")
                )
                question = pair(cell.row, variant_row(cell.row, rival), metric)
                found[question] = PairedTest(d, low, high, p, p, 1, int(users))
    return found


def _spread(table2: Sequence[Record]) -> dict[str, dict[str, list[float]]]:
    """Of every row that is compared on one fold: the seeds of the combination that it varies."""
    grid = experiments.grid(experiments.TABLE2, variant="seeds")
    return {
        variant_row(cell.row, variant): {
            metric: [run["metrics"][metric] for run in runs.values()] for metric in METRICS
        }
        for cell, runs in cells(grid, table2)
        for variant in (OWN, *experiments.VARIANTS)
    }


def single_users(
    explanations: tuple[Sequence[Record], Ranks],
    newcomers: tuple[Sequence[Record], Ranks],
    published: pd.DataFrame,
) -> list[Evidence]:
    """The records and values of single users in the two studies, arranged for their claims."""
    kept = ("validation-no-refit", "validation", "none")
    told = arms(*explanations, ARMS)
    return [
        Evidence(EXPLANATIONS, *told, published, selects=kept),
        Evidence(NEWCOMERS, *newcomers, published, selects=kept),
    ]


# --- what is compared ------------------------------------------------------------------------


def pair(row: str, other: str, metric: str = METRIC) -> Comparison:
    """Two rows on the paper's data."""
    return Comparison(row, other, DATASET, PROTOCOL, metric)


def against(row: str, variant: str) -> Comparison:
    """A main row before its variant, both at each fold's own best epoch."""
    return pair(variant_row(row, OWN), variant_row(row, variant))


def margin(evidence: Evidence, question: Question) -> float:
    """The smallest difference that matters; see the text of the module."""
    if not isinstance(question, Comparison):
        raise TypeError("no claim of this paper compares two gains")
    if question.metric == GENRES:
        return RANK_MARGIN
    if question.metric in MOVED:
        _, other, *place = question
        return RELATIVE_MARGIN * evidence.mean(other, *place)
    return GAIN_MARGIN if question.metric in METRICS else 2 * GAIN_MARGIN


def comparisons(evidence: Evidence) -> tuple[Any, ...]:
    """All comparisons that a claim asks for: the family of Holm's correction."""
    return evidence.asked(CLAIMS)


@lru_cache(maxsize=32)
def at_paper_size(config: AttentiveNCFConfig) -> AttentiveNCF:
    """A combination for the paper's users and movies, without a rating: for counting."""
    empty = np.empty(0, dtype=np.int64)
    nothing = Ratings(empty, empty, empty.astype(np.float32))
    levels = np.arange(1, 6, dtype=np.float32)
    split = RatingSplit(PROTOCOL, 0, *SIZES, levels, nothing, nothing, nothing)
    tables = None
    if config.embedding == "autoencoder":
        users, items = (torch.zeros(n, config.dimension) for n in SIZES)
        tables = (users, items)
    return AttentiveNCF(split, config, tables)


def embedding_numbers(embedding: str, dimension: int = 64) -> int:
    """Numbers in the tables of an embedding at the paper's sizes, counted in the module.

    The vector of the default user, which the paper does not count, is left out.
    """
    made = at_paper_size(AttentiveNCFConfig(embedding=embedding, dimension=dimension))
    return sum(p.numel() for p in made.embedding.parameters() if p.dim() == 2)


# --- predicates ------------------------------------------------------------------------------


def is_printed_number(claim: Claim, evidence: Evidence, row: str) -> Verdict:
    """The printed number is reached within NUMBER_MARGIN."""
    return judge_number(claim, evidence, row, DATASET, PROTOCOL, METRIC, NUMBER_MARGIN)


def holds(claim: Claim, evidence: Evidence, judge: Callable[..., Verdict] = judge_gain) -> Verdict:
    """A rule of judgement holds in every comparison of the claim."""
    return judge_parts(claim, evidence, judge, comparisons(evidence), partial(margin, evidence))


def fewer_and_better(claim: Claim, evidence: Evidence, row: str, other: str) -> Verdict:
    """The first model has fewer parameters than the second, and a lower error."""
    few, many = (_parameters(evidence, name) for name in (row, other))
    count = f"{few:,.0f} parameters against {many:,.0f}"
    if few >= many:
        return Verdict(claim, "not replicated", None, None, f"{count}: not fewer.", count)
    found = holds(claim, evidence)
    return Verdict(
        claim,
        found.verdict,
        found.statistic,
        found.interval,
        f"{count}; {found.sentence}",
        f"{count}; {found.reason}",
        found.no_difference,
    )


def _parameters(evidence: Evidence, row: str) -> float:
    if isinstance(evidence, InPrint):
        return evidence.printed(row.split(" + ")[0], DATASET, "embedding parameters")
    return next(iter(evidence.runs(row, DATASET, PROTOCOL).values()))["parameters"]


def counted_as_printed(claim: Claim, evidence: Evidence) -> Verdict:
    """The modules have as many parameters as the paper counts."""
    texts, right = [], True
    for embedding in ("attentive", "simple"):
        printed = evidence.printed(embedding, DATASET, "embedding parameters")
        here = embedding_numbers(embedding)
        right &= here == printed
        texts.append(f"{embedding}: {here:,} in the module, {printed:,.0f} printed")
    sentence = "; ".join(texts)
    kind = "replicated" if right else "not replicated"
    return Verdict(claim, kind, None, None, f"{sentence}.", sentence)


def is_not_told(claim: Claim, evidence: Evidence, why: str) -> Verdict:
    """A claim that no run can decide."""
    raise NoEvidence(why)


# --- the list --------------------------------------------------------------------------------


def _compare(
    name: str,
    text: str,
    where: str,
    pairs: Sequence[Comparison],
    judge: Callable[..., Verdict] = judge_gain,
    again: bool = True,
    table: str = TABLE,
) -> Claim:
    """A claim that a rule holds in every one of some comparisons."""
    return Claim(
        name, text, where, partial(holds, judge=judge), table, lambda _: pairs, again=again
    )


def _numbers() -> Iterator[Claim]:
    places = {row: "Table II" for row in COMBINATIONS}
    places |= {row: "Table I" for row in BASELINES} | {"constant": "Section IV: 1.15"}
    for row, where in places.items():
        yield Claim(
            f"number/{row}",
            f"{row} reaches its printed RMSE",
            where,
            partial(is_printed_number, row=row),
            TABLE,
            again=row in COMBINATIONS,
        )


def _embeddings() -> Iterator[Claim]:
    for better, worse in (
        ("autoencoder", "simple"),
        ("attentive", "autoencoder"),
        ("attentive", "simple"),
    ):
        for predictor in PREDICTORS:
            yield _compare(
                f"embedding/{better}/{worse}/{predictor}",
                f"{better} is better than {worse} with {predictor}",
                "Section III-B: each prediction model benefits from a smarter embedding",
                [pair(f"{better} + {predictor}", f"{worse} + {predictor}")],
            )
    for predictor in PREDICTORS:
        yield _compare(
            f"attention/{predictor}",
            f"{predictor} is best with the attentive embedding",
            "Section III-B: all prediction models have the best performance with it",
            [pair(f"attentive + {predictor}", f"{e} + {predictor}") for e in EMBEDDINGS[:2]],
        )


def _predictors() -> Iterator[Claim]:
    for embedding in EMBEDDINGS:
        for predictor in PREDICTORS[1:]:
            yield _compare(
                f"mlp/{embedding}/{predictor}",
                f"{predictor} is better than the inner product with the {embedding} embedding",
                "Section III-B: the MLPs again outperforming the inner product",
                [pair(f"{embedding} + {predictor}", f"{embedding} + inner product")],
            )
    yield _compare(
        "mlp2/simple",
        "MLP2 is the best predictor of the simple embedding",
        "Section III-B: MLP2 is the best model here",
        [pair("simple + MLP2", f"simple + {predictor}") for predictor in PREDICTORS[:2]],
    )
    yield _compare(
        "best",
        f"{WINNER} is the best of the nine",
        "Section I: achieves the best performance; Table II",
        [pair(WINNER, row) for row in COMBINATIONS if row != WINNER],
        judge_lead,
    )


def _single_users() -> Iterator[Claim]:
    """Attention explains, and new users need no retraining."""
    for (dataset, protocol), predictor in itertools.product(EXPLAINED, PREDICTORS):
        row, place = f"attentive + {predictor}", (dataset, protocol)
        yield _compare(
            f"explains-moved/{predictor}/{dataset}",
            f"{row}: without the context movies that get the most attention the prediction moves "
            f"more than without as many at random, and than a shuffled attention's without the "
            f"movies that get most of that: {dataset}",
            "Section II-A1: explainability",
            [
                Comparison(f"{row}, attended", f"{row}, {other}", dataset, protocol, metric)
                for metric in MOVED
                for other in ("random", "shuffled")
            ],
            again=False,
            table=EXPLANATIONS,
        )
        yield _compare(
            f"explains-weights/{predictor}/{dataset}",
            f"{row}: the weights matter: without the context movies that get the most attention "
            f"the prediction moves more than with equal weights and without the same movies, and "
            f"its error is lower than with equal weights: {dataset}",
            "Section II-A1: explainability",
            [
                *(
                    Comparison(f"{row}, attended", f"{row}, attended, uniform", *place, metric)
                    for metric in MOVED
                ),
                Comparison(f"{row}, own", f"{row}, uniform", *place, ERROR),
            ],
            again=False,
            table=EXPLANATIONS,
        )
        yield _compare(
            f"explains-genres/{predictor}/{dataset}",
            f"{row}: attention goes to movies that share genres with the target, beyond shuffled "
            f"attention: {dataset}",
            "Section II-A1: more weight is given to movies that are similar to the target",
            [
                Comparison(
                    f"{row}, attention", f"{row}, shuffled attention", dataset, protocol, GENRES
                )
            ],
            again=False,
            table=EXPLANATIONS,
        )
    for row, tuned in TUNED.items():
        for dataset, protocol in NEW_USERS:
            for known in KNOWN:
                yield _compare(
                    f"newcomers/{row}/{dataset}/{known}",
                    f"{row} without retraining is not worse for new users than look-ups that are "
                    f"fine-tuned, with tuned settings, on the same {known} ratings: {dataset}",
                    "Section II-A1: adding new users; Section IV",
                    [Comparison(row, tuned, dataset, protocol, f"squared error/{known}")],
                    judge_competitive,
                    again=False,
                    table=NEWCOMERS,
                )


def _claims() -> Iterator[Claim]:
    yield from _numbers()
    yield from _embeddings()
    yield from _predictors()
    for row in COMBINATIONS:
        yield _compare(
            f"baselines/{row}",
            f"{row} is better than every baseline of Table I",
            "Abstract: outperforms previous methods; Tables I and II",
            [pair(row, other) for other in BASELINES],
        )
    for predictor in PREDICTORS:
        row, other = (f"{embedding} + {predictor}" for embedding in ("attentive", "simple"))
        yield Claim(
            f"parameters/{predictor}",
            f"{row} has fewer parameters than {other} and is yet better",
            "Section IV: all these benefits with fewer parameters",
            partial(fewer_and_better, row=row, other=other),
            TABLE,
            partial(_one, pair(row, other)),
            again=True,
        )
    yield Claim(
        "parameters/count",
        "The attentive embedding has 128,000 parameters, the look-up 704,000",
        "Section II-A1: parameter efficiency",
        counted_as_printed,
        TABLE,
    )
    for predictor in PREDICTORS:
        yield _compare(
            f"subsample/{predictor}",
            f"Training with 64 drawn context movies is better than with all: attentive + "
            f"{predictor}",
            "Section II-A1: data augmentation can guard against overfitting",
            [against(f"attentive + {predictor}", "all-context")],
            again=False,
        )
    for name in (*experiments.MEMBERS, experiments.BAGGED):
        only = ", on one fixed test set" if name == experiments.BAGGED else ""
        yield _compare(
            f"ensemble/{name}",
            f"The {name} is better than its best member{only}",
            "Section III-B: the final model is a mean, a variant of bagging",
            [pair(name, variant_row(name, BEST_MEMBER))],
            again=False,
        )
    yield _compare(
        f"ensemble/{WHOLE}",
        f"The {experiments.BAGGED}, each of whose members lacks a tenth of the training ratings, "
        "is better than one such model trained on all of them, on one fixed test set",
        "Section III-B: the final model is a mean, a variant of bagging",
        [pair(experiments.BAGGED, variant_row(experiments.BAGGED, WHOLE))],
        again=False,
    )
    yield Claim(
        "ensemble/Kaggle",
        "The mean of the best submissions is the best on Kaggle",
        "Section III-B: the final submitted model",
        partial(
            is_not_told,
            why="the paper prints no score of a submission, and the ratings that Kaggle scored "
            "were never published",
        ),
        TABLE,
    )
    yield from _single_users()
    for row in SIMPLE:
        yield _compare(
            f"simple/{row}",
            f"{WINNER} is better than {row}",
            "not in the paper",
            [pair(WINNER, row)],
        )


def _one(question: Comparison, evidence: Evidence) -> list[Comparison]:
    return [question]


# Families of claims of the form "one row is better than another".
BETTER = ("embedding", "attention", "mlp", "mlp2", "best", "baselines", "subsample", "ensemble",
          "simple")  # fmt: skip


def _in_mae(claims: Sequence[Claim]) -> Iterator[Claim]:
    """The same comparisons in MAE, of which the paper prints none: a lead as printed is a gain."""

    def asks(claim: Claim, evidence: Evidence) -> list[Question]:
        return [q._replace(metric="MAE") for q in claim.asks(evidence) if isinstance(q, Comparison)]

    for claim in claims:
        if claim.family in BETTER and claim.id != "ensemble/Kaggle":
            yield Claim(
                f"mae/{claim.id}",
                f"{claim.text}, in MAE",
                "not in the paper, which prints RMSE alone",
                holds,
                TABLE,
                partial(asks, claim),
                again=claim.again,
            )


_AS_PRINTED = tuple(_claims())
CLAIMS: tuple[Claim, ...] = (*_AS_PRINTED, *_in_mae(_AS_PRINTED))
