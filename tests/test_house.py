"""Rules of the house that no linter knows."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

from headframe.cli.main import EXTRAS, VERBS

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "headframe"
MODULES = sorted(PACKAGE.rglob("*.py"))
OURS = [
    *MODULES,
    *sorted((ROOT / "tests").rglob("*.py")),
    *sorted((ROOT / "scripts").glob("*.py")),
]


def names(paths):
    return [str(path.relative_to(ROOT)) for path in paths]


@pytest.mark.parametrize("path", OURS, ids=names(OURS))
def test_a_file_is_read_in_one_sitting(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 500


@pytest.mark.parametrize("path", OURS, ids=names(OURS))
def test_an_exception_to_a_rule_has_its_reason_beside_it(path):
    rule = re.compile(r"#\s*(noqa|type:\s*ignore|pragma:)")
    reasoned = re.compile(
        r"#\s*(noqa: [A-Z0-9, ]+|type: ignore\[[\w, -]+\]|pragma: \w+( \w+)?)\s*[-#]\s*\w+"
    )
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if rule.search(line) and "re.compile" not in line and 'r"' not in line:
            assert reasoned.search(line), f"line {number}: {line.strip()}"


@pytest.mark.parametrize("path", MODULES, ids=names(MODULES))
def test_no_room_has_a_junk_drawer(path):
    assert not {"utils", "common", "helpers", "misc"} & set(path.with_suffix("").parts[-3:])


@pytest.mark.parametrize("path", MODULES, ids=names(MODULES))
def test_every_module_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", MODULES, ids=names(MODULES))
def test_only_weights_reads_checkpoints(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    loads = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
    ]
    if path == PACKAGE / "engine" / "weights.py":
        keywords = {k.arg: ast.unparse(k.value) for node in loads for k in node.keywords}
        assert keywords["weights_only"] == "True"
    else:
        assert not loads


@pytest.mark.parametrize("path", MODULES, ids=names(MODULES))
def test_nothing_is_left_for_later_or_tied_to_a_machine(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\b(TODO|FIXME|XXX)\b|/work/|/home/|/root/|pythonhosted", text)


def test_the_readme_names_every_verb_and_every_room():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for verb in VERBS:
        assert f"| `{verb}" in readme
    for room in PACKAGE.iterdir():
        if (room / "__init__.py").is_file():
            assert f"src/headframe/{room.name} " in readme


def test_the_site_has_a_page_for_every_room():
    for room in PACKAGE.iterdir():
        if (room / "__init__.py").is_file() and room.name != "cli":
            page = (ROOT / "docs" / "api" / f"{room.name}.md").read_text(encoding="utf-8")
            assert f"<!-- modules of {room.name} -->" in page


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    docs = ROOT / "docs"
    for page in docs.rglob("*.md"):
        assert f": {page.relative_to(docs).as_posix()}" in navigation


def test_decisions_are_numbered_without_gaps_and_short():
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [page.name[:3] for page in pages] == [f"{n:03d}" for n in range(1, len(pages) + 1)]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"# {page.name[:3]} ")
        assert len(text.split()) <= 350, page.name


def test_versions_are_pinned_without_naming_a_host():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.!]+", pin) for pin in pins)
    pinned = {pin.split("==")[0] for pin in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [want for wants in project["optional-dependencies"].values() for want in wants]
    wanted = [*project["dependencies"], *extras]
    plain = {re.split(r"[\[<>=!~; ]", want)[0].lower().replace("_", "-") for want in wanted}
    assert plain - pinned == {"headframe"}


def test_a_missing_extra_is_one_that_exists():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(EXTRAS.values()) <= set(project["optional-dependencies"])
