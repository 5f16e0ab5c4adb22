"""The rows of AMP-CF's tables: equal budgets, and every model learns what was planted.

``test_every_model_learns`` goes red for an untrained model, for one that ignores the user, and
for scores of candidates that are not those of the catalogue.
"""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from replication import paths
from replication.compare import load_published
from replication.data import Interactions
from replication.evaluation import held_out, rank_candidates
from replication.metrics.ranking import summary
from replication.papers.amp_cf import experiments
from replication.papers.amp_cf.rows import ROWS, Row, row
from replication.protocols import make_split
from replication.records import Store
from replication.training import Differentiable, RankingConfig, described, fit

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def planted():
    """Two groups of users, each with its own half of the items; one item a user held out."""
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(120), 20)
    items = np.concatenate([rng.permutation(130)[:20] + 130 * (user % 2) for user in range(120)])
    one = np.ones(len(users))
    data = Interactions(
        "planted", users, items, one.astype(np.float32), one.astype(np.int64) * 10**9,
        np.arange(120), np.arange(260),
    )  # fmt: skip
    return make_split(data, "loo-random").refit()


def ready(model, split, seed=0):
    """A model of the tables, trained where it needs that."""
    known = row(model)
    config = known.start
    if not known.trained:
        base = [ready(known.base, split, seed)] if known.base else []
        return known.build(split, config, seed, CPU, *base)
    config = replace(config, learning_rate=0.01, batch_size=64)
    if hasattr(config, "pretrain_epochs"):
        config = replace(config, pretrain_epochs=5)
    build = lambda: known.build(split, config, seed, CPU)  # noqa: E731
    return fit(build, split, config, seed, CPU, None, epochs=15, progress=False).model


# ConvNCF takes too long here, and DiRec gives up accuracy: their own files test them.
SKIPPED = ("amp-3", "amp-8", "conv-ncf", "direc")


@pytest.mark.parametrize("model", [name for name in ROWS if name not in SKIPPED])
def test_every_model_learns(planted, model):
    trained = ready(model, planted)
    held = held_out(planted, "test", CPU)
    found = summary(rank_candidates(trained, held))["HR@10"]
    # Chance is 0.10; who knows the user's half of the catalogue reaches about 0.20.
    assert found > 0.15 or (model == "mostpop" and found < 0.15)
    every, some = trained.score_all(held.users), trained.score_candidates(held.users, held.items)
    torch.testing.assert_close(every.gather(1, held.items), some, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("model", ROWS)
def test_trials(model):
    """Trial 0 is the start, the others differ from it and from each other, and come out again."""
    trials = [experiments.trial_config(model, n) for n in range(experiments.N_TRIALS)]
    assert trials[0] == row(model).start
    assert trials == [experiments.trial_config(model, n) for n in range(experiments.N_TRIALS)]
    distinct = 1 if row(model).draw is None else experiments.N_TRIALS
    assert len({str(trial) for trial in trials}) == distinct


def test_the_committed_trials_are_these():
    by_name = {name: model for model, name in experiments.MODELS.items()}
    records = Store(experiments.TUNING).load()
    assert records
    for record in records:
        drawn = described(
            experiments.trial_config(
                by_name.get(record["row"], record["row"].lower()), record["trial"]
            )
        )
        ours = {"max_epochs", "pretrain_epochs"} & drawn.keys()
        kept = {name: value for name, value in record["config"].items() if name not in ours}
        assert kept == {name: value for name, value in drawn.items() if name not in ours}


def test_every_printed_row_has_a_place():
    published = load_published(experiments.PAPER)
    printed = set(published[published["table"] == "table2"]["row"])
    assert printed and printed <= {known.name for known in ROWS.values()}


def test_a_model_knows_the_weights_that_were_kept_without_training_again(planted):
    """Breaks where the empty model of a row has other parameters than the trained one."""
    for model, known in ROWS.items():
        if known.empty is None:
            continue
        config = replace(known.start, pretrain_epochs=0)
        if hasattr(config, "warmup_epochs"):
            config = replace(config, warmup_epochs=0)
        weights = known.build(planted, config, 0, CPU).state_dict()
        empty = known.empty(planted, known.start)
        empty.load_state_dict(weights)  # strict
        for name, value in weights.items():
            assert torch.equal(empty.state_dict()[name], value), (model, name)


# --- the search --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Knows(RankingConfig):
    """Trained for one epoch; scores the items of one part of the split above all others."""

    part: str = "test"
    max_epochs: int = 1


@dataclass(frozen=True)
class KnowsAtOnce:
    """The same without training."""

    part: str = "test"


class Oracle(Differentiable):
    def __init__(self, n_items, held):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))
        self.best = torch.from_numpy(held)
        self.n_items = n_items

    def loss(self, users, items):
        return self.unused.square().sum()

    def score_candidates(self, users, items):
        return (items == self.best[users, None]).float()

    def score_all(self, users):
        return self.score_candidates(users, torch.arange(self.n_items).expand(len(users), -1))


@pytest.mark.parametrize("start", [Knows(), KnowsAtOnce()])
def test_a_trial_is_chosen_by_validation_items(tmp_path, monkeypatch, make_tiny, start):
    """One trial knows the test items, another the validation items: that one is the tuned one.

    Fails if trials are ranked on the test items, or trained on more than the training items.
    """
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    tiny = replace(make_tiny(n_users=40, n_items=150, per_user=10), name="ml-100k")
    split, seen = make_split(tiny, "loo-random"), []

    def build(given, config, seed, device):
        seen.append(given)
        return Oracle(split.n_items, getattr(split, config.part))

    known = Row("Oracle", start, build, lambda rng: {"part": "validation"})
    monkeypatch.setattr(experiments, "row", lambda model: known)
    monkeypatch.setattr(experiments, "data_for", lambda *place: tiny)
    monkeypatch.setattr(experiments, "split_for", lambda *place: split)
    monkeypatch.setattr(experiments, "N_TRIALS", 2)
    found = {
        record["config"]["part"]: record["metrics"]["HR@10"]
        for _, record, _ in experiments.tune("oracle", "ml-100k", "cpu", progress=False)
    }
    assert found["validation"] == 1 > found["test"]
    assert experiments.tuned_config("oracle", "ml-100k").part == "validation"
    for given in seen:
        np.testing.assert_array_equal(given.train_items, split.train_items)
