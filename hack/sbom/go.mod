// Module sbom lists what a program is made of.
module github.com/grantry/grantry/hack/sbom

go 1.26.0

require github.com/CycloneDX/cyclonedx-go v0.12.0
