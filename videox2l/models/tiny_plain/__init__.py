"""The bundled model's plain sibling: a stock LLaVA-OneVision of toy size. ``checkpoint/README.md`` is its card."""
