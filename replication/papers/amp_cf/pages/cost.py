"""What the study of AMP-CF costs: hours of trials and runs, from the times that records hold.

What remains is counted over the same cells as ``packing.grids``: all that a page calls pending.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from replication import figures
from replication.compare import Cell, Record, cells, percent
from replication.page import Study, opening, two_digits
from replication.papers.amp_cf import experiments, packing
from replication.papers.amp_cf.rows import ROWS, row
from replication.papers.amp_cf.tables import TABLES
from replication.records import Store

PENDING = "Pending: no runs are recorded yet."
UNMEASURED = "not yet measured"
HOUR = 3600.0
# Tables that are measured on data or on the models that Table 2 trained.
OTHERS = tuple(table for table in packing.TABLES if table != experiments.TABLE2)
_MODELS = {name: model for model, name in experiments.MODELS.items()}


@dataclass(frozen=True)
class Cost:
    """What one cell has cost, and what it still needs.

    Attributes:
        cell: of Table 2, of one of its variants or of an ablation study.
        runs: its records by seed.
        trials: the search trials of its model; those of the data set's other protocols are these.
        run_seconds: of one run, mean; None where nothing tells. Where no run is recorded it is an
            estimate (see ``Paces``), and ``estimated`` is true.
        epoch_seconds: of one epoch, mean; None where nothing tells or there are no epochs.
        missing_trials: number of trials that are still to be run.
        trial_seconds: of one trial, mean or estimate; None where nothing tells.
    """

    cell: Cell
    runs: Mapping[int, Record]
    trials: Sequence[Record]
    run_seconds: float | None
    estimated: bool
    epoch_seconds: float | None
    missing_trials: int
    trial_seconds: float | None

    @property
    def main(self) -> bool:
        """A cell of the printed table or a row of ours in it, and no departure from it."""
        return self.cell.row in _MODELS and not self.cell.variant and self.cell.select != "test"

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
        """Hours that the missing trials need; None where nothing tells."""
        if not self.missing_trials:
            return 0.0
        if self.trial_seconds is None:
            return None
        return self.trial_seconds * self.missing_trials / HOUR


class Paces:
    """Seconds of runs and trials that are not recorded, from those that are.

    The nearest of these that is on record:

    1. the same model on the same data set, under any protocol;
    2. its seconds an epoch, as if the last epoch allowed were chosen and refitted: measured over
       some batches (``experiments.PACE``), pretraining apart, else of its trials;
    3. a model of its family there (AMP-r by r, MF by d) of the nearest width r d: a wider model
       takes as many times longer as it is wider, a narrower one as long;
    4. if it is trained over epochs: itself on the data set of the nearest size, by 1 or 2 there, in
       proportion to the training pairs and the epochs allowed.

    A variant takes the main cell's seconds times the ratio of the two on other data sets, or where
    none has both, the ratio of pairs an epoch (1 + negatives), epochs allowed and widths.

    Args:
        runs: records of Table 2, variants included.
        searched: trials.
        pairs: training pairs by data set; a data set without takes no part in 4.
        timed: records of ``experiments.PACE``; the last of a model and data set counts.
    """

    def __init__(
        self,
        runs: Iterable[Record],
        searched: Iterable[Record],
        pairs: Mapping[str, float],
        timed: Iterable[Record] = (),
    ) -> None:
        self.pairs = pairs
        self.timed = {(r["row"], r["dataset"]): r["metrics"] for r in timed}
        self.runs: dict[tuple[str, str, str], list[Record]] = {}  # row, data set, variant
        self.trials: dict[tuple[str, str], list[Record]] = {}  # row, data set
        for record in runs:
            without_refit = (
                experiments.VALIDATION_NO_REFIT,
                *([] if record["variant"] else ["test"]),
            )
            if record["select"] not in without_refit and record.get("seconds"):
                place = (record["row"], record["dataset"], record["variant"])
                self.runs.setdefault(place, []).append(record)
        for trial in searched:
            self.trials.setdefault((trial["row"], trial["dataset"]), []).append(trial)

    def of_run(self, model: str, dataset: str, variant: str = "") -> float | None:
        """Seconds of a run, None where nothing tells."""
        own = self._mean(model, dataset, variant)
        if own is not None or not variant:
            return own if own is not None else self._main(model, dataset)
        main = self._main(model, dataset)
        return None if main is None else main * self._factor(model, dataset, variant)

    def of_epoch(self, model: str, dataset: str) -> float | None:
        """Seconds of an epoch of the main cells' runs, timed batches or trials; None without any.

        Those of a trial hold their part of its pretraining.
        """
        name = experiments.row_name(model)
        near = self.runs.get((name, dataset, ""), [])
        found = [_taken(r, "seconds_per_epoch") for r in near if "seconds_per_epoch" in r]
        timed = self.timed.get((name, dataset), {})
        found = found or [v for k, v in timed.items() if k == "seconds per epoch"]
        tried = self.trials.get((name, dataset), [])
        found = found or [_taken(t) / t["epochs_run"] for t in tried if t.get("epochs_run")]
        return _mean(found) or None

    def of_trial(self, model: str, dataset: str) -> float | None:
        """Seconds of a search trial, by 1, 3 or 4."""

        def mean(name: str, place: str) -> float | None:
            found = self.trials.get((experiments.row_name(name), place), [])
            return _mean(map(_taken, found)) if found else None

        own = mean(model, dataset)
        if own is None:
            own = self._timed(model, dataset, epochs_of_trial, refit=False)
        return own if own is not None else self._scaled(model, dataset, mean, epochs_of_trial)

    def _timed(
        self, model: str, dataset: str, epochs: Callable[[str, str], int], refit: bool
    ) -> float | None:
        """Seconds of a run or trial that goes on to its last epoch, from batches that were timed.

        With a ``refit`` preparation and epochs come twice, and candidates are ranked once.
        """
        found = self.timed.get((experiments.row_name(model), dataset))
        if found is None:
            return None
        prepared = found["seconds of preparation"]
        if "seconds per epoch" not in found:
            return prepared
        n = epochs(model, dataset)
        trained = prepared + n * found["seconds per epoch"]
        return (2 if refit else 1) * trained + n * found["seconds per validation"]

    def _mean(self, model: str, dataset: str, variant: str = "") -> float | None:
        found = self.runs.get((experiments.row_name(model), dataset, variant), [])
        return _mean(map(_taken, found)) if found else None

    def _main(self, model: str, dataset: str) -> float | None:
        """Of a run of a main cell: 1 to 4."""
        own = self._own(model, dataset)
        return own if own is not None else self._scaled(model, dataset, self._own, epochs_of_run)

    def _own(self, model: str, dataset: str) -> float | None:
        """By 1, else by 2: a model of which there are but trials is estimated elsewhere too."""
        own = self._mean(model, dataset)
        if own is None:
            own = self._timed(model, dataset, epochs_of_run, refit=True)
        if own is not None:
            return own
        tried = self.trials.get((experiments.row_name(model), dataset), [])
        if tried and not row(model).trained:
            return _mean(map(_taken, tried))
        epoch = self.of_epoch(model, dataset)
        return None if epoch is None else 2 * epochs_of_run(model, dataset) * epoch

    def _scaled(
        self,
        model: str,
        dataset: str,
        known: Callable[[str, str], float | None],
        epochs: Callable[[str, str], int],
    ) -> float | None:
        """By 3, else by 4."""
        kin = [other for other in _family(model) if known(other, dataset) is not None]
        if kin:
            nearest = min(kin, key=lambda other: abs(np.log(_width(model) / _width(other))))
            seconds = known(nearest, dataset)
            assert seconds is not None
            return seconds * max(1.0, _width(model) / _width(nearest))
        places = [d for d in self.pairs if d != dataset and known(model, d) is not None]
        if not places or dataset not in self.pairs or not row(model).trained:
            return None
        size = self.pairs[dataset]
        near = min(places, key=lambda d: abs(np.log(size / self.pairs[d])))
        seconds = known(model, near)
        assert seconds is not None
        return seconds * size / self.pairs[near] * epochs(model, dataset) / epochs(model, near)

    def _factor(self, model: str, dataset: str, variant: str) -> float:
        """How many times the main cell's seconds a variant takes."""
        ratios = []
        for place in experiments.DATASETS:
            changed, main = self._mean(model, place, variant), self._mean(model, place)
            if changed and main:
                ratios.append(changed / main)
        if ratios or not row(model).trained:
            return _mean(ratios) or 1.0
        changes = dict(experiments.VARIANTS[variant].changes)
        start = row(model).start
        pairs = (1 + changes.get("n_negatives", start.n_negatives)) / (1 + start.n_negatives)
        allowed = epochs_of_run(model, dataset)
        factors = getattr(start, "factors", 1)
        wider = max(1.0, changes.get("factors", factors) / factors)
        return pairs * wider * changes.get("max_epochs", allowed) / allowed


def epochs_of_run(model: str, dataset: str) -> int:
    """The most epochs of a run."""
    known = row(model)
    limits = (known.start.max_epochs, known.max_epochs, experiments.MAX_EPOCHS.get(dataset))
    return min(n for n in limits if n is not None)


def epochs_of_trial(model: str, dataset: str) -> int:
    """The most epochs of a trial."""
    known = row(model)
    limits = (known.start.max_epochs, known.trial_epochs, experiments.TUNING_EPOCHS.get(dataset))
    return min(n for n in limits if n is not None)


def _family(model: str) -> list[str]:
    """The other models of the study that differ from an AMP or MF by their width alone."""
    stems = ("amp", "mf")
    stem = model.split("-")[0]
    every = [*experiments.MODELS, *packing.STUDIED]
    return [m for m in every if m != model and stem in stems and m.split("-")[0] == stem]


def _width(model: str) -> int:
    """r d: numbers a user."""
    start = row(model).start
    return start.personas * start.dimension


def training_pairs() -> dict[str, float]:
    """Training pairs by data set, from the records of Table 1."""
    return {
        r["dataset"]: r["metrics"]["training examples"] for r in Store(experiments.TABLE1).load()
    }


def trials() -> list[Record]:
    """The records of the search trials."""
    return list(Store(experiments.TUNING).load())


def core_hours(records: Iterable[Record], device: str = "cpu") -> float:
    """Hours on the CPU times the threads that a run had, or hours on a GPU, of ``trained``."""
    return (
        sum(
            _taken(r) * (r.get("threads", 1) if device == "cpu" else 1)
            for r in trained(records)
            if r.get("device", "cpu") == device and r.get("seconds")
        )
        / HOUR
    )


def _taken(record: Record, name: str = "seconds") -> float:
    """Seconds that a record holds: the processor's where one thread on the CPU noted them.

    On a machine that does other work too those by the clock are more than the work takes.
    """
    alone = record.get("device", "cpu") == "cpu" and record.get("threads", 1) == 1
    return record.get(f"cpu_{name}", record[name]) if alone else record[name]


def trained(records: Iterable[Record]) -> list[Record]:
    """The records of which each is a training.

    What is selected on the way to a run, and variants that only test it in another way, hold its
    seconds again.
    """
    return [record for record in records if not _again(record)]


def _again(record: Record) -> bool:
    spec = experiments.VARIANTS.get(record.get("variant", ""))
    return record["select"] == experiments.VALIDATION_NO_REFIT or (
        spec is not None and spec.rides_along
    )


def _mean(values: Iterable[float]) -> float:
    """The mean; 0 of nothing."""
    found = list(values)
    return float(np.mean(found)) if found else 0.0


def _paces(
    study: Study, searched: Sequence[Record], pairs: Mapping[str, float] | None = None
) -> Paces:
    known = training_pairs() if pairs is None else pairs
    return Paces(study.records, searched, known, Store(experiments.PACE).load())


def costs(
    study: Study, searched: Sequence[Record], pairs: Mapping[str, float] | None = None
) -> list[Cost]:
    """Every cell of Table 2 that can be had: main cells in the order of the grid, then the others.

    ``pairs``: as in ``Paces``; None: those that Table 1 has on record.
    """
    paces = _paces(study, searched, pairs)
    found = []
    for cell, runs in cells(packing.grids()[experiments.TABLE2], study.records):
        if cell.unavailable:
            continue
        model, timed = packing.model_of(cell), [r for r in runs.values() if r.get("seconds")]
        seconds = paces.of_run(model, cell.dataset, cell.variant)
        if runs:
            seconds = _mean(map(_taken, timed))
        tried = paces.trials.get((cell.row, cell.dataset), [])
        wanted = 0 if row(model).draw is None else experiments.N_TRIALS
        found.append(
            Cost(
                cell,
                runs,
                tried,
                seconds,
                not runs,
                paces.of_epoch(model, cell.dataset),
                max(0, wanted - len(tried)),
                paces.of_trial(model, cell.dataset),
            )
        )
    return found


Load = Callable[[str], Sequence[Record]]


def _stored(table: str) -> Sequence[Record]:
    return Store(table).load()


def measured_left(table: str, load: Load = _stored) -> tuple[int, float, int]:
    """What a table that is no Table 2 lacks: records, hours, and records of which nothing tells.

    A record takes as long as those of the same row on the same data set that hold a time, else as
    those of the data set. The training of a model that is no longer kept is not counted.
    """
    times: dict[tuple[str, ...], list[float]] = {}
    for record in load(table):
        if "seconds" in record:
            for place in ((record["row"], record["dataset"]), (record["dataset"],)):
                times.setdefault(place, []).append(_taken(record))
    lacking, hours, unknown = 0, 0.0, 0
    for cell, runs in cells(packing.grids()[table], load(table)):
        missing = 0 if cell.unavailable else cell.seeds_required - len(runs)
        known = times.get((cell.row, cell.dataset)) or times.get((cell.dataset,))
        lacking += missing
        hours += missing * _mean(known or []) / HOUR
        unknown += missing if known is None else 0
    return lacking, hours, unknown


# --- what the page shows -----------------------------------------------------------------------


def headline(study: Study, searched: Sequence[Record], load: Load = _stored) -> str:
    """What was asked, what was found, and what is on record and missing."""
    asked = "What does each cell of the study cost, and what would all of it cost again?"
    every = [*study.records, *searched]
    if not every:
        return opening(asked, PENDING)
    found = costs(study, searched)
    gpu = core_hours(every, "cuda")
    took = (
        _hours(core_hours(every)) + " core-hours" + (f" and {_hours(gpu)} GPU-hours" if gpu else "")
    )
    runs = len(trained(study.records))
    spent = f"On record for Table 2: runs {runs}, search trials {len(searched)}."
    open_cells = [c for c in found if c.missing]
    open_runs = sum(c.missing for c in open_cells)
    open_trials = sum(c.missing_trials for c in _open_searches(found).values())
    others = {table: measured_left(table, load) for table in OTHERS}
    records = sum(lacking for lacking, *_ in others.values())
    left = remaining(found)[0] + sum(hours for _, hours, _ in others.values())
    unpaced = any(map(_unknown, found)) or any(unknown for *_, unknown in others.values())
    again = _rerun([*every, *(r for table in OTHERS for r in load(table))], left, unpaced)
    if not (open_runs or open_trials or records):
        return opening(
            asked,
            f"The runs and search trials on record took {took}, and nothing is missing, so that "
            "this is the cost of a full rerun.",
            [
                spent,
                again,
                f"Complete: all {len(found)} cells, and the tables that are measured on their "
                "models.",
            ],
        )
    silent = [*_silent(found), *(f"{n} records of `{t}`" for t, (_, _, n) in others.items() if n)]
    pace = ", as far as its pace is known" if silent else ""
    return opening(
        asked,
        f"The runs and search trials on record took {took}, and what is missing needs about "
        f"{_hours(left)} hours more{pace}.",
        [
            spent,
            again,
            f"Missing: runs {open_runs}, in {len(open_cells)} of {len(found)} cells, variants and "
            f"ablations included; search trials {open_trials}; records of the other tables "
            f"{records}.",
            f"Pace not yet measured: {', '.join(silent)}." if silent else "",
        ],
    )


def _rerun(records: Sequence[Record], left: float, unpaced: bool) -> str:
    """What all tables cost again, as one number: what is on record, and what remains."""
    took, gpu = core_hours(records), core_hours(records, "cuda")
    silent = sum("seconds" not in record for record in records)
    return (
        f"A full rerun of all tables: about {_hours(took + left)} core-hours, {_hours(took)} on "
        f"record and {_hours(left)} that remain, each of these on one thread"
        + (f", and {_hours(gpu)} GPU-hours" if gpu else "")
        + (f"; {silent} records hold no time and count as none" if silent else "")
        + ("; what has no pace yet counts as none" if unpaced else "")
        + "."
    )


def _silent(found: Sequence[Cost]) -> list[str]:
    """The models of whose missing runs or trials nothing tells the pace, with their number."""
    names = dict.fromkeys(c.cell.row for c in found if _unknown(c))
    searches = _open_searches(found).values()
    return [
        f"{name} ({sum(c.missing for c in found if c.cell.row == name and c.left is None)} runs, "
        f"{sum(s.missing_trials for s in searches if s.cell.row == name and s.trials_left is None)}"
        " trials)"
        for name in names
    ]


def _unknown(cost: Cost) -> bool:
    return cost.left is None or cost.trials_left is None


def _open_searches(found: Sequence[Cost]) -> dict[tuple[str, str], Cost]:
    """Searches that lack trials, one a model and data set."""
    return {(c.cell.row, c.cell.dataset): c for c in found if c.missing_trials}


def remaining(found: Sequence[Cost]) -> tuple[float, int]:
    """Hours that runs and trials need as far as records tell, and the number of cells they do not.

    A search counts once, however many protocols use it.
    """
    searches = [c.trials_left for c in _open_searches(found).values()]
    hours = sum(c.left or 0.0 for c in found) + sum(h or 0.0 for h in searches)
    return hours, sum(map(_unknown, found))


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
    main = [r for c in found if c.main for r in c.runs.values()]
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
        "main cells complete": _complete([c for c in found if c.main]),
        "other cells complete": _complete([c for c in found if not c.main]),
        "remain": _cell(left),
        "unknown": str(unknown) if unknown else "–",
    }


def _complete(found: Sequence[Cost]) -> str:
    return f"{sum(not c.missing for c in found)} of {len(found)}"


def by_cell(study: Study, searched: Sequence[Record], dataset: str) -> pd.DataFrame:
    """One line a main cell of a data set, as strings; those of a model stand together."""
    found = [c for c in costs(study, searched) if c.main and c.cell.dataset == dataset]
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


def by_departure(study: Study, searched: Sequence[Record]) -> pd.DataFrame:
    """One line a variant, ablation model or other way to select, and model, as strings."""
    groups: dict[tuple[str, str], list[Cost]] = {}
    for cost in costs(study, searched):
        if not cost.main:
            by_test = "epoch chosen on test items" if cost.cell.select == "test" else "ablation"
            groups.setdefault((cost.cell.variant or by_test, cost.cell.row), []).append(cost)
    lines = []
    for found in groups.values():
        own_search = [] if found[0].cell.row in _MODELS else [c.trials_left for c in found]
        parts = [*(c.left for c in found), *own_search]
        lines.append(
            {
                "cells complete": _complete(found),
                "runs": f"{sum(len(c.runs) for c in found)} of "
                f"{sum(c.cell.seeds_required for c in found)}",
                "trials": f"{sum(len(c.trials) for c in found)} of "
                f"{sum(len(c.trials) + c.missing_trials for c in found)}"
                if own_search
                else "–",
                "hours of runs": _sum_of(r for c in found for r in c.runs.values()),
                "hours that remain": _total(parts),
            }
        )
    index = pd.MultiIndex.from_tuples(groups, names=["departure", "model"])
    return pd.DataFrame(lines, index=index, dtype=str)


def of_the_slow(
    study: Study, searched: Sequence[Record], pairs: Mapping[str, float] | None = None
) -> pd.DataFrame:
    """One line a data set and model that scores slowly, as strings: how long what takes.

    An epoch is that of the runs on record, of batches that were timed or of trials; else
    extrapolated in proportion to the training pairs from the data set of the nearest size that has
    any of these. A model that trains nothing has the seconds of its runs before it scores.
    """
    paces = _paces(study, searched, pairs)
    index, lines = [], []
    for dataset in datasets(study):
        for model in (model for model, known in ROWS.items() if known.slow):
            name = experiments.row_name(model)
            timed = paces.timed.get((name, dataset), {})
            runs = [] if row(model).trained else paces.runs.get((name, dataset, ""), [])
            before = _mean(map(_taken, runs)) if runs else timed.get("seconds of preparation")
            index.append((dataset, name))
            lines.append(
                {
                    "batches": f"{timed['batches']:.0f}" if "batches" in timed else "–",
                    "an epoch, s": "–",
                    "from": "runs on record" if runs else "no training" if timed else UNMEASURED,
                    "before, s": "–" if before is None else two_digits(before),
                    "catalogue, h": two_digits(timed["seconds of a full pass"] / HOUR)
                    if timed
                    else "–",
                }
                | (_epoch(paces, model, dataset) if row(model).trained else {})
            )
    names = pd.MultiIndex.from_tuples(index, names=["data set", "model"])
    return pd.DataFrame(lines, index=names, dtype=str)


def _epoch(paces: Paces, model: str, dataset: str) -> dict[str, str]:
    """Seconds of an epoch and where they come from, for ``of_the_slow``."""
    name = experiments.row_name(model)

    def known(place: str) -> tuple[float, str] | None:
        runs = [r for r in paces.runs.get((name, place, ""), []) if "seconds_per_epoch" in r]
        timed = paces.timed.get((name, place))
        if runs:
            return _mean(_taken(r, "seconds_per_epoch") for r in runs), "runs on record"
        if timed:
            n = timed["batches timed"]
            return timed["seconds per epoch"], f"measured over {n:.0f} batches"
        of_trials = paces.of_epoch(model, place)
        return None if of_trials is None else (of_trials, "trials on record")

    own = known(dataset)
    if own is None:
        size = paces.pairs.get(dataset)
        near = [d for d in paces.pairs if size and known(d)]
        if not size or not near:
            return {"from": UNMEASURED}
        place = min(near, key=lambda d: abs(np.log(size / paces.pairs[d])))
        found = known(place)
        assert found is not None
        own = found[0] * size / paces.pairs[place], f"extrapolated from {place}"
    return {"an epoch, s": two_digits(own[0]), "from": own[1]}


def _run(cost: Cost) -> str:
    if cost.run_seconds is None:
        return UNMEASURED
    text = two_digits(cost.run_seconds)
    return f"({text})" if cost.estimated else text


def _remains(cost: Cost, with_trials: bool) -> str:
    return _total([cost.left, *([cost.trials_left] if with_trials else [])])


def _total(hours: Sequence[float | None]) -> str:
    """Their sum; what is known of it is a lower bound where one of them is not."""
    known = sum(part or 0.0 for part in hours)
    if None not in hours:
        return _cell(known)
    return f"over {known:.3f}" if known else UNMEASURED


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
    parts = ", ".join(f"{name} ({percent(share[name] / total, 0)})" for name in top)
    return f"The largest parts of all hours on record are those of {parts}."


def by_table(load: Load = _stored) -> pd.DataFrame:
    """Records, the hours that they name and what is pending of every table, as strings."""
    lines = {}
    for table in (experiments.TUNING, *TABLES):
        records = load(table)
        line = {
            "records": str(len(records)),
            "without a time": str(sum("seconds" not in r for r in records)),
            "core-hours": _cell(core_hours(records)),
            "GPU-hours": _cell(core_hours(records, "cuda")),
            "pending": "see above",
            "hours that remain": "see above",
        }
        if table in OTHERS:
            lacking, hours, unknown = measured_left(table, load)
            line["pending"] = str(lacking) if lacking else "–"
            line["hours that remain"] = _total([hours, *([None] if unknown else [])])
        lines[table] = line
    frame = pd.DataFrame.from_dict(lines, orient="index", dtype=str)
    frame.index.name = "table"
    return frame


def untimed(load: Load = _stored) -> str:
    """What the records of the tables that are measured on trained models say of their time."""
    parts, silent = [], []
    for table in OTHERS:
        records = load(table)
        seconds = [_taken(r) for r in records if "seconds" in r]
        if seconds:
            spread = f"{two_digits(min(seconds))} to {two_digits(max(seconds))} seconds"
            parts.append(f"a record of `{table}` took {spread} ({len(seconds)} hold a time)")
        without = len(records) - len(seconds)
        if without:
            silent.append(f"{without} of `{table}`")
    text = f"Where it is stored, {'; '.join(parts)}." if parts else ""
    if silent:
        text += f" Older records hold no time: {', '.join(silent)}."
    return text.strip() or PENDING


def figure(study: Study, searched: Sequence[Record]) -> Any:
    """Hours by model and data set as a picture: trials, and runs of all main cells."""
    from IPython.display import Markdown

    panels: dict[str, dict[str, dict[str, figures.Interval]]] = {}
    found = [c for c in costs(study, searched) if c.main]
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
