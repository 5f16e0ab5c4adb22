"""The store of records: what is kept, what is refused, and what survives a bad moment."""

import errno
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pyarrow.parquet as pq
import pytest

from replication import paths
from replication.errors import ReplicationError
from replication.metrics.ranking import summary
from replication.records import Store, provenance, record_key

TABLE = "p/t"


def made(seed=0, **changes):
    """A whole record but for its key."""
    record = {
        "table": TABLE,
        "row": "AMP-2",
        "dataset": "ml-100k",
        "data_hash": "d49a96e844ef",
        "protocol": "loo-random",
        "variant": "",
        "select": "validation",
        "config": {"personas": 2, "learning_rate": 1e-3},
        "seed": seed,
        "metrics": {"HR@10": 0.1 + 0.2, "NDCG@10": 1 / 3},
        "curve": {"epoch": [1, 2], "loss": [1.5, 1.25]},
        "seconds": 12.5,
        "time": "2026-01-01T00:00:00Z",
        "versions": {"torch": "2"},
    }
    return record | changes


def ranks_of(seed, users=50):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 65536, (2, users)).astype(np.uint16)


@pytest.fixture
def store(tmp_path):
    return Store(TABLE, tmp_path)


def snapshot(folder):
    """Name and content of everything but the locks."""
    files = (f for f in folder.rglob("*") if f.is_file() and not f.name.endswith(".lock"))
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in files}


# --- what is kept --------------------------------------------------------------------------------


def test_nothing_is_there_before_the_first_record(store):
    assert store.load() == [] and store.keys() == set() and store.ranks(["x"]) == {}


def test_a_record_comes_back_as_it_was(store):
    assert store.append(made(0)) and store.append(made(1, text="Café ü\u2028 \x85"))
    first, second = store.load()
    assert first == {"key": record_key(made(0))} | made(0)  # floats to the last bit
    assert second["text"] == "Café ü\u2028 \x85"
    assert next(iter(first)) == "key"
    assert store.path.read_bytes().count(b"\n") == 2


def test_ranks_come_back_as_they_were(store):
    ranks, full = ranks_of(0)
    store.append(made(0), ranks, full)
    store.append(made(1), ranks_of(1)[0])
    store.append(made(2))
    keys = [record["key"] for record in store.load()]
    found = store.ranks(keys)
    assert set(found) == set(keys[:2])
    assert all(array.dtype == np.uint16 for array in found[keys[0]])
    np.testing.assert_array_equal(found[keys[0]], [ranks, full])
    np.testing.assert_array_equal(found[keys[1]][0], ranks_of(1)[0])
    assert found[keys[1]][1] is None
    assert set(store.ranks(keys[1:])) == {keys[1]}


def test_the_same_record_twice_is_stored_once(store):
    assert store.append(made(0), *ranks_of(0))
    before = snapshot(store.path.parent)
    again = made(0, time="later", seconds=1.0, metrics={"HR@10": 0.9})
    assert not store.append(again, *ranks_of(1))
    assert snapshot(store.path.parent) == before


@pytest.mark.parametrize(
    "change",
    [
        {"table": "p/other"},
        {"row": "AMP-3"},
        {"dataset": "ml-1m"},
        {"data_hash": "000000000000"},
        {"protocol": "loo-last"},
        {"variant": "released"},
        {"select": "test"},
        {"config": {"personas": 2, "learning_rate": 1.0000000000000002e-3}},
        {"config": {"personas": 2, "learning_rate": 1e-3, "alpha": 0.5}},
        {"seed": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_key_depends_on_what_can_change_the_number(change):
    assert record_key(made() | change) != record_key(made())


@pytest.mark.parametrize(
    "change",
    [
        {"metrics": {"HR@10": 0.9}},
        {"curve": {}},
        {"seconds": 1.0},
        {"time": "later"},
        {"versions": {}},
        {"machine": "another"},
        {"processor": "another"},
        {"device": "cuda"},
        {"source": "other code"},
        {"data_source": "another copy of the same ratings"},
        {"config": {"learning_rate": 1e-3, "personas": 2}},  # another order
        {"key": "stale"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_key_does_not_depend_on_the_circumstances(change):
    assert record_key(made() | change) == record_key(made())


def test_the_key_is_stable():
    assert record_key(made()) == "495c4999851d98be"  # or every committed record would be run again


def test_a_key_that_a_record_brings_along_is_not_believed(store):
    store.append(made(0))
    store.append(store.load()[0] | {"seed": 1})
    assert [r["key"] for r in store.load()] == [record_key(made(0)), record_key(made(1))]


def test_provenance_says_what_made_a_record():
    found = provenance()
    assert set(found) == {"versions", "machine", "processor", "threads", "source", "time"}
    assert {"python", "torch", "numpy"} <= set(found["versions"])
    assert len(found["source"]) == 12 and found["time"].endswith("Z")
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("table", ["amp_cf/table1", "amp_cf/table2", "amp_cf/tuning"])
def test_the_committed_records_are_whole(table):
    store = Store(table, paths.ROOT / "results")
    records = store.load()
    assert records
    assert [r["key"] for r in records] == [record_key(r) for r in records]
    assert len({r["key"] for r in records}) == len(records)
    assert {r["table"] for r in records} == {table}
    for record in records:
        json.dumps(record, allow_nan=False)
    ranks = store.ranks(r["key"] for r in records)
    assert len(ranks) == (len(records) if table == "amp_cf/table2" else 0)
    for record in records:
        if record["key"] in ranks:
            sampled, full = ranks[record["key"]]
            measured = summary(sampled)
            if full is not None:
                measured |= summary(full, suffix="/full")
            assert measured == pytest.approx({k: record["metrics"][k] for k in measured}, abs=1e-9)


def test_the_results_stay_small_enough_to_clone():
    size = sum(f.stat().st_size for f in (paths.ROOT / "results").rglob("*") if f.is_file())
    assert size < 40e6


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line, words",
    [
        (b"", "is not a JSON object"),
        (b'{"key": "0123", "table": "p/t", "ro', "is not a JSON object"),  # half a line
        (b"<<<<<<< HEAD", "is not a JSON object"),
        (b"\xff\xfe\x00", "is not a JSON object"),
        (b"17", "is not a JSON object"),
        (b"null", "is not a JSON object"),
        (b"[1]", "lacks table, row"),
        (
            json.dumps({"key": "0"} | made(metrics={"HR@10": float("nan")})).encode(),
            "is not a JSON",
        ),
        (json.dumps(made()).encode(), "lacks key"),
    ],
    ids=["empty", "half", "conflict", "binary", "number", "null", "list", "NaN", "no key"],
)
def test_a_broken_line_is_one_sentence_and_nothing_is_lost(store, line, words):
    store.append(made(0), *ranks_of(0))
    store.append(made(1), *ranks_of(1))
    first, second = store.path.read_bytes().splitlines(keepends=True)
    store.path.write_bytes(first + line + b"\n" + second)
    before = snapshot(store.path.parent)
    for attempt in (store.load, store.keys, lambda: store.append(made(2), *ranks_of(2))):
        with pytest.raises(ReplicationError) as caught:
            attempt()
        text = str(caught.value)
        assert f"line 2 of {store.path}" in text and words in text and "\n" not in text
        assert "restore the file from git or delete that line" in text
    assert snapshot(store.path.parent) == before
    store.path.write_bytes(first + second)  # what the sentence advises
    assert [r["seed"] for r in store.load()] == [0, 1]


def test_a_last_line_without_its_end_is_not_glued_to_the_next(store):
    store.append(made(0))
    store.path.write_bytes(store.path.read_bytes().rstrip(b"\n"))  # as some editors leave it
    store.append(made(1))
    assert [r["seed"] for r in store.load()] == [0, 1]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", ["metrics", "curve", "config"])
def test_what_is_no_number_is_refused(store, where, value):
    store.append(made(0))
    before = snapshot(store.path.parent)
    change = {
        "metrics": {"HR@10": 0.5, "NDCG@10": value},
        "curve": {"epoch": [1], "loss": [value]},
        "config": {"alpha": value},
    }[where]
    with pytest.raises(ReplicationError, match="not stored") as caught:
        store.append(made(1, **{where: change}), *ranks_of(0))
    assert "\n" not in str(caught.value)
    if where == "metrics":
        assert "NDCG@10" in str(caught.value)
    assert snapshot(store.path.parent) == before


def test_broken_ranks_are_one_sentence_and_stay_as_they_are(store):
    store.append(made(0), *ranks_of(0))
    content = store.ranks_path.read_bytes()
    for broken in (content[:-20], content[: len(content) // 2], b"", b"not parquet"):
        store.ranks_path.write_bytes(broken)
        before = snapshot(store.path.parent)
        for attempt in (
            lambda: store.ranks([record_key(made(0))]),
            lambda: store.append(made(1), *ranks_of(1)),
        ):
            with pytest.raises(ReplicationError, match="not a whole parquet file") as caught:
                attempt()
            assert str(store.ranks_path) in str(caught.value)
        assert snapshot(store.path.parent) == before


def test_values_of_single_users_come_back_to_three_digits(store, tmp_path):
    """Metrics that do not follow from ranks; a user can be without a value."""
    rng = np.random.default_rng(0)
    values = {"JS": rng.random(40), "Hellinger": rng.random(40)}
    values["JS"][3] = np.nan
    for seed in (0, 1):
        store.append(made(seed), values={m: v + seed for m, v in values.items()})
    other = Store(TABLE, tmp_path / "elsewhere")
    assert other.merge(store) == 2
    for place in (store, other):
        found = place.ranks(place.keys())
        for record in place.load():
            assert list(found[record["key"]]) == ["JS", "Hellinger"]
            for metric, value in values.items():
                again = found[record["key"]][metric]
                np.testing.assert_allclose(again, value + record["seed"], rtol=1e-3)
    store.values_path.write_bytes(b"half")
    with pytest.raises(ReplicationError, match="is not a whole parquet file; restore it"):
        store.ranks(store.keys())


# --- records from elsewhere ----------------------------------------------------------------------


def test_ranks_files_without_a_row_take_the_next_one(store):
    """What is left where the records of a table were taken out: parquet knows no type of empty."""
    store.append(made(0), *ranks_of(0))
    pq.write_table(pq.read_table(store.ranks_path).slice(0, 0), store.ranks_path)
    assert store.append(made(1), *ranks_of(1))
    assert list(store.ranks(store.keys())) == [record_key(made(1))]


def test_merging_adds_what_is_not_here_with_its_ranks(store, tmp_path):
    other = Store(TABLE, tmp_path / "elsewhere")
    store.append(made(0), *ranks_of(0))
    for seed in (0, 1, 2):
        other.append(made(seed, time="2026-02-02T00:00:00Z"), *ranks_of(seed))
    assert store.merge(other) == 2
    assert [(r["seed"], r["time"][:7]) for r in store.load()] == [
        (0, "2026-01"),  # what is here stays
        (1, "2026-02"),
        (2, "2026-02"),
    ]
    ranks = store.ranks(store.keys())
    for record in store.load():
        np.testing.assert_array_equal(ranks[record["key"]], ranks_of(record["seed"]))
    before = snapshot(tmp_path)
    assert store.merge(other) == 0 and snapshot(tmp_path) == before


def test_an_altered_record_is_not_merged(store, tmp_path):
    other = Store(TABLE, tmp_path / "elsewhere")
    for seed in (0, 1):
        other.append(made(seed), *ranks_of(seed))
    other.path.write_text(other.path.read_text().replace('"seed": 1', '"seed": 7'))
    with pytest.raises(ReplicationError, match="was altered"):
        store.merge(other)
    assert [r["seed"] for r in store.load()] == []


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


@pytest.mark.parametrize("too_large", ["record", "ranks"])
def test_a_full_disk_changes_nothing(store, too_large):
    store.append(made(0), *ranks_of(0))
    before = snapshot(store.path.parent)
    text = "x" * (100_000 if too_large == "record" else 1)
    ranks = ranks_of(1, users=50_000 if too_large == "ranks" else 50)
    with files_up_to(30_000), pytest.raises(ReplicationError) as caught:
        store.append(made(1, text=text), *ranks)
    assert str(caught.value) == (
        f"the record of AMP-2 on ml-100k could not be written to {store.path} "
        "(File too large); free some space and run it again"
    )
    assert snapshot(store.path.parent) == before
    assert store.append(made(1, text=text), *ranks)  # once there is room
    assert [r["seed"] for r in store.load()] == [0, 1] and len(store.ranks(store.keys())) == 2


@pytest.mark.parametrize("files", [1, 2], ids=["ranks", "record"])
@pytest.mark.parametrize("first", [True, False], ids=["first record", "second record"])
def test_no_space_left_changes_nothing(store, monkeypatch, files, first):
    if not first:
        store.append(made(0), *ranks_of(0))
    before = snapshot(store.path.parent) if not first else {}
    real, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == files:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ReplicationError, match=r"No space left on device\); free some space"):
        store.append(made(1), *ranks_of(1))
    assert len(calls) == files
    assert snapshot(store.path.parent) == before


def test_an_interrupt_while_writing_changes_nothing(store, monkeypatch):
    store.append(made(0), *ranks_of(0))
    before = snapshot(store.path.parent)

    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.append(made(1), *ranks_of(1))
    assert snapshot(store.path.parent) == before


def test_a_results_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "p").write_text("a file where the folder should be")
    with pytest.raises(ReplicationError, match=r"could not be written .* make it writable"):
        Store(TABLE, tmp_path).append(made(0))


# --- several writers, killed writers -------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
import numpy as np
from replication.records import Store

root, base, size, first, count = sys.argv[1:]
store = Store("p/t", Path(root))
record = eval(base)
print("ready", flush=True)
sys.stdin.readline()
for seed in range(int(first), int(first) + int(count)):
    ranks = np.full(50, seed % 1000, np.uint16)
    new = store.append(record | {"seed": seed, "text": "x" * int(size)}, ranks, ranks)
    print(seed, new, flush=True)
"""


def writer(root, first, count, size=2_000, code=WRITER):
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(root), repr(made()), str(size), str(first), str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        cwd=paths.ROOT,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def go(process):
    process.stdin.write("\n")


def check_whole(store, size=2_000):
    """Every line is a whole record, every record has its ranks; the seeds that are there."""
    content = store.path.read_bytes() if store.path.exists() else b""
    assert not content or content.endswith(b"\n")
    records = store.load()
    assert all(r["text"] == "x" * size and r["key"] == record_key(r) for r in records)
    ranks = store.ranks(r["key"] for r in records)
    for record in records:
        assert (ranks[record["key"]][0] == record["seed"] % 1000).all()
    return [record["seed"] for record in records]


def test_two_writers_at_once(store, tmp_path):
    both = [writer(tmp_path, 0, 20), writer(tmp_path, 10, 20)]  # ten seeds in common
    for process in both:
        go(process)
    outputs = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(check_whole(store)) == list(range(30))
    assert sum(text.count("True") for text in outputs) == 30  # each key was new for one of them
    assert sorted(snapshot(tmp_path)) == ["p/t-ranks.parquet", "p/t.jsonl"]


def test_the_file_always_loads_after_kill_9(store, tmp_path):
    chance = random.Random(0)
    stored = set()
    for turn in range(5):
        # Long lines: the longer a write takes, the likelier the kill falls into it.
        process = writer(tmp_path, 1000 * turn, 1000, size=500_000)
        go(process)
        process.stdout.readline()
        time.sleep(chance.uniform(0, 0.1))
        process.kill()
        said = process.communicate()[0]
        assert process.returncode == -signal.SIGKILL
        stored |= {1000 * turn} | {int(line.split()[0]) for line in said.splitlines()}
        seeds = check_whole(store, size=500_000)
        assert len(seeds) == len(set(seeds)) and stored <= set(seeds)  # nothing said and not there
    store.append(made(9_999, text="x" * 500_000), *np.full((2, 50), 999, np.uint16))
    assert 9_999 in check_whole(store, size=500_000)
    assert sorted(snapshot(tmp_path)) == ["p/t-ranks.parquet", "p/t.jsonl"]  # no leftovers


@pytest.mark.parametrize(
    "function, call", [("fsync", 1), ("fsync", 2), ("replace", 1), ("replace", 2)]
)
def test_kill_9_at_every_step_of_a_write(store, tmp_path, function, call):
    store.append(made(0, text="x" * 2_000), *np.full((2, 50), 0, np.uint16))
    old = store.path.read_bytes()
    dying = f"""
import os, signal
real, calls = os.{function}, []
def die(*arguments):
    calls.append(1)
    if len(calls) == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments)
os.{function} = die
"""
    process = writer(tmp_path, 1, 1, code=dying + WRITER)
    go(process)
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL
    assert store.path.read_bytes() == old
    assert check_whole(store) == [0]
    assert store.append(made(1, text="x" * 2_000), *np.full((2, 50), 1, np.uint16))
    assert check_whole(store) == [0, 1]
    assert pq.read_table(store.ranks_path).num_rows == 2
    assert sorted(snapshot(tmp_path)) == ["p/t-ranks.parquet", "p/t.jsonl"]


def test_a_reader_never_sees_half_a_line(store, tmp_path):
    process = writer(tmp_path, 0, 12, size=300_000)
    go(process)
    seen = 0
    while process.poll() is None:
        records = store.load()  # raises on half a line
        assert len(records) >= seen
        seen = len(records)
    assert process.wait() == 0 and seen > 0
    assert len(store.load()) == 12
