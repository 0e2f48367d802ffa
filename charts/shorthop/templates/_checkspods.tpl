{{/* What API servers refuse of pods, and what kubelets do. See shorthop.check. */}}
{{- define "shorthop.check.pods" -}}
{{- $v := .Values -}}
{{- $contexts := list ($v.podSecurityContext | default dict) ($v.securityContext | default dict) -}}
{{- $nonRoot := "" -}}
{{- $user := "" -}}
{{- range $i, $path := list "podSecurityContext" "securityContext" -}}
{{- $context := index $contexts $i -}}
{{- if kindIs "bool" (get $context "runAsNonRoot") -}}{{- $nonRoot = ternary $path "" (get $context "runAsNonRoot") -}}{{- end -}}
{{- if and (hasKey $context "runAsUser") (not (kindIs "invalid" (get $context "runAsUser"))) -}}{{- $user = ternary $path "" (eq (get $context "runAsUser" | int64) 0) -}}{{- end -}}
{{- end -}}
{{- if and $nonRoot $user }}
{{ $user }}.runAsUser: 0 is root, and {{ $nonRoot }}.runAsNonRoot keeps root from being started
{{- end -}}
{{- with $v.securityContext -}}
{{- if and .privileged (kindIs "bool" .allowPrivilegeEscalation) (not .allowPrivilegeEscalation) }}
securityContext.privileged: what is privileged cannot have allowPrivilegeEscalation: false
{{- end -}}
{{- end -}}

{{- with $v.strategy -}}
{{- if eq (.type | default "") "Recreate" -}}
{{- if .rollingUpdate }}
strategy.rollingUpdate: strategy.type Recreate has none
{{- end -}}
{{- else if .rollingUpdate -}}
{{- /* The API server's own defaults. */}}
{{- $zero := list "0" "0%" "00%" -}}
{{- $surge := hasKey .rollingUpdate "maxSurge" | ternary (toString .rollingUpdate.maxSurge) "25%" -}}
{{- $unavailable := hasKey .rollingUpdate "maxUnavailable" | ternary (toString .rollingUpdate.maxUnavailable) "25%" -}}
{{- if and (has $surge $zero) (has $unavailable $zero) }}
strategy.rollingUpdate: maxSurge and maxUnavailable are both 0, and no replica could be replaced: let one be more
{{- end -}}
{{- end -}}
{{- end -}}

{{- if and (eq ($v.dnsPolicy | default "") "None") (not (dig "nameservers" list ($v.dnsConfig | default dict))) }}
dnsPolicy: None needs dnsConfig.nameservers
{{- end -}}
{{- if not $v.serviceAccount.create -}}
{{- if not $v.serviceAccount.name }}
serviceAccount.create: false needs serviceAccount.name, the one that is there already
{{- end -}}
{{- if $v.serviceAccount.annotations }}
serviceAccount.annotations: with serviceAccount.create: false the chart makes none that could have them
{{- end -}}
{{- end -}}

{{- range $i, $toleration := $v.tolerations -}}
{{- $path := printf "tolerations[%d]" $i -}}
{{- $exists := eq (.operator | default "Equal") "Exists" -}}
{{- if and $exists .value }}
{{ $path }}.value: {{ .value | quote }} is compared by no operator Exists: take Equal, or no value
{{- end -}}
{{- if and (not $exists) (not .key) }}
{{ $path }}.key: without one, the operator is Exists, which tolerates every taint
{{- end -}}
{{- if and (hasKey . "tolerationSeconds") (ne (.effect | default "") "NoExecute") }}
{{ $path }}.tolerationSeconds: it is for the effect NoExecute, and this one has {{ .effect | default "every effect" }}
{{- end -}}
{{- end -}}

{{- $seen := dict -}}
{{- range $i, $constraint := $v.topologySpreadConstraints -}}
{{- $path := printf "topologySpreadConstraints[%d]" $i -}}
{{- $key := printf "%s with %s" .topologyKey .whenUnsatisfiable -}}
{{- if hasKey $seen $key }}
{{ $path }}: {{ $key }} is topologySpreadConstraints[{{ get $seen $key }}] already
{{- end -}}
{{- $_ := set $seen $key $i -}}
{{- if and (hasKey . "minDomains") (ne .whenUnsatisfiable "DoNotSchedule") }}
{{ $path }}.minDomains: it is for whenUnsatisfiable: DoNotSchedule, and this one has {{ .whenUnsatisfiable }}
{{- end -}}
{{- end -}}

{{- $seen = dict -}}
{{- range $i, $variable := $v.extraEnv -}}
{{- $path := printf "extraEnv[%d]" $i -}}
{{- if has .name (list "POD_NAMESPACE" "GOMEMLIMIT") }}
extraEnv: the chart sets {{ .name }} itself
{{- end -}}
{{- if hasKey $seen .name }}
{{ $path }}: {{ .name }} is extraEnv[{{ get $seen .name }}] already
{{- end -}}
{{- $_ := set $seen .name $i -}}
{{- if and .value .valueFrom }}
{{ $path }}: {{ .name }} has value and valueFrom: set one of the two
{{- end -}}
{{- end -}}

{{- $arguments := "" -}}
{{- if not (include "shorthop.blind" .) -}}
{{- $arguments = include "shorthop.arguments" . -}}
{{- end -}}
{{- range $v.extraArgs -}}
{{- $flag := splitList "=" . | first -}}
{{- if contains (printf "%s=" $flag) $arguments }}
extraArgs: the chart sets {{ $flag }} itself, by a value of its own
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "shorthop.check.volumes" -}}
{{- $v := .Values -}}
{{- $own := list "policy" "tls" "client-ca" "advice" -}}
{{- $volumes := dict -}}
{{- range $i, $volume := $v.extraVolumes -}}
{{- $path := printf "extraVolumes[%d]" $i -}}
{{- if has .name $own }}
extraVolumes: the chart has a volume {{ .name }} itself
{{- end -}}
{{- if hasKey $volumes .name }}
{{ $path }}: {{ .name }} is extraVolumes[{{ get $volumes .name }}] already
{{- end -}}
{{- $_ := set $volumes .name $i -}}
{{- $sources := keys (omit . "name") | sortAlpha -}}
{{- if ne (len $sources) 1 }}
{{ $path }}: {{ .name }} has {{ empty $sources | ternary "no source" (join " and " $sources) }}: a volume has one of secret, configMap, emptyDir and the others of a pod
{{- end -}}
{{- end -}}

{{- $mounts := dict -}}
{{- range $i, $mount := $v.extraVolumeMounts -}}
{{- $path := printf "extraVolumeMounts[%d]" $i -}}
{{- if not (hasKey $volumes .name) }}
{{ $path }}.name: there is no {{ .name }} in extraVolumes{{ with keys $volumes | sortAlpha }}, which has {{ join ", " . }}{{ end }}
{{- end -}}
{{- $at := clean (printf "/%s" .mountPath) -}}
{{- if hasKey $mounts $at }}
{{ $path }}.mountPath: {{ .mountPath }} is that of extraVolumeMounts[{{ get $mounts $at }}] already
{{- end -}}
{{- $_ := set $mounts $at $i -}}
{{- $below := printf "%s/" (trimSuffix "/" $at) -}}
{{- range $own -}}
{{- $folder := printf "/etc/shorthop/%s/" . -}}
{{- if hasPrefix $folder $below }}
{{ $path }}.mountPath: {{ $mount.mountPath }} is in {{ trimSuffix "/" $folder }}, where the chart has its own: take another folder
{{- end -}}
{{- end -}}
{{- if hasPrefix $below "/etc/shorthop/" }}
{{ $path }}.mountPath: {{ .mountPath }} would cover /etc/shorthop, where the chart has its own: take another folder
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "shorthop.check.resources" -}}
{{- range $path, $resources := dict "resources" .Values.resources "advisor.resources" .Values.advisor.resources -}}
{{- $limits := ($resources | default dict).limits | default dict -}}
{{- range $list := list "requests" "limits" -}}
{{- $memory := get (get ($resources | default dict) $list | default dict) "memory" -}}
{{- if and $memory (lt (include "shorthop.quantity" $memory | float64) 1048576.0) }}
{{ $path }}.{{ $list }}.memory: {{ $memory }} are less than 1Mi, in which no server starts{{ if hasSuffix "m" (toString $memory) }}: m is a thousandth of a byte{{ end }}
{{- end -}}
{{- end -}}
{{- range $name, $request := ($resources | default dict).requests | default dict -}}
{{- $limit := get $limits $name -}}
{{- if and $limit (gt (include "shorthop.quantity" $request | float64) (include "shorthop.quantity" $limit | float64)) }}
{{ $path }}.requests.{{ $name }}: {{ $request }} are more than {{ $path }}.limits.{{ $name }}, {{ $limit }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A quantity as a number. */}}
{{- define "shorthop.quantity" -}}
{{- $units := dict "n" 0.000000001 "u" 0.000001 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18
  "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 "Ei" 1152921504606846976.0 -}}
{{- $text := toString . -}}
{{- $unit := regexFind "([KMGTPE]i|[numkMGTPE])$" $text -}}
{{- mulf (trimSuffix $unit $text | float64) (get $units $unit | default 1.0) -}}
{{- end -}}
