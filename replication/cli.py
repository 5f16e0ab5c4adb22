"""The command line: ``python -m replication`` and one of the commands below."""

from __future__ import annotations

import argparse
import os
import platform
import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from replication import pack, paths
from replication.compare import load_published, render, rows
from replication.data import DATASETS as LOADERS
from replication.data import Interactions, load
from replication.errors import ReplicationError
from replication.metrics.ranking import NO_RANK
from replication.papers.common import Part, check_known
from replication.papers.registry import FIRST, PAPERS, TABLES, paper_of
from replication.records import Record, Store, provenance, record_key, source_hash
from replication.training import resolve_device

Command = Callable[[argparse.Namespace], int]
FORMATS = ("md", "json", "csv", "html")
# How far a rerun may be from its record: nothing on the same kind of machine with the same
# versions; elsewhere sums are taken in another order and training drifts apart.
TOLERANCE_ELSEWHERE = 0.03


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 0 if it went well, 1 with one sentence on stderr if not, 130 on Ctrl-C."""
    arguments = _parser().parse_args(argv)
    try:
        status = arguments.command(arguments)
        sys.stdout.flush()  # here, where a full disk or a reader that has left is one sentence
        return status
    except ReplicationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "error: interrupted; finished runs are stored, and the same command resumes the rest",
            file=sys.stderr,
        )
        return 130
    except BrokenPipeError:  # the reader of a pipe has left
        _drop_output()
        return 0
    except OSError as error:  # a full disk, a folder that may not be written
        where = f": {error.filename}" if error.filename else ""
        print(f"error: {error.strerror or error}{where}", file=sys.stderr)
        _drop_output()
        return 1


def _drop_output() -> None:
    """Let the interpreter end in silence where standard output takes nothing more."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m replication",
        description="Rerun, check and print the tables of the study.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function: Command, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(command=function)
        return added

    command("list", _list, "tables, models, data sets and how many of their runs are stored")

    data = command("data", _data, "get and verify data sets")
    data.add_argument("names", nargs="*", help="data sets (default: those of the tables so far)")
    data.add_argument(
        "--keep-going", action="store_true", help="a data set that cannot be had is no failure"
    )

    run = command("run", _run, "run what is not stored yet of a table")
    run.add_argument("table", help=f"one of {', '.join(TABLES)}")
    run.add_argument("--dataset", action="append", help="data set (default: all); repeatable")
    run.add_argument("--model", action="append", help="model, e.g. amp-2 (default: all)")
    run.add_argument("--protocol", action="append", help="protocol (default: all of the data set)")
    run.add_argument("--select", help="how the epoch is chosen (default: the table's own)")
    run.add_argument("--variant", default="", help="a named variant (see `list`)")
    run.add_argument("--seeds", type=_positive, help="how many, from seed 0 (default: the grid's)")
    run.add_argument("--device", default="auto", help="auto, cpu or cuda")

    tune = command("tune", _tune, "run the search trials of a model on a data set")
    tune.add_argument("table", choices=[name for paper in PAPERS.values() for name in paper.TUNED])
    tune.add_argument("--dataset", required=True)
    tune.add_argument("--model", required=True)
    tune.add_argument("--device", default="auto", help="auto, cpu or cuda")

    table = command(
        "table",
        _table,
        "print a table: measured beside published. ci_low and ci_high are a 95 %% bootstrap "
        "interval over users and seeds together",
    )
    table.add_argument("table", help=f"one of {', '.join(TABLES)}")
    table.add_argument("--format", default="md", choices=FORMATS)
    table.add_argument("--select", help="how the epoch is chosen (default: the table's own)")
    table.add_argument("--variant", default="", help="a named variant (see `list`)")

    audit = command("audit", _audit, "rerun stored records picked at random and compare")
    audit.add_argument("table", nargs="?", default=FIRST)
    audit.add_argument("--n", type=_positive, default=3, help="how many records (default 3)")
    audit.add_argument("--seed", type=int, help="of the random choice (default: a new one)")
    audit.add_argument("--dataset", action="append", help="only records of these data sets")
    audit.add_argument("--model", action="append", help="only records of these models")
    audit.add_argument("--device", default="cpu", help="auto, cpu or cuda")

    merge = command("merge", _merge, "add the records of another results folder to this one")
    merge.add_argument("folder", help="a results folder, for instance from another machine")

    packed = command(
        "pack", _pack, "write a folder that runs the pending cells on a machine with a GPU"
    )
    packed.add_argument("folder", help="a new or empty folder")
    packed.add_argument("--table", action="append", help=f"{' or '.join(pack.TABLES)}; repeatable")
    packed.add_argument("--dataset", action="append", help="data set (default: all); repeatable")
    packed.add_argument("--model", action="append", help="model (default: all); repeatable")

    work = command("work", _work, "run the jobs of a packed folder; its run.py calls this")
    work.add_argument("jobs", help=f"the folder's {pack.JOBS}")
    work.add_argument("--device", default="auto", help="auto, cpu or cuda")

    command("doctor", _doctor, "what this machine has and lacks, and what to do about it")
    return parser


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return value


# --- list, data, doctor ------------------------------------------------------------------------


def _list(arguments: argparse.Namespace) -> int:
    print(f"tables    {', '.join(TABLES)}")
    for name, paper in PAPERS.items():
        grid = paper.experiments
        print(f"\n{name}\ndata sets")
        for dataset, protocols in grid.PROTOCOLS.items():
            print(f"  {dataset}: {', '.join(protocols)}")
        for dataset, text in getattr(grid, "BROUGHT", {}).items():
            print(f"  {dataset}: {text}, for readers who have it; on no page")
        print("models    " + ", ".join(f"{key} ({row})" for key, row in grid.MODELS.items()))
        print(f"selects   {', '.join(grid.SELECTS)}")
        print("variants")
        for variant, spec in grid.VARIANTS.items():
            print(f"  {variant}: {spec.text}")
        for table in paper.TUNED:
            records = Store(table).load()
            names = ("dataset", "protocol", "variant", "row")
            stored = Counter(tuple(r[n] or "main" for n in names) for r in records)
            print(f"stored runs of {table}")
            for place, count in sorted(stored.items()):
                print(f"  {' '.join(place)}: {count}")
    return 0


def _data(arguments: argparse.Namespace) -> int:
    from data_scripts import fetch  # not part of the training core

    return fetch.main([*arguments.names, *(["--optional"] if arguments.keep_going else [])])


def _doctor(arguments: argparse.Namespace) -> int:
    print(f"python    {platform.python_version()} on {platform.platform()}")
    for name in ("torch", "numpy", "pandas", "pyarrow", "scikit-learn"):
        print(f"{name:<9} {version(name)}")
    print(f"cores     {os.cpu_count()}, torch uses {torch.get_num_threads()} threads")
    if torch.cuda.is_available():
        print(f"cuda      {torch.cuda.get_device_name()}")
    else:
        print("cuda      none: runs use the CPU")
    for extra, package in (("book", "jupyter-book"), ("test", "pytest")):
        try:
            print(f"[{extra}]{'':<{8 - len(extra)}}{package} {version(package)}")
        except PackageNotFoundError:
            print(f"[{extra}]{'':<{8 - len(extra)}}missing: pip install -e .[{extra}]")
    for paper in PAPERS.values():
        for table in paper.TUNED:
            try:
                stored = f"{len(Store(table).load())} runs of {table}"
            except ReplicationError as error:
                stored = f"broken: {error}"
            print(f"results   {paths.RESULTS}: {stored}")
    print(f"code      {source_hash()}")
    for name in LOADERS:
        try:
            data = load(name)
            print(f"data      {name}: {len(data)} ratings, {data.source}")
        except ReplicationError as error:
            print(f"data      {name}: missing: {error}")
    for paper in PAPERS.values():
        for name, (text, get) in paper.ALSO_NEEDED.items():
            try:
                get()
                print(f"data      {name}: {text}")
            except ReplicationError as error:
                print(f"data      {name}: missing: {error}")
    return 0


# --- run, tune ---------------------------------------------------------------------------------


def _run(arguments: argparse.Namespace) -> int:
    table = arguments.table
    paper = paper_of(table)
    grid = paper.experiments
    own = TABLES[table].run
    if own is None:  # else the table has data sets of its own
        _check_datasets(grid, arguments.dataset)
    select = arguments.select or grid.SELECTS[0]
    check_known("select", [select], grid.SELECTS)
    resolve_device(arguments.device)
    datasets, models, seeds = arguments.dataset, arguments.model, arguments.seeds
    if own is None:
        part = Part(table, select, datasets, models, arguments.protocol, arguments.variant, seeds)
        found = paper.run(part, arguments.device)
    elif arguments.protocol or arguments.variant or select != grid.SELECTS[0]:
        raise ReplicationError(f"{table} takes no --protocol, --variant or --select")
    else:
        found = own(datasets, models, seeds, arguments.device)
    for label, record, new in found:
        print(f"{label}: {_metrics(record, new)}", flush=True)
    return 0


def _check_datasets(grid: Any, names: Sequence[str] | None) -> None:
    """Raise ReplicationError for a data set that a paper neither has nor lets readers bring."""
    check_known("data set", names, [*grid.DATASETS, *getattr(grid, "BROUGHT", ())])


def _metrics(record: Record, new: bool) -> str:
    found = ", ".join(f"{k} {v:.4f}" for k, v in record["metrics"].items())
    found = found or record.get("failed", "")
    return f"{found} ({'run' if new else 'stored'})"


def _tune(arguments: argparse.Namespace) -> int:
    paper = paper_of(arguments.table)
    grid, metric = paper.experiments, paper.TUNED[arguments.table]
    _check_datasets(grid, [arguments.dataset])
    found = {}
    for trial, record, new in grid.tune(arguments.model, arguments.dataset, arguments.device):
        value = found[trial] = record["metrics"][metric]
        print(
            f"trial {trial}: validation {metric} {value:.4f} ({'run' if new else 'stored'})",
            flush=True,
        )
    better = min if metric == "RMSE" else max  # of equals the first trial
    best = better(found, key=lambda trial: found[trial])
    print(f"best: trial {best}, validation {metric} {found[best]:.4f}")
    return 0


def _merge(arguments: argparse.Namespace) -> int:
    folder = Path(arguments.folder)
    found = sorted(folder.glob("*/*.jsonl"))
    if not found:
        raise ReplicationError(f"{folder} holds no records (<paper>/<table>.jsonl)")
    for file in found:
        table = file.relative_to(folder).with_suffix("").as_posix()
        added = Store(table).merge(Store(table, folder))
        print(f"{table}: {added} records added", flush=True)
    return 0


def _pack(arguments: argparse.Namespace) -> int:
    folder = Path(arguments.folder)
    jobs = pack.pending(arguments.table, arguments.dataset, arguments.model)
    pack.pack(folder, jobs)
    count = Counter(job.kind for job in jobs)
    print(f"{folder}: " + ", ".join(f"{count[kind]} {kind}" for kind in pack.KINDS))
    print(f"there:  REPLICATION_DATA=DATA python {folder / pack.SCRIPT}")
    print(f"here:   python -m replication merge {folder / 'results'}")
    return 0


def _work(arguments: argparse.Namespace) -> int:
    jobs = pack.read(Path(arguments.jobs))
    resolve_device(arguments.device)
    left = 0
    for done, (job, found, new) in enumerate(pack.work(jobs, arguments.device), 1):
        if isinstance(found, str):
            left += 1
            text = f"left: {found}"
        else:
            text = _metrics(found, new)
        print(f"{done} of {len(jobs)}: {pack.label(job)}: {text}", flush=True)
    if left:
        raise ReplicationError(f"{left} of {len(jobs)} jobs were left; the reasons stand above")
    return 0


# --- table, audit ------------------------------------------------------------------------------


def _table(arguments: argparse.Namespace) -> int:
    table = arguments.table
    paper = paper_of(table)
    select = arguments.select or paper.SELECTS[0]
    check_known("select", [select], paper.SELECTS)
    variants = paper.experiments.VARIANTS
    check_known("variant", [arguments.variant] if arguments.variant else [], variants)
    text = render(table_rows(table, select, arguments.variant), arguments.format)
    print(text.rstrip("\n"))
    return 0


def table_rows(table: str, select: str = "validation", variant: str = "") -> list[Record]:
    """The rows of a table as the JSON contract has them, from the committed records."""
    store, known = Store(table), TABLES[table]
    records = known.derive(store.load())
    ranks = store.ranks([r["key"] for r in records])
    published = load_published(table.split("/")[0])
    grid, metrics = known.grid(select, variant), known.metrics(variant)
    return rows(grid, records, ranks, published, metrics, variant)


def _audit(arguments: argparse.Namespace) -> int:
    table, datasets = arguments.table, arguments.dataset
    paper = paper_of(table).experiments
    _check_datasets(paper, datasets)
    models = [paper.row_name(model) for model in arguments.model or []]
    resolve_device(arguments.device)
    store = Store(table)
    wanted = [
        record
        for record in store.load()
        if (not datasets or record["dataset"] in datasets)
        and (not models or record["row"] in models)
    ]
    if not wanted:
        raise ReplicationError(f"no stored record of {table} matches; nothing to audit")
    picker = random.Random(arguments.seed)
    mismatches = 0
    for record in picker.sample(wanted, min(arguments.n, len(wanted))):
        here = _data_of(record)
        # Another copy of the data, such as ratings with all their times: no mismatch. The same
        # copy with other content is one.
        other_copy = here.source != record.get("data_source")
        if other_copy and here.content_hash != record["data_hash"]:
            print(
                f"skipped: {record['row']} on {record['dataset']}: made from "
                f"{record['data_source']}, and here is {here.source}",
                flush=True,
            )
            continue
        name = f"{record['row']} on {record['dataset']}, {record['protocol']}"
        name += f", {record['variant'] or 'main'}, {record['select']}, seed {record['seed']}"
        matches, text = audit_record(record, store, arguments.device)
        mismatches += not matches
        print(f"{'same' if matches else 'DIFFERENT'}: {name}: {text}", flush=True)
    if mismatches:
        raise ReplicationError(f"{mismatches} records did not come out again")
    return 0


def _data_of(record: Record) -> Interactions:
    """The data that a record was made from, as they are here."""
    table = record["table"]
    data = TABLES[table].data or paper_of(table).experiments.data_for
    return data(record["dataset"], record["protocol"])


def audit_record(record: Record, store: Store, device: str = "cpu") -> tuple[bool, str]:
    """Run a stored record again and say whether it comes out.

    On the machine type, processor, device and versions that made it the numbers must be the same
    to the bit; elsewhere within ``TOLERANCE_ELSEWHERE``. A record from before the processor was
    noted counts as made on this one. What is measured since it was made is counted and not
    compared: all that the record holds must come out again, and it may hold less.
    """
    if record["key"] != record_key(record):
        return False, "its key does not fit its content: the record was altered"
    here = _data_of(record)
    if here.content_hash != record["data_hash"]:
        return False, f"other content of the data: {here.content_hash} here ({here.source})"
    again, ranks = TABLES[record["table"]].rerun(record, resolve_device(device))
    now = provenance()
    then = {"processor": now["processor"]} | record
    place = ("versions", "machine", "processor")
    same_place = all(now[k] == then[k] for k in place) and again.get("device") == then.get("device")
    code = "same code" if now["source"] == record["source"] else "other code"
    added = again["metrics"].keys() - record["metrics"].keys()
    if record["metrics"].keys() - again["metrics"].keys():
        return False, f"other metrics: {', '.join(again['metrics'])} here"
    if added:
        code += f", {len(added)} metrics that it lacks"
    off = max((abs(again["metrics"][k] - v) for k, v in record["metrics"].items()), default=0.0)
    if not same_place:
        return off <= TOLERANCE_ELSEWHERE, f"largest difference {off:.4f}, other machine, {code}"
    stored = store.ranks([record["key"]]).get(record["key"])
    if stored is None and ranks is not None:
        return False, "its ranks are not stored"
    if isinstance(stored, tuple) and ranks is not None:
        if len(stored[0]) != len(ranks):
            return False, f"ranks of {len(ranks)} users here, of {len(stored[0])} then"
        moved = int((stored[0] != ranks).sum())
        users = int((stored[0] != NO_RANK).sum())
        return off == 0 and moved == 0, f"{moved} of {users} users' ranks differ, {code}"
    return off == 0, f"largest difference {off:.2g}, {code}"
