"""The manifests: right for KubeRay and Kubernetes, and right for this project. No cluster is needed."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml
from ray import serve
from ray.serve.schema import ServeDeploySchema

from pipelines.serve import ServiceConfig
from pipelines.serve.app import build_app
from tests.cluster.commands import environment_variables, parse, videox2l_commands
from tests.cluster.files import CLUSTER, VERSION, document, pinned

KUBERNETES = CLUSTER / "kubernetes"
JOB = document(KUBERNETES / "ingest" / "job.yaml")
SERVICE = document(KUBERNETES / "serving" / "service.yaml")
CLUSTERS = {"ingest": JOB["spec"]["rayClusterSpec"], "serving": SERVICE["spec"]["rayClusterConfig"]}
SETTINGS = document(KUBERNETES / "settings" / "settings.yaml")
SHARED = document(KUBERNETES / "settings" / "kustomization.yaml")
ACCOUNT = document(KUBERNETES / "settings" / "account.yaml")

# Kubernetes' own schemas: a release that all large providers still offer.
KUBERNETES_VERSION = "1.34"


def groups(cluster: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "head", cluster["headGroupSpec"]
    for group in cluster["workerGroupSpecs"]:
        yield group["groupName"], group


GROUPS = {(name, group): spec for name, cluster in CLUSTERS.items() for group, spec in groups(cluster)}


def container(group: dict[str, Any]) -> dict[str, Any]:
    (only,) = group["template"]["spec"]["containers"]
    return dict(only)


@pytest.mark.parametrize("resource", [JOB, SERVICE], ids=lambda resource: resource["kind"])
def test_kuberay_knows_every_field(resource: dict[str, Any]) -> None:
    schema = document(CLUSTER.parent / "tests" / "cluster" / "kuberay.schema.yaml")
    assert resource["apiVersion"] == "ray.io/v1"
    jsonschema.validate(resource["spec"], {"$ref": f"#/{resource['kind']}", **schema})


def test_a_field_that_kuberay_does_not_know_is_noticed() -> None:
    schema = document(CLUSTER.parent / "tests" / "cluster" / "kuberay.schema.yaml")
    spec = JOB["spec"] | {"shutdownAfterJobFinish": True}
    with pytest.raises(jsonschema.ValidationError, match="shutdownAfterJobFinish"):
        jsonschema.validate(spec, {"$ref": "#/RayJob", **schema})


@pytest.mark.parametrize("name", GROUPS, ids="-".join)
def test_kubernetes_knows_every_field_of_the_pods(name: tuple[str, str]) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "any"}, **GROUPS[name]["template"]}
    kubernetes_validate.validate(pod, KUBERNETES_VERSION, strict=True)


@pytest.mark.parametrize("resource", [SETTINGS, ACCOUNT], ids=lambda resource: resource["kind"])
def test_kubernetes_knows_every_field_of_the_settings(resource: dict[str, Any]) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    kubernetes_validate.validate(resource, KUBERNETES_VERSION, strict=True)


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_ray_is_the_one_that_was_tested(cluster: str) -> None:
    assert CLUSTERS[cluster]["rayVersion"] == pinned("ray")


def test_images_are_of_this_version() -> None:
    assert {image["name"] for image in SHARED["images"]} == {"videox2l-cpu", "videox2l-gpu"}
    for image in SHARED["images"]:
        assert image["newTag"] == VERSION
        assert image["newName"].endswith(image["name"])


@pytest.mark.parametrize("name", GROUPS, ids="-".join)
def test_gpu_image_where_there_is_a_gpu(name: tuple[str, str]) -> None:
    group = GROUPS[name]
    gpus = container(group)["resources"]["limits"].get("nvidia.com/gpu", "0")
    assert container(group)["image"] == ("videox2l-gpu" if gpus != "0" else "videox2l-cpu")
    tolerated = {toleration["key"] for toleration in group["template"]["spec"].get("tolerations", [])}
    assert ("nvidia.com/gpu" in tolerated) == (gpus != "0")


@pytest.mark.parametrize("name", GROUPS, ids="-".join)
def test_object_store_fits_into_memory(name: tuple[str, str]) -> None:
    group = GROUPS[name]
    limit = container(group)["resources"]["limits"]["memory"]
    # Ray's object store lies in /dev/shm, which counts as the container's memory.
    assert int(group["rayStartParams"]["object-store-memory"]) <= int(limit.removesuffix("Gi")) * 2**30 // 4
    assert container(group)["resources"]["requests"] == container(group)["resources"]["limits"]


@pytest.mark.parametrize("name", GROUPS, ids="-".join)
def test_pods_get_settings_and_account_and_show_metrics(name: tuple[str, str]) -> None:
    group = GROUPS[name]
    spec = group["template"]["spec"]
    assert spec["serviceAccountName"] == ACCOUNT["metadata"]["name"]
    assert spec["securityContext"]["runAsNonRoot"]
    sources = {kind: source for entry in container(group)["envFrom"] for kind, source in entry.items()}
    assert sources["configMapRef"]["name"] == SETTINGS["metadata"]["name"]
    assert sources["secretRef"]["optional"], "clusters with a service account need no secret"
    assert {"name": "metrics", "containerPort": 8080} in container(group)["ports"]


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_nothing_runs_on_the_head_and_strangers_stay_out(cluster: str) -> None:
    assert CLUSTERS[cluster]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert CLUSTERS[cluster]["authOptions"] == {"mode": "token"}


def test_settings_are_options_of_the_command() -> None:
    ours = {name for name in SETTINGS["data"] if name.startswith("VIDEOX2L_")}
    assert ours <= environment_variables("ingest")


def test_ingest_asks_for_what_the_cluster_has() -> None:
    (arguments,) = videox2l_commands(JOB["spec"]["entrypoint"])
    options = parse(arguments)
    prefill = GROUPS["ingest", "prefill"]
    # An actor takes a GPU and a CPU. More actors than there can be GPUs would never all start.
    assert options["prefill_actors"] <= prefill["maxReplicas"]
    assert prefill["rayStartParams"]["num-cpus"] == "1"
    # Without this the model would be prefilled on CPUs: no GPU is there yet when the job looks.
    assert options["device"] == "cuda"
    assert prefill["minReplicas"] == GROUPS["ingest", "decode"]["minReplicas"] == 0
    assert CLUSTERS["ingest"]["enableInTreeAutoscaling"]


def test_the_service_is_one_that_serve_can_start() -> None:
    (application,) = ServeDeploySchema.model_validate(yaml.safe_load(SERVICE["spec"]["serveConfigV2"])).applications
    config = ServiceConfig.model_validate(application.args)
    module, name = application.import_path.split(":")
    assert (module, name) == (build_app.__module__, build_app.__name__)
    assert isinstance(build_app(config), serve.Application)
    assert config.archive_url == SETTINGS["data"]["VIDEOX2L_ARCHIVE"]
    assert config.model == SETTINGS["data"]["VIDEOX2L_MODEL"]
    engines = GROUPS["serving", "engines"]
    limits = container(engines)["resources"]["limits"]
    assert config.replicas * config.gpus_per_replica == engines["minReplicas"] * int(limits["nvidia.com/gpu"])
    assert config.autoscale_to is not None
    assert config.autoscale_to * config.gpus_per_replica == engines["maxReplicas"] * int(limits["nvidia.com/gpu"])
    assert CLUSTERS["serving"]["enableInTreeAutoscaling"]
    assert config.cpus_per_replica <= int(limits["cpu"])


@pytest.mark.parametrize("group", ["head", "engines"])
def test_the_ingress_finds_its_keys_wherever_it_runs(group: str) -> None:
    spec = GROUPS["serving", group]
    [mount] = container(spec)["volumeMounts"]
    [volume] = spec["template"]["spec"]["volumes"]
    assert mount["name"] == volume["name"]
    assert volume["secret"]["secretName"] == "videox2l-keys"
    application = yaml.safe_load(SERVICE["spec"]["serveConfigV2"])["applications"][0]
    assert application["args"]["api_keys"] == f"{mount['mountPath']}/keys.json"
    # Its own metrics are read at the head.
    assert {"name": "serve", "containerPort": 8000} in container(spec)["ports"]


KINDS = {
    "kubernetes/ingest": {"RayJob", "ConfigMap", "ServiceAccount"},
    "kubernetes/serving": {"RayService", "ConfigMap", "ServiceAccount"},
    "monitoring": {"PodMonitor", "PrometheusRule", "ConfigMap"},
}


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("folder", KINDS)
def test_kustomize_puts_it_together(folder: str) -> None:
    built = subprocess.run(["kubectl", "kustomize", CLUSTER / folder], capture_output=True, text=True, check=True)
    resources = list(yaml.safe_load_all(built.stdout))
    assert {resource["kind"] for resource in resources} == KINDS[folder]
    assert {resource["metadata"]["namespace"] for resource in resources} == {"videox2l"}
    images = re.findall(r"^ *(?:- )?image: (\S+)$", built.stdout, re.MULTILINE)
    assert set(images) <= {f"{image['newName']}:{image['newTag']}" for image in SHARED["images"]}
    assert bool(images) == folder.startswith("kubernetes")
