"""Train a ranking model by sampled negatives: data, sampling and evaluation stay on the device.

One epoch visits every training interaction once (He et al. 2017), in batches; negatives are drawn
for the whole epoch at once, so that the only Python loop is over batches. On the CPU a seed gives
the same numbers again with the same versions and processor.
"""

from __future__ import annotations

import copy
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from replication.errors import Diverged, ReplicationError
from replication.evaluation import HeldOut, Ranker, held_out, rank_candidates
from replication.metrics.ranking import summary
from replication.protocols import Split

CHECKPOINT_SECONDS = 20.0
# What the choices of a configuration that are words may be.
CHOICES = {
    "negative_distribution": ("unigram", "uniform"),
    "reject_consumed": ("none", "train"),
    "positives": ("each", "redrawn"),
}


def later(default: Any) -> Any:
    """A field of a configuration that records made before it existed have at this default."""
    return field(default=default, metadata={"later": True})


def described(config: Any) -> dict[str, Any]:
    """The values of a configuration as records hold them.

    A ``later`` field is left out where it has its default: a record keeps its address when a
    model learns another option.
    """
    known = {f.name: f.default for f in fields(config) if f.metadata.get("later")}
    values = {k: v for k, v in asdict(config).items() if not (k in known and v == known[k])}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}  # as JSON does


def restored(start: Any, values: dict[str, Any]) -> Any:
    """A configuration of the kind of ``start`` from what ``described`` left in a record."""
    known = {f.name: values[f.name] for f in fields(start) if f.name in values}
    return type(start)(**{k: tuple(v) if isinstance(v, list) else v for k, v in known.items()})


@dataclass(frozen=True)
class RankingConfig:
    """How a ranking model is trained; every model's configuration inherits this."""

    learning_rate: float = 1e-3  # AMP-CF paper, Section 4.3
    batch_size: int = 256  # positives a step; AMP-CF paper, Section 4.3
    n_negatives: int = 4  # |N|; AMP-CF paper, Section 4.3
    weight_decay: float = 0.0  # decoupled (Loshchilov and Hutter 2019); released code: none
    negative_distribution: str = "unigram"  # or "uniform" (released code)
    negative_power: float = 0.5  # of the unigram counts; AMP-CF paper, Section 3.1
    # "none": a negative may be any item (the paper's text). "train": drawn again while the user
    # consumed it in training (released code); held-out items can then still come up.
    reject_consumed: str = "none"
    # "each": every training pair once an epoch. "redrawn": as many, but the positive is drawn
    # anew from the user's items at each step (released code).
    positives: str = "each"
    patience: int = 4  # epochs without a better HR or NDCG before stopping; released code
    max_epochs: int = 25  # our budget; the paper names none

    def optimizer(self, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        """Adam (Kingma and Ba 2015), with decoupled weight decay where that is not 0."""
        return torch.optim.AdamW(
            parameters, lr=self.learning_rate, weight_decay=self.weight_decay, fused=True
        )


class Trainable(Ranker, Protocol):
    """What the loop asks of a model besides being an ``nn.Module``."""

    def accumulate_gradients(self, users: Tensor, items: Tensor) -> Tensor:
        """Add the loss's gradient for users [B], items [B, 1 + |N|] to ``.grad``; the loss."""


class Differentiable(nn.Module):
    """A model that writes down its loss and leaves the derivative to autograd."""

    def loss(self, users: Tensor, items: Tensor) -> Tensor:
        """The mean loss of users [B] and items [B, 1 + |N|], the positive first."""
        raise NotImplementedError

    def accumulate_gradients(self, users: Tensor, items: Tensor) -> Tensor:
        """Add the gradient of ``loss`` to every ``.grad``; returns the loss (no graph)."""
        loss = self.loss(users, items)
        loss.backward()
        return loss.detach()


def resolve_device(name: str) -> torch.device:
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N`` as a device that is really there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ReplicationError(f"unknown device {name!r}; use auto, cpu or cuda") from None
    if device.type not in ("cpu", "cuda"):
        raise ReplicationError(f"device {name!r} is not supported; use auto, cpu or cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ReplicationError(
            f"device {name!r} was asked for, but torch finds no CUDA device here; use --device cpu"
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ReplicationError(
            f"device {name!r} was asked for, but torch finds {torch.cuda.device_count()} CUDA "
            "devices here, numbered from 0"
        )
    return device


class Sampler:
    """Draws one epoch of training examples on the device.

    Attributes:
        users, items: [n] the training pairs.
    """

    def __init__(self, split: Split, config: RankingConfig, device: torch.device) -> None:
        for name, known in CHOICES.items():
            if getattr(config, name) not in known:
                raise ReplicationError(
                    f"unknown {name} {getattr(config, name)!r}; use {' or '.join(known)}"
                )
        self.config = config
        self.n_items = split.n_items
        self.users = torch.from_numpy(split.train_users).to(device)
        self.items = torch.from_numpy(split.train_items).to(device)
        counts = torch.bincount(self.items, minlength=split.n_items).double()
        unigram = config.negative_distribution == "unigram"
        weights = counts**config.negative_power if unigram else torch.ones_like(counts)
        self.cumulative = (weights.cumsum(0) / weights.sum()).float()  # [I]
        self.consumed: Tensor | None = None
        if config.reject_consumed == "train":
            self.consumed = torch.zeros(
                split.n_users, split.n_items, dtype=torch.bool, device=device
            )
            self.consumed[self.users, self.items] = True
            # Where a user consumed all that can be drawn, drawing again would never end.
            left = (~self.consumed[:, weights > 0]).any(1)  # [U]
            if not left[self.users].all():
                raise ReplicationError(
                    "a user has consumed every item that can be drawn as a negative; "
                    'use reject_consumed="none" or leave the user out'
                )
        if config.positives == "redrawn":
            order = torch.argsort(self.users, stable=True)
            self.sorted_items = self.items[order]
            self.degree = torch.bincount(self.users, minlength=split.n_users)
            self.first = self.degree.cumsum(0) - self.degree

    def epoch(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Users [n] and items [n, 1 + |N|] in a random order, the positive first."""
        n, width, device = len(self.users), self.config.n_negatives, self.users.device
        order = torch.randperm(n, generator=generator, device=device)
        users = self.users[order]
        if self.config.positives == "redrawn":
            draw = torch.rand(n, generator=generator, device=device)
            positive = self.sorted_items[self.first[users] + (draw * self.degree[users]).long()]
        else:
            positive = self.items[order]
        items = torch.empty(n, 1 + width, dtype=torch.long, device=device)
        items[:, 0] = positive
        items[:, 1:] = self.negatives(users, width, generator)
        return users, items

    def negatives(self, users: Tensor, width: int, generator: torch.Generator) -> Tensor:
        """Items [n, width] from the negative distribution, for users [n]."""
        drawn = self._draw((len(users), width), generator)
        while self.consumed is not None:
            bad = self.consumed[users[:, None], drawn]
            if not bad.any():
                break
            drawn[bad] = self._draw((int(bad.sum()),), generator)
        return drawn

    def _draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        uniform = torch.rand(shape, generator=generator, device=self.cumulative.device)
        return torch.searchsorted(self.cumulative, uniform, right=True).clamp_(max=self.n_items - 1)


@dataclass
class Curve:
    """What was seen after each epoch, on the items that select the epoch."""

    epoch: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    hr: list[float] = field(default_factory=list)
    ndcg: list[float] = field(default_factory=list)

    def as_dict(self) -> dict[str, list]:
        """Rounded for the record."""
        return {
            "epoch": self.epoch,
            "loss": [round(x, 5) for x in self.loss],
            "HR@10": [round(x, 5) for x in self.hr],
            "NDCG@10": [round(x, 5) for x in self.ndcg],
        }

    @property
    def best(self) -> int:
        """Number of epochs after which NDCG@10 was highest (the first such epoch)."""
        return self.epoch[int(np.argmax(self.ndcg))]

    def saturated(self, patience: int) -> bool:
        """True once neither HR@10 nor NDCG@10 has improved for ``patience`` epochs."""
        latest_gain = max(int(np.argmax(self.hr)), int(np.argmax(self.ndcg)))
        return len(self.epoch) - 1 - latest_gain >= patience


@dataclass
class Fit:
    """A trained model and how it came about.

    Attributes:
        seconds: of its epochs.
        preparation: seconds before the first of them, pretraining included; of an interrupted run
            those of its beginning.
        cpu_seconds, cpu_preparation: what the processor spent on either, all threads together;
            fewer than the seconds where the machine did other work too.
    """

    model: Any
    curve: Curve
    seconds: float
    preparation: float
    cpu_seconds: float
    cpu_preparation: float


def fit(
    build: Callable[[], Trainable],
    split: Split,
    config: RankingConfig,
    seed: int,
    device: torch.device,
    select_on: str | None,
    epochs: int | None = None,
    checkpoint: Path | None = None,
    label: str = "",
    progress: bool = True,
    empty: Callable[[], Trainable] | None = None,
) -> Fit:
    """Train until the selection items saturate, or for a number of epochs.

    Args:
        build: makes the untrained model on the CPU; called after the seed is set.
        split: its training pairs are trained on.
        config: how.
        seed: decides initialisation and sampling.
        device: where.
        select_on: ``"validation"`` or ``"test"``: rank these after every epoch, stop when they
            saturate, and give back the model of the epoch with the best NDCG@10. ``None``: train
            for ``epochs`` and rank nothing.
        epochs: number of epochs if ``select_on`` is None.
        checkpoint: file to resume from and to write to now and then; removed by the caller.
        label: text of the progress bar.
        progress: show a bar (silent where TQDM_DISABLE is set).
        empty: makes the model without its pretraining, for a checkpoint to fill; None: ``build``.

    Raises:
        Diverged: the loss is no longer a number.
    """
    # Attention that saturates leaves numbers below 1e-38 behind, on which a CPU computes two to
    # three times as slowly; they count as zero, here and in what the process does afterwards.
    torch.set_flush_denormal(True)
    torch.manual_seed(seed)
    began, cpu_began = time.perf_counter(), time.process_time()
    state = read_checkpoint(checkpoint, device)
    make = build if state is None or empty is None else empty
    model: Any = make().to(device)  # type: ignore[attr-defined]
    preparation = time.perf_counter() - began
    cpu_preparation = time.process_time() - cpu_began
    optimizer = config.optimizer(model.parameters())
    generator = torch.Generator(device=device).manual_seed(seed)
    sampler = Sampler(split, config, device)
    held = held_out(split, select_on, device) if select_on else None
    total = config.max_epochs if epochs is None else epochs
    run = Progress(
        model,
        optimizer,
        generator,
        Curve(),
        preparation=preparation,
        cpu_preparation=cpu_preparation,
    )
    if state is not None:
        run.resume(state)
    elif checkpoint and empty and preparation > CHECKPOINT_SECONDS:
        write_state(checkpoint, run.state(device))  # so that no pretraining is repeated
    batches = -(-len(sampler.users) // config.batch_size)

    def train_epoch(bar: Any) -> float:
        return _train_epoch(model, optimizer, sampler, config.batch_size, generator, bar)

    def measure(loss: float) -> bool:
        metrics = _measure(model, held)
        run.curve.epoch.append(len(run.curve.epoch) + 1)
        run.curve.loss.append(loss)
        run.curve.hr.append(metrics["HR@10"])
        run.curve.ndcg.append(metrics["NDCG@10"])
        return held is not None and run.curve.best == run.curve.epoch[-1]

    run_epochs(
        run,
        total,
        batches,
        train_epoch,
        measure,
        lambda: held is not None and _done(run.curve, config),
        config.learning_rate,
        device,
        checkpoint,
        label,
        progress,
    )
    return Fit(model, run.curve, run.seconds, run.preparation, run.cpu_seconds, run.cpu_preparation)


@dataclass
class Progress:
    """A run under way: what its checkpoints hold.

    Attributes:
        model, optimizer, generator: what training changes.
        curve: a dataclass of lists, one entry an epoch; its ``epoch`` counts them.
        best_state: the model after the best epoch so far; None where none is chosen.
        seconds: spent on epochs so far, also before an interruption.
        preparation: seconds before the first epoch.
        cpu_seconds, cpu_preparation: what the processor spent on either.
        resumed: epochs that a checkpoint brought.
    """

    model: Any
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    curve: Any
    best_state: dict[str, Tensor] | None = None
    seconds: float = 0.0
    preparation: float = 0.0
    cpu_seconds: float = 0.0
    cpu_preparation: float = 0.0
    resumed: int = 0

    def state(self, device: torch.device) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "device": device.type,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "curve": asdict(self.curve),
            "best_state": self.best_state,
        } | {name: getattr(self, name) for name in TIMES}

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from what a checkpoint holds."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.curve = type(self.curve)(**state["curve"])
        self.best_state = state["best_state"]
        for name in TIMES:
            setattr(self, name, state[name])
        self.resumed = len(self.curve.epoch)


def run_epochs(
    run: Progress,
    total: int,
    batches: int,
    train_epoch: Callable[[Any], float],
    measure: Callable[[float], bool],
    done: Callable[[], bool],
    learning_rate: float,
    device: torch.device,
    checkpoint: Path | None = None,
    label: str = "",
    progress: bool = True,
    continuable: bool = False,
) -> None:
    """Train until there are so many epochs; what all loops share.

    Args:
        run: begins as it is, resumed or not; ends with the best epoch's model where one was chosen.
        total: epochs at most.
        batches: steps an epoch, for the bar.
        train_epoch: one epoch; gets the bar, gives the mean loss.
        measure: notes an epoch with its loss in ``run.curve``; True if it is the best so far.
        done: whether to stop before the next epoch.
        learning_rate: for the message when the loss is no longer a number.
        device, label, progress: as in ``fit``.
        checkpoint: file to write to now and then; the caller has read it.
        continuable: write the checkpoint also where the last epoch allowed ends the run, so that
            it can go on with more.

    Raises:
        Diverged: the loss is no longer a number.
    """
    started = saved = time.perf_counter()
    before, cpu_before = run.seconds, run.cpu_seconds - time.process_time()
    bar = tqdm(
        total=total * batches,
        initial=len(run.curve.epoch) * batches,
        desc=label,
        unit="batch",
        disable=None if progress else True,  # None: silent where stderr is no terminal
        mininterval=1.0,
        leave=False,
    )
    with bar:
        while len(run.curve.epoch) < total and not done():
            loss = train_epoch(bar)
            if not np.isfinite(loss):
                raise Diverged(
                    f"the loss of {label or 'the model'} became {loss} in epoch "
                    f"{len(run.curve.epoch) + 1}; lower learning_rate (now {learning_rate:g})"
                )
            if measure(loss):
                run.best_state = copy.deepcopy(run.model.state_dict())
            run.seconds = before + time.perf_counter() - started
            run.cpu_seconds = cpu_before + time.process_time()
            if checkpoint and time.perf_counter() - saved > CHECKPOINT_SECONDS:
                saved = time.perf_counter()
                write_state(checkpoint, run.state(device))
    if checkpoint and continuable and not done() and len(run.curve.epoch) > run.resumed:
        write_state(checkpoint, run.state(device))
    if run.best_state is not None:
        run.model.load_state_dict(run.best_state)


def _done(curve: Curve, config: RankingConfig) -> bool:
    return bool(curve.epoch) and curve.saturated(config.patience)


def _measure(model: Ranker, held: HeldOut | None) -> dict[str, float]:
    if held is None:
        return {"HR@10": float("nan"), "NDCG@10": float("nan")}
    return summary(rank_candidates(model, held))


def _train_epoch(
    model: Any,
    optimizer: torch.optim.Optimizer,
    sampler: Sampler,
    batch_size: int,
    generator: torch.Generator,
    bar: Any,
) -> float:
    """One pass over the training pairs; the mean loss of its batches."""
    users, items = sampler.epoch(generator)
    total = torch.zeros((), device=users.device)
    steps = 0
    for batch_users, batch_items in zip(
        users.split(batch_size), items.split(batch_size), strict=True
    ):
        optimizer.zero_grad(set_to_none=False)  # the buffers are reused, not allocated anew
        total += model.accumulate_gradients(batch_users, batch_items)
        optimizer.step()
        steps += 1
        bar.update()
    return float(total) / steps


TIMES = ("seconds", "preparation", "cpu_seconds", "cpu_preparation")
STATE = ("device", "model", "optimizer", "generator", "curve", "best_state", *TIMES)


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Put a state in place whole; where there is no room the run goes on without it."""
    partial = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, partial)
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        partial.unlink(missing_ok=True)
        tqdm.write(f"warning: {path} could not be written: {error}", file=sys.stderr)


def read_checkpoint(path: Path | None, device: torch.device) -> dict[str, Any] | None:
    """The state of an unfinished run on this kind of device, or None.

    A file that cannot be read, or is something else, is removed, and the run starts over.
    """
    if path is None or not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if set(state) == set(STATE) and state["device"] == device.type:
            return state
    except Exception:  # a damaged file can make torch raise nearly anything
        pass
    path.unlink(missing_ok=True)
    return None
