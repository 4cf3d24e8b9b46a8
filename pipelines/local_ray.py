"""The Ray that a job runs on: the cluster it is told to use, or one of our own on this machine, without its chatter."""

from __future__ import annotations

import logging
import os
from typing import Any

import grpc
import ray

from videox2l.errors import VideoX2LError

# Ray gives up when one of its own processes takes over 15 s to start, which happens on a machine under full load.
_START_TRIES = 3

QUIET: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
"""Arguments of ``ray.init`` that leave the terminal to the job's own output."""

logger = logging.getLogger(__name__)


# A control store answers within milliseconds; a busy one, or one at the end of a slow line, within seconds.
_ANSWERS_S = 10.0

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")

# Of Ray's client server, where an address such as ray://head names none.
_CLIENT_PORT = 10001


class ClusterNotFoundError(VideoX2LError, ConnectionError):
    """No cluster answers at the address that was given."""


def named_cluster() -> str | None:
    """The address in ``RAY_ADDRESS``, if a cluster is named there."""
    return os.environ.get("RAY_ADDRESS") or None


def connect(address: str) -> None:
    """Connect to the cluster at ``address``, as Ray writes it. ``ray.shutdown()`` leaves it.

    :raises ClusterNotFoundError: none answers there, said within seconds.
    """
    check_answers(address, _ANSWERS_S)
    try:
        ray.init(address=address, **QUIET)
    except ConnectionError as error:
        raise ClusterNotFoundError(f"no Ray cluster at {address} (RAY_ADDRESS): {error}") from error


def check_answers(address: str, timeout_s: float) -> None:
    """Ray itself goes on asking for minutes, and says why only to its log.

    :raises ClusterNotFoundError: nothing answers at ``address`` within ``timeout_s``, or nothing that speaks gRPC.
    """
    host, _, port = address.removeprefix("ray://").partition("/")[0].rpartition(":")
    if address.startswith("ray://") and not host:
        host, port = port, str(_CLIENT_PORT)
    # `auto` and `local` have no port, and Ray finds out at once. What TLS would need, it knows by itself.
    if not host or os.environ.get("RAY_USE_TLS", "0") not in ("0", ""):
        return
    if host in _LOOPBACK:  # Ray takes this machine's address in the network for it
        host = ray.util.get_node_ip_address()
    with grpc.insecure_channel(f"{host}:{port}", [("grpc.enable_http_proxy", 0)]) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=timeout_s)
        except grpc.FutureTimeoutError:
            raise ClusterNotFoundError(
                f"no Ray cluster answers at {address} within {timeout_s:g} s. Correct RAY_ADDRESS, start the cluster, "
                "or open the way to it; or unset RAY_ADDRESS to use this machine alone."
            ) from None


def start_local(cpus: int, object_store_bytes: int) -> None:
    """Start Ray on this machine with so many logical CPUs and connect to it. ``ray.shutdown()`` ends it.

    :raises RuntimeError: it does not come up.
    """
    # Workers without a GPU must not see one; Ray asks that a program says whether it relies on that.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
    # Ray's workers yield to everything else on the machine (niceness 15). Here a person waits for them.
    os.environ.setdefault("RAY_worker_niceness", "0")
    for attempt in range(_START_TRIES):
        try:
            # "local", because without an address Ray would join whatever cluster runs on this machine.
            ray.init(
                address="local",
                num_cpus=cpus,
                include_dashboard=False,
                object_store_memory=object_store_bytes,
                **QUIET,
            )
            return
        except Exception as error:  # Ray raises nothing more special than this
            ray.shutdown()
            if attempt == _START_TRIES - 1:
                raise RuntimeError(f"Ray does not start on this machine: {error}") from error
            logger.warning("Ray did not start, trying again: %s", error)
