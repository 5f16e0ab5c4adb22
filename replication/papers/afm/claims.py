"""Claims of AFM (Chen et al.), judged by Table 2, the alternatives and what attention says.

The margins come from the paper and the design of the study and not from the records:

- 0.005 stars for "the printed number is reached": half of the smallest lead that Table 2 prints
  for AFM over the best of the others (0.010, before CDL in MAE on MovieLens), so that a number
  that is "reached" cannot be mistaken for that of another model. The same for "AFM holds" without
  a useful feature: it still has half of its smallest lead;
- 0.002 stars for "better": a fifth of that lead, and 0.0036 in the squared errors of single users,
  which is the same at an RMSE of 0.9;
- 0.002 for a relative gain and for a difference of two, 0.002 stars at an error of 1;
- 0.007 of NFM's error below the printed 4.4 % for "by a large margin": the 0.005 stars of above at
  its printed error of 0.729. What is smaller than that is "slight";
- 0.01 stars for "overfits": that smallest lead of AFM, which as much overfitting would undo;
- 0.05 of attention for "falls": a quarter of the 20 % that the paper calls little;
- 0.1 for rank correlations, what is commonly called small, and for planted users' probability.

Differences between models are paired over folds with the correction of Nadeau and Bengio, by the
ratings that the runs counted. So is the fall of attention when the genres are dealt anew: its two
arms are trained apart, and all users of a model share its map of attention, so that they are not
independent of each other. Where both arms are one model (with other attention, or a slot masked),
the differences of single users are paired over users and folds, for the users that have a value in
every fold: Student's t over users, with a bootstrap interval over users and folds. Neither knows
that the folds' training ratings overlap: such a verdict is about these models and their users. A
rank correlation over users has an interval of each fold; of these the widest counts, and the
largest p-value. That attention follows behaviour needs two of them, as it is and given the number
of ratings: few ratings are on few values by chance, so that attention which followed their number
alone would follow behaviour too. None of them holds, not even in direction, where its interval
includes zero (``judge_following``): with the margin of 0.1 a correlation of 0.01 would. This was
added when ``ml-latest-small`` had its first attention records, three folds of the default reading,
and none of the other data; so were the fourth and fifth fold. Both make the claim harder, and the
first took "direction only" from ``follows/genres`` there, of all ratings. P-values are
Holm-corrected over all comparisons of a table. Nothing was measured in a second way.

That AFM gains more with five features than with one has two parts, both required. The first has the
same films' features of one source and the settings that were tuned with all five, which favours the
five; the second sets the main cell with MovieLens' genres alone, tuned as such, against the main
cell with five features, on the same ratings and folds. The second was added later, when no run or
search trial with five features had been recorded.

What wrong genres harm is told from what right ones are worth by a variant with one genre for all
films. That comparison was added later too, when no run with either variant had been recorded. Such
a claim has two parts: the other model is harmed at all, and by more than AFM. Without the first it
would hold of a model that genres do nothing to, where AFM happens to be better with dealt ones.

On MovieLens 1M most search trials of NFM by SGD are no better than biases alone. That AFM beats NFM
is therefore asked once more where Adam trains NFM, or both; these checks came after the records of
NFM by SGD on both MovieLens and are against the claim. What wrong genres harm is asked of NFM by
Adam alone, which was decided before any run with wrong genres.

The paper's crawls of Douban were never published: what it says of them is judged in print only,
and beside it stands the same claim on ``ml-1m-omdb``, films with five features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from replication.claims import (
    LEVEL,
    Claim,
    Comparison,
    Contrast,
    Evidence,
    InPrint,
    NoEvidence,
    Question,
    Verdict,
    arms,
    judge_competitive,
    judge_gain,
    judge_number,
    judge_parts,
    variant_row,
)
from replication.compare import PairedTest, Ranks, Record, cells, interval, number, percent
from replication.fold_claims import FoldEvidence, Place
from replication.papers.afm import attention, experiments
from replication.papers.afm.explanations import MASKINGS
from replication.papers.afm.rows import BEST, ROWS
from replication.rating_training import METRICS

TABLE, ATTENTION = experiments.TABLE2, attention.TABLE
PROTOCOL = experiments.PROTOCOL
NUMBER_MARGIN = HOLD_MARGIN = 0.005
GAIN_MARGIN = 0.002
SQUARED_MARGIN = 0.0036
OVERFIT_MARGIN = 0.01
RELATIVE_MARGIN = 0.002
PRINTED_MARGIN = 0.007
ATTENTION_MARGIN = 0.05
RANK_MARGIN = 0.1

AFM, NFM, LIBFM, CDL = (ROWS[model].name for model in ("afm", "nfm", "libfm", "cdl"))
BEST_READING = ROWS[BEST].name
PRINTED = tuple(ROWS[model].name for model in ("libfm", "svdfeature", "cdl", "nfm", "afm"))
BASELINES = PRINTED[:-1]
SIMPLE = tuple(ROWS[model].name for model in ("bias", "mf", "als", "svdpp", "libfm-gibbs"))
BY_ADAM, NFM_BY_ADAM = (ROWS[model].name for model in ("afm-adam", "nfm-adam"))
OWN, MEAN, CONCAT = (ROWS[model].name for model in ("afm-free", "afm-mean", "afm-concat"))

ONE, FIVE = "ml-1m", "ml-1m-omdb"  # the same ratings and folds; one feature, and five
MUSIC, MOVIE = "douban-music", "douban-movie"
PRINTED_ON = {ONE: "MovieLens", MUSIC: "Douban Music", MOVIE: "Douban Movie"}
OTHERWISE = "ml-latest-small"
INTEGRATED_ON = (ONE, OTHERWISE, FIVE)
GAP = experiments.GAP
SHUFFLED = attention.SHUFFLED
ONE_GENRE = "one-genre"
ONE_FEATURE = "features-1"
LARGE = ("margin of AFM over NFM", MOVIE, "relative RMSE")  # a row of the published numbers
LITTLE = "users with little attention on genre"  # a row of the published numbers
# Where each slot's equal share is above 20 %: elsewhere most users give each feature less anyway.
LITTLE_ON = (ONE, OTHERWISE)

# Names of the stored values (``attention.py``) that are compared, by metric and arm.
ERROR = "squared error"
MASKED = tuple(f"{ERROR}/{kind}" for kind in MASKINGS)
ARMS = {ERROR: {name: f"{ERROR}/{name}" for name in ("own", "shuffled", "uniform")}} | {
    metric: {f"{arm} masked": f"{ERROR}/{arm}/{kind}" for arm in ("attended", "random", "shuffled")}
    for metric, kind in zip(MASKED, MASKINGS, strict=True)
}
FOLLOWS, RECOVERY = "follows", "recovery"
OF_MODELS = "attention/"  # means that are compared between models which are trained apart
GIVEN = "/given the number of ratings"  # ending of the metric of a rank correlation


# --- the evidence ----------------------------------------------------------------------------


def evidence(
    table2: Sequence[Record], alternatives: Sequence[Record], published: pd.DataFrame
) -> FoldEvidence:
    """The records of Table 2, its variants and the alternatives, arranged for the claims."""
    runs: dict[Place, Mapping[int, Record]] = {}
    reasons: dict[Place, str] = {}
    variants = ("", *experiments.VARIANTS)
    for table, records in ((TABLE, table2), (experiments.ALTERNATIVES, alternatives)):
        grid = [cell for v in variants for cell in experiments.grid(table, variant=v)]
        for cell, found in cells(grid, records):
            place = (variant_row(cell.row, cell.variant), cell.dataset, cell.protocol)
            runs[place] = {
                fold: experiments.with_gap(dict(record)) for fold, record in found.items()
            }
            if cell.unavailable:
                reasons[place] = cell.unavailable
    return FoldEvidence(TABLE, runs, published, ("table2", "text"), reasons=reasons)


def single_users(
    records: Sequence[Record], values: Ranks, published: pd.DataFrame
) -> AttentionEvidence:
    """The records of ``afm/attention`` and what lies beside them, arranged for the claims."""
    return AttentionEvidence(records, in_every_fold(records, values), published)


def in_every_fold(records: Sequence[Record], values: Ranks) -> dict[str, dict[str, np.ndarray]]:
    """The values of single users, NaN where a user has none in some fold of the cell."""
    by_cell: dict[tuple[str, ...], list[dict[str, np.ndarray]]] = {}
    found: dict[str, dict[str, np.ndarray]] = {}
    for record in records:
        known = values.get(str(record["key"]), {})
        if isinstance(known, Mapping):
            own = {name: np.asarray(value, dtype=np.float64) for name, value in known.items()}
            found[str(record["key"])] = own
            names = ("row", "dataset", "data_hash", "variant")
            place = tuple(str(record[name]) for name in names)
            by_cell.setdefault(place, []).append(own)
    for folds in by_cell.values():
        for name in set().union(*folds):
            having = [fold for fold in folds if name in fold]
            some = np.any([np.isnan(fold[name]) for fold in having], axis=0)  # [U]
            for fold in having:
                fold[name][some] = np.nan
    return found


class AttentionEvidence(Evidence):
    """Users' values, and two numbers that are not means over users: correlations and recovery."""

    repeats = "folds"
    unrecorded = "its attention is not measured yet"  # it may well have runs of Table 2

    def __init__(self, records: Sequence[Record], values: Ranks, published: pd.DataFrame) -> None:
        rows, own = arms(records, values, ARMS)
        super().__init__(
            ATTENTION,
            [*records, *rows],
            {**values, **own},
            published,
            [*attention.grid(), *attention.grid(SHUFFLED)],
            seeds=attention.FOLDS,
        )

    def in_print(self) -> InPrint:
        return InPrint(self.table, self.published, ("text",))

    def runs(self, row: str, dataset: str, protocol: str) -> Mapping[int, Record]:
        if not self.has(row):
            raise NoEvidence(f"{row}: {self.unrecorded}")
        return super().runs(row, dataset, protocol)

    def _compare(self, comparison: Comparison) -> PairedTest:
        a, b, dataset, protocol, metric = comparison
        if metric.startswith(FOLLOWS):
            return self._following(a, dataset, protocol, metric)
        if metric == RECOVERY:
            return self._recovery(a, b, dataset, protocol)
        if metric.startswith(OF_MODELS):
            for row in (a, b):
                self.runs(row, dataset, protocol)  # says why, where there are none
            return FoldEvidence(self.table, self._runs, self.published, ("text",)).test(comparison)
        return super()._compare(comparison)

    def _following(self, row: str, dataset: str, protocol: str, metric: str) -> PairedTest:
        """A rank correlation less the mean of its shuffled control: every fold must say so.

        Given the number of ratings the control is zero: what is shuffled has the number taken out.
        """
        place = metric.removesuffix(GIVEN)
        numbers: tuple[str, ...] = ("correlation", "low", "high", "p", "shuffled")
        if place != metric:
            numbers = ("given_count", "given_low", "given_high", "given_p")
        names = [f"{place}/{k}" for k in (*numbers, "users")]
        runs = self.runs(row, dataset, protocol)
        known = [run["metrics"] for run in runs.values() if names[0] in run["metrics"]]
        self._enough(len(known), f"{metric} of {row} on {dataset}", self.min_seeds)
        table = np.array([[m[name] for name in names] for m in known])  # [S, 5 or 6]
        found, low, high, p, *shuffled, users = table.T
        control = shuffled[0] if shuffled else np.zeros(len(known))
        ends = float((low - control).min()), float((high - control).max())
        worst, least = float(p.max()), int(users.min())
        return PairedTest(float((found - control).mean()), *ends, worst, worst, len(known), least)

    def _recovery(self, a: str, b: str, dataset: str, protocol: str) -> PairedTest:
        """The planted worlds are independent: Student's t over them."""
        first, second = (self.runs(row, dataset, protocol) for row in (a, b))
        worlds = sorted(first.keys() & second.keys())
        self._enough(len(worlds), f"{a} and {b} on {dataset} together", self.min_seeds)
        delta = np.array(
            [first[w]["metrics"][RECOVERY] - second[w]["metrics"][RECOVERY] for w in worlds]
        )
        test = stats.ttest_1samp(delta, 0.0)
        low, high = test.confidence_interval(LEVEL)
        d, p = float(delta.mean()), float(test.pvalue)
        return PairedTest(d, float(low), float(high), p, p, len(worlds), 0)

    def describe(self, question: Question, test: PairedTest, p: float, count: int) -> str:
        text = super().describe(question, test, p, count)
        if isinstance(question, Comparison) and question.metric == RECOVERY:
            return f"{text}, {test.n_seeds} planted worlds"
        if not test.n_users:
            return f"{text}, {test.n_seeds} folds"
        return f"{text}, {test.n_users:,} users in each of {test.n_seeds} folds"


# --- what is compared ------------------------------------------------------------------------


def pair(row: str, other: str, dataset: str = ONE, metric: str = "RMSE") -> Comparison:
    """Two rows on a data set."""
    return Comparison(row, other, dataset, PROTOCOL, metric)


def gain(row: str, other: str, dataset: str, variant: str = "") -> Comparison:
    """Two rows on a data set, whose relative gain is asked for; both in a variant."""
    return pair(variant_row(row, variant), variant_row(other, variant), dataset)


def without_genres(row: str) -> str:
    """The variant of a row in which the genres are dealt anew."""
    return variant_row(row, SHUFFLED)


def harm(row: str) -> Comparison:
    """By what share of its error with dealt genres a row's error with one genre is below it.

    Neither says anything of a film, so that what true genres are worth is no part of it.
    """
    return pair(variant_row(row, ONE_GENRE), without_genres(row))


def harmed_more(row: str) -> list[Question]:
    """Dealt genres harm a row, and by more than AFM."""
    return [Contrast(harm(row)), Contrast(harm(row), harm(AFM))]


def margin(question: Question) -> float:
    """The smallest difference that matters; see the text of the module."""
    if not isinstance(question, Comparison):
        return RELATIVE_MARGIN
    kind = question.metric.split("/")[0]
    return {
        ERROR: SQUARED_MARGIN,
        "attention": ATTENTION_MARGIN,
        FOLLOWS: RANK_MARGIN,
        RECOVERY: RANK_MARGIN,
    }.get(kind, GAIN_MARGIN)


def comparisons(evidence: Evidence) -> tuple[Any, ...]:
    """All comparisons that a claim asks for: the family of Holm's correction."""
    return evidence.asked(CLAIMS)


# --- predicates ------------------------------------------------------------------------------


def is_printed_number(
    claim: Claim, evidence: Evidence, row: str, dataset: str, metric: str
) -> Verdict:
    """The printed number is reached within NUMBER_MARGIN."""
    return judge_number(claim, evidence, row, dataset, PROTOCOL, metric, NUMBER_MARGIN)


def holds(
    claim: Claim,
    evidence: Evidence,
    judge: Callable[..., Verdict] = judge_gain,
    least: float | None = None,
) -> Verdict:
    """A rule of judgement holds in every comparison of the claim; ``least`` is its own margin."""
    own = margin if least is None else lambda _: least
    return judge_parts(claim, evidence, judge, comparisons(evidence), own)


def judge_following(
    claim: Claim,
    evidence: Evidence,
    comparison: Question,
    family: Sequence[Question],
    margin: float,
) -> Verdict:
    """``judge_gain`` for a rank correlation, whose sign must be known.

    "direction only" asks for low > 0 as well, before Holm's correction: an interval that includes
    zero does not tell a correlation from none, and is "untestable" where one as large as the margin
    is not excluded.
    """
    verdict = judge_gain(claim, evidence, comparison, family, margin)
    if verdict.verdict != "direction only" or verdict.interval is None or verdict.interval[0] > 0:
        return verdict
    return _ending(verdict, "untestable", "too little data: the interval includes zero")


def is_large(claim: Claim, evidence: Evidence, dataset: str) -> Verdict:
    """AFM's relative gain over NFM is the printed one or more, within PRINTED_MARGIN.

    As ``judge_gain`` with RELATIVE_MARGIN, but that a gain which is established and less than the
    printed one by more than PRINTED_MARGIN is "direction only".
    """
    verdict = _judge_gain_over(claim, evidence, NFM, dataset)
    if verdict.verdict != "replicated":
        return verdict
    assert verdict.statistic is not None
    if verdict.statistic >= large(evidence) - PRINTED_MARGIN:
        return _ending(verdict, "replicated", f"reaches {_printed_gain(evidence)}")
    return _ending(verdict, "direction only", f"a gain, but less than {_printed_gain(evidence)}")


def is_slight(claim: Claim, evidence: Evidence, row: str, dataset: str) -> Verdict:
    """AFM's relative gain over a row is there, and below what the paper calls a large margin.

    As ``judge_gain`` with RELATIVE_MARGIN; an established gain is "replicated" if its interval lies
    below the printed large margin less PRINTED_MARGIN, "not replicated" if it lies above, and
    "direction only" if it holds that bound.
    """
    verdict = _judge_gain_over(claim, evidence, row, dataset)
    if verdict.verdict != "replicated":
        return verdict
    assert verdict.interval is not None
    (low, high), bound = verdict.interval, large(evidence) - PRINTED_MARGIN
    if high < bound:
        return _ending(verdict, "replicated", f"a gain, below {_printed_gain(evidence)}")
    if low >= bound:
        return _ending(
            verdict, "not replicated", f"not slight: it reaches {_printed_gain(evidence)}"
        )
    return _ending(
        verdict, "direction only", f"a gain, perhaps as large as {_printed_gain(evidence)}"
    )


def large(evidence: Evidence) -> float:
    """The relative gain over NFM that the paper prints for five features."""
    return evidence.printed(*LARGE)


def _printed_gain(evidence: Evidence) -> str:
    return f"the printed {percent(large(evidence))} less the margin of {percent(PRINTED_MARGIN)}"


def _judge_gain_over(claim: Claim, evidence: Evidence, row: str, dataset: str) -> Verdict:
    question = Contrast(gain(AFM, row, dataset))
    return judge_gain(claim, evidence, question, comparisons(evidence), RELATIVE_MARGIN)


def _ending(verdict: Verdict, kind: str, reason: str) -> Verdict:
    """The same numbers with another verdict and reason."""
    start = verdict.sentence.removesuffix(f"{verdict.reason}.")
    return replace(verdict, verdict=kind, reason=reason, sentence=f"{start}{reason}.")


def is_majority(claim: Claim, evidence: Evidence, dataset: str) -> Verdict:
    """More than half of the users have less than 20 % of their attention on the genre.

    Replicated if the 95 % interval of the share lies above one half, not replicated if it lies
    below, untestable if it holds one half.
    """
    if isinstance(evidence, InPrint):
        share = low = high = evidence.printed(LITTLE, dataset, "share of users")
    else:
        place = (AFM, dataset, PROTOCOL)
        share, low, high, _ = evidence.estimate(*place, f"below/{attention.GENRES}")
    if low > 0.5:
        kind, end = "replicated", "most users do"
    elif high < 0.5:
        kind, end = "not replicated", "most users do not"
    else:
        kind, end = "untestable", "too little data to tell whether most users do"
    text = f"share of users with less than 20 % on the genre on {dataset}: {number(share)}"
    return Verdict(
        claim, kind, share - 0.5, (low - 0.5, high - 0.5), f"{text} {interval(low, high)}; {end}.",
        end,
    )  # fmt: skip


# --- the list --------------------------------------------------------------------------------


def _compare(
    name: str,
    text: str,
    where: str,
    questions: Sequence[Question],
    judge: Callable[..., Verdict] = judge_gain,
    least: float | None = None,
    table: str = TABLE,
) -> Claim:
    """A claim that a rule holds in every one of some comparisons."""
    predicate = partial(holds, judge=judge, least=least)
    return Claim(name, text, where, predicate, table, lambda _: questions)


def _asking(question: Question) -> Callable[[Evidence], Sequence[Question]]:
    """For a claim with a rule of its own: the one comparison that it rests on."""
    return lambda _: (question,)


def _numbers() -> Iterator[Claim]:
    for dataset, printed in PRINTED_ON.items():
        for row in PRINTED:
            for metric in METRICS:
                yield Claim(
                    f"number/{row}/{dataset}/{metric}",
                    f"{row} reaches its printed {metric} on {printed}",
                    "Table 2",
                    partial(is_printed_number, row=row, dataset=dataset, metric=metric),
                    TABLE,
                )


def _better() -> Iterator[Claim]:
    wheres = {
        ONE: "Section 4.2: AFM slightly outperforms other baselines",
        MUSIC: "Section 4.2: AFM slightly outperforms other baselines",
        MOVIE: "Section 4.2: it beats others by a large margin",
        FIVE: "Section 4.2, in the place of Douban Movie",
        OTHERWISE: "Section 4.2, on other data",
    }
    for dataset, where in wheres.items():
        for row in BASELINES:
            for metric in METRICS:
                yield _compare(
                    f"better/{row}/{dataset}/{metric}",
                    f"AFM is better than {row} in {metric} on {dataset}",
                    where,
                    [pair(AFM, row, dataset, metric)],
                )
    for dataset in experiments.RUN_HERE:
        for row in BASELINES:
            yield _compare(
                f"reading/{row}/{dataset}",
                f"AFM in its best reading is better than {row} in RMSE and MAE: {dataset}",
                "Section 4.2, with the interaction that our search prefers",
                [pair(BEST_READING, row, dataset, metric) for metric in METRICS],
            )


def _features() -> Iterator[Claim]:
    """What many features, and useless ones, do."""
    for dataset in (ONE, MUSIC):
        for row in BASELINES:
            yield Claim(
                f"slight/{row}/{dataset}",
                f"With genre alone AFM's RMSE is slightly below that of {row}: {dataset}",
                "Section 4.2: only genre as the item feature, AFM slightly outperforms",
                partial(is_slight, row=row, dataset=dataset),
                TABLE,
                _asking(Contrast(gain(AFM, row, dataset))),
            )
    # What five features are set against: the same settings, and the settings of one feature.
    one = {FIVE: ((FIVE, ONE_FEATURE), (ONE, "")), MOVIE: ((ONE, ""),)}
    for dataset in (FIVE, MOVIE):
        yield Claim(
            f"large/{dataset}",
            f"With five features AFM's RMSE is below NFM's by as much as is printed: {dataset}",
            "Section 4.2: about 4.4 % over NFM on Douban Movie",
            partial(is_large, dataset=dataset),
            TABLE,
            _asking(Contrast(gain(AFM, NFM, dataset))),
        )
        for row in (NFM, LIBFM):
            yield _compare(
                f"grows/{row}/{dataset}",
                f"AFM's relative gain over {row} is larger with five features ({dataset}) than "
                f"with genre alone ({' and '.join(where for where, _ in one[dataset])})",
                "Section 4.2: with more item features AFM may be more effective",
                [
                    Contrast(gain(AFM, row, dataset), gain(AFM, row, where, variant))
                    for where, variant in one[dataset]
                ],
            )
    yield _compare(
        "weak/loss",
        "Genres that are dealt anew among the films harm CDL, and more than AFM, each against the "
        "same with one genre for all films",
        "Section 4.2: why CDL is not that good with a feature that few users care about",
        harmed_more(CDL),
    )
    yield _compare(
        f"weak/last/{MUSIC}",
        "CDL is the worst of the five on Douban Music",
        "Section 4.2 and Table 2",
        [pair(row, CDL, MUSIC, metric) for row in PRINTED if row != CDL for metric in METRICS],
    )
    where = "Section 4.2: AFM masks features that are not very effective with low attention"
    genre = f"attention/{attention.GENRES}"
    yield _compare(
        "masks/attention",
        "Attention on the genre falls when the genres are dealt anew among the films",
        where,
        [pair(AFM, without_genres(AFM), ONE, genre)],
        table=ATTENTION,
    )
    yield _compare(
        "masks/error",
        f"AFM loses less than {HOLD_MARGIN:g} stars of RMSE when the genres are dealt anew",
        where,
        [pair(without_genres(AFM), AFM)],
        judge_competitive,
        HOLD_MARGIN,
    )
    for row in (MEAN, NFM_BY_ADAM, LIBFM):
        yield _compare(
            f"masks/harm/{row}",
            f"Genres that are dealt anew harm {row}, which has no attention, and more than AFM, "
            "each against the same with one genre for all films",
            where,
            harmed_more(row),
        )
    for dataset in (MUSIC, *LITTLE_ON):
        yield Claim(
            f"little/{dataset}",
            f"Most users give the genre less than 20 % of their attention: {dataset}",
            "Section 4.2: nearly 80 % users have less than 20 % attention on the music genre",
            partial(is_majority, dataset=dataset),
            ATTENTION,
        )


def _behaviour(row: str = AFM) -> Iterator[Claim]:
    """Attention matches what users do; of ``BEST_READING`` as a check beside the claims."""
    where = "Section 4.3: it quite accords with their ratings; it conforms the fact very well"
    start, end = ("", "") if row == AFM else ("attended/", ", in the best reading")
    for dataset in experiments.RUN_HERE:
        for feature in experiments.FEATURES[dataset]:
            for which in attention.WHICH:
                yield _compare(
                    f"{start}follows/{feature}/{dataset}/{which}",
                    f"Users attend more to {feature} the more their ratings ({which}) are on few "
                    f"of its values, beyond shuffled users and beyond what the number of ratings "
                    f"tells: {dataset}{end}",
                    where,
                    [
                        pair(
                            row,
                            f"{row}, shuffled users",
                            dataset,
                            f"{FOLLOWS}/{feature}/{which}{given}",
                        )
                        for given in ("", GIVEN)
                    ],
                    judge_following,
                    table=ATTENTION,
                )
    for dataset in experiments.RUN_HERE:
        for arm, text in (
            ("random", "one at random"),
            ("shuffled", "the one that another user attends to most"),
        ):
            yield _compare(
                f"{start}faithful/masked/{arm}/{dataset}",
                "Masking the most attended slot, a feature or the film's own vector, hurts more "
                f"than masking {text}: {dataset}{end}",
                "Section 3.1 and Figure 3: the gate decides what is masked for a user",
                [
                    pair(f"{row}, {arm} masked", f"{row}, attended masked", dataset, metric)
                    for metric in MASKED
                ],
                table=ATTENTION,
            )
        yield _compare(
            f"{start}faithful/own/{dataset}",
            "A user's own attention predicts better than another user's, and than the same on all "
            f"slots: {dataset}{end}",
            "Abstract: tune the weights of item features for different users",
            [
                pair(f"{row}, own", f"{row}, {other}", dataset, ERROR)
                for other in ("shuffled", "uniform")
            ],
            table=ATTENTION,
        )


def _claims() -> Iterator[Claim]:
    yield from _numbers()
    yield from _better()
    yield from _features()
    yield from _behaviour()
    yield from _behaviour(BEST_READING)
    where = "Section 3.1: different attention for different users may result in overfitting"
    for dataset in INTEGRATED_ON:
        yield _compare(
            f"overfits/{dataset}",
            "With the shared map of attention validation errors are above training errors by less "
            f"than with an attention of each user's own: {dataset}",
            where,
            [pair(AFM, OWN, dataset, GAP)],
            least=OVERFIT_MARGIN,
        )
        yield _compare(
            f"integration/own/{dataset}",
            "The shared map of attention is better than an attention of each user's own: "
            f"{dataset}",
            where,
            [pair(AFM, OWN, dataset)],
        )
    for name, other, text, where in (
        (
            "mean",
            MEAN,
            "Attention is better than plain averaging of the features",
            "Sections 1 and 3.1: unlike models that simply integrate by adding",
        ),
        (
            "concat",
            CONCAT,
            "Attention is better than concatenation of the features",
            "Sections 1 and 3.1: or concatenating",
        ),
    ):
        for dataset in INTEGRATED_ON:
            yield _compare(
                f"integration/{name}/{dataset}",
                f"{text}: {dataset}",
                where,
                [pair(AFM, other, dataset)],
            )
    for dataset in experiments.RUN_HERE:
        for row in SIMPLE:
            yield _compare(
                f"simple/{row}/{dataset}",
                f"AFM is better than {row}: {dataset}",
                "not in the paper",
                [pair(AFM, row, dataset)],
            )
    for row, datasets in ((AFM, experiments.RUN_HERE), (BY_ADAM, (ONE, OTHERWISE))):
        for dataset in datasets:
            yield _compare(
                f"optimiser/{row}/{dataset}",
                f"{row} is better than {NFM_BY_ADAM} in RMSE and MAE: {dataset}",
                "Section 4.2, where plain SGD leaves NFM's network behind",
                [pair(row, NFM_BY_ADAM, dataset, metric) for metric in METRICS],
            )
    planted = experiments.row_name(attention.PLANTED_MODEL)
    yield _compare(
        "planted/recovery",
        "Attention tells made-up users who rate by genre from those who do not, and no longer "
        "when the genres are dealt anew",
        "not in the paper",
        [
            Comparison(
                planted, without_genres(planted), attention.PLANTED, attention.PLANTED, RECOVERY
            )
        ],
        table=ATTENTION,
    )


CLAIMS: tuple[Claim, ...] = tuple(_claims())
