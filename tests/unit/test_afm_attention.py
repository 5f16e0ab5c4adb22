"""AFM's attention as records: on planted users, and on made-up films in the place of real ones."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from replication import paths
from replication.compare import load_published, rows
from replication.data.interactions import UNKNOWN_TIME, from_frame
from replication.errors import DataUnavailable, ReplicationError
from replication.papers import fold_runs
from replication.papers.afm import attention, experiments
from replication.papers.afm import explanations as measures
from replication.papers.afm import rows as models
from replication.records import Store, record_key

CPU = torch.device("cpu")
SMALL = "ml-1m"


def made_up():
    """40 users, 120 films of two genres or none and of two directors; user 7 sees one director's.

    A user rates a third of the films 5, user 7 all.
    """
    rng = np.random.default_rng(0)
    seen = rng.random((40, 120)) < 0.95
    users, items = np.nonzero(seen & ((np.arange(40) != 7)[:, None] | (np.arange(120) % 2 == 0)))
    ratings = np.where((users % 3 == items % 3) | (users == 7), 5, rng.integers(1, 4, len(users)))
    frame = pd.DataFrame({"user": users, "item": items, "rating": ratings})
    ids = np.arange(120)
    films = pd.DataFrame(
        {
            "title": [f"Film {n}" for n in ids],
            "genres": np.asarray(["A", "B|C", ""])[ids % 3],
            "director": np.where(ids % 2 == 0, "x", "y"),
        }
    )
    return from_frame(SMALL, frame.assign(timestamp=UNKNOWN_TIME), films, "made up")


@pytest.fixture
def study(tmp_path, monkeypatch):
    """The made-up films in the place of ml-1m, a small model, nothing stored elsewhere."""
    for name in ("DATA", "RESULTS", "CHECKPOINTS", "MODELS"):
        monkeypatch.setattr(paths, name, tmp_path / name.lower())
    data = made_up()
    monkeypatch.setattr(experiments, "load", lambda name: data)
    monkeypatch.setitem(experiments.FEATURES, SMALL, ("genres", "director"))
    known = models.ROWS["afm"]
    small = replace(known.start, dimension=6, hidden=4, batch_size=64, max_epochs=2)
    monkeypatch.setitem(models.ROWS, "afm", replace(known, start=small))
    monkeypatch.setattr(measures, "DRAWS", 50)
    cached = (experiments.data_for, experiments._folds_of, experiments.split_for)
    for one in cached:
        one.cache_clear()
    yield tmp_path
    for one in cached:
        one.cache_clear()


@pytest.fixture(scope="module")
def worlds():
    """A planted world as it is, and with shuffled genres."""
    with pytest.MonkeyPatch.context() as fast:
        fast.setattr(measures, "DRAWS", 50)
        return [attention.World(0, variant).measure(CPU) for variant in ("", attention.SHUFFLED)]


def test_attention_tells_the_planted_users_and_shuffled_genres_do_not(worlds):
    (true, values), (shuffled, _) = worlds
    assert true["metrics"]["recovery"] > 0.8
    assert abs(shuffled["metrics"]["recovery"] - 0.5) < 0.12
    m = true["metrics"]
    assert m["attention/genre/of those who care"] > m["attention/genre/of the others"]
    assert m["attention/genre/mean"] > shuffled["metrics"]["attention/genre/mean"]
    # What a page would show follows from the values beside the record.
    own = values["attention/genre"].astype(float)
    assert m["attention/genre"] == own.mean() and m["attention/genre/mean"] == pytest.approx(
        own.mean(), abs=1e-3
    )
    assert m["below/genre"] == pytest.approx(m["attention/genre/below"], abs=1e-3)
    cares = values["cares"] > 0
    assert measures.recovery(own, cares) == pytest.approx(m["recovery"], abs=1e-3)


def test_masking_costs_the_planted_users_more_than_chance(worlds):
    metrics, values = worlds[0][0]["metrics"], worlds[0][1]
    own = metrics["RMSE/own"]
    assert own + 0.2 < metrics["RMSE/uniform"] < metrics["RMSE/shuffled"] - 0.1
    for kind in measures.MASKINGS:
        attended, by_chance, another, least = (
            metrics[f"RMSE/{arm}/{kind}"] for arm in ("attended", "random", "shuffled", "least")
        )
        assert attended > max(by_chance, another) + 0.2  # by chance it is the same slot in half
        assert least < own + 0.1  # nobody needs what nobody attends to
    per_user = values["squared error/own"].astype(float)
    assert metrics["squared error/own"] == np.nanmean(per_user)


def test_a_world_comes_out_again_and_is_another_than_the_next(worlds, monkeypatch):
    monkeypatch.setattr(measures, "DRAWS", 50)
    record = worlds[0][0]
    again, nothing = attention.rerun(record, CPU)
    assert again["metrics"] == record["metrics"] and nothing is None
    assert record_key(again) == record_key(record)
    other = attention.World(1)
    assert record_key(other.address()) != record_key(record)
    assert (other.planted().cares != attention.World(0).planted().cares).any()


def test_records_hold_what_a_page_draws(study):
    found = list(attention.run([SMALL], ["afm"], 1, "cpu"))
    assert [new for *_, new in found] == [True, True]
    assert [record["variant"] for _, record, _ in found] == ["", attention.SHUFFLED]
    assert all(not new for *_, new in attention.run([SMALL], ["afm"], 1, "cpu"))
    store = Store(attention.TABLE)
    record = store.load()[0]
    values = store.ranks([record["key"]])[record["key"]]
    metrics = record["metrics"]
    assert record["seconds"] > 0
    split = experiments.Run(SMALL, "afm", 0).split()
    assert record["ratings"] == {"train": len(split.train), "test": len(split.test)}
    assert {"attention/others", "attention/genres", "attention/director"} <= values.keys()
    slots = [metrics[f"attention/{name}/mean"] for name in ("others", "genres", "director")]
    assert sum(slots) == pytest.approx(1, abs=1e-5)
    assert {
        "follows/genres/all/correlation",
        "follows/director/rated 5/users",
        "RMSE/own",
        "RMSE/attended/renormalised",
        "RMSE/shuffled/lost",
        "moved/least/lost",
    } <= metrics.keys()
    # The model's own error is that of Table 2's run of the same fold.
    main = experiments.run(experiments.Run(SMALL, "afm", 0), CPU, progress=False).record
    assert metrics["RMSE/own"] == pytest.approx(main["metrics"]["RMSE"], abs=1e-6)
    four, one = record["shown"]["figure 4"], record["shown"]["figure 1"]
    assert four["values"] == ["A", "B", "C"] and set(four["users"]) == {"high", "low"}
    high, low = (four["users"][name] for name in ("high", "low"))
    at = four["slots"].index("genres")
    assert high["attention"][at] >= low["attention"][at]
    assert sum(high["shares"]) == pytest.approx(1, abs=1e-4)
    assert min(high["rated 5"], low["rated 5"]) >= measures.LEAST_FAVOURITES
    named = [metrics[f"named/{name}"] for name in ("others", "genres", "director")]
    assert sum(named) == pytest.approx(1, abs=1e-3)
    fan = one["fans"]["director"]
    assert (fan["user"], fan["value"], fan["share"]) == (7, "x", 1.0)
    assert one["nobody"] == [] and "actor" not in one["fans"]  # there are no actors
    # What each of them is told is what the kept model says of a film that the user has not rated.
    job = experiments.Run(SMALL, "afm", 0)
    model, split = attention.trained(job, CPU), job.split()
    for person in (high, low, fan):
        told, user = person["recommended"], person["user"]
        assert (
            told["sentence"] == model.explain(user, told["film"], item_name=told["title"]).sentence
        )
        assert told["film"] not in split.train.items[split.train.users == user]
        assert told["title"] == made_up().item_features["title"].iloc[told["film"]]
        assert told["slots"] == four["slots"]
        assert told["attention"] == person["attention"]
        assert told["features"]["director"] in (["x"], ["y"]) and 1 <= told["prediction"] <= 5
    json.dumps(record)


def test_a_kept_model_is_measured_and_not_trained_again(study, monkeypatch):
    job = experiments.Run(SMALL, "afm", 0)
    first = attention.trained(job, CPU, progress=False)
    assert fold_runs.weights_file(job).exists()

    def never(*args, **kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr(experiments, "run", never)
    torch.testing.assert_close(attention.trained(job, CPU).users, first.users)


def test_weights_of_other_code_are_not_measured(study, monkeypatch):
    """But those of the stored record are, whatever was changed since."""
    job = experiments.Run(SMALL, "afm", 0)
    first = attention.trained(job, CPU, progress=False)
    calls, train = [], experiments.run

    def counted(*args, **kwargs):
        calls.append(args[0])
        return train(*args, **kwargs)

    monkeypatch.setattr(experiments, "run", counted)
    monkeypatch.setattr(fold_runs, "source_hash", lambda: "changed code")
    again = attention.trained(job, CPU, progress=False)
    assert len(calls) == 1 and len(list(paths.MODELS.glob("*.pt"))) == 2
    torch.testing.assert_close(again.users, first.users)
    # The next is the present code's; the record names the code that made the first weights.
    fold_runs.weights_file(job).unlink()
    Store(job.table).append(train(job, CPU, progress=False).record)
    attention.trained(job, CPU, progress=False)
    assert len(calls) == 1
    # Weights without a hash, as they once were kept, are of no known code.
    (kept,) = paths.MODELS.glob("*.pt")
    kept.rename(paths.MODELS / f"{record_key(job.address())}.pt")
    attention.trained(job, CPU, progress=False)
    assert len(calls) == 2


def test_the_best_reading_is_kept_and_measured_too(study, monkeypatch):
    """Whose interaction is another, and whose record is one of its own."""
    monkeypatch.setattr(experiments, "reading", lambda dataset: "afm-inner-biases")
    inner = models.ROWS["afm-inner-biases"]
    start = replace(inner.start, dimension=6, batch_size=64, max_epochs=2)
    monkeypatch.setitem(models.ROWS, "afm-inner-biases", replace(inner, start=start))
    job = experiments.Run(SMALL, models.BEST, 0)
    list(experiments.run_and_store([job], "cpu", progress=False))
    assert fold_runs.weights_file(job).exists()
    model = attention.trained(job, CPU)
    assert model.config.interaction == "inner"
    record, values = attention.measure(job, model, CPU)
    assert record["row"] == "AFM, best reading" and values
    assert record_key(record) != record_key(attention.address(experiments.Run(SMALL, "afm", 0)))


def test_the_grid_and_what_is_refused(study):
    places = {(c.dataset, c.variant) for c in (*attention.grid(), *attention.grid("train-20"))}
    assert places == {*((name, "") for name in experiments.DATASETS), (attention.PLANTED, "")}
    assert {c.dataset for c in attention.grid() if c.unavailable} == set(experiments.UNAVAILABLE)
    assert {c.dataset for c in attention.grid(attention.SHUFFLED)} == {SMALL, attention.PLANTED}
    jobs = attention.plan()
    # All folds of three data sets in two readings, those with shuffled genres, two sets of worlds.
    assert len(jobs) == 2 * 3 * 5 + 5 + 5 + 5
    # The best reading of each data set may have to wait for searches: it comes last.
    assert {getattr(job, "model", "") for job in jobs[-15:]} == {models.BEST}
    assert models.BEST not in {getattr(job, "model", "") for job in jobs[:-15]}
    assert len(attention.plan(seeds=1)) == 9 and len(attention.plan(["planted"], seeds=2)) == 4
    for datasets, asked in ((["cil"], None), (None, ["nfm"])):
        with pytest.raises(ReplicationError, match="afm/attention has no"):
            attention.plan(datasets, asked)
    with pytest.raises(DataUnavailable):
        attention.data_for("douban-music")
    with pytest.raises(DataUnavailable, match="crawl of Douban Movie was never published"):
        attention.plan(["douban-movie"])


def test_the_tables_rows_are_pending_or_filled(study, worlds):
    nothing = rows(attention.grid(), [], {}, load_published("afm"), attention.METRICS)
    assert {line["mean"] for line in nothing} == {None}
    record, values = worlds[0]
    store = Store(attention.TABLE)
    store.append(record, values=values)
    (stored,) = store.load()
    ranks = store.ranks([stored["key"]])
    shown = rows(attention.grid(), [stored], ranks, load_published("afm"), attention.METRICS)
    (recovery,) = [line for line in shown if line["metric"] == "recovery" and line["mean"]]
    assert recovery["status"] == "partial: 1 of 5 seeds"


def test_a_feature_of_which_nobody_is_a_fan_is_named(study, monkeypatch):
    monkeypatch.setattr(measures, "fan_of", lambda *args: None)
    job = experiments.Run(SMALL, "afm", 0)
    found = attention.explained(models.row("afm").build(job.split(), job.config(), 0, CPU),
                                job.split(), 0)  # fmt: skip
    one = found.shown["figure 1"]
    assert (one["fans"], one["nobody"]) == ({}, ["director"])
