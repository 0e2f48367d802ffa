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

k8s_version=${K8S_VERSION:-v1.36.3}
k8s_version=v${k8s_version#v}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

log() { printf 'control-plane: %s\n' "$*" >&2; }

die() {
  log "$*"
  exit 2
}

# The folder with the binaries. Absolute, because `go test` runs every package in its own folder.
assets_dir() {
  local dir=${KUBEBUILDER_ASSETS:-$root/.cache/control-plane/$k8s_version}
  [[ $dir == /* ]] || dir=$PWD/$dir
  printf '%s\n' "$dir"
}

complete() {
  local name
  for name in "${binaries[@]}"; do
    [[ -x $dir/$name ]] || return 1
  done
}

# new_module NAME PATH VERSION: starts the throw-away module NAME, which requires PATH@VERSION, enters it, and leaves the
# go.mod of PATH in $gomod. Its own go.mod is generated for every build and never committed, so that the product's
# dependencies and those of the control plane cannot influence each other.
new_module() {
  local module=$dir/module/$1
  rm -rf "$module"
  mkdir -p "$module"
  cd "$module"
  printf 'module control-plane.invalid/%s\n' "$1" >go.mod # so that go list does not look at the product's module
  gomod=$(GOWORK=off go list -mod=mod -m -f '{{.GoMod}}' "$2@$3")
  [[ -f $gomod ]] || die "the Go module $2@$3 cannot be had"
  {
    printf 'module control-plane.invalid/%s\n' "$1"
    # The go line also makes Go read only the part of the dependency graph that it needs: without it, resolving etcd
    # alone takes minutes. The godebug lines are the runtime settings that the release was tested with.
    grep -E '^(go|godebug) ' "$gomod"
    printf 'require %s %s\n' "$2" "$3"
  } >go.mod
}

# build NAME PACKAGE [LDFLAGS]: builds in the current folder's module. The binary appears under its own name only when
# it is finished, so an interrupted build leaves nothing that looks usable.
build() {
  local name=$1 package=$2 ldflags="-s -w ${3:-}" start=$SECONDS
  log "building $name from $package ..."
  CGO_ENABLED=0 GOWORK=off go build -mod=mod -trimpath -ldflags "$ldflags" -o "$dir/.$name.$$" "$package" >&2
  mv "$dir/.$name.$$" "$dir/$name"
  log "built $name in $((SECONDS - start)) s"
}

build_etcd() {
  new_module etcd go.etcd.io/etcd/server/v3 "$etcd_version"
  build etcd go.etcd.io/etcd/server/v3
}

# k8s.io/kubernetes finds its staging repositories (k8s.io/api, k8s.io/apiserver, ...) through replacements that point
# into its own source tree. A module that depends on it does not inherit those, and must say which published version of
# each stands for the folder. The list differs from release to release; this derives it from the release itself.
build_kube_apiserver() {
  local minor published version_pkg=k8s.io/component-base/version
  minor=${k8s_version#v1.}
  minor=${minor%%.*}
  published=v0.${k8s_version#v1.}

  new_module kube-apiserver k8s.io/kubernetes "$k8s_version"
  sed -nE "s|^[[:space:]]*(k8s\.io/[a-z-]+) => \./staging/.*|replace \1 => \1 $published|p" "$gomod" >>go.mod

  # Without these the server calls itself v0.0.0.
  build kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver \
    "-X $version_pkg.gitVersion=$k8s_version -X $version_pkg.gitMajor=1 -X $version_pkg.gitMinor=$minor -X $version_pkg.gitTreeState=clean"
}

main() {
  [[ $k8s_version =~ ^v1\.[0-9]+\.[0-9]+(-[a-z0-9.]+)?$ ]] || die "K8S_VERSION=$k8s_version is not a version such as v1.36.3"
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
    complete || die "KUBEBUILDER_ASSETS=$dir does not hold ${binaries[*]}"
    log "using $dir (KUBEBUILDER_ASSETS)"
    return
  fi
  if complete; then
    return
  fi

  command -v go >/dev/null || die "go is needed to build the control plane (https://go.dev/doc/install)"
  mkdir -p "$dir"
  # One build at a time; whoever waited finds the work done. Without flock, two builds waste time but do no harm.
  if command -v flock >/dev/null; then
    exec 9>"$dir/.lock"
    flock --nonblock 9 || {
      log "waiting for another build of $k8s_version ..."
      flock 9
      if complete; then
        return
      fi
    }
  fi
  trap 'rm -f "$dir"/.*."$$"' EXIT

  log "building the control plane $k8s_version into $dir; the first time this takes some minutes"
  [[ -x $dir/etcd ]] || build_etcd
  [[ -x $dir/kube-apiserver ]] || build_kube_apiserver
  rm -rf "$dir/module"
  log "ready: ${binaries[*]} after $SECONDS s"
}

main "$@"
