{{/* What a schema cannot say: values that do not go together. Every message begins with the value. */}}
{{- define "shorthop.check" -}}
{{- $v := .Values -}}
{{- $own := list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "helm.sh/chart" -}}
{{- $labels := dict "commonLabels" $v.commonLabels "podLabels" $v.podLabels "webhook.labels" $v.webhook.labels "service.labels" $v.service.labels -}}
{{- range $kind := list "serviceMonitor" "podMonitor" "prometheusRule" "dashboard" -}}
{{- $_ := set $labels (printf "metrics.%s.labels" $kind) (get (get $v.metrics $kind) "labels") -}}
{{- end -}}
{{- range $path, $group := $labels -}}
{{- range $key, $value := $group | default dict -}}
{{- if has $key $own -}}
{{- fail (printf "%s: the chart sets %s itself, and selects its pods by it: take another label" $path $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Other charts call either by other names. What is in the wrong one, Helm 3 drops without a word. */}}
{{- range $key := list "fsGroup" "fsGroupChangePolicy" "seLinuxChangePolicy" "supplementalGroups" "supplementalGroupsPolicy" "sysctls" -}}
{{- if hasKey ($v.securityContext | default dict) $key -}}
{{- fail (printf "securityContext.%s: pods have it, and containers have not: set podSecurityContext.%s" $key $key) -}}
{{- end -}}
{{- end -}}
{{- range $key := list "allowPrivilegeEscalation" "capabilities" "privileged" "procMount" "readOnlyRootFilesystem" -}}
{{- if hasKey ($v.podSecurityContext | default dict) $key -}}
{{- fail (printf "podSecurityContext.%s: containers have it, and pods have not: set securityContext.%s" $key $key) -}}
{{- end -}}
{{- end -}}

{{- $names := dict -}}
{{- range $name := list "webhook" "metrics" "health" -}}
{{- $port := get $v.ports $name | int -}}
{{- with get $names (toString $port) -}}
{{- fail (printf "ports.%s: %d is ports.%s already: every listener needs a port of its own" $name $port .) -}}
{{- end -}}
{{- $_ := set $names (toString $port) $name -}}
{{- if and $v.hostNetwork (eq $port 10250) -}}
{{- fail (printf "ports.%s: 10250 is kubelet's own on the host network: take another one, 10260 for example" $name) -}}
{{- end -}}
{{- end -}}
{{- if and $v.hostNetwork $v.networkPolicy.enabled -}}
{{- fail "networkPolicy.enabled: NetworkPolicies do not hold for pods on the host network (hostNetwork)" -}}
{{- end -}}
{{- if and (eq ($v.dnsPolicy | default "") "None") (not (dig "nameservers" list ($v.dnsConfig | default dict))) -}}
{{- fail "dnsPolicy: None needs dnsConfig.nameservers" -}}
{{- end -}}
{{- if and (not $v.serviceAccount.create) (not $v.serviceAccount.name) -}}
{{- fail "serviceAccount.create: false needs serviceAccount.name, the one that is there already" -}}
{{- end -}}
{{- if $v.podDisruptionBudget.enabled -}}
{{- $least := toString ($v.podDisruptionBudget.minAvailable | default "") -}}
{{- $most := toString $v.podDisruptionBudget.maxUnavailable -}}
{{- if $least -}}
{{- /* Percentages are rounded up, as the disruption controller does. */}}
{{- $replicas := $least | int -}}
{{- if hasSuffix "%" $least -}}
{{- $replicas = div (add (mul ($v.replicas | int) (trimSuffix "%" $least | int)) 99) 100 | int -}}
{{- end -}}
{{- if and (gt $replicas 0) (ge $replicas ($v.replicas | int)) -}}
{{- fail (printf "podDisruptionBudget.minAvailable: %s of %d replicas (replicas) would keep every node that runs one from being drained" $least ($v.replicas | int)) -}}
{{- end -}}
{{- else if has (trimSuffix "%" $most) (list "" "0" "00") -}}
{{- fail (printf "podDisruptionBudget.maxUnavailable: %q would keep every node that runs a replica from being drained: take 1 or more, or set minAvailable" $most) -}}
{{- end -}}
{{- end -}}
{{- if and $v.metrics.serviceMonitor.enabled $v.metrics.podMonitor.enabled -}}
{{- fail "metrics.podMonitor.enabled: metrics.serviceMonitor is enabled too, and every replica would be scraped twice: choose one" -}}
{{- end -}}

{{- $evidence := $v.advisor.evidence -}}
{{- if and $evidence.files (not $evidence.volume) -}}
{{- fail "advisor.evidence.files: advisor.evidence.volume says where they are" -}}
{{- end -}}
{{- if and $evidence.volume (not $evidence.files) -}}
{{- fail "advisor.evidence.volume: advisor.evidence.files says which files of it are read" -}}
{{- end -}}
{{- if and $evidence.files $v.advisor.logPods -}}
{{- fail "advisor.logPods: advisor.evidence.files are read in the place of logs of pods" -}}
{{- end -}}

{{- $leaf := $v.certificates.certManager -}}
{{- if ge (trimSuffix "h" $leaf.renewBefore | int) (trimSuffix "h" $leaf.duration | int) -}}
{{- fail (printf "certificates.certManager.renewBefore: %s is not less than certificates.certManager.duration, %s" $leaf.renewBefore $leaf.duration) -}}
{{- end -}}
{{- $sizes := get (dict "ECDSA" (list 0 256 384 521) "RSA" (list 0 2048 3072 4096) "Ed25519" (list 0)) $leaf.privateKey.algorithm -}}
{{- if not (has ($leaf.privateKey.size | int) $sizes) -}}
{{- fail (printf "certificates.certManager.privateKey.size: %d is none of %s: %s" ($leaf.privateKey.size | int) $leaf.privateKey.algorithm (join ", " $sizes)) -}}
{{- end -}}
{{- end -}}
