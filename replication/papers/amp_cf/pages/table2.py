"""Table 2 and the live case: sentences and tables from the records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from replication.claims import Comparison, Evidence, NoEvidence, variant_row
from replication.compare import (
    PairedTest,
    Record,
    cells,
    interval,
    least_to_most,
    number,
    per_user_values,
    percent,
    ranks_of,
    user_standard_error,
)
from replication.page import (
    Effect,
    Study,
    measured_effects,
    opening,
    stored_table,
    two_sentences,
)
from replication.papers.amp_cf import claims, experiments, explanations
from replication.papers.amp_cf.pages import cost, personas
from replication.papers.amp_cf.rows import ROWS
from replication.protocols import NCF_CONSUMED_NEGATIVES
from replication.records import Store

PENDING = "Pending: no runs are recorded yet."


def evidence(study: Study) -> Evidence:
    """The records of a page, arranged for claims."""
    return Evidence(study.table, study.records, study.ranks, study.published, study.grid)


# --- Table 2 ---------------------------------------------------------------------------------


def _beside_one_vector(
    proof: Evidence,
) -> tuple[dict[Comparison, PairedTest], dict[Comparison, int]]:
    """Each comparison of an AMP with one vector a user, and the sign of each that is established.

    Established: the interval excludes zero and Holm's p-value is below 0.05; no margin is asked.
    """
    adjusted = proof.adjusted(claims.comparisons(proof))
    tests = {
        pair: proof.test(pair)
        for pair in adjusted
        if pair.b == claims.SINGLE and pair.a in claims.PERSONAS
    }
    signs = {
        pair: int(np.sign(test.difference))
        for pair, test in tests.items()
        if adjusted[pair] < 0.05 and not test.ci_low <= 0 <= test.ci_high
    }
    return tests, signs


def against_one_vector(study: Study) -> str:
    """How often an AMP ranks better and worse than one vector a user, in one sentence."""
    tests, signs = _beside_one_vector(evidence(study))
    gains, losses = (list(signs.values()).count(sign) for sign in (1, -1))
    return (
        f"Of all {len(tests)} comparisons, a difference of any size counted, an AMP ranks better "
        f"in {gains} and worse in {losses}."
    )


def headline(study: Study) -> str:
    """What Table 2 was asked, what was found, and the numbers behind it."""
    asked = (
        "Do the HR@10 and NDCG@10 that the paper prints for AMP-CF come out again, and do several "
        "personas rank better than one vector a user?"
    )
    proof = evidence(study)
    rows = [
        r
        for r in study.rows()
        if r["row"] in claims.PRINTED_ROWS and None not in (r["published"], r["mean"], r["ci_low"])
    ]
    gaps = [r["mean"] - r["published"] for r in rows]
    tests, signs = _beside_one_vector(proof)
    if not rows or not tests:
        return opening(asked, PENDING)
    gains, losses = (list(signs.values()).count(sign) for sign in (1, -1))
    known = personas.stored()
    gains_by, losses_by = (
        personas.split(
            tests,
            lambda pair: personas.kind(known, pair.a, pair.dataset, pair.protocol),
            signs.get,
            sign,
        )
        for sign in (1, -1)
    )
    differences = [test.difference for test in tests.values()]
    reached, told = _reached(proof)
    return opening(
        asked,
        f"{reached} of {told} printed AMP values that can be decided are reached, and an AMP "
        f"ranks better than one vector a user in {gains} of {len(tests)} comparisons and worse in "
        f"{losses}.",
        [
            f"Printed values, by the rule of the verdicts: reached if the whole interval lies "
            f"within {claims.NUMBER_MARGIN:g} of print; {told} of {len(rows)} measured ones can be "
            "decided.",
            f"Beside print: {_beside_print(rows)} (measured minus published from "
            f"{least_to_most(gaps)}).",
            f"Against one vector a user, MF (r=1) with the same number of trials: {gains} of "
            f"{len(tests)} comparisons of an AMP row show an established gain of any size, "
            f"{losses} an established loss and {len(tests) - len(signs)} no established "
            f"difference (differences {least_to_most(differences)}, median "
            f"{number(float(np.median(differences)), signed=True)}).",
            f"{personas.BECOME}: gains in {gains_by}; losses in {losses_by}.",
            " ".join(with_settings_of_mf(study)),
            _one_vector(),
            conditional(),
            _against_simple(proof),
        ],
    )


def _reached(proof: Evidence) -> tuple[int, int]:
    """How many printed numbers are reached, of those that the rule of the claims can decide."""
    verdicts = [claim.judge(proof).verdict for claim in claims.CLAIMS if claim.family == "number"]
    return verdicts.count("replicated"), len(verdicts) - verdicts.count("untestable")


def search_limits() -> pd.DataFrame:
    """What the trials of each trained model draw, and the most epochs of a trial and of a run."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for model, known in ROWS.items():
        if known.trained:
            limits = (
                f"{cost.epochs_of_trial(model, name)} / {cost.epochs_of_run(model, name)}"
                for name in experiments.RUN_HERE
            )
            drawn = [name.replace("_", " ") for name in _drawn(model)]
            line = (f"{len(drawn)}: {', '.join(drawn)}", *limits)
            alike.setdefault(line, []).append(known.name)
    frame = pd.DataFrame(
        list(alike),
        index=pd.Index([", ".join(names) for names in alike.values()], name="model"),
        columns=["values that a trial draws at once", *experiments.RUN_HERE],
    )
    return frame.astype(str)


def _drawn(model: str) -> list[str]:
    """The names of the values that a trial of a model draws."""
    draw = ROWS[model].draw
    return [] if draw is None else list(draw(np.random.default_rng(0)))


def conditional() -> str:
    """On what the losses of personas and their collapse are conditional, in one sentence."""
    short = ", ".join(
        f"{cost.epochs_of_trial('amp-2', name)} on `{name}`" for name in experiments.TUNING_EPOCHS
    )
    return (
        "Conditional on this search are losses on `ml-1m` and personas that became one vector: of "
        f"{experiments.N_TRIALS} trials each, AMP's draw {len(_drawn('amp-2'))} values at once, "
        f"those of MF (r=1) {len(_drawn('mf'))}, and the most epochs of a trial are {short}."
    )


def with_settings_of_mf(study: Study) -> list[str]:
    """What personas lose to one vector with its settings, beside what they lose with their own.

    Both are counted by the 95 % interval of the difference, over the cells that have both.

    Returns:
        A sentence over all cells and one on each data set, with no markup; none without cells.
    """
    single = experiments.row_name("mf")
    given, _ = measured_effects(study.effects("mf-settings", against=single))
    own, _ = measured_effects(study.effects(against=single))
    searched = {(e.row, e.dataset, e.protocol, e.metric): e for e in own}
    found: dict[str, list[tuple[Effect, Effect]]] = {}
    for effect in given:
        place = (effect.row, effect.dataset, effect.protocol, effect.metric)
        if place in searched:
            found.setdefault(effect.dataset, []).append((effect, searched[place]))
    if not found:
        return []
    pairs = [pair for both in found.values() for pair in both]
    by_data = ", ".join(
        f"{dataset} {sum(_lost(e) for e, _ in both)} of {len(both)} (as searched "
        f"{sum(_lost(e) for _, e in both)})"
        for dataset, both in found.items()
    )
    return [
        f"With the rate and decay that the search found for {single} in place of AMP's own, and "
        f"the printed entropy weights: {sum(_lost(e) for e, _ in pairs)} of {len(pairs)} "
        f"comparisons under {experiments.TUNING_PROTOCOL} are losses to {single} (as searched "
        f"{sum(_lost(e) for _, e in pairs)}) and {sum(_won(e) for e, _ in pairs)} gains (as "
        f"searched {sum(_won(e) for _, e in pairs)}), by uncorrected 95 % intervals.",
        f"Losses by data set: {by_data}.",
    ]


def _lost(effect: Effect) -> bool:
    return effect.test is not None and effect.test.ci_high < 0


def _won(effect: Effect) -> bool:
    return effect.test is not None and effect.test.ci_low > 0


def _beside_print(rows: Sequence[dict[str, Any]]) -> str:
    """How many numbers lie above and below the printed ones, protocol by protocol."""
    texts = []
    for protocol in dict.fromkeys(r["protocol"] for r in rows):
        own = [r for r in rows if r["protocol"] == protocol]
        above = sum(r["ci_low"] > r["published"] for r in own)
        below = sum(r["ci_high"] < r["published"] for r in own)
        sides = {"lie above it": above, "lie below it": below}
        sides["cannot be told from it"] = len(own) - above - below
        said = [f"{count} of {len(own)} {side}" for side, count in sides.items() if count]
        texts.append(f"under `{protocol}` {' and '.join(said)}")
    return ", ".join(texts)


def _one_vector() -> str:
    """In how many models the personas of a user are one vector, in one sentence."""
    from replication.papers.amp_cf.pages import explanations as told_page

    told = stored_table(explanations.TABLE)
    found = told_page.collapsed(told)
    if not found.models:
        return ""
    return (
        f"In {found.share} AMP models whose attention was measured ({found.where}) a user's "
        "personas have become one vector: such a model is matrix factorisation"
        f"{told_page.with_released(told)}."
    )


def _against_simple(proof: Evidence) -> str:
    """The best AMP beside the simple models, in one sentence; empty where none was run."""
    adjusted = {
        p: v
        for p, v in proof.adjusted(claims.comparisons(proof)).items()
        if p.b in claims.SIMPLE
        and p == claims.pair(proof, claims.BEST, p.b, p.dataset, p.protocol, p.metric)
    }
    if not adjusted:
        return ""
    won: list[float] = []
    lost: list[float] = []
    for pair, pvalue in adjusted.items():
        test = proof.test(pair)
        if pvalue < 0.05 and not test.ci_low <= 0 <= test.ci_high:
            (won if test.difference > 0 else lost).append(test.difference)
    differences = [proof.test(pair).difference for pair in adjusted]
    return (
        f"Against {', '.join(claims.SIMPLE)}, with the same number of trials: the best AMP has an "
        f"established gain in {len(won)} of {len(adjusted)} comparisons and an established loss in "
        f"{len(lost)} (differences {least_to_most(differences)})."
    )


def summary_markdown() -> str:
    """Headline and a short table of the committed records, for the front page of the project."""
    study = stored_table(experiments.TABLE2)
    errors = {place: error for place, (_, error) in standard_errors(study).items()}
    every = {(r["dataset"], r["protocol"], r["row"], r["metric"]): r for r in study.rows()}
    rows = {place: r for place, r in every.items() if r["n"]}
    shown = ("AMP-2", "AMP-4", claims.SINGLE, *claims.SIMPLE, claims.POPULAR)
    lines = [
        f"| data set, protocol | {' | '.join(shown)} | published AMP-2 | one standard error |",
        "|---|" + "---:|" * (len(shown) + 2),
    ]
    for dataset, protocol in dict.fromkeys(key[:2] for key in rows):
        values = [rows.get((dataset, protocol, row, "HR@10")) for row in shown]
        printed = every[dataset, protocol, shown[0], "HR@10"]["published"]
        texts = ["pending" if r is None else _with_gaps(r) for r in values]
        lines.append(
            f"| `{dataset}`, `{protocol}` | {' | '.join(texts)} | "
            f"{number(printed) if printed else 'not in the paper'} | "
            f"{number(errors[dataset, protocol]) if (dataset, protocol) in errors else '–'} |"
        )
    title = "HR@10, mean over seeds; the standard error is that of AMP-2 over users:"
    return f"{two_sentences(headline(study))}\n\n{title}\n\n" + "\n".join(lines)


def _with_gaps(row: dict[str, Any]) -> str:
    """A mean, and how many of the wanted seeds are behind it where some are missing."""
    missing = row["status"].partition("partial: ")[2]
    return f"{number(row['mean'])} ({missing})" if missing else number(row["mean"])


def standard_errors(study: Study) -> dict[tuple[str, str], tuple[int, float]]:
    """Users and one standard error over them of AMP-2's HR@10, by data set and protocol."""
    found = {}
    for cell, runs in cells(study.grid, study.records):
        stacks = [ranks_of(run, study.ranks, "HR@10") for run in runs.values()]
        known = [stack for stack in stacks if stack is not None]
        if cell.row == "AMP-2" and known:
            values = per_user_values(known, "HR@10")
            error = user_standard_error(values)
            found[cell.dataset, cell.protocol] = values.shape[1], error
    return found


def resolution(study: Study) -> str:
    """Standard errors over users beside the gaps that the paper prints."""
    lines = [
        "| data set | users | protocol | one standard error of HR@10 (AMP-2) | "
        f"standard errors in the margin of {claims.NUMBER_MARGIN:g} for a printed number | "
        "printed gap between the best model and the next |",
        "|---|---:|---|---:|---:|---:|",
    ]
    table2 = study.published[study.published["table"] == "table2"]
    for (dataset, protocol), (users, error) in standard_errors(study).items():
        printed = table2[(table2["dataset"] == dataset) & (table2["metric"] == "HR@10")]
        top = sorted(printed["value"], reverse=True)[:2]
        gap = number(top[0] - top[1]) if len(top) == 2 else "not printed"
        lines.append(
            f"| `{dataset}` | {users} | `{protocol}` | {number(error)} | "
            f"{claims.NUMBER_MARGIN / error:.1f} | {gap} |"
        )
    if len(lines) == 2:
        return PENDING
    return (
        "Each user contributes one held-out item, so that a mean over few users is uncertain "
        "whatever the model does. Where the standard error is larger than the gap, the order of "
        "the two models in print says little.\n\n" + "\n".join(lines)
    )


LENGTHS = (5, 20, 50, 100)  # of lists of the full catalogue; 10 stands in the tables before


def at_other_lengths(study: Study, dataset: str, protocol: str) -> pd.DataFrame:
    """Recall@k and NDCG@k of the full catalogue, the mean over seeds and users, from kept ranks.

    A user has one held-out item, so that recall@k is the hit ratio. Last the half width of the
    widest of a line's 95 % intervals over users, of the normal distribution.
    """
    lines = {}
    for cell, runs in cells(study.grid, study.records):
        if (cell.dataset, cell.protocol) != (dataset, protocol):
            continue
        arrays = [ranks_of(run, study.ranks, "HR@10/full") for run in runs.values()]
        known = [array for array in arrays if array is not None]
        if known:
            values = {
                f"{name}@{k}": per_user_values(known, f"{metric}@{k}/full")
                for name, metric in (("recall", "HR"), ("NDCG", "NDCG"))
                for k in LENGTHS
            }
            half = stats.norm.ppf(0.975) * max(map(user_standard_error, values.values()))
            lines[cell.row] = {name: number(float(found.mean())) for name, found in values.items()}
            lines[cell.row]["95 %, at most"] = f"±{number(float(half))}"
    return pd.DataFrame.from_dict(lines, orient="index", dtype=str).rename_axis("model")


def oracle(study: Study) -> str:
    """MostPop on the NCF authors' split beside its published value, under three rules for ties."""
    place = ("MostPop", "ml-1m", "loo-ncf")
    found = {
        r["variant"]: r["metrics"]
        for r in study.records
        if (r["row"], r["dataset"], r["protocol"]) == place
    }
    rules = {
        "": "against the model (the study's rule)",
        "ties-by-index": "to the item with the larger index",
        "ties-for-the-model": "for the model",
    }
    if not set(rules) <= set(found):
        return PENDING
    lines = ["| ties go | HR@10 | NDCG@10 |", "|---|---:|---:|"]
    lines += [
        f"| {text} | {number(found[name]['HR@10'])} | {number(found[name]['NDCG@10'])} |"
        for name, text in rules.items()
    ]
    lines.append(
        f"| published | {number(experiments.ORACLE['HR@10'])} | "
        f"{number(experiments.ORACLE['NDCG@10'])} |"
    )
    exact = all(
        number(found["ties-by-index"][metric]) == number(value)
        for metric, value in experiments.ORACLE.items()
    )
    explained = (
        "with ties won by the larger item index the published digits come out, so that ties "
        "explain the whole difference"
        if exact
        else "no rule for ties that was tried gives the published digits"
    )
    return (
        "MostPop draws nothing, and its value on this split is published (Rendle et al., RecSys "
        "2020), so that it checks the data, the split and the metric at once: "
        f"{explained}. The {NCF_CONSUMED_NEGATIVES} published negatives that the user did rate are "
        "the users' own test items: an item that is listed among its own negatives ties with "
        "itself, which the study's rule counts against the model and a rule by index does not.\n\n"
        + "\n".join(lines)
    )


def ncf_beside_its_authors(study: Study) -> str:
    """What NCF reaches with its authors' settings on their split, beside what they print."""
    runs = study.runs(variant="ncf-settings")
    if not runs:
        return PENDING
    [run] = runs
    texts = []
    for metric, printed in experiments.PRINTED_NCF.items():
        ranks = ranks_of(run, study.ranks, metric)
        if ranks is None:
            return PENDING  # a record without its users says nothing of chance
        values = per_user_values([ranks], metric)  # [1, U]
        measured = float(values.mean())
        half = float(stats.norm.ppf(0.975) * user_standard_error(values))
        side = "above" if measured > printed else "below"
        apart = "no further apart than by chance" if abs(measured - printed) <= half else side
        texts.append(
            f"{metric} is {number(measured)} ±{number(half)} (95 %, over users) and "
            f"{number(printed)} in print: {apart}"
        )
    there = {
        r["row"]: r["mean"]
        for r in study.rows()
        if (r["dataset"], r["protocol"], r["metric"]) == (run["dataset"], run["protocol"], "HR@10")
        and r["row"] in claims.PERSONAS
        and r["n"]
    }
    best = max(there, key=lambda row: there[row], default=None)
    of_amp = (
        "" if best is None else f" The best AMP row there is {best} with {number(there[best])}."
    )
    return (
        "With its authors' settings, against NeuMF with pretraining and 64 factors in Table 2 of "
        f"He et al. (WWW 2017): {'; '.join(texts)}. On the validation items it does best after "
        f"epoch {run['epochs']} of {len(run['curve']['epoch'])} since the fusion.{of_amp}"
    )


def tied_leads(study: Study) -> str:
    """The best AMP against ItemKNN where ties count against ItemKNN, and where it wins them."""
    proof, texts = evidence(study), []
    for dataset, protocol in experiments.VARIANTS[claims.TIES].cells:
        leads = []
        for other in ("ItemKNN", variant_row("ItemKNN", claims.TIES)):
            try:
                asked = claims.pair(proof, claims.BEST, other, dataset, protocol, "HR@10")
                test = proof.test(asked)
            except NoEvidence:
                break
            ends = interval(test.ci_low, test.ci_high, signed=True)
            leads.append(f"{number(test.difference, signed=True)} {ends}")
        else:
            texts.append(
                f"on `{dataset}` ({protocol}) the HR@10 of {asked.a} minus that of ItemKNN is "
                f"{leads[0]} if ItemKNN loses ties and {leads[1]} if it wins them"
            )
    return f"Of all AMPs the best on validation: {'; '.join(texts)}." if texts else PENDING


def losses(study: Study, variant: str) -> str:
    """First and last training loss of a variant beside the main cell's."""
    texts = []
    for name, label in ((variant, "as printed"), ("", "with the positive in the log-sum")):
        for row in ("AMP-2", "MF (r=1)"):
            curves = [
                r["curve"]["loss"]
                for r in study.runs(variant=name)
                if (r["row"], r["dataset"], r["protocol"]) == (row, "ml-latest-small", "loo-random")
            ]
            if curves:
                first, last = (np.mean([c[i] for c in curves]) for i in (0, -1))
                epochs = np.mean([len(c) for c in curves])
                texts.append(
                    f"{row} {label}: mean loss of an epoch {first:.2f} at first and {last:.2f} "
                    f"after {epochs:.0f} epochs"
                )
    return ("; ".join(texts) + ".") if texts else PENDING


def best_of_each(study: Study, variant: str) -> str:
    """The released code's way to report: each metric's best epoch on the test items."""
    places: dict[tuple[str, str], list[Record]] = {}
    for r in study.runs(variant=variant):
        places.setdefault((r["dataset"], r["row"]), []).append(r["metrics"])
    by_dataset: dict[str, list[str]] = {}
    for (dataset, row), found in places.items():
        means = [np.mean([own[f"{m}/best"] for own in found]) for m in claims.METRICS]
        text = f"{row} {number(means[0])} and {number(means[1])}"
        by_dataset.setdefault(dataset, []).append(text)
    if not by_dataset:
        return PENDING
    return "  \n".join(
        f"Reported as the released code does, with the best HR@10 and the best NDCG@10 over the "
        f"epochs, each for itself, on `{dataset}`: {'; '.join(texts)}."
        for dataset, texts in by_dataset.items()
    )


def tied_users() -> str:
    """How many users the rule for ties concerns, from the records of Table 1."""
    texts = [
        f"{int(r['metrics'][experiments.TIED])} of {r['metrics']['users']} users of "
        f"`{r['dataset']}`"
        for r in Store(experiments.TABLE1).load()
        if experiments.TIED in r["metrics"]
    ]
    return f"This concerns {' and '.join(texts)}." if texts else PENDING


def budget(study: Study) -> str:
    """How many main runs the limit of epochs ended; numbers must be read with it."""
    runs = [r for r in study.runs() if "curve" in r]
    capped = [r for r in runs if claims.ended_at_limit(r)]
    if not runs:
        return PENDING
    by_data = ", ".join(
        f"{sum(r['dataset'] == name for r in capped)} of "
        f"{sum(r['dataset'] == name for r in runs)} on `{name}`"
        for name in dict.fromkeys(r["dataset"] for r in runs)
    )
    return (
        f"The study's limit of epochs, and not saturation, ended the search for the best epoch in "
        f"{len(capped)} of {len(runs)} runs ({by_data}): those numbers are what this budget "
        f"reaches, and a longer training might still raise them.{_went_on(study, capped)}"
    )


def _went_on(study: Study, capped: Sequence[Record]) -> str:
    """What the capped runs that were allowed more epochs chose, as a sentence."""
    names = ("row", "dataset", "protocol", "seed")
    chosen = {tuple(r[n] for n in names): r["epochs"] for r in capped}
    again = {tuple(r[n] for n in names): r["epochs"] for r in study.runs(variant="longer")}
    both = chosen.keys() & again.keys()
    if not both:
        return ""
    same = sum(chosen[run] == again[run] for run in both)
    models = ", ".join(dict.fromkeys(row for row, *_ in sorted(both)))
    places = ", ".join(dict.fromkeys(f"`{dataset}`" for _, dataset, *_ in sorted(both)))
    return (
        f" Of {len(both)} such runs that were allowed more epochs ({models} on {places}), with the "
        f"settings that the shorter search chose, {same} chose the same epoch as before."
    )


def spread(study: Study, variant: str) -> str:
    """Standard deviation over seeds with and without redrawn splits."""
    texts = []
    for effect in study.effects(variant, metrics=("HR@10",)):
        values = {
            name: [
                r["metrics"]["HR@10"]
                for r in study.runs(variant=name)
                if (r["row"], r["dataset"], r["protocol"])
                == (effect.row, effect.dataset, effect.protocol)
            ]
            for name in ("", variant)
        }
        if len(values[variant]) > 1:
            fixed = number(float(np.std(values[""], ddof=1))) if len(values[""]) > 1 else "0"
            redrawn = number(float(np.std(values[variant], ddof=1)))
            texts.append(f"{effect.row} {fixed} with one split and {redrawn} with redrawn ones")
    if not texts:
        return PENDING
    return f"Standard deviation of HR@10 over seeds: {'; '.join(texts)}."


# --- The live case ---------------------------------------------------------------------------

# Fixed before the first comparison: one run in a thousand falls outside by chance; see the page.
LIVE_LEVEL = 0.999
LIVE_ROWS = ("AMP-2", "MF (r=1)", "MostPop")


@dataclass(frozen=True)
class LiveCase:
    """The live case beside the committed records."""

    opening: str
    table: pd.DataFrame
    verdict: str
    runs: Sequence[Record]  # that stand as live ones


def live_case(study: Study) -> LiveCase:
    """Compare the runs of a page in mode "quick" with the committed records.

    In mode "stored" the committed seeds stand in for the live run, so that the page has
    the same form.
    """
    live = [r for r in study.runs() if _is_live_cell(r)]
    committed = [
        r
        for r in Store(experiments.TABLE2).load()
        if _is_live_cell(r) and not r["variant"] and r["select"] in (study.select, "none")
    ]
    lines, outside = [], []
    for row in LIVE_ROWS:
        for metric in claims.METRICS:
            stored = [r["metrics"][metric] for r in committed if r["row"] == row]
            now = [r["metrics"][metric] for r in live if r["row"] == row]
            if not stored or not now:
                outside.append(f"{metric} of {row} has no {'committed' if now else 'live'} run")
                continue
            middle, value = float(np.mean(stored)), float(np.mean(now))
            reach = 0.0
            if row != "MostPop":
                sd, freedom = _pooled_sd(committed, metric)
                quantile = float(stats.t.ppf((1 + LIVE_LEVEL) / 2, freedom))
                reach = quantile * sd * (1 / len(now) + 1 / len(stored)) ** 0.5
            low, high = middle - reach, middle + reach
            inside = low - 1e-12 <= value <= high + 1e-12
            if not inside:
                outside.append(
                    f"{metric} of {row} is {number(value)}, outside {interval(low, high)}"
                )
            lines.append(
                {
                    "model": row,
                    "metric": metric,
                    "here": number(value),
                    "committed": number(middle),
                    "allowed": interval(low, high),
                    "inside": "yes" if inside else "NO",
                }
            )
    table = pd.DataFrame(lines, dtype=str)
    good = sum(line["inside"] == "yes" for line in lines)
    found = (
        f"After retraining now, the {percent(LIVE_LEVEL)} prediction interval of the committed "
        f"seeds holds {good} of {len(lines)} numbers."
    )
    verdict = f"within the {percent(LIVE_LEVEL)} prediction interval of the committed seeds"
    details = []
    if study.mode == "stored":
        found = (
            "Nothing was retrained for this page, where the committed seeds stand in the place of "
            "a live run to show its form."
        )
        details = ["Live run: `make book` retrains the case and prints the table."]
        verdict = "not retrained here; the committed seeds stand in"
    if outside:
        verdict = (
            f"OUTSIDE the {percent(LIVE_LEVEL)} prediction interval of the committed seeds: "
            f"{'; '.join(outside)}"
        )
    asked = (
        "Does a small part of Table 2, AMP-2, MF (r=1) and MostPop on MovieLens 100K under "
        "`loo-random`, come out again on this machine?"
    )
    runs = [r for r in live if r["row"] in LIVE_ROWS]
    return LiveCase(opening(asked, found, details), table, verdict, runs)


def _pooled_sd(records: Sequence[Record], metric: str) -> tuple[float, int]:
    """Standard deviation over seeds, pooled over the models, and its degrees of freedom."""
    by_row: dict[str, list[float]] = {}
    for record in records:
        by_row.setdefault(record["row"], []).append(record["metrics"][metric])
    groups = [np.asarray(values) for values in by_row.values() if len(values) > 1]
    freedom = sum(len(values) - 1 for values in groups)
    squares = sum(float(((values - values.mean()) ** 2).sum()) for values in groups)
    return (squares / freedom) ** 0.5 if freedom else 0.0, max(freedom, 1)


def _is_live_cell(record: Record) -> bool:
    return (record["dataset"], record["protocol"]) == ("ml-100k", "loo-random")
