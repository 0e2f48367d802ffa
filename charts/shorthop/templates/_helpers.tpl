{{/* The name of the release's objects: a DNS label, so that it fits a Service too. */}}
{{- define "shorthop.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "shorthop.selectorLabels" -}}
app.kubernetes.io/name: shorthop
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "shorthop.labels" -}}
{{ include "shorthop.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "shorthop.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* Secrets by certificate mode. Their names differ, so that a release can change its mode. */}}
{{- define "shorthop.selfManagedCASecret" -}}{{ include "shorthop.fullname" . }}-ca{{- end -}}
{{- define "shorthop.certManagerCASecret" -}}{{ include "shorthop.fullname" . }}-issuer-ca{{- end -}}
{{- define "shorthop.servingSecret" -}}
{{- if eq (include "shorthop.certificateMode" .) "provided" -}}
{{- required "certificates.mode provided needs certificates.provided.secretName" .Values.certificates.provided.secretName -}}
{{- else -}}
{{ include "shorthop.fullname" . }}-tls
{{- end -}}
{{- end -}}

{{/*
cert-manager, self-managed or provided. A release that manages its own certificates keeps doing so when cert-manager is
installed later: the change would be one more moment in which certificate and caBundle can differ.
*/}}
{{- define "shorthop.certificateMode" -}}
{{- if ne .Values.certificates.mode "auto" -}}
{{ .Values.certificates.mode }}
{{- else if lookup "v1" "Secret" .Release.Namespace (include "shorthop.selfManagedCASecret" .) -}}
self-managed
{{- else if .Capabilities.APIVersions.Has "cert-manager.io/v1" -}}
cert-manager
{{- else -}}
self-managed
{{- end -}}
{{- end -}}

{{/* The volume with the CA of clients, empty where anybody may send reviews. */}}
{{- define "shorthop.clientCA" -}}
{{- $ca := .Values.clientCA -}}
{{- if and $ca.configMap $ca.secretName -}}
{{- fail "clientCA: set configMap or secretName, not both" -}}
{{- else if and $ca.names (not $ca.configMap) (not $ca.secretName) -}}
{{- fail "clientCA.names needs clientCA.configMap or clientCA.secretName: without a certificate, a client has no name" -}}
{{- else if $ca.configMap -}}
configMap:
  name: {{ $ca.configMap }}
  items: [{key: {{ $ca.key }}, path: ca.crt}]
{{- else if $ca.secretName -}}
secret:
  secretName: {{ $ca.secretName }}
  items: [{key: {{ $ca.key }}, path: ca.crt}]
{{- end -}}
{{- end -}}

{{/* mode: Off without quotes is a boolean in YAML. */}}
{{- define "shorthop.policyMode" -}}
{{- if eq (toString .Values.policy.mode) "false" -}}Off{{- else -}}{{ .Values.policy.mode | default "Enforce" }}{{- end -}}
{{- end -}}

{{/*
The DaemonSets whose status is a health gate, one namespace/name a line: those of Compiled.Caches in pkg/policy; a test
compares the two.
*/}}
{{- define "shorthop.daemonSets" -}}
{{- $policy := .Values.policy -}}
{{- $base := $policy.dns | default dict -}}
{{- $blocks := list dict -}}
{{- range $policy.rules -}}
{{- $blocks = append $blocks (.dns | default dict) -}}
{{- end -}}
{{- $used := eq (toString $base.mode) "NodeLocal" -}}
{{- range $blocks -}}
{{- $used = or $used (eq (toString .mode) "NodeLocal") -}}
{{- end -}}
{{- $byAnnotation := has "mode" (dig "podOverrides" "allowed" (list "mode") $policy) -}}
{{- $found := list -}}
{{- range $blocks -}}
{{- $nodeLocal := eq (coalesce .mode $base.mode "Options") "NodeLocal" -}}
{{- $servers := ternary (list "default") list (or $nodeLocal (and $used (hasKey $policy "dns"))) -}}
{{- $daemonSet := "kube-system/node-local-dns" -}}
{{- range list $base . -}}
{{- $local := .nodeLocal | default dict -}}
{{- if hasKey $local "servers" -}}{{- $servers = $local.servers -}}{{- end -}}
{{- if hasKey $local "daemonSet" -}}{{- $daemonSet = $local.daemonSet -}}{{- end -}}
{{- end -}}
{{- if and $servers $daemonSet (or $nodeLocal $byAnnotation) -}}
{{- $found = append $found $daemonSet -}}
{{- end -}}
{{- end -}}
{{- uniq $found | sortAlpha | join "\n" -}}
{{- end -}}
