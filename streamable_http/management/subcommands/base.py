"""What a subcommand is."""

from __future__ import annotations

import abc
from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any, ClassVar

from django.core.management.base import OutputWrapper


class Subcommand(abc.ABC):
    """One thing to do."""

    help: ClassVar[str]

    def __init__(self, stdout: OutputWrapper) -> None:
        self.stdout = stdout

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """Add its arguments; none unless it says so."""
        return

    @abc.abstractmethod
    def run(self, options: Mapping[str, Any]) -> None:
        """Do it, with the arguments that were given.

        Raises:
            CommandError: it cannot be done.
            StoreError: the store failed.
        """
