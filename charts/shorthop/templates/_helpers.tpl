{{/*
The name of the release's objects: a DNS label, so that it fits a Service too. Names of releases may have dots, and may begin with
a digit, which Services take from Kubernetes 1.36 on only.
*/}}
{{- define "shorthop.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := .Release.Name | replace "." "-" -}}
{{- if regexMatch "^[0-9]" $name -}}
{{- $name = printf "%s-%s" .Chart.Name $name -}}
{{- else if not (contains .Chart.Name $name) -}}
{{- $name = printf "%s-%s" $name .Chart.Name -}}
{{- end -}}
{{- regexReplaceAll "-+$" (trunc 50 $name) "" -}}
{{- end -}}
{{- end -}}

{{- define "shorthop.selectorLabels" -}}
app.kubernetes.io/name: shorthop
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* Several maps as one, as YAML: the later ones win. Not sprig's merge, to which a value of "" is as good as none. */}}
{{- define "shorthop.merged" -}}
{{- $all := dict -}}
{{- range . -}}
{{- range $key, $value := . | default dict -}}
{{- $_ := set $all $key $value -}}
{{- end -}}
{{- end -}}
{{- with $all -}}
{{- toYaml . -}}
{{- end -}}
{{- end -}}

{{/*
The labels of an object. A dict: root; labels of the operator's for this object, over the common ones; own, those of the chart's
for this object. What the chart sets is over all others: it selects by it, and so does Helm.
*/}}
{{- define "shorthop.labels" -}}
{{- $chart := dict "app.kubernetes.io/name" "shorthop" "app.kubernetes.io/instance" .root.Release.Name
  "app.kubernetes.io/version" .root.Chart.AppVersion "app.kubernetes.io/managed-by" .root.Release.Service
  "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_") -}}
{{- include "shorthop.merged" (list .root.Values.commonLabels .labels $chart .own) -}}
{{- end -}}

{{/*
What stands below `metadata:` of every object. A dict: root, name and namespace (left out: the object has none); labels and
annotations of the operator's for this object, over the common ones; ownLabels and own, labels and annotations of the chart's, over
all others.
*/}}
{{- define "shorthop.metadata" -}}
name: {{ .name | quote }}
{{- with .namespace }}
namespace: {{ . | quote }}
{{- end }}
labels:
  {{- include "shorthop.labels" (dict "root" .root "labels" .labels "own" .ownLabels) | nindent 2 }}
{{- with include "shorthop.merged" (list .root.Values.commonAnnotations .annotations .own) }}
annotations:
  {{- . | nindent 2 }}
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
  - name: {{ . | quote }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* Secrets by certificate mode. Their names differ, so that a release can change its mode. */}}
{{- define "shorthop.selfManagedCASecret" -}}{{ include "shorthop.fullname" . }}-ca{{- end -}}
{{- define "shorthop.certManagerCASecret" -}}{{ include "shorthop.fullname" . }}-issuer-ca{{- end -}}
{{- define "shorthop.servingSecret" -}}
{{- if eq (include "shorthop.certificateMode" .) "provided" -}}
{{ .Values.certificates.provided.secretName }}
{{- else if eq (include "shorthop.certificateMode" .) "service-ca" -}}
{{ include "shorthop.fullname" . }}-service-ca-tls
{{- else -}}
{{ include "shorthop.fullname" . }}-tls
{{- end -}}
{{- end -}}

{{/*
cert-manager, self-managed, service-ca or provided. A release that manages its own certificates keeps doing so when cert-manager
is installed later: the change would be one more moment in which certificate and caBundle can differ. Where there is no cluster to
look at, shorthop.check has said so.
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

{{/*
Whether the mode auto has no cluster to look at. Every cluster has kube-system: who does not see it sees no cluster, and could take
a release to another mode without a word.
*/}}
{{- define "shorthop.blind" -}}
{{- if and (eq .Values.certificates.mode "auto") (not (lookup "v1" "Namespace" "" "kube-system")) -}}
{{- if not (lookup "v1" "Secret" .Release.Namespace (include "shorthop.selfManagedCASecret" .)) -}}
true
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The volume with the CA of clients, empty where anybody may send reviews. */}}
{{- define "shorthop.clientCA" -}}
{{- $ca := .Values.clientCA -}}
{{- if $ca.configMap -}}
configMap:
  name: {{ $ca.configMap | quote }}
  items: [{key: {{ $ca.key | quote }}, path: ca.crt}]
{{- else if $ca.secretName -}}
secret:
  secretName: {{ $ca.secretName | quote }}
  items: [{key: {{ $ca.key | quote }}, path: ca.crt}]
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

{{/* The arguments, one a line. extraArgs may add to them and not replace any. */}}
{{- define "shorthop.arguments" -}}
{{- $name := include "shorthop.fullname" . -}}
{{- $mode := include "shorthop.certificateMode" . -}}
- --policy=/etc/shorthop/policy/policy.yaml
- --webhook-configuration={{ $name }}
{{- if eq $mode "self-managed" }}
- --cert-source=self-managed
- --ca-secret={{ include "shorthop.selfManagedCASecret" . }}
- --service={{ $name }}
{{- else }}
- --cert-source=provided
- --cert-dir=/etc/shorthop/tls
{{- end }}
{{- if include "shorthop.clientCA" . }}
- --client-ca-file=/etc/shorthop/client-ca/ca.crt
{{- with .Values.clientCA.names }}
- {{ join "," . | printf "--client-names=%s" | quote }}
{{- end }}
{{- end }}
{{- if .Values.detector.enabled }}
- --detect-interval={{ .Values.detector.interval }}
- --detect-lease={{ $name }}-detector
{{- else }}
- --detect-interval=0
{{- end }}
{{- if .Values.advisor.enabled }}
- --advice=/etc/shorthop/advice/parts
- --advisor-run=/etc/shorthop/advice/run.json
{{- end }}
- --shutdown-delay={{ .Values.shutdownDelaySeconds | int }}s
- --log-level={{ .Values.log.level }}
- --log-format={{ .Values.log.format }}
- --bind-address=:{{ .Values.ports.webhook }}
- --metrics-bind-address=:{{ .Values.ports.metrics }}
- --health-probe-bind-address=:{{ .Values.ports.health }}
{{- end -}}
