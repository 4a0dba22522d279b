# The image of `make image`, for those who build with Docker: static, of one file, of nobody's time. With one version of
# Go and SOURCE_DATE_EPOCH=0 two builds of one commit hold the same bytes. See hack/image, whose tests compare the two.
FROM --platform=$BUILDPLATFORM golang:1.26.8 AS build
ARG TARGETOS
ARG TARGETARCH
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
ARG REVISION=unknown
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false "-ldflags=-s -w -buildid= -X github.com/prometheus/common/version.Version=$VERSION -X github.com/prometheus/common/version.Revision=$REVISION" -o /grantry . && touch -d @0 /grantry

FROM scratch
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="grantry" \
      org.opencontainers.image.description="DC/OS-style permissions for jobs on Kubernetes" \
      org.opencontainers.image.source="https://github.com/grantry/grantry" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
# The image has no user database: numbers, which runAsNonRoot can check.
USER 65532:65532
COPY --from=build /grantry /grantry
ENTRYPOINT ["/grantry"]
CMD ["manager"]
