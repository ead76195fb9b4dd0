"""A browser, and the demo project as it is served to it.

The browser is Chromium: ``CHROMIUM`` names it, or it is found on PATH. Without one these tests are skipped.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests import services
from tests.conftest import StartDemo
from tests.services import ServerProcess

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

# Without a network of its own: what it fetches in the background would come to the tests' servers as errors.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]

PATIENCE_MS = 30_000
"""For what the page shows only after a server, a database or a timer has done something."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The browser, started once for a module.

    Not for longer: as long as it is driven, Playwright keeps an event loop running in the tests' thread, and the tests
    of other modules have loops of their own.
    """
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no Chromium: set CHROMIUM, or have one of {', '.join(NAMES)} on PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


Picture = Callable[[Page, str], None]
"""Keeps what a page looks like, where ``PICTURES`` names a directory; the docs' pictures are made so."""


@pytest.fixture
def picture() -> Picture:
    directory = os.environ.get("PICTURES")

    def keep(page: Page, name: str) -> None:
        if directory:
            page.screenshot(path=Path(directory) / f"{name}.png")

    return keep


@dataclass
class Site:
    """The demo project, served, with one user who may do everything."""

    server: ServerProcess
    data: Path
    username: str
    password: str

    @property
    def mcp_url(self) -> str:
        return f"{self.server.url}/mcp"

    def url(self, path: str) -> str:
        return f"{self.server.url}{path}"

    def manage(self, *arguments: str, **environment: str) -> str:
        """Run a management command on the site's data and return what it printed."""
        return services.manage(*arguments, environment={"DEMO_DATA_DIR": str(self.data), **environment})


@pytest.fixture
def site(demo_server: StartDemo, tmp_path: Path) -> Site:
    """The demo project on databases of the test's own, under the strictest policy."""
    server = demo_server(environment={"DJANGO_SETTINGS_MODULE": "tests.browser.settings"})
    made = Site(server, tmp_path / "demo_data", "boss", secrets.token_urlsafe(12))
    made.manage(
        "createsuperuser",
        "--noinput",
        "--username=boss",
        "--email=boss@example.com",
        DJANGO_SUPERUSER_PASSWORD=made.password,
    )
    return made


def _open(chromium: Browser, site: Site, **options: object) -> BrowserContext:
    context = chromium.new_context(viewport={"width": 1400, "height": 1000}, **options)  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE_MS)
    log_in(context.new_page(), site)
    return context


def log_in(page: Page, site: Site) -> None:
    """Log in as a person does."""
    page.goto(site.url("/admin/"))
    page.get_by_label("Username").fill(site.username)
    page.get_by_label("Password").fill(site.password)
    page.get_by_role("button", name="Log in").click()
    page.get_by_text("Site administration").first.wait_for()


def problems_of(page: Page) -> list[str]:
    """Return a list to which everything is added that the browser complains about: scripts, policy, resources."""
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    return problems


@pytest.fixture
def expected_problems() -> list[str]:
    """What the browser will complain about in this test; the test adds to it."""
    return []


@pytest.fixture
def page(chromium: Browser, site: Site, expected_problems: list[str]) -> Iterator[Page]:
    """A page of somebody who is logged in. In the end nothing was blocked by the policy, and no script failed."""
    context = _open(chromium, site)
    problems = problems_of(context.pages[0])
    yield context.pages[0]
    context.close()
    assert [problem for problem in problems if problem not in expected_problems] == []


@pytest.fixture
def plain_page(chromium: Browser, site: Site) -> Iterator[Page]:
    """A page of somebody who is logged in, without JavaScript."""
    context = _open(chromium, site, java_script_enabled=False)
    yield context.pages[0]
    context.close()


@pytest.fixture
def dark_page(chromium: Browser, site: Site) -> Iterator[Page]:
    """A page of somebody who is logged in and likes it dark."""
    context = _open(chromium, site, color_scheme="dark")
    yield context.pages[0]
    context.close()
