"""The bundled checkpoint: a Video-XL of toy size that really answers. ``checkpoint/README.md`` is its model card."""
