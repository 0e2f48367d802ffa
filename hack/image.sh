#!/usr/bin/env bash
#
# Packages bin/webhook and bin/kubectl-shorthop with the Dockerfile as shorthop/webhook:$1 in bin/webhook.tar, a docker-archive that docker load,
# ctr image import and skopeo understand, and prints what is in it. It needs buildah and no registry.
#
# Environment:
#   BASE       the image under the binary (default scratch)
#   CA_BUNDLE  the CA certificates to put in (default /etc/ssl/certs/ca-certificates.crt)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
name=shorthop/webhook:$1
command -v buildah >/dev/null || {
  echo "image: buildah is needed (apt-get install buildah)" >&2
  exit 2
}

# Storage of its own, removed at the end: nothing of the user's images is touched.
storage=$(mktemp -d)
trap 'rm -rf "$storage"' EXIT
buildah() {
  command buildah --root "$storage/root" --runroot "$storage/run" --storage-driver vfs "$@"
}

install -m 0644 "${CA_BUNDLE:-/etc/ssl/certs/ca-certificates.crt}" bin/ca-certificates.crt
# The time of the files and of the image is that of the commit, so that the same commit gives the same image.
timestamp=$(git log -1 --format=%ct 2>/dev/null || echo 0)
TMPDIR=$storage buildah build --isolation chroot --quiet --timestamp "$timestamp" \
  --build-arg BASE="${BASE:-scratch}" --build-arg FILES=prebuilt --tag "$name" . >/dev/null
rm -f bin/webhook.tar
TMPDIR=$storage buildah push --quiet "$name" "docker-archive:bin/webhook.tar:$name"

echo "image: $name in bin/webhook.tar, $(stat -c %s bin/webhook.tar) bytes; its files:"
tar --extract --to-stdout --file bin/webhook.tar --wildcards '*.tar' | tar --list --verbose --ignore-zeros | awk '$1 ~ /^-/ {print "image:   " $3 " bytes  /" $NF}'
