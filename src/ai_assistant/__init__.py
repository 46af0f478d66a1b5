"""ai-assistant: a self-hosted AI assistant for chats."""

__version__ = "0.1.0"
