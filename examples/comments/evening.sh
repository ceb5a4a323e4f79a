#!/bin/sh
# An evening of comments from a shell: the show begins, somebody comments, a moderator
# promotes one comment and withdraws another, the show ends. See README.md for APP, KEY
# and BROKER.
set -eu
BROKER=${BROKER:-http://127.0.0.1:8000}
: "${APP:?an application name}" "${KEY:?its app_key}"

call() {
  method=$1 path=$2 body=${3:-}
  curl --silent --show-error --fail-with-body --max-time 10 --user "$APP:$KEY" \
    --request "$method" --header 'Content-Type: application/json' ${body:+--data "$body"} "$BROKER$path"
}
id() { sed -n 's/.*"comment_id":"\([0-9A-Z]*\)".*/\1/p'; }

call POST /v1/objects '{"object_id":"show-7","type":"live","name":"Show 7"}' >/dev/null
call POST /v1/objects/show-7/publish '{"channel":"events","data":{"event":"broadcasting","state":"start"}}' >/dev/null

good=$(call POST /v1/objects/show-7/comments '{"content":"what a goal","name":"Ann"}' | id)
bad=$(call POST /v1/objects/show-7/comments '{"content":"buy my coins","name":"Bob"}' | id)
call POST "/v1/objects/show-7/comments/$good/promote"
call DELETE "/v1/objects/show-7/comments/$bad"

call POST /v1/objects/show-7/publish '{"channel":"events","data":{"event":"broadcasting","state":"stop"}}' >/dev/null
call GET "/api/live/log?live_id=show-7"
