"""Phase, message and conditions of an Assistant. Pure.

Reasons are words of an interface: programs wait for them. They are those of a problem, or one of these: Idle, Ready, Starting,
Provisioning, Paused, Deleting, PackageReady, Remote, BuiltByWorkers, RollingOut, Scaling, Complete, AsDesired, NoSignal,
AsExpected.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ai_assistant_operator.observation import Observation
from ai_assistant_operator.problems import Problem, ranked
from ai_assistant_operator.provision_job import percent

TYPES = ("Ready", "ModelAvailable", "Progressing", "Scaled", "Degraded")
_SIGNAL = {"GatewayUnreachable", "QueueUnreachable"}


def all_problems(seen: Observation) -> tuple[Problem, ...]:
    """What is wrong, the last failed attempt at a model included."""
    failure = seen.provisioning.last_failure if seen.provisioning else None
    return ranked((*seen.problems, *((failure,) if failure else ())))


def phase(seen: Observation) -> str:
    """One word."""
    if seen.deleting:
        return "Deleting"
    if seen.paused:
        return "Paused"
    problems = all_problems(seen)
    if not seen.can_answer:
        if seen.provisioning is None:
            return "Failed" if problems else "Pending"
        return (
            "Provisioning" if seen.provisioning.is_running and not _blocking(seen) else "Failed" if problems else "Provisioning"
        )
    if problems:
        return "Failed" if seen.desired and not seen.ready and _blocking(seen) else "Degraded"
    if seen.is_rolling and seen.desired:
        return "Updating"
    if not seen.desired:
        return "Idle"
    return "Ready" if seen.ready >= seen.desired else "Scaling"


def message(seen: Observation) -> str:
    """Why, in one sentence."""
    if seen.deleting:
        return "Workers finish their answers, then everything of it is removed."
    if seen.paused:
        return "Nothing is changed while spec.paused is true."
    told = [problem.sentence for problem in all_problems(seen)]
    if told:
        return told[0] + (f" (and {len(told) - 1} more)" if len(told) > 1 else "") + _next_attempt(seen)
    match phase(seen):
        case "Pending":
            return "Waiting for a first look at the cluster."
        case "Provisioning":
            return _provisioning(seen)
        case "Idle":
            return "No work: workers start with the first question."
        case "Updating":
            return f"Workers are replaced one after another; {seen.ready} of {seen.desired} are ready."
        case "Scaling":
            return f"{seen.ready} of {seen.desired} workers are ready."
    return f"{seen.ready} of {seen.desired} workers are ready." + ("" if seen.is_wanted_there else f" {_provisioning(seen)}")


def conditions(seen: Observation, old: Iterable[Mapping[str, Any]], now: str) -> list[dict[str, Any]]:
    """All five, in a fixed order. `now` (RFC 3339) is written only where a condition's status has changed."""
    before = {condition.get("type"): condition for condition in old}
    entries = []
    for name, (status, reason, text) in zip(
        TYPES, (_ready(seen), _model_available(seen), _progressing(seen), _scaled(seen), _degraded(seen)), strict=True
    ):
        was = before.get(name) or {}
        since = was.get("lastTransitionTime") if was.get("status") == status else None
        entries.append(
            {
                "type": name,
                "status": status,
                "reason": reason,
                "message": text,
                "observedGeneration": seen.generation,
                "lastTransitionTime": since or now,
            }
        )
    return entries


def _ready(seen: Observation) -> tuple[str, str, str]:
    text, current = message(seen), phase(seen)
    if current in {"Paused", "Deleting"}:
        return ("True" if current == "Paused" and seen.ready else "False"), current, text
    if not seen.can_answer or (seen.desired and not seen.ready):
        problems = all_problems(seen)
        waits = "Starting" if seen.can_answer else "Provisioning"
        return "False", problems[0].reason if problems else waits, text
    return "True", "Ready" if seen.ready else "Idle", text


def _model_available(seen: Observation) -> tuple[str, str, str]:
    if seen.models == "remote":
        return "True", "Remote", "A model server elsewhere answers."
    if seen.models == "pod":
        return "True", "BuiltByWorkers", "Each worker builds its model when it starts."
    failure = seen.provisioning.last_failure if seen.provisioning else None
    if seen.package is not None:
        text = f"Package {seen.package.digest[:12]} in {seen.package.version.precision}."
        if not seen.is_wanted_there:
            text += " It keeps answering until the wanted version is ready."
        return "True", "PackageReady", text
    if failure is not None:
        return "False", failure.reason, failure.message
    return "False", "Provisioning", _provisioning(seen)


def _progressing(seen: Observation) -> tuple[str, str, str]:
    if seen.paused or seen.deleting:
        return ("False", "Paused", message(seen)) if seen.paused and not seen.deleting else ("True", "Deleting", message(seen))
    if not seen.is_wanted_there:
        if seen.provisioning is not None and not seen.provisioning.is_running and seen.provisioning.last_failure is not None:
            return "False", seen.provisioning.last_failure.reason, seen.provisioning.last_failure.sentence + _next_attempt(seen)
        return "True", "Provisioning", _provisioning(seen)
    blocking = _blocking(seen)
    if seen.ready < seen.desired and blocking:
        return "False", blocking[0].reason, blocking[0].sentence
    if seen.is_rolling and seen.desired:
        return "True", "RollingOut", f"Workers are replaced one after another; {seen.ready} of {seen.desired} are ready."
    if seen.ready != seen.desired:
        return "True", "Scaling", f"{seen.ready} of {seen.desired} workers are ready."
    return "False", "Complete", "Everything is as asked for."


def _scaled(seen: Observation) -> tuple[str, str, str]:
    lost = [problem for problem in seen.problems if problem.reason in _SIGNAL]
    if lost:
        return "Unknown", "NoSignal", lost[0].sentence
    why = str((seen.decision or {}).get("reason") or "")
    if seen.ready == seen.desired and seen.replicas == seen.desired:
        return "True", "AsDesired", why or f"There are {seen.desired} workers."
    return "False", "Scaling", why or f"{seen.ready} of {seen.desired} workers are ready."


def _degraded(seen: Observation) -> tuple[str, str, str]:
    problems = all_problems(seen)
    if not problems:
        return "False", "AsExpected", "Nothing is wrong."
    return "True", problems[0].reason, "; ".join(problem.sentence for problem in problems)


def _blocking(seen: Observation) -> tuple[Problem, ...]:
    """Those that keep answers from coming: never the bot's or a lost signal, and the provisioner's only without a model."""
    harmless = {"bot", "provisioner"} if seen.can_answer else {"bot"}
    return tuple(problem for problem in seen.problems if problem.component not in harmless and problem.reason not in _SIGNAL)


def _provisioning(seen: Observation) -> str:
    if seen.provisioning is None:
        return "The model is about to be provisioned."
    told = seen.provisioning.progress
    done = percent(told)
    stage = told.get("stage", "starting")
    text = f"The model is being provisioned ({stage}" + (f", {done} %)" if done is not None else ")")
    return text + (f", attempt {seen.provisioning.attempt}." if seen.provisioning.attempt > 1 else ".")


def _next_attempt(seen: Observation) -> str:
    provisioning = seen.provisioning
    if provisioning is None or provisioning.last_failure is None:
        return ""
    if provisioning.is_running:
        return f"; attempt {provisioning.attempt} is running"
    return (
        f"; attempt {provisioning.attempt + 1} follows at {provisioning.next_attempt_at}" if provisioning.next_attempt_at else ""
    )
