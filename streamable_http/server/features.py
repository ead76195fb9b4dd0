"""What the messages of a revision may hold, as one table.

Results and lists have only what the revision's schema has. Code asks for a fact by its name
(``if features.titles:``), never for a version.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from streamable_http.protocol import revisions


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What one revision's schema has."""

    # Lists
    absent_definition_members: frozenset[str]
    """Members of tools, resources, prompts and servers that came with a later revision."""

    # Tools
    structured_output: bool
    """Tools have an ``outputSchema``, results have ``structuredContent``."""

    titles: bool
    """Servers and tools have a ``title`` beside their name."""

    # Content blocks
    resource_links: bool
    """Results may hold ``resource_link`` blocks."""

    absent_members: frozenset[str]
    """Members of content blocks that came with a later revision."""

    # Completion
    completion_context: bool
    """The client sends the arguments that are decided already."""

    # Asks
    elicitation: bool
    """The server may send ``elicitation/create``."""

    rich_forms: bool
    """Forms have lists, titled choices, and defaults of every type; before, only booleans had one."""

    elicitation_modes: bool
    """The client declares ``form`` and ``url`` apart, and there is ``url``."""

    sampling_tools: bool
    """Sampling has tools, and messages of several blocks."""


OF_REVISION: Final = {
    revisions.R2025_03_26: Features(
        absent_definition_members=frozenset(("title", "icons", "_meta", "outputSchema", "websiteUrl")),
        structured_output=False,
        titles=False,
        resource_links=False,
        absent_members=frozenset(("_meta", "icons", "lastModified")),
        elicitation=False,
        rich_forms=False,
        elicitation_modes=False,
        sampling_tools=False,
        completion_context=False,
    ),
    revisions.R2025_06_18: Features(
        absent_definition_members=frozenset(("icons", "websiteUrl")),
        structured_output=True,
        titles=True,
        resource_links=True,
        absent_members=frozenset(("icons",)),
        elicitation=True,
        rich_forms=False,
        elicitation_modes=False,
        sampling_tools=False,
        completion_context=True,
    ),
    revisions.R2025_11_25: Features(
        absent_definition_members=frozenset(),
        structured_output=True,
        titles=True,
        resource_links=True,
        absent_members=frozenset(),
        elicitation=True,
        rich_forms=True,
        elicitation_modes=True,
        sampling_tools=True,
        completion_context=True,
    ),
}
"""Audio blocks and the ``message`` of a progress notification are in all of them."""
