# podtap's image: one static binary with the file capability NET_RAW, and nothing else that could be run.
#
#   docker build -t podtap .                                                this machine's architecture
#   docker buildx build --platform linux/amd64,linux/arm64 -t podtap .      both: the compiler crosses, nothing is emulated
#
# It is built with every cargo feature: the chart runs `podtap setup` and `podtap webhook` from this image. A sidecar needs
# neither; FEATURES="--no-default-features --features es" leaves them out.
#
# The same bytes twice: the same BUILD_IMAGE (by digest) and SOURCE_DATE_EPOCH, with BuildKit's rewrite-timestamp=true or
# buildah's --timestamp. scripts/image builds this file without a registry, and checks what comes out of it.

ARG BUILD_IMAGE=docker.io/library/rust:1-bookworm
ARG FINAL_IMAGE=scratch

FROM --platform=$BUILDPLATFORM ${BUILD_IMAGE} AS build
ARG TARGETARCH
WORKDIR /src
COPY scripts/static scripts/
RUN scripts/static tools
RUN scripts/static libpcap /opt/libpcap
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY examples examples
COPY benches benches
COPY bpf/connects.bpf.o bpf/
# dev for a quick look; release is what is meant to run.
ARG PROFILE=release
ARG FEATURES=""
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    scripts/static podtap /opt/libpcap /out/usr/local/bin/podtap
# Permitted, not effective: a pod that forgot the grant starts all the same, and says what to add.
RUN setcap cap_net_broadcast,cap_net_admin,cap_net_raw,cap_syslog,cap_perfmon,cap_bpf=p /out/usr/local/bin/podtap
COPY LICENSE-APACHE LICENSE-MIT /out/usr/share/doc/podtap/
RUN mkdir -p /out/etc \
    && echo 'podtap:x:65532:65532:podtap:/:/nonexistent' >/out/etc/passwd \
    && echo 'podtap:x:65532:' >/out/etc/group \
    && echo 'hosts: files dns' >/out/etc/nsswitch.conf
ARG VERSION=0.0.0
ARG REVISION=unknown
ARG SOURCE_DATE_EPOCH=0
# The file also keeps builders that look at contents alone (buildah) from taking an older image's labels for this one's.
RUN echo "podtap ${VERSION}, ${REVISION}, ${SOURCE_DATE_EPOCH}" >/out/usr/share/doc/podtap/version \
    && find /out -exec touch --no-dereference --date=@${SOURCE_DATE_EPOCH} {} +

FROM ${FINAL_IMAGE}
COPY --from=build /out/ /
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/podtap"]
EXPOSE 19199
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="podtap" \
      org.opencontainers.image.description="Records the HTTP exchanges of its pod: a sidecar that needs NET_RAW and nothing else" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.source="https://github.com/podtap/podtap" \
      org.opencontainers.image.documentation="https://github.com/podtap/podtap/blob/main/docs/kubernetes.md" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
