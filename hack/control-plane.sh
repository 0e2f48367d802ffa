#!/usr/bin/env bash
#
# Builds a real control plane (etcd and kube-apiserver) from Go modules, for the integration tests and the demo.
#
#   hack/control-plane.sh               build what is missing; progress goes to stderr
#   hack/control-plane.sh --print-dir   print the folder that holds (or will hold) the binaries, and do nothing else
#
# Why from source: a Go module proxy is all it needs. There is no second download to trust, the server is exactly the
# version that was asked for, and it works wherever `go build` works.
#
# Environment:
#   K8S_VERSION          Kubernetes version, with or without the leading v (default v1.36.3)
#   KUBEBUILDER_ASSETS   a folder that has both binaries already: it is used as it is, and nothing is built
set -euo pipefail

readonly etcd_version=v3.7.3
readonly binaries=(etcd kube-apiserver)

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
program=control-plane
# shellcheck source=hack/lib.sh
source "$root/hack/lib.sh"

# The folder with the binaries. Absolute, because `go test` runs every package in its own folder.
assets_dir() {
  local dir=${KUBEBUILDER_ASSETS:-$root/.cache/control-plane/$k8s_version}
  [[ $dir == /* ]] || dir=$PWD/$dir
  printf '%s\n' "$dir"
}

build_etcd() {
  new_module etcd go.etcd.io/etcd/server/v3 "$etcd_version"
  build etcd go.etcd.io/etcd/server/v3
}

main() {
  set_k8s_version "${K8S_VERSION:-v1.36.3}"
  case ${1:-} in
    '') ;;
    --print-dir)
      assets_dir
      return
      ;;
    *) die "usage: $0 [--print-dir]" ;;
  esac

  dir=$(assets_dir)
  if [[ -n ${KUBEBUILDER_ASSETS:-} ]]; then
    have "${binaries[@]}" || die "KUBEBUILDER_ASSETS=$dir does not hold ${binaries[*]}"
    log "using $dir (KUBEBUILDER_ASSETS)"
    return
  fi
  if have "${binaries[@]}"; then
    return
  fi

  command -v go >/dev/null || die "go is needed to build the control plane (https://go.dev/doc/install)"
  lock
  if have "${binaries[@]}"; then # whoever waited finds the work done
    return
  fi

  log "building the control plane $k8s_version into $dir; the first time this takes some minutes"
  [[ -x $dir/etcd ]] || build_etcd
  [[ -x $dir/kube-apiserver ]] || build_kubernetes kube-apiserver
  rm -rf "$dir/module"
  log "ready: ${binaries[*]} after $SECONDS s"
}

main "$@"
