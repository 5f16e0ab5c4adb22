"""Bad input and bad moments: one clear sentence, non-zero exit, nothing lost or half-written.

What a download can go wrong with is in ``test_fetch.py``, the store's own part in
``test_records.py``, that of the training loop in ``tests/models/test_training.py``.
"""

import os
import re
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from replication import cli, data, paths, training
from replication.errors import DataUnavailable, ReplicationError
from replication.papers.afm.experiments import UNAVAILABLE
from replication.papers.amp_cf import experiments as amp_cf
from replication.papers.amp_cf.model import AMPConfig
from replication.papers.registry import TABLES, paper_of
from replication.protocols import read_ncf_split
from replication.records import Store, source_hash
from replication.training import described

TABLE = amp_cf.TABLE2
SMALL = AMPConfig(dimension=8, attention_dimension=4, batch_size=64, patience=99)
SIZES = {"n_users": 40, "n_items": 150, "per_user": 10}
JOB = ["run", TABLE, "--dataset", "ml-100k", "--protocol", "loo-random", "--model", "amp-2"]
JOB += ["--seeds", "1", "--device", "cpu"]


def tune_small(root=None):
    """Records of a search that found ``SMALL``, so that a run takes a moment."""
    trial = {
        "table": amp_cf.TUNING,
        "row": "AMP-2",
        "dataset": "ml-100k",
        "data_hash": "",
        "protocol": amp_cf.TUNING_PROTOCOL,
        "variant": "",
        "select": "validation",
        "config": described(SMALL),
        "seed": 0,
        "trial": 0,
        "metrics": {"HR@10": 0.5, "NDCG@10": 0.5},
    }
    Store(amp_cf.TUNING, root).append(trial)


def forget():
    amp_cf.data_for.cache_clear()
    amp_cf.split_for.cache_clear()


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """A study without results and without data."""
    for name in ("results", "raw", "prepared", "checkpoints", "models"):
        monkeypatch.setattr(paths, name.upper(), tmp_path / name)
    forget()
    yield tmp_path
    forget()


@pytest.fixture
def study(empty, monkeypatch, make_tiny):
    """A study of one tiny data set under the name of a real one."""
    tiny = replace(make_tiny(**SIZES), name="ml-100k")
    monkeypatch.setitem(data.DATASETS, "ml-100k", lambda raw: tiny)
    monkeypatch.setattr(amp_cf, "N_TRIALS", 1)  # its search is complete
    tune_small()
    return empty


@pytest.fixture
def refused(capsys):
    """Run a command that must be refused; its one sentence."""

    def run(*arguments):
        capsys.readouterr()
        try:
            status = cli.main([str(argument) for argument in arguments])
        except SystemExit as stopped:  # argparse, after its usage lines
            status = stopped.code
            assert status == 2
        else:
            assert status == 1
        out, err = capsys.readouterr()
        sentences = [line for line in err.splitlines() if "error: " in line]
        assert len(sentences) == 1 and err.endswith(sentences[0] + "\n")
        assert status == 2 or err == sentences[0] + "\n"
        assert out == ""
        return sentences[0].split("error: ", 1)[1]

    return run


def snapshot(folder):
    """Name and content of everything but the locks."""
    files = (f for f in folder.rglob("*") if f.is_file() and not f.name.endswith(".lock"))
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in files}


# --- names and numbers that are not known --------------------------------------------------------


@pytest.mark.parametrize(
    "command, words",
    [
        ("run amp_cf/table9", "unknown table 'amp_cf/table9'; known are amp_cf/table1, amp_cf/"),
        ("table table2", "unknown table 'table2'; known are amp_cf/table1"),
        ("audit nonsense", "unknown table 'nonsense'"),
        ("run amp_cf/table2 --dataset ml-20m", "unknown data set 'ml-20m'; known are ml-latest-"),
        ("run amp_cf/table1 --dataset ml-20m", "unknown data set 'ml-20m'"),
        ("tune amp_cf/table2 --dataset ml-20m --model amp-2", "unknown data set 'ml-20m'"),
        ("run amp_cf/table2 --model amp", "unknown model 'amp'; known are amp-2, "),
        ("run amp_cf/table2 --model amp-0", "unknown model 'amp-0'"),
        ("run amp_cf/table2 --model AMP-2", "unknown model 'AMP-2'"),
        ("audit amp_cf/table2 --model gru", "unknown model 'gru'"),
        ("tune amp_cf/table2 --dataset ml-100k --model gru", "unknown model 'gru'"),
        ("tune amp_cf/table2 --dataset ml-100k --model mostpop", "nothing to tune"),
        ("run amp_cf/table2 --protocol loo-first", "unknown protocol 'loo-first'; known are loo-"),
        ("run amp_cf/table2 --dataset ml-100k --protocol loo-ncf", "has no cell of ml-100k under"),
        ("run amp_cf/table2 --variant odd", "unknown variant 'odd'; known are printed-loss"),
        ("run amp_cf/table2 --variant ties-by-index", "measured along with the main runs"),
        ("table amp_cf/table2 --variant odd", "unknown variant 'odd'"),
        ("run amp_cf/table2 --select luck", "unknown select 'luck'"),
        ("table amp_cf/table2 --select luck", "unknown select 'luck'"),
        ("table amp_cf/table2 --format xml", "invalid choice: 'xml'"),
        ("run amp_cf/table2 --seeds 0", "'0' is not a whole number of at least 1"),
        ("run amp_cf/table2 --seeds -3", "'-3' is not a whole number of at least 1"),
        ("run amp_cf/table2 --seeds many", "'many' is not a whole number of at least 1"),
        ("audit amp_cf/table2 --n 0", "'0' is not a whole number of at least 1"),
        ("run amp_cf/table2 --colour red", "unrecognized arguments: --colour red"),
        ("run", "the following arguments are required: table"),
        ("walk", "invalid choice: 'walk'"),
        ("", "arguments are required: COMMAND"),
        ("run amp_cf/table2 --device gpu", "unknown device 'gpu'; use auto, cpu or cuda"),
        ("data nonsense", "unknown data set 'nonsense': known are ml-100k"),
        ("audit amp_cf/table2 --dataset ml-20m", "unknown data set 'ml-20m'"),
        ("audit amp_cf/table2", "no stored record of amp_cf/table2 matches"),
    ],
)
def test_what_is_not_known_is_one_sentence(study, refused, command, words):
    before = snapshot(study)
    assert words in refused(*command.split())
    assert snapshot(study) == before


@pytest.mark.parametrize("table", ["amp_cf/table1", "afm/table1", "attentive_ncf/ensemble"])
@pytest.mark.parametrize(
    ("name", "value"),
    [("model", "afm"), ("protocol", "kfold-10"), ("variant", "refit"), ("seeds", "1")],
)
def test_what_a_table_without_models_does_not_take(study, refused, table, name, value):
    text = refused("run", table, f"--{name}", value)
    assert text.startswith(f"{table} ") and text.endswith(f"and takes no --{name}")


@pytest.mark.parametrize(
    "command",
    [
        "run amp_cf/table2 --dataset ml-100k",
        "run amp_cf/table1",
        "tune amp_cf/table2 --dataset ml-100k --model amp-2",
    ],
)
def test_cuda_where_there_is_none(study, refused, monkeypatch, command):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    text = refused(*command.split(), "--device", "cuda")
    assert text == (
        "device 'cuda' was asked for, but torch finds no CUDA device here; use --device cpu"
    )
    assert sorted(snapshot(study)) == ["results/amp_cf/tuning.jsonl"]


def test_cuda_in_an_audit_where_there_is_none(study, refused, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "finds no CUDA device here" in refused("audit", TABLE, "--device", "cuda")


# --- data that are not there ---------------------------------------------------------------------


def datasets_of(table):
    return {cell.dataset for cell in TABLES[table].grid(paper_of(table).SELECTS[0], "")}


# An ensemble is made from the records of its members, without data.
@pytest.mark.parametrize("name", list(data.DATASETS))
@pytest.mark.parametrize("table", [t for t in cli.TABLES if t != "attentive_ncf/ensemble"])
def test_missing_data_say_what_to_do(empty, refused, table, name):
    text = refused("run", table, "--dataset", name)
    missing = text.endswith(f"run `python -m replication data {name}` first")
    unknown = re.match(rf"({table} has no|unknown) (data set )?'{name}'; (it has|known are) ", text)
    never = text == UNAVAILABLE.get(name)
    assert missing or never or (unknown and name not in datasets_of(table))
    assert snapshot(empty) == {}


@pytest.mark.parametrize("table", [t for t in cli.TABLES if "yahoo-music" in datasets_of(t)])
def test_data_without_rights_say_so(empty, refused, table):
    text = refused("run", table, "--dataset", "yahoo-music")
    assert "is given out by application only" in text and "\n" not in text
    assert "by application only" in refused(
        "tune", TABLE, "--dataset", "yahoo-music", "--model", "amp-2"
    )


def test_data_without_rights_cannot_be_fetched(empty, refused):
    assert refused("data", "yahoo-music").startswith("yahoo-music cannot be fetched: ")


@pytest.fixture
def ncf(empty, tiny):
    """The files of a split of 30 users, and the data set to which it belongs."""
    folder = paths.RAW / "ncf-ml-1m"
    folder.mkdir(parents=True)
    users = range(tiny.n_users)
    (folder / "ml-1m.test.rating").write_text("".join(f"{u}\t{u}\t5\t978\n" for u in users))
    negatives = "\t".join(str(item) for item in range(100, 199))
    (folder / "ml-1m.test.negative").write_text("".join(f"({u},{u})\t{negatives}\n" for u in users))
    return replace(tiny, name="ml-1m", item_ids=np.arange(3706)), folder


def test_the_ncf_split_is_read(ncf):
    found = read_ncf_split(ncf[0])
    np.testing.assert_array_equal(found.test, np.arange(30))
    np.testing.assert_array_equal(found.negatives, np.tile(np.arange(100, 199), (30, 1)))


@pytest.mark.parametrize("file", ["ml-1m.test.rating", "ml-1m.test.negative"])
def test_a_missing_ncf_file_says_what_to_do(ncf, file):
    (ncf[1] / file).unlink()
    with pytest.raises(DataUnavailable, match="run `python -m replication data ncf-ml-1m` first"):
        read_ncf_split(ncf[0])


SPOILERS = {
    "line missing": lambda text: "".join(text.splitlines(True)[:-1]),
    "cut": lambda text: text[:-10],
    "web page": lambda text: "<html>404</html>",
    "no such item": lambda text: text.replace("\t29\t", "\t-7\t").replace("\t198\n", "\t9999\n"),
}


@pytest.mark.parametrize(
    "file, how",
    [
        ("rating", "line missing"),
        ("rating", "cut"),
        ("rating", "web page"),
        ("rating", "no such item"),
        ("negative", "line missing"),
        ("negative", "cut"),
        ("negative", "web page"),
        ("negative", "no such item"),
    ],
)
def test_a_broken_ncf_split_is_one_sentence(ncf, file, how):
    path = ncf[1] / f"ml-1m.test.{file}"
    path.write_text(SPOILERS[how](path.read_text()))
    with pytest.raises(ReplicationError, match="the NCF split should hold"):
        read_ncf_split(ncf[0])


# --- broken records ------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["table", "run", "audit"])
@pytest.mark.parametrize("line", ["", '{"key": "01', "<<<<<<< HEAD", "[]", '{"a": 1}'])
def test_a_broken_line_is_one_sentence(study, refused, capsys, command, line):
    assert cli.main([*JOB, "--model", "mostpop"]) == 0
    store = Store(TABLE)
    with store.path.open("a") as file:
        file.write(line + "\n")
    before = snapshot(study)
    number = len(before["results/amp_cf/table2.jsonl"].splitlines())
    arguments = JOB if command == "run" else [command, TABLE]
    text = refused(*arguments)
    assert f"line {number} of {store.path}" in text and text.endswith(
        "restore the file from git or delete that line"
    )
    assert snapshot(study) == before


def test_broken_ranks_are_one_sentence(study, refused, capsys):
    assert cli.main([*JOB, "--model", "mostpop"]) == 0
    Store(TABLE).ranks_path.write_bytes(b"PAR1 half")
    before = snapshot(study)
    for command in ("table", "audit"):
        assert "is not a whole parquet file; restore it from git" in refused(command, TABLE)
    assert snapshot(study) == before


# --- a full disk ---------------------------------------------------------------------------------


@contextmanager
def files_up_to(size):
    """No file may grow beyond so many bytes: the kernel refuses as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_while_writing_a_record(study, capsys):
    assert cli.main(JOB) == 0
    before = snapshot(study)
    size = len(before["results/amp_cf/table2.jsonl"])
    capsys.readouterr()
    with files_up_to(size + 100):
        assert cli.main([*JOB[:-4], "--seeds", "2"]) == 1
    out, err = capsys.readouterr()
    assert "seed 0: " in out and out.endswith("(stored)\n") and out.count("\n") == 1
    assert err.startswith("error: the record of AMP-2 on ml-100k could not be written to ")
    assert err.endswith("free some space and run it again\n") and err.count("\n") == 1
    assert snapshot(study) == before
    assert cli.main([*JOB[:-4], "--seeds", "2"]) == 0  # once there is room
    assert len(Store(TABLE).load()) == 4


def test_standard_output_on_a_full_disk_or_a_closed_pipe():
    command = [sys.executable, "-m", "replication"]
    # With its buffer, so that a short text meets the full disk only at the end.
    buffered = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    common = {"stderr": subprocess.PIPE, "text": True, "cwd": paths.ROOT, "env": buffered}
    if os.path.exists("/dev/full"):
        with open("/dev/full", "w") as full:
            result = subprocess.run([*command, "list"], stdout=full, **common)
        assert result.returncode == 1
        assert result.stderr == "error: No space left on device\n"
    command += ["table", TABLE, "--format", "json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, **common)
    process.stdout.close()  # as `| head` does
    assert process.stderr.read() == ""
    assert process.wait() == 0


def test_folders_that_cannot_be_written_are_one_sentence(study, refused):
    (study / "results2").write_text("a file where the folder should be")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(amp_cf, "tuned_config", lambda model, dataset: replace(SMALL, max_epochs=1))
        patch.setattr(amp_cf, "N_TRIALS", 0)  # there is no search to be found there
        patch.setattr(paths, "RESULTS", study / "results2" / "results")
        text = refused(*JOB)
    assert "could not be written to" in text and text.endswith("make it writable and run it again")


# --- Ctrl-C and kill -9 --------------------------------------------------------------------------

# ``python -m replication`` on the tiny data set, with a checkpoint after every epoch. It stops for
# good, and says so, where the first argument tells it to: after a number of checkpoints, or half-
# way through writing one.
DRIVER = """
import runpy, sys, time
from dataclasses import replace
from conftest import make_interactions
import torch
from replication import data, training
from replication.papers.amp_cf import experiments

experiments.N_TRIALS = 1  # its search is complete
where, sizes, sys.argv[1:] = sys.argv[1], eval(sys.argv[2]), sys.argv[3:]
tiny = replace(make_interactions(**sizes), name="ml-100k")
data.DATASETS["ml-100k"] = lambda raw: tiny
training.CHECKPOINT_SECONDS = 0.0
write, save, seen = training.write_state, torch.save, []

def wait():
    print("waiting", file=sys.stderr, flush=True)
    time.sleep(600)

def counted(path, state):
    seen.append(path)
    if where == "half" and len(seen) == 6:
        torch.save = half
    write(path, state)
    if where == str(len(seen)):
        wait()

def half(state, path):
    save(state, path)
    content = path.read_bytes()
    path.write_bytes(content[:len(content) // 2])
    wait()

training.write_state = counted
runpy.run_module("replication", run_name="__main__", alter_sys=True)
"""


def start(where, home, *arguments):
    environment = os.environ | {
        "REPLICATION_RESULTS": str(home / "results"),
        "REPLICATION_DATA": str(home),
        "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
    }
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(where), repr(SIZES), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=paths.ROOT,
        env=environment,
    )


def stop(process, how):
    """Wait until it waits, send a signal; exit status, standard output, standard error."""
    assert process.stderr.readline() == "waiting\n"
    process.send_signal(how)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def essence(record):
    """A record without what two runs of one thing may differ in."""
    circumstances = ("seconds", "seconds_per_epoch", "cpu_seconds", "cpu_seconds_per_epoch", "time")
    return {name: value for name, value in record.items() if name not in circumstances}


@pytest.fixture
def whole(study, capsys):
    """The records and ranks of a run that nothing interrupted, and a second home for another."""
    assert cli.main(JOB) == 0
    records = Store(TABLE).load()
    ranks = Store(TABLE).ranks(record["key"] for record in records)
    other = study / "other"
    tune_small(other / "results")
    return records, ranks, other


def check_same(whole):
    """The second home holds what the first does, and nothing unfinished."""
    records, ranks, other = whole
    store = Store(TABLE, other / "results")
    found = store.load()
    assert [essence(record) for record in found] == [essence(record) for record in records]
    again = store.ranks(ranks)
    assert again.keys() == ranks.keys()
    for key, (sampled, full) in ranks.items():
        np.testing.assert_array_equal(again[key][0], sampled)
        np.testing.assert_array_equal(again[key][1], full)
    assert sorted(snapshot(other / "results" / "amp_cf")) == [
        "table2-ranks.parquet",
        "table2.jsonl",
        "tuning.jsonl",
    ]
    assert not list((other / "checkpoints").glob("*"))


def test_an_interrupted_and_killed_run_ends_as_if_nothing_had_happened(whole):
    """Ctrl-C, kill -9 half-way through a checkpoint, kill -9 in the refit, then to the end."""
    records, _, other = whole
    key, epochs = records[1]["key"], records[1]["curve"]["epoch"]
    selection, refit = (f"{key}-{source_hash()}-{phase}.pt" for phase in ("selection", "refit"))
    before = snapshot(other / "results")

    status, out, err = stop(start(5, other, *JOB), signal.SIGINT)
    assert status == 130 and out == ""
    assert err == (
        "error: interrupted; finished runs are stored, and the same command resumes the rest\n"
    )
    assert snapshot(other / "results") == before
    assert [f.name for f in (other / "checkpoints").iterdir()] == [selection]
    state = torch.load(other / "checkpoints" / selection)
    assert state["curve"]["loss"] == pytest.approx(records[1]["curve"]["loss"][:5], abs=1e-5)

    # After epochs 6 to 10 checkpoints are written, after epoch 11 half of one.
    status, out, err = stop(start("half", other, *JOB), signal.SIGKILL)
    assert (status, out, err) == (-signal.SIGKILL, "", "")
    assert snapshot(other / "results") == before
    left = sorted(f.suffix for f in (other / "checkpoints").iterdir())
    assert left == [".part", ".pt"]
    assert len(torch.load(other / "checkpoints" / selection)["curve"]["epoch"]) == 10

    # The first checkpoint after those of the selection is the first of the refit.
    status, out, err = stop(start(len(epochs) - 10 + 1, other, *JOB), signal.SIGKILL)
    assert (status, out, err) == (-signal.SIGKILL, "", "")
    assert snapshot(other / "results") == before
    assert {selection, refit} < {f.name for f in (other / "checkpoints").iterdir()}

    last = start("never", other, *JOB)
    out, err = last.communicate(timeout=300)
    assert (last.returncode, err) == (0, "") and out.endswith("(run)\n")
    check_same(whole)


def test_ctrl_c_between_two_runs_keeps_the_first(study, monkeypatch, capsys):
    real = amp_cf.run

    def second_is_interrupted(job, *arguments):
        if job.seed == 1:
            raise KeyboardInterrupt
        return real(job, *arguments)

    monkeypatch.setattr(amp_cf, "run", second_is_interrupted)
    command = [*JOB[:-4], "--seeds", "3"]
    assert cli.main(command) == 130
    out, err = capsys.readouterr()
    assert out.count("(run)") == 1
    assert err.count("\n") == 1 and err.startswith("error: interrupted; ")
    assert [r["seed"] for r in Store(TABLE).load() if r["select"] == "validation"] == [0]
    monkeypatch.undo()


def test_a_run_that_was_killed_between_its_records_is_done_again(study, capsys):
    """The cell itself is stored last: while it is missing, the run is not taken as done."""
    assert cli.main(JOB) == 0
    store = Store(TABLE)
    first, second = store.load()
    assert (first["select"], second["select"]) == (amp_cf.VALIDATION_NO_REFIT, "validation")
    content = store.path.read_text().splitlines(keepends=True)
    store.path.write_text(content[0])  # as a kill between the two leaves it
    capsys.readouterr()
    assert cli.main(JOB) == 0
    assert capsys.readouterr().out.endswith("(run)\n")
    found = store.load()
    assert found[0] == first and essence(found[1]) == essence(second)
    assert len(store.ranks([first["key"], second["key"]])) == 2


def test_a_checkpoint_of_other_code_is_not_resumed(study, monkeypatch):
    job = amp_cf.Run("ml-100k", "loo-random", "amp-2", 0)
    cpu = torch.device("cpu")
    whole = amp_cf.run(job, cpu)[0][0]
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    with monkeypatch.context() as other:
        other.setattr(amp_cf, "source_hash", lambda: "000000000000", raising=False)
        real = training._train_epoch
        epochs = []

        def different(model, *arguments):
            if len(epochs) == 3:
                raise KeyboardInterrupt
            epochs.append(1)
            loss = real(model, *arguments)
            with torch.no_grad():
                model.items.mul_(2.0)  # what the other code does differently
            return loss

        other.setattr(training, "_train_epoch", different)
        with pytest.raises(KeyboardInterrupt):
            amp_cf.run(job, cpu)
    assert list(paths.CHECKPOINTS.glob("*.pt"))
    assert essence(amp_cf.run(job, cpu)[0][0]) == essence(whole)


def test_a_diverging_run_is_one_sentence_and_stores_nothing(study, refused, monkeypatch):
    wild = replace(SMALL, learning_rate=1e30)
    monkeypatch.setattr(amp_cf, "tuned_config", lambda model, dataset: wild)
    text = refused(*JOB)
    assert text.startswith("the loss of AMP-2 on ml-100k, loo-random, seed 0 (selection) became ")
    assert text.endswith("lower learning_rate (now 1e+30)")
    assert sorted(snapshot(study / "results")) == ["amp_cf/tuning.jsonl"]
