"""The search for the settings of a rating model: random trials, the best of them continued."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from replication import paths
from replication.data import Interactions
from replication.errors import Diverged
from replication.folds import RatingSplit
from replication.papers.common import distinct_draws, drawn_config, run_trials, say_if_unsearched
from replication.papers.fold_runs import RatingRow, fitted
from replication.rating_training import METRICS, fit_ratings, rating_range
from replication.records import Record, Store, record_address, record_key, source_hash
from replication.training import described

CONTINUED = 3  # trials that were cut off and go on in the second round


@dataclass(frozen=True)
class Search:
    """The search for a model's settings on a data set, in two rounds.

    In the first, so many trials are drawn at random, alike for all models. A limit of epochs
    favours those that learn fast, where it ends trials that are still learning: the best of these
    go on with more in the second, from the checkpoint that the first left. Successive halving
    (Jamieson and Talwalkar, AISTATS 2016) spends more on the best in the same way.

    Attributes:
        table: where trials are stored.
        row: the model.
        dataset: what it is searched on.
        n_trials: how many there are in the first round.
        epochs, longer: how many a trial may last in the first round and in the second.
        patience: after how many without a better validation error it ends.
    """

    table: str
    row: RatingRow
    dataset: str
    n_trials: int
    epochs: int
    longer: int
    patience: int

    def both_rounds(self) -> list[Record]:
        """The stored records of trials.

        A trial is known by its number. Where the draw has changed since, the number stands for
        another configuration, which was never tried: such a trial does not count.
        """
        return [
            record
            for record in Store(self.table).load()
            if record["row"] == self.row.name
            and record["dataset"] == self.dataset
            and _as_drawn(drawn_config(self.row, record["trial"]), record["config"])
        ]

    def first_round(self) -> list[Record]:
        """The stored records of its trials; all, where there are no epochs."""
        return [trial for trial in self.both_rounds() if not self.is_longer(trial)]

    def trials(self) -> list[Record]:
        """The stored trials, each once: of one that was continued the longer record."""
        return list(
            {t["trial"]: t for t in sorted(self.both_rounds(), key=self.is_longer)}.values()
        )

    def is_longer(self, trial: Record) -> bool:
        """Whether a record is of the second round."""
        return self.row.trained and trial["config"]["max_epochs"] > self.epochs

    def continued(self) -> list[int]:
        """The numbers of the trials of the second round: the best that the first cut off."""
        cut = [trial for trial in self.first_round() if cut_off(trial, self.patience)]
        return [trial["trial"] for trial in sorted(cut, key=rank_of_trial)[:CONTINUED]]

    def lacking(self) -> int:
        """How many records are not stored yet, of both rounds."""
        wanted = distinct_draws(self.row, self.n_trials) + len(self.continued())
        return max(0, wanted - len(self.both_rounds()))

    def say_if_lacking(self) -> None:
        """A line on stderr, once, if the search is not complete."""
        have = len(self.both_rounds())
        say_if_unsearched(self.row, self.dataset, have, have + self.lacking())

    def run(
        self,
        split: RatingSplit,
        data: Interactions,
        protocol: str,
        device: torch.device,
        describe: Callable[[Any], Record] = described,
        progress: bool = True,
    ) -> Iterator[tuple[int, Record, bool]]:
        """Do the trials that are not stored yet, on the validation ratings, with seed 0.

        Args:
            split: what is trained and validated on.
            data, protocol: what the split was made of, for the record.
            device: where.
            describe: a configuration as the record holds it.
            progress: show bars.

        Yields:
            A trial's number, its record, and whether it was run now (True) or was there (False).
        """

        def key(trial: int) -> str:
            """Of the trial in whichever round."""
            config = describe(drawn_config(self.row, trial))
            return record_key(record_address(self.table, self.row.name, data, protocol, config))

        def one(trial: int, config: Any) -> Record:
            label = f"{self.row.name} on {self.dataset}, trial {trial + 1} of {self.n_trials}"
            # Other code does not go on with what this code began.
            file = paths.CHECKPOINTS / f"{key(trial)}-{source_hash()}.pt"
            return tried(self.row, split, config, device, self.patience, label, progress, file)

        def several(numbers: Iterable[int], epochs: int) -> Iterator[tuple[int, Record, bool]]:
            configs = {number: drawn_config(self.row, number) for number in numbers}
            if self.row.trained:
                configs = {n: replace(config, max_epochs=epochs) for n, config in configs.items()}
            name = self.row.name
            return run_trials(self.table, name, data, protocol, configs, one, device, describe)

        yield from several(range(self.n_trials), self.epochs)
        yield from several(self.continued(), self.longer)
        for number in range(self.n_trials):
            for left in paths.CHECKPOINTS.glob(f"{key(number)}-*"):
                left.unlink(missing_ok=True)  # another process may have finished it too


def tried(
    known: RatingRow,
    split: RatingSplit,
    config: Any,
    device: torch.device,
    patience: int,
    label: str,
    progress: bool,
    checkpoint: Path | None = None,
) -> Record:
    """One search trial: the errors on the validation ratings, with seed 0.

    A trial that diverges gets the largest error that a clipped prediction can have. Where it goes
    on from a checkpoint, its seconds are those since then.
    """
    if not known.trained:
        _, found = fitted(known, split, "validation", config, 0, device)
        return {"metrics": found["metrics"], "seconds": found["seconds"]}
    started = time.perf_counter()
    try:
        result = fit_ratings(
            partial(known.build, split, config, 0, device),
            split,
            config,
            0,
            device,
            ("validation",),
            patience=patience,
            checkpoint=checkpoint,
            label=label,
            progress=progress,
            continuable=True,
        )
    except Diverged:
        low, high = rating_range(split)
        trial: Record = {"metrics": dict.fromkeys(METRICS, high - low), "epochs": 0}
    else:
        best, errors = result.curve.best("validation"), result.curve.errors
        trial = {
            "metrics": {metric: errors[f"validation {metric}"][best - 1] for metric in METRICS},
            "epochs": best,
            "epochs_run": len(result.curve.epoch),
        }
        if result.resumed:
            trial["epochs_before"] = result.resumed
    return trial | {"seconds": round(time.perf_counter() - started, 2)}


def _as_drawn(config: Any, stored: Record) -> bool:
    """Whether a stored trial is of this configuration, but for its epochs."""
    return all(
        stored.get(name) == value
        for name, value in described(config).items()
        if name != "max_epochs"
    )


def rank_of_trial(trial: Record) -> tuple[float, int]:
    """The better of two trials has the lower: its inner validation RMSE, then its number."""
    return trial["metrics"]["RMSE"], trial["trial"]


def cut_off(trial: Record, patience: int) -> bool:
    """Whether a search trial ended at the last epoch allowed before its patience had run out.

    Such a trial might have found a better epoch later. One that diverged might not, and one of a
    model without epochs has none.

    Args:
        trial: its record.
        patience: after how many epochs without a better validation error it would have ended.
    """
    allowed, lasted = trial["config"].get("max_epochs"), trial.get("epochs_run", 0)
    return allowed is not None and lasted >= allowed and lasted - trial["epochs"] < patience
