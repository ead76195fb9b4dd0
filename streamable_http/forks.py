"""What a forked worker must not inherit."""

from __future__ import annotations

import os
from collections.abc import Callable


def after_in_child(forget: Callable[[], object]) -> None:
    """Have something called in each child process before anything else; Windows has no fork, and so no child."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=forget)
