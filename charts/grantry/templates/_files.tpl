{{/*
grantry.files renders the copies of config/ in a directory, for the namespace of the release:
include "grantry.files" (list $ "files/rbac/*.yaml")
*/}}
{{- define "grantry.files" -}}
{{- $root := index . 0 }}
{{- range $path, $_ := $root.Files.Glob (index . 1) }}
---
{{ $root.Files.Get $path | replace "grantry-system" $root.Release.Namespace }}
{{- end }}
{{- end }}
