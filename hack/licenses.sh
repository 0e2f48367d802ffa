#!/usr/bin/env bash
#
# Writes THIRD_PARTY_LICENSES.md: the modules that are linked into the two binaries, with their versions and licences as
# go-licenses finds them in the modules' own files. It fails where a licence is not one of $allowed, or cannot be found.
# test/docs compares the list with what the binaries are built from.
set -euo pipefail

readonly go_licenses_version=v2.0.1
# Permissive: they ask for their text and a notice, and nothing of whoever uses them.
readonly allowed=Apache-2.0,BSD-2-Clause,BSD-3-Clause,ISC,MIT

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
program=licenses
# shellcheck source=hack/lib.sh
source "$root/hack/lib.sh"

dir=$root/.cache/tools/go-licenses-$go_licenses_version
readonly tool=$dir/go-licenses
readonly own=github.com/shorthop/shorthop

build_tool() (
  have go-licenses && exit
  lock
  have go-licenses && exit
  new_module go-licenses github.com/google/go-licenses/v2 "$go_licenses_version"
  build go-licenses github.com/google/go-licenses/v2
  rm -rf "$dir/module"
)

build_tool
cd "$root"
next=$(mktemp)
trap 'rm -f "$next"' EXIT
# It takes what is below GOROOT for the standard library, and does not know the folder by itself: it is built with -trimpath.
export CGO_ENABLED=0 GOOS=linux GOARCH=amd64 GOROOT
GOROOT=$(go env GOROOT)
# It says on stderr which files of other languages it leaves out; only what goes wrong is of interest.
if ! "$tool" check --ignore "$own" --allowed_licenses="$allowed" ./cmd/webhook ./cmd/kubectl-shorthop 2>"$next"; then
  cat "$next" >&2
  die "a licence is not one of $allowed"
fi
{
  cat <<'TEXT'
# Third-party licences

What is linked into `webhook` and `kubectl-shorthop` for Linux, beside Go's standard library (BSD-3-Clause). Written by
`make licenses`; the texts are in the modules themselves, and `make sbom` lists the modules with their checksums.

| module | version | licence |
|---|---|---|
TEXT
  "$tool" report --ignore "$own" --template hack/licenses.tpl ./cmd/webhook ./cmd/kubectl-shorthop 2>"$next" | grep '^|' | LC_ALL=C sort -u
} >THIRD_PARTY_LICENSES.md.next
mv THIRD_PARTY_LICENSES.md.next THIRD_PARTY_LICENSES.md
log "THIRD_PARTY_LICENSES.md has $(grep -c ' | v' THIRD_PARTY_LICENSES.md) entries"
