import pytest

from ai_assistant.engine.prompt import build_prompt
from ai_assistant.engine.tokenizer import Tokenizer
from ai_assistant.errors import InvalidRequestError, PromptTooLongError

Chat = list[dict[str, str]]


def message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def chat(turns: int, *, system: bool = True) -> Chat:
    messages = [message("system", "Be brief.")] if system else []
    for turn in range(turns):
        messages += [message("user", f"question {turn} " + "x" * (turn % 7)), message("assistant", f"answer {turn}")]
    return messages[:-1]


def kept(tokenizer: Tokenizer, messages: Chat, **limits: float) -> str:
    return tokenizer.decode(build_prompt(tokenizer, messages, **limits), skip_special=False)


def test_a_short_chat_is_untouched(tokenizer: Tokenizer) -> None:
    assert build_prompt(tokenizer, chat(5), max_prompt_tokens=10_000) == tokenizer.encode_chat(chat(5))


@pytest.mark.parametrize("system", [True, False])
@pytest.mark.parametrize("limit", [120, 200, 333])
def test_the_oldest_turns_go_and_instructions_stay(tokenizer: Tokenizer, limit: int, system: bool) -> None:
    messages = chat(40, system=system)
    text = kept(tokenizer, messages, max_prompt_tokens=limit)
    assert len(tokenizer.encode(text)) <= limit
    assert text.startswith("<|im_start|>system\nBe brief." if system else "<|im_start|>system\nYou are helpful.")
    assert text.split("<|im_end|>\n")[1].startswith("<|im_start|>user\nquestion")
    assert text.endswith("question 39 xxxx<|im_end|>\n<|im_start|>assistant\n")


def test_the_beginning_stays_the_same_for_several_turns(tokenizer: Tokenizer) -> None:
    limit, starts, sizes = 400, [], []
    for turns in range(1, 60):
        token_ids = build_prompt(tokenizer, chat(turns), max_prompt_tokens=limit)
        sizes.append(len(token_ids))
        starts.append(tokenizer.decode(token_ids[:40]))
    changes = [turn for turn in range(1, len(starts)) if starts[turn] != starts[turn - 1]]
    assert 3 < len(changes) < 25, "the beginning moved with every turn, or never"
    assert all(sizes[turn] <= 0.75 * limit for turn in changes), "a trim must go down to three quarters"
    assert max(sizes) <= limit


class Counting(Tokenizer):
    """Counts how often the whole chat is rendered."""

    num_renderings = 0

    def render_chat(self, messages: Chat, add_generation_prompt: bool = True) -> str:
        self.num_renderings += len(messages) > 3
        return super().render_chat(messages, add_generation_prompt)


def test_a_very_long_chat_is_rendered_only_a_few_times(tokenizer: Tokenizer) -> None:
    counting = Counting.__new__(Counting)
    counting.__dict__.update(tokenizer.__dict__)
    build_prompt(counting, chat(2000), max_prompt_tokens=1000)
    assert counting.num_renderings <= 3


def test_a_last_message_that_cannot_fit_is_refused_with_numbers(tokenizer: Tokenizer) -> None:
    messages = [*chat(5), message("assistant", "ok"), message("user", "x" * 500)]
    needed = len(tokenizer.encode_chat([messages[0], messages[-1]]))
    with pytest.raises(PromptTooLongError, match=f"{needed} tokens, and 300 fit"):
        build_prompt(tokenizer, messages, max_prompt_tokens=300)
    assert len(build_prompt(tokenizer, messages, max_prompt_tokens=needed)) == needed


def test_user_messages_in_a_row_are_one_and_empty_answers_go(tokenizer: Tokenizer) -> None:
    messages = [
        message("user", "a"),
        message("assistant", " "),
        message("user", "b"),
        message("assistant", "c"),
        message("user", "d"),
    ]
    wanted = [message("user", "a\n\nb"), message("assistant", "c"), message("user", "d")]
    assert build_prompt(tokenizer, messages, max_prompt_tokens=999) == tokenizer.encode_chat(wanted)


def test_later_instructions_outlive_their_turn(tokenizer: Tokenizer) -> None:
    messages = [*chat(3), message("system", "Speak Latin."), *chat(30, system=False)]
    assert "Speak Latin." in kept(tokenizer, messages, max_prompt_tokens=250)


def test_instructions_that_alone_are_too_long_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(PromptTooLongError):
        build_prompt(tokenizer, [message("system", "x" * 300), message("user", "a")], max_prompt_tokens=200)
    with pytest.raises(PromptTooLongError):
        build_prompt(tokenizer, [message("system", "x" * 300)], max_prompt_tokens=200)


def test_nothing_to_answer_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(InvalidRequestError):
        build_prompt(tokenizer, [message("assistant", "")], max_prompt_tokens=200)
