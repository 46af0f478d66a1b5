"""Every fault by its name, in Kubernetes' own words, gone when it is over. Objects as Kubernetes 1.35 shows them."""

from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ai_assistant_operator.pod_problems import last_line, pod_problems, settles_after
from ai_assistant_operator.problems import (
    ORDER,
    Problem,
    create_problem,
    deployment_problems,
    job_create_problem,
    ranked,
    signal_problem,
)

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
OLD = "2026-11-23T11:00:00Z"


def ago(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def pod(*containers: dict[str, Any], name: str = "demo-worker-1", phase: str = "Running", **status: Any) -> dict[str, Any]:
    is_ready = bool(containers) and all(container.get("ready") for container in containers)
    return {
        "metadata": {"name": name, "namespace": "chat", "uid": f"uid-{name}", "creationTimestamp": OLD},
        "status": {
            "phase": phase,
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": "True" if is_ready else "False"},
            ],
            "containerStatuses": list(containers),
            **status,
        },
    }


def container(state: dict[str, Any], *, ready: bool = False, last: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {
        "name": "worker",
        "image": "registry.example/worker:1",
        "ready": ready,
        "started": more.pop("started", ready),
        "restartCount": 1 if last else 0,
        "state": state,
        "lastState": {"terminated": last} if last else {},
        **more,
    }


def waiting(reason: str, message: str = "", last: dict[str, Any] | None = None) -> dict[str, Any]:
    return container({"waiting": {"reason": reason, "message": message}}, last=last)


def running(seconds: float = 600, **more: Any) -> dict[str, Any]:
    return container({"running": {"startedAt": ago(seconds)}}, **more)


def ended(code: int = 1, reason: str = "Error", message: str = "") -> dict[str, Any]:
    return {"exitCode": code, "reason": reason, "message": message, "startedAt": ago(60), "finishedAt": ago(20)}


def event(reason: str, message: str, about: str = "demo-worker-1", seconds: float = 5) -> dict[str, Any]:
    return {
        "type": "Warning",
        "reason": reason,
        "message": message,
        "involvedObject": {"kind": "Pod", "name": about, "uid": f"uid-{about}"},
        "lastTimestamp": ago(seconds),
    }


def unscheduled(message: str) -> dict[str, Any]:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return pod(phase="Pending", conditions=[condition])


NOT_FOUND = 'rpc error: code = NotFound desc = failed to pull and unpack image "registry.example/worker:1": not found'
BACK_OFF_PULLING = 'Back-off pulling image "registry.example/worker:1"'
BACK_OFF = "back-off 40s restarting failed container=worker pod=demo-worker-1_chat(uid)"
NO_SECRET = 'secret "telegram" not found'
NO_CUDA = "error: CUDA cannot be used: no CUDA-capable device is detected. Or set AI_ASSISTANT_DEVICE=cpu."
NO_TOKEN = "error: Telegram refuses AI_ASSISTANT_TELEGRAM_TOKEN; get a new one from @BotFather."
MOUNT = 'MountVolume.SetUp failed for volume "ca" : secret "ca" not found'
PROBE = "Readiness probe failed: HTTP probe failed with statuscode: 503"
NO_DEVICES = "Allocate failed due to requested number of devices unavailable for nvidia.com/gpu"
NO_FILE = "error: model.onnx is missing; build it again with `ai-assistant model build`"
LIVENESS = "Container worker failed liveness probe, will be restarted"

FAULTS: list[tuple[str, dict[str, Any], list[dict[str, Any]], str]] = [
    ("ImagePullError", pod(waiting("ErrImagePull", NOT_FOUND), phase="Pending"), [], NOT_FOUND),
    ("ImagePullError", pod(waiting("ImagePullBackOff", BACK_OFF_PULLING + ": ErrImagePull: " + NOT_FOUND)), [], NOT_FOUND),
    (
        "ImagePullError",
        pod(waiting("ImagePullBackOff", BACK_OFF_PULLING), phase="Pending"),
        [event("Failed", 'Failed to pull image "registry.example/worker:1": denied')],
        'Failed to pull image "registry.example/worker:1": denied',
    ),
    (
        "ImagePullError",
        pod(waiting("InvalidImageName", "couldn't parse image name")),
        [],
        "registry.example/worker:1: couldn't parse image name",
    ),
    (
        "ImagePullError",
        pod(waiting("ErrImageNeverPull", "Container image is not present with pull policy of Never")),
        [],
        "not present",
    ),
    ("OOMKilled", pod(waiting("CrashLoopBackOff", BACK_OFF, ended(137, "OOMKilled"))), [], "needed more memory than its limit"),
    ("OOMKilled", pod(running(2, last=ended(137, "OOMKilled"))), [], "worker needed more memory"),
    ("OOMKilled", pod(container({"terminated": ended(137, "OOMKilled")})), [], "worker needed more memory"),
    (
        "CrashLoop",
        pod(waiting("CrashLoopBackOff", BACK_OFF, ended(1, message="INFO starting\nerror: Port 9100 is taken.\n"))),
        [],
        "the container worker ends with exit code 1: Port 9100 is taken.",
    ),
    ("CrashLoop", pod(waiting("CrashLoopBackOff", BACK_OFF, ended(0, "Completed"))), [], "ends with exit code 0"),
    (
        "CrashLoop",
        pod(initContainerStatuses=[waiting("CrashLoopBackOff", BACK_OFF, ended(2))], phase="Pending"),
        [],
        "exit code 2",
    ),
    (
        "Unschedulable",
        unscheduled("0/3 nodes are available: 3 Insufficient memory. preemption: 0/3"),
        [],
        "0/3 nodes are available: 3 Insufficient memory.",
    ),
    ("GpuUnavailable", unscheduled("0/3 nodes are available: 3 Insufficient nvidia.com/gpu."), [], "Insufficient nvidia.com/gpu"),
    (
        "GpuUnavailable",
        pod(phase="Failed", reason="UnexpectedAdmissionError", message=NO_DEVICES),
        [],
        "devices unavailable for nvidia.com/gpu",
    ),
    (
        "GpuUnavailable",
        pod(waiting("RunContainerError", "nvidia-container-cli: initialization error: driver not loaded")),
        [],
        "driver not loaded",
    ),
    ("GpuUnavailable", pod(waiting("CrashLoopBackOff", BACK_OFF, ended(1, message=NO_CUDA))), [], "CUDA cannot be used"),
    (
        "VolumeNotBound",
        unscheduled("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."),
        [],
        "unbound immediate",
    ),
    (
        "VolumeNotBound",
        unscheduled('0/1 nodes are available: persistentvolumeclaim "models" not found.'),
        [],
        '"models" not found',
    ),
    ("SecretMissing", pod(waiting("CreateContainerConfigError", NO_SECRET), phase="Pending"), [], NO_SECRET),
    (
        "SecretMissing",
        pod(waiting("CreateContainerConfigError", "couldn't find key token in Secret chat/telegram")),
        [],
        "token in Secret chat/telegram",
    ),
    ("SecretMissing", pod(waiting("ContainerCreating"), phase="Pending"), [event("FailedMount", MOUNT)], MOUNT),
    ("ConfigMissing", pod(waiting("CreateContainerConfigError", 'configmap "ca" not found')), [], 'configmap "ca" not found'),
    (
        "ContainerCannotStart",
        pod(waiting("CreateContainerConfigError", "container has runAsNonRoot and image will run as root")),
        [],
        "runAsNonRoot",
    ),
    (
        "VolumeNotMounted",
        pod(waiting("ContainerCreating"), phase="Pending"),
        [event("FailedAttachVolume", "Multi-Attach error for volume")],
        "Multi-Attach",
    ),
    (
        "TelegramUnauthorized",
        pod(waiting("CrashLoopBackOff", BACK_OFF, ended(1, message=NO_TOKEN))),
        [],
        NO_TOKEN.removeprefix("error: "),
    ),
    (
        "QueueUnreachable",
        pod(waiting("CrashLoopBackOff", BACK_OFF, ended(1, message="Cannot connect to redis://queue:6379/0: refused"))),
        [],
        "Cannot connect",
    ),
    ("ModelBroken", pod(waiting("CrashLoopBackOff", BACK_OFF, ended(1, message=NO_FILE))), [], "model.onnx is missing"),
    (
        "PodEvicted",
        pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory."),
        [],
        "Evicted: The node was low on resource",
    ),
    ("ProbeFailing", pod(running(started=True)), [event("Unhealthy", PROBE)], PROBE),
    ("ProbeFailing", pod(running(3, last=ended(137))), [event("Killing", LIVENESS)], LIVENESS),
]


@pytest.mark.parametrize(
    ("reason", "thing", "events", "words"), FAULTS, ids=[f"{n}-{fault[0]}" for n, fault in enumerate(FAULTS)]
)
def test_a_fault_has_a_name_and_kubernetes_words(
    reason: str, thing: dict[str, Any], events: list[dict[str, Any]], words: str
) -> None:
    (found,) = pod_problems([thing], events, "worker", NOW)
    assert (found.reason, found.component) == (reason, "worker")
    assert words in found.message
    assert reason in ORDER
    # it goes with its pod
    gone = deepcopy(thing)
    gone["metadata"]["deletionTimestamp"] = ago(1)
    assert pod_problems([gone], events, "worker", NOW) == []
    assert pod_problems([], events, "worker", NOW) == []


@pytest.mark.parametrize(
    "thing",
    [
        pod(running(ready=True)),
        pod(running(30)),  # loading its model
        pod(waiting("ContainerCreating"), phase="Pending"),
        pod(waiting("PodInitializing"), phase="Pending"),
        pod(container({"terminated": ended(0, "Completed")}), phase="Succeeded"),
        pod(running(10, ready=True, last=ended(1))),  # well again
        pod(phase="Pending", conditions=[]),
    ],
)
def test_what_is_not_wrong(thing: dict[str, Any]) -> None:
    events = [event("Unhealthy", "Startup probe failed: connection refused"), event("FailedMount", MOUNT, about="other")]
    assert pod_problems([thing], events, "worker", NOW) == []


def test_an_image_problem_is_the_same_while_the_kubelet_tries_and_waits() -> None:
    trying, backing_off = (pod_problems([fault[1]], [], "worker", NOW) for fault in FAULTS[:2])
    assert trying == backing_off


def test_a_crash_loop_does_not_flicker_and_ends_within_seconds() -> None:
    crash = ended(1, message="error: no")
    first = pod_problems([pod(container({"terminated": crash}))], [], "worker", NOW)
    for next_state in (
        waiting("CrashLoopBackOff", BACK_OFF, crash),
        running(1, last=crash),
        running(1, last=crash, ready=True),  # a container without a readiness probe is ready as soon as it runs
        running(120, last=crash),  # loading again
    ):
        assert pod_problems([pod(next_state)], [], "worker", NOW) == first
    well = pod(running(5, last=crash, ready=True))
    assert pod_problems([well], [], "worker", NOW) == []
    assert settles_after([well], NOW) is None
    assert settles_after([pod(running(2, last=crash, ready=True)), pod(running(ready=True))], NOW) == pytest.approx(3)


def test_the_log_tells_where_the_kubelet_does_not() -> None:
    thing = pod(waiting("CrashLoopBackOff", BACK_OFF, ended(1)))
    (found,) = pod_problems([thing], [], "worker", NOW, logs={"demo-worker-1": '{"event": "no such table", "timestamp": "x"}\n'})
    assert found.message == "the container worker ends with exit code 1: no such table"
    assert last_line("") == last_line("\n \n") == ""
    assert last_line("a\n[1, 2]\n") == "[1, 2]"


def test_pods_with_one_fault_are_one_problem() -> None:
    pods = [pod(waiting("ErrImagePull", NOT_FOUND), name=f"demo-worker-{n}") for n in range(2)]
    (found,) = pod_problems([*pods, pod(running(ready=True), name="demo-worker-3")], [], "worker", NOW)
    assert found.message.startswith("2 of 3 pods: ")


def test_an_evicted_pod_is_forgotten_once_another_is_ready() -> None:
    evicted = pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory.")
    assert pod_problems([evicted, pod(running(ready=True), name="demo-worker-2")], [], "worker", NOW) == []
    assert len(pod_problems([evicted, pod(running(20), name="demo-worker-2")], [], "worker", NOW)) == 1


QUOTA = 'pods "demo-worker-x" is forbidden: exceeded quota: team, requested: pods=1, used: pods=4, limited: pods=4'
SECURITY = 'pods "x" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false'


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (QUOTA, "QuotaExceeded"),
        (SECURITY, "PodSecurityForbidden"),
        ('pods "x" is forbidden: error looking up service account chat/demo-assistant', "PodForbidden"),
        ("Internal error occurred: failed calling webhook", "PodCreateFailed"),
    ],
)
def test_pods_that_are_refused(words: str, reason: str) -> None:
    conditions = [
        {"type": "Progressing", "status": "True", "reason": "NewReplicaSetCreated", "message": ""},
        {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": words},
    ]
    (found,) = deployment_problems({"status": {"conditions": conditions}}, "bot")
    assert (found.reason, found.message, found.component) == (reason, words, "bot")
    conditions[1]["status"] = "False"
    assert deployment_problems({"status": {"conditions": conditions}}, "bot") == []
    assert deployment_problems(None, "bot") == []


def test_a_job_without_a_pod_is_told_by_its_events() -> None:
    job: dict[str, Any] = {"metadata": {"name": "job", "uid": "uid-job"}, "status": {}}
    refused = event("FailedCreate", "Error creating: " + QUOTA, about="job")
    found = job_create_problem(job, [refused, event("FailedCreate", "older", about="job", seconds=90)], "provisioner")
    assert found is not None
    assert (found.reason, found.message) == ("QuotaExceeded", "Error creating: " + QUOTA)
    assert job_create_problem(job, [event("FailedCreate", QUOTA)], "provisioner") is None
    assert job_create_problem({**job, "status": {"active": 1}}, [refused], "provisioner") is None


def test_problems_are_ranked_whatever_their_order() -> None:
    problems = [
        Problem("CrashLoop", "b", "worker"),
        Problem("SecretMissing", "c", "worker"),
        Problem("CrashLoop", "a", "worker"),
        Problem("CrashLoop", "a", "bot"),
        Problem("SomethingNew", "z", "worker"),
    ]
    told = [(problem.reason, problem.component, problem.message) for problem in ranked(problems)]
    assert told == [
        ("SecretMissing", "worker", "c"),
        ("CrashLoop", "bot", "a"),
        ("CrashLoop", "worker", "a"),
        ("SomethingNew", "worker", "z"),
    ]
    assert ranked(reversed(problems)) == ranked(problems)


def test_long_words_are_cut_and_kept_on_one_line() -> None:
    found = create_problem("exceeded quota:\n" + "x" * 2000, "worker")
    assert (len(found.message), found.message[:17], found.message[-1]) == (600, "exceeded quota: x", "…")


def test_a_lost_signal_has_a_name() -> None:
    lost, down = signal_problem("connection refused"), signal_problem(None, redis_is_down=True)
    assert lost is not None
    assert down is not None
    assert (lost.reason, down.reason, signal_problem(None)) == ("GatewayUnreachable", "QueueUnreachable", None)
    assert "connection refused" in lost.message
