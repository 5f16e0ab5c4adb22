"""Measures of explanations: agreement of assignments and of ranks, entropy, overlap.

An assignment gives each item of a user's history one of a few labels: the persona that claims it,
its genre, or the group from which it was planted. Everything works on all users at once.

Shapes: n pairs (user, item), U users, I items, r personas, L places in a list, d dimensions,
P = r (r - 1) / 2 pairs of personas.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy import sparse, special
from torch import Tensor

from replication.metrics.lists import NO_GENRE
from replication.metrics.taste_distance import directions
from replication.protocols import ABSENT

_BLOCK = 1_000_000  # terms of the expected mutual information that are in memory at once


class Agreement(NamedTuple):
    """How far two assignments agree beyond chance."""

    per_user: np.ndarray  # [U] adjusted mutual information; NaN with fewer than two items
    pooled: float  # of all users: the sums of numerators and denominators; NaN if there are none


def adjusted_mutual_information(
    users: np.ndarray, first: np.ndarray, second: np.ndarray, n_users: int
) -> Agreement:
    """Agreement of two assignments of each user's items, up to the names of the labels.

    AMI = (MI - E[MI]) / ((H1 + H2) / 2 - E[MI]) with the expectation over all permutations (Vinh,
    Epps and Bailey, JMLR 2010, Eq. 24a and, for the normaliser, their AMI_sum): 1 for equal
    partitions, 0 on average for unrelated ones. scikit-learn's ``adjusted_mutual_info_score`` is
    the same for one user; here all users are computed at once.

    Where an assignment has one label only it tells nothing apart, and where every permutation
    agrees as well (two items with two labels) nothing exceeds chance: both get 0, also where
    scikit-learn gives 1. The pooled value weighs users by how much there is to agree about.

    Args:
        users: [n] user index of each item.
        first, second: [n] labels, whole numbers from 0; a negative label leaves the item out.
        n_users: U.
    """
    kept = (first >= 0) & (second >= 0)
    users, first, second = (np.asarray(x, dtype=np.int64)[kept] for x in (users, first, second))
    shape = (n_users, int(first.max(initial=0)) + 1, int(second.max(initial=0)) + 1)
    flat = np.ravel_multi_index((users, first, second), shape)
    count = np.bincount(flat, minlength=math.prod(shape)).reshape(shape)  # [U, R, S]
    a, b, n = count.sum(2), count.sum(1), count.sum((1, 2))  # [U, R], [U, S], [U]
    enough = n >= 2
    size = np.maximum(n, 1)
    h_first, h_second, h_both = (
        special.entr(x / size[:, None]).sum(1) for x in (a, b, count.reshape(n_users, -1))
    )
    information = h_first + h_second - h_both  # [U] MI
    expected = _expected_information(a, b, n)  # [U]
    above, room = information - expected, (h_first + h_second) / 2 - expected
    told = ((a > 0).sum(1) > 1) & ((b > 0).sum(1) > 1) & (room > 1e-12)
    per_user = np.where(enough, 0.0, np.nan)
    np.divide(above, room, out=per_user, where=told)
    total = room[told].sum()
    pooled = float(above[told].sum() / total) if total else (0.0 if enough.any() else math.nan)
    return Agreement(per_user, pooled)


def _expected_information(a: np.ndarray, b: np.ndarray, n: np.ndarray) -> np.ndarray:
    """[U] mean MI over all permutations, from the sizes [U, R], [U, S] of the labels."""
    user, i, j = np.nonzero((a[:, :, None] > 0) & (b[:, None, :] > 0))
    triples = np.stack([a[user, i], b[user, j], n[user]], axis=1)
    # A cell's share depends on its three sizes alone, and few of them differ.
    different, inverse = np.unique(triples, axis=0, return_inverse=True)
    share = np.empty(len(different))
    terms = np.minimum(different[:, 0], different[:, 1])
    bounds = np.searchsorted(np.cumsum(terms), np.arange(0, terms.sum() + _BLOCK, _BLOCK))
    bounds[-1] = len(different)
    for start, stop in pairwise(bounds):
        block = np.repeat(np.arange(start, stop), terms[start:stop])
        x, y, m = different[block].T.astype(np.float64)
        begin = np.cumsum(terms[start:stop]) - terms[start:stop]
        k = np.arange(len(block)) - np.repeat(begin, terms[start:stop]) + 1.0  # 1..min(x, y)
        log = special.gammaln
        with np.errstate(invalid="ignore"):
            log_probability = (  # hypergeometric
                log(x + 1) + log(y + 1) + log(m - x + 1) + log(m - y + 1)
                - log(m + 1) - log(k + 1) - log(x - k + 1) - log(y - k + 1)
                - log(np.maximum(m - x - y + k, 0) + 1)
            )  # fmt: skip
        possible = m - x - y + k >= 0
        term = k / m * np.log(m * k / (x * y)) * np.exp(log_probability) * possible
        share[start:stop] = np.bincount(block - start, term, minlength=stop - start)
    return np.bincount(user, share[inverse.ravel()], minlength=len(a))


def shuffled_within(users: np.ndarray, values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[n, ...] the values of each user's items in a random order: what chance alone would give."""
    order = np.argsort(users, kind="stable")
    result = np.empty_like(values)
    result[order] = values[np.lexsort((rng.random(len(users)), users))]
    return result


def main_genre(genres: pd.Series, rarest: bool = True) -> np.ndarray:
    """[I] one genre an item, as a number in the order of the names; ``ABSENT`` where it has none.

    An item with several genres counts as its rarest in the catalogue (the one that says most), or
    its commonest; of equally common ones the first by name. Counting it once under each would
    make its persona agree with itself.

    Args:
        genres: names joined by ``|``.
    """
    flags = genres.fillna("").str.get_dummies("|").drop(columns=NO_GENRE, errors="ignore")
    has = flags.to_numpy(bool)  # [I, G]
    common = has.sum(0) * (1 if rarest else -1)
    cost = np.where(has, common, np.iinfo(np.int64).max)
    return np.where(has.any(1), cost.argmin(1), ABSENT) if has.size else np.full(len(has), ABSENT)


def attention_entropy(attention: Tensor) -> Tensor:
    """[...] entropy of attention weights [..., r >= 2] in units of log r: 0 one persona, 1 all."""
    return torch.special.entr(attention).sum(-1) / math.log(attention.shape[-1])


def effective_personas(users: np.ndarray, personas: np.ndarray, n_users: int, r: int) -> np.ndarray:
    """[U] exponential of the entropy of the shares of a history's items: 1 to r; NaN without."""
    count = np.bincount(users * r + personas, minlength=n_users * r).reshape(n_users, r)
    total = count.sum(1)
    entropy = special.entr(count / np.maximum(total, 1)[:, None]).sum(1)
    return np.where(total > 0, np.exp(entropy), np.nan)


def jaccard(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """[...] shared items over all items of two lists [..., L]; ``ABSENT`` places do not count.

    NaN for two empty lists.
    """
    both = (first[..., :, None] == second[..., None, :]) & (first != ABSENT)[..., None]
    shared = both.sum((-1, -2))
    either = (first != ABSENT).sum(-1) + (second != ABSENT).sum(-1) - shared
    return np.divide(shared, either, out=np.full(shared.shape, np.nan), where=either > 0)


def list_overlap(lists: np.ndarray) -> np.ndarray:
    """[U, P] Jaccard overlap of the lists of every two personas; lists: [U, r, L]."""
    k, m = np.triu_indices(lists.shape[1], 1)
    return jaccard(lists[:, k], lists[:, m])


def vector_cosine(personas: np.ndarray) -> np.ndarray:
    """[U, P] cosine of every two personas of a user; personas: [U, r, d]. Zero vectors give 0."""
    unit = directions(personas)
    k, m = np.triu_indices(personas.shape[1], 1)
    return (unit[:, k] * unit[:, m]).sum(-1)


def mean_by_user(users: np.ndarray, values: np.ndarray, n_users: int) -> np.ndarray:
    """[U] mean of each user's values [n] that are not NaN; NaN for a user without any."""
    known = np.isfinite(values)
    total = np.bincount(users[known], values[known], minlength=n_users)
    count = np.bincount(users[known], minlength=n_users)
    return np.divide(total, count, out=np.full(n_users, np.nan), where=count > 0)


def average_ranks(values: Tensor, valid: Tensor) -> Tensor:
    """[B, C] float64 ranks from 1 among the valid places of each row; equal values share theirs.

    Args:
        values: [B, C].
        valid: [B, C] bool; the other places get 0.
    """
    filled = values.masked_fill(~valid, torch.inf).contiguous()
    ordered = filled.sort(1).values
    below = torch.searchsorted(ordered, filled)  # [B, C] how many are smaller
    upto = torch.searchsorted(ordered, filled, right=True)
    return ((below + upto + 1).double() / 2).masked_fill(~valid, 0.0)


def rank_correlation(first: Tensor, second: Tensor, valid: Tensor) -> Tensor:
    """[B] Spearman's rank correlation of each row over its valid places, ties averaged.

    NaN where a row has fewer than two places, or one of the two is constant there.

    Args:
        first, second: [B, C].
        valid: [B, C] bool.
    """
    middle = (valid.sum(1, keepdim=True) + 1) / 2
    a, b = ((average_ranks(x, valid) - middle) * valid for x in (first, second))
    norm = (a.square().sum(1) * b.square().sum(1)).sqrt()
    return torch.where(norm > 0, (a * b).sum(1) / norm, torch.nan)


def genre_overlap(genres: pd.Series) -> np.ndarray:
    """[I, I] float32 Jaccard overlap of the genres of every two items: shared over all of both.

    0 where neither has a genre.

    Args:
        genres: names joined by ``|``.
    """
    flags = genres.fillna("").str.get_dummies("|").drop(columns=NO_GENRE, errors="ignore")
    has = flags.to_numpy(np.float32)  # [I, G]
    shared, count = has @ has.T, has.sum(1)
    either = count[:, None] + count - shared
    return np.divide(shared, either, out=np.zeros_like(shared), where=either > 0)


def co_rating(users: np.ndarray, items: np.ndarray, n_users: int, n_items: int) -> np.ndarray:
    """[I, I] float32 cosine of who rated every two items, whatever the ratings; 0 without ratings.

    Args:
        users, items: [n] the rated pairs.
    """
    rated = sparse.csr_matrix((np.ones(len(users), np.float32), (users, items)), (n_users, n_items))
    both = np.asarray((rated.T @ rated).todense())
    length = np.sqrt(both.diagonal())
    norm = length[:, None] * length
    return np.divide(both, norm, out=np.zeros_like(both), where=norm > 0)
