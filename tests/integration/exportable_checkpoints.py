"""Writes small random checkpoints of families that only optimum exports, each with what transformers answers.

Run by path in the export environment: exportable_checkpoints.py FOLDER FAMILY... makes FOLDER/FAMILY/ in the layout of the
hub, and FOLDER/FAMILY.json: a list of {"prompt": ids, "answer": ids}, the answer greedy and never ended early.
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXT = """The harbour woke slowly that morning. Three ships were expected before noon: a coaster with timber, a small tanker
and the ferry. User: What is the difference between a virus and a bacterium? Assistant: A bacterium is a living cell."""
PROMPTS = ("The capital of France is", "How to repair a tyre:", f"{TEXT} Colds are caused by viruses.")
VOCABULARY = 384
ANSWER_TOKENS = 24
SHAPE = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "vocab_size": VOCABULARY}
# Wide enough for the likeliest token to stand out.
SPREAD = {"initializer_range": 0.3}
GEMMA = {**SHAPE, **SPREAD, "num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 64, "max_position_embeddings": 512}
# With tied matrices these two say one token for ever.
WINDOWED = {"sliding_window": 16, "query_pre_attn_scalar": 16, "tie_word_embeddings": False}
TURNS = (
    "{{ bos_token }}{% for message in messages %}<start_of_turn>{{ message.role }}\n{{ message.content }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
CONFIGS = {
    "gpt2": lambda: transformers.GPT2Config(**SHAPE, **SPREAD, n_positions=256, bos_token_id=0, eos_token_id=0),
    "opt": lambda: transformers.OPTConfig(
        **SHAPE, ffn_dim=64, max_position_embeddings=256, word_embed_proj_dim=32, init_std=0.3, bos_token_id=0, eos_token_id=0
    ),
    "gemma": lambda: transformers.GemmaConfig(**GEMMA),
    "gemma2": lambda: transformers.Gemma2Config(**GEMMA, **WINDOWED),
    "gemma3": lambda: transformers.Gemma3TextConfig(**GEMMA, **WINDOWED),
}


def byte_level(bos: str | None) -> transformers.PreTrainedTokenizerFast:
    """GPT-2's kind; OPT's begins every text with a token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    end = bos or "<|endoftext|>"
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=[end], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([TEXT], trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, 0)])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=end, eos_token=end)


def byte_fallback() -> transformers.PreTrainedTokenizerFast:
    """Gemma's kind."""
    special = ["<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"]
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<pad>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokens = [*special, *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=tokens, show_progress=False)
    tokenizer.train_from_iterator([TEXT.replace(" ", " ▁")], trainer)
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] in special]
    tokenizer = Tokenizer.from_str(json.dumps(content))
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>"
    )
    fast.chat_template = TURNS
    return fast


def main(folder: Path, families: list[str]) -> None:
    for number, family in enumerate(families):
        torch.manual_seed(number)
        model = transformers.AutoModelForCausalLM.from_config(CONFIGS[family]()).eval()
        tokenizer = byte_level({"gpt2": None, "opt": "</s>"}[family]) if family in ("gpt2", "opt") else byte_fallback()
        model.save_pretrained(folder / family)
        tokenizer.save_pretrained(folder / family)
        answers = []
        for prompt in PROMPTS:
            ids = tokenizer(prompt, return_tensors="pt").input_ids
            options = {"max_new_tokens": ANSWER_TOKENS, "min_new_tokens": ANSWER_TOKENS, "do_sample": False}
            answer = model.generate(ids, attention_mask=torch.ones_like(ids), pad_token_id=0, eos_token_id=[], **options)
            answers.append({"prompt": ids[0].tolist(), "answer": answer[0, ids.shape[1] :].tolist()})
        (folder / f"{family}.json").write_text(json.dumps(answers))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
