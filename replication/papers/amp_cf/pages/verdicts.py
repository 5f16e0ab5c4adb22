"""What the book says about the claims of AMP-CF: verdicts as tables and sentences."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Sequence

import pandas as pd

from replication.claims import VERDICTS, Evidence, Judgement, judge_all
from replication.compare import interval, number
from replication.page import Study
from replication.papers.amp_cf.claims import BEST, CLAIMS, arms
from replication.tables import to_html

# Families of claims that the paper makes, and the study's own checks.
CLAIMED = {
    "number": "a printed number of Table 2 is reached",
    "outperforms": "an AMP is more accurate than another printed model",
    "competitive": "the best AMP is not worse than another printed model",
    "personas": "several personas beat one vector a user",
    "best": "the best printed number of personas is the best",
    "negatives": "four negatives beat more",
    "factors": "64 factors are NCF's best",
    "similarity": "a small network as similarity brings no gain and takes longer",
    "tastes": "an AMP is closer to the users' tastes than another printed model",
    "aisp": "clustering the PCA space does not suffice",
    "domain": "the gain in taste distance is lower on Amazon than elsewhere",
    "explain": "personas are distinct and explain the list",
    "minority": "several personas give more of the list to minority tastes than one vector",
    "formula": "Table 3 can come from its printed formulas",
}
CHECKS = {
    "popularity": "an AMP beats what is popular",
    "simple": "an AMP is more accurate than a simple model",
    "simple-ties": "an AMP is more accurate than ItemKNN, ties decided for ItemKNN",
    "tastes-single": "several personas are closer to the users' tastes than one vector",
    "tastes-simple": "an AMP is closer to the users' tastes than a simple model",
}
IN_PRINT = {
    "replicated": "holds",
    "direction only": "holds by less than the margin",
    "not replicated": "refuted",
    "untestable": "not printed",
}


def judgements(accuracy: Study, tastes: Study, explanations: Study) -> list[Judgement]:
    """All claims by the records of three tables, under full ranking, and in print."""
    first = _evidence(accuracy)
    rows, values = arms(explanations.records, explanations.ranks)
    told = Evidence(explanations.table, rows, values, explanations.published)
    return judge_all(CLAIMS, [first, _evidence(tastes, first), told])


def _evidence(study: Study, validation: Evidence | None = None) -> Evidence:
    return Evidence(
        study.table,
        study.records,
        study.ranks,
        study.published,
        study.grid,
        validation=validation,
    )


# --- the short table -------------------------------------------------------------------------


def overview(found: Sequence[Judgement]) -> pd.DataFrame:
    """How often each verdict was given, one line a family of claims; the checks come last."""
    present = {j.claim.family for j in found}
    lines = {
        text: _line(_of(found, [family])) for family, text in CLAIMED.items() if family in present
    }
    lines["all claims of the paper"] = _line(_of(found, CLAIMED))
    for family, text in CHECKS.items():
        lines[f"check: {text}"] = _line(_of(found, [family]))
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("claim")


def _of(found: Iterable[Judgement], families: Iterable[str]) -> list[Judgement]:
    wanted = set(families)
    return [j for j in found if j.claim.family in wanted]


def _line(own: Sequence[Judgement]) -> dict[str, str]:
    given = Counter(j.main.verdict for j in own)
    same = sum(j.main.no_difference and j.main.verdict == "not replicated" for j in own)
    again, changed = _both(own), _changed(own)
    stated = len(in_print(own))
    return {
        "replicated": str(given["replicated"]),
        "direction only": str(given["direction only"]),
        "not replicated": f"{given['not replicated']}{f' ({same})' if same else ''}",
        "untestable": str(given["untestable"]),
        "changed": f"{len(changed)}/{len(again)}" if again else "–",
        "refuted": f"{len(_refuted(own))}/{stated}" if stated else "–",
    }


def _both(own: Iterable[Judgement]) -> list[Judgement]:
    """The claims that were tested by one ranking or the other."""
    return [
        j for j in own if j.full is not None and {j.main.verdict, j.full.verdict} != {"untestable"}
    ]


def _changed(own: Iterable[Judgement]) -> list[Judgement]:
    return [j for j in _both(own) if j.full is not None and j.full.verdict != j.main.verdict]


def in_print(own: Iterable[Judgement]) -> dict[str, Judgement]:
    """The statements that the paper's own tables can judge: text -> a claim with it.

    Two protocols of a data set are one statement in print.
    """
    judged = (j for j in own if j.in_print.verdict != "untestable")
    return {j.claim.text.rsplit(" (", 1)[0]: j for j in judged}


def _refuted(own: Iterable[Judgement]) -> dict[str, Judgement]:
    return {t: j for t, j in in_print(own).items() if j.in_print.verdict == "not replicated"}


# --- sentences -------------------------------------------------------------------------------


def words(found: Sequence[Judgement]) -> dict[str, str]:
    """Counts for sentences elsewhere in the book.

    Returns:
        ``claims_all`` and ``claims_<verdict>`` for the claims of the paper; ``full_changed`` and
        ``full_tested``; ``printed_refuted`` and ``printed_all``; for each family
        ``<family>_replicated`` and ``<family>_tested`` (those that are not untestable).
    """
    own = _of(found, CLAIMED)
    given = Counter(j.main.verdict for j in own)
    counts = {"claims_all": len(own)}
    counts |= {f"claims_{name.replace(' ', '_')}": given[name] for name in VERDICTS}
    counts |= {"full_changed": len(_changed(own)), "full_tested": len(_both(own))}
    counts |= {"printed_refuted": len(_refuted(own)), "printed_all": len(in_print(own))}
    for family in (*CLAIMED, *CHECKS):
        verdicts = [j.main.verdict for j in _of(found, [family])]
        key = family.replace("-", "_")
        counts[f"{key}_replicated"] = verdicts.count("replicated")
        counts[f"{key}_tested"] = len(verdicts) - verdicts.count("untestable")
    return {key: str(count) for key, count in counts.items()}


def headline(found: Sequence[Judgement]) -> str:
    """What was asked and what was found, in two sentences."""
    n = words(found)
    return (
        f"**Asked.** Which claims of the AMP-CF paper hold on real data? **Found.** Of "
        f"{n['claims_all']} claims, counted for each model, opponent, data set, protocol and "
        f"metric, {n['claims_replicated']} are replicated, {n['claims_direction_only']} hold in "
        f"direction only, {n['claims_not_replicated']} are not replicated and "
        f"{n['claims_untestable']} cannot be tested so far, for want of data or of runs; several "
        f"personas beat one vector a user in {n['personas_replicated']} of {n['personas_tested']} "
        f"comparisons that can be decided, an AMP beats a simple model with the same tuning in "
        f"{n['simple_replicated']} of {n['simple_tested']}, and the paper's own tables refute "
        f"{n['printed_refuted']} of the {n['printed_all']} statements that they can judge."
    )


def full_ranking(found: Sequence[Judgement]) -> str:
    """How many verdicts change when the held-out item is ranked among the whole catalogue."""
    both, changed = _both(found), _changed(found)
    if not both:
        return "Pending: nothing can be judged under full ranking yet."
    lost = [j for j in changed if j.full is not None and j.full.verdict == "untestable"]
    won = [j for j in changed if j.main.verdict == "untestable"]
    counts = Counter(
        f"{j.main.verdict} to {j.full.verdict}"
        for j in changed
        if j not in lost and j not in won and j.full is not None
    )
    ways = ", ".join(f"{count} from {way}" for way, count in counts.most_common())
    otherwise = len(changed) - len(lost) - len(won)
    return (
        f"Of {len(both)} claims that at least one of the two rankings can decide, the study's own "
        f"checks included, {len(changed)} get another verdict under full ranking: {len(lost)} can "
        f"no longer be told, {len(won)} can be told only then, and {otherwise} are decided "
        f"otherwise{f' ({ways})' if ways else ''}."
    )


def own_numbers(found: Sequence[Judgement]) -> str:
    """What the paper's own tables say of the sentences that it draws from them."""
    own = _of(found, CLAIMED)
    printed, lost = in_print(own), _refuted(own)
    of_best = [text for text in lost if BEST in text]
    small = sum(j.in_print.verdict == "direction only" for j in printed.values())
    return (
        f"Of {len(printed)} statements, each an AMP row or the best one against another printed "
        f"model, or a sentence of Section 4.4, the printed numbers refute {len(lost)}, "
        f"{len(of_best)} of them about the best AMP; {small} hold by less than the margin that "
        "this study asks for."
    )


# --- details ---------------------------------------------------------------------------------


def refuted_in_print(found: Sequence[Judgement], of_best: bool) -> pd.DataFrame:
    """The sentences that the paper's own tables refute: of the best AMP, or of each row."""
    lines = [
        {"claim": text, "the paper's numbers": j.in_print.sentence}
        for text, j in _refuted(_of(found, CLAIMED)).items()
        if ("/AMP-" not in j.claim.id) is of_best
    ]
    if not lines:
        lines = [{"claim": "none", "the paper's numbers": "–"}]
    return pd.DataFrame(lines).set_index("claim")


def table(found: Sequence[Judgement], family: str) -> pd.DataFrame:
    """The claims of one family that could be judged, sorted by verdict."""
    own = [j for j in _of(found, [family]) if j.main.verdict != "untestable" or _number(j)]
    own.sort(key=lambda j: VERDICTS.index(j.main.verdict))
    lines = [
        {
            "claim": j.claim.text,
            "verdict": j.main.verdict,
            "difference [95 %]": _number(j) or "–",
            "why": j.main.sentence if family in ("aisp", "domain", "formula") else j.main.reason,
            "under full ranking": j.full.verdict if j.full else "–",
            "in the paper's numbers": IN_PRINT[j.in_print.verdict],
        }
        for j in own
    ]
    frame = pd.DataFrame(lines)
    if frame.empty:
        return frame
    same = [name for name in frame if (frame[name] == "–").all()]
    return frame.drop(columns=same).set_index("claim")


def _number(judgement: Judgement) -> str:
    main = judgement.main
    if main.statistic is None:
        return ""
    ends = "" if main.interval is None else f" {interval(*main.interval, signed=True)}"
    return f"{number(main.statistic, signed=True)}{ends}"


def waiting(found: Sequence[Judgement], family: str) -> pd.DataFrame:
    """Why the other claims of a family cannot be judged, and how many wait for the same."""
    own = [
        j.main.reason
        for j in _of(found, [family])
        if j.main.verdict == "untestable" and not _number(j)
    ]
    lines = [{"why": why, "claims": str(count)} for why, count in Counter(own).most_common()]
    return pd.DataFrame(lines, columns=["why", "claims"]).set_index("why")


def details(found: Sequence[Judgement], family: str) -> str:
    """The claims of a family as folded HTML: those that were judged, and what the others lack."""
    judged, others = table(found, family), waiting(found, family)
    count = sum(int(text) for text in others["claims"])
    parts = []
    if len(judged):
        parts.append(_folded(f"{len(judged)} judged, one by one", judged))
    if count:
        parts.append(_folded(f"{count} that cannot be judged so far, and why", others))
    return "\n".join(parts) or "<p>Pending: no claim of this kind can be judged yet.</p>"


def folded_refutations(found: Sequence[Judgement]) -> str:
    """Every statement on a single AMP row that the paper's own tables refute, folded."""
    frame = refuted_in_print(found, of_best=False)
    return _folded("Each AMP row by itself", frame)


def _folded(title: str, frame: pd.DataFrame) -> str:
    return f"<details><summary>{html.escape(title)}</summary>{to_html(frame)}</details>"
