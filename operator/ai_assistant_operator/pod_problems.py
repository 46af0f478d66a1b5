"""What is wrong with pods, from their conditions, their containers' states and their Events. Pure."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ai_assistant_operator.problems import Problem, event_time, involved, problem

SETTLED_SECONDS = 5.0
"""A container that crashed counts as crashing until it has been ready for so long: no flicker between two crashes."""

_IMAGE_REASONS = {
    "ImagePullBackOff",
    "ErrImagePull",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
}
_START_REASONS = {"CreateContainerError", "RunContainerError", "StartError", "ContainerCannotRun", "PostStartHookError"}
# Older kubelets say less after the first attempt; newer ones repeat the cause behind this.
_BACK_OFF = re.compile(r'^Back-off pulling image "[^"]*"(?:: (?:ErrImagePull: )?)?')
_GPU = re.compile(r"nvidia|CUDA|\bGPUs?\b", re.IGNORECASE)
_VOLUME = re.compile(r"persistentvolumeclaim|volume node affinity|available persistent volumes", re.IGNORECASE)
_SECRET = re.compile(r"""secrets? ["'][^"']+["'] not found|references non-existent secret key|in Secret \S+""", re.IGNORECASE)
_CONFIG_MAP = re.compile(r"""configmaps? ["'][^"']+["'] not found|in ConfigMap \S+""", re.IGNORECASE)
_TELEGRAM = re.compile(r"Telegram refuses|telegram.*unauthorized", re.IGNORECASE)
_QUEUE = re.compile(r"(redis|valkey).*(cannot|refused|timeout|timed out|error|closed)|Cannot connect to redis", re.IGNORECASE)
_DATABASE = re.compile(r"(database|postgres).*(cannot be reached|refused|timeout|timed out)", re.IGNORECASE)
_MODEL = re.compile(r"build it again with `ai-assistant model build`|package .* (broken|damaged)", re.IGNORECASE)
_MOUNT_REASONS = {"FailedMount", "FailedAttachVolume", "FailedMapVolume"}


def pod_problems(
    pods: Iterable[Mapping[str, Any]],
    events: Sequence[Mapping[str, Any]],
    component: str,
    now: datetime,
    *,
    logs: Mapping[str, str] | None = None,
) -> list[Problem]:
    """One problem per reason, with the number of pods that have it. `logs`: last lines by pod, where they were read.

    Pods on their way out have none, and one that failed has none once as many others are ready as there are of them.
    """
    live = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    ready = sum(is_ready(pod) for pod in live)
    ended = [pod for pod in live if pod.get("status", {}).get("phase") == "Failed"]
    counted = [pod for pod in live if pod not in ended] if ready else live
    found: dict[str, list[Problem]] = {}
    for pod in counted:
        if one := _pod_problem(pod, events, component, now, (logs or {}).get(pod["metadata"]["name"])):
            found.setdefault(one.reason, []).append(one)
    several = len([pod for pod in live if pod not in ended])
    return [_together(same, several) for same in found.values()]


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether the pod's condition says so."""
    return any(
        condition.get("type") == "Ready" and condition.get("status") == "True"
        for condition in pod.get("status", {}).get("conditions") or ()
    )


def settles_after(pods: Iterable[Mapping[str, Any]], now: datetime) -> float | None:
    """Seconds until some crash is forgiven if nothing else happens: look again then. None: nothing to wait for."""
    pauses = []
    for pod in pods:
        for status in _statuses(pod):
            if _crash(status) is not None and status.get("ready"):
                left = SETTLED_SECONDS - _running_seconds(status, now)
                if left > 0:
                    pauses.append(left)
    return min(pauses, default=None)


def _together(same: list[Problem], pods: int) -> Problem:
    first = min(same, key=lambda one: one.message)
    if len(same) < 2:
        return first
    return problem(first.reason, f"{len(same)} of {max(pods, len(same))} pods: {first.message}", first.component)


def _pod_problem(
    pod: Mapping[str, Any], events: Sequence[Mapping[str, Any]], component: str, now: datetime, log: str | None
) -> Problem | None:
    status = pod.get("status", {})
    if status.get("phase") == "Failed" and status.get("reason"):
        words = f"{status['reason']}: {status.get('message', '')}".strip(": ")
        is_gpu = status["reason"] in {"UnexpectedAdmissionError", "OutOfnvidia.com/gpu"} and _GPU.search(words)
        return problem("GpuUnavailable" if is_gpu else "PodEvicted", words, component)
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return _unscheduled(condition, component)
    mine = [event for event in events if event.get("type") != "Normal" and involved(event) == pod["metadata"].get("uid")]
    for container in _statuses(pod):
        if one := _container_problem(container, mine, component, now, log):
            return one
    return _mount_problem(pod, mine, component)


def _unscheduled(condition: Mapping[str, Any], component: str) -> Problem:
    words = condition.get("message") or condition.get("reason") or "no node was chosen"
    if "nvidia.com/gpu" in words:
        return problem("GpuUnavailable", words, component)
    return problem("VolumeNotBound" if _VOLUME.search(words) else "Unschedulable", words, component)


def _container_problem(
    status: Mapping[str, Any], events: Sequence[Mapping[str, Any]], component: str, now: datetime, log: str | None
) -> Problem | None:
    waiting = (status.get("state") or {}).get("waiting") or {}
    reason, words = waiting.get("reason", ""), waiting.get("message") or ""
    if reason in _IMAGE_REASONS:
        return problem("ImagePullError", _image_words(status, reason, words, events), component)
    if reason == "CreateContainerConfigError":
        return problem(_missing(words) or "ContainerCannotStart", words, component)
    if reason in _START_REASONS:
        return problem("GpuUnavailable" if _GPU.search(words) else "ContainerCannotStart", f"{reason}: {words}", component)
    crash = _crash(status)
    if crash is not None and not (status.get("ready") and _running_seconds(status, now) >= SETTLED_SECONDS):
        return _crash_problem(status.get("name", component), crash, events, component, log)
    running = (status.get("state") or {}).get("running")
    if running and status.get("started") and not status.get("ready"):
        failed = [event for event in events if event.get("reason") == "Unhealthy" and "eadiness" in event.get("message", "")]
        if failed:
            return problem("ProbeFailing", max(failed, key=event_time)["message"], component)
    return None


def _image_words(status: Mapping[str, Any], reason: str, words: str, events: Sequence[Mapping[str, Any]]) -> str:
    """The cause, the same whether the kubelet is trying just now or waiting."""
    cause = _BACK_OFF.sub("", words)
    if not cause:
        told = [event for event in events if event.get("reason") == "Failed" and "pull" in event.get("message", "")]
        cause = max(told, key=event_time)["message"] if told else reason
    image = status.get("image") or ""
    return cause if not image or image in cause else f"{image}: {cause}"


def _missing(words: str) -> str | None:
    if _CONFIG_MAP.search(words):
        return "ConfigMissing"
    return "SecretMissing" if _SECRET.search(words) else None


def _crash(status: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """How the container ended last, if that was a crash, or an end that is repeated again and again."""
    state = status.get("state") or {}
    end = state.get("terminated") or (status.get("lastState") or {}).get("terminated")
    loops = (state.get("waiting") or {}).get("reason") == "CrashLoopBackOff"
    if end is None:
        return {} if loops else None
    return end if loops or end.get("exitCode") or end.get("reason") == "OOMKilled" else None


def _crash_problem(
    container: str, end: Mapping[str, Any], events: Sequence[Mapping[str, Any]], component: str, log: str | None
) -> Problem:
    if end.get("reason") == "OOMKilled":
        return problem(
            "OOMKilled", f"the container {container} needed more memory than its limit and was killed (OOMKilled)", component
        )
    line = last_line(end.get("message") or log or "")
    for reason, pattern in (
        ("TelegramUnauthorized", _TELEGRAM),
        ("GpuUnavailable", re.compile(r"CUDA", re.IGNORECASE)),
        ("ModelBroken", _MODEL),
        ("DatabaseUnreachable", _DATABASE),
        ("QueueUnreachable", _QUEUE),
    ):
        if pattern.search(line):
            return problem(reason, line, component)
    if end.get("reason") in _START_REASONS:
        return problem("GpuUnavailable" if _GPU.search(line) else "ContainerCannotStart", f"{end['reason']}: {line}", component)
    killed = [
        event for event in events if event.get("reason") in {"Killing", "Unhealthy"} and "iveness" in event.get("message", "")
    ]
    if killed and end.get("exitCode") in {137, 143}:
        return problem("ProbeFailing", max(killed, key=event_time)["message"], component)
    code = f"ends with exit code {end['exitCode']}" if "exitCode" in end else "ends again and again"
    return problem("CrashLoop", f"the container {container} {code}" + (f": {line}" if line else ""), component)


def _mount_problem(pod: Mapping[str, Any], events: Sequence[Mapping[str, Any]], component: str) -> Problem | None:
    """Of a pod that has a node and no container yet."""
    waits = [((status.get("state") or {}).get("waiting") or {}).get("reason") for status in _statuses(pod)]
    if pod.get("status", {}).get("phase") != "Pending" or any(
        wait not in {"ContainerCreating", "PodInitializing"} for wait in waits
    ):
        return None
    failed = [event for event in events if event.get("reason") in _MOUNT_REASONS]
    if failed:
        words = max(failed, key=event_time).get("message", "")
        return problem(_missing(words) or "VolumeNotMounted", words, component)
    failed = [event for event in events if event.get("reason") == "FailedCreatePodSandBox"]
    return problem("ContainerCannotStart", max(failed, key=event_time).get("message", ""), component) if failed else None


def last_line(text: str) -> str:
    """The last line of a log that is not empty; of a line in JSON its message, so that a time in it changes nothing."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return ""
    try:
        told = json.loads(lines[-1])
    except ValueError:
        return lines[-1].removeprefix("error: ")
    message = told.get("event") or told.get("message") if isinstance(told, dict) else None
    return message if isinstance(message, str) else lines[-1]


def _statuses(pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    status = pod.get("status", {})
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _running_seconds(status: Mapping[str, Any], now: datetime) -> float:
    started = ((status.get("state") or {}).get("running") or {}).get("startedAt")
    return (now - datetime.fromisoformat(started)).total_seconds() if started else 0.0
