"""The whole path in one command: render clips, ingest them on Ray Data, serve them on Ray Serve, ask, compare."""

from pipelines.demo.run import run_demo

__all__ = ["run_demo"]
