"""Where things are; two environment variables move the data and the results elsewhere."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("REPLICATION_DATA") or ROOT / "data")
RESULTS = Path(os.environ.get("REPLICATION_RESULTS") or ROOT / "results")

RAW = DATA / "raw"  # verified files, as published
PREPARED = DATA / "prepared"  # the same interactions as parquet
CHECKPOINTS = DATA / "checkpoints"  # unfinished runs
MODELS = DATA / "models"  # trained models of main cells, for lists and explanations
