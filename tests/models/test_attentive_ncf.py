"""Attentive NCF: its equations by hand, its derivatives, its contexts, what it learns."""

import dataclasses
import itertools
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from replication import training
from replication.data.interactions import UNKNOWN_TIME, from_frame
from replication.errors import ReplicationError
from replication.folds import Ratings, make_rating_split
from replication.papers.attentive_ncf import model as model_module
from replication.papers.attentive_ncf import rows as rows_module
from replication.papers.attentive_ncf.model import (
    ALL,
    EMBEDDINGS,
    HIDDEN,
    PREDICTORS,
    Attend,
    Attentive,
    AttentiveNCF,
    AttentiveNCFConfig,
    AutoEncoder,
    Context,
    History,
    autoencoders,
    draw_positions,
    encoded,
    reconstruction_loss,
)
from replication.papers.attentive_ncf.rows import ROWS, build
from replication.rating_training import fit_ratings, pack, unpack

CPU = torch.device("cpu")
BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "attentive_context.py"
LEVELS = np.arange(1, 6, dtype=np.float32)
SMALL = AttentiveNCFConfig(
    dimension=8, batch_size=128, learning_rate=0.02, max_epochs=5, pretrain_epochs=8,
    context_train=6, context_test=10,
)  # fmt: skip


@pytest.fixture(autouse=True)
def own_models(tmp_path, monkeypatch):
    monkeypatch.setattr("replication.paths.MODELS", tmp_path / "models")


@pytest.fixture(scope="module")
def data():
    """60 users and 40 items in two groups: 5 or 4 for one's own, 1 or 2 for the other's."""
    rng = np.random.default_rng(0)
    users, items = np.nonzero(rng.random((60, 40)) < 0.5)
    own = users % 2 == items % 2
    ratings = np.where(own, 4, 1) + rng.integers(2, size=len(users))
    frame = pd.DataFrame({"user": users, "item": items, "rating": ratings})
    return from_frame("two tastes", frame.assign(timestamp=UNKNOWN_TIME))


@pytest.fixture(scope="module")
def split(data):
    return make_rating_split(data, "kfold-10", 0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def attend_by_hand(structure, tastes, items, context, likings, valid):
    """Eq. 1 pair by pair, as it is printed."""
    users = []
    for b, i in enumerate(items.tolist()):
        js = [c for c, ok in enumerate(valid[b].tolist()) if ok]
        if not js:
            users.append(torch.zeros_like(structure[0]))
            continue
        a = torch.stack([structure[i] @ structure[context[b, c]] for c in js])
        weights = torch.softmax(a / structure.shape[1] ** 0.5, 0)
        parts = [w * likings[b, c] * tastes[context[b, c]] for w, c in zip(weights, js)]  # noqa: B905
        users.append(torch.stack(parts).sum(0))
    return torch.stack(users)


def random_batch(batch=7, width=5, n_items=12, dimension=3):
    rng = generator(1)
    tables = torch.randn(2, n_items, dimension, generator=rng, dtype=torch.float64)
    items = torch.randint(n_items, (batch,), generator=rng)
    context = torch.randint(n_items, (batch, width), generator=rng)  # an item twice is harmless
    likings = torch.rand(batch, width, generator=rng, dtype=torch.float64) * 2 - 1
    valid = torch.rand(batch, width, generator=rng) < 0.7
    valid[0] = False
    return tables[0], tables[1], items, context, likings * valid, valid


# --- equations -----------------------------------------------------------------------------------


@pytest.fixture(params=["a table of all pairs", "gathered"])
def either_way(request, monkeypatch):
    """Both ways to compute the scores, the second in several parts."""
    if request.param == "gathered":
        monkeypatch.setattr(model_module, "TABLE_ITEMS", 0)
        monkeypatch.setattr(model_module, "GATHERED", 40)


@pytest.mark.usefixtures("either_way")
def test_equation_1_by_hand():
    batch = random_batch()
    user, attention = Attend.apply(*batch)
    torch.testing.assert_close(user, attend_by_hand(*batch))
    valid = batch[-1]
    assert (attention[~valid] == 0).all()
    torch.testing.assert_close(attention.sum(1), valid.any(1).double())


@pytest.mark.usefixtures("either_way")
def test_the_derivative_of_equation_1():
    structure, tastes, *rest = random_batch()
    structure.requires_grad_(), tastes.requires_grad_()
    grad = torch.randn(7, 3, generator=generator(2), dtype=torch.float64)
    found = torch.autograd.grad((Attend.apply(structure, tastes, *rest)[0] * grad).sum(),
                                (structure, tastes))  # fmt: skip
    wanted = torch.autograd.grad((attend_by_hand(structure, tastes, *rest) * grad).sum(),
                                 (structure, tastes))  # fmt: skip
    torch.testing.assert_close(found, wanted)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("width", [1, 300])
def test_the_derivative_of_equation_1_in_any_width(width):
    structure, tastes, *rest = random_batch(batch=4, width=width, n_items=50)
    structure.requires_grad_(), tastes.requires_grad_()

    def gradients(form):
        return torch.autograd.grad((form(structure, tastes, *rest) ** 2).sum(),
                                   (structure, tastes), allow_unused=True)  # fmt: skip

    found, wanted = gradients(lambda *batch: Attend.apply(*batch)[0]), gradients(attend_by_hand)
    torch.testing.assert_close(found, tuple(g if g is not None else torch.zeros(50, 3).double()
                                            for g in wanted))  # fmt: skip


@pytest.mark.usefixtures("either_way")
def test_what_stands_in_the_unfilled_places_of_a_context_has_no_effect():
    structure, tastes, items, context, likings, valid = random_batch()
    structure.requires_grad_(), tastes.requires_grad_()

    def all_of(context, likings):
        user, attention = Attend.apply(structure, tastes, items, context, likings, valid)
        return user, attention, *torch.autograd.grad((user**2).sum(), (structure, tastes))

    other = all_of(context.masked_fill(~valid, 11), likings.masked_fill(~valid, 9.0))
    torch.testing.assert_close(other, all_of(context.masked_fill(~valid, 0), likings))


def test_equations_3_and_4_by_hand(split):
    config = dataclasses.replace(SMALL, embedding="simple", predictor="inner product")
    model = AttentiveNCF(split, config)
    users, items = torch.tensor([0, 5]), torch.tensor([3, 7])
    dot = (model.embedding.users[users] * model.embedding.items[items]).sum(1)
    expected = 4 / (1 + torch.exp(-dot)) + 1
    torch.testing.assert_close(model.predict(users, items, generator()), expected.detach())


def test_mlp2_predicts_the_expected_rating_and_learns_classes():
    from replication.papers.attentive_ncf.model import MLP2

    net = MLP2(LEVELS, 2, (3,))
    net.logits = lambda user, item: torch.tensor([[1.0, 1.0, 1.0, 1.0, 4.0]]).log()
    empty = torch.zeros(1, 2)
    assert float(net(empty, empty)) == pytest.approx((1 + 2 + 3 + 4 + 4 * 5) / 8)
    assert float(net.loss(empty, empty, torch.tensor([5.0]))) == pytest.approx(np.log(2.0))
    assert float(net.loss(empty, empty, torch.tensor([1.0]))) == pytest.approx(np.log(8.0))


def test_half_stars_are_classes_of_their_own(data):
    halves = dataclasses.replace(data, ratings=data.ratings - (np.arange(len(data)) % 2) * 0.5)
    split = make_rating_split(halves, "kfold-10", 0)
    model = AttentiveNCF(split, SMALL)
    assert model.predictor.network[-1].out_features == len(np.unique(halves.ratings)) == 8
    history = model.embedding.history
    assert float(history.likings.min()) == -1 and float(history.likings.max()) == 1


def test_the_layers_of_the_paper():
    mlp1 = AttentiveNCFConfig(predictor="MLP1")
    assert HIDDEN["MLP1"] == (200, 100) and mlp1.dimension == 64
    assert (mlp1.context_train, mlp1.context_test) == (64, 128)
    sizes = {key: row.start.dimension for key, row in ROWS.items() if row.table == "table2"}
    assert [k for k, size in sizes.items() if size == 128] == [
        "simple-mlp1", "autoencoder-ip", "autoencoder-mlp1", "autoencoder-mlp2",
    ]  # fmt: skip


def test_the_count_of_parameters_is_that_of_the_modules(split):
    for embedding in ("simple", "attentive"):
        config = dataclasses.replace(SMALL, embedding=embedding, predictor="inner product")
        model = AttentiveNCF(split, config)
        # Two vectors a movie and the default user's (Section II-A1), or one a user and a movie.
        movies_only = 2 * split.n_items + 1
        rows = movies_only if embedding == "attentive" else split.n_users + split.n_items
        assert sum(p.numel() for p in model.parameters()) == rows * config.dimension


# --- contexts ------------------------------------------------------------------------------------


def floyd(counts, width, rng):
    """The same algorithm, number by number."""
    uniform = torch.rand(width, len(counts), generator=rng)
    rows = []
    for b, count in enumerate(counts.tolist()):
        drawn = []
        for step, last in enumerate(range(max(count - width, 0), max(count, width))):
            pick = min(int(uniform[step, b] * (last + 1)), last)
            drawn.append(last if pick in drawn else pick)
        rows.append(drawn)
    return rows


def test_positions_are_those_of_the_algorithm():
    counts = torch.tensor([0, 1, 4, 5, 6, 9, 200])
    assert draw_positions(counts, 5, generator()).tolist() == floyd(counts, 5, generator())
    assert draw_positions(counts[:0], 5, generator()).shape == (0, 5)


def test_positions_are_drawn_without_replacement_and_evenly():
    counts = torch.tensor([3, 7, 7, 20]).repeat_interleave(3_000)
    drawn = draw_positions(counts, 7, generator())
    for count in (3, 7, 20):
        rows = drawn[counts == count][:, : min(count, 7)]
        assert (rows.sort(1).values.diff(dim=1) > 0).all()  # all different
        assert rows.min() >= 0 and rows.max() < count
    often = torch.bincount(drawn[counts == 20].flatten(), minlength=20)
    assert stats.chisquare(often.numpy()).pvalue > 1e-3
    together = drawn[counts == 20]
    first_two = ((together == 0).any(1) & (together == 1).any(1)).double().mean()
    expected = 7 / 20 * 6 / 19  # 0 and 1 are not drawn together more often than by chance
    assert abs(float(first_two) - expected) < 4 * np.sqrt(expected * (1 - expected) / 3_000)


@pytest.mark.parametrize("width", [3, 6, 1_000, ALL])
def test_a_context_is_of_the_users_other_training_items(split, width):
    history = History(split.train, split.n_users, split.n_items, split.levels)
    for part in (split.train, split.test):
        users, items = torch.from_numpy(part.users), torch.from_numpy(part.items)
        context = history.draw(users, items, width, generator())
        known = {}
        for user, item, rating in zip(
            split.train.users, split.train.items, split.train.values, strict=True
        ):
            known.setdefault(user, {})[item] = (rating - 3) / 2
        for b in range(len(users)):
            others = dict(known.get(int(users[b]), {}))
            others.pop(int(items[b]), None)
            valid = context.valid[b]
            found = context.items[b][valid].tolist()
            assert len(set(found)) == len(found) and set(found) <= set(others)
            assert len(found) == (len(others) if width == ALL else min(width, len(others)))
            assert context.likings[b][valid].tolist() == [others[i] for i in found]
            assert (context.likings[b][~valid] == 0).all()


def test_contexts_are_drawn_afresh_for_each_pair_and_step(split):
    history = History(split.train, split.n_users, split.n_items, split.levels)
    rng = generator()
    users, items = torch.zeros(50, dtype=torch.long), torch.full((50,), 39)
    one, two = (history.draw(users, items, 3, rng).items.sort(1).values for _ in range(2))
    assert (one != one[0]).any() and not torch.equal(one, two)


@pytest.mark.parametrize("widths", [(7, 9), (9, 7), (ALL, 9), (7, ALL)])
def test_contexts_are_as_wide_as_training_and_testing_ask(split, monkeypatch, widths):
    config = dataclasses.replace(SMALL, context_train=widths[0], context_test=widths[1])
    model = AttentiveNCF(split, config)
    draw, asked = model.embedding.history.draw, []

    def spy(users, items, width, generator):
        asked.append(width)
        return draw(users, items, width, generator)

    monkeypatch.setattr(model.embedding.history, "draw", spy)
    model.loss(torch.arange(5), torch.arange(5), torch.ones(5), generator())
    model.predict(torch.arange(5), torch.arange(5), generator())
    assert asked == list(widths)


@pytest.mark.parametrize("embedding", ["attentive", "simple"])
def test_the_loop_that_is_timed_does_the_same_as_the_batch(split, embedding):
    """With whole contexts, so that no draw differs; its derivative too, which is timed with it."""
    spec = spec_from_file_location("attentive_context", BENCHMARK)
    benchmark = module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    config = dataclasses.replace(SMALL, embedding=embedding, context_train=ALL)
    model, looped = AttentiveNCF(split, config), AttentiveNCF(split, config)
    looped.load_state_dict(model.state_dict())
    loops = {"attentive": benchmark.LoopAttentive, "simple": benchmark.LoopLookUp}
    looped.embedding.__class__ = loops[embedding]
    columns = (split.train.users, split.train.items, split.train.values)
    users, items, ratings = (torch.from_numpy(column[:80]) for column in columns)
    most = split.n_items  # more than anybody rated: all of them
    vectors = [m.embedding(users, items, most, generator()) for m in (model, looped)]
    torch.testing.assert_close(vectors[1], vectors[0])
    gradients = []
    for one, (user, item) in zip((model, looped), vectors, strict=True):
        loss = one.predictor.loss(user, item, ratings)
        tables = [p for p in one.embedding.parameters() if p.dim() == 2]
        gradients.append(torch.autograd.grad(loss, tables))
    torch.testing.assert_close(gradients[1], gradients[0])


def test_a_look_up_draws_nothing(split):
    """Neither the width nor the generator, from which contexts come, has an effect."""
    model = AttentiveNCF(split, dataclasses.replace(SMALL, embedding="simple"))
    pairs, rng = (torch.arange(5), torch.arange(5)), generator()
    one, other = model.embedding(*pairs, 1, rng), model.embedding(*pairs, ALL, rng)
    assert all(map(torch.equal, one, other))
    assert torch.equal(rng.get_state(), generator().get_state())


def test_without_a_context_the_user_is_the_default(split):
    model = AttentiveNCF(split, SMALL)
    torch.nn.init.constant_(model.embedding.default_user, 0.7)
    none = Context(*(torch.zeros(2, 1, dtype=d) for d in (torch.long, torch.float, torch.bool)))
    user, _ = model.embedding.embed(torch.tensor([1, 2]), none)
    assert (user == 0.7).all()


@pytest.mark.parametrize("width", [5, ALL])
def test_users_with_no_other_movie_are_the_default(width):
    two, ratings = np.arange(2), np.array([1.0, 5.0])
    history = History(Ratings(two, two, ratings), 3, 3, LEVELS)
    users = items = torch.tensor([0, 1])
    context = history.draw(users, items, width, generator())
    assert not context.valid.any()
    model = Attentive(history, 3, 4, 0.1)
    torch.nn.init.constant_(model.default_user, 0.7)
    assert (model(users, items, width, generator())[0] == 0.7).all()
    # A user without ratings, and one whose target is not among his own.
    context = history.draw(torch.tensor([2, 1]), torch.tensor([0, 2]), width, generator())
    assert context.valid.sum(1).tolist() == [0, 1] and context.likings[1, 0] == 1


def test_the_default_user_learns_only_where_contexts_are_emptied(split):
    for share, moved in ((0.0, False), (0.3, True)):
        config = dataclasses.replace(SMALL, empty_share=share, max_epochs=1)
        model = fit(split, config).model
        assert bool((model.embedding.default_user != 0).any()) == moved


def test_emptied_contexts_are_for_training_only(split):
    model = AttentiveNCF(split, dataclasses.replace(SMALL, empty_share=0.99)).eval()
    user, _ = model.embedding(torch.arange(20), torch.zeros(20, dtype=torch.long), 5, generator())
    assert (user != 0).any(1).all()


def test_explain_lists_every_other_movie_with_its_attention(split):
    model = AttentiveNCF(split, SMALL)
    item = int(split.train.items[split.train.users == 3][0])
    items, attention = model.explain(3, item)
    mine = set(split.train.items[split.train.users == 3]) - {item}
    assert set(items.tolist()) == mine and float(attention.sum()) == pytest.approx(1)


# --- autoencoders --------------------------------------------------------------------------------


def test_equation_2_by_hand():
    output = torch.tensor([[1.0, 2.0, 9.0], [0.0, 0.0, 0.0], [5.0, 5.0, 5.0]])
    target = torch.tensor([[2.0, 4.0, 0.0], [7.0, 7.0, 7.0], [1.0, 0.0, 0.0]])
    observed = torch.tensor([[1, 1, 0], [0, 0, 0], [1, 0, 0]]).bool()
    # rows: sqrt((1 + 4) / 2); none; 4. The row without ratings does not count.
    expected = (np.sqrt(2.5) + 4) / 2
    assert float(reconstruction_loss(output, target, observed)) == pytest.approx(expected)


def test_equation_2_is_safe_at_zero_error():
    output = torch.ones(2, 3, requires_grad=True)
    loss = reconstruction_loss(output, torch.ones(2, 3), torch.ones(2, 3).bool())
    loss.backward()
    assert float(loss.detach()) == 0 and (output.grad == 0).all()


def test_the_layers_of_the_autoencoders():
    user = AutoEncoder((1000, 512, 128, 512, 1000), sigmoid=False)
    kinds = [type(m).__name__ for m in (*user.encoder, *user.decoder)]
    assert kinds == ["Linear", "ReLU", "Linear", "ReLU", "Linear", "ReLU", "Linear"]
    movie = AutoEncoder((30, 128, 128, 128, 30), sigmoid=True)
    kinds = [type(m).__name__ for m in (*movie.encoder, *movie.decoder)]
    assert kinds == ["Linear", "Sigmoid"] * 4


def test_autoencoders_put_users_of_one_taste_together(data, split):
    config = dataclasses.replace(
        SMALL,
        pretrain_epochs=40,
        pretrain_batch=16,
        pretrain_learning_rate=0.01,
        pretrain_patience=10,
    )
    users, items = encoded(autoencoders(split, config, 0, CPU))
    assert users.shape == (60, 8) and items.shape == (40, 8)
    for table, ids in ((users, data.user_ids), (items, data.item_ids)):
        rows = torch.nn.functional.normalize(table - table.mean(0), dim=1)
        similar = rows @ rows.T
        group = torch.from_numpy(ids % 2)
        same = group[:, None] == group
        assert similar[same].mean() > similar[~same].mean() + 0.5


def test_the_scale_of_users_is_what_their_autoencoder_learns(split):
    """A net that learns nothing is off by the ratings themselves: five times as far from raw."""
    config = dataclasses.replace(SMALL, pretrain_epochs=1, pretrain_learning_rate=0.0)
    unit, raw = (
        autoencoders(split, dataclasses.replace(config, user_scale=scale), 0, CPU).told
        for scale in ("unit", "raw")
    )
    assert raw["users"]["error"] == pytest.approx(5 * unit["users"]["error"], rel=0.1)
    assert raw["items"] == unit["items"]


@pytest.mark.parametrize(("changed", "same"), [("hidden", True), ("seen", False)])
def test_autoencoders_learn_nothing_of_hidden_ratings(split, changed, same):
    """After one epoch, since which of more is the best is decided by the hidden ratings."""
    config, train = dataclasses.replace(SMALL, pretrain_epochs=1), split.train
    # As ``autoencoders`` hides them.
    hidden = np.random.default_rng([0, split.fold]).random(len(train)) < 0.1
    moved = hidden if changed == "hidden" else ~hidden
    values = np.where(moved, 6 - train.values, train.values)
    other = dataclasses.replace(split, train=Ratings(train.users, train.items, values))
    one, two = (autoencoders(s, config, 0, CPU) for s in (split, other))
    for part in ("users", "items"):
        weights = (getattr(nets, part).state_dict().values() for nets in (one, two))
        assert all(map(torch.equal, *weights)) is same
        assert one.told[part] != two.told[part]  # they are what its error is measured on


def test_an_autoencoder_is_left_as_it_was_after_its_best_epoch(split):
    """An epoch that is worse on the hidden ratings leaves no trace."""
    config = dataclasses.replace(SMALL, pretrain_patience=99, pretrain_learning_rate=0.05)
    nets = [
        autoencoders(split, dataclasses.replace(config, pretrain_epochs=epochs), 0, CPU)
        for epochs in range(1, 9)
    ]
    tables = [encoded(net)[0] for net in nets]
    same = [torch.equal(*pair) for pair in itertools.pairwise(tables)]
    assert any(same) and not all(same)
    last = nets[-1]
    vectors = last.users.encoder(last.matrix * last.user_factor)
    assert torch.equal(tables[-1], vectors.detach())


def test_pretraining_says_when_it_ended_and_how_well(split):
    config = dataclasses.replace(SMALL, pretrain_patience=2, pretrain_learning_rate=0.05)
    nets = autoencoders(split, dataclasses.replace(config, pretrain_epochs=50), 0, CPU)
    for part in ("users", "items"):
        told = nets.told[part]
        assert told["epochs_run"] == told["epochs"] + 2 < 50 and 0 < told["error"] < 1
    again = dataclasses.replace(config, pretrain_epochs=nets.told["users"]["epochs"])
    shorter = autoencoders(split, again, 0, CPU)
    assert shorter.told["users"] == nets.told["users"] | {"epochs_run": again.pretrain_epochs}
    assert torch.equal(encoded(shorter)[0], encoded(nets)[0])


def test_kept_tables_come_with_what_they_took(split, tmp_path):
    """The second model loads what the first has kept; a file without the facts is made anew."""
    config = dataclasses.replace(SMALL, embedding="autoencoder", pretrain_epochs=2)
    first = build(split, config, 0, CPU).pretraining
    assert first["seconds"] > 0 and first["users"]["epochs_run"] == 2
    (file,) = (tmp_path / "models").glob("autoencoder-*.pt")
    state = torch.load(file, weights_only=True)
    torch.save(state | {"pretraining": first | {"seconds": 77.0}}, file)
    second = build(split, dataclasses.replace(config, predictor="MLP1"), 0, CPU)
    assert second.pretraining == first | {"seconds": 77.0}
    torch.save({name: state[name] for name in ("users", "items")}, file)
    third = build(split, config, 0, CPU)
    assert third.pretraining | {"seconds": 0} == first | {"seconds": 0}
    assert torch.equal(third.embedding.users, second.embedding.users)
    assert build(split, dataclasses.replace(config, embedding="simple"), 0, CPU).pretraining == {}


# --- learning, leaks, resuming -------------------------------------------------------------------


def fit(split, config, seed=0, watch=("test",), **more):
    return fit_ratings(
        lambda: build(split, config, seed, CPU), split, config, seed, CPU, watch, **more
    )


@pytest.mark.parametrize("predictor", PREDICTORS)
@pytest.mark.parametrize("embedding", EMBEDDINGS)
def test_every_combination_learns(split, embedding, predictor):
    config = dataclasses.replace(
        SMALL,
        embedding=embedding,
        predictor=predictor,
        batch_size=64,
        learning_rate=0.01,
        max_epochs=16,
        initial_scale=0.5,  # who likes what is a product of two signs: near zero nothing shows it
        pretrain_epochs=30,
        pretrain_batch=16,
        pretrain_learning_rate=0.01,
    )
    errors = fit(split, config).curve.errors["test RMSE"]
    # The constant is off by 1.6; what remains when the taste is known is 0.5.
    assert min(errors) < 0.9


def test_a_seed_gives_the_same_bits_again(split):
    one, two, other = (fit(split, SMALL, seed) for seed in (0, 0, 1))
    assert one.curve == two.curve and one.curve.loss != other.curve.loss


def test_looking_at_the_test_does_not_change_the_training(split):
    watched, blind = fit(split, SMALL), fit(split, SMALL, watch=())
    assert watched.curve.loss == blind.curve.loss


def _with_test(split):
    """A split whose test ratings have leaked into its training ratings."""
    parts = (split.train, split.test)
    columns = ("users", "items", "values")
    leaked = Ratings(*(np.concatenate([getattr(part, n) for part in parts]) for n in columns))
    return dataclasses.replace(split, train=leaked)


def _leak_nothing(monkeypatch, split):
    """As it is."""


def _leak_into_contexts(monkeypatch, split):
    def leaking(ratings, *sizes):
        return History(_with_test(split).train, *sizes)

    monkeypatch.setattr(model_module, "History", leaking)


def _leak_into_autoencoders(monkeypatch, split):
    def leaking(of, *others):
        return autoencoders(_with_test(split), *others)

    monkeypatch.setattr(rows_module, "autoencoders", leaking)


@pytest.mark.parametrize(
    ("embedding", "leak", "shows"),
    [(embedding, _leak_nothing, False) for embedding in EMBEDDINGS]
    + [("attentive", _leak_into_contexts, True), ("autoencoder", _leak_into_autoencoders, True)],
)
def test_what_is_tested_reaches_no_model(split, tmp_path, monkeypatch, embedding, leak, shows):
    """Other ratings in the test part change no prediction; planted leaks do, each by itself."""
    config = dataclasses.replace(SMALL, embedding=embedding, max_epochs=2)
    test = split.test
    flipped = dataclasses.replace(split, test=Ratings(test.users, test.items, 6 - test.values))
    pairs = torch.from_numpy(test.users), torch.from_numpy(test.items)
    predicted = []
    for number, one in enumerate((split, flipped)):
        # Tables that were kept for the one split would hide what leaks into those of the other.
        monkeypatch.setattr("replication.paths.MODELS", tmp_path / f"models {number}")
        with monkeypatch.context() as planted:
            leak(planted, one)
            model = fit(one, config, watch=()).model.eval()
        predicted.append(model.predict(*pairs, generator(5)))
    assert torch.equal(*predicted) is not shows


@pytest.fixture
def gaps(data):
    """A fold whose user 0 and movie 0 have no training rating."""
    split = make_rating_split(data, "kfold-10", 0)
    known = (split.train.users != 0) & (split.train.items != 0)
    return dataclasses.replace(split, train=split.train.take(known))


@pytest.mark.parametrize("decay", [0.0, 2.0])
@pytest.mark.parametrize("embedding", EMBEDDINGS)
def test_the_default_of_a_user_and_a_movie_of_the_test_only(gaps, embedding, decay):
    config = dataclasses.replace(SMALL, embedding=embedding, weight_decay=decay, max_epochs=2)
    torch.manual_seed(0)  # as ``fit_ratings`` does before it builds
    before = build(gaps, config, 0, CPU)
    model = fit(gaps, config, watch=()).model.eval()
    steps = 2 * -(-len(gaps.train) // config.batch_size)
    shrunk = (1 - config.learning_rate * decay) ** steps
    e, start = model.embedding, before.embedding
    of_movies = ("structure",) if embedding == "attentive" else ("users", "items")
    for name in of_movies:
        first, last = getattr(start, name).detach(), getattr(e, name).detach()
        torch.testing.assert_close(last[0], first[0] * shrunk)
        assert not torch.allclose(last[1], first[1] * shrunk, atol=1e-3)  # the control: it learned
    if embedding == "autoencoder":
        nets = autoencoders(gaps, config, 0, CPU)
        for table, net, n in ((start.users, nets.users, 40), (start.items, nets.items, 60)):
            torch.testing.assert_close(table[0].detach(), net.encoder(torch.zeros(n)).detach())
    users, items = torch.tensor([0, 0, 1]), torch.tensor([1, 0, 0])
    found = model.predict(users, items, generator())
    assert torch.isfinite(found).all() and ((found >= 1) & (found <= 5)).all()
    if embedding == "attentive":
        torch.nn.init.constant_(e.default_user, 0.7)
        user, _ = e(users, items, 5, generator())
        assert (user[:2] == 0.7).all() and not (user[2] == 0.7).all()
        again = model.predict(users, items, generator())
        default = model.predictor(torch.full((2, config.dimension), 0.7), e.structure[[1, 0]])
        torch.testing.assert_close(again[:2], default.detach())


def test_a_resumed_run_is_the_same_run(split, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    whole = fit(split, SMALL, keep_predictions=True)
    file = tmp_path / "run.pt"
    fit(split, SMALL, epochs=3, checkpoint=file, keep_predictions=True)
    resumed = fit(split, SMALL, checkpoint=file, keep_predictions=True)
    assert resumed.curve.as_dict() == whole.curve.as_dict()
    states = whole.model.state_dict(), resumed.model.state_dict()
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    assert all(map(torch.equal, whole.curve.predictions, resumed.curve.predictions))


def test_the_model_of_the_best_epoch_is_given_back(split):
    result = fit(split, dataclasses.replace(SMALL, max_epochs=12, learning_rate=0.05))
    assert len(result.curve.epoch) == 12
    best = result.curve.best("test")
    assert result.curve.errors["test RMSE"][best - 1] == min(result.curve.errors["test RMSE"])
    shorter = fit(split, dataclasses.replace(SMALL, learning_rate=0.05), epochs=best)
    assert all(
        torch.equal(a, b)
        for a, b in zip(result.model.parameters(), shorter.model.parameters(), strict=True)
    )


def test_patience_stops(split):
    config = dataclasses.replace(SMALL, learning_rate=0.2, max_epochs=60)
    curve = fit(split, config, patience=2).curve
    assert len(curve.epoch) == curve.best("test") + 2 < 60


def test_packed_predictions_are_exact_to_a_ten_thousandth():
    values = torch.linspace(1, 5, 999)
    assert float((unpack(pack(values, (1.0, 5.0)), (1.0, 5.0)) - values).abs().max()) < 4e-5


def test_a_diverging_loss_is_one_sentence(split):
    config = dataclasses.replace(SMALL, predictor="MLP2", learning_rate=1e30)
    with pytest.raises(ReplicationError, match="lower learning_rate"):
        fit(split, config)


@pytest.mark.parametrize(
    "changes", [{"embedding": "x"}, {"predictor": "x"}, {"user_scale": "x"}, {"empty_share": 1.0}]
)
def test_bad_choices_are_one_sentence(changes):
    with pytest.raises(ReplicationError):
        AttentiveNCFConfig(**changes)
