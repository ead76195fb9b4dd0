from __future__ import annotations

import itertools

from streamable_http.protocol import revisions
from streamable_http.server import features


def test_every_supported_revision_has_its_row():
    assert set(features.OF_REVISION) == set(revisions.SUPPORTED)


def test_later_revisions_only_add():
    rows = [features.OF_REVISION[revision] for revision in revisions.SUPPORTED]
    for earlier, later in itertools.pairwise(rows):
        assert later.absent_members < earlier.absent_members
        assert later.absent_definition_members < earlier.absent_definition_members
        for name in (
            "structured_output",
            "titles",
            "resource_links",
            "completion_context",
            "elicitation",
            "rich_forms",
            "elicitation_modes",
            "sampling_tools",
        ):
            assert getattr(earlier, name) <= getattr(later, name)
