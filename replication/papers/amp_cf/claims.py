"""Claims of AMP-CF (Barkan et al., RecSys 2020) that Table 2 can judge.

The margins come from the design of the study and not from the records:

- 0.02 for "the printed number is reached": over three standard errors of HR@10 at the 6,040
  users of ML-1M and about one at the 610 users of latest-small, where a match can therefore not be
  established, only refuted;
- 0.01 for "better": the size of the differences between the better models of Table 2.

The text speaks of 2, 4 and 8 personas (Section 4.3), the tables print 2, 3 and 4: numbers are
judged for the printed rows, gains for all four. All p-values are Holm-corrected over all
comparisons of the table.
"""

from __future__ import annotations

import contextlib
from functools import partial

from replication.claims import (
    Claim,
    Comparison,
    Evidence,
    NoEvidence,
    Verdict,
    judge_gain,
    judge_lead,
    judge_number,
    weakest,
)

TABLE = "amp_cf/table2"
NUMBER_MARGIN = 0.02
GAIN_MARGIN = 0.01

METRICS = ("HR@10", "NDCG@10")
PRINTED_ROWS = ("AMP-2", "AMP-3", "AMP-4")
PERSONAS = (*PRINTED_ROWS, "AMP-8")
SINGLE = "MF (r=1)"
POPULAR = "MostPop"
SIMPLE = ("ItemKNN", "EASE^R", "iALS")  # strong and simple; the paper has none of them
BASELINES = ("DeepICF+a", "NCF", "ConvNCF", "DiRec", "AISP-2", "AISP-3", "AISP-4")

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


def _places(protocols: dict[str, tuple[str, ...]]) -> list[tuple[str, str, str]]:
    return [(d, p, m) for d, names in protocols.items() for p in names for m in METRICS]


_EVERYWHERE = {k: v for k, v in PROTOCOLS.items() if k != "yahoo-music"} | COMPANION
_WITH_COMPANION = {k: PROTOCOLS[k] for k in ("ml-latest-small", "ml-1m")} | COMPANION


def printed_best(evidence: Evidence, dataset: str, metric: str) -> str:
    """The best of the paper's AMP rows, from its own table."""
    return max(PRINTED_ROWS, key=lambda row: evidence.printed(row, dataset, metric))


def comparisons(evidence: Evidence) -> tuple[Comparison, ...]:
    """All comparisons of Table 2 that a claim asks for: the family of Holm's correction."""
    family = [
        Comparison(row, other, *place)
        for other in (SINGLE, POPULAR)
        for row in PERSONAS
        for place in _places(_WITH_COMPANION)
    ]
    for place in _places({name: PROTOCOLS[name] for name in ("ml-latest-small", "ml-1m")}):
        family += _rivals(evidence, *place)
    for other in SIMPLE:
        for place in _places(_EVERYWHERE):
            with contextlib.suppress(NoEvidence):
                family.append(_best_against(evidence, other, *place))
    for baseline in BASELINES:
        family += _against(evidence, baseline)
    return tuple(dict.fromkeys(family))


def _best_against(
    evidence: Evidence, other: str, dataset: str, protocol: str, metric: str
) -> Comparison:
    """The AMP that does best on the validation items, against another model on the test items."""
    best = evidence.best_on_validation(PERSONAS, dataset, protocol)
    return Comparison(best, other, dataset, protocol, metric)


def _rivals(evidence: Evidence, dataset: str, protocol: str, metric: str) -> list[Comparison]:
    best = printed_best(evidence, dataset, metric)
    return [Comparison(best, row, dataset, protocol, metric) for row in PRINTED_ROWS if row != best]


def _against(evidence: Evidence, baseline: str) -> list[Comparison]:
    """AMP-2 against a baseline wherever the paper prints AMP-2 ahead."""
    return [
        Comparison("AMP-2", baseline, dataset, protocol, metric)
        for dataset, protocol, metric in _places(PROTOCOLS)
        if evidence.printed("AMP-2", dataset, metric) > evidence.printed(baseline, dataset, metric)
    ]


def is_printed_number(
    claim: Claim, evidence: Evidence, row: str, dataset: str, protocol: str, metric: str
) -> Verdict:
    """(a) The printed number is reached within NUMBER_MARGIN."""
    return judge_number(claim, evidence, row, dataset, protocol, metric, NUMBER_MARGIN)


def is_better(claim: Claim, evidence: Evidence, comparison: Comparison) -> Verdict:
    """(b), (d) One model is better than another by GAIN_MARGIN."""
    return judge_gain(claim, evidence, comparison, comparisons(evidence), GAIN_MARGIN)


def best_beats_simple(
    claim: Claim, evidence: Evidence, other: str, dataset: str, protocol: str, metric: str
) -> Verdict:
    """(f) The best AMP, chosen on validation items, is better than a simple model."""
    pair = _best_against(evidence, other, dataset, protocol, metric)
    return judge_gain(claim, evidence, pair, comparisons(evidence), GAIN_MARGIN)


def is_best(claim: Claim, evidence: Evidence, dataset: str, protocol: str, metric: str) -> Verdict:
    """(c) The printed best of the AMP rows leads each of the others."""
    family = comparisons(evidence)
    rivals = _rivals(evidence, dataset, protocol, metric)
    return weakest(
        claim, [judge_lead(claim, evidence, pair, family, GAIN_MARGIN) for pair in rivals]
    )


def beats_baseline(claim: Claim, evidence: Evidence, baseline: str) -> Verdict:
    """AMP-2 leads a baseline wherever printed so; parts without records do not count."""
    if not evidence.has(baseline):
        raise NoEvidence(f"{baseline}: the model has no records yet")
    family = comparisons(evidence)
    parts, reason = [], None
    for pair in _against(evidence, baseline):
        try:
            parts.append(judge_lead(claim, evidence, pair, family, GAIN_MARGIN))
        except NoEvidence as error:
            reason = reason or error
    if not parts and reason is not None:
        raise reason
    return weakest(claim, parts)


def _claims() -> list[Claim]:
    found = []
    for row in PRINTED_ROWS:
        for dataset, protocol, metric in _places(PROTOCOLS):
            found.append(
                Claim(
                    f"number/{row}/{dataset}/{protocol}/{metric}",
                    f"{row} reaches its printed {metric} on {dataset} ({protocol})",
                    f"Table 2, {PRINTED_AS[dataset]}",
                    partial(
                        is_printed_number,
                        row=row,
                        dataset=dataset,
                        protocol=protocol,
                        metric=metric,
                    ),
                )
            )
    for family, other, text, where in (
        (
            "personas",
            SINGLE,
            "is better than one vector a user",
            "Section 1 (argued; the paper prints no such row)",
        ),
        (
            "popularity",
            POPULAR,
            "is better than recommending what is popular",
            "not in the paper; what any personal model must do",
        ),
    ):
        for row in PERSONAS:
            for dataset, protocol, metric in _places(_WITH_COMPANION):
                pair = Comparison(row, other, dataset, protocol, metric)
                found.append(
                    Claim(
                        f"{family}/{row}/{dataset}/{protocol}/{metric}",
                        f"{row} {text}: {metric} on {dataset} ({protocol})",
                        where,
                        partial(is_better, comparison=pair),
                    )
                )
    for dataset in ("ml-latest-small", "ml-1m"):
        for _, protocol, metric in _places({dataset: PROTOCOLS[dataset]}):
            found.append(
                Claim(
                    f"best/{dataset}/{protocol}/{metric}",
                    f"AMP-2 is the best of {', '.join(PRINTED_ROWS)}: {metric} on {dataset} "
                    f"({protocol})",
                    f"Table 2, {PRINTED_AS[dataset]}, bold",
                    partial(is_best, dataset=dataset, protocol=protocol, metric=metric),
                )
            )
    for other in SIMPLE:
        for dataset, protocol, metric in _places(_EVERYWHERE):
            found.append(
                Claim(
                    f"simple/{other}/{dataset}/{protocol}/{metric}",
                    f"The best AMP (on validation items) is better than {other}: {metric} on "
                    f"{dataset} ({protocol})",
                    "not in the paper; Section 4.3 leaves such models out as weaker than NCF",
                    partial(
                        best_beats_simple,
                        other=other,
                        dataset=dataset,
                        protocol=protocol,
                        metric=metric,
                    ),
                )
            )
    for baseline in BASELINES:
        found.append(
            Claim(
                f"baselines/{baseline}",
                f"AMP-2 is ahead of {baseline} wherever Table 2 prints it ahead",
                'Table 2; abstract: "competitive with other state-of-the-art models"',
                partial(beats_baseline, baseline=baseline),
            )
        )
    return found


CLAIMS: tuple[Claim, ...] = tuple(_claims())
