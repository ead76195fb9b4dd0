"""The demo project with the strictest policy that a project may set."""

from demo_project.settings import *  # noqa: F403
from demo_project.settings import MIDDLEWARE

MIDDLEWARE = ["tests.browser.policy.StrictPolicy", *MIDDLEWARE]
