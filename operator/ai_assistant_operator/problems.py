"""What is wrong with an Assistant, named: a stable reason for programs and a sentence in Kubernetes' own words for people. Pure.

A problem is read from what is there now, never remembered, so it ends with its pod, Job or Deployment. The one thing that is
waited for is a container that has just crashed: it counts as crashing until it has been well for a moment.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_LONGEST = 600

# The first of these that there is stands for all in the phase and the message: causes before what they lead to.
ORDER = (
    "TemplateMissing",
    "TemplateContract",
    "TemplateAmbiguous",
    "TemplateInvalid",
    "SecretRefused",
    "SecretMissing",
    "ConfigMissing",
    "TelegramUnauthorized",
    "QuotaExceeded",
    "PodSecurityForbidden",
    "PodForbidden",
    "PodCreateFailed",
    "GpuUnavailable",
    "VolumeNotBound",
    "Unschedulable",
    "ImagePullError",
    "VolumeNotMounted",
    "ContainerCannotStart",
    "OOMKilled",
    "ModelBroken",
    "QueueUnreachable",
    "DatabaseUnreachable",
    "GatewayUnreachable",
    "CrashLoop",
    "PodEvicted",
    "ProbeFailing",
    "DownloadFailed",
    "SourceNotFound",
    "SourceUnauthorized",
    "ChecksumMismatch",
    "UnsupportedModel",
    "ModelRejected",
    "NoSpace",
    "ExportFailed",
    "ProvisionMisconfigured",
    "ProvisionInterrupted",
    "ProvisionFailed",
    "ResultLost",
    "NotProgressing",
)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    reason: str
    message: str
    component: str
    """worker, bot, provisioner, or assistant."""

    @property
    def sentence(self) -> str:
        """For the status and for an Event."""
        return f"{self.component}: {self.message}"


def problem(reason: str, message: str, component: str) -> Problem:
    """A problem with its words on one line, cut where they go on and on."""
    words = " ".join(message.split())
    return Problem(reason, words if len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}…", component)


def ranked(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Each reason and component once, the most telling first; the order of the input plays no part."""
    first: dict[tuple[str, str], Problem] = {}
    for one in sorted(problems, key=lambda problem: problem.message):
        first.setdefault((one.reason, one.component), one)
    return tuple(sorted(first.values(), key=lambda problem: (_rank(problem.reason), problem.component)))


def signal_problem(error: str | None, *, redis_is_down: bool = False) -> Problem | None:
    """What the gateway's numbers tell, or that there are none: `error` is what the client said."""
    if error is not None:
        return problem("GatewayUnreachable", f"the gateway's numbers cannot be had ({error}); replicas are held", "assistant")
    if redis_is_down:
        return problem("QueueUnreachable", "the gateway cannot reach Redis; answers wait until it is back", "assistant")
    return None


def deployment_problems(deployment: Mapping[str, Any] | None, component: str) -> list[Problem]:
    """What keeps a Deployment from having its pods: quota, Pod Security, or an admission."""
    found = []
    for condition in (deployment or {}).get("status", {}).get("conditions") or ():
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            found.append(create_problem(condition.get("message", ""), component))
        elif condition.get("type") == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
            found.append(problem("NotProgressing", condition.get("message", ""), component))
    return found


def create_problem(message: str, component: str) -> Problem:
    """Why the apiserver refuses a pod, by its own words."""
    if "exceeded quota" in message or "failed quota" in message:
        return problem("QuotaExceeded", message, component)
    if "violates PodSecurity" in message:
        return problem("PodSecurityForbidden", message, component)
    return problem("PodForbidden" if "forbidden" in message else "PodCreateFailed", message, component)


def job_create_problem(job: Mapping[str, Any], events: Iterable[Mapping[str, Any]], component: str) -> Problem | None:
    """A Job that has no pod yet says why only by Events of the Job controller."""
    status = job.get("status", {})
    if any(status.get(name) for name in ("active", "ready", "succeeded", "failed")):
        return None
    uid = job["metadata"].get("uid")
    refused = [event for event in events if event.get("reason") == "FailedCreate" and involved(event) == uid]
    return create_problem(max(refused, key=event_time).get("message", ""), component) if refused else None


def involved(event: Mapping[str, Any]) -> str | None:
    """The uid of what a core/v1 or events.k8s.io/v1 Event is about."""
    about = event.get("involvedObject") or event.get("regarding") or {}
    uid = about.get("uid")
    return uid if isinstance(uid, str) else None


def event_time(event: Mapping[str, Any]) -> str:
    """When it happened last; times in UTC sort as text."""
    series = event.get("series") or {}
    return str(series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or "")


def _rank(reason: str) -> int:
    return ORDER.index(reason) if reason in ORDER else len(ORDER)
