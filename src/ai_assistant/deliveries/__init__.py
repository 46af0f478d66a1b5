"""Deliveries: answers that a channel such as Telegram has to bring to its people. A module per thing that can happen to one.

A delivery is written with its task, and is due when that task is over: nobody has to hand an answer on, so nobody can lose one.
Whoever delivers holds a lease and tells before and after each part, so that what is sent twice is known, and rare.
All times are PostgreSQL's.
"""
