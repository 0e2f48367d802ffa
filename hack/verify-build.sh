#!/usr/bin/env bash
#
# Builds the binaries a second time, from a copy of the sources in another folder and with an empty build cache, and
# compares them with bin/. $1 is the version that bin/ was built with.
set -euo pipefail
version=$1
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT

# A file that is deleted and not committed is still listed.
git -C "$root" ls-files -z --cached --others --exclude-standard | tar -C "$root" --null --files-from=- --ignore-failed-read --create | tar -C "$copy" --extract
different=0
for name in webhook kubectl-shorthop; do
  (cd "$copy" && CGO_ENABLED=0 GOCACHE=$copy/.cache/go go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X github.com/shorthop/shorthop/internal/buildinfo.Version=$version" -o "$copy/$name" "./cmd/$name")
  if cmp "$root/bin/$name" "$copy/$name"; then
    echo "$name is the same: sha256 $(sha256sum <"$copy/$name" | cut -d' ' -f1), $(stat -c %s "$copy/$name") bytes"
  else
    different=1
  fi
done
exit $different
