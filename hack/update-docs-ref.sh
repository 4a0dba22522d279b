#!/usr/bin/env bash
# Writes docs/reference/v1alpha1.md from the API types.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

out=docs/reference/v1alpha1.md
mkdir -p docs/reference
go tool -modfile=hack/tools/go.mod crd-ref-docs --source-path=api/v1alpha1 --config=hack/crd-ref-docs.yaml \
  --renderer=markdown --output-path="$out" --log-level=ERROR

# The renderer leaves trailing blanks and runs of empty lines; the first line says where the page is from.
page=$(sed -E 's/[[:space:]]+$//' "$out" | cat -s)
printf '<!-- Made from api/v1alpha1 by `make docs-ref`. Do not edit. -->\n\n%s\n' "$page" >"$out"
