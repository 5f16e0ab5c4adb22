"""Orders of models: tau, what is established of it, and which model may be best."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau, norm

from replication import orders
from replication.compare import bootstrap_means
from replication.errors import ReplicationError

DRAWS = 300
CLOSE = np.array([0.500, 0.502, 0.504, 0.506, 0.508, 0.56, 0.60, 0.64])
SAME = np.stack([CLOSE, CLOSE - 0.1])
REVERSED = np.stack([CLOSE, np.concatenate([CLOSE[4::-1], CLOSE[5:]]) - 0.1])  # the five close ones


def planted(levels, rng, users=500, seeds=5):
    """Means [W, n] and draws [D, W, n] of models whose true means [W, n] are given.

    A value is the true mean plus effects of the user, of user and model, of the seed, and noise.
    """
    ways, n = levels.shape
    values = levels[..., None, None] + rng.normal(0, 0.3, (ways, n, seeds, users))
    values += rng.normal(0, 0.3, users) + rng.normal(0, 0.2, (ways, n, 1, users))
    values += rng.normal(0, 0.003, (ways, n, seeds, 1))
    return values.mean((-1, -2)), bootstrap_means(values, DRAWS)


def coverage(levels, studies, seed=0):
    """In how many studies each kind of interval covers the true tau, and leaves the measured out.

    Returns:
        (shares that cover, by kind, share of studies in which the percentiles leave out tau).
    """
    rng, true, found = np.random.default_rng(seed), kendalltau(*levels).statistic, []
    for _ in range(studies):
        means, draws = planted(levels, rng)
        sound = orders.agreement(means, draws)
        assert sound.low - 1e-9 <= sound.tau <= sound.high + 1e-9  # never leaves it out
        redrawn = orders.tau_b(draws[:, 0], draws[:, 1])
        low, high = np.quantile(redrawn, [0.025, 0.975])
        below = (redrawn < sound.tau).mean() + (redrawn == sound.tau).mean() / 2
        shift = norm.ppf(np.clip(below, 1 / DRAWS, 1 - 1 / DRAWS))
        ends = {
            "established": (sound.low, sound.high),
            "percentiles": (low, high),
            "basic": np.clip([2 * sound.tau - high, 2 * sound.tau - low], -1, 1),
            "bias-corrected": np.quantile(redrawn, norm.cdf(2 * shift + norm.ppf([0.025, 0.975]))),
        }
        covers = {kind: a - 1e-9 <= true <= b + 1e-9 for kind, (a, b) in ends.items()}
        found.append(covers | {"left out": not low - 1e-9 <= sound.tau <= high + 1e-9})
    shares = {kind: float(np.mean([one[kind] for one in found])) for kind in found[0]}
    return shares, shares.pop("left out")


def test_tau_is_that_of_scipy_also_with_ties():
    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 6, (2, 50, 9)).astype(float)
    expected = [kendalltau(a, b).statistic for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(orders.tau_b(first, second), expected)
    assert np.isnan(orders.tau_b(np.zeros((1, 4)), first[:1, :4])[0])


@pytest.mark.parametrize("levels", [SAME, REVERSED])
def test_the_interval_covers_the_true_tau_where_quantiles_of_redrawn_tau_do_not(levels):
    """The numbers in the docstring of ``agreement`` are those of 400 studies."""
    covers, _ = coverage(levels, 60)
    assert covers["established"] >= 0.95
    assert max(covers[kind] for kind in ("percentiles", "basic", "bias-corrected")) < 0.7


def test_the_interval_is_no_wider_than_what_is_not_established():
    """Fails if the interval is [-1, 1] whatever the data: 15 of 28 pairs are far apart."""
    means, draws = planted(SAME, np.random.default_rng(0), users=3000)
    assert 0.0 < orders.agreement(means, draws).low < 0.8
    apart = np.stack([np.linspace(0.2, 0.8, 6)] * 2)
    assert orders.agreement(*planted(apart, np.random.default_rng(0))) == (1.0, 1.0, 1.0)
    turned = np.stack([apart[0], apart[0, ::-1]])
    assert orders.agreement(*planted(turned, np.random.default_rng(0))) == (-1.0, -1.0, -1.0)


def test_no_sign_is_established_between_models_that_are_alike():
    """Fails if each pair is tested by itself: of 56 pairs some would come out in most studies."""
    rng = np.random.default_rng(0)
    alike = np.full((2, 8), 0.5)
    wrong = sum(orders.established(*planted(alike, rng)).any() for _ in range(40))
    assert wrong <= 6  # 2 expected at 95 %; the binomial has more than 6 in 1 of 300


def test_the_best_is_among_those_that_may_be_best():
    means, draws = planted(REVERSED, np.random.default_rng(0), users=3000)
    left = orders.may_be_best(orders.established(means, draws), 8)
    assert left[0].tolist() == [False] * 7 + [True]
    close = np.array([[0.5, 0.5005, 0.4, 0.3]])
    left = orders.may_be_best(orders.established(*planted(close, np.random.default_rng(0))), 4)
    assert left.tolist() == [[True, True, False, False]]
    flipped = np.stack([np.linspace(0.2, 0.8, 4), np.linspace(0.8, 0.2, 4)])
    left = orders.may_be_best(orders.established(*planted(flipped, np.random.default_rng(0))), 4)
    assert left.tolist() == [[False, False, False, True], [True, False, False, False]]


def test_draws_that_do_not_belong_to_the_means_are_refused():
    with pytest.raises(ReplicationError, match="two draws of means"):
        orders.established(np.zeros((2, 4)), np.zeros((50, 4, 2)))
