#!/bin/sh
# Publishes with a signature instead of a key: the secret is never sent, and a request
# that somebody has seen can be neither changed nor used again. KID and SECRET are an
# account's api_key and api_secret; arguments: object, channel, data. Who may list this
# machine's processes can see SECRET while openssl runs: sign in a program where others
# log in.
set -eu
BROKER=${BROKER:-http://127.0.0.1:8000}
: "${KID:?an api_key}" "${SECRET:?its api_secret}"

object=${1:-show-7}
body="{\"channel\":\"${2:-score}\",\"data\":${3:-{\"home\":1,\"away\":0\}}}"
target="/v1/objects/$object/publish"
time=$(date +%s)
# A retry with the same nonce, signed anew or not, is stored once.
nonce=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
hash=$(printf %s "$body" | openssl dgst -sha256 -r | cut -d ' ' -f 1)
signature=$(printf 'GOBELIN-HMAC-SHA256\n%s\n%s\nPOST\n%s\n%s' "$time" "$nonce" "$target" "$hash" |
  openssl dgst -sha256 -hmac "$SECRET" -binary | openssl base64 -A)

curl --silent --show-error --fail-with-body --retry 5 --retry-connrefused --max-time 10 \
  --header 'Content-Type: application/json' --header "Gobelin-Signature: kid=$KID,t=$time,n=$nonce,s=$signature" \
  --data-binary "$body" "$BROKER$target"
echo
