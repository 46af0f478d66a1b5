"""Which addresses Telegram links to."""

from urllib.parse import quote, urlsplit


def web_address(address: str) -> str | None:
    """The address in the form that Telegram links to; None where it would not."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    scheme = parts.scheme.lower()
    if scheme in ("http", "https"):
        is_host = "." in parts.netloc.strip(".")
    else:
        is_host = scheme in ("mailto", "tel", "tg") and bool(parts.path or parts.netloc)
    return quote(address, safe="!#$%&'()*+,/:;=?@[]~") if is_host and len(address) <= 2048 else None
