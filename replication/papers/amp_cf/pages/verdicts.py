"""What the book says about the claims of AMP-CF: verdicts as tables and sentences."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from replication.claims import VERDICTS, Verdict, judge, tally, verdict_table
from replication.page import Study
from replication.papers.amp_cf.claims import CLAIMS
from replication.papers.amp_cf.pages.table2 import evidence

# Families of claims that the paper makes, and the study's own check.
CLAIMED = {
    "number": "a printed number is reached",
    "personas": "several personas beat one vector a user",
    "best": "the printed best number of personas is the best",
    "baselines": "AMP-2 leads another model",
}
CHECKS = {
    "popularity": "AMP-CF beats what is popular",
    "simple": "the best AMP-CF beats a simple model",
}


def verdicts(study: Study) -> list[Verdict]:
    """The verdicts of all claims that Table 2 can judge, in the order of ``claims.py``."""
    return judge(CLAIMS, evidence(study))


def claimed(found: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts on what the paper claims, without the study's own checks."""
    return [verdict for verdict in found if verdict.claim.family in CLAIMED]


def overview(found: Sequence[Verdict]) -> pd.DataFrame:
    """How often each verdict was given, one line a family of claims; the checks come last."""
    counts = tally(found).reindex([*CLAIMED, *CHECKS]).fillna(0).astype(int)
    counts.loc["all"] = counts.loc[list(CLAIMED)].sum()
    counts = counts.loc[[*CLAIMED, "all", *CHECKS]]
    checks = [f"a check that the paper does not make: {text}" for text in CHECKS.values()]
    counts.index = pd.Index(
        [*CLAIMED.values(), "all claims of the paper", *checks],
        name="claim",
    )
    return counts.astype(str)


def table(found: Sequence[Verdict], family: str) -> pd.DataFrame:
    """The verdicts of one family; those that cannot be tested come last."""
    own = [verdict for verdict in found if verdict.claim.family == family]
    own.sort(key=lambda verdict: verdict.verdict == "untestable")
    frame = verdict_table(own).drop(columns="where")
    frame["difference"] = [
        f"{difference} {ends}" if ends != "–" else difference
        for difference, ends in zip(frame["difference"], frame["95 % interval"], strict=True)
    ]
    frame = frame.drop(columns="95 % interval").rename(columns={"difference": "difference [95 %]"})
    return frame.set_index("claim")


def _count(found: Sequence[Verdict], verdict: str, family: str = "") -> int:
    return sum(v.verdict == verdict and family in ("", v.claim.family) for v in found)


def words(found: Sequence[Verdict]) -> dict[str, str]:
    """Counts for sentences elsewhere in the book.

    Returns:
        ``claims_all`` and ``claims_<verdict>`` for the claims of the paper, and for each family
        ``<family>_replicated`` and ``<family>_tested`` (those that are not untestable).
    """
    own = claimed(found)
    counts = {"claims_all": len(own)}
    counts |= {f"claims_{name.replace(' ', '_')}": _count(own, name) for name in VERDICTS}
    for family in (*CLAIMED, *CHECKS):
        every = sum(v.claim.family == family for v in found)
        counts[f"{family}_replicated"] = _count(found, "replicated", family)
        counts[f"{family}_tested"] = every - _count(found, "untestable", family)
    return {key: str(count) for key, count in counts.items()}


def headline(found: Sequence[Verdict]) -> str:
    """What was asked and what was found, in two sentences."""
    n = words(found)
    return (
        f"**Asked.** Which claims of the AMP-CF paper's Table 2 hold on real data? **Found.** Of "
        f"{n['claims_all']} claims, counted for each model, data set, protocol and metric, "
        f"{n['claims_replicated']} are replicated, {n['claims_direction_only']} hold in direction "
        f"only, {n['claims_not_replicated']} are not replicated and {n['claims_untestable']} "
        f"cannot be tested, for want of data or of the model; of two checks that the paper does "
        f"not make, better than what is popular holds in {n['popularity_replicated']} of "
        f"{n['popularity_tested']} comparisons, and better than ItemKNN, EASE^R and iALS with the "
        f"same tuning in {n['simple_replicated']} of {n['simple_tested']}."
    )
