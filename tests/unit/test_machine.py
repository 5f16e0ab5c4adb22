"""Memory, speed and agreement: what the scripts store, when they fail, and what the page says."""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from replication import paths, training
from replication.baselines.conv_ncf import ConvNCFConfig
from replication.baselines.deep_icf import DeepICFConfig
from replication.baselines.direc import DiRecConfig
from replication.papers.amp_cf import experiments
from replication.papers.amp_cf.model import AMPConfig
from replication.papers.amp_cf.pages import machine
from replication.records import Store

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def evidence(tmp_path, monkeypatch, tiny):
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    monkeypatch.setattr(experiments, "data_for", lambda dataset, _: replace(tiny, name=dataset))
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    import evidence

    return evidence


def peak(row: str, gib: float, dataset: str = "ml-1m") -> dict[str, Any]:
    return {"row": row, "dataset": dataset, "metrics": {"peak GiB": gib}}


def test_peaks_stand_where_they_belong() -> None:
    peaks = [peak("EASE^R", 1.234, "pinterest"), peak("AMP-4", 0.5)]
    table = machine.memory(peaks)
    assert {experiments.row_name(m) for m in experiments.LARGEST} <= set(table.index)
    assert table.loc["EASE^R", "pinterest"] == "1.23" and table.loc["AMP-4", "ml-1m"] == "0.50"
    assert table.loc["ConvNCF", "ml-1m"] == "pending" and table.loc["AMP-4", "pinterest"] == "–"
    assert set(machine.memory([]).to_numpy().ravel()) == {"pending"}
    cases = len(experiments.LARGEST) * len(experiments.RUN_HERE)
    assert machine.memory_found([]) == f"Pending: none of {cases} peaks is measured yet."
    text = machine.memory_found(peaks)
    assert "1.23 GiB of EASE^R on `pinterest`, is within" in text
    assert text.endswith(  # AMP-4 is shown, though a larger AMP stands for it in the plan
        f"; 1 of {cases} planned peaks are measured and 1 more beyond the plan, {cases - 1} are "
        "pending."
    )
    assert "beyond the plan" not in machine.memory_found(peaks[:1])
    assert "is beyond the 3 GiB" in machine.memory_found([peak("EASE^R", 3.5)])


def test_every_model_is_measured_or_smaller_than_one_that_is(evidence) -> None:
    """A row that is added to the tables must be named, or be of a family that is."""
    import memory

    assert set(memory.CASES) == {
        (model, d) for model in experiments.LARGEST for d in experiments.RUN_HERE
    }
    smaller = {"amp-2", "amp-3", "amp-4", "mf", "aisp-2", "aisp-3", "mostpop"}
    assert set(experiments.MODELS) == smaller | set(experiments.LARGEST)


@pytest.mark.parametrize("slow", [True, False])
@pytest.mark.parametrize("model", ["ease", "amp-8"])
def test_a_process_says_its_peak(evidence, monkeypatch, make_tiny, model, slow) -> None:
    """Also where only some users rank the catalogue."""
    import memory

    from replication.protocols import make_split

    split = make_split(make_tiny(n_users=300, n_items=120, per_user=20), "loo-random")
    monkeypatch.setattr(experiments, "split_for", lambda dataset, protocol: split)
    monkeypatch.setattr(memory, "USERS", 256)
    monkeypatch.setattr(memory, "SLOW", (model,) if slow else ())
    assert 0.05 < memory.use(model, "ml-100k") < 20


SMALL: dict[str, Any] = {
    "conv-ncf": ConvNCFConfig(dimension=8, channels=3, pretrain_epochs=3, warmup_epochs=2),
    "deep-icf": DeepICFConfig(dimension=8, history_cap=4, pretrain_epochs=0),
    "direc": DiRecConfig(),
    "mf": AMPConfig(personas=1, dimension=8),
}


@pytest.mark.parametrize("model", ["conv-ncf", "deep-icf", "direc"])
def test_a_cell_is_timed_once_at_its_own_settings(evidence, monkeypatch, make_tiny, model) -> None:
    """Every clock reading is a second later: what is counted how often can be said beforehand."""
    import memory

    from replication.protocols import make_split

    tiny = make_tiny(n_users=50, n_items=60, per_user=10)
    split = make_split(tiny, "loo-random")
    monkeypatch.setattr(experiments, "split_for", lambda dataset, protocol: split)
    small = {name: replace(c, batch_size=64) if hasattr(c, "batch_size") else c
             for name, c in SMALL.items()}  # fmt: skip
    monkeypatch.setattr(experiments, "variant_config", lambda name, *_: small[name])
    monkeypatch.setattr(memory, "BATCHES", 4)
    asked = []

    def here(what: str, *place: str) -> dict[str, float]:
        asked.append((what, *place))
        clock = itertools.count()
        with monkeypatch.context() as patched:
            for name in ("process_time", "perf_counter"):
                patched.setattr(memory.time, name, lambda: float(next(clock)))
            patched.setattr(memory, "row", lambda name: _unclocked(experiments.row(name)))
            return memory.pace(*place)

    monkeypatch.setattr(memory, "in_a_process", here)
    text = memory.time_of(model, "ml-100k")
    assert memory.time_of(model, "ml-100k") == text
    assert asked == [("--pace", model, "ml-100k")]  # what is stored is not timed again
    (record,) = Store(experiments.PACE).load()
    found = record["metrics"]
    assert record["row"] == experiments.row_name(model) and "users scored" in text
    assert found["users scored per second"] == memory.LONGEST
    assert found["seconds of a full pass"] == pytest.approx(split.n_users / memory.LONGEST)
    if model == "direc":
        assert found["seconds of preparation"] == 1 and "seconds per epoch" not in found
        return
    batches = -(-len(split.refit().train_users) // 64)
    epoch = 1 + batches / 4  # a second to draw, one for four batches
    assert found["batches"] == batches and found["batches timed"] == 4
    assert found["seconds per epoch"] == pytest.approx(epoch)
    before = {"conv-ncf": 3 + 2 * epoch, "deep-icf": 1}[model]
    assert found["seconds of preparation"] == pytest.approx(before)


def _unclocked(known: Any) -> Any:
    """A row whose model is built without a look at the clock."""

    def build(*given: Any) -> Any:
        with pytest.MonkeyPatch.context() as patched:
            for name in ("process_time", "perf_counter"):
                patched.setattr(training.time, name, lambda: 0.0)
            return known.build(*given)

    return replace(known, build=build)


def measured(evidence, **changes: Any) -> bool:
    given = {
        "what": "ranking all",
        "row": "MF (r=1)",
        "dataset": "ml-1m",
        "ours": 0.05,
        "peer": 0.5,
        "peer_name": "a loop",
        "threads": 2,
        "bounded": "ours",
        "limit": 0.1,
    }
    return evidence.speed(**(given | changes))


def test_a_limit_can_be_broken(evidence) -> None:
    """In seconds ours must be under it, as a ratio it must reach it."""
    rates = {"unit": "examples a second", "bounded": "ratio", "limit": 2.0}
    assert measured(evidence) and not measured(evidence, ours=0.1)
    assert measured(evidence, ours=20.0, peer=10.0, **rates)
    assert not measured(evidence, ours=19.0, peer=10.0, **rates)
    assert measured(evidence, ours=9.0, limit=None)
    ratios = [r["metrics"]["ratio"] for r in Store(experiments.SPEED).load()]
    assert ratios == pytest.approx([10, 5, 2, 1.9, 0.5 / 9])


def test_every_measurement_is_kept_and_the_last_is_shown(evidence) -> None:
    assert machine.speed([]).eq("pending").any(axis=1).all()
    assert machine.speed_settings([]).iloc[0, 0] == "pending"
    assert machine.speed_found([]).startswith(
        "This study's limits on speed not measured yet: 4 of 4, "
    )
    measured(evidence)
    found = Store(experiments.SPEED).load()
    text = machine.speed_found(found)
    assert text.startswith("This study's limits on speed kept in the last run: 1 of 4, ")
    assert text.endswith(" Kept in every run: 1 of 4.")
    measured(evidence, ours=0.2)
    found = Store(experiments.SPEED).load()
    assert [r["seed"] for r in found] == [0, 1]
    found[1]["time"] = "2999-01-01T00:00:00Z"
    table = machine.speed(found)
    assert len(table) == 4
    line = table.loc[("ranking all", "MF (r=1)")]
    assert (line["ours"], line["kept"], line["limit"]) == ("0.2", "1 of 2", "under 0.1")
    assert line["times as fast"] == "2.5 (2.5 to 10)"
    alone = machine.speed(found[:1]).loc[("ranking all", "MF (r=1)")]
    assert (alone["kept"], alone["times as fast"]) == ("1 of 1", "10")
    how = machine.speed_settings(found).loc[("ranking all", "MF (r=1)")]
    assert (how["peer"], how["threads"], how["day"]) == ("a loop", "2", "2999-01-01")
    said = machine.speed_found(found)
    assert "speed not kept in the last run: 1 of 4, ranking of MF (r=1)" in said
    often = "Kept in every run: 0 of 4; ranking of MF (r=1) on `ml-1m` in 1 of 2 runs."
    assert said.endswith(often)
    # A last run that keeps the limit hides none before it that did not.
    found[0]["time"], found[1]["time"] = found[1]["time"], found[0]["time"]
    said = machine.speed_found(found)
    assert "speed kept in the last run: 1 of 4" in said and said.endswith(often)
    # Another peer in the same runs is said with it once.
    two = [r | {"config": r["config"] | {"peer": "another"}} for r in found]
    assert machine.speed_found([*found, *two]) == said
    # A measurement elsewhere says nothing of what is asked of ML-1M.
    assert "not measured yet: 4 of 4" in machine.speed_found([found[0] | {"dataset": "ml-100k"}])


def test_agreement_is_shown_whether_there_is_any_or_not(evidence) -> None:
    assert (machine.parity([]) == "pending").all(axis=None)
    assert machine.parity_found([]).startswith("Pending: ")
    for row, difference in (("NCF", 0.01), ("ItemKNN", 0.5)):
        numbers = {"difference": difference, "allowed": 0.02, "ours": 0.5, "theirs": 0.51}
        config = {"what": "HR@10", "peer": "RecBole 1.2.1, NeuMF"}
        evidence.keep(experiments.PARITY, row, "ml-100k", numbers, config)
    found = Store(experiments.PARITY).load()
    table = machine.parity(found)
    assert table.loc[("NCF", "HR@10"), "agrees"] == "yes" and "day" not in table
    assert table.loc[("ItemKNN", "HR@10"), "agrees"] == "no"
    assert table.loc[("EASE^R", "pending"), "peer"] == "pending"
    text = machine.parity_found(found)
    assert text.startswith("1 of 2 comparisons on record agree; pending are those of ConvNCF")


def test_a_comparison_is_stored_only_where_that_is_asked(evidence, monkeypatch) -> None:
    """And also where it fails, before it does."""
    import torch

    parity = Path(__file__).parents[1] / "parity"
    monkeypatch.setattr(sys, "path", [str(parity), *sys.path])
    import agreement

    monkeypatch.setattr(agreement, "version_of_peer", lambda: "0")
    one, names = torch.tensor([1.0, 2.0]), ("EASE^R", "EASE", "scores")
    agreement.assert_same(one, one, 0, 1e-3, *names)
    assert not Store(experiments.PARITY).load()
    monkeypatch.setenv("REPLICATION_PARITY_RECORD", "1")
    agreement.assert_same(one, one + 1e-4, 0, 1e-3, *names)
    with pytest.raises(AssertionError):
        agreement.assert_same(one, torch.tensor([1.0, 2.5]), 0, 1e-3, *names)
    with pytest.raises(AssertionError):
        agreement.assert_within_the_spread(
            [(0.5, 0.3), (0.51, 0.31)], [(0.5, 0.9), (0.51, 0.91)], "NCF", "NeuMF"
        )
    found = [r["metrics"] for r in Store(experiments.PARITY).load()]
    assert [m["difference"] <= m["allowed"] for m in found] == [True, False, True, False]
    assert found[1]["difference"] == pytest.approx(0.5)
