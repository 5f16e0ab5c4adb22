"""Attentive NCF's tables: what is stored, what follows from it, what is printed."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch

from replication import paths
from replication.cli import main
from replication.compare import load_published
from replication.data import cil
from replication.data.interactions import UNKNOWN_TIME, from_frame
from replication.errors import DataUnavailable, ReplicationError
from replication.folds import make_rating_split
from replication.papers import common
from replication.papers.attentive_ncf import experiments, rows
from replication.papers.attentive_ncf.model import AttentiveNCF, AttentiveNCFConfig
from replication.papers.rating_search import CONTINUED, cut_off, rank_of_trial, tried
from replication.papers.registry import TABLES
from replication.records import Store
from replication.training import described


def made_up():
    rng = np.random.default_rng(0)
    users, items = np.nonzero(rng.random((30, 20)) < 0.6)
    ratings = np.where(users % 2 == items % 2, 4, 2)
    frame = pd.DataFrame({"user": users, "item": items, "rating": ratings})
    frame.loc[:4, "rating"] = [1, 2, 3, 4, 5]
    return from_frame("cil", frame.assign(timestamp=UNKNOWN_TIME), source="made up")


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A tiny data set in the place of cil, small models, nothing stored."""
    for name in ("DATA", "RESULTS"):
        monkeypatch.setattr(paths, name, tmp_path / name)
    for name in ("CHECKPOINTS", "MODELS"):
        monkeypatch.setattr(paths, name, tmp_path / name)
    monkeypatch.setattr(experiments, "load", lambda name: made_up())
    small = {"dimension": 4, "batch_size": 64, "max_epochs": 3, "pretrain_epochs": 2}
    for model, known in rows.ROWS.items():
        if known.table == "table2":
            start = dataclasses.replace(known.start, **small)
            monkeypatch.setitem(rows.ROWS, model, dataclasses.replace(known, start=start))
    for cached in (experiments.data_for, experiments._folds_of, experiments.split_for):
        cached.cache_clear()
    yield
    for cached in (experiments.data_for, experiments._folds_of, experiments.split_for):
        cached.cache_clear()


def call(*arguments):
    assert main([str(a) for a in arguments]) == 0


def test_selections_follow_from_the_curves(study, capsys):
    run = ("run", experiments.TABLE2, "--model", "attentive-ip", "--device", "cpu")
    call(*run, "--seeds", 3)
    call(*run, "--seeds", 2, "--select", "validation")
    records = Store(experiments.TABLE2).load()
    outer = [r for r in records if r["select"] == "fold-minimum"]
    inner = {r["seed"]: r for r in records if r["select"] == "validation-no-refit"}
    assert len(outer) == 3 and len(inner) == 2
    curves = np.array([r["curve"]["test RMSE"] for r in outer])
    assert [r["metrics"]["RMSE"] for r in outer] == pytest.approx(curves.min(1), abs=1e-6)
    derived = experiments.derived(records)
    common = [r["metrics"]["RMSE"] for r in derived if r["select"] == "best-epoch"]
    assert common == pytest.approx(curves[:, curves.mean(0).argmin()])
    assert np.mean(common) == pytest.approx(curves.mean(0).min())
    chosen = {r["seed"]: r["metrics"]["RMSE"] for r in derived if r["select"] == "validation"}
    assert chosen == {s: pytest.approx(curves[s, inner[s]["epochs"] - 1]) for s in (0, 1)}
    for record in inner.values():  # the epoch is chosen without a look at the test
        assert record["epochs"] == 1 + int(np.argmin(record["curve"]["validation RMSE"]))
    capsys.readouterr()
    call("table", experiments.TABLE2, "--format", "json")
    (row,) = [
        r for r in json.loads(capsys.readouterr().out)
        if r["row"] == "attentive + inner product" and r["metric"] == "RMSE"
    ]  # fmt: skip
    assert row["mean"] == pytest.approx(np.mean(common)) and row["published"] == 0.9761
    assert row["status"] == "partial: 3 of 10 folds" and row["ci_low"] < row["mean"]


def test_the_inner_run_trains_on_less_and_the_outer_on_all(study):
    for kind, share in (("fold-minimum", 1.0), ("validation-no-refit", 0.9)):
        split = experiments.Run("cil", "kfold-10", "simple-ip", 1, kind).split()
        whole = experiments.split_for("cil", "kfold-10", 1)
        assert len(split.train) / len(whole.train) == pytest.approx(share, abs=0.04)
        assert split.test is whole.test or np.array_equal(split.test.users, whole.test.users)


def test_a_stored_run_is_not_repeated_and_comes_out_again(study, capsys):
    for model in ("autoencoder-mlp1", "attentive-mlp2"):
        call("run", experiments.TABLE2, "--model", model, "--seeds", 1, "--device", "cpu")
    call("run", experiments.TABLE1, "--model", "bias", "--seeds", 2, "--device", "cpu")
    capsys.readouterr()
    call("run", experiments.TABLE1, "--model", "bias", "--seeds", 2, "--device", "cpu")
    assert capsys.readouterr().out.count("(stored)") == 2
    for table in (experiments.TABLE1, experiments.TABLE2):
        call("audit", table, "--n", 9)
    assert "DIFFERENT" not in capsys.readouterr().out


def test_a_run_that_found_its_tables_kept_has_the_cost_of_pretraining_all_the_same(study):
    made = [
        experiments.run(experiments.Run("cil", "kfold-10", model, 1), torch.device("cpu"), False)
        for model in ("autoencoder-ip", "autoencoder-mlp1", "simple-ip")
    ]
    first, second, none = (finished.record for finished in made)
    assert first["pretraining"] == second["pretraining"] and "pretraining" not in none
    assert first["seconds_pretraining"] == second["seconds_pretraining"] > 0
    assert first["pretraining"]["users"]["epochs_run"] == 2
    assert Store(experiments.TABLE2).append(first)


def test_fold_0_says_what_the_drawn_contexts_do(study):
    job = experiments.Run("cil", "kfold-10", "attentive-ip", 0)
    metrics = experiments.run(job, torch.device("cpu"), False).record["metrics"]
    assert {f"RMSE/draw-{d}" for d in range(5)} <= set(metrics)
    # No user has more than 128 other movies, so that all draws are all context.
    assert len({metrics[f"RMSE/draw-{d}"] for d in range(5)}) == 1
    assert metrics["RMSE/draw-0"] == metrics["RMSE/context-all"] != metrics["RMSE/context-none"]


def test_each_draw_and_each_width_of_contexts_has_an_error_of_its_own():
    """Where users have more movies than the widest context that is drawn."""
    rng = np.random.default_rng(0)
    users, items = np.nonzero(rng.random((20, 120)) < 0.9)
    frame = pd.DataFrame({"user": users, "item": items, "rating": rng.integers(1, 6, len(users))})
    split = make_rating_split(from_frame("x", frame.assign(timestamp=UNKNOWN_TIME)), "kfold-10", 0)
    model = AttentiveNCF(split, AttentiveNCFConfig(dimension=4, initial_scale=1.0, context_test=5))
    job = experiments.Run("cil", "kfold-10", "attentive-mlp2", 0)
    found = experiments._contexts(job, model, split, torch.device("cpu"))
    assert len(found) == len(set(found.values())) == experiments.TEST_DRAWS + 4
    assert model.test_width == 5


@pytest.mark.parametrize(
    "variant", ["other-size", "mlp2-deep", "all-context", "default-user", "user-scale-raw"]
)
def test_variants_change_what_they_say(study, variant):
    spec = experiments.VARIANTS[variant]
    model = spec.models[-1]
    plain, changed = (experiments.variant_config(model, "cil", v) for v in ("", variant))
    moved = {f.name for f in dataclasses.fields(plain)
             if getattr(plain, f.name) != getattr(changed, f.name)}  # fmt: skip
    assert moved == ({"dimension"} if variant == "other-size" else {n for n, _ in spec.changes})


def test_ensembles_average_what_was_kept(study, capsys, monkeypatch):
    monkeypatch.setattr(experiments, "MEMBERS", {"two": ("simple-ip", "attentive-ip")})
    for model in ("simple-ip", "attentive-ip"):
        call("run", experiments.TABLE2, "--model", model, "--seeds", 2, "--device", "cpu")
    call("run", experiments.TABLE2, "--variant", "bagged", "--device", "cpu")
    call("run", experiments.ENSEMBLE)
    assert len(Store(experiments.ENSEMBLE).load()) == 2  # the bagged one waits for its rival
    for select in ("best-epoch", "validation"):
        call("run", experiments.TABLE2, "--model", "attentive-mlp2", "--seeds", 1,
             "--select", select, "--device", "cpu")  # fmt: skip
    call("run", experiments.ENSEMBLE)
    records = Store(experiments.ENSEMBLE).load()
    of_one = {r["select"]: r for r in experiments.derived(Store(experiments.TABLE2).load())
              if (r["row"], r["variant"], r["seed"]) == ("attentive + MLP2", "", 0)}  # fmt: skip
    rival = f"RMSE/{experiments.WHOLE}"
    assert [rival in record["metrics"] for record in records] == [False, False, True]
    assert records[-1]["metrics"][rival] == pytest.approx(
        of_one["validation"]["metrics"]["RMSE"], abs=1e-4
    )
    assert [(r["row"], r["seed"]) for r in records] == [
        ("two", 0), ("two", 1), (experiments.BAGGED, 0)
    ]  # fmt: skip
    for record in records:  # an average is better than its members are on average
        found = record["metrics"]
        assert found["RMSE"] < found["RMSE/mean member"]
        for metric in ("RMSE", "MAE"):
            less = f"{metric}/{experiments.LESS_BEST}"
            assert found[less] == pytest.approx(found[metric] - found[f"{metric}/best member"],
                                                abs=1e-4)  # fmt: skip
            assert found[f"{less}/low"] < found[less] < found[f"{less}/high"]
            tested = experiments.split_for("cil", "kfold-10", record["seed"]).test.users
            assert found[f"{less}/users"] == len(set(tested.tolist()))
    call("audit", experiments.ENSEMBLE)


def test_a_member_whose_predictions_were_lost_is_trained_again(study, monkeypatch):
    monkeypatch.setattr(experiments, "MEMBERS", {"two": ("simple-ip", "attentive-ip")})
    for model in ("simple-ip", "attentive-ip"):
        call("run", experiments.TABLE2, "--model", model, "--seeds", 1, "--device", "cpu")
    files = sorted((paths.DATA / "predictions").glob("*.pt"))
    before = {file.name: torch.load(file, weights_only=True)["predictions"] for file in files}
    assert len(before) == 2
    files[0].unlink()
    call("run", experiments.ENSEMBLE, "--device", "cpu")
    assert [r["row"] for r in Store(experiments.ENSEMBLE).load()] == ["two"]
    again = torch.load(files[0], weights_only=True)["predictions"]
    assert torch.equal(again, before[files[0].name])

    # Another model is no stand-in for the one on record, and a stored mean needs no member.
    for file in files:
        file.unlink()
    ((_, _, new),) = experiments.ensembles("cil", "cpu", progress=False)
    assert not new
    table = paths.RESULTS / f"{experiments.ENSEMBLE}.jsonl"
    table.unlink()
    members = Store(experiments.TABLE2).load()
    members[0]["curve"]["test RMSE"][0] += 0.01
    recorded = [dict(member) for member in members]
    monkeypatch.setattr(
        Store, "load", lambda store: members if store.table == experiments.TABLE2 else []
    )
    with pytest.raises(ReplicationError, match="has another curve than its record"):
        list(experiments.ensembles("cil", "cpu", progress=False))

    # On another processor sums round in another way: a model that is near may stand in.
    members[0]["processor"] = "another"
    ((_, mean, _),) = experiments.ensembles("cil", "cpu", progress=False)
    assert mean["metrics"]["RMSE/best member"] == pytest.approx(
        min(member["metrics"]["RMSE"] for member in recorded), abs=1e-3
    )
    table.unlink()
    for file in files:
        file.unlink(missing_ok=True)
    members[0]["curve"]["test RMSE"][0] += 0.1  # but not one that is far
    with pytest.raises(ReplicationError, match="has another curve than its record"):
        list(experiments.ensembles("cil", "cpu", progress=False))


def test_tuning_chooses_on_the_inner_validation(study, monkeypatch):
    monkeypatch.setattr(experiments, "N_TRIALS", 3)
    call("tune", experiments.TABLE1, "--model", "svd-imputed", "--dataset", "cil")
    trials = Store(experiments.TUNING).load()
    assert len(trials) == 3 and len({t["config"]["rank"] for t in trials}) > 1
    best = min(trials, key=lambda t: t["metrics"]["RMSE"])
    assert experiments.tuned_config("svd-imputed", "cil").rank == best["config"]["rank"]
    call("tune", experiments.TABLE2, "--model", "simple-mlp1", "--dataset", "cil")
    trials = [t for t in Store(experiments.TUNING).load() if t["row"] == "simple + MLP1"]
    best = min(trials, key=lambda t: t["metrics"]["RMSE"])
    tuned = experiments.tuned_config("simple-mlp1", "cil")
    assert tuned.learning_rate == best["config"]["learning_rate"]
    assert tuned.max_epochs == 3  # never more than the start's


def test_a_companion_has_smaller_batches_and_no_other_settings():
    for trial in range(experiments.N_TRIALS):
        there, here = (experiments.trial_config("mf", d, trial) for d in ("cil", "ml-100k"))
        assert there.batch_size == 8 * here.batch_size
        assert dataclasses.replace(here, batch_size=there.batch_size) == there
    assert experiments.tuned_config("mf", "ml-latest-small").batch_size == 512
    assert experiments.row_on("als", "ml-100k") is rows.row("als")


@pytest.mark.parametrize(
    ("best", "seen", "limit"),
    [(3, 6, 7), (12, 12, 20), (8, 10, 18), (6, 9, 10), (14, 14, 20), (0, 0, 2)],
)
def test_the_limit_of_epochs_follows_the_best_trial(best, seen, limit, monkeypatch):
    trial = trial_of("simple-mlp1", 0, 1.0) | {"epochs": best, "epochs_run": seen}
    monkeypatch.setattr(Store, "load", lambda _: [trial])
    assert experiments.tuned_config("simple-mlp1", "cil").max_epochs == limit


@pytest.mark.parametrize(
    ("trial", "cut"),
    [
        ({"epochs": 12, "epochs_run": 12}, True),
        ({"epochs": 10, "epochs_run": 12}, True),  # a third epoch without a better error is missing
        ({"epochs": 9, "epochs_run": 12}, False),
        ({"epochs": 6, "epochs_run": 9}, False),
        ({"epochs": 11, "epochs_run": 11}, False),  # interrupted by divergence
        ({"epochs": 0}, False),  # diverged in the first
        ({"config": {}}, False),  # no epochs
    ],
)
def test_a_trial_is_cut_off_if_its_patience_had_not_run_out(trial, cut):
    assert cut_off({"config": {"max_epochs": 12}} | trial, 3) is cut


def trial_of(model, number, error, epochs=5, lasted=8, allowed=12):
    """A search trial on cil as it is stored, of the configuration that its number draws."""
    config = dataclasses.replace(experiments.trial_config(model, "cil", number), max_epochs=allowed)
    return {
        "row": experiments.row_name(model),
        "dataset": "cil",
        "trial": number,
        "config": described(config),
        "metrics": {"RMSE": error},
        "epochs": epochs,
        "epochs_run": lasted,
    }


def test_the_best_of_the_trials_that_were_cut_off_go_on(monkeypatch):
    cut = [trial_of("simple-mlp1", n, 1 - n / 100, 12, 12) for n in range(5)]
    turned = [trial_of("simple-mlp1", 5, 0.5), trial_of("simple-mlp1", 6, 0.5, 9, 12)]
    longer = trial_of("simple-mlp1", 7, 0.4, 40, 40, allowed=40)  # of the second round itself
    search = experiments.search("simple-mlp1", "cil")
    monkeypatch.setattr(Store, "load", lambda _: [*turned, longer, *cut])
    assert search.continued() == [4, 3, 2] and len(search.continued()) == CONTINUED
    monkeypatch.setattr(Store, "load", lambda _: turned)
    assert search.continued() == []


def test_a_trial_that_was_continued_counts_once_and_its_epochs_are_allowed(monkeypatch):
    short = [trial_of("simple-mlp1", n, 1 - n / 100, 12, 12) for n in range(2)]
    longer = trial_of("simple-mlp1", 0, 0.9, 30, 33, allowed=40)
    stored = [longer, *short]
    monkeypatch.setattr(Store, "load", lambda _: stored)
    search = experiments.search("simple-mlp1", "cil")
    assert sorted((t["trial"], t["epochs_run"]) for t in search.trials()) == [(0, 33), (1, 12)]
    first = experiments.trial_config("simple-mlp1", "cil", 0)
    # Its start allows 20 epochs, its trial 40.
    assert experiments.tuned_config("simple-mlp1", "cil") == dataclasses.replace(
        first, max_epochs=34
    )
    monkeypatch.setattr(experiments, "N_TRIALS", 2)
    assert experiments.search("simple-mlp1", "cil").lacking() == 1  # trial 1 goes on as well
    stored.append(trial_of("simple-mlp1", 1, 0.95, 35, 38, allowed=40))
    assert experiments.search("simple-mlp1", "cil").lacking() == 0
    stored.append(trial_of("simple-mlp1", 1, 0.85, 40, 40, allowed=40))
    assert experiments.tuned_config("simple-mlp1", "cil").max_epochs == 40


@pytest.mark.parametrize("model", ["simple-ip", "attentive-mlp1"])
def test_a_search_has_a_second_round(study, monkeypatch, model):
    monkeypatch.setattr(experiments, "N_TRIALS", 2)
    monkeypatch.setattr(experiments, "TRIAL_EPOCHS", 1)
    monkeypatch.setattr(experiments, "LONGER_EPOCHS", 2)
    found = list(experiments.tune(model, "cil", progress=False))
    assert [(n, r["config"]["max_epochs"]) for n, r, _ in found[:2]] == [(0, 1), (1, 1)]
    best = sorted(found[:2], key=lambda one: rank_of_trial(one[1]))
    assert [(n, r["config"]["max_epochs"]) for n, r, _ in found[2:]] == [(n, 2) for n, *_ in best]
    for number, longer, _ in found[2:]:  # the same trial, seen for longer
        if longer["epochs"] == 1:
            assert longer["metrics"] == found[number][1]["metrics"]
        assert longer["epochs_before"] == 1 and longer["epochs_run"] == 2
        # As if it had not been stopped in between, contexts that are drawn included.
        config = dataclasses.replace(experiments.trial_config(model, "cil", number), max_epochs=2)
        at_once = tried(
            rows.row(model), experiments.split_for("cil", "kfold-10", 0, inner=True), config,
            torch.device("cpu"), experiments.TRIAL_PATIENCE, "", False,
        )  # fmt: skip
        assert longer["metrics"] == at_once["metrics"]
    assert not list(paths.CHECKPOINTS.glob("*"))
    assert not any(new for *_, new in experiments.tune(model, "cil", progress=False))


def test_a_trial_of_another_draw_does_not_count(monkeypatch):
    """Where the draw has changed since, the number of a trial stands for another setting."""
    best, second = trial_of("simple-mlp1", 3, 0.9), trial_of("simple-mlp1", 1, 0.95)
    monkeypatch.setattr(Store, "load", lambda _: [best, second])
    third, first = (experiments.trial_config("simple-mlp1", "cil", n) for n in (3, 1))
    tuned = experiments.tuned_config("simple-mlp1", "cil")
    assert tuned == dataclasses.replace(third, max_epochs=9)  # its own limit does not count
    best["config"] = best["config"] | {"learning_rate": 0.5}
    assert experiments.tuned_config("simple-mlp1", "cil").learning_rate == first.learning_rate
    second["config"] = second["config"] | {"batch_size": 1}
    assert experiments.tuned_config("simple-mlp1", "cil") == rows.row("simple-mlp1").start


def test_the_stored_trials_are_of_the_draws_of_today():
    """Else the settings of the stored runs were never tried, and the records have no address."""
    stored = [r for r in Store(experiments.TUNING).load() if r["dataset"] == "cil"]
    for name in {record["row"] for record in stored}:
        (model,) = [m for m, known in experiments.MODELS.items() if known == name]
        counted = experiments.search(model, "cil").both_rounds()
        assert len(counted) == sum(record["row"] == name for record in stored)


@pytest.mark.parametrize("table", [experiments.TABLE1, experiments.TABLE2])
@pytest.mark.parametrize("protocol", ["kfold-10", "kfold-10-plain"])
def test_what_is_planned_is_what_the_grid_has(table, protocol):
    wanted = {
        (cell.row, number)
        for cell in experiments.grid(table, "fold-minimum")
        if cell.protocol == protocol
        for number in range(cell.seeds_required)
    }
    if not wanted:
        with pytest.raises(ReplicationError, match=f"{table} has no cell of {protocol}"):
            experiments.plan(table, protocols=[protocol])
        return
    jobs = experiments.plan(table, protocols=[protocol])
    assert {(experiments.row_name(job.model), job.number) for job in jobs} == wanted
    assert len(jobs) == len(wanted)


def test_every_printed_row_has_a_cell_and_every_cell_of_ours_no_printed_number():
    published = load_published("attentive_ncf")
    for table, printed in (("table1", 12), ("table2", 9)):
        part = published[published["table"] == table]
        assert len(part) == printed and set(part["metric"]) == {"RMSE"}
        cells = {c.row for c in TABLES[f"attentive_ncf/{table}"].grid("best-epoch", "")}
        assert set(part["row"]) <= cells
        ours = cells - set(part["row"])
        assert len(ours) == (6 if table == "table1" else 0)


# --- the data set --------------------------------------------------------------------------------


def read(tmp_path, *lines, header="Id,Prediction"):
    folder = tmp_path / "cil"
    folder.mkdir()
    (folder / "data_train.csv").write_text("\n".join([header, *lines]) + "\n")
    return cil.load(tmp_path)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["r1_c1,4", "1_2,4"], "Ids such as r44_c1, but line 3 of data_train.csv has '1_2'"),
        (["r1_c1,4", "r1_cx,4"], "line 3 of data_train.csv has 'r1_cx'"),
        (["r1_c1,6"], "ratings 1 to 5, but line 2 of data_train.csv has '6'"),
        (["r1_c1,0"], "has '0'"),
        (["r1_c1,3.5"], "has '3.5'"),
        (["r1_c1,"], "has ''"),
        (["r1_c1,4", "r1_c1,5"], "each Id once, but line 3"),
        (["r1_c1,4", "r2_c1,5"], "should hold 1176952 ratings"),
    ],
)
def test_broken_files_are_one_sentence(tmp_path, lines, said):
    with pytest.raises(ReplicationError, match=said):
        read(tmp_path, *lines)


def test_other_columns_are_one_sentence(tmp_path):
    with pytest.raises(ReplicationError, match="columns Id and Prediction"):
        read(tmp_path, "r1_c1,4", header="Id,Rating")


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(DataUnavailable, match="replication data cil"):
        cil.load(tmp_path)


@pytest.mark.needs_data("cil")
def test_the_papers_data():
    from replication.data import load

    data = load("cil")
    assert (data.n_users, data.n_items, len(data)) == (10_000, 1_000, 1_176_952)
    assert tuple(np.bincount(data.ratings.astype(int))[1:]) == cil.HISTOGRAM


def test_a_run_before_its_search_is_complete_says_so(study, capsys):
    common._say_once.cache_clear()
    call("run", experiments.TABLE1, "--model", "bias", "--seeds", 1)
    said = capsys.readouterr().err
    assert "bias (closed form) on cil has 0 of 10 search trials and runs with its starting" in said
    trials = experiments.tune("bias", "cil", "cpu")
    for _ in range(4):
        next(trials)
    call("run", experiments.TABLE1, "--model", "bias", "--seeds", 2)
    assert "has 4 of 10 search trials and runs with the best of these" in capsys.readouterr().err
    list(trials)
    call("run", experiments.TABLE1, "--model", "bias", "--seeds", 3)
    assert "note" not in capsys.readouterr().err
    call("run", experiments.TABLE1, "--model", "constant", "--seeds", 1)  # nothing to search
    assert "note" not in capsys.readouterr().err
