#!/usr/bin/env bash
#
# Prints what follows the release's version in the version of a build: nothing at the commit that has the tag $1,
# -dev.COMMIT elsewhere, with .dirty where files differ from it; -dev without git.
set -euo pipefail
tag=$1
commit=$(git rev-parse --short=9 HEAD 2>/dev/null) || {
  echo -dev
  exit
}
dirty=
[[ -z $(git status --porcelain --untracked-files=no) ]] || dirty=.dirty
if [[ -z $dirty ]] && git tag --points-at HEAD | grep -qxF "$tag"; then
  exit
fi
echo "-dev.$commit$dirty"
