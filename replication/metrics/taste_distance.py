"""Taste Distribution Distance (TDD): how far a recommendation list is from the user's tastes.

Barkan et al. (RecSys 2020), Section 4.2. A space of items that no evaluated model has shaped is
made from the training interactions; a list and a history each become a distribution over the
clusters of that space; the measure is a distance between the two.

Symbols (paper -> here): ``R`` -> ``interactions``; ``r_j`` -> ``vectors``; ``d_ij`` -> a row of
``distances``; ``d~_i, t~_i`` -> ``recommended, consumed``; ``m_i`` -> ``middle``.
Shapes: U users, I items, P principal components, K clusters, L places in a list.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse, special
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA, TruncatedSVD

from replication.protocols import ABSENT, Split


@dataclass(frozen=True)
class TasteSpace:
    """The items' space of one training set and its clusters, the latent tastes.

    Attributes:
        vectors: [I, P] float32, principal components of the items.
        centroids: [K, P] float32, the clusters' means.
        labels: [I] cluster of each item.
        distances: [I, K] float64, cosine distance of each item to each mean, 0 to 2.
    """

    vectors: np.ndarray
    centroids: np.ndarray
    labels: np.ndarray
    distances: np.ndarray


def principal_components(
    split: Split, components: int = 100, seed: int = 0, centred: bool = True
) -> np.ndarray:
    """[I, P] float32, the item vectors r_j of Section 4.2.

    An item is the binary vector of the users that consumed it in training (the paper prints R as
    m x n and then indexes it by user and item; rows must be users for its columns to be items).
    As usual for PCA the vectors are centred, which makes an item that nobody consumed differ from
    zero; the paper does not say, and ``centred=False`` leaves it out. The leading components are
    computed exactly (ARPACK), without ever making the matrix dense, so that the seed decides only
    the starting vector.

    P is ``components``, or the smaller side of the matrix where that is less.
    """
    ones = np.ones(len(split.train_users), dtype=np.float32)
    pairs = (split.train_items, split.train_users)
    interactions = sparse.csr_matrix((ones, pairs), shape=(split.n_items, split.n_users))  # R^T
    interactions.data[:] = 1.0  # binary, even if a pair comes twice
    smaller = min(interactions.shape)
    if smaller <= components:  # ARPACK finds fewer components than there are; this is small
        dense = interactions.toarray()
        if centred:
            vectors = PCA(smaller, svd_solver="full").fit_transform(dense)
        else:
            left, size, _ = np.linalg.svd(dense, full_matrices=False)
            vectors = left * size
    elif centred:
        pca = PCA(components, svd_solver="arpack", random_state=seed)
        vectors = pca.fit_transform(interactions)
    else:
        svd = TruncatedSVD(components, algorithm="arpack", random_state=seed)
        vectors = svd.fit_transform(interactions)
    return np.ascontiguousarray(vectors)


def taste_space(
    split: Split, seed: int = 0, components: int = 100, clusters: int = 50, centred: bool = True
) -> TasteSpace:
    """PCA of the item vectors and K-means over them, from the training pairs alone.

    Args:
        split: its training pairs are used; ``split.refit()`` for all but the test items.
        seed: of the starting vector of the PCA and of K-means.
        components: of the PCA; Section 4.2.
        clusters: K; Section 4.2. An item is the least that a cluster holds, so that fewer items
            make fewer clusters.
        centred: whether the PCA centres the item vectors.
    """
    vectors = principal_components(split, components, seed, centred)
    # Ten starts from k-means++, the best kept: what scikit-learn did unasked when the paper was
    # written. Items with the same vector can leave two clusters with the same mean.
    k_means = KMeans(min(clusters, len(vectors)), n_init=10, random_state=seed).fit(vectors)
    return TasteSpace(
        vectors,
        k_means.cluster_centers_,
        k_means.labels_,
        1.0 - directions(vectors) @ directions(k_means.cluster_centers_).T,
    )


def directions(vectors: np.ndarray) -> np.ndarray:
    """Vectors [..., P] at length 1 in float64; zero stays zero, at cosine 0 to everything."""
    vectors = np.asarray(vectors, dtype=np.float64)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)


def membership(lists: np.ndarray, n_items: int) -> sparse.csr_matrix:
    """Lists [U, L] with ``ABSENT`` in empty places as a matrix [U, I] of ones."""
    user, place = np.nonzero(lists != ABSENT)
    pairs = (user, lists[user, place])
    return sparse.csr_matrix((np.ones(len(user)), pairs), shape=(len(lists), n_items))


def history(split: Split) -> sparse.csr_matrix:
    """The users' training items as a matrix [U, I] of ones."""
    pairs = (split.train_users, split.train_items)
    ones = np.ones(len(split.train_users))
    return sparse.csr_matrix((ones, pairs), shape=(split.n_users, split.n_items))


def mean_over_items(items: sparse.csr_matrix, rows: np.ndarray) -> np.ndarray:
    """[U, K] mean of the rows [I, K] of each user's items [U, I]; NaN for a user without items."""
    total = items @ rows  # [U, K]
    count = np.asarray(items.sum(1)).reshape(-1, 1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def taste_distributions(
    space: TasteSpace, items: sparse.csr_matrix, similarity: bool = False
) -> np.ndarray:
    """[U, K] d~_i of a list or t~_i of a history: softmax over the mean distances.

    Args:
        items: [U, I] from ``membership`` or ``history``.
        similarity: As printed the softmax runs over distances, so that the clusters farthest from
            the items weigh most. True: over cosine similarities, which is the same as over minus
            the distances, because a constant added to all clusters does not change a softmax.

    A user with one item is as good as any other; one without items gets NaN.
    """
    mean = mean_over_items(items, space.distances)  # of d_ij
    return special.softmax(-mean if similarity else mean, axis=1)


def jensen_shannon_printed(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """[U] sqrt((KL(p || m) + KL(q || m)) / 2) with m = (p + q) / 2; Section 4.2.

    With the natural logarithm its largest value is sqrt(ln 2) = 0.8326. p, q: [U, K]; a row of
    NaN gives NaN.
    """
    middle = (p + q) / 2
    divergence = (special.rel_entr(p, middle) + special.rel_entr(q, middle)).sum(-1) / 2
    return np.sqrt(np.maximum(divergence, 0.0))  # rounding can leave -1e-17


def hellinger_printed(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """[U] ||sqrt(p) - sqrt(q)||_2 / sqrt(2); Section 4.2.

    Its largest value is 1. p, q: [U, K]; a row of NaN gives NaN.
    """
    return np.linalg.norm(np.sqrt(p) - np.sqrt(q), axis=-1) / np.sqrt(2)
