"""`python -m ai_assistant`."""

from ai_assistant.cli import main

main()
