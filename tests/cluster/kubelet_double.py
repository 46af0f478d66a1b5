"""Plays the scheduler and one node's kubelet: binds pods, reports how they fare, serves their logs, ends them.

The only fake of these tests. Without a script a Job's pod succeeds and any other becomes ready, both at once.
"""

import heapq
import json
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from cluster import pod_states
from cluster.control_plane import ControlPlane, free_port
from cluster.pod_states import Behaviour

NODE = "double"
_MERGE = {"Content-Type": "application/merge-patch+json"}
_ENDED = {"Succeeded", "Failed"}
Pod = dict[str, Any]


class KubeletDouble:
    """Works on all pods of the cluster, in threads of its own, until `stop`."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._client = self._new_client(30)
        self._watcher = self._new_client(None)
        self._scripts: list[tuple[str, Mapping[str, str], Behaviour]] = []
        self._pods: dict[str, Pod] = {}
        self._done: dict[str, Behaviour] = {}
        self._since: dict[str, float] = {}
        self._due: list[tuple[float, int, str]] = []
        self._order = count()
        self._wake = threading.Condition()
        self._is_stopped = False
        self.errors: list[str] = []
        """What went wrong in its threads; a test that sees something strange should look here."""
        self._server = self._log_server()
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._watch, self._work)]

    def start(self) -> None:
        self._make_node()
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        with self._wake:
            self._is_stopped = True
            self._wake.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._threads[1].join(10)
        self._client.close()

    def script(self, namespace: str, labels: Mapping[str, str], behaviour: Behaviour) -> None:
        """From now on pods with these labels fare so, those that are there already too, unless they have ended."""
        with self._wake:
            self._scripts.append((namespace, labels, behaviour))
            for uid, pod in self._pods.items():
                if pod["metadata"]["namespace"] == namespace:
                    self._since.pop(uid, None)
                    self._put(uid)

    def behaviour(self, pod: Pod) -> Behaviour:
        """What the last matching script says of this pod."""
        metadata = pod["metadata"]
        labels = (metadata.get("labels") or {}).items()
        for namespace, wanted, behaviour in reversed(self._scripts):
            if namespace == metadata["namespace"] and wanted.items() <= labels:
                return behaviour
        is_of_job = any(owner["kind"] == "Job" for owner in metadata.get("ownerReferences") or ())
        return _SUCCEEDED if is_of_job else _READY

    def _put(self, uid: str, seconds: float = 0.0) -> None:
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._order), uid))
        self._wake.notify_all()

    def _watch(self) -> None:
        while not self._is_stopped:
            with suppress(httpx.HTTPError, KeyError, json.JSONDecodeError):  # an outage: list and watch anew
                listed = self._watcher.get("/api/v1/pods", timeout=10).raise_for_status().json()
                with self._wake:
                    self._pods = {pod["metadata"]["uid"]: pod for pod in listed["items"]}
                    for uid in self._pods:
                        self._put(uid)
                query = {"watch": "1", "resourceVersion": listed["metadata"]["resourceVersion"], "allowWatchBookmarks": "true"}
                with self._watcher.stream("GET", "/api/v1/pods", params=query) as answer:
                    for line in answer.iter_lines():
                        event = json.loads(line)
                        if event["type"] == "ERROR":
                            break
                        if event["type"] != "BOOKMARK":
                            self._see(event["type"], event["object"])
            time.sleep(0.05)

    def _see(self, kind: str, pod: Pod) -> None:
        uid = pod["metadata"]["uid"]
        with self._wake:
            if kind == "DELETED":
                for memory in (self._pods, self._done, self._since):
                    memory.pop(uid, None)
            else:
                self._pods[uid] = pod
                self._put(uid)

    def _work(self) -> None:
        while True:
            with self._wake:
                while not self._is_stopped and (not self._due or self._due[0][0] > time.monotonic()):
                    self._wake.wait(self._due[0][0] - time.monotonic() if self._due else None)
                if self._is_stopped:
                    return
                uid = heapq.heappop(self._due)[2]
                pod = self._pods.get(uid)
            if pod is None:
                continue
            try:
                again = self._settle(uid, pod)
            except httpx.HTTPStatusError as error:
                again = None
                if error.response.status_code not in (404, 409):  # it is gone, or newer: there will be an event
                    self.errors.append(f"{pod['metadata']['name']}: {error.response.text}")
            except httpx.HTTPError:
                again = 0.2
            if again is not None:
                with self._wake:
                    self._put(uid, again)

    def _settle(self, uid: str, pod: Pod) -> float | None:
        """One step with this pod; the seconds until the next, or None if nothing is to come."""
        metadata, behaviour = pod["metadata"], self.behaviour(pod)
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        if metadata.get("deletionTimestamp"):
            return self._end(uid, pod, path, behaviour)
        if pod.get("status", {}).get("phase") in _ENDED or self._done.get(uid) is behaviour:
            return None
        if behaviour.is_scheduled and not pod["spec"].get("nodeName"):
            binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": metadata["name"], "uid": uid}}
            self._client.post(f"{path}/binding", json={**binding, "target": {"kind": "Node", "name": NODE}}).raise_for_status()
        left = behaviour.after_seconds
        if left:
            if uid not in self._since:
                self._since[uid] = time.monotonic()
                self._report(path, uid, pod_states.unready(pod))
            left -= time.monotonic() - self._since[uid]
            if left > 0:
                return left
        self._report(path, uid, behaviour.status(pod))
        self._done[uid] = behaviour
        if behaviour.event:
            self._tell(pod, *behaviour.event)
        return None

    def _end(self, uid: str, pod: Pod, path: str, behaviour: Behaviour) -> float | None:
        asked = self._since.setdefault(f"{uid} deletion", time.monotonic())
        grace = min(behaviour.drain_seconds, pod["metadata"].get("deletionGracePeriodSeconds") or 0)
        if (left := asked + grace - time.monotonic()) > 0:
            return left
        self._since.pop(f"{uid} deletion", None)
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0, "preconditions": {"uid": uid}}
        self._client.request("DELETE", path, json=options).raise_for_status()
        return None

    def _report(self, path: str, uid: str, status: dict[str, Any]) -> None:
        body = {"metadata": {"uid": uid}, "status": status}
        self._client.patch(f"{path}/status", json=body, headers=_MERGE).raise_for_status()

    def _tell(self, pod: Pod, reason: str, message: str) -> None:
        metadata = pod["metadata"]
        about = {"kind": "Pod", "apiVersion": "v1", **{key: metadata[key] for key in ("name", "namespace", "uid")}}
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{metadata['name']}.", "namespace": metadata["namespace"]},
            "involvedObject": about,
            "reason": reason,
            "message": message,
            "type": "Warning",
            "source": {"component": "default-scheduler" if reason == "FailedScheduling" else "kubelet"},
            "firstTimestamp": pod_states.now(),
            "lastTimestamp": pod_states.now(),
            "count": 1,
        }
        self._client.post(f"/api/v1/namespaces/{metadata['namespace']}/events", json=event).raise_for_status()

    def _make_node(self) -> None:
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE, "labels": {"kubernetes.io/hostname": NODE}}}
        self._client.post("/api/v1/nodes", json=node).raise_for_status()
        room = {"cpu": "1000", "memory": "1Ti", "pods": "10000", "nvidia.com/gpu": "16"}
        status = {
            "capacity": room,
            "allocatable": room,
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": pod_states.now()}],
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._server.server_port}},
        }
        self._client.patch(f"/api/v1/nodes/{NODE}/status", json={"status": status}, headers=_MERGE).raise_for_status()

    def _log_of(self, namespace: str, name: str, query: Mapping[str, list[str]]) -> str:
        with self._wake:
            found = [pod for pod in self._pods.values() if pod["metadata"]["name"] == name]
        pods = [pod for pod in found if pod["metadata"]["namespace"] == namespace]
        lines = self.behaviour(pods[0]).log.splitlines(keepends=True) if pods else []
        wanted = int(query.get("tailLines", ["-1"])[0])
        return "".join(lines if wanted < 0 else lines[max(len(lines) - wanted, 0) :])

    def _log_server(self) -> ThreadingHTTPServer:
        """The part of a kubelet's own API that `kubectl logs` needs."""
        double = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                address = urlsplit(self.path)
                _, kind, namespace, name, *_ = [*address.path.split("/"), "", "", ""]
                text = double._log_of(namespace, name, parse_qs(address.query)).encode()
                self.send_response(200 if kind == "containerLogs" else 404)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        server = ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        pki = self._plane.authority.folder
        context.load_cert_chain(pki / "apiserver.crt", pki / "apiserver.key")
        server.socket = context.wrap_socket(server.socket, server_side=True)
        return server

    def _new_client(self, timeout: float | None) -> httpx.Client:
        return httpx.Client(base_url=self._plane.server, verify=self._plane.authority.context("admin"), timeout=timeout)


_READY = pod_states.ready()
_SUCCEEDED = pod_states.succeeded()
