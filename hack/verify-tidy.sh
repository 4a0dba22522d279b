#!/usr/bin/env bash
# Fails if `go mod tidy` would change a module, nested ones included. But for hack/flux and hack/prometheus: those take hundreds
# of MB of modules which nothing else needs. `make test-flux` and `make drill` look themselves.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

status=0
for mod in $(git ls-files '*go.mod' ':!hack/flux/go.mod' ':!hack/prometheus/go.mod'); do
  go -C "$(dirname "$mod")" mod tidy -diff || { echo "$mod is not tidy: run \`make tidy\`" >&2; status=1; }
done
exit "$status"
