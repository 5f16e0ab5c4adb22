"""The page of costs: each training counts once, and what remains follows from what was measured."""

from __future__ import annotations

from typing import Any

import pytest

from replication import paths
from replication.page import Study
from replication.papers.amp_cf import experiments
from replication.papers.amp_cf.pages import cost

HOUR = 3600.0


def record(row: str, seconds: float, seed: int = 0, **changes: Any) -> dict[str, Any]:
    return {
        "table": experiments.TABLE2,
        "row": row,
        "dataset": "ml-1m",
        "protocol": "loo-random",
        "variant": "",
        "select": "validation",
        "data_hash": "0",
        "config": {},
        "seed": seed,
        "seconds": seconds,
        "device": "cpu",
    } | changes


def trial(row: str, seconds: float, number: int, **changes: Any) -> dict[str, Any]:
    return record(row, seconds, trial=number, table=experiments.TUNING, **changes)


def study(*records: dict[str, Any]) -> Study:
    return Study(experiments.TABLE2, "stored", "validation", records, {}, None, experiments.grid())


def one(page: Study, searched: list[dict[str, Any]], row: str, protocol: str = "loo-random"):
    """The cost of one cell of MovieLens 1M."""
    (found,) = (
        c
        for c in cost.costs(page, searched)
        if (c.cell.row, c.cell.dataset, c.cell.protocol) == (row, "ml-1m", protocol)
    )
    return found


def test_a_training_counts_once() -> None:
    """Goes red if the record without a refit or a variant that rides along is added again."""
    main = record("MF (r=1)", HOUR, protocol="loo-ncf")
    same = [
        main | {"select": experiments.VALIDATION_NO_REFIT, "seconds": HOUR / 2},
        main | {"variant": "no-consumed-negatives"},
    ]
    own = main | {"variant": "redraw", "seconds": 2 * HOUR}
    assert cost.core_hours([main, *same, own]) == pytest.approx(3)
    table = cost.by_dataset(study(main, *same, own), [trial("MF (r=1)", HOUR / 4, 0)])
    assert list(table.loc["ml-1m"])[:4] == ["0.250", "1.000", "2.000", "3.250"]
    assert list(table.loc["all"])[:4] == ["0.250", "1.000", "2.000", "3.250"]
    assert list(table.loc["pinterest"])[:4] == 4 * ["–"]


def test_threads_and_devices_are_kept_apart() -> None:
    some = [
        record("NCF", HOUR, threads=2),
        record("NCF", HOUR, seed=1),
        record("NCF", HOUR, seed=2, device="cuda", threads=16),
        {key: value for key, value in record("NCF", 0.0).items() if key != "seconds"},
    ]
    assert cost.core_hours(some) == pytest.approx(3)
    assert cost.core_hours(some, "cuda") == pytest.approx(1)
    on_cpu = cost.by_dataset(study(some[1]), [])
    assert not any("GPU" in name for name in on_cpu.columns)
    both = cost.by_dataset(study(*some[:3]), [])
    assert both.loc["ml-1m", "GPU-hours"] == "1.000"
    assert "3.00 core-hours and 1.00 GPU-hours" in cost.headline(study(*some[:3]), [])


def test_missing_seeds_cost_what_the_others_did() -> None:
    runs = [record("AMP-2", s * HOUR, seed, seconds_per_epoch=s) for seed, s in enumerate((1, 3))]
    found = one(study(*runs), [], "AMP-2")
    assert (found.missing, found.run_seconds, found.estimated) == (3, 2 * HOUR, False)
    assert found.left == pytest.approx(6) and found.epoch_seconds == pytest.approx(2)
    # Nothing was run under the other protocol: five runs like these.
    other = one(study(*runs), [], "AMP-2", "loo-ncf")
    assert other.estimated and other.left == pytest.approx(10)
    assert one(study(*runs), [], "AMP-3").left is None


def test_what_only_trials_tell(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trained model: the trials' seconds an epoch, for all epochs, twice; else a whole trial."""
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    searched = [trial("NCF", 120.0, n, epochs_run=2) for n in range(15)]
    searched += [trial("ItemKNN", 30.0, n) for n in range(experiments.N_TRIALS)]
    found = one(study(), searched, "NCF")
    epochs = experiments.MAX_EPOCHS["ml-1m"]
    assert found.epoch_seconds == 60 and found.run_seconds == 2 * epochs * 60
    assert found.left == pytest.approx(5 * 2 * epochs * 60 / HOUR)
    assert found.missing_trials == 5 and found.trials_left == pytest.approx(5 * 120 / HOUR)
    simple = one(study(), searched, "ItemKNN")
    assert (simple.missing_trials, simple.trials_left, simple.left) == (0, 0.0, 30 / HOUR)
    hours, unknown = cost.remaining([found, simple, one(study(), searched, "NCF", "loo-ncf")])
    assert unknown == 0  # the search is one, whichever protocol uses it
    assert hours == pytest.approx(2 * found.left + found.trials_left + simple.left)
    table = cost.by_cell(study(), searched, "ml-1m")
    assert table.loc[("NCF", "loo-random"), "seconds an epoch"] == "60"
    assert table.loc[("NCF", "loo-random"), "seconds a run"] == f"({120 * epochs})"
    assert table.loc[("NCF", "loo-ncf"), "trials"] == "–"  # not counted twice
    assert table.loc[("ConvNCF", "loo-random"), "hours that remain"] == "pending"


def test_the_headline_says_when_all_is_there() -> None:
    """And when it is not: in two sentences, both computed."""
    cells = [cell for cell in experiments.grid() if not cell.unavailable]
    runs = [
        record(c.row, 36.0, seed, dataset=c.dataset, protocol=c.protocol, select=c.select)
        for c in cells
        for seed in range(c.seeds_required)
    ]
    searched = [
        trial(known.name, 36.0, n, dataset=dataset)
        for known in experiments.ROWS.values()
        if known.draw is not None
        for dataset in experiments.RUN_HERE
        for n in range(experiments.N_TRIALS)
    ]
    whole = cost.headline(study(*runs), searched)
    hours = (len(runs) + len(searched)) / 100
    assert f"The {len(runs)} runs behind Table 2 and {len(searched)} search trials" in whole
    assert f"took {hours:.2f} core-hours; all {len(cells)} cells are complete" in whole
    short = cost.headline(study(*runs[1:]), searched)
    assert f"1 of {len(cells)} cells lack runs" in short and "about 0.01 hours more." in short
    short = cost.headline(study(*runs), searched[1:])
    assert "is the cost of a full rerun" not in short
    for text in (whole, short):
        assert text.startswith("**Asked.** ") and text.count("**Found.**") == 1


def test_without_records_every_part_says_so() -> None:
    nothing = study()
    assert cost.headline(nothing, []).endswith(cost.PENDING)
    assert cost.dearest(nothing, []) == cost.PENDING
    assert cost.figure(nothing, []).data == cost.PENDING
    assert (cost.by_dataset(nothing, [])["core-hours"] == "–").all()
    for dataset in cost.datasets(nothing):
        assert set(cost.by_cell(nothing, [], dataset)["hours that remain"]) == {"pending"}
    assert "yahoo-music" not in cost.datasets(nothing)  # can never cost anything here
    table = cost.by_table(lambda name: [])
    assert set(table["records"]) == {"0"} and set(table["core-hours"]) == {"–"}


def test_a_picture_where_there_are_hours() -> None:
    drawn = cost.figure(study(record("NCF", HOUR)), [trial("NCF", HOUR, 0)])
    assert drawn.data.startswith(b"\x89PNG")


def test_the_dearest_come_first() -> None:
    page = study(record("NCF", 10.0), record("MostPop", 0.0, select="none"), record("AMP-2", 30.0))
    assert "AMP-2 (75%), NCF (25%)" in cost.dearest(page, [])
    assert "of NCF (57%), AMP-2 (43%)." in cost.dearest(page, [trial("NCF", 30.0, 0)])


def test_peaks_stand_where_they_belong() -> None:
    peaks = [
        record("EASE^R", 0.0, dataset="pinterest", metrics={"peak GiB": 1.234}),
        record("AMP-4", 0.0, dataset="ml-1m", metrics={"peak GiB": 0.5}),
    ]
    table = cost.memory(peaks)
    assert list(table.index) == ["AMP-4", "EASE^R"] and list(table) == ["ml-1m", "pinterest"]
    assert table.loc["EASE^R"].tolist() == ["–", "1.23"]
    assert cost.memory([]).empty  # which the page shows as a sentence
