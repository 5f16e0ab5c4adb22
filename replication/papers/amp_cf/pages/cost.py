"""What the study of AMP-CF costs: hours of trials and runs, from the times that records hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from replication import figures
from replication.compare import Cell, Record, cells
from replication.page import Study, two_digits
from replication.papers.amp_cf import experiments
from replication.papers.amp_cf.rows import Row, row
from replication.papers.amp_cf.tables import TABLES
from replication.records import Store

PENDING = "Pending: no runs are recorded yet."
HOUR = 3600.0
MEMORY = f"{experiments.PAPER}/memory"  # written by benchmarks/memory.py
_MODELS = {name: model for model, name in experiments.MODELS.items()}


@dataclass(frozen=True)
class Cost:
    """What one cell has cost, and what it still needs.

    Attributes:
        cell: of Table 2.
        runs: its records by seed.
        trials: the search trials of its model; those of the data set's other protocols are these.
        run_seconds: of one run, mean; None where nothing tells. Where no run is recorded it is an
            estimate from trials or another protocol, and ``estimated`` is true.
        epoch_seconds: of one epoch, mean; None where nothing tells or there are no epochs.
        missing_trials: number of trials that are still to be run.
    """

    cell: Cell
    runs: Mapping[int, Record]
    trials: Sequence[Record]
    run_seconds: float | None
    estimated: bool
    epoch_seconds: float | None
    missing_trials: int

    @property
    def missing(self) -> int:
        """Number of runs that are still to be made."""
        return self.cell.seeds_required - len(self.runs)

    @property
    def left(self) -> float | None:
        """Hours that the missing runs need; None where nothing tells."""
        if not self.missing:
            return 0.0
        return None if self.run_seconds is None else self.missing * self.run_seconds / HOUR

    @property
    def trials_left(self) -> float | None:
        """Hours that the missing trials need, at the pace of those that there are."""
        if not self.missing_trials:
            return 0.0
        if not self.trials:
            return None
        return _mean(t["seconds"] for t in self.trials) * self.missing_trials / HOUR


def trials() -> list[Record]:
    """The records of the search trials."""
    return list(Store(experiments.TUNING).load())


def core_hours(records: Iterable[Record], device: str = "cpu") -> float:
    """Hours on the CPU times the threads that a run had, or hours on a GPU.

    Each training counts once: what is selected on the way to it, and variants that only test it
    in another way, hold its seconds again.
    """
    return (
        sum(
            r["seconds"] * (r.get("threads", 1) if device == "cpu" else 1)
            for r in records
            if r.get("device", "cpu") == device and r.get("seconds") and not _again(r)
        )
        / HOUR
    )


def _again(record: Record) -> bool:
    spec = experiments.VARIANTS.get(record.get("variant", ""))
    return record["select"] == experiments.VALIDATION_NO_REFIT or (
        spec is not None and spec.rides_along
    )


def _mean(values: Iterable[float]) -> float:
    """The mean; 0 of nothing."""
    found = list(values)
    return float(np.mean(found)) if found else 0.0


def costs(study: Study, searched: Sequence[Record]) -> list[Cost]:
    """Every main cell of Table 2 that can be had, in the order of the grid."""
    by_model: dict[tuple[str, str], list[Record]] = {}
    for trial in searched:
        by_model.setdefault((trial["row"], trial["dataset"]), []).append(trial)
    filled = [
        (cell, runs) for cell, runs in cells(study.grid, study.records) if not cell.unavailable
    ]
    elsewhere: dict[tuple[str, str], list[Record]] = {}  # runs under all protocols
    for cell, runs in filled:
        elsewhere.setdefault((cell.row, cell.dataset), []).extend(runs.values())
    found = []
    for cell, runs in filled:
        known, place = row(_MODELS[cell.row]), (cell.row, cell.dataset)
        tried = by_model.get(place, [])
        near = list(runs.values()) or elsewhere[place]
        per_epoch = _mean(
            r["seconds_per_epoch"] for r in near if "seconds_per_epoch" in r
        ) or _mean(t["seconds"] / t["epochs_run"] for t in tried if t.get("epochs_run"))
        seconds: float | None = _mean(r["seconds"] for r in near)
        if not near:
            seconds = _guess(known, cell.dataset, tried, per_epoch)
        wanted = 0 if known.draw is None else experiments.N_TRIALS
        found.append(
            Cost(
                cell, runs, tried, seconds, not runs, per_epoch or None, max(0, wanted - len(tried))
            )
        )
    return found


def _guess(known: Row, dataset: str, tried: Sequence[Record], per_epoch: float) -> float | None:
    """Seconds of a run of which only trials are recorded.

    For a model that is trained: as if the last epoch allowed were chosen, once to select it and
    once for the refit.
    """
    if not tried:
        return None
    if not known.trained:
        return _mean(t["seconds"] for t in tried)
    return 2 * experiments.tuned_config(_MODELS[known.name], dataset).max_epochs * per_epoch


# --- what the page shows -----------------------------------------------------------------------


def headline(study: Study, searched: Sequence[Record]) -> str:
    """What was asked and what was found, in two sentences."""
    asked = "What does each cell of the study cost, and what would all of it cost again?"
    every = [*study.records, *searched]
    if not every:
        return f"**Asked.** {asked} **Found.** {PENDING}"
    found = costs(study, searched)
    gpu = core_hours(every, "cuda")
    took = (
        _hours(core_hours(every)) + " core-hours" + (f" and {_hours(gpu)} GPU-hours" if gpu else "")
    )
    runs = sum(not _again(r) for r in study.records)
    text = (
        f"**Asked.** {asked} **Found.** The {runs} runs behind Table 2 and {len(searched)} search "
        f"trials on record took {took}; "
    )
    open_cells = [c for c in found if c.missing]
    if not open_cells and not _open_searches(found):
        return (
            text + f"all {len(found)} cells are complete, so that this is the cost of a full rerun."
        )
    left, unknown = remaining(found)
    text += (
        f"{len(open_cells)} of {len(found)} cells lack runs, and what a record or a trial tells "
    )
    text += f"the pace of needs about {_hours(left)} hours more"
    return text + (f", while nothing is measured yet for {unknown} cells." if unknown else ".")


def _open_searches(found: Sequence[Cost]) -> dict[tuple[str, str], Cost]:
    """Searches that lack trials, one a model and data set."""
    return {(c.cell.row, c.cell.dataset): c for c in found if c.missing_trials}


def remaining(found: Sequence[Cost]) -> tuple[float, int]:
    """Hours that runs and trials need as far as records tell, and the number of cells they do not.

    A search counts once, however many protocols use it.
    """
    searches = [c.trials_left for c in _open_searches(found).values()]
    hours = sum(c.left or 0.0 for c in found) + sum(h or 0.0 for h in searches)
    silent = [c for c in found if c.left is None or c.trials_left is None]
    return hours, len(silent)


def by_dataset(study: Study, searched: Sequence[Record]) -> pd.DataFrame:
    """Hours of trials, runs and variants of each data set, and what remains, as strings."""
    found = costs(study, searched)
    names = list(dict.fromkeys(c.cell.dataset for c in found))
    lines = [
        _sums(
            [t for t in searched if t["dataset"] == name],
            [r for r in study.records if r["dataset"] == name],
            [c for c in found if c.cell.dataset == name],
        )
        for name in names
    ]
    lines.append(_sums(searched, study.records, found))
    frame = pd.DataFrame(lines, index=pd.Index([*names, "all"], name="data set"), dtype=str)
    return frame.loc[:, [c for c in frame if c != "GPU-hours" or (frame[c] != "–").any()]]


def _sums(
    searched: Sequence[Record], records: Sequence[Record], found: Sequence[Cost]
) -> dict[str, str]:
    main = [r for c in found for r in c.runs.values()]
    left, unknown = remaining(found)
    every = core_hours([*searched, *records])
    gpu = core_hours([*searched, *records], "cuda")
    trials_, runs = core_hours(searched), core_hours(main)
    return {
        "trials": _cell(trials_),
        "main runs": _cell(runs),
        "other runs": _cell(max(0.0, every - trials_ - runs)),
        "core-hours": _cell(every),
        "GPU-hours": _cell(gpu),
        "complete": f"{sum(not c.missing for c in found)} of {len(found)}",
        "remain": _cell(left),
        "unknown": str(unknown) if unknown else "–",
    }


def by_cell(study: Study, searched: Sequence[Record], dataset: str) -> pd.DataFrame:
    """One line a cell of a data set, as strings; those of a model stand together."""
    found = [c for c in costs(study, searched) if c.cell.dataset == dataset]
    order = list(dict.fromkeys(c.cell.row for c in found))
    found.sort(key=lambda c: order.index(c.cell.row))
    index, lines = [], []
    for cost in found:
        index.append((cost.cell.row, cost.cell.protocol))
        has_search = cost.missing_trials or cost.trials
        first = cost.cell.protocol == experiments.TUNING_PROTOCOL  # where the trials are run
        devices = {r.get("device", "cpu") for r in [*cost.runs.values(), *cost.trials]}
        lines.append(
            {
                "trials": str(len(cost.trials)) if first and has_search else "–",
                "hours of trials": _sum_of(cost.trials) if first and has_search else "–",
                "runs": f"{len(cost.runs)} of {cost.cell.seeds_required}",
                "seconds an epoch": "–"
                if cost.epoch_seconds is None
                else two_digits(cost.epoch_seconds),
                "seconds a run": _run(cost),
                "hours of runs": _sum_of(cost.runs.values()),
                "hours that remain": _remains(cost, first),
                "device": ", ".join(sorted(devices)) or "–",
            }
        )
    names = ["model", "protocol"]
    frame = pd.DataFrame(lines, index=pd.MultiIndex.from_tuples(index, names=names), dtype=str)
    return frame if frame["device"].str.contains("cuda").any() else frame.drop(columns="device")


def _run(cost: Cost) -> str:
    if cost.run_seconds is None:
        return "pending"
    text = two_digits(cost.run_seconds)
    return f"({text})" if cost.estimated else text


def _remains(cost: Cost, with_trials: bool) -> str:
    parts = [cost.left, *([cost.trials_left] if with_trials else [])]
    if None in parts:
        return "pending"
    return _cell(sum(part or 0.0 for part in parts))


def datasets(study: Study) -> list[str]:
    """Data sets of the page, in the order of the grid."""
    return list(dict.fromkeys(cell.dataset for cell in study.grid if not cell.unavailable))


def dearest(study: Study, searched: Sequence[Record]) -> str:
    """Which models take the largest part of the hours, in one sentence."""
    every = [*study.records, *searched]
    share = {
        name: sum(core_hours([r for r in every if r["row"] == name], d) for d in ("cpu", "cuda"))
        for name in dict.fromkeys(r["row"] for r in every)
    }
    total = sum(share.values())
    if not total:
        return PENDING
    top = [name for name in sorted(share, key=lambda name: -share[name])[:3] if share[name]]
    parts = ", ".join(f"{name} ({share[name] / total:.0%})" for name in top)
    return f"The largest parts of all hours on record are those of {parts}."


def by_table(load: Callable[[str], Sequence[Record]] | None = None) -> pd.DataFrame:
    """Records, and the hours that they name, of every table, as strings."""
    load = load or (lambda table: Store(table).load())
    lines = {}
    for table in (experiments.TUNING, *TABLES):
        records = load(table)
        lines[table] = {
            "records": str(len(records)),
            "without a time": str(sum("seconds" not in r for r in records)),
            "core-hours": _cell(core_hours(records)),
            "GPU-hours": _cell(core_hours(records, "cuda")),
        }
    frame = pd.DataFrame.from_dict(lines, orient="index", dtype=str)
    frame.index.name = "table"
    return frame


def memory(records: Sequence[Record] | None = None) -> pd.DataFrame:
    """Peak memory of a process, GiB as strings: one line a model, one column a data set."""
    records = Store(MEMORY).load() if records is None else records
    found = {(r["row"], r["dataset"]): f"{r['metrics']['peak GiB']:.2f}" for r in records}
    rows = [name for name in _MODELS if any(row == name for row, _ in found)]
    names = [name for name in experiments.DATASETS if any(data == name for _, data in found)]
    lines = [[found.get((row, name), "–") for name in names] for row in rows]
    return pd.DataFrame(lines, index=pd.Index(rows, name="model"), columns=names, dtype=str)


def figure(study: Study, searched: Sequence[Record]) -> Any:
    """Hours by model and data set as a picture: trials, and runs of all main cells."""
    from IPython.display import Markdown

    panels: dict[str, dict[str, dict[str, figures.Interval]]] = {}
    found = costs(study, searched)
    for dataset in datasets(study):
        for name, records_of in (("trials", _trials_of), ("runs", _runs_of)):
            for model in dict.fromkeys(c.cell.row for c in found):
                own = [c for c in found if (c.cell.dataset, c.cell.row) == (dataset, model)]
                hours = sum(core_hours(records_of(own), d) for d in ("cpu", "cuda"))
                if hours:
                    series = panels.setdefault(dataset, {}).setdefault(name, {})
                    series[model] = figures.Interval(hours)
    if not panels:
        return Markdown(PENDING)
    shown = {model for series in panels.values() for points in series.values() for model in points}
    labels = [model for model in dict.fromkeys(c.cell.row for c in found) if model in shown]
    drawn = figures.intervals(panels, {}, labels, "hours (logarithmic)")
    every = [
        p.mean for series in panels.values() for points in series.values() for p in points.values()
    ]
    for axis in drawn.axes:  # one axis for all, so that panels can be compared
        axis.set_xscale("log")
        axis.set_xlim(min(every) / 2, max(every) * 2)
    return figures.png(drawn)


def _trials_of(found: Sequence[Cost]) -> Sequence[Record]:
    return found[0].trials if found else []


def _runs_of(found: Sequence[Cost]) -> Sequence[Record]:
    return [run for cost in found for run in cost.runs.values()]


def _sum_of(records: Iterable[Record]) -> str:
    some = list(records)
    return _cell(sum(core_hours(some, device) for device in ("cpu", "cuda")))


def _hours(hours: float) -> str:
    """For a sentence."""
    return f"{hours:.2f}" if hours >= 0.005 or not hours else "less than 0.01"


def _cell(hours: float) -> str:
    """For a table."""
    return f"{hours:.3f}" if hours else "–"
