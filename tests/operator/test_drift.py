from typing import Any

import pytest

from ai_assistant_operator.drift import contains, is_right
from ai_assistant_operator.names import HASH_ANNOTATION


@pytest.mark.parametrize(
    ("live", "wanted"),
    [
        ({"a": 1, "filledIn": True}, {"a": 1}),
        ({"limits": {"cpu": "500m", "memory": "1Gi"}}, {"limits": {"cpu": "0.5", "memory": "1024Mi"}}),
        ({"limits": {"cpu": "2"}}, {"limits": {"cpu": 2}}),
        ({}, {"nodeSelector": {}, "tolerations": [], "hostNetwork": False, "hostname": "", "affinity": None}),
        ({"env": [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]}, {"env": [{"name": "A", "value": "1"}]}),
        ({"c": [{"name": "sidecar"}, {"name": "worker", "image": "x"}]}, {"c": [{"name": "worker", "image": "x"}]}),
        ({"args": ["a", "b"]}, {"args": ["a", "b"]}),
        ({"replicas": 0}, {"replicas": 0}),
    ],
)
def test_what_the_server_fills_in_or_rewrites_is_no_drift(live: Any, wanted: Any) -> None:
    assert contains(live, wanted)


@pytest.mark.parametrize(
    ("live", "wanted"),
    [
        ({"image": "b"}, {"image": "a"}),
        ({}, {"image": "a"}),
        ({"limits": {"cpu": "501m"}}, {"limits": {"cpu": "0.5"}}),
        ({"env": [{"name": "A", "value": "500m"}]}, {"env": [{"name": "A", "value": "0.5"}]}),
        ({"args": ["a", "b", "c"]}, {"args": ["a", "b"]}),
        ({"args": ["a", "b"]}, {"args": []}),
        ({"hostNetwork": True}, {"hostNetwork": False}),
        ({"replicas": 3}, {"replicas": 0}),
        ({"c": [{"name": "worker", "image": "y"}]}, {"c": [{"name": "worker", "image": "x"}]}),
        ({"ports": [{"port": 53, "protocol": "TCP"}]}, {"ports": [{"port": 53, "protocol": "UDP"}]}),
    ],
)
def test_what_somebody_changed_is_drift(live: Any, wanted: Any) -> None:
    assert not contains(live, wanted)


def child(hashed: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "a", "annotations": {HASH_ANNOTATION: hashed}}, "spec": spec}


def test_a_field_that_we_no_longer_want_is_told_by_the_hash() -> None:
    """The old value is still in the cluster, and everything that we want is there too."""
    assert is_right(child("1", image="a"), child("1", image="a", extra="filled in"))
    assert not is_right(child("2", image="a"), child("1", image="a", extra="ours until now"))


def test_a_child_on_its_way_out_has_to_come_back() -> None:
    live = child("1")
    live["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert not is_right(child("1"), live)
    assert not is_right(child("1"), None)
