"""What the chart's hooks do, against a small API server in memory."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from ai_assistant_operator import install
from ai_assistant_operator.install import CRD_PATH, VERSION, InstallError, apply_definition, delete_assistants, release_assistants

NAMESPACE = "talk"


class ApiServer:
    """Definitions and Assistants, as the paths of the API server show them. A deleted Assistant stays while it has finalizers."""

    def __init__(self, *, has_operator: bool = True) -> None:
        self.definition: dict[str, Any] | None = None
        self.assistants: dict[str, dict[str, Any]] = {}
        self.has_operator = has_operator
        self.writes: list[str] = []
        self.client = httpx.Client(transport=httpx.MockTransport(self.answer), base_url="https://kubernetes")

    def add(self, name: str, *, release: str | None = None, finalizers: list[str] | None = None) -> None:
        labels = {"app.kubernetes.io/instance": release} if release else {}
        metadata = {"name": name, "labels": labels, "finalizers": finalizers or [], "resourceVersion": "1"}
        self.assistants[name] = {"metadata": metadata}

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.method != "GET":
            self.writes.append(f"{request.method} {request.url.path.rpartition('/')[2]}")
        if request.url.path == CRD_PATH:
            return self.definitions(request)
        if request.url.path.startswith(install.assistants_path(NAMESPACE)):
            return self.objects(request)
        return httpx.Response(403, json={"message": f"{request.url.path} is forbidden"})

    def definitions(self, request: httpx.Request) -> httpx.Response:
        if request.method == "PATCH":
            assert request.headers["content-type"] == "application/apply-patch+yaml"
            self.definition = json.loads(request.content)
            self.definition["status"] = {"conditions": None}
            return httpx.Response(200, json=self.definition)
        if self.definition is None:
            return httpx.Response(404, json={"message": "not found"})
        answer = httpx.Response(200, json=self.definition)
        if "status" in self.definition:
            self.definition["status"] = {"conditions": [{"type": "Established", "status": "True", "message": ""}]}
        return answer

    def objects(self, request: httpx.Request) -> httpx.Response:
        name = request.url.path.removeprefix(install.assistants_path(NAMESPACE)).strip("/")
        if request.method == "GET":
            wanted = dict([request.url.params["labelSelector"].split("=")]) if "labelSelector" in request.url.params else {}
            found = [item for item in self.assistants.values() if wanted.items() <= item["metadata"]["labels"].items()]
            self.end_deleted()
            return httpx.Response(200, json={"items": found})
        if name not in self.assistants:
            return httpx.Response(404, json={"message": "not found"})
        if request.method == "DELETE":
            self.assistants[name]["metadata"]["deletionTimestamp"] = "now"
        else:
            self.assistants[name]["metadata"]["finalizers"] = json.loads(request.content)["metadata"]["finalizers"]
        answer = httpx.Response(200, json=self.assistants[name])
        if not self.has_operator:
            self.end_deleted()
        return answer

    def end_deleted(self) -> None:
        for name, item in list(self.assistants.items()):
            if "deletionTimestamp" in item["metadata"] and (self.has_operator or not item["metadata"]["finalizers"]):
                del self.assistants[name]


def definition(version: str | None) -> dict[str, Any]:
    annotations = {VERSION: version} if version else {}
    return {"metadata": {"name": "assistants.ai-assistant.dev", "annotations": annotations}, "spec": {"of": version}}


def test_a_missing_definition_is_made() -> None:
    server = ApiServer()
    assert apply_definition(server.client, definition("3")) == "made version 3"
    assert server.definition
    assert server.definition["spec"] == {"of": "3"}


@pytest.mark.parametrize(
    ("there", "ours", "done", "left"),
    [
        ("2", "3", "replaced version 2 by 3", "3"),
        (None, "1", "replaced version 0 by 1", "1"),
        ("9", "10", "replaced version 9 by 10", "10"),
        ("3", "3", "left version 3, ours is 3", "3"),
        ("10", "9", "left version 10, ours is 9", "10"),
    ],
)
def test_only_a_newer_definition_is_applied(there: str | None, ours: str, done: str, left: str) -> None:
    server = ApiServer()
    server.definition = definition(there)
    assert apply_definition(server.client, definition(ours)) == done
    assert server.definition["spec"] == {"of": left}
    assert bool(server.writes) == done.startswith("replaced")


def test_a_version_that_is_no_number_is_told() -> None:
    server = ApiServer()
    server.definition = definition("latest")
    with pytest.raises(InstallError, match="'latest' instead of a number"):
        apply_definition(server.client, definition("3"))
    assert server.writes == []


def test_assistants_of_the_release_go_with_the_operators_farewell() -> None:
    server = ApiServer()
    server.add("a", release="ai", finalizers=["ai-assistant.dev/operator"])
    server.add("b", release="other")
    server.add("c")
    assert delete_assistants(server.client, NAMESPACE, "ai") == "deleted 1 Assistants"
    assert sorted(server.assistants) == ["b", "c"]
    assert server.writes == ["DELETE a"]


def test_without_an_operator_they_are_let_go() -> None:
    server = ApiServer(has_operator=False)
    server.add("a", release="ai", finalizers=["ai-assistant.dev/operator"])
    done = delete_assistants(server.client, NAMESPACE, "ai", seconds=0)
    assert done == "deleted 1 Assistants; the operator did not answer, so let 1 Assistants go"
    assert server.assistants == {}


def test_only_our_finalizers_are_taken_off() -> None:
    server = ApiServer(has_operator=False)
    server.add("a", finalizers=["ai-assistant.dev/operator", "example.org/backup"])
    server.add("b", finalizers=["example.org/backup"])
    assert release_assistants(server.client, NAMESPACE) == "let 1 Assistants go"
    assert server.assistants["a"]["metadata"]["finalizers"] == ["example.org/backup"]
    assert server.writes == ["PATCH a"]


def test_the_words_of_the_api_server_are_told() -> None:
    with pytest.raises(InstallError, match=r"GET \S+/elsewhere/assistants was answered 403: \S+ is forbidden"):
        install.run(ApiServer().client, ["release-assistants", "elsewhere"])


def test_the_command_reads_a_file(tmp_path: Path) -> None:
    file = tmp_path / "crd.json"
    file.write_text(json.dumps(definition("1")))
    assert install.run(ApiServer().client, ["crd", str(file)]) == "made version 1"
    with pytest.raises(InstallError, match="unknown arguments: fly"):
        install.run(ApiServer().client, ["fly"])
