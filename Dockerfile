# a static binary and nothing else
FROM rust:1.95-bookworm AS build
WORKDIR /emberkv
COPY . .
RUN make static && cp target/*-linux-gnu/release/emberkv /usr/local/bin/emberkv

FROM scratch
COPY --from=build /usr/local/bin/emberkv /emberkv
VOLUME /data
EXPOSE 6379
ENTRYPOINT ["/emberkv", "server", "--dir", "/data", "--protected-mode", "no"]
