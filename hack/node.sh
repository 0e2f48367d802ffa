#!/usr/bin/env bash
#
# Gets what a real node needs beyond the control plane: kubelet, kube-controller-manager, kube-scheduler, kubectl and CoreDNS,
# built from Go modules, and containerd, runc, the CNI plugins, conntrack, the compilers for the probes and buildah for
# the image as Debian packages.
#
#   hack/node.sh               build and install what is missing; progress goes to stderr
#   hack/node.sh --controllers build kube-controller-manager and CoreDNS only, which run without a node and need no packages
#   hack/node.sh --print-env   print the folders as shell assignments (E2E_K8S_BIN, E2E_COREDNS), and do nothing else
#   hack/node.sh --clean       remove what a run that was killed has left: its cgroups (all else ends with its namespaces;
#                              the next run does this as well)
#
# Packages are installed only where one of their files is missing, and the script says which; that needs root and apt-get.
# On another distribution, install the same programs before; nothing is installed then.
#
# Environment:
#   K8S_VERSION       Kubernetes version, with or without the leading v (default v1.36.3)
#   COREDNS_VERSION   CoreDNS version (default v1.15.0)
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
program=node
# shellcheck source=hack/lib.sh
source "$root/hack/lib.sh"

readonly kubernetes_binaries=(kubelet kube-controller-manager kube-scheduler kubectl)

# file package: the package is needed where the file does not exist (a name without a slash is looked up in PATH).
readonly packages=(
  "containerd containerd"
  "runc runc"
  "/usr/lib/cni/bridge containernetworking-plugins"
  "iptables iptables"
  "ip iproute2"
  "gcc gcc"
  "/usr/include/stdio.h libc6-dev"
  "musl-gcc musl-tools"
  "conntrack conntrack"
  "buildah buildah"
)

present() {
  if [[ $1 == /* ]]; then [[ -e $1 ]]; else command -v "$1" >/dev/null; fi
}

install_packages() {
  local line missing=()
  for line in "${packages[@]}"; do
    present "${line%% *}" || missing+=("${line##* }")
  done
  ((${#missing[@]})) || return 0
  command -v apt-get >/dev/null || die "please install what these Debian packages hold: ${missing[*]}"
  ((EUID == 0)) || die "missing packages (run as root, or install them yourself): ${missing[*]}"
  log "installing with apt-get: ${missing[*]}"
  apt_get update
  apt_get install --no-install-recommends "${missing[@]}"
}

# A package must not start services of its own here: the node runs its own containerd.
apt_get() {
  DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get --yes --quiet=2 "$@" >&2
}

# build_binaries DIR NAME...: builds those of Kubernetes that DIR does not have.
build_binaries() (
  dir=$1
  shift
  have "$@" && exit
  lock
  for name in "$@"; do
    [[ -x $dir/$name ]] || build_kubernetes "$name"
  done
  rm -rf "$dir/module"
)

# The name of a sandbox's cgroup ends in the id of the process that waits for it.
clean() {
  local dir
  find /sys/fs/cgroup -maxdepth 2 -type d -name 'shorthop-e2e-*' | while read -r dir; do
    [[ -d /proc/${dir##*-} ]] || find "$dir" -depth -type d -exec rmdir {} \;
  done
}

# build_coredns DIR VERSION
build_coredns() (
  dir=$1
  have coredns && exit
  lock
  have coredns && exit
  new_module coredns github.com/coredns/coredns "$2"
  build coredns github.com/coredns/coredns
  rm -rf "$dir/module"
)

main() {
  set_k8s_version "${K8S_VERSION:-v1.36.3}"
  local coredns_version=v${COREDNS_VERSION:-1.15.0}
  coredns_version=${coredns_version/vv/v}
  local kubernetes_dir=$root/.cache/control-plane/$k8s_version coredns_dir=$root/.cache/tools/coredns-$coredns_version
  case ${1:-} in
    '') ;;
    --print-env)
      printf 'E2E_K8S_BIN=%q\nE2E_COREDNS=%q\n' "$kubernetes_dir" "$coredns_dir/coredns"
      return
      ;;
    --controllers)
      build_binaries "$kubernetes_dir" kube-controller-manager
      build_coredns "$coredns_dir" "$coredns_version"
      return
      ;;
    --clean)
      clean
      return
      ;;
    *) die "usage: $0 [--controllers | --print-env | --clean]" ;;
  esac

  install_packages
  # Unset: those assets may be someone else's folder, with the control plane only.
  KUBEBUILDER_ASSETS='' K8S_VERSION=$k8s_version "$root/hack/control-plane.sh"
  build_coredns "$coredns_dir" "$coredns_version"
  build_binaries "$kubernetes_dir" "${kubernetes_binaries[@]}"
}

main "$@"
