#!/usr/bin/env bash
#
# Copies inputs that a fuzzer found interesting from Go's cache to the repository, where every `go test` runs them:
#
#   hack/keep-corpus.sh PACKAGE FUZZER N
#
# The folder, testdata/fuzz/FUZZER of the package, then holds at most N inputs beside those that failed once: of the old and
# the new ones up to 4 KiB, sorted by size, every so manyth, since the smallest say little. N 0 leaves it as it is.
set -euo pipefail

package=$1 fuzzer=$2 n=$3
((n > 0)) || exit 0
cache=$(go env GOCACHE)/fuzz/$package/$fuzzer
kept=$(go list -f '{{.Dir}}' "$package")/testdata/fuzz/$fuzzer
[[ -d $cache ]] || exit 0
mkdir -p "$kept"

# Go names an input by the hash of its content. What is kept from the cache begins with "kept-", so that a failure, which
# go test writes here under its bare hash, is never taken away again.
for file in "$cache"/*; do
  [[ -e $kept/${file##*/} ]] || cp "$file" "$kept/kept-${file##*/}"
done
find "$kept" -name 'kept-*' -size +4095c -delete
mapfile -t sorted < <(find "$kept" -name 'kept-*' -printf '%s %p\n' | sort -n | cut -d' ' -f2-)
total=${#sorted[@]}
for ((i = 0; i < total && total > n; i++)); do
  ((i * n / total != (i + 1) * n / total)) || rm "${sorted[i]}"
done
echo "$(find "$kept" -type f | wc -l) inputs in $kept"
