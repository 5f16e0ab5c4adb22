"""The numbers that the AFM paper prints, read off its pages by hand and set against each other."""

from __future__ import annotations

import pytest

from replication.compare import load_published
from replication.papers.afm import experiments

PUBLISHED = load_published("afm")
VALUES = {
    (line.table, line.row, line.dataset, line.metric): line.value
    for line in PUBLISHED.itertuples(index=False)
}
ONE, MUSIC, MOVIE = "ml-1m", "douban-music", "douban-movie"

# Table 1: users, items, ratings, sparsity in percent.
TABLE1 = {
    ("MovieLens", ONE): "6,040 3,952 1,000,209 95.81%",
    ("Douban Music", MUSIC): "27,395 31,744 884,224 99.90%",
    ("Douban Movie", MOVIE): "15,989 10,604 1,061,850 99.37%",
}
# Table 2: MAE and RMSE on each of them.
TABLE2 = {
    "LibFM": "0.698 0.880 0.533 0.665 0.576 0.735",
    "SVDFeature": "0.693 0.879 0.528 0.665 0.576 0.735",
    "CDL": "0.686 0.874 0.546 0.703 0.579 0.740",
    "NFM": "0.687 0.878 0.524 0.661 0.574 0.729",
    "AFM": "0.676 0.858 0.511 0.649 0.549 0.697",
}
# What the text says beside the tables: 4.2 and 4.3, then 4.1.3 and 4.1.1.
TEXT = {
    ("attention on genre of the user who cares", ONE, "attention"): "66.5%",
    ("attention on genre of the user who does not", ONE, "attention"): "4.6%",
    ("margin of AFM over NFM", MOVIE, "relative RMSE"): "4.4%",
    ("users with little attention on genre", MUSIC, "share of users"): "80%",
    ("little attention on genre", MUSIC, "attention"): "20%",
    ("the fan of a director", MOVIE, "share of movies by the director"): "40%",
    ("the fan of a director", MOVIE, "share of these rated 5"): "80%",
    ("embedding", "all", "dimensions"): "64",
    ("protocol", "all", "folds"): "5",
    ("genres", ONE, "values"): "18",
}


def as_number(text: str) -> float:
    """As the file holds it: percent are shares."""
    number = float(text.rstrip("%").replace(",", ""))
    return number / 100 if text.endswith("%") else number


def held(table: str) -> dict[tuple[str, ...], float]:
    """The numbers of a table as the file has them, by row, data set and metric."""
    return {tuple(place): value for (name, *place), value in VALUES.items() if name == table}


def test_the_twelve_numbers_of_table_1() -> None:
    wanted = {
        (row, dataset, metric): pytest.approx(as_number(text))
        for (row, dataset), line in TABLE1.items()
        for metric, text in zip(experiments.STATISTICS, line.split(), strict=True)
    }
    assert held("table1") == wanted and len(wanted) == 12


def test_the_thirty_numbers_of_table_2() -> None:
    places = [(dataset, metric) for dataset in (ONE, MUSIC, MOVIE) for metric in ("MAE", "RMSE")]
    wanted = {
        (row, *place): float(text)
        for row, line in TABLE2.items()
        for place, text in zip(places, line.split(), strict=True)
    }
    assert held("table2") == wanted and len(wanted) == 30


def test_the_numbers_of_the_text() -> None:
    assert held("text") == {place: pytest.approx(as_number(text)) for place, text in TEXT.items()}


def test_there_is_nothing_else_and_every_number_has_its_page() -> None:
    assert set(PUBLISHED["table"]) == {"table1", "table2", "text"}
    pages = PUBLISHED["page"].groupby(PUBLISHED["table"]).agg(set).to_dict()
    assert pages == {"table1": {"911"}, "table2": {"912"}, "text": {"911", "912"}}
    assert PUBLISHED["std"].isna().all()  # the paper prints none


@pytest.mark.parametrize(("row", "dataset"), TABLE1)
def test_the_printed_sparsity_follows_from_the_printed_counts(row: str, dataset: str) -> None:
    users, items, ratings, sparsity = (
        VALUES["table1", row, dataset, metric] for metric in experiments.STATISTICS
    )
    assert round(100 * (1 - ratings / (users * items)), 2) == pytest.approx(100 * sparsity)


def test_the_printed_margin_follows_from_the_printed_errors() -> None:
    """Of RMSE as of MAE: the paper does not say which it means."""
    gains = [
        1 - VALUES["table2", "AFM", MOVIE, metric] / VALUES["table2", "NFM", MOVIE, metric]
        for metric in ("RMSE", "MAE")
    ]
    printed = VALUES["text", "margin of AFM over NFM", MOVIE, "relative RMSE"]
    assert [round(gain, 3) for gain in gains] == [printed, printed]
