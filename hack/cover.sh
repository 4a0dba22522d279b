#!/usr/bin/env bash
# Runs the tests of each package and holds it to its floor: 95 % for the pure packages, 80 % for the
# others. Only a package's own tests count, and generated files don't.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

pure='^internal/(permission|effective|batchjob|schedule)(/|$)'
exempt='^internal/testing(/|$)' # only tests use it

profile=$(mktemp)
trap 'rm -f "$profile"' EXIT
go test -coverprofile="$profile" ./api/... ./controllers/... ./internal/...

module=$(go list -m)
awk -v prefix="$module/" -v pure="$pure" -v exempt="$exempt" '
  NR == 1 || /zz_generated/ { next }
  { # file.go:1.2,3.4 statements count
    dir = substr($1, length(prefix) + 1); sub(/:.*/, "", dir); sub(/\/[^\/]*$/, "", dir)
    if (dir ~ exempt) next
    total[dir] += $2; if ($3 > 0) covered[dir] += $2
  }
  END {
    for (dir in total) {
      floor = dir ~ pure ? 95 : 80; percent = 100 * covered[dir] / total[dir]; low = percent < floor
      printf "%-40s %6.1f %% of %5d statements, floor %d %%%s\n", dir, percent, total[dir], floor, low ? "  TOO LOW" : ""
      bad += low
    }
    exit bad > 0
  }' "$profile" | sort
