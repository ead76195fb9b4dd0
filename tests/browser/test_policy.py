"""The tests' own trap: what the policy forbids is seen."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from tests.browser.conftest import Site, problems_of

pytestmark = pytest.mark.acceptance


def test_a_violation_of_the_policy_is_noticed(chromium: Browser, site: Site) -> None:
    context = chromium.new_context()
    page = context.new_page()
    problems = problems_of(page)
    page.goto(site.url("/admin/login/"))
    assert problems == []
    page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "document.title = 'pwned'";
            document.body.append(script);
        }"""
    )
    assert page.title() != "pwned"
    context.close()
    assert any("Content Security Policy" in problem for problem in problems)
