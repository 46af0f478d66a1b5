"""Assistants to apply."""

from copy import deepcopy
from typing import Any

HUB = {"model": {"source": "hf://org/name"}}
TOKEN = {"tokenSecretRef": {"name": "bot"}}
EVERYTHING: dict[str, Any] = {
    "model": {"source": "hf://org/name", "revision": "0" * 40, "precision": "fp16"},
    "instructions": "Be kind.",
    "generation": {"maxTokens": 512, "temperature": 0.5, "topP": 0.9, "contextLength": 4096},
    "telegram": {**TOKEN, "access": "allowlist", "admins": [12345678901], "allowed": ["@ann", "-100123"]},
    "scaling": {"minReplicas": 1, "maxReplicas": 8, "targetQueueDepth": 2, "maxWaitSeconds": 20, "idleSeconds": 60},
    "accelerator": {"type": "cuda", "count": 2},
    "resources": {"requests": {"cpu": 2, "memory": "4Gi"}, "limits": {"memory": "8Gi", "cpu": "2500m"}},
    "rollout": {"maxSurge": 0, "maxUnavailable": "25%", "revisionHistoryLimit": 0},
    "paused": True,
}


def assistant(spec: dict[str, Any], name: str = "helper") -> dict[str, Any]:
    return {"apiVersion": "ai-assistant.dev/v1alpha1", "kind": "Assistant", "metadata": {"name": name}, "spec": deepcopy(spec)}
