"""The cluster's API as this operator uses it: dicts in, dicts out, one namespace, one field manager.

Reads and writes are tried again when that is harmless; a write is sent only while the fence says so. Typed models are never
loaded: they cost 140 MB.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import quote, urlencode

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

FIELD_MANAGER = "ai-assistant-operator"
PAGE = 500
WATCH_SECONDS = 300
SILENCE_SECONDS = 70.0
"""A watch that says nothing for so long, not even a bookmark, is taken for dead. Servers send a bookmark each minute."""

Object = dict[str, Any]
Objects = list[Object]


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object and where it lives."""

    api_version: str
    kind: str
    plural: str

    @property
    def root(self) -> str:
        return f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"


ASSISTANTS = Resource("ai-assistant.dev/v1alpha1", "Assistant", "assistants")
DEPLOYMENTS = Resource("apps/v1", "Deployment", "deployments")
JOBS = Resource("batch/v1", "Job", "jobs")
PODS = Resource("v1", "Pod", "pods")
EVENTS = Resource("v1", "Event", "events")
POD_TEMPLATES = Resource("v1", "PodTemplate", "podtemplates")
LEASES = Resource("coordination.k8s.io/v1", "Lease", "leases")
SERVICE_ACCOUNTS = Resource("v1", "ServiceAccount", "serviceaccounts")
DISRUPTION_BUDGETS = Resource("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
NETWORK_POLICIES = Resource("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")


class KubeError(Exception):
    """The API server refused, or could not be asked (status 0)."""

    def __init__(self, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status, self.reason, self.message, self.retry_after = status, reason, message, retry_after

    @property
    def is_passing(self) -> bool:
        """The same request may well succeed a moment later."""
        return self.status == 0 or self.status == 429 or self.status >= 500


class NotFoundError(KubeError):
    """There is no such object."""


class ConflictError(KubeError):
    """The object is not what the request took it for, or exists already."""


class GoneError(KubeError):
    """The server no longer knows that resourceVersion: list again."""


class FencedError(Exception):
    """Another replica leads: this one writes nothing."""


class Kube:
    """One namespace of a cluster. Open it by `connect`, close it in the end."""

    def __init__(
        self,
        api: ApiClient,
        namespace: str,
        may_write: Callable[[], bool] = lambda: True,
        *,
        parallel: int = 32,
        attempts: int = 4,
        timeout: float = 15.0,
    ) -> None:
        self.namespace = namespace
        self._api = api
        self._may_write = may_write
        self._gate = asyncio.Semaphore(parallel)
        self._attempts = attempts
        self._timeout = timeout

    def fenced(self, may_write: Callable[[], bool]) -> "Kube":
        """The same connection for one who may write only while `may_write()` is true."""
        other = Kube(self._api, self.namespace, may_write, attempts=self._attempts, timeout=self._timeout)
        other._gate = self._gate
        return other

    async def close(self) -> None:
        await self._api.close()  # type: ignore[no-untyped-call]

    async def get(self, resource: Resource, name: str) -> Object:
        """Raises NotFoundError, KubeError."""
        return await self._request("GET", self._path(resource, name))

    async def list(self, resource: Resource, *, labels: str = "", fields: str = "") -> tuple[Objects, str]:
        """All objects, page by page, and the resourceVersion to watch from."""
        items: Objects = []
        query = selectors(labels, fields) | {"limit": str(PAGE)}
        while True:
            page = await self._request("GET", self._path(resource), query)
            items += page.get("items") or []
            if not (more := page["metadata"].get("continue")):
                return items, page["metadata"]["resourceVersion"]
            query["continue"] = more

    async def versions(self, resource: Resource) -> dict[str, str]:
        """resourceVersion by name, without the objects themselves."""
        accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
        found: dict[str, str] = {}
        query = {"limit": str(PAGE)}
        while True:
            page = await self._request("GET", self._path(resource), query, accept=accept)
            found |= {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in page.get("items") or []}
            if not (more := page["metadata"].get("continue")):
                return found
            query["continue"] = more

    async def watch(
        self, resource: Resource, version: str, *, labels: str = "", fields: str = ""
    ) -> AsyncIterator[tuple[str, Object]]:
        """(type, object) of each event, bookmarks included, until the server ends the watch.

        Raises GoneError when the version is too old, KubeError when the connection breaks or falls silent.
        """
        query = selectors(labels, fields) | {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(int(WATCH_SECONDS * random.uniform(1, 1.5))),  # noqa: S311
        }
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout, sock_read=SILENCE_SECONDS)
        try:
            response = await self._send("GET", self._path(resource), query, timeout=timeout)
            async with response:
                if response.status >= 400:
                    refuse(response, await response.read())
                async for line in response.content:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        refuse_status(event["object"])
                    yield event["type"], event["object"]
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise KubeError(0, "WatchBroken", f"the watch on {resource.plural} broke: {describe(error)}") from error

    async def apply(self, resource: Resource, body: Object, subresource: str = "") -> Object:
        """Server-side apply: makes the object or puts it right. Fields that others changed are taken back."""
        body = typed(resource, body)
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        path = self._path(resource, body["metadata"]["name"], subresource)
        return await self._request("PATCH", path, query, body, content_type="application/apply-patch+yaml")

    async def patch(self, resource: Resource, name: str, body: Object) -> Object:
        """Merge patch. With a resourceVersion in it, ConflictError when the object is newer."""
        return await self._request(
            "PATCH",
            self._path(resource, name),
            {"fieldManager": FIELD_MANAGER},
            body,
            content_type="application/merge-patch+json",
        )

    async def create(self, resource: Resource, body: Object) -> Object:
        """Raises ConflictError when it exists."""
        body = typed(resource, body)
        return await self._request("POST", self._path(resource), {"fieldManager": FIELD_MANAGER}, body)

    async def replace(self, resource: Resource, body: Object) -> Object:
        """Raises ConflictError when the object is newer than the body's resourceVersion."""
        return await self._request("PUT", self._path(resource, body["metadata"]["name"]), {"fieldManager": FIELD_MANAGER}, body)

    async def delete(self, resource: Resource, name: str, *, uid: str | None = None) -> None:
        """Deletes it, and its dependents behind it. Being gone is no error, nor is another of its name when `uid` is given."""
        body: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        try:
            await self._request("DELETE", self._path(resource, name), None, body)
        except NotFoundError:
            return
        except ConflictError:
            if uid is None:
                raise

    async def log(self, pod: str, container: str, *, lines: int = 20, previous: bool = False) -> str:
        """The last lines of a container's log; empty when there is none yet."""
        query = {"container": container, "tailLines": str(lines), "limitBytes": "65536"}
        if previous:
            query["previous"] = "true"
        try:
            return (await self._bytes("GET", self._path(PODS, pod, "log"), query)).decode("utf-8", "replace")
        except KubeError as error:
            if error.status in (400, 404):
                return ""
            raise

    def _path(self, resource: Resource, name: str = "", subresource: str = "") -> str:
        parts = [resource.root, "namespaces", quote(self.namespace), resource.plural, quote(name), subresource]
        return "/".join(part for part in parts if part)

    async def _request(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        body: Object | None = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Object:
        answer: Object = json.loads(
            await self._bytes(method, path, query, body, content_type=content_type, accept=accept) or b"{}"
        )
        return answer

    async def _bytes(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        body: Object | None = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json, */*",
    ) -> bytes:
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._once(method, path, query, body, content_type, accept)
            except KubeError as error:
                # A POST that broke off may have worked: what it would do twice, its caller looks at again.
                if not error.is_passing or attempt >= self._attempts or (method == "POST" and error.status != 429):
                    raise
                pause = error.retry_after if error.retry_after is not None else 0.1 * 3 ** (attempt - 1)
                await asyncio.sleep(min(pause, 5.0) * random.uniform(0.8, 1.2))  # noqa: S311

    async def _once(
        self, method: str, path: str, query: dict[str, str] | None, body: Object | None, content_type: str, accept: str
    ) -> bytes:
        async with self._gate:
            if method != "GET" and not self._may_write():
                raise FencedError("another replica leads")
            timeout = aiohttp.ClientTimeout(total=self._timeout)
            try:
                response = await self._send(method, path, query, body, content_type, accept, timeout)
                async with response:
                    content = await response.read()
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise KubeError(0, "Unreachable", f"the API server cannot be reached: {describe(error)}") from error
            if response.status >= 400:
                refuse(response, content)
            return content

    async def _send(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout: aiohttp.ClientTimeout | None = None,
    ) -> aiohttp.ClientResponse:
        url = path + ("?" + urlencode(query) if query else "")
        request = await self._api.param_serialize(
            method,
            url,
            header_params={"Accept": accept, "Content-Type": content_type},
            auth_settings=["BearerToken"],
        )
        answer = await self._api.rest_client.request(  # type: ignore[no-untyped-call]
            method, request[1], headers=request[2], body=body, _request_timeout=timeout
        )
        response: aiohttp.ClientResponse = answer.response
        return response


async def connect(namespace: str, kubeconfig: str | None, *, parallel: int = 32) -> Kube:
    """By the pod's own account, or by a kubeconfig file where one is named. Raises ConfigException."""
    configuration = Configuration()
    configuration.connection_pool_maxsize = 0  # our own gate limits requests; watches must never wait for a place
    if kubeconfig is None:
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    else:
        await config.load_kube_config(config_file=kubeconfig, client_configuration=configuration)  # type: ignore[no-untyped-call]
    return Kube(ApiClient(configuration), namespace, parallel=parallel)


def typed(resource: Resource, body: Object) -> Object:
    return {"apiVersion": resource.api_version, "kind": resource.kind, **body}


def selectors(labels: str, fields: str) -> dict[str, str]:
    return {key: value for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value}


def refuse(response: aiohttp.ClientResponse, content: bytes) -> NoReturn:
    try:
        status = json.loads(content)
    except ValueError:
        status = {}
    if not isinstance(status, dict):
        status = {}
    try:
        retry_after = float(response.headers["Retry-After"])
    except (KeyError, ValueError):
        retry_after = None
    refuse_status({"code": response.status, "message": content[:500].decode("utf-8", "replace")} | status, retry_after)


def refuse_status(status: Object, retry_after: float | None = None) -> NoReturn:
    code, reason = int(status.get("code") or 0), str(status.get("reason") or "")
    kinds: dict[int, type[KubeError]] = {404: NotFoundError, 409: ConflictError, 410: GoneError}
    raise kinds.get(code, KubeError)(code, reason, str(status.get("message") or reason or code), retry_after)


def describe(error: BaseException) -> str:
    return str(error) or type(error).__name__
