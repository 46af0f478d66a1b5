"""Texts that tokenizers disagree about, and what to train small ones on."""

from __future__ import annotations

import random

WORDS = (
    "the of and to in that for it was with be by not he his but at are this have from or had an they which one you were all "
    "her she there would their been has when who will more if out so up said what its about than into them can only other time "
    "new some could these two may first then do any like my now over such our man me even most made after also did many"
)

TEXTS = [
    "",
    " ",
    "   ",
    "Hello  world",
    " leading and trailing ",
    "I'll, I'LL; we've WE'VE don't it's x's",
    "0 12 345 6789 3.14159 1,000,000 ½ ² ٣٤٥",
    "café naïve größe Ångström e\u0301 A\u030a",
    "日本語のテキスト、カタカナ。한국어 中文！",
    "мир и война, Ёжик",
    "🙂🙂 👩‍👩‍👧 ❤️ a🙂b",
    "def f(x):\n    return x ** 2  # ok\n\n\n\tif a != b: pass\r\n",
    "HTMLParser camelCase snake_case _x __init__ a/b//c \\ \\n",
    "---- ====== ........ !!! ??? (((",
    "a\n\n\nb \n \n c\t\td   \n",
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "<s>[INST] Hi [/INST] Yes</s>",
    "the the the thethethe",
    "\u00a0non\u3000breaking\u200bzero",
    "\x00\x01\x7f\ufffd",
]


def sentences(count: int, seed: int = 0) -> list[str]:
    """Sentences of common words, some with numbers, code and other scripts."""
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        words = draw.choices(WORDS.split(), k=draw.randint(3, 15))
        if draw.random() < 0.3:
            words.append(str(draw.randrange(100_000)))
        if draw.random() < 0.2:
            words.insert(0, draw.choice(["été", "naïve", "日本語", "мир", "größe", "def f(x):", "----", "====", "I'll", "we've"]))
        found.append((" " if draw.random() < 0.9 else "  ").join(words) + draw.choice([".", "!", "\n", "?\n\n"]))
    return found


def scrambled(count: int, seed: int = 1) -> list[str]:
    """Random strings over few characters, so that everything meets everything."""
    draw = random.Random(seed)
    return ["".join(draw.choices("theo nad  -=1é日🙂\n'sL_/.", k=draw.randint(1, 60))) for _ in range(count)]
