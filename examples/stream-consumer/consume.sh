#!/bin/sh
# Reads a stream with curl and keeps its place over restarts: prints each record on a line.
#
#   BROKER=http://127.0.0.1:8000 TOKEN=<stream_token> sh consume.sh <id of the stream>
#
# Streams are made and listed by
#   curl -d '{"name":"warehouse"}' "$BROKER/streams?token=$TOKEN"
#   curl "$BROKER/streams?token=$TOKEN"
set -eu
: "${BROKER:=http://127.0.0.1:8000}" "${TOKEN:?the stream_token of the account}" "${PLACE:=place.txt}"
stream=${1:?the id of a stream}

while :; do
	last=
	[ ! -s "$PLACE" ] || last=$(cat "$PLACE")
	# The token goes in by a file descriptor: arguments can be seen by everybody.
	printf 'url = "%s/streams/%s/connect?token=%s"\n' "$BROKER" "$stream" "$TOKEN" |
		curl --config - --silent --show-error --fail --no-buffer ${last:+--header "Last-Event-ID: $last"} |
		while IFS= read -r line; do
			case $line in
			'event: '*) event=${line#event: } ;;
			'data: '*) data=${line#data: } ;;
			'id: '*) id=${line#id: } ;;
			'')
				if [ "$event" = data ]; then
					printf '%s\n' "$data"
					printf '%s' "$id" >"$PLACE.new"
					mv "$PLACE.new" "$PLACE"
				fi
				;;
			esac
		done
	sleep 1 # the server stopped, or the link broke
done
