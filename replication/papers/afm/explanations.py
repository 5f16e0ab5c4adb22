"""Does AFM's attention say what a user cares about? Measures over all users, and planted truth.

The paper shows two users a data set (Figures 1 and 4) and one share (Section 4.2). Here the same is
asked of every user: does attention on a feature follow how concentrated the user's ratings over its
values are; does the prediction depend on the slot with the most attention; how is attention spread.
Each measure has a control that must fail: the attention shuffled among the users.

Shapes: U users, S slots (the item's own id first), I items, F features, N_f values of a feature,
T pairs of a test.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy import special, stats
from torch import Tensor

from replication.compare import percent
from replication.errors import ReplicationError
from replication.folds import Ratings, RatingSplit
from replication.item_features import FeatureTable
from replication.metrics.explanation import mean_by_user
from replication.papers.afm.model import AFM, blend
from replication.rating_training import BLOCK, DeviceRatings

FAVOURITE = 5.0  # "favorite movies (rated 5)", caption of Figure 4
LEAST_RATED = 20  # items with the feature that a user must have rated to count
LEAST_FAVOURITES = 20  # the same of favourites
# Figure 1: of the films of what they are fans of, the paper's users rate most 5.
FAN_FILMS, FAN_SHARE = 5, 0.8  # films of the value at least, and the share of them rated 5
LOW_ATTENTION = 0.2  # Section 4.2: "less than 20 % attention"
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
DRAWS = 2000  # permutations and bootstrap samples


def all_attention(model: AFM) -> np.ndarray:
    """[U, S] attention of every user (Eq. 2), float64."""
    users = torch.arange(len(model.users), device=model.users.device)
    return model.attention(users).double().cpu().numpy()


def feature_index(table: FeatureTable, feature: str) -> int:
    """Where a feature is among those of a table.

    Raises:
        ReplicationError: the table has no such feature.
    """
    if feature not in table.names:
        raise ReplicationError(
            f"there is no feature {feature!r}; there are {', '.join(table.names)}"
        )
    return table.names.index(feature)


# --- how a user's ratings are spread over a feature's values --------------------------------------


class Spread(NamedTuple):
    """How the rated items of all users are spread over the values of a feature."""

    shares: np.ndarray  # [U, N_f] shares of a user's items; a row without any is zero
    n_items: np.ndarray  # [U] rated items that have the feature
    vocabulary: tuple[str, ...]  # [N_f]

    @property
    def entropy(self) -> np.ndarray:
        """[U] in nats: 0 if all items have one value; NaN for a user without items."""
        return np.where(self.n_items > 0, special.entr(self.shares).sum(1), np.nan)


def spread(ratings: Ratings, table: FeatureTable, feature: str, n_users: int) -> Spread:
    """Shares of a feature's values among the items that users rated.

    An item counts once: with k values it counts 1 / k for each.

    Args:
        ratings: those that count, for instance the favourites of the training ratings.
        table: the items' features.
        feature: which of them.
        n_users: U.

    Raises:
        ReplicationError: the table has no such feature.
    """
    at = feature_index(table, feature)
    own = np.flatnonzero(table.feature_of == at)  # [N_f]
    place = np.full(table.n_values, -1)
    place[own] = np.arange(len(own))
    present = table.present[ratings.items, at]  # [n, V]
    has = present.any(1)
    row, column = np.nonzero(present)
    value = place[table.values[ratings.items, at][row, column]]
    weight = 1.0 / present.sum(1)[row]
    counted = np.bincount(
        ratings.users[row] * len(own) + value, weight, minlength=n_users * len(own)
    ).reshape(n_users, len(own))
    count = np.bincount(ratings.users[has], minlength=n_users)
    shares = counted / np.maximum(count, 1)[:, None]
    return Spread(shares, count, tuple(table.vocabulary[n] for n in own))


def favourites(ratings: Ratings, least: float = FAVOURITE) -> Ratings:
    """The ratings that are at least so high."""
    return ratings.take(ratings.values >= least)


# --- (a) does attention follow what a user rates? -------------------------------------------------


class Following(NamedTuple):
    """Rank correlation over users of attention on a feature with how concentrated they are."""

    correlation: float  # Spearman's, of attention and minus the entropy; NaN if one is constant
    low: float  # its 95 % interval, from a bootstrap over users
    high: float
    shuffled: float  # the mean of the same with the attention shuffled among the users
    p: float  # two-sided, from the same permutations
    given_count: float  # the partial rank correlation given how many items the users rated
    given_low: float  # its 95 % interval, from the same bootstrap
    given_high: float
    given_p: float  # two-sided, from permutations of what the number leaves of the attention
    users: int


def following(
    attention: np.ndarray,
    spread: Spread,
    rng: np.random.Generator,
    least: int = LEAST_RATED,
    draws: int = DRAWS,
) -> Following:
    """Do users who rate few values of a feature attend to it more?

    The entropy of few ratings is lower by chance alone, so that attention which grew or shrank
    with the number of ratings would look as if it followed the entropy; the attention of shuffled
    users has lost that link too, and cannot tell. ``given_count`` takes the number of ratings out
    (``Given``). Its p-value is that of Freedman and Lane (1983): what the number leaves of the
    attention is dealt anew among the users, and the number taken out again.

    Args:
        attention: [U] on the feature.
        spread: of the same feature.
        rng: decides permutations and bootstrap samples.
        least: only users with so many items count.
        draws: how many permutations, and how many samples.

    Returns:
        Numbers that are NaN with fewer than three users, or where there is nothing to rank: those
        given the number of ratings alone, where it leaves nothing.
    """
    kept = spread.n_items >= least
    n = int(kept.sum())
    nan = float("nan")
    nothing = Following(nan, nan, nan, nan, nan, nan, nan, nan, nan, n)
    if n < 3:
        return nothing
    x, y, z = (
        standard_ranks(v[kept]) for v in (attention, -spread.entropy, spread.n_items.astype(float))
    )
    if not (x.any() and y.any()):
        return nothing
    found, given = float(x @ y), Given.of(z)
    rest_x, rest_y = given.rest(x), given.rest(y)
    partial = _cosine(rest_x, rest_y)
    by_chance, partial_by_chance = np.array(
        [
            (x[order] @ y, _cosine(given.rest(rest_x[order]), rest_y))
            for order in (rng.permutation(n) for _ in range(draws))
        ]
    ).T
    again, partial_again = np.array(
        [_both(x[s], y[s], z[s]) for s in (rng.integers(n, size=n) for _ in range(draws))]
    ).T
    low, high = np.percentile(again, [2.5, 97.5])
    given_low = given_high = nan
    if np.isfinite(partial):
        given_low, given_high = np.nanpercentile(partial_again, [2.5, 97.5])
    return Following(
        found,
        float(low),
        float(high),
        float(by_chance.mean()),
        _p_value(found, by_chance),
        partial,
        float(given_low),
        float(given_high),
        _p_value(partial, partial_by_chance) if np.isfinite(partial) else nan,
        n,
    )


def _both(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> tuple[float, float]:
    """Rank correlation of x and y [n], and the same given z, in a sample of ranks.

    A sample's ranks are taken of the sample's ranks: the order is the same.
    """
    x, y, given = standard_ranks(x), standard_ranks(y), Given.of(standard_ranks(z))
    return float(x @ y), _cosine(given.rest(x), given.rest(y))


def _p_value(found: float, by_chance: np.ndarray) -> float:
    """Two-sided, from permutations; the data as they are count as one of them."""
    return float((1 + (np.abs(by_chance) >= abs(found) - 1e-12).sum()) / (1 + len(by_chance)))


class Given(NamedTuple):
    """Polynomials of ranks to the third degree, to be taken out of other ranks.

    A straight line would leave what follows the number of ratings in a curve, as the entropy of a
    sample does.
    """

    basis: np.ndarray  # [n, k <= 3] orthonormal, each with mean 0

    @classmethod
    def of(cls, ranks: np.ndarray) -> Given:
        """Of ranks [n] with mean 0; of equal ones nothing is taken out."""
        scale = np.abs(ranks).max()
        if scale == 0:
            return cls(np.empty((len(ranks), 0)))
        powers = (ranks / scale)[:, None] ** np.arange(1, 4)  # [n, 3]
        basis, size = np.linalg.qr(powers - powers.mean(0))
        # A power that says no more than those below it: there are only two or three numbers.
        new = np.abs(np.diag(size)) > 1e-8 * np.sqrt(len(ranks))
        return cls(basis[:, new])

    def rest(self, values: np.ndarray) -> np.ndarray:
        """What of values [n] with mean 0 and length 1 the ranks do not tell; zeros for nothing."""
        left = values - self.basis @ (self.basis.T @ values)
        return left if left @ left > 1e-12 else np.zeros_like(left)


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    """The correlation of two vectors [n] with mean 0; NaN if one is zero."""
    length = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / length) if length > 0 else float("nan")


def standard_ranks(values: np.ndarray) -> np.ndarray:
    """[n] average ranks with mean 0 and length 1; zeros if all are equal.

    The product of two such vectors is Spearman's rank correlation.
    """
    ranks = stats.rankdata(values)
    ranks -= ranks.mean()
    length = np.sqrt(ranks @ ranks)
    return ranks / length if length > 0 else ranks


# --- (b) does the prediction depend on what has the attention? ------------------------------------

ARMS = ("attended", "random", "least", "shuffled")
MASKINGS = ("renormalised", "lost")  # what becomes of the masked slot's attention
WEIGHINGS = ("own", "shuffled", "uniform")


class Masking(NamedTuple):
    """What masking a slot does to the predictions of a test.

    ``squared error/<weighing>``  with the user's own attention, another user's, the same on all.
    ``squared error/<arm>/<masking>``  with a slot masked.
    ``moved/<arm>/<masking>``  absolute change of the prediction, in stars.

    An arm says which slot: the one with the most of the user's attention, any (the mean over all
    of them, so that nothing is drawn), the one with the least, the one that most attention of
    another user is on. Only slots in which the item has a value are masked, and items with fewer
    than two of them do not count for the arms.
    """

    by_user: dict[str, np.ndarray]  # [U] means over a user's pairs; NaN for users without any
    rmse: dict[str, float]  # roots of the means over all pairs, of the squared errors
    pairs: int  # that count for the arms


@torch.no_grad()
def masking(model: AFM, test: Ratings, generator: torch.Generator) -> Masking:
    """Errors and changes of the predictions of T pairs when slots are masked.

    Args:
        model: with attention.
        test: the pairs and their ratings.
        generator: on the model's device; decides which user's attention another user gets.

    Raises:
        ReplicationError: there is no test rating, or the model has no attention.
    """
    if not len(test):
        raise ReplicationError("masking needs test ratings, and there are none")
    device = model.users.device
    n_users = len(model.users)
    other = shuffle_of(n_users, generator, device)
    data = DeviceRatings.of(test, device)
    parts: dict[str, list[Tensor]] = {}
    for users, items, ratings in zip(
        data.users.split(BLOCK), data.items.split(BLOCK), data.values.split(BLOCK), strict=True
    ):
        for name, values in _mask_block(model, users, items, ratings, other).items():
            parts.setdefault(name, []).append(values.double())
    found = {name: torch.cat(values).cpu().numpy() for name, values in parts.items()}
    return Masking(
        {name: mean_by_user(test.users, values, n_users) for name, values in found.items()},
        {
            name.removeprefix("squared "): float(np.sqrt(np.nanmean(values)))
            for name, values in found.items()
            if name.startswith("squared error/") and np.isfinite(values).any()
        },
        int(np.isfinite(found[f"moved/attended/{MASKINGS[0]}"]).sum()),
    )


def shuffle_of(n: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """[n] a permutation in which nobody keeps the own place (one cycle); n = 1 keeps it."""
    order = torch.randperm(n, generator=generator, device=device)
    other = torch.empty_like(order)
    other[order] = order.roll(1)
    return other


def _mask_block(
    model: AFM, users: Tensor, items: Tensor, ratings: Tensor, other: Tensor
) -> dict[str, Tensor]:
    """[B] by name, NaN where a pair does not count."""
    rows = model.look_up(users, items)
    user, places = rows.user, rows.places
    there = places.sizes > 0  # [B, S]
    slots = model.slot_vectors(places, rows.vectors)  # [B, S, d]
    logits = model.logits(users, user)
    attention = model.weigh(logits, places.sizes)  # [B, S]
    swapped = model.weigh(model.logits(other[users], model.users[other[users]]), places.sizes)
    uniform = model.weigh(torch.zeros_like(logits), places.sizes)

    def predict(weights: Tensor) -> Tensor:
        y = model.interact(user, blend(weights, slots), rows.constant)
        return y.clamp(model.low, model.high)

    whole = predict(attention)
    found = {
        f"squared error/{name}": (predict(weights) - ratings).square()
        for name, weights in zip(WEIGHINGS, (attention, swapped, uniform), strict=True)
    }
    enough = there.sum(1) >= 2  # [B]
    pick = {
        "attended": attention.masked_fill(~there, -1.0).argmax(1),
        "least": attention.masked_fill(~there, 2.0).argmin(1),
        "shuffled": swapped.masked_fill(~there, -1.0).argmax(1),
    }
    for kind in MASKINGS:
        masked = torch.stack(
            [
                predict(without(attention, slot, kind == "renormalised"))
                for slot in range(there.shape[1])
            ],
            1,
        )  # [B, S] predictions without each slot
        measured = {
            "squared error": (masked - ratings[:, None]).square(),
            "moved": (masked - whole[:, None]).abs(),
        }
        for measure, values in measured.items():
            for arm in ARMS:
                if arm == "random":
                    value = (values * there).sum(1) / there.sum(1)
                else:
                    value = values.gather(1, pick[arm][:, None])[:, 0]
                found[f"{measure}/{arm}/{kind}"] = torch.where(enough, value, torch.nan)
    return found


def without(attention: Tensor, slot: int, renormalise: bool) -> Tensor:
    """[B, S] attention without one slot, divided by the rest's sum or not.

    Where the slot had all of the attention nothing is left, and all weights are 0.
    """
    rest = attention.clone()
    rest[:, slot] = 0.0
    if renormalise:
        rest /= rest.sum(1, keepdim=True).clamp_min(torch.finfo(rest.dtype).tiny)
    return rest


@torch.no_grad()
def named(model: AFM, test: Ratings) -> dict[str, np.ndarray]:
    """Which slot the sentence of ``AFM.explain`` would be about, over the T pairs of a test.

    Args:
        model: with attention.
        test: the pairs.

    Returns:
        ``named/<slot>``: [U] share of a user's pairs, NaN for a user without any. The first slot,
        the item's own, stands for all sentences that name no feature: where it adds most to the
        prediction, or no slot adds anything, or the user has no training rating.

    Raises:
        ReplicationError: there is no test rating, or the model has no attention.
    """
    if not len(test):
        raise ReplicationError("the sentences need test ratings, and there are none")
    data = DeviceRatings.of(test, model.users.device)
    parts = []
    for users, items in zip(data.users.split(BLOCK), data.items.split(BLOCK), strict=True):
        there = model.slots.sizes.index_select(0, items) > 0  # [B, S]
        added = model.contributions(users, items)[1].masked_fill(~there, -torch.inf)  # [B, S]
        most, slot = added.max(1)
        told = (most > 0) & model.seen.index_select(0, users)
        parts.append(torch.where(told, slot, 0))
    carrier = torch.cat(parts).cpu().numpy()  # [T]
    return {
        f"named/{name}": mean_by_user(
            test.users, (carrier == place).astype(float), len(model.users)
        )
        for place, name in enumerate(model.names)
    }


def best_unseen(model: AFM, split: RatingSplit, user: int) -> int:
    """The item with the highest prediction for a user; of equals the first.

    Of the items that somebody rated in training, since of others the model knows too little, and
    that the user did not rate there nor where the epoch was chosen.

    Raises:
        ReplicationError: no such user, or the user has rated all of these items.
    """
    if not 0 <= user < split.n_users:
        raise ReplicationError(f"there are users 0 to {split.n_users - 1}, not {user}")
    able = np.bincount(split.train.items, minlength=split.n_items) > 0  # [I]
    for part in (split.train, split.validation):
        able[part.items[part.users == user]] = False
    items = np.flatnonzero(able)
    if not len(items):
        raise ReplicationError(f"user {user} has rated every item")
    there = torch.from_numpy(items).to(model.users.device)
    with torch.no_grad():
        return int(items[int(model(torch.full_like(there, user), there).argmax())])


# --- (c) how attention is spread ------------------------------------------------------------------


def attention_summary(
    attention: np.ndarray, names: Sequence[str], low: float = LOW_ATTENTION
) -> dict[str, float]:
    """Per slot: mean, quantiles over the users, and the share of users with less than ``low``.

    Args:
        attention: [U, S].
        names: [S].
        low: 20 % in Section 4.2.

    Returns:
        ``<slot>/mean``, ``<slot>/q05`` to ``<slot>/q95``, ``<slot>/below``, ``<slot>/sd``.
    """
    found: dict[str, float] = {}
    for name, values in zip(names, attention.T, strict=True):
        found[f"{name}/mean"] = float(values.mean())
        found[f"{name}/sd"] = float(values.std())
        for q, value in zip(QUANTILES, np.quantile(values, QUANTILES), strict=True):
            found[f"{name}/q{round(100 * q):02d}"] = float(value)
        found[f"{name}/below"] = float((values < low).mean())
    return found


# --- (d) which users are shown --------------------------------------------------------------------

FIGURE_4_RULE = (
    f"among the users with at least {LEAST_FAVOURITES} training ratings of 5 for films that have "
    "the feature: the one with the most and the one with the least attention on it; of equals the "
    "first"
)
FIGURE_1_RULE = (
    f"among the users with at least {LEAST_RATED} training ratings of films that have the feature, "
    f"of which at least {FAN_FILMS} have the same value and {percent(FAN_SHARE, 0)} or more of "
    "these are rated 5: the one with the largest share of such a value among the films; of equal "
    "shares the one who rated the larger share of that value's films 5, then the first user, then "
    "the first value in the alphabet"
)


def figure_4_users(
    attention: np.ndarray, favourite: Spread, least: int = LEAST_FAVOURITES
) -> dict[str, int]:
    """``high`` and ``low``: the users of ``FIGURE_4_RULE``; empty with fewer than two to choose of.

    Args:
        attention: [U] on the feature.
        favourite: of the users' favourites.
        least: favourites that a user must have.
    """
    able = np.flatnonzero(favourite.n_items >= least)
    if len(able) < 2:
        return {}
    return {
        "high": int(able[attention[able].argmax()]),
        "low": int(able[attention[able].argmin()]),
    }


class Fan(NamedTuple):
    """A user whose films have one value of a feature often, and who rated nearly all of these 5."""

    user: int
    value: str
    share: float  # of the rated films that have the feature
    favourites: float  # share of the value's films that are rated 5
    rated: int  # films with the feature that the user rated


def fan_of(
    ratings: Ratings, table: FeatureTable, feature: str, n_users: int, least: int = LEAST_RATED
) -> Fan | None:
    """The user of ``FIGURE_1_RULE``; None if nobody meets it.

    A film counts whole for each of its values, as one says that somebody saw five films of a
    director, whoever else directed them.

    Args:
        ratings: training ratings.
        table, feature: of what.
        n_users: U.
        least: films with the feature that a user must have rated.

    Raises:
        ReplicationError: the table has no such feature.
    """
    at = feature_index(table, feature)
    own = np.flatnonzero(table.feature_of == at)  # [N_f], in the order of the alphabet
    size = (n_users, len(own))

    def counted(some: Ratings) -> np.ndarray:
        """[U, N_f] rated films of each value."""
        present = table.present[some.items, at]  # [n, V]
        value = np.searchsorted(own, table.values[some.items, at][present])
        cells = some.users[np.nonzero(present)[0]] * len(own) + value
        return np.bincount(cells, minlength=n_users * len(own)).reshape(size)

    films, loved = counted(ratings), counted(favourites(ratings))
    has = table.present[ratings.items, at].any(1)
    rated = np.bincount(ratings.users[has], minlength=n_users)
    fives = np.divide(loved, films, out=np.zeros(size), where=films > 0)
    able = (rated >= least)[:, None] & (films >= FAN_FILMS) & (fives >= FAN_SHARE)
    user, value = np.nonzero(able)  # by user, then in the alphabet
    if not len(user):
        return None
    share = films[user, value] / rated[user]
    first = int(np.lexsort((-fives[user, value], -share))[0])  # stable: of equals the first
    who, what = int(user[first]), int(value[first])
    return Fan(
        who,
        table.vocabulary[own[what]],
        float(share[first]),
        float(fives[who, what]),
        int(rated[who]),
    )


# --- (e) planted truth ----------------------------------------------------------------------------


class Planted(NamedTuple):
    """Made-up ratings of users of whom it is known what they care about."""

    split: RatingSplit
    cares: np.ndarray  # [U] bool: the ratings follow the feature's value; else the item alone


def planted(
    seed: int = 0,
    n_users: int = 300,
    n_items: int = 240,
    n_values: int = 8,
    per_user: int = 60,
    noise: float = 0.3,
    test_share: float = 0.2,
) -> Planted:
    """Half of the users rate by the item's genre, the other half by the item itself.

    A user who cares has a liking of -1 or 1 for each of the values of the one feature ``genre``,
    and rates 3 + 1.3 times that of the item's. The others have a taste in the plane and rate
    3 + 1.3 times its product with the item's own place there, which no genre tells. Both kinds of
    ratings have the same mean and variance, plus noise, and the same items are rated by both, each
    item as likely as any other: only the dependence on the feature tells the users apart.

    Args:
        seed: decides everything.
        n_users, n_items, n_values, per_user: sizes.
        noise: sd of a rating's own part, in stars.
        test_share: of the ratings.
    """
    rng = np.random.default_rng(seed)
    cares = rng.permutation(n_users) < n_users // 2
    genre = rng.permutation(n_items) % n_values
    # [U, G] likings; each user's are balanced, so that nobody's mean tells.
    half = np.where(np.arange(n_values) < n_values // 2, -1.0, 1.0)
    liking = rng.permuted(np.tile(half, (n_users, 1)), axis=1)
    angle_u, angle_i = (rng.uniform(0, 2 * np.pi, n) for n in (n_users, n_items))
    of_item = np.sqrt(2) * np.cos(angle_u[:, None] - angle_i)  # [U, I], variance 1
    wanted = 3 + 1.3 * np.where(cares[:, None], liking[:, genre], of_item)
    items = rng.random((n_users, n_items)).argsort(1)[:, :per_user]  # [U, per_user]
    users = np.repeat(np.arange(n_users), per_user)
    rated = wanted[users, items.ravel()] + noise * rng.standard_normal(len(users))
    everything = Ratings(users, items.ravel(), rated.clip(1, 5).astype(np.float32))
    tested = rng.random(len(users)) < test_share
    table = FeatureTable(
        ("genre",),
        genre[:, None, None].astype(np.int64),
        np.ones((n_items, 1, 1), dtype=bool),
        tuple(f"genre {n}" for n in range(n_values)),
        np.zeros(n_values, dtype=np.int64),
    )
    split = RatingSplit(
        "planted",
        0,
        n_users,
        n_items,
        np.arange(1, 6, dtype=np.float32),
        everything.take(~tested),
        everything.take(np.zeros(len(users), dtype=bool)),
        everything.take(tested),
        table,
    )
    return Planted(split, cares)


def recovery(attention: np.ndarray, cares: np.ndarray) -> float:
    """Probability that a user who cares attends to the feature more than one who does not (AUC).

    0.5 by chance, 1 if attention tells all of them apart; ties count half.

    Args:
        attention: [U] on the feature.
        cares: [U] bool, with both kinds.

    Raises:
        ReplicationError: all users are of one kind.
    """
    yes, no = int(cares.sum()), int((~cares).sum())
    if not (yes and no):
        raise ReplicationError("recovery needs users who care and users who do not")
    above = stats.rankdata(attention)[cares].sum() - yes * (yes + 1) / 2
    return float(above / (yes * no))
