"""Seconds an epoch of AMP-2 takes, as ratios between three loops measured in one run.

    python benchmarks/training_speed.py [--dataset ml-latest-small] [--rounds 3] [--threads 1]

released   per-example sampling in a ``Dataset``, as the authors' released code does: for every
           training pair a positive is drawn from the user's items and each negative is drawn until
           it is one that the user has not consumed; no projections, no biases; then an evaluation
           that scores one user at a time. A re-creation from the description, not their code.
plain      the same work as ours in the usual way: vectorised sampling, ``nn.Embedding``, autograd,
           Adam; then our evaluation.
ours       ``replication.training`` with ``AMP.accumulate_gradients``; then our evaluation.

The loops take turns, so that a machine whose speed drifts does not favour one of them.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from replication.evaluation import HeldOut, held_out, rank_candidates
from replication.papers.amp_cf.experiments import split_for
from replication.papers.amp_cf.model import AMP, AMPConfig
from replication.protocols import Split
from replication.training import Sampler

CPU = torch.device("cpu")
CONFIG = AMPConfig(personas=2)


class PerExample(Dataset):
    """One training pair at a time, sampled in Python."""

    def __init__(self, split: Split) -> None:
        self.users = split.train_users
        self.n_items = split.n_items
        order = np.argsort(split.train_users, kind="stable")
        cuts = np.cumsum(np.bincount(split.train_users, minlength=split.n_users))[:-1]
        self.items_of = [part.tolist() for part in np.split(split.train_items[order], cuts)]
        self.consumed = [set(items) for items in self.items_of]

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, index: int) -> tuple[int, np.ndarray]:
        user = int(self.users[index])
        drawn = [random.choice(self.items_of[user])]
        while len(drawn) < 1 + CONFIG.n_negatives:
            item = random.randrange(self.n_items)
            if item not in self.consumed[user]:
                drawn.append(item)
        return user, np.asarray(drawn)


class PlainAMP(nn.Module):
    """AMP with embeddings and autograd; ``projections`` as in the paper or off as released."""

    def __init__(self, split: Split, projections: bool) -> None:
        super().__init__()
        d = CONFIG.dimension
        self.personas = nn.Embedding(split.n_users, CONFIG.personas * d)
        self.items = nn.Embedding(split.n_items, d)
        self.bias = nn.Embedding(split.n_items, 1) if projections else None
        self.user = nn.Linear(d, d, bias=False) if projections else nn.Identity()
        self.item = nn.Linear(d, d, bias=False) if projections else nn.Identity()

    def forward(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Scores [B, C] and attention [B, C, r]."""
        personas = self.personas(users).unflatten(1, (CONFIG.personas, -1))  # [B, r, d]
        vectors = self.items(items)  # [B, C, d]
        affinity = self.item(vectors) @ self.user(personas).transpose(1, 2)
        attention = affinity.softmax(-1)
        mixture = attention @ personas  # [B, C, d]
        score = (mixture * vectors).sum(-1)
        if self.bias is not None:
            score = score + self.bias(items).squeeze(-1)
        return score, attention

    def loss(self, users: Tensor, items: Tensor) -> Tensor:
        """Eq. 2 with the positive in the log-sum."""
        score, attention = self(users, items)
        entropy = -(attention * attention.clamp_min(1e-12).log()).sum(-1)
        regulariser = CONFIG.lambda_p * entropy[:, 0] - CONFIG.lambda_n * entropy[:, 1:].sum(1)
        target = torch.zeros(len(users), dtype=torch.long)
        likelihood = F.cross_entropy(score, target)
        return CONFIG.alpha * likelihood + (1 - CONFIG.alpha) * regulariser.mean()

    @torch.no_grad()
    def score_candidates(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores [B, C]."""
        return self(users, items)[0]


def released(split: Split, held: HeldOut) -> Callable[[], None]:
    """Per-example sampling, then one user at a time."""
    model = PlainAMP(split, projections=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=CONFIG.learning_rate)
    loader = DataLoader(PerExample(split), batch_size=CONFIG.batch_size, shuffle=True)

    def epoch() -> None:
        for users, items in loader:
            optimizer.zero_grad()
            model.loss(users, items).backward()
            optimizer.step()
        hits = []
        for row in range(len(held.users)):
            scores = model.score_candidates(held.users[row : row + 1], held.items[row : row + 1])
            hits.append(0 in scores[0].topk(10).indices.tolist())
        np.mean(hits)

    return epoch


def plain(split: Split, held: HeldOut) -> Callable[[], None]:
    """Vectorised sampling, autograd, dense Adam."""
    model = PlainAMP(split, projections=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=CONFIG.learning_rate)
    sampler, generator = Sampler(split, CONFIG, CPU), torch.Generator().manual_seed(0)

    def epoch() -> None:
        users, items = sampler.epoch(generator)
        for batch in zip(
            users.split(CONFIG.batch_size), items.split(CONFIG.batch_size), strict=True
        ):
            optimizer.zero_grad()
            model.loss(*batch).backward()
            optimizer.step()
        rank_candidates(model, held)  # type: ignore[arg-type]

    return epoch


def ours(split: Split, held: HeldOut) -> Callable[[], None]:
    """The study's loop."""
    torch.set_flush_denormal(True)
    model = AMP(split.n_users, split.n_items, CONFIG)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=CONFIG.learning_rate, weight_decay=0.0, fused=True
    )
    sampler, generator = Sampler(split, CONFIG, CPU), torch.Generator().manual_seed(0)

    def epoch() -> None:
        users, items = sampler.epoch(generator)
        for batch in zip(
            users.split(CONFIG.batch_size), items.split(CONFIG.batch_size), strict=True
        ):
            optimizer.zero_grad(set_to_none=False)
            model.accumulate_gradients(*batch)
            optimizer.step()
        rank_candidates(model, held)

    return epoch


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="ml-latest-small")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    split = split_for(arguments.dataset, "loo-random")
    held = held_out(split, "test", CPU)
    loops = {f.__name__: f(split, held) for f in (released, plain, ours)}
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(arguments.rounds):
        for name, epoch in loops.items():
            started = time.perf_counter()
            epoch()
            seconds[name].append(time.perf_counter() - started)
    best = statistics.median(seconds["ours"])
    print(
        f"AMP-2 on {arguments.dataset}, {len(split.train_users)} positives an epoch, "
        f"{arguments.threads} threads, median of {arguments.rounds} rounds"
    )
    for name, times in seconds.items():
        middle = statistics.median(times)
        print(f"{name:<9} {middle:6.2f} s an epoch, {middle / best:5.1f} times ours")


if __name__ == "__main__":
    main()
