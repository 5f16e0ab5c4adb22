"""Drawn figures: what is read off the module is the module, and pages cope with no records."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.text import Text

from replication import figures, paths
from replication.compare import load_published
from replication.errors import ReplicationError
from replication.figures import Interval, bars, heat, intervals, lines
from replication.page import Study
from replication.papers.amp_cf import explanations as measured
from replication.papers.amp_cf import figure2 as example
from replication.papers.amp_cf.model import AMP, AMPConfig
from replication.papers.amp_cf.pages import explanations, figure1, figure2


def test_figure_1_has_the_tensors_and_dependences_of_section_3() -> None:
    """Fails if the module gets another parameter, loses one, or uses one elsewhere."""
    nodes = {node.name: node for node in figure1.read(4)}
    assert {name: node.shape for name, node in nodes.items()} == {
        "personas": "users × r·d",
        "items": "items × d",
        "attention_user": "d × d_a",
        "attention_item": "d × d_a",
        "item_bias": "items",
        "attention": "B × C × r",
        "similarity": "B × C × r",
        "score": "B × C",
    }
    assert set(nodes["attention"].parents) == {
        "personas", "items", "attention_user", "attention_item",
    }  # fmt: skip
    assert set(nodes["similarity"].parents) == {"personas", "items"}
    assert nodes["score"].parents == ("attention", "similarity", "item_bias")
    for personas in (2, 3, 8):  # the names of the sizes do not depend on their number
        assert [n.shape for n in figure1.read(personas)] == [n.shape for n in nodes.values()]
    with pytest.raises(ReplicationError, match="no attention to draw"):
        figure1.read(1)


def test_figure_1_opens_with_what_is_learned_and_what_the_score_is_made_of() -> None:
    text = figure1.headline(figure1.read(4))
    found = text.split("\n\n")[1]
    assert (
        "it learns only the personas $U^i$, the item vectors $v^j$, the projection $A^u$" in found
    )
    assert "score from the attention, the similarity and the item biases $b^j$." in found
    assert "Used twice: the item vectors $v^j$ and the personas $U^i$ enter through the" in text


def test_the_score_is_the_sum_that_figure_1_writes_into_its_box() -> None:
    torch.manual_seed(0)
    amp = AMP(5, 9, AMPConfig(personas=4, dimension=8))
    items = torch.randint(9, (3, 6))
    scores = amp(torch.arange(3), items)
    mixed = (scores.attention * scores.similarity).sum(-1) + amp.item_bias[items]
    torch.testing.assert_close(scores.score, mixed)


def test_figure_1_draws_each_tensor_once() -> None:
    nodes = figure1.read(2)
    (axis,) = figure1.draw(nodes).axes
    texts = [text.get_text() for text in axis.texts]
    for node in nodes:
        assert sum(text.startswith(f"{node.name}  [") for text in texts) == 1
    arrows = [text for text in axis.texts if getattr(text, "arrow_patch", None)]
    assert len(arrows) == sum(len(node.parents) for node in nodes)


def items(count: int, persona: int) -> list[dict[str, Any]]:
    return [
        {"title": f"A Film with a Long Title, Number {k} (1999)", "genres": "Comedy|Drama|Horror",
         "persona": persona, "attention": 0.9}
        for k in range(count)
    ]  # fmt: skip


RECORD = {
    "row": "AMP-4",
    "dataset": "ml-1m",
    "metrics": {"AMI": 0.25, "overlap": 0.1, "history": 55.0},
    "figure": {
        "user": 3,
        "history": items(20, 1),
        "claimed": [30, 20, 5, 0],
        "final": items(5, 1) + items(5, 2),
        "personas": [items(10, k) for k in (1, 2, 3, 4)],
    },
}


def study(table: str, grid: list, records: Any = (), ranks: Any = None) -> Study:
    printed = load_published("amp_cf")
    return Study(table, "stored", "validation", list(records), ranks or {}, printed, grid)


def test_figure_2_shows_every_item_and_says_what_it_shows() -> None:
    empty = study(measured.TABLE, measured.grid())
    text = figure2.headline(RECORD, empty)
    assert "55 items are claimed by 3 of 4 personas, 30, 20 and 5 of them" in text
    assert "2 of 4 personas are responsible for the ten" in text and "AMI of 0.2500" in text
    assert "user shown, of `ml-1m`, an item's persona has 0.9000 of its attention (1/4 is" in text
    assert "over all items shown, the persona responsible for one has 0.9000 of it (1/4 is" in text
    assert "Over all users" not in text
    assert "a user of `ml-1m` and *AMP-4*" in figure2.shown(RECORD)
    drawn = figure2.draw(RECORD)
    assert drawn.get_suptitle() == "AMP-4 on ml-1m, one user"
    marks = [t.get_text() for axis in drawn.axes for t in axis.texts if t.get_text().isdigit()]
    assert len(marks) == 20 + 10 + 4 * 10 + 4
    assert len(figure2.table(RECORD)) == 20 + 10 + 4 * 10
    assert "Of 55 items of the history 20 are shown" in figure2.how_many(RECORD)
    assert figure2.how_many(RECORD | {"metrics": {"history": 20.0}}) == "The history is whole."


def test_figure_2_says_that_uniform_attention_tells_nothing_apart() -> None:
    shown = copy.deepcopy(RECORD)
    for item in (*shown["figure"]["history"], *shown["figure"]["final"]):
        item["attention"] = 0.2504
    text = figure2.headline(shown, study(measured.TABLE, measured.grid()))
    assert "has 0.2504 of it. All are equal" in text and "has collapsed" in text
    told = "all attentions are equal (collapsed) and tell no item from another"
    assert f"user shown, of `ml-1m`, {told}, the" in text
    assert figure2.shown(shown).endswith(f": {told}.")


def test_the_second_figure_2_is_the_first_data_set_whose_attention_tells_items_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uniform = copy.deepcopy(RECORD) | {"dataset": "ml-latest-small"}
    for item in (*uniform["figure"]["history"], *uniform["figure"]["final"]):
        item["attention"] = 0.25
    stored = [RECORD, RECORD | {"dataset": "ml-100k"}, uniform]
    monkeypatch.setattr(figure2.Store, "load", lambda self: iter(stored))
    found = figure2.with_attention()
    assert found is not None and found["dataset"] == "ml-100k"
    empty = study(measured.TABLE, measured.grid())
    told = figure2.reading(found, empty)
    assert "user shown, of `ml-100k`, an item's persona has 0.9000 of its attention" in told
    assert "2 of 4 personas are responsible for the ten" in told
    del stored[:2]
    assert figure2.with_attention() is None


def test_figure_2_says_how_far_personas_overlap_over_all_users(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    means = {"overlap/lists": 0.3, "overlap/other users": 0.02}
    monkeypatch.setattr(figure2, "overlap_of_all", lambda study, dataset: means)
    text = figure2.headline(RECORD, study(measured.TABLE, measured.grid()))
    assert text.endswith(
        "- Over all users: the mean overlap is 0.3000, against 0.0200 between the personas of "
        "different users."
    )


def test_the_shown_user_is_the_one_in_the_middle() -> None:
    agreement = np.array([0.9, 0.1, np.nan, 0.5, 0.3, 0.2])
    history = np.array([50, 50, 50, 50, 50, 10])  # the last has too few
    assert example.median_user(agreement, history) == 4  # of 0.1, 0.3, 0.5, 0.9 the lower middle


def test_wrong_parameters_of_figure_2_are_one_sentence() -> None:
    for change, words in (
        ({"mode": "fast"}, "unknown mode"),
        ({"dataset": "pinterest"}, "has no data set 'pinterest'"),
        ({"user": "me"}, "whole number or None"),
    ):
        given: dict[str, Any] = {"mode": "stored", "dataset": "ml-1m", "user": None} | change
        with pytest.raises(ReplicationError, match=words):
            figure2.view(**given, device="cpu")


def test_pages_without_records_say_so(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    empty = study(measured.TABLE, measured.grid())
    assert figure2.view("stored", "ml-1m", None, "cpu") is None
    assert "Pending" in figure2.headline(None, empty)
    assert "Pending" in str(figure2.overlaps(empty).index[0])
    found = explanations.answer_all(empty)
    assert "Pending" in explanations.headline(empty, found, empty)
    assert explanations.entropy_figure(empty) is None and explanations.loss_figure(empty) is None
    for frame in (explanations.table([]), explanations.entropies(empty),
                  explanations.planted_table(empty), explanations.planted_used(empty)):  # fmt: skip
        assert "Pending" in str(frame.index[0])


def planted_records(shift: float, seeds: int = 3, users: int = 300) -> Study:
    """Two cells whose negatives have ``shift`` more entropy than the test positives."""
    grid = [replace(cell, seeds_required=seeds) for cell in measured.grid()[:2]]
    rng, records, ranks = np.random.default_rng(0), [], {}
    names = {name for group in explanations.GROUPS.values() for q in group
             for name in (q.first, q.second)} | {"overlap/cosine"}  # fmt: skip
    for cell in grid:
        for seed in range(seeds):
            key = f"{cell.row}/{seed}"
            values = {name: rng.normal(0.5, 0.1, users) for name in names}
            values["entropy/negatives"] = values["entropy/test"] + rng.normal(shift, 0.05, users)
            ranks[key] = values
            records.append(
                {"key": key, "table": cell.table, "row": cell.row, "dataset": cell.dataset,
                 "protocol": cell.protocol, "select": cell.select, "variant": "", "seed": seed,
                 "config": {}, "metrics": {n: float(v.mean()) for n, v in values.items()}}
            )  # fmt: skip
    return study(measured.TABLE, grid, records, ranks)


@pytest.mark.parametrize(
    ("shift", "words"),
    [
        (0.1, "established in 2 of 2 (+0"),
        (0.0, "established in 0 of 2 (-0"),
        (-0.1, "established in 0 of 2 (and the reverse in 2)"),
    ],
)
def test_an_effect_is_found_where_there_is_one_and_only_there(shift: float, words: str) -> None:
    made = planted_records(shift)
    found = explanations.answer_all(made)
    text = explanations.headline(made, found, study("amp_cf/planted", []))
    assert words in text.split("HR@10 falls")[0], text
    above = 2 if shift > 0 else 0
    # By the claim's rule: against training positives, and by 0.05 or more.
    assert f"In {above} of 2 AMP models (`ml-latest-small`) attention has at least 0.05" in text
    assert f"replicated in {above}, direction only in 0, not replicated in {2 - above} (" in text
    frame = explanations.table(found["entropy"])
    stars = frame["negatives minus test positives"].str.endswith("*")
    assert stars.all() if shift else not stars.any()


def test_lines_stand_at_their_values_and_have_their_names() -> None:
    points = {0: Interval(1.0, 0.9, 1.1), 1: Interval(0.8), 64: Interval(0.7, 0.6, 0.8)}
    figure = lines({"cil": {"one": points, "two": {1: Interval(0.5)}}}, "known", "RMSE (stars)")
    (axis,) = figure.axes
    first, second = axis.get_lines()
    assert list(first.get_ydata()) == [1.0, 0.8, 0.7] and list(second.get_ydata()) == [0.5]
    assert np.diff(first.get_xdata()) == pytest.approx([1, 1])  # steps at equal distances
    assert [text.get_text() for text in axis.get_xticklabels()] == ["0", "1", "64"]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("known", "RMSE (stars)")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one", "two"]
    assert len(axis.collections) == 2  # intervals where there are any


def test_bars_have_their_lengths_and_the_line_where_all_are_alike() -> None:
    panels = {"one": {"a": 0.7, "b": 0.1, "c": 0.2}, "two": {"a": 0.4, "b": 0.6}}
    first, second = bars(panels, {"one": 1 / 3, "two": 0.5}, "share").axes
    assert [bar.get_width() for bar in first.patches] == [0.7, 0.1, 0.2]
    assert [label.get_text() for label in second.get_yticklabels()] == ["a", "b"]
    assert first.lines[0].get_xdata()[0] == pytest.approx(1 / 3)
    assert first.get_xlim() == second.get_xlim() and first.get_xlim()[1] > 0.7
    assert first.get_xlabel() == "share"


def test_heat_is_the_deeper_the_greater_the_value_on_one_scale() -> None:
    drawn = heat({"above": [0.0, 0.8], "below": [0.4, 0.4]}, ["a", "b"], "share")
    above, below, scale = drawn.axes
    (one,), (two,) = above.images, below.images
    assert one.get_clim() == two.get_clim() == (0.0, 0.8)
    light = one.to_rgba(np.array([0.0, 0.4, 0.8]))[:, :3].sum(1)
    assert light[0] > light[1] > light[2]
    assert [label.get_text() for label in below.get_xticklabels()] == ["a", "b"]
    assert above.get_title(loc="left") == "above" and scale.get_ylabel() == "share"


def test_long_labels_and_titles_are_broken_and_not_cut() -> None:
    """Each text of a drawn figure lies within it, and the words are all there."""
    points = {"a row with a long name": Interval(0.1, 0.0, 0.2)}
    long, label = (
        "a model with a long name, ml-latest-small",
        "a distance (0: alike, 1: unlike all)",
    )
    figure = intervals({"short": {"one": points}, long: {"one": points}}, {}, list(points), label)
    figures.png(figure)
    figure.draw_without_rendering()
    first, second = figure.axes
    assert first.get_title(loc="left") == "short"
    assert second.get_title(loc="left").split() == long.split()
    assert first.get_xlabel().split() == second.get_xlabel().split() == label.split()
    for axis in figure.axes:
        texts = [axis.xaxis.label, *(t for t in axis.findobj(Text) if "model" in t.get_text())]
        for text in texts:
            assert text.get_window_extent().x1 <= figure.bbox.x1


def test_long_labels_leave_room_for_panels_side_by_side() -> None:
    long = "AMP-4 with MF's rate and decay and no entropy terms"
    panels = {name: {"HR@10": {long: Interval(0.5, 0.4, 0.6)}} for name in ("a", "b")}
    drawn = figures.intervals(panels, {}, [long], "score lost (sd of the user's scores)")
    figures.fit_labels(drawn)
    drawn.draw_without_rendering()
    for axis in drawn.axes:
        assert axis.get_window_extent().width > 0.2 * drawn.bbox.width
        assert axis.get_yticklabels()[0].get_text().replace("\n", " ") == long


def test_a_figure_says_how_wide_it_is_on_the_page() -> None:
    """Goes red if the text of a figure is as large as its number of panels makes it."""
    panel = {"MF": {1: Interval(0.5), 2: Interval(0.6)}}
    for panels, inches in ((1, figures.WIDTH), (2, 8.1), (5, 8.1)):
        drawn = lines({str(n): panel for n in range(panels)}, "factors", "NDCG@10", panels)
        assert drawn.get_figwidth() == pytest.approx(inches)
        _, said = figures.png(drawn)._repr_png_()
        assert said["width"] == round(inches * figures.PIXELS_PER_INCH)
