"""The service as one Serve application: an ingress in front of engines."""

# No postponed annotations here: Serve reads the type of `build_app`'s argument to parse a configuration file into it.

from ray import serve
from ray.serve.config import RequestRouterConfig
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import LoggingConfig

from pipelines.serve.config import ServiceConfig
from pipelines.serve.engine import Engine
from pipelines.serve.errors import RETRY_AFTER_S
from pipelines.serve.ingress import Ingress, app

# Questions pass through the ingress while engines hold them: its own limit must never be the one that is met first.
INGRESS_REQUESTS = 1000

# Every question about a video to the replica that has it resident, as long as the set of replicas stays.
ROUTER = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"

# Not a decorator of the class: it pickles the routes at once, which is only sound when their module is complete.
HTTPIngress = serve.ingress(app)(Ingress)

QUIET = LoggingConfig(log_level="WARNING", enable_access_log=False)


def build_app(config: ServiceConfig) -> serve.Application:
    """For ``serve.run``, or as ``import_path: pipelines.serve.app:build_app`` of a Serve configuration file."""
    engine = serve.deployment(Engine).options(
        num_replicas=config.replicas,
        ray_actor_options={"num_cpus": config.cpus_per_replica, "num_gpus": config.gpus_per_replica},
        max_ongoing_requests=config.max_ongoing_requests,
        max_queued_requests=config.max_queued_requests,
        request_router_config=RequestRouterConfig(request_router_class=ROUTER),
        logging_config=QUIET,
        # A model that does not load will not load the twentieth time either (Serve's default).
        max_constructor_retry_count=2,
    )
    ingress = serve.deployment(HTTPIngress).options(
        name="Ingress",
        # It only waits for engines and the archive.
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=INGRESS_REQUESTS,
        max_queued_requests=INGRESS_REQUESTS,
        backpressure_config={"status_code": 503, "retry_after_s": RETRY_AFTER_S},
        logging_config=QUIET,
    )
    handle: DeploymentHandle = engine.bind(config)
    application: serve.Application = ingress.bind(config, handle)
    return application
