"""Pages are complete, current and link to what exists."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

from atalla_mlir.passes import pass_names

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*ROOT.glob("*.md"), *DOCS.glob("*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert not missing


def test_the_index_lists_every_page() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    unlisted = [page.name for page in DOCS.glob("*.md") if page.name != "index.md" and f"]({page.name})" not in index]
    assert not unlisted


def test_generated_pages_are_current(capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    status = module.main(["--check"])
    assert status == 0, capsys.readouterr().out


def test_make_help_names_every_target() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony is not None
    assert set(phony[1].split()) == set(re.findall(r"^([a-z-]+):.*## ", text, re.MULTILINE))


def test_the_readme_shows_the_stages_in_their_order() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    numbers = re.findall(r"^\| (\d) [a-z ]+ \|", readme, re.MULTILINE)
    assert numbers == [str(number) for number in range(1, 9)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_tools_and_passes_that_pages_name_exist(page: Path) -> None:
    named = set(
        re.findall(r"\b(?:atalla-[a-z0-9]+(?:-[a-z0-9]+)*|convert-\w+-to-\w+)\b", page.read_text(encoding="utf-8"))
    )
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert not named - {*scripts, *pass_names(), "atalla-mlir"}
