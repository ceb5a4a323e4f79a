#!/bin/sh
# Publishes from a shell. See ../README.md for APP, KEY and BROKER.
set -eu
BROKER=${BROKER:-http://127.0.0.1:8000}
: "${APP:?an application name}" "${KEY:?its app_key}"

# call METHOD PATH BODY [more curl options]: prints the answer, fails on a refusal,
# and tries again while the broker is away or busy.
call() {
  method=$1 path=$2 body=$3
  shift 3
  curl --silent --show-error --fail-with-body --retry 5 --retry-connrefused --max-time 10 \
    --user "$APP:$KEY" --header 'Content-Type: application/json' \
    --request "$method" --data "$body" "$@" "$BROKER$path"
  echo
}

# An object has a signed root channel; viewers subscribe below it.
call POST /v1/objects '{"object_id":"show-7","type":"live","name":"Show 7"}'

# One message on <root>/score. With a key a retry is harmless.
key=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
call POST /v1/objects/show-7/publish '{"channel":"score","data":{"home":1,"away":0}}' --header "Idempotency-Key: $key"
call POST /v1/objects/show-7/publish '{"channel":"score","data":{"home":1,"away":0}}' --header "Idempotency-Key: $key"

# Several at once, one result each.
call POST /v1/publish '{"messages":[
  {"object_id":"show-7","channel":"score","data":{"home":2,"away":0}},
  {"object_id":"show-7","channel":"ticker","data":"Second goal"}]}' --header "Idempotency-Key: $key-batch"
