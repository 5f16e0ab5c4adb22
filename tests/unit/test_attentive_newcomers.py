"""New users of Attentive NCF: nothing of them is trained on, and each way does what it says."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from replication import cli, paths
from replication.data.interactions import UNKNOWN_TIME, from_frame
from replication.folds import Ratings
from replication.page import stored_table
from replication.papers.attentive_ncf import experiments, newcomers, rows
from replication.papers.attentive_ncf.model import AttentiveNCF, AttentiveNCFConfig, encoded
from replication.papers.attentive_ncf.pages import newcomers as shown
from replication.records import Store

CPU = torch.device("cpu")
SMALL = {"dimension": 4, "batch_size": 256, "max_epochs": 3, "pretrain_epochs": 2}


def made_up(name="ml-100k"):
    """50 users, 140 films; a user gives his own group's films more, and some users rate few."""
    rng = np.random.default_rng(0)
    share = np.where(np.arange(50) % 5 == 0, 0.12, 0.75)
    users, items = np.nonzero(rng.random((50, 140)) < share[:, None])
    ratings = np.where(users % 2 == items % 2, 5, 2) - rng.integers(0, 2, len(users))
    ratings[:5] = [1, 2, 3, 4, 5]
    frame = pd.DataFrame({"user": users, "item": items, "rating": ratings})
    return from_frame(name, frame.assign(timestamp=UNKNOWN_TIME), source="made up")


DATA = made_up()


def forget():
    for cached in (experiments.data_for, newcomers.split_for, newcomers.pretrained,
                   newcomers.fitted):  # fmt: skip
        cached.cache_clear()


@pytest.fixture
def study(tmp_path, monkeypatch):
    for name in ("DATA", "RESULTS", "CHECKPOINTS", "MODELS"):
        monkeypatch.setattr(paths, name, tmp_path / name.lower())
    monkeypatch.setattr(experiments, "load", made_up)
    for model in {spec.model for spec in newcomers.METHODS.values()}:
        known = rows.ROWS[model]
        if known.trained:
            monkeypatch.setitem(
                rows.ROWS, model, replace(known, start=replace(known.start, **SMALL))
            )
    forget()
    yield tmp_path
    forget()


@pytest.fixture(scope="module")
def split():
    return newcomers.newcomer_split(DATA)


@pytest.fixture(scope="module")
def asked(split):
    return newcomers.questionnaire(split.test, CPU)


def attentive(split):
    torch.manual_seed(0)
    model = AttentiveNCF(split, AttentiveNCFConfig(predictor="MLP1", dimension=4))
    with torch.no_grad():
        model.embedding.default_user.normal_()
    return model.eval()


def look_up(split, predictor="MLP2"):
    torch.manual_seed(0)
    config = AttentiveNCFConfig(embedding="simple", predictor=predictor, dimension=4)
    return AttentiveNCF(split, config).eval()


def test_nobody_who_is_new_is_trained_on(split):
    new = newcomers.new_users(DATA.n_users)
    assert len(new) == 10 and (new == newcomers.new_users(DATA.n_users)).all()
    for part in (split.train, split.validation):
        assert len(part) and not np.isin(part.users, new).any()
    assert np.isin(split.test.users, new).all()
    assert len(split.test) == np.isin(DATA.users, new).sum()


def test_what_is_asked_is_not_known(split, asked):
    truth = {(u, i): r for u, i, r in zip(DATA.users, DATA.items, DATA.ratings, strict=True)}
    counts = np.bincount(split.test.users, minlength=DATA.n_users)
    assert asked.users.tolist() == np.flatnonzero(counts >= newcomers.QUERIES).tolist()
    short = 0
    for row, user in enumerate(asked.users.tolist()):
        n = int(asked.known[row])
        assert n == min(counts[user] - newcomers.QUERIES, newcomers.MOST)
        short += n < newcomers.MOST
        known, queries = asked.items[row, :n].tolist(), asked.asked[row].tolist()
        assert len(set(known + queries)) == n + newcomers.QUERIES
        for items, ratings in ((known, asked.ratings[row, :n]), (queries, asked.answers[row])):
            assert [truth[user, item] for item in items] == ratings.tolist()
    assert short  # some users have fewer


def test_a_user_with_too_few_ratings_is_not_asked():
    few = Ratings(np.repeat([3, 7], [9, 12]), np.arange(21), np.ones(21, np.float32))
    asked = newcomers.questionnaire(few, CPU)
    assert asked.users.tolist() == [7] and asked.known.tolist() == [2]


def test_told_are_the_first_known_ratings(asked):
    ratings, rated = newcomers.told(asked, 4, DATA.n_items)
    assert (rated.sum(1) == asked.known.clamp_max(4)).all()
    for row in range(len(asked.users)):
        items = asked.items[row, : min(4, int(asked.known[row]))]
        assert (
            rated[row, items].all()
            and (ratings[row, items] == asked.ratings[row, : len(items)]).all()
        )
    assert (ratings[~rated] == 0).all() and not newcomers.told(asked, 0, 140)[1].any()


def test_a_context_is_what_a_history_would_give(split, asked):
    """The same model with the known ratings in its history predicts the same."""
    model, n = attentive(split), 8
    found = newcomers.by_context(model, asked, n)
    _, rated = newcomers.told(asked, n, split.n_items)
    whose, items = rated.nonzero(as_tuple=True)
    values = newcomers.told(asked, n, split.n_items)[0][whose, items]
    known = Ratings(asked.users[whose].numpy(), items.numpy(), values.numpy())
    other = AttentiveNCF(replace(split, train=known), model.config).eval()
    other.load_state_dict(model.state_dict())
    users = asked.users.repeat_interleave(newcomers.QUERIES)
    history = other.predict(users, asked.asked.view(-1), torch.Generator())
    torch.testing.assert_close(found, history.view_as(found))


def test_without_ratings_the_user_is_the_default(split, asked):
    model = attentive(split)
    e = model.embedding
    with torch.no_grad():
        user = e.default_user.expand(asked.asked.numel(), -1)
        expected = model.predictor(user, e.structure[asked.asked.view(-1)])
    torch.testing.assert_close(newcomers.by_context(model, asked, 0), expected.view(-1, 10))


@pytest.mark.parametrize("scale", ["unit", "raw"])
def test_a_new_user_is_encoded_as_an_old_one(split, scale):
    """An old user's own ratings give the vector that the table began with."""
    config = AttentiveNCFConfig(
        embedding="autoencoder", dimension=4, pretrain_epochs=2, user_scale=scale
    )
    nets = newcomers.autoencoders(split, config, 0, CPU)
    top = float(split.levels[-1])
    ratings = torch.zeros(split.n_users, split.n_items)
    ratings[split.train.users, split.train.items] = torch.from_numpy(split.train.values)
    torch.testing.assert_close(newcomers.encode(nets, ratings, top), encoded(nets)[0])
    stars = newcomers.decode(nets, ratings, top)
    raw = nets.users(nets.matrix * nets.user_factor)
    torch.testing.assert_close(stars, (raw * (top if scale == "unit" else 1)).detach())


def test_fine_tuning_fits_the_known_ratings_and_moves_nobody_else(split, asked):
    model = look_up(split)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    start = torch.zeros(4)
    tuned = newcomers.fine_tuned(model, start, asked, 16, (30,))[30]
    assert (newcomers.fine_tuned(model, start, asked, 0, (30,))[30] == 0).all()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    others = asked._replace(ratings=asked.ratings.clone())
    others.ratings[1:] = 6 - others.ratings[1:]
    again = newcomers.fine_tuned(model, start, others, 16, (30,))[30]
    torch.testing.assert_close(again[0], tuned[0])
    assert (again[1] - tuned[1]).abs().max() > 0.01

    def loss(vectors):
        rows = torch.arange(len(asked.users)).repeat_interleave(10)
        which = torch.arange(10).repeat(len(asked.users))
        keep = which < asked.known[rows]
        rows, which = rows[keep], which[keep]
        items = model.embedding.items[asked.items[rows, which]]
        return float(
            model.predictor.loss(vectors[rows], items, asked.ratings[rows, which]).detach()
        )

    assert loss(tuned) < loss(torch.zeros_like(tuned)) - 0.001


def test_marks_are_of_one_run_and_a_pull_keeps_the_vectors_near(split, asked):
    model, start = look_up(split), torch.zeros(4)
    marked = newcomers.fine_tuned(model, start, asked, 16, (3, 10), 0.1)
    for steps, vectors in marked.items():
        alone = newcomers.fine_tuned(model, start, asked, 16, (steps,), 0.1)[steps]
        assert torch.equal(vectors, alone)
    assert marked[3].norm() < marked[10].norm()
    far, near = (
        newcomers.fine_tuned(model, start, asked, 16, (100,), 0.1, pull)[100].norm()
        for pull in (0.0, 100.0)
    )
    assert near < far / 10


def test_who_stayed_practises_on_what_nobody_trained_on(split):
    practised = newcomers.practice(split, CPU)
    parts = [
        {(u, i): r for u, i, r in zip(p.users, p.items, p.values, strict=True)}
        for p in (split.train, split.validation)
    ]
    counts = np.bincount(split.train.users, minlength=split.n_users)
    users = practised.users.tolist()
    assert sorted(users) == np.flatnonzero(counts >= newcomers.MOST).tolist()
    for row, user in enumerate(users):
        known, queries = practised.items[row].tolist(), practised.asked[row]
        assert len(set(known)) == newcomers.MOST == practised.known[row]
        assert [parts[0][user, i] for i in known] == practised.ratings[row].tolist()
        given = practised.answers[row] > 0
        held = sum(u == user for u, _ in parts[1])
        assert given.sum() == min(newcomers.QUERIES, held)
        for item, answer in zip(queries[given], practised.answers[row][given], strict=True):
            assert parts[1][user, int(item)] == answer
    few = replace(split, train=split.train.take(np.arange(30)))
    with pytest.raises(newcomers.ReplicationError, match="64 training ratings"):
        newcomers.practice(few, CPU)


@pytest.mark.parametrize("noise", [True, False])
def test_the_pull_wins_where_the_known_ratings_are_noise(split, noise, monkeypatch):
    """Ratings that say nothing of the answers: stay at the start. Ratings that do: leave it."""
    monkeypatch.setattr(newcomers, "RATES", (0.1,))  # too far to stay near by stopping early
    monkeypatch.setattr(newcomers, "MARKS", (30, 100))
    model = look_up(split, "inner product")
    generator = torch.Generator().manual_seed(0)
    n_users, n_items = 100, split.n_items
    with torch.no_grad():
        model.embedding.items.normal_(generator=generator)
        users = torch.zeros(n_users, 4) if noise else torch.randn(n_users, 4, generator=generator)
        truth = model.predictor.rescale(torch.sigmoid(users @ model.embedding.items.T))
    order = torch.rand(n_users, n_items, generator=generator).argsort(1)
    items, queries = order[:, :64].contiguous(), order[:, 64:74].contiguous()
    ratings = truth.gather(1, items)
    if noise:
        ratings = torch.randint(1, 6, items.shape, generator=generator).float()
    known = torch.full((n_users,), 64)
    asked = newcomers.Questionnaire(
        torch.arange(n_users), items, ratings, known, queries, truth.gather(1, queries)
    )
    found = newcomers.chosen(model, torch.zeros(4), asked)
    assert list(found) == list(newcomers.KNOWN[1:])
    if noise:
        assert all(tuning.pull == max(newcomers.PULLS) for tuning in found.values())
    else:
        assert found[64].pull == 0
    # It is the least of the whole grid by what the function says it minimises.
    some = newcomers.Questionnaire(*(part[: newcomers.PRACTICE_RATINGS // 4] for part in asked))

    def error(tuning):
        rate, steps, pull = tuning
        vectors = newcomers.fine_tuned(model, torch.zeros(4), some, 4, (steps,), rate, pull)[steps]
        return float((newcomers.by_vectors(model, vectors, some) - some.answers).square().mean())

    others = [newcomers.Tuning(r, s, p) for r in newcomers.RATES for s in newcomers.MARKS
              for p in newcomers.PULLS]  # fmt: skip
    assert error(found[4]) == pytest.approx(min(map(error, others)))


def test_records_pages_and_rerun(study, capsys):
    empty = stored_table(newcomers.TABLE)
    assert shown.headline({}, []).endswith(shown.PENDING)
    assert shown.table({}, "cil").iloc[0, 0] == "pending" and shown.figure({}) is None
    assert "(0 of 5 seeds)" in shown.gaps(empty) and shown.who([]) == shown.PENDING
    assert shown.default_user([], {}) == shown.PENDING
    assert "`cil`: pending. `ml-100k`: pending." in shown.tuned_look_up([])
    command = ["run", newcomers.TABLE, "--dataset", "ml-100k", "--device", "cpu"]
    assert cli.main([*command, "--model", "attentive", "--seeds", "1"]) == 0
    partial = stored_table(newcomers.TABLE)
    text = shown.headline(shown.errors(partial), [])
    assert "is measured, but not yet tuned look-ups and every model without a network." in text
    assert "- On `ml-100k`: the RMSE of attention is " in text and "against" not in text
    assert cli.main([*command, "--seeds", "2"]) == 0
    out = capsys.readouterr().out
    assert out.count("(stored)") == 1
    records = Store(newcomers.TABLE).load()
    assert len(records) == 2 * sum(m.trained for m in newcomers.METHODS.values()) + 3
    assert not list(paths.CHECKPOINTS.glob("*"))
    for record in records:
        values = Store(newcomers.TABLE).ranks([record["key"]])[record["key"]]
        error = values["squared error/64"].astype(float)
        assert len(error) == record["new users"]
        assert np.isfinite(error).sum() == record["new users with all"]
        assert record["metrics"]["RMSE/64"] == pytest.approx(np.sqrt(np.nanmean(error)))
        assert np.isfinite(values["squared error/0"]).all()
        for n in newcomers.KNOWN:
            mean = float(np.nanmean(values[f"squared error/{n}"].astype(float)))
            assert record["metrics"][f"squared error/{n}"] == pytest.approx(mean)
    study_ = stored_table(newcomers.TABLE)
    found = shown.errors(study_)
    assert len(found) == len(newcomers.METHODS)
    made = shown.comparisons(found)
    assert len(made) == 1 + len(shown.AGAINST) * len(newcomers.KNOWN)
    text = shown.headline(found, made)
    assert "- On `ml-100k` against the autoencoder: attention errs " in text
    assert "`cil`" not in text
    assert "**Found.** Attention without retraining " in text and "some model without" in text
    assert shown.figure(found).axes and len(shown.differences(made, "ml-100k")) == 20
    assert shown.differences(made, "cil").index.name == "comparison"
    assert "trained default user" in shown.default_user(made, found)
    assert "attentive + MLP2 on `ml-100k` (2 of 5 seeds)" in shown.gaps(study_)
    tuned = [r for r in records if r["row"].endswith("tuned steps")]
    assert len(tuned) == 4
    assert shown.tuning(empty) == shown.PENDING
    assert f"of {4 * len(newcomers.KNOWN[1:])} choices it was the strongest" in shown.tuning(study_)
    for record in tuned:
        assert list(record["chosen"]) == [str(n) for n in newcomers.KNOWN[1:]]
        assert all(c["steps"] in newcomers.MARKS for c in record["chosen"].values())
    for record in (records[0], tuned[0], records[-1]):
        assert newcomers.rerun(record, CPU)[0]["metrics"] == record["metrics"]


TUNED = shown.TUNED


def test_the_front_page_has_the_names_of_data_sets(monkeypatch):
    monkeypatch.setattr(shown, "answer", lambda made: "Worse on `cil` and on `ml-100k`.")
    assert shown.front_page([]) == "Worse on CIL and on MovieLens 100K."


def test_a_planted_difference_is_established_and_none_is_not():
    rng = np.random.default_rng(0)
    cells = {cell.row: cell for cell in newcomers.grid() if cell.dataset == "cil"}

    def errors(method, shift):
        base = 1 + 0.3 * rng.random((1, 400)) + shift + 0.01 * rng.random((3, 400))
        by_known = dict.fromkeys(newcomers.KNOWN, base)
        spec = newcomers.METHODS[method]
        return shown.Errors(cells[spec.name], by_known, by_known, (0, 1, 2))

    found = {
        ("cil", "attentive"): errors("attentive", 0.0),
        ("cil", "autoencoder"): errors("autoencoder", 0.2),
        ("cil", "simple-10"): errors("simple-10", 0.0),
        ("cil", TUNED): errors(TUNED, -0.2),
    }
    made = shown.comparisons(found)
    by_second = {c.second: c.direction for c in made}
    assert by_second == {"autoencoder": -1, "simple-10": 0, TUNED: 1}
    text = shown.tuned_look_up(made)
    assert "On `cil` attention errs more with any number of known ratings." in text
    assert "`ml-100k`: pending. The verdicts are of 4, 16 and 64 alone." in text
    text = shown.headline(found, made)
    assert (
        "**Found.** Attention without retraining is measured, but not yet tuned look-ups and every "
        in text
    )
    assert "Attention errs less" not in text
    assert "autoencoder: attention errs less with any number of known ratings." in text
    assert "fine-tuning: attention errs neither more nor less (as far as can be told)." in text
    steps = {n: -0.2 if n <= 8 else 0.2 if n == 64 else 0.0 for n in newcomers.KNOWN}
    by_known = {n: errors("bias", shift).by_known[n] for n, shift in steps.items()}
    found["cil", "bias"] = replace(errors("bias", 0.0), by_known=by_known)
    found["cil", "bias"] = replace(found["cil", "bias"], enough=by_known)
    found["cil", "item-linear"] = errors("item-linear", 0.2)
    found["cil", "als"] = errors("als", 0.2)
    # It errs more than one rival with few known ratings, and less than each with 64 alone.
    text = shown.headline(found, shown.comparisons(found))
    assert (
        "**Found.** Attention without retraining errs more than tuned look-ups with 0 to 64 known "
        "ratings on `cil`, and errs more than some model without a network with 0 to 8 known "
        "ratings on `cil`.\n"
    ) in text
    assert (
        "- Attention errs less than tuned look-ups and all 3 models without a network nowhere"
        in text
    )
    found["cil", TUNED] = errors(TUNED, 0.2)
    text = shown.headline(found, shown.comparisons(found))
    assert "is nowhere shown to err more than tuned look-ups, and errs more than some" in text
    assert "models without a network with 64 known ratings on `cil`.\n" in text
    assert "user's bias: attention errs more with 0 to 8 known ratings and less with 64." in text
    found["cil", "als"] = errors("als", 0.0)
    text = shown.headline(found, shown.comparisons(found))
    assert "models without a network nowhere, as far as can be told.\n" in text
    line = shown.table(found, "cil").loc[("attentive + MLP2", "95 %")]
    assert all(0 < float(text.removeprefix("±")) < 0.02 for text in line)
    gap = next(c for c in made if c.second == "autoencoder")
    assert gap.low < gap.difference < gap.high < 0


def test_what_the_table_has_not(study, capsys):
    assert cli.main(["run", newcomers.TABLE, "--model", "attentive-ip"]) == 1
    assert "has no 'attentive-ip'" in capsys.readouterr().err
    assert cli.main(["run", newcomers.TABLE, "--protocol", "kfold-10"]) == 1
    assert "takes no --protocol" in capsys.readouterr().err
