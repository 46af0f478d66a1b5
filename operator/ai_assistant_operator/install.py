"""What the chart's hooks do: bring a newer definition of Assistant objects, and let go of them at uninstall.

    python -m ai_assistant_operator.install crd FILE
    python -m ai_assistant_operator.install delete-assistants NAMESPACE RELEASE
    python -m ai_assistant_operator.install release-assistants NAMESPACE

It runs in a Job with a ServiceAccount of its own, for the operator itself may not touch definitions.
"""

import json
import os
import ssl
import sys
import time
from pathlib import Path
from typing import Any

import httpx

GROUP = "ai-assistant.dev"
CRD_PATH = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/assistants.{GROUP}"
VERSION = f"{GROUP}/schema-revision"
"""Annotation with a number that grows with every change of the definition."""
FIELD_MANAGER = "ai-assistant-crd"
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
DELETE_SECONDS = 90.0
"""More than the operator's finalizer takes at most."""
ESTABLISH_SECONDS = 30.0


class InstallError(Exception):
    """A hook cannot do its work; the text says why."""


def connect() -> httpx.Client:
    """A client of the API server of the cluster that this pod runs in."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    host = f"[{host}]" if ":" in host else host
    return httpx.Client(
        base_url=f"https://{host}:{port}",
        headers={"Authorization": f"Bearer {(ACCOUNT / 'token').read_text().strip()}"},
        verify=ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt")),
        timeout=30.0,
        trust_env=False,
    )


def version_of(definition: dict[str, Any]) -> int:
    """The number in a definition's annotation; 0 without one. Raises InstallError for what is no number."""
    text = (definition["metadata"].get("annotations") or {}).get(VERSION, "0")
    if not text.isdecimal():
        raise InstallError(f"the annotation {VERSION} of {definition['metadata']['name']} is {text!r} instead of a number")
    return int(text)


def apply_definition(client: httpx.Client, ours: dict[str, Any]) -> str:
    """Make the definition, or replace an older one; returns what was done. Raises InstallError."""
    answer = client.get(CRD_PATH)
    if answer.status_code == 404:
        done = f"made version {version_of(ours)}"
    else:
        there = version_of(checked(answer))
        if there >= version_of(ours):
            return f"left version {there}, ours is {version_of(ours)}"
        done = f"replaced version {there} by {version_of(ours)}"
    checked(
        client.patch(
            CRD_PATH,
            params={"fieldManager": FIELD_MANAGER, "force": "true"},
            content=json.dumps(ours),
            headers={"Content-Type": "application/apply-patch+yaml"},
        )
    )
    wait_established(client)
    return done


def wait_established(client: httpx.Client) -> None:
    """Wait until the API server serves the definition. Raises InstallError with its words if it does not accept the names."""
    until = time.monotonic() + ESTABLISH_SECONDS
    while True:
        # right after it was made, `conditions` is null
        conditions = (checked(client.get(CRD_PATH)).get("status") or {}).get("conditions") or []
        if any(condition["type"] == "Established" and condition["status"] == "True" for condition in conditions):
            return
        if time.monotonic() > until:
            words = "; ".join(condition["message"] for condition in conditions if condition["status"] == "False")
            raise InstallError(f"the API server does not serve the new definition: {words or 'it does not say why'}")
        time.sleep(0.2)


def delete_assistants(client: httpx.Client, namespace: str, release: str, seconds: float = DELETE_SECONDS) -> str:
    """Delete the Assistants of a release and wait for the operator's farewell; without one they are let go all the same."""
    path, selector = assistants_path(namespace), {"labelSelector": f"app.kubernetes.io/instance={release}"}
    names = [item["metadata"]["name"] for item in checked(client.get(path, params=selector)).get("items", [])]
    for name in names:
        checked(client.delete(f"{path}/{name}"), missing_is_fine=True)
    until = time.monotonic() + seconds
    while checked(client.get(path, params=selector)).get("items"):
        if time.monotonic() > until:
            left = release_assistants(client, namespace, release)
            return f"deleted {len(names)} Assistants; the operator did not answer, so {left}"
        time.sleep(0.5)
    return f"deleted {len(names)} Assistants"


def release_assistants(client: httpx.Client, namespace: str, release: str | None = None) -> str:
    """Take our finalizers off, so that Assistants can be deleted where no operator runs any more."""
    path = assistants_path(namespace)
    answer = client.get(path, params={"labelSelector": f"app.kubernetes.io/instance={release}"} if release else None)
    released = 0
    for item in checked(answer, missing_is_fine=True).get("items", []):
        metadata = item["metadata"]
        finalizers = metadata.get("finalizers", [])
        kept = [name for name in finalizers if not name.startswith(f"{GROUP}/")]
        if kept == finalizers:
            continue
        # with the version, so that nobody's new finalizer is lost; a Job tries again
        patch = {"metadata": {"finalizers": kept, "resourceVersion": metadata["resourceVersion"]}}
        merge = {"Content-Type": "application/merge-patch+json"}
        checked(client.patch(f"{path}/{metadata['name']}", content=json.dumps(patch), headers=merge), missing_is_fine=True)
        released += 1
    return f"let {released} Assistants go"


def assistants_path(namespace: str) -> str:
    return f"/apis/{GROUP}/v1alpha1/namespaces/{namespace}/assistants"


def checked(answer: httpx.Response, *, missing_is_fine: bool = False) -> dict[str, Any]:
    """The answer's object; {} where 404 is fine. Raises InstallError with the API server's words."""
    if answer.status_code == 404 and missing_is_fine:
        return {}
    if answer.is_error:
        try:
            words = str(answer.json()["message"])
        except (ValueError, KeyError, TypeError):
            words = answer.text[:500]
        raise InstallError(f"{answer.request.method} {answer.request.url.path} was answered {answer.status_code}: {words}")
    body: dict[str, Any] = answer.json()
    return body


def run(client: httpx.Client, arguments: list[str]) -> str:
    """Do what the arguments say; returns a sentence for the log. Raises InstallError."""
    match arguments:
        case ["crd", file]:
            return apply_definition(client, json.loads(Path(file).read_text()))
        case ["delete-assistants", namespace, release]:
            return delete_assistants(client, namespace, release)
        case ["release-assistants", namespace]:
            return release_assistants(client, namespace)
    raise InstallError(f"unknown arguments: {' '.join(arguments)}")


def main() -> int:
    try:
        with connect() as client:
            sys.stdout.write(f"{run(client, sys.argv[1:])}\n")
    except (InstallError, httpx.HTTPError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
