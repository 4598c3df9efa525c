#!/bin/sh
# Takes down the link that up.sh has made. What runs in its namespaces must have ended.
set -eu
: "${SAT:=sat}" "${GS:=gs}"
for end in "$SAT" "$GS"; do
	if [ -e "/var/run/netns/$end" ]; then
		ip netns del "$end"
	fi
done
