"""The papers of the study: a new one is a new folder and one line here.

A paper's ``tables`` module has

``TABLES``       its tables by their ids;
``SELECTS``      the ways to select that a table can be printed for, the default first;
``TUNED``        ids of the tables whose models can be tuned, and what a trial is judged by;
``experiments``  its grid: DATASETS, RUN_HERE, PROTOCOLS, MODELS, SELECTS, VARIANTS, data_for,
                 row_name, tune; and BROUGHT, where readers may bring data sets of their own
                 that no page shows;
``run``          runs and stores what is missing of a part of a table (``common.Part``).
``plan``, ``execute``  what a page in mode "quick" or "full" does: the runs behind a part of a
                 table, and running them into a store;
``model_of``     the model that a page's parameters ask for, if any;
``QUICK``        what mode "quick" retrains; ``RUNNABLE``: the data sets that a page can retrain;
``REFERENCES``   rows that stay on a page when a model is asked for;
``FRONT``        name of the module whose ``summary_markdown`` stands on the front page;
``ALSO_NEEDED``  what a machine needs besides the data sets: name -> what it is, and a call that
                 raises ``ReplicationError`` where it is missing;
``packing``      how its pending runs are packed for another machine (see ``replication.pack``);
``VERDICTS``     name of the module whose ``BOOK`` says what the page of verdicts shows.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from replication.papers.afm import tables as afm
from replication.papers.amp_cf import tables as amp_cf
from replication.papers.attentive_ncf import tables as attentive_ncf
from replication.papers.common import Table, check_known

PAPERS: dict[str, ModuleType] = {"amp_cf": amp_cf, "attentive_ncf": attentive_ncf, "afm": afm}
TABLES: dict[str, Table] = {
    name: table for paper in PAPERS.values() for name, table in paper.TABLES.items()
}
FIRST = "amp_cf/table2"  # what ``audit`` picks from where no table is named


def paper_of(table: str) -> ModuleType:
    """The ``tables`` module of the paper that a table belongs to.

    Raises:
        ReplicationError: no such table.
    """
    check_known("table", [table], TABLES)
    return PAPERS[table.split("/")[0]]


def page_module(name: str) -> ModuleType:
    """The module that a paper's ``FRONT`` or ``VERDICTS`` names.

    Imported when it is asked for: pages need this module themselves.
    """
    return import_module(name)
