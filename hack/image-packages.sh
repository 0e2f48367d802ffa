#!/usr/bin/env bash
# Unpacks the Debian packages whose programs the images of test/images have, into .cache/image-packages: nothing is installed,
# and no root is needed. Prints the folder.
set -euo pipefail
cd "$(dirname "$0")/.."

packages="musl musl-dev busybox-static busybox libnet-dns-perl tini"
folder=$PWD/.cache/image-packages
done=$folder/complete
if [ ! -e "$done" ]; then
	for tool in apt-get dpkg-deb gcc; do
		command -v "$tool" >/dev/null || { echo "image-packages: $tool is missing: this needs Debian or Ubuntu, with gcc" >&2; exit 1; }
	done
	mkdir -p "$folder"
	new=$(mktemp -d "$folder/.new-XXXXXX")
	trap 'rm -rf "$new"' EXIT
	echo "image-packages: downloading $packages ..." >&2
	# shellcheck disable=SC2086 # names without spaces
	(cd "$new" && apt-get download -qq $packages >&2) || { echo "image-packages: cannot be downloaded: does 'apt-get update' help?" >&2; exit 1; }
	for package in $packages; do
		rm -rf "${folder:?}/$package"
		dpkg-deb -x "$new/${package}"_*.deb "$folder/$package"
	done
	touch "$done"
fi
echo "$folder"
