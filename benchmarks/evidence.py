"""How a benchmark leaves evidence: a record of ``results/amp_cf/speed.jsonl`` a measurement.

The same measurement by the same code on the same machine can be made again: every time it is made
is a record of its own, numbered by ``seed``, and the page of costs shows the last.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from replication.papers.amp_cf import experiments
from replication.records import Record, Store, provenance, record_address, source_hash


def keep(
    table: str,
    row: str,
    dataset: str,
    metrics: Mapping[str, float],
    config: Mapping[str, Any],
    protocol: str = "loo-random",
) -> Record:
    """Store a measurement, and give its record back.

    Args:
        table: for instance ``experiments.SPEED``.
        row: the model, or what was measured.
        metrics: the numbers; none may be NaN.
        config: what the numbers depend on, beside the code and the machine.
    """
    made, data = provenance(), experiments.data_for(dataset, protocol)
    here = {"machine": made["machine"], "source": source_hash()}
    head = record_address(
        table,
        row,
        data,
        protocol,
        {**config, **here},
    )
    store = Store(table)
    before = sum(all(r.get(k) == v for k, v in head.items() if k != "seed") for r in store.load())
    record = head | {"seed": before, "metrics": dict(metrics), "device": "cpu"} | made
    store.append(record)
    return record


def speed(
    what: str,
    row: str,
    dataset: str,
    ours: float,
    peer: float,
    peer_name: str,
    threads: int,
    unit: str = "seconds",
    bounded: str = "",
    limit: float | None = None,
    protocol: str = "loo-random",
    **sizes: Any,
) -> bool:
    """Store how fast something is beside a peer that does the same work in the same run.

    Args:
        ours, peer: in ``unit``: "seconds", of which fewer are better, or "examples a second".
        bounded: what the limit is for: "ours", which must stay under it in seconds, or "ratio",
            how many times as fast as the peer ours is, which must reach it.

    Returns:
        Whether the limit is kept; True where there is none.
    """
    metrics = {"ours": ours, "peer": peer}
    metrics["ratio"] = peer / ours if unit == "seconds" else ours / peer
    if limit is not None:
        metrics["limit"] = limit
    config = {
        "what": what,
        "peer": peer_name,
        "unit": unit,
        "threads": threads,
        "bounded": bounded if limit is not None else "",
    }
    return within(keep(experiments.SPEED, row, dataset, metrics, config | sizes, protocol))


def within(record: Record) -> bool:
    """Whether a record of ``speed`` keeps its limit; True where it has none."""
    found, bounded = record["metrics"], record["config"]["bounded"]
    if bounded == "ours":
        return found["ours"] < found["limit"]
    return not bounded or found["ratio"] >= found["limit"]
