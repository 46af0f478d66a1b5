"""The Job that makes a model package, what its log and its end tell, and when to try again. Pure.

One Job is one attempt: Kubernetes' own retries would hide why each one failed, and forget what to wait for.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from ai_assistant_operator import names
from ai_assistant_operator.manifests import Owner, child, filled
from ai_assistant_operator.model_version import ModelPackage, ModelVersion
from ai_assistant_operator.templates import Template

RESULT_FILE = "/dev/termination-log"
_KEPT_SECONDS = 3600
"""How long an ended Job stays for people to read its log."""
_LIMIT_SECONDS = 12 * 3600
_FIRST_PAUSE, _LONGEST_PAUSE = 10.0, 300.0
_FIRST_LASTING_PAUSE, _LONGEST_LASTING_PAUSE = 60.0, 1800.0
_SETTLE_SECONDS = 5.0
_DIGEST_DIGITS = 32

REASONS = {
    "download_failed": "DownloadFailed",
    "source_unreachable": "DownloadFailed",
    "source_not_found": "SourceNotFound",
    "source_unauthorized": "SourceUnauthorized",
    "checksum_mismatch": "ChecksumMismatch",
    "unsupported_model": "UnsupportedModel",
    "model_package_broken": "ModelBroken",
    "model_rejected": "ModelRejected",
    "export_failed": "ExportFailed",
    "no_space": "NoSpace",
    "configuration_error": "ProvisionMisconfigured",
    "interrupted": "ProvisionInterrupted",
}
"""Codes of the provisioner's errors and what they are called in a status."""
LASTING = {
    "SourceNotFound",
    "SourceUnauthorized",
    "ChecksumMismatch",
    "UnsupportedModel",
    "ModelBroken",
    "ModelRejected",
    "ExportFailed",
    "ProvisionMisconfigured",
}
"""What the next attempt most likely meets again; it is made all the same, for a repository or a Secret may have been mended."""


@dataclass(frozen=True)
class Outcome:
    """How far a Job has come."""

    state: Literal["running", "succeeded", "failed"]
    package: ModelPackage | None = None
    """Of a Job that succeeded."""
    reason: str = ""
    message: str = ""
    """Of one that failed: a stable word, and the provisioner's or Kubernetes' own words."""
    look_again: float | None = None
    """Seconds after which to read it again if nothing arrives."""


def provision_job(
    owner: Owner, template: Template, version: ModelVersion, attempt: int, *, resolved: str | None = None
) -> dict[str, Any]:
    """One attempt at a version. `resolved`: the commit that it meant before, when its package has to be built again."""
    arguments = ["model", "build", version.pinned(resolved), "--precision", version.precision]
    arguments += ["--store", template.store, "--result", RESULT_FILE]
    env = {"AI_ASSISTANT_DEVICE": "cpu"}
    account = names.service_account_name(owner.name)
    pod = filled(template, owner, names.PROVISIONER, account, env, args=arguments)
    pod["metadata"]["labels"][names.MODEL_VERSION_LABEL] = version.name
    pod["spec"]["restartPolicy"] = "Never"
    spec = {
        "backoffLimit": 0,
        "activeDeadlineSeconds": _LIMIT_SECONDS,
        "ttlSecondsAfterFinished": _KEPT_SECONDS,
        "template": pod,
    }
    name = names.provision_job_name(owner.name, version.name, attempt)
    job = child(owner, "batch/v1", "Job", name, names.PROVISIONER, spec=spec)
    job["metadata"]["labels"] |= {names.MODEL_VERSION_LABEL: version.name, names.ATTEMPT_LABEL: str(attempt)}
    return job


def prune_job(owner: Owner, template: Template, kept: Iterable[str], name: str) -> dict[str, Any]:
    """Removes from the store what is not in `kept` and older than an hour; the store itself knows what there is."""
    arguments = ["model", "prune", "--store", template.store]
    for digest in sorted(kept):
        arguments += ["--keep", digest]
    pod = filled(template, owner, "collector", names.service_account_name(owner.name), {}, args=arguments)
    pod["spec"]["restartPolicy"] = "Never"
    spec = {"backoffLimit": 0, "activeDeadlineSeconds": 600, "ttlSecondsAfterFinished": 60, "template": pod}
    return child(owner, "batch/v1", "Job", name, "collector", spec=spec)


def precision_for(precision: str, gpus: int) -> str:
    """What `auto` means where nobody can look at the worker's device: a provision Job has no GPU."""
    return "fp16" if precision == "auto" and gpus else precision


def outcome(job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]], version: ModelVersion, now: datetime) -> Outcome:
    """Reads a Job with its pods; a success without a readable result is a failure, for nobody would know its package.

    A Job's end may be seen a moment before its pod's: within some seconds a Job whose pod tells nothing still runs.
    """
    conditions = {
        entry["type"]: entry for entry in job.get("status", {}).get("conditions") or () if entry.get("status") == "True"
    }
    if not conditions.keys() & {"Complete", "SuccessCriteriaMet", "Failed", "FailureTarget"}:
        return Outcome("running")
    ends = [end for pod in pods if (end := _ended(pod)) is not None]
    if not ends and not any(pod.get("status", {}).get("reason") for pod in pods):
        since = max((entry.get("lastTransitionTime") or "" for entry in conditions.values()), default="")
        left = _SETTLE_SECONDS - (now - datetime.fromisoformat(since)).total_seconds() if since else 0.0
        if left > 0:
            return Outcome("running", look_again=left)
    results = [result for end in ends if (result := _result(end.get("message"))) is not None]
    if conditions.keys() & {"Complete", "SuccessCriteriaMet"}:
        for result in results:
            if package := _package(result, version):
                return Outcome("succeeded", package)
        return Outcome(
            "failed", None, "ResultLost", "The build ended well, but what came of it is not known; it is started again."
        )
    for result in results:
        if isinstance(code := result.get("error"), str):
            return Outcome("failed", None, REASONS.get(code, "ProvisionFailed"), str(result.get("message") or code))
    for end in ends:
        if end.get("reason") == "OOMKilled":
            return Outcome(
                "failed",
                None,
                "OOMKilled",
                "The build needed more memory than its limit; raise provisioner.resources.limits.memory.",
            )
    for pod in pods:
        if pod.get("status", {}).get("reason"):
            status = pod["status"]
            return Outcome("failed", None, "PodEvicted", f"{status['reason']}: {status.get('message', '')}".strip(": "))
    for end in ends:
        return Outcome(
            "failed", None, "ProvisionFailed", f"exit code {end.get('exitCode')}: {_last_line(end.get('message'))}".rstrip(": ")
        )
    failed = conditions.get("Failed") or conditions["FailureTarget"]
    return Outcome("failed", None, "ProvisionFailed", f"{failed.get('reason', '')}: {failed.get('message', '')}".strip(": "))


def pause_before(attempt: int, reason: str) -> float:
    """Seconds between a failure and the attempt of this number (2 is the first repetition)."""
    first, longest = (_FIRST_LASTING_PAUSE, _LONGEST_LASTING_PAUSE) if reason in LASTING else (_FIRST_PAUSE, _LONGEST_PAUSE)
    return min(longest, first * math.pow(2, min(max(attempt - 2, 0), 20)))


def progress(log: Iterable[str]) -> dict[str, Any] | None:
    """`status.provisioning` from the last line of a running Job's log that tells of progress; None: there is none yet."""
    for line in reversed(list(log)):
        try:
            told = json.loads(line)
        except ValueError:
            continue
        if isinstance(told, dict) and isinstance(told.get("stage"), str):
            found = {
                "stage": told["stage"],
                "bytes": _whole(told.get("bytes")),
                "total": _whole(told.get("total")),
                "bytesPerSecond": _whole(told.get("bytes_per_second")),
                "etaSeconds": _whole(told.get("eta_seconds")),
            }
            return {name: value for name, value in found.items() if value is not None}
    return None


def percent(provisioning: Mapping[str, Any]) -> int | None:
    """How much of the stage is done, for people who wait."""
    done, total = provisioning.get("bytes"), provisioning.get("total")
    return None if done is None or not total else max(0, min(100, 100 * done // total))


def _ended(pod: Mapping[str, Any]) -> Mapping[str, Any] | None:
    for status in pod.get("status", {}).get("containerStatuses") or ():
        if status.get("name") == names.PROVISIONER:
            end = (status.get("state") or {}).get("terminated") or (status.get("lastState") or {}).get("terminated")
            return end if isinstance(end, Mapping) else None
    return None


def _result(message: str | None) -> dict[str, Any] | None:
    """The provisioner's JSON; after a kill the kubelet puts the end of the log there instead."""
    try:
        result = json.loads(message or "")
    except ValueError:
        return None
    return result if isinstance(result, dict) and ("digest" in result or "error" in result) else None


def _package(result: Mapping[str, Any], version: ModelVersion) -> ModelPackage | None:
    digest, path, revision = (result.get(name) for name in ("digest", "path", "revision"))
    if not (isinstance(digest, str) and len(digest) == _DIGEST_DIGITS and isinstance(path, str)):
        return None
    return ModelPackage(version, digest, path, revision if isinstance(revision, str) else None)


def _last_line(text: str | None) -> str:
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else None
