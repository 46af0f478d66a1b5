"""Our client and what is built on it, against a real API server."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from cluster.assistants import HUB, assistant
from cluster.control_plane import ControlPlane

from ai_assistant_operator import kube as kubernetes
from ai_assistant_operator.drift import is_right
from ai_assistant_operator.informer import Informer
from ai_assistant_operator.kube import ASSISTANTS, DEPLOYMENTS, SERVICE_ACCOUNTS, Kube, Object
from ai_assistant_operator.leader import Elector
from ai_assistant_operator.manifests import Owner
from ai_assistant_operator.model_version import ModelVersion
from ai_assistant_operator.policies import disruption_budget
from ai_assistant_operator.templates import Template
from ai_assistant_operator.worker import worker_deployment

TEMPLATE = Template(
    "worker",
    {
        "metadata": {"labels": {}, "annotations": {}},
        "spec": {
            "containers": [
                {
                    "name": "worker",
                    "image": "worker:1",
                    "ports": [{"name": "metrics", "containerPort": 9090}],
                    "env": [{"name": "AI_ASSISTANT_LOG_LEVEL", "value": "info"}],
                    "resources": {"requests": {"cpu": "0.5", "memory": "1024Mi"}, "limits": {"memory": "2Gi"}},
                    "securityContext": {"privileged": False, "readOnlyRootFilesystem": True},
                    "volumeMounts": [{"name": "models", "mountPath": "/models"}],
                }
            ],
            "nodeSelector": {},
            "tolerations": [],
            "volumes": [{"name": "models", "emptyDir": {}}],
        },
    },
    None,
)


@pytest.fixture
async def kube(control_plane: ControlPlane, namespace: str) -> AsyncIterator[Kube]:
    client = await kubernetes.connect(namespace, str(control_plane.admin))
    yield client
    await client.close()


@asynccontextmanager
async def watching(informer: Informer) -> AsyncIterator[None]:
    task = asyncio.ensure_future(informer.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Any, seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def account(name: str) -> Object:
    return {"metadata": {"name": name, "labels": {"kind": "test"}}}


def deployment(replicas: int = 0) -> Object:
    owner = Owner("helper", "ignored", "00000000-0000-0000-0000-000000000000")
    body = worker_deployment(owner, TEMPLATE, ModelVersion("hf://org/name", None, "auto"), replicas=replicas)
    del body["metadata"]["ownerReferences"], body["metadata"]["namespace"]
    return body


async def test_an_object_is_made_read_changed_and_deleted(kube: Kube) -> None:
    made = await kube.apply(ASSISTANTS, assistant(HUB))
    read = await kube.get(ASSISTANTS, "helper")
    assert read["metadata"]["uid"] == made["metadata"]["uid"]
    await kube.patch(ASSISTANTS, "helper", {"spec": {"instructions": "Be kind."}})
    assert (await kube.get(ASSISTANTS, "helper"))["spec"]["instructions"] == "Be kind."
    with pytest.raises(kubernetes.ConflictError):
        await kube.patch(ASSISTANTS, "helper", {"metadata": {"resourceVersion": "1"}, "spec": {"paused": True}})
    with pytest.raises(kubernetes.KubeError, match="helper") as refused:
        await kube.patch(ASSISTANTS, "helper", {"spec": {"scaling": {"minReplicas": -1}}})
    assert refused.value.status == 422
    await kube.delete(ASSISTANTS, "helper")
    with pytest.raises(kubernetes.NotFoundError):
        await kube.get(ASSISTANTS, "helper")
    await kube.delete(ASSISTANTS, "helper")


async def test_another_object_of_the_same_name_is_not_deleted(kube: Kube) -> None:
    await kube.create(SERVICE_ACCOUNTS, account("one"))
    await kube.delete(SERVICE_ACCOUNTS, "one", uid="00000000-0000-0000-0000-000000000000")
    there = await kube.get(SERVICE_ACCOUNTS, "one")
    await kube.delete(SERVICE_ACCOUNTS, "one", uid=there["metadata"]["uid"])
    with pytest.raises(kubernetes.NotFoundError):
        await kube.get(SERVICE_ACCOUNTS, "one")


async def test_the_status_is_written_beside_the_spec_and_what_is_left_out_goes(kube: Kube) -> None:
    await kube.apply(ASSISTANTS, assistant(HUB))
    for status in ({"phase": "Failed", "message": "No."}, {"phase": "Ready"}):
        await kube.apply(ASSISTANTS, {"metadata": {"name": "helper"}, "status": status}, "status")
    assert (await kube.get(ASSISTANTS, "helper"))["status"] == {"phase": "Ready"}


async def test_who_does_not_lead_writes_nothing(kube: Kube) -> None:
    follower = kube.fenced(lambda: False)
    with pytest.raises(kubernetes.FencedError):
        await follower.create(SERVICE_ACCOUNTS, account("one"))
    items, _ = await follower.list(SERVICE_ACCOUNTS, labels="kind=test")
    assert items == []


async def test_a_list_longer_than_a_page_is_whole(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {f"account-{index}" for index in range(7)}
    for name in names:
        await kube.create(SERVICE_ACCOUNTS, account(name))
    monkeypatch.setattr(kubernetes, "PAGE", 3)
    items, _ = await kube.list(SERVICE_ACCOUNTS, labels="kind=test")
    assert {item["metadata"]["name"] for item in items} == names
    versions = await kube.versions(SERVICE_ACCOUNTS)
    assert {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in items}.items() <= versions.items()


async def test_what_the_server_made_of_a_child_is_no_drift_and_an_edit_is(kube: Kube) -> None:
    """Defaults, quantities and empty fields of a whole Deployment; otherwise it would be written for ever."""
    wanted = deployment(replicas=0)
    live = await kube.apply(DEPLOYMENTS, wanted)
    assert is_right(wanted, live)
    assert not is_right(deployment(replicas=2), live)
    edit = {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}}
    assert not is_right(wanted, await kube.patch(DEPLOYMENTS, "helper-worker", edit))
    assert is_right(wanted, await kube.apply(DEPLOYMENTS, wanted))


async def test_a_disruption_budget_is_no_drift_either(kube: Kube) -> None:
    budget = disruption_budget(Owner("helper", kube.namespace, "00000000-0000-0000-0000-000000000000"))
    del budget["metadata"]["ownerReferences"]
    assert is_right(budget, await kube.apply(kubernetes.DISRUPTION_BUDGETS, budget))


async def test_an_informer_tells_what_comes_changes_and_goes(kube: Kube) -> None:
    seen: list[tuple[str, bool]] = []
    await kube.create(SERVICE_ACCOUNTS, account("early"))
    informer = Informer(
        kube,
        SERVICE_ACCOUNTS,
        lambda body, is_gone: seen.append((body["metadata"]["name"], is_gone)),
        time.monotonic,
        labels="kind=test",
    )
    async with watching(informer):
        await asyncio.wait_for(informer.synced.wait(), 20)
        assert seen == [("early", False)]
        await kube.create(SERVICE_ACCOUNTS, account("late"))
        await until(lambda: ("late", False) in seen)
        await kube.delete(SERVICE_ACCOUNTS, "early")
        await until(lambda: ("early", True) in seen)
    assert set(informer.objects) == {"late"}


async def test_an_informer_catches_up_after_the_server_was_away(kube: Kube, control_plane: ControlPlane) -> None:
    gone: list[str] = []
    for name in ("one", "two"):
        await kube.create(SERVICE_ACCOUNTS, account(name))
    informer = Informer(
        kube,
        SERVICE_ACCOUNTS,
        lambda body, is_gone: gone.append(body["metadata"]["name"]) if is_gone else None,
        time.monotonic,
        labels="kind=test",
    )
    async with watching(informer):
        await asyncio.wait_for(informer.synced.wait(), 20)
        with control_plane.apiserver_stopped():
            await asyncio.sleep(1)
            assert set(informer.objects) == {"one", "two"}, "what was known stays known"
        await kube.delete(SERVICE_ACCOUNTS, "one")
        await until(lambda: gone == ["one"], 60)


async def test_two_electors_on_a_real_lease(kube: Kube) -> None:
    one, two = (Elector(kube, "lease", name, time.monotonic) for name in ("one", "two"))
    await asyncio.wait_for(one.acquire(), 10)
    standby = asyncio.ensure_future(two.acquire())
    keeping = asyncio.ensure_future(one.keep())
    await asyncio.sleep(2.5)
    assert one.is_leading
    assert not standby.done()
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    await one.release()
    began = time.monotonic()
    await asyncio.wait_for(standby, 10)
    assert time.monotonic() - began < 3
    assert not one.is_leading
