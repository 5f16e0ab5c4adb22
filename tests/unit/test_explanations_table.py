"""Attention and explanations: what is taken away must change what depends on it, and only that."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from replication import cli, data, paths
from replication.metrics import explanation as measures
from replication.metrics import lists as list_metrics
from replication.papers.amp_cf import experiments, explanations, figure2, planted
from replication.papers.amp_cf.model import AMP, AMPConfig
from replication.protocols import make_split
from replication.records import Store
from replication.training import Sampler, fit

CPU = torch.device("cpu")
JOB = experiments.Run("ml-100k", "loo-random", "amp-2", 0)
SMALL = AMPConfig(
    dimension=8, attention_dimension=8, batch_size=64, learning_rate=0.02, max_epochs=6,
    lambda_p=0.1, lambda_n=0.02,
)  # fmt: skip


def forget():
    for cached in (experiments.data_for, experiments.split_for):
        cached.cache_clear()


@pytest.fixture
def study(tmp_path, monkeypatch, make_tiny):
    """ml-100k in small, with a genre a taste, and small settings."""
    for name in ("results", "raw", "prepared", "checkpoints", "models"):
        monkeypatch.setattr(paths, name.upper(), tmp_path / name)
    tiny = replace(make_tiny(n_users=40, n_items=150, per_user=14), name="ml-100k")
    taste = np.asarray(["A", "B", "C"])[tiny.item_ids % 3]
    tiny.item_features["genres"] = taste
    tiny.item_features["title"] = [f"film {i}" for i in tiny.item_ids]
    monkeypatch.setitem(data.DATASETS, "ml-100k", lambda raw: tiny)
    monkeypatch.setattr(experiments, "variant_config", lambda *arguments: SMALL)
    monkeypatch.setattr(explanations, "REFIT_STEPS", 5)
    monkeypatch.setattr(figure2, "SHOWN", 5)
    forget()
    yield tmp_path
    forget()


@pytest.fixture(scope="module")
def amp():
    torch.manual_seed(0)
    made = AMP(12, 20, AMPConfig(personas=3, dimension=8, attention_dimension=8))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0, 0.7)
    return made


def test_other_attention_is_equation_1_with_other_weights(amp):
    users, items = torch.tensor([2, 5]), torch.tensor([[1, 4, 0, 9], [7, 8, 3, 2]])
    with torch.no_grad():
        y, a, _, similarity = amp(users, items)
    bias = amp.item_bias[items]
    uniform = explanations.Intervened(amp, "uniform", 0).score_candidates(users, items)
    torch.testing.assert_close(uniform, similarity.mean(-1) + bias)
    mean = explanations.Intervened(amp, "mean", 0).score_candidates(users, items)
    torch.testing.assert_close(mean, (a.mean(1, True) * similarity).sum(-1) + bias)
    shuffled = explanations.Intervened(amp, "shuffled", 0).score_candidates(users, items)
    # Each candidate has the weights of some candidate of the same user.
    options = torch.einsum("bck,bmk->bcm", similarity, a) + bias[..., None]
    assert ((options - shuffled[..., None]).abs().amin(-1) < 1e-5).all()
    assert not torch.allclose(shuffled, y)
    everything = torch.arange(20).expand(2, -1)
    torch.testing.assert_close(
        explanations.Intervened(amp, "uniform", 0).score_all(users),
        explanations.Intervened(amp, "uniform", 0).score_candidates(users, everything),
    )


def test_a_persona_alone_recommends_by_its_own_score(amp, tiny):
    split = make_split(tiny, "loo-random").refit()
    torch.manual_seed(0)
    model = AMP(split.n_users, split.n_items, AMPConfig(personas=3, dimension=8))
    with torch.no_grad():
        model.item_bias.normal_()
    for biased in (True, False):
        lists = explanations.persona_lists(model, split, CPU, biased)
        for user, persona in ((0, 0), (29, 2)):
            own = model.items @ model.personas[user].view(3, -1)[persona]
            own = (own + (model.item_bias if biased else 0)).detach().numpy()
            own[split.train_items[split.train_users == user]] = -np.inf
            np.testing.assert_array_equal(lists[user, persona], np.argsort(-own)[:10])


def random_amp(split, seed=0, personas=3):
    """A model whose attention and lists differ from user to user, without training."""
    torch.manual_seed(seed)
    config = replace(SMALL, personas=personas)
    made = AMP(split.n_users, split.n_items, config)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0, 0.7)
    return made


def test_entropies_are_those_of_the_items_that_they_name(tiny):
    """Each kind spelled out, and no two the same."""
    split = make_split(tiny, "loo-random").refit()
    model = random_amp(split)
    top = list_metrics.top_lists(model, split, 10, CPU)
    found = explanations.entropies(model, split, top, 7, CPU)
    drawn = Sampler(split, model.config, CPU).negatives(
        torch.from_numpy(split.train_users), 1, torch.Generator().manual_seed(7)
    )[:, 0].numpy()  # fmt: skip
    for user in (0, 17, 29):
        mine = split.train_users == user
        for kind, items in (
            ("test", split.test[[user]]),
            ("training", split.train_items[mine]),
            ("negatives", drawn[mine]),
            ("candidates", split.test_negatives[user][split.test_negatives[user] >= 0]),
            ("recommended", top[user]),
        ):
            with torch.no_grad():
                a = model(torch.tensor([user]), torch.from_numpy(items)[None]).attention[0]
            want = -(a * a.log()).sum(1).mean() / np.log(3)
            assert found[f"entropy/{kind}"][user] == pytest.approx(float(want), abs=1e-5)
    means = [value.mean() for value in found.values()]
    assert len(np.unique(np.round(means, 5))) == len(means)


def test_the_persona_with_the_most_attention_claims_an_item(tiny):
    split = make_split(tiny, "loo-random").refit()
    model = random_amp(split)
    with torch.no_grad():
        users, items = map(torch.from_numpy, (split.train_users, split.train_items))
        attention = model(users, items[:, None]).attention[:, 0].numpy()
    claims = explanations.assignments(model, split, CPU)
    np.testing.assert_array_equal(attention[np.arange(len(claims)), claims], attention.max(1))
    assert len(np.unique(claims)) == 3


def test_k_means_gives_an_item_to_the_nearest_mean(tiny):
    """Three heaps on a line: to the farthest mean two of them would fall together."""
    split = make_split(tiny, "loo-random").refit()
    heap = np.arange(split.n_items) % 3
    # A user of this data set has one heap; here each gets items of all three.
    users = np.repeat(np.arange(split.n_users), 9)
    items = np.tile(np.arange(9), split.n_users)
    split = replace(split, train_users=users, train_items=items)
    place = torch.tensor([0.0, 1.0, 10.0])[heap] + torch.linspace(0, 0.01, split.n_items)
    found = explanations.nearest_means(place[:, None], split, 3, 0)
    agreement = measures.adjusted_mutual_information(users, found, heap[items], split.n_users)
    assert agreement.pooled == pytest.approx(1)


def test_the_cluster_of_an_item_is_the_nearest_heap_of_the_history():
    """Three heaps on a line: of each user those items go that lie with the recommended one."""
    place = torch.tensor([0.0, 0.1, 0.2, 5.0, 5.1, 20.0, 20.1, 20.2, 4.0, 21.0])[:, None]
    users = np.repeat(np.arange(3), 8)
    items = np.tile(np.arange(8), 3)
    top = torch.tensor([8, 9, 0])
    found = explanations.in_cluster(place, top, users, items, 3, 0).reshape(3, 8)
    want = [{3, 4}, {5, 6, 7}, {0, 1, 2}]
    assert [set(np.flatnonzero(own)) for own in found] == want


def test_a_cluster_without_items_is_not_asked(monkeypatch):
    """K-means can leave a mean that no item is nearest to, even where the recommended item is."""
    place = torch.tensor([0.0, 0.1, 5.0, 20.0])[:, None]
    users, items = np.repeat(np.arange(2), 3), np.array([0, 1, 2, 0, 1, 2])
    left = torch.tensor([[0.05, 5.0, 19.0]] * 2)[..., None], np.array([0, 0, 1] * 2)
    monkeypatch.setattr(explanations, "clustered", lambda *arguments: left)
    found = explanations.in_cluster(place, torch.tensor([3, 1]), users, items, 3, 0)
    assert found.tolist() == [False, False, True, True, True, False]


def test_strangers_are_other_users_with_the_same_persona(tiny):
    split = make_split(tiny, "loo-random").refit()
    model = random_amp(split)
    top = list_metrics.top_lists(model, split, 10, CPU)
    found = explanations.overlaps(model, split, top, 5, CPU)["overlap/other users"]
    lists = [[set(one) for one in own] for own in explanations.persona_lists(model, split, CPU)]
    stranger = np.random.default_rng(5).permutation(split.n_users)
    for user, other in enumerate(stranger):
        shared = [len(a & b) / len(a | b) for a, b in zip(lists[user], lists[other], strict=True)]
        assert found[user] == pytest.approx(np.mean(shared))
    assert (stranger != np.arange(split.n_users)).mean() > 0.8 and found.mean() < 0.5


def test_strongest_takes_as_many_as_asked():
    users, strength = np.array([1, 0, 1, 1, 0]), np.array([0.1, 5, 0.3, 0.2, 6])
    found = explanations.strongest(users, strength, np.array([1, 2]))
    np.testing.assert_array_equal(found, [False, False, True, True, True])


def test_a_refit_moves_no_other_user_and_no_item(study):
    """Fails if the loss mixes users, if what was trained moves, or if arms draw differently."""
    split = JOB.split().refit()
    torch.manual_seed(0)
    model = AMP(split.n_users, split.n_items, SMALL)
    sampler = Sampler(split, SMALL, CPU)
    sample = torch.tensor([3, 8])
    mine = np.isin(split.train_users, sample.numpy())
    rows = torch.from_numpy((split.train_users[mine] == 8).astype(int))
    items = torch.from_numpy(split.train_items[mine])
    kept = torch.ones(len(rows), dtype=torch.bool)
    whole = explanations.refit(model, sampler, sample, rows, items, kept, 0)
    again = explanations.refit(model, sampler, sample, rows, items, kept, 0)
    torch.testing.assert_close(whole.personas, again.personas)
    part = explanations.refit(model, sampler, sample, rows, items, rows == 0, 0)
    torch.testing.assert_close(part.personas[0], whole.personas[0], atol=1e-4, rtol=1e-3)
    assert not torch.allclose(part.personas[1], whole.personas[1], atol=1e-2)
    for name, before in model.named_parameters():
        if name != "personas":
            assert torch.equal(dict(part.named_parameters())[name], before)


def test_what_carries_the_recommendation_loses_more_than_a_shuffle():
    """On planted tastes the claimed items carry the score; the shuffled claims are the control."""
    made, _ = planted.planted("planted-3")
    few = made.users < 150
    made = replace(
        made, users=made.users[few], items=made.items[few], ratings=made.ratings[few],
        timestamps=made.timestamps[few], user_ids=made.user_ids[:150],
    )  # fmt: skip
    split = make_split(made, "loo-random").refit()
    config = replace(planted.MODELS["AMP-3"], dimension=16, attention_dimension=16, max_epochs=15)
    model = fit(
        lambda: AMP(split.n_users, split.n_items, config), split, config, 0, CPU, None,
        progress=False,
    ).model  # fmt: skip
    top = list_metrics.top_lists(model, split, 10, CPU)
    claims = explanations.assignments(model, split, CPU)
    lost, checks = explanations.faithfulness(model, split, claims, top, JOB)
    mean = {name: np.nanmean(value) for name, value in lost.items()}
    gain = lost["lost/claimed"] - lost["lost/random"]
    gain = gain[np.isfinite(gain)]
    assert gain.mean() > 4 * gain.std() / np.sqrt(len(gain))
    assert abs(mean["lost/shuffled"] - mean["lost/random"]) < gain.mean() / 2
    assert mean["rank/claimed"] > mean["rank/random"]
    assert checks["refit/users"] == 150 and checks["refit/correlation"] > 0.5
    # A cell of 20 items is a heap of item vectors, too.
    known = np.isfinite(lost["lost/cluster"])
    for arm, random in (("claimed", "random"), ("cluster", "random for cluster")):
        excess = lost[f"lost/{arm}"] - lost[f"lost/{random}"]
        np.testing.assert_array_equal(lost[f"excess/{arm}"][known], excess[known])
    assert mean["excess/cluster"] > gain.mean() / 2
    assert 0 < checks["refit/share in cluster"] < 1
    assert 0 < checks["refit/claimed and in cluster"] <= 1


def test_what_each_arm_leaves_out(study, monkeypatch):
    """``nearest``: the items most like the recommended one; ``shuffled``: not those claimed."""
    split = JOB.split().refit()
    model, dropped = random_amp(split), []

    def refit(model, sampler, sample, rows, items, kept, seed):
        dropped.append((sample.numpy(), rows, items.numpy(), ~kept.numpy()))
        return whole(model, sampler, sample, torch.as_tensor(rows), items, kept, seed)

    whole = explanations.refit
    monkeypatch.setattr(explanations, "refit", refit)
    monkeypatch.setattr(explanations, "REFIT_STEPS", 1)
    top = list_metrics.top_lists(model, split, 10, CPU)
    claims = explanations.assignments(model, split, CPU)
    explanations.faithfulness(model, split, claims, top, JOB)
    arms = dict(zip(("nothing", *explanations.DROPS), dropped, strict=True))
    assert not arms["nothing"][3].any()
    unit = torch.nn.functional.normalize(model.items.detach(), dim=1).numpy()
    some = 0
    sample, _, items, nearest = arms["nearest"]
    users = split.train_users[np.isin(split.train_users, sample)]
    for user in sample:
        mine = users == user
        first = torch.tensor([[top[user, 0]]])
        responsible = model(torch.tensor([user]), first).attention[0, 0].argmax().item()
        own = claims[split.train_users == user] == responsible
        np.testing.assert_array_equal(arms["claimed"][3][mine], own)
        cosine = unit[items[mine]] @ unit[top[user, 0]]
        out = nearest[mine]
        assert out.sum() == own.sum()
        if 0 < out.sum() < len(out):
            some += 1
            assert cosine[out].min() > cosine[~out].max()
    assert some > 10
    want = explanations.in_cluster(
        model.items.detach(), torch.from_numpy(top[sample, 0]),
        np.searchsorted(sample, users), items, 3, JOB.seed,
    )  # fmt: skip
    np.testing.assert_array_equal(arms["cluster"][3], want)
    # As many at random as there are in the cluster, of the draw of ``random``: one holds the other.
    most, least = arms["random"][3], arms["random for cluster"][3]
    assert not np.array_equal(least, want)
    for user in sample:
        a, b = most[users == user], least[users == user]
        assert b.sum() == want[users == user].sum() > 0
        assert (a & b).sum() == min(a.sum(), b.sum())
    for control in ("shuffled", "random"):
        assert not np.array_equal(arms[control][3], arms["claimed"][3])
        # By chance as many of the claimed items as of the others.
        among = arms[control][3][arms["claimed"][3]].mean()
        assert among < 0.9


def test_seeds_are_compared_with_the_next_one_and_with_a_shuffle(study, monkeypatch):
    """Unrelated seeds agree as little as shuffled ones; equal ones wholly, but not shuffled."""
    split = JOB.split().refit()
    monkeypatch.setattr(explanations, "faithfulness", lambda *arguments: ({}, {}))
    found = {}
    for case, last in (("other", 1), ("same", 0)):
        made = {0: random_amp(split, 0), 1: random_amp(split, last)}
        monkeypatch.setattr(experiments, "trained", lambda job, *_, made=made: made[job.seed])
        monkeypatch.setattr(paths, "RESULTS", study / case)
        (_, record, _), *_ = explanations.measure_and_store([JOB], "cpu", progress=False)
        found[case] = record["metrics"]
    assert found["same"]["seeds/AMI, pooled"] == pytest.approx(1)
    assert abs(found["same"]["seeds/AMI shuffled, pooled"]) < 0.15
    one, next_ = (explanations.assignments(random_amp(split, n), split, CPU) for n in (0, 1))
    want = measures.adjusted_mutual_information(split.train_users, one, next_, split.n_users)
    assert found["other"]["seeds/AMI, pooled"] == want.pooled < 0.5


def test_an_assignment_by_the_rarest_genre_agrees_with_it(study, monkeypatch):
    """All films have the commonest genre, which tells none apart; the control is shuffled."""
    genres = np.asarray(["A|Any", "B|Any", "C|Any"])
    made = data.DATASETS["ml-100k"](None)
    made.item_features["genres"] = genres[made.item_ids // 2 % 3]  # several in each history
    forget()
    split = JOB.split().refit()
    own = experiments.data_for(JOB.dataset, JOB.protocol).item_features["genres"]
    truth = np.array([list(genres).index(name) for name in own])[split.train_items]
    monkeypatch.setattr(explanations, "faithfulness", lambda *arguments: ({}, {}))
    monkeypatch.setattr(explanations, "assignments", lambda *arguments: truth)
    model = random_amp(split)
    found = explanations.measure(JOB, model, model, CPU)[0]["metrics"]
    assert found["genres/AMI, pooled"] == pytest.approx(1)
    assert found["genres/AMI commonest, pooled"] == 0
    assert abs(found["genres/AMI shuffled, pooled"]) < 0.15


def test_a_record_is_the_mean_of_its_stored_values_and_is_not_measured_twice(study):
    run = explanations.measure_and_store
    (_, record, new), *_ = run([JOB], "cpu", progress=False)
    assert new and not next(iter(run([JOB], "cpu", progress=False)))[2]
    store = Store(explanations.TABLE)
    (stored,) = store.load()
    values = store.ranks([stored["key"]])[stored["key"]]
    assert set(explanations.METRICS) <= set(values) <= set(record["metrics"])
    for name, value in values.items():
        assert record["metrics"][name] == pytest.approx(np.nanmean(value.astype(float)))
    assert abs(record["metrics"]["genres/AMI shuffled, pooled"]) < 0.15


def test_without_genres_all_else_is_measured(study, monkeypatch):
    """Goes red if genres are asked for where there are none, or if a test is lost with them."""
    whole = next(iter(explanations.measure_and_store([JOB], "cpu", progress=False)))[1]["metrics"]
    for name in ("results", "prepared"):
        monkeypatch.setattr(paths, name.upper(), study / f"{name} without")
    tiny = data.DATASETS["ml-100k"](None)
    del tiny.item_features["genres"]
    monkeypatch.setattr(explanations, "GENRES", ())
    forget()
    found = next(iter(explanations.measure_and_store([JOB], "cpu", progress=False)))[1]["metrics"]
    assert {name for name in whole if name not in found} == {
        name for name in whole if name.startswith("genres/")
    }
    assert {name: whole[name] for name in found} == found


def test_a_rerun_gives_the_record_again(study):
    (_, record, _), *_ = explanations.measure_and_store([JOB], "cpu", progress=False)
    stored = Store(explanations.TABLE).load()[0]
    assert explanations.rerun(stored, CPU)[0]["metrics"] == record["metrics"]


def test_the_command_line_runs_and_prints_the_tables(study, capsys, monkeypatch):
    command = ["run", explanations.TABLE, "--dataset", "ml-100k", "--model", "amp-2"]
    assert cli.main([*command, "--seeds", "1"]) == 0
    assert "entropy/test 0." in capsys.readouterr().out
    assert cli.main(["table", explanations.TABLE, "--format", "json"]) == 0
    assert '"metric": "lost/claimed"' in capsys.readouterr().out
    assert cli.main([*command, "--variant", "released"]) == 1
    assert "takes no --protocol, --variant or --select" in capsys.readouterr().err
    assert cli.main(["run", explanations.TABLE, "--model", "mf"]) == 1
    assert "has no 'mf'" in capsys.readouterr().err
    command = ["run", explanations.TABLE, "--dataset", "pinterest", "--model", "amp-8"]
    assert cli.main(command) == 1
    error = capsys.readouterr().err
    assert "no amp-8 on pinterest; without genres it has amp-2 and amp-4" in error

    short = replace(planted.MODELS["AMP-3"], max_epochs=1)
    monkeypatch.setitem(planted.MODELS, "AMP-3", short)
    command = ["run", planted.TABLE, "--dataset", "planted-3", "--model", "AMP-3", "--seeds", "1"]
    assert cli.main(command) == 0
    assert "AMI shuffled" in capsys.readouterr().out
    assert cli.main(["audit", planted.TABLE, "--n", "1"]) == 0
    assert "same: AMP-3 on planted-3" in capsys.readouterr().out

    assert cli.main(["run", figure2.TABLE, "--dataset", "ml-100k"]) == 0
    (record,) = Store(figure2.TABLE).load()
    assert sum(record["figure"]["claimed"]) == record["metrics"]["history"]
    assert len(record["figure"]["history"]) == 5 and len(record["figure"]["final"]) == 10
    assert cli.main(["run", figure2.TABLE, "--model", "amp-2"]) == 1
    assert "shows amp-4" in capsys.readouterr().err


def test_planted_cells_are_tastes_in_one_set_and_names_in_the_other():
    """Fails if the two sets differ in more than which cells a user takes together."""
    for dataset in planted.DATASETS:
        made, cell = planted.planted(dataset)
        assert len(made) == planted.USERS * planted.HISTORY
        assert len(np.unique(made.users * made.n_items + made.items)) == len(made)
        taken = np.zeros((made.n_users, planted.CELLS), dtype=bool)
        taken[made.users, cell[made.items]] = True
        sets = len(np.unique(taken, axis=0))
        assert sets > 150 if dataset == "planted-3" else taken.sum(1).max() == 3 and sets < 12
    again, _ = planted.planted(dataset)
    assert again.content_hash == made.content_hash


def test_the_measure_of_recovery_can_come_out_both_ways():
    """Assignments equal to the truth give 1, shuffled ones 0."""
    made, cell = planted.planted("planted-3")
    found = cell[made.items]
    users, n_users = made.users, made.n_users
    full = measures.adjusted_mutual_information(users, found, cell[made.items], n_users)
    assert full.pooled > 0.999
    rng = np.random.default_rng(0)
    none = measures.adjusted_mutual_information(
        users, measures.shuffled_within(users, found, rng), cell[made.items], n_users
    )
    assert abs(none.pooled) < 0.01


@pytest.mark.parametrize(
    ("model", "assigned"),
    [("AMP-3", "assignments"), ("MF (r=1), K-means", "nearest_means")],
)
def test_a_record_of_planted_tastes_sees_an_assignment_that_found_them(
    monkeypatch, model, assigned
):
    """The truth in place of what was learned: full agreement, none once it is shuffled."""
    monkeypatch.setattr(planted, "USERS", 100)
    small = replace(planted.MODELS[model], dimension=8, attention_dimension=8, max_epochs=1)
    monkeypatch.setitem(planted.MODELS, model, small)
    cell = planted.planted("planted-3")[1]

    def truth(amp, split, *arguments):
        users, cells = split.train_users, cell[split.train_items]
        found = np.empty_like(cells)  # 0, 1, 2: which of the user's own cells
        for user in np.unique(users):
            found[users == user] = np.unique(cells[users == user], return_inverse=True)[1]
        return found

    monkeypatch.setattr(explanations, assigned, truth)
    record, values = planted.measure(model, "planted-3", 0, CPU)
    metrics = record["metrics"]
    for suffix in ("", ", pooled"):
        assert metrics[f"AMI{suffix}"] > 0.99
        assert abs(metrics[f"AMI shuffled{suffix}"]) < 0.05
    # Three tastes of ten items each, one of which may be held out.
    assert metrics["personas used"] == pytest.approx(3, abs=0.01)
    assert ("overlap/cosine" in metrics) is (model == "AMP-3")
    for name, value in values.items():
        assert metrics[name] == pytest.approx(value.astype(float).mean())


def test_personas_of_planted_users_are_counted_and_compared(monkeypatch):
    """One persona claims all: one is used. Personas made the same vector: their cosine is 1."""
    monkeypatch.setattr(planted, "USERS", 100)
    small = replace(planted.MODELS["AMP-3"], dimension=8, attention_dimension=8, max_epochs=1)
    monkeypatch.setitem(planted.MODELS, "AMP-3", small)
    apart = planted.measure("AMP-3", "planted-1", 0, CPU)[0]["metrics"]
    assert apart["personas used"] > 1.5 and apart["overlap/cosine"] < 0.9

    def one_vector(*arguments, **named):
        trained = fit(*arguments, **named)
        personas = trained.model.personas
        with torch.no_grad():
            personas.copy_(personas[:, :8].repeat(1, 3))
        return trained

    monkeypatch.setattr(planted, "fit", one_vector)
    same = planted.measure("AMP-3", "planted-1", 0, CPU)[0]["metrics"]
    assert same["personas used"] == 1 and same["overlap/cosine"] == pytest.approx(1, abs=1e-3)


def test_variants_are_planned_where_table_2_has_them():
    places = ["ml-latest-small", "ml-100k"]
    jobs = explanations.plan(places, ["amp-3", "amp-4"], 2)
    of_variants = [job for job in jobs if job.variant]
    assert {(j.dataset, j.model, j.variant) for j in of_variants} == {
        ("ml-latest-small", "amp-4", "released"),
        *((d, "amp-4", f"mf-settings{end}") for d in places for end in ("", "-no-entropy")),
    }
    assert len(jobs) == 2 * 2 * 2 + 2 + 2 * 2 * 2
    every = explanations.plan()
    # The run that it is compared with is one that Table 2 has: a cell may have three seeds.
    assert {explanations.next_seed(job) for job in every} == set(every)
    assert {cell.row for cell in explanations.grid("released")} == {"AMP-2", "AMP-4"}
