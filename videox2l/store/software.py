"""Which software wrote an index."""

from __future__ import annotations

import functools
import importlib.metadata
import platform


@functools.cache
def versions() -> dict[str, str]:
    """Versions of what shaped the stored bytes, for whoever investigates a difference later."""
    found = {"python": platform.python_version()}
    for package in ("videox2l", "torch", "transformers", "pyarrow", "av"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # used from a source folder that is not installed
            continue
    return found
