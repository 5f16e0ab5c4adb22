"""Categorical item features as numbers: sets of values that models can look up.

A data set holds its features as texts (``Interactions.item_features``), several values separated
by ``|``. ``encode`` makes a table of them, by a rule for several values; ``training_tags`` makes a
column of users' tags without looking at held-out ratings; ``shuffled`` is the control in which a
feature means nothing; ``coverage`` says how much a table knows.

Shapes: I items, F features, V values of the item that has the most of any feature, N distinct
values of all features together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from replication.errors import ReplicationError

if TYPE_CHECKING:  # a split holds a table
    from replication.folds import RatingSplit

SEPARATOR = "|"
# How the data sets say that nothing is known: MovieLens for genres, OMDb for everything.
MISSING = frozenset({"", "(no genres listed)", "unknown", "N/A"})
# What becomes of several values of one feature: all of them, the first one only, or the whole
# combination as a single value ("Action|Comedy" is then another value than "Action").
RULES = ("set", "first", "whole")
MIN_USERS = 2  # a tag that one user alone gives is his own word, and no feature of films


@dataclass(frozen=True)
class FeatureTable:
    """What is known of each item: for every feature a set of values, which may be empty.

    Attributes:
        names: [F] the features, for instance ``("genres", "director")``.
        values: [I, F, V] int64, indices 0..N-1 of the values; 0 where ``present`` is False.
        present: [I, F, V] bool, whether there is a value in this place. The places that are
            filled come first.
        vocabulary: [N] the values as text, grouped by feature, in alphabetical order in each.
        feature_of: [N] int64, which feature a value belongs to.
    """

    names: tuple[str, ...]
    values: np.ndarray
    present: np.ndarray
    vocabulary: tuple[str, ...]
    feature_of: np.ndarray

    @property
    def n_items(self) -> int:
        """I."""
        return len(self.values)

    @property
    def n_values(self) -> int:
        """N."""
        return len(self.vocabulary)

    @property
    def content_hash(self) -> str:
        """12 hex digits over everything that a model can see.

        The hash of the interactions does not cover the features.
        """
        digest = hashlib.sha256(repr((self.names, self.vocabulary, self.values.shape)).encode())
        digest.update(np.ascontiguousarray(self.values, dtype="<i8").tobytes())
        digest.update(np.ascontiguousarray(self.present, dtype="?").tobytes())
        return digest.hexdigest()[:12]


def encode(
    items: pd.DataFrame, names: Sequence[str], rules: Mapping[str, str] | None = None
) -> FeatureTable:
    """A table of some features of the items of a data set.

    A value counts once an item, in the order of the text. What is ``MISSING`` is no value: such an
    item has the empty set, and where all its sets are empty only its id can tell it from others.

    Args:
        items: one row an item, as ``Interactions.item_features``; texts, NaN for nothing.
        names: the columns to take, in the order of the table's features.
        rules: of ``RULES``, by column; "set" where none is given.

    Raises:
        ReplicationError: no features, one that is there twice or is no column, an unknown rule, a
            feature that no item has.
    """
    rules = dict(rules or {})
    if not names or len(set(names)) != len(names):
        raise ReplicationError(f"a table needs different item features, not {list(names)}")
    for name in (*names, *rules):
        if name not in items.columns:
            raise ReplicationError(
                f"there is no item feature {name!r}; there are {', '.join(map(str, items.columns))}"
            )
    for name, rule in rules.items():
        if rule not in RULES:
            raise ReplicationError(f"unknown rule {rule!r} for {name}; use {', '.join(RULES)}")
    found = [_pairs(items[name], rules.get(name, "set")) for name in names]
    for name, pairs in zip(names, found, strict=True):
        if pairs.empty:
            raise ReplicationError(f"no item has a value of the feature {name!r}")
    places = [pairs.groupby("item").cumcount().to_numpy() for pairs in found]
    shape = (len(items), len(names), 1 + max(int(place.max()) for place in places))
    values, present = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=bool)  # [I, F, V]
    vocabulary: list[str] = []
    sizes = []
    for feature, (pairs, place) in enumerate(zip(found, places, strict=True)):
        distinct, codes = np.unique(pairs["value"].to_numpy(dtype=str), return_inverse=True)
        at = (pairs["item"].to_numpy(), feature, place)
        values[at], present[at] = len(vocabulary) + codes, True
        vocabulary += distinct.tolist()
        sizes.append(len(distinct))
    feature_of = np.repeat(np.arange(len(names), dtype=np.int64), sizes)
    return FeatureTable(tuple(names), values, present, tuple(vocabulary), feature_of)


def _pairs(texts: pd.Series, rule: str) -> pd.DataFrame:
    """Columns ``item`` (row) and ``value``: each pair once, by item, in the order of the text."""
    parts = texts.fillna("").reset_index(drop=True).str.split(SEPARATOR).explode().str.strip()
    pairs = pd.DataFrame({"item": parts.index, "value": parts.to_numpy()})
    pairs = pairs[~pairs["value"].isin(MISSING)].drop_duplicates()
    if rule == "first":
        return pairs.drop_duplicates("item")
    if rule == "whole":
        return pairs.groupby("item", as_index=False)["value"].agg(SEPARATOR.join)
    return pairs


def training_tags(split: RatingSplit, tags: pd.DataFrame, min_users: int = MIN_USERS) -> pd.Series:
    """[I] the tags of each item as a column for ``encode``, from training ratings only.

    A tag counts if its giver's rating of that item is a training rating. The tag of a held-out
    rating was given by someone who had seen the film and says what he thought of it. The tag of a
    user who never rated the film is left out too: no training rating stands behind it. Of these
    tags only those remain that at least ``min_users`` different users gave, to whichever items.

    Args:
        split: one fold.
        tags: columns ``user``, ``item`` (indices of the split's data set) and ``tag``, as
            ``replication.data.load_tags`` gives them.
        min_users: see above.

    Returns:
        Texts, separated by ``|``: what most users gave the item comes first, then by alphabet;
        empty where nothing remains.
    """
    rated = split.train.users * split.n_items + split.train.items
    kept = tags[np.isin(tags["user"] * split.n_items + tags["item"], rated)]
    givers = kept.groupby("tag")["user"].nunique()
    kept = kept[kept["tag"].isin(givers.index[givers >= min_users])]
    counts = kept.groupby(["item", "tag"])["user"].nunique().rename("users").reset_index()
    counts = counts.sort_values(["users", "tag"], ascending=[False, True], kind="stable")
    texts = counts.groupby("item")["tag"].agg(SEPARATOR.join)
    return texts.reindex(range(split.n_items), fill_value="").rename("tags")


def attach(split: RatingSplit, table: FeatureTable | None) -> RatingSplit:
    """The fold with a table of its items' features (None: without any).

    Raises:
        ReplicationError: the table is of another number of items.
    """
    if table is not None and table.n_items != split.n_items:
        raise ReplicationError(
            f"the features are of {table.n_items} items, but the fold has {split.n_items}"
        )
    return replace(split, features=table)


def shuffled(table: FeatureTable, name: str, seed: int) -> FeatureTable:
    """The table with the sets of one feature dealt anew among all items.

    The sets themselves, and how many items have each, stay; what they say of an item is lost.

    Raises:
        ReplicationError: the table has no such feature.
    """
    if name not in table.names:
        raise ReplicationError(
            f"the table has no feature {name!r}; it has {', '.join(table.names)}"
        )
    feature = table.names.index(name)
    order = np.random.default_rng(seed).permutation(table.n_items)
    values, present = table.values.copy(), table.present.copy()
    values[:, feature] = table.values[order, feature]
    present[:, feature] = table.present[order, feature]
    return replace(table, values=values, present=present)


def coverage(table: FeatureTable) -> pd.DataFrame:
    """What a table knows of its items.

    Returns:
        One row a feature: ``covered`` (share of the items that have a value), ``n_values``
        (distinct values), ``n_once`` (those that one item alone has, for which the feature is
        another id of that item) and ``mean_values`` (values an item, over all items).
    """
    n_features = len(table.names)
    counts = np.bincount(table.values[table.present], minlength=table.n_values)  # [N] items
    return pd.DataFrame(
        {
            "covered": table.present.any(axis=2).mean(axis=0),
            "n_values": np.bincount(table.feature_of, minlength=n_features),
            "n_once": np.bincount(table.feature_of[counts == 1], minlength=n_features),
            "mean_values": table.present.sum(axis=2).mean(axis=0),
        },
        index=pd.Index(table.names, name="feature"),
    )
