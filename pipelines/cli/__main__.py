"""``python -m pipelines.cli``: the same as the command ``videox2l``."""

from pipelines.cli.main import main

main()
