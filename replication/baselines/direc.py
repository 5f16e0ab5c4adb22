"""DiRec, a re-creation: a list of another recommender's best items that differ from each other.

Boim, Milo and Novgorodov (ICDE 2011, "DiRec: Diversified Recommendations for Semantic-Less
Collaborative Filtering"; CIKM 2011, "Diversification and Refinement in Collaborative Filtering
Recommender"). The two papers were not at hand, so that this is no replication of them. What is
known of them here comes from their abstracts and from Barkan et al. (RecSys 2020, Section 4.3):
DiRec is put on top of any collaborative-filtering recommender; how much two items differ is read
off the ratings alone; items are clustered by "priority-medoids", which balance high predicted
ratings with diversity; a user can zoom in on a cluster; cover trees let one declare the balance.

Everything else is decided here:

1. Priority-medoids of a pool of items at a radius: go through the pool from the highest score
   down; an item becomes a medoid (it represents a cluster) unless a medoid is nearer than the
   radius. So no two medoids are nearer than the radius, and every other item is nearer than the
   radius to a medoid with at least its own score. At radius 0 every item is a medoid.
2. Cover tree (after Beygelzimer, Kakade and Langford, ICML 2006: nesting, covering, separation):
   the levels have the radii ``radius, radius / refinement, radius / refinement ** 2, ...`` and
   last 0. A level keeps the medoids of the level above and adds to them as in 1; below the first
   level an item can therefore be near a kept medoid that scores less than itself.
3. The list is the first level with at least k medoids. Where that level has more, it keeps the
   level above whole and fills up with the level's own medoids, the highest scores first.
4. The order of the list is that of picking: coarse levels first, in a level the highest score
   first. The first k' of a list are then the list of k'. ``order="score"``: by score.
5. The distance of two items is 1 minus the cosine of the binary vectors of the users that consumed
   them in training, because no model of the study sees ratings; or 1 minus their Jaccard index,
   or 1 minus their correlation (below 0, the distance is above 1). An item without users has the
   distance 1 to everything. Cosine and correlation break the triangle inequality, which nothing
   here needs.
6. The pool is all candidates where a list of candidates is given; in the catalogue it is the
   ``pool`` best items of the base recommender that the user did not consume in training: ten
   items a pick, as with ten of a hundred candidates. Consumed items are never picked.
7. Equal base scores are ordered by item index.
8. The balance is ``radius``: 0 gives back the base ranking; 1, the whole tree, is the default,
   because no value is printed. On the MovieLens sets accuracy falls and diversity rises from 0 on
   as long as the coarsest level fills the list by itself; beyond that more and more of the list
   is of the next level, with its smaller radius, and both turn back.

Shapes: B users in a batch, C candidate items a user, M items in the pool, I items, U users.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from replication.baselines.item_knn import co_occurrences
from replication.errors import ReplicationError
from replication.evaluation import Ranker
from replication.protocols import Split

LEVELS = 20  # with a radius above 0; the last of them is below any distance that matters
DISTANCES = ("cosine", "jaccard", "correlation")
ORDERS = ("pick", "score")


@dataclass(frozen=True)
class DiRecConfig:
    """Every choice; the numbers in the comments are the decisions in the module's text."""

    n_candidates_picked: int = 10  # HR@10 and NDCG@10; Barkan et al. (2020), Section 4.2
    n_catalogue_picked: int = 30  # the lists of TDD; Barkan et al. (2020), Section 4.2
    pool: int = 300  # M in the catalogue; decision 6
    radius: float = 1.0  # of the coarsest level, 0 to 1; decision 8
    refinement: float = 2.0  # radius of a level over that of the next one; decision 2
    distance: str = "cosine"  # or "jaccard", "correlation"; decision 5
    order: str = "pick"  # or "score"; decision 4

    def __post_init__(self) -> None:
        for name, known in (("distance", DISTANCES), ("order", ORDERS)):
            if getattr(self, name) not in known:
                raise ReplicationError(
                    f"unknown {name} {getattr(self, name)!r}; use {', '.join(known)}"
                )
        if not (0 <= self.radius <= 1 and self.refinement > 1):
            raise ReplicationError(
                "DiRec needs a radius from 0 to 1 and a refinement above 1, not "
                f"radius={self.radius} and refinement={self.refinement}"
            )
        if min(self.n_candidates_picked, self.n_catalogue_picked) < 1:
            raise ReplicationError("DiRec must pick at least one item")
        if self.pool < self.n_catalogue_picked:
            raise ReplicationError(
                f"DiRec cannot pick {self.n_catalogue_picked} items from a pool of {self.pool}"
            )


class DiRec:
    """Re-ranks a base recommender: the picked items first, then the rest as the base ranks it.

    A picked item scores above every base score of its user, by its place in the list; an item
    that is not picked keeps its base score. A pool with fewer items than wanted is picked whole.
    Nothing in it is random.
    """

    def __init__(
        self, base: Ranker, split: Split, config: DiRecConfig, device: torch.device
    ) -> None:
        """base: a trained recommender on ``device``; its scores must be finite.

        split: the one that ``base`` was trained on.
        """
        self.base, self.config = base, config
        n_items = split.n_items
        # Counts of common users are exact in a type of 2 or 4 bytes a pair of items.
        small = torch.int16 if split.n_users < 2**15 else torch.int32
        self.common = torch.empty(n_items, n_items, dtype=small, device=device)  # [I, I]
        for rows, together in co_occurrences(split):
            self.common[rows] = torch.from_numpy(together).to(device, small)
        self.count = self.common.diagonal().float()  # [I] users of each item
        self.n_users = split.n_users
        levels = [config.radius / config.refinement**level for level in range(LEVELS)]
        self.levels = torch.tensor([0.0, *reversed(levels)], device=device)  # rising
        order = np.argsort(split.train_users, kind="stable")
        self.history = torch.from_numpy(split.train_items[order]).to(device)  # [n], by user
        lengths = np.bincount(split.train_users, minlength=split.n_users)
        self.length = torch.from_numpy(lengths).to(device)  # [U]
        self.first = self.length.cumsum(0) - self.length  # [U] each user's place in ``history``

    def score_candidates(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores [B, C] of candidate items [B, C]; a repeated item is picked once."""
        scores = self.base.score_candidates(users, items)  # [B, C]
        # By item first, so that a stable sort by score leaves equal scores in that order: the
        # place among the candidates, which tells the held-out item, decides nothing.
        by_item = items.argsort(dim=1, stable=True)
        open_ = scores.masked_fill(self.consumed(users).gather(1, items), -torch.inf)
        ranked = open_.gather(1, by_item).sort(dim=1, descending=True, stable=True)
        columns = by_item.gather(1, ranked.indices)  # [B, C]
        place = self.pick(items.gather(1, columns), ranked.values, self.config.n_candidates_picked)
        return raised(scores, columns, place)

    def score_all(self, users: Tensor) -> Tensor:
        """Scores [B, I] of the whole catalogue; what the user consumed in training is not picked.

        Scores are those of a list of ``n_catalogue_picked`` items.
        """
        scores = self.base.score_all(users)  # [B, I]
        open_ = scores.masked_fill(self.consumed(users), -torch.inf)
        ranked = open_.sort(dim=1, descending=True, stable=True)
        pool = ranked.indices[:, : self.config.pool]  # [B, M]
        best = ranked.values[:, : self.config.pool]
        return raised(scores, pool, self.pick(pool, best, self.config.n_catalogue_picked))

    def consumed(self, users: Tensor) -> Tensor:
        """[B, I] bool, the training items of users [B]."""
        length = self.length[users]  # [B]
        row = torch.repeat_interleave(length)  # [h] of all the users' items, 0 to B - 1
        offset = length.cumsum(0) - length
        at = torch.arange(len(row), device=row.device) + (self.first[users] - offset)[row]
        mask = torch.zeros(len(users), len(self.common), dtype=torch.bool, device=row.device)
        mask[row, self.history[at]] = True
        return mask

    def distances(self, item: Tensor, others: Tensor) -> Tensor:
        """[B, M] distance, 0 or more, of each user's item [B, 1] to other items [B, M]."""
        common = self.common[item, others].float()
        one, other = self.count[item], self.count[others]
        if self.config.distance == "cosine":
            similarity = common / (one * other).sqrt().clamp(min=1)
        elif self.config.distance == "jaccard":
            similarity = common / (one + other - common).clamp(min=1)
        else:
            n = self.n_users
            variances = (one * (1 - one / n)) * (other * (1 - other / n))
            # An item of all users or of none has no variance and correlates with nothing: 0 / 1.
            similarity = (common - one * other / n) / variances.sqrt().where(variances > 0, 1.0)
        return (1 - similarity).clamp(min=0)  # rounding can leave less

    def pick(self, pool: Tensor, scores: Tensor, k: int) -> Tensor:
        """Choose k items of each user's pool.

        Args:
            pool: [B, M] items, the highest score first.
            scores: [B, M] their scores; -inf for an item that must not be picked.
            k: items to pick.

        Returns:
            [B, M] int64 place of each item in the list, from 0; M for an item that is not picked.
        """
        width = pool.shape[1]
        place = torch.full_like(pool, width)
        # Distance to the nearest pick so far; -inf once an item cannot be picked (any more).
        near = torch.full_like(scores, torch.inf).where(scores > -torch.inf, -torch.inf)
        for j in range(min(k, width)):
            farthest = near.amax(1)  # [B]
            # While the current level has an item that no pick covers, the largest radius that is
            # not above the farthest item's distance is that level's; then it is the radius of the
            # next level with such an item.
            level = torch.searchsorted(self.levels, farthest, right=True) - 1  # [B]; -1: none left
            uncovered = near >= self.levels[level.clamp(min=0)][:, None]  # [B, M]
            item = pool.gather(1, uncovered.byte().argmax(1, keepdim=True))  # [B, 1] best of them
            picked = (pool == item) & (near > -torch.inf)  # [B, M]
            place = place.where(~picked, j)
            near = torch.minimum(near, self.distances(item, pool)).where(~picked, -torch.inf)
        if self.config.order == "score":
            picked = place < width
            place = (picked.cumsum(1) - 1).where(picked, width)
        return place


def raised(scores: Tensor, columns: Tensor, place: Tensor) -> Tensor:
    """Put the picked items above all others, the first one highest.

    Args:
        scores: [B, C] base scores.
        columns: [B, M] columns of the pool in ``scores``.
        place: [B, M] from ``DiRec.pick``.

    Returns:
        [B, C].
    """
    width = place.shape[1]
    top = scores.amax(1, keepdim=True)  # [B, 1]
    # A step in proportion to the scores is not lost in rounding, however large they are.
    listed = top + (1 + top.abs()) * (width - place)
    return scores.scatter(1, columns, listed.where(place < width, scores.gather(1, columns)))
