"""Table 2, AFM beside its baselines: sentences and tables from the records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from replication import fold_gaps, page
from replication.baselines.rating_packages import DEFAULTS, MyFMConfig, SurpriseConfig
from replication.compare import cells, interval, least_to_most, number, percent, published_values
from replication.fold_gaps import Gap, adjusted, gap_line, gap_text
from replication.page import (
    PENDING,
    Runs,
    Study,
    errors,
    opening,
    range_text,
    stored_table,
    two_sentences,
)
from replication.papers.afm import experiments
from replication.papers.afm.claims import GAIN_MARGIN
from replication.papers.afm.experiments import DATASETS, FOLDS, PROTOCOL, RUN_HERE, SAME_RATINGS
from replication.papers.afm.rows import BEST, READINGS, ROWS
from replication.papers.rating_search import CONTINUED, Search, cut_off, rank_of_trial
from replication.records import Record, Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METRIC = "RMSE"
MAIN = "ml-1m"  # the only data set of the paper that can be had
FIVE = "ml-1m-omdb"  # five features, as Douban Movie has
AFM, NFM, BIAS = (ROWS[model].name for model in ("afm", "nfm", "bias"))
BY_ADAM, NFM_BY_ADAM = ROWS["afm-adam"].name, ROWS["nfm-adam"].name
BEST_READING = ROWS[BEST].name
PRINTED = tuple(ROWS[model].name for model in ("libfm", "svdfeature", "cdl", "nfm"))
# What searches choose besides the learning rate and the penalty, and what ``BEST`` is.
TUNED = (
    "dimension", "rank", "scale", "dropout", "lambda_v", "lambda_n", "l2", "l2_users", "l2_items",
    "n_epochs", "lr_all", "reg_all",
)  # fmt: skip
READ = ("interaction", "biases", "bounded", "with_mean")
SETTINGS = {
    "n_factors": "factors", "n_epochs": "epochs", "lr_all": "rate", "reg_all": "penalty",
    "reg_u": "penalty of users", "reg_i": "penalty of films",
}  # fmt: skip
DIGITS = 3  # of the oracle's numbers
OPTIMISERS = ((AFM, NFM), (AFM, NFM_BY_ADAM), (BY_ADAM, NFM_BY_ADAM), (NFM, NFM_BY_ADAM))
# The printed margin stands beside that of ours with as many features.
STANDS_FOR = {MAIN: MAIN, FIVE: "douban-movie", "ml-latest-small": None}


def runs_of(study: Study, dataset: str, variant: str = "") -> dict[str, Runs]:
    """The runs of each row on a data set by fold, of the page's cells or of a variant."""
    tables = dict.fromkeys(cell.table for cell in study.grid)
    of_variant = (cell for t in tables for cell in experiments.grid(t, study.select, variant))
    grid = of_variant if variant else study.grid
    chosen = [cell for cell in grid if cell.dataset == dataset]
    return {cell.row: runs for cell, runs in cells(chosen, study.records)}


def mean(runs: Runs, metric: str = METRIC) -> float | None:
    """The mean of a metric over the folds; None without any."""
    values = list(errors(runs, metric).values())
    return float(np.mean(values)) if values else None


def mean_text(runs: Runs) -> str:
    """The mean of the RMSE as a table shows it; "pending" for none."""
    value = mean(runs)
    return "pending" if value is None else number(value)


# --- AFM against the others ------------------------------------------------------------------


def gap(name: str, first: Runs, second: Runs, metric: str = METRIC) -> Gap | None:
    """The first model against the second on the paper's folds; None without a common one."""
    return fold_gaps.gap(name, first, second, PROTOCOL, metric)


def against(study: Study, dataset: str, metric: str = METRIC, first: str = AFM) -> list[Gap]:
    """AFM, or its best reading, minus every other row of a data set."""
    runs = runs_of(study, dataset)
    own = runs.get(first, {})
    found = [gap(row, own, other, metric) for row, other in runs.items() if row != first]
    return adjusted([g for g in found if g is not None])


def comparisons(study: Study, dataset: str, metric: str = METRIC) -> pd.DataFrame:
    """AFM minus every other row of a data set, as strings; below zero AFM is better."""
    lines = {
        g.name: {"its error": number(g.before), "AFM's": number(g.after)} | gap_line(g)
        for g in against(study, dataset, metric)
    }
    return pd.DataFrame.from_dict(lines, orient="index", dtype=str).rename_axis("AFM minus")


def margins(study: Study) -> pd.DataFrame:
    """By how many percent AFM's RMSE is below that of each printed baseline, beside print."""
    printed = published_values(study.published)
    lines, index = [], []
    for dataset, like in STANDS_FOR.items():
        runs = runs_of(study, dataset)
        for row in PRINTED:
            found = gap(row, runs.get(AFM, {}), runs.get(row, {}))
            theirs = printed_gain(printed, row, like) if like else None
            index.append((DATASETS[dataset], row))
            lines.append(
                {
                    "measured": f"{-100 * found.difference / found.before:+.2f} %"
                    if found
                    else "pending",
                    "published": "–" if theirs is None else f"{100 * theirs:+.2f} %",
                    "of": DATASETS[like] if like else "–",
                    "folds": str(found.folds) if found else "0",
                }
            )
    places = pd.MultiIndex.from_tuples(index, names=["data set", "AFM's gain over"])
    return pd.DataFrame(lines, index=places, dtype=str)


def printed_gain(
    printed: Mapping[tuple[str, str, str, str], float], row: str, dataset: str
) -> float:
    """By which share of a row's RMSE AFM's is below it in the paper's Table 2.

    Args:
        printed: as from ``compare.published_values``.
        row: a baseline of the paper.
        dataset: one of the paper's.
    """
    return 1 - printed["table2", AFM, dataset, METRIC] / printed["table2", row, dataset, METRIC]


# --- sentences -------------------------------------------------------------------------------


def headline(study: Study) -> str:
    """What Table 2 was asked, what was found, and the numbers behind it."""
    asked = (
        "Do the errors of Table 2 come out again, and does AFM beat LibFM, SVDFeature, CDL and "
        "NFM: slightly with genre alone, by far with five features?"
    )
    rows = [r for r in study.rows() if None not in (r["published"], r["mean"])]
    by_data = {dataset: _theirs(against(study, dataset)) for dataset in RUN_HERE}
    if not rows and not any(by_data.values()):
        return opening(asked, _simple_alone(study) or PENDING)
    return opening(
        asked,
        f"On `{MAIN}` {_reached(rows)}, and {_won(by_data)}.",
        [
            _beside_print(rows),
            "Tests here are corrected over the rows of one data set. [The verdicts](verdicts) "
            "correct over all claims on errors and ask for a margin, so that what is better here "
            "may not be established there.",
            *(_beaten(study, dataset) for dataset in RUN_HERE),
            stalled(study),
            truncation(study),
            unsearched(study),
        ],
    )


def _theirs(gaps: Sequence[Gap]) -> list[Gap]:
    """Those with the baselines of the paper."""
    return [g for g in gaps if g.name in PRINTED]


def _reached(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many errors come out again: the printed one lies within the interval."""
    known = [r for r in rows if r["ci_low"] is not None]
    if not known:
        return "no error that the paper prints has an interval yet"
    reached = sum(r["ci_low"] <= r["published"] <= r["ci_high"] for r in known)
    return f"{reached} of {len(known)} measured errors have the printed one within their interval"


def _won(by_data: Mapping[str, Sequence[Gap]]) -> str:
    """How often AFM beats a baseline of the paper and loses, and how often with five features."""
    every = [g for gaps in by_data.values() for g in gaps]
    if not every:
        return "AFM has not run beside a baseline of the paper yet"
    text = (
        f"by this table's tests AFM beats a baseline of the paper by RMSE in "
        f"{_outcomes(every, 'better')} of {len(every)} comparisons and loses in "
        f"{_outcomes(every, 'worse')}"
    )
    five = by_data[FIVE]
    if not five:
        return f"{text}, with none on five features yet"
    return (
        f"{text} (with five features {_outcomes(five, 'better')} of {len(five)} won, "
        f"{_outcomes(five, 'worse')} lost)"
    )


def joined(clauses: Sequence[str]) -> str:
    """Clauses as one sentence without its full stop: "First, second, and third"."""
    text = ", and ".join(filter(None, [", ".join(clauses[:-1]), clauses[-1]]))
    return f"{text[:1].upper()}{text[1:]}"


def _outcomes(gaps: Sequence[Gap], outcome: str) -> int:
    return sum(g.outcome == outcome for g in gaps)


def _beside_print(rows: Sequence[Mapping[str, Any]]) -> str:
    """Measured errors beside the printed ones; "" before the first."""
    if not rows:
        return ""
    gaps = [r["mean"] - r["published"] for r in rows]
    known = [r for r in rows if r["ci_low"] is not None]
    above = sum(r["ci_low"] > r["published"] for r in known)
    below = sum(r["ci_high"] < r["published"] for r in known)
    return (
        f"Beside print: of {len(rows)} measured errors on `{MAIN}` {above} are above the printed "
        f"number, {below} below and {len(rows) - above - below} not to be told apart from it "
        f"(differences {least_to_most(gaps)})."
    )


def _simple_alone(study: Study) -> str:
    """The best of the rows that the paper does not have, before its own have run; "" without."""
    rows = {r["row"]: r for r in study.rows() if (r["dataset"], r["metric"]) == (MAIN, METRIC)}
    ours = [r for r in rows.values() if r["published"] is None and r["ci_low"] is not None]
    if not ours:
        return ""
    best = min(ours, key=lambda r: r["mean"])
    return (
        f"On `{MAIN}` neither AFM nor the paper's baselines have run yet, and of the models that "
        f"the paper does not have {best['row']} has the lowest RMSE, {number(best['mean'])} "
        f"{interval(best['ci_low'], best['ci_high'])}, where {number(rows[AFM]['published'])} is "
        "printed for AFM."
    )


def _beaten(study: Study, dataset: str) -> str:
    """How AFM stands among the others of one data set; "" without a common fold."""
    gaps = against(study, dataset)
    theirs = _theirs(gaps)
    if not theirs:
        return ""
    nearest = min(theirs, key=lambda g: g.before)
    text = (
        f"On `{dataset}`: AFM's RMSE is lower than that of "
        f"{sum(g.difference < 0 for g in theirs)} of {len(theirs)} baselines of the paper "
        f"(established for {_outcomes(theirs, 'better')}, the opposite for "
        f"{_outcomes(theirs, 'worse')}), and {percent(abs(nearest.difference / nearest.before))} "
        f"{'below' if nearest.difference < 0 else 'above'} the best of them, {nearest.name}"
    )
    readings = _theirs(against(study, dataset, first=BEST_READING))
    if readings:
        text += (
            f" (in its best reading lower than that of {sum(g.difference < 0 for g in readings)} "
            f"of {len(readings)}, established for {_outcomes(readings, 'better')})"
        )
    text += "."
    simple = [g for g in gaps if g.name not in (*PRINTED, BEST_READING)]
    if simple:
        best = max(simple, key=lambda g: g.difference)
        word = "better" if best.difference > 0 else "behind"
        text += (
            f" The best of the rows that the paper does not have, {best.name}, is {word} by "
            f"{abs(best.difference):.4f}."
        )
    return text


def stalled(study: Study) -> str:
    """How often NFM by SGD is hardly better than biases, by data set; "" before any run."""
    texts = [
        f"on `{dataset}` {_flat(study, dataset)}"
        for dataset in RUN_HERE
        if runs_of(study, dataset).get(NFM) and flat_trials(dataset)
    ]
    if not texts:
        return ""
    return (
        "NFM by SGD, as the paper trains it, has an error less than "
        f"{GAIN_MARGIN:g} below that of biases alone in so many search trials, and, with the "
        f"settings of the best of them, on so many folds: {', '.join(texts)}. Where its network "
        "has not learned, a win over NFM is one over its biases: [both optimisers](afm-optimisers)."
    )


def flat_trials(dataset: str) -> tuple[int, int] | None:
    """How many trials of NFM by SGD are no better than the best of biases, and of how many.

    Both searches are on the same validation ratings. None where either is missing.
    """
    on = SAME_RATINGS[0] if dataset in SAME_RATINGS else dataset
    found, biases = (
        [rank_of_trial(trial)[0] for trial in experiments.search(model, where).trials()]
        for model, where in (("nfm", dataset), ("bias", on))
    )
    if not found or not biases:
        return None
    return sum(error > min(biases) - GAIN_MARGIN for error in found), len(found)


def _flat(study: Study, dataset: str) -> str:
    """Both as "9 of 10 trials and 1 of 5 folds"."""
    counts = {"trials": flat_trials(dataset), "folds": flat_runs(study, dataset)}
    return " and ".join(f"{n[0]} of {n[1]} {what}" for what, n in counts.items() if n and n[1])


def flat_runs(study: Study, dataset: str) -> tuple[int, int]:
    """On how many folds NFM by SGD is hardly better than biases, and of how many."""
    found, biases = (errors(runs_of(study, dataset).get(row, {}), METRIC) for row in (NFM, BIAS))
    folds = found.keys() & biases.keys()
    return sum(found[fold] > biases[fold] - GAIN_MARGIN for fold in folds), len(folds)


def optimiser_gaps(study: Study) -> dict[tuple[str, str, str], Gap]:
    """Data set, first and second row -> AFM against NFM, either of them by SGD or by Adam."""
    alternatives = stored_table(experiments.ALTERNATIVES)
    found: dict[tuple[str, str, str], Gap] = {}
    for dataset in RUN_HERE:
        runs = runs_of(study, dataset) | runs_of(alternatives, dataset)
        for first, second in OPTIMISERS:
            one = gap(first, runs.get(first, {}), runs.get(second, {}))
            if one is not None:
                found[dataset, first, second] = one
    return dict(zip(found, adjusted(list(found.values())), strict=True))


def optimisers(study: Study) -> pd.DataFrame:
    """The same as strings."""
    found = optimiser_gaps(study)
    index = [(DATASETS[dataset], f"{first} minus {second}") for dataset, first, second in found]
    lines = [
        {"the second's error": number(g.before), "the first's": number(g.after)} | gap_line(g)
        for g in found.values()
    ]
    places = pd.MultiIndex.from_tuples(index, names=["data set", "compared"])
    return pd.DataFrame(lines, index=places, dtype=str)


def against_nfm(study: Study) -> str:
    """What a win over NFM is worth on the data set of the paper, for the front page of the book."""
    found = optimiser_gaps(study).get((MAIN, AFM, NFM_BY_ADAM))
    if flat_trials(MAIN) is None or found is None:
        return ""
    words = {"better": "AFM stays better", "worse": "AFM is worse"}
    return (
        f"On {DATASETS[MAIN]} {_flat(study, MAIN)} of NFM by SGD have an error less than "
        f"{GAIN_MARGIN:g} below that of biases alone; where Adam trains NFM, "
        f"{words.get(found.outcome, 'the two are not told apart')} "
        f"({gap_text(found)} stars of RMSE)."
    )


def summary_markdown() -> str:
    """Headline and a short table of the committed records, for the front page of the project."""
    study = stored_table(experiments.TABLE2)
    found = {(r["row"], r["dataset"]): r for r in study.rows() if r["metric"] == METRIC}
    heads = [DATASETS[dataset] for dataset in RUN_HERE]
    lines = ["| model | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(heads)]
    for row in (*PRINTED, AFM):
        texts = []
        for dataset in RUN_HERE:
            r = found[row, dataset]
            folds = r["status"].partition("partial: ")[2]
            here = number(r["mean"]) + (f" ({folds})" if folds else "") if r["n"] else "pending"
            printed = f", published {number(r['published'])}" if r["published"] is not None else ""
            texts.append(here + printed)
        lines.append(f"| {row} | {' | '.join(texts)} |")
    title = "RMSE, mean over folds:"
    return f"{two_sentences(headline(study))}\n\n{title}\n\n" + "\n".join(lines)


def shown(study: Study) -> list[dict[str, Any]]:
    """The rows of the page: of data that cannot be had the printed ones alone."""
    return [r for r in study.rows() if r["dataset"] in RUN_HERE or r["published"] is not None]


def dots(study: Study) -> Figure | None:
    """Measured RMSEs with intervals beside the printed ones; None before the first run."""
    rows = [r for r in study.rows() if r["metric"] == METRIC and r["n"]]
    return page.dots(rows, METRIC) if rows else None


# --- the oracle ------------------------------------------------------------------------------


def oracle(study: Study) -> str:
    """Surprise's algorithms beside what the package publishes for the same folds."""
    runs = runs_of(study, MAIN, "oracle")
    lines = ["| model | metric | measured | published | difference | folds |"]
    lines.append("|---|---|---:|---:|---:|---:|")
    gaps: dict[bool, list[tuple[str, float]]] = {True: [], False: []}
    for model, published in experiments.ORACLE.items():
        name = ROWS[model].name
        found = runs.get(name, {})
        for metric, theirs in published.items():
            ours = mean(found, metric)
            if ours is None or len(found) < FOLDS:
                lines.append(f"| {name} | {metric} | pending | {theirs} | – | {len(found)} |")
                continue
            gaps[round(ours, DIGITS) == theirs].append((f"{name}'s {metric}", ours - theirs))
            lines.append(
                f"| {name} | {metric} | {ours:.5f} | {theirs} | {ours - theirs:+.5f} | "
                f"{len(found)} |"
            )
    known = gaps[True] + gaps[False]
    if not known:
        return PENDING
    text = f"{len(gaps[True])} of {len(known)} published numbers come out to their last digit"
    if gaps[False]:
        others = ", ".join(f"{name} by {gap:+.4f}" for name, gap in gaps[False])
        text += f", but not {others}"
    missing = sum(map(len, experiments.ORACLE.values())) - len(known)
    if missing:
        text += f"; {missing} more are pending"
    return (
        f"Surprise publishes errors of its algorithms on the five folds that this study uses, "
        f"trained on all of a fold's training ratings: they check the data, the folds and the "
        f"metrics at once. {text}. BaselineOnly draws nothing. The others start from random "
        f"numbers and step through the ratings one by one: both are those of the package's own "
        f"benchmark (`examples/benchmark.py`), with `random_state={experiments.ORACLE_STATE}` for "
        "the algorithm and the ratings in the order in which its `KFold` deals them, so that their "
        "numbers must come out as well.\n\n"
    ) + "\n".join(lines)


# --- what was tuned, what it costs -----------------------------------------------------------


def search_behind(row: str, run: Mapping[str, Any]) -> Search | None:
    """The search behind a row's run; None where nothing was searched."""
    model = next(name for name, known in ROWS.items() if known.name == row)
    if model == BEST:
        # The reading is the run's own: a search that is still to be completed may prefer another.
        of_run = [run["config"].get(name) for name in READ]
        model = next(m for m in READINGS if [getattr(ROWS[m].start, n) for n in READ] == of_run)
    known = ROWS[model]
    if known.draw is None:
        return None
    other, own = not known.uses_features, run["dataset"]
    on = SAME_RATINGS[0] if other and own in SAME_RATINGS else own
    return experiments.search(model, on)


def searched(row: str, run: Mapping[str, Any]) -> list[Record]:
    """The search trials behind a row's run, of models that are trained over epochs."""
    found = search_behind(row, run)
    return found.trials() if found is not None and found.row.trained else []


def cut(trials: Sequence[Record]) -> int:
    """How many search trials were cut off by the number of epochs."""
    return sum(cut_off(trial, experiments.PATIENCE) for trial in trials)


def truncation(study: Study) -> str:
    """How much of the searches behind AFM's headline was cut off; "" before AFM has run."""
    texts = []
    for dataset in RUN_HERE:
        behind = {
            row: searched(row, next(iter(runs.values())))
            for row, runs in runs_of(study, dataset).items()
            if row in (AFM, *PRINTED) and runs
        }
        own = behind.pop(AFM, [])
        theirs = [trial for trials in behind.values() for trial in trials]
        if own:
            texts.append(
                f"on `{dataset}` {cut(own)} of AFM's {len(own)} search trials and {cut(theirs)} of "
                f"the {len(theirs)} of the paper's baselines"
            )
    if not texts:
        return ""
    return (
        "Searches that were cut off, so that longer ones might move these numbers: "
        f"{', '.join(texts)}. Cut off are trials that ended at the last epoch allowed before "
        f"{experiments.PATIENCE} epochs had brought no better validation error."
    )


def unsearched(study: Study) -> str:
    """The searches behind a data set's runs that lack trials, in one sentence; "" for none."""
    texts = []
    for dataset in RUN_HERE:
        behind = {
            found.row.name: found
            for row, runs in runs_of(study, dataset).items()
            if runs and (found := search_behind(row, next(iter(runs.values())))) is not None
        }
        texts += [
            f"{name} on `{found.dataset}` ({_lacking(found)})"
            for name, found in behind.items()
            if found.lacking()
        ]
    if not texts:
        return ""
    return (
        "Searches that are not complete, so that the settings are those of the best trial so far: "
        f"{', '.join(dict.fromkeys(texts))}. The second round runs again, with up to "
        f"{experiments.LONGER_EPOCHS} epochs, the {CONTINUED} best trials that were cut off."
    )


def _lacking(found: Search) -> str:
    """How many trials of each round a search lacks."""
    longer = {trial["trial"] for trial in found.both_rounds() if found.is_longer(trial)}
    second = len(set(found.continued()) - longer)
    counts = {"first": found.lacking() - second, "second": second}
    return " and ".join(
        f"{count} {'trial' if count == 1 else 'trials'} of the {name} round"
        for name, count in counts.items()
        if count
    )


def fixed() -> str:
    """The rows that have nothing searched, and their settings."""
    texts = []
    for model, known in ROWS.items():
        config = known.start
        if known.draw is not None or model == BEST:
            continue
        if isinstance(config, MyFMConfig):
            told = (
                f"{config.rank} factors, {config.iterations} iterations of which the first "
                f"{config.burn_in} are dropped; it draws its penalties with the rest"
            )
        else:
            assert isinstance(config, SurpriseConfig)
            own = DEFAULTS[config.algorithm]
            told = ", ".join(f"{text} {own[name]:g}" for name, text in SETTINGS.items()
                             if name in own)  # fmt: skip
        texts.append(f"*{known.name}* ({told})")
    return (
        f"{len(texts)} rows have fixed settings and were not tuned: {'; '.join(texts)}. That of "
        "Surprise has the package's defaults; the same biases with a search are a row of their own."
    )


def same_runs(study: Study, dataset: str) -> str:
    """Which rows of a data set are runs of another with the same ratings; "" for none."""
    ratings, again = SAME_RATINGS
    blind = {known.name for known in ROWS.values() if not known.uses_features}
    rows = [row for row, runs in runs_of(study, dataset).items() if runs and row in blind]
    if dataset != again or not rows:
        return ""
    return (
        f"Rows that use no feature are the same runs as on `{ratings}`, which has the same ratings "
        f"and folds: {', '.join(rows)}."
    )


def tuned(study: Study, dataset: str) -> pd.DataFrame:
    """The configuration that each row's search chose, its size, and what the search lacked."""
    lines = {}
    for row, runs in runs_of(study, dataset).items():
        if not runs:
            continue
        run = next(iter(runs.values()))
        config: Record = run["config"]
        trials = searched(row, run)
        epochs = [r["epochs"] for r in runs.values() if "curve" in r]
        lines[row] = {
            "rate": f"{config['learning_rate']:g}" if "learning_rate" in config else "–",
            "penalty": f"{config['weight_decay']:g}" if "weight_decay" in config else "–",
            "other": ", ".join(
                f"{name} {config[name]}"
                for name in (*TUNED, *(READ if row == BEST_READING else ()))
                if name in config
            )
            or "–",
            "epochs": range_text(epochs) if epochs else "–",
            "cut off": f"{cut(trials)} of {len(trials)}" if trials else "–",
            "parameters": f"{run['parameters']:,}" if "parameters" in run else "–",
        }
    return pd.DataFrame.from_dict(lines, orient="index", dtype=str).rename_axis("model")


def speed() -> pd.DataFrame | None:
    """An epoch against an iteration of the peer package; None before it was measured."""
    found = {(r["row"], r["dataset"]): r for r in Store(experiments.SPEED).load()}
    if not found:
        return None
    lines = {}
    for (name, dataset), record in found.items():
        m, config = record["metrics"], record["config"]
        lines[DATASETS[dataset], name] = {
            "processor seconds": f"{m['seconds']:.2f}",
            "of an iteration of myfm": f"{m['ratio']:.2f}",
            "by round": f"{m['lowest ratio']:.2f} to {m['highest ratio']:.2f}",
            "rounds": str(config["rounds"]),
            "threads": str(config["threads"]),
        }
    index = pd.MultiIndex.from_tuples(list(lines), names=["data set", "epoch or iteration of"])
    return pd.DataFrame(list(lines.values()), index=index, dtype=str)


def times(study: Study) -> pd.DataFrame:
    """Median seconds of an epoch (validation and test included), or of the whole fit."""
    lines: dict[str, dict[str, str]] = {}
    for dataset in RUN_HERE:
        for row, runs in runs_of(study, dataset).items():
            name = "seconds_per_epoch"
            each = [run[name] for run in runs.values() if name in run]
            whole = [run["seconds"] for run in runs.values()]
            text = f"{np.median(each):.1f}" if each else ""
            if not each and whole:
                text = f"{np.median(whole):.1f} in all"
            lines.setdefault(row, {})[DATASETS[dataset]] = text or "pending"
    frame = pd.DataFrame.from_dict(lines, orient="index", dtype=str)
    return frame.fillna("pending").rename_axis("seconds an epoch, median")
