"""A model of RecBole's, in a process and an environment of its own, on the pairs of a split.

RecBole wants older packages than this project. Its ray, which only its hyper-parameter search and
its command line need, is left out:

    python -m venv peer
    peer/bin/pip install torch==2.13.0
    peer/bin/pip install --no-deps recbole==1.2.1
    peer/bin/pip install "numpy<2" "scipy<1.13" "pandas<2.3" scikit-learn tqdm pyyaml psutil \\
        colorlog==4.7.2 colorama==0.4.4 tensorboard tabulate texttable thop

``Peer`` is this project's side; this file is also what runs in that environment, and therefore
imports nothing of this project. The tests beside it use it where ``REPLICATION_PEER_PYTHON`` names
that interpreter, and so does ``benchmarks/neumf_speed.py``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

if TYPE_CHECKING:
    from replication.baselines.neumf import NeuMFConfig
    from replication.protocols import Split
    from replication.training import RankingConfig

# Pairs scored at once: several of the models gather the history of every single pair.
PAIRS = 2048


def clock(threads: int) -> Callable[[], float]:
    """What measures the seconds of work on some threads."""
    return time.process_time if threads == 1 else time.perf_counter


# --- in RecBole's environment ------------------------------------------------------------------


def mend(model: torch.nn.Module, name: str, linear_std: float | None) -> None:
    """What RecBole does otherwise than the paper of a model, and no setting of its changes."""
    if name == "FISM":
        # Its forward pass ends in a sigmoid, and its loss takes what that gives for logits.
        model.bceloss = torch.nn.BCELoss()
    if linear_std is not None:
        for layer in model.modules():
            if isinstance(layer, torch.nn.Linear):
                torch.nn.init.normal_(layer.weight, std=linear_std)
                torch.nn.init.zeros_(layer.bias)


class Server:
    """One model, and what a ``Peer`` can have it do: the methods whose names are one word."""

    def __init__(self, folder: Path, wanted: dict[str, Any]) -> None:
        from recbole.config import Config
        from recbole.data import create_dataset, data_preparation
        from recbole.data.interaction import Interaction
        from recbole.trainer import Trainer
        from recbole.utils import ModelType, get_model, init_seed

        self.folder, self.interaction = folder, Interaction
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
            "weight_decay": 0.0,
            "eval_args": {"group_by": "user", "order": "RO", "mode": "full"},
            **wanted["settings"],
        }
        config = Config(model=wanted["model"], dataset="pairs", config_dict=settings)
        init_seed(config["seed"], config["reproducibility"])
        self.dataset = create_dataset(config)
        self.data, _, _ = data_preparation(config, self.dataset)
        self.model = get_model(wanted["model"])(config, self.data.dataset)
        mend(self.model, wanted["model"], wanted["linear_std"])
        self.model.to(getattr(torch, wanted["precision"]))
        self.trainer = Trainer(config, self.model)
        if wanted["adagrad_start"] is not None:
            for state in self.trainer.optimizer.state.values():
                state["sum"].fill_(wanted["adagrad_start"])
        self.pairwise = self.model.input_type.name == "PAIRWISE"
        self.traditional = self.model.type == ModelType.TRADITIONAL

    def ids(self, users: np.ndarray, items: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """RecBole's numbers of users [B] and of their items [B, C], a pair in each place [B * C].

        It numbers both anew, in the order of its files and from 1.
        """
        users = self.dataset.token2id("user_id", users.reshape(-1).astype(str))
        flat = self.dataset.token2id("item_id", items.reshape(-1).astype(str))
        return torch.from_numpy(np.repeat(users, items.shape[-1])), torch.from_numpy(flat)

    def epoch(self) -> None:
        """Its own training on all pairs, with negatives that it draws."""
        self.trainer._train_epoch(self.data, 0)

    def train(self, batches: int) -> None:
        """So many batches of an epoch."""
        self.trainer._train_epoch(islice(self.data, batches), 0)

    def draw(self, batches: int) -> None:
        """Batches for ``step``."""
        self.ahead = list(islice(self.data, batches))

    def step(self) -> None:
        """Loss, gradient and optimiser on the batches of ``draw``."""
        self.model.train()
        for batch in self.ahead:
            self.trainer.optimizer.zero_grad()
            self.model.calculate_loss(batch).backward()
            self.trainer.optimizer.step()

    def batches(self) -> None:
        """Batches for ``step`` that the ``Peer`` chose: users [S, B], items [S, B, 1 + N]."""
        given, self.ahead = np.load(self.folder / "batches.npz"), []
        for users, items in zip(given["users"], given["items"], strict=True):
            if self.pairwise:
                user, negative = self.ids(users, items[:, 1:])
                _, positive = self.ids(users, np.broadcast_to(items[:, :1], items[:, 1:].shape))
                batch = {"user_id": user, "item_id": positive, "neg_item_id": negative}
            else:
                label = torch.zeros(items.shape, dtype=next(self.model.parameters()).dtype)
                label[:, 0] = 1.0
                user, item = self.ids(users, items)
                batch = {"user_id": user, "item_id": item, "label": label.reshape(-1)}
            self.ahead.append(self.interaction(batch))

    @torch.no_grad()
    def load(self) -> None:
        """Take the weights that the ``Peer`` gives."""
        given = np.load(self.folder / "weights.npz")
        named = dict(self.model.named_parameters())
        for key in given.files:
            kind, name = key.split(" ")
            values = torch.from_numpy(given[key])
            if kind == "shared":
                named[name].copy_(values)
            else:
                tokens = np.arange(len(values)).astype(str)
                named[name][self.dataset.token2id(f"{kind}_id", tokens)] = values

    @torch.no_grad()
    def scores(self) -> None:
        """What the forward pass gives for candidates."""
        candidates = np.load(self.folder / "candidates.npz")
        self.model.eval()
        found = []
        for pair in zip(*(x.split(PAIRS) for x in self.ids(**candidates)), strict=True):
            if self.traditional:
                batch = self.interaction(dict(zip(("user_id", "item_id"), pair, strict=True)))
                found.append(self.model.predict(batch))
            else:
                found.append(self.model(*pair))
        np.save(self.folder / "scores.npy", torch.cat(found).view(candidates["items"].shape))


def serve(folder: Path) -> None:
    """Answer the requests of a ``Peer`` on standard input until it ends."""
    wanted = json.loads((folder / "wanted.json").read_text())
    torch.set_num_threads(wanted["threads"])
    now = clock(wanted["threads"])
    server = Server(folder, wanted)
    print("ready", flush=True)
    for line in sys.stdin:
        what, *numbers = line.split()
        started = now()
        getattr(server, what)(*map(int, numbers))
        print("seconds", now() - started, flush=True)


# --- in ours -----------------------------------------------------------------------------------


def training(config: RankingConfig) -> dict[str, Any]:
    """RecBole's settings for how ours trains with negatives from a uniform distribution."""
    assert config.negative_distribution == "uniform" and config.reject_consumed == "train"
    return {
        "learning_rate": config.learning_rate,
        # RecBole counts all the pairs of a batch.
        "train_batch_size": config.batch_size * (1 + config.n_negatives),
        "train_neg_sample_args": {
            "distribution": "uniform",
            "sample_num": config.n_negatives,
            "alpha": 1.0,
            "dynamic": False,
            "candidate_num": 0,
        },
    }


class Peer:
    """A model of RecBole's in a process of its own, trained on the pairs of a split."""

    def __init__(
        self,
        interpreter: str,
        split: Split,
        model: str,
        settings: Mapping[str, Any],
        seed: int = 0,
        threads: int = 1,
        linear_std: float | None = None,
        adagrad_start: float | None = None,
        precision: str = "float32",
    ) -> None:
        """
        Args:
            interpreter: a Python that has RecBole.
            split: its users and items are numbered here as they are there.
            model: RecBole's name of it.
            settings: of the model and its training, by RecBole's names.
            seed: of initialisation and sampling.
            threads: on which it computes.
            linear_std: from which its linear layers are drawn; None: its own way.
            adagrad_start: where the accumulators of Adagrad begin; None: at 0, its own way.
            precision: of its parameters, and so of all that it computes.
        """
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
        wanted = {
            "model": model,
            "settings": dict(settings),
            "seed": seed,
            "threads": threads,
            "linear_std": linear_std,
            "adagrad_start": adagrad_start,
            "precision": precision,
        }
        (self.folder / "wanted.json").write_text(json.dumps(wanted))
        self._process = subprocess.Popen(
            [os.path.abspath(interpreter), os.path.abspath(__file__)],
            cwd=self.folder,  # RecBole writes logs where it runs
            env={
                **os.environ,
                "OMP_NUM_THREADS": str(threads),
                "PYTHONWARNINGS": "ignore::FutureWarning",  # of what it asks of pandas
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer("ready")

    def ask(self, what: str, *numbers: int) -> float:
        """Have it do what a method of ``Server`` does; its seconds."""
        assert self._process.stdin
        self._process.stdin.write(" ".join([what, *map(str, numbers)]) + "\n")
        self._process.stdin.flush()
        return float(self._answer("seconds")[0])

    def scores(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """What its forward pass gives [E, C] for candidate items [E, C] of users [E]."""
        np.savez(self.folder / "candidates.npz", users=users, items=items)
        self.ask("scores")
        return np.load(self.folder / "scores.npy")

    def load(
        self,
        user: Mapping[str, torch.Tensor] | None = None,
        item: Mapping[str, torch.Tensor] | None = None,
        shared: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        """Set parameters by RecBole's names: tables with a row a user or an item, and others."""
        kinds = {"user": user, "item": item, "shared": shared}
        weights = {
            f"{kind} {name}": values.detach().numpy()
            for kind, named in kinds.items()
            for name, values in (named or {}).items()
        }
        np.savez(self.folder / "weights.npz", **weights)
        self.ask("load")

    def train_on(self, users: np.ndarray, items: np.ndarray) -> None:
        """One step on each batch of users [S, B] and items [S, B, 1 + N], the positive first."""
        np.savez(self.folder / "batches.npz", users=users, items=items)
        self.ask("batches")
        self.ask("step")

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
        self.close()

    def close(self) -> None:
        """End its process."""
        self._process.communicate()  # closes its input, on which it ends
        self._temporary.cleanup()


def neumf(interpreter: str, split: Split, config: NeuMFConfig, seed: int, threads: int = 1) -> Peer:
    """NeuMF as a configuration of ours, without pretraining."""
    settings = training(config) | {
        "mf_embedding_size": config.factors,
        "mlp_embedding_size": config.widths[0] // 2,
        "mlp_hidden_size": config.widths,
        "dropout_prob": 0.0,
        "learner": "adam",
    }
    # RecBole leaves its linear layers at PyTorch's initialisation; He et al. (2017, Section 4.1)
    # draw these weights as they do the embeddings, and so do we.
    return Peer(interpreter, split, "NeuMF", settings, seed, threads, linear_std=config.init_std)


if __name__ == "__main__":
    serve(Path.cwd())
