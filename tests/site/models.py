"""Rows for a tool that writes in a transaction."""

from django.db import models


class Line(models.Model):
    """One row that a tool wrote."""

    number = models.IntegerField()

    def __str__(self) -> str:
        return str(self.number)
