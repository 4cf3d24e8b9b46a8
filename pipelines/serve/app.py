"""The service as one Serve application: an ingress in front of engines."""

# No postponed annotations here: Serve reads the type of `build_app`'s argument to parse a configuration file into it.

from typing import Any

from ray import serve
from ray.serve.config import AutoscalingConfig, RequestRouterConfig
from ray.serve.schema import LoggingConfig

from pipelines.serve.config import ServiceConfig
from pipelines.serve.engine import Engine
from pipelines.serve.errors import RETRY_AFTER_S
from pipelines.serve.ingests import Ingests
from pipelines.serve.ingress import Ingress
from videox2l.errors import ConfigError

# Questions pass through the ingress while engines hold them: its own limit must never be the one that is met first.
INGRESS_REQUESTS = 1000

# Every question about a video to the replica that has it resident, as long as the set of replicas stays.
ROUTER = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"

# A replica that is to go lets answers under way finish; the longest take about a minute.
DRAIN_S = 60.0

QUIET = LoggingConfig(log_level="WARNING", enable_access_log=False)


def build_app(config: ServiceConfig) -> serve.Application:
    """For ``serve.run``, or as ``import_path: pipelines.serve.app:build_app`` of a Serve configuration file.

    :raises ConfigError: it does not say who may use the service.
    """
    if config.api_keys is None and not (config.without_keys or config.loopback_only):
        raise ConfigError(
            "say who may use the service: api_keys (a file made by `videox2l keys add`), or without_keys: true for "
            "everybody who can reach it"
        )
    if config.api_keys is not None and config.without_keys:
        raise ConfigError("api_keys and without_keys contradict each other: give one of them")
    ingests = _ingests(config) if config.ingest_from else None
    application: serve.Application = _ingress().bind(config, _engine(config).bind(config), ingests)
    return application


def _engine(config: ServiceConfig) -> serve.Deployment:
    return serve.deployment(Engine).options(
        **_size(config),
        ray_actor_options={"num_cpus": config.cpus_per_replica, "num_gpus": config.gpus_per_replica},
        max_ongoing_requests=config.max_ongoing_requests,
        max_queued_requests=config.max_queued_requests,
        request_router_config=RequestRouterConfig(request_router_class=ROUTER),
        graceful_shutdown_timeout_s=DRAIN_S,
        logging_config=QUIET,
        # A model that does not load will not load the twentieth time either (Serve's default).
        max_constructor_retry_count=2,
    )


def _size(config: ServiceConfig) -> dict[str, Any]:
    if config.autoscale_to is None:
        return {"num_replicas": config.replicas}
    return {
        "autoscaling_config": AutoscalingConfig(
            min_replicas=config.replicas,
            max_replicas=config.autoscale_to,
            # Half of what a replica takes in: a new one loads its model before the others are full.
            target_ongoing_requests=max(1, config.max_ongoing_requests / 2),
        )
    }


def _ingress() -> serve.Deployment:
    return serve.deployment(Ingress).options(
        name="Ingress",
        # It only waits for engines and the archive.
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=INGRESS_REQUESTS,
        max_queued_requests=INGRESS_REQUESTS,
        graceful_shutdown_timeout_s=DRAIN_S,
        # The next one is up before this one goes. It takes neither a GPU nor a core, as another engine would.
        max_surge_percent=100,
        backpressure_config={"status_code": 503, "retry_after_s": RETRY_AFTER_S},
        logging_config=QUIET,
    )


def _ingests(config: ServiceConfig) -> serve.Application:
    deployment = serve.deployment(Ingests).options(ray_actor_options={"num_cpus": 0}, logging_config=QUIET)
    application: serve.Application = deployment.bind(config)
    return application
