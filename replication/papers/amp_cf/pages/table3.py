"""Table 3, taste distribution distance: sentences and tables from the records."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from replication.compare import cells, number, published_values
from replication.page import Study
from replication.papers.amp_cf import lists

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


def headline(study: Study) -> str:
    """What Table 3 was asked and what was found, in two sentences."""
    asked = (
        "Do the taste distances that the paper prints come out again, and do several personas "
        "follow a user's tastes more closely than one vector?"
    )
    means = _means(study)
    if not means:
        return f"**Asked.** {asked} **Found.** {PENDING}"
    js = [m["JS"] for m in means.values()]
    datasets = list(dict.fromkeys(dataset for _, dataset in means))
    closest = {
        d: min((row for row, where in means if where == d), key=lambda row: means[row, d]["JS"])
        for d in datasets
    }
    which = "; ".join(f"{row} on `{dataset}`" for dataset, row in closest.items())
    return (
        f"**Asked.** {asked} **Found.** JS as printed lies between {number(min(js))} and "
        f"{number(max(js))} here and cannot exceed {number(JS_LIMIT)}, while every printed value "
        f"does, so that the printed JS is not the printed formula; the smallest distance is that "
        f"of {which}."
    )


def formulas(study: Study) -> str:
    """How the two measures relate: as printed in the paper, and on these lists."""
    printed = _printed(study)
    factor = printed["JS"] / printed["Hellinger"]
    slope = stats.linregress(np.log(printed["Hellinger"]), np.log(printed["JS"]))
    ours = pd.DataFrame.from_dict(_means(study), orient="index")
    text = (
        f"In the paper's {len(printed)} pairs JS is {factor.min():.0f} to {factor.max():.0f} times "
        f"the Hellinger distance, and grows as its {slope.slope:.2f}th power (least squares on "
        f"logarithms, standard error {slope.stderr:.2f}, correlation {slope.rvalue:.2f}); "
        f"{(printed['JS'] > JS_LIMIT).sum()} of {len(printed)} printed values exceed the largest "
        f"value that the printed formula can take, {number(JS_LIMIT)}."
    )
    if ours.empty:
        return text
    near = (ours["JS"] / ours["Hellinger"] - 1).abs().max()
    return (
        f"{text} On the lists measured here the two differ by at most {near:.1%}: for two close "
        "distributions both are half the distance between their square roots, to first order. No "
        "one list can therefore have both of the printed values, whatever model made it."
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
