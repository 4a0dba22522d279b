#!/usr/bin/env bash
# Fails if `go mod tidy` would change a module, nested ones included.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

status=0
for mod in $(git ls-files '*go.mod'); do
  go -C "$(dirname "$mod")" mod tidy -diff || { echo "$mod is not tidy: run \`make tidy\`" >&2; status=1; }
done
exit "$status"
