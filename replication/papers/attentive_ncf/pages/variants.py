"""What each choice that the paper leaves open does: variants of Table II on one fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from replication import figures
from replication.claims import Comparison, Evidence, NoEvidence, variant_row
from replication.compare import PairedTest, Record, interval, least_to_most, number
from replication.fold_gaps import outcome_of
from replication.page import PENDING, Study, enumeration, errors, opening, range_text
from replication.papers.attentive_ncf.claims import METRIC, OWN, SELECT, pair
from replication.papers.attentive_ncf.experiments import VARIANTS
from replication.papers.attentive_ncf.pages.table2 import by_row, evidence
from replication.papers.attentive_ncf.rows import ROWS, SHORT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# In the order of the page. The others ("seeds", "bagged") are no departures of the model.
SHOWN = {
    "other-size": "the other embedding size",
    "mlp2-narrow": "MLP2 of 200-100-50",
    "mlp2-deep": "MLP2 of 512-256-128-64",
    "user-scale-raw": "user autoencoder on ratings 1 to 5",
    "all-context": "trained with all context",
    "default-user": "default user trained",
}

HIGHEST_RATING = 5.0  # in stars


@dataclass(frozen=True)
class Effect:
    """A variant against the main run of fold 0; ``pvalue`` is Holm's over the page."""

    variant: str
    row: str
    before: float
    after: float
    test: PairedTest | None
    pvalue: float | None

    @property
    def outcome(self) -> str:
        """ "worse" or "better" where that is established, "neither", or "no spread"."""
        if self.test is None or self.pvalue is None:
            return "no spread"
        return outcome_of(self.test.difference, self.pvalue)


def _questions() -> list[tuple[str, str, Comparison]]:
    return [
        (variant, row, pair(variant_row(row, variant), variant_row(row, OWN)))
        for variant in SHOWN
        for row in (ROWS[model].name for model in VARIANTS[variant].models)
    ]


def effects(study: Study, proof: Evidence | None = None) -> list[Effect]:
    """The variants that have a run, each beside the main run of its fold."""
    proof = proof or evidence(study)
    family = [question for *_, question in _questions()]
    adjusted = proof.adjusted(family)
    main = by_row(study, "fold-minimum")
    changed = {variant: by_row(study, "fold-minimum", variant) for variant in SHOWN}
    found = []
    for variant, row, question in _questions():
        before, after = errors(main.get(row, {})), errors(changed[variant].get(row, {}))
        common = sorted(before.keys() & after.keys())
        if not common:
            continue
        test = None
        try:
            test = proof.test(question)
        except NoEvidence:  # the seeds that give the spread are not run yet
            pass
        values = [[numbers[fold] for fold in common] for numbers in (before, after)]
        old, new = (float(np.mean(numbers)) for numbers in values)
        found.append(Effect(variant, row, old, new, test, adjusted.get(question)))
    return found


def headline(study: Study) -> str:
    """What was asked of the open choices, what was found, and how it is judged."""
    asked = (
        "Which choices that the paper leaves open, or makes without a comparison, move the RMSE of "
        "Table II by more than another seed does?"
    )
    found = effects(study)
    if not found:
        return opening(asked, PENDING)
    outcomes = [effect.outcome for effect in found]
    largest = max(found, key=lambda effect: abs(effect.after - effect.before))
    pending = len(_questions()) - len(found)
    unjudged = outcomes.count("no spread")
    parts = [
        f"{outcomes.count('worse')} came out worse",
        f"{outcomes.count('better')} better",
        f"{outcomes.count('neither')} not established as either",
        *([f"{unjudged} not judged yet"] if unjudged else []),
    ]
    return opening(
        asked,
        f"Of {len(found)} variants on fold 0{' so far' if pending else ''}, "
        f"{enumeration(parts)}, and the largest difference is "
        f"{number(largest.after - largest.before, True)}, of {largest.row} "
        f"({SHOWN[largest.variant]}).",
        [
            "Worse and better: only what is established against the spread of seeds counts.",
            _open_ended(study, found),
            f"Pending: the runs of {pending} more." if pending else "",
            f"Not judged yet: {unjudged}, until other seeds show the spread." if unjudged else "",
        ],
    )


def _cut_off(study: Study) -> dict[tuple[str, str], int]:
    """The last epoch that was allowed, by variant and row, where it was the best one."""
    return {
        (variant, row): run["epochs"]
        for variant in SHOWN
        for row, runs in by_row(study, "fold-minimum", variant).items()
        for run in runs.values()
        if run["epochs"] >= run["config"]["max_epochs"]
    }


def _open_ended(study: Study, found: Sequence[Effect]) -> str:
    """Which established differences rest on a run that more epochs might change; "" for none."""
    cut = _cut_off(study)
    named = [
        f"{e.row} ({SHOWN[e.variant]}), {e.outcome}, at epoch {cut[e.variant, e.row]}"
        for e in found
        if e.outcome in ("worse", "better") and (e.variant, e.row) in cut
    ]
    return (
        f"Established, but best at the last epoch that was allowed, so that more epochs might "
        f"change it: {'; '.join(named)}."
        if named
        else ""
    )


def reach(study: Study) -> str:
    """What a difference must be to be told from another seed, and which runs were cut off."""
    found = effects(study)
    half = [(e.test.ci_high - e.test.ci_low) / 2 for e in found if e.test is not None]
    if not half:
        return PENDING
    cut = [f"{row} ({SHOWN[v]}, epoch {epoch})" for (v, row), epoch in _cut_off(study).items()]
    last = (
        f" Best at the last epoch that was allowed, so that more epochs might change it: "
        f"{'; '.join(cut)}."
        if cut
        else " No variant was best at the last epoch that was allowed."
    )
    return (
        "*Not established* is not *no effect*: a difference must exceed "
        f"{least_to_most(half, False)}, by combination, to be told from another seed, and more "
        f"after the correction over the page.{last}"
    )


def sentence(study: Study, variant: str) -> str:
    """The effect of one variant, for a sentence elsewhere in the book."""
    texts = [
        f"{effect.row} {number(effect.after - effect.before, signed=True)} ({effect.outcome})"
        for effect in effects(study)
        if effect.variant == variant
    ]
    return f"RMSE on fold 0: {', '.join(texts)}" if texts else "pending"


def table(study: Study, variant: str) -> pd.DataFrame:
    """One line a model with a variant, as strings."""
    there = {effect.row: effect for effect in effects(study) if effect.variant == variant}
    lines = {}
    for model in VARIANTS[variant].models:
        row = ROWS[model].name
        effect = there.get(row)
        if effect is None:
            lines[row] = {"main": "pending"}
            continue
        test = effect.test
        gap = number(effect.after - effect.before, signed=True)
        spread = "–" if test is None else interval(test.ci_low, test.ci_high, signed=True)
        p = effect.pvalue
        lines[row] = {
            "main": number(effect.before),
            "variant": number(effect.after),
            "difference [95 %]": gap if test is None else f"{gap} {spread}",
            "p": "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}",
            "outcome": effect.outcome,
        }
    frame = pd.DataFrame.from_dict(lines, orient="index", dtype=str)
    return frame.fillna("–").rename_axis("model")


def spread(study: Study) -> pd.DataFrame:
    """The spread of seeds on fold 0 apart from that of folds."""
    seeds, folds = by_row(study, "fold-minimum", "seeds"), by_row(study, "fold-minimum")
    lines = {}
    for model in VARIANTS["seeds"].models:
        row = ROWS[model].name
        own, others = (list(errors(found.get(row, {})).values()) for found in (seeds, folds))
        lines[row] = {
            "sd over seeds, fold 0": _sd(own),
            "seeds": str(len(own)),
            "sd over folds": _sd(others),
            "folds": str(len(others)),
        }
    return pd.DataFrame.from_dict(lines, orient="index", dtype=str).rename_axis("model")


def _sd(values: list[float]) -> str:
    return f"{np.std(values, ddof=1):.5f}" if len(values) > 1 else "pending"


def spread_sentence(study: Study) -> str:
    """How much of what varies over folds is chance of training."""
    seeds, folds = by_row(study, "fold-minimum", "seeds"), by_row(study, "fold-minimum")
    own, others = (
        [float(np.std(values, ddof=1)) for values in map(list, found) if len(values) > 1]
        for found in (
            [errors(runs).values() for runs in seeds.values()],
            [errors(folds.get(row, {})).values() for row in seeds],
        )
    )
    if not own or not others:
        return "pending"
    which = f"{len(own)} of {len(VARIANTS['seeds'].models)} combinations"
    return (
        f"standard deviation of RMSE: {least_to_most(own, False)} over seeds on fold 0 ({which}), "
        f"{least_to_most(others, False)} over folds"
    )


def without_context(study: Study) -> pd.DataFrame:
    """RMSE on fold 0 with every context emptied while testing: what the default user is worth."""
    main = by_row(study, "fold-minimum")
    trained = by_row(study, "fold-minimum", "default-user")
    name = f"{METRIC}/context-none"
    lines = {}
    for model in VARIANTS["default-user"].models:
        row = ROWS[model].name
        values = [errors(found.get(row, {}), name).get(0) for found in (main, trained)]
        lines[row] = {
            "default user not trained": number(values[0]),
            "trained on emptied contexts": number(values[1]),
            "with context": number(errors(main.get(row, {}), f"{METRIC}/draw-0").get(0)),
        }
    return pd.DataFrame.from_dict(lines, orient="index", dtype=str).rename_axis("model")


def tested_with_all(study: Study) -> pd.DataFrame:
    """RMSE on fold 0 by the context in training and in testing."""
    ways = {
        "64": by_row(study, "fold-minimum"),
        "all": by_row(study, "fold-minimum", "all-context"),
    }
    lines = {}
    for model in VARIANTS["all-context"].models:
        row = ROWS[model].name
        lines[row] = {
            f"trained with {train}, tested with {test}": number(
                errors(found.get(row, {}), f"{METRIC}/{name}").get(0)
            )
            for train, found in ways.items()
            for test, name in (("128", "draw-0"), ("all", "context-all"))
        }
    return pd.DataFrame.from_dict(lines, orient="index", dtype=str).rename_axis("model")


def pretraining(study: Study) -> pd.DataFrame:
    """What the autoencoders learn before a model takes their vectors, one line an autoencoder.

    The error is Eq. 2 of the paper on a tenth of the training ratings, hidden while they train.
    """
    lines = {}
    for read, variant in (("0.2 to 1", ""), ("1 to 5", "user-scale-raw")):
        found: dict[int, Record] = {}  # by fold: models of a fold share their autoencoders
        for runs_ in by_row(study, "fold-minimum", variant).values():
            found |= {fold: run for fold, run in runs_.items() if "pretraining" in run}
        # The movie autoencoder reads 0.2 to 1 in both.
        for part, title in (("users", "users"), *([] if variant else [("items", "movies")])):
            told = [found[fold]["pretraining"][part] for fold in sorted(found)]
            stars = [t["error"] * (1.0 if variant else HIGHEST_RATING) for t in told if t["error"]]
            lines[f"{title}, ratings read as {read}"] = {
                "folds": str(len(told)),
                "epochs": range_text([t["epochs"] for t in told]) if told else "pending",
                "error, stars": f"{np.mean(stars):.4f}" if stars else "pending",
                "sd over folds": _sd(stars) if len(stars) > 1 else "–",
            }
    return pd.DataFrame.from_dict(lines, orient="index", dtype=str).rename_axis("autoencoder of")


def runs(study: Study) -> list[Record]:
    """The records behind the page."""
    parts = [by_row(study, "fold-minimum", variant) for variant in (*SHOWN, "seeds")]
    return [run for part in parts for found in part.values() for run in found.values()]


def figure(study: Study) -> Figure | None:
    """Differences with what another seed does, one line a variant and model; None without any."""
    series: dict[str, dict[str, figures.Interval]] = {}
    for effect in effects(study):
        low, high = (effect.test.ci_low, effect.test.ci_high) if effect.test else (None, None)
        point = figures.Interval(effect.after - effect.before, low, high)
        embedding, predictor = effect.row.split(" + ")
        series.setdefault(embedding, {})[f"{SHOWN[effect.variant]}, {predictor}"] = point
    if not series:
        return None
    labels = [
        label
        for text in SHOWN.values()
        for predictor in SHORT
        if any((label := f"{text}, {predictor}") in points for points in series.values())
    ]
    return figures.intervals({"fold 0": series}, {}, labels, "variant minus main, RMSE (stars)", 1)


# --- learning curves -------------------------------------------------------------------------


def curves(study: Study, part: str) -> Figure | None:
    """RMSE by epoch, the mean over folds and each fold, one panel an embedding.

    An axis ends where the lines can be told apart around their lowest points.

    Args:
        study: of Table II.
        part: "test" (trained on all training ratings) or "validation" (inner).
    """
    select = "fold-minimum" if part == "test" else "validation-no-refit"
    panels: dict[str, dict[str, figures.Curve]] = {}
    for row, found in by_row(study, select).items():
        lines = [run["curve"][f"{part} {METRIC}"] for run in found.values()]
        curve = figures.over_seeds(lines)
        if curve is not None:
            embedding, predictor = row.split(" + ")
            panels.setdefault(embedding, {})[predictor] = curve
    if not panels:
        return None
    labels = dict.fromkeys(panels, f"{part} RMSE (stars)")
    tops = {
        name: _top([np.asarray(curve.mean) for curve in lines.values()])
        for name, lines in panels.items()
    }
    return figures.curves(panels, labels, "epoch", 3, tops)


def _top(means: Sequence[np.ndarray]) -> float:
    """Above all that comes at or after a line's lowest point, and its last three epochs."""
    low = min(float(mean.min()) for mean in means)
    late = (mean[min(int(mean.argmin()), max(0, len(mean) - 3)) :] for mean in means)
    return low + 1.4 * (max(float(part.max()) for part in late) - low)


def overfitting(study: Study) -> str:
    """What was asked of the learning curves, what was found, and for which combinations."""
    asked = "How many epochs does each combination need, and does its error rise again after that?"
    main = by_row(study, SELECT)
    rises, chosen = {}, {}
    for row, found in main.items():
        lines = [run["curve"][f"test {METRIC}"] for run in found.values()]
        if lines:
            shortest = min(map(len, lines))
            mean = np.mean([line[:shortest] for line in lines], axis=0)  # [E]
            rises[row], chosen[row] = float(mean[-1] - mean.min()), 1 + int(mean.argmin())
    if not rises:
        return opening(asked, PENDING)
    worst, slow = max(rises, key=rises.__getitem__), max(chosen, key=chosen.__getitem__)
    so_far = "" if len(rises) == len(main) else f" ({len(rises)} of {len(main)} are measured)"
    return opening(
        asked,
        f"A combination's test RMSE, the mean over the folds, is lowest after epoch "
        f"{range_text(list(chosen.values()))}, and by its last epoch it has risen by "
        f"{least_to_most(rises.values(), signed=False)}{so_far}.",
        [f"Most epochs: {slow}.", f"Largest rise: {worst}."],
    )
