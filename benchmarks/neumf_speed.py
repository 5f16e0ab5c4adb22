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

RecBole wants older packages than this project and therefore an environment of its own. Its ray,
which only its hyper-parameter search and its command line need, is left out:

    python -m venv peer
    peer/bin/pip install torch==2.13.0
    peer/bin/pip install --no-deps recbole==1.2.1
    peer/bin/pip install "numpy<2" "scipy<1.13" "pandas<2.3" scikit-learn tqdm pyyaml psutil \\
        colorlog==4.7.2 colorama==0.4.4 tensorboard tabulate texttable thop

This file is also what runs in that environment (``--serve``), and therefore imports nothing of
this project before it knows on which side it is. ``tests/parity/test_neumf_recbole.py`` uses it
too.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
import torch

if TYPE_CHECKING:
    from replication.baselines.neumf import NeuMFConfig
    from replication.protocols import Split

CPU = torch.device("cpu")
BATCHES = 100  # a round


def clock(threads: int) -> Callable[[], float]:
    """What measures the seconds of work on some threads."""
    return time.process_time if threads == 1 else time.perf_counter


# --- in RecBole's environment ------------------------------------------------------------------


def serve(folder: Path) -> None:
    """Answer the requests of a ``Peer`` on standard input until it ends."""
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.model.general_recommender.neumf import NeuMF
    from recbole.trainer import Trainer
    from recbole.utils import init_seed

    wanted = json.loads((folder / "config.json").read_text())
    torch.set_num_threads(wanted["threads"])
    now = clock(wanted["threads"])
    width = 1 + wanted["n_negatives"]
    settings = {
        "data_path": str(folder),
        "checkpoint_dir": str(folder),
        "benchmark_filename": ["train", "valid", "test"],
        "load_col": {"inter": ["user_id", "item_id"]},
        "use_gpu": False,
        "gpu_id": "",
        "state": "ERROR",
        "show_progress": False,
        "seed": wanted["seed"],
        "mf_embedding_size": wanted["factors"],
        "mlp_embedding_size": wanted["widths"][0] // 2,
        "mlp_hidden_size": wanted["widths"],
        "dropout_prob": 0.0,
        "learner": "adam",
        "learning_rate": wanted["learning_rate"],
        "weight_decay": 0.0,
        "train_batch_size": wanted["batch_size"] * width,  # RecBole counts the negatives too
        "train_neg_sample_args": {
            "distribution": "uniform",
            "sample_num": wanted["n_negatives"],
            "alpha": 1.0,
            "dynamic": False,
            "candidate_num": 0,
        },
        "eval_args": {"group_by": "user", "order": "RO", "mode": "full"},
    }
    config = Config(model="NeuMF", dataset="pairs", config_dict=settings)
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    train, _, _ = data_preparation(config, dataset)
    model = NeuMF(config, train.dataset)
    # RecBole leaves its linear layers at PyTorch's initialisation; He et al. (2017, Section 4.1)
    # draw these weights as they do the embeddings, and so do we.
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.normal_(layer.weight, std=wanted["init_std"])
            torch.nn.init.zeros_(layer.bias)
    trainer = Trainer(config, model)
    ahead = list(islice(train, BATCHES))

    def step() -> None:
        for batch in ahead:
            trainer.optimizer.zero_grad()
            model.calculate_loss(batch).backward()
            trainer.optimizer.step()

    @torch.no_grad()
    def scores() -> None:
        candidates = np.load(folder / "candidates.npz")
        users = dataset.token2id("user_id", candidates["users"].astype(str))
        flat = candidates["items"].reshape(-1).astype(str)
        items = dataset.token2id("item_id", flat).reshape(candidates["items"].shape)
        model.eval()
        found = model(
            torch.from_numpy(np.repeat(users, items.shape[1])),
            torch.from_numpy(items.reshape(-1)),
        )
        np.save(folder / "scores.npy", found.view(items.shape).numpy())

    work = {
        "epoch": lambda: trainer._train_epoch(train, 0),
        "train": lambda: trainer._train_epoch(islice(train, BATCHES), 0),
        "step": step,
        "scores": scores,
    }
    print("ready", flush=True)
    for line in sys.stdin:
        started = now()
        work[line.strip()]()
        print("seconds", now() - started, flush=True)


# --- in ours -----------------------------------------------------------------------------------


class Peer:
    """RecBole's NeuMF in a process of its own, trained on the pairs of a split."""

    def __init__(
        self, interpreter: str, split: Split, config: NeuMFConfig, seed: int, threads: int = 1
    ) -> None:
        self._temporary = tempfile.TemporaryDirectory()
        self.folder = Path(self._temporary.name)
        pairs = self.folder / "pairs"
        pairs.mkdir()
        held = {
            name: (np.flatnonzero(items >= 0), items[items >= 0])
            for name, items in (("valid", split.validation), ("test", split.test))
        }
        # Its catalogue is what its files name.
        for name, columns in {"train": (split.train_users, split.train_items), **held}.items():
            np.savetxt(
                pairs / f"pairs.{name}.inter",
                np.stack(columns, axis=1),
                fmt="%d",
                delimiter="\t",
                header="user_id:token\titem_id:token",
                comments="",
            )
        names = ("factors", "widths", "learning_rate", "batch_size", "n_negatives", "init_std")
        wanted = {"seed": seed, "threads": threads} | {
            name: getattr(config, name) for name in names
        }
        (self.folder / "config.json").write_text(json.dumps(wanted))
        self._process = subprocess.Popen(
            [os.path.abspath(interpreter), os.path.abspath(__file__), "--serve", str(self.folder)],
            cwd=self.folder,  # RecBole writes logs where it runs
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer("ready")

    def ask(self, what: str) -> float:
        """Have it do ``"epoch"``, ``"train"``, ``"step"`` or ``"scores"``; its seconds."""
        assert self._process.stdin
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        return float(self._answer("seconds")[0])

    def scores(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Its scores [E, C] of candidate items [E, C] for users [E]."""
        np.savez(self.folder / "candidates.npz", users=users, items=items)
        self.ask("scores")
        return np.load(self.folder / "scores.npy")

    def _answer(self, word: str) -> list[str]:
        assert self._process.stdout
        for line in self._process.stdout:  # RecBole prints things of its own too
            first, *rest = line.split() or [""]
            if first == word:
                return rest
        raise SystemExit(f"RecBole ended with code {self._process.wait()}; its error stands above")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()  # closes its input, on which it ends
        self._temporary.cleanup()


class Ours:
    """The study's NeuMF and its training loop."""

    def __init__(self, split: Split, config: NeuMFConfig) -> None:
        from replication.baselines.neumf import NeuMF
        from replication.training import Sampler

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
    parser.add_argument("--peer", help="a Python interpreter that has RecBole")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
        return

    from replication.baselines.neumf import NeuMFConfig
    from replication.data import filter_rare, load
    from replication.protocols import make_split

    torch.set_num_threads(arguments.threads)
    config = NeuMFConfig(pretrain_epochs=0, hidden_layers=arguments.hidden_layers)
    split = make_split(filter_rare(load(arguments.dataset)), "loo-random")
    examples = BATCHES * config.batch_size * (1 + config.n_negatives)
    sides: dict[str, Ours | Peer] = {"ours": Ours(split, config)}
    if arguments.peer:
        sides["RecBole"] = Peer(arguments.peer, split, config, 0, arguments.threads)
    seconds: dict[tuple[str, str], list[float]] = {}
    for _ in range(arguments.rounds):
        for what in ("train", "step"):
            for name, side in sides.items():
                seconds.setdefault((what, name), []).append(side.ask(what))
    print(
        f"NeuMF on {arguments.dataset} with layers of {config.widths}, {config.batch_size} "
        f"positives and {config.n_negatives} negatives each a batch, threads: {arguments.threads}, "
        f"median of {arguments.rounds} rounds"
    )
    for what in ("train", "step"):
        middle = {name: examples / statistics.median(seconds[what, name]) for name in sides}
        line = ", ".join(f"{name} {rate:9,.0f} examples a second" for name, rate in middle.items())
        ratio = ""
        if arguments.peer:
            pairs = zip(seconds[what, "RecBole"], seconds[what, "ours"], strict=True)
            each = [theirs / mine for theirs, mine in pairs]
            ratio = f"ratio {middle['ours'] / middle['RecBole']:.2f} "
            ratio += f"(by round {min(each):.2f} to {max(each):.2f})"
        print(f"{what:<6} {line}  {ratio}".rstrip())
    peer = sides.get("RecBole")
    if isinstance(peer, Peer):
        peer.__exit__(None, None, None)
    else:
        print("RecBole was not measured: no --peer was given")


if __name__ == "__main__":
    main()
