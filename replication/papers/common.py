"""What the tables of all papers have in common."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from tqdm import tqdm

from replication import paths
from replication.compare import Cell
from replication.data import Interactions
from replication.errors import DataUnavailable, ReplicationError
from replication.records import Record, Store, provenance, record_address, record_key
from replication.training import described


class Stopwatch:
    """Seconds since it was made: by the clock, and of the processor in this process."""

    def __init__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def told(self) -> Record:
        """As a record holds them. On a machine that does other work too the first are more."""
        clock, cpu = self._began
        return {
            "seconds": round(time.perf_counter() - clock, 2),
            "cpu_seconds": round(time.process_time() - cpu, 2),
        }


Run = Callable[
    [Sequence[str] | None, Sequence[str] | None, int | None, str],
    Iterator[tuple[str, Record, bool]],
]


@dataclass(frozen=True)
class Table:
    """What a page and the command line need to know of a table.

    Attributes:
        grid: its cells, for a way to select and a variant ("" for the main cells).
        metrics: what is reported, for a variant.
        rerun: runs a stored record again: the new record, and its ranks where it has any.
        run: for a table whose records are not runs of the paper's grid: runs a part of it (data
            sets, models, seeds, device; None: all) and yields what it was, the record, and
            whether it is new.
        data: the interactions of a data set under a protocol, where the paper's ``data_for`` does
            not give them.
        derive: the stored records and those that follow from them without a run.
    """

    grid: Callable[[str, str], list[Cell]]
    metrics: Callable[[str], Sequence[str]]
    rerun: Callable[[Record, torch.device], tuple[Record, np.ndarray | None]]
    run: Run | None = None
    data: Callable[[str, str], Interactions] | None = None
    derive: Callable[[Iterable[Record]], list[Record]] = list


def own_table(study: Any, data: Callable[[str, str], Interactions] | None = None) -> Table:
    """The table of a module with a grid of its own, without ways to select or variants.

    Args:
        study: it has ``grid()``, ``METRICS``, ``rerun`` and ``run``.
        data: as in ``Table``.
    """
    return Table(
        lambda select, variant: study.grid(),
        lambda variant: study.METRICS,
        study.rerun,
        study.run,
        data,
    )


@dataclass(frozen=True)
class Part:
    """The part of a table that a page or the command line asks for; None: all that it has.

    Attributes:
        table: its id.
        datasets, models, protocols, variant: names of the paper's ``experiments``.
        select: the way to select, one of its ``SELECTS``.
        seeds: how many seeds or folds, from the first.
    """

    table: str
    select: str
    datasets: Sequence[str] | None = None
    models: Sequence[str] | None = None
    protocols: Sequence[str] | None = None
    variant: str = ""
    seeds: int | None = None

    def only_datasets(self, why: str) -> None:
        """Raise ReplicationError if the table does not know more than data sets, and got more."""
        refuse(
            self.table,
            why,
            model=self.models,
            protocol=self.protocols,
            variant=self.variant,
            seeds=self.seeds,
        )


def refuse(table: str, why: str, **given: Any) -> None:
    """Raise ReplicationError if a table was given a parameter that it does not take."""
    for name, value in given.items():
        if value:
            raise ReplicationError(f"{table} {why} and takes no --{name}")


def refuse_unknown(table: str, names: Sequence[str] | None, known: Iterable[str]) -> None:
    """Raise ReplicationError if a data set or model is asked for that a table has not."""
    known = tuple(known)
    for name in names or ():
        if name not in known:
            raise ReplicationError(f"{table} has no {name!r}; it has {', '.join(known)}")


def check_known(kind: str, names: Sequence[str] | None, known: Iterable[str]) -> None:
    """Raise ReplicationError if a name is none of those that are known of its kind."""
    known = tuple(known)
    for name in names or ():
        if name not in known:
            raise ReplicationError(f"unknown {kind} {name!r}; known are {', '.join(known)}")


def describe_data(
    part: Part, known: Sequence[str], statistics: Callable[[str], Record]
) -> Iterator[tuple[str, Record, bool]]:
    """Count data sets and store what was found; yields as ``run`` of a paper's tables does.

    Args:
        part: of a table of statistics.
        known: its data sets that can be had, all of them where ``part`` names none.
        statistics: gives the record of one.

    Raises:
        ReplicationError: more than data sets is asked for.
    """
    part.only_datasets("has statistics of data sets")
    for dataset in part.datasets or known:
        record = statistics(dataset)
        yield dataset, record, Store(part.table).append(record)


def model_named(row: Callable[[str], Any], given: Mapping[str, Any]) -> str | None:
    """The model that a page's parameters name; None: no parameter names one.

    Raises:
        ReplicationError: ``row`` knows no such model.
    """
    model = given.get("model")
    if model is not None:
        row(model)
    return model


TRIALS = "trials"  # a kind of job: all search trials of a model on a data set


@dataclass(frozen=True)
class Job:
    """One piece of work that is packed for another machine.

    Attributes:
        kind: one of the paper's ``packing.KINDS``: ``TRIALS``, "run" (a record), or what the paper
            makes of its runs.
        dataset, protocol, model, seed, select, variant: as in the paper's ``experiments.Run``.
        data_hash: content of the data where the job was packed; None where they were not at hand.
        paper: the folder of the paper.
    """

    kind: str
    dataset: str
    protocol: str
    model: str
    seed: int = 0
    select: str = "validation"
    variant: str = ""
    data_hash: str | None = None
    paper: str = "amp_cf"


@dataclass(frozen=True)
class Quick:
    """A real case of a paper that two cores retrain in about a minute."""

    dataset: str
    models: tuple[str, ...]
    protocol: str
    seeds: int = 1


class Addressed(Protocol):
    """A run that can say what its record will be, before anything is computed."""

    def address(self) -> Record:
        """Everything that can change the numbers."""


JobT = TypeVar("JobT")


def run_missing(
    jobs: Iterable[JobT],
    address: Callable[[JobT], Record],
    store_of: Callable[[JobT], Store],
    perform: Callable[[JobT], Record],
) -> Iterator[tuple[JobT, Record, bool]]:
    """Do what is not stored yet, one job after the other.

    Args:
        jobs: runs, or whatever else leaves one record each.
        address: what a job's record will say of itself, before anything is computed.
        store_of: where the record belongs.
        perform: does a job and stores its record, which it returns.

    Yields:
        The job, its record, and whether it was done now (True) or was there (False).
    """
    for job in jobs:
        key = record_key(address(job))
        # Read anew each time: another process may have stored it meanwhile.
        stored = {record["key"]: record for record in store_of(job).load()}
        if key in stored:
            yield job, stored[key], False
            continue
        record = perform(job)
        for file in paths.CHECKPOINTS.glob(f"{key}-*"):
            file.unlink(missing_ok=True)  # another process may have finished it too
        yield job, record, True


def not_stored(
    runs: Iterable[Any], stored: Container[str], is_known: Callable[[Any], bool]
) -> list[Any]:
    """The runs without a record of their address, as ``run_missing`` would do them.

    A record with settings that the search no longer chooses, or with another limit of epochs, is
    not the run's. An address is made once for all runs of a cell, since it reads trials and data.

    Args:
        runs: dataclasses with an ``address``, whose ``number`` is the seed of their record and
            changes nothing else of it.
        stored: keys of the records that are there.
        is_known: whether the settings of a run are known; if not, the run counts as not stored,
            whatever is. So it does where the data are missing: where they are, it finds its record.
    """

    @cache
    def of_cell(cell: Any) -> Record | None:
        try:
            return cell.address() if is_known(cell) else None
        except DataUnavailable:
            return None

    return [
        run
        for run in runs
        if (address := of_cell(replace(run, number=0))) is None
        or record_key(address | {"seed": run.number}) not in stored
    ]


def measure_missing(
    jobs: Iterable[JobT],
    address: Callable[[JobT], Record],
    store: Store,
    measure: Callable[[JobT], tuple[Record, Mapping[str, np.ndarray] | None]],
) -> Iterator[tuple[JobT, Record, bool]]:
    """Measure and store what is not stored yet; as ``run_missing``.

    Args:
        measure: gives a job's record, and the values of single users where there are any.
    """

    def perform(job: JobT) -> Record:
        record, values = measure(job)
        store.append(record, values=values)
        return record

    return run_missing(jobs, address, lambda job: store, perform)


def labelled(found: Iterable[tuple[Any, Record, bool]]) -> Iterator[tuple[str, Record, bool]]:
    """What was found, as ``run`` of a paper's tables yields it: with the label of each job."""
    for job, record, new in found:
        yield job.label, record, new


def drawn_config(known: Any, trial: int) -> Any:
    """The configuration of a search trial of a row (its ``start`` and ``draw``).

    Trial 0 is the starting point; the others are drawn at random, alike for rows that draw alike.
    """
    if trial == 0 or known.draw is None:
        return known.start
    return replace(known.start, **known.draw(np.random.default_rng([0, trial])))


def distinct_draws(known: Any, n_trials: int) -> int:
    """How many settings the first trials of a row draw; two may draw the same, tried once.

    A row without a ``draw`` has nothing to search: 0.
    """
    if known.draw is None:
        return 0
    return len({str(described(drawn_config(known, trial))) for trial in range(n_trials)})


def say_if_unsearched(known: Any, dataset: str, have: int, wanted: int) -> None:
    """One line on stderr, once, if a model is about to run before its search is complete.

    Args:
        known: the model's row.
        dataset: what it runs on.
        have, wanted: how many of its trials are stored and count, and how many there should be.
    """
    if have < wanted:
        runs_with = "the best of these" if have else "its starting point"
        _say_once(
            f"note: {known.name} on {dataset} has {have} of {wanted} search trials and runs with "
            f"{runs_with}; `python -m replication tune` completes them"
        )


@cache
def _say_once(text: str) -> None:
    tqdm.write(text, file=sys.stderr)


def run_trials(
    table: str,
    row: str,
    data: Interactions,
    protocol: str,
    configs: Mapping[int, Any],
    tried: Callable[[int, Any], Record],
    device: torch.device,
    describe: Callable[[Any], Record] = described,
) -> Iterator[tuple[int, Record, bool]]:
    """Do the search trials of one model that are not stored yet, on validation data, with seed 0.

    Args:
        table: where they are stored.
        row: the model's name.
        data, protocol: what is searched on.
        configs: a trial's number -> its configuration.
        tried: runs a trial: its number and configuration to its metrics, seconds and epochs.
        device: where they run.
        describe: a configuration as the record holds it.

    Yields:
        A trial's number, its record, and whether it was run now (True) or was there (False).
    """

    def address(trial: int) -> Record:
        config = describe(configs[trial])
        return record_address(table, row, data, protocol, config, select="validation")

    def measure(trial: int) -> tuple[Record, None]:
        own = {"trial": trial, "device": device.type} | tried(trial, configs[trial])
        return address(trial) | own | provenance(), None

    return measure_missing(configs, address, Store(table), measure)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A value of a search trial between two ends, to three digits."""
    return float(f"{np.exp(rng.uniform(np.log(low), np.log(high))):.3g}")


def whole_number(name: str, value: Any) -> int | None:
    """A parameter that counts something; None where it was not given.

    Raises:
        ReplicationError: no whole number of at least 1.
    """
    if value is not None and (type(value) is not int or value < 1):
        raise ReplicationError(f"{name} should be a whole number of at least 1, not {value!r}")
    return value
