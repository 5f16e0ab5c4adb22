"""AFM's tables: which runs there are, what a run trains on, and what is stored of it."""

import dataclasses
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from replication import cli, data, page, paths, rating_training, training
from replication.baselines.nfm import NFM
from replication.compare import cells, load_published
from replication.data import douban, omdb
from replication.data.interactions import UNKNOWN_TIME, from_frame
from replication.errors import DataUnavailable, Diverged, ReplicationError
from replication.folds import make_rating_split
from replication.metrics.rating import summary
from replication.papers import rating_search
from replication.papers.afm import experiments, packing, rows
from replication.papers.afm.experiments import Run
from replication.papers.afm.model import AFMConfig
from replication.papers.rating_search import cut_off
from replication.rating_training import fit_ratings, rating_range
from replication.records import Store, record_key
from replication.training import described

CPU = torch.device("cpu")


def made_up(name):
    rng = np.random.default_rng(0)
    users, items = np.nonzero(rng.random((40, 20)) < 0.7)
    ratings = np.where(users % 2 == items % 2, 5, 2)
    frame = pd.DataFrame({"user": users, "item": items, "rating": ratings})
    features = pd.DataFrame(
        {
            "genres": ["odd|new" if i % 2 else "even" for i in range(20)],
            "director": [f"d{i % 5}" for i in range(20)],
            "writer": [f"w{i % 3}|w{i % 4}" for i in range(20)],
            "actor": ["a" if i % 2 else "" for i in range(20)],
            "actors": ["a|b" if i % 2 else "b|c|d" for i in range(20)],
            "certificate": "PG",
            "year": [str(1990 + i % 2) for i in range(20)],
        }
    )
    return from_frame(name, frame.assign(timestamp=UNKNOWN_TIME), features, "made up")


def forget():
    for cached in (experiments.data_for, experiments._folds_of, experiments.split_for):
        cached.cache_clear()


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A tiny data set in the place of each, small models, nothing stored."""
    for name in ("DATA", "RESULTS", "CHECKPOINTS", "MODELS"):
        monkeypatch.setattr(paths, name, tmp_path / name)
    monkeypatch.setattr(experiments, "load", made_up)
    monkeypatch.setattr(
        experiments,
        "load_tags",
        lambda data: pd.DataFrame({"user": data.users, "item": data.items, "tag": "good"}),
    )
    for model, known in rows.ROWS.items():
        if known.trained:
            small = {"dimension": 4, "batch_size": 64, "max_epochs": 4, "learning_rate": 0.1}
            start = dataclasses.replace(known.start, **small)
            monkeypatch.setitem(rows.ROWS, model, dataclasses.replace(known, start=start))
    forget()
    yield
    forget()


def main_run(model, trial):
    """The configuration of the main runs that follow from a trial."""
    config = experiments.trial_config(model, trial)
    return dataclasses.replace(config, max_epochs=experiments.LONGER_EPOCHS)


def done(*jobs):
    return [record for _, record, _ in experiments.run_and_store(jobs, "cpu", progress=False)]


@pytest.mark.parametrize("model", ["libfm", "svdfeature", "cdl", "nfm", "afm", "bias", "als"])
def test_every_model_runs_and_comes_out_again(study, model):
    (record,) = done(Run("ml-1m-omdb", model, 1))
    assert 0 < record["metrics"]["RMSE"] < 1.6  # the mean alone has 1.5
    again, _ = experiments.rerun(record, CPU)
    assert again["metrics"] == record["metrics"]
    assert record_key(record) == record_key(again)
    ((_, _, new),) = experiments.run_and_store([Run("ml-1m-omdb", model, 1)], "cpu")
    assert not new


def test_the_epoch_is_chosen_without_the_test(study):
    (record,) = done(Run("ml-1m", "afm", 0))
    curve = record["curve"]
    assert record["epochs"] == 1 + int(np.argmin(curve["validation RMSE"]))
    assert record["metrics"]["RMSE"] == pytest.approx(
        curve["test RMSE"][record["epochs"] - 1], abs=1e-6
    )


def test_the_training_error_is_that_of_the_chosen_epoch_and_no_part_of_the_address(study):
    job = Run("ml-1m", "afm", 0)
    record, model = experiments.run(job, CPU, progress=False)
    train = job.split().train
    with torch.no_grad():
        predicted = model(*(torch.from_numpy(x) for x in (train.users, train.items)))
    wanted = summary(predicted.clamp(*rating_range(job.split())), torch.from_numpy(train.values))
    assert record["train_errors"] == pytest.approx(wanted, abs=1e-6)
    assert set(record["metrics"]) == {"RMSE", "MAE"}  # older records come out again
    assert record_key(record) == record_key(job.address())
    found = experiments.with_gap(record)
    held = record["curve"]["validation RMSE"][record["epochs"] - 1]
    assert found["metrics"][experiments.GAP] == pytest.approx(held - wanted["RMSE"], abs=1e-6)
    older = {k: v for k, v in record.items() if k != "train_errors"}
    assert experiments.with_gap(older) == older
    (fitted,) = done(Run("ml-1m", "als", 0))
    assert "train_errors" not in fitted and experiments.with_gap(fitted) == fitted


def test_what_a_claim_rests_on_has_all_folds(study):
    cells = experiments.grid(experiments.ALTERNATIVES)
    folds = {(c.row, c.dataset): c.seeds_required for c in cells}
    own, mean, concat, added = (
        rows.row(f"afm-{x}").name for x in ("free", "mean", "concat", "sum")
    )
    assert [folds[row, "ml-1m-omdb"] for row in (own, mean, concat, added)] == [5, 5, 5, 2]
    jobs = experiments.plan(experiments.TABLE2, variant="features-1")
    assert {(job.model, job.number) for job in jobs} == {
        (model, fold) for model in ("afm", "nfm", "libfm") for fold in range(5)
    }
    assert len(experiments.plan(experiments.TABLE2, variant="features-2")) == 3 * 2


def test_all_models_know_the_same_ratings(study):
    trained, fitted = (Run("ml-1m", model, 2).split() for model in ("afm", "als"))
    assert np.array_equal(trained.train.users, fitted.train.users)
    assert len(trained.validation) and len(trained.test)


def test_a_refit_takes_the_main_run_s_epochs_and_all_ratings(study):
    job = Run("ml-1m", "mf", 0, "refit")
    with pytest.raises(ReplicationError, match="needs the main run of that fold first"):
        done(job)
    (main,) = done(dataclasses.replace(job, variant=""))
    (record,) = done(job)
    assert record["epochs"] == main["epochs"] == len(record["curve"]["epoch"])
    assert record["ratings"]["train"] > main["ratings"]["train"]
    assert record["metrics"]["RMSE"] == pytest.approx(record["curve"]["test RMSE"][-1], abs=1e-6)


@pytest.mark.parametrize("share", experiments.SHARES)
def test_a_share_of_the_training_ratings(study, share):
    whole = Run("ml-1m", "afm", 0).split()
    thin = Run("ml-1m", "afm", 0, f"train-{share}").split()
    assert np.array_equal(whole.test.users, thin.test.users)
    assert len(thin.train) / len(whole.train) == pytest.approx(share / 100, abs=0.1)
    pairs = [set(zip(s.train.users, s.train.items, strict=True)) for s in (thin, whole)]
    assert pairs[0] < pairs[1]


def test_features_of_a_variant(study):
    for n in (1, 2, 3, 4, 6):
        split = Run("ml-1m-omdb", "afm", 0, f"features-{n}").split()
        assert split.features.names == experiments.ORDER[:n]
    assert set(Run("ml-1m-omdb", "afm", 0).split().features.names) == set(experiments.ORDER[:5])


def test_shuffled_genres_are_dealt_anew(study):
    true, dealt = (Run("ml-1m", "afm", 0, v).split().features for v in ("", "shuffled-genres"))
    sets = [sorted(map(tuple, np.where(t.present, t.values, -1)[:, 0])) for t in (true, dealt)]
    assert sets[0] == sets[1]
    assert (true.present != dealt.present).any()


def test_only_the_first_value_of_an_alternative(study):
    split = Run("ml-latest-small", "afm-first", 0).split()
    assert split.features.present[:, 0].sum(1).max() == 1
    assert Run("ml-latest-small", "afm", 0).split().features.present[:, 0].sum(1).max() == 2


def test_the_values_of_a_film_together_as_one(study):
    """Of all that has several values of those that films come with; tags are users' words."""
    split = Run("ml-1m-omdb", "afm-whole", 0).split()
    assert split.features.present.sum(2).max() == 1
    assert {"odd|new", "even", "w1|w3"} <= set(split.features.vocabulary)
    assert not {"odd", "new"} & set(split.features.vocabulary)
    for model, rule in (("afm-first", "first"), ("afm-whole", "whole")):
        assert dict(rows.row(model).rules) == dict.fromkeys(("genres", "director", "writer"), rule)
        config = Run("ml-1m-omdb", model, 0).address()["config"]
        assert ["director", rule] in config["rules"]


def test_several_actors_stand_in_the_place_of_the_first(study):
    split = Run("ml-1m-omdb", "afm-actors", 0).split()
    assert split.features.names == ("director", "writer", "actors", "genres", "certificate")
    assert split.features.present[:, 2].sum(1).max() == 3
    described = Run("ml-1m-omdb", "afm-actors", 0).address()["config"]
    assert described["features"] == list(split.features.names)


def test_an_alternative_is_run_where_it_can_differ(study):
    found = {(c.row, c.dataset) for c in experiments.grid(experiments.ALTERNATIVES)}
    names = {d: {row for row, dataset in found if dataset == d} for d in experiments.RUN_HERE}
    lost, actors, inner = (rows.row(f"afm-{x}").name for x in ("lost", "actors", "inner"))
    assert lost not in names["ml-1m"] and inner in names["ml-1m"]
    assert {lost, actors} <= names["ml-1m-omdb"] and inner not in names["ml-1m-omdb"]
    assert {lost, inner} <= names["ml-latest-small"] and actors not in names["ml-latest-small"]
    constants = {known.name for known in rows.ROWS.values() if known.varies == "mean"}
    assert constants <= names["ml-latest-small"]  # each reading is searched on ml-1m
    assert not constants & (names["ml-1m"] | names["ml-1m-omdb"])
    assert len(rows.READINGS) == 9 and not {"afm-no-mean", "afm-adam"} & set(rows.READINGS)
    assert {row for row, _ in found} == {
        known.name for known in rows.ROWS.values() if known.table == "alternatives"
    }
    with pytest.raises(ReplicationError, match="is not run on ml-1m"):
        next(iter(experiments.tune("afm-lost", "ml-1m", "cpu")))


def test_every_interaction_is_run_with_and_without_biases_and_mean(study):
    """As the paper leaves it open: four readings of the interaction, each in four ways."""
    found = {
        (config.interaction, config.bounded, config.biases, model.mean != 0)
        for name, known in rows.ROWS.items()
        if isinstance(config := known.start, AFMConfig)
        and config.method == "sgd"
        and name != rows.BEST
        and known.varies in ("", "interaction", "mean")
        for model in (known.build(Run("ml-1m", name, 0).split(), config, 0, CPU),)
    }
    both = (False, True)
    ways = {("mlp", False), ("mlp", True), ("mlp-product", False), ("inner", False)}
    assert found == {(*way, biases, mean) for way in ways for biases in both for mean in both}


def test_one_genre_for_all_films(study):
    """The slot is there for every film and tells none from another."""
    one = Run("ml-1m", "afm", 0, "one-genre").split().features
    assert one.names == ("genres",) and one.n_values == 1 and one.present.all()
    cells = [
        cell
        for table in (experiments.TABLE2, experiments.ALTERNATIVES)
        for variant in ("one-genre", "shuffled-genres")
        for cell in experiments.grid(table, variant=variant)
    ]
    assert sorted((c.variant, c.row) for c in cells) == sorted(
        (variant, rows.row(model).name)
        for variant in ("one-genre", "shuffled-genres")
        for model in experiments.DEALT_TO
    )
    assert {c.seeds_required for c in cells} == {experiments.FOLDS}


def test_the_package_s_benchmark_keeps_its_settings_whatever_the_search_finds(study, monkeypatch):
    monkeypatch.setattr(experiments, "N_TRIALS", 2)
    search(["svdpp"], "ml-1m", "svdpp")
    drawn = Run("ml-1m", "svdpp", 0).config()
    assert drawn == experiments.trial_config("svdpp", 1) and drawn.lr_all
    config = Run("ml-1m", "svdpp", 0, "oracle").config()
    assert config == dataclasses.replace(rows.row("svdpp").start, random_state=0)


def test_each_fold_has_a_deal_of_genres_of_its_own(study):
    dealt = [Run("ml-1m", "afm", n, "shuffled-genres").split().features for n in (0, 1, 0)]
    assert (dealt[0].present != dealt[1].present).any()
    assert dealt[0].content_hash == dealt[2].content_hash


def test_a_run_that_diverges_is_stored_and_the_others_go_on(study, monkeypatch):
    known = rows.ROWS["libfm"]
    wild = dataclasses.replace(known.start, learning_rate=1e6)
    monkeypatch.setitem(rows.ROWS, "libfm", dataclasses.replace(known, start=wild))
    jobs = [Run("ml-1m", "libfm", 0), Run("ml-1m", "libfm", 0, "refit"), Run("ml-1m", "bias", 0)]
    failed, refit, fine = done(*jobs)
    assert failed["metrics"] == refit["metrics"] == {} and "became" in failed["failed"]
    assert "main run" in refit["failed"] and fine["metrics"]
    ((_, _, new),) = experiments.run_and_store(jobs[:1], "cpu", progress=False)
    assert not new  # it would diverge again
    stored = Store(experiments.TABLE2).load()
    places = {c.row: found for c, found in cells(experiments.grid(experiments.TABLE2), stored)
              if c.dataset == "ml-1m"}  # fmt: skip
    assert not places["LibFM"] and 0 in places[fine["row"]]
    text = page.failed(stored)
    assert "LibFM on `ml-1m`, number 0: the loss" in text and page.failed([fine]) == ""
    assert page.failed([*stored, *(r | {"dataset": "ml-1m-omdb"} for r in stored)]) == text


def test_other_features_have_another_address(study, monkeypatch):
    job = Run("ml-1m", "afm", 0)
    before = record_key(job.address())
    data = made_up("ml-1m")
    monkeypatch.setattr(
        experiments,
        "load",
        lambda name: dataclasses.replace(data, item_features=data.item_features.assign(genres="x")),
    )
    forget()
    assert record_key(job.address()) != before


def test_the_best_trial_is_taken_and_one_that_diverges_is_not(study, monkeypatch):
    monkeypatch.setattr(experiments, "N_TRIALS", 3)
    rates = {np.random.default_rng([0, n]).random(): rate for n, rate in ((1, 1e6), (2, 0.5))}
    known = dataclasses.replace(
        rows.ROWS["mf"], draw=lambda rng: {"learning_rate": rates[rng.random()], "method": "sgd"}
    )
    monkeypatch.setitem(rows.ROWS, "mf", known)
    monkeypatch.setattr(rating_search, "CONTINUED", 0)
    trials = [record for _, record, _ in experiments.tune("mf", "ml-1m", "cpu", False)]
    assert trials[1]["metrics"] == {"RMSE": 3.0, "MAE": 3.0} and trials[1]["epochs"] == 0
    best = min(trials, key=lambda record: record["metrics"]["RMSE"])
    assert experiments.tuned_config("mf", "ml-1m") == main_run("mf", best["trial"])


def search(readings, dataset, best):
    """Trials of some readings, as their searches would leave them; the last of ``best`` wins."""
    last = experiments.N_TRIALS - 1
    for model in readings:
        for trial in range(last + 1):
            config = described(experiments.trial_config(model, trial))
            record = Run(dataset, model, 0).address() | {"table": experiments.TUNING}
            record |= {"trial": trial, "config": config, "metrics": {"RMSE": 0.9}}
            record["metrics"]["RMSE"] -= 0.1 * ((model, trial) == (best, last))
            Store(experiments.TUNING).append(record)


def test_the_best_reading_is_the_one_that_the_searches_choose(study, monkeypatch):
    monkeypatch.setattr(experiments, "N_TRIALS", 2)
    monkeypatch.setattr(rating_search, "CONTINUED", 0)
    best = "afm-inner-biases"
    assert {best, "afm", "afm-product"} < set(rows.READINGS)
    assert not {"afm-adam", "afm-free", rows.BEST} & set(rows.READINGS)
    search(set(rows.READINGS) - {"afm-bounded"}, "ml-1m", best)
    with pytest.raises(ReplicationError, match="missing are trials of AFM, bounded output"):
        experiments.reading("ml-1m")
    search(["afm-bounded"], "ml-1m", best)
    assert experiments.reading("ml-1m") == experiments.reading("ml-1m-omdb") == best
    with pytest.raises(ReplicationError, match="is best on ml-latest-small is not known"):
        done(Run("ml-latest-small", rows.BEST, 0))

    (record,) = done(Run("ml-1m", rows.BEST, 0))
    assert record["row"] == "AFM, best reading" and record["table"] == experiments.TABLE2
    chosen = main_run(best, 1)
    assert experiments.config_of(record) == chosen and chosen.interaction == "inner"
    again, _ = experiments.rerun(record, CPU)
    assert again["metrics"] == record["metrics"]

    # It is packed where it is known; with five features its rates have to be searched first.
    jobs = packing.pending(packing.TABLES, None, [rows.BEST])
    assert (jobs[0].kind, jobs[0].dataset) == ("trials", "ml-1m-omdb")
    assert sorted((j.kind, j.dataset) for j in jobs[1:]) == [
        *[("run", "ml-1m")] * 4,
        *[("run", "ml-1m-omdb")] * 5,
    ]
    assert packing.needs(jobs[-1]) == {rows.BEST}
    # With five features the reading is searched anew, and its trials are its own.
    trials = [r for _, r, _ in experiments.tune(rows.BEST, "ml-1m-omdb", "cpu", False)]
    assert {r["row"] for r in trials} == {rows.row(best).name} and len(trials) == 2
    assert experiments.tuned_config(rows.BEST, "ml-1m-omdb") in [
        main_run(best, n) for n in range(2)
    ]
    assert trials[0]["config"]["features"] == list(experiments.FEATURES["ml-1m-omdb"])
    assert "trials" not in {j.kind for j in packing.pending(packing.TABLES, None, [rows.BEST])}


TAKEN = ("afm-sum", "afm-slots", "afm-first", "afm-whole", "afm-actors", "afm-lost")


def test_alternatives_of_which_nothing_is_claimed_take_the_number_of_afm_s_best_trial(
    study, monkeypatch
):
    """On five features, where trials cost most."""
    monkeypatch.setattr(experiments, "N_TRIALS", 3)
    monkeypatch.setattr(rating_search, "CONTINUED", 0)
    five, small = "ml-1m-omdb", "ml-latest-small"
    tried = [m for m in rows.ROWS if rows.row(m).varies and experiments.tries(m, five)]
    assert {m for m in tried if experiments.searched(m, five) != m} == set(TAKEN)
    assert {m for m, dataset in experiments.CLAIMED_FOLDS if dataset == five} == set(tried) - {
        *TAKEN
    }
    assert all(experiments.searched(m, small) == m for m in rows.ROWS if m != rows.BEST)

    jobs = packing.pending(packing.TABLES, [five], TAKEN)
    trials = [(job.model, job.dataset) for job in jobs if job.kind == "trials"]
    assert trials == [("afm", five)]  # on which their settings rest
    assert all(packing.needs(job) == {"afm"} for job in jobs)
    search(["afm"], five, "afm")
    best = experiments.tuned_config("afm", five)
    assert best == main_run("afm", 2) != main_run("afm", 0)
    for model in TAKEN:
        config = experiments.tuned_config(model, five)
        assert config == main_run(model, 2)
        # Drawn alike: what differs from AFM is the alternative, and for some it is in the features.
        differ = [k for k, v in described(config).items() if v != described(best)[k]]
        wanted = {"afm-sum": ["weighting"], "afm-slots": ["weighting"], "afm-lost": ["missing"]}
        assert differ == wanted.get(model, [])
    jobs = packing.pending(packing.TABLES, [five], TAKEN)
    assert {job.kind for job in jobs} == {"run"} and len(jobs) == 2 * len(TAKEN)


def test_to_tune_such_an_alternative_is_to_tune_afm(study, monkeypatch):
    monkeypatch.setattr(experiments, "N_TRIALS", 2)
    monkeypatch.setattr(rating_search, "CONTINUED", 0)
    found = list(experiments.tune("afm-actors", "ml-1m-omdb", "cpu", False))
    assert [(record["row"], new) for _, record, new in found] == [("AFM", True)] * 2
    assert found[0][1]["config"]["features"] == list(experiments.FEATURES["ml-1m-omdb"])
    assert not any(new for *_, new in experiments.tune("afm", "ml-1m-omdb", "cpu", False))
    with pytest.raises(ReplicationError, match="AFM, several actors is not run on ml-latest-small"):
        next(experiments.tune("afm-actors", "ml-latest-small", "cpu", False))


def test_a_stored_trial_says_whether_it_was_cut_off(study, monkeypatch):
    monkeypatch.setattr(experiments, "N_TRIALS", 1)
    monkeypatch.setitem(experiments.TRIAL_EPOCHS, "ml-1m", 2)
    monkeypatch.setattr(experiments, "LONGER_EPOCHS", 3)
    first, second = (record for _, record, _ in experiments.tune("afm", "ml-1m", "cpu", False))
    assert first["config"]["max_epochs"] == 2 and first["epochs_run"] == 2
    assert cut_off(first, experiments.PATIENCE)
    # It goes on in a second round, and so may the runs.
    assert second["trial"] == first["trial"] and second["epochs_run"] == 3
    assert experiments.tuned_config("afm", "ml-1m").max_epochs == 3
    assert not experiments.search("afm", "ml-1m").lacking()


@pytest.mark.parametrize("model", ["afm", "afm-adam"])
def test_the_second_round_goes_on_where_the_first_ended(study, monkeypatch, model):
    monkeypatch.setattr(experiments, "N_TRIALS", 1)
    monkeypatch.setitem(experiments.TRIAL_EPOCHS, "ml-1m", 2)
    monkeypatch.setattr(experiments, "LONGER_EPOCHS", 5)
    # Killed in the second round, after a checkpoint in its second epoch.
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    seen, errors = [], rating_training.summary

    def killed(*arguments):
        seen.append(1)
        if len(seen) == 5:
            raise KeyboardInterrupt
        return errors(*arguments)

    monkeypatch.setattr(rating_training, "summary", killed)
    with pytest.raises(KeyboardInterrupt):
        list(experiments.tune(model, "ml-1m", "cpu", False))
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 1e9)
    first, second = (record for _, record, _ in experiments.tune(model, "ml-1m", "cpu", False))
    assert "epochs_before" not in first and second["epochs_before"] == 4
    assert len(seen) == 6  # one epoch more, that of the kill again
    assert not list(paths.CHECKPOINTS.glob("*"))

    config = dataclasses.replace(experiments.trial_config(model, 0), max_epochs=5)
    split = Run("ml-1m", model, 0).split()
    at_once = rating_search.tried(
        rows.ROWS[model], split, config, CPU, experiments.PATIENCE, "", False
    )
    assert second["epochs_run"] == at_once["epochs_run"] == 5
    assert (second["epochs"], second["metrics"]) == (at_once["epochs"], at_once["metrics"])


def test_adam_is_searched_with_the_same_sizes_at_the_start(study):
    """Else its row would not be that of the optimiser alone."""
    drawn = {
        model: [experiments.trial_config(model, trial) for trial in range(1, 40)]
        for model in ("afm", "afm-adam")
    }
    sizes = {model: {config.scale for config in configs} for model, configs in drawn.items()}
    assert sizes["afm"] == sizes["afm-adam"] and len(sizes["afm"]) == 3
    assert {config.method for config in drawn["afm-adam"]} == {"adam"}


def test_nfm_is_searched_with_afm_s_sizes_at_the_start_and_rates_that_do_not_diverge(study):
    drawn = [experiments.trial_config("nfm", trial) for trial in range(1, 40)]
    assert {config.scale for config in drawn} == set(rows.SCALES)
    assert {config.dropout for config in drawn} == {0.0, 0.2, 0.4}
    assert max(config.learning_rate for config in drawn) <= 2  # AFM's reach 20
    # Such a rate makes the biases of values diverge, which AFM has not.
    split = Run("ml-1m-omdb", "nfm", 0).split()
    start = experiments.trial_config("nfm", 0)
    fast = dataclasses.replace(start, learning_rate=14.0, weight_decay=0.0, max_epochs=30)
    with pytest.raises(Diverged):
        fit_ratings(partial(NFM, split, fast), split, fast, 0, CPU, (), progress=False)


def test_nfm_by_adam_is_searched_with_adam_s_rates_and_nfm_s_other_choices(study):
    drawn = [experiments.trial_config("nfm-adam", trial) for trial in range(1, 40)]
    other = [experiments.trial_config("nfm", trial) for trial in range(1, 40)]
    for name in ("scale", "dropout"):
        assert len({getattr(c, name) for c in other}) == 3
        assert {getattr(c, name) for c in drawn} == {getattr(c, name) for c in other}
    assert {config.method for config in drawn} == {"adam"}
    assert max(config.learning_rate for config in drawn) <= 0.01
    # Beside it AFM by Adam has as many folds, on which a difference can be tested.
    cells = [c for c in experiments.grid(experiments.ALTERNATIVES) if c.row == "AFM, Adam"]
    assert {c.dataset: c.seeds_required for c in cells} == {"ml-1m": 5, "ml-latest-small": 5}


def test_every_main_run_may_last_equally_long(study, monkeypatch):
    """Whatever limit its trials had, and whether they were cut off."""
    monkeypatch.setattr(experiments, "N_TRIALS", 1)
    monkeypatch.setattr(rating_search, "CONTINUED", 0)
    list(experiments.tune("libfm", "ml-1m", "cpu", False))
    for model, known in rows.ROWS.items():
        if known.trained and model != rows.BEST:
            config = experiments.tuned_config(model, "ml-1m")
            assert config.max_epochs == experiments.LONGER_EPOCHS, model
    (trial,) = Store(experiments.TUNING).load()
    assert trial["config"]["max_epochs"] == experiments.TRIAL_EPOCHS["ml-1m"]


def with_biases(strength):
    """1,300 ratings of 100 users with biases, a factor of a strength, and noise of half a star."""
    rng = np.random.default_rng(0)
    users, items = np.nonzero(rng.random((100, 60)) < 0.3)
    biases, factors = rng.normal(size=(2, 160))
    ratings = 3 + 0.5 * (biases[users] + biases[100 + items])
    ratings += strength * factors[users] * factors[100 + items]
    ratings = np.clip(np.round(ratings + 0.5 * rng.normal(size=len(users))), 1, 5)
    frame = pd.DataFrame({"user": users, "item": items, "rating": ratings})
    data = from_frame("x", frame.assign(timestamp=UNKNOWN_TIME))
    return make_rating_split(data, experiments.PROTOCOL, 0, inner=True)


@pytest.mark.parametrize(("strength", "gain"), [(0.0, -0.01), (0.8, 0.05)])
def test_tuned_mf_is_no_worse_than_biases_alone_and_better_where_there_is_a_factor(strength, gain):
    """On few ratings, where a model that overfits would lose by much more."""
    split = with_biases(strength)
    best = {
        model: min(
            rating_search.tried(
                rows.ROWS[model],
                split,
                experiments.trial_config(model, trial),
                CPU,
                experiments.PATIENCE,
                "",
                False,
            )["metrics"]["RMSE"]
            for trial in range(experiments.N_TRIALS)
        )
        for model in ("mf", "bias")
    }
    assert best["mf"] < best["bias"] - gain


def test_mf_sees_no_features(study):
    split = Run("ml-1m", "mf", 0).split()
    model = rows.ROWS["mf"].build(split, rows.ROWS["mf"].start, 0, CPU)
    assert split.features is not None and model.items.shape[0] == split.n_items


def test_what_waits_for_searches_is_run_last(study):
    jobs = experiments.plan(experiments.TABLE2, ["ml-latest-small"])
    assert [job.model for job in jobs[-5:]] == [rows.BEST] * 5
    assert rows.BEST not in {job.model for job in jobs[:-5]}


def test_what_cannot_be_had_says_why(study):
    with pytest.raises(DataUnavailable, match="crawl of Douban Movie was never published"):
        experiments.plan(experiments.TABLE2, ["douban-movie"])
    cells = experiments.grid(experiments.TABLE2)
    assert {c.dataset for c in cells if c.unavailable} == {"douban-movie", "douban-music"}
    with pytest.raises(ReplicationError, match="has no cell of svdfeature, refit"):
        experiments.plan(experiments.TABLE2, models=["svdfeature"], variant="refit")


def test_features_are_named_of_what_is_run_alone():
    """Of the paper's Douban data none: the graph, another crawl, has a name of its own."""
    assert set(experiments.FEATURES) == {*experiments.RUN_HERE, *experiments.BROUGHT}
    assert not set(experiments.BROUGHT) & set(experiments.DATASETS)


@pytest.fixture
def graph(study, monkeypatch, tmp_path):
    """The files of a tiny graph in the layout of Douban's, where a reader would put them."""
    for name in ("RAW", "PREPARED"):
        monkeypatch.setattr(paths, name, tmp_path / name)
    monkeypatch.setattr(experiments, "load", data.load)
    folder = paths.RAW / "douban-graph"
    folder.mkdir(parents=True)
    pairs = [(u, i) for u in range(30) for i in range(12) if (u * i) % 5]
    files = {
        douban.RATINGS: [(u, i, 5 if u % 2 == i % 2 else 2) for u, i in pairs],
        "movie_director.dat": [(i, i % 4, 1) for i in range(12)],
        "movie_actor.dat": [(i, a, 1) for i in range(11) for a in (i % 3, 7)],
        "movie_type.dat": [(i, i % 2, 1) for i in range(12)],
    }
    for name, lines in files.items():
        text = "".join("\t".join(map(str, line)) + "\n" for line in lines)
        (folder / name).write_text(text)
    return folder


def _main(capsys, *words):
    status = cli.main([*words, "--device", "cpu"])
    return status, capsys.readouterr()


def test_a_reader_runs_table_2_on_a_graph_of_their_own(graph, monkeypatch, capsys):
    """Through the command line, and no page, grid or list of pending runs knows of it."""

    def seen_by_pages():
        jobs = packing.pending(packing.TABLES, None, ["afm", "libfm"])
        made = page.made_by(page.recorded("afm")), page.stored_table(experiments.TABLE2).records
        return cli.table_rows(experiments.TABLE2), jobs, *made

    monkeypatch.setattr(experiments, "LONGER_EPOCHS", 2)
    before = seen_by_pages()
    place = ("afm/table2", "--dataset", "douban-graph", "--model")
    status, printed = _main(capsys, "run", *place, "bias")
    assert status == 0 and printed.out.count("(run)") == 5
    status, printed = _main(capsys, "run", *place, "afm", "--seeds", "1")
    assert status == 0 and "AFM" in printed.err and "douban-graph" in printed.err
    records = Store(experiments.TABLE2).load()
    assert [r["row"] for r in records] == ["bias (closed form)"] * 5 + ["AFM"]
    assert {r["dataset"] for r in records} == {"douban-graph"}
    assert records[-1]["config"]["features"] == ["director", "actor", "genres"]
    assert seen_by_pages() == before

    status, printed = _main(capsys, "audit", "afm/table2", "--dataset", "douban-graph", "--n", "1")
    assert status == 0 and "same: " in printed.out


def test_a_reader_tunes_on_a_graph_of_their_own(graph, monkeypatch, capsys):
    monkeypatch.setattr(experiments, "N_TRIALS", 2)
    place = ("afm/table2", "--dataset", "douban-graph", "--model")
    status, printed = _main(capsys, "tune", *place, "bias")
    assert status == 0 and "best: trial" in printed.out
    assert {r["dataset"] for r in Store(experiments.TUNING).load()} == {"douban-graph"}
    status, printed = _main(capsys, "run", *place, "bias", "--seeds", "1")
    assert status == 0 and "trials" not in printed.err


@pytest.mark.parametrize(
    "words, said",
    [
        (("run", "afm/table1"), "afm/table1 has no 'douban-graph'; it has ml-1m"),
        (("run", "afm/attention"), "afm/attention has no 'douban-graph'; it has ml-1m"),
        (("run", "afm/alternatives"), "afm/alternatives has no data set 'douban-graph'"),
        (("run", "afm/table2", "--variant", "refit"), "afm/table2 has no data set 'douban-graph'"),
        (("run", "afm/table2", "--model", rows.BEST), "no cell of afm-best, douban-graph"),
        (("tune", "afm/table2", "--model", rows.BEST), "is not run on douban-graph"),
        (("tune", "afm/alternatives", "--model", "afm-free"), "is not run on douban-graph"),
        (("run", "amp_cf/table2"), "unknown data set 'douban-graph'"),
    ],
)
def test_what_a_graph_is_not_run_for_is_one_sentence(graph, capsys, words, said):
    status, printed = _main(capsys, *words, "--dataset", "douban-graph")
    assert status == 1 and said in printed.err and printed.err.count("\n") == 1


def test_what_cannot_be_had_names_what_can(graph, capsys):
    for words in (("run",), ("tune", "--model", "afm")):
        command = (words[0], "afm/table2", *words[1:], "--dataset", "douban-movie")
        status, printed = _main(capsys, *command)
        assert status == 1 and printed.err.count("\n") == 1
        assert "never published" in printed.err and "douban-graph" in printed.err
    (graph / douban.RATINGS).unlink()
    experiments.data_for.cache_clear()
    status, printed = _main(capsys, "run", "afm/table2", "--dataset", "douban-graph")
    assert status == 1 and printed.err.count("\n") == 1
    assert str(graph) in printed.err and douban.PAGE in printed.err


def test_the_printed_rows_have_cells():
    published = load_published("afm")
    printed = published[published["table"] == "table2"]
    assert len(printed) == 30
    cells = {(c.row, c.dataset) for c in experiments.grid(experiments.TABLE2)}
    assert set(zip(printed["row"], printed["dataset"], strict=True)) <= cells
    best = printed.groupby(["dataset", "metric"])["value"].idxmin()
    assert set(printed.loc[best, "row"]) == {"AFM"}  # the bold cells


def test_statistics(study):
    record = experiments.statistics("ml-1m")
    assert record["metrics"]["users"] == 40 and record["metrics"]["items"] == 20
    assert record["metrics"]["largest item id"] == 19
    assert record["metrics"]["genres: n_values"] == 3


def test_directors_are_counted_as_the_file_has_them(tmp_path, monkeypatch):
    """Two persons are one text, and what is not known is one too; the last film is not rated."""
    monkeypatch.setattr(paths, "RAW", tmp_path)
    names = ["Ann", "Ann, Bob", "N/A", "N/A", "Cid"]
    lines = [
        "::".join(name if field == "director" else str(n) for field in omdb.FIELDS)
        for n, name in enumerate(names, 1)
    ]
    (tmp_path / omdb.NAME).mkdir()
    (tmp_path / omdb.NAME / omdb.FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    data = dataclasses.replace(made_up("x"), item_ids=np.arange(1, 5))
    found = experiments.director_strings(data)
    assert list(found.values()) == [5, 4, 3, 4, 3, 2]
    assert list(found)[2::3] == [
        "director, the file: strings once",
        "director, rated films: strings once",
    ]


def test_every_stored_row_of_table_1_is_in_the_grid():
    """Else the page says that it is pending, although it was counted."""
    stored = {(record["row"], record["dataset"]) for record in Store(experiments.TABLE1).load()}
    cells = {(c.row, c.dataset) for c in experiments.statistics_grid() if not c.unavailable}
    assert stored == cells


def test_what_is_packed_for_another_machine(study):
    jobs = packing.pending(packing.TABLES, ["ml-latest-small"], ["afm", "afm-inner"])
    assert [(j.kind, j.model) for j in jobs[:2]] == [("trials", "afm"), ("trials", "afm-inner")]
    assert len(jobs) == 2 + 5 + 5
    record, new = packing.do(jobs[2], "cpu")
    assert new and record["row"] == "AFM"
    assert Store(experiments.TABLE2).load()[0]["key"] == record_key(record)


def packed(*models, dataset="ml-1m"):
    """The runs that are packed of models, by model, variant and fold."""
    jobs = packing.pending(packing.TABLES, [dataset], models)
    return {(job.model, job.variant, job.seed) for job in jobs if job.kind == "run"}


def test_a_run_is_packed_until_a_record_with_its_settings_is_stored(study, monkeypatch):
    """A record of before, with another limit of epochs, would leave the variants without theirs."""
    monkeypatch.setattr(experiments, "N_TRIALS", 2)
    monkeypatch.setattr(rating_search, "CONTINUED", 0)
    done(Run("ml-1m", "afm", 0))
    assert ("afm", "", 0) in packed("afm")  # its search may choose other settings
    list(experiments.tune("afm", "ml-1m", "cpu", False))
    done(Run("ml-1m", "afm", 0), Run("ml-1m", "afm", 1))
    assert packed("afm") & {("afm", "", 0), ("afm", "", 1)} == set()
    assert {("afm", "", 2), ("afm", "refit", 0)} <= packed("afm")
    with monkeypatch.context() as longer:
        longer.setattr(experiments, "LONGER_EPOCHS", 7)
        assert {("afm", "", 0), ("afm", "", 1)} <= packed("afm")
    done(Run("ml-1m", "afm", 0, "refit"))
    assert ("afm", "refit", 0) not in packed("afm") and ("afm", "refit", 1) in packed("afm")


def test_without_the_data_every_run_is_packed(study, monkeypatch):
    """Where they are, what is stored is not run again."""
    monkeypatch.setattr(rating_search.Search, "lacking", lambda search: 0)
    done(Run("ml-1m", "afm", 0))
    assert ("afm", "", 0) not in packed("afm")

    def nowhere(name):
        raise DataUnavailable(name)

    monkeypatch.setattr(experiments, "load", nowhere)
    forget()
    assert ("afm", "", 0) in packed("afm")


def test_models_without_features_count_for_both_sets_of_features(study):
    done(Run("ml-1m", "als", 0), Run("ml-1m", "nfm", 0))
    records = experiments.derived(Store(experiments.TABLE2).load())
    assert [(r["row"], r["dataset"]) for r in records] == [
        ("ALS with biases", "ml-1m"),
        ("NFM", "ml-1m"),
        ("ALS with biases", "ml-1m-omdb"),
    ]
    jobs = experiments.plan(experiments.TABLE2, ["ml-1m-omdb"])
    assert {"als", "mf", "svdpp"}.isdisjoint(job.model for job in jobs)
    alone, other = (Run(d, "als", 0).split().test for d in experiments.SAME_RATINGS)
    assert np.array_equal(alone.users, other.users) and np.array_equal(alone.items, other.items)


def test_the_oracle_is_trained_on_all_training_ratings(study):
    split = Run("ml-1m", "svd", 3, "oracle").split()
    assert not len(split.validation)
    jobs = experiments.plan(experiments.TABLE2, variant="oracle")
    assert [job.model for job in jobs[:3]] == list(experiments.ORACLE)
    assert len(jobs) == 3 * experiments.FOLDS


@pytest.mark.parametrize("model", experiments.ORACLE)
def test_the_oracle_is_the_package_s_own_cross_validation(study, model):
    """Its benchmark has this state for the folds and the algorithm; ours has our folds."""
    surprise = pytest.importorskip("surprise")
    data = experiments.data_for("ml-1m")
    frame = pd.DataFrame({"user": data.users, "item": data.items, "rating": data.ratings})
    whole = surprise.Dataset.load_from_df(frame, surprise.Reader(rating_scale=(2, 5)))
    state = {"random_state": experiments.ORACLE_STATE}
    algorithm = {
        "baseline": lambda: surprise.BaselineOnly(verbose=False),
        "svd": lambda: surprise.SVD(**state),
        "svdpp": lambda: surprise.SVDpp(**state),
    }[model]()
    folds = surprise.model_selection.KFold(experiments.FOLDS, **state)
    wanted = surprise.model_selection.cross_validate(algorithm, whole, ["rmse", "mae"], folds)
    records = done(*(Run("ml-1m", model, fold, "oracle") for fold in range(experiments.FOLDS)))
    for metric in ("RMSE", "MAE"):
        ours = [record["metrics"][metric] for record in records]
        # Predictions are kept in single precision; another order or seed changes the third digit.
        assert ours == pytest.approx(wanted[f"test_{metric.lower()}"], abs=1e-6)
    again, _ = experiments.rerun(records[3], CPU)
    assert again["metrics"] == records[3]["metrics"]
    main, oracle = (Run("ml-1m", model, 3, variant).address() for variant in ("", "oracle"))
    assert (oracle["config"]["random_state"], oracle["config"]["order"]) == (0, "as dealt")
    assert not {"random_state", "order"} & set(main["config"])  # of the main runs nothing changed
