"""The numbers printed in the paper, checked against the text by hand and against each other."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from replication.compare import PUBLISHED_COLUMNS, load_published, published_values, read_published
from replication.errors import ReplicationError

DATASETS = {"ml-latest-small", "ml-1m", "yahoo-music", "amazon-video-games", "pinterest"}
MODELS = ("DeepICF+a NCF ConvNCF DiRec AISP-2 AISP-3 AISP-4 AMP-2 AMP-3 AMP-4").split()
ML100K, ML1M, PIN, YAHOO, AMAZON = (
    "ml-latest-small",
    "ml-1m",
    "pinterest",
    "yahoo-music",
    "amazon-video-games",
)

# Read off the page by hand: the cells in bold.
BOLD = {
    ("table2", "AMP-2", ML100K, "HR@10"): 0.7376,
    ("table2", "AMP-2", ML1M, "HR@10"): 0.7358,
    ("table2", "AMP-2", PIN, "HR@10"): 0.7966,
    ("table2", "AMP-2", YAHOO, "HR@10"): 0.9236,
    ("table2", "AMP-3", AMAZON, "HR@10"): 0.5788,
    ("table2", "AMP-2", ML100K, "NDCG@10"): 0.4935,
    ("table2", "AMP-2", ML1M, "NDCG@10"): 0.4706,
    ("table2", "AMP-2", PIN, "NDCG@10"): 0.5031,
    ("table2", "AMP-3", YAHOO, "NDCG@10"): 0.7005,
    ("table2", "AMP-2", AMAZON, "NDCG@10"): 0.3888,
    ("table3", "AMP-4", ML100K, "JS"): 1.1062,
    ("table3", "AMP-3", ML1M, "JS"): 1.0930,
    ("table3", "AMP-4", PIN, "JS"): 1.3305,
    ("table3", "AMP-3", YAHOO, "JS"): 1.4279,
    ("table3", "AMP-2", AMAZON, "JS"): 1.5825,
    ("table3", "AMP-4", ML100K, "Hellinger"): 0.0213,
    ("table3", "AMP-3", ML1M, "Hellinger"): 0.0186,
    ("table3", "AMP-4", PIN, "Hellinger"): 0.0365,
    ("table3", "AMP-3", YAHOO, "Hellinger"): 0.0388,
    ("table3", "AMP-4", AMAZON, "Hellinger"): 0.0437,
}

# Also by hand: the first and the last line of each table and some from the middle, whole.
LINES = {
    (
        "table2",
        "DeepICF+a",
    ): "0.7314 0.7342 0.7952 0.9218 0.5608 0.4801 0.4690 0.5011 0.6985 0.3748",
    ("table2", "AISP-4"): "0.6908 0.6219 0.777 0.9176 0.5708 0.4598 0.3754 0.4928 0.6844 0.4058",
    ("table2", "AMP-2"): "0.7376 0.7358 0.7966 0.9236 0.5751 0.4935 0.4706 0.5031 0.6988 0.3888",
    ("table2", "AMP-4"): "0.7302 0.7280 0.7963 0.9235 0.5750 0.4855 0.4601 0.5017 0.6997 0.3855",
    (
        "table3",
        "DeepICF+a",
    ): "1.2641 1.1089 1.4526 1.5001 1.7892 0.0243 0.0203 0.0551 0.0416 0.0686",
    ("table3", "ConvNCF"): "2.2429 1.2977 1.8289 2.0377 2.6290 0.0818 0.0266 0.0806 0.0773 0.1577",
    ("table3", "AMP-4"): "1.1062 1.1169 1.3305 1.4446 1.6007 0.0213 0.0194 0.0365 0.0400 0.0437",
}
STATISTICS = {
    "ML-100k": (ML100K, "610 6278 96683 0.975 158.6 250.9 69 15.4 26.2 6"),
    "ML-1M": (ML1M, "6040 3592 993060 0.954 164.5 192.7 95 276.7 384.1 130"),
    "Yahoo!": (YAHOO, "14990 5394 397733 0.995 26.5 30.5 17 73.8 259.5 6"),
    "Amazon": (AMAZON, "7868 12802 98421 0.999 12.5 11.8 9 7.6 12.8 4"),
    "Pinterest": (PIN, "15001 9175 374017 0.997 24.9 7.3 23 40.8 40.6 29"),
}
COLUMNS = [
    "users",
    "items",
    "training examples",
    "sparsity",
    "ratings per user mean",
    "ratings per user std",
    "ratings per user median",
    "ratings per item mean",
    "ratings per item std",
    "ratings per item median",
]


@pytest.fixture(scope="module")
def published() -> pd.DataFrame:
    return load_published("amp_cf")


@pytest.fixture(scope="module")
def value(published: pd.DataFrame) -> dict[tuple[str, str, str, str], float]:
    return published_values(published)


def test_all_250_numbers_are_there_once(published: pd.DataFrame) -> None:
    assert published.groupby("table").size().to_dict() == {
        "table1": 50,
        "table2": 100,
        "table3": 100,
    }
    assert tuple(published.columns) == PUBLISHED_COLUMNS
    assert not published.duplicated(["table", "row", "dataset", "metric"]).any()
    assert set(published["dataset"]) == DATASETS
    for table, metrics in (
        ("table2", {"HR@10", "NDCG@10"}),
        ("table3", {"JS", "Hellinger"}),
    ):
        part = published[published["table"] == table]
        assert list(dict.fromkeys(part["row"])) == MODELS  # in the printed order
        assert set(part["metric"]) == metrics
        assert (part.groupby(["row", "dataset"]).size() == 2).all()
    statistics = published[published["table"] == "table1"]
    assert list(dict.fromkeys(statistics["metric"])) == COLUMNS
    assert published["std"].isna().all()  # the paper prints no spread


def test_values_lie_in_their_ranges(published: pd.DataFrame) -> None:
    ranges = {
        "HR@10": (0.0, 1.0),
        "NDCG@10": (0.0, 1.0),
        "sparsity": (0.0, 1.0),
        "JS": (0.0, 3.0),
        "Hellinger": (0.0, 1.0),
    }
    for metric, (low, high) in ranges.items():
        values = published.loc[published["metric"] == metric, "value"]
        assert len(values) > 0
        assert values.between(low, high, inclusive="neither").all()
    assert (published["value"] > 0).all()


def test_ndcg_never_exceeds_the_hit_rate(
    value: dict[tuple[str, str, str, str], float],
) -> None:
    for model in MODELS:
        for dataset in DATASETS:
            hit = value["table2", model, dataset, "HR@10"]
            gain = value["table2", model, dataset, "NDCG@10"]
            assert hit / 3.4594 < gain < hit  # a hit in the tenth place is worth 1 / log2(11)


@pytest.mark.parametrize(("table", "row"), LINES)
def test_lines_of_tables_2_and_3(
    table: str, row: str, value: dict[tuple[str, str, str, str], float]
) -> None:
    heads = ("HR@10", "NDCG@10") if table == "table2" else ("JS", "Hellinger")
    places = [(d, head) for head in heads for d in (ML100K, ML1M, PIN, YAHOO, AMAZON)]
    printed = [float(text) for text in LINES[table, row].split()]
    assert [value[table, row, d, m] for d, m in places] == printed


@pytest.mark.parametrize("row", STATISTICS)
def test_lines_of_table_1(row: str, value: dict[tuple[str, str, str, str], float]) -> None:
    dataset, line = STATISTICS[row]
    printed = [float(text) for text in line.split()]
    assert [value["table1", row, dataset, column] for column in COLUMNS] == printed


def test_bold_cells_and_the_best_of_each_column(published: pd.DataFrame) -> None:
    keys = ["table", "row", "dataset", "metric"]
    bold = published[published["note"].str.contains("bold in print")]
    bold = bold[~bold["note"].str.contains("not bold")]
    found = {tuple(line): v for *line, v in bold[[*keys, "value"]].itertuples(index=False)}
    assert found == BOLD
    best = {}
    for (table, dataset, metric), part in published[published["table"] != "table1"].groupby(
        ["table", "dataset", "metric"]
    ):
        where = part["value"].idxmax() if table == "table2" else part["value"].idxmin()
        best[table, part.loc[where, "row"], dataset, metric] = part.loc[where, "value"]
    # Bold is the best of its column, but for one: AISP-4 has the best NDCG@10 on Amazon.
    assert set(best) - set(BOLD) == {("table2", "AISP-4", AMAZON, "NDCG@10")}
    assert set(BOLD) - set(best) == {("table2", "AMP-2", AMAZON, "NDCG@10")}


def test_sparsity_follows_from_the_counts(
    value: dict[tuple[str, str, str, str], float],
) -> None:
    for row, (dataset, _) in STATISTICS.items():
        n, users, items = (
            value["table1", row, dataset, m] for m in ("training examples", "users", "items")
        )
        assert value["table1", row, dataset, "sparsity"] == round(1 - n / (users * items), 3)


def test_means_that_do_not_follow_from_the_counts_are_flagged(published: pd.DataFrame) -> None:
    value = published_values(published)
    notes = published.set_index(["row", "metric"]).sort_index()["note"]
    wrong = set()
    for row, (dataset, _) in STATISTICS.items():
        n = value["table1", row, dataset, "training examples"]
        for what in ("user", "item"):
            metric = f"ratings per {what} mean"
            derived = n / value["table1", row, dataset, f"{what}s"]
            if abs(value["table1", row, dataset, metric] - derived) > 0.05 + 1e-9:
                wrong.add((row, metric))
                assert f"= {derived:.3f}" in notes[row, metric]
            else:
                assert notes[row, metric] == ""
    assert wrong == {
        ("ML-100k", "ratings per user mean"),
        ("ML-1M", "ratings per user mean"),
        ("ML-1M", "ratings per item mean"),
        ("Yahoo!", "ratings per item mean"),
        ("Amazon", "ratings per item mean"),
    }
    assert 6040 * 164.5 == 993_580
    assert "993580" in notes["ML-1M", "training examples"]


def test_printed_digits_are_kept() -> None:
    path = Path(load_published.__code__.co_filename).parent / "papers/amp_cf/published.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    three = [line for line in lines if "three digits" in line]
    assert len(three) == 1 and ",0.777," in three[0]
    for line in lines:
        if line.startswith(("table2", "table3")) and line not in three:
            assert len(line.split(",")[4].split(".")[1]) == 4, line
    assert any(",0.4690," in line for line in lines)  # a trailing zero is a printed digit


HEAD = ",".join(PUBLISHED_COLUMNS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("table,row,dataset,metric,value\n", "std, page, note is missing"),
        (f"{HEAD}\nt,r,d,HR@10,many,,,\n", "column value holds no number"),
        (f"{HEAD}\nt,r,d,HR@10,,,,\n", "line 2: expected a finite value"),
        (f"{HEAD}\nt,r,d,HR@10,0.5,,,\nt,r,d,HR@10,0.6,,,\n", "line 3: this number stands there"),
    ],
)
def test_a_damaged_file_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "published.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ReplicationError, match=message):
        read_published(path)


def test_an_unknown_paper_is_an_error() -> None:
    with pytest.raises(ReplicationError, match="no published numbers for paper 'amp-cf'"):
        load_published("amp-cf")
