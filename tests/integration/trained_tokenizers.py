"""Trains small tokenizers and writes how transformers encodes with them; run by a Python that has it, with FOLDER.

Each is a folder as `save_pretrained` writes it, and `reference.json`: texts and chats with their ids.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import sentencepiece
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaTokenizerFast, PreTrainedTokenizerFast

CORPUS = [
    "The quick brown fox jumps over the lazy dog, and 12345 dogs don't care at 3.14 o'clock.",
    "A tokenizer that is almost right makes a model that is quietly worse: every space counts.",
    "def add(left: int, right: int) -> int:\n    return left + right  # 2026\n",
    "Сегодня хорошая погода, и завтра будет не хуже. 今日は天気がいいですね。 L'été à Zürich, naïve façade.",
] * 20
TEXTS = [
    "The quick brown fox",
    "  two spaces, a tab\tand\n\nlines ",
    "12345 + 678 = 13023; don't, DON'T",
    "Погода в Zürich: 今日 🙂🏳️‍🌈",
    "x<|im_end|>y</s> z",
    "",
]
CHATS = [
    [{"role": "user", "content": "The fox, please."}],
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": " Погода? "},
        {"role": "assistant", "content": "Good.\n"},
        {"role": "user", "content": "And now 🙂"},
    ],
]
LLAMA_3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
HEADERS = (
    "{{ bos_token }}{% for message in messages %}{{ '<|start|>' + message['role'] + '<|end|>\n\n' + message['content'] | trim"
    " + '<|eot|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant<|end|>\n\n' }}{% endif %}"
)
INST = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'assistant' %}{{ ' ' + message.content + eos_token }}"
    "{% else %}{{ '[INST] ' + message.content + ' [/INST]' }}{% endif %}{% endfor %}"
)


def byte_level(words: str, specials: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(words), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens(specials)
    return tokenizer


def chatml() -> PreTrainedTokenizerFast:
    """As Qwen2: nothing is added to a text."""
    words = LLAMA_3_WORDS.replace(r"\p{N}{1,3}", r"\p{N}")
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=byte_level(words, specials), eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=CHATML
    )
    tokenizer.add_tokens(["<tool>"])
    return tokenizer


def headers() -> PreTrainedTokenizerFast:
    """As Llama 3: a text begins with a token, and so does a chat."""
    tokenizer = byte_level(LLAMA_3_WORDS, ["<|begin|>", "<|start|>", "<|end|>", "<|eot|>"])
    begin = tokenizer.token_to_id("<|begin|>")
    tokenizer.post_processor = processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", begin)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|begin|>", eos_token="<|eot|>", chat_template=HEADERS)


def sentencepieces(folder: Path, *, has_prefix: bool) -> PreTrainedTokenizerFast:
    """As Llama 2 and Mistral: converted from SentencePiece, with bytes for what is in no piece and a space before a text."""
    folder.mkdir()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=550,
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    tokenizer = LlamaTokenizerFast(vocab_file=str(folder / "tokenizer.model"), legacy=has_prefix, add_prefix_space=True)
    tokenizer.chat_template = INST
    return tokenizer


def reference(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    plain = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    return {
        "texts": [
            {"text": text, "ids": ids, "decoded": tokenizer.decode(ids, clean_up_tokenization_spaces=False)}
            for text, ids in zip(TEXTS, plain, strict=True)
        ],
        "with_special": [{"text": text, "ids": tokenizer(text)["input_ids"]} for text in TEXTS],
        "chats": [
            {
                "messages": chat,
                "text": tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True),
                "ids": tokenizer.apply_chat_template(chat, add_generation_prompt=True),
            }
            for chat in CHATS
        ],
        "eos": tokenizer.eos_token_id,
        "size": len(tokenizer),
    }


def main(root: Path) -> None:
    for name, tokenizer, in_jinja in (
        ("chatml", chatml(), True),
        ("headers", headers(), False),
        ("sentencepieces", sentencepieces(root / "trained", has_prefix=False), False),
        ("prefixed", sentencepieces(root / "trained-prefixed", has_prefix=True), True),
    ):
        tokenizer.save_pretrained(root / name, save_jinja_files=in_jinja)
        (root / name / "reference.json").write_text(json.dumps(reference(tokenizer)))
    for name in ("sentencepieces", "prefixed"):
        folder = shutil.copytree(root / name, root / f"{name}-only")
        (folder / "tokenizer.json").unlink()
        shutil.copy(root / ("trained-prefixed" if name == "prefixed" else "trained") / "tokenizer.model", folder)
        (folder / "reference.json").write_text(json.dumps(reference(LlamaTokenizerFast.from_pretrained(folder))))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
