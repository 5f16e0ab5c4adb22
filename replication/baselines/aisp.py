"""AISP: AMP's scoring on personas that are not learned (Barkan et al., RecSys 2020, Section 4.3).

"Attentive Interaction-Space Personas": items are the PCA vectors of the taste space (Section 4.2),
a user's personas the means of K-means over the vectors of her training items, and the attention
maps ``A^u`` and ``A^v`` the identity. Nothing is trained by gradients.

Shapes: B users of a block, h items of the longest history in it, S starts, p personas,
P principal components.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from replication.metrics.taste_distance import principal_components
from replication.papers.amp_cf.model import AMP, AMPConfig, Explanation
from replication.protocols import Split
from replication.training import later

BLOCK = 4_096  # rows, B times h, of a block of users whose K-means runs at once


@dataclass(frozen=True)
class AISPConfig:
    """Every choice of the model.

    How the users' K-means starts and ends the paper does not print; it is what scikit-learn did
    unasked when the paper was written.
    """

    personas: int = 2  # p, Section 4.3: 2, 3, 4
    components: int = 100  # P, Section 4.2
    starts: int = 10  # S, k-means++ starts, of which a user keeps the best; scikit-learn 0.23
    iterations: int = 300  # at most, unless no item changes its mean; scikit-learn 0.23
    # Of the PCA vectors: an item that many consumed is farther from the centre. As Section 4.2 has
    # them, they are centred (so most PCA are) and as long as they come out.
    centred: bool = later(True)
    unit_length: bool = later(False)


class AISP:
    """Means of the user's items as personas, scored as AMP scores, with identity maps."""

    def __init__(
        self, split: Split, config: AISPConfig, device: torch.device, seed: int = 0
    ) -> None:
        vectors = principal_components(split, config.components, seed, config.centred)  # [I, P]
        generator = torch.Generator(device=device).manual_seed(seed)
        items = torch.from_numpy(vectors).to(device)
        if config.unit_length:
            items = F.normalize(items)  # an item that nobody consumed keeps its zeros
        personas = user_means(split, items, config, generator)  # [U, p, P]
        # A = I and no bias: without projections AMP takes personas and items as they are.
        identity = AMPConfig(
            personas=config.personas,
            dimension=items.shape[1],
            attention_projections=False,
            item_bias=False,
        )
        self.amp = AMP(1, 1, identity)
        self.amp.personas = nn.Parameter(personas.flatten(1), requires_grad=False)
        self.amp.items = nn.Parameter(items, requires_grad=False)

    def score_candidates(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores [B, C] of candidate items [B, C] for users [B]."""
        return self.amp.score_candidates(users, items)

    def score_all(self, users: Tensor) -> Tensor:
        """Scores [B, I] of the whole catalogue for users [B]."""
        return self.amp.score_all(users)

    def explain(self, user: int, item: int, history: Tensor) -> Explanation:
        """The mean responsible for an item, and which of the user's items [h] it claims."""
        return self.amp.explain(user, item, history)


def user_means(
    split: Split, items: Tensor, config: AISPConfig, generator: torch.Generator
) -> Tensor:
    """K-means of each user's training items, for whole blocks of users at once.

    Args:
        items: [I, P] vectors, on the device.

    Returns:
        [U, p, P]. A user with fewer different items than p has some of their vectors twice, one
        without items has zeros.
    """
    device = items.device
    order = torch.from_numpy(split.train_users).argsort(stable=True)
    consumed = torch.from_numpy(split.train_items)[order].to(device)  # [n], by user
    length = torch.from_numpy(split.train_users).bincount(minlength=split.n_users)
    first = (length.cumsum(0) - length).to(device)
    means = items.new_zeros(split.n_users, config.personas, items.shape[1])
    # Users with histories of about the same length share a block, so that little of it is padding.
    users = length.argsort(descending=True, stable=True)[: int((length > 0).sum())]
    start = 0
    while start < len(users):
        longest = int(length[users[start]])
        block = users[start : start + max(1, BLOCK // longest)]
        start += len(block)
        place = torch.arange(longest, device=device)
        lengths, block = length[block].to(device), block.to(device)
        valid = place < lengths[:, None]  # [B, h]
        row = (first[block][:, None] + place).clamp(max=len(consumed) - 1)
        means[block] = k_means(items[consumed[row]], valid, config, generator)
    return means


def k_means(
    vectors: Tensor, valid: Tensor, config: AISPConfig, generator: torch.Generator
) -> Tensor:
    """Lloyd's algorithm for B users and S starts a user at once.

    Args:
        vectors: [B, h, P].
        valid: [B, h] bool, False in padded places; every user has an item, in the first place.

    Returns:
        [B, p, P] the means of the start with the least sum of squared distances. A cluster that
        loses all its items keeps the mean that it had.
    """
    means = plus_plus(vectors, valid, config, generator)  # [B, S, p, P]
    least, label = _squared_distances(vectors, means).min(2)  # [B, S, h]
    for _ in range(config.iterations):
        member = torch.zeros(*means.shape[:3], vectors.shape[1], device=vectors.device)
        member.scatter_(2, label[:, :, None], 1.0).mul_(valid[:, None, None])
        count = member.sum(3, keepdim=True)  # [B, S, p, 1]
        total = (member.flatten(1, 2) @ vectors).view_as(means)
        means = torch.where(count > 0, total / count.clamp(min=1), means)
        before = label
        least, label = _squared_distances(vectors, means).min(2)
        if torch.equal(label, before):
            break
    inertia = (least * valid[:, None]).sum(2)  # [B, S]
    return means[torch.arange(len(means), device=means.device), inertia.argmin(1)]


def plus_plus(
    vectors: Tensor, valid: Tensor, config: AISPConfig, generator: torch.Generator
) -> Tensor:
    """[B, S, p, P] first means by k-means++ (Arthur and Vassilvitskii 2007, Section 2.2).

    Each is an item of the user, drawn with a probability in proportion to its squared distance
    from the nearest mean so far. Arguments as in ``k_means``.
    """
    user = torch.arange(len(vectors), device=vectors.device)[:, None]  # [B, 1]
    weight = valid[:, None].repeat(1, config.starts, 1).to(vectors.dtype)  # [B, S, h]
    open_ = weight > 0  # items that have not been drawn
    means: list[Tensor] = []
    for _ in range(config.personas):
        # A race of exponential times: an item of rate w wins with a probability in proportion to
        # w. Where nobody has a rate, time is infinite for all and the first item wins.
        time = torch.empty_like(weight).exponential_(generator=generator) / (weight * open_)
        drawn = time.argmin(2)  # [B, S]
        open_.scatter_(2, drawn[..., None], False)
        means.append(vectors[user, drawn])  # [B, S, P]
        distance = _squared_distances(vectors, means[-1][:, :, None])[:, :, 0]
        weight = torch.minimum(weight, distance) if len(means) > 1 else distance * valid[:, None]
    return torch.stack(means, dim=2)


def _squared_distances(vectors: Tensor, means: Tensor) -> Tensor:
    """[B, S, p, h] between vectors [B, h, P] and means [B, S, p, P]."""
    products = (means.flatten(1, 2) @ vectors.transpose(1, 2)).unflatten(1, means.shape[1:3])
    lengths = means.square().sum(3)[..., None] + vectors.square().sum(2)[:, None, None]
    return (lengths - 2 * products).clamp(min=0)  # rounding can leave less than 0
