"""What one machine was measured to do: peak memory, speed beside peers, agreement with packages.

The records are written by ``benchmarks/memory.py``, by the scripts of speed beside it, and by
``tests/parity`` (see its ``agreement.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from replication.compare import Record
from replication.page import two_digits
from replication.papers.amp_cf import experiments
from replication.papers.amp_cf.experiments import MEMORY, PARITY, SPEED
from replication.records import Store

LIMIT = experiments.MEMORY_LIMIT


def memory(records: Sequence[Record] | None = None) -> pd.DataFrame:
    """Peak memory of a process, GiB as strings: one line a model, one column a data set.

    "Pending" where a model that can be the largest is not measured.
    """
    records = Store(MEMORY).load() if records is None else records
    found = {(r["row"], r["dataset"]): f"{r['metrics']['peak GiB']:.2f}" for r in records}
    wanted = [experiments.row_name(model) for model in experiments.LARGEST]
    rows = [
        name
        for name in experiments.MODELS.values()
        if name in wanted or any(row == name for row, _ in found)
    ]
    names = list(experiments.RUN_HERE)
    lines = [
        [found.get((row, name), "pending" if row in wanted else "–") for name in names]
        for row in rows
    ]
    return pd.DataFrame(lines, index=pd.Index(rows, name="model"), columns=names, dtype=str)


def memory_found(records: Sequence[Record] | None = None) -> str:
    """The largest peak, and how much is measured, in one sentence."""
    records = Store(MEMORY).load() if records is None else records
    wanted = {
        (experiments.row_name(m), d) for m in experiments.LARGEST for d in experiments.RUN_HERE
    }
    done = {(r["row"], r["dataset"]) for r in records}
    if not records:
        return f"Pending: none of {len(wanted)} peaks is measured yet."
    top = max(records, key=lambda r: r["metrics"]["peak GiB"])
    peak = top["metrics"]["peak GiB"]
    said = "within" if peak < LIMIT else "beyond"
    left, more = len(wanted - done), len(done - wanted)  # the table shows what is beyond the plan
    return (
        f"The largest peak on record, {peak:.2f} GiB of {top['row']} on `{top['dataset']}`, is "
        f"{said} the {LIMIT:g} GiB that this study allows itself; {len(wanted) - left} of "
        f"{len(wanted)} planned peaks are measured"
        f"{f' and {more} more beyond the plan' if more else ''}"
        f"{f', {left} are pending' if left else ''}."
    )


# What the study asks of speed: (row, what the record says, data set, the demand in words).
DEMANDS = (
    ("NCF", "training", "ml-1m", "at least twice RecBole's examples a second"),
    ("MF (r=1)", "ranking", "ml-1m", "under 0.1 seconds"),
    ("AMP-4", "ranking", "ml-1m", "under 0.1 seconds"),
    ("TDD", "taste distance", "ml-1m", "under 5 seconds"),
)


def _alike(records: Sequence[Record], *settings: str) -> list[list[Record]]:
    """Groups of records that differ in nothing but when, by which code, and how often; by time."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for r in sorted(records, key=lambda r: r.get("time", "")):
        place = r["row"], r["dataset"], *(r["config"].get(name) for name in settings)
        groups.setdefault(place, []).append(r)
    return list(groups.values())


def _last(records: Sequence[Record], *settings: str) -> list[Record]:
    """The last record of each group of ``_alike``."""
    return [group[-1] for group in _alike(records, *settings)]


def _kept(record: Record) -> bool | None:
    """Whether a speed record keeps its limit; None where it has none."""
    found, bounded = record["metrics"], record["config"]["bounded"]
    if not bounded:
        return None
    good = found["ours"] < found["limit"] if bounded == "ours" else found["ratio"] >= found["limit"]
    return bool(good)


def speed_found(records: Sequence[Record] | None = None) -> str:
    """Which demands the last run keeps and which every run does, in two or three sentences.

    The last run alone would contradict the table, which counts all of them.
    """
    groups = _alike(Store(SPEED).load() if records is None else records, "what", "peer", "threads")
    kept: list[str] = []
    broken: list[str] = []
    open_: list[str] = []
    always, sometimes = 0, []
    for name, what, dataset, demand in DEMANDS:
        judged = [
            [bool(_kept(r)) for r in group]
            for group in groups
            if (group[-1]["row"], group[-1]["dataset"]) == (name, dataset)
            and group[-1]["config"]["what"].startswith(what)
            and group[-1]["config"]["bounded"]
        ]
        place = f"{what} of {name} on `{dataset}`"
        last = [runs[-1] for runs in judged]
        (open_ if not last else kept if all(last) else broken).append(f"{place} ({demand})")
        if judged and all(map(all, judged)):
            always += 1
        elif judged:
            # Against several peers in the same runs the counts are alike and are said once.
            counts = dict.fromkeys(f"{sum(runs)} of {len(runs)}" for runs in judged)
            sometimes.append(f"{place} in {' and '.join(counts)} runs")
    parts = [
        f"This study's limits on speed {start}: {len(some)} of {len(DEMANDS)}, {', '.join(some)}."
        for start, some in (
            ("kept in the last run", kept),
            ("not kept in the last run", broken),
            ("not measured yet", open_),
        )
        if some
    ]
    if kept or broken:
        parts.append(
            "; ".join([f"Kept in every run: {always} of {len(DEMANDS)}", *sometimes]) + "."
        )
    return " ".join(parts)


def speed(records: Sequence[Record] | None = None) -> pd.DataFrame:
    """The last measurement of each speed, as strings; "pending" where a demand has none.

    Beside it how many of all measurements of the same kept the limit, and the range of their
    ratios: the last alone would hide those that did not.
    """
    records = Store(SPEED).load() if records is None else records
    index, lines = [], []
    columns = ["data set", "unit", "ours", "the peer's", "times as fast", "limit", "kept"]
    for group in _alike(records, "what", "peer", "threads"):
        r = group[-1]
        found, config = r["metrics"], r["config"]
        ratios = [one["metrics"]["ratio"] for one in group]
        spread = f" ({two_digits(min(ratios))} to {two_digits(max(ratios))})" if group[1:] else ""
        kept_by = [_kept(one) for one in group]
        limit, kept = "–", _kept(r)
        if kept is not None:
            limit = f"{'under' if config['bounded'] == 'ours' else 'ratio of'} {found['limit']:g}"
        index.append((config["what"], r["row"]))
        lines.append(
            [
                r["dataset"],
                config["unit"],
                two_digits(found["ours"]),
                two_digits(found["peer"]),
                two_digits(found["ratio"]) + spread,
                limit,
                "–" if kept is None else f"{sum(map(bool, kept_by))} of {len(group)}",
            ]
        )
    for name, what, dataset, demand in DEMANDS:
        if not any(i[1] == name and i[0].startswith(what) and line[0] == dataset
                   for i, line in zip(index, lines, strict=True)):  # fmt: skip
            index.append((what, name))
            lines.append([dataset, "–", *3 * ["pending"], demand, "pending"])
    names = pd.MultiIndex.from_tuples(index, names=["what", "model"])
    return pd.DataFrame(lines, index=names, columns=columns, dtype=str)


def speed_settings(records: Sequence[Record] | None = None) -> pd.DataFrame:
    """Against what, and on what machine, each line of ``speed`` that is measured was."""
    every = _last(Store(SPEED).load() if records is None else records, "what", "peer", "threads")
    columns = ["peer", "threads", "machine", "day"]
    if not every:
        return pd.DataFrame({"": ["pending"]})
    lines = [
        [r["config"]["peer"], str(r["config"]["threads"]), r["machine"], r["time"][:10]]
        for r in every
    ]
    index = [(r["config"]["what"], r["row"]) for r in every]
    names = pd.MultiIndex.from_tuples(index, names=["what", "model"])
    return pd.DataFrame(lines, index=names, columns=columns, dtype=str)


# Rows of the comparisons with another package (tests/parity).
COMPARED = ("NCF", "ConvNCF", "FISM, of DeepICF+a", "DeepICF+a, its attention", "ItemKNN", "EASE^R")


def parity(records: Sequence[Record] | None = None) -> pd.DataFrame:
    """The last comparison of each kind with another package, as strings; else "pending"."""
    every = _last(Store(PARITY).load() if records is None else records, "what")
    index, lines = [], []
    columns = ["peer", "ours", "the peer's", "apart by", "allowed", "agrees"]
    for name in COMPARED:
        own = [r for r in every if r["row"] == name]
        for r in own:
            found = r["metrics"]
            index.append((name, r["config"]["what"]))
            lines.append(
                [
                    r["config"]["peer"],
                    f"{found['ours']:.4f}" if "ours" in found else "–",
                    f"{found['theirs']:.4f}" if "theirs" in found else "–",
                    f"{found['difference']:.2g}",
                    f"{found['allowed']:.2g}",
                    "yes" if found["difference"] <= found["allowed"] else "no",
                ]
            )
        if not own:
            index.append((name, "pending"))
            lines.append(len(columns) * ["pending"])
    names = pd.MultiIndex.from_tuples(index, names=["model", "what is compared"])
    return pd.DataFrame(lines, index=names, columns=columns, dtype=str)


def parity_found(records: Sequence[Record] | None = None) -> str:
    """How many comparisons agree, in one sentence."""
    every = _last(Store(PARITY).load() if records is None else records, "what")
    if not every:
        return "Pending: no comparison with another package is on record."
    good = sum(r["metrics"]["difference"] <= r["metrics"]["allowed"] for r in every)
    missing = [name for name in COMPARED if name not in {r["row"] for r in every}]
    left = f"; pending are those of {', '.join(missing)}" if missing else ""
    return f"{good} of {len(every)} comparisons on record agree{left}."
