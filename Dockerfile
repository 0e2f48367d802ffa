# The image holds two static binaries, the second for the advisor, and the CA certificates. Where they come from and what is under them are arguments,
# so that a build needs no particular registry:
#
#   docker build --build-arg VERSION="$(make -s version)" -t shorthop/webhook .      compile in a stage
#   make image                                                                       package what is in bin/ (see hack/image.sh)
#   docker build --build-arg BASE=<a distroless static image> ...
ARG BUILDER=golang:1.26-bookworm
ARG BASE=scratch
# The stage that has the files: build compiles them, prebuilt takes what is in bin/.
ARG FILES=build

FROM ${BUILDER} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false \
      -ldflags "-s -w -X github.com/shorthop/shorthop/internal/buildinfo.Version=${VERSION}" \
      -o /files/ ./cmd/webhook ./cmd/kubectl-shorthop \
 && cp /etc/ssl/certs/ca-certificates.crt /files/

FROM scratch AS prebuilt
COPY bin/webhook bin/kubectl-shorthop bin/ca-certificates.crt /files/

FROM ${FILES} AS files

FROM ${BASE}
COPY --from=files /files/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=files /files/webhook /webhook
COPY --from=files /files/kubectl-shorthop /kubectl-shorthop
# A numeric user, so that runAsNonRoot can be checked without a passwd file.
USER 65532:65532
EXPOSE 9443 8080 8081
ENTRYPOINT ["/webhook"]
