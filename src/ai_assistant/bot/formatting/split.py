"""Long text in parts."""


def split_text(text: str, limit: int = 4096) -> list[str]:
    """Parts of at most `limit` UTF-16 code units, which is what Telegram counts; split at lines or spaces where there are any."""
    parts = []
    while text:
        size, end = 0, 0
        for character in text:
            size += 2 if ord(character) > 0xFFFF else 1
            if size > limit:
                break
            end += 1
        if end < len(text):
            cut = max(text.rfind("\n", 0, end), text.rfind(" ", end // 2, end))
            end = cut + 1 if cut > 0 else end
        parts.append(text[:end])
        text = text[end:]
    return [part for part in parts if part.strip()]
