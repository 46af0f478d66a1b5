"""All children that an Assistant should have now, but its provision Jobs, which are attempts and not a state. Pure."""

from collections.abc import Iterable
from typing import Any

from ai_assistant_operator import names, policies
from ai_assistant_operator.bot import bot_deployment
from ai_assistant_operator.manifests import Owner
from ai_assistant_operator.model_version import ModelPackage, ModelVersion
from ai_assistant_operator.provision_job import precision_for
from ai_assistant_operator.spec import Assistant
from ai_assistant_operator.templates import Template, find_template
from ai_assistant_operator.worker import RemoteModel, Rollout, worker_deployment, worker_template_kind

_HTTPS = 443


def owner_of(assistant: Assistant) -> Owner:
    """Whom children belong to."""
    return Owner(assistant.name, assistant.namespace, assistant.uid)


def version_of(assistant: Assistant) -> ModelVersion | None:
    """The version that is asked for; None: the model is elsewhere."""
    model = assistant.spec.model
    if model is None:
        return None
    return ModelVersion(model.source, model.revision, precision_for(model.precision, assistant.spec.accelerator.gpus))


def remote_of(assistant: Assistant) -> RemoteModel | None:
    """The model server that is asked for."""
    remote = assistant.spec.remote
    if remote is None:
        return None
    secret = remote.api_key_secret_ref
    return RemoteModel(remote.base_url, remote.model, *((secret.name, secret.key) if secret else ()))


def named_secrets(assistant: Assistant) -> frozenset[str]:
    """Secrets that its pods would read; none may be one of the release's own."""
    spec = assistant.spec
    references = (
        spec.remote.api_key_secret_ref if spec.remote else None,
        spec.telegram.token_secret_ref if spec.telegram else None,
    )
    return frozenset(reference.name for reference in references if reference is not None)


def worker_template(assistant: Assistant, templates: Iterable[dict[str, Any]]) -> Template:
    """The PodTemplate of its workers; raises TemplateError."""
    return find_template(templates, worker_template_kind(assistant.spec.accelerator.gpus))


def wanted_children(
    assistant: Assistant, templates: Iterable[dict[str, Any]], package: ModelPackage | None, replicas: int
) -> list[dict[str, Any]]:
    """Account, workers and bot with their policies, in the order in which they are applied.

    `package` is what workers should run now, which may be older than what is asked for; without one, where one is needed,
    there are no workers yet. Raises TemplateError: then everything is left as it is.
    """
    templates = list(templates)
    owner, spec = owner_of(assistant), assistant.spec
    template = worker_template(assistant, templates)
    version = version_of(assistant)
    children = [policies.service_account(owner)]
    model = remote_of(assistant) or (package if template.has_shared_store else version)
    if model is not None:
        outside = (policies.port_of(model.base_url),) if isinstance(model, RemoteModel) else ()
        children += _present(policies.network_policy(owner, names.WORKER, names.worker_name(owner.name), template, outside))
        children.append(policies.disruption_budget(owner))
        children.append(
            worker_deployment(
                owner,
                template,
                model,
                replicas=replicas,
                rollout=Rollout(spec.rollout.max_surge, spec.rollout.max_unavailable),
                gpus=spec.accelerator.gpus,
                resources={"requests": spec.resources.requests or {}, "limits": spec.resources.limits or {}},
                max_context=spec.generation.context_length,
            )
        )
    if version is not None and template.has_shared_store:
        provisioner = find_template(templates, "provisioner")
        name = names.provisioner_name(owner.name)
        children += _present(policies.network_policy(owner, names.PROVISIONER, name, provisioner, (_HTTPS,)))
    if spec.telegram is not None:
        bot = find_template(templates, "bot")
        children += _present(policies.network_policy(owner, names.BOT, names.bot_name(owner.name), bot, (_HTTPS,)))
        secret = spec.telegram.token_secret_ref
        children.append(bot_deployment(owner, bot, token_secret=secret.name, token_key=secret.key, env=bot_env(assistant)))
    return children


def bot_env(assistant: Assistant) -> dict[str, str]:
    """Who may talk to the bot, and how much."""
    telegram = assistant.spec.telegram
    if telegram is None:
        return {}
    settings = {
        "ACCESS": telegram.access,
        "ADMINS": ",".join(str(one) for one in telegram.admins),
        "ALLOWED": ",".join(telegram.allowed),
        "MESSAGES_PER_MINUTE": telegram.messages_per_minute,
        "PRIVACY_URL": telegram.privacy_url,
    }
    return {f"AI_ASSISTANT_TELEGRAM_{name}": str(value) for name, value in settings.items() if value not in ("", None)}


def _present(policy: dict[str, Any] | None) -> list[dict[str, Any]]:
    return [] if policy is None else [policy]
