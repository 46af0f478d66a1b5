"""Names for people and chats that the bot may keep although they have asked to be forgotten.

A list of who is let in or kept out has to outlive /forget_me. It holds no ids: each is replaced by an HMAC under a key that is
derived from the bot's token, which is not stored at the gateway. Whoever reads the list cannot tell who is on it; the bot
recognises everybody who writes. A bot with a new token starts with an empty list.
"""

import base64
import hashlib
import hmac

ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
"""Of codes that people type: nothing that looks like something else."""
CODE_LENGTH = 8


class Fingerprints:
    """One per bot."""

    def __init__(self, token: str) -> None:
        self._key = hmac.digest(token.encode(), b"ai-assistant: fingerprints of people and chats", hashlib.sha256)

    def of(self, subject: str) -> str:
        """16 characters for a subject such as `person:42`."""
        return base64.urlsafe_b64encode(hmac.digest(self._key, subject.encode(), hashlib.sha256)[:12]).decode()

    def code(self, purpose: str) -> str:
        """A code that every process of this bot agrees on, and that nobody can guess who has not got the token."""
        number = int.from_bytes(hmac.digest(self._key, f"code:{purpose}".encode(), hashlib.sha256), "big")
        letters = []
        for _ in range(CODE_LENGTH):
            number, index = divmod(number, len(ALPHABET))
            letters.append(ALPHABET[index])
        return "".join(letters)
