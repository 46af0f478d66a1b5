"""ServiceAccount, PodDisruptionBudget and NetworkPolicies of an Assistant. Pure."""

from typing import Any
from urllib.parse import urlsplit

from ai_assistant_operator import names
from ai_assistant_operator.manifests import Owner, child
from ai_assistant_operator.templates import Template

_DNS = {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}


def service_account(owner: Owner) -> dict[str, Any]:
    """The account of all pods of an Assistant: it has no rights, and no token is mounted."""
    return child(
        owner, "v1", "ServiceAccount", names.service_account_name(owner.name), "account", automountServiceAccountToken=False
    )


def disruption_budget(owner: Owner) -> dict[str, Any]:
    """A drained node takes one worker at a time; one that is not ready holds up nobody."""
    spec = {
        "maxUnavailable": 1,
        "selector": {"matchLabels": names.selector(owner.name, names.WORKER)},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    return child(owner, "policy/v1", "PodDisruptionBudget", names.worker_name(owner.name), names.WORKER, spec=spec)


def network_policy(
    owner: Owner, component: str, name: str, template: Template, outside: tuple[int, ...] = ()
) -> dict[str, Any] | None:
    """Who may connect to these pods and where they may connect to; None where the chart wants no policies.

    The chart knows where database, queue, gateway and monitoring are; `outside` are TCP ports that are open to any address.
    """
    if template.network is None:
        return None
    egress = [_DNS, *template.network.get("egress", ())]
    if outside:
        egress.append({"ports": [{"protocol": "TCP", "port": port} for port in outside]})
    spec = {
        "podSelector": {"matchLabels": names.selector(owner.name, component)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": list(template.network.get("ingress", ())),
        "egress": egress,
    }
    return child(owner, "networking.k8s.io/v1", "NetworkPolicy", name, component, spec=spec)


def port_of(url: str) -> int:
    """The port that a URL of http or https leads to."""
    parts = urlsplit(url)
    return parts.port or (80 if parts.scheme == "http" else 443)
