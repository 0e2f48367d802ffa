#!/usr/bin/env bash
#
# Gets what the chart is tested with, once per version: helm 4, helm 3, helm-unittest, promtool and node_exporter, built from Go
# modules, and the custom resource definitions of cert-manager and of the Prometheus operator, copied from theirs.
#
#   hack/tools.sh               build what is missing; progress goes to stderr
#   hack/tools.sh --print-env   print where everything is as shell assignments (HELM, HELM3, HELM_UNITTEST, PROMTOOL,
#                               NODE_EXPORTER, CRDS), and do nothing else
#
# Why from source: as with hack/control-plane.sh, a Go module proxy is all it needs.
set -euo pipefail

readonly helm_version=v4.3.1
readonly helm3_version=v3.22.0 # the last major version, which applies on the client's side
readonly helm_unittest_version=v1.1.2
readonly prometheus_version=v0.312.0 # Prometheus 3.12
readonly node_exporter_version=v1.12.1
readonly cert_manager_version=v1.21.2
readonly prometheus_operator_version=v0.85.0

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
program=tools
# shellcheck source=hack/lib.sh
source "$root/hack/lib.sh"

readonly tools=$root/.cache/tools
readonly helm=$tools/helm-$helm_version/helm
readonly helm3=$tools/helm-$helm3_version/helm
readonly helm_unittest=$tools/helm-unittest-$helm_unittest_version/helm-unittest
readonly promtool=$tools/promtool-$prometheus_version/promtool
readonly node_exporter=$tools/node_exporter-$node_exporter_version/node_exporter
readonly crds=$tools/crds-cert-manager-$cert_manager_version-prometheus-operator-$prometheus_operator_version

# tool FILE MODULE VERSION PACKAGE [LDFLAGS]: builds FILE unless it exists.
tool() (
  dir=$(dirname "$1")
  name=$(basename "$1")
  have "$name" && exit
  lock
  have "$name" && exit # whoever waited finds the work done
  new_module "$name" "$2" "$3"
  # What a module replaces in its own go.mod does not hold for whoever depends on it.
  sed -nE 's|^(replace)?[[:space:]]*([^ ]+( v[^ ]+)? => [^./][^ ]* v[^ ]+).*|replace \2|p' "$gomod" >>go.mod
  build "$name" "$4" "${5:-}"
  rm -rf "$dir/module"
)

# module_dir MODULE VERSION: prints the folder with the module's source.
module_dir() {
  GOWORK=off go mod download -json "$1@$2" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p'
}

copy_crds() (
  local last=$crds/monitoring.coreos.com_podmonitors.yaml # earlier copies lack it
  [[ -f $last ]] && exit
  dir=$tools
  lock
  [[ -f $last ]] && exit
  cd / # outside the product's module, whose go.sum this is none of
  log "copying custom resource definitions to $crds"
  cert_manager=$(module_dir github.com/cert-manager/cert-manager "$cert_manager_version")
  operator=$(module_dir github.com/prometheus-operator/prometheus-operator "$prometheus_operator_version")
  rm -rf "$crds.next"
  mkdir -p "$crds.next"
  install -m 644 "$cert_manager"/deploy/crds/cert-manager.io_{certificates,issuers}.yaml \
    "$operator"/example/prometheus-operator-crd/monitoring.coreos.com_{podmonitors,prometheusrules,servicemonitors}.yaml "$crds.next"
  rm -rf "$crds"
  mv "$crds.next" "$crds"
)

main() {
  case ${1:-} in
    '') ;;
    --print-env)
      printf 'HELM=%q\nHELM3=%q\nHELM_UNITTEST=%q\nPROMTOOL=%q\nNODE_EXPORTER=%q\nCRDS=%q\n' \
        "$helm" "$helm3" "$helm_unittest" "$promtool" "$node_exporter" "$crds"
      return
      ;;
    *) die "usage: $0 [--print-env]" ;;
  esac
  command -v go >/dev/null || die "go is needed to build the tools (https://go.dev/doc/install)"
  tool "$helm" helm.sh/helm/v4 "$helm_version" helm.sh/helm/v4/cmd/helm \
    "-X helm.sh/helm/v4/internal/version.version=$helm_version"
  tool "$helm3" helm.sh/helm/v3 "$helm3_version" helm.sh/helm/v3/cmd/helm \
    "-X helm.sh/helm/v3/internal/version.version=$helm3_version"
  tool "$helm_unittest" github.com/helm-unittest/helm-unittest "$helm_unittest_version" \
    github.com/helm-unittest/helm-unittest/cmd/helm-unittest
  # The tag leaves out the clients of all clouds, which checking rules has no use for.
  GOFLAGS="${GOFLAGS:-} -tags=remove_all_sd" tool "$promtool" github.com/prometheus/prometheus "$prometheus_version" \
    github.com/prometheus/prometheus/cmd/promtool
  tool "$node_exporter" github.com/prometheus/node_exporter "$node_exporter_version" github.com/prometheus/node_exporter
  copy_crds
}

main "$@"
