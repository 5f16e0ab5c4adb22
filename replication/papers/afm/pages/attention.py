"""What AFM's attention says of its users: sentences, tables and figures from ``afm/attention``.

The users of Figures 1 and 4 are those of fold 0; tables and differences are over all folds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from scipy import special, stats

from replication import figures, fold_gaps, page, questions
from replication.claims import ALPHA
from replication.compare import (
    Cell,
    Record,
    bootstrap_interval,
    cells,
    holm,
    interval,
    least_to_most,
    number,
    percent,
    published_values,
)
from replication.errors import ReplicationError
from replication.figures import Interval
from replication.fold_gaps import MIN_FOLDS, Gap, gap_text
from replication.page import MODES, Study, opening, two_digits
from replication.papers.afm import attention as measured
from replication.papers.afm import experiments
from replication.papers.afm import explanations as measures
from replication.papers.afm.attention import GENRES, SHUFFLED
from replication.papers.afm.model import OTHERS
from replication.papers.afm.pages.table2 import joined
from replication.papers.afm.rows import ATTENDED
from replication.questions import Answer, Filled, Question, span, tally
from replication.records import Store
from replication.training import resolve_device

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PENDING = "Pending: no attention is measured yet."
FIGURE_4_ON, FIGURE_1_ON = "ml-1m", "ml-1m-omdb"
DEFAULT, BEST_READING = (experiments.row_name(model) for model in ATTENDED)
QUICK_ON = "ml-latest-small"  # trained in about a minute
TITLE = 36  # characters of a panel's title that fit
GIVEN = "given the number of ratings"  # in a legend
CARES, CARES_NOT = "high", "low"  # of Figure 4: the user above, and the one below

# Of the planted users; its settings are ours.
PLANTED_NAME = "a small AFM with Eq. 4 and biases"

ERROR = (
    Question("squared error/shuffled", "squared error/own", "another user's minus own"),
    Question("squared error/uniform", "squared error/own", "the same on all minus own"),
)
# By what is asked and what becomes of the masked slot's attention; Holm's correction runs over all.
COSTS = {"squared error": "RMSE (stars)", "moved": "Change of the prediction (stars)"}
MASKED = {
    (what, kind): tuple(
        Question(f"{what}/{first}/{kind}", f"{what}/{second}/{kind}", text)
        for first, second, text in (
            ("attended", "random", "most attended minus any one"),
            ("attended", "shuffled", "most attended minus another user's"),
            ("shuffled", "random", "control: another user's minus any one"),
        )
    )
    for what in COSTS
    for kind in measures.MASKINGS
}
GROUPS: dict[str, tuple[Question, ...]] = {
    "error": ERROR,
    "masked": tuple(question for some in MASKED.values() for question in some),
}


def found_cells(study: Study, variant: str = "", best: bool = True) -> Filled:
    """The cells of real films of the page or of a variant, each with its runs by fold.

    Without ``best`` those of the default reading alone.
    """
    grid = measured.grid(variant) if variant else study.grid
    rows = (DEFAULT, BEST_READING) if best else (DEFAULT,)
    some = [cell for cell in grid if cell.dataset in experiments.RUN_HERE and cell.row in rows]
    return cells(some, study.records)


def _place(cell: Cell) -> str:
    """What a panel or a group of lines is called."""
    return cell.dataset if cell.row == DEFAULT else f"{cell.dataset}, best reading"


def answer_all(study: Study) -> dict[str, list[Answer]]:
    """The answers of each group of questions."""
    found = found_cells(study)
    return {name: questions.answers(found, study.ranks, asked) for name, asked in GROUPS.items()}


def table(some: Sequence[Answer], group: Sequence[Question]) -> pd.DataFrame:
    """Differences with intervals of some questions; a star says that one is established."""
    return questions.table([a for a in some if a.question in group], PENDING)


def gaps(study: Study) -> str:
    """Which cells have not all folds, and which data cannot be had."""
    found = [
        (replace(cell, row=f"{cell.row}, {cell.variant}") if cell.variant else cell, runs)
        for cell, runs in cells([*study.grid, *measured.grid(SHUFFLED)], study.records)
    ]
    texts = [questions.gaps(found)]
    texts += [f"`{name}`: {reason}." for name, reason in experiments.UNAVAILABLE.items()]
    return "  \n".join(texts)


def _runs(study: Study, dataset: str, variant: str = "") -> Mapping[int, Record]:
    """The runs on a data set by fold; none where the page does not show it."""
    found = found_cells(study, variant, best=False)
    return next((runs for c, runs in found if c.dataset == dataset), {})


def _mean(runs: Mapping[int, Record], metric: str) -> float | None:
    """Over the runs that have the metric; None where none has."""
    values = list(page.errors(runs, metric).values())
    return float(np.mean(values)) if values else None


# --- at the top ------------------------------------------------------------------------------


def headline(study: Study, found: Mapping[str, Sequence[Answer]]) -> str:
    """What was asked of the attention, what was found, and the numbers behind it."""
    asked = (
        "Does a user's attention over the features say what the user cares for, as Figures 1 and "
        "4 of the paper show of four users, and does the prediction depend on it?"
    )
    everything, planted = followed(study), _recovered(study)
    follows = [f for f in everything if f.row == DEFAULT]
    tests = _tests(found, DEFAULT)
    details = [
        _shares(study),
        _follows(follows),
        *(f"{joined([text])}: by {span(some, q)} of squared error." for text, some, q in tests),
        _in_best_reading([f for f in everything if f.row != DEFAULT], found),
        f"Planted users, by {PLANTED_NAME}: one {planted}." if planted else "",
        _fallen(study),
    ]
    if not any(details):
        return opening(asked, PENDING)
    answers = _counted(follows, tests)
    if not answers:
        answers.append("no test of the attention of real users is recorded yet")
        answers += [f"of planted users one {planted}"] if planted else []
    return opening(asked, f"{joined(answers)}.", details)


Test = tuple[str, Sequence[Answer], Question]


def _tests(found: Mapping[str, Sequence[Answer]], row: str) -> list[Test]:
    """What is asked of the prediction of one model, with the answers, where there are any."""
    # Not against any one: a slot that everybody attends to, or a large weight, costs more anyway.
    costs = MASKED["squared error", measures.MASKINGS[0]][1]
    asked = (
        ("another user's attention predicts worse", "error", ERROR[0]),
        (
            "masking the slot that a user attends to most costs more than another user's",
            "masked",
            costs,
        ),
    )
    own = {group: [a for a in some if a.cell.row == row] for group, some in found.items()}
    return [
        (text, own[group], question)
        for text, group, question in asked
        if any(a.question == question for a in own[group])
    ]


def _counted(follows: Sequence[Followed], tests: Sequence[Test]) -> list[str]:
    """How often attention follows what users rate, and how often the prediction hangs on it."""
    texts = [f"{text} in {_times(*tally(some, q), 'data sets')}" for text, some, q in tests]
    if not follows:
        return texts
    counted = _times(*_directions(follows), len(follows), "cases")
    return [f"attention is established to follow what users rate in {counted}", *texts]


def _in_best_reading(follows: Sequence[Followed], found: Mapping[str, Sequence[Answer]]) -> str:
    """The same of AFM with the interaction that the search prefers; "" before it is measured."""
    counted = _counted(follows, _tests(found, BEST_READING))
    return (
        f"With the interaction that our search prefers: {page.enumeration(counted)}."
        if counted
        else ""
    )


def _times(above: int, below: int, total: int, what: str) -> str:
    """How often something is established, and how often its reverse where it ever is."""
    return f"{above} of {total} {what}" + (f" (reverse: {below})" if below else "")


def _shares(study: Study) -> str:
    """How much attention users have on genre; "" before it is measured, as of all below."""
    runs = _runs(study, FIGURE_4_ON)
    share, below = (_mean(runs, f"{name}/{GENRES}") for name in ("attention", "below"))
    if share is None or below is None:
        return ""
    return (
        f"How attention is spread: on `{FIGURE_4_ON}` users have {percent(share)} of it on genre, "
        f"where the same on both slots would be 50.0 %, and {percent(below)} of them have less "
        "than 20 %."
    )


def _directions(found: Sequence[Followed]) -> tuple[int, int]:
    """How many are established above zero, and how many below."""
    above, below = (sum(f.direction == sign for f in found) for sign in (1, -1))
    return above, below


def _follows(found: Sequence[Followed]) -> str:
    if not found:
        return ""
    above, below = _directions(found)
    raw = sum(f.raw_direction == 1 for f in found)
    given = [f.given.mean for f in found if f.given]
    where = page.enumeration(list(dict.fromkeys(f"`{f.place}`" for f in found)))
    rest = f", and given that number {least_to_most(given)}" if given else ""
    return (
        "What users rate (a case is a feature of a data set, by all of a user's ratings or by "
        f"those of 5; so far of {where}): attention on a feature is the greater the fewer of its "
        f"values a user rates, beyond what the number of ratings tells, in {above} of {len(found)} "
        f"cases (in "
        f"{raw} before that number is taken out), and the reverse in {below}. The rank "
        f"correlations are {least_to_most(f.correlation for f in found)}{rest}."
    )


def _recovered(study: Study) -> str:
    """How well one planted user is told from another, after "one"."""
    main, dealt = (_recovery(study, variant) for variant in ("", SHUFFLED))
    if not main:
        return ""
    control = f" ({number(float(np.mean(dealt)))} with shuffled genres)" if dealt else ""
    return (
        "who cares for genre is told from one who does not with a probability of "
        f"{number(float(np.mean(main)))}{control}"
    )


def _fallen(study: Study) -> str:
    found = shuffled_gaps(study).get(f"attention/{GENRES}")
    if found is None:
        return ""
    outcome = "established" if _established(found) else "not established"
    if found.test is None:
        outcome = f"{found.folds} of at least {MIN_FOLDS} folds, too few for a test"
    return (
        "Shuffled genres: dealt to the wrong films they change the attention on them by "
        f"{gap_text(found)} ({outcome})."
    )


def measuring(study: Study) -> str:
    """What it took to measure AFM on the folds, without its training; "" before it."""
    seconds = [
        record["seconds"]
        for record in study.records
        if record["dataset"] != measured.PLANTED and "seconds" in record
    ]
    if not seconds:
        return ""
    return (
        f"Of this time {two_digits(sum(seconds) / 60)} minutes went into measuring {len(seconds)} "
        "runs of AFM on folds; their training is counted with Table 2."
    )


def printed(study: Study) -> pd.DataFrame:
    """What the paper prints of attention: ours above, published below, then the difference."""
    values = published_values(study.published)
    four, one = FIGURE_4_ON, FIGURE_1_ON
    plan = [
        ("attention on genre of the user who cares", four, "attention", four, CARES),
        ("attention on genre of the user who does not", four, "attention", four, CARES_NOT),
        (
            "users with little attention on genre",
            "douban-music",
            "share of users",
            four,
            f"below/{GENRES}",
        ),
        ("the fan of a director", "douban-movie", "share of movies by the director", one, "share"),
        ("the fan of a director", "douban-movie", "share of these rated 5", one, "favourites"),
    ]
    lines, index = [], []
    for row, theirs, metric, ours, what in plan:
        key = next((k for k in values if k[1:4] == (row, theirs, metric)), None)
        if key is None:
            raise ReplicationError(f"published.csv has no {metric} of {row}")
        there = values[key]
        mean, ends, about = _measured(study, ours, what)
        name = row if "share of" not in metric or "users" in metric else f"{row}: {metric}"
        index += [(name, kind) for kind in ("measured", "published", "difference")]
        away = None if mean is None else mean - there
        low, high = (None if end is None else end - there for end in ends)
        lines += [
            {"value": number(mean), "interval": interval(*ends), "of": about},
            {"value": number(there), "interval": "–", "of": experiments.DATASETS[theirs]},
            {"value": number(away, True), "interval": interval(low, high, True), "of": "–"},
        ]
    names = pd.MultiIndex.from_tuples(index, names=["number", ""])
    return pd.DataFrame(lines, index=names)


Ends = tuple[float | None, float | None]


def _measured(study: Study, dataset: str, what: str) -> tuple[float | None, Ends, str]:
    """One of our numbers with its interval, and of whom it is.

    Of single users the value of fold 0, and the least and the most of the folds, each of which has
    users of its own by the same rule.
    """
    runs = _runs(study, dataset)
    if not runs:
        return None, (None, None), f"{experiments.DATASETS[dataset]}, pending"
    if what.startswith("below/"):
        low, high = _ends(questions.values_of(study.ranks, runs, what))
        return _mean(runs, what), (low, high), f"all users of {experiments.DATASETS[dataset]}"
    by_fold = {}
    for fold, run in runs.items():
        if what in (CARES, CARES_NOT):
            four = run["shown"].get("figure 4", {"users": {}})
            if what in four["users"]:
                place = four["slots"].index(GENRES)
                by_fold[fold] = four["users"][what]["attention"][place]
        else:
            fan = run["shown"].get("figure 1", {"fans": {}})["fans"].get("director")
            by_fold |= {fold: fan[what]} if fan else {}
    if 0 not in by_fold:
        lacks = "nobody" if what not in (CARES, CARES_NOT) and 0 in runs else "pending"
        return None, (None, None), f"{experiments.DATASETS[dataset]}, {lacks}"
    ends: Ends = (min(by_fold.values()), max(by_fold.values()))
    return (
        by_fold[0],
        ends if len(by_fold) > 1 else (None, None),
        f"one user of {experiments.DATASETS[dataset]}",
    )


def _ends(values: np.ndarray | None) -> Ends:
    """The bootstrap interval of the values [S, U] of users who have one in every fold."""
    if values is None:
        return None, None
    values = values[:, np.isfinite(values).all(0)]
    return bootstrap_interval(values) if values.size else (None, None)


def planted_settings() -> str:
    """What model the planted users have, and that no search chose it."""
    c = measured.PLANTED_CONFIG
    return (
        f"The model is {PLANTED_NAME}: {c.dimension} dimensions, Adam with a rate of "
        f"{c.learning_rate:g}, batches of {c.batch_size} and up to {c.max_epochs} epochs, set by "
        "hand so that it learns in seconds. It shows that attention can find such users, not that "
        "the default reading with its settings does."
    )


def most_attended(study: Study) -> str:
    """Which slot has the most of a user's attention, for what share of users, by model."""
    texts = []
    for cell, runs in found_cells(study):
        shares: dict[str, list[float]] = {}
        for run in runs.values():
            values = study.ranks.get(run["key"])
            if not isinstance(values, Mapping):
                continue
            own = {n: v for n, v in values.items() if n.startswith("attention/")}
            most = np.argmax(np.stack([np.asarray(v) for v in own.values()]), axis=0)  # [U]
            for place, name in enumerate(own):
                shares.setdefault(name.partition("/")[2], []).append(float(np.mean(most == place)))
        if shares:
            parts = [f"{name} for {percent(float(np.mean(s)))}" for name, s in shares.items()]
            texts.append(f"on `{_place(cell)}` {', '.join(parts)}")
    if not texts:
        return ""
    return (
        f"A slot is a feature or the film's own vector (*{OTHERS}*). The one with the most "
        f"attention is, by share of users: {'; '.join(texts)}."
    )


# --- the users of Figures 4 and 1 ------------------------------------------------------------


def shown(study: Study, dataset: str, name: str) -> Record | None:
    """``figure 4`` or ``figure 1`` of fold 0 on a data set; None where there is none yet."""
    run = _runs(study, dataset).get(0)
    found = run["shown"].get(name) if run else None
    known = found and (found.get("users") or found.get("fans") or found.get("nobody"))
    return found if known else None


def figure_4_text(study: Study, four: Record | None) -> str:
    """How much attention the two users have on genre, and how their favourites are spread."""
    if four is None:
        return PENDING
    at = four["slots"].index(four["feature"])
    values = published_values(study.published)
    prints = {
        CARES: "attention on genre of the user who cares",
        CARES_NOT: "attention on genre of the user who does not",
    }
    texts, entropies = [], {}
    for name, user in four["users"].items():
        shares = np.asarray(user["shares"])
        entropies[name] = float(special.entr(shares).sum())
        best = ", ".join(
            f"{four['values'][n]} {percent(shares[n])}" for n in np.argsort(-shares)[:3]
        )
        there = next(v for k, v in values.items() if k[1] == prints[name])
        texts.append(
            f"User {user['user']} has {percent(user['attention'][at])} of the attention on genre "
            f"(the paper's user: {percent(there)}); of {user['rated 5']} films rated 5 most are "
            f"{best}, and the entropy of the genres is {entropies[name]:.2f} of at most "
            f"{np.log(len(shares)):.2f} nats."
        )
    fewer = entropies[CARES] < entropies[CARES_NOT]
    verdict = (
        "The favourites of the user with more attention on genre are spread over fewer genres, as "
        "in the paper."
        if fewer
        else "The favourites of the user with more attention on genre are NOT spread over fewer "
        "genres than those of the other."
    )
    return " ".join([*texts, verdict])


def figure_4(four: Record) -> Figure:
    """Shares of the genres among the films rated 5 of two users, a cell a genre."""
    at = four["slots"].index(four["feature"])
    rows = {
        f"user {user['user']}: {percent(user['attention'][at])} of the attention on genre": user[
            "shares"
        ]
        for user in four["users"].values()
    }
    return figures.heat(rows, four["values"], "share of films rated 5")


def figure_1_text(one: Record | None) -> str:
    """Who the fans are, and how their attention on what they are fans of stands to the rest."""
    if one is None:
        return PENDING
    texts = []
    even = 1 / len(one["slots"])
    for feature, fan in one["fans"].items():
        own = fan["attention"][one["slots"].index(feature)]
        place = 1 + sum(value > own for value in fan["attention"])
        texts.append(
            f"Of {fan['rated']} films that user {fan['user']} rated in training "
            f"{percent(fan['share'])} have the {feature} {fan['value']}, and "
            f"{percent(fan['favourites'])} of these are rated 5; the user has {percent(own)} of "
            f"the attention on the {feature}, place {place} of {len(one['slots'])} slots, where "
            f"the same on all would be {percent(even)}."
        )
    texts += [f"Nobody is a fan of one {feature} by this rule." for feature in one["nobody"]]
    return " ".join(texts)


def figure_1(one: Record | None) -> Figure | None:
    """Attention over the slots, one panel a fan; None without one."""
    if one is None or not one["fans"]:
        return None
    panels = {
        _short(f"user {fan['user']}: {feature} {fan['value']}"): dict(
            zip(one["slots"], fan["attention"], strict=True)
        )
        for feature, fan in one["fans"].items()
    }
    return figures.bars(panels, dict.fromkeys(panels, 1 / len(one["slots"])), "attention (share)")


def _short(text: str) -> str:
    return text if len(text) <= TITLE else f"{text[: TITLE - 1].rstrip()}…"


def sentences(study: Study) -> pd.DataFrame:
    """What AFM would tell the users of the figures, one line a user."""
    lines = []
    for dataset, name in ((FIGURE_4_ON, "figure 4"), (FIGURE_1_ON, "figure 1")):
        found = shown(study, dataset, name) or {}
        people = found.get("users") or found.get("fans") or {}
        for role, user in people.items():
            told = user["recommended"]
            at = told["slots"].index(told["carrier"])
            kind = f"{role} attention" if name == "figure 4" else f"fan, {role}"
            lines.append(
                {
                    "user": f"{name.capitalize()}, {kind}",
                    "prediction": f"{told['prediction']:.2f}",
                    "carried by": told["carrier"],
                    "adds (stars)": number(told["contribution"][at], signed=True),
                    "sentence": told["sentence"],
                }
            )
    if not lines:
        return pd.DataFrame({"user": [PENDING]}).set_index("user")
    return pd.DataFrame(lines).set_index("user")


# --- one user and one film -------------------------------------------------------------------


def view(mode: str, dataset: str, user: int | None, film: int | None, device: str) -> Record | None:
    """What ``explain()`` says to a user about a film; None where nothing is stored yet.

    ``stored`` without a user takes the committed user of Figure 4 with the most attention on genre.
    A user, or another mode, asks the model of fold 0 that was kept, or one that is trained again;
    ``quick`` takes the small data in place of ``dataset``.

    Raises:
        ReplicationError: a mode, data set, user, film or device that there is not.
        DataUnavailable: the data are not there.
    """
    for kind, value, known in (
        ("mode", mode, MODES),
        ("dataset", dataset, experiments.RUN_HERE),
    ):
        if value not in known:
            raise ReplicationError(f"unknown {kind} {value!r}; use one of {', '.join(known)}")
    for kind, index in (("user", user), ("film", film)):
        if index is not None and type(index) is not int:
            raise ReplicationError(f"{kind} should be a whole number or None, not {index!r}")
    if film is not None and user is None:
        raise ReplicationError("a film needs a user")
    where = resolve_device(device)
    if mode == "stored" and user is None:
        grid = [c for c in measured.grid() if (c.row, c.dataset) == (DEFAULT, dataset)]
        ((_, runs),) = cells(grid, Store(measured.TABLE).load())
        return _first_shown(runs[0]) if 0 in runs else None
    job = experiments.Run(QUICK_ON if mode == "quick" else dataset, measured.MODEL, 0)
    model = measured.trained(job, where)
    if user is None:
        return _first_shown(measured.measure(job, model, where)[0])
    return measured.example(job, model, user, film)


def _first_shown(record: Record) -> Record | None:
    users = record["shown"].get("figure 4", {"users": {}})["users"]
    found: Record | None = users[CARES]["recommended"] if CARES in users else None
    return found


def describe(told: Record | None) -> str:
    """The sentence for the user, and what it rests on."""
    if told is None:
        return PENDING
    rated = "has not rated it" if told["rating"] is None else f"gave it {told['rating']:g}"
    at = told["slots"].index(told["carrier"])
    what = "the film's own vector" if told["carrier"] == OTHERS else f"the {told['carrier']}"
    return (
        f"> {told['sentence']}\n\nPredicted for user {told['user']} is {told['prediction']:.2f}; "
        f"in the test of this fold the user {rated}. Most is added by {what}: "
        f"{number(told['contribution'][at], signed=True)} stars, with "
        f"{percent(told['weight'][at])} of the attention."
    )


def listed(told: Record) -> pd.DataFrame:
    """The slots of one user and one film, one line each."""
    lines = [
        {
            "slot": name,
            "of this film": ", ".join(told["features"].get(name, ())) or "–",
            "attention": number(told["attention"][at]),
            "attention for this film": number(told["weight"][at]),
            "adds (stars)": number(told["contribution"][at], signed=True),
        }
        for at, name in enumerate(told["slots"])
    ]
    return pd.DataFrame(lines).set_index("slot")


# --- does attention follow what users rate? --------------------------------------------------


class Followed(NamedTuple):
    """Over the folds: attention on a feature and how concentrated users are on its values."""

    row: str
    place: str  # data set, and which reading
    feature: str
    which: str  # of ``measured.WHICH``
    correlation: float  # mean over the folds
    low: float  # the widest of the folds' intervals
    high: float
    shuffled: float  # mean of the control
    beyond: tuple[float, float]  # the widest interval of the correlation less its control
    pvalue: float  # the largest of the folds; after Holm over all that the page lists
    given: Interval | None  # with the number of ratings taken out: mean, widest interval
    given_pvalue: float  # as ``pvalue``, corrected together with it; 1 without ``given``
    users: int  # in the fold that has the fewest
    folds: int

    @property
    def raw_direction(self) -> int:
        """+1 or -1 where the correlation as it is is established in every fold, else 0."""
        return _direction(*self.beyond, self.pvalue)

    @property
    def given_direction(self) -> int:
        """The same given the number of ratings."""
        if self.given is None or self.given.low is None or self.given.high is None:
            return 0
        return _direction(self.given.low, self.given.high, self.given_pvalue)

    @property
    def direction(self) -> int:
        """+1 or -1 where both are established, and alike: what the number of ratings tells alone
        is no attention that follows behaviour."""
        same = self.raw_direction == self.given_direction
        return self.raw_direction if same else 0


def _direction(low: float, high: float, pvalue: float) -> int:
    if pvalue >= ALPHA or low <= 0 <= high:
        return 0
    return 1 if low > 0 else -1


def followed(study: Study, variant: str = "") -> list[Followed]:
    """Every feature of every data set, with all ratings and with those of 5."""
    found = []
    for cell, runs in found_cells(study, variant):
        for feature in experiments.FEATURES[cell.dataset]:
            for which in measured.WHICH:
                name = f"follows/{feature}/{which}"
                own = [r["metrics"] for r in runs.values() if f"{name}/correlation" in r["metrics"]]
                if not own:
                    continue
                r, low, high, control, p, users = np.array(
                    [
                        [m[f"{name}/{k}"] for m in own]
                        for k in ("correlation", "low", "high", "shuffled", "p", "users")
                    ]
                )  # [folds] each
                given, given_p = _given(own, name)
                found.append(
                    Followed(
                        cell.row,
                        _place(cell),
                        feature,
                        which,
                        float(r.mean()),
                        float(low.min()),
                        float(high.max()),
                        float(control.mean()),
                        (float((low - control).min()), float((high - control).max())),
                        float(p.max()),
                        given,
                        given_p,
                        int(users.min()),
                        len(own),
                    )
                )
    pvalues = [p for f in found for p in (f.pvalue, f.given_pvalue)]
    adjusted = iter(holm(pvalues).tolist())
    return [f._replace(pvalue=next(adjusted), given_pvalue=next(adjusted)) for f in found]


def _given(runs: Sequence[Mapping[str, float]], name: str) -> tuple[Interval | None, float]:
    """The correlation given the number of ratings, and the largest p-value of the folds' metrics.

    Without a number in some fold there is none: the number of ratings leaves nothing there.
    """
    names = [f"{name}/given_{k}" for k in ("count", "low", "high", "p")]
    if any(k not in metrics for metrics in runs for k in names):
        return None, 1.0
    r, low, high, p = np.array([[metrics[k] for metrics in runs] for k in names])  # [folds] each
    return Interval(float(r.mean()), float(low.min()), float(high.max())), float(p.max())


def follow_table(found: Sequence[Followed]) -> pd.DataFrame:
    """``followed`` as strings; a star says that a correlation is established.

    The claim needs both: as it is, and given the number of ratings.
    """
    if not found:
        return pd.DataFrame({"data set": [PENDING]}).set_index("data set")
    lines = [
        {
            "data set": f.place,
            "feature": f.feature,
            "ratings": f.which,
            "correlation [95 %]": f"{number(f.correlation, signed=True)} "
            f"{interval(f.low, f.high, signed=True)}{' *' if f.raw_direction else ''}",
            "shuffled users": number(f.shuffled, signed=True),
            "given the number of ratings [95 %]": f"{number(f.given.mean, signed=True)} "
            f"{interval(f.given.low, f.given.high, signed=True)}"
            f"{' *' if f.given_direction else ''}"
            if f.given
            else "–",
            "users": f"{f.users:,}",
            "folds": str(f.folds),
        }
        for f in found
    ]
    return pd.DataFrame(lines).set_index(["data set", "feature", "ratings"])


def follow_figure(found: Sequence[Followed]) -> Figure | None:
    """Rank correlations, the same given the number of ratings, and those of shuffled users."""
    panels: dict[str, dict[str, dict[str, Interval]]] = {}
    for f in found:
        names = ("own attention", GIVEN, "shuffled users")
        series = panels.setdefault(f.place, {name: {} for name in names})
        label = f"{f.feature}, {f.which}"
        series["own attention"][label] = Interval(f.correlation, f.low, f.high)
        if f.given:
            series[GIVEN][label] = f.given
        series["shuffled users"][label] = Interval(f.shuffled)
    labels = list(dict.fromkeys(f"{f.feature}, {f.which}" for f in found))
    xlabel = "rank correlation over users"
    return figures.intervals(panels, {}, labels, xlabel, columns=2) if panels else None


# --- does the prediction depend on the attention? --------------------------------------------


def accuracy(study: Study) -> pd.DataFrame:
    """RMSE with each attention, one line a data set."""
    names = {
        "RMSE/own": "own",
        "RMSE/shuffled": "another user's",
        "RMSE/uniform": "the same on all",
    }
    return questions.means(found_cells(study), names, PENDING)


ARM_NAMES = {
    "attended": "most attended",
    "random": "any one",
    "least": "least attended",
    "shuffled": "another user's most attended",
}


def masked(study: Study, what: str, kind: str) -> pd.DataFrame:
    """RMSE, or change of the prediction, with a slot masked, one line a data set."""
    metric = "RMSE" if what == "squared error" else what
    names = {f"{metric}/{arm}/{kind}": text for arm, text in ARM_NAMES.items()}
    return questions.means(found_cells(study), names, PENDING)


def masked_figure(study: Study) -> Figure | None:
    """Mean squared error with a slot masked, with its interval, a panel a data set."""
    panels: dict[str, dict[str, dict[str, Interval]]] = {}
    for cell, runs in found_cells(study):
        for kind in measures.MASKINGS:
            for arm, text in ARM_NAMES.items():
                values = questions.values_of(study.ranks, runs, f"squared error/{arm}/{kind}")
                if values is None:
                    continue
                kept = values[:, np.isfinite(values).all(0)]
                if not kept.size:
                    continue
                series = panels.setdefault(_place(cell), {}).setdefault(kind, {})
                series[text] = Interval(float(kept.mean()), *_ends(values))
    if not panels:
        return None
    xlabel = "squared error (stars²)"
    return figures.intervals(panels, {}, list(ARM_NAMES.values()), xlabel, columns=2)


# --- how attention is spread -----------------------------------------------------------------


def spread_table(study: Study) -> pd.DataFrame:
    """Attention on each slot over the users, and how often a sentence would name it."""
    lines = []
    for cell, runs in found_cells(study):
        slots = _slots(cell.dataset) if runs else ()
        for slot in slots:
            name = f"attention/{slot}"
            below = f"below/{slot}"
            ends = _ends(questions.values_of(study.ranks, runs, below))
            line = {"data set": _place(cell), "slot": slot, "mean": number(_mean(runs, name))}
            line |= {
                text: number(_mean(runs, f"{name}/{q}"))
                for q, text in (("q05", "5 %"), ("q50", "median"), ("q95", "95 %"))
            }
            line |= {
                "the same on all": number(1 / len(slots)),
                "users below 20 % [95 %]": f"{number(_mean(runs, below))} {interval(*ends)}",
                "named in a sentence": number(_mean(runs, f"named/{slot}")),
            }
            lines.append(line)
    if not lines:
        return pd.DataFrame({"data set": [PENDING]}).set_index("data set")
    return pd.DataFrame(lines).set_index(["data set", "slot"])


def _slots(dataset: str) -> tuple[str, ...]:
    return (OTHERS, *experiments.FEATURES[dataset])


def spread_figure(study: Study) -> Figure | None:
    """Median, and 5 % to 95 % of the users, of the attention on each slot."""
    panels: dict[str, dict[str, dict[str, Interval]]] = {}
    for cell, runs in found_cells(study):
        slots = _slots(cell.dataset) if runs else ()
        for slot in slots:
            low, middle, high = (
                _mean(runs, f"attention/{slot}/{q}") for q in ("q05", "q50", "q95")
            )
            if middle is None:
                continue
            series = panels.setdefault(_place(cell), {"users": {}, "the same on all": {}})
            series["users"][slot] = Interval(middle, low, high)
            series["the same on all"][slot] = Interval(1 / len(slots))
    labels = list(dict.fromkeys(s for p in panels.values() for s in p["users"]))
    return figures.intervals(panels, {}, labels, "attention (share)", columns=2) if panels else None


# --- planted users ---------------------------------------------------------------------------


def _planted(study: Study, variant: str) -> Mapping[int, Record]:
    grid = measured.grid(variant) if variant else study.grid
    chosen = [cell for cell in grid if cell.dataset == measured.PLANTED]
    return next((runs for _, runs in cells(chosen, study.records)), {})


def _recovery(study: Study, variant: str) -> list[float]:
    """The recovery of each planted world."""
    return list(page.errors(_planted(study, variant), "recovery").values())


def planted_table(study: Study) -> pd.DataFrame:
    """How well attention tells planted users, with Student's interval over the worlds."""
    lines = []
    for variant, text in (("", "as planted"), (SHUFFLED, "shuffled genres")):
        values = _recovery(study, variant)
        if not values:
            continue
        ends: Ends = (None, None)
        if len(values) > 1:
            low, high = stats.ttest_1samp(values, 0.0).confidence_interval()
            ends = max(0.0, float(low)), min(1.0, float(high))  # it is a probability
        runs = _planted(study, variant)
        lines.append(
            {
                "genres": text,
                "recovery [95 %]": f"{number(float(np.mean(values)))} {interval(*ends)}",
                "attention on genre, those who care": number(
                    _mean(runs, "attention/genre/of those who care")
                ),
                "the others": number(_mean(runs, "attention/genre/of the others")),
                "worlds": str(len(values)),
            }
        )
    if not lines:
        return pd.DataFrame({"genres": [PENDING]}).set_index("genres")
    return pd.DataFrame(lines).set_index("genres")


# --- shuffled genres -------------------------------------------------------------------------


SHUFFLED_CHANGES = {
    f"attention/{GENRES}": "attention on genre",
    f"below/{GENRES}": "users with less than 20 % on genre",
    f"named/{GENRES}": "sentences that name the genre",
    "squared error/own": "squared error (stars²), mean over users",
}


def shuffled_gaps(study: Study) -> dict[str, Gap]:
    """Metric -> what shuffled genres change it by, shuffled minus true, over the common folds.

    The arms are trained apart and all users of a model share its map of attention: it is models
    that vary by chance, and a test over users would take one model's luck for that of thousands.
    """
    dataset = experiments.VARIANTS[SHUFFLED].dataset
    main, dealt = _runs(study, dataset), _runs(study, dataset, SHUFFLED)
    found = {
        metric: fold_gaps.gap(text, dealt, main, experiments.PROTOCOL, metric)
        for metric, text in SHUFFLED_CHANGES.items()
    }
    known = {metric: one for metric, one in found.items() if one is not None}
    return dict(zip(known, fold_gaps.adjusted(list(known.values())), strict=True))


def shuffled_table(study: Study) -> pd.DataFrame:
    """What shuffled genres do to attention, error and sentences; a star: established."""
    lines = [
        {
            "quantity": one.name,
            "true genres": number(one.before),
            "shuffled": number(one.after),
            "difference [95 %]": f"{gap_text(one)}{' *' if _established(one) else ''}",
            "folds": str(one.folds),
        }
        for one in shuffled_gaps(study).values()
    ]
    if not lines:
        return pd.DataFrame({"quantity": [PENDING]}).set_index("quantity")
    return pd.DataFrame(lines).set_index("quantity")


def _established(found: Gap) -> bool:
    return found.pvalue is not None and found.pvalue < ALPHA
