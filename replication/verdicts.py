"""What the book says about the claims of any paper: verdicts as tables, counts and sentences.

A paper's ``pages/verdicts.py`` says what is its own in a ``Book``: the families of its claims in
words, what its second way to measure is, and how its claims are judged from the committed records.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from replication.claims import ITSELF, VERDICTS, Judgement, Verdict
from replication.compare import interval, number
from replication.page import enumeration, opening
from replication.papers.registry import PAPERS, page_module
from replication.tables import to_html

IN_PRINT = {
    "replicated": "holds",
    "direction only": "holds by less than the margin",
    "not replicated": "refuted",
    "untestable": "not printed",
}


@dataclass(frozen=True)
class Book:
    """How the book speaks of the claims of one paper.

    Attributes:
        title: of the paper, in short.
        claimed: families of claims that the paper makes -> what they say.
        checks: families that the study adds -> what they say.
        second: the second way to measure, as the head of a column ("under full ranking").
        told: families whose details give the whole sentence and not its last part.
        counted: what one claim is counted for ("model, data set, protocol and metric").
        judgements: judges all claims by the committed records.
        counts: what the paper's own sentences count besides ``Verdicts.words``.
        lead: the paper's main claim and how often it is replicated, as a clause from all these
            counts.
        more: the details that the headline adds, one sentence each, from all these counts.
        among: what the number of replicated claims hides, in a few words; "" for nothing.
    """

    title: str
    claimed: Mapping[str, str]
    checks: Mapping[str, str]
    second: str
    told: frozenset[str]
    counted: str
    judgements: Callable[[], Sequence[Judgement]]
    lead: Callable[[Mapping[str, str]], str]
    counts: Callable[[Verdicts], Mapping[str, int]] = lambda found: {}
    more: Callable[[Mapping[str, str]], Sequence[str]] = lambda words: ()
    among: Callable[[Mapping[str, str]], str] = lambda words: ""


class Verdicts:
    """The claims of one paper, judged."""

    def __init__(self, book: Book, found: Sequence[Judgement]) -> None:
        self.book = book
        self.found = list(found)

    def __iter__(self) -> Iterator[Judgement]:
        return iter(self.found)

    def of(self, families: Iterable[str]) -> list[Judgement]:
        """The judgements of some families."""
        wanted = set(families)
        return [j for j in self.found if j.claim.family in wanted]

    # --- counts ---

    def overview(self) -> pd.DataFrame:
        """How often each verdict was given, one line a family of claims; the checks come last."""
        present = {j.claim.family for j in self.found}
        book = self.book
        lines = {
            text: _line(self.of([name])) for name, text in book.claimed.items() if name in present
        }
        lines["all claims of the paper"] = _line(self.of(book.claimed))
        for family, text in book.checks.items():
            lines[f"check: {text}"] = _line(self.of([family]))
        frame = pd.DataFrame.from_dict(lines, orient="index").rename_axis("claim")
        return frame if (frame["changed"] != "–").any() else frame.drop(columns="changed")

    def words(self) -> dict[str, str]:
        """Counts for sentences elsewhere in the book.

        Returns:
            ``claims_all``, ``claims_decided`` and ``claims_<verdict>`` for the claims of the
            paper; ``again_changed`` and ``again_tested`` for the second way to measure;
            ``printed_refuted`` and ``printed_all``; for each family ``<family>_replicated`` and
            ``<family>_tested`` (those that are not untestable); and the paper's own
            ``Book.counts``.
        """
        own = self.of(self.book.claimed)
        given = Counter(j.main.verdict for j in own)
        counts = {"claims_all": len(own), "claims_decided": len(own) - given["untestable"]}
        counts |= {f"claims_{name.replace(' ', '_')}": given[name] for name in VERDICTS}
        counts |= {"again_changed": len(changed(own)), "again_tested": len(both(own))}
        counts |= {"printed_refuted": len(refuted(own)), "printed_all": len(in_print(own))}
        for family in (*self.book.claimed, *self.book.checks):
            counts |= tally(family.replace("-", "_"), self.of([family]))
        counts |= self.book.counts(self)
        return {key: f"{count:,}" for key, count in counts.items()}

    def by_opponent(self) -> pd.DataFrame:
        """How often each verdict was given, one line for each row that the paper compares with."""
        own = self.of(self.book.claimed)
        names = dict.fromkeys(j.claim.opponent for j in own if j.claim.opponent)
        lines = {name: _line([j for j in own if j.claim.opponent == name]) for name in names}
        return pd.DataFrame.from_dict(lines, orient="index").rename_axis("against")

    # --- sentences ---

    def headline(self) -> str:
        """What was asked, what was found, and all counts: what is behind them, and in print."""
        n = self.words()
        among = self.book.among(n) if n["claims_replicated"] != "0" else ""
        return opening(
            f"Which claims of the {self.book.title} paper hold on real data?",
            f"{n['claims_decided']} of {n['claims_all']} claims can be decided so far, of which "
            f"{n['claims_replicated']} came out replicated{f', {among}' if among else ''}, and "
            f"{self.book.lead(n)}.",
            [
                f"Verdicts: {_counts(n)}.",
                f"Counting: one claim for each {self.book.counted}.",
                *self.book.more(n),
                f"In print: the paper's own tables refute {n['printed_refuted']} of the "
                f"{n['printed_all']} statements that they can judge.",
            ],
        )

    def second(self) -> str:
        """How many verdicts change when the same runs are measured in the second way."""
        tested, moved = both(self.found), changed(self.found)
        way = self.book.second
        one_way = _one_way(self.found)
        waiting = sum(not (j.before.has_runs and again.has_runs) for j, again in one_way)
        if not tested:
            return f"Pending: nothing can be judged {way} yet."
        lost = [j for j in moved if j.again is not None and j.again.verdict == "untestable"]
        won = [j for j in moved if j.before.verdict == "untestable"]
        counts = Counter(
            f"{j.before.verdict} to {j.again.verdict}"
            for j in moved
            if j not in lost and j not in won and j.again is not None
        )
        ways = ", ".join(f"{count} from {name}" for name, count in counts.most_common())
        otherwise = len(moved) - len(lost) - len(won)
        alone = ""
        if any(j.matched for j, _ in one_way):
            fewer = [j for j, _ in one_way if j.before.has_runs]
            by_runs = sum(j.main.verdict != j.before.verdict for j in fewer)
            alone = (
                f" Both ways are judged by the runs that were measured in both; "
                f"these alone change {by_runs} of {len(fewer)} verdicts before the way is changed."
            )
        return (
            f"Of {len(tested)} claims that at least one of the two ways can decide, the study's "
            f"own checks included, {len(moved)} get another verdict {way}: {len(lost)} cannot be "
            f"told then, for too few runs or too wide an interval, {len(won)} can be told only "
            f"then, and {otherwise} are decided "
            f"otherwise{f' ({ways})' if ways else ''}."
            + alone
            + (f" {waiting} more have runs in one way only." if waiting else "")
        )

    # --- details ---

    def refuted_in_print(
        self, wanted: Callable[[Judgement], bool] = lambda j: True
    ) -> pd.DataFrame:
        """The statements that the paper's own tables refute."""
        lines = [
            {"claim": text, "the paper's numbers": j.in_print.sentence}
            for text, j in refuted(self.of(self.book.claimed)).items()
            if wanted(j)
        ]
        if not lines:
            lines = [{"claim": "none", "the paper's numbers": "–"}]
        return pd.DataFrame(lines).set_index("claim")

    def table(self, family: str) -> pd.DataFrame:
        """The claims of one family that could be judged, sorted by verdict."""
        own = [j for j in self.of([family]) if j.main.verdict != "untestable" or _number(j)]
        own.sort(key=lambda j: VERDICTS.index(j.main.verdict))
        lines = [
            {
                "claim": j.claim.text,
                "verdict": j.main.verdict,
                "difference [95 %]": _number(j) or "–",
                **j.notes,
                "why": j.main.sentence if family in self.book.told else j.main.reason,
                self.book.second: j.again.verdict if j.again else "–",
                "in the paper's numbers": _printed(j),
            }
            for j in own
        ]
        frame = pd.DataFrame(lines).fillna("–")
        if frame.empty:
            return frame
        same = [name for name in frame if (frame[name] == "–").all()]
        return frame.drop(columns=same).set_index("claim")

    def waiting(self, family: str) -> pd.DataFrame:
        """Why the other claims of a family cannot be judged, and how many wait for the same."""
        own = [
            j.main.reason
            for j in self.of([family])
            if j.main.verdict == "untestable" and not _number(j)
        ]
        lines = [{"why": why, "claims": str(count)} for why, count in Counter(own).most_common()]
        return pd.DataFrame(lines, columns=["why", "claims"]).set_index("why")

    def details(self, family: str) -> str:
        """The claims of a family as folded HTML: those judged, and what the others lack."""
        judged, others = self.table(family), self.waiting(family)
        count = sum(int(text) for text in others["claims"])
        parts = []
        if len(judged):
            parts.append(folded(f"{len(judged)} judged, one by one", judged))
        if count:
            parts.append(folded(f"{count} that cannot be judged so far, and why", others))
        return "\n".join(parts) or "<p>Pending: no claim of this kind can be judged yet.</p>"


def of(paper: str) -> Verdicts:
    """The claims of a paper, judged by the committed records."""
    book: Book = page_module(PAPERS[paper].VERDICTS).BOOK
    return Verdicts(book, book.judgements())


def of_all_papers() -> dict[str, Verdicts]:
    """The claims of every paper of the study."""
    return {paper: of(paper) for paper in PAPERS}


def headline(papers: Mapping[str, Verdicts]) -> str:
    """What was asked of all papers, what became of the main claim of each, and all counts.

    The sentence has no count of all claims: these run from tens to thousands, most of them one
    statement on several models and measures, and say little side by side.
    """
    counted = [(found.book, found.words()) for found in papers.values()]
    leads = enumeration([book.lead(n) for book, n in counted])
    return opening(
        "Which claims of the papers hold on real data?",
        f"Where a comparison can be decided, {leads}.",
        [f"{book.title}, {n['claims_all']} claims: {_counts(n)}." for book, n in counted],
    )


def _counts(n: Mapping[str, str]) -> str:
    """How often each verdict was given, as a list in words."""
    return (
        f"replicated {n['claims_replicated']}, in direction only {n['claims_direction_only']}, "
        f"not replicated {n['claims_not_replicated']}, not to be tested so far "
        f"{n['claims_untestable']}"
    )


def folded(title: str, frame: pd.DataFrame) -> str:
    """A table that opens on a click."""
    return f"<details><summary>{html.escape(title)}</summary>{to_html(frame)}</details>"


def tally(key: str, some: Sequence[Judgement]) -> dict[str, int]:
    """How many were replicated, and how many can be decided, by names that ``of_tested`` reads."""
    verdicts = [j.main.verdict for j in some]
    return {
        f"{key}_replicated": verdicts.count("replicated"),
        f"{key}_tested": len(verdicts) - verdicts.count("untestable"),
    }


def of_tested(counts: Mapping[str, str], family: str) -> str:
    """ "2 of 3": how many claims of a family are replicated, of those that can be decided."""
    tested = counts[f"{family}_tested"]
    return (
        f"{counts[f'{family}_replicated']} of {tested}"
        if tested != "0"
        else "none yet (all pending)"
    )


# --- counting --------------------------------------------------------------------------------


def _one_way(own: Iterable[Judgement]) -> list[tuple[Judgement, Verdict]]:
    """The claims that were tested in one way to measure or the other, and the second verdict."""
    return [
        (j, j.again)
        for j in own
        if j.again is not None and {j.main.verdict, j.again.verdict} != {"untestable"}
    ]


def both(own: Iterable[Judgement]) -> list[Judgement]:
    """Those of them of which there are runs in both ways: "too little data" is found by runs."""
    return [
        j
        for j, again in _one_way(own)
        if j.before.has_runs
        and again.has_runs
        and {j.before.verdict, again.verdict} != {"untestable"}
    ]


def changed(own: Iterable[Judgement]) -> list[Judgement]:
    """Those of them that get another verdict in the second way, by the same runs."""
    return [j for j in both(own) if j.again is not None and j.again.verdict != j.before.verdict]


def in_print(own: Iterable[Judgement]) -> dict[str, Judgement]:
    """The statements that the paper's own tables can judge: text -> a claim with it.

    Two protocols of a data set are one statement in print.
    """
    judged = (j for j in own if j.in_print.verdict != "untestable")
    return {j.claim.text.rsplit(" (", 1)[0]: j for j in judged}


def refuted(own: Iterable[Judgement]) -> dict[str, Judgement]:
    """Those of them that the paper's own tables refute."""
    return {t: j for t, j in in_print(own).items() if j.in_print.verdict == "not replicated"}


def _line(own: Sequence[Judgement]) -> dict[str, str]:
    given = Counter(j.main.verdict for j in own)
    same = sum(j.main.no_difference and j.main.verdict == "not replicated" for j in own)
    again, moved = both(own), changed(own)
    stated = len(in_print(own))
    return {
        "replicated": str(given["replicated"]),
        "direction only": str(given["direction only"]),
        "not replicated": f"{given['not replicated']}{f' ({same})' if same else ''}",
        "untestable": str(given["untestable"]),
        "changed": f"{len(moved)}/{len(again)}" if again else "–",
        "refuted": f"{len(refuted(own))}/{stated}" if stated else "–",
    }


def _printed(judgement: Judgement) -> str:
    """What the paper's numbers say; a dash of a printed number, which is its own evidence."""
    own = judgement.in_print
    return "–" if own.reason == ITSELF else IN_PRINT[own.verdict]


def _number(judgement: Judgement) -> str:
    main = judgement.main
    if main.statistic is None:
        return ""
    ends = "" if main.interval is None else f" {interval(*main.interval, signed=True)}"
    return f"{number(main.statistic, signed=True)}{ends}"
