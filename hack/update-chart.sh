#!/usr/bin/env bash
# Copies what the chart has in common with config/: a chart can hold only files of its own, and some of its readers
# follow no symbolic link.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

rm -rf charts/grantry/files
for dir in admission-policy authorization rbac webhook crd/bases; do
  mkdir -p "charts/grantry/files/${dir%/bases}"
  for file in config/"$dir"/*.yaml; do
    [ "${file##*/}" = kustomization.yaml ] || cp "$file" "charts/grantry/files/${dir%/bases}/"
  done
done
