"""Attention of Attentive NCF: where it is planted it explains, and where it is not it does not."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from replication import cli, paths
from replication.data.interactions import UNKNOWN_TIME, from_frame
from replication.errors import ReplicationError
from replication.folds import make_rating_split
from replication.page import stored_table
from replication.papers.attentive_ncf import experiments, explanations, rows
from replication.papers.attentive_ncf.model import ALL, AttentiveNCF, AttentiveNCFConfig
from replication.papers.attentive_ncf.pages import explanations as shown
from replication.rating_training import DeviceRatings
from replication.records import Store

CPU = torch.device("cpu")
CONFIG = AttentiveNCFConfig(predictor="inner product", dimension=6, max_epochs=2, batch_size=64)


def made_up():
    """40 users, 90 films of three genres; a user likes one genre and dislikes the others."""
    rng = np.random.default_rng(0)
    users, items = np.nonzero(rng.random((40, 90)) < 0.6)
    ratings = np.where(users % 3 == items % 3, 5, 2) - rng.integers(0, 2, len(users))
    frame = pd.DataFrame({"user": users, "item": items, "rating": ratings})
    ids = np.arange(90)
    films = pd.DataFrame(
        {"title": [f"film {i}" for i in ids], "genres": np.asarray(["A", "B|C", "D"])[ids % 3]}
    )
    return from_frame("ml-100k", frame.assign(timestamp=UNKNOWN_TIME), films, "made up")


DATA = made_up()
GENRE = DATA.item_ids % 3


@pytest.fixture
def study(tmp_path, monkeypatch):
    """The made-up films in the place of ml-100k, small models, nothing stored."""
    for name in ("DATA", "RESULTS", "CHECKPOINTS", "MODELS"):
        monkeypatch.setattr(paths, name, tmp_path / name.lower())
    monkeypatch.setattr(experiments, "load", lambda name: DATA)
    for model in explanations.MODELS:
        known = rows.ROWS[model]
        small = replace(known.start, dimension=6, batch_size=64, max_epochs=2)
        monkeypatch.setitem(rows.ROWS, model, replace(known, start=small))
    cached = (experiments.data_for, experiments._folds_of, experiments.split_for)
    for one in cached:
        one.cache_clear()
    yield tmp_path
    for one in cached:
        one.cache_clear()


@pytest.fixture(scope="module")
def split():
    return make_rating_split(DATA, "kfold-10", 0)


def model_with(split, genre, strength=4.0):
    """A model whose attention goes to films with the target's number in ``genre`` [I]."""
    torch.manual_seed(0)
    model = AttentiveNCF(split, CONFIG)
    e = model.embedding
    with torch.no_grad():
        axes = torch.eye(6)[torch.as_tensor(genre)]
        e.structure.copy_(axes * strength + 0.05 * torch.randn_like(e.structure))
        e.tastes.copy_(torch.rand_like(e.tastes))
    return model.eval()


def measured(model, split):
    similar = explanations.Similarities.of(model, split, DATA.item_features["genres"])
    test = DeviceRatings.of(split.test, CPU)
    drawn = torch.Generator().manual_seed(0)
    return explanations.measure_pairs(model, test, similar, drawn)


def test_attention_that_follows_genres_is_found_and_a_shuffle_is_not(split):
    found = {k: float(v.nanmean()) for k, v in measured(model_with(split, GENRE), split).items()}
    assert found["genres/attention"] > 0.7 and abs(found["genres/shuffled"]) < 0.05
    assert abs(found["genres/other target"]) < 0.3  # a third of the others are of the genre
    assert found["overlap/attention"] > 0.9 > 0.5 > found["overlap/uniform"]
    assert found["overlap/shuffled"] == pytest.approx(found["overlap/uniform"], abs=0.03)
    assert found["evenness"] < 0.6
    stranger = np.random.default_rng(1).permutation(GENRE)
    other = {k: float(v.nanmean()) for k, v in measured(model_with(split, stranger), split).items()}
    assert abs(other["genres/attention"]) < 0.1
    assert other["overlap/attention"] == pytest.approx(other["overlap/uniform"], abs=0.05)


def test_what_is_attended_moves_the_prediction(split):
    found = measured(model_with(split, GENRE), split)
    for k in explanations.REMOVED:
        attended, random, nearest = (
            found[f"moved/{arm}/{k}"] for arm in ("attended", "random", "nearest")
        )
        known = attended.isfinite()
        gain = (attended - random)[known]
        assert gain.mean() > 3 * gain.std() / len(gain) ** 0.5
        assert nearest[known].mean() > random[known].mean()
        assert found[f"times uniform/{k}"][known].min() > 1


def test_with_other_weights_the_rest_shares_them_anew(split):
    """The most attended film taken from contexts whose films all weigh the same, by hand."""
    model = model_with(split, GENRE, 2.0)
    found = measured(model, split)["moved/attended, uniform/1"]
    e, (low, high) = model.embedding, (1.0, 5.0)
    for place in range(5):
        user, item = (torch.tensor([int(x[place])]) for x in (split.test.users, split.test.items))
        context = e.history.draw(user, item, ALL, torch.Generator())
        films, likings = context.items[context.valid], context.likings[context.valid]
        lost = int(explanations.attention_of(model, item, context)[context.valid].argmax())

        def predicted(kept, films=films, likings=likings, item=item):
            taste = (likings[kept, None] * e.tastes[films[kept]]).mean(0, keepdim=True)
            return model.predictor(taste, e.structure[item]).clamp(low, high)

        kept = torch.arange(len(films)) != lost
        by_hand = (predicted(kept) - predicted(torch.ones_like(kept))).abs()
        assert float(found[place]) == pytest.approx(float(by_hand.detach()), abs=1e-5)


def test_films_that_matter_are_told_from_films_that_are_attended(split):
    """Attention that is all but uniform, on films whose tastes the target's score depends on."""
    model = model_with(split, GENRE, 0.3)
    with torch.no_grad():
        model.embedding.tastes.copy_(model.embedding.structure)
    found = {k: float(v.nanmean()) for k, v in measured(model, split).items()}
    excess = found["moved/attended/4"] - found["moved/random/4"]
    alike = found["moved/attended, uniform/4"] - found["moved/random, uniform/4"]
    assert found["evenness"] > 0.99 and excess > 0
    assert alike > 0.8 * excess


def test_uniform_attention_is_no_better_than_chance(split):
    found = measured(model_with(split, GENRE, strength=0.0), split)
    assert float(found["evenness"].mean()) > 0.999
    assert float(found["times uniform/4"].nanmean()) == pytest.approx(1.0, abs=0.01)
    gain = found["moved/attended/4"] - found["moved/random/4"]
    assert float(gain.nanmean().abs()) < 0.2 * float(found["moved/random/4"].nanmean())


def test_own_attention_gives_the_models_own_prediction(split):
    model = model_with(split, GENRE, 2.0)
    users, items = (torch.from_numpy(x[:9]) for x in (split.test.users, split.test.items))
    context = model.embedding.history.draw(users, items, ALL, torch.Generator())
    attention = explanations.attention_of(model, items, context)
    own = explanations.predict_attending(model, items, context, attention)
    torch.testing.assert_close(own, model.predict_new(items, context))
    uniform = context.valid / context.valid.sum(1, keepdim=True)
    e = model.embedding
    user = ((uniform * context.likings)[..., None] * e.tastes[context.items]).sum(1)
    torch.testing.assert_close(
        explanations.predict_attending(model, items, context, uniform),
        model.predictor(user, e.structure[items]),
    )


def test_taking_a_film_away_is_a_history_without_it(split):
    """The most attended film removed by a mask, against a model that never knew the rating."""
    model = model_with(split, GENRE, 2.0)
    user, item = int(split.test.users[0]), int(split.test.items[0])
    context, attention = model.explain(user, item)
    lost = int(context[attention.argmax()])
    keep = ~((split.train.users == user) & (split.train.items == lost))
    poorer = replace(split, train=split.train.take(keep))
    other = AttentiveNCF(poorer, CONFIG)
    other.load_state_dict(model.state_dict())
    other.test_width = model.test_width = ALL
    one = (torch.tensor([user]), torch.tensor([item]), torch.Generator())
    low, high = 1.0, 5.0
    moved = (other.predict(*one).clamp(low, high) - model.predict(*one).clamp(low, high)).abs()
    assert float(moved) > 0
    found = measured(model, split)["moved/attended/1"][0]
    assert float(found) == pytest.approx(float(moved), abs=1e-5)


def test_strongest_and_shuffled_stay_inside_the_context():
    valid = torch.arange(6) < torch.tensor([6, 3, 0])[:, None]
    strength = torch.tensor([[1.0, 6, 2, 5, 3, 4], [1, 3, 2, 9, 9, 9], [9] * 6])
    top = explanations.strongest(strength, valid, 2)
    assert top.tolist() == [[False, True, False, True, False, False],
                            [False, True, True, False, False, False], [False] * 6]  # fmt: skip
    weights = (strength * valid).masked_fill(~valid, 0.0)
    mixed = explanations.shuffled(weights, valid, torch.Generator().manual_seed(1))
    assert torch.equal(mixed.sort(1).values, weights.sort(1).values)
    assert (mixed[~valid] == 0).all() and not torch.equal(mixed, weights)


def test_evenness_by_hand():
    valid = torch.tensor([[True] * 4, [True, True, False, False]])
    attention = torch.tensor([[1.0, 0, 0, 0], [0.5, 0.5, 0, 0]])
    assert explanations.evenness(attention, valid).tolist() == pytest.approx([0.25, 1.0])


def test_the_rule_takes_the_middle():
    correlation = np.array([0.9, 0.1, np.nan, 0.5, 0.3, -1.0])
    context = np.array([30, 30, 30, 20, 30, 19])
    assert explanations.picked(correlation, context) == {"low": 1, "middle": 4, "high": 3}
    assert explanations.picked(correlation[:0], context[:0]) == {}


def test_an_example_says_what_the_model_does(study):
    job = explanations.run_of("ml-100k", "attentive-ip", 0)
    model = model_with(job.split(), GENRE, 2.0)
    test = job.split().test
    made = explanations.example(job, model, int(test.users[0]), int(test.items[0]))
    assert made["rating"] == test.values[0] and len(made["movies"]) == explanations.SHOWN
    first = made["movies"][0]
    _, attention = model.explain(made["user"], made["movie"])
    assert first["attention"] == pytest.approx(float(attention.max()), abs=1e-5)
    assert made["context"] == len(attention)
    assert abs(first["change"]) == pytest.approx(
        float(measured(model, job.split())["moved/attended/1"][0]), abs=1e-4
    )
    same = sum(m["genres"] == made["target"]["genres"] for m in made["movies"])
    assert same >= 10 and first["overlap"] == 1  # of a context of which a third is of the genre
    with pytest.raises(ReplicationError, match="users 0 to 39, not 40"):
        explanations.example(job, model, 40, 0)


def test_records_pages_and_audit(study, capsys):
    command = ["run", explanations.TABLE, "--dataset", "ml-100k"]
    command += ["--model", "attentive-ip", "--seeds", "2"]
    empty = stored_table(explanations.TABLE)
    assert shown.headline(empty, shown.answer_all(empty)).endswith(shown.PENDING)
    assert shown.figure(empty) is None
    assert shown.view("stored", "ml-100k", "attentive-ip", "middle", None, None, "cpu") is None
    assert cli.main([*command, "--device", "cpu"]) == 0
    assert "(run)" in capsys.readouterr().out
    assert cli.main([*command, "--device", "cpu"]) == 0
    assert "(run)" not in capsys.readouterr().out
    records = Store(explanations.TABLE).load()
    assert [r["seed"] for r in records] == [0, 1]
    assert records[0]["config"]["explanations"]["rule"] == explanations.RULE
    values = Store(explanations.TABLE).ranks([records[1]["key"]])[records[1]["key"]]
    for name, value in values.items():
        mean = float(np.nanmean(value.astype(float)))
        assert records[1]["metrics"][name] == pytest.approx(mean), name
    study_ = stored_table(explanations.TABLE)
    found = shown.answer_all(study_)
    text = shown.headline(study_, found)
    assert re.search(
        r"Attention of evenness 0\.\d{3} \(1: uniform\) follows genres in \d of 1", text
    )
    assert re.search(r"the 4 most attended movies get \d\.\d\d times what 4 would get", text)
    above = [a._replace(test=replace(a.test, difference=0.1, ci_low=0.1, ci_high=0.1), pvalue=0.0)
             for a in found["faithful"]]  # fmt: skip
    below = [a._replace(test=replace(a.test, difference=-0.1, ci_low=-0.1, ci_high=-0.1))
             if a.question.second.startswith("moved/nearest") else a for a in above]  # fmt: skip
    half = [a._replace(test=replace(a.test, difference=0.05))
            if "attended, uniform" in a.question.first else a for a in above]  # fmt: skip
    for some, nearest, left in (
        (above, "1 of 1", "100 %"),
        (below, "0 of 1 (and the reverse in 1)", "100 %"),
        (half, "1 of 1", "50 %"),
    ):
        text = shown.headline(study_, found | {"faithful": some})
        assert f"than random movies in 1 of 1, with {left} of this left at " in text
        assert f"those with the nearest embeddings in {nearest}." in text
        assert f"is +0.1000 stars; {left} of this remains where all movies weigh the same" in text
    assert "attentive + MLP1 on `ml-100k` (0 of 5 seeds)" in shown.gaps(study_)
    assert shown.figure(study_) is not None
    assert "genre overlap" in shown.agreement_figure(study_).axes[0].get_xlabel()
    differences = shown.table(found["faithful"], shown.FAITHFUL[4])
    assert differences.columns.tolist() == ["attentive + inner product"]
    assert len(differences) == len(shown.AGAINST)
    assert len(shown.moved(study_, 4)) == len(explanations.ARMS) + 1  # and how many seeds
    pair = shown.view("stored", "ml-100k", "attentive-ip", "middle", None, None, "cpu")
    assert pair is not None and "Target: *film" in shown.describe(pair)
    assert len(shown.listed(pair)) == explanations.SHOWN and shown.draw(pair).axes
    other = shown.view("stored", "ml-100k", "attentive-ip", "middle", 3, 5, "cpu")
    assert (other["user"], other["movie"]) == (3, 5)
    again = explanations.rerun(records[1], CPU)[0]
    assert again["metrics"] == records[1]["metrics"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("stored", "ml-100k", "nothing", "middle", None, None), "unknown model 'nothing'"),
        (("stored", "ml-100k", "attentive-ip", "most", None, None), "unknown pair 'most'"),
        (("stored", "ml-100k", "attentive-ip", "middle", 1, None), "needs a user and a movie"),
        (("stored", "ml-100k", "attentive-ip", "middle", 1, "x"), "movie should be a whole number"),
        (("stored", "cil", "attentive-ip", "middle", None, None), "unknown data set 'cil'"),
        (("later", "ml-100k", "attentive-ip", "middle", None, None), "unknown mode 'later'"),
    ],
)
def test_bad_parameters_are_one_sentence(arguments, text):
    with pytest.raises(ReplicationError, match=text):
        shown.view(*arguments, "cpu")


def test_what_the_table_has_not(study, capsys):
    assert cli.main(["run", explanations.TABLE, "--model", "simple-ip"]) == 1
    assert "has no 'simple-ip'" in capsys.readouterr().err
    assert cli.main(["run", explanations.TABLE, "--variant", "seeds"]) == 1
    assert "takes no --protocol, --variant or --select" in capsys.readouterr().err
