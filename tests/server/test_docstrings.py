from __future__ import annotations

from streamable_http.server import docstrings

FULL = """Import books.

    Reads a file.

    Args:
        url (str): where it is
            and how to get there
        limit: at most so many: never more

        encoding: of the file

    Returns:
        A report.
    """


def test_description_is_everything_but_the_arguments():
    parsed = docstrings.parse(FULL)
    assert parsed.description == "Import books.\n\nReads a file.\n\nReturns:\n    A report."


def test_arguments_are_joined_to_one_line_each():
    parsed = docstrings.parse(FULL)
    assert parsed.arguments == {
        "url": "where it is and how to get there",
        "limit": "at most so many: never more",
        "encoding": "of the file",
    }


def test_docstring_without_arguments_is_all_description():
    assert docstrings.parse("Args are explained elsewhere.") == docstrings.Docstring("Args are explained elsewhere.")


def test_missing_docstring_is_empty():
    assert docstrings.parse(None) == docstrings.Docstring("")


def test_docstring_that_is_only_arguments_has_no_description():
    assert docstrings.parse("\n    Args:\n        a: one\n    ") == docstrings.Docstring("", {"a": "one"})
