"""Book numbers: twelve digits and one that checks them (ISO 2108)."""

from django.core.exceptions import ValidationError

MADE_UP_PREFIX = "97899999"
"""Of the numbers that the demo's books get. They are made up, though well-formed."""


def check_digit(digits: str) -> str:
    """Return the last digit for the first twelve."""
    total = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(digits))
    return str(-total % 10)


def is_valid(number: str) -> bool:
    """Whether it is an ISBN-13 without separators."""
    is_number = len(number) == 13 and number.isascii() and number.isdecimal() and number.startswith(("978", "979"))
    return is_number and number[-1] == check_digit(number[:-1])


def make_up(serial: int) -> str:
    """Return a number for a book of the demo; ``serial`` is below 10,000."""
    digits = f"{MADE_UP_PREFIX}{serial:04d}"
    return digits + check_digit(digits)


def validate(number: str) -> None:
    """Refuse what is no ISBN-13.

    Raises:
        ValidationError: it is none.
    """
    if not is_valid(number):
        raise ValidationError("%(number)s is no ISBN of 13 digits", params={"number": number})
