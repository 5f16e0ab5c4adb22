"""The page of costs: each training counts once, and what remains follows from what was measured."""

from __future__ import annotations

from typing import Any

import pytest

from replication import paths
from replication.page import Study
from replication.papers.amp_cf import experiments, explanations, lists, packing, planted
from replication.papers.amp_cf.pages import cost
from replication.records import Store

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
        if (c.cell.row, c.cell.dataset, c.cell.protocol) == (row, "ml-1m", protocol) and c.main
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
    text = cost.headline(study(*some[:3]), [])
    assert "took 3.00 core-hours and 1.00 GPU-hours, and what is missing needs about" in text
    assert "hours more, as far as its pace is known." in text
    assert "Pace not yet measured: AMP-2 (" in text


def test_the_processor_s_seconds_count_where_one_thread_noted_them() -> None:
    """Of several threads, or beside a GPU, they are another quantity."""
    busy = record("NCF", 2 * HOUR, cpu_seconds=HOUR, seconds_per_epoch=20.0)
    assert cost.core_hours([busy]) == pytest.approx(1)
    assert cost.core_hours([busy | {"threads": 2}]) == pytest.approx(4)
    assert cost.core_hours([busy | {"device": "cuda"}], "cuda") == pytest.approx(2)
    found = one(study(busy | {"cpu_seconds_per_epoch": 10.0}), [], "NCF")
    assert (found.run_seconds, found.epoch_seconds) == (HOUR, 10.0)
    assert one(study(busy), [], "NCF").epoch_seconds == 20.0


def test_missing_seeds_cost_what_the_others_did() -> None:
    runs = [record("AMP-2", s * HOUR, seed, seconds_per_epoch=s) for seed, s in enumerate((1, 3))]
    found = one(study(*runs), [], "AMP-2")
    assert (found.missing, found.run_seconds, found.estimated) == (3, 2 * HOUR, False)
    assert found.left == pytest.approx(6) and found.epoch_seconds == pytest.approx(2)
    # Nothing was run under the other protocol: five runs like these.
    other = one(study(*runs), [], "AMP-2", "loo-ncf")
    assert other.estimated and other.left == pytest.approx(10)
    assert one(study(*runs), [], "NCF").left is None


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
    silent = table.loc[("ConvNCF", "loo-random"), "hours that remain"]
    assert silent == "not yet measured"


def test_batches_that_were_timed_stand_in_for_runs(tmp_path, monkeypatch) -> None:
    """Before trials, whose seconds hold pretraining, and other data sets; runs come before both."""
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    numbers = {
        "seconds of preparation": 100.0,
        "seconds per epoch": 10.0,
        "seconds per validation": 1.0,
        "batches": 5000,
        "batches timed": 200,
        "seconds of a full pass": 9 * HOUR,
    }
    made = record("ConvNCF", 0.0, metrics=numbers, table=experiments.PACE)
    assert Store(experiments.PACE).append(made)
    searched = [trial("ConvNCF", 300.0, 0, epochs_run=2)]
    epochs = cost.epochs_of_run("conv-ncf", "ml-1m")
    found = one(study(), searched, "ConvNCF")
    assert found.epoch_seconds == 10 and found.estimated
    assert found.run_seconds == 2 * (100 + 10 * epochs) + epochs
    assert found.trial_seconds == 300  # trials are on record
    n = cost.epochs_of_trial("conv-ncf", "ml-1m")
    assert one(study(), [], "ConvNCF").trial_seconds == 100 + 11 * n
    pairs = {"ml-1m": 1000.0, "pinterest": 3000.0}
    table = cost.of_the_slow(study(), [], pairs)
    line = table.loc[("ml-1m", "ConvNCF")]
    assert list(line) == ["5000", "10", "measured over 200 batches", "100", "9"]
    other = table.loc[("pinterest", "ConvNCF")]
    assert list(other)[1:3] == ["30", "extrapolated from ml-1m"] and other["catalogue, h"] == "–"
    assert table.loc[("pinterest", "DeepICF+a"), "from"] == "not yet measured"
    run = record("ConvNCF", 50.0, seconds_per_epoch=7.0)
    assert one(study(run), [], "ConvNCF").run_seconds == 50
    line = cost.of_the_slow(study(run), [], pairs).loc[("ml-1m", "ConvNCF")]
    assert list(line)[1:3] == ["7", "runs on record"]


def test_a_slow_model_is_told_of_by_its_trials_or_by_runs_that_train_nothing(
    tmp_path, monkeypatch
) -> None:
    """Here and, in proportion to the pairs, where there are none."""
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    pairs = {"ml-1m": 1000.0, "pinterest": 3000.0}
    searched = [trial("ConvNCF", 300.0, 0, epochs_run=2)]
    runs = [record("DiRec", 0.5, seed=seed, select="validation") for seed in range(2)]
    table = cost.of_the_slow(study(*runs), searched, pairs)
    line = table.loc[("ml-1m", "ConvNCF")]
    assert list(line) == ["–", "150", "trials on record", "–", "–"]
    other = table.loc[("pinterest", "ConvNCF")]
    assert list(other)[1:3] == ["450", "extrapolated from ml-1m"]
    line = table.loc[("ml-1m", "DiRec")]
    assert list(line) == ["–", "–", "runs on record", "0.5", "–"]
    assert table.loc[("pinterest", "DiRec"), "from"] == "not yet measured"


def all_there(table: str, **changes: Any) -> list[dict[str, Any]]:
    """A record for every cell and seed of a table."""
    return [
        record(c.row, 36.0, seed, dataset=c.dataset, protocol=c.protocol, select=c.select)
        | {"variant": c.variant, "table": table}
        | changes
        for c in packing.grids()[table]
        if not c.unavailable
        for seed in range(c.seeds_required)
    ]


def untimed(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


def test_the_headline_says_when_all_is_there() -> None:
    """And when it is not, and what is missing. A variant, an ablation's model or a
    record of another table that is missing makes it incomplete too."""
    cells = [c for c in packing.grids()[experiments.TABLE2] if not c.unavailable]
    assert {"AMP-5", "MF-512"} <= {c.row for c in cells} and "alpha-0.9" in {
        c.variant for c in cells
    }
    runs = all_there(experiments.TABLE2)
    wanted = {
        (c.row, c.dataset) for c in cells if experiments.row(packing.model_of(c)).draw is not None
    }
    searched = [
        trial(name, 36.0, n, dataset=dataset)
        for name, dataset in sorted(wanted)
        for n in range(experiments.N_TRIALS)
    ]
    whole = cost.headline(study(*runs), searched, all_there)
    hours = (len(runs) + len(searched)) / 100
    assert f"Table 2: runs {len(runs)}, search trials {len(searched)}." in whole
    assert f"took {hours:.2f} core-hours, and nothing is missing" in whole
    assert f"all {len(cells)} cells, and the tables" in whole
    others = sum(len(all_there(table)) for table in cost.OTHERS)  # their records hold 36 seconds
    every = f"{hours + others / 100:.2f}"
    assert f"all tables: about {every} core-hours, {every} on record and 0.00 that remain" in whole
    assert "hold no time" not in whole
    timeless = cost.headline(study(*runs), searched, lambda table: untimed(all_there(table)))
    assert f"{others} records hold no time and count as none." in timeless
    assert f"all tables: about {hours:.2f} core-hours, {hours:.2f} on record" in timeless
    variant = next(n for n, r in enumerate(runs) if r["variant"])
    for gone in (0, variant, len(runs) - 1):
        short = cost.headline(study(*runs[:gone], *runs[gone + 1 :]), searched, all_there)
        assert f"Missing: runs 1, in 1 of {len(cells)} cells, variants and ablations" in short
        assert "what is missing needs about 0.01 hours more." in short and "Pace" not in short
    short = cost.headline(study(*runs), searched[1:], all_there)
    assert "is the cost of a full rerun" not in short and "included; search trials 1;" in short
    short = cost.headline(
        study(*runs), searched, lambda table: all_there(table)[table == lists.TABLE3 :]
    )
    assert "what is missing needs about 0.01 hours more." in short
    assert short.endswith("search trials 0; records of the other tables 1.")
    for text in (whole, short):
        assert text.startswith("**Asked.** ") and text.count("**Found.**") == 1


def test_without_records_every_part_says_so(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    nothing = study()
    assert cost.headline(nothing, []).endswith(cost.PENDING)
    assert cost.dearest(nothing, []) == cost.PENDING
    assert cost.figure(nothing, []).data == cost.PENDING
    assert (cost.by_dataset(nothing, [])["core-hours"] == "–").all()
    for dataset in cost.datasets(nothing):
        remain = cost.by_cell(nothing, [], dataset)["hours that remain"]
        assert set(remain) == {"not yet measured"}
    assert set(cost.by_departure(nothing, [])["hours that remain"]) == {"not yet measured"}
    assert cost.untimed(lambda name: []) == cost.PENDING
    assert "yahoo-music" not in cost.datasets(nothing)  # can never cost anything here
    table = cost.by_table(lambda name: [])
    assert set(table["records"]) == {"0"} and set(table["core-hours"]) == {"–"}


def test_a_picture_where_there_are_hours() -> None:
    drawn = cost.figure(study(record("NCF", HOUR)), [trial("NCF", HOUR, 0)])
    assert drawn.data.startswith(b"\x89PNG")


def test_the_dearest_come_first() -> None:
    page = study(record("NCF", 10.0), record("MostPop", 0.0, select="none"), record("AMP-2", 30.0))
    assert "AMP-2 (75 %), NCF (25 %)" in cost.dearest(page, [])
    assert "of NCF (57 %), AMP-2 (43 %)." in cost.dearest(page, [trial("NCF", 30.0, 0)])


def test_a_variant_costs_what_it_does_elsewhere() -> None:
    """The ratio on the other data set; without it the pairs of an epoch; neither without a main."""
    small, other = {"dataset": "ml-100k"}, {"dataset": "ml-latest-small"}
    main = [record("AMP-2", 10.0, **small), record("AMP-2", 40.0, **other)]
    dear = record("AMP-2", 70.0, **small, variant="negatives-100")
    paces = cost.Paces([*main, dear], [], {})
    assert paces.of_run("amp-2", "ml-latest-small", "negatives-100") == pytest.approx(280)
    assert paces.of_run("amp-2", "ml-100k", "negatives-100") == 70.0
    assert paces.of_run("amp-2", "ml-100k", "printed-negatives-20") == pytest.approx(10 * 21 / 5)
    assert paces.of_run("amp-2", "ml-100k", "alpha-0.1") == 10.0
    assert paces.of_run("amp-2", "ml-1m", "longer") is None
    longer = cost.Paces([record("MF (r=1)", 12.0)], [], {}).of_run("mf", "ml-1m", "longer")
    assert longer == pytest.approx(12 * 25 / experiments.MAX_EPOCHS["ml-1m"])


def test_an_ablation_model_costs_what_its_family_does() -> None:
    """As many times longer as it is wider than the nearest; a narrower one as long."""
    on = {"dataset": "ml-100k"}
    runs = [record("AMP-4", 10.0, **on), record("AMP-8", 30.0, **on), record("MF (r=1)", 4.0, **on)]
    paces = cost.Paces(runs, [trial("AMP-4", 8.0, 0, **on)], {})
    assert paces.of_run("amp-5", "ml-100k") == pytest.approx(12.5)
    assert paces.of_run("amp-7", "ml-100k") == 30.0
    assert paces.of_run("mf-512", "ml-100k") == pytest.approx(32)
    assert paces.of_trial("amp-5", "ml-100k") == pytest.approx(10)
    assert paces.of_run("ncf", "ml-100k") is None and paces.of_run("mf-512", "ml-1m") is None


def test_a_trained_model_costs_more_on_more_pairs() -> None:
    """From the data set of the nearest size; a closed form is not taken to be so."""
    runs = [
        record(name, seconds, dataset=dataset)
        for name in ("NCF", "EASE^R")
        for dataset, seconds in (("ml-100k", 10.0), ("amazon-video-games", 5.0))
    ]
    pairs = {"ml-100k": 1e5, "ml-1m": 1e6, "amazon-video-games": 1e4}
    paces = cost.Paces(runs, [], pairs)
    epochs = experiments.MAX_EPOCHS["ml-1m"] / experiments.row("ncf").start.max_epochs
    assert paces.of_run("ncf", "ml-1m") == pytest.approx(10 * 10 * epochs)
    assert paces.of_run("ease", "ml-1m") is None
    assert paces.of_run("ncf", "pinterest") is None  # its size is not known


def test_trials_on_one_data_set_tell_of_the_others() -> None:
    """Goes red if only runs do: ConvNCF, which costs most, then has no estimate anywhere else."""
    small, own = "ml-latest-small", {"dataset": "ml-latest-small", "epochs_run": 3}
    searched = [trial("ConvNCF", 450.0, n, **own) for n in range(12)]
    pairs = {small: 1e5, "ml-1m": 1e6, "pinterest": 5e5, "ml-100k": 1e5, "amazon-video-games": 1e4}
    paces = cost.Paces([], searched, pairs)
    most = experiments.row("conv-ncf").max_epochs
    assert most and paces.of_epoch("conv-ncf", small) == 150
    assert paces.of_run("conv-ncf", small) == 2 * most * 150
    assert paces.of_run("conv-ncf", "ml-100k") == pytest.approx(2 * most * 150)
    large = experiments.MAX_EPOCHS["ml-1m"]
    assert paces.of_run("conv-ncf", "ml-1m") == pytest.approx(2 * large * 150 * 10)
    found = [c for c in cost.costs(study(), searched, pairs) if c.cell.row == "ConvNCF" and c.main]
    assert {c.cell.dataset for c in found} == set(experiments.RUN_HERE)
    assert all(c.left and c.trials_left for c in found)
    assert "ConvNCF" not in " ".join(cost._silent(found))
    # A run there goes before the trials there.
    paces = cost.Paces([record("ConvNCF", 30.0, dataset=small)], searched, pairs)
    assert paces.of_run("conv-ncf", "ml-100k") == pytest.approx(30)


def test_what_other_tables_lack() -> None:
    """A record takes what its row takes there, else what the data set's do, else it is unknown."""
    none = {k: v for k, v in record("AMP-2", 0.0, dataset="ml-100k").items() if k != "seconds"}
    timed = [
        record("MF (r=1)", 10.0, dataset="ml-1m"),
        record("AMP-2", 20.0, dataset="ml-1m"),
        none,
    ]
    timed = [r | {"table": lists.TABLE3} for r in timed]
    lacking, hours, unknown = cost.measured_left(lists.TABLE3, lambda table: timed)
    every = [c for c in packing.grids()[lists.TABLE3] if not c.unavailable]
    on = [c for c in every if c.dataset == "ml-1m"]
    assert lacking == sum(c.seeds_required for c in every) - 3
    mf, amp = (sum(c.seeds_required for c in on if c.row == r) - 1 for r in ("MF (r=1)", "AMP-2"))
    others = sum(c.seeds_required for c in on) - mf - amp - 2
    assert hours * HOUR == pytest.approx(mf * 10 + amp * 20 + others * 15)
    assert unknown == lacking - others - mf - amp
    frame = cost.by_table(lambda table: timed if table == lists.TABLE3 else [])
    assert frame.loc[lists.TABLE3, "hours that remain"].startswith("over ")
    assert frame.loc[explanations.TABLE, "hours that remain"] == "not yet measured"
    text = cost.untimed(lambda table: timed if table == lists.TABLE3 else [])
    assert "10 to 20 seconds (2 hold a time)" in text and f"1 of `{lists.TABLE3}`" in text


def test_what_remains_is_what_would_be_packed() -> None:
    """One list of cells for both: with nothing stored, as many runs and records."""
    jobs = packing.pending(packing.TABLES, None, None, lambda table: [])
    found = cost.costs(study(), [], {})
    assert sum(c.missing for c in found) == sum(job.kind == "run" for job in jobs)
    for table in cost.OTHERS:
        kind = packing.KIND_OF[table]
        lacking, _, unknown = cost.measured_left(table, lambda table: [])
        assert lacking == unknown == sum(job.kind == kind for job in jobs)
    assert planted.TABLE in cost.OTHERS
