#!/bin/sh
# Cuts the link that up.sh has made for some seconds: packets vanish in both directions,
# interfaces stay up and nobody is told.
#
#   ./cut.sh SECONDS
set -eu
: "${SAT:=sat}" "${GS:=gs}" "${LOSS:=1%}" "${DELAY:=8ms}"
[ $# = 1 ] || { echo "usage: cut.sh SECONDS" >&2; exit 2; }

# lose HOW sets what is lost in both directions.
lose() {
	for end in "$SAT" "$GS"; do
		# shellcheck disable=SC2086 # a loss may be several words
		tc -n "$end" qdisc change dev link0 root handle 1: netem limit 100000 delay "$DELAY" loss $1
	done
}

trap 'lose "$LOSS"' EXIT # also when interrupted
trap 'exit 130' INT TERM
lose 100%
sleep "$1"
