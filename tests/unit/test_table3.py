"""Table 3: lists of kept and retrained models are the same, and the record says what was done."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from replication import cli, data, paths
from replication.papers.amp_cf import experiments, lists
from replication.papers.amp_cf.model import AMPConfig
from replication.records import Store

CPU = torch.device("cpu")
JOB = experiments.Run("ml-100k", "loo-random", "amp-2", 0)
SMALL = AMPConfig(dimension=8, attention_dimension=4, batch_size=64, learning_rate=0.02, patience=2)


def forget():
    for cached in (experiments.data_for, experiments.split_for, lists.space_for):
        cached.cache_clear()


@pytest.fixture
def study(tmp_path, monkeypatch, make_tiny):
    for name in ("results", "raw", "prepared", "checkpoints", "models"):
        monkeypatch.setattr(paths, name.upper(), tmp_path / name)
    tiny = replace(make_tiny(n_users=40, n_items=150, per_user=10), name="ml-100k")
    monkeypatch.setitem(data.DATASETS, "ml-100k", lambda raw: tiny)
    forget()
    trial = JOB.address() | {
        "table": experiments.TUNING,
        "config": asdict(SMALL),
        "trial": 0,
        "metrics": {"HR@10": 0.5, "NDCG@10": 0.5},
    }
    Store(experiments.TUNING).append(trial)
    yield tmp_path
    forget()


def measured(study):
    (_, record, new), *_ = lists.measure_and_store([JOB], "cpu", progress=False)
    return record, new


def test_a_kept_model_and_one_trained_again_give_the_same_lists(study):
    for _ in experiments.run_and_store([JOB], "cpu", progress=False):
        pass
    (file,) = paths.MODELS.glob("*.pt")
    kept = lists.trained(JOB, CPU).state_dict()
    file.unlink()
    again = lists.trained(JOB, CPU, progress=False).state_dict()
    assert all(torch.equal(kept[name], again[name]) for name in kept) and file.exists()
    record, new = measured(study)
    assert new and not measured(study)[1]  # what is stored is not measured twice
    store = Store(lists.TABLE3)
    values = store.ranks([store.load()[0]["key"]])[store.load()[0]["key"]]
    for name in lists.METRICS:
        assert np.nanmean(values[name]) == pytest.approx(record["metrics"][name], abs=1e-3)
    # Without a record of Table 2 the whole run is done.
    file.unlink()
    Store(experiments.TABLE2).path.unlink()
    assert torch.equal(lists.trained(JOB, CPU, progress=False).state_dict()["items"], kept["items"])


def test_a_rerun_gives_the_record_again(study):
    record, _ = measured(study)
    stored = Store(lists.TABLE3).load()[0]
    assert lists.rerun(stored, CPU)[0]["metrics"] == record["metrics"]


def test_the_command_line_runs_and_prints_it(study, capsys):
    command = [lists.TABLE3, "--dataset", "ml-100k", "--model", "mostpop"]
    assert cli.main(["run", *command]) == 0
    assert "JS 0.0" in capsys.readouterr().out
    assert cli.main(["table", lists.TABLE3, "--format", "json"]) == 0
    assert '"metric": "Hellinger"' in capsys.readouterr().out
    assert cli.main(["audit", lists.TABLE3, "--n", "1"]) == 0
    assert cli.main(["run", *command, "--select", "test"]) == 1
    assert "has main cells only" in capsys.readouterr().err


def test_only_the_main_cells_under_loo_random_are_in_it():
    assert {cell.protocol for cell in lists.grid()} == {"loo-random"}
    assert {cell.table for cell in lists.grid()} == {lists.TABLE3}
