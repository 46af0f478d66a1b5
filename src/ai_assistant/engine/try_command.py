"""`ai-assistant model try PACKAGE "question"`: hear a model package answer, without a server, a queue or a database."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from ai_assistant.errors import AssistantError, InvalidRequestError

if TYPE_CHECKING:
    from ai_assistant.engine.sampling import SamplingParams


def try_model(
    package: Annotated[Path, typer.Argument(help="Folder of the model package.", show_default=False)],
    question: Annotated[str | None, typer.Argument(help="What to ask.", show_default=False)] = None,
    messages: Annotated[
        Path | None, typer.Option(help="JSON file with a list of {role, content} to answer instead of a question.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="Instructions to the assistant.")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer in tokens.")] = 256,
    temperature: Annotated[float, typer.Option(min=0, help="0 is the likeliest answer, higher is more varied.")] = 0.7,
    greedy: Annotated[bool, typer.Option("--greedy", help="The same as --temperature 0.")] = False,
    seed: Annotated[int, typer.Option(help="The same seed gives the same answer.")] = 0,
    stop: Annotated[list[str] | None, typer.Option(help="Stop before this text; can be given several times.")] = None,
    device: Annotated[
        str, typer.Option(envvar="AI_ASSISTANT_DEVICE", help="Where to compute: auto, cpu, cuda or cuda:INDEX.")
    ] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object with all token ids.")] = False,
) -> None:
    """Ask a model package something and print its answer."""
    try:
        from ai_assistant.engine.sampling import SamplingParams

        sampling = SamplingParams(max_tokens=max_tokens, temperature=0 if greedy else temperature, seed=seed)
        chat = _chat(question, messages, system)
        answer = _answer(package, device, chat, sampling, stop or [], _ignore if as_json else _write)
    except (AssistantError, ValueError) as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        _fail(f"{error.name} is not installed; install ai-assistant with the extra `worker`.")
    _write((json.dumps(answer, ensure_ascii=False) if as_json else "") + "\n")


def _chat(question: str | None, file: Path | None, system: str | None) -> list[dict[str, str]]:
    if (question is None) == (file is None):
        raise InvalidRequestError("Give either a question or --messages FILE.")
    instructions = [] if system is None else [{"role": "system", "content": system}]
    if file is None:
        return [*instructions, {"role": "user", "content": str(question)}]
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidRequestError(f"{file} cannot be read as JSON: {error}.") from error
    if not isinstance(found, list) or not all(_is_message(message) for message in found):
        raise InvalidRequestError(f'{file} must hold a list of messages like {{"role": "user", "content": "Hello"}}.')
    return [*instructions, *({"role": message["role"], "content": message["content"]} for message in found)]


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("role"), str) and isinstance(value.get("content"), str)


def _answer(
    folder: Path, device: str, chat: list[dict[str, str]], sampling: SamplingParams, stop: list[str], show: Callable[[str], None]
) -> dict[str, Any]:
    from ai_assistant.engine.backends import load_runner
    from ai_assistant.engine.config import EngineConfig
    from ai_assistant.engine.llm_engine import LLMEngine
    from ai_assistant.engine.model_package import load_package
    from ai_assistant.engine.prompt import build_prompt
    from ai_assistant.engine.sequence import FinishReason, Sequence
    from ai_assistant.engine.text_stream import TextStream
    from ai_assistant.engine.tokenizer import Tokenizer

    package = load_package(folder)
    tokenizer = Tokenizer.of_package(package)
    config = EngineConfig(num_slots=1, device=device)
    engine = LLMEngine(load_runner(package, config), config)
    room = min(sampling.max_tokens, engine.max_context // 2)
    prompt_ids = build_prompt(tokenizer, chat, max_prompt_tokens=engine.max_context - room)
    sequence = Sequence("try", prompt_ids, sampling)
    text = TextStream(tokenizer, stop)
    reason: FinishReason | None = None
    engine.add(sequence)
    while reason is None:
        step = engine.step()
        if step.failures:
            raise step.failures[0].error
        for output in step.tokens:
            reason = output.finish_reason
            if output.token_id is not None:
                show(text.push(output.token_id))
        if text.stopped:
            reason = FinishReason.STOP
    show(text.finish())
    return {
        "prompt_ids": prompt_ids,
        "completion_ids": sequence.completion_ids,
        "text": text.text,
        "finish_reason": str(reason),
    }


def _ignore(text: str) -> None:
    """Nothing is shown until the end."""


def _write(text: str) -> None:
    if text:
        sys.stdout.write(text)
        sys.stdout.flush()


def _fail(sentence: str) -> NoReturn:
    typer.echo(f"error: {sentence}", err=True)
    raise typer.Exit(1)
