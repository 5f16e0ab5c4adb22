"""Training examples per second of NeuMF, as a ratio to RecBole's NeuMF measured in one run.

    python benchmarks/neumf_speed.py [--dataset ml-1m] [--hidden-layers 3] [--rounds 3]
                                     [--threads 1] [--peer peer/bin/python]

train   what each of the two does in an epoch: negatives, loss, gradient, Adam.
step    loss, gradient and Adam alone, on batches that were drawn before.

Both train the same sizes on the same pairs without dropout, 256 positives with 4 negatives each a
batch; an example is one of these 1,280 pairs. Three hidden layers are the study's (64 factors, MLP
embeddings of 128, layers of 256, 128 and 64); two are RecBole's own default (64, 128 and 64).
They take turns, so that a machine whose speed drifts does not favour one. With one thread each the
time is the processor's, which other work on the machine moves least; with more it is the wall
clock's, and wants a machine that does nothing else.

RecBole runs in an environment of its own: ``tests/parity/recbole_peer.py`` says how to make it.
With it each of the two comparisons is a record of ``results/amp_cf/speed.jsonl``, and the script
fails where an epoch of ours is not as many times as fast as the study asks.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from pathlib import Path

import evidence
import torch

from replication.baselines.neumf import NeuMF, NeuMFConfig
from replication.data import filter_rare, load
from replication.papers.amp_cf.experiments import row_name
from replication.protocols import Split, make_split
from replication.training import Sampler

sys.path.append(str(Path(__file__).parents[1] / "tests" / "parity"))
from recbole_peer import clock, neumf

CPU = torch.device("cpu")
BATCHES = 100  # a round
LIMIT = 2.0  # times RecBole's examples a second that the study asks of training
WHAT = {"train": "training: negatives, loss, gradient, Adam", "step": "loss, gradient, Adam alone"}


class Ours:
    """The study's NeuMF and its training loop."""

    def __init__(self, split: Split, config: NeuMFConfig) -> None:
        torch.set_flush_denormal(True)
        torch.manual_seed(0)
        self.config = config
        self.model = NeuMF(split.n_users, split.n_items, config)
        self.optimizer = config.optimizer(self.model.parameters())
        self.generator = torch.Generator().manual_seed(0)
        self.sampler = Sampler(split, config, CPU)
        self.now = clock(torch.get_num_threads())
        self.ahead = self._epoch()[:BATCHES]

    def ask(self, what: str) -> float:
        """Do ``"train"`` or ``"step"``; the seconds that it took."""
        started = self.now()
        batches, not_used = self.ahead, 0.0
        if what == "train":
            epoch = self._epoch()
            # An epoch's negatives are drawn at once: the round is charged for its share of them.
            not_used = (self.now() - started) * (1 - BATCHES / len(epoch))
            batches = epoch[:BATCHES]
        for users, items in batches:
            self.optimizer.zero_grad(set_to_none=False)
            self.model.accumulate_gradients(users, items)
            self.optimizer.step()
        return self.now() - started - not_used

    def _epoch(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        users, items = self.sampler.epoch(self.generator)
        size = self.config.batch_size
        return list(zip(users.split(size), items.split(size), strict=True))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="ml-1m")
    parser.add_argument("--hidden-layers", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--peer",
        default=os.environ.get("REPLICATION_PEER_PYTHON"),
        help="a Python interpreter that has RecBole (default: REPLICATION_PEER_PYTHON)",
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    config = NeuMFConfig(pretrain_epochs=0, hidden_layers=arguments.hidden_layers)
    split = make_split(filter_rare(load(arguments.dataset)), "loo-random")
    examples = BATCHES * config.batch_size * (1 + config.n_negatives)
    ours = Ours(split, config)
    sides = {"ours": {"train": lambda: ours.ask("train"), "step": lambda: ours.ask("step")}}
    if arguments.peer:
        peer = neumf(arguments.peer, split, config, 0, arguments.threads)
        peer.ask("draw", BATCHES)
        sides["RecBole"] = {
            "train": lambda: peer.ask("train", BATCHES),
            "step": lambda: peer.ask("step"),
        }
    seconds: dict[tuple[str, str], list[float]] = {}
    for _ in range(arguments.rounds):
        for what in ("train", "step"):
            for name, side in sides.items():
                seconds.setdefault((what, name), []).append(side[what]())
    print(
        f"NeuMF on {arguments.dataset} with layers of {config.widths}, {config.batch_size} "
        f"positives and {config.n_negatives} negatives each a batch, threads: {arguments.threads}, "
        f"median of {arguments.rounds} rounds"
    )
    kept = True
    for what in ("train", "step"):
        middle = {name: examples / statistics.median(seconds[what, name]) for name in sides}
        line = ", ".join(f"{name} {rate:9,.0f} examples a second" for name, rate in middle.items())
        ratio = ""
        if arguments.peer:
            pairs = zip(seconds[what, "RecBole"], seconds[what, "ours"], strict=True)
            each = [theirs / mine for theirs, mine in pairs]
            ratio = f"ratio {middle['ours'] / middle['RecBole']:.2f} "
            ratio += f"(by round {min(each):.2f} to {max(each):.2f})"
            kept &= evidence.speed(
                WHAT[what],
                row_name("ncf"),
                arguments.dataset,
                middle["ours"],
                middle["RecBole"],
                "RecBole's NeuMF",
                arguments.threads,
                unit="examples a second",
                bounded="ratio",
                limit=LIMIT if what == "train" else None,
                rounds=arguments.rounds,
                positives=config.batch_size,
                negatives=config.n_negatives,
                widths=config.widths,
            )
        print(f"{what:<6} {line}  {ratio}".rstrip())
    if arguments.peer:
        peer.close()
    else:
        print("RecBole was not measured: no --peer was given")
    if not kept:
        raise SystemExit(f"ours is not {LIMIT:g} times as fast as RecBole")


if __name__ == "__main__":
    main()
