"""Values that cannot work are refused, with a sentence that says what to do."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from chart.rendered import CHART, HelmError, Render

from reference.schema import schema
from reference.values import Value, ValuesError, leaves, read

VALUES = read(CHART / "values.yaml")

MIXES: list[tuple[dict[str, Any], str]] = [
    ({"externalDatabase": {"existingSecret": "db"}}, "set postgresql.enabled to false to use your own database"),
    ({"postgresql": {"enabled": False}}, "set externalDatabase.existingSecret to a Secret with the URL of your database"),
    (
        {"postgresql": {"enabled": False, "auth": {"existingSecret": "pw"}}, "externalDatabase": {"existingSecret": "db"}},
        "put the password into the URL of externalDatabase.existingSecret",
    ),
    ({"externalRedis": {"existingSecret": "r"}}, "set valkey.enabled to false to use your own Redis"),
    ({"valkey": {"enabled": False}}, "set externalRedis.existingSecret to a Secret with the URL"),
    (
        {"valkey": {"enabled": False, "auth": {"existingSecret": "pw"}}, "externalRedis": {"existingSecret": "r"}},
        "put the password into the URL of externalRedis.existingSecret",
    ),
    ({"postgresql": {"maxConnections": 100}}, "is 100, but 2 gateways and worker.maxTotal 50 need 150"),
    (
        {"gateway": {"autoscaling": {"enabled": True, "minReplicas": 7}}},
        "minReplicas is more than gateway.autoscaling.max",
    ),
    (
        {"gateway": {"autoscaling": {"enabled": True}, "resources": {"requests": {"cpu": None}}}},
        "needs gateway.resources.requests.cpu",
    ),
    ({"store": {"mode": "pod", "existingClaim": "c"}}, "uses no volume claim"),
    ({"store": {"node": "n1"}}, "store.node is for store.mode `node`, but the mode is `shared`"),
    ({"store": {"existingClaim": "c", "storageClassName": "s"}}, "remove store.storageClassName"),
    ({"ingress": {"enabled": True}}, "needs at least one name in ingress.hosts"),
    ({"httpRoute": {"enabled": True}}, "needs httpRoute.parentRefs"),
    (
        {"worker": {"extraEnv": [{"name": "AI_ASSISTANT_REDIS_URL", "value": "x"}]}},
        "sets AI_ASSISTANT_REDIS_URL, which",
    ),
    ({"assistants": [{"name": "a", "spec": {}}, {"name": "a", "spec": {}}]}, "assistants names a twice"),
]
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"gatway": {}}, "gatway"),
    ({"gateway": {"replica": 1}}, "replica"),
    ({"gateway": {"replicas": 0}}, "replicas"),
    ({"gateway": {"replicas": "two"}}, "replicas"),
    ({"gateway": {"resources": {"request": {}}}}, "request"),
    ({"store": {"mode": "everywhere"}}, "mode"),
    ({"worker": {"image": {"digest": "sha1:0"}}}, "digest"),
    ({"assistants": [{"name": "Big", "spec": {}}]}, "name"),
    ({"assistants": [{"name": "a" * 41, "spec": {}}]}, "name"),
    ({"assistants": [{"name": "a"}]}, "spec"),
    ({"fullnameOverride": "x" * 41}, "fullnameOverride"),
    ({"imagePrefix": "registry.example.org"}, "imagePrefix"),
    ({"logLevel": "loud"}, "logLevel"),
]


@pytest.mark.parametrize(("values", "sentence"), MIXES)
def test_impossible_mixes(render: Render, values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(HelmError) as refused:
        render(values)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(("values", "word"), WRONG)
def test_wrong_values(render: Render, values: dict[str, Any], word: str) -> None:
    with pytest.raises(HelmError) as refused:
        render(values)
    assert "values don't meet the specifications of the schema" in str(refused.value)
    assert word in str(refused.value)


def test_every_value_is_used() -> None:
    """A value that no template reads would silently do nothing."""
    texts = [path.read_text() for path in (CHART / "templates").rglob("*") if path.is_file()]
    text = "\n".join(texts)
    groups = {"resources", "image", "nodeSelector", "tolerations", "affinity", "priorityClassName", "podAnnotations", "extraEnv"}
    for value in leaves(VALUES):
        name = value.path[-1]
        if not groups & set(value.path):
            assert f".{name}" in text, value.name


def test_every_fail_has_a_test() -> None:
    text = (CHART / "templates/validations.yaml").read_text()
    assert text.count("{{- fail ") == len(MIXES)


def test_a_value_without_a_description_is_an_error(tmp_path: Any) -> None:
    file = tmp_path / "values.yaml"
    file.write_text("# -- A.\na: 1\nb:\n  # -- C.\n  c: 2\n")
    with pytest.raises(ValuesError, match="b has no"):
        read(file)


def test_a_default_that_tells_no_type_needs_a_hint() -> None:
    with pytest.raises(ValuesError, match="the type of a cannot be told"):
        schema((Value(("a",), None, "A.", {}),))


def test_defaults_as_written_are_accepted(run_helm: Callable[..., str]) -> None:
    run_helm("template", "ai", CHART, "--values", "-", stdin=yaml.safe_dump(yaml.safe_load((CHART / "values.yaml").read_text())))
