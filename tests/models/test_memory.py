"""Training and full-catalogue ranking of MovieLens 1M stay under 2 GiB."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource, torch
from replication.evaluation import held_out, rank_catalogue
from replication.papers.amp_cf.experiments import split_for
from replication.papers.amp_cf.model import AMP, AMPConfig
from replication.training import Sampler
split = split_for("ml-1m", "loo-random")
cpu = torch.device("cpu")
config = AMPConfig(personas=8, reject_consumed="train", batch_size=4096)
model = AMP(split.n_users, split.n_items, config)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
users, items = Sampler(split, config, cpu).epoch(torch.Generator().manual_seed(0))
for batch in list(zip(users.split(4096), items.split(4096)))[:5]:
    model.accumulate_gradients(*batch)
    optimizer.step()
rank_catalogue(model, held_out(split, "test", cpu))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


@pytest.mark.needs_data("ml-1m")
def test_peak_memory_on_ml_1m():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=300
    )
    assert 0.1 < float(done.stdout) < 2.0  # GiB, everything that the process ever held
