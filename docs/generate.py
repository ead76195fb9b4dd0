"""Write the reference from the code: ``python docs/generate.py`` (``make docs``).

``reference/settings.md`` is made from ``streamable_http/conf.py``, ``reference/api.md`` from the docstrings of what
is public. Both are committed; a test compares them with what this would write.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import pprint
import re
import typing
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from streamable_http import conf, exceptions, server, signals
from streamable_http.server import prompts, resources, sampling, tools

REFERENCE: Final = Path(__file__).resolve().parent / "reference"

GENERATED: Final = "<!-- Made by docs/generate.py from the code; change it there, and run `make docs`. -->"

FENCE: Final = "```"

# Settings


def settings_page() -> str:
    """Return the page of the settings."""
    defaults = conf.Defaults()
    lines = [
        GENERATED,
        "",
        "# Settings",
        "",
        "One dict in the project's settings, `STREAMABLE_HTTP`. Every name has a default; times are in seconds unless",
        "the name says otherwise. A list may stand for a tuple. An unknown name is an error of `manage.py check`,",
        "which says what is nearest. [Limit](../how-to/limit.md) says what happens at each limit.",
        "",
        *fenced('STREAMABLE_HTTP = {"MAX_BODY_BYTES": 1024 * 1024}'),
    ]
    for section, fields in sections(source_of(conf), "Defaults"):
        lines += ["", f"## {section}"]
        for name, annotation, text in fields:
            lines += ["", f"### `{name}`", "", f"`{annotation}`, by default{shown(getattr(defaults, name))}"]
            lines += ["", *markdown(text)]
    return "\n".join(lines) + "\n"


def shown(default: Any) -> str:
    """Return a default as people write it."""
    if isinstance(default, dict):
        return f"\n\n{FENCE}python\n{pprint.pformat(default, width=100, sort_dicts=False)}\n{FENCE}".replace("'", '"')
    if isinstance(default, int | float) and not isinstance(default, bool):
        return f" `{default:_}`"
    return f" `{default!r}`".replace("'", '"')


def sections(source: str, class_name: str) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """Yield the groups of a dataclass's fields: the comment above each, and name, type and docstring of its fields."""
    tree = ast.parse(source)
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == class_name).body
    comments = {number: line.strip()[2:] for number, line in enumerate(source.splitlines(), 1)}
    section, fields = "", []
    for statement, following in itertools.pairwise(body):
        if not isinstance(statement, ast.AnnAssign):
            continue
        above = statement.lineno - 1
        if source.splitlines()[above - 1].strip().startswith("# "):
            if fields:
                yield section, fields
            section, fields = comments[above], []
        fields.append((ast.unparse(statement.target), ast.unparse(statement.annotation), text_of(following)))
    yield section, fields


def attributes(source: str, class_name: str | None = None) -> dict[str, str]:
    """Return the docstrings that stand under assignments, of a class or of the module."""
    tree: Any = ast.parse(source)
    if class_name is not None:
        tree = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == class_name)
    found = {}
    for statement, following in itertools.pairwise(tree.body):
        if isinstance(statement, ast.AnnAssign | ast.Assign) and text_of(following):
            target = statement.target if isinstance(statement, ast.AnnAssign) else statement.targets[0]
            found[ast.unparse(target)] = text_of(following)
    return found


def text_of(statement: ast.stmt) -> str:
    """Return the text of a statement that is a string, else nothing."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return inspect.cleandoc(str(statement.value.value))
    return ""


# The API

OPTIONS: Final = {"ToolOptions": tools, "ResourceOptions": resources, "PromptOptions": prompts}
"""Keyword arguments that several methods share, by the name that they have in signatures."""

DECLARED: Final = ("MCPServer",)
CALLED: Final = ("Context", "SyncContext", "SessionInfo", "ElicitResult", "UrlElicitation")
RETURNED: Final = ("Image", "ResourceContents", "Message", "UserMessage", "AssistantMessage")
SEAMS: Final = ("Outlet", "Gate", "Publisher")

CONTEXT_ATTRIBUTES: Final = (
    ("user", "Django's user, or `None` for an anonymous caller."),
    (
        "principal",
        "Who calls, with `key` (such as `user:17`), `scopes`, `user`, and `auth`, what DRF knows of the token.",
    ),
    ("session", "A `SessionInfo`; `None` without sessions."),
    ("request_headers", "The HTTP request's headers, by lower-case names."),
    ("request_id", "The JSON-RPC id of the request."),
    ("revision", "The protocol version that this call speaks, such as `2025-11-25`."),
    ("client_capabilities", "What the client said that it can; `None` without sessions."),
    ("server", "The `MCPServer`."),
)


def api_page() -> str:
    """Return the page of what is public."""
    lines = [
        GENERATED,
        "",
        "# API",
        "",
        "Import these names from `streamable_http.server`, which runs without Django. Beside them there are the",
        "[errors](#errors) of `streamable_http.exceptions` and the [signals](#signals) of `streamable_http.signals`.",
    ]
    lines += ["", "## The server"]
    lines += [line for name in DECLARED for line in class_section(getattr(server, name), has_init=True)]
    for alias, module in OPTIONS.items():
        lines += ["", f"### `{alias}`", "", *markdown(inspect.getdoc(module.Options) or ""), ""]
        lines += options_table(module)
    lines += ["", "## The context"]
    lines += [line for name in CALLED for line in class_section(getattr(server, name))]
    lines += ["", "### Options of `sample`", ""]
    lines += options_table(sampling)
    lines += ["", "## What functions return"]
    lines += [line for name in RETURNED for line in class_section(getattr(server, name), has_init=True)]
    lines += ["", *types_of_others()]
    lines += ["", "## Seams", "", "What an endpoint fills; in tests, you may."]
    lines += [line for name in SEAMS for line in class_section(getattr(server, name))]
    lines += ["", "### `set_publisher`", "", *function_section(server.set_publisher)]
    lines += ["", "### `Middleware`", "", *middleware_section()]
    lines += ["", "## Errors", "", *errors_section()]
    lines += ["", "## Signals", "", *signals_section()]
    return "\n".join(lines) + "\n"


def types_of_others() -> list[str]:
    """Return the list of what is exported for convenience."""
    names = [name for name in server.__all__ if getattr(server, name).__module__.startswith("mcp_types")]
    listed = ", ".join(f"`{name}`" for name in names)
    return ["### Types of the protocol", "", f"From the package `mcp_types`, for convenience: {listed}."]


def class_section(class_: type, *, has_init: bool = False) -> list[str]:
    """Return what there is to say about a class, and its public members."""
    lines = ["", f"### `{class_.__name__}`", ""]
    if has_init:
        # It is no Python by itself.
        lines += [f"{FENCE}text", signature_of(class_, class_.__name__), FENCE, ""]
    lines += markdown(own_docstring(class_))
    if has_init and "__init__" in vars(class_) and class_.__init__.__doc__:  # type: ignore[misc]
        lines += ["", *markdown(inspect.getdoc(class_.__init__) or "")]  # type: ignore[misc]
    lines += fields_of(class_)
    if issubclass(class_, server.Context):
        lines += ["", *(f"- `{name}`: {text}" for name, text in CONTEXT_ATTRIBUTES)]
    for name, member in members_of(class_):
        lines += ["", f"#### `{class_.__name__}.{name}`", ""]
        if isinstance(member, property):
            lines += markdown(inspect.getdoc(member) or "")
        else:
            lines += function_section(member)
    return lines


def own_docstring(class_: type) -> str:
    """Return a class's docstring, not an inherited one; nothing where a dataclass made it."""
    text = inspect.cleandoc(class_.__doc__ or "")
    return "" if text.startswith(f"{class_.__name__}(") else text


def fields_of(class_: type) -> list[str]:
    """Return the fields of a dataclass, with their docstrings."""
    if not dataclasses.is_dataclass(class_):
        return []
    texts = attributes(source_of(inspect.getmodule(class_)), class_.__name__)
    named = [field.name for field in dataclasses.fields(class_) if field.name in texts]
    return ["", *(f"- `{name}`: {' '.join(markdown(texts[name]))}" for name in named)] if named else []


HIDDEN: Final = frozenset(
    # The endpoint's side of the server and of the context.
    (
        "completers",
        "dispatch",
        "features",
        "find_resource",
        "initialize",
        "may_rerun",
        "may_start_early",
        "params",
        "parts",
        "require_readable",
        "require_resource",
        "runs_user_code",
        "subscribes",
        "to_sync",
        "tools_result",
    )
)


def members_of(class_: type) -> Iterator[tuple[str, Any]]:
    """Yield the public methods and properties, those of the bases first; inherited ones once, at ``Context``."""
    bases = [class_] if class_ is server.SyncContext else list(reversed(class_.__mro__))
    for base in bases:
        if not base.__module__.startswith("streamable_http") or (base is not class_ and typing_only(base)):
            continue
        for name, member in vars(base).items():
            is_member = isinstance(member, property) or inspect.isfunction(member)
            if not name.startswith("_") and is_member and name not in HIDDEN:
                yield name, member


def typing_only(base: type) -> bool:
    """Whether a class is a protocol, whose members are its own."""
    return bool(getattr(base, "_is_protocol", False))


def function_section(function: Callable[..., Any]) -> list[str]:
    """Return the signatures of a function and its docstring."""
    variants = typing.get_overloads(function) or [function]
    prefix = "async " if inspect.iscoroutinefunction(function) else ""
    signatures = [f"{prefix}def {signature_of(variant, function.__name__)}" for variant in variants]
    return [*fenced("\n".join(f"{signature}: ..." for signature in signatures)), "", *markdown(doc_of(function))]


def doc_of(function: Callable[..., Any]) -> str:
    return inspect.getdoc(function) or ""


def signature_of(callable_: Any, name: str) -> str:
    """Return a signature, over several lines where it is long."""
    signature = inspect.signature(callable_)
    parameters = [each for each in signature.parameters.values() if each.name != "self"]
    if isinstance(callable_, type):
        signature = signature.replace(return_annotation=inspect.Signature.empty)
    short = f"{name}{plain(signature.replace(parameters=parameters))}"
    if len(short) <= 100:
        return short
    listed: list[str] = []
    for each in parameters:
        if each.kind is each.KEYWORD_ONLY and "*" not in listed and not any(item.startswith("*") for item in listed):
            listed.append("*")
        if each.kind is not each.POSITIONAL_ONLY or each is not parameters[-1]:
            listed.append(plain(each))
        else:
            listed += [plain(each), "/"]
    returns = "" if signature.return_annotation is signature.empty else f" -> {plain(signature.return_annotation)}"
    return f"{name}(\n" + "".join(f"    {each},\n" for each in listed) + f"){returns}"


def plain(written: Any) -> str:
    """Return annotations without the quotes of those that are strings, and without the modules of ours."""
    text = re.sub(r"(?<=[:>] )'([^']*)'", r"\1", str(written))
    text = text.replace("'", '"')
    return re.sub(r"\b(?:context|definitions|dispatch|elicitation|messages|jsonrpc|sampling)\.(?=[A-Z])", "", text)


def options_table(module: Any) -> list[str]:
    """Return the members of the module's ``Options``, with their types."""
    source = source_of(module)
    found = next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == "Options")
    texts = attributes(source, "Options")
    lines = []
    for statement in found.body:
        if isinstance(statement, ast.AnnAssign):
            name = ast.unparse(statement.target)
            text = f": {' '.join(markdown(texts[name]))}" if name in texts else ""
            lines.append(f"- `{name}`: `{plain(ast.unparse(statement.annotation))}`{text}")
    return lines


def middleware_section() -> list[str]:
    text = attributes(source_of(inspect.getmodule(server.MCPServer)))["Middleware"]
    code = "async def middleware(request: Request, ctx: Context, call_next: CallNext) -> dict[str, Any]: ..."
    return [*fenced(code), "", *markdown(text), "", "`await call_next(request, ctx)` returns the `result` object."]


def errors_section() -> list[str]:
    """Return the tree of errors, and those that users raise or catch."""
    lines = markdown(inspect.cleandoc(exceptions.__doc__ or ""))
    for name in server.__all__:
        error = getattr(server, name)
        if isinstance(error, type) and issubclass(error, exceptions.StreamableHTTPError):
            lines += ["", f"### `{name}`", "", *markdown(own_docstring(error))]
    return lines


def signals_section() -> list[str]:
    texts = attributes(source_of(signals))
    lines = markdown(inspect.cleandoc(signals.__doc__ or ""))
    return [*lines, "", *(f"- `{name}`: {' '.join(markdown(text))}" for name, text in texts.items())]


# Text


def source_of(module: Any) -> str:
    return inspect.getsource(module)


def fenced(code: str) -> list[str]:
    return [f"{FENCE}python", code, FENCE]


def markdown(text: str) -> list[str]:
    """Return a docstring as lines of Markdown."""
    lines: list[str] = []
    waiting = text.splitlines()
    while waiting:
        line = waiting.pop(0)
        if line == "Raises:":
            lines += ["Raises:", "", *raises(indented(waiting))]
        elif line.endswith("::"):
            # Two colons announce code; they become one, or none where they stand alone.
            lines += [inline(line[:-1]), ""] if line != "::" else []
            lines += code_of(indented(waiting))
        else:
            lines.append(inline(line))
    return lines


def indented(waiting: list[str]) -> list[str]:
    """Take the lines that are indented, and the empty ones among them."""
    taken: list[str] = []
    while waiting and (not waiting[0] or waiting[0].startswith("    ")):
        taken.append(waiting.pop(0))
    if waiting:
        waiting.insert(0, "")
    return inspect.cleandoc("\n" + "\n".join(taken)).splitlines()


def raises(lines: Iterable[str]) -> list[str]:
    """Return the lines of a ``Raises`` section as a list."""
    joined = re.sub(r"\n +", " ", "\n".join(lines))
    return [re.sub(r"^([\w.]+):", r"- `\1`:", inline(line)) for line in joined.splitlines()]


def code_of(lines: list[str]) -> list[str]:
    """Return code in fences, Python formatted as such."""
    code = "\n".join(lines).replace("'''", '"""')
    if not re.search(r"^(from|import|@|async def|def|\w+ = )", code, re.MULTILINE):
        return [f"{FENCE}text", code, FENCE]
    # Two empty lines between what stands at the top, as in a file.
    return fenced(re.sub(r"\n\n(?=@)", "\n\n\n", code))


def inline(line: str) -> str:
    """Return a line with the roles and quotes of reStructuredText as Markdown has them."""
    # A tilde hides the modules in front of the name.
    line = re.sub(r":\w+:`(?:~[\w.]*\.)?([^`]*)`", r"`\1`", line)
    return re.sub(r"``([^`]*)``", r"`\1`", line)


PAGES: Final[dict[str, Callable[[], str]]] = {"settings.md": settings_page, "api.md": api_page}


def main() -> None:
    """Write all pages."""
    for name, page in PAGES.items():
        REFERENCE.mkdir(exist_ok=True)
        (REFERENCE / name).write_text(page())


if __name__ == "__main__":
    main()
