#!/usr/bin/env bash
# Fails if a Go file is not formatted.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

unformatted=$(git ls-files -z '*.go' | xargs -0r gofmt -l)
[ -z "$unformatted" ] || { printf 'not formatted, run `make fmt`:\n%s\n' "$unformatted" >&2; exit 1; }
