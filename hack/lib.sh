# Functions that the scripts in hack/ share: building binaries from Go modules, one build at a time. Sourced, not run.
# A script that sources this sets $dir (where binaries go) before it calls build, and $program for messages.

log() { printf '%s: %s\n' "${program:-hack}" "$*" >&2; }

die() {
  log "$*"
  exit 2
}

# have NAME...: whether $dir holds all these binaries.
have() {
  local name
  for name in "$@"; do
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

# k8s.io/kubernetes finds its staging repositories (k8s.io/api, k8s.io/apiserver, ...) through replacements that point
# into its own source tree. A module that depends on it does not inherit those, and must say which published version of
# each stands for the folder. The list differs from release to release; this derives it from the release itself.
build_kubernetes() {
  local name=$1 minor published version_pkg=k8s.io/component-base/version
  minor=${k8s_version#v1.}
  minor=${minor%%.*}
  published=v0.${k8s_version#v1.}

  new_module "$name" k8s.io/kubernetes "$k8s_version"
  sed -nE "s|^[[:space:]]*(k8s\.io/[a-z-]+) => \./staging/.*|replace \1 => \1 $published|p" "$gomod" >>go.mod

  # Without these the program calls itself v0.0.0.
  build "$name" "k8s.io/kubernetes/cmd/$name" \
    "-X $version_pkg.gitVersion=$k8s_version -X $version_pkg.gitMajor=1 -X $version_pkg.gitMinor=$minor -X $version_pkg.gitTreeState=clean"
}

# k8s_version VERSION: sets $k8s_version to VERSION with a leading v, or dies.
set_k8s_version() {
  k8s_version=v${1#v}
  [[ $k8s_version =~ ^v1\.[0-9]+\.[0-9]+(-[a-z0-9.]+)?$ ]] || die "K8S_VERSION=$k8s_version is not a version such as v1.36.3"
}

# lock: one build in $dir at a time. Without flock, two builds waste time but do no harm. Builds that were interrupted
# leave nothing behind.
lock() {
  mkdir -p "$dir"
  if command -v flock >/dev/null; then
    exec 9>"$dir/.lock"
    flock --nonblock 9 || {
      log "waiting for another build in $dir ..."
      flock 9
    }
  fi
  trap 'rm -f "$dir"/.*."$$"' EXIT
}
