#!/usr/bin/env bash
# Runs each fuzz test of the module for a time or a number of tries: fuzz.sh 1000x
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

budget=${1:?how long, for example 30s or 1000x}
git ls-files --cached --others --exclude-standard --deduplicate '*_test.go' |
  xargs -r grep -oE '^func Fuzz[A-Za-z0-9_]*' /dev/null |
  while IFS=: read -r file declaration; do
    go test -run '^$' -fuzz "^${declaration#func }\$" -fuzztime "$budget" "./$(dirname "$file")" </dev/null
  done
