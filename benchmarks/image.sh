#!/usr/bin/env bash
# What the serving image weighs, and whether it serves: build it, start it as its own user, wait until it is ready,
# classify a text, look at what it wrote, stop it with SIGTERM. A table, then one JSON line.
#
#   benchmarks/image.sh                      on Linux, as root, with bundles/sentiment-en; takes two minutes
#   CONTAINER_BASE=PATH benchmarks/image.sh  the script that makes the base image; ../shared/tools/container-base
#   IMAGE_BUILD=COMMAND benchmarks/image.sh  the build command itself, where buildah can get the base image by its name
#   PORT=8124                                where the server listens: a chroot has this machine's network
#
# It uses buildah, which needs no daemon. Where something is missing it says what, and exits 0: nothing was measured.
# MB are 10^6 bytes as `buildah images` counts them; "beyond the base" is what this project adds to the base image.
set -euo pipefail
cd "$(dirname "$0")/.."

maker=${CONTAINER_BASE:-../shared/tools/container-base}
port=${PORT:-8124}
base=python:3.11-slim-bookworm
work=$(mktemp -d)
container=lembra-image-$$
runner=''

buildah() { command buildah --storage-driver vfs "$@"; }
config() {
    buildah inspect --type image --format "{{range .Docker.Config.$1}}{{println .}}{{end}}" lembra:cpu | sed '/^$/d'
}
megabytes() { buildah images --format '{{.Size}}' "$1" | awk 'NR == 1 { print $1 * ($2 == "GB" ? 1000 : 1) }'; }
inside() { buildah run --isolation chroot --env "LEMBRA_PORT=$port" "$container" -- "$@"; }
now() { date +%s.%N; }
since() { awk -v from="$1" -v to="$(now)" 'BEGIN { printf "%.1f", to - from }'; }

skip() {
    printf '{"benchmark": "image", "skipped": "%s"}\n' "$1"
    exit 0
}

fail() {
    printf 'error: %s\n' "$1" >&2
    tail -n 20 "$work"/*.log >&2 || true
    exit 1
}

# buildah starts what it runs through helpers of its own, one child each: the last in the line is the server.
innermost() {
    local process=$1 child
    while child=$(pgrep -P "$process" | head -n 1) && [ -n "$child" ]; do process=$child; done
    echo "$process"
}

cleanup() {
    if [ -n "$runner" ]; then
        kill "$(innermost "$runner")" 2>/dev/null || true
        wait "$runner" 2>/dev/null || true
    fi
    buildah rm "$container" >/dev/null 2>&1 || true # where it got that far
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM # by way of cleanup, and not before the command at hand has ended

[ "$(id -u)" = 0 ] || skip "buildah's chroot needs root"
[ -f bundles/sentiment-en/manifest.json ] || skip "there is no bundles/sentiment-en"
if [ -z "${IMAGE_BUILD:-}" ]; then
    [ -f "$maker" ] || skip "no base image: there is no $maker, and IMAGE_BUILD is not set"
    # Its last line is the build command. It installs buildah where that is missing.
    IMAGE_BUILD=$(bash "$maker" 2>"$work/base.log" | tail -n 1) || skip "$maker could not make the base image"
fi
for tool in buildah curl pgrep; do
    type -P "$tool" >/dev/null || skip "$tool is not installed"
done
if curl -s -o /dev/null "localhost:$port"; then fail "something listens on port $port already; set PORT"; fi

start=$(now)
bash -c "$IMAGE_BUILD" >"$work/build.log" 2>&1 || fail "the build failed"
build_s=$(since "$start")

buildah from --name "$container" lembra:cpu >/dev/null
root=$(buildah mount "$container")
mapfile -t entrypoint < <(config Entrypoint)
mapfile -t healthcheck < <(config Healthcheck.Test) # its first word, CMD, says that the others are run as they are

touch "$work/before"
start=$(now)
inside "${entrypoint[@]}" >"$work/server.log" 2>&1 &
runner=$!
until curl -sf -o /dev/null "localhost:$port/health/ready"; do
    kill -0 "$runner" 2>/dev/null || fail "the server ended before it was ready"
    [ "$(since "$start" | cut -d. -f1)" -lt 60 ] || fail "not ready after 60 s"
    sleep 0.05
done
ready_s=$(since "$start")

server=$(innermost "$runner")
uid=$(awk '/^Uid:/ { print $2 }' "/proc/$server/status")

label=$(curl -sf "localhost:$port/classify" -H 'content-type: application/json' \
    -d '{"input": "a charming and often affecting journey"}' |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["data"][0]["label"])') || fail "POST /classify failed"
health_exit=0
inside "${healthcheck[@]:1}" >"$work/health.log" 2>&1 || health_exit=$?
rss_mb=$(awk '/^VmRSS:/ { printf "%.0f", $2 * 1024 / 1e6 }' "/proc/$server/status")
# With none, a read-only file system will do. /etc and /run: buildah itself leaves files there.
written=$(find "$root" -xdev -newer "$work/before" -type f -not -path "$root/etc/*" -not -path "$root/run/*" | wc -l)

start=$(now)
kill -TERM "$server"
exit_code=0
wait "$runner" || exit_code=$?
stop_s=$(since "$start")
runner=''

image_mb=$(megabytes lembra:cpu)
base_mb=$(megabytes "$base")
beyond_mb=$(awk -v image="$image_mb" -v base="$base_mb" 'BEGIN { print image - base }')
ours_mb=$(du -s --apparent-size --block-size=1 "$root/srv" | awk '{ printf "%.1f", $1 / 1e6 }')
cpu=$(awk -F': ' '/^model name/ { print $2; exit }' /proc/cpuinfo)

cat <<TABLE
image lembra:cpu    $image_mb MB
  its base          $base_mb MB   $base
  beyond the base   $beyond_mb MB   of which code and bundle $ours_mb MB
built in            $build_s s
ready after         $ready_s s
memory              $rss_mb MB
user                $uid
answered            $label
health check        exit $health_exit
files written       $written
SIGTERM             exit $exit_code after $stop_s s
TABLE
printf '{"benchmark": "image", "image_mb": %s, "base_mb": %s, "beyond_base_mb": %s, "code_and_bundle_mb": %s, ' \
    "$image_mb" "$base_mb" "$beyond_mb" "$ours_mb"
printf '"build_s": %s, "ready_s": %s, "rss_mb": %s, "uid": %s, "label": "%s", "health_exit": %s, ' \
    "$build_s" "$ready_s" "$rss_mb" "$uid" "$label" "$health_exit"
printf '"files_written": %s, "exit_code": %s, "stop_s": %s, "base": "%s", ' "$written" "$exit_code" "$stop_s" "$base"
printf '"cpu": "%s", "cores": %s, "command": "benchmarks/image.sh"}\n' "$cpu" "$(nproc)"
