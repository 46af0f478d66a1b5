"""The one tree of errors that cross a module's border.

Each class has a stable `code` for programs and an HTTP `status`; the message is a sentence for people that says what to do next.
Foreign errors are translated where they enter and chained. Only surprises keep the default status 500.
"""


class AssistantError(Exception):
    """Something went wrong in ai-assistant."""

    code = "internal_error"
    status = 500

    def __init__(self, message: str | None = None) -> None:
        self.message = message or (self.__doc__ or "").strip().splitlines()[0]
        super().__init__(self.message)


class ConfigurationError(AssistantError):
    """A setting is missing or wrong."""

    code = "configuration_error"


# Requests


class InvalidRequestError(AssistantError):
    """The request is not valid."""

    code = "invalid_request"
    status = 422


class MalformedBodyError(InvalidRequestError):
    """The body is not valid JSON in UTF-8."""

    code = "malformed_body"
    status = 400


class BodyTooLargeError(InvalidRequestError):
    """The request body is too large."""

    code = "body_too_large"
    status = 413


class PromptTooLongError(InvalidRequestError):
    """The message does not fit into the model's context."""

    code = "prompt_too_long"
    status = 400


class UnauthorizedError(AssistantError):
    """A valid API key is needed: send it as `Authorization: Bearer KEY`."""

    code = "unauthorized"
    status = 401


class ForbiddenError(AssistantError):
    """This key may not do that."""

    code = "forbidden"
    status = 403


class NotFoundError(AssistantError):
    """There is no such thing."""

    code = "not_found"
    status = 404


class TaskNotFoundError(NotFoundError):
    """There is no such task."""

    code = "task_not_found"


class ConversationNotFoundError(NotFoundError):
    """There is no such conversation."""

    code = "conversation_not_found"


class AssistantNotFoundError(NotFoundError):
    """There is no such assistant."""

    code = "assistant_not_found"


class DeliveryNotFoundError(NotFoundError):
    """There is no such delivery."""

    code = "delivery_not_found"


class StaleAttemptError(InvalidRequestError):
    """Another attempt owns this now."""

    code = "stale_attempt"
    status = 409


class StaleGenerationError(InvalidRequestError):
    """A newer generation is known already."""

    code = "stale_generation"
    status = 409


class IdempotencyMismatchError(InvalidRequestError):
    """This Idempotency-Key was used with another request body within the last 24 hours."""

    code = "idempotency_mismatch"
    status = 422


class PersonaForbiddenError(InvalidRequestError):
    """This assistant takes no instructions besides its own."""

    code = "persona_forbidden"


class OverloadedError(AssistantError):
    """Too many requests are waiting; try again later."""

    code = "overloaded"
    status = 429

    def __init__(self, message: str | None = None, *, retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DatabaseUnavailableError(AssistantError):
    """The database cannot be reached; try again in a few seconds."""

    code = "database_unavailable"
    status = 503
    retry_after = 3


# Models


class ModelError(AssistantError):
    """The model package cannot be used."""

    code = "model_error"


class RemoteUnavailableError(ModelError):
    """The model server cannot be reached or is overloaded; try again later."""

    code = "model_server_unavailable"
    status = 503


class RemoteRefusedError(ModelError):
    """The model server refuses the request; tell the operator."""

    code = "model_server_refused"
    status = 502


class RemoteFailedError(ModelError):
    """The model server broke off the answer again and again; ask again."""

    code = "model_server_failed"
    status = 502


class AnswerWithheldError(ModelError):
    """The model server withheld the answer because of its content rules; put the question differently."""

    code = "content_filtered"
    status = 502


class ModelPackageError(ModelError):
    """The model package is broken."""

    code = "model_package_broken"


class UnsupportedModelError(ModelError):
    """This model is not supported."""

    code = "unsupported_model"


class UnsupportedArchitectureError(UnsupportedModelError):
    """The model computes what our own graph writer does not know; an exporter may."""


class ModelRejectedError(ModelError):
    """The model package is below the accuracy threshold of its precision."""

    code = "model_rejected"


class PackageInUseError(ModelError):
    """A running worker uses this model package."""

    code = "package_in_use"
    status = 409


class ExportError(ModelError):
    """The model could not be exported."""

    code = "export_failed"


class SourceError(ModelError):
    """The model source cannot be read."""

    code = "download_failed"


class SourceUnreachableError(SourceError):
    """The server of the model source does not answer."""

    code = "source_unreachable"


class SourceNotFoundError(SourceError):
    """There is no such model."""

    code = "source_not_found"


class SourceUnauthorizedError(SourceError):
    """The model source may be read only with a token that was not given, or not with this one."""

    code = "source_unauthorized"


class ChecksumMismatchError(SourceError):
    """The downloaded file does not have the expected checksum."""

    code = "checksum_mismatch"


class NoSpaceError(AssistantError):
    """The disk is full."""

    code = "no_space"
