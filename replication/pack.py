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
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from replication import paths
from replication.data import NEEDS, Interactions
from replication.errors import DataUnavailable, ReplicationError
from replication.papers.common import TRIALS, Job
from replication.papers.registry import PAPERS
from replication.records import Record, Store

# A paper's ``packing`` module has TABLES, KINDS, READ, pending, split, needs, and label and do for
# its jobs other than search trials; and where its jobs know more than its grid does, DATASETS and
# MODELS (what is added) and data (in place of ``data_for``).
PACKINGS = {name: paper.packing for name, paper in PAPERS.items()}
TABLES = tuple(table for packing in PACKINGS.values() for table in packing.TABLES)
KINDS = tuple(dict.fromkeys(kind for packing in PACKINGS.values() for kind in packing.KINDS))
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


# --- here: what is pending ---------------------------------------------------------------------


def pending(
    tables: Sequence[str] | None = None,
    datasets: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
) -> list[Job]:
    """The jobs that fill the cells of tables, paper by paper, in the order of each paper.

    None means all.

    Raises:
        ReplicationError: a name that is not known.
    """
    for kind, names, known in (
        ("table", tables, TABLES),
        ("data set", datasets, _known("DATASETS")),
        ("model", models, _known("MODELS")),
    ):
        for name in names or ():
            if name not in known:
                raise ReplicationError(
                    f"{kind} {name!r} cannot be packed; known are {', '.join(dict.fromkeys(known))}"
                )
    return [
        job
        for packing in PACKINGS.values()
        if (chosen := [table for table in packing.TABLES if table in (tables or TABLES)])
        for job in packing.pending(chosen, datasets, models)
    ]


def _known(names: str) -> list[str]:
    """All data sets or models that a job can name, paper by paper."""
    modules = [m for paper in PAPERS.values() for m in (paper.experiments, paper.packing)]
    return [name for module in modules for name in getattr(module, names, ())]


def _data(paper: str, dataset: str, protocol: str) -> Interactions:
    find = getattr(PACKINGS[paper], "data", PAPERS[paper].experiments.data_for)
    return find(dataset, protocol)


def label(job: Job) -> str:
    """Short text for messages."""
    if job.kind == TRIALS:
        name = PAPERS[job.paper].experiments.row_name(job.model)
        return f"{TRIALS} of {name} on {job.dataset}"
    return PACKINGS[job.paper].label(job)


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
        for table in (name for packing in PACKINGS.values() for name in packing.READ):
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


def _place(job: Job) -> tuple[str, str, str]:
    return job.paper, job.dataset, job.protocol


def _hash(paper: str, dataset: str, protocol: str) -> str | None:
    try:
        return _data(paper, dataset, protocol).content_hash
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
    if not jobs or any(
        job.paper not in PACKINGS or job.kind not in PACKINGS[job.paper].KINDS for job in jobs
    ):
        raise ReplicationError(f"{file} holds no jobs; pack the folder again")
    return jobs


def check_data(jobs: Sequence[Job]) -> None:
    """Raise ReplicationError unless every data set of the jobs is here, with the same content."""
    missing = []
    for paper, dataset, protocol in dict.fromkeys(map(_place, jobs)):
        try:
            _data(paper, dataset, protocol)
        except DataUnavailable:
            missing += [dataset, *NEEDS.get(dataset, ())]
            continue
        try:
            PACKINGS[paper].split(dataset, protocol)
        except DataUnavailable:
            missing.append(f"ncf-{dataset}")  # the split of the NCF authors comes by itself
    if missing:
        names = ", ".join(dict.fromkeys(missing))
        raise ReplicationError(
            f"the data are missing: put the folders {names} of a machine's data/raw, as they are, "
            f"into {paths.RAW}, or name the folder that holds raw/ in REPLICATION_DATA"
        )
    for job in jobs:
        here = _data(*_place(job))
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
    failed: set[tuple[str, str, str]] = set()  # (paper, model, data set) without all trials
    for job in jobs:
        packing = PACKINGS[job.paper]
        if any((job.paper, model, job.dataset) in failed for model in packing.needs(job)):
            yield job, "its trials are not complete", False
            continue
        try:
            if job.kind == TRIALS:
                tune = PAPERS[job.paper].experiments.tune
                found = [(record, new) for _, record, new in tune(job.model, job.dataset, device)]
                record, new = found[-1][0], any(new for _, new in found)
            else:
                record, new = packing.do(job, device)
        except ReplicationError as error:
            if job.kind == TRIALS:
                failed.add((job.paper, job.model, job.dataset))
            yield job, str(error), False
        else:
            yield job, record, new
