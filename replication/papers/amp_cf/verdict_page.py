"""What the book says about the claims of AMP-CF: verdicts as tables and sentences."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from replication.claims import VERDICTS, Verdict, judge, tally, verdict_table
from replication.page import Study
from replication.papers.amp_cf.claims import CLAIMS
from replication.papers.amp_cf.pages import evidence

FAMILIES = {
    "number": "a printed number is reached",
    "personas": "several personas beat one vector a user",
    "popularity": "AMP-CF beats what is popular",
    "best": "the printed best number of personas is the best",
    "baselines": "AMP-2 leads another model",
}


def verdicts(study: Study) -> list[Verdict]:
    """The verdicts of all claims that Table 2 can judge, in the order of ``claims.py``."""
    return judge(CLAIMS, evidence(study))


def overview(found: Sequence[Verdict]) -> pd.DataFrame:
    """How often each verdict was given, one line a family of claims."""
    counts = tally(found)
    counts.loc["all"] = counts.sum()
    counts.index = pd.Index([FAMILIES.get(name, name) for name in counts.index], name="claim")
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


def words(found: Sequence[Verdict]) -> dict[str, str]:
    """Counts for sentences elsewhere in the book: all claims, and those of each verdict."""
    counts = {
        f"claims_{name.replace(' ', '_')}": str(sum(v.verdict == name for v in found))
        for name in VERDICTS
    }
    personas = [v for v in found if v.claim.family == "personas" and v.verdict != "untestable"]
    counts["claims_all"] = str(len(found))
    counts["personas_tested"] = str(len(personas))
    counts["personas_replicated"] = str(sum(v.verdict == "replicated" for v in personas))
    numbers = [v for v in found if v.claim.family == "number" and v.verdict != "untestable"]
    counts["numbers_tested"] = str(len(numbers))
    counts["numbers_replicated"] = str(sum(v.verdict == "replicated" for v in numbers))
    return counts


def headline(found: Sequence[Verdict]) -> str:
    """What was asked and what was found, in two sentences."""
    n = {name: sum(v.verdict == name for v in found) for name in VERDICTS}
    return (
        f"**Asked.** Which claims of the AMP-CF paper's Table 2 hold on real data? **Found.** Of "
        f"{len(found)} claims, counted for each model, data set, protocol and metric, "
        f"{n['replicated']} are replicated, {n['direction only']} hold in direction only, "
        f"{n['not replicated']} are not replicated and {n['untestable']} cannot be tested, for "
        f"want of data or of the model."
    )
