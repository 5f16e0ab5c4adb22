"""The files around the package agree with each other and with what they promise."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
CORE = {"numpy", "scipy", "pandas", "pyarrow", "scikit-learn", "torch", "tqdm"}
# The only modules of the package that may import an extra when they are imported.
NEEDS_AN_EXTRA = {"replication.notebooks", "replication.figures", "replication.page"}


def lock() -> dict[str, Version]:
    pins = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        match = re.fullmatch(r"([a-z0-9-]+)==([0-9a-z.]+)", line)
        assert match, f"requirements.lock: {line!r} is not name==version (no local version)"
        assert match[1] not in pins, f"requirements.lock names {match[1]} twice"
        pins[match[1]] = Version(match[2])
    return pins


def declared() -> list[Requirement]:
    lines = [*PROJECT["dependencies"], *(line for extra in EXTRAS.values() for line in extra)]
    return [Requirement(line) for line in lines]


@cache
def needed_by(name: str) -> frozenset[str]:
    """A distribution and all that it requires where it is installed now, by canonical name."""
    found, to_do = set(), [name]
    while to_do:
        current = canonicalize_name(to_do.pop())
        if current in found:
            continue
        found.add(current)
        try:
            lines = requires(current) or []
        except PackageNotFoundError:
            continue
        environment = {**default_environment(), "extra": ""}
        for requirement in map(Requirement, lines):
            if requirement.marker is None or requirement.marker.evaluate(environment):
                to_do.append(requirement.name)
    return frozenset(found)


def test_every_declared_dependency_is_pinned_to_a_version_that_it_admits() -> None:
    pins = lock()
    for requirement in declared():
        name = canonicalize_name(requirement.name)
        assert name in pins, f"{name} of pyproject.toml is not in requirements.lock"
        assert requirement.specifier.contains(pins[name]), f"{requirement} and {pins[name]}"


def test_what_the_dependencies_need_is_pinned_too() -> None:
    needed = set().union(*(needed_by(requirement.name) for requirement in declared()))
    # On Linux a build of torch for CUDA brings these; torch's own metadata pins them exactly.
    brought = {n for n in needed if n.startswith(("nvidia-", "cuda-")) or n == "triton"}
    assert needed - brought - set(lock()) == set()


def test_what_is_installed_here_is_what_the_lock_says() -> None:
    from importlib.metadata import version

    wrong = {}
    for name, pinned in lock().items():
        try:
            installed = Version(version(name)).public
        except PackageNotFoundError:
            continue  # needed on another Python only
        if installed != str(pinned):
            wrong[name] = f"{installed}, not {pinned}"
    assert not wrong, f"run `make .venv`: {wrong}"


def test_the_pins_that_the_study_rests_on() -> None:
    pins = lock()
    assert pins["torch"] == Version("2.13.0")
    assert Version("1.0.4") <= pins["jupyter-book"] < Version("2")
    assert "setuptools" in pins
    (book,) = [r for r in map(Requirement, EXTRAS["book"]) if r.name == "jupyter-book"]
    assert not book.specifier.contains("2.0") and book.specifier.contains("1.0.4")


def test_the_core_depends_on_the_seven_packages_and_no_more() -> None:
    assert {Requirement(line).name for line in PROJECT["dependencies"]} == CORE


def test_conda_users_get_the_same_versions() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    # The packages come through pip from the one list of versions; conda gives Python alone.
    assert pip == {"pip": ["--constraint requirements.lock", "--editable .[baselines,book,test]"]}
    assert [line.split("=")[0] for line in conda] == ["python", "pip"]
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(
        conda[0].split("=")[1]
    )
    install = (
        "--constraint requirements.lock --no-build-isolation --editable '.[baselines,book,test]'"
    )
    assert install in (ROOT / "Makefile").read_text()


def test_the_core_imports_with_the_core_alone() -> None:
    """Import every module of the package with all other distributions hidden."""
    allowed = set().union(*(needed_by(name) for name in CORE))
    hidden = sorted(
        module
        for module, owners in packages_distributions().items()
        if not {canonicalize_name(owner) for owner in owners} & (allowed | {"replication"})
    )
    assert {"matplotlib", "papermill", "yaml", "pytest"} <= set(hidden), "the test hides too little"
    code = f"""
import importlib, pkgutil, sys
hidden = set({hidden!r})
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"{{name}} is not of the core", name=name)
sys.meta_path.insert(0, Hide())
import replication
found = pkgutil.walk_packages(replication.__path__, "replication.")
for name in ["data_scripts.fetch", *(module.name for module in found)]:
    if name not in {sorted(NEEDS_AN_EXTRA)!r} and not name.endswith("__main__"):
        importlib.import_module(name)
        print(name)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert {"replication.training", "replication.records", "replication.cli"} <= set(
        done.stdout.split()
    )


def test_package_data_is_declared() -> None:
    declared_data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert declared_data["package-data"]["data_scripts"] == ["manifest.toml"]
    assert declared_data["package-data"]["replication"] == ["py.typed", "**/*.csv"]
    assert (ROOT / "data_scripts/manifest.toml").is_file()
    assert (ROOT / "replication/py.typed").is_file()
    assert list((ROOT / "replication").glob("papers/*/published.csv"))


def test_continuous_integration_calls_make_test() -> None:
    script = ROOT / ".ci/run"
    lines = [line for line in script.read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "set -euo pipefail"
    assert lines[-1] == "make test"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", script]).returncode == 0
    workflow = yaml.safe_load((ROOT / ".github/workflows/book.yml").read_text())
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert {"bash .ci/run", "make book"} <= {step.get("run") for step in steps}


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", *arguments],
        cwd=ROOT,
        env={**clean, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_every_target_of_the_makefile_is_documented() -> None:
    text = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    printed = make("help")
    assert printed.returncode == 0, printed.stderr
    documented = {line.split()[1] for line in printed.stdout.splitlines()}
    assert documented == set(phony.split())
    assert {"book", "test", "data", "rerun", "audit", "clean"} <= documented
    readme = (ROOT / "README.md").read_text()
    assert "make book" in readme and "make test" in readme


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.2" && exit 0\nexit 1\n', "3.9.2"),
        (None, "not on this machine"),
    ],
)
def test_an_old_python_ends_in_one_sentence(tmp_path: Path, script: str | None, found: str) -> None:
    python = tmp_path / "python3"
    if script:
        python.write_text(script)
        python.chmod(0o755)
    done = make("--always-make", f"PYTHON={python}", f"VENV={tmp_path}/venv", ".venv")
    assert done.returncode != 0
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "3.11" in sentence and found in sentence and "PYTHON=" in sentence
    assert not (tmp_path / "venv").exists()


def test_the_citation_file_names_the_study_and_the_four_papers() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors", "license", "version"} <= set(citation)
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")
    papers = citation["references"]
    assert len(papers) == 4
    for paper in papers:
        assert {"type", "title", "authors"} <= set(paper)
        assert all({"family-names", "given-names"} <= set(author) for author in paper["authors"])
    assert {paper.get("doi") for paper in papers} >= {
        "10.1145/3383313.3412226",
        "10.1145/3209978.3210083",
    }


def test_the_hooks_run_the_tools_of_the_environment() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    (local,) = [repo for repo in hooks["repos"] if repo["repo"] == "local"]
    entries = {hook["id"]: hook["entry"] for hook in local["hooks"]}
    assert set(entries) == {"ruff", "ruff-format", "mypy"}
    assert all(entry.startswith(".venv/bin/") for entry in entries.values())


@pytest.mark.parametrize(
    "name",
    ["requirements.lock", "environment.yml", "pyproject.toml", "Makefile", ".ci/run"],
)
def test_no_index_and_no_path_of_one_machine(name: str) -> None:
    text = (ROOT / name).read_text()
    assert not re.search(r"https?://|file:|--(extra-)?index-url|--find-links|\+cpu|\s/work", text)


def test_the_package_itself_is_not_ignored_by_git() -> None:
    kept = ["replication/data/interactions.py", "requirements.lock", "results/amp_cf/table2.jsonl"]
    left_out = ["data/raw/ml-100k/u.data", "_build/html/index.html", ".venv/bin/python"]
    done = subprocess.run(
        ["git", "check-ignore", "--no-index", *kept, *left_out],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == left_out
