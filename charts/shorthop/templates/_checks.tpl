{{/*
What a schema cannot say: values that do not go together, and values of other charts. Every check writes a line for each problem,
which begins with the value. All are said at once.
*/}}
{{- define "shorthop.check" -}}
{{- $problems := list -}}
{{- range $check := list "otherCharts" "labels" "pods" "volumes" "resources" "ports" "budget" "monitors" "networks" "advisor" "certificates" -}}
{{- range splitList "\n" (include (printf "shorthop.check.%s" $check) $) -}}
{{- $problems = append $problems (trim .) -}}
{{- end -}}
{{- end -}}
{{- with compact $problems -}}
{{- fail (gt (len .) 1 | ternary (printf "%d values cannot be as they are:\n- %s" (len .) (join "\n- " .)) (first .)) -}}
{{- end -}}
{{- end -}}

{{- define "shorthop.check.otherCharts" -}}
{{- range $path, $here := .Files.Get "files/othercharts.yaml" | fromYaml -}}
{{- include "shorthop.check.otherChart" (dict "values" $.Values "at" (splitList "." $path) "path" $path "here" $here) -}}
{{- end -}}
{{- end -}}

{{- define "shorthop.check.otherChart" -}}
{{- $key := first .at -}}
{{- if and (kindIs "map" .values) (hasKey .values (trimSuffix "[]" $key)) -}}
{{- $value := get .values (trimSuffix "[]" $key) -}}
{{- if hasSuffix "[]" $key -}}
{{- range $value -}}
{{- include "shorthop.check.otherChart" (dict "values" . "at" (rest $.at) "path" $.path "here" $.here) -}}
{{- end -}}
{{- else if rest .at -}}
{{- include "shorthop.check.otherChart" (dict "values" $value "at" (rest .at) "path" .path "here" .here) -}}
{{- else if kindIs "invalid" $value -}}
{{- else if regexMatch "^[A-Za-z.]+$" .here }}
{{ .path }}: this chart has {{ .here }} for it
{{- else }}
{{ .path }}: {{ .here }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "shorthop.check.labels" -}}
{{- $v := .Values -}}
{{- $own := list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "helm.sh/chart" -}}
{{- $labels := dict "commonLabels" $v.commonLabels "podLabels" $v.podLabels "webhook.labels" $v.webhook.labels "service.labels" $v.service.labels -}}
{{- range $kind := list "serviceMonitor" "podMonitor" "prometheusRule" "dashboard" -}}
{{- $_ := set $labels (printf "metrics.%s.labels" $kind) (get (get $v.metrics $kind) "labels") -}}
{{- end -}}
{{- range $path, $group := $labels -}}
{{- range $key, $value := $group | default dict -}}
{{- if has $key $own }}
{{ $path }}: the chart sets {{ $key }} itself, and selects its pods by it: take another label
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (regexMatch "^[0-9]" ($v.fullnameOverride | default "")) (semverCompare "<1.36.0-0" .Capabilities.KubeVersion.Version) }}
fullnameOverride: {{ $v.fullnameOverride | quote }} begins with a digit, which Services do not before Kubernetes 1.36: begin with a letter
{{- end -}}
{{- end -}}

{{- define "shorthop.check.ports" -}}
{{- $v := .Values -}}
{{- $names := dict -}}
{{- range $name := list "webhook" "metrics" "health" -}}
{{- $port := get $v.ports $name | int -}}
{{- with get $names (toString $port) }}
ports.{{ $name }}: {{ $port }} is ports.{{ . }} already: every listener needs a port of its own
{{- end -}}
{{- $_ := set $names (toString $port) $name -}}
{{- if and $v.hostNetwork (eq $port 10250) }}
ports.{{ $name }}: 10250 is kubelet's own on the host network: take another one, 10260 for example
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "shorthop.check.budget" -}}
{{- $v := .Values -}}
{{- if $v.podDisruptionBudget.enabled -}}
{{- $least := toString ($v.podDisruptionBudget.minAvailable | default "") -}}
{{- $most := toString $v.podDisruptionBudget.maxUnavailable -}}
{{- if $least -}}
{{- /* Percentages are rounded up, as the disruption controller does. */}}
{{- $replicas := $least | int -}}
{{- if hasSuffix "%" $least -}}
{{- $replicas = div (add (mul ($v.replicas | int) (trimSuffix "%" $least | int)) 99) 100 | int -}}
{{- end -}}
{{- if and (gt $replicas 0) (ge $replicas ($v.replicas | int)) }}
podDisruptionBudget.minAvailable: {{ $least }} of {{ $v.replicas | int }} replicas (replicas) would keep every node that runs one from being drained
{{- end -}}
{{- else if has (trimSuffix "%" $most) (list "" "0" "00") }}
podDisruptionBudget.maxUnavailable: {{ $most | quote }} would keep every node that runs a replica from being drained: take 1 or more, or set minAvailable
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "shorthop.check.monitors" -}}
{{- $v := .Values -}}
{{- if and $v.metrics.serviceMonitor.enabled $v.metrics.podMonitor.enabled }}
metrics.podMonitor.enabled: metrics.serviceMonitor is enabled too, and every replica would be scraped twice: choose one
{{- end -}}
{{- range $kind := list "serviceMonitor" "podMonitor" -}}
{{- $monitor := get $v.metrics $kind -}}
{{- with $monitor.scrapeTimeout -}}
{{- if gt (include "shorthop.milliseconds" . | int64) (include "shorthop.milliseconds" $monitor.interval | int64) }}
metrics.{{ $kind }}.scrapeTimeout: {{ . }} is longer than metrics.{{ $kind }}.interval, {{ $monitor.interval }}: Prometheus takes no such scrape
{{- end -}}
{{- end -}}
{{- end -}}
{{- $interval := include "shorthop.milliseconds" $v.detector.interval | int64 -}}
{{- if and $v.detector.enabled (or (lt $interval 1000) (gt $interval 604800000)) }}
detector.interval: {{ $v.detector.interval }} is not from 1s to 168h: detector.enabled: false switches the detector off
{{- end -}}
{{- end -}}

{{/* A duration as Go and Prometheus have them, in milliseconds. */}}
{{- define "shorthop.milliseconds" -}}
{{- $units := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000 "w" 604800000 "y" 31536000000 -}}
{{- $sum := 0.0 -}}
{{- range regexFindAll "[0-9.]+(ms|[smhdwy])" . -1 -}}
{{- $number := regexFind "^[0-9.]+" . -}}
{{- $sum = addf $sum (mulf ($number | float64) (get $units (trimPrefix $number .))) -}}
{{- end -}}
{{- $sum | int64 -}}
{{- end -}}

{{- define "shorthop.check.advisor" -}}
{{- $advisor := .Values.advisor -}}
{{- $evidence := $advisor.evidence -}}
{{- if and $evidence.files (not $evidence.volume) }}
advisor.evidence.files: advisor.evidence.volume says where they are
{{- end -}}
{{- if and $evidence.volume (not $evidence.files) }}
advisor.evidence.volume: advisor.evidence.files says which files of it are read
{{- end -}}
{{- if and $evidence.files $advisor.logPods }}
advisor.logPods: advisor.evidence.files are read in the place of logs of pods
{{- end -}}
{{- if and $advisor.enabled (not (hasPrefix "@" $advisor.schedule)) -}}
{{- include "shorthop.check.schedule" $advisor.schedule -}}
{{- end -}}
{{- end -}}

{{/* The five fields of a cron line, as CronJobs read them. */}}
{{- define "shorthop.check.schedule" -}}
{{- $fields := regexSplit " +" . -1 -}}
{{- $months := list "jan" "feb" "mar" "apr" "may" "jun" "jul" "aug" "sep" "oct" "nov" "dec" -}}
{{- $days := list "sun" "mon" "tue" "wed" "thu" "fri" "sat" -}}
{{- range $i, $field := list (list "minute" 0 59) (list "hour" 0 23) (list "day of the month" 1 31) (list "month" 1 12) (list "day of the week" 0 6) -}}
{{- $text := index $fields $i | lower -}}
{{- $wrong := false -}}
{{- range splitList "," $text -}}
{{- $part := . -}}
{{- if eq $i 3 -}}{{- range $n, $name := $months -}}{{- $part = replace $name (add $n 1 | toString) $part -}}{{- end -}}{{- end -}}
{{- if eq $i 4 -}}{{- range $n, $name := $days -}}{{- $part = replace $name (toString $n) $part -}}{{- end -}}{{- end -}}
{{- if not (regexMatch "^([*?]|[0-9]{1,2}(-[0-9]{1,2})?)(/[1-9][0-9]?)?$" $part) -}}
{{- $wrong = true -}}
{{- else -}}
{{- $last := index $field 1 -}}
{{- range regexFindAll "[0-9]+" (regexReplaceAll "/.*" $part "") -1 -}}
{{- /* A zero in front would make it octal. */}}
{{- $number := regexReplaceAll "^0([0-9])" . "${1}" | int -}}
{{- $wrong = or $wrong (lt $number $last) (gt $number (index $field 2)) -}}
{{- $last = $number -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $wrong }}
advisor.schedule: {{ index $fields $i | quote }} is no {{ index $field 0 }}: numbers from {{ index $field 1 }} to {{ index $field 2 }}, ranges (1-5), lists (1,3), * and steps (*/2)
{{- end -}}
{{- end -}}
{{- if not (regexMatch "^([*?](/[1-7])?)$" (index $fields 2)) }}
advisor.schedule: {{ index $fields 2 | quote }} is a day of the month, and the advisor has to run once a week at least: take * there, or */2 to */7
{{- end -}}
{{- if not (regexMatch "^[*?](/1)?$" (index $fields 3)) }}
advisor.schedule: {{ index $fields 3 | quote }} is a month, and the advisor has to run once a week at least: take * there
{{- end -}}
{{- end -}}

{{- define "shorthop.check.certificates" -}}
{{- $v := .Values -}}
{{- $leaf := $v.certificates.certManager -}}
{{- if ge (trimSuffix "h" $leaf.renewBefore | int) (trimSuffix "h" $leaf.duration | int) }}
certificates.certManager.renewBefore: {{ $leaf.renewBefore }} is not less than certificates.certManager.duration, {{ $leaf.duration }}
{{- end -}}
{{- $sizes := get (dict "ECDSA" (list 0 256 384 521) "RSA" (list 0 2048 3072 4096) "Ed25519" (list 0)) $leaf.privateKey.algorithm -}}
{{- if not (has ($leaf.privateKey.size | int) $sizes) }}
certificates.certManager.privateKey.size: {{ $leaf.privateKey.size | int }} is none of {{ $leaf.privateKey.algorithm }}: {{ join ", " $sizes }}
{{- end -}}
{{- if include "shorthop.blind" . }}
certificates.mode auto looks at the cluster, and here is none to look at (helm template, --dry-run=client, Argo CD and others that render with them): set certificates.mode to cert-manager, self-managed, service-ca or provided
{{- end -}}
{{- $provided := $v.certificates.provided -}}
{{- range $key := list "secretName" "caBundle" -}}
{{- if and (eq $v.certificates.mode "provided") (not (get $provided $key)) }}
certificates.mode provided needs certificates.provided.{{ $key }}
{{- end -}}
{{- end -}}
{{- if eq $v.certificates.mode "auto" -}}
{{- range $key := list "secretName" "caBundle" -}}
{{- if get $provided $key }}
certificates.provided.{{ $key }}: certificates.mode auto never takes it: set certificates.mode to provided
{{- end -}}
{{- end -}}
{{- if and $leaf.issuerRef.name (not (include "shorthop.blind" .)) (not (.Capabilities.APIVersions.Has "cert-manager.io/v1")) }}
certificates.certManager.issuerRef: certificates.mode auto sees no cert-manager here, and would not take it: set certificates.mode to cert-manager
{{- end -}}
{{- end -}}
{{- with $provided.caBundle -}}
{{- if regexMatch "-----BEGIN [A-Z ]*PRIVATE KEY-----" . }}
certificates.provided.caBundle: it has a private key, and everybody may read it here: only the CA certificates belong here, and that key is to be replaced
{{- else if not (regexMatch "-----BEGIN CERTIFICATE-----\\s+[A-Za-z0-9+/=\\s]+-----END CERTIFICATE-----" .) }}
certificates.provided.caBundle: {{ trunc 24 . | quote }}{{ if gt (len .) 24 }} and so on{{ end }} is no certificate in PEM, which begins with -----BEGIN CERTIFICATE-----
{{- if hasPrefix "LS0tLS1CRUdJTi" . }}; it is base64, which the chart makes of it itself{{ end }}
{{- end -}}
{{- end -}}
{{- with $v.clientCA -}}
{{- if and .configMap .secretName }}
clientCA: set configMap or secretName, not both
{{- else if and .names (not .configMap) (not .secretName) }}
clientCA.names needs clientCA.configMap or clientCA.secretName: without a certificate, a client has no name
{{- end -}}
{{- end -}}
{{- end -}}
