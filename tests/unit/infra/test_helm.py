"""The chart: Helm lints and renders it, its manifests are valid, and they name the product's commands and settings.

Needs Helm: `make helm-check` builds it from its sources.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from functools import cache
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas import kafka_rights
from services.runtime.addresses import is_public
from services.runtime.settings import SASL_MECHANISMS, ClickHouseSettings, KafkaSettings
from services.status.addresses import parse_targets
from tests.support.deployments import INFRA, commands, unknown_settings
from tests.support.metrics import exported
from tests.support.promql import IN_A_CLUSTER, matchers_of

CHART = INFRA / "helm" / "tidemark"
KUBERNETES = "1.34"
_OWN = Path(__file__).parents[3] / ".venv" / "tools" / "helm"
HELM = shutil.which("helm") or (str(_OWN) if _OWN.exists() else None)
needs_helm = pytest.mark.skipif(HELM is None, reason="helm is not installed; `make helm-check` builds it and runs this")
LEAST: dict[str, Any] = {
    "kafka": {"bootstrap": "kafka:9092"},
    "registry": {"url": "http://registry:8081"},
    "clickhouse": {"existingSecret": "tidemark-clickhouse"},
    "secrets": {"existingSecret": "tidemark"},
}
FULL: dict[str, Any] = {
    "authority": {"existingSecret": "tidemark-ca"},
    "kafka": {
        "bootstrap": "kafka-1:9093,kafka-2:9093",
        "tls": {"enabled": True, "caSecret": "kafka-ca", "clientSecret": "{role}-kafka"},
        "sasl": {"enabled": True, "existingSecret": "tidemark-kafka"},
    },
    "registry": {"existingSecret": "tidemark-registry"},
    "clickhouse": {
        "existingSecret": "tidemark-clickhouse",
        "tls": {"clientSecret": "clickhouse-client"},
        "cluster": "main",
        "rawEventsRetentionDays": 400,
    },
    "secrets": {"existingSecret": "tidemark"},
    "platforms": {"existingSecret": "tidemark-platforms"},
    "imagePullSecrets": [{"name": "registry"}],
    "image": {"digest": "sha256:" + "0" * 64},
    "extraEnv": {"TIDEMARK_POLL_SPEED": "1"},
    "queryApi": {
        "ingress": {"enabled": True, "host": "tidemark.example.com", "tlsSecret": "tls", "className": "nginx"},
        "nodeSelector": {"disk": "ssd"},
        "env": {"TIDEMARK_RATE_LIMIT": 600},
    },
    "networkPolicy": {"apiFrom": [{"namespaceSelector": {}}]},
    "metrics": {
        "serviceMonitor": {"enabled": True},
        "prometheusRule": {"enabled": True, "labels": {"release": "prom"}},
    },
}


def helm(*arguments: str, values: dict[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
    assert HELM is not None
    return subprocess.run(
        [HELM, *arguments, *(["--values", "-"] if values is not None else [])],
        input=None if values is None else yaml.safe_dump(values),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def render(values: dict[str, Any], release: str = "prod") -> list[dict[str, Any]]:
    done = helm("template", release, str(CHART), "--kube-version", KUBERNETES, "--namespace", "tidemark", values=values)
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


@cache
def rendered(which: str) -> list[dict[str, Any]]:
    return render(LEAST if which == "least" else FULL)


def pods(which: str) -> list[tuple[str, dict[str, Any]]]:
    return pods_of(rendered(which))


def pods_of(manifests: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """The pods of every workload, by the workload's component."""
    found = []
    for manifest in manifests:
        spec = manifest.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if template:
            found.append((template["metadata"]["labels"]["app.kubernetes.io/component"], template["spec"]))
    return found


def _told(manifests: list[dict[str, Any]], component: str) -> dict[str, str]:
    """The settings of a component's container that are no references."""
    (container,) = dict(pods_of(manifests))[component]["containers"]
    return {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}


def of_kind(which: str, kind: str) -> list[dict[str, Any]]:
    return [manifest for manifest in rendered(which) if manifest["kind"] == kind]


def template(name: str) -> str:
    return (CHART / "templates" / name).read_text(encoding="utf-8")


def values_of_the_chart() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    return read


def to_dependencies(manifests: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of each policy the rule that opens the dependencies' ports, by component: the one that has 8123."""
    return {
        policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]: rule
        for policy in manifests if policy["kind"] == "NetworkPolicy"
        for rule in policy["spec"]["egress"]
        if {"protocol": "TCP", "port": 8123} in rule["ports"]
    }  # fmt: skip


@needs_helm
@pytest.mark.parametrize("values", [LEAST, FULL], ids=["least", "full"])
def test_helm_finds_nothing_wrong(values: dict[str, Any]) -> None:
    done = helm("lint", str(CHART), "--strict", "--kube-version", KUBERNETES, values=values)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_helm
@pytest.mark.parametrize("which", ["least", "full"])
def test_every_manifest_is_valid(which: str) -> None:
    # Without Helm nothing needs it, and every test process would take 1.5 s to load it.
    import kubernetes_validate

    own = {"ServiceMonitor", "PrometheusRule"}
    for manifest in rendered(which):
        if manifest["kind"] not in own:
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    names = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in rendered(which)]
    assert len(names) == len(set(names))


@needs_helm
def test_an_own_authority_is_trusted_by_every_pod_for_what_it_uses() -> None:
    for component, pod in pods("full"):
        (container,) = pod["containers"]
        told = {entry["name"]: entry.get("value") for entry in container["env"]}
        uses = {"SCHEMA_REGISTRY": component != "migrate", "CLICKHOUSE": "TIDEMARK_CLICKHOUSE_URL_FILE" in told}
        for engine, is_used in uses.items():
            wanted = "/etc/tidemark/authority/ca.crt" if is_used else None
            assert told.get(f"TIDEMARK_{engine}_SSL_CAFILE") == wanted, (component, engine)
        assert told["TIDEMARK_KAFKA_SSL_CAFILE"] == "/etc/tidemark/kafka-ca/ca.crt"
        assert {"name": "authority", "mountPath": "/etc/tidemark/authority", "readOnly": True} in container[
            "volumeMounts"
        ]
        assert "tidemark-ca" in [volume.get("secret", {}).get("secretName") for volume in pod["volumes"]]
    own = {**FULL, "kafka": {**FULL["kafka"], "tls": {"enabled": True}}}
    done = helm("template", "prod", str(CHART), "--kube-version", KUBERNETES, values=own)
    assert "{name: TIDEMARK_KAFKA_SSL_CAFILE, value: /etc/tidemark/authority/ca.crt}" in done.stdout


@needs_helm
def test_a_certificate_of_the_services_is_a_file_where_the_settings_look_for_it() -> None:
    for component, pod in pods("full"):
        (container,) = pod["containers"]
        told = {entry["name"]: entry.get("value") for entry in container["env"]}
        mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        held = {volume["name"]: volume["secret"] for volume in pod["volumes"] if "secret" in volume}
        for engine in ("kafka", "clickhouse"):
            name = f"{engine}-client"
            if engine == "clickhouse" and "TIDEMARK_CLICKHOUSE_URL_FILE" not in told:
                assert name not in {*mounted, *held}, component
                continue
            role = (told["TIDEMARK_KAFKA_SASL_USERNAME"] or "").removeprefix("tidemark-")
            assert held[name]["secretName"] == (f"{role}-kafka" if engine == "kafka" else "clickhouse-client"), (
                component
            )
            assert held[name]["defaultMode"] == 0o440
            files = {f"{mounted[name]}/{item['path']}" for item in held[name]["items"]}
            prefix = f"TIDEMARK_{engine.upper()}_SSL"
            assert {told[f"{prefix}_CERTFILE"], told[f"{prefix}_KEYFILE"]} == files, component
            assert told[f"{prefix}_KEYFILE"].endswith("tls.key")


def test_the_charts_certificates_are_given_under_names_that_the_settings_have() -> None:
    text = template("_helpers.tpl")
    named = set(re.findall(r"\bTIDEMARK_(?:KAFKA|CLICKHOUSE)_SSL_\w+", text))
    fields = {*KafkaSettings.model_fields, *ClickHouseSettings.model_fields}
    assert named == {f"TIDEMARK_{field.upper()}" for field in fields if re.search(r"_ssl_\w+file$", field)}


def test_the_schema_has_the_mechanisms_that_the_chart_can_configure() -> None:
    """With a user and a password; for others Kafka's settings need files or tokens that no value names."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    mechanisms = schema["properties"]["kafka"]["properties"]["sasl"]["properties"]["mechanism"]["enum"]
    assert mechanisms == ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
    assert set(mechanisms) < set(SASL_MECHANISMS)


@needs_helm
@pytest.mark.parametrize("which", ["least", "full"])
def test_every_command_and_setting_exists(which: str) -> None:
    found = dict(pods(which))
    assert set(found) == {"aggregator", "poller", "query-api", "notifier", "topics", "migrate", "audit"}
    for component, pod in found.items():
        (container,) = pod["containers"]
        assert container["args"][0] in commands(), component
        names = [entry["name"] for entry in container["env"]]
        assert len(names) == len(set(names)), component
        assert not unknown_settings(names), component


@needs_helm
@pytest.mark.parametrize("which", ["least", "full"])
def test_every_pod_is_confined(which: str) -> None:
    for component, pod in pods(which):
        assert pod["securityContext"]["runAsNonRoot"] is True, component
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}, component


@needs_helm
def test_secrets_are_files_and_never_values() -> None:
    for component, pod in pods("full"):
        (container,) = pod["containers"]
        paths = {entry["name"]: entry.get("value", "") for entry in container["env"]}
        files = {
            item["path"]
            for volume in pod["volumes"] if volume["name"] == "secrets"
            for source in volume["projected"]["sources"]
            for item in source["secret"]["items"]
        }  # fmt: skip
        told = {value.rsplit("/", 1)[1] for name, value in paths.items() if name.endswith("_FILE")}
        assert told == files, component
        for volume in pod["volumes"]:
            if volume["name"] == "secrets":
                assert volume["projected"]["defaultMode"] == 0o440
        open_names = {
            "TIDEMARK_KAFKA_SASL_PASSWORD",
            "TIDEMARK_SECRET_KEYS",
            "TIDEMARK_ADMIN_KEY",
            "TIDEMARK_CLICKHOUSE_URL",
            "TIDEMARK_SCHEMA_REGISTRY_URL",
        }
        assert not open_names & set(paths), component


@needs_helm
def test_each_role_has_its_own_user_and_no_more_secrets_than_it_needs() -> None:
    found = dict(pods("full"))

    def keys(component: str) -> set[str]:
        return {
            f"{source['secret']['name']}/{item['key']}"
            for volume in found[component]["volumes"] if volume["name"] == "secrets"
            for source in volume["projected"]["sources"]
            for item in source["secret"]["items"]
        }  # fmt: skip

    assert keys("poller") == {"tidemark-registry/url", "tidemark-kafka/poller", "tidemark/secret-keys"}
    assert keys("aggregator") == {
        "tidemark-registry/url",
        "tidemark-kafka/aggregator",
        "tidemark-clickhouse/aggregator",
    }
    assert keys("query-api") == {
        "tidemark-registry/url", "tidemark-kafka/query-api", "tidemark-clickhouse/query-api", "tidemark/secret-keys",
        "tidemark/admin-key",
    }  # fmt: skip
    assert keys("notifier") == {
        "tidemark-registry/url",
        "tidemark-kafka/notifier",
        "tidemark-clickhouse/notifier",
        "tidemark/secret-keys",
    }
    assert keys("topics") == {"tidemark-registry/url", "tidemark-kafka/topics"}
    assert keys("migrate") == {"tidemark-kafka/migrate", "tidemark-clickhouse/migrate"}
    assert keys("audit") == {"tidemark-registry/url", "tidemark-kafka/audit", "tidemark-clickhouse/audit"}
    with_apps = [component for component, pod in found.items() if "envFrom" in pod["containers"][0]]
    assert with_apps == ["poller"]


@needs_helm
def test_every_pod_is_on_nodes_of_the_images_architecture_and_where_its_own_values_say() -> None:
    for component, pod in pods("full"):
        own = {"disk": "ssd"} if component == "query-api" else {}
        assert pod["nodeSelector"] == {"kubernetes.io/arch": "amd64", **own}, component
    taints = [{"key": "batch", "operator": "Exists"}]
    arm = {"nodeSelector": {"kubernetes.io/arch": "arm64"}, "tolerations": taints}
    for component, pod in pods_of(render({**LEAST, "deploySteps": arm, "audit": arm})):
        is_job = component in ("topics", "migrate", "audit")
        assert pod["nodeSelector"] == {"kubernetes.io/arch": "arm64" if is_job else "amd64"}
        assert pod.get("tolerations") == (taints if is_job else None)


def test_the_images_architecture_is_the_only_one_that_the_chart_runs_it_on() -> None:
    assert values_of_the_chart()["nodeSelector"] == {"kubernetes.io/arch": "amd64"}
    for name in ("query-api.yaml", "workers.yaml", "jobs.yaml"):
        assert 'include "tidemark.scheduling"' in template(name), name


@needs_helm
def test_workers_keep_their_names() -> None:
    sets = of_kind("full", "StatefulSet")
    assert {found["metadata"]["name"] for found in sets} == {
        "prod-tidemark-aggregator", "prod-tidemark-poller", "prod-tidemark-notifier",
    }  # fmt: skip
    for found in sets:
        environment = {entry["name"]: entry for entry in found["spec"]["template"]["spec"]["containers"][0]["env"]}
        assert environment["TIDEMARK_INSTANCE_ID"]["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}


@needs_helm
def test_the_operators_page_asks_every_worker_by_its_name_and_policies_let_it() -> None:
    manifests = render({**LEAST, "aggregator": {"replicas": 3}, "notifier": {"replicas": 2}})
    targets = parse_targets(_told(manifests, "query-api")["TIDEMARK_STATUS_TARGETS"])
    numbers = {"aggregator": 3, "poller": 2, "notifier": 2}
    assert targets == {
        **{
            f"{role}-{number}": f"http://prod-tidemark-{role}-{number}.prod-tidemark-{role}.tidemark.svc:9100"
            for role, count in numbers.items()
            for number in range(count)
        },
        "query-api": "http://127.0.0.1:9100",
    }
    for found in manifests:
        name, spec = found["metadata"]["name"], found.get("spec", {})
        if found["kind"] == "StatefulSet":
            assert spec["serviceName"] == name, "gives the pods their names in DNS"
        if found["kind"] == "NetworkPolicy":
            component = spec["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
            askers = [
                peer["podSelector"]["matchLabels"]
                for rule in spec["ingress"] for peer in rule.get("from", ()) if "podSelector" in peer
            ]  # fmt: skip
            asked = [
                peer["podSelector"]["matchLabels"]
                for rule in spec["egress"] for peer in rule.get("to", ())
                if "podSelector" in peer and rule["ports"] == [{"protocol": "TCP", "port": 9100}]
            ]  # fmt: skip
            release = {"app.kubernetes.io/name": "tidemark", "app.kubernetes.io/instance": "prod"}
            assert askers == [{**release, "app.kubernetes.io/component": "query-api"}] * (component in numbers), (
                component
            )
            assert asked == [release] * (component == "query-api"), component


@needs_helm
def test_targets_of_the_operators_page_that_the_values_name_are_kept() -> None:
    own = {"TIDEMARK_STATUS_TARGETS": "poller-7=http://elsewhere:9100"}
    for values in ({"extraEnv": own}, {"queryApi": {"env": own}}):
        manifests = render({**LEAST, **values, "notifier": {"enabled": False}})
        assert own.items() <= _told(manifests, "query-api").items()
    assert (
        "notifier"
        not in _told(render({**LEAST, "notifier": {"enabled": False}}), "query-api")["TIDEMARK_STATUS_TARGETS"]
    )


@needs_helm
def test_deploy_steps_come_before_the_services_and_the_audit_each_night() -> None:
    jobs = of_kind("least", "Job")
    assert {job["spec"]["template"]["spec"]["containers"][0]["args"][0] for job in jobs} == {"topics", "migrate"}
    for job in jobs:
        assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    (audit,) = of_kind("least", "CronJob")
    assert audit["spec"]["concurrencyPolicy"] == "Forbid"


@needs_helm
def test_the_migration_can_ask_kafka_for_the_living_aggregators() -> None:
    found = dict(pods("full"))
    (migrate,), (aggregator,) = found["migrate"]["containers"], found["aggregator"]["containers"]
    own = {entry["name"]: entry.get("value") for entry in migrate["env"]}
    theirs = {entry["name"]: entry.get("value") for entry in aggregator["env"]}
    kafka = {name for name in theirs if name.startswith(("TIDEMARK_KAFKA_", "TIDEMARK_TOPIC_"))}
    for name in kafka - {"TIDEMARK_KAFKA_SASL_USERNAME"}:
        assert own[name] == theirs[name], name
    assert own["TIDEMARK_KAFKA_SASL_USERNAME"] == "tidemark-migrate"


@needs_helm
def test_the_aggregators_group_is_told_to_whoever_asks_for_it() -> None:
    manifests = render({**LEAST, "aggregator": {"env": {"TIDEMARK_AGGREGATOR_GROUP": "ours"}}})
    told = {}
    for component, pod in pods_of(manifests):
        (container,) = pod["containers"]
        told[component] = [entry["value"] for entry in container["env"] if entry["name"] == "TIDEMARK_AGGREGATOR_GROUP"]
    assert told == {component: ["ours"] for component in told}


def test_the_migration_is_given_kafkas_settings() -> None:
    text = template("_helpers.tpl")
    environment = text[text.index('define "tidemark.env"') : text.index('define "tidemark.mounts"')]
    kafka = environment.partition("TIDEMARK_SCHEMA_REGISTRY_URL")[0]
    assert kafka.count('ne .role "migrate"') == 1, "of the registry alone"
    assert kafka.index("TIDEMARK_KAFKA_SASL_PASSWORD_FILE") < kafka.index('ne .role "migrate"')
    assert text.count('ne .role "migrate"') == 2, "the registry's address, and its file"
    assert "migrate" in re.findall(r"# Passwords by service: (.*)\.", (CHART / "values.yaml").read_text())[0].split(
        ", "
    )
    assert "migrate" in kafka_rights.ROLES


@needs_helm
def test_every_service_has_a_budget_of_disruptions_a_policy_and_a_selector_that_finds_its_pods() -> None:
    labels = {component: None for component, _ in pods("full")}
    for kind, expected in (
        ("PodDisruptionBudget", {"aggregator", "poller", "query-api", "notifier"}),
        ("NetworkPolicy", set(labels)),
    ):
        found = set()
        for manifest in of_kind("full", kind):
            selector = manifest["spec"].get("selector") or manifest["spec"]["podSelector"]
            found.add(selector["matchLabels"]["app.kubernetes.io/component"])
        assert found == expected, kind
    (scaler,) = of_kind("full", "HorizontalPodAutoscaler")
    assert scaler["spec"]["scaleTargetRef"]["name"] == of_kind("full", "Deployment")[0]["metadata"]["name"]
    assert "replicas" not in of_kind("full", "Deployment")[0]["spec"], "the autoscaler's number would be reset"


def test_pods_that_are_not_ready_never_hold_up_the_drain_of_a_node() -> None:
    lines = [line.strip() for line in template("availability.yaml").splitlines()]
    assert "unhealthyPodEvictionPolicy: AlwaysAllow" in lines
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["kubeVersion"] == ">=1.27.0-0", "the first version that has the field by default"


@needs_helm
def test_a_query_api_that_ends_answers_until_nobody_asks_it() -> None:
    for seconds, command in ((25, ["sleep", "25"]), (0, None)):
        manifests = render({**LEAST, "queryApi": {"preStopSeconds": seconds}})
        (pod,) = [found["spec"]["template"]["spec"] for found in manifests if found["kind"] == "Deployment"]
        hook = pod["containers"][0].get("lifecycle", {"preStop": {"exec": {"command": None}}})
        assert hook == {"preStop": {"exec": {"command": command}}}
        assert pod["terminationGracePeriodSeconds"] == seconds + 30


def test_the_query_apis_template_has_the_command_that_waits_and_a_grace_that_fits() -> None:
    text = template("query-api.yaml")
    assert "preStop: {exec: {command: [sleep, {{ . | quote }}]}}" in text
    assert "terminationGracePeriodSeconds: {{ add 30 $values.preStopSeconds }}" in text
    values = values_of_the_chart()["queryApi"]
    assert values["preStopSeconds"] == 10
    dockerfile = (INFRA / "docker" / "Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"^ARG PYTHON_IMAGE=python:\S+-slim-\w+$", dockerfile, re.MULTILINE), "Debian, which has sleep"
    server = (INFRA.parent / "services" / "query_api" / "__main__.py").read_text(encoding="utf-8")
    (seconds,) = re.findall(r"^_GRACE_SECONDS = (\d+)$", server, re.MULTILINE)
    assert int(seconds) < 30, "the server itself ends before it is killed"


@needs_helm
def test_only_pollers_and_notifiers_reach_the_internet() -> None:
    outside = set()
    for policy in of_kind("full", "NetworkPolicy"):
        blocks = [
            peer["ipBlock"]["cidr"]
            for rule in policy["spec"]["egress"]
            for peer in rule.get("to", ())
            if "ipBlock" in peer
        ]
        if {"0.0.0.0/0", "::/0"} & set(blocks):
            outside.add(policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"])
    assert outside == {"poller", "notifier"}


@needs_helm
def test_a_webhook_and_an_accounts_own_server_may_have_any_port() -> None:
    ports = {}
    for policy in of_kind("least", "NetworkPolicy"):
        for rule in policy["spec"]["egress"]:
            blocks = [peer["ipBlock"] for peer in rule.get("to", ()) if "ipBlock" in peer]
            if "0.0.0.0/0" in [block["cidr"] for block in blocks]:
                component = policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
                ports[component] = rule["ports"]
    assert ports == {"poller": [{"protocol": "TCP"}], "notifier": [{"protocol": "TCP"}]}


def test_what_the_policies_leave_out_of_public_addresses_is_what_the_notifier_refuses() -> None:
    text = template("network.yaml")
    assert "- ports: [{protocol: TCP}]\n      to:\n        - ipBlock:" in text
    blocks = dict(re.findall(r"cidr: (\S+/0)\n +except: (\[.*\])", text))
    assert set(blocks) == {"0.0.0.0/0", "::/0"}
    for cidr, left_out in blocks.items():
        for written in yaml.safe_load(left_out):
            block = ip_network(written)
            assert block.version == ip_network(cidr).version, written
            assert not is_public(str(block[0])), written
            assert not is_public(str(block[-1])), written


@needs_helm
@pytest.mark.parametrize(
    ("change", "ports"),
    [
        (
            {
                "kafka": {"bootstrap": "b-1.example.com:9096,b-2.example.com:9098,[2001:db8::1]:19092"},
                "registry": {"url": "http://registry:18081/apis/ccompat/v7"},
                "extraEnv": {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"},
            },
            {9096, 9098, 19092, 18081, 4318},
        ),
        ({"registry": {"url": "http://registry.example.com"}}, {9092, 80}),
        ({"registry": {"url": "https://registry.example.com"}}, {9092, 443}),
    ],
)
def test_every_policy_opens_the_ports_that_the_values_name(change: dict[str, Any], ports: set[int]) -> None:
    rules = to_dependencies(render({**LEAST, **change, "networkPolicy": {"dependencyPorts": [8123]}}))
    assert set(rules) == {component for component, _ in pods("least")}
    for component, rule in rules.items():
        assert {entry["port"] for entry in rule["ports"]} == ports | {8123}, component


@needs_helm
def test_dependencies_are_where_the_values_say_and_an_empty_list_is_everywhere() -> None:
    peers = [{"ipBlock": {"cidr": "100.64.0.0/10"}}, {"ipBlock": {"cidr": "2001:db8::/32"}}]
    for given, written in (
        ({}, {"to": values_of_the_chart()["networkPolicy"]["dependencyPeers"]}),
        ({"networkPolicy": {"dependencyPeers": peers}}, {"to": peers}),
        ({"networkPolicy": {"dependencyPeers": []}}, {}),
    ):
        for component, rule in to_dependencies(render({**LEAST, **given})).items():
            assert {name: held for name, held in rule.items() if name != "ports"} == written, component


def test_dependencies_are_in_the_cluster_or_on_private_addresses_unless_the_values_say_otherwise() -> None:
    assert values_of_the_chart()["networkPolicy"]["dependencyPeers"] == [
        {"namespaceSelector": {}},
        *({"ipBlock": {"cidr": cidr}} for cidr in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")),
    ]
    text = template("network.yaml")
    assert "dependencyPeers" in text
    assert 'include "tidemark.dependencyPorts"' in text


@needs_helm
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"kafka": {"bootstrap": "kafka"}}, "bootstrap"),
        ({"networkPolicy": {"dependencyPorts": [0]}}, "dependencyPorts"),
        ({"registry": {"url": "registry:8081"}}, "url"),
        ({"topics": {"partitions": 0}}, "partitions"),
        ({"image": {"digest": "abc"}}, "digest"),
        ({"extraEnv": {"OTHER": "1"}}, "OTHER"),
        ({"pollers": {}}, "pollers"),
        ({"kafka": {**LEAST["kafka"], "sasl": {"mechanism": "OAUTHBEARER"}}}, "mechanism"),
        ({"kafka": {**LEAST["kafka"], "tls": {"clientSecret": "kafka-client"}}}, "kafka.tls.enabled"),
        ({"secrets": {"existingSecret": ""}}, "secrets.existingSecret"),
    ],
)
def test_a_wrong_value_is_named(change: dict[str, Any], named: str) -> None:
    done = helm("template", "prod", str(CHART), "--kube-version", KUBERNETES, values={**LEAST, **change})
    assert done.returncode != 0
    assert named in done.stderr


def test_the_schema_covers_every_value() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))

    def check(part: dict[str, Any], held: Any, place: str) -> None:
        if not isinstance(held, dict) or "properties" not in part:
            return
        assert set(held) <= set(part["properties"]), place
        for name, value in held.items():
            check(part["properties"][name], value, f"{place}.{name}")

    check(schema, values, "values")
    assert schema["additionalProperties"] is False


def test_the_operators_page_is_told_of_workers_by_the_chart() -> None:
    assert 'include "tidemark.statusTargets"' in template("query-api.yaml")
    text = template("network.yaml")
    assert text.index('if ne $component "query-api"') < text.index("# The operator's page.")
    assert "# The operator's page asks the workers." in text


def test_the_charts_alerts_are_those_of_the_repository() -> None:
    assert (CHART / "files" / "alerts.yml").read_text() == (INFRA / "prometheus" / "alerts.yml").read_text()


def rules_of(groups: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


ALERTS = yaml.safe_load((CHART / "files" / "alerts.yml").read_text(encoding="utf-8"))["groups"]
OF_THE_RELEASE = {"namespace": "tidemark", "release": "prod"}


def test_the_charts_alerts_are_made_to_ask_for_their_own_release() -> None:
    """By the pattern in the template, over the rules; the rendered rules are judged below, where there is Helm."""
    text = template("_helpers.tpl")
    (pattern,) = re.findall(r"regexReplaceAll `([^`]+)` \.expr", text)
    selector = '{namespace="tidemark",release="prod"}'
    for name, rule in rules_of(ALERTS).items():
        expression = re.sub(pattern, lambda found: found[1] + selector, rule["expr"]).replace("}{", ",")
        found = matchers_of(expression, exported(), IN_A_CLUSTER)
        assert found, name
        assert all(OF_THE_RELEASE.items() <= matchers.items() for matchers in found), name
    assert 'ne $group.name "tidemark-notifier"' in template("monitoring.yaml")
    assert "tidemark-notifier" in [group["name"] for group in ALERTS]


@needs_helm
def test_alerts_judge_their_own_release_alone_and_say_which() -> None:
    (rule,) = of_kind("full", "PrometheusRule")
    written, kept = rules_of(rule["spec"]["groups"]), rules_of(ALERTS)
    assert list(written) == list(kept)
    for name, own in written.items():
        found = matchers_of(own["expr"], exported(), IN_A_CLUSTER)
        assert all(OF_THE_RELEASE.items() <= matchers.items() for matchers in found), name
        # Nothing else was changed: without the release's labels it is the rule of the repository.
        without = re.sub(r'namespace="tidemark",release="prod",?', "", own["expr"]).replace("{}", "")
        if name != "TidemarkMemory":
            assert " ".join(without.split()) == " ".join(kept[name]["expr"].split())
        assert own["labels"] == {**kept[name]["labels"], **OF_THE_RELEASE}
        assert {key: own[key] for key in own if key not in ("expr", "labels")} == {
            key: kept[name][key] for key in kept[name] if key not in ("expr", "labels")
        }
    (monitor,) = of_kind("full", "ServiceMonitor")
    (endpoint,) = monitor["spec"]["endpoints"]
    assert [relabelled["targetLabel"] for relabelled in endpoint["relabelings"]] == ["release"]


def memory_thresholds(expression: str) -> dict[str, float]:
    """Bytes by service."""
    found = re.findall(r'job=~"\.\*tidemark\.\*-([a-z-]+)"\} > (\S+)', expression)
    return {service: float(value) for service, value in found}


def limits(values: dict[str, Any]) -> dict[str, float]:
    """Bytes of the containers' limits, by service."""
    names = {"aggregator": "aggregator", "poller": "poller", "queryApi": "query-api", "notifier": "notifier"}
    units = {"Gi": 2**30, "Mi": 2**20}
    held = {name: values[part]["resources"]["limits"]["memory"] for part, name in names.items()}
    return {name: float(text[:-2]) * units[text[-2:]] for name, text in held.items()}


def test_the_alert_on_memory_fires_before_a_container_is_killed_for_it() -> None:
    thresholds = memory_thresholds(rules_of(ALERTS)["TidemarkMemory"]["expr"])
    bounds = limits(values_of_the_chart())
    assert set(thresholds) == set(bounds)
    for service, bytes_ in thresholds.items():
        assert 0.7 < bytes_ / bounds[service] < 0.85, service


@needs_helm
def test_alerts_follow_the_values() -> None:
    memory = {"aggregator": "3Gi", "poller": "1.5G", "query-api": "800M", "notifier": 300_000_000}
    values: dict[str, dict[str, Any]] = {
        name.replace("query-api", "queryApi"): {"resources": {"limits": {"memory": held}}}
        for name, held in memory.items()
    }
    values["notifier"]["enabled"] = False
    manifests = render({**LEAST, **values, "metrics": {"prometheusRule": {"enabled": True}}}, "a-" * 25 + "a")
    (rule,) = [found for found in manifests if found["kind"] == "PrometheusRule"]
    assert "tidemark-notifier" not in [group["name"] for group in rule["spec"]["groups"]]
    assert not any("Notifier" in name or "Webhook" in name for name in rules_of(rule["spec"]["groups"]))
    expression = rules_of(rule["spec"]["groups"])["TidemarkMemory"]["expr"]
    bounds = {"aggregator": 3 * 2**30, "poller": 1.5e9, "query-api": 8e8, "notifier": 3e8}
    assert memory_thresholds(expression) == {name: int(held * 0.8) for name, held in bounds.items()}
    # The job of a ServiceMonitor is the service's name.
    jobs = dict.fromkeys(memory_thresholds(expression), 0)
    for found in manifests:
        for service in jobs:
            if found["kind"] == "Service" and re.fullmatch(f".*tidemark.*-{service}", found["metadata"]["name"]):
                jobs[service] += 1
    assert jobs == {"aggregator": 1, "poller": 1, "query-api": 1, "notifier": 0}


def test_no_value_is_a_password() -> None:
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    values = yaml.safe_load(text)
    assert values["secrets"]["existingSecret"] == ""
    assert values["kafka"]["sasl"]["existingSecret"] == ""
    assert values["clickhouse"]["existingSecret"] == ""


def test_the_chart_has_the_products_version() -> None:
    import tomllib

    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    project = tomllib.loads((INFRA.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert chart["appVersion"] == project["version"]
