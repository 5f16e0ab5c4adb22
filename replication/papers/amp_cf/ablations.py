"""AMP-CF's ablation studies: one choice of the model changed at a time, everything else kept.

A study is a list of lines, each a model's main cell of Table 2 or the same model with a level of
``LEVELS``, and says which line each is compared with. ``experiments.VARIANTS`` makes a variant of
Table 2 of every level, so that the commands that run Table 2 run these too.

A level changes the configuration that was tuned for the main cell and is not tuned itself. That
favours the main cell. The levels with a printed start are compared with each other, at a
configuration that was tuned for none of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SMALL = ("ml-latest-small", "ml-100k")
PROTOCOL = "loo-random"


@dataclass(frozen=True)
class Level:
    """One value of one choice.

    Attributes:
        text: what differs, for the reader.
        changes: the values of the configuration that differ.
        models: on which models it is run.
        datasets: on which data.
        from_start: change the models' starting point (what the sources print) in place of the
            tuned configuration.
        seeds: how many; fewer than five where a run takes longer than a minute.
    """

    text: str
    changes: tuple[tuple[str, Any], ...]
    models: tuple[str, ...] = ("amp-2",)
    datasets: tuple[str, ...] = SMALL
    from_start: bool = False
    seeds: int = 5


def _changed(text: str, models: tuple[str, ...] = ("amp-2",), **changes: Any) -> Level:
    return Level(text, tuple(changes.items()), models)


def _printed(text: str, seeds: int = 5, **changes: Any) -> Level:
    return Level(text, tuple(changes.items()), datasets=("ml-100k",), from_start=True, seeds=seeds)


def _factors(d: int) -> Level:
    return Level(f"d = {d}", (("factors", d),), ("ncf",), ("ml-100k",))


def _radius(radius: float) -> Level:
    return Level(f"radius {radius:g}", (("radius", radius),), ("direc",), seeds=3)


_BOTH = ("amp-2", "amp-4")
_AISP = ("aisp-2", "aisp-3", "aisp-4")

# An epoch with 100 negatives takes five times as long as one with 4, one with networks three times.
LEVELS: dict[str, Level] = {
    "negatives-10": _changed("10 negatives", n_negatives=10),
    "negatives-20": _changed("20 negatives", n_negatives=20),
    "negatives-100": Level("100 negatives", (("n_negatives", 100),), seeds=3),
    "printed-start": _printed("4 negatives, printed start"),
    "printed-negatives-10": _printed("10 negatives, printed start", n_negatives=10),
    "printed-negatives-20": _printed("20 negatives, printed start", n_negatives=20),
    "printed-negatives-100": _printed("100 negatives, printed start", seeds=3, n_negatives=100),
    "uniform-negatives": _changed("uniform", negative_distribution="uniform"),
    "unigram-negatives": _changed("unigram, power 1", negative_power=1.0),
    "unconsumed-negatives": _changed("power 0.5, none consumed", reject_consumed="train"),
    "similarity-elu": Level("network with ELU", (("similarity", "elu"),), seeds=3),
    "similarity-gelu": Level("network with GELU", (("similarity", "gelu"),), seeds=3),
    "no-positive-entropy": _changed("without the positives' entropy", _BOTH, lambda_p=0.0),
    "no-negative-entropy": _changed("without the negatives' entropy", _BOTH, lambda_n=0.0),
    "no-entropy": _changed("without both", _BOTH, lambda_p=0.0, lambda_n=0.0),
    "alpha-0.1": _changed("alpha 0.1", alpha=0.1),
    "alpha-0.5": _changed("alpha 0.5", alpha=0.5),
    "alpha-0.9": _changed("alpha 0.9", alpha=0.9),
    "no-projections": _changed("without projections", _BOTH, attention_projections=False),
    "no-item-bias": _changed("without item bias", (*_BOTH, "mf"), item_bias=False),
    "aisp-unit-length": _changed("unit length", _AISP, unit_length=True),
    "aisp-uncentred": _changed("not centred", _AISP, centred=False),
    "aisp-both": _changed("unit length, not centred", _AISP, unit_length=True, centred=False),
    **{f"ncf-{d}": _factors(d) for d in (8, 16, 32, 128)},
    **{f"radius-{r:g}": _radius(r) for r in (0.25, 0.5, 0.75, 0.9)},
}


@dataclass(frozen=True)
class Line:
    """One line of a study: a model, with a level or as in its main cell (``""``).

    ``against`` is the (model, level) that it is compared with; None for what others are compared
    with. ``main_on`` are the data on which a main cell is shown.
    """

    label: str
    model: str
    level: str = ""
    against: tuple[str, str] | None = None
    main_on: tuple[str, ...] = SMALL

    @property
    def of_personas(self) -> bool:
        """Whether it compares an AMP with one vector a user."""
        return self.model.startswith("amp-") and (self.against or ("",))[0].startswith("mf")

    @property
    def datasets(self) -> tuple[str, ...]:
        """On which data it is run."""
        return LEVELS[self.level].datasets if self.level else self.main_on


@dataclass(frozen=True)
class Study:
    """One question.

    Attributes:
        title: what is varied.
        lines: in the order of the table.
        claim: what the paper says of it, with the place; "" where it says nothing.
        others: what the claim makes of the lines that are compared: "worse" or "no better".
    """

    title: str
    lines: tuple[Line, ...]
    claim: str = ""
    others: str = ""

    @property
    def of_baseline(self) -> bool:
        """About a model that AMP is compared with, and not about AMP or its one vector a user."""
        return not any(line.model.startswith(("amp-", "mf")) for line in self.lines)

    @property
    def inner_title(self) -> str:
        """The title inside a sentence: a model's name keeps its capitals."""
        own = self.title.split()[0][1:]
        return self.title if own != own.lower() else self.title[0].lower() + self.title[1:]


def _study_of(main: str, *levels: str, models: tuple[str, ...] = ("amp-2",)) -> tuple[Line, ...]:
    """Each model as in its main cell, then with each level that is run on it."""
    lines = []
    for model in models:
        start = f"{'MF' if model == 'mf' else model.upper()}, " if len(models) > 1 else ""
        used = {dataset for level in levels for dataset in LEVELS[level].datasets}
        lines.append(Line(start + main, model, main_on=tuple(d for d in SMALL if d in used)))
        lines += [
            Line(start + LEVELS[level].text, model, level, (model, ""))
            for level in levels
            if model in LEVELS[level].models
        ]
    return tuple(lines)


_PRINTED = ("printed-negatives-10", "printed-negatives-20", "printed-negatives-100")
PERSONAS = (2, 3, 4, 5, 6, 7, 8)
EQUAL = ((2, 128), (3, 192), (4, 256), (8, 512))  # r personas of d = 64, one vector of 64 r

STUDIES: dict[str, Study] = {
    "negatives": Study(
        "Number of negatives",
        (
            *_study_of("4 negatives", "negatives-10", "negatives-20", "negatives-100"),
            Line(LEVELS["printed-start"].text, "amp-2", "printed-start"),
            *(Line(LEVELS[x].text, "amp-2", x, ("amp-2", "printed-start")) for x in _PRINTED),
        ),
        "10, 20 and 100 negatives perform worse than 4 (Section 4.3)",
        "worse",
    ),
    "similarity": Study(
        "Similarity function",
        _study_of("dot product", "similarity-elu", "similarity-gelu"),
        "small networks in place of the dot products give no improvement and train longer "
        "(Section 3)",
        "no better",
    ),
    "entropy": Study(
        "The two entropy terms",
        _study_of(
            "both terms", "no-positive-entropy", "no-negative-entropy", "no-entropy", models=_BOTH
        ),
    ),
    "alpha": Study("alpha", _study_of("as tuned", "alpha-0.1", "alpha-0.5", "alpha-0.9")),
    "parts": Study(
        "Projections and item bias",
        _study_of("all parts", "no-projections", "no-item-bias", models=(*_BOTH, "mf")),
    ),
    "distribution": Study(
        "Distribution of the negatives",
        _study_of(
            "unigram, power 0.5", "uniform-negatives", "unigram-negatives", "unconsumed-negatives"
        ),
    ),
    "vectors": Study(
        "AISP's item vectors",
        _study_of("as they are", "aisp-unit-length", "aisp-uncentred", "aisp-both", models=_AISP),
    ),
    "factors": Study(
        "NCF's number of factors",
        _study_of("d = 64", "ncf-8", "ncf-16", "ncf-32", "ncf-128", models=("ncf",)),
        "d = 64 gives NCF's best results of 8, 16, 32, 64 and 128 (Section 4.3)",
        "worse",
    ),
    "radius": Study(
        "DiRec's radius",
        _study_of(
            "radius 1", "radius-0.25", "radius-0.5", "radius-0.75", "radius-0.9", models=("direc",)
        ),
    ),
    "personas": Study(
        "Number of personas",
        (
            Line("1 (MF)", "mf"),
            *(Line(f"{r} personas", f"amp-{r}", against=("mf", "")) for r in PERSONAS),
        ),
    ),
    "parameters": Study(
        "Equal numbers per user",
        tuple(
            line
            for r, width in EQUAL
            for line in (
                Line(f"1 vector of {width}", f"mf-{width}"),
                Line(f"{r} personas of 64", f"amp-{r}", against=(f"mf-{width}", "")),
            )
        ),
    ),
}
