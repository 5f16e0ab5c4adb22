"""AMP-CF: its equations, its written-out gradient, what it learns and how it explains."""

import dataclasses

import numpy as np
import pytest
import torch

from replication.data import Interactions
from replication.errors import ReplicationError
from replication.evaluation import held_out, rank_candidates, rank_catalogue
from replication.metrics.ranking import summary
from replication.papers.amp_cf.model import AMP, AMPConfig
from replication.protocols import make_split
from replication.training import described, fit

CPU = torch.device("cpu")


def model(**changes) -> AMP:
    torch.manual_seed(0)
    config = AMPConfig(dimension=8, attention_dimension=5, **changes)
    made = AMP(12, 20, config)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0, 0.7)
    return made


def test_score_is_equation_1_spelled_out():
    amp = model(personas=3)
    users, items = torch.tensor([2, 5]), torch.tensor([[1, 4, 0], [7, 7, 3]])
    scores = amp(users, items)
    for b in range(2):
        personas = amp.personas[users[b]].view(3, 8)  # U^i
        for c in range(3):
            item = amp.items[items[b, c]]
            psi, phi = personas @ amp.attention_user, item @ amp.attention_item
            attention = torch.softmax(psi @ phi, dim=0)
            x = attention @ personas  # attentive user vector
            y = x @ item + amp.item_bias[items[b, c]]  # Eq. 1
            torch.testing.assert_close(scores.score[b, c], y)
            torch.testing.assert_close(scores.attention[b, c], attention)


@pytest.mark.parametrize("personas", [1, 3])
@pytest.mark.parametrize("projections", [True, False])
@pytest.mark.parametrize("similarity", ["elu", "gelu"])
def test_networks_in_place_of_both_dot_products_spelled_out(similarity, projections, personas):
    """Breaks where one of the two stays a dot product, or scores mix before the network."""
    amp = model(personas=personas, similarity=similarity, attention_projections=projections)
    users, items = torch.tensor([2, 5]), torch.tensor([[1, 4, 0], [7, 7, 3]])
    scores = amp(users, items)
    activation = getattr(torch.nn.functional, similarity)

    def network(which, left, right):
        weight = torch.cat([which.left.weight, which.right.weight], dim=1)
        hidden = activation(weight @ torch.cat([left, right]) + which.left.bias)
        return which.out.weight[0] @ hidden + which.out.bias[0]

    for b in range(2):
        personas_ = amp.personas[users[b]].view(personas, 8)  # U^i
        for c in range(3):
            item = amp.items[items[b, c]]
            attention = torch.ones(1)
            if personas > 1:
                psi, phi = personas_, item
                if projections:
                    psi, phi = personas_ @ amp.attention_user, item @ amp.attention_item
                affinity = torch.stack([network(amp.affinity_network, p, phi) for p in psi])
                attention = torch.softmax(affinity, dim=0)
            own = torch.stack([network(amp.similarity_network, p, item) for p in personas_])
            x = attention @ personas_  # attentive user vector
            y = network(amp.similarity_network, x, item) + amp.item_bias[items[b, c]]  # Eq. 1
            torch.testing.assert_close(scores.score[b, c], y)
            torch.testing.assert_close(scores.attention[b, c], attention)
            torch.testing.assert_close(scores.similarity[b, c], own)


def test_records_of_the_dot_product_keep_their_address():
    """A configuration that a record holds must not grow by options that came later."""
    assert not {"similarity", "similarity_hidden"} & described(AMPConfig()).keys()
    assert described(AMPConfig(similarity="elu"))["similarity"] == "elu"
    with pytest.raises(ReplicationError, match="unknown similarity 'relu'; use dot or elu or gelu"):
        AMPConfig(similarity="relu")


def test_loss_is_equation_2_spelled_out():
    amp = model(personas=3, alpha=0.3, lambda_p=0.7, lambda_n=0.2)
    users, items = torch.tensor([2, 5]), torch.tensor([[1, 4, 0], [7, 8, 3]])
    y, a, _, _ = amp(users, items)
    total = 0.0
    for b in range(2):
        likelihood = -y[b, 0] + torch.log(torch.exp(y[b]).sum())  # released: the positive included
        entropy = [-(a[b, c] * torch.log(a[b, c])).sum() for c in range(3)]
        total += 0.3 * likelihood + 0.7 * (0.7 * entropy[0] - 0.2 * (entropy[1] + entropy[2]))
    torch.testing.assert_close(amp.loss(users, items), total / 2)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"personas": 1},
        {"personas": 4, "lambda_p": 0.5, "lambda_n": 0.3},
        {"likelihood": "printed", "lambda_p": 0.5},
        {"personas": 1, "likelihood": "printed", "user_bias": True},
        {"attention_projections": False, "item_bias": False, "lambda_n": 1.0},
        {"entropy_reduction": "sum", "negative_entropy": "mean", "lambda_p": 0.1},
        {"lambda_p": 0.0, "lambda_n": 0.0},
        {"similarity": "elu", "lambda_p": 0.5},
        {"similarity": "gelu", "attention_projections": False, "lambda_n": 0.3},
        {"similarity": "gelu", "personas": 1},
    ],
    ids=str,
)
def test_written_out_gradient_is_that_of_autograd(changes):
    amp = model(**changes).double()
    users, items = torch.tensor([2, 5, 2]), torch.randint(20, (3, 5))
    loss = amp.loss(users, items)
    expected = torch.autograd.grad(loss, list(amp.parameters()))
    again = amp.accumulate_gradients(users, items)
    torch.testing.assert_close(again, loss.detach())
    for (name, parameter), gradient in zip(amp.named_parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, msg=lambda m, n=name: f"{n}: {m}")


def test_the_printed_loss_has_no_lower_bound():
    """Eq. 2 as printed falls without end as the positive's score grows; the released form not."""
    users, items = torch.tensor([0]), torch.tensor([[0, 1, 2]])
    losses = {}
    for likelihood in ("printed", "softmax"):
        amp = model(likelihood=likelihood, lambda_p=0.0, lambda_n=0.0)
        with torch.no_grad():
            amp.item_bias[0] = 1e4
        losses[likelihood] = amp.loss(users, items).item()
    assert losses["printed"] < -1e3
    assert losses["softmax"] >= 0


def test_one_persona_is_matrix_factorisation():
    amp = model(personas=1)
    users, items = torch.tensor([3]), torch.tensor([[4, 9]])
    expected = amp.personas[3] @ amp.items[[4, 9]].T + amp.item_bias[[4, 9]]
    torch.testing.assert_close(amp.score_candidates(users, items)[0], expected.detach())
    assert {name for name, _ in amp.named_parameters()} == {"personas", "items", "item_bias"}


@pytest.mark.parametrize("similarity", ["dot", "elu"])
def test_all_items_score_as_they_do_as_candidates(similarity, monkeypatch):
    monkeypatch.setattr("replication.papers.amp_cf.model._CATALOGUE_BLOCK", 7)
    amp = model(personas=3, user_bias=True, similarity=similarity)
    users = torch.tensor([1, 4, 11])
    everything = torch.arange(20).expand(3, -1)
    torch.testing.assert_close(amp.score_all(users), amp.score_candidates(users, everything))


def test_catalogue_ranks_leave_out_what_the_user_consumed(tiny):
    split = make_split(tiny, "loo-random").refit()
    held = held_out(split, "test", CPU)
    amp = AMP(split.n_users, split.n_items, AMPConfig(dimension=8))
    ranks = rank_catalogue(amp, held, block=7)
    for user in (0, 13, 29):
        scores = amp.score_all(torch.tensor([user]))[0].numpy()
        new = np.setdiff1d(np.arange(split.n_items), tiny.items[tiny.users == user])
        assert ranks[user] == (scores[new] >= scores[split.test[user]]).sum()


@pytest.mark.parametrize("refit", [False, True])
def test_whose_item_is_a_candidate_of_full_ranking(tiny, refit):
    """For the test item the validation item is consumed, refit or not; not the other way round."""
    split = make_split(tiny, "loo-random")
    torch.manual_seed(0)
    amp = AMP(split.n_users, split.n_items, AMPConfig(dimension=8))
    everything = amp.score_all(torch.arange(split.n_users)).detach().numpy()
    tested = rank_catalogue(amp, held_out(split.refit() if refit else split, "test", CPU))
    chosen = rank_catalogue(amp, held_out(split, "validation", CPU))
    for user, scores in enumerate(everything):
        own, test = tiny.items[tiny.users == user], split.test[user]
        new = np.setdiff1d(np.arange(split.n_items), own)
        assert tested[user] == (scores[new] >= scores[test]).sum()
        new = np.append(new, test)
        assert chosen[user] == (scores[new] >= scores[split.validation[user]]).sum()


LEARN = AMPConfig(dimension=16, attention_dimension=16, learning_rate=0.01, batch_size=32)


@pytest.mark.parametrize(
    "changes",
    [
        {"personas": 1},
        {"personas": 2},
        {"personas": 4},
        {"attention_projections": False},
        {"item_bias": False},
        {"similarity": "elu"},
        {"similarity": "gelu"},
    ],
    ids=str,
)
def test_learns_what_an_untrained_model_does_not_know(make_tiny, changes):
    data = make_tiny(n_users=90, n_items=150, per_user=20)
    split = make_split(data, "loo-random")
    config = dataclasses.replace(LEARN, **changes)
    held = held_out(split, "test", CPU)
    untrained = AMP(split.n_users, split.n_items, config)
    trained = fit(
        lambda: AMP(split.n_users, split.n_items, config), split, config, 0, CPU, "validation"
    ).model
    before, after = (summary(rank_candidates(m, held))["HR@10"] for m in (untrained, trained))
    # A third of about 100 candidates are of the user's taste: knowing the taste and nothing else
    # gives 10 / 33; knowing nothing gives 10 / 100.
    assert before < 0.2 < 0.22 < after


def planted(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Users with two of four tastes each: (user, item) pairs; item j is of taste j % 4."""
    users, items = [], []
    for user in range(120):
        for taste in rng.choice(4, 2, replace=False):
            users += [user] * 15
            items += list(4 * rng.choice(40, 15, replace=False) + taste)
    return np.array(users), np.array(items)


def test_explanations_find_planted_tastes():
    """With two planted tastes a user, the items that a persona claims are of one taste."""
    users, items = planted(np.random.default_rng(0))
    n = len(users)
    data = Interactions(
        "planted", users, items, np.ones(n), np.arange(n), np.arange(120), np.arange(160)
    )
    split = make_split(data, "loo-random")
    config = dataclasses.replace(
        LEARN, personas=2, lambda_p=0.2, lambda_n=0.05, max_epochs=20, patience=20
    )
    amp = fit(
        lambda: AMP(split.n_users, split.n_items, config), split, config, 0, CPU, "validation"
    ).model
    right, shuffled, rng = [], [], np.random.default_rng(1)
    for user in range(60):
        history = torch.from_numpy(items[users == user])
        for item in history[::6].tolist():
            why = amp.explain(user, item, history)
            assert why.persona == int(why.attention.argmax())
            assert item in why.claimed.tolist()
            same = history[history % 4 == item % 4]
            claimed = np.isin(history.numpy(), why.claimed.numpy())
            right.append((claimed == np.isin(history.numpy(), same.numpy())).mean())
            shuffled.append(
                (rng.permutation(claimed) == np.isin(history.numpy(), same.numpy())).mean()
            )
    assert np.mean(right) > 0.75
    assert abs(np.mean(shuffled) - 0.5) < 0.05  # the control: shuffled claims agree by chance
