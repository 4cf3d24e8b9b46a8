"""Dashboard and alerts ask for metrics that exist, in queries that Prometheus understands."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

from pipelines.ingest.metrics import METRICS as INGEST
from pipelines.serve.metrics import METRICS as SERVING
from pipelines.serve.metrics import PREFIX
from tests.cluster.files import CLUSTER, document, documents

MONITORING = CLUSTER / "monitoring"
DASHBOARDS: dict[str, dict[str, Any]] = {
    name: json.loads((MONITORING / f"{name}-dashboard.json").read_text()) for name in ("ingest", "serving")
}
RULES = document(MONITORING / "alerts.yaml")

# Ray puts its name before those of metrics that a program makes.
METRICS = {f"ray_{name}": metric for name, metric in INGEST.items()} | {
    PREFIX + name: metric for name, metric in SERVING.items()
}
# Of the series of a histogram, and the label that tells its buckets apart.
HISTOGRAM_SUFFIX, BUCKET = re.compile(r"_(bucket|sum|count)$"), "le"

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool (Debian's prometheus)")


def alert_queries() -> dict[str, str]:
    return {rule["alert"]: rule["expr"] for group in RULES["groups"] for rule in group["rules"]}


def panel_queries() -> Iterator[tuple[str, str]]:
    for name, dashboard in DASHBOARDS.items():
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                yield f"{name} {panel['id']}{target['refId']} {panel['title']}", target["expr"]


QUERIES = alert_queries() | dict(panel_queries())


def selectors(query: str) -> Iterator[tuple[str, set[str]]]:
    """The metrics in a PromQL query, each with the labels that it is filtered by."""
    for name, matchers in re.findall(r"\b((?:ray|videox2l)_\w+)(?:\{([^}]*)\})?", query):
        yield name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))


@pytest.mark.parametrize("name", QUERIES)
def test_metrics_exist_with_these_labels(name: str) -> None:
    found = list(selectors(QUERIES[name]))
    assert found
    grouped = {label for labels in re.findall(r"\bby \(([^)]*)\)", QUERIES[name]) for label in labels.split(", ")}
    for metric, labels in found:
        ours = METRICS.get(HISTOGRAM_SUFFIX.sub("", metric)) or METRICS.get(metric)
        if ours is None:
            assert metric in rays_own_metrics(), metric
            continue
        assert (ours.kind == "histogram") == (metric not in METRICS), metric
        # SessionName: Ray's own label, one for each cluster.
        assert labels | grouped <= {"SessionName", BUCKET, *ours.labels}, metric
        counted = re.search(rf"(?:rate|increase)\({metric}\b", QUERIES[name]) is not None
        assert not (counted and ours.kind == "gauge"), f"{metric} goes up and down"


def rays_own_metrics() -> set[str]:
    """Those that Ray's own dashboards show."""
    dashboards = Path(ray.__file__).parent / "dashboard" / "modules" / "metrics" / "dashboards"
    return {name for file in dashboards.glob("*.py") for name in re.findall(r"\bray_\w+", file.read_text())}


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {name for _, query in panel_queries() for name, _ in selectors(query)}
    assert METRICS.keys() <= shown | {HISTOGRAM_SUFFIX.sub("", name) for name in shown}


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_dashboard_is_well_formed(dashboard: dict[str, Any]) -> None:
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["title"] and panel["description"] for panel in panels)
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)\}?", json.dumps(dashboard))) - {"__rate_interval", "__all"}
    assert used == variables
    for panel in panels:
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_panels_do_not_overlap(dashboard: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        box = panel["gridPos"]
        assert box["x"] + box["w"] <= 24, panel["title"]
        cells = {(x, y) for x in range(box["x"], box["x"] + box["w"]) for y in range(box["y"], box["y"] + box["h"])}
        assert not taken & cells, panel["title"]
        taken |= cells


def test_both_files_of_rules_are_the_same() -> None:
    assert document(MONITORING / "rules.yaml")["spec"] == RULES


def test_the_pods_that_are_looked_at_are_rays() -> None:
    rays, service = (monitor["spec"] for monitor in documents(MONITORING / "pods.yaml"))
    # KubeRay puts these labels on the pods of a Ray cluster; ours name the ports so (test_kubernetes.py).
    assert rays["selector"]["matchLabels"] == {"ray.io/is-ray-node": "yes"}
    assert [endpoint["port"] for endpoint in rays["podMetricsEndpoints"]] == ["metrics"]
    assert service["selector"]["matchLabels"] == {"ray.io/node-type": "head"}
    [endpoint] = service["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("serve", "/metrics")


@needs_promtool
def test_prometheus_understands_its_files() -> None:
    subprocess.run(["promtool", "check", "config", MONITORING / "prometheus.yaml"], check=True)


@needs_promtool
def test_prometheus_understands_the_panels(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": query.replace("$__rate_interval", "5m").replace("$session", ".*")}
        for number, (_, query) in enumerate(panel_queries())
    ]
    path = tmp_path / "panels.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    subprocess.run(["promtool", "check", "rules", path], check=True)


@needs_promtool
def test_alerts_go_off_when_they_should() -> None:
    subprocess.run(["promtool", "test", "rules", Path(__file__).parent / "alerts.test.yaml"], check=True)
