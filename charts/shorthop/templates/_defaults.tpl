{{/*
What the templates need to be there. `helm upgrade --reuse-values` takes the values of the old release without those that
this version of the chart has added, and null in a values file takes one away: either means the default of values.yaml.
A test takes away each in turn. Maps and lists that may be empty are not here.
*/}}
{{- define "shorthop.defaults" -}}
image: {repository: shorthop/webhook, pullPolicy: IfNotPresent}
replicas: 2
revisionHistoryLimit: 10
ports: {webhook: 9443, metrics: 8080, health: 8081}
hostNetwork: false
serviceAccount: {create: true}
service: {}
podDisruptionBudget: {enabled: true, maxUnavailable: 1}
podSecurityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
log: {level: info, format: json}
shutdownDelaySeconds: 10
timeoutSeconds: 2
detector: {enabled: true, interval: 10m}
advisor: {enabled: false, write: true, schedule: "17 * * * *", window: 30m, nodes: 20, evidence: {}, memory: 70d, configMaps: 2, spool: 1Gi}
certificates:
  mode: auto
  certManager: {issuerRef: {}, duration: 2160h, renewBefore: 720h, privateKey: {algorithm: ECDSA, size: 0}}
  provided: {}
clientCA: {key: ca.crt}
webhook:
  annotations: {admissions.enforcer/disabled: "true"}
metrics:
  serviceMonitor: {enabled: false, interval: 30s}
  podMonitor: {enabled: false, interval: 30s}
  prometheusRule: {enabled: false, runbookURL: "https://github.com/shorthop/shorthop/blob/main/docs/alerts.md"}
  dashboard:
    enabled: false
    labels: {grafana_dashboard: "1"}
networkPolicy:
  enabled: false
  apiServerPorts: [443, 6443]
tenantNetworkPolicy: {}
test: {namespace: default}
policy:
  excludedNamespaces: [kube-system, kube-public, kube-node-lease]
  namespaceOptOut: Overridable
  labelAliases:
  - {label: apiserver-proxy.networking.gardener.cloud/inject, feature: ServiceHost, disableOnly: true}
  - {label: node-local-dns-injection, feature: DNS}
  - {label: localdns-injector, feature: DNS}
  {{- /* A policy that leaves a feature out means it. */}}
  {{- if not .Values.policy }}
  dns: {}
  {{- end }}
{{- end -}}

{{/* Every template begins with this: it puts the defaults in where .Values has nothing, and looks at the result. */}}
{{- define "shorthop.complete" -}}
{{- include "shorthop.fill" (list .Values (include "shorthop.defaults" . | fromYaml)) -}}
{{- include "shorthop.check" . -}}
{{- end -}}

{{/*
Not sprig's merge, to which false, 0 and "" are as good as nothing. Labels, annotations and security contexts are one value:
whoever has taken something out of them shall not get it back.
*/}}
{{- define "shorthop.fill" -}}
{{- $values := index . 0 -}}
{{- range $key, $default := index . 1 -}}
{{- if not (hasKey $values $key) -}}
{{- $_ := set $values $key $default -}}
{{- else if kindIs "invalid" (index $values $key) -}}
{{- $_ := set $values $key $default -}}
{{- else if and (kindIs "map" $default) (not (has $key (list "annotations" "labels" "podSecurityContext" "securityContext"))) -}}
{{- include "shorthop.fill" (list (index $values $key) $default) -}}
{{- end -}}
{{- end -}}
{{- end -}}
