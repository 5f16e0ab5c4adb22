"""Table II, the nine combinations: sentences and tables from the records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from replication import compare, figures, fold_gaps
from replication.claims import ALPHA, Comparison, Evidence, NoEvidence
from replication.compare import (
    Cell,
    cells,
    interval,
    least_to_most,
    number,
)
from replication.page import (
    PENDING,
    Runs,
    Study,
    difference_text,
    enumeration,
    errors,
    mean_sd,
    opening,
    over_folds,
    over_these_folds,
    range_text,
    stored_table,
    two_sentences,
)
from replication.papers.attentive_ncf import claims, experiments
from replication.papers.attentive_ncf.claims import COMBINATIONS, METRIC, PREDICTORS, WINNER, pair
from replication.papers.attentive_ncf.experiments import LONGER_EPOCHS, TRIAL_EPOCHS, TRIAL_PATIENCE
from replication.papers.attentive_ncf.model import EMBEDDINGS
from replication.papers.attentive_ncf.rows import of_pretraining
from replication.papers.rating_search import CONTINUED, Search, cut_off, rank_of_trial
from replication.records import Record, Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UNSEEN = 0  # the fold whose test ratings the search never saw


def evidence(table2: Study) -> Evidence:
    """The records behind the paper's claims: those of a page, and the stored ones of the others."""
    table1 = experiments.derived(Store(experiments.TABLE1).load())
    ensembles = Store(experiments.ENSEMBLE).load()
    return claims.evidence(table1, table2.records, ensembles, table2.published)


def by_row(study: Study, select: str, variant: str = "") -> dict[str, Runs]:
    """The runs of each row of a page by fold, at an epoch that is chosen in one way."""
    there = {_place(cell): cell for cell in experiments.grid(study.table, select, variant)}
    grid = []
    for cell in study.grid:
        if cell.protocol.endswith("-plain"):
            continue
        known = there.get(_place(cell))
        if known is None and not variant:  # a data set that was run for this page alone
            known = cell if cell.select == "none" else replace(cell, select=select)
        grid += [known] if known else []
    return {cell.row: runs for cell, runs in cells(grid, study.records)}


def _place(cell: Cell) -> tuple[str, str, str]:
    return cell.row, cell.dataset, cell.protocol


# --- the table -------------------------------------------------------------------------------


def headline(study: Study) -> str:
    """What Table II was asked, what was found, and the numbers behind it."""
    asked = (
        "Do the nine RMSEs of Table II come out again, and is every predictor better with the "
        "autoencoder's vectors than with look-ups, and best with the attentive user?"
    )
    rows = [
        r for r in study.rows() if r["metric"] == METRIC and None not in (r["published"], r["mean"])
    ]
    if not rows:
        return opening(asked, PENDING)
    gaps = [r["mean"] - r["published"] for r in rows]
    known = [r for r in rows if r["ci_low"] is not None]
    above = sum(r["ci_low"] > r["published"] for r in known)
    below = sum(r["ci_high"] < r["published"] for r in known)
    best = min(rows, key=lambda r: r["mean"])
    told, sides = "No measured RMSE has an interval yet", ""
    if known:
        told = (
            f"{sum(map(is_reached, known))} of {len(known)} measured RMSEs come out within "
            f"{claims.NUMBER_MARGIN:g} of print, intervals included"
        )
        sides = f"{above} of {len(known)} came out above it and {below} below, "
    alone = len(rows) - len(known)
    proof = evidence(study)
    clauses, steps = zip(*(_step(proof, *step) for step in _STEPS[:2]), strict=True)
    return opening(
        asked,
        f"{told}, while a gain is established {' and '.join(clauses)}.",
        [
            f"Beside print: {sides}measured minus printed {least_to_most(gaps)}.",
            f"Without an interval, as one fold has none: {alone} of {len(rows)}." if alone else "",
            *steps,
            # Stricter than the table of the pairs: the rule was there before the runs.
            "What is established in a step: p is corrected over all claims, where the tables below "
            "correct over their own lines and may call better what is not established here."
            if any(steps)
            else "",
            f"Lowest: {number(best['mean'])}, of {best['row']}, where the paper prints {WINNER} as "
            f"the best with {number(_printed(study, WINNER))}.",
            f"Without a network or attention: {against_simple(study)}.",
        ],
    )


def against_simple(study: Study) -> str:
    """The nine combinations beside the simple model with the lowest error, in one sentence.

    That model is named after the fact, as is the lowest of the nine: the differences are
    directions, and the verdicts judge the paper's best against every simple model.
    """
    simple = {row: errors(runs) for row, runs in _of_table1(study).items() if row in claims.SIMPLE}
    means = {row: float(np.mean(list(of.values()))) for row, of in simple.items() if of}
    if not means:
        return "pending"
    best = min(means, key=means.__getitem__)
    ways = by_row(study, claims.SELECT), by_row(study, claims.HONEST)
    nine = {row: np.mean(list(errors(runs).values())) for row, runs in ways[0].items() if runs}
    lowest = min(nine, key=nine.__getitem__, default=WINNER)
    told = []
    for row in dict.fromkeys((WINNER, lowest)):
        own = [errors(runs.get(row, {})) for runs in ways]
        here, honest = (
            difference_text(over_folds(of, simple[best], claims.PROTOCOL)) for of in own
        )
        folds = f", {len(own[1])} folds" if len(own[1]) < len(own[0]) else ""
        told.append(
            f"{row} minus it is {here} as the paper selects its epoch ({honest} at an honest "
            f"one{folds})"
        )
    return (
        f"the best simple model, {best}, has an RMSE of {number(means[best])} on the same folds; "
        f"{', and '.join(told)}"
    )


def is_reached(row: Mapping[str, Any]) -> bool:
    """Whether a printed number is reached, as the verdicts have it: by the whole interval."""
    ends = (row["ci_low"], row["ci_high"])
    return None not in ends and all(
        abs(end - row["published"]) < claims.NUMBER_MARGIN for end in ends
    )


def _printed(study: Study, row: str) -> float | None:
    """What Table II prints of a row."""
    frame = study.published
    value = frame[(frame["table"] == "table2") & (frame["row"] == row)]["value"]
    return float(value.iloc[0]) if len(value) else None


_USERS = {  # what each embedding makes of a user, in a sentence
    "simple": "look-ups",
    "autoencoder": "the autoencoder",
    "attentive": "the attentive user",
}


def _step(proof: Evidence, better: str, worse: str) -> tuple[str, str]:
    """For how many predictors a smarter embedding is an established gain: a clause, a detail.

    The detail is empty where nothing can be tested yet.
    """
    questions = [pair(f"{better} + {p}", f"{worse} + {p}") for p in PREDICTORS]
    gains, losses, tested = _established(proof, questions)
    step = f"from {_USERS[worse]} to {_USERS[better]}"
    if not tested:
        return f"{step} for 0 predictors (all pending)", ""
    lost = f" (a loss for {losses})" if losses else ""
    return (
        f"{step} for {gains} of {tested} predictors{lost}",
        f"{step.capitalize()}: an established gain for {gains} of {tested} predictors and an "
        f"established loss for {losses}.",
    )


def _established(proof: Evidence, questions: Sequence[Comparison]) -> tuple[int, int, int]:
    """Established gains and losses (lower is better), and how many could be tested."""
    adjusted = proof.adjusted(claims.comparisons(proof))
    gains = losses = tested = 0
    for question in questions:
        try:
            test = proof.test(question)
        except NoEvidence:
            continue
        tested += 1
        sure = adjusted[question] < ALPHA
        gains += sure and test.ci_high < 0
        losses += sure and test.ci_low > 0
    return gains, losses, tested


def summary_markdown() -> str:
    """Headline and a short table of the committed records, for the front page of the project."""
    study = stored_table(experiments.TABLE2)
    found = {r["row"]: r for r in study.rows() if r["metric"] == METRIC}
    lines = ["| embedding | " + " | ".join(PREDICTORS) + " |", "|---|" + "---:|" * len(PREDICTORS)]
    for embedding in EMBEDDINGS:
        texts = []
        for predictor in PREDICTORS:
            r = found[f"{embedding} + {predictor}"]
            folds = r["status"].partition("partial: ")[2]
            here = number(r["mean"]) + (f" ({folds})" if folds else "") if r["n"] else "pending"
            texts.append(f"{here}, published {number(r['published'])}")
        lines.append(f"| {embedding} | {' | '.join(texts)} |")
    from replication.papers.attentive_ncf.pages import table1

    baselines = two_sentences(table1.headline(stored_table(experiments.TABLE1)))
    return (
        f"Table I. {baselines}\n\nTable II. {two_sentences(headline(study))}\n\n"
        "RMSE of Table II, mean over folds:\n\n" + "\n".join(lines)
    )


def dots(study: Study) -> Figure | None:
    """Measured means with intervals under both selections beside the printed values.

    An honest epoch may have fewer folds, and folds differ by more than epochs do. Its point is
    therefore that of the paper's selection moved by the difference over the folds that have both,
    and its interval that of the difference.
    """
    theirs, honest = (by_row(study, select) for select in (claims.SELECT, claims.HONEST))
    panels: dict[str, dict[str, figures.Interval]] = {}
    for row, runs in theirs.items():
        of_folds = errors(runs)
        if not of_folds:
            continue
        own = over_these_folds(of_folds, claims.PROTOCOL)
        panels.setdefault("as the paper selects", {})[row] = own
        moved = over_folds(errors(honest.get(row, {})), of_folds, claims.PROTOCOL)
        if moved is not None:
            point, low, high = (
                own.mean + d for d in (moved.difference, moved.ci_low, moved.ci_high)
            )
            panels.setdefault("honest", {})[row] = figures.Interval(point, low, high)
    if not panels:
        return None
    printed = {row: v for row in COMBINATIONS if (v := _printed(study, row)) is not None}
    title = experiments.DATASETS[claims.DATASET]
    labels = [row for row in COMBINATIONS if any(row in series for series in panels.values())]
    return figures.intervals({title: panels}, {title: printed}, labels, "RMSE (stars)", 1)


# --- pairs -----------------------------------------------------------------------------------

_STEPS = (("autoencoder", "simple"), ("attentive", "autoencoder"), ("attentive", "simple"))
# Head of a table -> the pairs that it compares, the one that the paper has before the other first.
PAIRS: dict[str, tuple[tuple[str, str], ...]] = {
    "A smarter embedding": tuple(
        (f"{better} + {p}", f"{worse} + {p}") for better, worse in _STEPS for p in PREDICTORS
    ),
    "A network in the place of the inner product": tuple(
        (f"{embedding} + {p}", f"{embedding} + {PREDICTORS[0]}")
        for embedding in EMBEDDINGS
        for p in PREDICTORS[1:]
    ),
    f"{WINNER} against all others": tuple(
        (WINNER, row) for row in (*COMBINATIONS, *claims.BASELINES, *claims.SIMPLE) if row != WINNER
    ),
}


def comparisons(study: Study, head: str, metric: str = METRIC) -> pd.DataFrame:
    """The pairs of one table over their common folds, as strings; below zero the first is better.

    Args:
        study: of Table II; of the rows of Table I the stored runs count.
        head: which pairs, of ``PAIRS``.
        metric: "RMSE" or "MAE".
    """
    runs = _of_table1(study) | by_row(study, study.select)
    found = [
        fold_gaps.gap(f"{a} minus {b}", runs.get(a, {}), runs.get(b, {}), claims.PROTOCOL, metric)
        for a, b in PAIRS[head]
    ]
    lines = {
        g.name: {"first": number(g.after), "second": number(g.before)} | fold_gaps.gap_line(g)
        for g in fold_gaps.adjusted([g for g in found if g is not None])
    }
    return pd.DataFrame.from_dict(lines, orient="index", dtype=str).rename_axis(
        "first minus second"
    )


def marks_that_stand(study: Study) -> str:
    """How many pairs that a table calls better or worse the correction over all claims leaves.

    The epochs are those of the paper's selection, which the verdicts judge first.
    """
    shown = replace(study, select=claims.SELECT)
    proof = evidence(shown)
    family = claims.comparisons(proof)
    over_all = proof.adjusted(family)
    parts = []
    for metric in ("RMSE", "MAE"):
        marked = {
            name: over_all.get(pair(a, b, metric), 1.0) < ALPHA
            for head, pairs in PAIRS.items()
            if len(frame := comparisons(shown, head, metric))
            for a, b in pairs
            if (name := f"{a} minus {b}") in frame.index
            and frame.loc[name, "outcome"] in ("better", "worse")
        }
        lost = [name for name, stands in marked.items() if not stands]
        not_these = f" (not {enumeration(lost)})" if lost else ""
        parts.append(f"{sum(marked.values())} of {len(marked)} in {metric}{not_these}")
    return (
        "*Better* and *worse* are corrected over the lines of one table, not over all "
        f"{len(family)} comparisons as the verdicts are: of the pairs "
        f"so marked, with epochs as the paper selects, {enumeration(parts)} stand after that too."
    )


def _of_table1(study: Study) -> dict[str, Runs]:
    """The stored runs of Table I by row, on the folds of Table II."""
    records = experiments.derived(Store(experiments.TABLE1).load())
    grid = experiments.grid(experiments.TABLE1, study.select)
    here = [cell for cell in grid if cell.protocol == claims.PROTOCOL]
    return {cell.row: runs for cell, runs in cells(here, records)}


# --- three ways to select --------------------------------------------------------------------


def selections(study: Study) -> pd.DataFrame:
    """Each row under the paper's selection, each fold's own minimum, and an inner validation.

    The difference is honest minus as the paper selects, over the folds that have both.
    """
    ways = {s: by_row(study, s) for s in (claims.SELECT, "fold-minimum", claims.HONEST)}
    lines = {}
    for row in ways[claims.SELECT]:
        found = {way: errors(runs.get(row, {})) for way, runs in ways.items()}
        test = over_folds(found[claims.HONEST], found[claims.SELECT], claims.PROTOCOL)
        common = sorted(found[claims.HONEST].keys() & found[claims.SELECT].keys())
        lines[row] = {
            "published": number(_printed(study, row)),
            "one epoch for all folds": mean_sd(list(found[claims.SELECT].values())),
            "each fold's minimum": mean_sd(list(found["fold-minimum"].values())),
            "folds of both": str(len(common)),
            "one epoch, these folds": mean_sd([found[claims.SELECT][fold] for fold in common]),
            "inner validation, these folds": mean_sd([found[claims.HONEST][f] for f in common]),
            "honest minus paper's [95 %]": difference_text(test),
        }
    return pd.DataFrame.from_dict(lines, orient="index", dtype=str).rename_axis("model")


def optimism(study: Study) -> str:
    """How much the choice of the epoch on the test ratings flatters, in one sentence."""
    honest, theirs = (by_row(study, s) for s in (claims.HONEST, claims.SELECT))
    tests = {
        row: test
        for row, runs in honest.items()
        if (test := over_folds(errors(runs), errors(theirs.get(row, {})), claims.PROTOCOL))
        is not None
    }
    if not tests:
        return "pending"
    gaps = [test.difference for test in tests.values()]
    sure = sum(test.ci_low > 0 for test in tests.values())
    open_ = len(claims.COMBINATIONS) - len(tests)
    return (
        f"an epoch that is chosen on an inner validation gives an RMSE that differs by "
        f"{least_to_most(gaps)} from that of the "
        f"paper's selection, higher beyond doubt for {sure} of {len(tests)} combinations"
        f"{f' ({open_} more are pending)' if open_ else ''}"
    )


# --- test contexts ---------------------------------------------------------------------------

_CONTEXTS = {
    "context-16": "16",
    "context-64": "64",
    "draw-0": "128, one draw",
    "context-all": "all",
    "context-none": "none (default user)",
}


def contexts(study: Study) -> pd.DataFrame:
    """RMSE on fold 0 by the context that is given while testing, and the spread of five draws."""
    lines = {}
    for row, runs in by_row(study, "fold-minimum").items():
        if not row.startswith("attentive"):
            continue
        metrics = runs[0]["metrics"] if 0 in runs else {}
        drawn = [metrics[name] for name in _draws() if name in metrics]
        lines[row] = {
            text: number(metrics.get(f"{METRIC}/{name}")) for name, text in _CONTEXTS.items()
        } | {
            "sd of five draws of 128": f"{np.std(drawn, ddof=1):.5f}" if len(drawn) > 1 else "–",
            "their range": f"{np.ptp(drawn):.5f}" if drawn else "–",
        }
    return pd.DataFrame.from_dict(lines, orient="index", dtype=str).rename_axis("model")


def _draws() -> list[str]:
    return [f"{METRIC}/draw-{draw}" for draw in range(experiments.TEST_DRAWS)]


def context_spread(study: Study) -> str:
    """Drawing the test context beside the spread of folds, in one sentence."""
    sds, folds, rest = [], [], []
    for row, runs in by_row(study, "fold-minimum").items():
        metrics = runs[0]["metrics"] if 0 in runs else {}
        drawn = [metrics[name] for name in _draws() if name in metrics]
        if row.startswith("attentive") and len(drawn) > 1 and len(runs) > 1:
            sds.append(float(np.std(drawn, ddof=1)))
            folds.append(float(np.std(list(errors(runs).values()), ddof=1)))
            rest.append(metrics[f"{METRIC}/context-all"] - float(np.mean(drawn)))
    if not sds:
        return "pending"
    return (
        f"another draw of the test contexts moves the RMSE of fold 0 by an sd of at most "
        f"{max(sds):.5f}, where folds differ by an sd of {least_to_most(folds, signed=False)}; "
        f"with all of a user's other movies as context it changes by "
        f"{least_to_most(rest)}"
    )


# --- what was tuned, what it costs -----------------------------------------------------------


def tuned(study: Study) -> pd.DataFrame:
    """The configuration of each combination, and the epochs that were chosen."""
    chosen = by_row(study, claims.HONEST)
    lines = {}
    for row, runs in by_row(study, claims.SELECT).items():
        if not runs:
            lines[row] = {"E": "pending"}
            continue
        run = next(iter(runs.values()))
        c = run["config"]
        inner = [r["epochs"] for r in chosen.get(row, {}).values()]
        lines[row] = {
            "E": str(c["dimension"]),
            "learning rate": f"{c['learning_rate']:.2g}",
            "batch": f"{c['batch_size']:,}",
            "weight decay": f"{c['weight_decay']:.2g}",
            "trials still cut off": _cut_off(row, run["dataset"]),
            "epochs at most": str(c["max_epochs"]),
            "paper's epoch": str(run["epochs"]),
            "honest epoch": range_text(inner) if inner else "pending",
            "parameters": f"{run['parameters']:,}",
        }
    return pd.DataFrame.from_dict(lines, orient="index").fillna("–").rename_axis("model")


def _cut_off(row: str, dataset: str) -> str:
    """ "9 of 10": the trials behind a row's configuration that the limit of epochs cut off.

    Of one that was continued its second round counts.
    """
    (model,) = [model for model, name in experiments.MODELS.items() if name == row]
    cut = [_was_cut_off(trial) for trial in experiments.search(model, dataset).trials()]
    return f"{sum(cut)} of {len(cut)}" if cut else "–"


def _was_cut_off(trial: Record) -> bool:
    return cut_off(trial, TRIAL_PATIENCE)


def search_limit() -> str:
    """How many search trials the limit of epochs cut off, and what more epochs changed."""
    searches = {m: experiments.search(m, claims.DATASET) for m in experiments.COMBINATIONS}
    cut = {
        embedding: [
            _was_cut_off(trial)
            for found in searches.values()
            if found.row.name.startswith(f"{embedding} +")
            for trial in found.first_round()
        ]
        for embedding in EMBEDDINGS
    }
    every = [was for own in cut.values() for was in own]
    if not every:
        return PENDING
    parts = [f"{sum(own)} of {len(own)} with the {name}" for name, own in cut.items() if own]
    text = (
        f"A trial has {TRIAL_EPOCHS} epochs at most and stops before that after "
        f"{TRIAL_PATIENCE} without a better error: {sum(every)} of {len(every)} trials "
        f"had not stopped when the limit cut them off, {', '.join(parts)} embedding. Among models "
        "that are still learning such a limit favours those that learn fast."
    )
    n = sum(len(found.continued()) for found in searches.values())
    if not n:
        return text
    longer = [t for found in searches.values() for t in found.trials() if found.is_longer(t)]
    changed = [found.row.name for found in searches.values() if _moved(found)]
    return (
        f"{text} In a second round, added after the first results had been seen, the "
        f"{CONTINUED} best of them of each combination are run again with up to {LONGER_EPOCHS} "
        f"epochs: {len(longer)} of {n} have run, {sum(map(_was_cut_off, longer))} of these were "
        "cut off again, and the settings chosen are now others for "
        f"{', '.join(changed) or 'no combination'}."
    )


def two_rounds(study: Study) -> pd.DataFrame:
    """What the second round of the search changed: errors and verdicts before it and after it.

    One line a row whose settings are others now and whose runs with the old ones are stored whole.
    """
    now = by_row(study, claims.SELECT)
    numbers = {claim.id: claim for claim in claims.CLAIMS if claim.family == "number"}
    lines = {}
    for model in experiments.COMBINATIONS:
        found, row = experiments.search(model, claims.DATASET), experiments.row_name(model)
        if not _moved(found) or not now.get(row):
            continue
        chosen = compare.settings(next(iter(now[row].values())))
        kept = [r for r in study.records if r["row"] != row or compare.settings(r) != chosen]
        before = replace(study, records=kept)
        if by_row(before, claims.SELECT)[row].keys() != now[row].keys():
            continue
        for name, one in {"first round": before, "both rounds": study}.items():
            verdict = numbers[f"number/{row}"].judge(evidence(one))
            values = list(errors(by_row(one, claims.SELECT)[row]).values())
            low, high = verdict.interval or (None, None)
            lines[row, name] = {
                METRIC: mean_sd(values),
                "minus published [95 %]": f"{number(verdict.statistic, True)} "
                f"{interval(low, high, signed=True)}",
                "the printed number": verdict.verdict,
            }
    frame = pd.DataFrame.from_dict(lines, orient="index", dtype=str)
    return frame.rename_axis(["model", "search"]) if lines else frame


def _moved(found: Search) -> bool:
    """Whether the second round changed the settings that are chosen."""
    return bool(found.trials()) and _best(found.trials()) != _best(found.first_round())


def unseen_fold(study: Study) -> pd.DataFrame:
    """The differences between embeddings on fold 0 alone and over all folds, at honest epochs.

    The search saw no rating that fold 0 tests. Those that the others test are in its inner split.
    """
    honest = by_row(study, claims.HONEST)
    lines = {}
    for better, worse in PAIRS["A smarter embedding"]:
        first, second = (errors(honest.get(row, {})) for row in (better, worse))
        gaps = {fold: first[fold] - second[fold] for fold in sorted(first.keys() & second.keys())}
        if gaps:
            lines[f"{better} minus {worse}"] = {
                "fold 0": number(gaps.get(UNSEEN), True),
                "mean over folds": number(float(np.mean(list(gaps.values()))), True),
                "folds": str(len(gaps)),
            }
    frame = pd.DataFrame.from_dict(lines, orient="index", dtype=str)
    return frame.rename_axis(f"{METRIC} at an honest epoch")


def _best(trials: Sequence[Record]) -> int:
    """The number of the best trial."""
    return int(min(trials, key=rank_of_trial)["trial"])


def limit(study: Study) -> str:
    """How many runs the limit of epochs may have cut short."""
    best = [
        (run["epochs"], run["config"]["max_epochs"])
        for runs in by_row(study, "fold-minimum").values()
        for run in runs.values()
    ]
    if not best:
        return PENDING
    cut = sum(epoch >= most for epoch, most in best)
    text = (
        f"In {cut} of {len(best)} runs the lowest error came in the last epoch that was "
        "allowed: those might fall further with more."
    )
    last = [
        f"{row} ({run['epochs']} of {run['config']['max_epochs']})"
        for row, runs in by_row(study, claims.SELECT).items()
        for run in list(runs.values())[:1]  # the selection is one epoch for all folds
        if run["epochs"] >= run["config"]["max_epochs"]
    ]
    if last:
        text += f" The paper's selection gives the last epoch of {', '.join(last)}."
    return text


def settings(models: Iterable[str], dataset: str) -> str:
    """Where the settings of some models on a companion come from, in one sentence."""
    searches = [experiments.search(model, dataset) for model in models]
    searches = [found for found in searches if found.row.draw is not None]
    lacking = sum(found.lacking() for found in searches)
    trials = sum(len(found.both_rounds()) for found in searches)
    left = f"; {lacking} of its trials have not run yet" if lacking else ""
    return (
        f"The settings on `{dataset}` are those of a search of its own, as for Table II, with "
        f"batches {experiments.COMPANION_BATCH} times smaller, since it has fewer ratings "
        f"({trials} trials for {len(searches)} models{left})."
    )


def times(study: Study) -> pd.DataFrame:
    """Seconds of an epoch timed alike for all, as a ratio to a loop, and as the runs had them.

    Rows that share their pretrained tables have the same seconds of pretraining: those of the run
    that made them.
    """
    timed = speeds()
    least = timed.get(COMBINATIONS[0], {}).get("seconds an epoch")
    before = {row: most for rows, most in shared_pretraining(study) for row in rows}
    lines = {}
    for row, runs in by_row(study, "fold-minimum").items():
        own = [run["seconds_per_epoch"] for run in runs.values()]
        alone = timed.get(row, {})
        seconds = alone.get("seconds an epoch")
        lines[row] = {
            "CPU seconds an epoch": f"{seconds:.1f}" if seconds else "pending",
            f"against {COMBINATIONS[0]}": f"{seconds / least:.1f}" if seconds and least else "–",
            "loop over users, CPU seconds": f"{alone['loop seconds an epoch']:.1f}"
            if alone
            else "pending",
            "times as slow": f"{alone['loop ratio']:.1f}" if alone else "–",
            "seconds an epoch of the runs, median": f"{np.median(own):.1f}" if own else "pending",
            "seconds of pretraining, most": f"{before[row]:.0f}" if row in before else "–",
            "folds": str(len(own)),
        }
    return pd.DataFrame.from_dict(lines, orient="index", dtype=str).rename_axis("model")


def shared_pretraining(study: Study) -> list[tuple[list[str], float]]:
    """Rows that share their pretrained tables, and the seconds of pretraining on a fold, at most.

    The tables of a fold are made once and kept. Of older runs only the one that made them has the
    seconds, and the others nearly none.
    """
    shared: dict[str, dict[str, Runs]] = {}
    for row, runs in by_row(study, "fold-minimum").items():
        if row.startswith("autoencoder") and runs:
            config = next(iter(runs.values()))["config"]
            shared.setdefault(repr(of_pretraining(config)), {})[row] = runs
    return [
        (list(rows), max(r["seconds_pretraining"] for runs in rows.values() for r in runs.values()))
        for rows in shared.values()
    ]


def pretraining_cost(study: Study) -> str:
    """Which rows share their pretrained tables, and what these cost, in a sentence each."""
    texts = []
    for rows, most in shared_pretraining(study):
        if len(rows) > 1:
            together = f"{enumeration(rows)} have tables of one size and scaling"
            text = f"{together}: they are pretrained once a fold and kept for the {len(rows)}, in "
            texts.append(f"{text}{most:.0f} seconds at most, which are spent once and not by each.")
        else:
            texts.append(f"The tables of {rows[0]} are pretrained in {most:.0f} seconds at most.")
    return " ".join(texts) or PENDING


def timing() -> str:
    """How the epochs and the loop over users were timed, in a sentence."""
    ways = {
        tuple(r["config"][name] for name in ("steps", "batch"))
        for r in Store(experiments.SPEED).load()
    }
    if not ways:
        return "The timing is pending."
    told = " and ".join(f"{steps} steps of {batch:,} ratings" for steps, batch in sorted(ways))
    return (
        f"The first four columns are medians of {told}, and of as many with the loop in turns with "
        "them, scaled to an epoch."
    )


def speeds() -> dict[str, dict[str, float]]:
    """The newest measurement of ``benchmarks/attentive_context.py`` of each row."""
    return {r["row"]: r["metrics"] for r in Store(experiments.SPEED).load()}
