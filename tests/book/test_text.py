"""What the pages that are written by hand say is what the code does."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from replication import cli, compare
from replication.claims import ALPHA, Evidence
from replication.data import cil
from replication.folds import INNER_FOLDS
from replication.papers.afm import experiments as afm
from replication.papers.afm.rows import READINGS
from replication.papers.amp_cf import experiments
from replication.papers.amp_cf.model import AMPConfig
from replication.papers.amp_cf.rows import ROWS, draw_amp, draw_training, row
from replication.papers.attentive_ncf import claims as attentive_claims
from replication.papers.attentive_ncf import experiments as attentive
from replication.papers.attentive_ncf.claims import SIZES
from replication.papers.attentive_ncf.model import HIDDEN, TABLE_ITEMS, movie_batch
from replication.papers.attentive_ncf.rows import row as attentive_row
from replication.papers.rating_search import CONTINUED
from replication.protocols import N_CANDIDATE_NEGATIVES, NCF_CONSUMED_NEGATIVES, PROTOCOLS

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
PAGES = sorted(
    path for path in BOOK.rglob("*.md") if "_build" not in path.parts and "_ext" not in path.parts
)


def text_of(name: str) -> str:
    """A page with its line breaks as spaces."""
    return " ".join((BOOK / name).read_text(encoding="utf-8").split())


def default(function: object, name: str) -> object:
    return inspect.signature(function).parameters[name].default  # type: ignore[arg-type]


CONFIG, NCF = AMPConfig(), row("ncf").start
TABLE2 = attentive_row("attentive-mlp2").start
PRINTED = compare.published_values(compare.load_published("attentive_ncf"))
CONSTANT = PRINTED["text", "constant", "cil", "RMSE"]
NARROW, DEEP = (
    "-".join(map(str, dict(attentive.VARIANTS[name].changes)["hidden"]))
    for name in ("mlp2-narrow", "mlp2-deep")
)
PLAIN = "-".join(map(str, HIDDEN["MLP2"]))
# The models with three seeds as a sentence names them, from the rows that say how many they need.
THREE = " and ".join(", ".join(r.name for r in ROWS.values() if r.seeds == 3).rsplit(", ", 1))
EXPECTED = {
    "protocol.md": [
        f"{attentive.N_TRIALS} trials of at most {attentive.TRIAL_EPOCHS} epochs",
        f"the {CONTINUED} best are run again with up to {attentive.LONGER_EPOCHS} epochs",
        f"{afm.N_TRIALS} trials for every model with something to tune, with up to "
        f"{afm.TRIAL_EPOCHS['ml-1m']} epochs on MovieLens 1M",
        f"cuts off the {CONTINUED} best are run again with up to {afm.LONGER_EPOCHS} epochs",
        f"allow for {({9: 'nine'})[len(READINGS)]} readings, apart from the optimiser",
        f"{len(READINGS) * afm.N_TRIALS} trials stand behind it where {afm.N_TRIALS} stand behind",
        f"an inner {({10: 'tenth'})[INNER_FOLDS]} of the training",
        f"batches of {CONFIG.batch_size} positives with {CONFIG.n_negatives} negatives for each",
        f"stops after {CONFIG.patience} epochs in a row",
        f"after {CONFIG.max_epochs} epochs at the latest, "
        f"{experiments.MAX_EPOCHS['ml-1m']} on MovieLens 1M and "
        f"{experiments.MAX_EPOCHS['pinterest']} on Pinterest (pretraining too), "
        f"{row('deep-icf').max_epochs} for DeepICF+a and {row('conv-ncf').max_epochs} for ConvNCF",
        f"**same number of trials**: {experiments.N_TRIALS} for a model and data set",
        f"AMP draws {({5: 'five'})[len(draw_amp(np.random.default_rng(0)))]} values at once",
        f"a trial of MF draws {({2: 'two'})[len(draw_training(np.random.default_rng(0)))]};",
        f"The other {experiments.N_TRIALS - 1} are drawn at random",
        f"under `{experiments.TUNING_PROTOCOL}` with seed 0",
        f"A trial on MovieLens 1M lasts at most {experiments.TUNING_EPOCHS['ml-1m']} epochs, on "
        f"Pinterest {experiments.TUNING_EPOCHS['pinterest']}; a trial of NCF "
        f"{row('ncf').trial_epochs}, of DeepICF+a {row('deep-icf').trial_epochs}, of ConvNCF "
        f"{row('conv-ncf').trial_epochs}.",
        f"| learning rate | {CONFIG.learning_rate:g} |",
        f"| weight decay | {CONFIG.weight_decay:g} |",
        f"| $\\alpha$ | {CONFIG.alpha:g} |",
        f"| $\\lambda_p$, $\\lambda_n$ | {CONFIG.lambda_p:g} |",
        f"above the {CONFIG.lambda_p * CONFIG.batch_size:g} that it amounts to",
        f"**{N_CANDIDATE_NEGATIVES} sampled items**",
        f"Of these {6040 * N_CANDIDATE_NEGATIVES:,}, exactly {NCF_CONSUMED_NEGATIVES}",
        f"Each of {default(compare.bootstrap_interval, 'draws'):,} draws",
        f"{100 * float(str(default(compare.bootstrap_interval, 'level'))):.0f} % percentile",
        f"p-value is below {ALPHA:g} after Holm",
        f"about {math.sqrt(0.73 * 0.27 / 610):.3f} at $p = 0.73$ and $U = 610$",
        f"must lie within {cli.TOLERANCE_ELSEWHERE:g}",
        *(f"| `{name}` |" for name in PROTOCOLS),
        f"{THREE} are the named exception, with three, and a model that draws nothing "
        "(MostPop, ItemKNN, EASE$^R$) has one run",
    ],
    "amp_cf/baselines.md": [
        f"Embeddings have {row('conv-ncf').start.dimension} dimensions",
        f"AISP's vectors are no embeddings and have {row('aisp-2').start.components}.",
        f"items are the {row('aisp-4').start.components} leading principal components",
        f"have {', '.join(map(str, NCF.widths[:-1]))} and {NCF.widths[-1]} units above MLP "
        f"embeddings of {NCF.widths[0] // 2}",
        f"up to {NCF.pretrain_epochs} epochs",
        f"batch of {row('conv-ncf').start.batch_size}, penalties",
        f"after {row('deep-icf').start.pretrain_epochs} epochs",
        f"a history of more than {row('deep-icf').start.history_cap} items is represented by "
        f"{row('deep-icf').start.history_cap} of them",
        f"of which {row('direc').start.n_candidates_picked} are picked; for lists of "
        f"{row('direc').start.n_catalogue_picked}, the {row('direc').start.pool} best",
    ],
    "amp_cf/deviations.md": [
        f"({CONFIG.alpha:g}, {CONFIG.lambda_p:g}, {CONFIG.lambda_n:g}) and "
        f"{experiments.N_TRIALS - 1} random draws",
        f"best of the {experiments.N_TRIALS} trials on validation",
        f"{CONFIG.max_epochs}; {experiments.MAX_EPOCHS['ml-1m']} on MovieLens 1M and "
        f"{experiments.MAX_EPOCHS['pinterest']} on Pinterest "
        f"({experiments.TUNING_EPOCHS['ml-1m']} and {experiments.TUNING_EPOCHS['pinterest']} in "
        f"their trials), {row('deep-icf').max_epochs} for DeepICF+a and "
        f"{row('conv-ncf').max_epochs} for ConvNCF; a trial of NCF {row('ncf').trial_epochs}, of "
        f"DeepICF+a {row('deep-icf').trial_epochs}, of ConvNCF {row('conv-ncf').trial_epochs} ",
        f"at {CONFIG.batch_size} pairs a batch each $\\lambda$ counts {CONFIG.batch_size}-fold",
        f"{NCF_CONSUMED_NEGATIVES} of the {6040 * N_CANDIDATE_NEGATIVES:,} published negatives",
        experiments.TUNING,
    ],
    "attentive_ncf/index.md": [
        f"{sum(cil.HISTOGRAM):,} ratings {cil.LOWEST} to {cil.HIGHEST} of {SIZES[1]:,} movies by "
        f"{SIZES[0]:,} users",
        f"a random {TABLE2.context_train} of the user's other movies in training and "
        f"{TABLE2.context_test} in testing",
    ],
    "attentive_ncf/deviations.md": [
        f"batches of {TABLE2.batch_size:,} in the first trial; nine random draws",
        f"the best of the ten trials on an inner split of fold 0, and of a second round that "
        f"continues {({3: 'three'})[CONTINUED]} of those cut off, for each model | every trial is "
        f"in `results/{attentive.TUNING}.jsonl`",
        f"has more than {TABLE_ITEMS:,} movies, each context gathers",
        f"An {({8: 'eighth'})[attentive.COMPANION_BATCH]} of those of the paper's data",
        f'"The error is only {CONSTANT:g}"',
        f"batches of {TABLE2.pretrain_batch} users and of {movie_batch(TABLE2, SIZES[1])} movies",
        f"for {TABLE2.pretrain_epochs} epochs at most",
        f"without a better one for {({4: 'four'})[TABLE2.pretrain_patience]}",
        f"{TABLE2.max_epochs} at most",
        f"| {PLAIN}, {NARROW}, {DEEP} | {PLAIN} |",
        f"batches of {TABLE2.pretrain_batch} users",
        f"normal, standard deviation {TABLE2.initial_scale:g}",
        f"one draw of {TABLE2.context_test}",
        f"{TABLE2.context_train} drawn, all",
    ],
    "sources/attentive_ncf/variants.md": [
        f"The main cells have {PLAIN}",
        f"drawing {TABLE2.context_train} context movies",
        "One context in fifty is emptied",
    ],
    "sources/attentive_ncf/verdicts.md": [
        f"lies within ±{attentive_claims.NUMBER_MARGIN:g}",
        f"better by at least {attentive_claims.GAIN_MARGIN:g}",
        f"but a loss of {attentive_claims.GAIN_MARGIN:g} is excluded",
        f"an established gain of at least {attentive_claims.GAIN_MARGIN:g}",
        "the spread of five seeds",
    ],
}


@pytest.mark.parametrize(("page", "words"), [(p, w) for p, all_ in EXPECTED.items() for w in all_])
def test_the_page_says_what_the_code_does(page: str, words: str) -> None:
    assert words in text_of(page)


def test_the_numbers_of_the_second_paper_in_words_are_those_of_the_code() -> None:
    assert attentive.N_TRIALS == 10
    assert dict(attentive.VARIANTS["default-user"].changes)["empty_share"] == 1 / 50
    assert attentive.VARIANTS["seeds"].runs == 5 and attentive.VARIANTS["bagged"].runs == 10
    assert attentive_claims.RELATIVE_MARGIN == 1 / 20
    assert TABLE2.learning_rate == 1e-3 and TABLE2.weight_decay == 0  # the first trial


def test_the_models_of_the_first_paper_have_the_seeds_and_sizes_that_the_pages_say() -> None:
    others = [r for r in ROWS.values() if r.seeds != 3 and not r.deterministic]
    assert {r.seeds for r in others} == {5} and "A cell of Table 2 has five seeds" in text_of(
        "protocol.md"
    )
    assert {r.name for r in ROWS.values() if r.deterministic} == {"MostPop", "ItemKNN", "EASE^R"}
    sizes = [
        getattr(r.start, name)
        for r in ROWS.values()
        for name in ("dimension", "factors")
        if hasattr(r.start, name)
    ]
    assert set(sizes) == {row("conv-ncf").start.dimension}


def test_fewer_seeds_than_the_page_says_are_no_evidence() -> None:
    assert "Fewer than three seeds are no evidence" in text_of("protocol.md")
    assert default(Evidence.__init__, "min_seeds") == 3


def test_the_ranges_of_the_search_are_those_of_the_code() -> None:
    found = {
        name: re.search(rf"\| {re.escape(name)} \| [^|]+ \|[^|]*?([\d.]+) to ([\d.]+)[,\s]", text)
        for text in [text_of("protocol.md")]
        for name in ("learning rate", "weight decay", "$\\alpha$", "$\\lambda_p$, $\\lambda_n$")
    }
    trials = [experiments.trial_config("amp-2", trial) for trial in range(1, 1500)]
    drawn = {
        "learning rate": [t.learning_rate for t in trials],
        "weight decay": [t.weight_decay for t in trials if t.weight_decay],
        "$\\alpha$": [t.alpha for t in trials],
        "$\\lambda_p$, $\\lambda_n$": [x for t in trials for x in (t.lambda_p, t.lambda_n)],
    }
    for name, values in drawn.items():
        match = found[name]
        assert match, f"protocol.md states no range for {name}"
        low, high = float(match[1]), float(match[2])
        assert low <= min(values) < low * 1.05 and high / 1.05 < max(values) <= high, name
    assert "0 in half of the trials" in text_of("protocol.md")
    assert sum(t.weight_decay == 0 for t in trials) == pytest.approx(len(trials) / 2, rel=0.1)


@pytest.mark.parametrize(
    ("model", "line", "names"),
    [
        ("item-knn", "ItemKNN", ("neighbours", "shrink")),
        ("ease", "EASE", ("l2",)),
        ("ials", "iALS", ("unobserved_weight", "regularization")),
        ("ncf", "NCF", ("learning_rate", "pretrain_epochs")),
        ("conv-ncf", "ConvNCF", ("learning_rate", "l2_embeddings", "pretrain_epochs")),
        ("deep-icf", "DeepICF", ("learning_rate", "beta", "l2_embeddings")),
    ],
)
def test_the_ranges_of_the_simple_models_are_those_of_the_code(
    model: str, line: str, names: tuple[str, ...]
) -> None:
    (cells,) = re.findall(rf"\| {line}[^|]*\|([^|]*)\|([^|]*)\|", text_of("protocol.md"))
    starts = [float(text) for text in re.findall(r"[\d.]+", cells[0].replace("1,000", "1000"))]
    assert starts == [getattr(row(model).start, name) for name in names]
    ranges = re.findall(r"([\d.,]+) to ([\d.,]*\d)", cells[1])
    trials = [experiments.trial_config(model, trial) for trial in range(1, 2000)]
    assert len(ranges) == len(names)
    for name, (low, high) in zip(names, ranges, strict=True):
        values = [getattr(trial, name) for trial in trials if getattr(trial, name)]
        first, last = (float(text.replace(",", "")) for text in (low, high))
        assert first <= min(values) <= first * 1.05 + 1 and last / 1.05 < max(values) <= last, name


def test_every_model_has_the_same_draws_and_the_first_is_the_start() -> None:
    for trial in range(experiments.N_TRIALS):
        two, eight = (experiments.trial_config(name, trial) for name in ("amp-2", "amp-8"))
        assert dataclasses.replace(two, personas=8) == eight
        single = experiments.trial_config("mf", trial)
        assert (single.learning_rate, single.weight_decay) == (two.learning_rate, two.weight_decay)
    assert experiments.trial_config("amp-2", 0) == row("amp-2").start


# ---------------------------------------------------------------------------------------------
# References
# ---------------------------------------------------------------------------------------------


def entries() -> dict[str, str]:
    """References by key."""
    text = (BOOK / "references.bib").read_text(encoding="utf-8")
    found = re.findall(r"^@(\w+)\{([^,]+),\n(.*?)^\}", text, re.MULTILINE | re.DOTALL)
    keys = [key for _, key, _ in found]
    assert len(keys) == len(set(keys)) == text.count("\n@") + text.startswith("@")
    return {key: f"{kind}\n{body}" for kind, key, body in found}


def test_every_citation_has_a_reference() -> None:
    known = entries()
    cited = {
        key.strip()
        for path in PAGES
        for keys in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", path.read_text(encoding="utf-8"))
        for key in keys.split(",")
    }
    assert {"barkan2020ampcf", "he2017ncf"} <= cited <= set(known)


def test_every_data_set_has_a_reference() -> None:
    manifest = tomllib.loads((ROOT / "data_scripts/manifest.toml").read_text(encoding="utf-8"))
    named = {entry["citation"] for entry in manifest["sets"].values()}
    assert named <= set(entries())


def test_references_are_whole() -> None:
    for key, body in entries().items():
        wanted = ["title", "year"]
        wanted += ["author"] if not body.startswith("misc") or "author" in body else []
        if body.startswith("inproceedings"):
            wanted.append("booktitle")
        if body.startswith("article"):
            wanted += ["journal", "volume"]
        for name in wanted:
            assert re.search(rf"^\s*{name}\s*=\s*\{{.+\}}", body, re.MULTILINE), f"{key}: {name}"
        for doi in re.findall(r"doi\s*=\s*\{(.+)\}", body):
            assert re.fullmatch(r"10\.\d{4,}/\S+", doi), key


# ---------------------------------------------------------------------------------------------
# What no page may hold
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(BOOK).as_posix())
def test_a_page_names_no_place_of_one_machine(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"(?<![\w.])/(work|home|root|tmp)/|file://|\.\./shared", text)


def test_a_source_has_its_parameters_and_its_check_first() -> None:
    for path in sorted((BOOK / "sources").rglob("*.md")):
        cells = re.findall(r"```\{code-cell\}\n(.*?)```", path.read_text("utf-8"), re.DOTALL)
        assert re.match(r":tags: \[parameters", cells[0]), f"{path.name}: parameters come first"
        names = re.findall(r"^(\w+) = ", cells[0], re.MULTILINE)
        assert all(re.search(rf"^{name} = [^#\n]+  # \S", cells[0], re.MULTILINE) for name in names)
        known = re.search(r"known=\[(.*?)\]", cells[1], re.DOTALL)
        assert known and re.findall(r'"(\w+)"', known[1]) == names, f"{path.name}: check comes next"
        code = max(cell.count("\n") for cell in cells)
        assert code <= 25, f"{path.name}: a cell of {code} lines belongs into the package"
