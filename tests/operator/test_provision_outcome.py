"""What a provision Job tells: progress from its log, its result from the termination message, and when to try again."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ai_assistant_operator.model_version import ModelPackage, ModelVersion
from ai_assistant_operator.problems import ORDER
from ai_assistant_operator.provision_job import LASTING, REASONS, outcome, pause_before, percent, progress

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
VERSION = ModelVersion("hf://org/tiny", "main", "int8")
ENDED = "2026-11-23T11:59:58Z"
DIGEST = "0123456789abcdef" * 2


def job(kind: str | None = None, reason: str = "", message: str = "") -> dict[str, Any]:
    conditions = (
        [{"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": ENDED}] if kind else []
    )
    return {"metadata": {"name": "demo-provision-1"}, "status": {"active": 0 if kind else 1, "conditions": conditions}}


def pod(message: str | None = None, *, code: int = 1, reason: str = "Error", **status: Any) -> dict[str, Any]:
    end = {"exitCode": code, "reason": reason, **({} if message is None else {"message": message})}
    return {
        "metadata": {"name": "p"},
        "status": {"containerStatuses": [{"name": "provisioner", "state": {"terminated": end}}], **status},
    }


FAILED = job("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
EVICTED = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: ephemeral-storage."}
SUCCESS = {
    "digest": DIGEST,
    "path": f"/models/{DIGEST}",
    "revision": "c" * 40,
    "size": 7,
    "precision": "int8",
    "source": "hf://x",
}


def test_a_success_names_its_package() -> None:
    package = ModelPackage(VERSION, DIGEST, f"/models/{DIGEST}", "c" * 40)
    for kind in ("Complete", "SuccessCriteriaMet"):
        found = outcome(job(kind), [pod(json.dumps(SUCCESS) + "\n", code=0, reason="Completed")], VERSION, NOW)
        assert (found.state, found.package) == ("succeeded", package)


@pytest.mark.parametrize(
    "message", [None, "", "killed", "[]", json.dumps({"digest": "short", "path": "/x"}), json.dumps({"digest": DIGEST})]
)
def test_a_success_that_nobody_can_read_is_done_again(message: str | None) -> None:
    found = outcome(job("Complete"), [pod(message, code=0, reason="Completed")], VERSION, NOW)
    assert (found.state, found.reason, found.package) == ("failed", "ResultLost", None)


def test_a_job_runs_until_it_has_ended() -> None:
    assert outcome(job(), [pod(json.dumps(SUCCESS), code=0)], VERSION, NOW).state == "running"
    assert (
        outcome({"metadata": {}, "status": {"conditions": [{"type": "Failed", "status": "False"}]}}, [], VERSION, NOW).state
        == "running"
    )


@pytest.mark.parametrize("code", [*REASONS, "internal_error"])
def test_the_provisioner_s_errors_have_names(code: str) -> None:
    found = outcome(FAILED, [pod(json.dumps({"error": code, "message": "It is so."}))], VERSION, NOW)
    assert (found.state, found.reason, found.message) == ("failed", REASONS.get(code, "ProvisionFailed"), "It is so.")
    assert found.reason in ORDER
    assert {*REASONS.values()} >= LASTING


@pytest.mark.parametrize(
    ("pods", "reason", "words"),
    [
        ([pod('{"stage": "convert"}', code=137, reason="OOMKilled")], "OOMKilled", "raise provisioner.resources.limits.memory"),
        ([pod("a\nTraceback\nValueError: no", code=2)], "ProvisionFailed", "exit code 2: ValueError: no"),
        ([{"metadata": {}, "status": EVICTED}], "PodEvicted", "Evicted: The node was low on resource"),
        ([{"metadata": {}, "status": {"phase": "Failed", "reason": "NodeLost"}}], "PodEvicted", "NodeLost"),
        ([{"metadata": {}, "status": EVICTED}, {"metadata": {}, "status": {}}], "PodEvicted", "Evicted"),
        ([pod(None, code=1)], "ProvisionFailed", "exit code 1"),
        ([], "ProvisionFailed", "BackoffLimitExceeded: Job has reached the specified backoff limit"),
    ],
)
def test_a_job_that_could_not_tell(pods: list[dict[str, Any]], reason: str, words: str) -> None:
    found = outcome(FAILED, pods, VERSION, NOW + timedelta(seconds=10))
    assert (found.state, found.reason) == ("failed", reason)
    assert words in found.message


@pytest.mark.parametrize("ended", [FAILED, job("Complete")])
def test_a_job_s_end_that_is_seen_before_its_pod_s_is_waited_for(ended: dict[str, Any]) -> None:
    for pods in ([], [{"metadata": {"name": "p"}, "status": {"phase": "Running"}}]):
        found = outcome(ended, pods, VERSION, NOW)
        assert (found.state, found.look_again) == ("running", 3)
        assert outcome(ended, pods, VERSION, NOW + timedelta(seconds=4)).state == "failed"


def test_pauses_grow_and_end() -> None:
    assert [pause_before(attempt, "DownloadFailed") for attempt in (2, 3, 4, 7, 1000)] == [10, 20, 40, 300, 300]
    assert [pause_before(attempt, "ChecksumMismatch") for attempt in (2, 3, 10_000)] == [60, 120, 1800]


def test_progress_is_the_last_line_that_tells_of_it() -> None:
    lines = [
        '{"stage": "resolve", "file": "org/tiny", "bytes": 0, "total": null, "bytes_per_second": null, "eta_seconds": null}',
        '{"stage": "download", "file": "a", "bytes": 430, "total": 1000, "bytes_per_second": 100, "eta_seconds": 5.7}',
        "a line of somebody else",
        '{"event": "log"}',
        '{"stage": "dow',
    ]
    told = progress(lines)
    assert told == {"stage": "download", "bytes": 430, "total": 1000, "bytesPerSecond": 100, "etaSeconds": 5}
    assert percent(told) == 43
    assert progress(lines[:1]) == {"stage": "resolve", "bytes": 0}
    assert progress(lines[2:]) is None
    assert percent({"bytes": 5}) is None
