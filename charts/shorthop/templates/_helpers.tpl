{{/* The name of the release's objects: a DNS label, so that it fits a Service too. Names of releases may have dots. */}}
{{- define "shorthop.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | replace "." "-" | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | replace "." "-" | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "shorthop.selectorLabels" -}}
app.kubernetes.io/name: shorthop
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* The labels of every object. commonLabels cannot replace any of the chart's: see shorthop.check. */}}
{{- define "shorthop.labels" -}}
{{ include "shorthop.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/*
What stands below `metadata:` of every object. A dict: root, name and namespace (left out: the object has none); labels and
annotations of the operator's for this object, over the common ones; own, annotations of the chart's, over all others.
*/}}
{{- define "shorthop.metadata" -}}
{{- $labels := merge (include "shorthop.labels" .root | fromYaml) (.labels | default dict) -}}
{{- $annotations := merge dict (.own | default dict) (.annotations | default dict) (.root.Values.commonAnnotations | default dict) -}}
name: {{ .name }}
{{- with .namespace }}
namespace: {{ . }}
{{- end }}
labels:
  {{- toYaml $labels | nindent 2 }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "shorthop.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "shorthop.fullname" .) -}}
{{- end -}}

{{/* A registry takes the place of the one that the repository names, if it names one. */}}
{{- define "shorthop.image" -}}
{{- $registry := dig "imageRegistry" "" (.Values.global | default dict) | default .Values.image.registry -}}
{{- $repository := .Values.image.repository -}}
{{- if $registry -}}
{{- $host := splitList "/" $repository | first -}}
{{- if and (contains "/" $repository) (or (contains "." $host) (contains ":" $host) (eq $host "localhost")) -}}
{{- $repository = trimPrefix (printf "%s/" $host) $repository -}}
{{- end -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" $registry) $repository -}}
{{- end -}}
{{- if .Values.image.digest -}}
{{ $repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ $repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* The field imagePullSecrets, empty where there are none. Other charts have names alone, and others {name: ...}. */}}
{{- define "shorthop.imagePullSecrets" -}}
{{- $names := list -}}
{{- range concat (.Values.imagePullSecrets | default list) (.Values.image.pullSecrets | default list) (dig "imagePullSecrets" list (.Values.global | default dict)) -}}
{{- $names = append $names (kindIs "map" . | ternary (get (kindIs "map" . | ternary . dict) "name") .) -}}
{{- end -}}
{{- with uniq $names -}}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* Secrets by certificate mode. Their names differ, so that a release can change its mode. */}}
{{- define "shorthop.selfManagedCASecret" -}}{{ include "shorthop.fullname" . }}-ca{{- end -}}
{{- define "shorthop.certManagerCASecret" -}}{{ include "shorthop.fullname" . }}-issuer-ca{{- end -}}
{{- define "shorthop.servingSecret" -}}
{{- if eq (include "shorthop.certificateMode" .) "provided" -}}
{{- required "certificates.mode provided needs certificates.provided.secretName" .Values.certificates.provided.secretName -}}
{{- else if eq (include "shorthop.certificateMode" .) "service-ca" -}}
{{ include "shorthop.fullname" . }}-service-ca-tls
{{- else -}}
{{ include "shorthop.fullname" . }}-tls
{{- end -}}
{{- end -}}

{{/*
cert-manager, self-managed, service-ca or provided. A release that manages its own certificates keeps doing so when cert-manager
is installed later: the change would be one more moment in which certificate and caBundle can differ. Every cluster has
kube-system: who does not see it sees no cluster, and could take a release to another mode without a word.
*/}}
{{- define "shorthop.certificateMode" -}}
{{- if ne .Values.certificates.mode "auto" -}}
{{ .Values.certificates.mode }}
{{- else if lookup "v1" "Secret" .Release.Namespace (include "shorthop.selfManagedCASecret" .) -}}
self-managed
{{- else if not (lookup "v1" "Namespace" "" "kube-system") -}}
{{- fail "certificates.mode auto looks at the cluster, and here is none to look at (helm template, --dry-run=client, Argo CD and others that render with them): set certificates.mode to cert-manager, self-managed, service-ca or provided" -}}
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
The DaemonSets whose status is a health gate, one namespace/name a line, or namespace/* for a selector: those of
Compiled.Caches in pkg/policy; a test compares the two.
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
{{- with $local.daemonSetSelector -}}{{- $daemonSet = printf "%s/*" .namespace -}}{{- end -}}
{{- end -}}
{{- if and $servers $daemonSet (or $nodeLocal $byAnnotation) -}}
{{- $found = append $found $daemonSet -}}
{{- end -}}
{{- end -}}
{{- uniq $found | sortAlpha | join "\n" -}}
{{- end -}}

{{/* The ConfigMaps of the advice, one name a line. */}}
{{- define "shorthop.adviceMaps" -}}
{{- $name := printf "%s-advice" (include "shorthop.fullname" .) -}}
{{- $name -}}
{{- range untilStep 2 (.Values.advisor.configMaps | int | add1 | int) 1 }}
{{ printf "%s-%d" $name . }}
{{- end -}}
{{- end -}}

{{/* Namespaces of the pods whose logs the advisor reads, one a line. None where it reads files. */}}
{{- define "shorthop.logNamespaces" -}}
{{- if .Values.advisor.evidence.files -}}
{{- else if .Values.advisor.logPods -}}
{{ splitList "/" .Values.advisor.logPods | first }}
{{- else -}}
kube-system
{{- if .Capabilities.APIVersions.Has "config.openshift.io/v1" }}
openshift-dns
{{- end -}}
{{- end -}}
{{- end -}}
