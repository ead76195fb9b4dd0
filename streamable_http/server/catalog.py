"""What a server has, and how it is declared: tools, resources, prompts, completions."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, overload

from typing_extensions import Unpack

from streamable_http.server import completion, listing, prompts, resources, tools

Function = TypeVar("Function", bound=Callable[..., Any])


# Inside of the class these modules' names are those of its members.
Tool = tools.Tool
ToolOptions = tools.Options
Resource = resources.Resource
ResourceOptions = resources.Options
Prompt = prompts.Prompt
PromptOptions = prompts.Options
Completer = completion.Completer
Target = completion.Target


class Catalog:
    """The declarations of a server, to be read by any number of calls at the same time.

    Declare everything while the module is imported. What is added or removed later exists in this process alone:
    do the same on every worker, and then tell the clients (``notify_tool_list_changed()`` and its kind).
    """

    def __init__(self, *, page_size: int, atomic: bool) -> None:
        self._atomic = atomic
        self.tool_list: listing.Listing[Tool] = listing.Listing("tool", "tools", page_size=page_size)
        self.resource_list: listing.Listing[Resource] = listing.Listing("resource", "resources", page_size=page_size)
        self.template_list: listing.Listing[Resource] = listing.Listing(
            "resource template", "resourceTemplates", page_size=page_size
        )
        self.prompt_list: listing.Listing[Prompt] = listing.Listing("prompt", "prompts", page_size=page_size)
        self._completers: dict[Target, Completer] = {}
        self.completers: Mapping[Target, Completer] = types.MappingProxyType(self._completers)
        self.completes = False
        """There was ever a completion."""

    @property
    def tools(self) -> Mapping[str, Tool]:
        """By name, in the order of declaration; to read."""
        return self.tool_list.things

    @property
    def resources(self) -> Mapping[str, Resource]:
        """By URI, in the order of declaration; to read."""
        return self.resource_list.things

    @property
    def templates(self) -> Mapping[str, Resource]:
        """By URI template, in the order of declaration, which decides between two that match; to read."""
        return self.template_list.things

    @property
    def prompts(self) -> Mapping[str, Prompt]:
        """By name, in the order of declaration; to read."""
        return self.prompt_list.things

    # Tools

    @overload
    def tool(self, name: Function, /) -> Function: ...

    @overload
    def tool(self, name: str | None = None, **options: Unpack[ToolOptions]) -> Callable[[Function], Function]: ...

    def tool(self, name: Any = None, **options: Any) -> Any:
        """Make a tool of the function below; ``@server.tool`` and ``@server.tool(...)`` both work.

        The function stays what it is. The options are those of :meth:`add_tool`, which also says what is raised.
        """
        if callable(name):
            self.add_tool(name)
            return name

        def decorate(function: Function) -> Function:
            self.add_tool(function, name=name, **options)
            return function

        return decorate

    def add_tool(
        self, function: Callable[..., Any], *, name: str | None = None, **options: Unpack[ToolOptions]
    ) -> Tool:
        """Make a tool of a function.

        ``name`` and ``description`` default to the function's name and docstring, without its ``Args:`` section,
        which describes the arguments. ``annotations`` are MCP's hints (``readOnlyHint``, ``idempotentHint``, ...).
        ``title``, ``icons`` and ``meta`` are for people and clients.

        ``input_schema`` and ``output_schema`` are published, word for word, instead of the ones made from the type
        hints; arguments are checked by the type hints all the same, and of a result that its members are there.
        ``structured_output``: ``None`` decides by the return annotation, ``False`` sends text alone, ``True``
        demands a schema.

        ``on_worker_loss``: when the worker dies during a call, ``"fail"`` ends the call with an error. With
        ``"rerun"``, which needs ``idempotentHint``, another worker calls the function again, once, unless the client
        was asked something; the call's arguments are stored for that.

        ``permission_classes`` and ``throttle_classes`` are those of Django REST framework. To whom a tool is not
        permitted, it does not exist. ``atomic``: a call of a sync tool is one database transaction, rolled back
        when the function raises; ``None`` takes the server's default.

        Raises:
            TypeError: the function's signature does not suit a tool.
            ValueError: the name is taken or malformed, or an option does not fit.
        """
        tool = tools.from_function(function, name=name, default_atomic=self._atomic, **options)
        self.tool_list.add(tool.name, tool)
        return tool

    def remove_tool(self, name: str) -> None:
        """Remove a tool; calls that run go on.

        Raises:
            KeyError: there is none of this name.
        """
        self.tool_list.remove(name)

    # Resources

    def resource(self, uri: str, **options: Unpack[ResourceOptions]) -> Callable[[Function], Function]:
        """Make a resource of the function below.

        The function stays what it is. The options are those of :meth:`add_resource`, which also says what is
        raised.
        """
        if callable(uri):
            raise TypeError('@server.resource needs a URI: @server.resource("shop://hours")')

        def decorate(function: Function) -> Function:
            self.add_resource(uri, function, **options)
            return function

        return decorate

    def add_resource(self, uri: str, function: Callable[..., Any], **options: Unpack[ResourceOptions]) -> Resource:
        """Make a resource of a function that returns what there is to read: text, bytes, or data for JSON.

        With braces ``uri`` is a template, and the function takes each variable by its name: ``books://{isbn}`` is
        one segment, ``files://{+path}`` may be several. A path is never absolute and has no ``..``; symbolic
        links in it are yours to check.

        Raise :class:`ResourceNotFound` or return ``None`` where there is nothing. Return
        :class:`ResourceContents`, or a list of them, to say more than the value. ``size`` is in bytes.

        Raises:
            TypeError: the function's signature does not suit the URI.
            ValueError: the URI is taken or malformed, or an option does not fit.
        """
        resource = resources.from_function(uri, function, **options)
        self._list_of(resource.uri, resource.template is not None).add(uri, resource)
        return resource

    def remove_resource(self, uri: str) -> None:
        """Remove a resource or a template.

        Raises:
            KeyError: there is none of this URI.
        """
        self._list_of(uri, uri in self.templates).remove(uri)

    def _list_of(self, uri: str, is_template: bool) -> listing.Listing[Resource]:
        return self.template_list if is_template else self.resource_list

    # Prompts

    @overload
    def prompt(self, name: Function, /) -> Function: ...

    @overload
    def prompt(self, name: str | None = None, **options: Unpack[PromptOptions]) -> Callable[[Function], Function]: ...

    def prompt(self, name: Any = None, **options: Any) -> Any:
        """Make a prompt of the function below; ``@server.prompt`` and ``@server.prompt(...)`` both work.

        The function stays what it is. The options are those of :meth:`add_prompt`, which also says what is raised.
        """
        if callable(name):
            self.add_prompt(name)
            return name

        def decorate(function: Function) -> Function:
            self.add_prompt(function, name=name, **options)
            return function

        return decorate

    def add_prompt(
        self, function: Callable[..., Any], *, name: str | None = None, **options: Unpack[PromptOptions]
    ) -> Prompt:
        """Make a prompt of a function that returns its messages.

        A string is what the user says; :class:`UserMessage` and :class:`AssistantMessage` hold texts and content
        blocks; a list has several. Arguments come as strings, and become what the type hints say.

        Raises:
            TypeError: the function's signature does not suit a prompt.
            ValueError: the name is taken, or an option does not fit.
        """
        prompt = prompts.from_function(function, name=name, **options)
        self.prompt_list.add(prompt.name, prompt)
        return prompt

    def remove_prompt(self, name: str) -> None:
        """Remove a prompt.

        Raises:
            KeyError: there is none of this name.
        """
        self.prompt_list.remove(name)

    # Completions

    def completion(
        self, *, argument: str, prompt: str | None = None, resource: str | None = None
    ) -> Callable[[Function], Function]:
        """Have the function below complete an argument; as :meth:`add_completion`."""

        def decorate(function: Function) -> Function:
            self.add_completion(function, argument=argument, prompt=prompt, resource=resource)
            return function

        return decorate

    def add_completion(
        self,
        function: Callable[..., Any],
        *,
        argument: str,
        prompt: str | None = None,
        resource: str | None = None,
    ) -> Completer:
        """Have a function complete an argument of a prompt, or a variable of a template, declared before.

        It takes ``value``, what is typed so far, and if it likes ``arguments``, those that are decided already, and
        the context. It returns a list of strings, best first, or a :class:`Completion`; clients get 100 of them.

        Raises:
            TypeError: the function's signature does not suit.
            ValueError: there is no such argument, or somebody completes it already.
        """
        target = self._target(argument, prompt, resource)
        if target in self._completers:
            raise ValueError(f"'{argument}' of '{target.name}' is completed already; remove one of the two")
        completer = completion.from_function(function, target)
        self._completers[target] = completer
        self.completes = True
        return completer

    def _target(self, argument: str, prompt: str | None, resource: str | None) -> Target:
        if (prompt is None) == (resource is None):
            raise ValueError('a completion is for one of both: prompt="..." or resource="...://{...}"')
        known: Prompt | Resource | None
        if prompt is not None:
            target, known = Target(completion.PROMPT, prompt, argument), self.prompts.get(prompt)
        else:
            target = Target(completion.RESOURCE, str(resource), argument)
            known = self.templates.get(target.name)
        if known is None:
            raise ValueError(f"there is no '{target.name}' whose '{argument}' could be completed; declare it above")
        names = known.arguments.schema["properties"]
        if argument not in names:
            raise ValueError(f"'{target.name}' has no '{argument}'; it has {', '.join(names) or 'no arguments'}")
        return target
