"""The service as a Serve configuration file, for ``serve deploy`` and KubeRay's RayService."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from ray.serve.schema import ServeDeploySchema

from pipelines.serve.app import build_app
from pipelines.serve.config import ServiceConfig
from pipelines.serve.service import APPLICATION, guarded


def serve_config(archive_url: str, host: str, port: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The file's content. ``settings`` are fields of :class:`ServiceConfig`; what is a default is left out.

    :raises ConfigError: a setting is impossible, or strangers could use the service and nobody has allowed that.
    """
    config = guarded(ServiceConfig.read(archive_url, settings), host)
    build_app(config)
    document = {
        "proxy_location": "EveryNode",
        "http_options": {"host": host, "port": port},
        "applications": [
            {
                "name": APPLICATION,
                "import_path": f"{build_app.__module__}:{build_app.__name__}",
                "route_prefix": "/",
                "args": config.model_dump(mode="json", exclude_defaults=True),
            }
        ],
    }
    ServeDeploySchema.model_validate(document)
    return document


def write_serve_config(archive_url: str, host: str, port: int, settings: Mapping[str, Any]) -> str:
    """:func:`serve_config` as YAML."""
    return yaml.safe_dump(serve_config(archive_url, host, port, settings), sort_keys=False)
