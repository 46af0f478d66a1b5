"""From the Markdown that a model writes to the messages that Telegram takes."""
