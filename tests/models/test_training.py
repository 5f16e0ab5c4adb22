"""The training loop: the same numbers again, resuming, stopping, sampling, refusing."""

import dataclasses
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats

from replication import training
from replication.baselines import deep_icf
from replication.baselines.conv_ncf import ConvNCFConfig
from replication.baselines.deep_icf import DeepICFConfig
from replication.baselines.neumf import NeuMFConfig
from replication.errors import ReplicationError
from replication.evaluation import held_out, rank_candidates
from replication.metrics.ranking import summary
from replication.papers.amp_cf.model import AMP, AMPConfig
from replication.papers.amp_cf.rows import ROWS
from replication.protocols import ABSENT, Split, make_split
from replication.training import Curve, RankingConfig, Sampler, fit, resolve_device

CPU = torch.device("cpu")


CONFIG = AMPConfig(
    dimension=8, attention_dimension=4, batch_size=32, learning_rate=0.01, patience=3, max_epochs=12
)


@pytest.fixture
def split(make_tiny):
    return make_split(make_tiny(n_users=40, n_items=150, per_user=10), "loo-random")


def train(split, config=CONFIG, seed=0, select_on="validation", checkpoint=None, **more):
    def build():
        return AMP(split.n_users, split.n_items, config)

    return fit(build, split, config, seed, CPU, select_on, checkpoint=checkpoint, **more)


def same(a, b):
    """Whether two fits agree to the last bit."""
    one, other = a.model.state_dict(), b.model.state_dict()
    assert one.keys() == other.keys()
    tensors = all(torch.equal(one[name], other[name]) for name in one)
    return tensors and a.curve.epoch == b.curve.epoch and a.curve.loss == b.curve.loss


# --- the same numbers again ----------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"positives": "redrawn", "reject_consumed": "train"}])
def test_a_seed_gives_the_same_bits_again(split, changes):
    config = dataclasses.replace(CONFIG, **changes)
    first = train(split, config, seed=1)
    torch.rand(7)  # what happened before must not matter
    second = train(split, config, seed=1)
    assert same(first, second)
    assert first.curve == second.curve


def test_another_seed_gives_other_numbers(split):
    first, second = train(split, seed=0), train(split, seed=1)
    assert not torch.equal(first.model.items, second.model.items)
    assert first.curve.loss != second.curve.loss


def test_the_seed_decides_initialisation_and_sampling(split):
    untrained = [train(split, seed=s, select_on=None, epochs=0).model.items for s in (0, 1)]
    assert not torch.equal(*untrained)
    sampler = Sampler(split, CONFIG, CPU)
    (_, a), (_, b) = (sampler.epoch(torch.Generator().manual_seed(s)) for s in (0, 1))
    assert not torch.equal(a, b)


# --- resuming ------------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """A place for checkpoints, written after every epoch."""
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    return tmp_path / "folder" / "run.pt"


@pytest.fixture
def epochs_trained(monkeypatch):
    """A list that grows with every epoch; the epoch at which to interrupt may be put in."""
    state = {"epochs": 0, "interrupt_after": None}
    real = training._train_epoch

    def counted(*arguments):
        if state["epochs"] == state["interrupt_after"]:
            raise KeyboardInterrupt
        state["epochs"] += 1
        return real(*arguments)

    monkeypatch.setattr(training, "_train_epoch", counted)
    return state


@pytest.mark.parametrize("changes", [{}, {"positives": "redrawn", "reject_consumed": "train"}])
@pytest.mark.parametrize("after", [1, 4, 11])
@pytest.mark.parametrize("select_on", ["validation", None])
def test_a_resumed_run_ends_bit_equal(split, checkpoint, epochs_trained, select_on, after, changes):
    config = dataclasses.replace(CONFIG, patience=99, **changes)
    epochs = None if select_on else 12
    whole = train(split, config, select_on=select_on, epochs=epochs)
    assert epochs_trained["epochs"] == 12
    epochs_trained.update(epochs=0, interrupt_after=after)
    with pytest.raises(KeyboardInterrupt):
        train(split, config, select_on=select_on, epochs=epochs, checkpoint=checkpoint)
    assert checkpoint.exists()
    epochs_trained["interrupt_after"] = None
    resumed = train(split, config, select_on=select_on, epochs=epochs, checkpoint=checkpoint)
    assert epochs_trained["epochs"] == 12  # none twice
    assert same(whole, resumed)
    if select_on:
        assert resumed.curve == whole.curve
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


def test_the_best_epoch_before_the_interrupt_is_not_forgotten(
    split, checkpoint, epochs_trained, monkeypatch
):
    def measured(model, held):  # the second epoch is the best
        value = 0.9 if epochs_trained["epochs"] == 2 else 0.1
        return {"HR@10": value, "NDCG@10": value}

    monkeypatch.setattr(training, "_measure", measured)
    config = dataclasses.replace(CONFIG, patience=99)
    whole = train(split, config)
    assert whole.curve.best == 2
    epochs_trained.update(epochs=0, interrupt_after=10)
    with pytest.raises(KeyboardInterrupt):
        train(split, config, checkpoint=checkpoint)
    epochs_trained["interrupt_after"] = None
    assert same(whole, train(split, config, checkpoint=checkpoint))
    assert not same(whole, train(split, config, select_on=None, epochs=12))


PRETRAINED = {
    "conv-ncf": ConvNCFConfig(
        dimension=8, channels=3, batch_size=64, pretrain_epochs=2, warmup_epochs=1, max_epochs=3
    ),
    "deep-icf": DeepICFConfig(dimension=8, batch_size=64, history_cap=4, pretrain_epochs=2),
    "ncf": NeuMFConfig(factors=8, batch_size=64, pretrain_epochs=2),
}


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("model", PRETRAINED)
def test_a_resumed_run_repeats_no_pretraining(split, checkpoint, epochs_trained, model, after):
    """Killed before its first epoch, or later: the same bits, and every epoch is trained once."""
    known, config = ROWS[model], dataclasses.replace(PRETRAINED[model], max_epochs=3, patience=99)
    build = partial(known.build, split, config, 0, CPU)

    def run(file=None):
        deep_icf._pretrained.cache_clear()  # as in another process
        more = {"checkpoint": file, "empty": partial(known.empty, split, config)}
        return fit(build, split, config, 0, CPU, "validation", **more)

    whole = run()
    epochs, epochs_trained["epochs"] = epochs_trained["epochs"], 0
    assert epochs > 3
    epochs_trained["interrupt_after"] = epochs - 3 + after
    with pytest.raises(KeyboardInterrupt):
        run(checkpoint)
    prepared = torch.load(checkpoint)["preparation"]
    epochs_trained["interrupt_after"] = None
    resumed = run(checkpoint)
    assert epochs_trained["epochs"] == epochs
    assert same(whole, resumed) and resumed.curve == whole.curve
    assert resumed.preparation == prepared  # the pretraining counts, and once


def test_the_time_of_all_parts_is_counted(split, checkpoint, epochs_trained, monkeypatch):
    clock = iter(range(10_000))
    monkeypatch.setattr(training.time, "perf_counter", lambda: float(next(clock)))
    epochs_trained["interrupt_after"] = 5
    with pytest.raises(KeyboardInterrupt):
        train(split, select_on=None, epochs=8, checkpoint=checkpoint)
    state = torch.load(checkpoint)
    stored, of_processor = state["seconds"], state["cpu_seconds"]
    assert stored > 0 and of_processor > 0
    epochs_trained["interrupt_after"] = None
    resumed = train(split, select_on=None, epochs=8, checkpoint=checkpoint)
    assert resumed.seconds > stored and resumed.cpu_seconds > of_processor


def test_checkpoints_are_rare(split, tmp_path):
    assert training.CHECKPOINT_SECONDS >= 5
    train(split, checkpoint=tmp_path / "run.pt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda whole: b"", id="empty"),
        pytest.param(lambda whole: whole[: len(whole) // 2], id="half"),
        pytest.param(lambda whole: whole[:-30], id="without its end"),
        pytest.param(lambda whole: b"no checkpoint\n" * 100, id="text"),
        pytest.param(lambda whole: pickle.dumps({"a": 1}, protocol=2), id="pickle"),
        pytest.param(lambda whole: whole[:200] + bytes(400) + whole[600:], id="zeros"),
    ],
)
def test_a_broken_checkpoint_starts_over(split, checkpoint, epochs_trained, spoil):
    whole = train(split, select_on=None, epochs=4)
    train(split, select_on=None, epochs=3, checkpoint=checkpoint)
    checkpoint.write_bytes(spoil(checkpoint.read_bytes()))
    epochs_trained["epochs"] = 0
    again = train(split, select_on=None, epochs=4, checkpoint=checkpoint)
    assert epochs_trained["epochs"] == 4
    assert same(whole, again)


@pytest.mark.parametrize("state", [{"something": "else"}, [1, 2]], ids=["dict", "list"])
def test_a_checkpoint_of_something_else_starts_over(split, checkpoint, state):
    whole = train(split, select_on=None, epochs=4)
    checkpoint.parent.mkdir()
    torch.save(state, checkpoint)
    assert same(whole, train(split, select_on=None, epochs=4, checkpoint=checkpoint))


@pytest.mark.parametrize("error", [KeyError, IndexError, AttributeError])
def test_whatever_is_wrong_with_a_checkpoint_the_run_starts_over(
    split, checkpoint, monkeypatch, error
):
    """What torch raises on files with a few bytes changed at random."""
    whole = train(split, select_on=None, epochs=4)
    train(split, select_on=None, epochs=3, checkpoint=checkpoint)

    def broken(*arguments, **more):
        raise error("18")

    monkeypatch.setattr(torch, "load", broken)
    assert same(whole, train(split, select_on=None, epochs=4, checkpoint=checkpoint))


def test_a_checkpoint_from_another_kind_of_device_starts_over(split, checkpoint):
    whole = train(split, select_on=None, epochs=4)
    train(split, select_on=None, epochs=3, checkpoint=checkpoint)
    state = torch.load(checkpoint)
    state["device"] = "cuda"
    state["generator"] = torch.zeros(16, dtype=torch.uint8)  # as a CUDA generator's
    torch.save(state, checkpoint)
    assert same(whole, train(split, select_on=None, epochs=4, checkpoint=checkpoint))


def test_a_full_disk_does_not_end_the_training(split, checkpoint, monkeypatch, capsys):
    whole = train(split)

    def full(state, path):
        path.write_bytes(b"half")
        raise RuntimeError("[enforce fail] . PytorchStreamWriter failed writing file data/0")

    monkeypatch.setattr(torch, "save", full)
    resumed = train(split, checkpoint=checkpoint)
    warning, *rest = set(capsys.readouterr().err.strip().splitlines())
    assert warning.startswith(f"warning: {checkpoint} could not be written: ") and not rest
    assert same(whole, resumed)
    assert not list(checkpoint.parent.glob("*"))


# --- stopping ------------------------------------------------------------------------------------


def test_training_stops_after_so_many_epochs_without_a_gain(split):
    still = dataclasses.replace(CONFIG, learning_rate=0.0)
    for patience in (1, 3):
        result = train(split, dataclasses.replace(still, patience=patience))
        assert result.curve.epoch == list(range(1, patience + 2))
        assert result.curve.best == 1


def test_training_stops_at_the_budget(split):
    result = train(split, dataclasses.replace(CONFIG, patience=99, max_epochs=3))
    assert result.curve.epoch == [1, 2, 3]


@pytest.mark.parametrize(
    "hr, ndcg, patience, stops",
    [
        ([0.5], [0.5], 1, False),
        ([0.5, 0.5], [0.5, 0.5], 1, True),
        ([0.5, 0.6, 0.5], [0.5, 0.4, 0.3], 2, False),  # HR improved one epoch ago
        ([0.5, 0.4, 0.3], [0.5, 0.4, 0.6], 1, False),  # NDCG has just improved
        ([0.5, 0.6, 0.6, 0.6], [0.5, 0.4, 0.3, 0.2], 2, True),  # as good is no gain
    ],
)
def test_patience_by_hand(hr, ndcg, patience, stops):
    curve = Curve(list(range(1, len(hr) + 1)), [1.0] * len(hr), hr, ndcg)
    assert curve.saturated(patience) is stops


def test_the_best_epoch_is_the_first_with_the_highest_ndcg():
    assert Curve([1, 2, 3, 4], [0.0] * 4, [0.9, 0.1, 0.1, 0.1], [0.1, 0.3, 0.3, 0.2]).best == 2


@pytest.mark.parametrize("which", ["validation", "test"])
def test_the_model_of_the_best_epoch_is_given_back(split, which):
    config = dataclasses.replace(CONFIG, learning_rate=0.3, patience=99)
    result = train(split, config, select_on=which)
    shorter = train(split, config, select_on=None, epochs=result.curve.best)
    assert torch.equal(result.model.items, shorter.model.items)
    found = summary(rank_candidates(result.model, held_out(split, which, CPU)))
    assert found["NDCG@10"] == max(result.curve.ndcg)
    assert found["HR@10"] == result.curve.hr[result.curve.best - 1]


def test_a_refit_trains_for_so_many_epochs_and_looks_at_nothing(split, monkeypatch):
    def forbidden(*arguments):
        raise AssertionError("held-out items were looked at")

    monkeypatch.setattr(training, "held_out", forbidden)
    monkeypatch.setattr(training, "rank_candidates", forbidden)
    result = train(split, select_on=None, epochs=5)
    assert result.curve.epoch == [1, 2, 3, 4, 5]
    assert all(np.isnan(result.curve.ndcg))


@pytest.mark.parametrize("select_on", ["validation", None])
def test_held_out_items_are_never_trained_on(split, select_on):
    """The same training with every held-out item changed gives the same weights."""
    users = np.arange(split.n_users)
    other = dataclasses.replace(
        split,
        validation=np.where(split.validation == ABSENT, ABSENT, split.validation_negatives[:, 0]),
        test=split.test_negatives[users, 0],
    )
    config = dataclasses.replace(CONFIG, patience=99)
    arguments = {"select_on": None, "epochs": 5}
    assert same(train(split, config, **arguments), train(other, config, **arguments))
    if select_on:
        first, second = train(split, config), train(other, config)
        assert first.curve.loss == second.curve.loss


def test_the_loss_falls(split):
    loss = train(split, select_on=None, epochs=10).curve.loss
    assert loss[-1] < 0.9 * loss[0]


def test_a_loss_that_is_no_number_is_one_sentence(split, checkpoint):
    wild = dataclasses.replace(CONFIG, learning_rate=1e30)
    with pytest.raises(ReplicationError) as caught:
        train(split, wild, checkpoint=checkpoint, label="AMP-2 on tiny")
    text = str(caught.value)
    assert text.startswith("the loss of AMP-2 on tiny became ") and " in epoch " in text
    assert text.endswith("lower learning_rate (now 1e+30)") and "\n" not in text
    assert "nan" in text or "inf" in text


def test_progress_is_silent_where_stderr_is_no_terminal(split, capfd):
    train(split, label="label")
    train(split, label="label", progress=False)
    assert capfd.readouterr() == ("", "")


# --- sampling ------------------------------------------------------------------------------------


def sampler(split, **changes):
    return Sampler(split, dataclasses.replace(RankingConfig(), **changes), CPU)


def draws(split, n=200_000, seed=0, **changes):
    """How often each item comes as a negative."""
    users = torch.zeros(n // 4, dtype=torch.long)
    drawn = sampler(split, **changes).negatives(users, 4, torch.Generator().manual_seed(seed))
    assert drawn.shape == (n // 4, 4)
    return np.bincount(drawn.flatten().numpy(), minlength=split.n_items)


def fits(observed, weights):
    """p-value of the chi-square test of draws against weights."""
    assert observed[weights == 0].sum() == 0
    expected = weights[weights > 0] / weights.sum() * observed.sum()
    assert expected.min() > 5
    return stats.chisquare(observed[weights > 0], expected).pvalue


@pytest.fixture
def skewed():
    """A split of 50 users in which item i is consumed by about 50 / (1 + i) of them."""
    rng = np.random.default_rng(0)
    consumed = rng.random((50, 30)) < 1 / (1 + np.arange(30))
    consumed[:, 29] = False  # nobody's
    users, items = np.nonzero(consumed)
    nothing, none = np.full(50, ABSENT), np.full((50, 99), ABSENT)
    return Split("loo-random", 50, 30, users, items, nothing, nothing, none, none)


def test_negatives_follow_the_square_root_of_the_counts(skewed):
    counts = np.bincount(skewed.train_items, minlength=skewed.n_items).astype(float)
    observed = draws(skewed)
    assert fits(observed, counts**0.5) > 0.01
    assert fits(observed, counts) < 1e-9  # the test can tell the powers apart
    assert fits(observed, counts**0.55) < 1e-9
    assert fits(draws(skewed, negative_power=1.0), counts) > 0.01


def test_uniform_negatives(skewed):
    observed = draws(skewed, negative_distribution="uniform")
    assert fits(observed, np.ones(skewed.n_items)) > 0.01
    assert observed[29] > 0  # also what nobody consumed


def test_counts_are_those_of_the_training_set(split):
    """An item that was only held out cannot be drawn from the unigram distribution."""
    counts = np.bincount(split.train_items, minlength=split.n_items)
    assert (counts == 0).any()
    assert draws(split)[counts == 0].sum() == 0


def test_the_largest_uniform_number_draws_an_item_that_has_weight(skewed, monkeypatch):
    """Rounding must not reach the items behind the last one with a count."""
    one = sampler(skewed)
    almost = np.nextafter(np.float32(1), np.float32(0))
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.full(shape, almost.item()))
    drawn = one.negatives(torch.zeros(1, dtype=torch.long), 1, torch.Generator())
    assert drawn.item() == skewed.train_items.max() < skewed.n_items - 1


@pytest.mark.parametrize("distribution", ["unigram", "uniform"])
def test_rejected_negatives_are_never_the_users_own(split, distribution):
    consumed = np.zeros((split.n_users, split.n_items), dtype=bool)
    consumed[split.train_users, split.train_items] = True
    own = {}
    for reject in ("none", "train"):
        s = sampler(split, reject_consumed=reject, negative_distribution=distribution)
        generator = torch.Generator().manual_seed(0)
        epochs = [s.epoch(generator) for _ in range(20)]
        own[reject] = sum(int(consumed[u[:, None], i[:, 1:]].sum()) for u, i in epochs)
    assert own["none"] > 100  # so that the test can fail
    assert own["train"] == 0


def test_held_out_items_can_come_up_as_negatives(split):
    """As in the released code: only what was consumed in training is rejected."""
    s = sampler(split, reject_consumed="train", negative_distribution="uniform")
    generator = torch.Generator().manual_seed(0)
    found = 0
    for _ in range(20):
        users, items = s.epoch(generator)
        found += int((items[:, 1:] == torch.from_numpy(split.test)[users][:, None]).sum())
    assert found > 0


def test_an_epoch_visits_each_pair_once(split):
    s, generator = sampler(split), torch.Generator().manual_seed(0)
    pairs = np.sort(split.train_users * split.n_items + split.train_items)
    orders = []
    for _ in range(3):
        users, items = s.epoch(generator)
        assert items.shape == (len(pairs), 5)
        orders.append((users * split.n_items + items[:, 0]).numpy())
        np.testing.assert_array_equal(np.sort(orders[-1]), pairs)
    assert not np.array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], pairs)


def test_redrawn_positives_keep_the_user_and_are_the_users_own(split):
    s, generator = sampler(split, positives="redrawn"), torch.Generator().manual_seed(0)
    own = set(zip(split.train_users.tolist(), split.train_items.tolist(), strict=True))
    drawn = []
    for _ in range(300):
        users, items = s.epoch(generator)
        assert torch.equal(users.sort().values, torch.from_numpy(split.train_users).sort().values)
        drawn += zip(users.tolist(), items[:, 0].tolist(), strict=True)
    assert set(drawn) == own  # nothing else, and all of it
    epoch = drawn[: len(own)]
    assert len(set(epoch)) < len(own)  # with replacement
    counts = np.bincount([item for user, item in drawn if user == 0], minlength=split.n_items)
    weights = np.zeros(split.n_items)
    weights[split.train_items[split.train_users == 0]] = 1
    assert fits(counts, weights) > 0.01


def test_the_number_of_negatives(split):
    for width in (1, 7):
        users, items = sampler(split, n_negatives=width).epoch(torch.Generator().manual_seed(0))
        assert items.shape == (len(users), 1 + width)
        assert 0 <= int(items.min()) and int(items.max()) < split.n_items


def test_a_user_who_consumed_everything_is_an_error_and_no_endless_loop(skewed):
    users = np.zeros(30, dtype=np.int64)
    everything = dataclasses.replace(skewed, train_users=users, train_items=np.arange(30))
    with pytest.raises(ReplicationError, match="consumed"):
        sampler(everything, reject_consumed="train").epoch(torch.Generator())


@pytest.mark.parametrize(
    "changes",
    [
        {"negative_distribution": "zipf"},
        ({"reject_consumed": "all"}),
        ({"positives": "some"}),
    ],
)
def test_an_unknown_choice_is_one_sentence(split, changes):
    ((name, value),) = changes.items()
    with pytest.raises(ReplicationError, match=f"unknown {name} '{value}'"):
        sampler(split, **changes)


# --- devices -------------------------------------------------------------------------------------


def test_devices_by_name(monkeypatch):
    assert resolve_device("cpu") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("auto").type == "cuda"
    assert resolve_device("cuda:1") == torch.device("cuda:1")


@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_cuda_where_there_is_none_is_one_sentence(monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ReplicationError, match="finds no CUDA device here; use --device cpu"):
        resolve_device(name)


def test_a_cuda_device_that_is_not_there_is_one_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ReplicationError, match="cuda:7"):
        resolve_device("cuda:7")


@pytest.mark.parametrize("name", ["gpu", "tpu", "", "meta", "cuda:x", "CPU"])
def test_an_unknown_device_is_one_sentence(name):
    with pytest.raises(ReplicationError, match="use auto, cpu or cuda"):
        resolve_device(name)


@pytest.mark.cuda
def test_on_cuda_a_run_learns_and_resumes(split, checkpoint, epochs_trained):
    device = torch.device("cuda")

    def on_device(checkpoint=None):
        def build():
            return AMP(split.n_users, split.n_items, CONFIG)

        return fit(build, split, CONFIG, 0, device, None, epochs=8, checkpoint=checkpoint)

    whole = on_device()
    assert whole.model.items.is_cuda and whole.curve.loss[-1] < 0.9 * whole.curve.loss[0]
    epochs_trained.update(epochs=0, interrupt_after=5)
    with pytest.raises(KeyboardInterrupt):
        on_device(checkpoint)
    epochs_trained["interrupt_after"] = None
    resumed = on_device(checkpoint)
    assert epochs_trained["epochs"] == 8
    np.testing.assert_allclose(resumed.curve.loss, whole.curve.loss, rtol=1e-3)
