// Module image builds Grantry's container image without Docker and without a registry. It is nested so that the
// operator's own module needs none of its dependencies.
module github.com/grantry/grantry/hack/image

go 1.26.0

require (
	github.com/google/go-containerregistry v0.22.1
	github.com/moby/patternmatcher v0.6.0
)

require (
	github.com/klauspost/compress v1.19.2 // indirect
	github.com/opencontainers/go-digest v1.0.0 // indirect
	github.com/opencontainers/image-spec v1.1.1 // indirect
)
