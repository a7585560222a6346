# By digest, so that a build of today is one of tomorrow; .ci/release tells how another is pinned.
FROM golang:1.26.9@sha256:f1f0bcc2c524a3ced375fcb4d1ecb7aa371aa7070e112599aaca45cc02d0101b AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /out/settled ./cmd/settled \
    && mkdir -p /out/data

# Nothing but the binary, the certificates it checks Stripe by, and a place for SQLite.
FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/settled /settled
COPY --from=build --chown=65534:65534 /out/data /data
USER 65534:65534
WORKDIR /data
# Inside a container loopback is nobody's: publish 8080 for Stripe, and keep 8081 private.
# Who asks 8081 by the name of the container needs that name in ADMIN_HOSTS; localhost and its address need nothing.
ENV PUBLIC_ADDR=0.0.0.0:8080 ADMIN_ADDR=0.0.0.0:8081 ADMIN_ADDR_ALLOW=0.0.0.0 DATABASE_URL=sqlite:/data/settled.db
EXPOSE 8080 8081
VOLUME /data
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=10s CMD ["/settled", "health"]
ENTRYPOINT ["/settled"]
CMD ["serve"]
