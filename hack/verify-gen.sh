#!/usr/bin/env bash
# Runs every generator and fails if that changed or added a file: verify-gen.sh PATH...
# (Generators don't delete; hack/verify knows a CRD whose kind is gone.)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

make --no-print-directory generate manifests docs-ref

status=0
git diff --exit-code -- "$@" || status=1
untracked=$(git ls-files --others --exclude-standard -- "$@")
if [ -n "$untracked" ]; then
  printf 'generated, and not in git:\n%s\n' "$untracked" >&2
  status=1
fi
[ "$status" = 0 ] || echo 'run `make generate manifests docs-ref` and commit what they write' >&2
exit "$status"
