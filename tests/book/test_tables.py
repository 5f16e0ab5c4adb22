"""Tables are shown whole, merged where they repeat, and escaped."""

from __future__ import annotations

import re

import pandas as pd

from replication.tables import EMPTY, to_html, to_text


def cells(text: str, tag: str) -> list[str]:
    """Texts of all elements of one kind, without their markup."""
    found = re.findall(rf"<{tag}\b[^>]*>(.*?)</{tag}>", text)
    return [re.sub(r"<[^>]*>", "", cell).replace("\u00a0", " ") for cell in found]


def test_nothing_is_cut_short() -> None:
    sentence = "No number yet: " + "this model is not part of the study " * 5
    frame = pd.DataFrame({"status": [sentence] * 200}, index=[f"m{i}" for i in range(200)])
    assert cells(to_html(frame), "td").count(sentence) == 200
    assert to_text(frame).count(sentence.strip()) == 200


def test_an_interval_does_not_break_and_a_minus_is_one() -> None:
    frame = pd.DataFrame({"x": ["0.8016 ± 0.0107 [0.7711, 0.8298]", "-0.0435 [-0.0796, -0.0101]"]})
    text = to_html(frame)
    assert "0.8016\u00a0±\u00a00.0107 [0.7711,\u00a00.8298]" in text
    assert "−0.0435 [−0.0796,\u00a0−0.0101]" in text


def test_names_keep_their_hyphens() -> None:
    text = to_html(pd.DataFrame({"protocol": ["loo-random"], "day": ["2026-11-21"]}))
    assert cells(text, "td") == ["loo-random", "2026-11-21"]


def test_two_levels_are_merged_and_the_inner_one_is_the_class_of_its_row() -> None:
    index = pd.MultiIndex.from_tuples(
        [("AMP-2", "measured"), ("AMP-2", "published"), ("MostPop", "measured")],
        names=["model", ""],
    )
    text = to_html(pd.DataFrame({"HR@10": ["0.8016", "0.7376", "0.6475"]}, index=index))
    assert text.count('rowspan="2"') == 1
    assert cells(text, "th").count("AMP-2") == 1
    assert re.findall(r'<tr class="([^"]*)"', text) == [
        "rep-measured", "rep-published", "rep-measured"
    ]  # fmt: skip


def test_of_three_levels_the_outermost_is_a_line_above_and_the_next_is_merged() -> None:
    keys = [(d, level, m) for d in ("small", "large") for level in ("a", "b") for m in ("HR", "N")]
    index = pd.MultiIndex.from_tuples(keys, names=["data set", "level", "metric"])
    text = to_html(pd.DataFrame({"mean": [str(place) for place in range(8)]}, index=index))
    assert (text.count('colspan="3"'), text.count('rowspan="2"')) == (2, 4)
    assert cells(text, "th")[:3] == ["level", "metric", "mean"]
    of_rows = [cells(row, "th") for row in re.findall("<tr.*?</tr>", text)[1:]]
    assert of_rows == [
        ["small"], ["a", "HR"], ["N"], ["b", "HR"], ["N"],
        ["large"], ["a", "HR"], ["N"], ["b", "HR"], ["N"],
    ]  # fmt: skip


def test_equal_labels_of_one_level_are_merged() -> None:
    frame = pd.DataFrame({"n": ["1", "2", "3"]}, index=pd.Index(["a", "a", "b"], name="model"))
    assert [cells(row, "th") for row in re.findall("<tr.*?</tr>", to_html(frame))[1:]] == [
        ["a"], [], ["b"]
    ]  # fmt: skip


def test_a_counting_index_is_not_shown() -> None:
    assert cells(to_html(pd.DataFrame({"a": ["x", "y"]})), "th") == ["a"]


def test_numbers_stand_on_the_right_also_beside_what_is_pending() -> None:
    frame = pd.DataFrame(
        {"n": ["12", "pending"], "why": ["words", "more"], "none": ["pending"] * 2}
    )
    heads = re.findall(r"<th scope=\"col\"([^>]*)>(\w+)", to_html(frame))
    assert [name for kinds, name in heads if "num" in kinds] == ["n"]


def test_text_is_escaped() -> None:
    text = to_html(pd.DataFrame({"a": ["<script>alert(1)</script>"]}))
    assert "<script>" not in text and "&lt;script&gt;" in text


def test_an_empty_table_says_so() -> None:
    frame = pd.DataFrame(columns=["a", "b"])
    assert cells(to_html(frame), "p") == [EMPTY] and to_text(frame) == EMPTY
