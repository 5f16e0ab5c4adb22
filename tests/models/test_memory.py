"""Training and full-catalogue ranking stay under 2 GiB on MovieLens 1M and under 3 elsewhere.

Pinterest has the most pairs of a user and an item, Amazon Video Games the largest catalogue.
``benchmarks/memory.py`` measures every data set, lists included, and the models that need most.
"""

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys, torch
from dataclasses import replace
from replication.evaluation import held_out, rank_catalogue
from replication.papers.amp_cf.experiments import split_for
from replication.papers.amp_cf.model import AMP, AMPConfig
from replication.training import Sampler
split = split_for(sys.argv[1], "loo-random")
cpu = torch.device("cpu")
config = AMPConfig(personas=8, reject_consumed="train", batch_size=4096)
model = AMP(split.n_users, split.n_items, config)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
users, items = Sampler(split, config, cpu).epoch(torch.Generator().manual_seed(0))
for batch in list(zip(users.split(4096), items.split(4096)))[:5]:
    model.accumulate_gradients(*batch)
    optimizer.step()
held = held_out(split, "test", cpu)
# Users are ranked in blocks of one size: more blocks take time and no memory.
rank_catalogue(model, replace(held, users=held.users[:1280]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


@pytest.mark.parametrize(
    ("dataset", "limit"),
    [
        pytest.param("ml-1m", 2.0, marks=pytest.mark.needs_data("ml-1m")),
        pytest.param("pinterest", 3.0, marks=pytest.mark.needs_data("pinterest")),
        pytest.param("amazon-video-games", 3.0, marks=pytest.mark.needs_data("amazon-video-games")),
    ],
)
def test_peak_memory(dataset, limit):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, dataset],
        capture_output=True,
        text=True,
        check=True,
        timeout=900,
    )
    assert 0.1 < float(done.stdout) < limit  # GiB, everything that the process ever held
