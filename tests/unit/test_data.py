"""Data sets: filtering, loading, both forms of the same ratings, and the prepared copy."""

import dataclasses
import os

import numpy as np
import pandas as pd
import pytest

from data_scripts.fetch import load_manifest
from replication import data, paths
from replication.data import (
    DATASETS,
    NEEDS,
    UNKNOWN_TIME,
    amazon,
    douban,
    filter_rare,
    load,
    load_tags,
    movielens,
    omdb,
    pinterest,
    yahoo,
)
from replication.data.interactions import from_frame, read_parquet, write_parquet
from replication.errors import DataUnavailable, ReplicationError
from replication.papers.afm.experiments import UNAVAILABLE
from replication.papers.amp_cf import draws
from replication.records import Store


def frame_of(pairs):
    """Raw ids in file order; rating and time tell the rows apart."""
    n = len(pairs)
    return pd.DataFrame(
        {
            "user": [user for user, _ in pairs],
            "item": [item for _, item in pairs],
            "rating": np.arange(n, dtype=np.float32),
            "timestamp": 1000 + np.arange(n),
        }
    )


def pairs_of(found):
    """The interactions in raw ids, in order."""
    users, items = found.user_ids[found.users], found.item_ids[found.items]
    return list(zip(users.tolist(), items.tolist(), strict=True))


def equal(a, b):
    """Every field the same."""
    for field in dataclasses.fields(a):
        one, other = getattr(a, field.name), getattr(b, field.name)
        if isinstance(one, np.ndarray):
            np.testing.assert_array_equal(one, other)
            assert one.dtype == other.dtype, field.name
        elif isinstance(one, pd.DataFrame):
            pd.testing.assert_frame_equal(one, other)
        else:
            assert one == other
    return a.content_hash == b.content_hash


# --- filtering -----------------------------------------------------------------------------------

# A core of two users and two items that stays, and a chain that falls apart from its loose end:
# u1 has only a; without u1, a has only u2; without a, u2 has only b; and so on. A pass takes one
# user and, after it, one item.
CORE = [("x", "p"), ("x", "q"), ("y", "p"), ("y", "q")]
CHAIN = [("u1", "a"), ("u2", "a"), ("u2", "b"), ("u3", "b"), ("u3", "c"), ("u4", "c")]
CHAIN += [("u4", "d"), ("u5", "d"), ("u5", "p")]


@pytest.mark.parametrize(
    "passes, gone",
    [
        (0, []),
        (1, ["u1", "a"]),
        (2, ["u1", "a", "u2", "b"]),
        (3, ["u1", "a", "u2", "b", "u3", "c"]),
        (4, ["u1", "a", "u2", "b", "u3", "c", "u4", "d"]),
        (5, ["u1", "a", "u2", "b", "u3", "c", "u4", "d", "u5"]),
        (9, ["u1", "a", "u2", "b", "u3", "c", "u4", "d", "u5"]),
    ],
)
def test_a_chain_falls_apart_pass_by_pass(passes, gone):
    pairs = [*CHAIN[:5], *CORE, *CHAIN[5:]]
    found = filter_rare(from_frame("made", frame_of(pairs)), passes=passes)
    assert pairs_of(found) == [(u, i) for u, i in pairs if u not in gone and i not in gone]


def test_three_passes_are_the_default():
    data = from_frame("made", frame_of([*CHAIN, *CORE]))
    assert equal(filter_rare(data), filter_rare(data, min_count=2, passes=3))


def test_what_filtering_keeps_is_renumbered_without_gaps_in_the_old_order():
    pairs = [("only", "p"), *CORE[:2], ("x", "only"), *CORE[2:]]
    features = pd.DataFrame({"title": ["P", "Q", "Only"]}, index=["p", "q", "only"])
    found = filter_rare(from_frame("made", frame_of(pairs), features, source="words"))
    assert pairs_of(found) == CORE
    assert found.user_ids.tolist() == ["x", "y"] and found.item_ids.tolist() == ["p", "q"]
    np.testing.assert_array_equal(found.users, [0, 0, 1, 1])
    np.testing.assert_array_equal(found.items, [0, 1, 0, 1])
    np.testing.assert_array_equal(found.ratings, [1, 2, 4, 5])  # of the rows that stay
    np.testing.assert_array_equal(found.timestamps, [1001, 1002, 1004, 1005])
    assert found.item_features["title"].tolist() == ["P", "Q"]
    assert (found.name, found.source) == ("made", "words")


def test_a_higher_threshold():
    pairs = [(u, i) for u in "abc" for i in "pqr"] + [("d", "p"), ("d", "q"), ("a", "s")]
    found = filter_rare(from_frame("made", frame_of(pairs)), min_count=3)
    assert pairs_of(found) == pairs[:9]


def test_indices_are_in_the_order_of_first_appearance():
    found = from_frame("made", frame_of([(7, 30), (3, 10), (7, 10), (5, 20)]))
    assert found.user_ids.tolist() == [7, 3, 5] and found.item_ids.tolist() == [30, 10, 20]
    np.testing.assert_array_equal(found.users, [0, 1, 0, 2])
    np.testing.assert_array_equal(found.items, [0, 1, 1, 2])


# --- the content hash ----------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["users", "items", "ratings", "timestamps"])
def test_the_hash_sees_every_number(tiny, column):
    changed = getattr(tiny, column).copy()
    changed[3] += 1
    assert dataclasses.replace(tiny, **{column: changed}).content_hash != tiny.content_hash


def test_the_hash_sees_the_order(tiny):
    turned = {c: getattr(tiny, c)[::-1] for c in ("users", "items", "ratings", "timestamps")}
    assert dataclasses.replace(tiny, **turned).content_hash != tiny.content_hash


def test_the_hash_does_not_see_names_or_the_width_of_a_column(tiny):
    other = dataclasses.replace(
        tiny,
        source="elsewhere",
        item_features=pd.DataFrame({"title": ["t"] * tiny.n_items}),
        users=tiny.users.astype(np.int32),
        ratings=tiny.ratings.astype(np.float64),
    )
    assert other.content_hash == tiny.content_hash


# --- loading -------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty data folder of its own; raw files go to ``home / "raw"``."""
    monkeypatch.setattr(paths, "RAW", tmp_path / "raw")
    monkeypatch.setattr(paths, "PREPARED", tmp_path / "prepared")
    (tmp_path / "raw").mkdir()
    return tmp_path


def write_original_100k(folder, found):
    """``u.data`` and ``u.item`` as GroupLens publishes them."""
    folder.mkdir(parents=True)
    users, items = found.user_ids[found.users], found.item_ids[found.items]
    ratings = found.ratings.astype(int)
    rows = zip(users, items, ratings, found.timestamps, strict=True)
    (folder / "u.data").write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
    flags = "|".join(["0", "1"] + ["0"] * 17)
    text = "".join(f"{i}|Film é {i} (1995)|01-Jan-1995||url|{flags}\n" for i in found.item_ids)
    (folder / "u.item").write_text(text, encoding="latin-1")


def write_wheel_100k(folder, found):
    """``ml-100k.inter`` and ``ml-100k.item`` as RecBole's wheel carries them."""
    folder.mkdir(parents=True)
    users, items = found.user_ids[found.users], found.item_ids[found.items]
    ratings = found.ratings.astype(int)
    rows = zip(users, items, ratings, found.timestamps, strict=True)
    head = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    text = head + "".join("\t".join(map(str, row)) + "\n" for row in rows)
    (folder / "ml-100k.inter").write_text(text)
    head = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    text = head + "".join(f"{i}\tFilm é {i}\t1995\tAction\n" for i in found.item_ids)
    (folder / "ml-100k.item").write_text(text)


@pytest.mark.needs_data("ml-100k")
def test_both_forms_of_movielens_100k_are_the_same_data(tmp_path):
    here = load("ml-100k")
    write_original_100k(tmp_path / "original" / "ml-100k", here)
    write_wheel_100k(tmp_path / "wheel" / "ml-100k", here)
    original = DATASETS["ml-100k"](tmp_path / "original")
    wheel = DATASETS["ml-100k"](tmp_path / "wheel")
    assert original.content_hash == wheel.content_hash == here.content_hash
    pd.testing.assert_frame_equal(original.item_features, wheel.item_features)
    assert original.item_features["title"][0] == f"Film é {original.item_ids[0]} (1995)"
    assert original.item_features["genres"][0] == "Action"
    assert (original.source, wheel.source) == (
        "u.data, the original file",
        "ml-100k.inter, RecBole's copy of u.data",
    )


@pytest.mark.needs_data("ml-100k", "ml-latest-small", "ml-1m")
@pytest.mark.parametrize(
    "name, users, items, ratings, first",
    [
        ("ml-100k", 943, 1682, 100_000, "Kolya (1996)"),
        ("ml-latest-small", 610, 9724, 100_836, "Toy Story (1995)"),
        ("ml-1m", 6040, 3706, 1_000_209, "One Flew Over the Cuckoo's Nest (1975)"),
    ],
)
def test_the_real_data_sets(name, users, items, ratings, first):
    found = load(name)
    assert (found.n_users, found.n_items, len(found)) == (users, items, ratings)
    pairs = found.users * found.n_items + found.items
    assert len(np.unique(pairs)) == ratings  # nobody rates twice
    assert found.ratings.min() >= 0.5 and found.ratings.max() == 5.0
    assert len(found.item_features) == items and found.name == name
    assert found.item_features["title"][0] == first
    assert found.item_features["title"].notna().all()


@pytest.mark.needs_data("ml-100k", "ml-latest-small")
@pytest.mark.parametrize("name", ["ml-100k", "ml-latest-small"])
def test_the_data_here_are_those_of_the_committed_records(name):
    stored = {
        record["data_hash"]
        for record in Store("amp_cf/table2", paths.ROOT / "results").load()
        if record["dataset"] == name
    }
    assert stored == {filter_rare(load(name)).content_hash}


@pytest.mark.needs_data("ml-1m")
def test_movielens_1m_says_which_copy_it_is():
    found = load("ml-1m")
    unknown = int((found.timestamps == UNKNOWN_TIME).sum())
    assert unknown in (0, 509_518)
    if unknown:
        assert found.source == "a copy of ratings.dat without 509518 of its timestamps"
    else:
        assert found.source == "ratings.dat, the original file"
    known = found.timestamps[found.timestamps != UNKNOWN_TIME]
    assert known.min() > 956_000_000 and known.max() < 1_047_000_000  # the years 2000 to 2003


@pytest.fixture
def small_counts(monkeypatch):
    """Loaders that take any number of ratings, for files of a few lines."""
    monkeypatch.setattr(movielens, "_checked", lambda name, frame, *counts: frame)


def write_1m(folder, complete=False, partial=False):
    folder.mkdir(parents=True)
    (folder / "movies.dat").write_text(
        "10::Amélie (2001)::Comedy|Romance\n20::Alien (1979)::Horror\n", encoding="latin-1"
    )
    if complete:
        (folder / "ratings.dat").write_text("1::20::5::978\n1::10::3::979\n2::10::4::980\n")
    if partial:
        pd.DataFrame(
            {
                "user_id": np.array([1, 1, 2], np.int16),
                "movie_id": np.array([20, 10, 10], np.int16),
                "rating": np.array([5, 3, 4], np.int8),
                "timestamp": pd.array([978, None, 980], dtype="Int64"),
            }
        ).to_parquet(folder / "ratings-partial-timestamps.parquet")


@pytest.mark.usefixtures("small_counts")
def test_missing_timestamps_are_marked_and_counted(tmp_path):
    write_1m(tmp_path / "ml-1m", partial=True)
    found = movielens.load_ml_1m(tmp_path)
    assert found.timestamps.tolist() == [978, UNKNOWN_TIME, 980]
    assert found.timestamps.dtype == np.int64
    assert found.source == "a copy of ratings.dat without 1 of its timestamps"
    assert found.item_features["title"].tolist() == ["Alien (1979)", "Amélie (2001)"]


@pytest.mark.usefixtures("small_counts")
def test_the_complete_ratings_are_preferred(tmp_path):
    write_1m(tmp_path / "ml-1m", complete=True, partial=True)
    found = movielens.load_ml_1m(tmp_path)
    assert found.timestamps.tolist() == [978, 979, 980]
    assert found.source == "ratings.dat, the original file"
    write_1m(tmp_path / "other" / "ml-1m", partial=True)
    partial = movielens.load_ml_1m(tmp_path / "other")
    assert found.content_hash != partial.content_hash  # they are other data to a split by time
    np.testing.assert_array_equal(found.items, partial.items)


@pytest.mark.parametrize("name", list(DATASETS))
def test_missing_files_say_what_to_do(home, name):
    with pytest.raises(DataUnavailable) as caught:
        load(name)
    assert f"run `python -m replication data {name}` first" in str(caught.value)
    assert str(paths.RAW / name) in str(caught.value)
    assert not paths.PREPARED.exists()


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ReplicationError, match="unknown data set 'ml-2m'; known are ml-100k, "):
        load("ml-2m")


def write_latest(folder):
    folder.mkdir(parents=True)
    (folder / "ratings.csv").write_text(
        "userId,movieId,rating,timestamp\n1,10,4.0,978\n1,20,3.5,979\n"
    )
    (folder / "movies.csv").write_text('movieId,title,genres\n10,"A, B (1990)",Drama\n20,C,War\n')


@pytest.mark.parametrize("name", ["ml-100k", "ml-latest-small", "ml-1m"])
def test_wrong_counts_are_one_sentence(home, tiny, name):
    folder = paths.RAW / name
    if name == "ml-100k":
        write_original_100k(folder, tiny)
        found = (len(tiny), tiny.n_users, tiny.n_items)
    elif name == "ml-1m":
        write_1m(folder, complete=True)
        found = (3, 2, 2)
    else:
        write_latest(folder)
        found = (2, 1, 2)
    with pytest.raises(ReplicationError) as caught:
        load(name)
    text = str(caught.value)
    assert text.startswith(f"{name} should hold ") and "\n" not in text
    assert f"{found[0]}, {found[1]} and {found[2]} were found" in text
    assert f"python -m replication data {name}" in text
    assert not paths.PREPARED.exists()


@pytest.mark.needs_data("ml-100k")
@pytest.mark.parametrize("form", ["original", "wheel"])
def test_a_file_without_its_last_line_is_refused(tmp_path, monkeypatch, form):
    with_all = load("ml-100k")
    monkeypatch.setattr(paths, "RAW", tmp_path / "raw")
    monkeypatch.setattr(paths, "PREPARED", tmp_path / "prepared")
    write = write_original_100k if form == "original" else write_wheel_100k
    folder = paths.RAW / "ml-100k"
    write(folder, with_all)
    file = folder / ("u.data" if form == "original" else "ml-100k.inter")
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:-1]))
    with pytest.raises(ReplicationError, match="should hold 100000 ratings of 943 users"):
        load("ml-100k")
    file.write_text("".join(lines))
    assert load("ml-100k").content_hash == with_all.content_hash


@pytest.mark.needs_data("ml-100k")
@pytest.mark.parametrize("bytes_lost", [2, 5, 11], ids=["a digit", "digits", "the time"])
@pytest.mark.parametrize("form", ["original", "wheel"])
def test_a_file_cut_inside_its_last_line_is_refused(tmp_path, monkeypatch, form, bytes_lost):
    """All lines are there, so that the counts are right; only the time tells."""
    whole = load("ml-100k")
    monkeypatch.setattr(paths, "RAW", tmp_path / "raw")
    monkeypatch.setattr(paths, "PREPARED", tmp_path / "prepared")
    folder = paths.RAW / "ml-100k"
    (write_original_100k if form == "original" else write_wheel_100k)(folder, whole)
    file = folder / ("u.data" if form == "original" else "ml-100k.inter")
    file.write_bytes(file.read_bytes()[:-bytes_lost])
    with pytest.raises(ReplicationError) as caught:
        load("ml-100k")
    text = str(caught.value)
    assert text.startswith("ml-100k should hold times since 1995, but 1 are missing or earlier; ")
    assert "\n" not in text and "python -m replication data ml-100k" in text
    assert not paths.PREPARED.exists()


@pytest.mark.usefixtures("small_counts")
def test_titles_have_no_blanks_around_them(tmp_path, tiny):
    """Three titles of the original end in a blank, which RecBole's copy lacks."""
    write_original_100k(tmp_path / "ml-100k", tiny)
    file = tmp_path / "ml-100k" / "u.item"
    text = file.read_text(encoding="latin-1")
    file.write_text(text.replace("(1995)|", "(1995) |"), encoding="latin-1")
    titles = movielens.load_ml_100k(tmp_path).item_features["title"]
    assert set(titles) == {f"Film é {item} (1995)" for item in tiny.item_ids}


# --- Pinterest, Amazon, Yahoo! Music --------------------------------------------------------------

MADE_PINS = ["1 10 11 12\n2 10 13\n3 10 11\n4 12\n", "1 13 10\n2 11\n3 13\n4 13 12\n"]


def write_pins(folder, train, test):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.txt").write_text(train)
    (folder / "test.txt").write_text(test)


@pytest.fixture
def few_pins(home, monkeypatch):
    """Four users, all with three entries or more, of whom three are drawn."""
    monkeypatch.setattr(pinterest, "_checked", lambda name, frame, *counts: frame)
    monkeypatch.setattr(pinterest, "MIN_PINS", 3)
    monkeypatch.setattr(pinterest, "ELIGIBLE_USERS", 4)
    monkeypatch.setattr(pinterest, "SAMPLED_USERS", 3)
    write_pins(paths.RAW / "pinterest", *MADE_PINS)


@pytest.mark.usefixtures("few_pins")
def test_pins_of_both_files_are_one_history_without_repeats(monkeypatch):
    """User 1 has item 10 in both files; a loader that keeps it twice leaks the item."""
    monkeypatch.setattr(pinterest, "SAMPLED_USERS", 4)
    found = load("pinterest")
    pairs = [(1, 10), (1, 11), (1, 12), (2, 10), (2, 13), (3, 10), (3, 11), (4, 12)]
    assert pairs_of(found) == [*pairs, (1, 13), (2, 11), (3, 13), (4, 13)]
    assert set(found.ratings) == {1.0} and set(found.timestamps) == {UNKNOWN_TIME}
    assert equal(load("pinterest"), dataclasses.replace(found))  # from the prepared copy


@pytest.mark.usefixtures("few_pins")
def test_a_fixed_seed_draws_the_users():
    """Another seed draws others; whoever has too few pins, repeats counted, is never drawn."""
    folder = paths.RAW / "pinterest"
    write_pins(folder, MADE_PINS[0] + "5 10 11\n", MADE_PINS[1])
    drawn = []
    for seed in (*range(20), 0):
        found = pinterest.load(paths.RAW, seed)
        drawn.append(found.user_ids.tolist())
        assert found.n_users == 3 and f"3 users drawn with seed {seed} from the 4" in found.source
    assert drawn[-1] == drawn[0]
    assert {user for users in drawn for user in users} == {1, 2, 3, 4}
    lowest = pinterest.load(paths.RAW, None)
    assert sorted(lowest.user_ids.tolist()) == [1, 2, 3] and "the lowest ids" in lowest.source


@pytest.mark.parametrize(
    "train, test, said",
    [
        (MADE_PINS[0], MADE_PINS[1][:-1], "test.txt whose last line is complete"),
        (MADE_PINS[0][:-1], MADE_PINS[1], "train.txt whose last line is complete"),
        (MADE_PINS[0], "1 13\n", "hold 4 users with at least 3 pins, but 1 were found"),
        (MADE_PINS[0], "<html>\nnot found\n", "cannot be read"),
        ("\n", MADE_PINS[1], "cannot be read"),
    ],
)
@pytest.mark.usefixtures("few_pins")
def test_broken_pins_are_one_sentence(train, test, said):
    write_pins(paths.RAW / "pinterest", train, test)
    with pytest.raises(ReplicationError) as caught:
        load("pinterest")
    text = str(caught.value)
    assert said in text and "\n" not in text and "python -m replication data pinterest" in text


@pytest.mark.needs_data("pinterest")
def test_pinterest_is_the_sample_that_the_study_states():
    found = load("pinterest")
    assert found.n_users == 15_001 and "from the 37326 with at least 20 pins" in found.source
    pairs = found.users * found.n_items + found.items
    assert len(np.unique(pairs)) == len(pairs)
    kept = filter_rare(found)
    assert kept.n_users == 15_001  # nobody is lost
    assert kept.content_hash == "84267c7804bd"  # numpy draws the same users everywhere


def write_amazon(folder, text):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "amazon_Video_Games_data.csv").write_text(text)


MADE_RATINGS = "A1,0439715571,4.0\nA1,0700099867,5.0\nA2,0439715571,5.0\n"


def test_amazon_ids_stay_strings(home, monkeypatch):
    """An item id is a book's number with leading zeros; the first line is no header."""
    monkeypatch.setattr(amazon, "_checked", lambda name, frame, *counts: frame)
    write_amazon(paths.RAW / "amazon-video-games", MADE_RATINGS)
    for _ in ("from the file", "from the prepared copy"):
        found = load("amazon-video-games")
        assert pairs_of(found) == [("A1", "0439715571"), ("A1", "0700099867"), ("A2", "0439715571")]
        assert found.ratings.tolist() == [4, 5, 5] and set(found.timestamps) == {UNKNOWN_TIME}


@pytest.mark.parametrize("last", ["B2", "B2,", "B2,3.0", "B2,4.5"])
def test_amazon_ratings_are_four_or_five(home, monkeypatch, last):
    monkeypatch.setattr(amazon, "_checked", lambda name, frame, *counts: frame)
    write_amazon(paths.RAW / "amazon-video-games", MADE_RATINGS + f"A2,{last}")
    with pytest.raises(ReplicationError, match="4 and 5 only, but 1 are missing or others; "):
        load("amazon-video-games")


def test_wrong_counts_of_the_other_sets_are_one_sentence(home):
    write_amazon(paths.RAW / "amazon-video-games", MADE_RATINGS)
    with pytest.raises(ReplicationError, match=r"^amazon.* hold 115828 ratings.* 3, 2 and 2 were"):
        load("amazon-video-games")
    write_pins(paths.RAW / "pinterest", *MADE_PINS)
    with pytest.raises(ReplicationError, match=r"^pinterest should hold 1025709 .* 14, 4 and 4 w"):
        load("pinterest")


@pytest.mark.needs_data("amazon-video-games")
def test_amazon_after_the_filter():
    """The counts of the study; Table 1 of the paper prints 7,868 and 12,802."""
    found = load("amazon-video-games")
    assert (found.n_users, found.n_items, len(found)) == (7_884, 22_251, 115_828)
    kept = filter_rare(found)
    assert (kept.n_users, kept.n_items, len(kept)) == (7_876, 12_839, 106_410)
    pairs = kept.users * kept.n_items + kept.items
    assert len(np.unique(pairs)) == len(pairs)


@pytest.fixture
def few_artists(home, monkeypatch):
    """A function that writes a small file of Yahoo! Music; three users are drawn from it."""
    monkeypatch.setattr(yahoo, "SAMPLED_USERS", 3)
    monkeypatch.setattr(yahoo, "CHUNK", 4)  # users lie across the borders
    (paths.RAW / "yahoo-music").mkdir()

    def write(*rows):
        text = "".join("\t".join(map(str, row)) + "\n" for row in rows)
        (paths.RAW / "yahoo-music" / yahoo.FILE).write_text(text)

    return write


ARTISTS = [(1, 70, 90), (1, 71, 0), (1, 72, 255), (2, 70, 100), (3, 70, 255), (3, 71, 40)]
ARTISTS += [(4, 71, 30), (4, 70, 20), (4, 71, 10), (2, -99, 50), (5, 70, 60)]


def test_yahoo_ratings_are_interactions_and_never_again_is_no_high_rating(few_artists, monkeypatch):
    """User 5 has one rating; user 2's second lies four chunks later; user 4 repeats an artist."""
    monkeypatch.setattr(yahoo, "SAMPLED_USERS", 4)
    few_artists(*ARTISTS)
    found = load("yahoo-music")
    assert pairs_of(found) == [row[:2] for row in (*ARTISTS[:8], ARTISTS[9])]
    assert found.ratings.tolist() == [90, 0, 0, 100, 0, 40, 30, 20, 50]
    assert set(found.timestamps) == {UNKNOWN_TIME}
    assert found.source == (
        "4 users drawn with seed 0 from the 4 with two ratings or more in "
        "ydata-ymusic-user-artist-ratings-v1_0.txt"
    )


def test_yahoo_users_are_drawn_by_a_fixed_seed(few_artists, monkeypatch):
    few_artists(*ARTISTS)
    drawn = []
    for seed in (*range(20), 0):
        monkeypatch.setattr(yahoo, "SAMPLE_SEED", seed)
        drawn.append(yahoo.load(paths.RAW).user_ids.tolist())
    assert drawn[-1] == drawn[0] and {len(users) for users in drawn} == {3}
    assert {user for users in drawn for user in users} == {1, 2, 3, 4}


@pytest.mark.parametrize(
    "rows, said",
    [
        ([*ARTISTS, (1, 73, 101)], "ratings from 0 to 100 or 255, but"),
        ([*ARTISTS, (1, 73, -1)], "ratings from 0 to 100 or 255, but"),
        (ARTISTS[:7], "at least 3 users with two ratings, but"),
        ([*ARTISTS, (1, 73)], "cannot be read"),
        ([*ARTISTS, (1, 73, "ninety")], "cannot be read"),
    ],
)
def test_broken_yahoo_files_are_one_sentence(few_artists, rows, said):
    few_artists(*rows)
    with pytest.raises(ReplicationError) as caught:
        load("yahoo-music")
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_yahoo_says_why_it_is_not_here_and_how_to_get_it(home):
    with pytest.raises(DataUnavailable) as caught:
        load("yahoo-music")
    text = str(caught.value)
    assert "given out by application only" in text and "apply for R1 at https://webscope" in text
    assert yahoo.FILE in text and "\n" not in text


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda f: f.write_bytes(b""), id="empty"),
        pytest.param(lambda f: f.write_bytes(bytes(range(256)) * 20), id="binary"),
        pytest.param(lambda f: f.write_text("<html>\n<p>Not found, 404</p>\n"), id="web page"),
        pytest.param(lambda f: f.write_text(f.read_text().replace(",4.0,", ",four,")), id="word"),
        pytest.param(lambda f: (f.parent / "movies.csv").unlink(), id="no movies.csv"),
        pytest.param(lambda f: (f.parent / "movies.csv").write_text("a\n1\n"), id="other columns"),
    ],
)
@pytest.mark.usefixtures("small_counts")
def test_files_that_cannot_be_read_are_one_sentence(home, spoil):
    folder = paths.RAW / "ml-latest-small"
    write_latest(folder)
    assert len(load("ml-latest-small")) == 2
    spoil(folder / "ratings.csv")
    (paths.PREPARED / "ml-latest-small" / "interactions.parquet").unlink()
    with pytest.raises(ReplicationError) as caught:
        load("ml-latest-small")
    text = str(caught.value)
    assert "\n" not in text and "python -m replication data ml-latest-small" in text
    assert not (paths.PREPARED / "ml-latest-small" / "interactions.parquet").exists()


# --- MovieLens 1M with OMDb's features, tags, Douban ----------------------------------------------


def omdb_line(movie, genres="Drama", director="Ann", writer="Ann", actors="Bob", year="1999"):
    return f"{movie}::Some title::{year}::PG::N/A::{genres}::{director}::{writer}::{actors}::P::U"


AMELIE = omdb_line(
    10,
    genres="Comedy, Romance",
    director="Ann, Bob (co-director)",
    writer='Eve (story "Me, Myself"), Ann, Eve (screenplay), Max Jr. (book)',
    actors="Zoe, Al, Bea",
    year="2001",
)
ALIEN = omdb_line(20, director="N/A", writer="N/A", actors="N/A")


@pytest.fixture
def write_omdb(home, small_counts, monkeypatch):
    """A function that writes lines of OMDb's file beside a small MovieLens 1M."""
    write_1m(paths.RAW / "ml-1m", complete=True)
    (paths.RAW / "ml-1m-omdb").mkdir()

    def write(*lines, expected=None):
        monkeypatch.setattr(omdb, "MOVIES", len(lines) if expected is None else expected)
        text = "".join(f"{line}\n" for line in lines)
        (paths.RAW / "ml-1m-omdb" / omdb.FILE).write_text(text, encoding="utf-8")

    return write


def test_the_features_of_a_movie(write_omdb):
    """Roles go, commas in them too; a person with two roles is there once."""
    write_omdb(AMELIE, ALIEN)
    found = load("ml-1m-omdb")
    assert list(found.item_ids) == [20, 10]  # in the order of the ratings, not of the file
    row = found.item_features.iloc[1]
    assert row.to_dict() == {
        "title": "Amélie (2001)",
        "genres": "Comedy|Romance",
        "director": "Ann|Bob",
        "writer": "Eve|Ann|Max Jr.",
        "actor": "Zoe",
        "certificate": "PG",
        "year": "2001",
        "actors": "Zoe|Al|Bea",
    }
    unknown = found.item_features.iloc[0]
    assert unknown["title"] == "Alien (1979)" and unknown["genres"] == "Drama"
    assert unknown[["director", "writer", "actor", "actors"]].tolist() == [""] * 4
    ratings = load("ml-1m")
    assert found.name == "ml-1m-omdb" and found.content_hash == ratings.content_hash
    assert found.source.startswith(ratings.source) and "OMDb" in found.source


def test_a_movie_without_a_line_keeps_its_title_and_has_no_features(write_omdb):
    write_omdb(AMELIE)
    row = load("ml-1m-omdb").item_features.iloc[0]
    assert row["title"] == "Alien (1979)" and row.drop("title").tolist() == [""] * 7


@pytest.mark.parametrize(
    "lines, said",
    [
        ((AMELIE, omdb_line(30)), "movies of MovieLens 1M only, but there is '30' in line 2 of"),
        ((AMELIE, omdb_line("x")), "movies of MovieLens 1M only, but there is 'x' in line 2 of"),
        ((ALIEN, AMELIE, ALIEN), "each movie once, but 20 is there again in line 3 of"),
        ((ALIEN[:-3], AMELIE), "11 fields a line, but there are 10 in line 1 of"),
        ((AMELIE, ALIEN[:30]), "11 fields a line, but there are 5 in line 2 of"),
        ((AMELIE, omdb_line(20, year="199")), "years of four digits, but there is '199' in line 2"),
        (("<html>",), "11 fields a line, but there are 1 in line 1 of"),
    ],
)
def test_a_broken_line_of_features_is_one_sentence(write_omdb, lines, said):
    write_omdb(*lines)
    with pytest.raises(ReplicationError) as caught:
        load("ml-1m-omdb")
    text = str(caught.value)
    assert text.startswith("ml-1m-omdb should hold ") and said in text and "\n" not in text
    assert text.endswith("run `python -m replication data ml-1m-omdb`")


def test_features_that_were_cut_between_two_lines_are_refused(write_omdb):
    write_omdb(AMELIE, expected=2)
    with pytest.raises(ReplicationError, match=r"features of 2 movies, but .* has 1; "):
        load("ml-1m-omdb")


def test_features_that_are_no_text_are_one_sentence(write_omdb):
    (paths.RAW / "ml-1m-omdb" / omdb.FILE).write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ReplicationError, match=r"cannot be read .*; delete these folders and run "):
        load("ml-1m-omdb")


def test_the_features_without_the_ratings_name_the_ratings(write_omdb):
    write_omdb(AMELIE, ALIEN)
    (paths.RAW / "ml-1m" / "ratings.dat").unlink()
    with pytest.raises(DataUnavailable, match="run `python -m replication data ml-1m` first"):
        load("ml-1m-omdb")


def test_newer_ratings_make_the_copy_with_the_features_anew(write_omdb):
    """The ratings lie in another folder than the features."""
    write_omdb(AMELIE, ALIEN)
    before = load("ml-1m-omdb")
    for folder in ("ml-1m", "ml-1m-omdb"):
        for file in (paths.RAW / folder).iterdir():
            shift(file, -100)
    assert equal(load("ml-1m-omdb"), before)
    file = paths.RAW / "ml-1m" / "ratings.dat"
    file.write_text(file.read_text() + "2::20::1::981\n")
    shift(file, -1e8)  # as unzip leaves it: only its size tells
    assert len(load("ml-1m-omdb")) == len(before) + 1


def test_what_a_data_set_needs_is_fetched_with_it():
    sets, default = load_manifest()
    assert {name: item.needs for name, item in sets.items() if item.needs} == NEEDS
    assert set(NEEDS) <= set(default)


@pytest.mark.needs_data("ml-1m-omdb")
def test_the_real_features_of_movielens_1m():
    found = load("ml-1m-omdb")
    features = found.item_features
    assert list(features) == "title genres director writer actor certificate year actors".split()
    assert found.content_hash == load("ml-1m").content_hash
    nothing = (features.drop(columns="title") == "").all(axis=1)
    assert sorted(found.item_ids[nothing].tolist()) == [860, 1795]
    toys = features[found.item_ids == 1].iloc[0]
    assert (toys["title"], toys["year"], toys["certificate"]) == ("Toy Story (1995)", "1995", "G")
    assert (toys["director"], toys["actor"]) == ("John Lasseter", "Tom Hanks")
    assert toys["writer"].split("|")[:3] == ["John Lasseter", "Pete Docter", "Andrew Stanton"]
    assert toys["writer"].count("Andrew Stanton") == 1  # he has two roles
    for name in ("director", "writer", "actor"):
        assert not features[name].str.contains(r"[()]|N/A").any(), name


@pytest.mark.needs_data("ml-1m-omdb")
def test_most_director_strings_of_the_file_are_there_once():
    """Over all 3,881 lines as they stand: 2,071 strings, of which 1,378 are there once."""
    text = (paths.RAW / "ml-1m-omdb" / omdb.FILE).read_text(encoding="utf-8")
    directors = pd.Series([line.split("::")[6] for line in text.split("\n") if line])
    counts = directors.value_counts()
    assert (len(directors), len(counts), int((counts == 1).sum())) == (3_881, 2_071, 1_378)


def write_tags(folder, *rows):
    text = "userId,movieId,tag,timestamp\n" + "".join(f"{row},1139045764\n" for row in rows)
    (folder / "tags.csv").write_text(text)


def test_tags_are_plain_words_of_known_users_and_items(home, small_counts):
    folder = paths.RAW / "ml-latest-small"
    write_latest(folder)
    write_tags(
        folder, "1,20, Dark ", "1,20,dark", "1,10,NA", "1,10,a|b", "1,20,", "7,20,x", "1,9,x"
    )
    found = load_tags(load("ml-latest-small"))
    assert list(found) == ["user", "item", "tag"]
    assert found.values.tolist() == [[0, 1, "dark"], [0, 0, "na"], [0, 0, "a/b"]]
    assert found["user"].dtype == found["item"].dtype == np.int64


def test_tags_that_are_not_there_are_one_sentence(home, small_counts, tiny):
    folder = paths.RAW / "ml-latest-small"
    write_latest(folder)
    ratings = load("ml-latest-small")
    with pytest.raises(DataUnavailable, match="run `python -m replication data ml-latest-small`"):
        load_tags(ratings)
    (folder / "tags.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ReplicationError, match=r"cannot be read .*delete that folder and run "):
        load_tags(ratings)
    with pytest.raises(ReplicationError, match="tiny has no tags; there are tags of ml-latest-sma"):
        load_tags(tiny)


@pytest.mark.needs_data("ml-latest-small")
def test_the_real_tags():
    found = load("ml-latest-small")
    tags = load_tags(found)
    assert (len(tags), tags["tag"].nunique(), tags["user"].nunique()) == (3_662, 1_472, 56)
    kept = filter_rare(found)  # the numbering is that of the interactions
    fewer = load_tags(kept)
    assert set(kept.item_ids[fewer["item"]]) < set(found.item_ids[tags["item"]])


@pytest.fixture
def write_douban(home):
    """A function that writes the files of Douban's graph, of which some can be replaced."""

    def write(**files):
        folder = paths.RAW / "douban-graph"
        folder.mkdir(exist_ok=True)
        whole = {
            "user_movie": "1\t7\t5\n2\t7\t3\n1\t9\t1\n",
            "movie_director": "7\t4\t1\n8\t5\t1\n",
            "movie_actor": "7\t12\t1\n7\t11\t1\n7\t12\t1\n",
            "movie_type": "7\t2\t1\n7\t1\t1\n",
        }
        for name, text in (whole | files).items():
            (folder / f"{name}.dat").write_text(text)

    return write


def test_the_graph_of_douban(write_douban):
    write_douban()
    for _ in ("from the files", "from the prepared copy"):
        found = load("douban-graph")
        assert pairs_of(found) == [(1, 7), (2, 7), (1, 9)] and found.ratings.tolist() == [5, 3, 1]
        assert set(found.timestamps) == {UNKNOWN_TIME}
        assert found.item_features.to_dict("records") == [
            {"director": "4", "actor": "12|11", "genres": "2|1"},
            {"director": "", "actor": "", "genres": ""},
        ]


def test_the_graph_with_timestamps_and_a_repeated_pair(write_douban):
    write_douban(user_movie="1\t7\t5\t90\n2\t7\t3\t80\n1\t7\t2\t95\n")
    found = load("douban-graph")
    assert pairs_of(found) == [(1, 7), (2, 7)] and found.ratings.tolist() == [5, 3]
    assert found.timestamps.tolist() == [90, 80] and "1 repeated ratings" in found.source


@pytest.mark.parametrize(
    "files, said",
    [
        ({"user_movie": "1\t7\t6\n"}, "ratings 1 to 5, but user_movie.dat has 1 others"),
        ({"user_movie": "1\t7\n"}, "3 or 4 whole numbers a line, but user_movie.dat"),
        ({"user_movie": "1\t7\t5\n2\t7\n"}, "3 or 4 whole numbers a line, but user_movie.dat"),
        ({"movie_type": "7\tcomedy\t1\n"}, "3 whole numbers a line, but movie_type.dat"),
        ({"movie_actor": "7 12 1\n"}, "3 whole numbers a line, but movie_actor.dat"),
        ({"movie_actor": ""}, "cannot be read"),
    ],
)
def test_broken_files_of_douban_are_one_sentence(write_douban, files, said):
    write_douban(**files)
    with pytest.raises(ReplicationError) as caught:
        load("douban-graph")
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_missing_files_of_douban_say_where_they_are_and_belong(write_douban):
    write_douban()
    folder = paths.RAW / "douban-graph"
    (folder / "movie_type.dat").unlink()
    with pytest.raises(DataUnavailable) as caught:
        load("douban-graph")
    text = str(caught.value)
    assert str(folder) in text and douban.PAGE in text and "data douban-graph`" in text
    assert all(file in text for file in (douban.RATINGS, *douban.LINKS.values()))


def test_data_that_nobody_has_say_why(write_douban):
    """The reason of the paper's tables, not that the name is unknown, and what can be had."""
    write_douban()
    for name in ("douban-music", "douban-movie"):
        with pytest.raises(DataUnavailable) as caught:
            load(name)
        assert str(caught.value).startswith(UNAVAILABLE[name])
        assert ("loaded as douban-graph" in str(caught.value)) == (name == "douban-movie")


def test_the_manifest_asks_for_the_files_that_the_loader_reads():
    sets, _ = load_manifest()
    assert set(sets["douban-graph"].own_files) == {douban.RATINGS, *douban.LINKS.values()}
    assert douban.PAGE in sets["douban-graph"].how


# --- the prepared copy ---------------------------------------------------------------------------


@pytest.fixture
def counted(home, monkeypatch, make_tiny):
    """A data set "counted" with one raw file; a list of the times its loader was called."""
    calls = []

    def loader(raw):
        calls.append(1)
        made = make_tiny(seed=len((raw / "counted" / "file").read_text()))
        features = pd.DataFrame({"title": [f"é {i}" for i in made.item_ids], "genres": "A|B"})
        return dataclasses.replace(made, name="counted", item_features=features, source="a file")

    monkeypatch.setitem(DATASETS, "counted", loader)
    (paths.RAW / "counted").mkdir()
    (paths.RAW / "counted" / "file").write_text("1")
    return calls


@pytest.fixture
def prepared(counted):
    """The prepared copy, made a minute ago."""
    load("counted")
    folder = paths.PREPARED / "counted"
    for file in (paths.RAW / "counted", *(paths.RAW / "counted").iterdir()):
        shift(file, -120)
    for file in folder.iterdir():
        shift(file, -60)
    counted.clear()
    return folder


def shift(file, seconds):
    time = file.stat().st_mtime + seconds
    os.utime(file, (time, time))


def test_the_prepared_copy_is_the_data_to_the_bit(tmp_path, tiny):
    features = pd.DataFrame({"title": [f"é {i}" for i in tiny.item_ids], "year": 1995})
    whole = dataclasses.replace(tiny, item_features=features, source="somewhere")
    write_parquet(whole, tmp_path / "copy")
    assert equal(whole, read_parquet(tmp_path / "copy"))
    assert sorted(f.name for f in (tmp_path / "copy").iterdir()) == [
        "interactions.parquet",
        "item_features.parquet",
    ]


def test_the_prepared_copy_is_used(prepared, counted):
    first = load("counted")
    assert counted == [] and first.source == "a file"
    assert equal(first, load("counted"))


def test_newer_raw_files_make_the_prepared_copy_anew(prepared, counted):
    before = load("counted")
    file = paths.RAW / "counted" / "file"
    file.write_text("1234")
    after = load("counted")
    assert counted == [1] and after.content_hash != before.content_hash
    assert equal(load("counted"), after)


def test_an_older_file_that_is_put_there_makes_the_prepared_copy_anew(prepared, counted):
    file = paths.RAW / "counted" / "file"
    file.unlink()
    file.write_text("1234")
    shift(file, -1e8)  # as unzip leaves it
    load("counted")
    assert counted == [1]


def test_without_raw_files_there_is_no_data_set(prepared, counted, monkeypatch):
    """What cannot be verified any more is not used."""
    (paths.RAW / "counted" / "file").unlink()
    with pytest.raises(ReplicationError, match="cannot be read"):
        load("counted")


SPOILERS = {
    "empty": lambda f: f.write_bytes(b""),
    "cut": lambda f: f.write_bytes(f.read_bytes()[:-100]),
    "text": lambda f: f.write_bytes(b"no parquet"),
    "another table": lambda f: pd.DataFrame({"a": [1]}).to_parquet(f),
    "gone": lambda f: f.unlink(),
}


@pytest.mark.parametrize(
    "file, how",
    [
        (file, how)
        for file in ("interactions.parquet", "item_features.parquet")
        for how in SPOILERS
        if (file, how) != ("interactions.parquet", "gone")
    ]
    + [("interactions.parquet", "gone")],
)
def test_a_broken_prepared_copy_is_made_again(prepared, counted, file, how):
    whole = load("counted")
    SPOILERS[how](prepared / file)
    assert equal(load("counted"), whole)
    assert counted == [1]
    assert equal(read_parquet(prepared, "file 1"), whole)


def test_a_disk_without_room_for_the_copy(home, counted, monkeypatch):
    def full(table, where, **_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(data.interactions.pq, "write_table", full)
    with pytest.warns(UserWarning, match="no prepared copy"):
        assert len(load("counted")) > 0
    assert [f.name for f in paths.PREPARED.rglob("*") if "interactions" in f.name] == []


@pytest.mark.needs_data("amazon-video-games")
def test_the_printed_counts_of_amazon():
    """What the page of Table 1 says of the 7,868 users, 12,802 items and 98,421 examples."""
    data = load("amazon-video-games")
    kept = filter_rare(data, min_of_user=3)
    assert kept.n_users == 7_868 and kept.n_items > 12_802
    assert filter_rare(data).n_users == 7_876
    assert len(np.unique(data.users)) > 7_876
    keep = np.ones(len(kept), dtype=bool)
    keep[draws.released_tests(kept, 123)] = False
    assert len(np.unique(kept.users[keep])) == 7_868
    assert len(np.unique(kept.items[keep])) == 12_802
    assert int(0.999 * keep.sum()) == 98_421
    keep[:] = True
    keep[draws.released_tests(kept, 124)] = False
    assert len(np.unique(kept.items[keep])) != 12_802
