#!/bin/sh
# Prints all that an object's channel remembers, one message on each line. See
# ../README.md for APP, KEY and BROKER; arguments: object, channel, how far back.
set -eu
BROKER=${BROKER:-http://127.0.0.1:8000}
: "${APP:?an application name}" "${KEY:?its app_key}"

# An answer that breaks off is an error for curl: half is never taken for all. It
# is not tried again here, or what was printed would be printed twice.
curl --silent --show-error --fail-with-body --get --user "$APP:$KEY" \
  --data-urlencode "channel=${2:-score}" --data-urlencode "since=${3:-12h}" --data format=ndjson \
  "$BROKER/v1/objects/${1:-show-7}/history"
