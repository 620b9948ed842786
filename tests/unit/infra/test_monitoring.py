"""Dashboards, alert rules and scrapes: each asks for what the services export, and finds it where they export it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.embedded.composition import NAMES, Plan, ports_needed
from infra.embedded.datadir import SCRAPED_FILE, DataDir, Secrets
from services.platforms.base import Outcome
from services.poller.partitions.ownership import Stage
from tests.support.deployments import INFRA
from tests.support.metrics import exported
from tests.support.promql import IN_A_CLUSTER, Wrong, labels_of, matchers_of, named_in

DASHBOARDS = INFRA / "grafana" / "dashboards"
OPERATORS = json.loads((DASHBOARDS / "operators.json").read_text(encoding="utf-8"))
RULES = [
    rule
    for group in yaml.safe_load((INFRA / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
TARGETS = [
    pytest.param(target, id=f"{panel['title']} {target['refId']}")
    for panel in OPERATORS["panels"]
    for target in panel["targets"]
]
SCRAPES = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
    for path in sorted((INFRA / "prometheus").glob("*.yml"))
    if path.stem != "alerts"
}


@pytest.mark.parametrize("target", TARGETS)
def test_a_panel_of_the_operators_asks_for_what_is_exported(target: dict[str, Any]) -> None:
    assert named_in(target["legendFormat"]) <= labels_of(target["expr"], exported(), IN_A_CLUSTER)


@pytest.mark.parametrize("target", TARGETS)
def test_a_panel_of_the_operators_shows_the_chosen_releases_alone(target: dict[str, Any]) -> None:
    chosen = {name: f"${name}" for name in ("namespace", "release")}
    for matchers in matchers_of(target["expr"], exported(), IN_A_CLUSTER):
        assert chosen.items() <= matchers.items()


def test_all_releases_are_chosen_at_first_and_series_without_a_release_with_them() -> None:
    variables = {one["name"]: one for one in OPERATORS["templating"]["list"]}
    for name in ("namespace", "release"):
        assert variables[name]["current"]["value"] == "$__all"
        # On one machine the scrape adds neither label: this matches series that lack it too.
        assert variables[name]["allValue"] == ".*"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_what_is_exported(rule: dict[str, Any]) -> None:
    assert named_in(rule["annotations"]["summary"]) <= labels_of(rule["expr"], exported())


def test_values_of_labels_are_values_that_the_services_write() -> None:
    text = "\n".join(rule["expr"] for rule in RULES)
    stages = set(re.findall(r'stage="(\w+)"', text))
    assert stages
    assert stages <= {stage.value for stage in Stage}
    (outcomes,) = re.findall(r'outcome!~"([^"]+)"', text)
    for pattern in outcomes.split("|"):
        assert any(re.fullmatch(pattern, outcome.value) for outcome in Outcome), pattern


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("sum(tidemark_nothing)", "no service exports tidemark_nothing"),
        ("rate(tidemark_lag_events[5m])", "rate of tidemark_lag_events, which is a gauge"),
        ("delta(tidemark_raw_events_total[5m])", "delta of tidemark_raw_events_total, which is a counter"),
        ("sum(tidemark_raw_events)", "no service exports tidemark_raw_events"),
        ("sum by (platform) (tidemark_lag_events)", "sum names platform, which its series lack"),
        ('tidemark_lag_events{platform="x"}', "tidemark_lag_events has no label platform"),
        ("histogram_quantile(0.5, sum(rate(tidemark_batch_seconds_bucket[5m])))", "histogram_quantile needs the label"),
        ("sum by (partition) (tidemark_lag_events) / sum(tidemark_paused)", "between series of"),
    ],
)
def test_a_wrong_expression_is_found(expression: str, reason: str) -> None:
    with pytest.raises(Wrong, match=re.escape(reason)):
        labels_of(expression, exported())


def test_what_is_no_promql_is_found() -> None:
    with pytest.raises(ValueError, match="unclosed left parenthesis"):
        labels_of("sum(tidemark_lag_events", exported())


def test_panels_of_a_dashboard_lie_beside_each_other_and_have_ids_of_their_own() -> None:
    for path in DASHBOARDS.glob("*.json"):
        dashboard = json.loads(path.read_text(encoding="utf-8"))
        taken: set[tuple[int, int]] = set()
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken, panel["title"]
            assert all(x < 24 for x, _ in cells), panel["title"]
            taken |= cells
        assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_grafana_is_provisioned_with_both_dashboards_and_a_source_for_each() -> None:
    provisioning = INFRA / "grafana" / "provisioning"
    (sources,) = [yaml.safe_load(path.read_text()) for path in (provisioning / "datasources").iterdir()]
    (providers,) = [yaml.safe_load(path.read_text()) for path in (provisioning / "dashboards").iterdir()]
    kinds = {source["type"] for source in sources["datasources"]}
    asked, uids = set(), []
    for path in DASHBOARDS.glob("*.json"):
        dashboard = json.loads(path.read_text(encoding="utf-8"))
        uids.append(dashboard["uid"])
        (variable,) = [one for one in dashboard["templating"]["list"] if one["type"] == "datasource"]
        asked.add(variable["query"])
        for panel in dashboard["panels"]:
            assert panel["datasource"] == {"type": variable["query"], "uid": "${datasource}"}, panel["title"]
    assert asked == kinds
    assert len(set(uids)) == len(uids) == 2
    assert providers["providers"][0]["options"] == {"path": "$DASHBOARDS"}
    text = "".join(path.read_text() for path in provisioning.rglob("*.yaml"))
    page = (INFRA.parent / "docs" / "analysts.md").read_text(encoding="utf-8")
    for variable in set(re.findall(r"\$(\w+)", text)):
        assert f"export {variable}=" in page, f"docs/analysts.md says no value of {variable}"


@pytest.mark.parametrize("name", SCRAPES)
def test_a_scrape_names_the_rules_and_jobs_that_rules_and_panels_ask_for(name: str) -> None:
    scrape = SCRAPES[name]
    assert set(scrape) == {"global", "rule_files", "scrape_configs"}
    for file in scrape["rule_files"]:
        assert (INFRA / "prometheus" / file).exists()
    for job in scrape["scrape_configs"]:
        assert job["job_name"].startswith("tidemark")
        assert set(job) <= {"job_name", "static_configs", "file_sd_configs", "kubernetes_sd_configs", "relabel_configs"}


def test_the_scrape_of_a_cluster_finds_the_charts_pods() -> None:
    (job,) = SCRAPES["kubernetes"]["scrape_configs"]
    kept = job["relabel_configs"][0]
    assert (kept["action"], kept["regex"]) == ("keep", "tidemark;metrics")
    chart = "".join(path.read_text() for path in (INFRA / "helm" / "tidemark" / "templates").iterdir())
    assert "app.kubernetes.io/name: tidemark" in chart
    assert "app.kubernetes.io/component: " in chart
    for template in ("workers.yaml", "query-api.yaml"):
        assert "{name: metrics, containerPort: 9100}" in (
            INFRA / "helm" / "tidemark" / "templates" / template
        ).read_text(encoding="utf-8")


def test_series_of_a_cluster_say_which_release_of_which_namespace_they_are_of() -> None:
    (job,) = SCRAPES["kubernetes"]["scrape_configs"]
    sources = {step.get("target_label"): step["source_labels"] for step in job["relabel_configs"]}
    assert sources["namespace"] == ["__meta_kubernetes_namespace"]
    assert sources["release"] == ["__meta_kubernetes_pod_label_app_kubernetes_io_instance"]
    assert set(sources) >= IN_A_CLUSTER


JOBS = [f"{release}-{service}" for release in ("tidemark", "prod-tidemark", "tidemark-eu", "eu-tidemark-2")
        for service in ("aggregator", "poller", "query-api", "notifier")]  # fmt: skip


def test_selectors_of_jobs_find_the_jobs_of_every_release() -> None:
    """A ServiceMonitor's job is the service's name, such as prod-tidemark-poller."""
    expressions = [rule["expr"] for rule in RULES]
    expressions += [target["expr"] for panel in OPERATORS["panels"] for target in panel["targets"]]
    by_expression = [re.findall(r'job=~"([^"]+)"', expression) for expression in expressions]
    selectors = [found for found in by_expression if found]
    assert len(selectors) == 3, "TidemarkMemory, the panels of memory and of processes"
    for patterns in selectors:
        for job in JOBS:
            assert sum(bool(re.fullmatch(pattern, job)) for pattern in patterns) == 1, job
        assert not any(re.fullmatch(pattern, "shop-poller") for pattern in patterns)


def test_up_writes_the_targets_that_its_scrape_reads(tmp_path: Path) -> None:
    (job,) = SCRAPES["up"]["scrape_configs"]
    (discovery,) = job["file_sd_configs"]
    assert (INFRA / "prometheus" / discovery["files"][0]).resolve() == INFRA.parent / ".tidemark" / SCRAPED_FILE
    names = frozenset(NAMES)
    ports = {name: 20000 + number for number, name in enumerate(ports_needed(names))}
    plan = Plan(tmp_path, names, ports, Secrets("rw", "ro", "admin", "fernet"), {})
    written = tmp_path / "data" / SCRAPED_FILE
    with DataDir(tmp_path / "data") as folder:
        folder.note_running(plan.running_document(), plan.scrape_targets())
        found = json.loads(written.read_text(encoding="utf-8"))
    assert not written.exists()
    assert {group["labels"]["job"]: group["targets"] for group in found} == {
        f"tidemark-{name.replace('_', '-')}": [f"127.0.0.1:{ports[f'{name}_metrics']}"]
        for name in ("aggregator", "notifier", "poller", "query_api")
    }
