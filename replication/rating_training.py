"""Train a model that predicts ratings: data, contexts and evaluation stay on the device.

One epoch visits every training rating once in a random order; the only Python loop is over
batches. On the CPU a seed gives the same numbers again with the same versions and processor.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from replication.errors import ReplicationError
from replication.folds import Ratings, RatingSplit
from replication.metrics.rating import summary
from replication.training import Progress, later, read_checkpoint, run_epochs

METRICS = ("RMSE", "MAE")
BLOCK = 8192  # pairs that are predicted at a time


@dataclass(frozen=True)
class RatingConfig:
    """How a rating model is trained; every model's configuration inherits this."""

    learning_rate: float = 1e-3  # Adam's own default (Kingma and Ba 2015); tuned
    batch_size: int = 4096  # ratings a step; ours, tuned
    weight_decay: float = 0.0  # decoupled (Loshchilov and Hutter 2019); tuned
    max_epochs: int = 20  # our budget
    method: str = later("adam")  # or "sgd"

    def optimizer(self, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        """Adam with decoupled weight decay, or plain SGD, in which decay is an L2 penalty.

        Raises:
            ReplicationError: ``method`` is neither of the two.
        """
        known = {"adam": torch.optim.AdamW, "sgd": torch.optim.SGD}
        if self.method not in known:
            raise ReplicationError(f"unknown method {self.method!r}; use {' or '.join(known)}")
        return known[self.method](
            parameters, lr=self.learning_rate, weight_decay=self.weight_decay, fused=True
        )


class RatingModel(Protocol):
    """What the loop asks of a model besides being an ``nn.Module``.

    ``generator`` decides what is drawn, for instance a context; a model that draws nothing
    leaves it alone.
    """

    def loss(
        self, users: Tensor, items: Tensor, ratings: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Mean loss of ratings [B], of users [B] for items [B]."""

    def predict(self, users: Tensor, items: Tensor, generator: torch.Generator) -> Tensor:
        """Predicted ratings [B]."""


@dataclass(frozen=True)
class DeviceRatings:
    """Some ratings as tensors: users, items [n] int64, values [n] float32."""

    users: Tensor
    items: Tensor
    values: Tensor

    @classmethod
    def of(cls, ratings: Ratings, device: torch.device) -> DeviceRatings:
        """Ratings moved to a device."""
        columns = (ratings.users, ratings.items, ratings.values)
        return cls(*(torch.from_numpy(np.ascontiguousarray(c)).to(device) for c in columns))

    def __len__(self) -> int:
        return len(self.users)


@dataclass
class RatingCurve:
    """What was seen after each epoch.

    Attributes:
        epoch, loss: number of epochs, mean training loss.
        errors: "<part> RMSE" and "<part> MAE" for the parts that were watched.
        predictions: [n] uint16 an epoch, the test predictions (see ``pack``), where wanted.
    """

    epoch: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    errors: dict[str, list[float]] = field(default_factory=dict)
    predictions: list[Tensor] = field(default_factory=list)

    def as_dict(self) -> dict[str, list]:
        """For the record; predictions are kept elsewhere."""
        noted: dict[str, list] = {"epoch": self.epoch, "loss": [round(x, 5) for x in self.loss]}
        return noted | {name: [round(x, 6) for x in v] for name, v in self.errors.items()}

    def best(self, part: str) -> int:
        """Number of epochs after which a part's RMSE was lowest (the first such epoch)."""
        return self.epoch[int(np.argmin(self.errors[f"{part} RMSE"]))]


@dataclass
class RatingFit:
    """A trained model and how it came about.

    ``resumed``: epochs that a checkpoint brought.
    """

    model: Any
    curve: RatingCurve
    seconds: float
    resumed: int = 0


def fit_ratings(
    build: Callable[[], RatingModel],
    split: RatingSplit,
    config: RatingConfig,
    seed: int,
    device: torch.device,
    watch: Sequence[str],
    epochs: int | None = None,
    patience: int | None = None,
    last: bool = False,
    keep_predictions: bool = False,
    checkpoint: Path | None = None,
    label: str = "",
    progress: bool = True,
    continuable: bool = False,
) -> RatingFit:
    """Train for a number of epochs and note the error on held-out ratings after each.

    Args:
        build: makes the untrained model on the CPU; called after the seed is set.
        split: its training ratings are trained on.
        config: how.
        seed: decides initialisation, order and what the model draws.
        device: where.
        watch: parts of the split whose errors are noted ("validation", "test"). The model of the
            epoch that is best on the first of them is given back; none: the last epoch's.
        epochs: how many; None: ``config.max_epochs``.
        patience: stop after so many epochs without a better error on the first part; None: never.
        last: give back the last epoch's model, whatever the errors.
        keep_predictions: also keep the predictions of the part "test" after each epoch.
        checkpoint: file to resume from and to write to now and then; removed by the caller.
        label: text of the progress bar.
        progress: show a bar.
        continuable: write the checkpoint also at the end, if it is the number of epochs that ends
            the training: more of them go on from there, to the same numbers.

    Raises:
        Diverged: the loss is no longer a number.
        ReplicationError: there is nothing to train on.
    """
    # Softmax leaves numbers below 1e-38 behind, on which a CPU computes slowly: they become zero.
    torch.set_flush_denormal(True)
    if not len(split.train):
        raise ReplicationError(f"fold {split.fold} of {split.protocol} has no training ratings")
    torch.manual_seed(seed)
    model: Any = build().to(device)  # type: ignore[attr-defined]
    optimizer = config.optimizer(model.parameters())
    generator = torch.Generator(device=device).manual_seed(seed)
    train = DeviceRatings.of(split.train, device)
    held = {part: DeviceRatings.of(getattr(split, part), device) for part in watch}
    for part, ratings in held.items():
        if not len(ratings):
            raise ReplicationError(f"the split has no {part} ratings to watch")
    run = Progress(model, optimizer, generator, RatingCurve())
    state = read_checkpoint(checkpoint, device)
    if state is not None:
        run.resume(state)
    # Some models have a step of plain SGD of their own, several times as fast as autograd's.
    stepwise = config.method == "sgd" and hasattr(model, "sgd_step")
    range_ = rating_range(split)

    def train_epoch(bar: Any) -> float:
        order = torch.randperm(len(train), generator=generator, device=device)
        total, steps = torch.zeros((), device=device), 0
        model.train()
        size, items = config.batch_size, train.items[order]
        columns = (train.users[order], items, train.values[order])
        parts = [column.split(size) for column in columns]
        prepared = model.batches(items, size) if stepwise else itertools.repeat(None)
        for users_, items_, values, ready in zip(*parts, prepared, strict=False):
            # The rest of an epoch makes a step of its size: a full one would throw rows far.
            share = len(users_) / size if config.method == "sgd" else 1.0
            if stepwise:
                rate = config.learning_rate * share
                total += model.sgd_step(users_, items_, ready, values, generator, rate)
            else:
                optimizer.zero_grad(set_to_none=True)
                loss = model.loss(users_, items_, values, generator)
                (loss * share).backward()
                optimizer.step()
                total += loss.detach()
            steps += 1
            bar.update()
        return float(total) / steps

    def measure(loss: float) -> bool:
        curve = run.curve
        curve.epoch.append(len(curve.epoch) + 1)
        curve.loss.append(loss)
        for part, ratings in held.items():
            # A generator of its own: looking at the test must not change the training.
            drawn = evaluation_generator(seed, curve.epoch[-1], device)
            predicted = predict_all(model, ratings, range_, drawn)
            for metric, value in summary(predicted, ratings.values).items():
                curve.errors.setdefault(f"{part} {metric}", []).append(value)
            if keep_predictions and part == "test":
                curve.predictions.append(pack(predicted, range_))
        return bool(held) and not last and curve.best(watch[0]) == curve.epoch[-1]

    def done() -> bool:
        if patience is None or not run.curve.epoch:
            return False
        return len(run.curve.epoch) - run.curve.best(watch[0]) >= patience

    run_epochs(
        run,
        config.max_epochs if epochs is None else epochs,
        -(-len(train) // config.batch_size),
        train_epoch,
        measure,
        done,
        config.learning_rate,
        device,
        checkpoint,
        label,
        progress,
        continuable,
    )
    return RatingFit(model, run.curve, run.seconds, run.resumed)


def rating_range(split: RatingSplit) -> tuple[float, float]:
    """The lowest and the highest rating of the data set."""
    return float(split.levels[0]), float(split.levels[-1])


def evaluation_generator(seed: int, draw: int, device: torch.device) -> torch.Generator:
    """What a model draws while it is tested; never the generator that training uses."""
    return torch.Generator(device=device).manual_seed(1_000_003 * (seed + 1) + draw)


@torch.no_grad()
def predict_all(
    model: Any, ratings: DeviceRatings, range_: tuple[float, float], generator: torch.Generator
) -> Tensor:
    """Predictions [n], clipped to the range of the ratings: one rule for every model."""
    if isinstance(model, nn.Module):
        model.eval()
    parts = [
        model.predict(users, items, generator)
        for users, items in zip(ratings.users.split(BLOCK), ratings.items.split(BLOCK), strict=True)
    ]
    return torch.cat(parts).clamp_(*range_)


def pack(predicted: Tensor, range_: tuple[float, float]) -> Tensor:
    """Predictions as uint16 numbers over the range: 0.00006 stars a step at 1 to 5."""
    low, high = range_
    scaled = ((predicted.double() - low) * (65_535 / (high - low))).round()
    return scaled.to(torch.uint16).cpu()


def unpack(packed: Tensor, range_: tuple[float, float]) -> Tensor:
    """What ``pack`` made small, as float64."""
    low, high = range_
    return packed.double() * ((high - low) / 65_535) + low
