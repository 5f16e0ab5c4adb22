"""Whether a model has several personas or one vector is read from its records, and counted by."""

from __future__ import annotations

from typing import Any

import pytest

from replication.papers.amp_cf import explanations
from replication.papers.amp_cf.pages import personas

PLACE = ("ml-100k", "loo-random")


def record(cosine: float, seed: int = 0, **changes: Any) -> dict[str, Any]:
    return {
        "key": str(seed),
        "table": explanations.TABLE,
        "row": "AMP-2",
        "dataset": PLACE[0],
        "protocol": PLACE[1],
        "variant": "",
        "select": "validation",
        "seed": seed,
        "metrics": {"overlap/cosine": cosine},
        "time": "",
    } | changes


@pytest.mark.parametrize(
    ("cosines", "expected"),
    [
        ((0.9,), personas.SEVERAL),
        ((1.0, 0.97), personas.SEVERAL),  # the mean counts, and not the largest
        ((1.0, 0.985), personas.ONE),
    ],
)
def test_the_mean_cosine_over_seeds_decides(cosines: tuple[float, ...], expected: str) -> None:
    known = personas.kinds([record(cosine, seed) for seed, cosine in enumerate(cosines)])
    assert known == {("AMP-2", *PLACE): expected}
    assert personas.kind(known, "AMP-2", *PLACE) == expected


def test_what_was_not_measured_is_not_known() -> None:
    """Neither another protocol's models nor those of a variant are the ones of the main cell."""
    variant = record(1.0, variant="released", dataset="ml-latest-small", select="test")
    known = personas.kinds([record(1.0), variant])
    for place in (
        ("AMP-2", "ml-100k", "loo-last"),
        ("AMP-2 (mf-settings)", *PLACE),
        ("AMP-2", "ml-latest-small", "loo-random"),
        ("AMP-3", *PLACE),
    ):
        assert personas.kind(known, *place) == personas.UNKNOWN


def test_counts_are_split_and_add_up() -> None:
    items = [("several", "loss"), ("several", "gain"), ("one vector", "loss"), ("one vector", "-")]
    texts = [personas.split(items, lambda i: i[0], lambda i: i[1], w) for w in ("loss", "gain")]
    assert texts == [
        "1 of 2 where personas are several and 1 of 2 where they are one vector",
        "1 of 2 where personas are several and 0 of 2 where they are one vector",
    ]
    assert personas.split(items[:0], str, str, "loss") == ""


def test_a_sentence_names_each_model_once() -> None:
    known = {("AMP-2", *PLACE): personas.ONE, ("AMP-4", *PLACE): personas.ONE}
    assert personas.of_models(known, ("AMP-2", "AMP-3", "AMP-4"), *PLACE) == (
        "A user's personas: one vector of AMP-2 and AMP-4, not known of AMP-3."
    )
