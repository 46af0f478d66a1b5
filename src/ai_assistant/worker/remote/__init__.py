"""Answers by a model server elsewhere that speaks OpenAI's chat completions.

It gives text and no token ids, so an answer that broke off cannot be continued from where it was: it is asked for again from its
beginning. Readers keep what they have as long as the new answer says the same, and are reset to the first difference.
"""
