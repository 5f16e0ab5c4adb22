"""The command line: what it runs, what it prints, and the JSON that others read."""

import csv
import io
import json
import math
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from replication import cli, data, paths, training
from replication.papers.amp_cf import experiments as amp_cf
from replication.papers.amp_cf.model import AMPConfig
from replication.papers.registry import PAPERS
from replication.records import Store, record_key
from replication.training import described

TABLE = amp_cf.TABLE2
# The contract of `table --format json`, word for word.
KEYS = (
    "table, row, dataset, metric, protocol, select, published, mean, sd, n, ci_low, ci_high, status"
).split(", ")
DATASETS = "ml-latest-small ml-100k ml-1m pinterest amazon-video-games yahoo-music".split()
PROTOCOLS = "loo-last loo-random loo-ncf".split()
STATUS = re.compile(r"complete|partial: \d+ of \d+ seeds|pending: .+|unavailable: .+")

SMALL = AMPConfig(dimension=8, attention_dimension=4, batch_size=64, learning_rate=0.02, patience=2)
ONE = ["--dataset", "ml-100k", "--protocol", "loo-random"]


@pytest.fixture
def study(tmp_path, monkeypatch, make_tiny):
    """A study of its own in an empty folder: two tiny data sets, and models that were tuned."""
    for name in ("results", "raw", "prepared", "checkpoints", "models"):
        monkeypatch.setattr(paths, name.upper(), tmp_path / name)
    monkeypatch.setattr(amp_cf, "N_TRIALS", 1)  # their searches are complete
    for seed, name in enumerate(("ml-100k", "ml-latest-small")):
        tiny = replace(make_tiny(n_users=40, n_items=150, per_user=10, seed=seed), name=name)
        monkeypatch.setitem(data.DATASETS, name, lambda raw, tiny=tiny: tiny)
        for row, personas in (("AMP-2", 2), ("AMP-4", 4), ("MF (r=1)", 1)):
            trial = {
                "table": amp_cf.TUNING,
                "row": row,
                "dataset": name,
                "data_hash": tiny.content_hash,
                "protocol": amp_cf.TUNING_PROTOCOL,
                "variant": "",
                "select": "validation",
                "config": described(replace(SMALL, personas=personas)),
                "seed": 0,
                "trial": 0,
                "metrics": {"HR@10": 0.5, "NDCG@10": 0.5},
            }
            Store(amp_cf.TUNING).append(trial)
    forget()
    yield tmp_path
    forget()


def forget():
    amp_cf.data_for.cache_clear()
    amp_cf.split_for.cache_clear()


@pytest.fixture
def call(capsys):
    """Run a command; its exit status, standard output and standard error."""

    def run(*arguments):
        capsys.readouterr()
        try:
            status = cli.main([str(argument) for argument in arguments])
        except SystemExit as stopped:  # argparse
            status = stopped.code
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture
def good(call):
    """Run a command that must go well and keep stderr empty; its standard output."""

    def run(*arguments):
        status, out, err = call(*arguments)
        assert (status, err) == (0, "")
        return out

    return run


def never(text):
    raise AssertionError(f"{text} is not JSON")


def table_of(good, *arguments):
    return json.loads(good("table", TABLE, "--format", "json", *arguments), parse_constant=never)


def rows_of(table, **wanted):
    return [row for row in table if all(row[name] == value for name, value in wanted.items())]


# --- run -----------------------------------------------------------------------------------------


def test_run_stores_and_then_skips(study, good):
    command = ["run", TABLE, *ONE, "--model", "amp-2", "--model", "mostpop", "--seeds", 2]
    first = good(*command).splitlines()
    assert [line.split(":")[0] for line in first] == [
        "AMP-2 on ml-100k, loo-random, seed 0",
        "AMP-2 on ml-100k, loo-random, seed 1",
        "MostPop on ml-100k, loo-random, seed 0",
    ]
    assert all(line.endswith("(run)") and "HR@10 0." in line for line in first)
    files = {f: f.read_bytes() for f in (study / "results" / "amp_cf").glob("table2*")}
    assert len(files) == 2
    second = good(*command).splitlines()
    assert [line.replace("(stored)", "(run)") for line in second] == first
    assert all(line.endswith("(stored)") for line in second)
    assert {f: f.read_bytes() for f in files} == files
    more = good(*command[:-1], 3).splitlines()
    assert [line.endswith("(run)") for line in more] == [False, False, True, False]


def test_a_record_has_what_makes_it_evidence(study, good):
    good("run", TABLE, *ONE, "--model", "amp-2", "--seeds", 1)
    records = Store(TABLE).load()
    assert [r["select"] for r in records] == ["validation-no-refit", "validation"]
    for record in records:
        assert record["key"] == record_key(record)
        assert record["config"] == described(replace(SMALL, max_epochs=25))
        assert set(record["metrics"]) == {"HR@10", "NDCG@10", "HR@10/full", "NDCG@10/full"}
        assert {"data_source", "parameters", "seconds", "epochs", "device"} <= set(record)
        assert record["cpu_seconds"] > 0 and record["cpu_seconds_per_epoch"] > 0
        assert {"versions", "machine", "source", "time"} <= set(record)
        curve = record["curve"]
        assert curve["epoch"] == list(range(1, len(curve["loss"]) + 1))
        assert record["epochs"] == 1 + int(np.argmax(curve["NDCG@10"]))
        ranks, full = Store(TABLE).ranks([record["key"]])[record["key"]]
        assert (ranks < 10).mean() == pytest.approx(record["metrics"]["HR@10"])
        assert (full < 10).mean() == pytest.approx(record["metrics"]["HR@10/full"])
    assert not list((study / "checkpoints").glob("*"))


def test_table_1_can_be_run(study, good):
    command = ["run", amp_cf.TABLE1, "--dataset", "ml-100k", "--dataset", "ml-latest-small"]
    for done in ("run", "stored"):
        lines = good(*command).splitlines()
        assert [line.split(":")[0] for line in lines] == ["ml-100k", "ml-latest-small"]
        assert all("users 40.0000" in line and line.endswith(f"({done})") for line in lines)
    rows = json.loads(good("table", amp_cf.TABLE1, "--format", "json"), parse_constant=never)
    assert {tuple(row) for row in rows} == {tuple(KEYS)}
    (users,) = rows_of(rows, dataset="ml-latest-small", metric="users")
    assert (users["mean"], users["published"], users["status"]) == (40, 610, "complete")


def test_tune_runs_its_trials_once(study, good, monkeypatch):
    monkeypatch.setattr(amp_cf, "N_TRIALS", 2)
    command = ["tune", TABLE, "--dataset", "ml-100k", "--model", "amp-3"]
    first = good(*command)
    assert first.count("(run)") == 2 and re.search(r"\nbest: trial [01], validation NDCG", first)
    second = good(*command)
    assert second == first.replace("(run)", "(stored)")


# --- table ---------------------------------------------------------------------------------------


@pytest.fixture
def filled(study, good):
    """AMP-2 with three seeds, MF with all five, AMP-4 with one, and MostPop."""
    for model, seeds in (("amp-2", 3), ("mf", 5), ("amp-4", 1), ("mostpop", 1)):
        good("run", TABLE, *ONE, "--model", model, "--seeds", seeds)
    return Store(TABLE).load()


def test_the_json_contract(filled, good):
    table = table_of(good)
    assert isinstance(table, list) and table
    for row in table:
        assert list(row) == KEYS
        assert row["table"] == TABLE
        assert row["dataset"] in DATASETS and row["protocol"] in PROTOCOLS
        assert row["metric"] in ("HR@10", "NDCG@10", "HR@10/full", "NDCG@10/full")
        assert row["select"] in ("validation", "none")
        assert type(row["n"]) is int and STATUS.fullmatch(row["status"])
        for name in ("published", "mean", "sd", "ci_low", "ci_high"):
            assert row[name] is None or (type(row[name]) is float and math.isfinite(row[name]))
        assert (row["mean"] is None) == (row["n"] == 0)
        assert (row["sd"] is None) == (row["n"] < 2)
        # A model that draws nothing has one run, and an interval over users alone.
        alone = row["n"] == 1 and row["select"] == "none"
        assert (row["ci_low"] is None) == (row["ci_high"] is None)
        if row["n"] < 2 and not alone:
            assert row["ci_low"] is None
        if row["n"] > 1:
            assert row["ci_low"] <= row["mean"] <= row["ci_high"] and row["sd"] >= 0
        assert row["status"].startswith(("pending", "unavailable")) == (row["n"] == 0)
    one = {(row["row"], row["dataset"], row["metric"], row["protocol"]) for row in table}
    assert len(one) == len(table)  # one object per row, data set, metric and protocol
    assert {row["dataset"] for row in table} == set(DATASETS)
    assert {row["protocol"] for row in table} == set(PROTOCOLS)
    assert {"AMP-2", "AMP-8", "DeepICF+a", "ConvNCF", "MostPop", "MF (r=1)"} <= {
        row["row"] for row in table
    }


def test_numbers_of_the_json_come_from_the_records(filled, good):
    table = table_of(good)
    for name, n, status in (
        ("AMP-2", 3, "partial: 3 of 5 seeds"),
        ("MF (r=1)", 5, "complete"),
        ("AMP-4", 1, "partial: 1 of 5 seeds"),
        ("MostPop", 1, "complete"),
    ):
        stored = [r for r in filled if r["row"] == name and r["select"] in ("validation", "none")]
        assert [r["seed"] for r in stored] == list(range(n))
        for metric in ("HR@10", "NDCG@10", "HR@10/full", "NDCG@10/full"):
            (row,) = rows_of(
                table, row=name, dataset="ml-100k", metric=metric, protocol="loo-random"
            )
            values = [r["metrics"][metric] for r in stored]
            assert row["n"] == n and row["status"] == status
            assert row["mean"] == pytest.approx(np.mean(values), abs=1e-12)
            if n > 1:
                assert row["sd"] == pytest.approx(np.std(values, ddof=1), abs=1e-12)
                assert row["ci_low"] < row["ci_high"]


def test_gaps_of_the_json(filled, good):
    table = table_of(good)
    (printed,) = rows_of(
        table, row="AMP-2", dataset="ml-latest-small", metric="HR@10", protocol="loo-random"
    )
    assert printed["published"] == 0.7376 and printed["mean"] is None
    assert printed["status"].startswith("pending: ") and printed["n"] == 0
    (own,) = rows_of(
        table, row="MostPop", dataset="ml-latest-small", metric="HR@10", protocol="loo-random"
    )
    assert own["published"] is None and own["select"] == "none"
    licensed = rows_of(table, dataset="yahoo-music", row="AMP-2")
    assert licensed and all(
        row["status"] == f"unavailable: {amp_cf.NO_LICENCE}" for row in licensed
    )
    assert all(row["published"] is None for row in table if row["metric"].endswith("/full"))
    assert all(row["published"] is None for row in table if row["row"] in ("MostPop", "MF (r=1)"))


def test_without_records_every_cell_says_why(study, good):
    (study / "results" / "amp_cf" / "tuning.jsonl").unlink()
    table = table_of(good)
    assert table and all(row["n"] == 0 and row["mean"] is None for row in table)
    assert {row["status"].split(":")[0] for row in table} == {"pending", "unavailable"}


def test_other_selections_and_variants_are_tables_of_their_own(filled, good):
    def mean(*arguments):
        table = table_of(good, *arguments)
        (row,) = rows_of(
            table, row="AMP-2", dataset="ml-100k", metric="HR@10", protocol="loo-random"
        )
        return row["n"], row["mean"], row["select"]

    chosen, without = mean(), mean("--select", "validation-no-refit")
    assert chosen[0] == without[0] == 3 and chosen[1] != without[1]
    assert without[2] == "validation-no-refit"
    assert mean("--select", "test") == (0, None, "test")
    small = ["--dataset", "ml-latest-small"]
    good("run", TABLE, "--variant", "released", "--model", "amp-2", *small, "--seeds", 2)
    table = table_of(good, "--variant", "released")
    rows = rows_of(table, row="AMP-2", metric="HR@10")
    assert [(row["dataset"], row["select"], row["n"]) for row in rows] == [
        ("ml-latest-small", "test", 2),
        ("ml-100k", "test", 0),
        ("amazon-video-games", "test", 0),
    ]
    assert mean() == chosen  # the main table has not noticed


def test_the_other_formats(filled, good):
    table = table_of(good)
    text = good("table", TABLE, "--format", "csv")
    assert text.endswith("\n") and not text.endswith("\n\n")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == len(table) and list(rows[0]) == KEYS
    for row, one in zip(rows, table, strict=True):
        assert row["mean"] == ("" if one["mean"] is None else repr(one["mean"]))
        assert row["status"] == one["status"]
    page = good("table", TABLE, "--format", "html")
    assert page.lstrip().startswith("<") and "</table>" in page and "DeepICF+a" in page
    markdown = good("table", TABLE)
    assert markdown == good("table", TABLE, "--format", "md")
    assert "| AMP-2 " in markdown and "partial: 3 of 5 seeds" in markdown
    for out in (text, page, markdown):
        assert not re.search(r"\bnan\b", out, re.I)


def test_the_command_in_a_process_of_its_own_prints_json_and_nothing_else(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "replication", "table", TABLE, "--format", "json"],
        capture_output=True,
        text=True,
        cwd=paths.ROOT,
    )
    assert (result.returncode, result.stderr) == (0, "")
    table = json.loads(result.stdout, parse_constant=never)
    assert {tuple(row) for row in table} == {tuple(KEYS)}
    (row,) = rows_of(table, row="MostPop", dataset="ml-1m", metric="HR@10", protocol="loo-ncf")
    assert row["status"] == "complete" and row["mean"] == pytest.approx(0.45, abs=0.01)


# --- audit ---------------------------------------------------------------------------------------


@pytest.fixture
def audited(study, good):
    """One record of every kind."""
    good("run", TABLE, *ONE, "--model", "amp-2", "--model", "mostpop", "--seeds", 1)
    good("run", TABLE, *ONE, "--model", "mf", "--seeds", 1, "--select", "test")
    good(
        "run",
        TABLE,
        "--variant",
        "released",
        "--dataset",
        "ml-100k",
        "--model",
        "amp-4",
        "--seeds",
        1,
    )
    good("run", TABLE, "--variant", "redraw", "--model", "mostpop", "--seeds", 2)
    return Store(TABLE)


def test_audit_finds_every_kind_of_record_the_same(audited, good):
    lines = good("audit", TABLE, "--n", 99).splitlines()
    assert len(lines) == len(audited.load()) == 7
    assert all(line.startswith("same: ") and "same code" in line for line in lines)
    assert sum("validation-no-refit" in line for line in lines) == 1
    assert sum("redraw" in line for line in lines) == 2


def test_audit_picks_at_random_and_again_by_seed(audited, good):
    picks = {good("audit", TABLE, "--n", 1, "--seed", seed) for seed in range(6)}
    assert len(picks) > 1
    assert good("audit", TABLE, "--n", 2, "--seed", 3) == good(
        "audit", TABLE, "--n", 2, "--seed", 3
    )


def test_audit_writes_nothing(audited, good, study):
    before = {f: f.read_bytes() for f in study.rglob("*") if f.is_file()}
    good("audit", TABLE, "--n", 2)
    assert {f: f.read_bytes() for f in study.rglob("*") if f.is_file()} == before


def rewrite(store, change):
    """Alter the last record of AMP-2 by hand."""
    records = store.load()
    for record in records:
        if record["row"] == "AMP-2" and record["select"] == "validation":
            change(record)
    store.path.write_text("".join(json.dumps(record) + "\n" for record in records))


def moved(record):
    record["metrics"]["HR@10"] = float(np.nextafter(record["metrics"]["HR@10"], 1))


def renamed(record):
    record["metrics"]["HR@20"] = record["metrics"].pop("HR@10")


def other_config(record):
    record["config"]["learning_rate"] = 0.5


def no_config(record):
    record["config"] = {"colour": "red"}


def other_data(record):
    record["data_hash"] = "000000000000"


def other_data_with_its_key(record):
    other_data(record)
    record["key"] = record_key(record)


def other_row(record):
    record["row"] = "AMP-4"


def other_seed_with_its_key(record):
    record["seed"] = 1
    record["key"] = record_key(record)


@pytest.mark.parametrize(
    "change",
    [
        moved,
        renamed,
        other_config,
        no_config,
        other_row,
        other_seed_with_its_key,
        other_data,
        other_data_with_its_key,
    ],
)
def test_audit_finds_an_altered_record(audited, call, change):
    rewrite(audited, change)
    status, out, err = call("audit", TABLE, "--n", 99)
    assert status == 1
    assert err == "error: 1 records did not come out again\n"
    assert out.count("DIFFERENT: ") == 1 and out.count("same: ") == 6


def test_audit_repeats_a_record_from_before_a_measure_was_added(audited, good):
    """It is the same, and the line says that it lacks something."""
    rewrite(audited, lambda record: record["metrics"].pop("NDCG@10"))
    lines = good("audit", TABLE, "--n", 99).splitlines()
    assert all(line.startswith("same: ") for line in lines)
    assert sum("same code, 1 metrics that it lacks" in line for line in lines) == 1


@pytest.mark.parametrize("how", ["moved", "gone", "shorter"])
def test_audit_finds_altered_ranks(audited, call, how):
    records = audited.load()
    ranks = audited.ranks(record["key"] for record in records)
    audited.ranks_path.unlink()
    lines = audited.path.read_bytes()
    audited.path.unlink()
    for record in records:
        sampled, full = (array.copy() for array in ranks[record["key"]])
        if record["row"] == "AMP-2" and record["select"] == "validation":
            if how == "moved":
                sampled[3] += 1
            elif how == "shorter":
                sampled = sampled[:-1]
            else:
                sampled = full = None
        audited.append(record, sampled, full)
    assert audited.path.read_bytes() == lines
    status, out, err = call("audit", TABLE, "--n", 99)
    assert (status, err) == (1, "error: 1 records did not come out again\n")
    assert out.count("DIFFERENT: ") == 1


@pytest.mark.parametrize("noted", [True, False])
def test_audit_is_to_the_bit_where_no_other_processor_is_noted(audited, call, noted):
    def moved(record):
        if not noted:
            del record["processor"]
        record["metrics"] = {k: v + 1e-6 for k, v in record["metrics"].items()}

    rewrite(audited, moved)
    assert call("audit", TABLE, "--n", 99)[0] == 1


@pytest.mark.parametrize("other", [{"versions": {"torch": "1.0"}}, {"processor": "another"}])
def test_audit_elsewhere_allows_for_another_order_of_sums(audited, call, other):
    def elsewhere(record):
        record |= other
        record["metrics"] = {k: v + 0.01 for k, v in record["metrics"].items()}

    rewrite(audited, elsewhere)
    status, out, _ = call("audit", TABLE, "--n", 99)
    assert status == 0 and "largest difference 0.0100, other machine" in out
    rewrite(audited, lambda r: r["metrics"].update({"HR@10": r["metrics"]["HR@10"] + 0.03}))
    assert call("audit", TABLE, "--n", 99)[0] == 1


def test_audit_says_that_the_data_are_others(audited, call, monkeypatch, make_tiny):
    other = replace(make_tiny(n_users=40, n_items=150, per_user=10, seed=9), name="ml-100k")
    command = ["audit", TABLE, "--n", 99, "--dataset", "ml-100k", "--model", "mostpop"]
    monkeypatch.setitem(data.DATASETS, "ml-100k", lambda raw: replace(other, source="a new copy"))
    forget()
    status, out, _ = call(*command)
    assert status == 0 and out.startswith("skipped: MostPop on ml-100k: made from")
    assert "same" not in out and "DIFFERENT" not in out  # nothing was rerun, nothing is claimed
    monkeypatch.setitem(data.DATASETS, "ml-100k", lambda raw: other)  # read in another way
    forget()
    status, out, _ = call(*command)
    assert status == 1 and "DIFFERENT" in out and "other content of the data" in out


def test_audit_of_table_1(study, good, call):
    good("run", amp_cf.TABLE1, "--dataset", "ml-100k")
    assert good("audit", amp_cf.TABLE1).startswith("same: MovieLens 100K on ml-100k")
    store = Store(amp_cf.TABLE1)
    store.path.write_text(store.path.read_text().replace('"users": 40', '"users": 41'))
    assert call("audit", amp_cf.TABLE1)[0] == 1


@pytest.mark.needs_data("ml-100k")
def test_a_committed_record_comes_out_again(good):
    """The stored MostPop run on MovieLens 100K, from the real data."""
    forget()
    out = good("audit", TABLE, "--dataset", "ml-100k", "--model", "mostpop", "--n", 1)
    forget()
    assert out.startswith("same: MostPop on ml-100k")


# --- list, doctor, data --------------------------------------------------------------------------


def test_list_names_everything_that_can_be_asked_for(filled, good):
    text = good("list")
    words = (*cli.TABLES, *DATASETS, *PROTOCOLS, *amp_cf.MODELS, *amp_cf.SELECTS, *amp_cf.VARIANTS)
    for word in words:
        assert re.search(rf"(^|[\s(]){re.escape(word)}($|[\s,:)])", text, re.M), word
    assert "ml-100k loo-random main MostPop: 1" in text


def test_doctor_says_what_is_missing_and_what_to_do(tmp_path, monkeypatch, good):
    for name in ("results", "raw", "prepared"):
        monkeypatch.setattr(paths, name.upper(), tmp_path / name)
    forget()
    text = good("doctor")
    forget()
    for name in data.DATASETS:
        assert re.search(
            rf"^data +{name}: missing: .*run `python -m replication data {name}`", text, re.M
        )
    assert f"yahoo-music: missing: {amp_cf.NO_LICENCE}" in text
    assert "pinterest: missing: " in text
    for paper in PAPERS.values():
        for table in paper.TUNED:
            assert f"0 runs of {table}" in text
    assert re.search(r"^torch +2\.", text, re.M) and re.search(r"^cuda +\S", text, re.M)
    assert not (tmp_path / "prepared").exists()


def test_doctor_says_what_is_there(study, good):
    text = good("doctor")
    assert re.search(r"^data +ml-100k: \d+ ratings, made up for the tests$", text, re.M)


def test_doctor_names_a_broken_record_and_goes_on(study, good):
    Store(TABLE).path.write_text("half a li")
    text = good("doctor")
    assert "broken: line 1 of " in text and "data      ml-100k: " in text


def test_merge_brings_the_records_of_another_folder(study, good, tmp_path, monkeypatch):
    job = ["run", TABLE, *ONE, "--model", "mf", "--seeds", 1]
    good(*job)
    here = Store(TABLE).load()
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "second")
    Store(amp_cf.TUNING).merge(Store(amp_cf.TUNING, tmp_path / "results"))
    text = good("merge", tmp_path / "results")
    assert f"{TABLE}: {len(here)} records added" in text
    assert Store(TABLE).load() == here
    assert good(*job).endswith("(stored)\n")


def test_merge_of_a_folder_without_records(study, capsys, tmp_path):
    assert cli.main(["merge", str(tmp_path / "nothing")]) == 1
    assert "holds no records" in capsys.readouterr().err


def test_help_names_every_command(good):
    text = good("--help")
    for name in ("list", "data", "run", "tune", "table", "audit", "merge", "doctor"):
        assert re.search(rf"^ +{name} ", text, re.M)


def test_audit_trains_anew_each_time(study, good, monkeypatch):
    """No checkpoint of an audit is left for the next one to read back."""
    good("run", TABLE, "--dataset", "ml-100k", "--model", "mf", "--seeds", 1)
    record = next(r for r in Store(TABLE).load() if r["select"] == "validation")
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    amp_cf.rerun(record, torch.device("cpu"))
    assert not list(paths.CHECKPOINTS.glob("*"))
