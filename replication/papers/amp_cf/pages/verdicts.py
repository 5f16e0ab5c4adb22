"""What the book says about the claims of AMP-CF."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from replication.claims import Evidence, Facts, Judgement, NoEvidence, arms, judge_all
from replication.compare import Ranks, Record
from replication.page import Study, enumeration, stored_table
from replication.papers.amp_cf import (
    experiments,
    explanations,
    lists,
    minority,
    users,
)
from replication.papers.amp_cf.claims import (
    ARMS,
    BEST,
    CLAIMS,
    GAIN_MARGIN,
    NUMBER_MARGIN,
    OVER_SIMILARITIES,
    PERSONAS,
    favours,
)
from replication.papers.amp_cf.pages import personas
from replication.papers.amp_cf.pages.explanations import collapsed
from replication.verdicts import Book, Verdicts, folded, in_print, of_tested, refuted, tally

# Families of claims that the paper makes, and the study's own checks.
CLAIMED = {
    "number": "a printed number of Table 2 is reached",
    "outperforms": "an AMP is more accurate than another printed model",
    "competitive": "the best AMP is not worse than another printed model",
    "personas": "several personas beat one vector a user",
    "best": "the best printed number of personas is the best",
    "negatives": "four negatives beat more",
    "factors": "64 factors are NCF's best",
    "ncf": "NCF beats ItemKNN, the reason to leave that out",
    "similarity": "a small network as similarity brings no gain and takes longer",
    "tastes": "an AMP is closer to the users' tastes than another printed model",
    "aisp": "clustering the PCA space does not suffice",
    "domain": "the gain in taste distance is lower on Amazon than for music and Pinterest",
    "not-diversity": "taste distance is not the diversity of a list",
    "entropy": "attention has a lower entropy on positives than on negatives",
    "adapts": "accuracy comes from a user vector that adapts to the candidate",
    "explain": "personas are distinct and explain the list",
    "crowding": "one vector gives minority tastes less of the list than they have of the history",
    "minority": "several personas bring minority tastes' share of the list nearer to the history's",
    "minority-items": "several personas gain most on test items of minority tastes",
    "diversity": "the gain of several personas grows with the diversity of a user's tastes",
    "formula": "Table 3 can come from its printed formulas",
}
CHECKS = {
    "personas-mf-settings": "several personas beat one vector with the settings found for that",
    "popularity": "an AMP beats what is popular",
    "simple": "an AMP is more accurate than a simple model",
    "ncf-ties": "NCF beats ItemKNN, ties decided for ItemKNN",
    "simple-ties": "an AMP is more accurate than ItemKNN, ties decided for ItemKNN",
    "aisp-unit": "an AMP is more accurate than AISP on item vectors of unit length",
    "direc-near": "an AMP is more accurate than DiRec with a small radius",
    "equal": "several personas beat one vector of as many numbers",
    "equal-minority": "they bring minority tastes' share of the list nearer than that vector does",
    "equal-items": "they gain over that vector most on test items of minority tastes",
    "equal-diversity": "their gain over that vector grows with the diversity of a user's tastes",
    "domain-each": "the gain in taste distance of an AMP over the same model is lower on Amazon "
    "than on Pinterest",
    "domain-films": "the gain in taste distance is lower on Amazon than for films",
    "tastes-single": "several personas are closer to the users' tastes than one vector",
    "tastes-aisp-unit": "an AMP is closer to the users' tastes than AISP on item vectors of unit "
    "length",
    "tastes-direc-near": "an AMP is closer to the users' tastes than DiRec with a small radius",
    "tastes-simple": "an AMP is closer to the users' tastes than a simple model",
}


# Multiples of the margins at which every claim is judged again, in words.
SCALES = {0.5: "half", 2.0: "twice"}


def judgements(
    accuracy: Study, tastes: Study, told: Study, of_users: Study | None = None
) -> list[Judgement]:
    """All claims by the records of three tables, under full ranking, in print, at other margins.

    Args:
        of_users: the facts of single users; None: none are recorded.
    """
    people = () if of_users is None else of_users.records
    known = {} if of_users is None else of_users.ranks
    facts = minority.facts_by_data(people, known)
    lists_and_histories = minority.with_histories(
        tastes.table, tastes.records, tastes.ranks, people, known
    )
    first = _evidence(accuracy, accuracy.records, accuracy.ranks, facts)
    second = _evidence(tastes, *lists_and_histories, facts, first)
    rows, values = arms(told.records, told.ranks, ARMS)
    third = Evidence(told.table, rows, values, told.published)
    found = judge_all(CLAIMS, [first, second, third], tuple(SCALES))
    found = _with_personas(found, first, personas.kinds(told.records))
    return _with_similarities(found, second)


SIMILARITIES = "over similarities"  # head of a column
SAME, REVERSED = "same direction", "reversed"


def _with_similarities(found: Iterable[Judgement], tastes: Evidence) -> list[Judgement]:
    """The same, those on taste distance with a note on its direction over similarities."""

    def note(judgement: Judgement) -> dict[str, str]:
        try:
            questions = judgement.claim.asks(tastes)
            printed = favours(tastes, questions)
            other = favours(tastes, questions, OVER_SIMILARITIES)
        except NoEvidence:
            return {}
        return {} if other is None else {SIMILARITIES: SAME if other is printed else REVERSED}

    return [
        replace(j, notes={**j.notes, **note(j)}) if j.claim.table == tastes.table else j
        for j in found
    ]


# The families whose results are those of several personas, in the order of the pages.
OF_PERSONAS = (
    "personas",
    "personas-mf-settings",
    "minority",
    "minority-items",
    "diversity",
    "tastes-single",
    "equal",
    "equal-minority",
    "equal-items",
    "equal-diversity",
)


def _with_personas(
    found: Iterable[Judgement], accuracy: Evidence, known: personas.Kinds
) -> list[Judgement]:
    """The same, those of ``OF_PERSONAS`` with a note whether the personas are one vector."""

    def kind(judgement: Judgement) -> str:
        _, row, _, dataset, protocol, metric, *_ = judgement.claim.id.split("/")
        if row == BEST:
            try:
                row = accuracy.best(PERSONAS, dataset, protocol, metric)
            except NoEvidence:
                return personas.UNKNOWN
        return personas.kind(known, row, dataset, protocol)

    return [
        replace(j, notes={**j.notes, personas.HEAD: kind(j)})
        if j.claim.family in OF_PERSONAS
        else j
        for j in found
    ]


def _evidence(
    study: Study,
    records: Sequence[Record],
    ranks: Ranks,
    facts: Facts,
    validation: Evidence | None = None,
) -> Evidence:
    return Evidence(
        study.table,
        records,
        ranks,
        study.published,
        study.grid,
        validation=validation,
        facts=facts,
    )


def _stored() -> list[Judgement]:
    tables = (experiments.TABLE2, lists.TABLE3, explanations.TABLE, users.TABLE)
    return judgements(*(stored_table(table) for table in tables))


# Of these the paper leaves so much open that their numbers here say little about its own.
OPEN = ("AISP-2", "AISP-3", "AISP-4", "DiRec")


# Of these families, counts in sentences leave out "the best AMP": it repeats one of the AMP rows.
BY_ROW = ("personas", "simple")


def _rows(found: Verdicts, family: str) -> list[Judgement]:
    """The judgements of a family on single AMP rows."""
    return [j for j in found.of([family]) if j.claim.id.split("/")[1] != BEST]


def _counts(found: Verdicts) -> dict[str, int]:
    own = found.of(CLAIMED)
    against_open = [j for j in own if j.claim.opponent in OPEN or j.claim.family == "aisp"]
    told = stored_table(explanations.TABLE)
    counts = {"open_replicated": sum(j.main.verdict == "replicated" for j in against_open)}
    for prefix, one_vector in (("", collapsed(told)), ("released_", collapsed(told, "released"))):
        counts[f"{prefix}collapsed"] = len(one_vector.names)
        counts[f"{prefix}models"] = one_vector.models
    for family in BY_ROW:
        rows = _rows(found, family)
        counts |= tally(f"{family}_rows", rows) | {f"{family}_rows_all": len(rows)}
    for kind in personas.WHERE:
        of_kind = [j for j in _rows(found, "personas") if j.notes[personas.HEAD] == kind]
        counts |= tally(_key(kind), of_kind)
    directed = [j for j in found if SIMILARITIES in j.notes]
    replicated = [j for j in directed if j.main.verdict == "replicated"]
    for key, some in (("directed", directed), ("directed_replicated", replicated)):
        counts |= {f"{key}_all": len(some), f"{key}_reversed": len(_reversed(some))}
    # Not as "ncf": that is the family of claims on NCF against ItemKNN.
    against_ncf = [j for j in _rows(found, "outperforms") if j.claim.opponent == "NCF"]
    counts |= tally("over_ncf", against_ncf)
    for name in experiments.RUN_HERE:
        own = [j for j in against_ncf if j.claim.id.split("/")[3] == name]
        counts |= tally(f"over_ncf_on_{name}", own)
    return counts


def _reversed(some: Iterable[Judgement]) -> list[Judgement]:
    return [j for j in some if j.notes.get(SIMILARITIES) == REVERSED]


def over_similarities(found: Verdicts) -> pd.DataFrame:
    """Of the claims on taste distance, how many point the other way over similarities.

    One line a family and data set: of all that have a direction, and of the replicated ones.
    """
    lines = {}
    for family, text in (CLAIMED | CHECKS).items():
        for name in experiments.RUN_HERE:
            own = [
                j
                for j in found.of([family])
                if SIMILARITIES in j.notes and name in j.claim.id.split("/")
            ]
            replicated = [j for j in own if j.main.verdict == "replicated"]
            if own:
                lines[text, name] = {
                    "reversed": f"{len(_reversed(own))} of {len(own)}",
                    "of the replicated": f"{len(_reversed(replicated))} of {len(replicated)}",
                }
    if not lines:
        return pd.DataFrame({"claim": ["Pending: no lists are measured yet."]}).set_index("claim")
    frame = pd.DataFrame.from_dict(lines, orient="index")
    return frame.rename_axis(["claim", "data set"])


def _key(kind: str) -> str:
    """Of the counts of ``personas`` where the personas are of one kind."""
    return f"personas_rows_{kind.replace(' ', '_')}"


def over_ncf_where(n: Mapping[str, str]) -> str:
    """The data sets on which a comparison with NCF can be decided, each with its counts."""
    texts = [
        f"{name} {of_tested(n, f'over_ncf_on_{name}')}"
        for name in experiments.RUN_HERE
        if n[f"over_ncf_on_{name}_tested"] != "0"
    ]
    return ", ".join(texts) if texts else "none"


def measured_on(variant: str = "") -> str:
    """The data sets on which attention was measured."""
    return enumeration(collapsed(stored_table(explanations.TABLE), variant).datasets) or "none"


def _lead(n: Mapping[str, str]) -> str:
    return f"AMP-CF's personas beat one vector a user in {of_tested(n, 'personas_rows')}"


def _by_kind(n: Mapping[str, str]) -> str:
    """How often personas beat one vector, by what the personas are; the end of a sentence."""
    parts = [
        f"{of_tested(n, _key(kind))} where {text}"
        for kind, text in personas.WHERE.items()
        if n[f"{_key(kind)}_tested"] != "0"
    ]
    return f" ({', '.join(parts)})" if parts else ""


def by_personas(found: Verdicts) -> pd.DataFrame:
    """By what the personas are, one line a family: "replicated + direction only of decided".

    Of AMP rows alone: the best AMP repeats one of them.
    """
    lines = {}
    for family in OF_PERSONAS:
        rows = _rows(found, family)
        lines[(CLAIMED | CHECKS)[family]] = {
            kind: _of_decided([j for j in rows if j.notes[personas.HEAD] == kind])
            for kind in personas.WHERE
        }
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("claim")


def _of_decided(some: Sequence[Judgement]) -> str:
    given = Counter(j.main.verdict for j in some)
    decided = len(some) - given["untestable"]
    return f"{given['replicated']} + {given['direction only']} of {decided}" if decided else "–"


def _more(n: Mapping[str, str]) -> list[str]:
    return [
        f"Against one vector: of {n['personas_rows_all']} comparisons of an AMP row, data set, "
        f"protocol and metric {n['personas_rows_tested']} can be decided, and a gain of at least "
        f"{GAIN_MARGIN:g} is established in {n['personas_rows_replicated']}{_by_kind(n)}.",
        "Against NCF, where a comparison can be decided: an AMP row is more accurate in "
        f"{of_tested(n, 'over_ncf')} ({over_ncf_where(n)}).",
        f"Printed numbers that are reached within {NUMBER_MARGIN:g}, of those that can be decided: "
        f"{of_tested(n, 'number')}.",
        "Against a simple model with the same number of trials, where a comparison can be decided: "
        f"an AMP row is better in {of_tested(n, 'simple_rows')}.",
        f"Taste distance over similarities in place of distances: {n['directed_reversed']} of "
        f"{n['directed_all']} claims on it, the study's own checks included, point the other way "
        f"by their means, {n['directed_replicated_reversed']} of the "
        f"{n['directed_replicated_all']} replicated ones among them."
        if n["directed_all"] != "0"
        else "",
        "Left out of these counts of AMP rows: the best AMP, which repeats one of them. The table "
        "and the count of all claims hold it as a claim of its own.",
    ]


def _among(n: Mapping[str, str]) -> str:
    return (
        f"{n['open_replicated']} of them against AISP and DiRec, whose settings the paper leaves "
        "open"
    )


BOOK = Book(
    title="AMP-CF",
    claimed=CLAIMED,
    checks=CHECKS,
    second="under full ranking",
    told=frozenset({"aisp", "domain", "formula", "not-diversity"}),
    counted="model, opponent, data set, protocol and metric",
    judgements=_stored,
    lead=_lead,
    counts=_counts,
    more=_more,
    among=_among,
)


def own_numbers(found: Verdicts) -> str:
    """What the paper's own tables say of the sentences that it draws from them."""
    own = found.of(CLAIMED)
    printed, lost = in_print(own), refuted(own)
    of_best = [text for text in lost if BEST in text]
    small = sum(j.in_print.verdict == "direction only" for j in printed.values())
    return (
        f"Of {len(printed)} statements, each an AMP row or the best one against another printed "
        f"model, or a sentence of Section 4.4, the printed numbers refute {len(lost)}, "
        f"{len(of_best)} of them about the best AMP; {small} hold by less than the margin that "
        "this study asks for."
    )


def refuted_in_print(found: Verdicts, of_best: bool) -> pd.DataFrame:
    """The sentences that the paper's own tables refute: of the best AMP, or of each row."""
    return found.refuted_in_print(lambda j: ("/AMP-" not in j.claim.id) is of_best)


def folded_refutations(found: Verdicts) -> str:
    """Every statement on a single AMP row that the paper's own tables refute, folded."""
    return folded("Each AMP row by itself", refuted_in_print(found, of_best=False))


def _moved(found: Iterable[Judgement], scale: float) -> list[Judgement]:
    return [j for j in found if j.scaled[scale].verdict != j.main.verdict]


def _decided_otherwise(moved: Iterable[Judgement], scale: float) -> int:
    """How many of them were not untestable, and are not."""
    return sum("untestable" not in (j.main.verdict, j.scaled[scale].verdict) for j in moved)


def margins(found: Iterable[Judgement]) -> str:
    """How many verdicts hang on the size of the margins, and of which families."""
    told = [
        j
        for j in found
        if {j.main.verdict, *(v.verdict for v in j.scaled.values())} != {"untestable"}
    ]
    if not told:
        return "Pending: no claim can be judged yet, at any margin."
    parts = []
    for scale, text in SCALES.items():
        moved = _moved(told, scale)
        families = Counter(j.claim.family for j in moved)
        where = ", ".join(f"`{name}` {n}" for name, n in families.most_common())
        detail = (
            f" ({_decided_otherwise(moved, scale)} are decided otherwise, the others become "
            f"untestable or cease to be; by family: {where})"
            if moved
            else ""
        )
        parts.append(f"at {text} every margin {len(moved)} get another verdict{detail}")
    return (
        f"Of {len(told)} claims that can be decided at one of the margins, the study's own checks "
        f"included, {' and '.join(parts)}."
    )


def margin_table(found: Verdicts) -> pd.DataFrame:
    """For each family that hangs on the margins: claims, and how many change at each scale."""
    heads = {scale: f"changed at {text} the margin" for scale, text in SCALES.items()}
    lines = {}
    for family, text in (CLAIMED | CHECKS).items():
        own = found.of([family])
        moved = {scale: _moved(own, scale) for scale in SCALES}
        if any(moved.values()):
            lines[f"{text} (`{family}`)"] = {"claims": str(len(own))} | {
                heads[scale]: f"{len(some)} ({_decided_otherwise(some, scale)} decided otherwise)"
                for scale, some in moved.items()
            }
    if not lines:
        lines["none"] = {"claims": "0"} | dict.fromkeys(heads.values(), "0")
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("family")
