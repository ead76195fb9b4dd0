from __future__ import annotations

import dataclasses

import pytest

from streamable_http.protocol import revisions

SESSIONS, SESSIONLESS = revisions.Mode.SESSIONS, revisions.Mode.SESSIONLESS

TABLE = {
    ("2025-03-26", SESSIONS): {"resumable", "listens", "asks", "batches"},
    ("2025-06-18", SESSIONS): {"resumable", "listens", "asks"},
    ("2025-11-25", SESSIONS): {"resumable", "listens", "asks", "primed", "may_close_early", "errors_without_id"},
    ("2025-03-26", SESSIONLESS): {"batches"},
    ("2025-06-18", SESSIONLESS): set(),
    ("2025-11-25", SESSIONLESS): {"errors_without_id"},
}


@pytest.mark.parametrize(("revision", "mode"), TABLE)
def test_the_facts_of_a_revision_are_those_of_the_table(revision: str, mode: revisions.Mode) -> None:
    facts = dataclasses.asdict(revisions.FACTS[revision, mode])

    assert (facts.pop("revision"), facts.pop("mode")) == (revision, mode)
    assert {name for name, holds in facts.items() if holds} == TABLE[revision, mode]


def test_there_are_facts_for_every_served_revision_in_every_mode() -> None:
    assert set(revisions.FACTS) == set(TABLE)
    assert {revision for revision, _ in revisions.FACTS} == set(revisions.SUPPORTED)


def test_revisions_stand_in_the_order_of_their_dates() -> None:
    assert list(revisions.SUPPORTED) == sorted(revisions.SUPPORTED)


def test_a_silent_client_is_taken_for_the_oldest_and_an_unknown_one_is_offered_the_newest_of_its_era() -> None:
    assert revisions.HANDSHAKE[0] == revisions.ASSUMED
    assert revisions.HANDSHAKE[-1] == revisions.OFFERED


@pytest.mark.parametrize("facts", revisions.FACTS.values(), ids=lambda facts: f"{facts.revision} {facts.mode}")
def test_only_what_can_be_resumed_is_primed_or_closed_early(facts: revisions.Facts) -> None:
    assert facts.resumable or not (facts.primed or facts.may_close_early)
