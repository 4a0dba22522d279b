# Reproducible: -trimpath, no build id, no VCS stamp, and a final image that holds the binary and no more.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
ARG TARGETOS
ARG TARGETARCH
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false -ldflags="-s -w -buildid=" -o /grantry .

FROM scratch
# The image has no user database: numbers, which runAsNonRoot can check.
USER 65532:65532
COPY --from=build /grantry /grantry
ENTRYPOINT ["/grantry"]
CMD ["manager"]
