"""Phase, conditions and Events of an Assistant in every situation that it can be in."""

from dataclasses import replace
from typing import Any

import pytest

from ai_assistant_operator.conditions import TYPES, phase
from ai_assistant_operator.model_version import ModelPackage, ModelVersion
from ai_assistant_operator.observation import Observation, Provisioning
from ai_assistant_operator.problems import Problem
from ai_assistant_operator.status import changes, events, gateway_view, status

T0, T1, T2 = (f"2026-11-23T12:00:0{second}Z" for second in range(3))
V1, V2 = ModelVersion("hf://org/tiny", "v1", "int8"), ModelVersion("hf://org/tiny", "v2", "int8")
P1, P2 = (ModelPackage(version, digit * 32, f"/models/{digit * 32}", digit * 40) for version, digit in ((V1, "a"), (V2, "b")))
CRASH = Problem("CrashLoop", "the container worker ends with exit code 1: no", "worker")
TOKEN = Problem("TelegramUnauthorized", "Telegram refuses AI_ASSISTANT_TELEGRAM_TOKEN", "bot")
QUOTA = Problem("QuotaExceeded", "exceeded quota: team", "worker")
PULL = Problem("ImagePullError", "not found", "provisioner")
GATEWAY = Problem("GatewayUnreachable", "the gateway's numbers cannot be had", "assistant")
CHECKSUM = Problem("ChecksumMismatch", "The file has another checksum.", "provisioner")
DOWNLOAD = Provisioning(attempt=1, is_running=True, progress={"stage": "download", "bytes": 430, "total": 1000})
RETRY = Provisioning(attempt=2, is_running=True, last_failure=CHECKSUM)
PAUSE = Provisioning(attempt=1, is_running=False, last_failure=CHECKSUM, next_attempt_at=T2)

NEW = Observation(name="demo", generation=1, wanted=V1)
READY = Observation(
    name="demo",
    generation=3,
    wanted=V1,
    package=P1,
    desired=2,
    replicas=2,
    ready=2,
    decision={"replicas": 2, "reason": "8 tasks wait", "at": T0},
    queue={"depth": 8, "oldestSeconds": 3},
)
IDLE = replace(READY, desired=0, replicas=0, ready=0, decision={"replicas": 0, "reason": "no work for 300 s", "at": T0})


def condition(fields: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = (entry for entry in fields["conditions"] if entry["type"] == name)
    return found


def told(seen: Observation) -> dict[str, str]:
    """Status and reason of each condition, as `True/Reason`."""
    return {entry["type"]: f"{entry['status']}/{entry['reason']}" for entry in status(seen, {}, T0)["conditions"]}


SITUATIONS: list[tuple[str, Observation, str, dict[str, str]]] = [
    ("new", NEW, "Pending", {"Ready": "False/Provisioning", "ModelAvailable": "False/Provisioning"}),
    (
        "download",
        replace(NEW, provisioning=DOWNLOAD),
        "Provisioning",
        {"Progressing": "True/Provisioning", "Degraded": "False/AsExpected"},
    ),
    (
        "provisioner cannot start",
        replace(NEW, provisioning=DOWNLOAD, problems=(PULL,)),
        "Failed",
        {"Ready": "False/ImagePullError"},
    ),
    (
        "failed attempt",
        replace(NEW, provisioning=PAUSE),
        "Failed",
        {"Ready": "False/ChecksumMismatch", "ModelAvailable": "False/ChecksumMismatch", "Progressing": "False/ChecksumMismatch"},
    ),
    (
        "next attempt",
        replace(NEW, provisioning=RETRY),
        "Provisioning",
        {"ModelAvailable": "False/ChecksumMismatch", "Degraded": "True/ChecksumMismatch"},
    ),
    (
        "template",
        replace(NEW, problems=(Problem("TemplateContract", "no", "assistant"),)),
        "Failed",
        {"Ready": "False/TemplateContract"},
    ),
    (
        "ready",
        READY,
        "Ready",
        {
            "Ready": "True/Ready",
            "ModelAvailable": "True/PackageReady",
            "Progressing": "False/Complete",
            "Scaled": "True/AsDesired",
            "Degraded": "False/AsExpected",
        },
    ),
    (
        "starting",
        replace(READY, ready=0),
        "Scaling",
        {"Ready": "False/Starting", "Progressing": "True/Scaling", "Scaled": "False/Scaling"},
    ),
    ("more", replace(READY, ready=1), "Scaling", {"Ready": "True/Ready", "Scaled": "False/Scaling"}),
    ("idle", IDLE, "Idle", {"Ready": "True/Idle", "Scaled": "True/AsDesired", "Progressing": "False/Complete"}),
    ("updating", replace(READY, is_rolling=True), "Updating", {"Ready": "True/Ready", "Progressing": "True/RollingOut"}),
    (
        "new version",
        replace(READY, wanted=V2, provisioning=DOWNLOAD),
        "Ready",
        {"Ready": "True/Ready", "ModelAvailable": "True/PackageReady", "Progressing": "True/Provisioning"},
    ),
    (
        "bad new version",
        replace(READY, wanted=V2, provisioning=PAUSE),
        "Degraded",
        {"Ready": "True/Ready", "ModelAvailable": "True/PackageReady", "Progressing": "False/ChecksumMismatch"},
    ),
    (
        "new version's job cannot start",
        replace(READY, ready=0, wanted=V2, provisioning=DOWNLOAD, problems=(PULL,)),
        "Degraded",
        {},
    ),
    (
        "all crash",
        replace(READY, ready=0, problems=(CRASH,)),
        "Failed",
        {"Ready": "False/CrashLoop", "Progressing": "False/CrashLoop"},
    ),
    ("some crash", replace(READY, ready=1, problems=(CRASH,)), "Degraded", {"Ready": "True/Ready", "Degraded": "True/CrashLoop"}),
    ("worst first", replace(READY, ready=0, problems=(CRASH, QUOTA)), "Failed", {"Degraded": "True/QuotaExceeded"}),
    ("bot", replace(IDLE, problems=(TOKEN,)), "Degraded", {"Ready": "True/Idle", "Degraded": "True/TelegramUnauthorized"}),
    ("no signal", replace(READY, problems=(GATEWAY,)), "Degraded", {"Ready": "True/Ready", "Scaled": "Unknown/NoSignal"}),
    ("remote", replace(READY, models="remote", wanted=None, package=None), "Ready", {"ModelAvailable": "True/Remote"}),
    ("store per pod", replace(READY, models="pod", package=None), "Ready", {"ModelAvailable": "True/BuiltByWorkers"}),
    ("paused", replace(READY, paused=True), "Paused", {"Ready": "True/Paused", "Progressing": "False/Paused"}),
    ("deleting", replace(READY, deleting=True, paused=True), "Deleting", {"Ready": "False/Deleting"}),
]


@pytest.mark.parametrize(("seen", "expected", "conditions"), [row[1:] for row in SITUATIONS], ids=[row[0] for row in SITUATIONS])
def test_every_situation_has_a_phase_and_its_conditions(seen: Observation, expected: str, conditions: dict[str, str]) -> None:
    fields = status(seen, {}, T0)
    assert fields["phase"] == phase(seen) == expected
    assert told(seen).items() >= conditions.items()
    assert tuple(entry["type"] for entry in fields["conditions"]) == TYPES
    assert fields["message"]
    assert all(entry["message"] and entry["observedGeneration"] == seen.generation for entry in fields["conditions"])
    # nothing changes by looking again, and nothing is posted or written
    again = status(seen, fields, T1)
    assert again == fields
    assert changes(fields, again) == "none"
    assert events(fields, again) == ()
    state, details = gateway_view(seen)
    assert state in {"ready", "degraded", "failed", "unavailable", "preparing"}
    assert details["message"] == fields["message"]


def test_all_of_a_status() -> None:
    fields = status(replace(READY, previous=(P2.to_status(),)), {}, T0)
    fields.pop("conditions")
    assert fields == {
        "phase": "Ready",
        "message": "2 of 2 workers are ready.",
        "observedGeneration": 3,
        "replicas": 2,
        "readyReplicas": 2,
        "desiredReplicas": 2,
        "selector": "ai-assistant.dev/assistant=demo,app.kubernetes.io/name=ai-assistant,app.kubernetes.io/component=worker",
        "queue": {"depth": 8, "oldestSeconds": 3},
        "model": P1.to_status(),
        "previousModels": [P2.to_status()],
        "decision": {"replicas": 2, "reason": "8 tasks wait", "at": T0},
    }


def test_a_condition_keeps_its_moment_until_its_status_changes() -> None:
    before = status(READY, {}, T0)
    worse = status(replace(READY, ready=1, problems=(CRASH,)), before, T1)
    assert condition(worse, "Ready")["lastTransitionTime"] == T0
    assert condition(worse, "Degraded")["lastTransitionTime"] == T1
    other = status(replace(READY, ready=1, problems=(QUOTA,)), worse, T2)
    assert (condition(other, "Degraded")["reason"], condition(other, "Degraded")["lastTransitionTime"]) == ("QuotaExceeded", T1)


def test_the_moment_of_a_decision_is_when_it_was_first_made() -> None:
    before = status(READY, {}, T0)
    same = replace(READY, decision={"replicas": 2, "reason": "8 tasks wait", "at": T1})
    assert changes(before, status(same, before, T1)) == "none"
    assert status(replace(READY, decision=None), before, T1)["decision"] == before["decision"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (READY, replace(READY, queue={"depth": 9, "oldestSeconds": 4}), "lively"),
        (READY, replace(READY, queue=None), "lively"),
        (READY, replace(READY, ready=1), "urgent"),
        (READY, replace(READY, generation=4), "urgent"),
        (
            replace(NEW, provisioning=DOWNLOAD),
            replace(NEW, provisioning=replace(DOWNLOAD, progress={"stage": "download", "bytes": 900, "total": 1000})),
            "lively",
        ),
        (
            replace(NEW, provisioning=DOWNLOAD),
            replace(NEW, provisioning=replace(DOWNLOAD, progress={"stage": "verify", "bytes": 0})),
            "urgent",
        ),
        (
            replace(READY, wanted=V2, provisioning=DOWNLOAD),
            replace(
                READY, wanted=V2, provisioning=replace(DOWNLOAD, progress={"stage": "download", "bytes": 500, "total": 1000})
            ),
            "lively",
        ),
    ],
)
def test_numbers_that_move_all_the_time_may_wait(old: Observation, new: Observation, expected: str) -> None:
    before = status(old, {}, T0)
    assert changes(before, status(new, before, T1)) == expected


def posted(*seen: Observation) -> list[list[str]]:
    """Reasons of the Events after each step, `!` before warnings."""
    fields: dict[str, Any] = {}
    steps = []
    for moment in seen:
        before, fields = fields, status(moment, fields, T0)
        steps.append([("!" if event.type == "Warning" else "") + event.reason for event in events(before, fields)])
    return steps


def test_an_event_for_each_transition() -> None:
    failing = replace(READY, ready=1, problems=(CRASH,))
    assert posted(
        replace(NEW, provisioning=DOWNLOAD),
        replace(NEW, provisioning=PAUSE),
        replace(NEW, provisioning=RETRY),
        IDLE,
        replace(READY, ready=0),
        READY,
        failing,
        failing,
        replace(failing, problems=(QUOTA,)),
        READY,
        replace(READY, wanted=V2, provisioning=DOWNLOAD),
        replace(READY, wanted=V2, package=P2, is_rolling=True),
        replace(READY, package=P2, deleting=True),
    ) == [
        ["Provisioning"],
        ["!ChecksumMismatch"],
        ["Provisioning"],
        ["Recovered", "ModelReady", "Idle"],
        ["Scaled", "Scaling"],
        ["Ready"],
        ["!CrashLoop"],
        [],
        ["!QuotaExceeded"],
        ["Recovered", "Ready"],
        [],
        ["ModelReady", "Updating"],
        ["Deleting"],
    ]


def test_messages_say_why() -> None:
    assert status(replace(NEW, provisioning=DOWNLOAD), {}, T0)["message"] == "The model is being provisioned (download, 43 %)."
    assert gateway_view(replace(NEW, provisioning=DOWNLOAD)) == (
        "preparing",
        {"message": "The model is being provisioned (download, 43 %).", "progress": 43},
    )
    failed = "provisioner: The file has another checksum."
    assert status(replace(NEW, provisioning=PAUSE), {}, T0)["message"] == f"{failed}; attempt 2 follows at {T2}"
    assert status(replace(NEW, provisioning=RETRY), {}, T0)["message"] == f"{failed}; attempt 2 is running"
    two = status(replace(READY, ready=0, problems=(CRASH, TOKEN)), {}, T0)
    assert two["message"] == "bot: Telegram refuses AI_ASSISTANT_TELEGRAM_TOKEN (and 1 more)"
    assert CRASH.sentence in condition(two, "Degraded")["message"]
