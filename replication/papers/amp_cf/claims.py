"""Claims of AMP-CF (Barkan et al., RecSys 2020), judged by Tables 2 and 3 and the explanations.

The margins are judgements of what matters, not all of them written before what they judge:

- 0.02 for "the printed number is reached": over three standard errors of HR@10 at the 6,040
  users of ML-1M and about one at the 610 users of latest-small, where a match can therefore not be
  established, only refuted;
- 0.01 for "better" and "no difference" in HR@10 and NDCG@10 among 100 candidates: the size of the
  differences between the better models of Table 2. These two stand in the first commit (97d0033),
  whose only records are 14 of MostPop: they were written before any record of another model;
- a twentieth of the opponent's value where the scale is not that of Table 2: under full ranking,
  whose values are far smaller, and for taste distance, whose printed scale is not established. The
  paper's own three AMP rows differ by as much in its Table 3 (by 5.5 % in the median column). It
  came with commit a99cd69, *after* Table 3's records of ml-latest-small and ml-100k (f9eac72) and
  after most of Table 2's for these two and ML-1M; nearly all for Amazon and Pinterest came later;
- a twentieth of the unit for what is measured on explanations: agreement with genres (0 by chance,
  1 in full), overlap of lists (0 to 1), loss of score (standard deviations of a user's scores). It
  came with the same commit, before the first stored record of explanations; that nothing is told
  where personas are one vector was added after them (5360c79);
- the same twentieth for a rank correlation, and all rules on minority tastes, on the number of
  factors and on films against Amazon: written after the records of these models, but before there
  were any of other numbers of factors or of the vectors that ``EQUAL`` names. The limits of
  ``tastes.MINORITY`` are set from the histories in the data.

Last came the claims of the families ``entropy``, ``adapts``, ``not-diversity`` and ``ncf``. What
they judge had stood on the pages of explanations and of Tables 2 and 3 before: nothing of theirs
was written beforehand but the margins, which are the ones above, and ``STRONG`` (commit 58b22e6, on
the page of Table 3), a limit of strength that no multiple of the margins moves. The checks on taste
distance against AISP on vectors of unit length and DiRec with a small radius were written before
these lists were measured, but after a short trial of the former had shown it nearer to the tastes.
That small networks for similarities do not help holds in direction only, as nothing was searched
for them: a rule that came after their records, and against the claim.
The claims on explanations were extended to Pinterest and Amazon before any record of them there.
That a gain over a model whose runs ended at their limit of epochs, where AMP's did not, holds in
direction only is a rule that came after the records too, and against the claims ``outperforms`` and
``competitive``: the limits of ConvNCF and DeepICF+a are below AMP's.
The family ``personas-mf-settings`` was added after its records, which the page of Table 2 had
counted by other words before, and ``domain-each`` after the records that can judge it.

The page of verdicts says which verdicts would change at half and at twice every margin.

The text speaks of 2, 4 and 8 personas (Section 4.3), the tables print 2, 3 and 4: numbers are
judged for the printed rows, gains for all four and for "the best AMP", which is chosen on the
validation items (in the paper's own table: the best printed one). All p-values are Holm-corrected
over all comparisons of a table, and once more over those under full ranking.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from scipy import stats

from replication.claims import (
    FULL,
    LEVEL,
    ByUser,
    Claim,
    Comparison,
    Contrast,
    Evidence,
    NoEvidence,
    Question,
    Verdict,
    judge_competitive,
    judge_gain,
    judge_lead,
    judge_longer,
    judge_no_gain,
    judge_number,
    judge_parts,
    variant_row,
)
from replication.compare import Floats, Record, bootstrap_means, interval, number
from replication.papers.amp_cf import minority
from replication.papers.amp_cf.ablations import SMALL
from replication.papers.amp_cf.experiments import VARIANTS, row_name
from replication.papers.amp_cf.explanations import COLLAPSED, GENRES, MODELS_ON
from replication.papers.amp_cf.model import AMPConfig

TABLE = "amp_cf/table2"
TASTES = "amp_cf/table3"
EXPLANATIONS = "amp_cf/explanations"
NUMBER_MARGIN = 0.02
GAIN_MARGIN = 0.01
RELATIVE_MARGIN = 0.05
STRONG = 0.5  # a rank correlation beyond which one measure says much of another
LEAST_MODELS = 10  # of a correlation over models

METRICS = ("HR@10", "NDCG@10")
DISTANCES = ("JS", "Hellinger")
# Ending of a taste distance whose softmax runs over similarities in place of distances, as a
# record of Table 3 calls its mean.
OVER_SIMILARITIES = "/similarity"
# What is measured on explanations, and by which values of a record: what is claimed first, then
# what it must be set apart from.
ARMS = {
    "score lost": {"claimed items": "lost/claimed", "random items": "lost/random"},
    "agreement with genres": {"personas": "genres/AMI", "shuffled": "genres/AMI shuffled"},
    "overlap of lists": {"own personas": "overlap/lists", "strangers": "overlap/other users"},
    "attention entropy": {"negatives": "entropy/negatives", "positives": "entropy/training"},
} | {
    f"{metric}{end}": {
        "own attention": f"{metric}{end}",
        "shuffled attention": f"{metric}{end}/shuffled",
        "uniform attention": f"{metric}{end}/uniform",
    }
    for metric in METRICS
    for end in ("", FULL)
}
PRINTED_ROWS = ("AMP-2", "AMP-3", "AMP-4")
PERSONAS = (*PRINTED_ROWS, "AMP-8")
BEST = "The best AMP"
SINGLE = "MF (r=1)"
EQUAL = "One vector of r times d"  # as many numbers as the r personas that it is compared with have
POPULAR = "MostPop"
KNN = "ItemKNN"
SIMPLE = (KNN, "EASE^R", "iALS")  # strong and simple; the paper has none of them
TIES = "ties-for-the-model"
OF_MF = "mf-settings"  # the variant in which personas take MF's learning rate and decay
AISP = ("AISP-2", "AISP-3", "AISP-4")
BASELINES = ("DeepICF+a", "NCF", "ConvNCF", "DiRec", *AISP)
LISTED = (*PERSONAS, SINGLE, *BASELINES, *SIMPLE, POPULAR)  # the models of Table 3
DIVERSITY = "diversity"  # within a list, as a record of Table 3 calls it

# The paper's names of its data sets, and the protocols under which the study runs them: the text
# says the last item, the released code draws one at random. Where the data have no timestamps only
# the second is possible.
PRINTED_AS = {
    "ml-latest-small": "ML100K",
    "ml-1m": "ML1M",
    "pinterest": "Pinterest",
    "yahoo-music": "Yahoo!",
    "amazon-video-games": "Amazon",
}
PROTOCOLS = {
    "ml-latest-small": ("loo-last", "loo-random"),
    "ml-1m": ("loo-ncf", "loo-random"),
    "pinterest": ("loo-random",),
    "yahoo-music": ("loo-random",),
    "amazon-video-games": ("loo-random",),
}
COMPANION = {"ml-100k": ("loo-last", "loo-random")}  # in the study, not in the paper
_EVERYWHERE = PROTOCOLS | COMPANION
_HERE = {k: v for k, v in _EVERYWHERE.items() if k != "yahoo-music"}  # where there are data
_LISTS = {k: ("loo-random",) for k in _EVERYWHERE}  # Table 3
_LISTS_HERE = {k: ("loo-random",) for k in _HERE}
# One vector of as many numbers as several personas is run on the small data sets only.
_EQUAL_HERE = {k: _LISTS_HERE[k] for k in SMALL}
_TIES_HERE = {dataset: (protocol,) for dataset, protocol in VARIANTS[TIES].cells}
OPPONENT = {  # the best other model that Table 3 prints; a test holds it to published.csv
    ("JS", "ml-latest-small"): "DeepICF+a",
    ("JS", "ml-1m"): "DeepICF+a",
    ("JS", "pinterest"): "DeepICF+a",
    ("JS", "yahoo-music"): "DeepICF+a",
    ("JS", "amazon-video-games"): "AISP-2",
    ("Hellinger", "ml-latest-small"): "DeepICF+a",
    ("Hellinger", "ml-1m"): "DeepICF+a",
    ("Hellinger", "pinterest"): "AISP-2",
    ("Hellinger", "yahoo-music"): "AISP-4",
    ("Hellinger", "amazon-video-games"): "AISP-3",
}


# --- what is compared ------------------------------------------------------------------------


def comparisons(evidence: Evidence) -> tuple[Question, ...]:
    """All comparisons of a table that a claim asks for: the family of Holm's correction."""
    return evidence.asked(CLAIMS)


def pair(
    evidence: Evidence, row: str, other: str, dataset: str, protocol: str, metric: str
) -> Comparison:
    """A comparison; ``BEST`` stands for the AMP that does best on the validation items.

    ``EQUAL`` stands for one vector a user of as many numbers as the personas have together.
    """
    if row == BEST:
        row = evidence.best(PERSONAS, dataset, protocol, metric)
    if other == EQUAL:
        other = f"MF-{int(row.removeprefix('AMP-')) * AMPConfig.dimension}"
    return Comparison(row, other, dataset, protocol, metric)


def printed_best(evidence: Evidence, dataset: str, metric: str) -> str:
    """The best of the paper's AMP rows, from its own Table 2."""
    return max(PRINTED_ROWS, key=lambda row: evidence.printed(row, dataset, metric))


def _one(evidence: Evidence, **what: str) -> list[Question]:
    return [pair(evidence, **what)]


def _rivals(evidence: Evidence, dataset: str, protocol: str, metric: str) -> list[Question]:
    best = printed_best(evidence, dataset, metric)
    return [Comparison(best, row, dataset, protocol, metric) for row in PRINTED_ROWS if row != best]


def _clusterings(evidence: Evidence, dataset: str) -> list[Question]:
    return [
        pair(evidence, BEST, other, dataset, "loo-random", metric)
        for other in AISP
        for metric in DISTANCES
    ]


def _gains(
    evidence: Evidence, dataset: str, metric: str, row: str = BEST, other: str = ""
) -> list[Question]:
    """The relative gain on a data set against that on Amazon.

    Over ``other`` on both; "": over the best other model that Table 3 prints for each.
    """
    first, second = (
        pair(evidence, row, other or OPPONENT[metric, where], where, "loo-random", metric)
        for where in (dataset, "amazon-video-games")
    )
    return [Contrast(first, second)]


def _where_told(ask: Callable[..., list[Question]], kind: str) -> Callable[..., list[Question]]:
    """The same questions, but none where minority tastes cannot be told (``minority.untold``)."""

    def work(evidence: Evidence, row: str, other: str, **place: str) -> list[Question]:
        (question,) = ask(evidence, row=row, other=other, **place)
        first = question.comparison if isinstance(question, ByUser) else question
        assert isinstance(first, Comparison)
        why = minority.untold(evidence.facts(first.b, first.dataset, first.protocol), kind)
        if why:
            raise NoEvidence(f"minority tastes cannot be told on {first.dataset}: {why}")
        return [question]

    return work


def _on_minority(evidence: Evidence, kind: str, **what: str) -> list[Question]:
    return [minority.on_minority(pair(evidence, **what), kind)]


def _grows(evidence: Evidence, diversity: str, **what: str) -> list[Question]:
    return [minority.grows(pair(evidence, **what), diversity)]


def margin(evidence: Evidence, question: Question) -> float:
    """The smallest difference that matters; see the text of the module."""
    return evidence.scale * _margin(evidence, question)


def _margin(evidence: Evidence, question: Question) -> float:
    if isinstance(question, ByUser):
        if minority.is_correlation(question):
            return RELATIVE_MARGIN  # of the unit
        return _margin(evidence, question.comparison)  # a difference in the metric
    if isinstance(question, Contrast):
        return RELATIVE_MARGIN  # the gains are relative ones
    if question.metric in METRICS:
        if not evidence.suffix:
            return GAIN_MARGIN
    elif question.metric in ARMS:
        return RELATIVE_MARGIN  # of the unit
    _, other, *place = question
    return RELATIVE_MARGIN * evidence.mean(other, *place)


def favours(evidence: Evidence, questions: Sequence[Question], ending: str = "") -> bool | None:
    """Whether the means of taste distance point the claimed way in every comparison of a claim.

    Of distances over similarities only means are recorded, and no values of single users: they
    have a direction, but no interval and no verdict. None where it is not taste distance.

    Args:
        ending: of the metrics: "" as printed, or ``OVER_SIMILARITIES``.

    Raises:
        NoEvidence: a model has too few runs.
    """
    gains = []
    for question in questions:
        if isinstance(question, ByUser):
            return None
        parts = question.parts if isinstance(question, Contrast) else (question,)
        if any(part.metric not in DISTANCES for part in parts):
            return None
        relative = [
            1
            - _recorded(evidence, c.a, *c[2:4], c.metric + ending)
            / _recorded(evidence, c.b, *c[2:4], c.metric + ending)
            for c in parts
        ]
        gains.append(relative[0] - sum(relative[1:]))
    return min(gains) > 0 if gains else None


def _recorded(evidence: Evidence, row: str, dataset: str, protocol: str, name: str) -> float:
    """The mean over seeds of what the records say."""
    values = [r["metrics"].get(name) for r in evidence.runs(row, dataset, protocol).values()]
    if None in values:
        raise NoEvidence(f"{name} of {row} on {dataset} is not in every record")
    return float(np.mean(values))


# --- predicates ------------------------------------------------------------------------------


def is_printed_number(
    claim: Claim, evidence: Evidence, row: str, dataset: str, protocol: str, metric: str
) -> Verdict:
    """The printed number is reached within NUMBER_MARGIN."""
    wide = evidence.scale * NUMBER_MARGIN
    return judge_number(claim, evidence, row, dataset, protocol, metric, wide)


def holds(claim: Claim, evidence: Evidence, judge: Callable[..., Verdict] = judge_gain) -> Verdict:
    """A rule of judgement holds in every comparison of the claim."""
    return judge_parts(claim, evidence, judge, comparisons(evidence), partial(margin, evidence))


def holds_favoured(
    claim: Claim, evidence: Evidence, by: str, judge: Callable[..., Verdict] = judge_gain
) -> Verdict:
    """A claim that the way of comparing favours: to win it establishes no more than a direction.

    Not to win it counts in full: the other did as well, or better, in spite of the favour.
    """
    verdict = holds(claim, evidence, judge)
    if verdict.verdict == "replicated":
        words, kind = f"but {by}, which favours it", "direction only"
    elif verdict.verdict == "not replicated":
        words, kind = f"although {by}, which favours it", verdict.verdict
    else:
        return verdict
    sentence = f"{verdict.sentence.rstrip('.')}; {words}."
    return replace(verdict, verdict=kind, sentence=sentence, reason=f"{verdict.reason}; {words}")


def ended_at_limit(run: Record) -> bool:
    """Whether the limit of epochs, and not saturation, ended a run; no, where there are none."""
    return "curve" in run and len(run["curve"]["epoch"]) >= run["config"]["max_epochs"]


def _cut_short(evidence: Evidence, row: str, dataset: str, protocol: str) -> bool:
    """Whether most of a model's runs ended at their limit of epochs; in print there are none."""
    try:
        runs = evidence.runs(row, dataset, protocol).values()
    except NoEvidence:
        return False
    return 2 * sum(map(ended_at_limit, runs)) > len(runs)


def holds_within_limits(
    claim: Claim, evidence: Evidence, judge: Callable[..., Verdict] = judge_gain
) -> Verdict:
    """``holds``; ``holds_favoured`` where a longer training might have helped the opponent alone.

    That is where most of its runs ended at their limit of epochs, and the first model's did not.
    """
    (question,) = claim.asks(evidence)
    assert isinstance(question, Comparison)
    place = question.dataset, question.protocol
    first, other = (_cut_short(evidence, row, *place) for row in (question.a, question.b))
    if other and not first:
        by = (
            f"most runs of {question.b} ended at their limit of epochs and those of {question.a} "
            "did not"
        )
        return holds_favoured(claim, evidence, by, judge)
    return holds(claim, evidence, judge)


def judge_said(
    claim: Claim, evidence: Evidence, first: Comparison, *what: Any, worse: str
) -> Verdict:
    """``judge_gain``, in words that fit what stands in the place of a model."""
    verdict = judge_gain(claim, evidence, first, *what)
    words = f"{first.a} is worse", worse
    sentence, reason = (text.replace(*words) for text in (verdict.sentence, verdict.reason))
    return replace(verdict, sentence=sentence, reason=reason)


def leads(claim: Claim, evidence: Evidence) -> Verdict:
    """The printed lead is there; under full ranking, where none is printed, a gain."""
    return holds(claim, evidence, judge_gain if evidence.suffix else judge_lead)


def tells_apart(
    claim: Claim, evidence: Evidence, place: tuple[str, str, str], judge: Callable[..., Verdict]
) -> Verdict:
    """A rule holds for items that are assigned to personas, which must not be one vector.

    Where they are, differences of no size decide which persona claims an item: any division of the
    items by direction puts like with like, and passes such a test without any attention.
    """
    cosine = np.mean([r["metrics"]["overlap/cosine"] for r in evidence.runs(*place).values()])
    if cosine > COLLAPSED:
        raise NoEvidence(
            f"a user's personas are one vector (mean cosine {cosine:.3f}, above {COLLAPSED}), and "
            "no item is told from another by its attention"
        )
    return holds(claim, evidence, judge)


def takes_longer(claim: Claim, evidence: Evidence, comparison: Comparison) -> Verdict:
    """An epoch takes longer; a matter of seconds, not one of the table's comparisons."""
    return judge_longer(claim, evidence, comparison)


def is_not_diversity(
    claim: Claim, evidence: Evidence, dataset: str, protocol: str, metric: str, over: str
) -> Verdict:
    """A taste distance goes together with the diversity of the lists no more than weakly.

    With r the rank correlation and [low, high] its 95 % interval:

    - replicated: a strong one is excluded, either way (-STRONG < low and high < STRONG);
    - not replicated: a strong one is established (low >= STRONG or high <= -STRONG);
    - direction only: |r| < STRONG, and the interval is narrower than 2 STRONG;
    - untestable: anything else.

    ``over`` "users": of the best AMP's lists, pairs of user and seed, both resampled. ``over``
    "models": means of all models that have lists, with Fisher's interval for ranks (Fieller,
    Hartley and Pearson 1957).
    """
    place = (dataset, protocol)
    if over == "users":
        row = evidence.best(PERSONAS, *place, metric)
        values = [evidence.values(row, *place, name) for name in (metric, DIVERSITY)]
        if values[0].shape != values[1].shape:
            raise NoEvidence(f"{metric} and {DIVERSITY} of {row} are of other users on {dataset}")
        r, low, high = _over_users(values[0], values[1], evidence.draws)
        among = f"the users of {row}'s lists"
    else:
        means = []
        for row in LISTED:
            try:
                means.append([evidence.mean(row, *place, name) for name in (metric, DIVERSITY)])
            except NoEvidence:
                continue
        if len(means) < LEAST_MODELS:
            raise NoEvidence(
                f"too little data: {len(means)} of at least {LEAST_MODELS} models have lists on "
                f"{dataset}"
            )
        r, low, high = _over_models(np.array(means))
        among = f"{len(means)} models"
    if -STRONG < low and high < STRONG:
        kind, end = "replicated", f"a correlation beyond {STRONG:g}, either way, is excluded"
    elif low >= STRONG or high <= -STRONG:
        kind, end = "not replicated", f"a correlation beyond {STRONG:g} is established"
    elif abs(r) < STRONG and high - low < 2 * STRONG:
        kind, end = "direction only", f"weak, but one beyond {STRONG:g} is not excluded"
    else:
        kind, end = "untestable", f"too little data to tell it from one beyond {STRONG:g}"
    start = (
        f"rank correlation of {metric} with {DIVERSITY} over {among} on {dataset}: "
        f"{number(r, True)} {interval(low, high, True)}"
    )
    return Verdict(claim, kind, r, (low, high), f"{start}; {end}.", end)


def _over_users(a: Floats, b: Floats, draws: int) -> tuple[float, float, float]:
    """Rank correlation over pairs of seed and user, both [S, U], and its interval over both.

    As in ``minority.growth``, ranks are those of all pairs, also within a draw.
    """
    a, b = minority.centred_ranks(a), minority.centred_ranks(b)
    moments = np.stack([a, b, a * b, a * a, b * b])  # [5, S, U]

    def correlation(mean: Floats) -> Floats:
        x, y, xy, xx, yy = mean.T
        return (xy - x * y) / np.sqrt((xx - x * x) * (yy - y * y))

    low, high = minority.interval_ends(correlation(bootstrap_means(moments, draws)))
    return float(correlation(moments.mean((1, 2))[None])[0]), low, high


def _over_models(means: Floats) -> tuple[float, float, float]:
    """Rank correlation of two columns [M, 2], and its interval over models."""
    r = float(stats.spearmanr(*means.T).statistic)
    reach = stats.norm.ppf((1 + LEVEL) / 2) * np.sqrt(1.06 / (len(means) - 3))
    with np.errstate(divide="ignore"):  # of a perfect correlation
        low, high = np.tanh(np.arctanh(r) + reach * np.array([-1, 1]))
    return r, float(low), float(high)


def follows_formula(claim: Claim, evidence: Evidence, largest: float, ratio: bool) -> Verdict:
    """The printed JS, or its ratio to the printed Hellinger distance, is one that can occur.

    For any two distributions JS as printed is at most sqrt(ln 2), and between sqrt(ln 2) and 1
    times the Hellinger distance. Judged from the paper's own numbers alone.
    """
    frame = evidence.published
    table = frame[frame["table"] == "table3"].pivot_table(
        index=["row", "dataset"], columns="metric", values="value"
    )
    values = table["JS"] / table["Hellinger"] if ratio else table["JS"]
    too_large = int((values > largest).sum())
    sentence = (
        f"{too_large} of {len(values)} printed values are above {largest:.4f}, the largest that "
        f"can occur; they go from {values.min():.4f} to {values.max():.4f}"
    )
    kind = "replicated" if not too_large else "not replicated"
    return Verdict(claim, kind, None, None, f"{sentence}.", sentence)


# --- the list --------------------------------------------------------------------------------


def _places(
    protocols: Mapping[str, tuple[str, ...]], metrics: Sequence[str]
) -> Iterator[list[str]]:
    for dataset, names in protocols.items():
        for protocol in names:
            for metric in metrics:
                yield [dataset, protocol, metric]


def _against(
    family: str,
    rows: Sequence[str],
    others: Sequence[str],
    text: str,
    where: str,
    table: str = TABLE,
    protocols: Mapping[str, tuple[str, ...]] = _HERE,
    judge: Callable[..., Verdict] = judge_gain,
    metrics: Sequence[str] = METRICS,
    again: bool | None = None,
    ask: Callable[..., list[Question]] = _one,
    of: str = "",
    rule: Callable[..., Verdict] = holds,
) -> Iterator[Claim]:
    """A claim for each of some models against each of others, at every place, in each measure.

    Args:
        again: judged again under full ranking; None: if it is a claim on accuracy.
        ask: what is asked of each.
        of: the kind of taste or the measure of diversity that is asked about.
        rule: how a comparison is judged by ``judge``.
    """
    about = f"/{of}" if of else ""
    for dataset, protocol, metric in _places(protocols, metrics):
        for other in others:
            for row in rows:
                yield Claim(
                    f"{family}/{row}/{other}/{dataset}/{protocol}/{metric}{about}",
                    f"{row} {text} {other}: {metric} on {dataset} ({protocol})",
                    where,
                    partial(rule, judge=judge),
                    table,
                    partial(
                        ask,
                        row=row,
                        other=other,
                        dataset=dataset,
                        protocol=protocol,
                        metric=metric,
                    ),
                    again=table == TABLE if again is None else again,
                    opponent=other,
                )


def _numbers() -> Iterator[Claim]:
    for row in PRINTED_ROWS:
        for dataset, protocol, metric in _places(PROTOCOLS, METRICS):
            place: Any = {"row": row, "dataset": dataset, "protocol": protocol, "metric": metric}
            yield Claim(
                f"number/{row}/{dataset}/{protocol}/{metric}",
                f"{row} reaches its printed {metric} on {dataset} ({protocol})",
                f"Table 2, {PRINTED_AS[dataset]}",
                partial(is_printed_number, **place),
                TABLE,
            )


def _bold() -> Iterator[Claim]:
    for dataset, protocol, metric in _places(PROTOCOLS, METRICS):
        yield Claim(
            f"best/{dataset}/{protocol}/{metric}",
            f"The best printed AMP row is the best of {', '.join(PRINTED_ROWS)}: {metric} on "
            f"{dataset} ({protocol})",
            f"Table 2, {PRINTED_AS[dataset]}, bold",
            leads,
            TABLE,
            partial(_rivals, dataset=dataset, protocol=protocol, metric=metric),
            again=True,
        )


def _tastes() -> Iterator[Claim]:
    for dataset in _LISTS:
        yield Claim(
            f"aisp/{dataset}",
            f"{BEST} is closer to the users' tastes than every AISP in both measures: {dataset}",
            "Section 4.4: clustering the raw PCA vectors does not suffice",
            holds,
            TASTES,
            partial(_clusterings, dataset=dataset),
        )
    # The paper names music and Pinterest; films are the study's addition.
    for family, datasets, where in (
        (
            "domain",
            ("pinterest", "yahoo-music"),
            "Section 4.4: larger gains in complex domains such as music or Pinterest, relatively "
            "low ones on Amazon (the sentence before is cut off in the paper)",
        ),
        (
            "domain-films",
            ("ml-latest-small", "ml-1m"),
            "not in the paper, which does not say where films stand",
        ),
    ):
        for dataset in datasets:
            for metric in DISTANCES:
                yield Claim(
                    f"{family}/{dataset}/{metric}",
                    f"The gain in {metric} is larger on {dataset} than on amazon-video-games",
                    where,
                    holds,
                    TASTES,
                    partial(_gains, dataset=dataset, metric=metric),
                )
    # What the paper's sentence rests on waits for models that have no lists yet. Meanwhile the gain
    # of each AMP over each model is looked at where both have lists on both data sets.
    others = [row for row in LISTED if row not in PERSONAS]
    for row, other, metric in product((BEST, *PERSONAS), others, DISTANCES):
        yield Claim(
            f"domain-each/{row}/{other}/pinterest/{metric}",
            f"The gain of {row} over {other} in {metric} is larger on pinterest than on "
            "amazon-video-games",
            "not in the paper; its claim on domains, for one and the same pair of models",
            holds,
            TASTES,
            partial(_gains, dataset="pinterest", metric=metric, row=row, other=other),
        )
    limit = float(np.sqrt(np.log(2)))
    for name, text, largest in (
        ("JS", "The printed JS can come from the printed formula", limit),
        ("ratio", "The printed JS and Hellinger distance can belong to the same lists", 1.0),
    ):
        yield Claim(
            f"formula/{name}",
            text,
            "Section 4.2 and Table 3",
            partial(follows_formula, largest=largest, ratio=name == "ratio"),
            TASTES,
        )


def _tellable(
    protocols: Mapping[str, tuple[str, ...]],
) -> Iterator[tuple[str, str, Mapping[str, tuple[str, ...]]]]:
    """Each kind of taste, the measure of its diversity, and where of these places it can be told.

    Genres are known of films alone.
    """
    films = {k: names for k, names in protocols.items() if k in GENRES}
    yield from zip(minority.KINDS, minority.DIVERSITY, (films, protocols), strict=True)


def _crowding() -> Iterator[Claim]:
    """What several personas are to mend: one vector gives minority tastes too little room."""
    for kind, _, protocols in _tellable(_LISTS_HERE):
        yield from _against(
            "crowding",
            (minority.HISTORY,),
            (SINGLE,),
            "holds more of the user's minority tastes than the list of one vector,",
            "Section 1: the more dominant taste may overtake the list of one vector",
            TASTES,
            protocols,
            judge=partial(judge_said, worse="the list gives them more room than the history"),
            metrics=(minority.share(kind),),
            ask=_where_told(_one, kind),
        )


def _served(
    lists: str, items: str, diversity: str, other: str, places: Mapping[str, tuple[str, ...]]
) -> Iterator[Claim]:
    """Three families: several personas serve minority tastes better than one vector does."""
    every = (BEST, *PERSONAS)
    where = (
        "the study's reading of Section 1: the more dominant taste may overtake the list of one "
        "vector"
    )
    for kind, measure, protocols in _tellable(places):
        yield from _against(
            lists,
            every,
            (other,),
            "gives a user's minority tastes a share of the list nearer to the history's than",
            where,
            TASTES,
            protocols,
            metrics=(minority.gap(kind),),
            ask=_where_told(_one, kind),
        )
        yield from _against(
            items,
            every,
            (other,),
            f"gains more on test items of a minority {kind} than of a majority one, over",
            where,
            TABLE,
            protocols,
            metrics=("NDCG@10",),
            ask=_where_told(partial(_on_minority, kind=kind), kind),
            of=kind,
        )
        yield from _against(
            diversity,
            every,
            (other,),
            f"gains more the more diverse the user's tastes are ({measure}), over",
            "the study's reading of Section 4.4: users of complex domains have several interests",
            TABLE,
            protocols,
            metrics=("NDCG@10",),
            ask=partial(_grows, diversity=measure),
            of=measure,
        )


def _not_diversity() -> Iterator[Claim]:
    """Lists apart from the users' tastes are not simply diverse lists, or the other way round."""
    for dataset, protocol, metric in _places(_LISTS, DISTANCES):
        for over, whose in (("users", "the best AMP's users"), ("models", "models")):
            yield Claim(
                f"not-diversity/{over}/{dataset}/{protocol}/{metric}",
                f"{metric} does not follow {DIVERSITY} over {whose}: {dataset} ({protocol})",
                "Section 4.2: taste distance differs from measuring diversity",
                partial(
                    is_not_diversity, dataset=dataset, protocol=protocol, metric=metric, over=over
                ),
                TASTES,
            )


def _attention() -> Iterator[Claim]:
    """Attention settles on a persona for positives alone, and accuracy comes from its adapting.

    Asked of collapsed personas, too: their attention, the same for every item, does neither.
    """
    for dataset, models in MODELS_ON.items():
        place: Any = {"dataset": dataset, "protocol": "loo-random"}
        for row in map(row_name, models):
            high, low = (f"{row}, {arm}" for arm in ARMS["attention entropy"])
            yield Claim(
                f"entropy/{row}/{dataset}",
                f"{row}'s attention has a lower entropy on training items than on negatives: "
                f"{dataset} (loo-random)",
                "Section 3.1: low on positives, higher on negatives",
                partial(holds, judge=partial(judge_said, worse="it is lower on negatives")),
                EXPLANATIONS,
                partial(_one, row=high, other=low, metric="attention entropy", **place),
            )
            for metric in METRICS:
                own, *others = ARMS[metric]
                for arm in others:
                    yield Claim(
                        f"adapts/{row}/{arm}/{dataset}/{metric}",
                        f"{row} is more accurate with its {own} than with {arm}: {metric} on "
                        f"{dataset} (loo-random)",
                        "the note: accuracy improves because the user vector adapts to the item",
                        holds,
                        EXPLANATIONS,
                        partial(
                            _one,
                            row=f"{row}, {own}",
                            other=f"{row}, {arm}",
                            metric=metric,
                            **place,
                        ),
                        again=True,
                    )


def _left_out() -> Iterator[Claim]:
    """Why the paper has no ItemKNN: NCF is better. And with all ties decided for ItemKNN."""
    for family, other, where, places in (
        ("ncf", KNN, "Section 4.3: outperforms ItemKNN, which is therefore left out", _HERE),
        ("ncf-ties", variant_row(KNN, TIES), "not in the paper", _TIES_HERE),
    ):
        for claim in _against(
            family, ("NCF",), (other,), "is better than", where, protocols=places
        ):
            yield replace(claim, opponent="", again=family == "ncf")  # AMP has no part in it


def _explanations() -> Iterator[Claim]:
    """Personas are distinct, have a taste of their own, and carry what they are said to explain."""
    texts = {
        "overlap of lists": (
            "personas of a user overlap no more than those of strangers",
            "Section 4.4 and Figure 2: personas acquire distinct tastes",
            judge_competitive,
        ),
        "agreement with genres": (
            "assigns a user's items to personas in agreement with genres, beyond chance",
            "Figure 2: personas acquire distinct tastes",
            judge_gain,
        ),
        "score lost": (
            "recommends for the items that the responsible persona claims: without them the "
            "recommended item loses more than without as many random ones",
            "Section 4.4: personas explain the recommendations",
            judge_gain,
        ),
    }
    for dataset, models in MODELS_ON.items():
        for metric, (text, where, judge) in texts.items():
            if metric == "agreement with genres" and dataset not in GENRES:
                continue
            for row in map(row_name, models):
                first, second = (f"{row}, {arm}" for arm in ARMS[metric])
                rule = partial(holds, judge=judge)
                if metric != "overlap of lists":
                    rule = partial(tells_apart, place=(first, dataset, "loo-random"), judge=judge)
                yield Claim(
                    f"explain/{row}/{metric}/{dataset}",
                    f"{row} {text}: {dataset} (loo-random)",
                    where,
                    rule,
                    EXPLANATIONS,
                    partial(
                        _one,
                        row=first,
                        other=second,
                        dataset=dataset,
                        protocol="loo-random",
                        metric=metric,
                    ),
                )


def _variants() -> Iterator[Claim]:
    """Claims about choices that the paper tried and dropped: more negatives, other similarities."""
    for name, variant in VARIANTS.items():
        changes = dict(variant.changes)
        if variant.select != "validation" or variant.rides_along:
            continue
        for dataset, protocol in variant.cells:
            for model in variant.models:
                row, changed = row_name(model), variant_row(row_name(model), name)
                if variant.from_start:  # compared at the printed values, not at the tuned ones
                    row = variant_row(row, "printed-start")
                for metric in METRICS:
                    where: Any = {"dataset": dataset, "protocol": protocol, "metric": metric}
                    end = f"{metric} on {dataset} ({protocol})"
                    if changes.keys() == {"n_negatives"}:
                        yield Claim(
                            f"negatives/{row}/{name}/{dataset}/{protocol}/{metric}",
                            f"{row} with 4 negatives is better than with "
                            f"{changes['n_negatives']}: {end}",
                            "Section 4.3: 10, 20 and 100 were found to perform worse",
                            holds,
                            TABLE,
                            partial(_one, row=row, other=changed, **where),
                            again=True,
                        )
                    if changes.keys() == {"factors"}:
                        yield Claim(
                            f"factors/{row}/{name}/{dataset}/{protocol}/{metric}",
                            f"{row} with d = 64 is better than with d = {changes['factors']}: "
                            f"{end}",
                            "Section 4.3: 64 was shown to produce the best results",
                            partial(holds_favoured, by="all else was tuned for d = 64"),
                            TABLE,
                            partial(_one, row=row, other=changed, **where),
                            again=True,
                        )
                    if "similarity" in name:
                        yield Claim(
                            f"similarity/{row}/{name}/{dataset}/{protocol}/{metric}",
                            f"{name} is no improvement of {row}: {end}",
                            "Section 3: no additional improvement",
                            partial(
                                holds_favoured,
                                by="all else was tuned for the dot product",
                                judge=judge_no_gain,
                            ),
                            TABLE,
                            partial(_one, row=changed, other=row, **where),
                            again=True,
                        )
                if "similarity" in name:
                    yield Claim(
                        f"similarity/{row}/{name}/{dataset}/{protocol}/seconds",
                        f"{name} takes longer to train than {row}: {dataset} ({protocol})",
                        "Section 3: increasing training times",
                        partial(
                            takes_longer,
                            comparison=Comparison(changed, row, dataset, protocol, "seconds"),
                        ),
                        TABLE,
                    )


def _claims() -> Iterator[Claim]:
    every = (BEST, *PERSONAS)
    yield from _numbers()
    yield from _against(
        "outperforms",
        every,
        BASELINES,
        "is better than",
        "Section 1: outperforms state-of-the-art models in accuracy; Table 2",
        protocols=_EVERYWHERE,
        rule=holds_within_limits,
    )
    yield from _against(
        "competitive",
        (BEST,),
        BASELINES,
        "is not worse than",
        "Abstract: competitive with other state-of-the-art models",
        protocols=_EVERYWHERE,
        judge=judge_competitive,
        rule=holds_within_limits,
    )
    yield from _against(
        "personas",
        every,
        (SINGLE,),
        "is better than one vector a user,",
        "Section 1 (argued; the paper prints no such row)",
    )
    # With AMP's rate and decay those that were found for one vector: whether the search is what
    # personas lose by.
    yield from _against(
        "personas-mf-settings",
        tuple(variant_row(row_name(model), OF_MF) for model in VARIANTS[OF_MF].models),
        (SINGLE,),
        "is better than one vector a user,",
        "not in the paper; the claims on one vector, with the settings that were found for it",
        protocols={dataset: (protocol,) for dataset, protocol in VARIANTS[OF_MF].cells},
    )
    yield from _bold()
    yield from _variants()
    yield from _left_out()
    yield from _against(
        "tastes",
        every,
        BASELINES,
        "is closer to the users' tastes than",
        "Section 1: outperforms state-of-the-art models in TDD; Table 3",
        TASTES,
        _LISTS,
        metrics=DISTANCES,
    )
    yield from _tastes()
    yield from _not_diversity()
    yield from _crowding()
    yield from _served("minority", "minority-items", "diversity", SINGLE, _LISTS_HERE)
    yield from _explanations()
    yield from _attention()
    yield from _against(
        "popularity",
        every,
        (POPULAR,),
        "is better than what is popular,",
        "not in the paper; what any personal model must do",
    )
    yield from _against(
        "simple",
        every,
        SIMPLE,
        "is better than",
        "not in the paper; Section 4.3 leaves such models out as weaker than NCF",
    )
    # ItemKNN gives many items the score 0; the study's rule counts all ties against it.
    yield from _against(
        "simple-ties",
        every,
        (variant_row(KNN, TIES),),
        "is better than",
        "not in the paper; the claims above, with every tie won by ItemKNN's held-out item",
        protocols=_TIES_HERE,
        again=False,
    )
    # Two choices that no source prints decide how strong these baselines are: the length of AISP's
    # item vectors, and how far apart DiRec's items must be.
    for family, rows, level, text in (
        ("aisp-unit", AISP, "aisp-unit-length", "AISP, with its item vectors of unit length"),
        ("direc-near", ("DiRec",), "radius-0.25", "DiRec, with a radius of 0.25 in place of 1"),
    ):
        others = tuple(variant_row(row, level) for row in rows)
        where = f"not in the paper; the claims against {text}"
        yield from _against(
            family,
            every,
            others,
            "is better than",
            where,
            protocols={dataset: (protocol,) for dataset, protocol in VARIANTS[level].cells},
        )
        yield from _against(
            f"tastes-{family}",
            every,
            others,
            "is closer to the users' tastes than",
            where,
            TASTES,
            _LISTS_HERE,
            metrics=DISTANCES,
        )
    yield from _against(
        "equal",
        every,
        (EQUAL,),
        "is better than",
        "not in the paper; one vector a user with as many numbers as the personas have together",
        protocols=_EQUAL_HERE,
    )
    yield from _served("equal-minority", "equal-items", "equal-diversity", EQUAL, _EQUAL_HERE)
    yield from _against(
        "tastes-single",
        every,
        (SINGLE,),
        "is closer to the users' tastes than one vector a user,",
        "not in the paper, which argues so (Section 1) and prints no such row",
        TASTES,
        _LISTS_HERE,
        metrics=DISTANCES,
    )
    yield from _against(
        "tastes-simple",
        every,
        SIMPLE,
        "is closer to the users' tastes than",
        "not in the paper",
        TASTES,
        _LISTS_HERE,
        metrics=DISTANCES,
    )


CLAIMS: tuple[Claim, ...] = tuple(_claims())
