"""The documentation: links resolve, code compiles and runs, the reference is what the code says."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import StartServer
from tests.services import ROOT

DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md"])

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block of code."""

    page: Path
    language: str
    code: str

    @property
    def path(self) -> str:
        """The file that it stands for, which its first line names."""
        first = self.code.partition("\n")[0]
        return first.removeprefix("# ") if re.fullmatch(r"# [\w/]+\.py", first) else ""


def blocks(page: Path) -> list[Block]:
    return [Block(page, language, code) for language, code in BLOCK.findall(page.read_text())]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = BLOCK.sub("", page.read_text())
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(text))
    return {each.replace(" ", "-") for each in words}


# The reference


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["api.md", "settings.md"])
def test_the_reference_is_what_the_code_says(generator: ModuleType, name: str) -> None:
    assert (DOCS / "reference" / name).read_text() == generator.PAGES[name](), "run: make docs"


# Links


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_to_a_file_resolves(page: Path) -> None:
    for target in LINK.findall(BLOCK.sub("", page.read_text())):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{name_of(page)} links to {target}, which is not there"
        if anchor:
            assert anchor in anchors(linked), f"{name_of(page)} links to {target}, and there is no such heading"


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent == DOCS / "how-to"], ids=name_of)
def test_every_how_to_is_in_the_index(page: Path) -> None:
    assert f"(how-to/{page.name})" in (DOCS / "index.md").read_text()


def test_the_walk_through_the_code_names_files_that_exist() -> None:
    there = {path.name for path in (ROOT / "streamable_http").rglob("*.py")}
    named = re.findall(r"`(?:[\w]+/)*(\w+\.py)`", (DOCS / "follow-one-request.md").read_text())
    assert set(named) - there == set()


# Code


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_of_python_compiles(page: Path) -> None:
    for block in blocks(page):
        if block.language == "python":
            compile(block.code, name_of(page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """Yield the commands of a console block, and what the page shows as their output."""
    for each in re.split(r"^\$ ", block.code, flags=re.MULTILINE)[1:]:
        command, *shown = each.splitlines()
        # A command goes on while its quotes are open.
        while command.count("'") % 2:
            command += "\n" + shown.pop(0)
        yield command, "\n".join(shown)


class Reader:
    """Does what the tutorial says, in an empty folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def write(self, block: Block) -> None:
        path = self.folder / block.path
        before = path.read_text() + "\n\n" if path.name == "settings.py" else ""
        path.write_text(before + block.code)

    def run(self, command: str) -> str:
        environment = {"PATH": self.path, "PYTHONPATH": str(self.folder), "HOME": str(self.folder)}
        done = subprocess.run(
            ["bash", "-ec", command],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout


TUTORIAL = DOCS / "tutorial.md"

NOT_RUN = (
    # The tests' environment has it already.
    "python3 -m venv",
    ". .venv",
    "pip install",
    # A test of its own.
    "python manage.py runserver",
    "python client.py",
    # Asks in a terminal.
    "python manage.py createsuperuser",
    # Programs that need not be here.
    "claude ",
    "curl ",
    "echo ",
    "cat ",
)


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """The project that the tutorial ends with, before its client calls."""
    reader = Reader(tmp_path_factory.mktemp("tutorial"))
    for block in blocks(TUTORIAL):
        if block.language == "python":
            reader.write(block)
        elif block.language == "console":
            for command, shown in commands(block):
                if not command.startswith(NOT_RUN):
                    assert shown in reader.run(command)
    return reader


@pytest.mark.acceptance
def test_the_tutorial_shows_what_comes_out(tutorial: Reader, server_process: StartServer) -> None:
    server = server_process(
        "mysite.asgi:application",
        server="daphne",
        environment={"PYTHONPATH": str(tutorial.folder), "DJANGO_SETTINGS_MODULE": "mysite.settings"},
    )
    client = tutorial.folder / "client.py"
    client.write_text(client.read_text().replace("http://127.0.0.1:8000", server.url))
    consoles = [block for block in blocks(TUTORIAL) if block.language == "console"]
    shown = {command: shown for block in consoles for command, shown in commands(block)}
    assert tutorial.run("python client.py").strip() == shown["python client.py"]


@pytest.mark.acceptance
def test_the_code_of_the_how_tos_runs_in_the_project_of_the_tutorial(tutorial: Reader) -> None:
    for number, page in enumerate(sorted((DOCS / "how-to").glob("*.md"))):
        folder = tutorial.folder / f"how_to_{number}"
        folder.mkdir()
        for at, block in enumerate(each for each in blocks(page) if each.language == "python" and each.path):
            (folder / f"{at:02}-{block.path.replace('/', '-')}").write_text(block.code)
    (tutorial.folder / "run_blocks.py").write_text(RUN_BLOCKS)
    tutorial.run("python run_blocks.py how_to_*")


@pytest.mark.acceptance
def test_the_tests_of_the_how_to_pass(tutorial: Reader, tmp_path: Path) -> None:
    reader = Reader(shutil.copytree(tutorial.folder, tmp_path / "project"))
    for block in blocks(DOCS / "how-to" / "test.md"):
        if block.language == "python":
            reader.write(block)
    reader.run("python -W error::RuntimeWarning manage.py test")


RUN_BLOCKS = """
import copy
import os
import sys
from pathlib import Path

from django.core.checks import ERROR

from mysite import settings as project

project.INSTALLED_APPS += ["rest_framework", "rest_framework.authtoken"]
os.environ |= {
    "DJANGO_SETTINGS_MODULE": "mysite.settings",
    "SECRET_KEY": "a key",
    "DATABASE_PASSWORD": "a password",
    "REDIS_URL": "redis://127.0.0.1:6379/0",
}

import django

django.setup()

from django.test import override_settings
from streamable_http import checks


def run(block, settings):
    code = compile(block.read_text(), str(block), "exec")
    if "-mysite-settings" not in block.name and "-mysite-production" not in block.name:
        exec(code, {"__name__": block.stem})
        return
    exec(code, settings)
    chosen = {name: settings[name] for name in ("STREAMABLE_HTTP", "CHANNEL_LAYERS", "CACHES") if name in settings}
    with override_settings(**chosen):
        errors = [message for message in checks.check(None) + checks.check_deploy(None) if message.level >= ERROR]
    assert not errors, (block, errors)


for folder in sys.argv[1:]:
    settings = {name: copy.deepcopy(value) for name, value in vars(project).items() if name.isupper()}
    for block in sorted(Path(folder).glob("*.py")):
        run(block, settings)
"""
"""Runs the blocks of each page in their order: those of settings on top of the project's, and the checks with them."""
