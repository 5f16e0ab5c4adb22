"""The ablation studies: each level changes what it says and nothing else, and the page follows it.

Made-up ranks stand in for runs: a level that ranks held-out items lower must come out as a loss,
the same level with better ranks as a gain, and the sentences on the paper must turn with it.
"""

from dataclasses import asdict

import numpy as np
import pytest

from replication.compare import load_published
from replication.metrics.ranking import summary
from replication.page import Study
from replication.papers.amp_cf import experiments
from replication.papers.amp_cf.ablations import EQUAL, LEVELS, PROTOCOL, SMALL, STUDIES
from replication.papers.amp_cf.pages import ablations as page
from replication.papers.amp_cf.rows import row

USERS = 400


# --- the grid ----------------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_differs_from_its_base_in_the_named_fields_only(level):
    spec = LEVELS[level]
    for model in spec.models:
        for dataset in spec.datasets:
            base = asdict(
                row(model).start
                if spec.from_start
                else experiments.variant_config(model, dataset, "")
            )
            changed = asdict(experiments.variant_config(model, dataset, level))
            assert {k: v for k, v in changed.items() if v != base[k]} == dict(spec.changes)


def test_every_level_is_a_variant_that_can_be_run_and_stands_in_a_study():
    shown = {line.level for study in STUDIES.values() for line in study.lines}
    assert shown == {""} | set(LEVELS)
    for level, spec in LEVELS.items():
        jobs = experiments.plan(variant=level)
        assert {(j.model, j.dataset, j.seed) for j in jobs} == {
            (model, dataset, seed)
            for model in spec.models
            for dataset in spec.datasets
            for seed in range(spec.seeds)
        }
        assert {(j.protocol, j.select) for j in jobs} == {(PROTOCOL, "validation")}
        cells = {(c.row, c.dataset): c for c in experiments.grid(variant=level)}
        for (model, name, dataset), cell in page.grid().items():
            if name == level:
                assert cell == cells[experiments.row_name(model), dataset]


def test_lines_are_compared_with_the_same_model_but_for_the_level():
    """Personas and parameters compare models: there the level must be none."""
    for name, study in STUDIES.items():
        for line in study.lines:
            if line.against is None:
                continue
            model, level = line.against
            assert any((o.model, o.level) == line.against for o in study.lines if not o.against)
            if name in ("personas", "parameters"):
                assert line.level == level == ""
            else:
                assert model == line.model and line.level
                # The printed start is compared with the printed start.
                from_start = bool(level) and LEVELS[level].from_start
                assert LEVELS[line.level].from_start == from_start


def test_a_user_has_as_many_numbers_in_both_models_of_a_pair():
    for personas, width in EQUAL:
        one, several = row(f"mf-{width}").start, row(f"amp-{personas}").start
        assert one.personas == 1 and one.dimension == personas * several.dimension
        # Apart from the dimension it is MF of Table 2, with the same trials.
        assert asdict(one) | {"dimension": 64} == asdict(row("mf").start)
        assert row(f"mf-{width}").draw is row("mf").draw
    assert row("mf-128").name == "MF-128"  # by which a record finds its model again
    assert row("mf-128".upper().lower()).start == row("mf-128").start


# --- the page ----------------------------------------------------------------------------------


def study_with(
    better: dict[tuple[str, str], float], only: set[str] | None = None, noisy: str = ""
) -> Study:
    """Runs of every line whose held-out item lands in the top ten for half of the users.

    Args:
        better: (model, level) -> larger share of users with a hit (smaller below zero).
        only: levels that have runs (main cells always do); None: all.
        noisy: a level that hits other users than the other lines do.
    """
    records, ranks = [], {}
    for (model, level, dataset), cell in page.grid().items():
        if level and only is not None and level not in only:
            continue
        for seed in range(cell.seeds_required):
            rng = np.random.default_rng([seed, SMALL.index(dataset), level == noisy != ""])
            hit = rng.random(USERS) < 0.5 + better.get((model, level), 0.0)
            place = np.where(hit, 3, 50).astype(np.uint16)
            key = f"{model}/{level}/{dataset}/{seed}"
            ranks[key] = (place, place)
            records.append(
                {
                    "key": key,
                    "table": cell.table,
                    "row": cell.row,
                    "dataset": dataset,
                    "data_hash": "made up",
                    "protocol": PROTOCOL,
                    "variant": level,
                    "select": "validation",
                    "config": {"alpha": 0.25, "lambda_p": 0.125, "lambda_n": 2.0},
                    "seed": seed,
                    "metrics": summary(place),
                    "seconds_per_epoch": 3.0 if level.startswith("similarity") else 1.0,
                    "parameters": 1000,
                    "machine": "a machine",
                    "device": "cpu",
                    "time": "2026-01-01T00:00:00Z",
                }
            )
    return Study("amp_cf/table2", "stored", "validation", records, ranks, load_published("amp_cf"))


def test_a_gain_of_a_baseline_is_not_counted_as_one_of_amp():
    better = {("aisp-2", "aisp-unit-length"): 0.2}
    text = page.headline(page.results(study_with(better)))
    assert "and a gain in 0, and the paper's claim on" in text.split("\n\n")[1]
    assert "AISP's item vectors: of 36 comparisons of that baseline with itself, 0 with" in text
    assert "an established loss and 4 with a gain." in text


def test_the_opening_counts_losses_choices_and_gains():
    better = many(-1, "no-item-bias", "alpha-0.1") | many(1, "uniform-negatives")
    text = page.headline(page.results(study_with(better)))
    own = [study for study in STUDIES.values() if not study.of_baseline]
    n = sum(len(line.datasets) * 2 for study in own for line in study.lines if line.against)
    assert (
        f"A loss of accuracy is established in 8 of {n} comparisons (2 of {len(own)} "
        "choices) and a gain in 4, and the paper's claim on the number of negatives is not "
        "supported and on the similarity function is supported on `ml-latest-small` and `ml-100k`."
    ) in text
    assert (
        "8 with an established loss, under alpha, projections and item bias; 4 with a gain" in text
    )


def test_what_is_not_recorded_is_not_in_the_opening():
    some = study_with({}, only={"alpha-0.1"})
    some.records = [run for run in some.records if run["row"] == "AMP-2"]
    text = page.headline(page.results(some))
    assert "in 0 of 4 comparisons (0 of 1 choices) and a gain in 0.\n" in text
    assert "claim on" not in text and text.endswith("and 4 with neither (pending: 134 more).")
    some = study_with({}, only={"aisp-unit-length"})
    some.records = [run for run in some.records if run["row"].startswith("AISP")]
    text = page.headline(page.results(some))
    assert "**Found.** Pending: no choice of AMP or MF is compared yet.\n" in text
    assert text.endswith(
        "AISP's item vectors: of 12 comparisons of that baseline with itself, 0 "
        "with an established loss and 0 with a gain."
    )


def test_a_title_inside_a_sentence_keeps_the_capitals_of_a_model():
    titles = [STUDIES[name].inner_title for name in ("negatives", "vectors", "radius", "alpha")]
    assert titles == ["number of negatives", "AISP's item vectors", "DiRec's radius", "alpha"]


def many(sign: float, *levels: str) -> dict[tuple[str, str], float]:
    return {("amp-2", level): 0.2 * sign for level in levels}


NEGATIVES = [line.level for line in STUDIES["negatives"].lines if line.against]


@pytest.mark.parametrize(
    ("better", "words"),
    [
        (many(-1, *NEGATIVES), "supported, in all 18 comparisons"),
        (many(1, *NEGATIVES), "contradicted, a gain is established in all 18 comparisons"),
        (
            many(1, "negatives-10"),
            "contradicted in part, a gain is established in 4 of 18 comparisons and a loss in none",
        ),
        (many(-1, "negatives-100"), "supported in part, the loss is established in 4 of 18"),
        (
            many(-1, "negatives-100") | many(1, "negatives-10"),
            "divided, 4 of 18 comparisons establish a loss and 4 a gain",
        ),
        ({}, "not supported, none of 18 comparisons establishes a difference"),
    ],
    ids=["worse", "better", "some better", "some worse", "both", "the same"],
)
def test_what_is_said_of_the_negatives_turns_with_the_records(better, words):
    found = page.results(study_with(better))
    assert words in page.verdict(found, "negatives")
    assert words in page.headline(found)


@pytest.mark.parametrize(
    ("study", "words"),
    [
        (
            {},
            "excluded in all 8 comparisons, and a loss is established in 0; training is longer",
        ),
        (
            {"better": many(1, "similarity-elu")},
            "contradicted, 4 of 8 comparisons establish a gain",
        ),
        (
            {"noisy": "similarity-gelu"},
            "not contradicted, but a gain of 0.01 is not excluded in 4 of 8 comparisons",
        ),
    ],
    ids=["the same", "better", "unclear"],
)
def test_what_is_said_of_the_networks_turns_with_the_records(study, words):
    found = page.results(study_with(**({"better": {}} | study)))
    assert words in page.verdict(found, "similarity")
    assert "an epoch takes 3.0 to 3.0 times the seconds" in page.verdict(found, "similarity")


def test_an_epoch_that_is_no_longer_is_not_called_longer():
    study = study_with({})
    for record in study.records:
        if record["variant"] == "similarity-elu" and record["seed"] == 1:
            record["seconds_per_epoch"] = 0.5
    assert "training is not always longer" in page.verdict(page.results(study), "similarity")


def test_the_table_shows_the_difference_and_its_direction():
    found = page.results(study_with(many(-1, "no-item-bias")))
    frame = page.table(found, "parts")
    for dataset in SMALL:
        line = frame.loc[(dataset, "AMP-2, without item bias", "HR@10")]
        assert float(line["difference [95 %]"].split()[0]) == pytest.approx(-0.2, abs=0.03)
        assert line["p"] == "< 0.001"
        assert frame.loc[(dataset, "AMP-2, without item bias", "NDCG@10"), "seeds"] == "5"
        same = frame.loc[(dataset, "AMP-2, without projections", "HR@10")]
        assert same["difference [95 %]"] == "+0.0000 [+0.0000, +0.0000]" and same["p"] == "1.000"
        assert frame.loc[(dataset, "AMP-2, all parts", "HR@10"), "difference [95 %]"] == "–"
    assert list(page.overview(found).loc["Projections and item bias"]) == [
        "20 of 20", "4", "0", "16",
    ]  # fmt: skip


def test_an_amp_against_one_vector_is_split_by_what_its_personas_are():
    """AMP-2 loses on both data sets; on one of them its personas are one vector."""
    known = {("AMP-2", "ml-100k", PROTOCOL): "one vector", ("AMP-3", SMALL[0], PROTOCOL): "several"}
    found = page.results(study_with({("amp-2", ""): -0.2}), known)
    text = page.verdict(found, "personas")
    n = sum(len(line.datasets) * 2 for line in STUDIES["personas"].lines if line.against)
    assert (
        "a loss in 0 of 2 where personas are several, 2 of 2 where they are one vector and "
        f"2 of {n - 4} where it is not measured which; a gain in 0 of 2"
    ) in text
    assert "By what" not in page.verdict(found, "parts")
    frame = page.table(found, "personas")["personas"]
    assert frame[("ml-100k", "2 personas", "HR@10")] == "one vector"
    assert frame[(SMALL[0], "2 personas", "HR@10")] == "not known"
    assert set(frame.xs("1 (MF)", level="number of personas")) == {"–"}
    assert "personas" not in page.table(found, "parts")
    both = [e for name in ("personas", "parameters") for e in page.effects(found, name)]
    assert f"4 of {len(both) - 8} where it is not measured which; a gain" in page.headline(found)


def test_holm_is_within_the_study():
    """The same loss must have a larger p where more lines are compared."""
    better = many(-0.2, "no-item-bias", "alpha-0.1")
    found = page.results(study_with(better))
    of = {
        name: next(
            e.pvalue
            for e in page.effects(found, name)
            if (e.line.level, e.line.model, e.dataset, e.metric)
            == (level, "amp-2", "ml-100k", "HR@10")
        )
        for name, level in (("parts", "no-item-bias"), ("alpha", "alpha-0.1"))
    }
    assert 0 < of["alpha"] < of["parts"] <= 1


def test_without_runs_or_with_a_part_of_them_the_page_says_so():
    study = study_with({}, only={"negatives-10"})
    partly = page.results(study)
    assert "Of 4 comparisons" in page.verdict(partly, "negatives")
    assert "14 more are pending" in page.verdict(partly, "negatives")
    assert page.verdict(partly, "similarity") == page.PENDING
    shown = page.table(partly, "similarity").sort_index()
    assert shown.loc[("ml-100k", "network with ELU", "NDCG@10"), "seeds"] == "0 of 3"
    study.records = []
    nothing = page.results(study)
    assert page.headline(nothing).endswith(page.PENDING) and page.figure(nothing) is None
    assert all((page.table(nothing, name)["mean [95 %]"] == "pending").all() for name in STUDIES)
    assert page.settings(nothing, ("amp-2",)) == page.PENDING


def test_the_figure_has_a_panel_for_each_study_and_a_mark_for_each_comparison():
    found = page.results(study_with(many(-1, "no-entropy")))
    drawn = page.figure(found)
    assert [axis.get_title(loc="left") for axis in drawn.axes] == [
        study.title for study in STUDIES.values()
    ]
    marks = sum(len(axis.collections) for axis in drawn.axes) / 2  # an interval and a point each
    assert marks == sum(
        len([e for e in page.effects(found, name) if e.metric == "NDCG@10"]) for name in STUDIES
    )
