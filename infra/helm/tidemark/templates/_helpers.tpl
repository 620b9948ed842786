{{/* Names, labels, and what every pod of Tidemark has. */}}
{{- define "tidemark.name" -}}
{{- /* The word is never cut off: selectors of jobs look for it. */ -}}
{{- if contains "tidemark" (trunc 40 .Release.Name) -}}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{- else -}}{{ .Release.Name | trunc 31 | trimSuffix "-" }}-tidemark{{- end -}}
{{- end -}}

{{/* dict "root" $ "component" "poller" */}}
{{- define "tidemark.selector" -}}
app.kubernetes.io/name: tidemark
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "tidemark.labels" -}}
{{ include "tidemark.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "tidemark.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "tidemark.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "tidemark.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* The environment of a service or command: dict "root" $ "role" "poller" "secrets" (list "secret-keys") "clickhouse" true "own" map */}}
{{- define "tidemark.env" -}}
{{- $v := .root.Values -}}
- {name: TIDEMARK_KAFKA_BOOTSTRAP, value: {{ required "kafka.bootstrap: host:port of your Kafka" $v.kafka.bootstrap | quote }}}
{{- $protocol := ternary (ternary "SASL_SSL" "SASL_PLAINTEXT" $v.kafka.tls.enabled) (ternary "SSL" "PLAINTEXT" $v.kafka.tls.enabled) $v.kafka.sasl.enabled }}
- {name: TIDEMARK_KAFKA_SECURITY_PROTOCOL, value: {{ $protocol }}}
{{- if and $v.kafka.tls.enabled $v.kafka.tls.caSecret }}
- {name: TIDEMARK_KAFKA_SSL_CAFILE, value: /etc/tidemark/kafka-ca/ca.crt}
{{- else if and $v.kafka.tls.enabled $v.authority.existingSecret }}
- {name: TIDEMARK_KAFKA_SSL_CAFILE, value: /etc/tidemark/authority/ca.crt}
{{- end }}
{{- with include "tidemark.kafkaClient" .root }}
- {name: TIDEMARK_KAFKA_SSL_CERTFILE, value: /etc/tidemark/kafka-client/tls.crt}
- {name: TIDEMARK_KAFKA_SSL_KEYFILE, value: /etc/tidemark/kafka-client/tls.key}
{{- end }}
{{- if $v.kafka.sasl.enabled }}
- {name: TIDEMARK_KAFKA_SASL_MECHANISM, value: {{ $v.kafka.sasl.mechanism }}}
- {name: TIDEMARK_KAFKA_SASL_USERNAME, value: {{ printf "%s%s" $v.kafka.sasl.principalPrefix .role | quote }}}
- {name: TIDEMARK_KAFKA_SASL_PASSWORD_FILE, value: /etc/tidemark/secrets/kafka-password}
{{- end }}
{{- /* The tables' migration asks Kafka for the living aggregators, and the registry for nothing. */}}
{{- if ne .role "migrate" }}
{{- if $v.registry.existingSecret }}
- {name: TIDEMARK_SCHEMA_REGISTRY_URL_FILE, value: /etc/tidemark/secrets/registry-url}
{{- else }}
- {name: TIDEMARK_SCHEMA_REGISTRY_URL, value: {{ required "registry.url or registry.existingSecret: your schema registry" $v.registry.url | quote }}}
{{- end }}
{{- if $v.authority.existingSecret }}
- {name: TIDEMARK_SCHEMA_REGISTRY_SSL_CAFILE, value: /etc/tidemark/authority/ca.crt}
{{- end }}
{{- end }}
- {name: TIDEMARK_TOPIC_PREFIX, value: {{ $v.topics.prefix | quote }}}
- {name: TIDEMARK_TOPIC_PARTITIONS, value: {{ $v.topics.partitions | quote }}}
{{- if .clickhouse }}
- {name: TIDEMARK_CLICKHOUSE_URL_FILE, value: /etc/tidemark/secrets/clickhouse-url}
{{- if $v.authority.existingSecret }}
- {name: TIDEMARK_CLICKHOUSE_SSL_CAFILE, value: /etc/tidemark/authority/ca.crt}
{{- end }}
{{- if $v.clickhouse.tls.clientSecret }}
- {name: TIDEMARK_CLICKHOUSE_SSL_CERTFILE, value: /etc/tidemark/clickhouse-client/tls.crt}
- {name: TIDEMARK_CLICKHOUSE_SSL_KEYFILE, value: /etc/tidemark/clickhouse-client/tls.key}
{{- end }}
{{- with $v.clickhouse.cluster }}
- {name: TIDEMARK_CLICKHOUSE_CLUSTER, value: {{ . | quote }}}
{{- end }}
{{- end }}
{{- if has "secret-keys" .secrets }}
- {name: TIDEMARK_SECRET_KEYS_FILE, value: /etc/tidemark/secrets/secret-keys}
{{- end }}
{{- if has "admin-key" .secrets }}
- {name: TIDEMARK_ADMIN_KEY_FILE, value: /etc/tidemark/secrets/admin-key}
{{- end }}
- {name: TIDEMARK_LOG_LEVEL, value: {{ $v.logLevel }}}
- {name: TIDEMARK_METRICS_HOST, value: 0.0.0.0}
- {name: TIDEMARK_METRICS_PORT, value: "9100"}
{{- /* Whoever asks for the aggregators' group, asks for the one that the aggregators have. */}}
{{- $group := pick ($v.aggregator.env | default dict) "TIDEMARK_AGGREGATOR_GROUP" }}
{{- range $name, $value := merge (dict) (.own | default dict) $group $v.extraEnv }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end -}}

{{/* The secret of the services' own certificate for Kafka; nothing without one. */}}
{{- define "tidemark.kafkaClient" -}}
{{- with .Values.kafka.tls.clientSecret }}
{{- if not $.Values.kafka.tls.enabled }}{{ fail "kafka.tls.clientSecret needs kafka.tls.enabled: true" }}{{ end }}
{{- . }}
{{- end }}
{{- end -}}

{{- define "tidemark.mounts" -}}
- {name: tmp, mountPath: /tmp}
{{- if include "tidemark.sources" . }}
- {name: secrets, mountPath: /etc/tidemark/secrets, readOnly: true}
{{- end }}
{{- if and .root.Values.kafka.tls.enabled .root.Values.kafka.tls.caSecret }}
- {name: kafka-ca, mountPath: /etc/tidemark/kafka-ca, readOnly: true}
{{- end }}
{{- if include "tidemark.kafkaClient" .root }}
- {name: kafka-client, mountPath: /etc/tidemark/kafka-client, readOnly: true}
{{- end }}
{{- if and .clickhouse .root.Values.clickhouse.tls.clientSecret }}
- {name: clickhouse-client, mountPath: /etc/tidemark/clickhouse-client, readOnly: true}
{{- end }}
{{- if .root.Values.authority.existingSecret }}
- {name: authority, mountPath: /etc/tidemark/authority, readOnly: true}
{{- end }}
{{- end -}}

{{/* Each secret as a file that its group alone reads: services read NAME_FILE. */}}
{{- define "tidemark.sources" -}}
{{- $v := .root.Values -}}
{{- if $v.kafka.sasl.enabled }}
- secret:
    name: {{ required "kafka.sasl.existingSecret: passwords by service" $v.kafka.sasl.existingSecret }}
    items: [{key: {{ .role }}, path: kafka-password}]
{{- end }}
{{- if and $v.registry.existingSecret (ne .role "migrate") }}
- secret:
    name: {{ $v.registry.existingSecret }}
    items: [{key: url, path: registry-url}]
{{- end }}
{{- if .clickhouse }}
- secret:
    name: {{ required "clickhouse.existingSecret: addresses by service" $v.clickhouse.existingSecret }}
    items: [{key: {{ .role }}, path: clickhouse-url}]
{{- end }}
{{- range .secrets }}
- secret:
    name: {{ required "secrets.existingSecret: admin-key and secret-keys" $v.secrets.existingSecret }}
    items: [{key: {{ . }}, path: {{ . }}}]
{{- end }}
{{- end -}}

{{- define "tidemark.volumes" -}}
- {name: tmp, emptyDir: {}}
{{- with include "tidemark.sources" . }}
- name: secrets
  projected:
    defaultMode: 0440
    sources: {{- . | nindent 6 }}
{{- end }}
{{- if and .root.Values.kafka.tls.enabled .root.Values.kafka.tls.caSecret }}
- name: kafka-ca
  secret:
    secretName: {{ .root.Values.kafka.tls.caSecret }}
    items: [{key: {{ .root.Values.kafka.tls.caKey }}, path: ca.crt}]
{{- end }}
{{- with include "tidemark.kafkaClient" .root }}
- name: kafka-client
  secret:
    secretName: {{ . | replace "{role}" $.role }}
    defaultMode: 0440
    items: [{key: tls.crt, path: tls.crt}, {key: tls.key, path: tls.key}]
{{- end }}
{{- if and .clickhouse .root.Values.clickhouse.tls.clientSecret }}
- name: clickhouse-client
  secret:
    secretName: {{ .root.Values.clickhouse.tls.clientSecret | replace "{role}" .role }}
    defaultMode: 0440
    items: [{key: tls.crt, path: tls.crt}, {key: tls.key, path: tls.key}]
{{- end }}
{{- if .root.Values.authority.existingSecret }}
- name: authority
  secret:
    secretName: {{ .root.Values.authority.existingSecret }}
    items: [{key: ca.crt, path: ca.crt}]
{{- end }}
{{- end -}}

{{/* What the operator's page asks: each worker by its stable name, and the query API that answers the page. */}}
{{- define "tidemark.statusTargets" -}}
{{- $name := include "tidemark.name" . -}}
{{- $targets := list -}}
{{- $workers := dict "aggregator" .Values.aggregator "poller" .Values.poller -}}
{{- if .Values.notifier.enabled }}{{ $_ := set $workers "notifier" .Values.notifier }}{{ end -}}
{{- range $role, $values := $workers -}}
{{- range $number := until (int $values.replicas) -}}
{{- $targets = append $targets (printf "%s-%d=http://%s-%s-%d.%s-%s.%s.svc:9100" $role $number $name $role $number $name $role $.Release.Namespace) -}}
{{- end -}}
{{- end -}}
{{- append $targets "query-api=http://127.0.0.1:9100" | join "," -}}
{{- end -}}

{{/* A quantity of memory in bytes: 512Mi, 1.5G, 1e9. */}}
{{- define "tidemark.bytes" -}}
{{- $units := dict "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- $unit := get $units (regexFind "[A-Za-z]*$" .) | default 1 -}}
{{- mulf (regexFind "^[0-9.]+(e[+]?[0-9]+)?" . | float64) (float64 $unit) | int64 -}}
{{- end -}}

{{/* An alert's expression for this release alone: each metric gets its labels, and the memory the limits of the values. */}}
{{- define "tidemark.ofRelease" -}}
{{- $selector := printf `{namespace=%q,release=%q}` .root.Release.Namespace .root.Release.Name -}}
{{- $expr := regexReplaceAll `\b((?:tidemark|process)_[a-z_]+)` .expr (printf "${1}%s" $selector) | replace "}{" "," -}}
{{- $v := .root.Values -}}
{{- range $role, $values := dict "aggregator" $v.aggregator "poller" $v.poller "query-api" $v.queryApi "notifier" $v.notifier -}}
{{- with dig "limits" "memory" "" ($values.resources | default dict) -}}
{{- $bytes := include "tidemark.bytes" (toString .) | float64 | mulf 0.8 | int64 -}}
{{- $expr = regexReplaceAll (printf `(-%s"\} > )[0-9.e]+` $role) $expr (printf "${1}%d" $bytes) -}}
{{- end -}}
{{- end -}}
{{- $expr -}}
{{- end -}}

{{/* The port of an http(s) address. */}}
{{- define "tidemark.urlPort" -}}
{{- $url := urlParse . -}}
{{- regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (ternary "443" "80" (eq $url.scheme "https")) -}}
{{- end -}}

{{/* Ports of a policy: those of the addresses among the values, and networkPolicy.dependencyPorts. */}}
{{- define "tidemark.dependencyPorts" -}}
{{- $v := .Values -}}
{{- $ports := list -}}
{{- range splitList "," $v.kafka.bootstrap }}{{ $ports = append $ports (regexFind "[0-9]+$" (trim .) | int) }}{{ end -}}
{{- with $v.registry.url }}{{ $ports = append $ports (include "tidemark.urlPort" . | int) }}{{ end -}}
{{- range $env := list $v.extraEnv $v.poller.env $v.aggregator.env -}}
{{- range $name := list "OTEL_EXPORTER_OTLP_ENDPOINT" "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" -}}
{{- $address := get ($env | default dict) $name | toString -}}
{{- if hasPrefix "http" $address }}{{ $ports = append $ports (include "tidemark.urlPort" $address | int) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- range $v.networkPolicy.dependencyPorts }}{{ $ports = append $ports (int .) }}{{ end -}}
{{- range $ports | uniq }}
- {protocol: TCP, port: {{ . }}}
{{- end -}}
{{- end -}}

{{/* Which nodes take a pod: dict "root" $ "values" map */}}
{{- define "tidemark.scheduling" -}}
{{- $own := .values.nodeSelector | default dict -}}
{{- with merge (dict) $own .root.Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "tidemark.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: {{ . }}}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: {{ . }}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: {{ . }}}
  periodSeconds: 5
  timeoutSeconds: 5
{{- end -}}
