# The image holds one static binary and the CA certificates. Both stages' images
# are arguments, so that a build needs no particular registry:
#
#   docker build --build-arg VERSION="$(git describe --tags --always)" -t shorthop/webhook .
#   docker build --build-arg BASE=<a distroless static image> ...
ARG BUILDER=golang:1.26-bookworm
ARG BASE=scratch

FROM ${BUILDER} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false \
      -ldflags "-s -w -X github.com/shorthop/shorthop/internal/buildinfo.Version=${VERSION}" \
      -o /out/webhook ./cmd/webhook

FROM ${BASE}
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/webhook /webhook
# A numeric user, so that runAsNonRoot can be checked without a passwd file.
USER 65532:65532
EXPOSE 9443 8080 8081
ENTRYPOINT ["/webhook"]
