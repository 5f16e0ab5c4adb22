"""Item features: sets of values from texts, tags without held-out ratings, shuffling, coverage."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from replication.data import load, load_tags
from replication.errors import ReplicationError
from replication.folds import Ratings, RatingSplit, make_rating_split
from replication.item_features import attach, coverage, encode, shuffled, training_tags

FILMS = pd.DataFrame(
    {
        "genres": ["War|Drama", "Drama", "(no genres listed)", " Drama | War |Drama", "Action|War"],
        "director": ["Ann", "N/A", "", "Bob|Ann", np.nan],
    }
)


def sets(table, name):
    """The values of a feature as texts, item by item, in the order of the places."""
    feature = table.names.index(name)
    rows = zip(table.values[:, feature], table.present[:, feature], strict=True)
    return [[table.vocabulary[value] for value in row[there]] for row, there in rows]


# --- from texts to sets --------------------------------------------------------------------------


def test_a_set_holds_each_value_once_and_nothing_that_is_missing():
    table = encode(FILMS, ("genres", "director"))
    genres = [["War", "Drama"], ["Drama"], [], ["Drama", "War"], ["Action", "War"]]
    assert sets(table, "genres") == genres
    assert sets(table, "director") == [["Ann"], [], [], ["Bob", "Ann"], []]
    assert table.vocabulary == ("Action", "Drama", "War", "Ann", "Bob")
    assert table.feature_of.tolist() == [0, 0, 0, 1, 1]
    assert table.values.shape == table.present.shape == (5, 2, 2)
    assert table.values.dtype == np.int64 and table.present.dtype == bool
    assert (table.n_items, table.n_values) == (5, 5)
    assert not table.values[~table.present].any()
    assert (np.diff(table.present.astype(int), axis=2) <= 0).all()  # filled places come first


def test_a_film_without_any_feature_has_empty_sets():
    assert not encode(FILMS, ("genres", "director")).present[2].any()


def test_the_order_of_the_names_is_the_order_of_the_features():
    table = encode(FILMS, ("director", "genres"))
    assert table.names == ("director", "genres")
    assert table.vocabulary == ("Ann", "Bob", "Action", "Drama", "War")
    assert sets(table, "genres") == sets(encode(FILMS, ("genres",)), "genres")


def test_the_same_text_in_two_features_is_two_values():
    both = pd.DataFrame({"director": ["Ann", "Bob"], "writer": ["Ann", "Ann"]})
    table = encode(both, ("director", "writer"))
    assert table.vocabulary == ("Ann", "Bob", "Ann")
    assert table.values[:, :, 0].tolist() == [[0, 2], [1, 2]]


def test_the_rules_for_several_values():
    first = encode(FILMS, ("genres", "director"), {"genres": "first"})
    assert sets(first, "genres") == [["War"], ["Drama"], [], ["Drama"], ["Action"]]
    assert sets(first, "director")[3] == ["Bob", "Ann"]  # the rule is for genres only
    whole = encode(FILMS, ("genres",), {"genres": "whole"})
    assert sets(whole, "genres")[:4] == [["War|Drama"], ["Drama"], [], ["Drama|War"]]
    assert whole.values.shape == (5, 1, 1)


@pytest.mark.parametrize(
    "names, rules, said",
    [
        (("genre",), {}, "there is no item feature 'genre'; there are genres, director"),
        (("genres",), {"writer": "first"}, "there is no item feature 'writer'"),
        (("genres",), {"genres": "last"}, "unknown rule 'last' for genres; use set, first, whole"),
        (("genres", "genres"), {}, "different item features"),
        ((), {}, "different item features"),
    ],
)
def test_wrong_names_and_rules_are_one_sentence(names, rules, said):
    with pytest.raises(ReplicationError, match=said):
        encode(FILMS, names, rules)


def test_a_feature_that_no_film_has_is_refused():
    with pytest.raises(ReplicationError, match="no item has a value of the feature 'writer'"):
        encode(FILMS.assign(writer="N/A"), ("genres", "writer"))


def test_the_hash_sees_what_a_model_sees():
    table = encode(FILMS, ("genres", "director"))
    assert encode(FILMS.copy(), ("genres", "director")).content_hash == table.content_hash
    others = [
        encode(FILMS, ("director", "genres")),
        encode(FILMS, ("genres", "director"), {"director": "first"}),
        encode(FILMS.replace("Ann", "Anne"), ("genres", "director")),
        shuffled(table, "genres", 0),
    ]
    assert len({other.content_hash for other in (table, *others)}) == 5


# --- coverage ------------------------------------------------------------------------------------


def test_coverage_counts_films_and_values():
    found = coverage(encode(FILMS, ("genres", "director")))
    assert found.index.tolist() == ["genres", "director"]
    assert found["covered"].tolist() == [4 / 5, 2 / 5]
    assert found["n_values"].tolist() == [3, 2]
    assert found["n_once"].tolist() == [1, 1]  # Action, Bob
    assert found["mean_values"].tolist() == [7 / 5, 3 / 5]


# --- shuffling -----------------------------------------------------------------------------------


def test_shuffling_deals_the_sets_of_one_feature_anew():
    films = pd.DataFrame(
        {"genres": [f"G{i % 7}|H{i % 3}" for i in range(60)], "director": [*"AB"] * 30}
    )
    films.loc[5, "genres"] = ""
    table = encode(films, ("genres", "director"))
    control = shuffled(table, "genres", 0)
    before, after = sets(table, "genres"), sets(control, "genres")
    assert sorted(map(tuple, before)) == sorted(map(tuple, after))  # the sets stay whole
    same = np.mean([a == b for a, b in zip(before, after, strict=True)])
    assert same < 0.3  # 21 sets: about one in twenty stays by chance
    assert sets(control, "director") == sets(table, "director")
    assert coverage(control).equals(coverage(table))
    assert sets(shuffled(table, "genres", 0), "genres") == after
    assert sets(shuffled(table, "genres", 1), "genres") != after
    assert sets(table, "genres") == before  # the table itself is as it was


def test_shuffling_what_is_not_there_is_one_sentence():
    with pytest.raises(ReplicationError, match="has no feature 'tags'; it has genres, director"):
        shuffled(encode(FILMS, ("genres", "director")), "tags", 0)


# --- tags ----------------------------------------------------------------------------------------


def split_of(train, test, n_users=4, n_items=4):
    """A fold with these (user, item) pairs."""
    parts = []
    for pairs in (train, [], test):
        users, items = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
        parts.append(Ratings(users, items, np.ones(len(users), dtype=np.float32)))
    return RatingSplit("kfold-5", 0, n_users, n_items, np.ones(1, np.float32), *parts)


def tags_of(*rows):
    return pd.DataFrame(rows, columns=["user", "item", "tag"])


TRAIN = [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 2), (0, 3)]
TAGS = tags_of(
    (0, 0, "slow"),
    (1, 1, "slow"),
    (0, 0, "dark"),
    (1, 0, "dark"),
    (2, 0, "noir"),  # given by one user only
    (0, 3, "seen twice"),
    (0, 1, "seen twice"),  # two films, but one user
    (2, 1, "dark"),  # the rating is held out
    (3, 2, "dark"),  # that user never rated the film
)


def test_tags_of_held_out_ratings_and_of_users_without_a_rating_do_not_count():
    found = training_tags(split_of(TRAIN, [(2, 1), (3, 0)]), TAGS)
    assert found.tolist() == ["dark|slow", "slow", "", ""]
    assert found.name == "tags"


def test_a_tag_whose_second_giver_is_held_out_is_given_by_one():
    split = split_of([pair for pair in TRAIN if pair != (1, 1)], [(1, 1), (2, 1)])
    assert training_tags(split, TAGS).tolist() == ["dark", "", "", ""]  # no more "slow"


def test_what_held_out_ratings_say_cannot_change_the_features():
    split = split_of(TRAIN, [(2, 1), (3, 0)])
    more = tags_of((2, 1, "noir"), (3, 0, "noir"), (3, 0, "slow"), (2, 1, "new"))
    again = training_tags(split, pd.concat([TAGS, more], ignore_index=True))
    assert again.equals(training_tags(split, TAGS))


def test_the_number_of_users_that_a_tag_needs():
    split = split_of(TRAIN, [])
    assert training_tags(split, TAGS, min_users=1).tolist() == [
        "dark|noir|slow",  # dark by two users; then by alphabet
        "seen twice|slow",
        "",
        "seen twice",
    ]
    assert training_tags(split, TAGS, min_users=3).tolist() == [""] * 4


def test_tags_become_a_feature():
    split = split_of(TRAIN, [(2, 1)])
    films = pd.DataFrame({"genres": ["A", "B", "A", ""]})
    films["tags"] = training_tags(split, TAGS)
    table = encode(films, ("genres", "tags"))
    assert sets(table, "tags") == [["dark", "slow"], ["slow"], [], []]


# --- features of a fold --------------------------------------------------------------------------


def test_a_fold_takes_a_table_of_its_own_items_only():
    split = split_of(TRAIN, [], n_items=5)
    table = encode(FILMS, ("genres",))
    assert attach(split, table).features is table and split.features is None
    assert attach(attach(split, table), None).features is None
    assert attach(split, table).train is split.train
    with pytest.raises(ReplicationError, match="of 5 items, but the fold has 4"):
        attach(dataclasses.replace(split, n_items=4), table)


# --- the real ones -------------------------------------------------------------------------------


@pytest.mark.needs_data("ml-1m")
def test_movielens_1m_has_the_papers_18_genres_in_the_papers_order():
    """The paper prints 3,952 items, which is the largest id; its 8th and 16th genre in Figure 4
    are drama and thriller."""
    data = load("ml-1m")
    table = encode(data.item_features, ("genres",))
    found = coverage(table).loc["genres"]
    assert (data.n_items, int(data.item_ids.max()), found["n_values"]) == (3_706, 3_952, 18)
    assert found["covered"] == 1 and round(found["mean_values"], 3) == 1.671
    assert (table.vocabulary[8 - 1], table.vocabulary[16 - 1]) == ("Drama", "Thriller")


@pytest.mark.needs_data("ml-latest-small")
def test_the_real_tags_leave_held_out_ratings_alone():
    data = load("ml-latest-small")
    tags = load_tags(data)
    split = make_rating_split(data, "kfold-5", 0, inner=True)
    found = training_tags(split, tags)
    held_out = {
        pair
        for part in (split.validation, split.test)
        for pair in zip(part.users.tolist(), part.items.tolist(), strict=True)
    }
    hidden = np.array([pair in held_out for pair in zip(tags["user"], tags["item"], strict=True)])
    assert 0.2 < hidden.mean() < 0.4  # 28 % of the ratings are held out
    assert found.equals(training_tags(split, tags[~hidden]))
    given = tags[~hidden].groupby("tag")["user"].nunique()
    table = encode(data.item_features.assign(tags=found), ("tags",))
    assert set(table.vocabulary) <= set(given.index[given >= 2])
    assert 100 < table.n_values < 400
