"""The status of an Assistant as it is written, whether it has to be written, and the Events of what changed. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ai_assistant_operator import names
from ai_assistant_operator.conditions import conditions, message, phase
from ai_assistant_operator.observation import Observation
from ai_assistant_operator.provision_job import percent

_LIVELY = {"queue", "decision", "provisioning"}
"""Fields that change all the time and that nobody has to know at once."""
_BAD = {"Failed", "Degraded"}
_GATEWAY_STATES = {
    "Ready": "ready",
    "Idle": "ready",
    "Scaling": "ready",
    "Updating": "ready",
    "Degraded": "degraded",
    "Failed": "failed",
    "Paused": "ready",
    "Deleting": "unavailable",
    "Pending": "preparing",
    "Provisioning": "preparing",
}


@dataclass(frozen=True)
class Event:
    """One Event to post about the Assistant."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


def status(seen: Observation, old: Mapping[str, Any], now: str) -> dict[str, Any]:
    """All of `.status`; equal to the old one where nothing changed, whatever the time."""
    fields = {
        "phase": phase(seen),
        "message": message(seen),
        "observedGeneration": seen.generation,
        "conditions": conditions(seen, old.get("conditions") or (), now),
        "replicas": seen.replicas,
        "readyReplicas": seen.ready,
        "desiredReplicas": seen.desired,
        "selector": ",".join(f"{key}={value}" for key, value in names.selector(seen.name, names.WORKER).items()),
        "queue": dict(seen.queue) if seen.queue is not None else None,
        "model": seen.package.to_status() if seen.package is not None else None,
        "previousModels": [dict(entry) for entry in seen.previous] or None,
        "provisioning": _provisioning(seen),
        "decision": _decision(seen, old.get("decision") or {}),
    }
    return {name: value for name, value in fields.items() if value is not None}


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Literal["none", "lively", "urgent"]:
    """Whether to write: never, within some seconds (numbers of the queue or of a download), or at once."""
    changed = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    if "provisioning" in changed and _stage(old) != _stage(new):
        return "urgent"
    # Sentences tell the percentage, which moves with the download's numbers.
    if "provisioning" in changed and old.get("phase") == new.get("phase") and _without_messages(old) == _without_messages(new):
        changed -= {"message", "conditions"}
    if not changed:
        return "none"
    return "lively" if changed <= _LIVELY else "urgent"


def events(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Event, ...]:
    """One for each change that people want to find later; none for an unchanged status."""
    posted = []
    before, after = old.get("phase"), new.get("phase", "")
    was, now = _condition(old, "Degraded"), _condition(new, "Degraded")
    if now.get("status") == "True":
        if was.get("status") != "True" or was.get("reason") != now.get("reason"):
            posted.append(Event("Warning", now["reason"], now["message"]))
    elif was.get("status") == "True":
        posted.append(Event("Normal", "Recovered", f"{was.get('reason')} is over."))
    model, previous = new.get("model") or {}, old.get("model") or {}
    if model.get("digest") and model.get("digest") != previous.get("digest"):
        posted.append(
            Event("Normal", "ModelReady", f"{model.get('source')} in {model.get('precision')} is package {model['digest'][:12]}.")
        )
    desired, wanted = old.get("desiredReplicas"), new.get("desiredReplicas")
    if wanted is not None and wanted != (desired or 0):
        why = (new.get("decision") or {}).get("reason") or "as decided"
        posted.append(Event("Normal", "Scaled", f"{desired or 0} → {wanted} workers: {why}"))
    if after != before and after not in _BAD:
        posted.append(Event("Normal", after, new.get("message", "")))
    return tuple(posted)


def gateway_view(seen: Observation) -> tuple[str, dict[str, Any]]:
    """State and details for the gateway, which tells people who wait."""
    details: dict[str, Any] = {"message": message(seen)}
    if seen.provisioning is not None and (done := percent(seen.provisioning.progress)) is not None:
        details["progress"] = done
    return _GATEWAY_STATES[phase(seen)], details


def _provisioning(seen: Observation) -> dict[str, Any] | None:
    if seen.provisioning is None:
        return None
    fields: dict[str, Any] = {**seen.provisioning.progress, "attempt": seen.provisioning.attempt}
    if seen.provisioning.next_attempt_at is not None:
        fields["nextAttemptAt"] = seen.provisioning.next_attempt_at
    return fields


def _decision(seen: Observation, old: Mapping[str, Any]) -> dict[str, Any] | None:
    """The moment of a decision is when it was first made so."""
    if seen.decision is None:
        return dict(old) or None
    same = all(seen.decision.get(name) == old.get(name) for name in ("replicas", "reason"))
    return dict(old) if same else dict(seen.decision)


def _stage(fields: Mapping[str, Any]) -> tuple[Any, ...]:
    provisioning = fields.get("provisioning") or {}
    return tuple(provisioning.get(name) for name in ("stage", "attempt", "nextAttemptAt"))


def _condition(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    return next((condition for condition in fields.get("conditions") or () if condition.get("type") == name), {})


def _without_messages(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{key: value for key, value in entry.items() if key != "message"} for entry in fields.get("conditions") or ()]
