"""How pods can fare: what a kubelet would report. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Self

Pod = Mapping[str, Any]
Status = dict[str, Any]


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Behaviour:
    """What becomes of a pod."""

    status: Callable[[Pod], Status]
    """Its status in the end."""
    is_scheduled: bool = True
    after_seconds: float = 0.0
    """It runs, and is not ready, for so long before."""
    event: tuple[str, str] | None = None
    """Reason and message of a Warning about it."""
    log: str = ""
    """What its containers have printed."""
    drain_seconds: float = 0.0
    """How long it takes to end after a deletion, at most its grace period."""

    def after(self, seconds: float) -> Self:
        return replace(self, after_seconds=seconds)

    def printing(self, log: str) -> Self:
        return replace(self, log=log)

    def draining(self, seconds: float) -> Self:
        return replace(self, drain_seconds=seconds)


def ready() -> Behaviour:
    return Behaviour(lambda pod: _status(pod, "Running", {"running": {"startedAt": now()}}, is_ready=True))


def starting() -> Behaviour:
    """Runs and never becomes ready."""
    return Behaviour(unready)


def unready(pod: Pod) -> Status:
    return _status(pod, "Running", {"running": {"startedAt": now()}})


def pending() -> Behaviour:
    """On a node, with its containers still to be created."""
    return _waiting("ContainerCreating", "")


def image_pull_error(message: str = "pull access denied", *, back_off: bool = True) -> Behaviour:
    return _waiting("ImagePullBackOff" if back_off else "ErrImagePull", message)


def config_error(message: str = 'secret "bot" not found') -> Behaviour:
    return _waiting("CreateContainerConfigError", message)


def crash_loop(log: str = "", exit_code: int = 1, restarts: int = 3, reason: str = "Error") -> Behaviour:
    last = {"terminated": {"exitCode": exit_code, "reason": reason, "startedAt": now(), "finishedAt": now()}}
    message = "back-off 40s restarting failed container"
    return Behaviour(
        lambda pod: _status(
            pod, "Running", {"waiting": {"reason": "CrashLoopBackOff", "message": message}}, last=last, restarts=restarts
        ),
        log=log,
    )


def out_of_memory(log: str = "") -> Behaviour:
    return crash_loop(log, exit_code=137, reason="OOMKilled")


def succeeded(message: str = "") -> Behaviour:
    """Ends by itself; `message` is what it wrote to its termination log."""
    return _ended("Succeeded", 0, "Completed", message)


def failed(message: str = "", exit_code: int = 1, reason: str = "Error") -> Behaviour:
    return _ended("Failed", exit_code, reason, message)


def unschedulable(message: str = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.") -> Behaviour:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": message,
        "lastTransitionTime": now(),
    }
    return Behaviour(
        lambda _: {"phase": "Pending", "conditions": [condition]}, is_scheduled=False, event=("FailedScheduling", message)
    )


def _waiting(reason: str, message: str) -> Behaviour:
    return Behaviour(lambda pod: _status(pod, "Pending", {"waiting": {"reason": reason, "message": message}}))


def _ended(phase: str, exit_code: int, reason: str, message: str) -> Behaviour:
    def status(pod: Pod) -> Status:
        ended = {"exitCode": exit_code, "reason": reason, "message": message, "startedAt": now(), "finishedAt": now()}
        return _status(pod, phase, {"terminated": ended})

    return Behaviour(status)


def _status(
    pod: Pod, phase: str, state: Status, *, is_ready: bool = False, last: Status | None = None, restarts: int = 0
) -> Status:
    word = "True" if is_ready else "False"
    ready_types = ("Initialized", "PodScheduled")
    return {
        "phase": phase,
        "startTime": now(),
        "hostIP": "127.0.0.1",
        "podIP": "127.0.0.1",
        "podIPs": [{"ip": "127.0.0.1"}],
        "conditions": [
            *({"type": name, "status": "True", "lastTransitionTime": now()} for name in ready_types),
            *({"type": name, "status": word, "lastTransitionTime": now()} for name in ("ContainersReady", "Ready")),
        ],
        "containerStatuses": [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": "",
                "ready": is_ready,
                "started": "running" in state,
                "restartCount": restarts,
                "state": state,
                "lastState": last or {},
            }
            for container in pod["spec"]["containers"]
        ],
    }
