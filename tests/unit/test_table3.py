"""Table 3: lists of kept and retrained models are the same, and the record says what was done."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax

from replication import cli, data, paths
from replication.baselines.conv_ncf import ConvNCF, ConvNCFConfig
from replication.compare import load_published, published_values
from replication.evaluation import held_out
from replication.metrics import lists as list_metrics
from replication.metrics import taste_distance as tdd
from replication.page import Study
from replication.papers.amp_cf import experiments, lists, readings
from replication.papers.amp_cf.model import AMP, AMPConfig
from replication.papers.amp_cf.pages import table3
from replication.papers.amp_cf.rows import ROWS
from replication.protocols import ABSENT
from replication.records import Store
from replication.training import described

CPU = torch.device("cpu")
JOB = experiments.Run("ml-100k", "loo-random", "amp-2", 0)
SMALL = AMPConfig(dimension=8, attention_dimension=4, batch_size=64, learning_rate=0.02, patience=2)


def forget():
    for cached in (experiments.data_for, experiments.split_for, lists.space_for):
        cached.cache_clear()


@pytest.fixture
def study(tmp_path, monkeypatch, make_tiny):
    for name in ("results", "raw", "prepared", "checkpoints", "models"):
        monkeypatch.setattr(paths, name.upper(), tmp_path / name)
    tiny = replace(make_tiny(n_users=40, n_items=150, per_user=10), name="ml-100k")
    monkeypatch.setitem(data.DATASETS, "ml-100k", lambda raw: tiny)
    forget()
    trial = JOB.address() | {
        "table": experiments.TUNING,
        "config": described(SMALL),
        "trial": 0,
        "metrics": {"HR@10": 0.5, "NDCG@10": 0.5},
    }
    Store(experiments.TUNING).append(trial)
    yield tmp_path
    forget()


def measured(study):
    (_, record, new), *_ = lists.measure_and_store([JOB], "cpu", progress=False)
    return record, new


def test_a_kept_model_and_one_trained_again_give_the_same_lists(study):
    for _ in experiments.run_and_store([JOB], "cpu", progress=False):
        pass
    (file,) = paths.MODELS.glob("*.pt")
    kept = lists.trained(JOB, CPU).state_dict()
    file.unlink()
    again = lists.trained(JOB, CPU, progress=False).state_dict()
    assert all(torch.equal(kept[name], again[name]) for name in kept) and file.exists()
    record, new = measured(study)
    assert new and not measured(study)[1]  # what is stored is not measured twice
    store = Store(lists.TABLE3)
    values = store.ranks([store.load()[0]["key"]])[store.load()[0]["key"]]
    for name in lists.METRICS:
        assert np.nanmean(values[name]) == pytest.approx(record["metrics"][name], abs=1e-3)
    # Without a record of Table 2 the whole run is done.
    file.unlink()
    Store(experiments.TABLE2).path.unlink()
    assert torch.equal(lists.trained(JOB, CPU, progress=False).state_dict()["items"], kept["items"])


def test_a_rerun_gives_the_record_again(study):
    record, _ = measured(study)
    stored = Store(lists.TABLE3).load()[0]
    assert lists.rerun(stored, CPU)[0]["metrics"] == record["metrics"]


SLOW = {
    "amp-2": SMALL,
    "conv-ncf": ConvNCFConfig(
        dimension=8, channels=3, batch_size=64, pretrain_epochs=1, warmup_epochs=1, max_epochs=2
    ),
}
# What differs when a record is made again.
WHEN = ("time", "seconds", "seconds_per_epoch", "cpu_seconds", "cpu_seconds_per_epoch")


@pytest.mark.parametrize("model", SLOW)
def test_lists_of_the_pass_that_ranks_are_those_of_a_pass_of_their_own(study, monkeypatch, model):
    """To the bit, and the record of the run too; and the slow model scores the catalogue once."""
    job, passes = replace(JOB, model=model), []
    monkeypatch.setattr(experiments, "tuned_config", lambda *_: SLOW[model])
    for cls in (AMP, ConvNCF):
        real = cls.score_all

        def counted(self, users, real=real):
            passes.extend(users.tolist())
            return real(self, users)

        monkeypatch.setattr(cls, "score_all", counted)

    def made(slow):
        monkeypatch.setitem(ROWS, model, replace(ROWS[model], slow=slow))
        passes.clear()
        for done in (experiments.run_and_store, lists.measure_and_store):
            list(done([job], "cpu", progress=False))
        found = []
        for store in (Store(experiments.TABLE2), Store(lists.TABLE3)):
            for record in store.load():
                kept = store.ranks([record["key"]])[record["key"]]
                told = {k: v for k, v in record.items() if k not in WHEN}
                found.append((told, kept if isinstance(kept, dict) else dict(enumerate(kept))))
            for file in (store.path, store.ranks_path, store.values_path):
                file.unlink(missing_ok=True)
        for file in paths.MODELS.iterdir():
            file.unlink()
        return found, len(passes)

    users = JOB.split().n_users
    (plain, *one), scored = made(slow=False)
    assert scored == 3 * users
    (other, *same), scored = made(slow=True)
    assert scored == users
    for (a, of_a), (b, of_b) in zip(one, same, strict=True):
        assert a == b and of_a.keys() == of_b.keys()
        for name, values in of_a.items():
            np.testing.assert_array_equal(values, of_b[name])
    # Without the refit the sampled candidates are ranked alone.
    assert plain[0]["select"] == other[0]["select"] == experiments.VALIDATION_NO_REFIT
    assert set(other[0]["metrics"]) == {"HR@10", "NDCG@10"} and other[1][1] is None
    assert other[0] == plain[0] | {"metrics": other[0]["metrics"]}
    assert other[0]["metrics"].items() < plain[0]["metrics"].items()
    np.testing.assert_array_equal(other[1][0], plain[1][0])


def test_a_record_from_before_comes_out_again_with_its_full_ranking(study, monkeypatch):
    """An audit of a record without refit that has a full ranking makes one, of one without none."""
    list(experiments.run_and_store([JOB], "cpu", progress=False))
    monkeypatch.setitem(ROWS, "amp-2", replace(ROWS["amp-2"], slow=True))
    store = Store(experiments.TABLE2)
    for record in store.load():
        assert cli.audit_record(record, store)[0]
    store.path.unlink()
    store.ranks_path.unlink()
    list(experiments.run_and_store([JOB], "cpu", progress=False))
    for record in store.load():
        assert cli.audit_record(record, store)[0]


@pytest.mark.parametrize("split", [("clean", True), ("split_seed", 1)])
def test_other_candidates_need_no_second_full_ranking_and_other_test_items_do(
    study, monkeypatch, split
):
    variant = experiments.Variant(
        "", ((JOB.dataset, JOB.protocol),), (JOB.model,), split=(split,), rides_along=True
    )
    monkeypatch.setattr(experiments, "VARIANTS", {"tested otherwise": variant})
    monkeypatch.setitem(ROWS, "amp-2", replace(ROWS["amp-2"], slow=True))
    real, calls = experiments.rank_catalogue, []
    monkeypatch.setattr(
        experiments, "rank_catalogue", lambda *given: calls.append(1) or real(*given)
    )
    main, _, other = experiments.run(JOB, CPU, progress=False)
    assert len(calls) == (split[0] == "split_seed")
    test = held_out(replace(JOB, variant="tested otherwise").split(), "test", CPU)
    np.testing.assert_array_equal(other.ranks_full, real(main.model, test))


def test_users_without_a_held_out_item_are_listed_in_a_pass_of_their_own(study, monkeypatch):
    """The pass that ranks leaves them out: then it makes no lists."""
    split = JOB.split()
    other = replace(split, test=np.where(np.arange(split.n_users) < 3, ABSENT, split.test))
    monkeypatch.setattr(experiments.Run, "split", lambda job: other)
    monkeypatch.setitem(ROWS, "amp-2", replace(ROWS["amp-2"], slow=True))
    (main, *_) = experiments.run(JOB, CPU, progress=False)
    assert main.lists is None and main.ranks_full is not None
    experiments.keep(main)
    assert experiments.kept_lists(JOB, CPU) is None


class Fixed:
    """Scores that no training has made."""

    def score_all(self, users):
        generator = torch.Generator().manual_seed(0)
        split = JOB.split()
        return torch.rand(split.n_users, split.n_items, generator=generator)[users]


def test_the_test_item_changes_neither_the_space_nor_the_history(study, monkeypatch):
    monkeypatch.setattr(lists, "SPACE_SEEDS", 2)
    split = JOB.split()
    before, values = lists.measure(JOB, Fixed(), CPU)
    space = lists.space_for(JOB.dataset, JOB.protocol, 0)
    consumed = np.zeros((split.n_users, split.n_items), dtype=bool)
    consumed[split.train_users, split.train_items] = True
    consumed[np.arange(split.n_users), split.validation] = True
    consumed[np.arange(split.n_users), split.test] = True
    other = replace(split, test=consumed.argmin(1))  # an item that is new to the user
    forget()
    with monkeypatch.context() as patched:
        patched.setattr(experiments, "split_for", lambda *arguments, **more: other)
        after, again = lists.measure(JOB, Fixed(), CPU)
        found = lists.space_for(JOB.dataset, JOB.protocol, 0)
    assert after["metrics"] == before["metrics"]
    for name, value in values.items():
        np.testing.assert_array_equal(again[name], value)
    np.testing.assert_array_equal(found.vectors, space.vectors)
    np.testing.assert_array_equal(found.centroids, space.centroids)


def test_a_record_spelled_out(study, monkeypatch):
    """The space and history of all but the test items, distances as printed, history first."""
    monkeypatch.setattr(lists, "SPACE_SEEDS", 2)
    made = data.DATASETS["ml-100k"](None)
    made.item_features["genres"] = pd.Series(np.array(["A", "A|B", "C"])[made.item_ids % 3])
    forget()
    record, values = lists.measure(JOB, Fixed(), CPU)
    split, metrics = JOB.split(), record["metrics"]
    known = replace(
        split,
        train_users=np.append(split.train_users, np.arange(split.n_users)),
        train_items=np.append(split.train_items, split.validation),
    )
    space = tdd.taste_space(known, 0)
    np.testing.assert_array_equal(
        lists.space_for(JOB.dataset, JOB.protocol, 0).vectors, space.vectors
    )
    scores = Fixed().score_all(torch.arange(split.n_users)).numpy()
    scores[known.train_users, known.train_items] = -np.inf
    top = np.argsort(-scores, axis=1)[:, : lists.LENGTH]
    own = [known.train_items[known.train_users == user] for user in range(split.n_users)]
    for name, sign in (("JS", 1), ("JS/similarity", -1)):
        found = [
            jensenshannon(*(softmax(sign * space.distances[i].mean(0)) for i in (list_, items)))
            for list_, items in zip(top, own, strict=True)
        ]
        assert metrics[name] == pytest.approx(np.mean(found))
    assert metrics["JS"] != pytest.approx(metrics["JS/similarity"], rel=1e-3)
    genres = list_metrics.genre_shares(
        experiments.data_for(JOB.dataset, JOB.protocol).item_features["genres"]
    )
    consumed, recommended = tdd.history(known), tdd.membership(top, split.n_items)
    want = list_metrics.miscalibration(genres, consumed, recommended)
    np.testing.assert_allclose(values["miscalibration"], want)
    assert not np.allclose(list_metrics.miscalibration(genres, recommended, consumed), want)


def test_the_command_line_runs_and_prints_it(study, capsys):
    command = [lists.TABLE3, "--dataset", "ml-100k", "--model", "mostpop"]
    assert cli.main(["run", *command]) == 0
    assert "JS 0.0" in capsys.readouterr().out
    assert cli.main(["table", lists.TABLE3, "--format", "json"]) == 0
    assert '"metric": "Hellinger"' in capsys.readouterr().out
    assert cli.main(["audit", lists.TABLE3, "--n", "1"]) == 0
    assert cli.main(["run", *command, "--select", "test"]) == 1
    assert "takes no --select" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variant", "model", "field"),
    [("aisp-unit-length", "aisp-2", "unit_length"), ("radius-0.25", "direc", "radius")],
)
def test_the_command_line_measures_a_variant_of_a_baseline(study, capsys, variant, model, field):
    """Its lists are those of the changed model, beside the main cell and not in its place."""
    command = ["run", lists.TABLE3, "--dataset", "ml-100k", "--model", model, "--seeds", "1"]
    assert cli.main(command) == cli.main([*command, "--variant", variant]) == 0
    main, changed = Store(lists.TABLE3).load()
    assert (main["variant"], changed["variant"]) == ("", variant)
    want = dict(experiments.VARIANTS[variant].changes)[field]
    assert changed["config"][field] == want != main["config"].get(field)
    assert changed["metrics"]["JS"] != main["metrics"]["JS"]
    assert changed["config"].get("base") == main["config"].get("base")
    assert lists.rerun(changed, CPU)[0]["metrics"] == changed["metrics"]
    assert not [file for file in paths.MODELS.glob("*") if changed["key"] in file.name]
    capsys.readouterr()
    assert cli.main(["table", lists.TABLE3, "--variant", variant, "--format", "json"]) == 0
    shown = [r for r in json.loads(capsys.readouterr().out) if r["n"]]
    assert {(r["row"], r["mean"]) for r in shown} == {
        (experiments.row_name(model), changed["metrics"][name]) for name in lists.METRICS
    }
    records = Store(lists.TABLE3).load()
    page_of = Study(
        lists.TABLE3, "stored", "validation", records,
        Store(lists.TABLE3).ranks([r["key"] for r in records]), load_published("amp_cf"),
        lists.grid(),
    )  # fmt: skip
    frame = table3.other_setting(page_of, variant)
    line = frame.loc[("ml-100k", experiments.row_name(model))]
    assert line["as it is"] == f"{main['metrics']['Hellinger']:.4f}"
    assert line["changed"] == f"{changed['metrics']['Hellinger']:.4f}"
    others = frame[frame.index.get_level_values(0) != "ml-100k"]
    assert set(others["changed"]) == {"pending"}


def test_a_variant_is_planned_where_it_can_be_had():
    """On every data set at hand, or where Table 2 trains it; its accuracy is there too."""
    for variant in lists.VARIANTS:
        cells = lists.grid(variant)
        where = {dataset for dataset, _ in experiments.VARIANTS[variant].cells}
        assert {cell.dataset for cell in cells} == (
            set(experiments.RUN_HERE) if variant in lists.UNTRAINED else where
        )
        jobs = lists.plan(variant=variant)
        assert {(experiments.row_name(j.model), j.dataset, j.seed) for j in jobs} == {
            (c.row, c.dataset, seed) for c in cells for seed in range(c.seeds_required)
        }
        # As Table 2 has them, where it has them.
        of_accuracy = {replace(c, table=lists.TABLE3) for c in experiments.grid(variant=variant)}
        assert of_accuracy <= set(cells)
    assert lists.grid("printed-loss") == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--variant", "printed-loss"], "has no 'printed-loss'; it has aisp-unit-length, radius-"),
        (["--variant", "radius-0.25", "--model", "mf"], "has no 'mf'; it has direc"),
        (["--variant", "radius-0.25", "--dataset", "yahoo-music"], "has no 'yahoo-music'"),
        (["--variant", "mf-settings", "--dataset", "pinterest"], "has no 'pinterest'"),
        (["--variant", "radius-0.25", "--protocol", "loo-last"], "has no 'loo-last'"),
    ],
)
def test_what_no_variant_has_is_refused(study, capsys, arguments, words):
    assert cli.main(["run", lists.TABLE3, *arguments]) == 1
    assert words in capsys.readouterr().err


def test_all_of_it_is_under_loo_random():
    assert {cell.protocol for cell in lists.grid()} == {"loo-random"}
    assert {cell.table for cell in lists.grid()} == {lists.TABLE3}


def test_what_the_command_line_runs_fills_the_grid():
    """The vectors of as many numbers as several personas, too, on the small data sets."""
    cells = {
        (cell.row, cell.dataset, seed)
        for cell in lists.grid()
        if not cell.unavailable
        for seed in range(cell.seeds_required)
    }
    jobs = {(experiments.row_name(job.model), job.dataset, job.seed) for job in lists.plan()}
    assert jobs == cells
    wide = {(row, dataset) for row, dataset, _ in cells if row.startswith("MF-")}
    widths, small = ("MF-128", "MF-192", "MF-256", "MF-512"), ("ml-latest-small", "ml-100k")
    assert wide == {(row, dataset) for row in widths for dataset in small}
    assert {job.model for job in lists.plan(["ml-100k"], ["mf-256"])} == {"mf-256"}
    assert not {job.model for job in lists.plan(["ml-1m"])} & set(lists.WIDE)


# --- readings ----------------------------------------------------------------------------------


def test_a_record_holds_every_reading_and_the_measures_without_centring(study):
    record, _ = measured(study)
    found = record["metrics"]
    for column, own in readings.READINGS.items():
        # As printed, in the space of the table, is the table's own number.
        plain = found[readings.metric(column, "as printed", "centred")]
        assert plain == pytest.approx(found[column], rel=1e-9)
        other = found[readings.metric(column, "as printed", "uncentred")]
        assert other == found[f"{column}/uncentred"] != plain
        for name in own:
            for space in readings.SPACES.values():
                assert found[readings.metric(column, name, space)] > 0


def read_means(d, t):
    """The readings of users whose list and history are an item each, at distances d and t."""
    eye, none = sparse.identity(len(d)), sparse.csr_matrix((len(d), len(d)))
    items = [sparse.hstack(pair, format="csr") for pair in ((eye, none), (none, eye))]
    return readings.measured(*items, np.concatenate([d, t]), "centred")


def test_readings_against_numbers_worked_out_by_hand():
    """p = (3/4, 1/4) and q = (1/4, 3/4): each divergence from the middle is
    0.75 ln 1.5 + 0.25 ln 0.5 with signs, 0.75 ln 1.5 + 0.25 ln 2 without."""
    p, q = np.array([[0.75, 0.25]]), np.array([[0.25, 0.75]])
    found = read_means(np.log(p) + 5, np.log(q) + 5)
    signed = 0.75 * np.log(1.5) + 0.25 * np.log(0.5)
    absolute = 0.75 * np.log(1.5) + 0.25 * np.log(2.0)
    hellinger = np.sqrt(1 - np.sqrt(0.75))

    def of(column, name):
        return found[readings.metric(column, name, "centred")]

    assert of("JS", "as printed") == pytest.approx(np.sqrt(signed))
    assert of("JS", "logarithm of base 2") == pytest.approx(np.sqrt(signed / np.log(2)))
    assert of("JS", "without the root") == pytest.approx(signed)
    assert of("JS", "absolute terms") == pytest.approx(np.sqrt(absolute))
    assert of("JS", "similarities") == pytest.approx(np.sqrt(signed))  # mirrored, here the same
    assert of("Hellinger", "as printed") == pytest.approx(hellinger)
    assert of("Hellinger", "squared, in percent") == pytest.approx(100 * hellinger**2)
    assert of("JS", "in percent") == pytest.approx(100 * np.sqrt(signed))
    assert of("JS", "summed over the clusters (times 50)") == pytest.approx(50 * np.sqrt(signed))
    assert of("JS", "root taken twice") == pytest.approx(signed**0.25)
    assert of("Hellinger", "without 1 / sqrt(2)") == pytest.approx(np.sqrt(2) * hellinger)
    assert of("Hellinger", "squared") == pytest.approx(hellinger**2)
    # Distances of rounding size below zero have no root and no logarithm.
    edge = read_means(np.array([[-1e-16, 0.5]]), np.array([[0.2, 0.4]]))
    assert all(np.isfinite(value) for value in edge.values())


def test_distances_and_similarities_are_read_the_right_way_round():
    """Of three clusters the nearest weighs most in one reading and the farthest in the other."""
    d, t = np.array([[0.50, 0.52, 0.60]]), np.array([[0.51, 0.50, 0.65]])
    found = read_means(d, t)
    for name, sharper in (
        ("as printed", 1),
        ("similarities", -1),
        ("softmax 30 times as sharp", 30),
        ("similarities, softmax 30 times as sharp", -30),
    ):
        p, q = softmax(sharper * d[0]), softmax(sharper * t[0])
        hellinger = np.sqrt(1 - np.sqrt(p * q).sum())
        js, other = (found[readings.metric(c, name, "centred")] for c in ("JS", "Hellinger"))
        assert js == pytest.approx(jensenshannon(p, q), rel=1e-6)
        assert other == pytest.approx(hellinger, rel=1e-6)


def test_kl_in_place_of_js_against_numbers_worked_out_by_hand():
    """p = (3/4, 1/4), q = (1/2, 1/2): 3/4 ln 3/2 + 1/4 ln 1/2 one way, 1/2 ln 4/3 the other."""
    p, q = np.array([[0.75, 0.25]]), np.array([[0.5, 0.5]])
    one, other = 0.75 * np.log(1.5) + 0.25 * np.log(0.5), 0.5 * np.log(4 / 3)
    assert readings.kullback_leibler(p, q) == pytest.approx([one])
    assert readings.kullback_leibler(q, p) == pytest.approx([other])
    assert (readings.kullback_leibler(p, p) == 0).all()
    found = read_means(np.log(p) + 5, np.log(q) + 5)
    for name, value in (
        ("KL, list from history", one),
        ("KL, history from list", other),
        ("root of KL, list from history", np.sqrt(one)),
    ):
        assert found[readings.metric("JS", name, "centred")] == pytest.approx(value)
    # Close distributions: four times the square of JS, which the docstring promises.
    close = np.array([[0.501, 0.499]])
    js = tdd.jensen_shannon_printed(close, q)
    assert readings.kullback_leibler(close, q) == pytest.approx(4 * js**2, rel=1e-3)


def test_softmax_before_the_mean_mixes_the_distributions_of_the_items():
    """Two items with softmax (0.9, 0.1) and (0.1, 0.9): the mean is (0.5, 0.5) in either order.
    With (0.9, 0.1) and (0.5, 0.5) it is (0.7, 0.3), and (0.75, 0.25) if the mean comes first."""
    distances = np.log([[0.9, 0.1], [0.1, 0.9], [0.5, 0.5]]) + 4
    items = sparse.csr_matrix([[1.0, 1, 0], [1, 0, 1], [0, 0, 0]])
    found = readings.item_distributions(items, distances)
    assert found[:2] == pytest.approx(np.array([[0.5, 0.5], [0.7, 0.3]]))
    assert np.isnan(found[2]).all()
    first = tdd.mean_over_items(items, distances)[1]
    assert softmax(first) == pytest.approx([0.75, 0.25])
    # The reading of both columns: the second user's list, and a history of one even item.
    listed, history = items[1], sparse.csr_matrix([[0.0, 0, 1]])
    read = readings.measured(listed, history, distances, "centred")
    want = np.array([[0.7, 0.3]]), np.array([[0.5, 0.5]])
    for column, measure in (
        ("JS", tdd.jensen_shannon_printed),
        ("Hellinger", tdd.hellinger_printed),
    ):
        value = read[readings.metric(column, readings.BY_ITEM, "centred")]
        assert value == pytest.approx(measure(*want)[0])
        assert value < read[readings.metric(column, "as printed", "centred")]


def test_a_space_without_centring_keeps_an_item_that_nobody_consumed_at_zero(make_tiny):
    """Two ways to the same components: exact for a small matrix, ARPACK for a large one."""
    for users, items in ((40, 60), (150, 140)):
        data_ = make_tiny(n_users=users, n_items=items, per_user=6)
        split = experiments.make_split(data_, "loo-random", 0).refit()
        dense = np.zeros((split.n_items, split.n_users))
        dense[split.train_items, split.train_users] = 1
        plain = tdd.principal_components(split, 100, centred=False)
        centred = tdd.principal_components(split, 100)
        silent = np.bincount(split.train_items, minlength=split.n_items) == 0
        assert np.abs(plain[silent]).max(initial=0) < 1e-5
        size = np.linalg.svd(dense, compute_uv=False)[: plain.shape[1]]
        assert np.linalg.norm(plain, axis=0) == pytest.approx(size, abs=1e-3)
        assert np.abs(centred.mean(0)).max() < 1e-5 < np.abs(plain.mean(0)).max()


def planted(reading: str, factor: float, other: str = "as printed") -> Study:
    """Records on which one reading of JS, times a factor, gives exactly what is printed."""
    rows = ("NCF", "AMP-2", "AMP-4", "AISP-2")
    published = load_published("amp_cf")
    values = published_values(published)
    records = []
    for row in rows:
        printed = {name: values["table3", row, "pinterest", name] for name in lists.METRICS}
        metrics = {}
        for space in readings.SPACES.values():
            for column, own in readings.READINGS.items():
                for place, name in enumerate(own):
                    noise = 1 + 0.4 * np.sin(7 * place + len(row) * len(space))
                    metrics[readings.metric(column, name, space)] = 0.05 * noise
        metrics[readings.metric("JS", reading, "uncentred")] = printed["JS"] / factor
        metrics[readings.metric("Hellinger", other, "uncentred")] = printed["Hellinger"]
        metrics |= {name: metrics[readings.metric(name, "as printed", "centred")]
                    for name in lists.METRICS}  # fmt: skip
        metrics |= {f"{name}/uncentred": metrics[name] / 2 for name in lists.METRICS}
        records.append(
            {"key": row, "table": lists.TABLE3, "row": row, "dataset": "pinterest",
             "protocol": "loo-random", "variant": "", "select": "validation", "seed": 0,
             "config": {}, "data_hash": "d", "metrics": metrics, "time": ""}
        )  # fmt: skip
    return Study(lists.TABLE3, "stored", "validation", records, {}, published, lists.grid())


@pytest.mark.parametrize("factor", [1.0, 30.0])
def test_the_reading_that_made_the_printed_numbers_is_found(factor):
    """Planted: root by cluster without centring. Its line has the factor, no spread and slope 1;
    where the factor is 1 its size fits, and with it the pair comes first."""
    study = planted("root by cluster, then summed", factor)
    frame = table3.readings_table(study, "JS")
    line = frame.loc[("root by cluster, then summed", "uncentred")]
    assert line.tolist() == [f"{factor:.3g}", "1.00", "+1.00"]
    others = frame["largest over smallest"].drop(line.name).astype(float)
    assert others.min() > 1.05
    text = table3.established(study)
    assert ("root by cluster, then summed, uncentred" in text.split("In the reading whose")[0]) is (
        factor == 1.0
    )
    first = table3.pairs_table(study).reset_index().iloc[0]
    said = (
        f"printed is {first['printed / measured ratio']} times measured; largest over smallest "
        f"{first['largest over smallest']}."
    )
    assert (said in text) is (factor == 1.0)  # else none is within a factor of two
    found = (first["JS"], first["Hellinger"], first["PCA"])
    assert (found == ("root by cluster, then summed", "as printed", "uncentred")) is (factor == 1.0)


def test_small_factors_of_print_keep_two_digits():
    study = planted("as printed", 1.0)
    printed = published_values(study.published)
    records = []
    for r, times in zip(study.records, (0.00512, 0.01, 0.02, 0.0481), strict=True):
        js = times * printed["table3", r["row"], "pinterest", "JS"]
        records.append(r | {"metrics": r["metrics"] | {"JS": js}})
    text = table3.headline(replace(study, records=records))
    assert "Measured distances are 0.0051 to 0.048 times the printed JS" in text


def test_without_centring_is_said_with_the_order_of_the_models():
    study = planted("as printed", 1.0)
    frame = table3.uncentred(study)
    assert set(frame["ratio"]) == {"0.50"}
    assert set(frame["rank correlation of the models"]) == {"+1.00"}
    assert table3.effect_uncentred(study).startswith("JS without centring: 0.50 times on pinterest")


def test_a_reading_of_some_lists_waits_until_all_have_it():
    """Over fewer lists it would look closer; the others stay as they are without it."""
    study = planted("root by cluster, then summed", 1.0)
    later = [("JS", "KL, list from history"), ("Hellinger", readings.BY_ITEM)]
    names = [readings.metric(c, n, s) for c, n in later for s in readings.SPACES.values()]
    few = [
        r | {"metrics": {k: v for k, v in r["metrics"].items() if k not in names or place == 0}}
        for place, r in enumerate(study.records)
    ]
    found = replace(study, records=few)
    for column, name in later:
        whole, part = (table3.readings_table(s, column) for s in (study, found))
        assert part.index.tolist() == [key for key in whole.index if key[0] != name]
        assert part.equals(whole.drop(index=name, level=0))
    text = table3.established(found)
    assert "Pending for JS, as the lists" in text and "before: KL, list from history.\n" in text
    assert f"before: {readings.BY_ITEM}.\n" in text
    assert "Pending for" not in table3.established(study)
    assert readings.BY_ITEM not in table3.pairs_table(found).reset_index()["Hellinger"].tolist()


def test_records_from_before_the_readings_are_pending_not_wrong():
    study = planted("as printed", 1.0)
    old = {k: v for k, v in study.records[0]["metrics"].items() if "/" not in k}
    mixed = [study.records[0] | {"key": "old", "seed": 1, "metrics": old}, *study.records]
    frame = table3.uncentred(replace(study, records=mixed))
    assert set(frame["models"]) == {"3"}
    none = replace(study, records=[r | {"metrics": old} for r in study.records])
    assert "Pending" in table3.established(none)
    assert table3.effect_uncentred(none) == "pending"


@pytest.mark.parametrize("metric", ["JS", "Hellinger"])
def test_how_far_the_order_of_the_models_hangs_on_distances(metric):
    """As printed AMP-2 is first of four models, over similarities third."""
    order = {"AMP-2": (1.0, 3.5), "ItemKNN": (2.0, 2.0), "iALS": (3.0, 3.0), "NCF": (4.0, 4.0)}
    records = [
        {"key": row, "table": lists.TABLE3, "row": row, "dataset": "pinterest",
         "protocol": "loo-random", "variant": "", "select": "none" if row == "ItemKNN" else
         "validation", "seed": 0, "config": {}, "data_hash": "d", "time": "",
         "metrics": {name: before for name in lists.METRICS}
         | {f"{name}/similarity": after for name in lists.METRICS}}
        for row, (before, after) in order.items()
    ]  # fmt: skip
    study = Study(
        lists.TABLE3, "stored", "validation", records, {}, load_published("amp_cf"), lists.grid()
    )
    found = table3.orders(study)["pinterest", metric]
    assert (found.models, found.pairs, found.reversed) == (4, 6, 2)
    assert found.tau == pytest.approx((4 - 2) / 6)
    pairs = [("AMP-2", "ItemKNN"), ("AMP-2", "iALS")]
    assert (found.gains, found.lost, found.losses, found.won) == (pairs, pairs, [], [])
    line = table3.similarities(study).loc[("pinterest", metric)].tolist()
    assert line == ["4", "+0.33", "2 of 6", "2 of 2", "0 of 0"]
    assert table3.turned_text(study) == (
        "By JS, 2 of 2 gains of an AMP over ItemKNN, EASE^R and iALS become losses over "
        "similarities in place of distances, all on `pinterest` (2 of 2 there). Kendall's tau-b "
        "between the two orders of the models is 0.33 on `pinterest`."
    )
    twice = [r | {"key": f"{r['key']}-2", "dataset": "ml-100k"} for r in records]
    both = table3.turned_text(replace(study, records=[*records, *twice]))
    assert both.startswith("By JS, 4 of 4 gains") and both.count("all on") == 0
    assert " of distances: 2 of 2 on `ml-100k`, 2 of 2 on `pinterest`. Kendall's" in both
    shown = table3.turned_pairs(study)["AMPs"]
    assert shown["pinterest", metric, "iALS", "AMP"] == "AMP-2"
    back = [
        r | {"metrics": {name: r["metrics"][f"{name}/similarity"] for name in lists.METRICS}
             | {f"{name}/similarity": r["metrics"][name] for name in lists.METRICS}}
        for r in records
    ]  # fmt: skip
    other = table3.orders(replace(study, records=back))["pinterest", metric]
    assert (other.lost, other.losses, other.won) == ([], pairs, pairs)
    assert " gains of" not in table3.turned_text(replace(study, records=back))
    same = [r | {"metrics": dict.fromkeys(r["metrics"], order[r["row"]][0])} for r in records]
    alike = table3.orders(replace(study, records=same))["pinterest", metric]
    assert (alike.tau, alike.reversed, alike.lost) == (1.0, 0, [])
    none_lost = table3.turned_text(replace(study, records=same))
    assert none_lost.startswith("By JS, 0 of 2 gains") and "of distances. Kendall's" in none_lost
    assert "None changes" in table3.turned_pairs(replace(study, records=same)).iloc[0, 0]
    nothing = replace(study, records=[])
    assert table3.turned_text(nothing) == table3.PENDING
    assert "Pending" in table3.similarities(nothing).index[0]


def test_settings_of_one_vector_stand_beside_the_own_search_and_that_vector():
    """Planted: AMP-2 at 0.3, with MF's settings at 0.2, without entropy at 0.5; MF at 0.4."""
    assert {*table3.OF_MF, *lists.UNTRAINED} == set(lists.VARIANTS)
    planted = {
        ("AMP-2", ""): 0.3,
        ("MF (r=1)", ""): 0.4,
        ("AMP-2", "mf-settings"): 0.2,
        ("AMP-2", "mf-settings-no-entropy"): 0.5,
    }
    records, ranks = [], {}
    for (row, variant), value in planted.items():
        for seed in range(2):
            key = f"{row}/{variant}/{seed}"
            records.append(
                {"key": key, "table": lists.TABLE3, "row": row, "dataset": "ml-100k",
                 "protocol": "loo-random", "variant": variant, "select": "validation",
                 "seed": seed, "config": {}, "data_hash": "d", "time": "",
                 "metrics": {"Hellinger": value}}
            )  # fmt: skip
            ranks[key] = {"Hellinger": value + 0.01 * np.sin(np.arange(50.0))}
    study = Study(
        lists.TABLE3, "stored", "validation", records, ranks, load_published("amp_cf"), lists.grid()
    )
    frame = table3.settings_of_mf(study)
    for entropy, own, single in (("as printed", "-0.1", "-0.2"), ("none", "+0.2", "+0.1")):
        line = frame.loc[("ml-100k", "AMP-2", entropy)]
        assert line["minus as searched"].startswith(f"{own}000 [")
        assert line["minus MF (r=1)"].startswith(f"{single}000 [")
    named = frame.index.get_level_values(0).unique().tolist()
    assert named == [d for d in experiments.RUN_HERE if d in named]
    others = frame.drop(index=[("ml-100k", "AMP-2", e) for e in table3.OF_MF.values()])
    assert set(others.to_numpy().ravel()) == {"pending"} and len(others)
    plain = replace(study, records=[r for r in records if not r["variant"]])
    assert table3.settings_of_mf(plain).index.tolist() == [table3.OF_MF_PENDING]
