#!/usr/bin/env bash
# Fails if a Go file is not formatted.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# What is deleted and git has not been told of is no file to look at.
unformatted=$(comm -z -23 <(git ls-files -z '*.go' | sort -z) <(git ls-files -z --deleted '*.go' | sort -z) |
  xargs -0r gofmt -l)
[ -z "$unformatted" ] || { printf 'not formatted, run `make fmt`:\n%s\n' "$unformatted" >&2; exit 1; }
