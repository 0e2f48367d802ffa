{{/* Networks of NetworkPolicies. See shorthop.check. */}}
{{- define "shorthop.check.networks" -}}
{{- $v := .Values -}}
{{- $policy := $v.networkPolicy -}}
{{- if and $v.hostNetwork $policy.enabled }}
networkPolicy.enabled: NetworkPolicies do not hold for pods on the host network (hostNetwork)
{{- end -}}
{{- if and $policy.apiServers (not $policy.enabled) }}
networkPolicy.apiServers needs networkPolicy.enabled: without a NetworkPolicy, the replicas may call anything
{{- end -}}
{{- if and $policy.reviewsFrom (not $policy.enabled) }}
networkPolicy.reviewsFrom needs networkPolicy.enabled: without a NetworkPolicy, anybody may send reviews
{{- end -}}
{{- if and $v.tenantNetworkPolicy.nodeNetworks (not $v.tenantNetworkPolicy.namespaces) }}
tenantNetworkPolicy.nodeNetworks needs tenantNetworkPolicy.namespaces: without any, there is no NetworkPolicy that has them
{{- end -}}
{{- range $i, $network := $v.tenantNetworkPolicy.nodeNetworks -}}
{{- if not (include "shorthop.networkBits" .) }}
tenantNetworkPolicy.nodeNetworks[{{ $i }}]: {{ . }} is no network
{{- end -}}
{{- end -}}
{{- range $list := list "reviewsFrom" "apiServers" -}}
{{- range $i, $peer := get $policy $list | default list -}}
{{- $path := printf "networkPolicy.%s[%d]" $list $i -}}
{{- with .ipBlock -}}
{{- if or (hasKey $peer "namespaceSelector") (hasKey $peer "podSelector") }}
{{ $path }}: ipBlock stands alone in a peer: give selectors a peer of their own
{{- end -}}
{{- $block := include "shorthop.networkBits" .cidr -}}
{{- if not $block }}
{{ $path }}.ipBlock.cidr: {{ .cidr }} is no network
{{- end -}}
{{- $cidr := .cidr -}}
{{- range $j, $except := .except -}}
{{- $bits := include "shorthop.networkBits" . -}}
{{- if not $bits }}
{{ $path }}.ipBlock.except[{{ $j }}]: {{ . }} is no network
{{- else if and $block (not (and (hasPrefix $block $bits) (ne $block $bits))) }}
{{ $path }}.ipBlock.except[{{ $j }}]: {{ . }} is not within {{ $cidr }}, of which it is to be a part
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The bits of a CIDR that are fixed, as 4: or 6: and zeros and ones; nothing for what is none. */}}
{{- define "shorthop.networkBits" -}}
{{- $parts := splitList "/" . -}}
{{- $address := first $parts -}}
{{- $length := last $parts | int -}}
{{- $bits := "" -}}
{{- if contains ":" $address -}}
{{- $halves := splitList "::" $address -}}
{{- $head := splitList ":" (first $halves) | compact -}}
{{- $tail := list -}}
{{- $zeros := list -}}
{{- if eq (len $halves) 2 -}}
{{- $tail = splitList ":" (last $halves) | compact -}}
{{- range until (sub 8 (add (len $head) (len $tail)) | max 0 | int) -}}{{- $zeros = append $zeros "0" -}}{{- end -}}
{{- end -}}
{{- $groups := concat $head $zeros $tail -}}
{{- if and (eq (len $groups) 8) (le (len $halves) 2) (not (contains ":::" $address)) -}}
{{- range $groups -}}
{{- $bits = printf "%s%016b" $bits (printf "0x%s" . | int64) -}}
{{- end -}}
6:{{ trunc $length $bits }}
{{- end -}}
{{- else -}}
{{- range splitList "." $address -}}
{{- $bits = printf "%s%08b" $bits (int .) -}}
{{- end -}}
4:{{ trunc $length $bits }}
{{- end -}}
{{- end -}}
