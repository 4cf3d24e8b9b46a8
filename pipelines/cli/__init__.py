"""The command ``videox2l``: one file per thing a user does."""
