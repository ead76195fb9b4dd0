"""Whether a run that went wrong is seen to have gone wrong."""

import json
from pathlib import Path

import pytest

from tests.conformance import findings
from tests.conformance.findings import Check

GOOD = {"id": "ping", "status": "SUCCESS", "timestamp": "2026-01-01T00:00:00.000Z", "details": {}}
POLLING = [Check(proof, "SUCCESS", "") for proof in findings.PROOFS["server-sse-polling"]]


def write(directory: Path, scenario: str, content: str, *, time: str = "2026-01-01T00-00-00-000Z") -> None:
    path = directory / f"server-{scenario}-{time}" / findings.FILE
    path.parent.mkdir()
    path.write_text(content)


def write_all(directory: Path) -> None:
    """Write what the suite writes when everything passed."""
    for scenario in findings.DEMANDED:
        ids = findings.PROOFS.get(scenario, (scenario,))
        write(directory, scenario, json.dumps([{**GOOD, "id": id} for id in ids]))


def test_results_are_read_by_scenario(tmp_path: Path) -> None:
    write(tmp_path, "ping", json.dumps([GOOD]))
    failed = {"id": "wire-schema-valid", "status": "FAILURE", "errorMessage": "1 violation"}
    write(tmp_path, "server-sse-polling", json.dumps([failed]))
    (tmp_path / "output.txt").write_text("what was printed")
    assert findings.read(tmp_path) == {
        "ping": [Check("ping", "SUCCESS", "")],
        "server-sse-polling": [Check("wire-schema-valid", "FAILURE", "1 violation")],
    }


@pytest.mark.parametrize("content", ["", "[{", "{}x", "null", '["text"]', '[{"id": "ping"}]', "3"])
def test_a_file_that_is_no_list_of_checks_is_refused(tmp_path: Path, content: str) -> None:
    write(tmp_path, "ping", content)
    with pytest.raises(ValueError, match="not a list of checks"):
        findings.read(tmp_path)


def test_a_directory_of_another_name_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "ping", json.dumps([GOOD]), time="today")
    with pytest.raises(ValueError, match="not named"):
        findings.read(tmp_path)


def test_a_scenario_that_passed_has_no_problem() -> None:
    checks = [Check("ping", "SUCCESS", ""), Check("note", "INFO", ""), Check("other", "SKIPPED", "")]
    assert findings.problems({"ping": checks}, "ping") == []


def test_a_scenario_that_did_not_run_is_a_problem() -> None:
    assert findings.problems({"ping": [Check("ping", "SUCCESS", "")]}, "tools-list") == ["did not run"]


def test_a_scenario_without_checks_did_not_run() -> None:
    assert findings.problems({"ping": []}, "ping") == ["did not run"]


def test_a_scenario_in_which_nothing_passed_is_a_problem() -> None:
    assert findings.problems({"ping": [Check("ping", "SKIPPED", "")]}, "ping") == ["no check passed"]


@pytest.mark.parametrize("status", ["FAILURE", "WARNING", "SOMETHING_NEW"])
def test_one_check_that_did_not_pass_is_a_problem_among_many_that_did(status: str) -> None:
    checks = [Check("ping", "SUCCESS", ""), Check("wire-schema-valid", status, "1 violation")]
    assert findings.problems({"ping": checks}, "ping") == [f"wire-schema-valid: {status}: 1 violation"]


def test_polling_that_was_seen_has_no_problem() -> None:
    assert findings.problems({"server-sse-polling": POLLING}, "server-sse-polling") == []


@pytest.mark.parametrize("status", ["INFO", "SKIPPED"])
def test_polling_that_the_suite_passed_over_is_a_problem(status: str) -> None:
    checks = [*POLLING[:2], Check("server-sse-disconnect-resume", status, "")]
    assert findings.problems({"server-sse-polling": checks}, "server-sse-polling") == [
        "server-sse-disconnect-resume: was not checked"
    ]


def test_polling_that_went_wrong_is_a_problem() -> None:
    checks = [*POLLING[:2], Check("server-sse-disconnect-resume", "WARNING", "no response")]
    assert findings.problems({"server-sse-polling": checks}, "server-sse-polling") == [
        "server-sse-disconnect-resume: WARNING: no response"
    ]


def test_a_run_passed_when_every_scenario_did(tmp_path: Path) -> None:
    write_all(tmp_path)
    verdict = findings.judge(tmp_path, 0)
    assert verdict.passed
    assert verdict.count(findings.DEMANDED) == 33


@pytest.mark.parametrize("scenario", [findings.REQUIRED[0], *findings.UNSCORED])
def test_a_run_without_one_of_the_scenarios_did_not_pass_whatever_its_status(tmp_path: Path, scenario: str) -> None:
    write_all(tmp_path)
    (tmp_path / f"server-{scenario}-2026-01-01T00-00-00-000Z" / findings.FILE).unlink()
    verdict = findings.judge(tmp_path, 0)
    assert not verdict.passed
    assert verdict.count(findings.DEMANDED) == 32


def test_a_run_that_the_suite_fails_did_not_pass_whatever_it_wrote(tmp_path: Path) -> None:
    write_all(tmp_path)
    verdict = findings.judge(tmp_path, 1)
    assert not verdict.passed
    assert "status 1" in verdict.failure


def test_a_run_with_a_spoiled_file_did_not_pass(tmp_path: Path) -> None:
    write_all(tmp_path)
    write(tmp_path, "another", '[{"id"')
    verdict = findings.judge(tmp_path, 0)
    assert not verdict.passed
    assert "not a list of checks" in verdict.failure


def test_a_run_that_wrote_nothing_did_not_pass(tmp_path: Path) -> None:
    assert findings.judge(tmp_path, 0).count(findings.DEMANDED) == 0


def test_thirty_scenarios_are_required_and_three_more_demanded() -> None:
    assert len(set(findings.REQUIRED)) == 30
    assert set(findings.UNSCORED) == set(findings.PROOFS)


def test_a_run_that_only_one_of_two_workers_served_did_not_pass(tmp_path: Path) -> None:
    write_all(tmp_path)
    verdict = findings.judge(tmp_path, 0)
    assert verdict.with_failure(findings.too_few_workers(2, 2)).passed
    alone = verdict.with_failure(findings.too_few_workers(1, 2))
    assert not alone.passed
    assert alone.failure == "1 workers have served, and it should be 2 at least"
