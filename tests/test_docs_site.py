"""The site builds without a warning, pages are short, and answers are close to the first page."""

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import docs_site
import pytest

from protege.core.runs.config import all_presets

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
MOST_WORDS, LONGEST_PAGE = 25_000, 2_000
FIRST = {"README.md": ROOT / "README.md", "the site": DOCS / "index.md"}
QUESTIONS = {
    "How do I add a robot?": "robots.md#a-robot-of-your-own",
    "How do I add a task?": "new_task.md#write-the-task",
    "How do I resume a run?": "configuration.md#stopping-and-resuming",
    "How do I fit into GPU memory?": "gpu.md#memory",
    "How do I export a policy?": "deployment.md#export",
    "How do I train the Unitree G1?": "gpu.md#the-unitree-g1",
    "How do I use my own BVH file?": "motion_files.md#bvh",
    "How do I test pushes?": "robustness.md#push-test",
    "How do I train on several GPUs?": "scaling.md#one-machine",
    "How do I cite this?": "install.md#cite",
}
"""Questions of newcomers, and the section that answers each."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    place = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(place)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return place


def test_the_site_has_every_page_and_no_dead_links(site: Path) -> None:
    expected = [*docs_site.pages(), *docs_site.COPIES, *(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))]
    for name in expected:
        page = Path(name)
        folder = page.parent if page.stem in ("index", "README") else page.with_suffix("")
        assert (site / folder / "index.html").exists(), name


def test_the_python_reference_has_signatures_and_docstrings(site: Path) -> None:
    page = (site / "reference/api/core/index.html").read_text()
    assert 'id="protege.core.runs.load_policy.load_policy"' in page
    assert len(re.findall(r'class="doc doc-object doc-function"', page)) > 50


def test_every_key_every_preset_and_every_command_has_an_entry() -> None:
    pages = docs_site.pages()
    reference = docs_site.config_reference
    keys = {key for _, prefix, cls in reference.PARTS for key, _, _ in reference.rows(prefix, cls)}
    assert [key for key in keys if f"| `{key}` |" not in pages["reference/keys.md"]] == []
    assert "|  |" not in pages["reference/keys.md"]  # a key without a meaning
    assert [name for name, _ in all_presets() if f"| `{name}` |" not in pages["reference/presets.md"]] == []
    commands = dict(docs_site.commands(docs_site.umbrella, "protege"))
    assert len(commands) > 30
    for path, context in commands.items():
        [entry] = re.findall(rf"^## {path}\n(.*?)(?=^## |\Z)", pages["reference/cli.md"], re.MULTILINE | re.DOTALL)
        options = [param for param in context.command.params if isinstance(param, click.Option) and not param.hidden]
        assert [param.opts for param in options if not any(name in entry for name in param.opts)] == [], path


@pytest.mark.parametrize("package", docs_site.API)
def test_the_modules_of_the_reference_exist_and_have_docstrings(package: str) -> None:
    for name in docs_site.API[package].split():
        assert import_module(f"protege.{package}.{name}").__doc__, name


def test_every_training_preset_is_described() -> None:
    trained = {name for name, _ in all_presets() if not name.startswith("pipeline/")}
    assert set(docs_site.preset_reference.ABOUT) == trained


def test_the_documentation_stays_short() -> None:
    words = {page.relative_to(ROOT).as_posix(): len(page.read_text().split()) for page in PAGES}  # as `wc -w` counts
    assert {page: count for page, count in words.items() if count > LONGEST_PAGE} == {}
    assert sum(words.values()) <= MOST_WORDS
    assert words["README.md"] <= 900


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """File and anchor of each link of a page."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not re.match(r"[a-z]+:", target):
            file, _, anchor = target.partition("#")
            yield (page.parent / file).resolve() if file else page, anchor


@pytest.mark.parametrize("first", FIRST)
@pytest.mark.parametrize("question", QUESTIONS)
def test_an_answer_is_at_most_two_clicks_away(first: str, question: str) -> None:
    file, anchor = QUESTIONS[question].split("#")
    headings = re.findall(r"^#+ (.*)$", (DOCS / file).read_text(), re.MULTILINE)
    assert anchor in [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    one_click = [page for page, _ in links(FIRST[first]) if page.suffix == ".md"]
    assert any((DOCS / file, anchor) in links(page) for page in [FIRST[first], *one_click])


def test_the_first_page_lists_these_questions() -> None:
    listed = re.findall(r"^\| (.*\?) \| \[.*?\]\((.*?)\) \|$", (DOCS / "index.md").read_text(), re.MULTILINE)
    assert dict(listed) == QUESTIONS


def excluded_words() -> list[str]:
    """Identifiers in the first column of the glossary's table of words that are not used."""
    avoided = (DOCS / "glossary.md").read_text().split("## Words that we avoid")[1]
    cells = re.findall(r"^\|([^|]*)\|[^|]*\|$", avoided, re.MULTILINE)
    return [word for cell in cells for word in re.findall(r"`(\w+)`", cell)]


def test_no_page_and_no_code_uses_words_that_the_glossary_excludes() -> None:
    assert excluded_words()
    files = [*PAGES, *(file for kind in ("py", "yaml") for file in (ROOT / "packages").rglob(f"*.{kind}"))]
    excluded = re.compile(rf"\b({'|'.join(excluded_words())})\b")
    found = {file.name for file in files if excluded.search(file.read_text())}
    assert found == {"glossary.md"}
