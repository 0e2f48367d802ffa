#!/usr/bin/env bash
#
# Runs govulncheck over the packages of both binaries: which known vulnerabilities the code can reach.
#
# Exit codes: 0 none is known, or the database cannot be reached, which it then says; 1 findings; 2 anything else.
#
# Environment:
#   GOVULNDB   the database (default https://vuln.go.dev; file:///... is one on disk)
set -euo pipefail

readonly govulncheck_version=v1.6.0

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
program=vulncheck
# shellcheck source=hack/lib.sh
source "$root/hack/lib.sh"

dir=$root/.cache/tools/govulncheck-$govulncheck_version
readonly database=${GOVULNDB:-https://vuln.go.dev}

build_tool() (
  have govulncheck && exit
  lock
  have govulncheck && exit
  new_module govulncheck golang.org/x/vuln "$govulncheck_version"
  build govulncheck golang.org/x/vuln/cmd/govulncheck
  rm -rf "$dir/module"
)

trap "exit 2" ERR # a build that fails is no finding
build_tool
trap - ERR
cd "$root"
errors=$(mktemp)
trap 'rm -f "$errors"' EXIT
status=0
CGO_ENABLED=0 "$dir/govulncheck" -db "$database" ./cmd/... 2>"$errors" || status=$?
cat "$errors" >&2
case $status in
  0) ;;
  3) exit 1 ;; # its code for findings
  *)
    # Only failures of the connection itself: a database that answers nonsense is an error.
    if grep -qE 'no such host|connection refused|network is unreachable|i/o timeout|TLS handshake timeout|server misbehaving|no route to host' "$errors"; then
      log "NOT CHECKED: the vulnerability database $database cannot be reached"
      exit 0
    fi
    die "govulncheck failed (exit code $status)"
    ;;
esac
