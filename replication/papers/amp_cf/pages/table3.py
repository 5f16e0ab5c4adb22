"""Table 3, taste distribution distance: sentences and tables from the records."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from replication.claims import Comparison, Evidence
from replication.compare import PairedTest, cells, interval, number, published_values
from replication.page import Study
from replication.papers.amp_cf import claims, lists
from replication.papers.amp_cf.readings import ratio_bounds

PENDING = "Pending: no lists are measured yet."
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
            names = list(dict.fromkeys(name for run in runs.values() for name in run["metrics"]))
            found[cell.row, cell.dataset] = {
                name: float(np.mean([run["metrics"][name] for run in runs.values()]))
                for name in names
            }
    return found


def _against_single(study: Study) -> dict[Comparison, tuple[PairedTest, float]]:
    """Each AMP-r against one vector, on the Hellinger distance: the test and Holm's p-value."""
    proof = Evidence(study.table, study.records, study.ranks, study.published, study.grid)
    family = [
        Comparison(row, claims.SINGLE, dataset, "loo-random", "Hellinger")
        for dataset in datasets(study)
        for row in claims.PERSONAS
    ]
    return {pair: (proof.test(pair), p) for pair, p in proof.adjusted(family).items()}


def headline(study: Study) -> str:
    """What Table 3 was asked and what was found, in two sentences."""
    asked = (
        "Do the taste distances that the paper prints come out again, and do several personas "
        "follow a user's tastes more closely than one vector?"
    )
    means, tests = _means(study), _against_single(study)
    rows = [r for r in study.rows() if None not in (r["mean"], r["published"])]
    if not means or not rows:
        return f"**Asked.** {asked} **Found.** {PENDING}"
    factor = {
        metric: [r["mean"] / r["published"] for r in rows if r["metric"] == metric]
        for metric in lists.METRICS
    }
    sizes = " and ".join(
        f"{min(values):.2f} to {max(values):.2f} times the printed {metric}"
        for metric, values in factor.items()
    )
    closer = [p for p, (t, value) in tests.items() if value < 0.05 and t.ci_high < 0]
    farther = [p for p, (t, value) in tests.items() if value < 0.05 and t.ci_low > 0]
    return (
        f"**Asked.** {asked} **Found.** The measured distances are {sizes} (JS as printed cannot "
        f"exceed {number(JS_LIMIT)}, and every printed value does); of {len(tests)} comparisons of "
        f"an AMP with MF (r=1) on the Hellinger distance, {len(closer)} establish that the "
        f"personas are closer to the user's tastes, {len(farther)} that they are farther."
    )


def personas(study: Study) -> pd.DataFrame:
    """Each AMP-r minus MF (r=1) on the Hellinger distance; below zero is closer to the tastes."""
    lines = [
        {
            "data set": pair.dataset,
            "model": pair.a,
            "minus MF (r=1)": number(test.difference, signed=True),
            "95 % interval": interval(test.ci_low, test.ci_high),
            "Holm's p": f"{p:.3f}" if p >= 0.001 else "< 0.001",
        }
        for pair, (test, p) in _against_single(study).items()
    ]
    if not lines:
        return pd.DataFrame({"data set": [PENDING]}).set_index("data set")
    return pd.DataFrame(lines).set_index(["data set", "model"])


def formulas(study: Study) -> str:
    """How the two measures relate: as printed in the paper, and on these lists."""
    printed = _printed(study)
    factor = printed["JS"] / printed["Hellinger"]
    slope = stats.linregress(np.log(printed["Hellinger"]), np.log(printed["JS"]))
    ours = pd.DataFrame.from_dict(_means(study), orient="index")
    low, high = ratio_bounds()
    text = (
        f"In the paper's {len(printed)} pairs JS is {factor.min():.0f} to {factor.max():.0f} times "
        f"the Hellinger distance, and grows as its {slope.slope:.2f}th power (least squares on "
        f"logarithms, standard error {slope.stderr:.2f}, correlation {slope.rvalue:.2f}); "
        f"{(printed['JS'] > JS_LIMIT).sum()} of {len(printed)} printed values exceed the largest "
        f"value that the printed formula can take, {number(JS_LIMIT)}. A factor cannot explain it: "
        f"as printed, JS is between {low:.2f} and {high:.2f} times the Hellinger distance for any "
        f"two distributions, so that a common factor on either column leaves the largest ratio at "
        f"most {high / low:.2f} times the smallest, and in the paper it is "
        f"{factor.max() / factor.min():.2f} times."
    )
    if ours.empty:
        return text
    near = (ours["JS"] / ours["Hellinger"] - 1).abs().max()
    return (
        f"{text} On the lists measured here the two differ by at most {near:.1%}. No set of lists "
        "can have both of the printed values, whatever model made them; what was computed in their "
        "place is not established."
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


def is_it_diversity(study: Study) -> str:
    """The rank correlation over models of JS with diversity and with miscalibration."""
    texts = []
    frame = pd.DataFrame.from_dict(_means(study), orient="index")
    for dataset in dict.fromkeys(frame.index.get_level_values(1)) if len(frame) else ():
        own = frame.xs(dataset, level=1)
        parts = []
        for other in ("diversity", "miscalibration"):
            if other in own and own[other].notna().sum() > 3:
                found = stats.spearmanr(own["JS"], own[other])
                parts.append(f"{found.statistic:+.2f} with {other}")
        if parts:
            texts.append(f"`{dataset}` ({len(own)} models): {' and '.join(parts)}")
    if not texts:
        return PENDING
    return f"Spearman's rank correlation of JS over the models: {'; '.join(texts)}."


def datasets(study: Study) -> Sequence[str]:
    """Data sets with measured lists, in the order of the grid."""
    with_lists = {dataset for _, dataset in _means(study)}
    return [d for d in dict.fromkeys(cell.dataset for cell in study.grid) if d in with_lists]
