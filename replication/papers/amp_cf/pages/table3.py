"""Table 3, taste distribution distance: sentences and tables from the records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from replication.claims import ALPHA, Comparison, Evidence
from replication.compare import (
    PairedTest,
    cells,
    interval,
    number,
    percent,
    published_values,
    ranks_of,
)
from replication.errors import ReplicationError
from replication.page import Study, difference_text, opening, two_digits
from replication.papers.amp_cf import claims, lists
from replication.papers.amp_cf import readings as read
from replication.papers.amp_cf.pages import personas as kinds
from replication.papers.amp_cf.readings import READINGS, SPACES, fit, ratio_bounds

PENDING = "Pending: no lists are measured yet."
READINGS_PENDING = "Pending: the readings are not measured on these lists yet."
JS_LIMIT = float(np.sqrt(np.log(2)))  # of the root of a mean of two KL divergences from the middle


def _printed(study: Study) -> pd.DataFrame:
    """The paper's 50 pairs: one row a model and data set, columns JS and Hellinger."""
    found = published_values(study.published)
    pairs: dict[tuple[str, str], dict[str, float]] = {}
    for (table, row, dataset, metric), value in found.items():
        if table == "table3":
            pairs.setdefault((row, dataset), {})[metric] = value
    return pd.DataFrame.from_dict(pairs, orient="index")[list(lists.METRICS)]


def _means(study: Study) -> dict[tuple[str, str], dict[str, float]]:
    """Mean of every measured metric over seeds, by (model, data set)."""
    found = {}
    for cell, runs in cells(study.grid, study.records):
        if runs:
            # What was measured in every run: older records may lack what was added later.
            names = [
                n
                for n in runs[min(runs)]["metrics"]
                if all(n in r["metrics"] for r in runs.values())
            ]
            found[cell.row, cell.dataset] = {
                name: float(np.mean([run["metrics"][name] for run in runs.values()]))
                for name in names
            }
    return found


def _against_single(study: Study) -> dict[Comparison, tuple[PairedTest, float]]:
    """Each AMP-r against one vector, on the Hellinger distance: the test and Holm's p-value."""
    proof = Evidence(study.table, study.records, study.ranks, study.published, study.grid)
    return {
        pair: (proof.test(pair), p)
        for pair, p in proof.adjusted(claims.comparisons(proof)).items()
        if isinstance(pair, Comparison) and (pair.b, pair.metric) == (claims.SINGLE, "Hellinger")
    }


def _outcome(test: PairedTest, p: float) -> str:
    """What is established: "closer" or "farther", or "no"."""
    if p >= ALPHA or test.ci_low <= 0 <= test.ci_high:
        return "no"
    return "closer" if test.difference < 0 else "farther"


def headline(study: Study, known: kinds.Kinds = kinds.NONE_KNOWN) -> str:
    """What Table 3 was asked, what was found, and the numbers behind it.

    ``known``: whether the personas of a model are several or one vector.
    """
    asked = (
        "Do the taste distances that the paper prints come out again, and do several personas "
        "follow a user's tastes more closely than one vector?"
    )
    means, tests = _means(study), _against_single(study)
    rows = [r for r in study.rows() if None not in (r["mean"], r["published"])]
    if not means or not rows:
        return opening(asked, PENDING)
    factor = {
        metric: [r["mean"] / r["published"] for r in rows if r["metric"] == metric]
        for metric in lists.METRICS
    }
    sizes = " and ".join(
        " to ".join(dict.fromkeys(two_digits(end) for end in (min(values), max(values))))
        + f" times the printed {metric}"
        for metric, values in factor.items()
    )
    js = _printed(study)["JS"]
    outcomes = {pair: _outcome(*found) for pair, found in tests.items()}
    given = list(outcomes.values())
    closer, farther = (
        kinds.split(
            outcomes,
            lambda pair: kinds.kind(known, pair.a, pair.dataset, pair.protocol),
            lambda pair: outcomes[pair],
            word,
        )
        for word in ("closer", "farther")
    )
    against = (
        f"an AMP is closer to a user's tastes than one vector in {given.count('closer')} of "
        f"{len(tests)} comparisons and farther in {given.count('farther')}"
        if tests
        else "no AMP is compared with one vector yet"
    )
    return opening(
        asked,
        f"Measured distances are {sizes}, and {against}.",
        [
            f"Printed JS: {(js > JS_LIMIT).sum()} of {len(js)} values exceed {number(JS_LIMIT)}, "
            "the largest that the printed formula can give.",
            f"Against one vector a user, MF (r=1), on the Hellinger distance: of {len(tests)} "
            f"comparisons of an AMP, {given.count('closer')} establish that it is closer to the "
            f"user's tastes and {given.count('farther')} that it is farther."
            if tests
            else "",
            f"{kinds.BECOME}: closer in {closer}; farther in {farther}." if tests else "",
            turned_text(study) if orders(study) else "",
        ],
    )


def personas(study: Study, known: kinds.Kinds = kinds.NONE_KNOWN) -> pd.DataFrame:
    """Each AMP-r minus MF (r=1) on the Hellinger distance; below zero is closer to the tastes.

    ``known``: as for ``headline``.
    """
    lines = [
        {
            "data set": pair.dataset,
            "model": pair.a,
            kinds.HEAD: kinds.kind(known, pair.a, pair.dataset, pair.protocol),
            "minus MF (r=1)": number(test.difference, signed=True),
            "95 % interval": interval(test.ci_low, test.ci_high),
            "Holm's p": f"{p:.3f}" if p >= 0.001 else "< 0.001",
            "established": _outcome(test, p),
        }
        for pair, (test, p) in _against_single(study).items()
    ]
    if not lines:
        return pd.DataFrame({"data set": [PENDING]}).set_index("data set")
    return pd.DataFrame(lines).set_index(["data set", "model"])


def other_setting(study: Study, variant: str) -> pd.DataFrame:
    """Hellinger distances of a variant beside the main cells and the closest AMP, as strings."""
    metric, means = "Hellinger", _means(study)
    lines = []
    for effect in study.effects(variant, metrics=(metric,)):
        main = means.get((effect.row, effect.dataset), {}).get(metric)
        personas = [
            means[row, effect.dataset][metric]
            for row in claims.PERSONAS
            if (row, effect.dataset) in means
        ]
        test = effect.test
        lines.append(
            {
                "data set": effect.dataset,
                "model": effect.row,
                "as it is": number(main),
                "changed": "pending" if test is None else number(effect.after),
                "difference [95 %]": difference_text(test),
                "closest AMP": number(min(personas, default=None)),
            }
        )
    return pd.DataFrame(lines).set_index(["data set", "model"])


# The variants in which personas take MF's rate and decay, by the entropy terms that they have.
OF_MF = {"mf-settings": "as printed", "mf-settings-no-entropy": "none"}
OF_MF_PENDING = "Pending: no lists of an AMP with these settings are measured yet."


def settings_of_mf(study: Study) -> pd.DataFrame:
    """Hellinger distances of AMPs with MF's rate and decay, minus AMP's as searched and MF's.

    One line while nothing is measured.
    """
    lines, measured = [], False
    for variant, entropy in OF_MF.items():
        of_own, of_single = (
            study.effects(variant, metrics=("Hellinger",), against=row)
            for row in (None, claims.SINGLE)
        )
        for own, single in zip(of_own, of_single, strict=True):
            after = own.after if single.after is None else single.after
            measured |= after is not None
            lines.append(
                {
                    "data set": own.dataset,
                    "model": own.row,
                    "entropy terms": entropy,
                    "Hellinger": "pending" if after is None else number(after),
                    "minus as searched": difference_text(own.test),
                    "minus MF (r=1)": difference_text(single.test),
                }
            )
    if not measured:
        return pd.DataFrame({"data set": [OF_MF_PENDING]}).set_index("data set")
    names = [cell.dataset for cell in study.grid]
    lines.sort(key=lambda line: (names.index(line["data set"]), line["model"]))
    return pd.DataFrame(lines).set_index(["data set", "model", "entropy terms"])


def formulas(study: Study) -> str:
    """How the two measures relate: as printed in the paper, and on these lists."""
    printed = _printed(study)
    factor = printed["JS"] / printed["Hellinger"]
    slope = stats.linregress(np.log(printed["Hellinger"]), np.log(printed["JS"]))
    ours = pd.DataFrame.from_dict(_means(study), orient="index")
    low, high = ratio_bounds()
    by_dataset = factor.groupby(level=1)
    within = by_dataset.max() / by_dataset.min()
    if within.min() <= high / low:
        raise ReplicationError("a factor of each data set would explain some ratio: say which")
    text = (
        f"In the paper's {len(printed)} pairs JS is {factor.min():.0f} to {factor.max():.0f} times "
        f"the Hellinger distance, and grows as its {slope.slope:.2f}th power (least squares on "
        f"logarithms, standard error {slope.stderr:.2f}, correlation {slope.rvalue:.2f}); "
        f"{(printed['JS'] > JS_LIMIT).sum()} of {len(printed)} printed values exceed the largest "
        f"value that the printed formula can take, {number(JS_LIMIT)}. A factor cannot explain it: "
        f"as printed, JS is between {low:.2f} and {high:.2f} times the Hellinger distance for any "
        f"two distributions, so that a common factor on either column leaves the largest ratio at "
        f"most {high / low:.2f} times the smallest, and in the paper it is "
        f"{factor.max() / factor.min():.2f} times. Nor can a factor of each data set, such as a "
        f"sum over its users in place of a mean: within a data set the largest ratio is "
        f"{within.min():.2f} to {within.max():.2f} times the smallest."
    )
    if ours.empty:
        return text
    near = (ours["JS"] / ours["Hellinger"] - 1).abs().max()
    return (
        f"{text} On the lists measured here the two differ by at most {percent(near)}. No set of "
        "lists can have both of the printed values, whatever model made them; what was computed in "
        "their place is not established."
    )


def scales(study: Study) -> pd.DataFrame:
    """Measured over printed, by model: the same factor everywhere would be a matter of scale."""
    printed, means = _printed(study), _means(study)
    lines = [
        {
            "data set": dataset,
            "model": row,
            "JS measured / printed": f"{found['JS'] / printed.loc[(row, dataset), 'JS']:.3f}",
            "Hellinger measured / printed": (
                f"{found['Hellinger'] / printed.loc[(row, dataset), 'Hellinger']:.2f}"
            ),
        }
        for (row, dataset), found in means.items()
        if (row, dataset) in printed.index
    ]
    if not lines:
        return pd.DataFrame({"data set": [PENDING]}).set_index("data set")
    return pd.DataFrame(lines).set_index(["data set", "model"])


def _read(study: Study) -> dict[tuple[str, str, str], dict[tuple[str, str], float]]:
    """(space, column, reading) -> the measured mean of each model and data set that is printed.

    Of the readings that can be compared (``readings.comparable``).
    """
    printed = set(_printed(study).index)
    found: dict[tuple[str, str, str], dict[tuple[str, str], float]] = {}
    for place, values in _means(study).items():
        for space in SPACES.values():
            for column, own in READINGS.items():
                for name in own:
                    value = values.get(read.metric(column, name, space))
                    if value is not None and place in printed:
                        found.setdefault((space, column, name), {})[place] = value
    return read.comparable(found)


def readings_table(study: Study, column: str) -> pd.DataFrame:
    """How each reading of one column of Table 3 relates to the printed values."""
    printed = _printed(study)[column].to_dict()
    lines = []
    for (space, of, name), values in _read(study).items():
        if of == column:
            found = fit(values, printed)
            lines.append((name, space, found["factor"], found["spread"], found["slope"]))
    if not lines:
        return pd.DataFrame({"reading": [READINGS_PENDING]}).set_index("reading")
    lines.sort(key=lambda line: abs(np.log(line[2])))
    frame = pd.DataFrame(
        [(name, space, f"{f:.3g}", f"{s:.2f}", f"{k:+.2f}") for name, space, f, s, k in lines],
        columns=["reading", "PCA", "printed / measured", "largest over smallest", "slope"],
    )
    return frame.set_index(["reading", "PCA"])


def _pairs(study: Study) -> list[tuple[float, float, str, str, str]]:
    """(spread, factor, space, reading of JS, of Hellinger) of printed over measured JS / Hellinger.

    The ratio of the two columns of one list depends little on the list, and so says most about
    the formulas. Sorted: the pair that leaves the smallest spread comes first.
    """
    printed = _printed(study)
    ratio = (printed["JS"] / printed["Hellinger"]).to_dict()
    found, values = [], _read(study)
    for space, column, name in values:
        if column != "JS":
            continue
        for other in READINGS["Hellinger"]:
            if (space, "Hellinger", other) not in values:
                continue
            above, below = values[space, "JS", name], values[space, "Hellinger", other]
            result = fit({place: above[place] / below[place] for place in above}, ratio)
            found.append((result["spread"], result["factor"], space, name, other))
    return sorted(found)


def pairs_table(study: Study, count: int = 10) -> pd.DataFrame:
    """The pairs of readings nearest to the printed JS / Hellinger, and the pair as printed."""
    pairs = _pairs(study)
    if not pairs:
        return pd.DataFrame({"JS": [READINGS_PENDING]}).set_index("JS")
    near = [pair for pair in pairs if 0.5 <= pair[1] <= 2][:count]
    near += [pair for pair in pairs if pair[3:] == ("as printed", "as printed")]
    frame = pd.DataFrame(
        [(js, other, space, f"{f:.3g}", f"{spread:.2f}") for spread, f, space, js, other in near],
        columns=["JS", "Hellinger", "PCA", "printed / measured ratio", "largest over smallest"],
    )
    return frame.set_index(["JS", "Hellinger"])


def established(study: Study) -> str:
    """What the readings settle and what they leave open, in words."""
    printed, values = _printed(study), _read(study)
    if not values:
        return READINGS_PENDING
    n = len(next(iter(values.values())))
    texts = []
    for column in lists.METRICS:
        fits = {
            (name, space): fit(own, printed[column].to_dict())
            for (space, of, name), own in values.items()
            if of == column
        }
        sized = [key for key, found in fits.items() if 0.5 <= found["factor"] <= 2]
        plain = fits["as printed", "centred"]
        best = min(fits, key=lambda key: fits[key]["spread"])
        names = f": {'; '.join(f'{name}, {space}' for name, space in sized)}" if sized else ""
        texts.append(
            f"Printed {column}: {plain['factor']:.3g} times what the printed formula gives on the "
            f"lists measured here (geometric mean over {n} pairs of model and data set). Of "
            f"{len(fits)} readings {len(sized)} come within a factor of two of print on "
            f"average{names}. In the reading whose ratios to print differ least ({best[0]}, "
            f"{best[1]}), the largest ratio is still {fits[best]['spread']:.2f} times the smallest."
        )
    pairs = _pairs(study)
    sized_pairs = [pair for pair in pairs if 0.5 <= pair[1] <= 2]
    as_printed = next(p for p in pairs if p[2:] == ("centred", "as printed", "as printed"))
    closest = ""
    if sized_pairs:
        spread, factor, space, js, other = sized_pairs[0]
        closest = (
            f" With the closest of them (JS {js}, Hellinger {other}, PCA {space}) printed is "
            f"{factor:.3g} times measured; largest over smallest {spread:.2f}."
        )
    texts.append(
        f"Ratio of the two columns: of {len(pairs)} pairs of readings {len(sized_pairs)} give the "
        "printed one within a factor of two on average. With the formulas as printed the printed "
        f"ratio is {as_printed[1]:.3g} times the measured one on average; largest over smallest "
        f"{as_printed[0]:.2f}.{closest}"
    )
    waiting = {
        column: [name for name in own if ("centred", column, name) not in values]
        for column, own in READINGS.items()
    }
    texts += [
        f"Pending for {column}, as the lists of some models were measured before: "
        f"{'; '.join(names)}."
        for column, names in waiting.items()
        if names
    ]
    texts.append(
        "Established: the printed formula of JS did not make the printed JS, and no factor on "
        "either column reconciles the two. A reading that fits is a possibility and no more, since "
        "the lists, the space and the clusters behind the printed values are not known."
    )
    return "\n".join(f"- {text}" for text in texts)


def uncentred(study: Study) -> pd.DataFrame:
    """JS and Hellinger with and without centring before the PCA, and the order of the models."""
    frame = pd.DataFrame.from_dict(_means(study), orient="index")
    lines = []
    for dataset in datasets(study):
        own = frame.xs(dataset, level=1)
        for metric in lists.METRICS:
            name = f"{metric}/uncentred"
            if name in own and own[name].notna().sum() > 2:
                both = own[[metric, name]].dropna()
                order = stats.spearmanr(both[metric], both[name]).statistic
                lines.append(
                    {
                        "data set": dataset,
                        "measure": metric,
                        "models": str(len(both)),
                        "centred": number(both[metric].mean()),
                        "not centred": number(both[name].mean()),
                        "ratio": f"{(both[name] / both[metric]).mean():.2f}",
                        "rank correlation of the models": f"{order:+.2f}",
                    }
                )
    if not lines:
        return pd.DataFrame({"data set": [READINGS_PENDING]}).set_index("data set")
    return pd.DataFrame(lines).set_index(["data set", "measure"])


def effect_uncentred(study: Study) -> str:
    """What centring does to JS, in one sentence for another page; "pending" without records."""
    frame = uncentred(study).reset_index()
    if "ratio" not in frame:
        return "pending"
    own = frame[frame["measure"] == "JS"]
    parts = [
        f"{line['ratio']} times on {line['data set']} "
        f"(rank correlation of the models {line['rank correlation of the models']})"
        for _, line in own.iterrows()
    ]
    return f"JS without centring: {'; '.join(parts)}"


def beyond(study: Study, dataset: str) -> pd.DataFrame:
    """What else was measured on the same lists, means over seeds as strings."""
    names = {
        "JS": "JS",
        "JS/similarity": "JS, over similarities",
        "JS/sd over spaces": "sd of JS over 5 spaces",
        "diversity": "diversity",
        "miscalibration": "miscalibration",
        "coverage": "coverage",
    }
    found = {row: values for (row, where), values in _means(study).items() if where == dataset}
    frame = pd.DataFrame.from_dict(found, orient="index").reindex(columns=list(names))
    frame = frame.dropna(axis=1, how="all").rename(columns=names).sort_values("JS")
    frame.index.name = "model"
    return frame.map(number)


# --- over similarities in place of distances -------------------------------------------------


@dataclass(frozen=True)
class Orders:
    """One measure's order of the models on one data set, as printed and over similarities.

    Attributes:
        models: how many.
        tau: Kendall's tau-b between the two orders.
        pairs: of models.
        reversed: how many pairs change their order.
        gains: AMPs that are closer than a simple model as printed, as (AMP, simple model).
        lost: those of them that are farther over similarities.
        losses: the other pairs of an AMP and a simple model.
        won: those of these that are closer over similarities.
    """

    models: int
    tau: float
    pairs: int
    reversed: int
    gains: Sequence[tuple[str, str]]
    lost: Sequence[tuple[str, str]]
    losses: Sequence[tuple[str, str]]
    won: Sequence[tuple[str, str]]


def orders(study: Study) -> dict[tuple[str, str], Orders]:
    """(data set, measure) -> the two orders of its models, by their means over seeds."""
    found = {}
    for dataset in datasets(study):
        for metric in lists.METRICS:
            changed = f"{metric}{claims.OVER_SIMILARITIES}"
            both = {
                row: np.array([values[metric], values[changed]])
                for (row, where), values in _means(study).items()
                if where == dataset and changed in values
            }
            if len(both) < 2:
                continue
            turned = [np.prod(np.sign(both[a] - both[b])) < 0 for a, b in combinations(both, 2)]
            rivals = [
                ((a, b), both[a] < both[b])  # smaller is closer
                for a in claims.PERSONAS
                for b in claims.SIMPLE
                if a in both and b in both
            ]
            found[dataset, metric] = Orders(
                len(both),
                float(stats.kendalltau(*np.array(list(both.values())).T).statistic),
                len(turned),
                sum(turned),
                [pair for pair, (before, _) in rivals if before],
                [pair for pair, (before, after) in rivals if before and not after],
                [pair for pair, (before, _) in rivals if not before],
                [pair for pair, (before, after) in rivals if after and not before],
            )
    return found


def similarities(study: Study) -> pd.DataFrame:
    """How far the order of the models hangs on distances, one line a data set and measure."""
    lines = {
        place: {
            "models": str(o.models),
            "tau-b": f"{o.tau:+.2f}",
            "pairs reversed": f"{o.reversed} of {o.pairs}",
            "gains of AMP lost": f"{len(o.lost)} of {len(o.gains)}",
            "losses of AMP won": f"{len(o.won)} of {len(o.losses)}",
        }
        for place, o in orders(study).items()
    }
    if not lines:
        return pd.DataFrame({"data set": [PENDING]}).set_index("data set")
    frame = pd.DataFrame.from_dict(lines, orient="index")
    return frame.rename_axis(["data set", "measure"])


def turned_text(study: Study) -> str:
    """How the order changes over similarities in place of distances, in sentences."""
    found = orders(study)
    if not found:
        return PENDING
    js = {dataset: o for (dataset, metric), o in found.items() if metric == "JS"}
    taus = ", ".join(f"{o.tau:.2f} on `{dataset}`" for dataset, o in js.items())
    orders_text = f"Kendall's tau-b between the two orders of the models is {taus}."
    gains, lost = sum(len(o.gains) for o in js.values()), sum(len(o.lost) for o in js.values())
    where = {dataset: o for dataset, o in js.items() if o.lost}
    if len(where) > 1:
        on = ": " + ", ".join(
            f"{len(o.lost)} of {len(o.gains)} on `{dataset}`" for dataset, o in where.items()
        )
    else:
        on = "".join(
            f", all on `{d}` ({len(o.lost)} of {len(o.gains)} there)" for d, o in where.items()
        )
    *simple, last = claims.SIMPLE
    return (
        f"By JS, {lost} of {gains} gains of an AMP over {', '.join(simple)} and {last} become "
        f"losses over similarities in place of distances{on}. {orders_text}"
        if gains
        else f"Over similarities in place of distances, by JS: {orders_text}"
    )


def turned_pairs(study: Study) -> pd.DataFrame:
    """Each pair of an AMP and a simple model that changes its order, with the printed leader."""
    lines = {}
    for place, o in orders(study).items():
        closer = {"AMP": o.lost, "the simple model": o.won}
        for name, pairs in closer.items():
            by_model: dict[str, list[str]] = {}
            for amp, simple in pairs:
                by_model.setdefault(simple, []).append(amp)
            for simple, rows in by_model.items():
                lines[(*place, simple, name)] = {"AMPs": ", ".join(rows)}
    if not lines:
        text = "None changes its order." if orders(study) else PENDING
        return pd.DataFrame({"": [text]})
    frame = pd.DataFrame.from_dict(lines, orient="index")
    return frame.rename_axis(["data set", "measure", "simple model", "closer as printed"])


# --- beside other measures -------------------------------------------------------------------

OTHERS = ("diversity", "miscalibration")


def is_it_diversity(study: Study) -> str:
    """The rank correlation of JS with diversity and miscalibration, over models and over users."""
    frame = pd.DataFrame.from_dict(_means(study), orient="index")
    texts, over_models = [], []
    for dataset in dict.fromkeys(frame.index.get_level_values(1)) if len(frame) else ():
        own = frame.xs(dataset, level=1)
        parts = []
        for other in OTHERS:
            some = own[["JS", other]].dropna() if other in own else own.iloc[:0]
            if len(some) > 3:
                found = stats.spearmanr(some["JS"], some[other])
                parts.append(
                    f"{found.statistic:+.2f} with {other} ({len(some)} models, "
                    f"p {_p_text(found.pvalue)})"
                )
                if other == "diversity":
                    over_models.append(float(found.statistic))
        if parts:
            texts.append(f"`{dataset}`: {' and '.join(parts)}")
    if not texts:
        return PENDING
    text = f"Spearman's rank correlation of JS over the models: {'; '.join(texts)}."
    over_users = correlation_over_users(study)
    if not over_models or not over_users["diversity"]:
        return text
    spans = [
        f"{min(values):+.2f} to {max(values):+.2f} with {other} (median {np.median(values):+.2f})"
        for other, values in over_users.items()
        if values
    ]
    users = over_users["diversity"]
    near = sum(abs(value) > claims.STRONG for value in users)
    models = sum(abs(value) > claims.STRONG for value in over_models)
    return (
        f"{text} Over the users of one run it is {' and '.join(spans)}. With diversity it is "
        f"beyond {claims.STRONG:g}, either way, over the models of {models} of {len(over_models)} "
        f"data sets and over the users of {near} of {len(users)} runs: how far a model's lists lie "
        f"from the users' tastes {_is(2 * models > len(over_models))} much about how diverse its "
        f"lists are; how far a user's list lies from her tastes "
        f"{_is(2 * near > len(users))} much about how diverse that list is."
    )


def _is(so: bool) -> str:
    return "says" if so else "does not say"


def _p_text(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def correlation_over_users(study: Study) -> dict[str, list[float]]:
    """Spearman's correlation of JS with another measure over the users of each run."""
    found: dict[str, list[float]] = {other: [] for other in OTHERS}
    for record in study.runs():
        js = ranks_of(record, study.ranks, "JS")
        for other in OTHERS:
            values = ranks_of(record, study.ranks, other)
            if js is None or values is None:
                continue
            both = np.isfinite(js) & np.isfinite(values)
            if both.sum() > 3:
                test = stats.spearmanr(js[both].astype(float), values[both].astype(float))
                found[other].append(float(test.statistic))
    return found


def datasets(study: Study) -> Sequence[str]:
    """Data sets with measured lists, in the order of the grid."""
    with_lists = {dataset for _, dataset in _means(study)}
    return [d for d in dict.fromkeys(cell.dataset for cell in study.grid) if d in with_lists]
