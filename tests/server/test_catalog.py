from __future__ import annotations

from typing import Any

import pytest

from streamable_http.server import MCPServer, completion


async def reading(a: int) -> int:
    """Read."""
    return a


def hours() -> str:
    """When we are open."""
    return "always"


def book(isbn: str) -> str:
    return isbn


def recommend(author: str, mood: str = "any") -> str:
    return author


def suggest(value: str) -> list[str]:
    return [value]


def server() -> MCPServer:
    return MCPServer("test")


# Tools


def test_tool_decorator_works_with_and_without_parentheses_and_leaves_the_function_alone():
    made = server()
    assert made.tool(reading) is reading
    assert made.tool("second")(reading) is reading
    assert made.tool(name="third", title="Third", annotations={"readOnlyHint": True})(reading) is reading
    assert list(made.tools) == ["reading", "second", "third"]
    assert made.tools["third"].title == "Third"


def test_two_tools_of_one_name_are_refused():
    made = server()
    tool = made.add_tool(reading)
    with pytest.raises(ValueError, match=r"^there is a tool 'reading' already; rename one, or give it another name=$"):
        made.add_tool(reading, title="Other")
    assert made.tools["reading"] is tool


@pytest.mark.parametrize("kind", ["tool", "prompt"])
def test_misspelled_option_is_refused(kind):
    with pytest.raises(TypeError, match="titel"):
        getattr(server(), kind)(titel="x")(recommend)


def test_servers_do_not_share_tools():
    one, other = server(), server()
    one.add_tool(reading)
    assert not other.tools


def test_what_is_declared_is_there_to_read_alone():
    made = server()
    for things in (made.tools, made.resources, made.templates, made.prompts, made.completers):
        with pytest.raises(TypeError):
            things["a"] = None  # type: ignore[index]


def test_tool_that_is_removed_is_gone():
    made = server()
    made.add_tool(reading)
    made.remove_tool("reading")
    assert not made.tools
    with pytest.raises(KeyError, match="there is no tool 'reading'"):
        made.remove_tool("reading")
    made.add_tool(reading)


@pytest.mark.parametrize(
    ("default", "own", "expected"),
    [(False, None, False), (False, True, True), (True, None, True), (True, False, False)],
)
def test_transaction_is_the_tools_own_choice_or_the_servers(default, own, expected):
    made = MCPServer("test", atomic=default)
    assert made.add_tool(hours, atomic=own).atomic is expected


def test_transactions_are_for_sync_tools():
    assert not MCPServer("test", atomic=True).add_tool(reading).atomic
    with pytest.raises(TypeError, match=r"^tool 'reading': atomic=True needs a sync function"):
        server().add_tool(reading, atomic=True)


# Resources


def test_resource_decorator_leaves_the_function_alone():
    made = server()
    assert made.resource("shop://hours", title="Hours")(hours) is hours
    assert made.resource("books://{isbn}")(book) is book
    assert list(made.resources) == ["shop://hours"]
    assert list(made.templates) == ["books://{isbn}"]
    assert made.resources["shop://hours"].title == "Hours"


def test_resource_needs_a_uri():
    with pytest.raises(TypeError, match=r"needs a URI"):
        server().resource(hours)  # type: ignore[arg-type]


def test_two_resources_of_one_uri_are_refused():
    made = server()
    made.add_resource("shop://hours", hours)
    made.add_resource("books://{isbn}", book)
    with pytest.raises(ValueError, match="there is a resource 'shop://hours' already"):
        made.add_resource("shop://hours", hours)
    with pytest.raises(ValueError, match=r"there is a resource template 'books://{isbn}' already"):
        made.add_resource("books://{isbn}", book)


def test_resources_and_templates_that_are_removed_are_gone():
    made = server()
    made.add_resource("shop://hours", hours)
    made.add_resource("books://{isbn}", book)
    made.remove_resource("shop://hours")
    made.remove_resource("books://{isbn}")
    assert not made.resources
    assert not made.templates
    for uri in ("shop://hours", "books://{isbn}"):
        with pytest.raises(KeyError, match="there is no resource"):
            made.remove_resource(uri)


# Prompts


def test_prompt_decorator_works_with_and_without_parentheses_and_leaves_the_function_alone():
    made = server()
    assert made.prompt(recommend) is recommend
    assert made.prompt("second")(recommend) is recommend
    assert made.prompt(name="third", title="Third")(recommend) is recommend
    assert list(made.prompts) == ["recommend", "second", "third"]
    assert made.prompts["third"].title == "Third"


def test_prompt_that_is_removed_is_gone():
    made = server()
    made.add_prompt(recommend)
    with pytest.raises(ValueError, match="there is a prompt 'recommend' already"):
        made.add_prompt(recommend)
    made.remove_prompt("recommend")
    with pytest.raises(KeyError, match="there is no prompt 'recommend'"):
        made.remove_prompt("recommend")


# Completions


def test_completion_is_for_an_argument_of_a_prompt_or_a_template():
    made = server()
    made.add_prompt(recommend)
    made.add_resource("books://{isbn}", book)
    assert not made.completes
    assert made.completion(prompt="recommend", argument="author")(suggest) is suggest
    assert made.completion(resource="books://{isbn}", argument="isbn")(suggest) is suggest
    assert made.completes
    assert list(made.completers) == [
        completion.Target("ref/prompt", "recommend", "author"),
        completion.Target("ref/resource", "books://{isbn}", "isbn"),
    ]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"argument": "author"}, "a completion is for one of both"),
        (
            {"argument": "author", "prompt": "recommend", "resource": "books://{isbn}"},
            "a completion is for one of both",
        ),
        ({"argument": "author", "prompt": "recomend"}, "there is no 'recomend' whose 'author' could be completed"),
        ({"argument": "isbn", "resource": "books://1"}, "there is no 'books://1' whose 'isbn' could be completed"),
        ({"argument": "autor", "prompt": "recommend"}, "'recommend' has no 'autor'; it has author, mood"),
    ],
)
def test_completion_of_what_there_is_not_is_refused(target: dict[str, Any], message):
    made = server()
    made.add_prompt(recommend)
    made.add_resource("books://{isbn}", book)
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        made.add_completion(suggest, **target)
    assert str(raised.value).startswith(message)


def test_argument_is_completed_once():
    made = server()
    made.add_prompt(recommend)
    made.add_completion(suggest, prompt="recommend", argument="author")
    with pytest.raises(ValueError, match="'author' of 'recommend' is completed already"):
        made.add_completion(suggest, prompt="recommend", argument="author")
