"""What servers of several makes answer, and what is made of it."""

import json
import ssl
from typing import Any

import httpx
import pytest

from ai_assistant.contracts import FinishReason
from ai_assistant.worker.remote.failures import FailureError, Retry, of_status, of_transport, retry_after
from ai_assistant.worker.remote.reply import Piece, Usage, ending, parse_piece

SENT = ("stream_options", "max_tokens", "top_k", "logprobs", "top_logprobs", "seed")


def fails(status: int, body: Any, **headers: str) -> FailureError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return of_status(status, httpx.Headers(headers), raw, sent=SENT, secret="s3cret")


def chained(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("status", "body", "retry", "code"),
    [
        (401, {"error": {"message": "bad key"}}, Retry.NEVER, "model_server_refused"),
        (403, b"<html>", Retry.NEVER, "model_server_refused"),
        (404, {"detail": "Not Found"}, Retry.NEVER, "model_server_refused"),
        (400, {"error": {"message": "boom", "code": "context_length_exceeded"}}, Retry.SHORTER, "prompt_too_long"),
        (400, {"object": "error", "message": "The maximum context length is 512 tokens."}, Retry.SHORTER, "prompt_too_long"),
        (400, {"error": {"code": 400, "type": "exceed_context_size_error", "message": "x"}}, Retry.SHORTER, "prompt_too_long"),
        (400, {"error": {"code": "prompt_too_long", "message": "Shorten it."}}, Retry.SHORTER, "prompt_too_long"),
        (500, {"error": {"message": "the request exceeds the available context size"}}, Retry.SHORTER, "prompt_too_long"),
        (413, {"error": {"message": "too many tokens"}}, Retry.SHORTER, "prompt_too_long"),
        (422, {"detail": [{"loc": ["top_k"], "msg": "Extra inputs are not permitted"}]}, Retry.WITHOUT, "model_server_refused"),
        (400, {"error": "json: unknown field \"stream_options\""}, Retry.WITHOUT, "model_server_refused"),
        (400, {"error": {"message": "messages: at least one is required"}}, Retry.NEVER, "model_server_refused"),
        (400, b"[" * 100_000, Retry.NEVER, "model_server_refused"),
        (429, [{"error": {"message": "RESOURCE_EXHAUSTED"}}], Retry.WHEN_BACK, "model_server_unavailable"),
        (429, {"error": {"code": "insufficient_quota"}}, Retry.NEVER, "model_server_refused"),
        (503, {"error": {"message": "Loading model"}}, Retry.WHEN_BACK, "model_server_unavailable"),
        (500, b"", Retry.SOON, "model_server_failed"),
        (302, b"", Retry.NEVER, "model_server_refused"),
    ],
)  # fmt: skip
def test_statuses(status: int, body: Any, retry: Retry, code: str) -> None:
    failure = fails(status, body)
    assert (failure.retry, failure.error.code) == (retry, code)
    assert str(status) in failure.reason


@pytest.mark.parametrize(
    ("message", "parameter"),
    [
        ("Unknown parameter: 'top_logprobs'", "top_logprobs"),
        ("logprobs is not supported here", "logprobs"),
        ("Use 'max_completion_tokens' instead.", "max_tokens"),
        ("unsupported: stream_options", "stream_options"),
    ],
)
def test_the_parameter_that_a_server_does_not_know(message: str, parameter: str) -> None:
    assert fails(400, {"error": {"message": message}}).parameter == parameter


def test_secrets_are_hidden_and_words_are_short() -> None:
    failure = fails(400, {"error": {"message": f"s3cret\n {'x' * 1000}"}})
    assert "s3cret" not in failure.reason + failure.error.message
    assert len(failure.error.message) < 400


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("7", 7), ("0.5", 0.5), ("-3", 0), ("Wed, 21 Oct 2026 07:28:30 GMT", 30), ("soon", None), ("", None)],
)
def test_retry_after(given: str, seconds: float | None) -> None:
    assert retry_after(httpx.Headers({"Retry-After": given, "Date": "Wed, 21 Oct 2026 07:28:00 GMT"})) == seconds


@pytest.mark.parametrize(
    ("error", "retry", "words"),
    [
        (chained(httpx.ConnectError("x"), OSError(111, "Connection refused")), Retry.WHEN_BACK, "Connection refused"),
        (httpx.ConnectError("[Errno -2] Name or service not known"), Retry.WHEN_BACK, "Name or service not known"),
        (httpx.ConnectTimeout("x"), Retry.WHEN_BACK, "AI_ASSISTANT_REMOTE_CONNECT_SECONDS"),
        (
            chained(httpx.ConnectError("x"), ssl.SSLError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] self-signed")),
            Retry.NEVER,
            "check the certificate",
        ),
        (httpx.ConnectError("[SSL: WRONG_VERSION_NUMBER] wrong version number"), Retry.NEVER, "scheme"),
        (httpx.RemoteProtocolError("peer closed"), Retry.SOON, "broke"),
        (httpx.ReadError(""), Retry.SOON, "broke"),
        (UnicodeEncodeError("ascii", "Bearer s3cret", 0, 1, "x"), Retry.SOON, "UnicodeEncodeError"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_connections(error: Exception, retry: Retry, words: str) -> None:
    failure = of_transport(error)
    assert failure.retry is retry
    assert words in failure.reason
    assert "s3cret" not in failure.reason


@pytest.mark.parametrize(
    ("data", "piece"),
    [
        ({"choices": [{"delta": {"role": "assistant", "content": ""}}]}, Piece()),
        ({"choices": [{"delta": {"content": None}, "finish_reason": None}]}, Piece()),
        ({"choices": [], "prompt_filter_results": []}, Piece()),
        ({"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]}, Piece("a", "stop")),
        ({"choices": [{"message": {"content": [{"type": "text", "text": "a"}, {"type": "x"}]}}]}, Piece("a")),
        ({"choices": [{"delta": {"reasoning_content": "hm"}}]}, Piece(is_thought=True)),
        ({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}, Piece(usage=Usage(3, 4))),
        ({"choices": [], "usage": {"prompt_tokens": -3, "completion_tokens": "4"}}, Piece()),
        ({"choices": [], "error": None}, Piece()),
    ],
)
def test_pieces(data: dict[str, Any], piece: Piece) -> None:
    assert parse_piece(json.dumps(data)) == piece


@pytest.mark.parametrize("data", ["", "{", "[]", "7", '{"a": 1}', '{"choices": [{"delta": "x"}]}', "[" * 100_000])
def test_what_is_no_piece(data: str) -> None:
    with pytest.raises(FailureError) as caught:
        parse_piece(data)
    assert caught.value.retry is Retry.SOON


def test_an_error_within_a_stream_has_the_status_that_it_names() -> None:
    for code, retry in ((429, Retry.WHEN_BACK), ("401", Retry.NEVER), ("server_error", Retry.SOON), (None, Retry.SOON)):
        with pytest.raises(FailureError) as caught:
            parse_piece(json.dumps({"error": {"message": "no", "code": code}}))
        assert caught.value.retry is retry


def test_endings() -> None:
    assert ending("stop") == ending(None) == ending("eos") == (FinishReason.STOP, None)
    assert ending("length")[0] is ending("model_length")[0] is FinishReason.LENGTH
    for reason, code in (("content_filter", "content_filtered"), ("tool_calls", "model_server_refused")):
        finish, error = ending(reason)
        assert finish is FinishReason.ERROR
        assert error is not None
        assert error.code == code
    with pytest.raises(FailureError):
        ending("abort")
