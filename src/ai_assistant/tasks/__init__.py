"""Tasks: one generation request each, owned by PostgreSQL. A module per thing that can happen to one.

Every write to a running task is guarded by its attempt, so a worker that was declared lost can do no harm when it wakes.
All times are PostgreSQL's.
"""
