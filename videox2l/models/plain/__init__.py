"""Stock video models of transformers, without training and without a change to their code."""
