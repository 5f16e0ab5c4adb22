"""Pending jobs go to another machine in a folder, survive a kill there, and come back by merge."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace

import pandas as pd
import pytest

from replication import cli, pack, paths
from replication.data import write_parquet
from replication.errors import ReplicationError
from replication.page import Study
from replication.papers.amp_cf import (
    draws,
    experiments,
    explanations,
    figure2,
    lists,
    packing,
    planted,
    tables,
    users,
)
from replication.papers.amp_cf.pages import ablations as page_of_ablations
from replication.papers.amp_cf.pages import protocols
from replication.papers.attentive_ncf import experiments as attentive
from replication.papers.common import Job
from replication.papers.rating_search import Search
from replication.records import Store

TABLE = experiments.TABLE2
ONLY_MOSTPOP = ["--table", TABLE, "--dataset", "ml-latest-small", "--model", "mostpop"]


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """A study without records."""
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    return tmp_path


@pytest.fixture
def made_up(tmp_path, monkeypatch, make_tiny):
    """A data folder, here and there, whose ml-100k is made up: 400 users, 600 items."""
    folder, raw = tmp_path / "data", tmp_path / "data" / "raw" / "ml-100k"
    raw.mkdir(parents=True)
    (raw / "u.data").write_text("stand-in\n")
    tiny = make_tiny(n_users=400, n_items=600, per_user=20)
    titles = pd.DataFrame({"title": tiny.item_ids.astype(str)})
    tiny = replace(tiny, name="ml-100k", item_features=titles)
    write_parquet(tiny, folder / "prepared" / "ml-100k", "u.data 9")
    os.utime(raw / "u.data", (0, 0))  # older than the prepared copy, which is therefore read
    monkeypatch.setattr(paths, "RAW", folder / "raw")
    monkeypatch.setattr(paths, "PREPARED", folder / "prepared")
    cached = experiments.data_for
    cached.cache_clear()
    yield folder
    cached.cache_clear()


def start(folder, data):
    """Run a packed folder as a bare machine does: away from the checkout, nothing installed."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("REPLICATION_", "PYTHON"))}
    environment = kept | {"REPLICATION_DATA": str(data), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, str(folder / "run.py"), "--device", "cpu"],
        cwd=data,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    out, err = process.communicate(timeout=900)
    return process.returncode, out, err


def test_a_killed_machine_goes_on_and_its_records_are_merged(empty, made_up):
    """Goes red if a stop costs or doubles a record, or if the packed source is not enough."""
    jobs = [Job("run", "ml-100k", "loo-random", "mf", seed) for seed in range(3)]
    folder = empty / "packed"
    pack.pack(folder, [*jobs, Job("lists", "ml-100k", "loo-random", "mf")])
    there = Store(TABLE, folder / "results")
    process = start(folder, made_up)
    deadline = time.monotonic() + 600
    while len(there.load()) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)  # in the second run
    finish(process)
    before = there.load()
    assert process.returncode == -signal.SIGKILL and {r["seed"] for r in before} == {0}
    status, out, err = finish(start(folder, made_up))
    # Its only word: these runs come without trials.
    assert status == 0 and err.startswith("note: MF (r=1) on ml-100k") and err.count("\n") == 1
    assert [line.rsplit("(")[-1] for line in out.splitlines()] == ["stored)", *3 * ["run)"]]
    after = there.load()
    assert after[: len(before)] == before  # what was there is not run again
    assert sorted(r["seed"] for r in after) == [0, 0, 1, 1, 2, 2]  # with and without the refit
    assert cli.main(["merge", str(folder / "results")]) == 0
    assert Store(TABLE).load() == after
    assert set(Store(TABLE).ranks(Store(TABLE).keys())) == Store(TABLE).keys()
    (record,) = Store(lists.TABLE3).load()
    assert {"JS", "Hellinger"} <= set(record["metrics"])


def test_without_data_it_says_which_folder(empty, made_up, capsys):
    folder = empty / "packed"
    places = [("ml-100k", "loo-random"), ("pinterest", "loo-random")]
    pack.pack(folder, [Job("run", *place, "mostpop") for place in places])
    assert cli.main(["work", str(folder / pack.JOBS), "--device", "cpu"]) == 1
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert out == "" and line.startswith("error: the data are missing: put the folders pinterest ")
    assert str(made_up / "raw") in line and "REPLICATION_DATA" in line


def test_another_copy_of_the_data_stops_the_work(empty, made_up, monkeypatch, make_tiny):
    """A record of other data would stand in the same cell as ours."""
    tiny = replace(make_tiny(), name="ml-100k")
    monkeypatch.setattr(experiments, "data_for", lambda dataset, protocol: tiny)
    monkeypatch.setattr(experiments, "split_for", lambda dataset, protocol: None)
    job = Job("run", "ml-100k", "loo-random", "mostpop")
    pack.check_data([job, replace(job, data_hash=tiny.content_hash)])
    with pytest.raises(ReplicationError, match=r"ml-100k in .* is another copy"):
        pack.check_data([replace(job, data_hash="000000000000")])


def test_the_folder_holds_source_and_records_only(empty):
    Store(experiments.TUNING).path.parent.mkdir(parents=True)
    committed = paths.ROOT / "results" / f"{experiments.TUNING}.jsonl"
    Store(experiments.TUNING).path.write_bytes(committed.read_bytes())
    folder = empty / "packed"
    folder.mkdir()
    pack.pack(folder, [Job("run", "yahoo-music", "loo-random", "mostpop")])
    top = {file.name for file in folder.iterdir()}
    assert top == {*pack.SOURCES, "results", pack.JOBS, pack.SCRIPT}
    names = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert {"replication/pack.py", "replication/papers/amp_cf/published.csv"} <= names
    suffixes = {"", ".py", ".csv", ".toml", ".lock", ".jsonl", ".typed"}
    assert {os.path.splitext(name)[1] for name in names} <= suffixes
    assert [n for n in names if n.startswith("results/")] == [f"results/{experiments.TUNING}.jsonl"]
    assert pack.read(folder / pack.JOBS)[0].data_hash is None
    with pytest.raises(ReplicationError, match="is there already"):
        pack.pack(folder, [Job("run", "yahoo-music", "loo-random", "mostpop")])


def test_nothing_is_left_behind_where_packing_fails(empty, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", empty)
    with pytest.raises(ReplicationError, match="no git checkout"):
        pack.pack(empty / "packed", [Job("run", "ml-100k", "loo-random", "mostpop")])
    assert not list(empty.iterdir())
    with pytest.raises(ReplicationError, match="nothing to pack"):
        pack.pack(empty / "packed", [])


# --- what is pending -----------------------------------------------------------------------------


def trial(model, dataset, number):
    return {
        "table": experiments.TUNING,
        "row": experiments.row_name(model),
        "dataset": dataset,
        "data_hash": "0",
        "protocol": "loo-random",
        "variant": "",
        "select": "validation",
        "config": {"number": number},
        "seed": 0,
        "trial": number,
        "metrics": {"HR@10": 0.5, "NDCG@10": 0.5},
    }


def run_of(model, seed):
    changes = {"table": TABLE, "seed": seed, "config": {}}
    return trial(model, "ml-100k", 0) | changes


def test_what_is_stored_is_not_packed(empty):
    for number in range(experiments.N_TRIALS):
        Store(experiments.TUNING).append(trial("mf", "ml-100k", number))
        if number:  # one short
            Store(experiments.TUNING).append(trial("ease", "ml-100k", number))
    for seed in (0, 3):
        Store(TABLE).append(run_of("mf", seed))
    jobs = pack.pending(datasets=["ml-100k"], models=["mf", "ease"])
    main = [
        job
        for job in jobs
        if (job.protocol, job.variant) == ("loo-random", "") and job.select == "validation"
    ]
    assert [(job.kind, job.model, job.seed) for job in main] == [
        ("trials", "ease", 0),
        *(("run", "mf", seed) for seed in (1, 2, 4)),
        ("run", "ease", 0),
        *(("lists", "mf", seed) for seed in range(5)),
        ("lists", "ease", 0),
    ]
    assert {job.select for job in jobs} == {"validation", "test"}  # also where nothing is selected
    assert {"", "first-row-ties"} <= {job.variant for job in jobs}  # of mf, under loo-last


def test_jobs_stand_in_the_order_of_the_study(empty):
    jobs = pack.pending(packing.TABLES)
    places = list(dict.fromkeys((job.dataset, job.protocol) for job in jobs))
    assert places[: len(packing.PLACES)] == list(packing.PLACES)
    here = {*experiments.RUN_HERE, *planted.DATASETS}
    assert {d for d, _ in places} == here  # nothing that cannot be had
    rides = {name for name, spec in experiments.VARIANTS.items() if spec.rides_along}
    assert rides and not rides & {job.variant for job in jobs}
    for place in packing.PLACES:
        here = [job for job in jobs if (job.dataset, job.protocol) == place]
        kinds = list(dict.fromkeys(job.kind for job in here))
        assert kinds == [kind for kind in packing.KINDS if kind in kinds]
        assert {"trials", "run", "lists", "users", "statistics"} <= set(kinds)
        main = [job.model for job in here if job.kind == "run" and not job.variant]
        assert main.index("mostpop") < main.index("conv-ncf")  # what costs most comes last
        assert main.index("mf") < main.index("direc")  # which re-ranks it


def wanted(cells):
    """The runs of cells as the jobs name them."""
    return {
        (
            packing.KIND_OF[cell.table],
            packing.model_of(cell),
            cell.dataset,
            cell.protocol,
            "validation" if cell.select == "none" else cell.select,
            cell.variant,
            seed,
        )
        for cell in cells
        if not cell.unavailable
        for seed in range(cell.seeds_required)
    }


def test_all_that_a_page_calls_pending_is_packed(empty):
    """Goes red if a page shows a model, variant or table that ``pack`` does not know."""
    assert set(tables.TABLES) == set(packing.TABLES)
    jobs = pack.pending(packing.TABLES)
    packed = {(j.kind, j.model, j.dataset, j.protocol, j.select, j.variant, j.seed) for j in jobs}
    own = {f"amp-{r}" for r in (5, 6, 7)} | {f"mf-{d}" for d in (128, 192, 256, 512)}
    assert own <= {job.model for job in jobs}
    along = {name for name, spec in experiments.VARIANTS.items() if spec.rides_along}
    shown = [
        *(cell for table in tables.TABLES.values() for cell in table.grid("validation", "")),
        *(cell for v in experiments.VARIANTS for cell in experiments.grid(variant=v)),
        *page_of_ablations.grid().values(),
        *(cell for v in explanations.VARIANTS for cell in explanations.grid(v)),
        *(cell for v in lists.VARIANTS for cell in lists.grid(v)),
    ]
    assert not wanted(cell for cell in shown if cell.variant not in along) - packed
    # What rides along comes with a main run, which is packed.
    main = {
        (kind, *place, select, seed)
        for kind, *place, select, variant, seed in packed
        if not variant
    }
    for kind, *place, select, variant, seed in wanted(c for c in shown if c.variant in along):
        assert (kind, *place, select, seed) in main, variant
    # The searches of every tuned model, those of the ablation studies too.
    searched = {(job.model, job.dataset) for job in jobs if job.kind == "trials"}
    for job in jobs:
        if job.kind == "run" and experiments.row(job.model).draw is not None:
            assert (job.model, job.dataset) in searched
    # The page of protocols names in a sentence what it lacks.
    study = Study(TABLE, "stored", "validation", [], {}, None, experiments.grid())
    named = re.findall(r"(\S+(?: \(r=1\))?) on (ml-[a-z0-9-]+) \((\d) of", protocols.missing(study))
    tested = [(experiments.row_name(j.model), j.dataset) for j in jobs
              if j.kind == "run" and j.select == "test" and not j.variant]  # fmt: skip
    assert len(named) == 10 and all(tested.count((row, d)) == int(n) for row, d, n in named)


def test_every_kind_of_job_is_done(empty, monkeypatch):
    """Each by the module that measures it; what is not a run of a model needs no trials."""
    asked = []

    def stored(name):
        def execute(first, *rest):
            asked.append((name, first[0]))
            yield first[0], {"metrics": {}}, True

        return execute

    for module, name in (
        (experiments, "run_and_store"),
        (lists, "measure_and_store"),
        (explanations, "measure_and_store"),
        (users, "measure_and_store"),
        (planted, "measure_and_store"),
        (figure2, "run"),
    ):
        monkeypatch.setattr(module, name, stored(module.TABLE if hasattr(module, "TABLE") else ""))
    monkeypatch.setattr(
        experiments, "statistics", lambda dataset: run_of("mf", 0) | {"table": experiments.TABLE1}
    )
    drawn = []
    monkeypatch.setattr(
        draws,
        "measure",
        lambda *place: drawn.append(place) or run_of("mf", 0) | {"table": draws.TABLE},
    )
    first = {job.kind: job for job in reversed(pack.pending(packing.TABLES))}
    assert set(first) == set(packing.KINDS)
    for kind in packing.KINDS[1:]:
        assert packing.do(first[kind], "cpu")[1]
        assert pack.label(first[kind])
    assert [name for name, _ in asked] == ["", "", explanations.TABLE, figure2.TABLE, users.TABLE,
                                           planted.TABLE]  # fmt: skip
    job = first["draws"]
    assert drawn == [(job.model, job.dataset, job.seed)] and job.model in draws.READINGS
    assert dict(asked)[planted.TABLE] == ("AMP-3", "planted-3", 0)
    assert packing.needs(first["users"]) == packing.needs(first["planted"]) == set()
    pack.check_data([first["planted"]])  # made up: it is always here
    assert pack.pending(models=["amp-5"]) and pack.pending(datasets=["planted-1"])


def test_the_second_paper_is_packed_by_its_own_rules(empty, monkeypatch, tiny):
    """Trials, then the folds of the main cells, the variants, and the ensembles last."""
    jobs = pack.pending(["attentive_ncf/table2"])
    assert {job.paper for job in jobs} == {"attentive_ncf"}
    assert list(dict.fromkeys(job.kind for job in jobs)) == ["trials", "run", "means"]
    runs = [job for job in jobs if job.kind == "run"]
    variants = [bool(job.variant) for job in runs]
    assert variants == sorted(variants)
    main = [job for job in runs if not job.variant]
    assert [job.seed for job in main] == sorted(job.seed for job in main)
    outer = [job for job in main if job.select == "fold-minimum"]
    assert len(outer) == 90 and len(main) - len(outer) == 3 * 10 + 6 * 3
    of_table_1 = {name for name in attentive.VARIANTS if name.startswith("nmf-")}
    assert {job.variant for job in runs} == {"", *attentive.VARIANTS} - of_table_1
    monkeypatch.setattr(attentive, "data_for", lambda dataset, protocol="": tiny)
    stored = runs[0]
    record = pack.PACKINGS["attentive_ncf"].run_of(stored).address() | {"metrics": {"RMSE": 1.0}}
    older = record | {"config": record["config"] | {"max_epochs": 1}}
    with monkeypatch.context() as searched:
        searched.setattr(Search, "lacking", lambda search: 0)
        Store(attentive.TABLE2).append(older)
        assert stored in pack.pending(["attentive_ncf/table2"])
        Store(attentive.TABLE2).append(record)
        assert stored not in pack.pending(["attentive_ncf/table2"])
    # The trials that are missing may choose other settings.
    assert stored in pack.pending(["attentive_ncf/table2"])
    few = pack.pending(["attentive_ncf/table2"], ["cil"], ["simple-ip"])
    assert {job.model for job in few} == {"simple-ip"}
    assert pack.pending(["attentive_ncf/table2"], ["ml-100k"]) == []
    assert pack.label(few[0]) == "trials of simple + inner product on cil"
    assert pack.label(few[-1]) == "ensembles on cil"


def test_a_job_of_the_second_paper_is_done_by_it(empty, monkeypatch):
    def run_and_store(jobs, device):
        yield jobs[0], {"metrics": {"RMSE": 1.0}, "number": jobs[0].number}, True

    monkeypatch.setattr(attentive, "run_and_store", run_and_store)
    monkeypatch.setattr(attentive, "ensembles", lambda dataset, device: iter(()))
    monkeypatch.setattr(pack, "check_data", lambda jobs: None)
    place = ("cil", "kfold-10", "simple-ip")
    jobs = [
        Job("run", *place, 4, "fold-minimum", paper="attentive_ncf"),
        Job("means", *place, paper="attentive_ncf"),
    ]
    (_, record, new), (_, reason, _) = pack.work(jobs, "cpu")
    assert (record["number"], new) == (4, True)
    assert reason == "no ensemble has all its members on this machine"


@pytest.mark.parametrize("option", ["--table", "--dataset", "--model"])
def test_an_unknown_name_is_one_sentence(empty, capsys, option):
    assert cli.main(["pack", str(empty / "packed"), option, "nothing"]) == 1
    assert capsys.readouterr().err.startswith(f"error: {option[2:].replace('dataset', 'data set')}")
    assert not (empty / "packed").exists()


def test_jobs_that_build_on_a_failed_one_are_left(empty, monkeypatch):
    """Runs without all their trials would be runs of another configuration."""

    def tune(model, dataset, device):
        raise ReplicationError("no library")
        yield

    def stored(jobs, device):
        yield jobs[0], {"metrics": {}}, True

    monkeypatch.setattr(experiments, "tune", tune)
    monkeypatch.setattr(experiments, "run_and_store", stored)
    monkeypatch.setattr(pack, "check_data", lambda jobs: None)
    place = ("ml-100k", "loo-random")
    jobs = [Job("trials", *place, "mf")]
    jobs += [Job("run", *place, model) for model in ("mf", "direc", "mostpop")]
    jobs += [Job("run", "ml-1m", "loo-random", "mf")]
    found = [result for _, result, _ in pack.work(jobs, "cpu")]
    not_tuned = "its trials are not complete"
    assert found == ["no library", not_tuned, not_tuned, {"metrics": {}}, {"metrics": {}}]


@pytest.mark.parametrize("text", ["", "half a li", '{"kind": "run"}', '{"kind": "walk"}'])
def test_a_broken_list_of_jobs(tmp_path, text):
    file = tmp_path / pack.JOBS
    file.write_text(text)
    with pytest.raises(ReplicationError, match="holds no jobs"):
        pack.read(file)


def test_the_list_of_jobs_is_read_as_it_was_written(tmp_path):
    job = Job("lists", "ml-1m", "loo-random", "amp-4", 3, data_hash="abc")
    (tmp_path / pack.JOBS).write_text(json.dumps(asdict(job)) + "\n")
    assert pack.read(tmp_path / pack.JOBS) == [job]


@pytest.mark.needs_data("ml-latest-small")
def test_a_packed_job_makes_the_committed_record(empty, monkeypatch, capsys):
    """The same address and the same numbers as the record that the checkout's own code stored."""
    folder, data = empty / "packed", empty / "data"
    assert cli.main(["pack", str(folder), *ONLY_MOSTPOP]) == 0
    assert "0 trials, " in capsys.readouterr().out
    data.mkdir()
    (data / "raw").symlink_to(paths.RAW)
    status, _, err = finish(start(folder, data))
    assert (status, err) == (0, "")
    made = {r["key"]: r["metrics"] for r in Store(TABLE, folder / "results").load()}
    committed = {
        r["key"]: r["metrics"]
        for r in Store(TABLE, paths.ROOT / "results").load()
        if (r["row"], r["dataset"]) == ("MostPop", "ml-latest-small")
    }
    assert len(committed) >= 8 and {key: made.get(key) for key in committed} == committed
