"""ConvNCF against RecBole's, on 100 users of ml-100k: the convolutions take their time.

Configured as ours: as many layers of 2 x 2 filters with stride 2 as leave one pixel, no dropout,
both trained by the sum over a batch of -log sigmoid(y_ui - y_uj). What cannot be configured, and
what is done about it here:

- It adds the bias of a last linear layer to the score, which no difference of scores depends on:
  it is set to 0, and its gradient is 0.
- It penalises norms of whole tables, and not the squares of a batch's rows: both are trained
  without penalties.
- Initial values and the start of Adagrad differ: it is given ours, with the embeddings of a matrix
  factorisation, as our models begin. Ours averages over a batch, so that its accumulators begin
  smaller by the square of the number of triples.
"""

from dataclasses import replace

import numpy as np
import pytest
import recbole_peer
import torch
from agreement import (
    PEER,
    assert_same,
    assert_within_the_spread,
    measured,
    note,
    same_steps,
    split_of_users,
)

from replication.baselines.conv_ncf import ConvNCF, ConvNCFConfig, build
from replication.evaluation import held_out
from replication.protocols import Split
from replication.training import fit

CPU = torch.device("cpu")
CONFIG = ConvNCFConfig(
    learning_rate=0.01,  # of the released code's first epoch
    dimension=16,
    batch_size=128,
    l2_embeddings=0.0,
    l2_convolution=0.0,
    l2_output=0.0,
    pretrain_epochs=5,
    warmup_epochs=0,
)
SEEDS, EPOCHS = range(3), 3
NAMES, PART = ("ConvNCF", "ConvNCF"), "100 users"
pytestmark = [pytest.mark.peer, pytest.mark.needs_data("ml-100k")]


@pytest.fixture(scope="module")
def split() -> Split:
    return split_of_users(lambda data: np.arange(data.n_users) < 100)


def conv_ncf_peer(
    split: Split, config: ConvNCFConfig, seed: int = 0, precision: str = "float32"
) -> recbole_peer.Peer:
    ours = config.optimizer([torch.nn.Parameter(torch.zeros(1))])
    start = ours.defaults["initial_accumulator_value"]
    settings = recbole_peer.training(config) | {
        "learner": "adagrad",
        "embedding_size": config.dimension,
        "cnn_channels": [1] + [config.channels] * config.layers,
        "cnn_kernels": [2] * config.layers,
        "cnn_strides": [2] * config.layers,
        "dropout_prob": 0.0,
        "reg_weights": [0.0, 0.0],
        # RecBole counts the triples of a batch.
        "train_batch_size": config.batch_size * config.n_negatives,
    }
    start *= (config.batch_size * config.n_negatives) ** 2
    return recbole_peer.Peer(
        PEER, split, "ConvNCF", settings, seed, adagrad_start=start, precision=precision
    )


def give(peer: recbole_peer.Peer, model: ConvNCF) -> None:
    """The weights of ours."""
    k = model.config.channels
    shared = {
        "predict_layers.mlp_layers.1.weight": model.output[None],
        "predict_layers.mlp_layers.1.bias": model.output.new_zeros(1),
    }
    for layer, (kernel, bias) in enumerate(zip(model.kernels, model.biases, strict=True)):
        # [k, 4 * channels], the four pixels row by row, to [k, channels, 2, 2].
        window = kernel.view(k, 2, 2, -1).permute(0, 3, 1, 2).contiguous()
        shared[f"cnn_layers.cnn_layers.{2 * layer}.weight"] = window
        shared[f"cnn_layers.cnn_layers.{2 * layer}.bias"] = bias
    peer.load(
        user={"user_embedding.weight": model.users},
        item={"item_embedding.weight": model.items},
        shared=shared,
    )


@pytest.mark.parametrize("dimension", [16, 64])
def test_forward_pass_is_the_same(split: Split, dimension: int):
    """Breaks with the map transposed, pixels or channels in another order, or a ReLU left out."""
    torch.manual_seed(0)
    config = replace(CONFIG, dimension=dimension)
    model = ConvNCF(split.n_users, split.n_items, config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    held = held_out(split, "test", CPU)
    users, items = held.users[:20], held.items[:20, :20]
    with conv_ncf_peer(split, config) as peer:
        give(peer, model)
        theirs = torch.from_numpy(peer.scores(users.numpy(), items.numpy()))
    ours = model.score_candidates(users, items)
    scale = float(ours.std())
    print(f"d={dimension}: largest difference {(ours - theirs).abs().max():.1e} of {scale:.1f}")
    what = f"scores of the same weights, d = {dimension}, {PART}"
    assert_same(ours, theirs, 1e-5, 1e-5 * scale, *NAMES, what)


def test_takes_the_same_steps(split: Split):
    """On the same batches from the same weights; breaks with another loss, gradient or optimiser.

    The control is how far ours has come from where it began. In double precision: RecBole's loss
    takes positives and negatives apart, and what rounding leaves of the sum of their gradients
    moves all its scores together, which the loss does not mind, by a hundredth of their way.
    """
    model = build(split, CONFIG, 0, CPU, progress=False).double()
    held = held_out(split, "test", CPU)
    before = model.score_candidates(held.users, held.items)
    with conv_ncf_peer(split, CONFIG, precision="float64") as peer:
        give(peer, model)
        after, theirs = same_steps(peer, model, split, CONFIG, held)
    moved, apart = (after - before).abs(), (after - theirs).abs()
    print(f"moved by {moved.mean():.3f}, apart by {apart.mean():.1e}, at most {apart.max():.1e}")
    allowed = 1e-4 * moved.mean()
    note(*NAMES, f"scores after the same 20 steps, {PART}", apart.max(), allowed)
    assert apart.max() < allowed


def test_ranks_as_well(split: Split):
    """Each with its own sampling: the difference of the means is within three standard errors."""
    held = held_out(split, "test", CPU)
    ours, theirs, begun = [], [], []
    for seed in SEEDS:
        start = build(split, CONFIG, seed, CPU, progress=False)
        begun.append(measured(start.score_candidates(held.users, held.items), held))
        with conv_ncf_peer(split, CONFIG, seed) as peer:
            give(peer, start)
            for _ in range(EPOCHS):
                peer.ask("epoch")
            scores = peer.scores(held.users.numpy(), held.items.numpy())
        theirs.append(measured(torch.from_numpy(scores), held))
        model = fit(lambda start=start: start, split, CONFIG, seed, CPU, None, EPOCHS).model
        ours.append(measured(model.score_candidates(held.users, held.items), held))
    print("before the first epoch:", np.round(np.mean(begun, axis=0), 4))
    assert_within_the_spread(ours, theirs, *NAMES, PART)
