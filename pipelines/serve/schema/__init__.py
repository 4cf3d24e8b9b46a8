"""The HTTP documents. OpenAI's as far as this service supports them, and its own.

* ``common.py``: what all have in common, errors. ``chat.py``: a question; ``completion.py``: its answer.
* ``videos.py``: videos and ingests.
"""
