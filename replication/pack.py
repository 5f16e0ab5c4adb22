"""Pack the pending cells for another machine, and work them off there.

``pack`` writes a folder with the package, the records that the jobs build on, the jobs in the
order of the study, and ``run.py``. It holds no data set and no model, and it needs the training
core alone: a machine with a GPU, Python and its own torch installs nothing.

    python -m replication pack FOLDER           here
    REPLICATION_DATA=DATA python FOLDER/run.py  there, again after every interruption
    python -m replication merge FOLDER/results  here
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from replication import paths
from replication.compare import cells
from replication.errors import DataUnavailable, ReplicationError
from replication.papers.amp_cf import experiments, lists
from replication.papers.amp_cf.experiments import Run
from replication.papers.amp_cf.rows import row
from replication.records import Record, Store

TABLES = (experiments.TABLE2, lists.TABLE3)
KINDS = ("trials", "run", "lists")  # in the order in which one needs the other
# Data sets and protocols in the order in which the study runs them; what is not named comes last.
PLACES = (
    ("ml-latest-small", "loo-random"),
    ("ml-100k", "loo-random"),
    ("amazon-video-games", "loo-random"),
    ("ml-1m", "loo-random"),
    ("pinterest", "loo-random"),
)
SOURCES = ("replication", "data_scripts", "pyproject.toml", "requirements.lock")
JOBS, SCRIPT = "jobs.jsonl", "run.py"
RUN_PY = '''"""Work off jobs.jsonl: python run.py [--device cuda]; after a stop the same goes on.

The data sets are read from the folder that REPLICATION_DATA names (its raw/<data set>/), which
also takes unfinished runs and trained models; records go to results/ beside this file.
"""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
os.environ["REPLICATION_RESULTS"] = str(HERE / "results")  # tuned configurations are read there
sys.path.insert(0, str(HERE))

from replication import cli  # noqa: E402

sys.exit(cli.main(["work", str(HERE / "jobs.jsonl"), *sys.argv[1:]]))
'''


@dataclass(frozen=True)
class Job:
    """One piece of work.

    Attributes:
        kind: "trials" (all search trials of the model), "run" (a record of Table 2) or "lists"
            (of Table 3).
        dataset, protocol, model, seed, select, variant: as in ``experiments.Run``.
        data_hash: content of the data where the job was packed; None where they were not at hand.
    """

    kind: str
    dataset: str
    protocol: str
    model: str
    seed: int = 0
    select: str = "validation"
    variant: str = ""
    data_hash: str | None = None

    @property
    def run(self) -> Run:
        """The run that is packed, or whose lists are to be measured."""
        return Run(self.dataset, self.protocol, self.model, self.seed, self.select, self.variant)

    @property
    def label(self) -> str:
        """Short text for messages."""
        if self.kind == "trials":
            return f"trials of {experiments.row_name(self.model)} on {self.dataset}"
        return f"{'lists of ' if self.kind == 'lists' else ''}{self.run.label}"


# --- here: what is pending ---------------------------------------------------------------------


def pending(
    tables: Sequence[str] | None = None,
    datasets: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
) -> list[Job]:
    """The jobs that fill the cells of tables, variants of Table 2 included, in order.

    Only the rows of the tables count; None means all. By place as in ``PLACES``; there trials
    before runs before lists, and models that need three seeds only, which cost most, last.

    Raises:
        ReplicationError: a name that is not known.
    """
    for kind, names, known in (
        ("table", tables, TABLES),
        ("data set", datasets, list(experiments.DATASETS)),
        ("model", models, list(experiments.MODELS)),
    ):
        for name in names or ():
            if name not in known:
                raise ReplicationError(
                    f"{kind} {name!r} cannot be packed; known are {', '.join(known)}"
                )
    by_name = {name: model for model, name in experiments.MODELS.items()}
    variants = ["", *(v for v, spec in experiments.VARIANTS.items() if not spec.rides_along)]
    grids = {
        experiments.TABLE2: [c for v in variants for c in experiments.grid(variant=v)],
        lists.TABLE3: lists.grid(),
    }
    jobs, tuned = [], {}
    for table in tables or TABLES:
        kind = "run" if table == experiments.TABLE2 else "lists"
        for cell, runs in cells(grids[table], Store(table).load()):
            model = by_name.get(cell.row, cell.row.lower())  # "AMP-5" of a variant
            wanted = cell.dataset in (datasets or [cell.dataset]) and model in (models or [model])
            if cell.unavailable or not wanted:
                continue
            tuned[cell.row, cell.dataset] = model
            select = "validation" if cell.select == "none" else cell.select
            jobs += [
                Job(kind, cell.dataset, cell.protocol, model, seed, select, cell.variant)
                for seed in sorted(set(range(cell.seeds_required)) - set(runs))
            ]
    trials = Counter((r["row"], r["dataset"]) for r in Store(experiments.TUNING).load())
    jobs += [
        Job("trials", dataset, experiments.TUNING_PROTOCOL, model)
        for (name, dataset), model in tuned.items()
        if row(model).draw is not None and trials[name, dataset] < experiments.N_TRIALS
    ]
    return sorted(jobs, key=_order)


def _order(job: Job) -> tuple[int, ...]:
    place, models = (job.dataset, job.protocol), list(experiments.MODELS)
    return (
        PLACES.index(place) if place in PLACES else len(PLACES),
        KINDS.index(job.kind),
        job.variant != "",
        row(job.model).seeds < 5,
        list(experiments.DATASETS).index(job.dataset),
        models.index(job.model) if job.model in models else len(models),
        job.seed,
    )


# --- here: the folder --------------------------------------------------------------------------


def pack(folder: Path, jobs: Sequence[Job]) -> None:
    """Write the folder, whole or not at all.

    Raises:
        ReplicationError: nothing to pack, the folder holds something, or this is no git checkout.
    """
    if not jobs:
        raise ReplicationError("no cell is pending; there is nothing to pack")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ReplicationError(f"{folder} is there already; name a folder that is new or empty")
    source = _source()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".pack-", dir=folder.parent) as scratch:
        made = Path(scratch) / folder.name
        for name in source:
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(paths.ROOT / name, made / name)
        for table in (experiments.TUNING, *TABLES):
            stored, copy = Store(table).path, Store(table, made / "results").path
            copy.parent.mkdir(parents=True, exist_ok=True)
            if stored.exists():  # what single users got stays here: no job reads it
                shutil.copyfile(stored, copy)
        hashes = {place: _hash(*place) for place in dict.fromkeys(map(_place, jobs))}
        lines = [json.dumps(asdict(job) | {"data_hash": hashes[_place(job)]}) for job in jobs]
        (made / JOBS).write_text("\n".join(lines) + "\n", encoding="utf-8")
        (made / SCRIPT).write_text(RUN_PY, encoding="utf-8")
        os.replace(made, folder)


def _source() -> list[str]:
    """Files of the package, committed or about to be, by their names from the root."""
    every = ["--cached", "--others", "--exclude-standard", "--deduplicate"]
    try:
        done = subprocess.run(
            ["git", "-C", str(paths.ROOT), "ls-files", "-z", *every, "--", *SOURCES],
            capture_output=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        raise ReplicationError(
            f"{paths.ROOT} is no git checkout, which tells what belongs to the package"
        ) from None
    names = [name for name in done.stdout.decode().split("\0") if name]
    return [name for name in names if (paths.ROOT / name).exists()]  # not deleted since


def _place(job: Job) -> tuple[str, str]:
    return job.dataset, job.protocol


def _hash(dataset: str, protocol: str) -> str | None:
    try:
        return experiments.data_for(dataset, protocol).content_hash
    except DataUnavailable:
        return None


# --- there -------------------------------------------------------------------------------------


def read(file: Path) -> list[Job]:
    """The jobs of a packed folder.

    Raises:
        ReplicationError: the file is not one that ``pack`` wrote.
    """
    try:
        jobs = [Job(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError, TypeError):
        jobs = []
    if not jobs or any(job.kind not in KINDS for job in jobs):
        raise ReplicationError(f"{file} holds no jobs; pack the folder again")
    return jobs


def check_data(jobs: Sequence[Job]) -> None:
    """Raise ReplicationError unless every data set of the jobs is here, with the same content."""
    missing = []
    for dataset, protocol in dict.fromkeys(map(_place, jobs)):
        try:
            experiments.data_for(dataset, protocol)
        except DataUnavailable:
            missing.append(dataset)
            continue
        try:
            experiments.split_for(dataset, protocol)
        except DataUnavailable:
            missing.append(f"ncf-{dataset}")  # the split of the NCF authors comes by itself
    if missing:
        names = ", ".join(dict.fromkeys(missing))
        raise ReplicationError(
            f"the data are missing: put the folders {names} of a machine's data/raw, as they are, "
            f"into {paths.RAW}, or name the folder that holds raw/ in REPLICATION_DATA"
        )
    for job in jobs:
        here = experiments.data_for(job.dataset, job.protocol)
        if job.data_hash not in (None, here.content_hash):
            raise ReplicationError(
                f"{job.dataset} in {paths.RAW} is another copy ({here.source}) than the one that "
                "the jobs were packed for; bring that one"
            )


def work(jobs: Sequence[Job], device: str = "auto") -> Iterator[tuple[Job, Record | str, bool]]:
    """Do what is not stored yet, one job after the other.

    A job that fails does not stop the others, but those that build on it are left.

    Yields:
        The job; its record (of the last trial) or, where it could not be done, the reason; and
        whether something was run for it now.

    Raises:
        ReplicationError: data are missing.
    """
    check_data(jobs)
    failed: set[tuple[str, str]] = set()  # (model, data set) without all trials
    for job in jobs:
        needed = {job.model, row(job.model).base or job.model}
        if any((model, job.dataset) in failed for model in needed):
            yield job, "its trials are not complete", False
            continue
        try:
            record, new = _do(job, device)
        except ReplicationError as error:
            if job.kind == "trials":
                failed.add((job.model, job.dataset))
            yield job, str(error), False
        else:
            yield job, record, new


def _do(job: Job, device: str) -> tuple[Record, bool]:
    if job.kind == "trials":
        found = [
            (record, new) for _, record, new in experiments.tune(job.model, job.dataset, device)
        ]
        return found[-1][0], any(new for _, new in found)
    execute = lists.measure_and_store if job.kind == "lists" else experiments.run_and_store
    ((_, record, new),) = execute([job.run], device)
    return record, new
