"""What a page of the book calls: check its parameters, get its records, say what made them.

The first code cell after a notebook's parameters calls ``open_table``; papermill only warns about
a parameter that the notebook does not have, so this is where it becomes an error.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from replication import paths, tables
from replication.compare import (
    METRICS,
    Cell,
    Floats,
    FoldTest,
    PairedTest,
    Ranks,
    Record,
    cells,
    fold_test,
    interval,
    load_published,
    n_splits,
    number,
    overlap_share,
    page_table,
    paired_test,
    per_user_values,
    ranks_of,
    rows,
)
from replication.errors import ReplicationError
from replication.figures import Interval, intervals
from replication.papers.common import Part, whole_number
from replication.papers.registry import PAPERS, TABLES, paper_of
from replication.records import Store, source_hash
from replication.tables import COMPLETE
from replication.training import resolve_device

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODES = ("stored", "quick", "full")
PENDING = "Pending: no runs are recorded yet."
Runs = Mapping[int, Record]  # of one cell, by fold
# What a fresh notebook kernel has in its namespace, and this module.
_IN_EVERY_KERNEL = frozenset({"In", "Out", "exit", "quit", "get_ipython", "open", "page"})


@dataclass
class Study:
    """The records behind a page.

    Attributes:
        table: id of the table.
        mode: "stored", "quick" or "full".
        select: how the epoch is chosen in the main cells.
        records, ranks: what was measured.
        published: the paper's numbers.
        grid: the cells that the page shows.
    """

    table: str
    mode: str
    select: str
    records: Sequence[Record]
    ranks: Ranks
    published: Any
    grid: list[Cell] = field(default_factory=list)

    def rows(self, variant: str = "", select: str | None = None) -> list[dict[str, Any]]:
        """Rows as ``replication.compare.rows`` has them, of the main cells or of a variant."""
        grid, metrics = self._cells(variant, select), TABLES[self.table].metrics(variant)
        return rows(grid, self.records, self.ranks, self.published, metrics, variant)

    def runs(self, select: str | None = None, variant: str = "") -> list[Record]:
        """The records that count in the cells of the page."""
        grid = self._cells(variant, select)
        return [r for _, found in cells(grid, self.records) for r in found.values()]

    def _cells(self, variant: str, select: str | None) -> list[Cell]:
        """The page's own cells, or those of a variant at the same places."""
        if not variant and select in (None, self.select):
            return self.grid
        shown = {_place(cell) for cell in self.grid}
        grid = TABLES[self.table].grid(select or self.select, variant)
        return [c for c in grid if _place(c) in shown]

    def effects(
        self,
        variant: str = "",
        select: str | None = None,
        metrics: Sequence[str] = METRICS[:2],
        against: str | None = None,
    ) -> list[Effect]:
        """What a variant, or another way to select, does to each model of the main cells.

        ``against``: the row whose main cells it is compared with, in place of the model's own.
        """
        main = {_place(cell): runs for cell, runs in cells(self.grid, self.records)}
        found = []
        for cell, changed in cells(self._cells(variant, select), self.records):
            plain = main.get((against or cell.row, cell.dataset, cell.protocol), {})
            seeds = sorted(plain.keys() & changed.keys())
            if not variant and (cell.select == "none" or not seeds):
                continue  # MostPop has nothing to select
            for metric in metrics:
                test = before = after = None
                if seeds:
                    # A model without a seed has one main run, which stands beside every other.
                    of_main, of_variant = (
                        ([0], sorted(changed)) if cell.select == "none" else (seeds, seeds)
                    )
                    old = self._values(plain, of_main, metric)
                    new = self._values(changed, of_variant, metric)
                    test = paired_test(new, old)
                    after, before = float(new.mean()), float(old.mean())
                found.append(Effect(*_place(cell), metric, before, after, test))
        return found

    def _values(self, runs: Mapping[int, Record], seeds: Sequence[int], metric: str) -> Floats:
        """[S, U] per-user values of some seeds of a cell."""
        ranks = [ranks_of(runs[seed], self.ranks, metric) for seed in seeds]
        known = [array for array in ranks if array is not None]
        if len(known) < len(ranks):
            keys = ", ".join(runs[s]["key"] for s, r in zip(seeds, ranks, strict=True) if r is None)
            raise ReplicationError(f"the records {keys} have no stored ranks; run them again")
        return per_user_values(known, metric)


def _place(cell: Cell) -> tuple[str, str, str]:
    return cell.row, cell.dataset, cell.protocol


@dataclass(frozen=True)
class Effect:
    """One model with and without a change; ``test`` is None where runs are missing."""

    row: str
    dataset: str
    protocol: str
    metric: str
    before: float | None
    after: float | None
    test: PairedTest | None

    @property
    def sentence(self) -> str:
        """The effect in words; "pending" where runs are missing."""
        where = f"{self.metric} of {self.row} on {self.dataset} ({self.protocol})"
        if self.test is None:
            return f"{where}: pending"
        low, high = self.test.ci_low, self.test.ci_high
        sure = "lower" if high < 0 else "higher" if low > 0 else "no difference established"
        runs = "1 run" if self.test.n_seeds == 1 else f"{self.test.n_seeds} seeds"
        return (
            f"{where} goes from {number(self.before)} to {number(self.after)}, "
            f"{number(self.test.difference, signed=True)} "
            f"{interval(low, high, signed=True)}, {runs}: {sure}"
        )


def effect_table(effects: Sequence[Effect], main: str = "main") -> pd.DataFrame:
    """Effects as strings, one line a model and metric; ``main``: head of what is compared with."""
    lines = [
        {
            "model": e.row,
            "data set": e.dataset,
            "protocol": e.protocol,
            "metric": e.metric,
            main: number(e.before),
            "variant": number(e.after),
            "difference [95 %]": "pending"
            if e.test is None
            else f"{number(e.test.difference, signed=True)} "
            f"{interval(e.test.ci_low, e.test.ci_high, signed=True)}",
            "seeds": "–" if e.test is None else str(e.test.n_seeds),
        }
        for e in effects
    ]
    columns = ["data set", "protocol", "metric", main, "variant", "difference [95 %]", "seeds"]
    return pd.DataFrame(lines, columns=["model", *columns], dtype=str).set_index("model")


def measured_effects(effects: Sequence[Effect]) -> tuple[list[Effect], str]:
    """The effects with runs on both sides, and a sentence on the models that wait for theirs."""
    ready = [effect for effect in effects if effect.test is not None]
    waiting: dict[str, list[str]] = {}
    for e in effects:
        if e.test is None and e.row not in waiting.setdefault(e.dataset, []):
            waiting[e.dataset].append(e.row)
    told = "; ".join(f"{', '.join(rows)} on `{dataset}`" for dataset, rows in waiting.items())
    return ready, f"Pending: {told}." if told else ""


def first_sentence(effects: Sequence[Effect]) -> str:
    """The effect on the first model that has runs, for a sentence elsewhere in the book."""
    ready = [effect for effect in effects if effect.test is not None]
    return ready[0].sentence if ready else "pending"


def readable(
    table: Sequence[Mapping[str, Any]],
    dataset: str,
    protocol: str,
    metrics: Sequence[str] = METRICS[:2],
) -> pd.DataFrame:
    """One data set and protocol for readers: ours, the paper's below, the difference below that.

    A model without runs has its published line only; ``gaps`` says why.
    """
    frame = page_table(table, dataset, protocol, metrics)
    chosen = [r for r in table if (r["dataset"], r["protocol"]) == (dataset, protocol)]
    short = {r["row"]: r["status"].split(":")[0] for r in chosen if not r["n"]}
    for model, status in short.items():
        if (model, "published") in frame.index:
            frame = frame.drop((model, "measured"))
            frame.loc[(model, "published"), "status"] = status
        else:
            frame.loc[(model, "measured"), "status"] = status
    return frame.rename(columns={"status": "runs"})


def gaps(table: Sequence[Mapping[str, Any]], dataset: str, protocol: str) -> str:
    """Why cells of one data set and protocol are empty, in one sentence a reason; never empty."""
    reasons: dict[str, list[str]] = {}
    for r in table:
        if (r["dataset"], r["protocol"]) == (dataset, protocol) and r["status"] != "complete":
            models = reasons.setdefault(r["status"], [])
            models += [r["row"]] if r["row"] not in models else []
    texts = [f"*{', '.join(models)}*: {status}." for status, models in reasons.items()]
    return "  \n".join(texts or [COMPLETE])


def dots(table: Sequence[Mapping[str, Any]], metric: str) -> Figure:
    """Figure: measured means with intervals beside published values, one panel a data set."""
    some = [r for r in table if r["metric"] == metric and r["n"]]
    labels = list(dict.fromkeys(r["row"] for r in some))
    panels: dict[str, dict[str, dict[str, Interval]]] = {}
    printed: dict[str, dict[str, float]] = {}
    for r in some:
        series = panels.setdefault(r["dataset"], {}).setdefault(r["protocol"], {})
        series[r["row"]] = Interval(r["mean"], r["ci_low"], r["ci_high"])
        if r["published"] is not None:
            printed.setdefault(r["dataset"], {})[r["row"]] = r["published"]
    units = {
        "HR": " (share of users)",
        "Hellinger": " (0 alike, 1 nothing shared)",
        "RMSE": " (stars)",
        "MAE": " (stars)",
    }
    return intervals(panels, printed, labels, metric + units.get(metric.split("@")[0], ""))


# --- folds -----------------------------------------------------------------------------------


class ByFold(dict[int, float]):
    """Numbers by fold, and ``share``: n_test/n_train of the runs behind them, if they say."""

    def __init__(self, values: Mapping[int, float], share: float | None = None) -> None:
        super().__init__(values)
        self.share = share


def errors(runs: Runs, metric: str = "RMSE") -> ByFold:
    """A metric by fold, where the run has it."""
    own = {fold: run for fold, run in runs.items() if metric in run["metrics"]}
    values = {fold: run["metrics"][metric] for fold, run in own.items()}
    return ByFold(values, overlap_share(own.values()))


def over_these_folds(values: Mapping[int, float], protocol: str) -> Interval:
    """The mean over folds with its interval, which one fold has not (see ``fold_test``)."""
    numbers = list(values.values())
    mean = float(np.mean(numbers))
    if len(numbers) < 2:
        return Interval(mean, None, None)
    share = larger_share(values)
    test = fold_test(numbers, n_splits=n_splits(protocol), share=share)
    return Interval(mean, test.ci_low, test.ci_high)


def over_folds(a: Mapping[int, float], b: Mapping[int, float], protocol: str) -> FoldTest | None:
    """a minus b over their common folds; None for fewer than two.

    Of two ``ByFold`` the larger share corrects for the overlap of the folds.
    """
    common = sorted(a.keys() & b.keys())
    if len(common) < 2:
        return None
    delta = [a[fold] - b[fold] for fold in common]
    return fold_test(delta, n_splits=n_splits(protocol), share=larger_share(a, b))


def larger_share(*numbers: Mapping[int, float]) -> float | None:
    """The largest ``share`` of numbers by fold; None where none has one."""
    shares = (x.share for x in numbers if isinstance(x, ByFold))
    return max((share for share in shares if share is not None), default=None)


def opening(asked: str, found: str, details: Iterable[str] = ()) -> str:
    """How a page begins, as Markdown: what was asked, what was found, and the numbers behind it.

    Args:
        asked: one question.
        found: one sentence that answers it; a reader who stops here must not be misled.
        details: what ``found`` rests on and leaves out, one fact each; empty ones are left out.
    """
    listed = "\n".join(f"- {detail}" for detail in details if detail)
    return "\n\n".join(filter(None, [f"**Asked.** {asked}", f"**Found.** {found}", listed]))


def two_sentences(text: str) -> str:
    """An ``opening`` without its details."""
    return "\n\n".join(text.split("\n\n")[:2])


def enumeration(names: Sequence[str]) -> str:
    """Names in a sentence: "a", "a and b", "a, b and c"; "" for none."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def range_text(values: Sequence[int]) -> str:
    """ "3–5", or "3" where all agree."""
    low, high = min(values), max(values)
    return f"{low}–{high}" if low < high else str(low)


def difference_text(test: FoldTest | PairedTest | None) -> str:
    """A difference with its interval; "pending" for none."""
    if test is None:
        return "pending"
    return f"{number(test.difference, signed=True)} {interval(test.ci_low, test.ci_high, True)}"


def as_sentence(text: str) -> str:
    """A clause that other pages quote, as a sentence of its own; ``PENDING`` for "pending"."""
    return PENDING if text == "pending" else f"{text[:1].upper()}{text[1:]}."


def mean_sd(values: Sequence[float]) -> str:
    """The mean, with the standard deviation of two values or more; "pending" for none."""
    if not values:
        return "pending"
    sd = f" ± {number(float(np.std(values, ddof=1)))}" if len(values) > 1 else ""
    return f"{number(float(np.mean(values)))}{sd}"


# --- statistics of data sets -----------------------------------------------------------------


def with_digits(value: float | None, places: int, signed: bool = False) -> str:
    """A statistic with so many digits after the point; a dash for None, never a negative zero."""
    if value is None:
        return "–"
    rounded = round(value, places) + 0.0
    return f"{rounded:+,.{places}f}" if signed else f"{rounded:,.{places}f}"


def cut_to(value: float, places: int) -> float:
    """A number without its digits after so many places: 158.66 becomes 158.6."""
    # What is whole but for its last bit (0.29 * 100 is 28.999...) must not lose a digit.
    return math.trunc(round(value * 10**places, 6)) / 10**places


def agrees(row: Mapping[str, Any], places: int, cut: bool = False) -> bool:
    """Whether a measured statistic, rounded (or cut) as printed, is the printed one."""
    value = row["mean"]
    measured = cut_to(value, places) if cut and value is not None else value
    return with_digits(measured, places) == with_digits(row["published"], places)


def statistics_table(
    table: Sequence[Mapping[str, Any]],
    digits: Mapping[str, int],
    names: Mapping[str, str],
    cut: bool = False,
) -> pd.DataFrame:
    """Statistics as strings: measured above published above the difference, a column a data set.

    Args:
        table: rows as from ``Study.rows``.
        digits: statistic -> digits after the point, in the order of the table.
        names: data set -> head of its column.
        cut: cut the measured digits after those of the table, in place of rounding.
    """
    if cut:
        table = [
            r if r["mean"] is None else {**r, "mean": cut_to(r["mean"], digits[r["metric"]])}
            for r in table
        ]
    found = {(r["dataset"], r["metric"]): r for r in table}
    sets = list(dict.fromkeys(dataset for dataset, _ in found))
    index, lines = [], []
    for metric, places in digits.items():
        own = [found[dataset, metric] for dataset in sets]
        index += [(metric, kind) for kind in ("measured", "published", "difference")]
        lines.append([with_digits(r["mean"], places) for r in own])
        lines.append([with_digits(r["published"], places) for r in own])
        lines.append([_gap(r, places) for r in own])
    return pd.DataFrame(
        lines,
        columns=[names[dataset] for dataset in sets],
        index=pd.MultiIndex.from_tuples(index, names=["statistic", ""]),
    )


def _gap(row: Mapping[str, Any], places: int) -> str:
    """Measured minus published; 0 where they agree to the printed digit."""
    if row["mean"] is None or row["published"] is None:
        return "–"
    if agrees(row, places):
        return "0"
    return with_digits(row["mean"] - row["published"], places, signed=True)


def statistics_gaps(table: Sequence[Mapping[str, Any]]) -> str:
    """Why some data sets have no measured statistics, a line a reason; never empty."""
    reasons: dict[str, list[str]] = {}
    for row in table:
        if row["mean"] is None:
            names = reasons.setdefault(row["status"], [])
            names += [] if row["row"] in names else [row["row"]]
    texts = [f"*{', '.join(names)}*: {status}." for status, names in reasons.items()]
    return "  \n".join(texts or [COMPLETE])


def sources(study: Study) -> str:
    """Which copy of the data each record comes from."""
    texts = dict.fromkeys(f"*{r['row']}*: {r['data_source']}" for r in study.records)
    return f"Files: {'; '.join(texts)}." if texts else PENDING


def stored_table(table: str) -> Study:
    """The committed records of a table, for a text outside a notebook."""
    return open_table(table, {}, known=[])


def open_table(
    table: str,
    namespace: Mapping[str, Any],
    known: Sequence[str],
    progress: bool = True,
) -> Study:
    """Check a notebook's parameters and get its records, retraining them if ``mode`` says so.

    Args:
        table: "<paper>/<table>".
        namespace: the notebook's ``globals()``.
        known: names of the notebook's parameters.
        progress: show a bar while training (silent where TQDM_DISABLE is set).

    Raises:
        ReplicationError: a parameter that the notebook does not have, or a value that it may
            not take.
    """
    tables.use()  # data frames whole, and readable on a phone
    check_names(namespace, known)
    given = {name: namespace[name] for name in known}
    paper = paper_of(table)
    grid_of = paper.experiments
    mode, select = given.get("mode", "stored"), given.get("select", grid_of.SELECTS[0])
    if mode not in MODES:
        raise ReplicationError(f"unknown mode {mode!r}; use one of {', '.join(MODES)}")
    if mode != "stored" and "device" not in known:
        raise ReplicationError(f"this page only shows stored records; mode {mode!r} is not for it")
    if select not in grid_of.SELECTS:
        known_selects = ", ".join(grid_of.SELECTS)
        raise ReplicationError(f"unknown select {select!r}; use one of {known_selects}")
    resolve_device(given.get("device", "auto"))
    dataset, protocol = given.get("dataset"), given.get("protocol")
    model = paper.model_of(given)
    seeds = whole_number("seeds", given.get("seeds"))
    models = [model] if model else None
    if mode == "quick":
        quick = paper.QUICK
        dataset, protocol = dataset or quick.dataset, protocol or quick.protocol
        seeds, models = seeds or quick.seeds, models or list(quick.models)
    known_datasets = paper.RUNNABLE if mode != "stored" else tuple(grid_of.DATASETS)
    if dataset is not None and dataset not in known_datasets:
        raise ReplicationError(
            f"unknown dataset {dataset!r}; this page can run {', '.join(known_datasets)}"
        )
    protocols = tuple(dict.fromkeys(p for names in grid_of.PROTOCOLS.values() for p in names))
    if protocol is not None and protocol not in protocols:
        raise ReplicationError(f"unknown protocol {protocol!r}; use one of {', '.join(protocols)}")
    published = load_published(table.split("/")[0])
    row = None if model is None else grid_of.row_name(model)
    everything = TABLES[table].grid(select, "")
    grid = [
        cell
        for cell in everything
        if (dataset is None or cell.dataset == dataset)
        and (protocol is None or cell.protocol == protocol)
        and (row is None or cell.row in (row, *paper.REFERENCES))
    ]
    if mode == "stored":
        if not grid or (row is not None and row not in {cell.row for cell in grid}):
            wanted = ", ".join(str(name) for name in (row, dataset, protocol) if name is not None)
            others = "; mode 'full' can run it" if grid else ""
            raise ReplicationError(f"{table} has no cell of {wanted}{others}")
        if seeds is not None:
            grid = [c if c.select == "none" else replace(c, seeds_required=seeds) for c in grid]
        store = Store(table)
        records = TABLES[table].derive(store.load())
        return Study(
            table, mode, select, records, store.ranks(r["key"] for r in records), published, grid
        )
    if mode == "quick" and model is None:  # the case is of several tables
        models = [name for name in models or [] if grid_of.row_name(name) in
                  {cell.row for cell in everything}]  # fmt: skip
    jobs = paper.plan(
        Part(
            table,
            select,
            [dataset] if dataset else None,
            models,
            [protocol] if protocol else None,
            seeds=seeds,
        )
    )
    with tempfile.TemporaryDirectory(prefix="replication-") as scratch:
        # full: kept beside the data, so that an interrupted rerun goes on; quick: always anew.
        store = Store(
            table, paths.DATA / "reruns" / source_hash() if mode == "full" else Path(scratch)
        )
        ran: dict[tuple[str, str, str], set[int]] = {}
        _report(f"0 of {len(jobs)} runs")
        done = paper.execute(jobs, given.get("device", "auto"), store, progress)
        for count, (job, record, _) in enumerate(done, 1):
            place = (record["dataset"], record["protocol"], record["row"])
            ran.setdefault(place, set()).add(record["seed"])
            _report(f"{count} of {len(jobs)} runs, the last {job.label}")
        records = TABLES[table].derive(store.load())
        ranks = store.ranks(r["key"] for r in records)
    grid = [
        replace(cell, seeds_required=len(ran[cell.dataset, cell.protocol, cell.row]))
        for cell in _with_rows(everything, ran)
    ]
    return Study(table, mode, select, records, ranks, published, grid)


def _report(line: str) -> None:
    """Tell ``replication.notebooks``, where it executes the page, how far a retraining is."""
    file = os.environ.get("REPLICATION_PROGRESS")
    if file:
        with open(file, "a", encoding="utf-8") as out:
            out.write(line + "\n")


def _with_rows(grid: Sequence[Cell], ran: Iterable[tuple[str, str, str]]) -> list[Cell]:
    """The cells that were run; a model or data set that the table does not have gets its own."""
    there = {(c.dataset, c.protocol, c.row): c for c in grid}
    by_row = {c.row: c for c in grid}
    pattern = next((c for c in grid if c.select != "none"), grid[0])
    return [
        there.get(place)
        or replace(
            by_row.get(place[2], pattern), dataset=place[0], protocol=place[1], row=place[2],
            unavailable=None, pending=None,
        )
        for place in ran
    ]  # fmt: skip


def check_names(namespace: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raise ReplicationError if a notebook was given a parameter that it does not have."""
    names = {name for name in namespace if not name.startswith("_")}
    unknown = sorted(names - set(known) - _IN_EVERY_KERNEL)
    if unknown:
        raise ReplicationError(
            f"unknown parameter {', '.join(unknown)}; this notebook takes {', '.join(known)} "
            "(to run its cells once more, restart its kernel)"
        )


def recorded(paper: str) -> list[Record]:
    """All committed records that a paper's tables are made of."""
    tables = PAPERS[paper].TABLES.items()
    return [record for name, table in tables for record in table.derive(Store(name).load())]


def _distinct(records: Sequence[Record]) -> list[Record]:
    """Each run once: that of a model without features may count for two sets of features."""
    found: dict[str, Record] = {}
    for record in records:
        found.setdefault(record["key"], record)
    return list(found.values())


def failed(records: Sequence[Record]) -> str:
    """Which runs have no numbers, and why, in one sentence; "" where all have."""
    lost = _distinct([record for record in records if "failed" in record])
    if not lost:
        return ""
    one = len(lost) == 1
    kind = (
        "1 run has no numbers and counts" if one else f"{len(lost)} runs have no numbers and count"
    )
    names = []
    for record in lost:
        variant = f" ({record['variant']})" if record["variant"] else ""
        where = f"{record['row']} on `{record['dataset']}`{variant}, number {record['seed']}"
        names.append(f"{where}: {record['failed']}")
    return f"{kind} as missing. {'; '.join(names)}."


def made_by(records: Sequence[Record]) -> str:
    """One sentence under a table: machines, devices, versions, code, time and cost of its runs."""
    if not records:
        return "No runs are recorded yet."
    records = _distinct(records)

    def several(values: Sequence[str]) -> str:
        return " and ".join(dict.fromkeys(sorted(values)))

    versions = several(
        [", ".join(f"{k} {v}" for k, v in sorted(r["versions"].items())) for r in records]
    )
    machines = several(
        [
            f"{'; '.join([r['machine'], *filter(None, [r.get('processor')])])} "
            f"({r.get('device', 'cpu')})"
            for r in records
        ]
    )
    days = sorted(r["time"][:10] for r in records)
    timed = [r["seconds"] for r in records if "seconds" in r]
    seconds = sum(timed)
    when = days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
    cost = f"{seconds:.0f} seconds"
    if seconds >= 120:
        cost = f"{seconds / 60:.0f} minutes" if seconds < 3600 else f"{seconds / 3600:.1f} hours"
    partly = "in all" if len(timed) == len(records) else f"in the {len(timed)} that hold a time"
    computed = f"; {cost} of computing {partly}" if seconds else ""
    sources = {r["source"] for r in records}
    code = f"code {several(sorted(sources))}"
    if len(sources) > 3:  # the records have them all
        last = max(records, key=lambda r: r["time"])["source"]
        code = f"{len(sources)} versions of the code, the last {last}"
    return (
        f"{len(records)} {'run' if len(records) == 1 else 'runs'} on {machines}; {versions}; "
        f"{code}; {when}{computed}."
    )


def two_digits(value: float) -> str:
    """A number of no more than two significant digits, in full: 0.035, 4.9, 12, 1234."""
    return f"{value:.2g}" if value < 9.95 else f"{value:.0f}"
