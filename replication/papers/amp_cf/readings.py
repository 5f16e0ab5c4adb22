"""Readings of Section 4.2 under which Table 3's numbers might have come about.

As printed, JS and the Hellinger distance of one list differ by less than a fifth: for any two
distributions sqrt(ln 2) <= JS / Hellinger <= 1, and so for their means over the same users. In
Table 3 the ratio lies between 17 and 60. A factor on either column, of whatever origin (a base of
the logarithm, percent, a sum in place of a mean), moves all 50 ratios together and cannot bring a
spread of 3.6 down to 1.2. The readings below change the shape of one measure or of what goes into
it; ``fit`` says how well each follows the printed values.

Every reading takes the mean distances of the list and of the history, both [U, K] as from
``mean_over_items``, and gives [U]; that named ``BY_ITEM`` takes distributions, means of the items'
own (``item_distributions``), in their place.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

import numpy as np
from scipy import sparse, special

from replication.metrics.taste_distance import (
    hellinger_printed,
    jensen_shannon_printed,
    mean_over_items,
)

Reading = Callable[[np.ndarray, np.ndarray], np.ndarray]
Place = TypeVar("Place", bound=Hashable)  # a row of a table, or a row and a data set
Key = TypeVar("Key", bound=Hashable)


def _softmax(mean: np.ndarray, sharper: float = 1.0) -> np.ndarray:
    return special.softmax(sharper * mean, axis=1)


def _terms(p: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[U, K] the terms of KL(p || m) and of KL(q || m)."""
    middle = (p + q) / 2
    return special.rel_entr(p, middle), special.rel_entr(q, middle)


def _absolute_terms(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """[U] root of the mean of the two divergences, each summed over absolute terms."""
    one, other = _terms(p, q)
    return np.sqrt((np.abs(one) + np.abs(other)).sum(1) / 2)


def _root_by_cluster(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    one, other = _terms(p, q)
    return np.sqrt(np.maximum(one + other, 0) / 2).sum(1)


def _root_by_cluster_of_absolutes(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    one, other = _terms(p, q)
    return np.sqrt((np.abs(one) + np.abs(other)) / 2).sum(1)


def item_distributions(items: sparse.csr_matrix, distances: np.ndarray) -> np.ndarray:
    """[U, K] mean over a user's items [U, I] of the softmax of each one's distances [I, K].

    Section 4.2 has the mean first. It is the mean of distributions that a mixture of tastes would
    call for, and "average the vectors and apply a softmax" could hide that order.
    """
    return mean_over_items(items, _softmax(distances))


def kullback_leibler(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """[U] KL(p || q) in natural logarithms, where Section 4.2 has the mean of two from the middle.

    For close distributions four times the squared JS as printed, whichever way round.
    """
    return np.maximum(special.rel_entr(p, q).sum(-1), 0.0)  # rounding can leave -1e-17


def _js(sharper: float = 1.0, power: float = 1.0, factor: float = 1.0) -> Reading:
    def reading(d: np.ndarray, t: np.ndarray) -> np.ndarray:
        return factor * jensen_shannon_printed(_softmax(d, sharper), _softmax(t, sharper)) ** power

    return reading


def _hellinger(sharper: float = 1.0, power: float = 1.0, factor: float = 1.0) -> Reading:
    def reading(d: np.ndarray, t: np.ndarray) -> np.ndarray:
        return factor * hellinger_printed(_softmax(d, sharper), _softmax(t, sharper)) ** power

    return reading


BY_ITEM = "softmax of each item, then the mean"

# By column of Table 3. Cosine similarities are minus the distances but for a constant.
READINGS: dict[str, dict[str, Reading]] = {
    "JS": {
        "as printed": _js(),
        "logarithm of base 2": _js(factor=1 / np.sqrt(np.log(2))),
        "in percent": _js(factor=100),
        "summed over the clusters (times 50)": _js(factor=50),
        "without the root": _js(power=2),
        "root taken twice": _js(power=0.5),
        "similarities": _js(sharper=-1),
        "similarities, softmax 30 times as sharp": _js(sharper=-30),
        "softmax 30 times as sharp": _js(sharper=30),
        "no softmax": jensen_shannon_printed,
        "root by cluster, then summed": lambda d, t: _root_by_cluster(_softmax(d), _softmax(t)),
        "absolute terms": lambda d, t: _absolute_terms(_softmax(d), _softmax(t)),
        "absolute terms, no softmax": _absolute_terms,
        "absolute terms, root by cluster, then summed": lambda d, t: _root_by_cluster_of_absolutes(
            _softmax(d), _softmax(t)
        ),
        "KL, list from history": lambda d, t: kullback_leibler(_softmax(d), _softmax(t)),
        "KL, history from list": lambda d, t: kullback_leibler(_softmax(t), _softmax(d)),
        "root of KL, list from history": lambda d, t: np.sqrt(
            kullback_leibler(_softmax(d), _softmax(t))
        ),
        BY_ITEM: jensen_shannon_printed,
    },
    "Hellinger": {
        "as printed": _hellinger(),
        "without 1 / sqrt(2)": _hellinger(factor=np.sqrt(2)),
        "squared": _hellinger(power=2),
        "squared, in percent": _hellinger(power=2, factor=100),
        "similarities": _hellinger(sharper=-1),
        "similarities, softmax 30 times as sharp": _hellinger(sharper=-30),
        "softmax 30 times as sharp": _hellinger(sharper=30),
        "no softmax": hellinger_printed,
        BY_ITEM: hellinger_printed,
    },
}


SPACES = {True: "centred", False: "uncentred"}  # the PCA behind the distances


def metric(column: str, name: str, space: str) -> str:
    """What a record of Table 3 calls the mean of a reading over users."""
    return f"reading/{space}/{column}/{name}"


def measured(
    recommended: sparse.csr_matrix, consumed: sparse.csr_matrix, distances: np.ndarray, space: str
) -> dict[str, float]:
    """The mean over users of every reading, by its name in a record.

    Args:
        recommended, consumed: [U, I] each user's list and history, as from ``membership``; a user
            without either does not count.
        distances: [I, K] cosine distance of each item to the means of the clusters.
        space: of ``SPACES``.
    """
    # A single item at the mean of its cluster can be at -1e-16, which has no root.
    means = [
        np.maximum(mean_over_items(items, distances), 0.0) for items in (recommended, consumed)
    ]
    mixtures = [item_distributions(items, distances) for items in (recommended, consumed)]
    return {
        metric(column, name, space): float(
            np.nanmean(reading(*(mixtures if name == BY_ITEM else means)))
        )
        for column, own in READINGS.items()
        for name, reading in own.items()
    }


def comparable(found: Mapping[Key, dict[Place, float]]) -> dict[Key, dict[Place, float]]:
    """Of the measured readings those that are measured wherever any of them is.

    Over fewer lists the quotients of ``fit`` differ less, and a reading of which little is measured
    would look the closest to print.
    """
    everywhere = max(map(len, found.values()), default=0)
    return {key: values for key, values in found.items() if len(values) == everywhere}


def ratio_bounds() -> tuple[float, float]:
    """The least and the largest JS / Hellinger, both as printed, of any two distributions."""
    return float(np.sqrt(np.log(2))), 1.0


def fit(measured: Mapping[Place, float], printed: Mapping[Place, float]) -> dict[str, float]:
    """How the values of a reading relate to the printed ones, over the rows that both have.

    Returns:
        ``factor``: geometric mean of printed / measured, 1 for a reading of the right size.
        ``spread``: the largest of these quotients over the smallest, 1 for a reading that is right
        but for a factor. ``slope``: of log printed on log measured, 1 likewise (NaN if fewer than
        two rows differ).
    """
    rows = [row for row in measured if row in printed]
    x = np.log([measured[row] for row in rows])
    y = np.log([printed[row] for row in rows])
    away = x - x.mean()
    varies = (away**2).sum() > 0
    return {
        "factor": float(np.exp((y - x).mean())),
        "spread": float(np.exp(np.ptp(y - x))),
        "slope": float((away * y).sum() / (away**2).sum()) if varies else float("nan"),
    }
