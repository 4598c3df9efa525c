#!/bin/sh
# Joins two network namespaces, SAT and GS, by a link that the kernel's netem and tbf
# shape: a fast way down, a slow way up, a delay and losses. Needs root, iproute2 and a
# kernel with netem.
#
#   ./up.sh && ip netns exec SAT ping 10.78.0.2; ./cut.sh 3; ./down.sh
#
# What may be set in the environment, with its default:
#   DOWN=100mbit UP=100kbit   rates from SAT to GS and from GS to SAT
#   DELAY=8ms                 one way
#   LOSS=1%                   of the packets; LOSS='gemodel 0.5% 25%' for bursts: 2% in
#                             fours (begin = mean/burst/(1-mean), end = 1/burst)
#   MTU=1500
#   SAT=sat GS=gs             names of the namespaces
set -eu
: "${SAT:=sat}" "${GS:=gs}" "${DOWN:=100mbit}" "${UP:=100kbit}" "${DELAY:=8ms}" "${LOSS:=1%}" "${MTU:=1500}"

# end NAME ADDRESS RATE gives an end its address and shapes what leaves it.
end() {
	ip -n "$1" link set lo up
	ip -n "$1" addr add "$2/30" dev link0
	ip -n "$1" link set link0 mtu "$MTU" up
	# shellcheck disable=SC2086 # a loss may be several words
	tc -n "$1" qdisc add dev link0 root handle 1: netem limit 100000 delay "$DELAY" loss $LOSS
	tc -n "$1" qdisc add dev link0 parent 1:1 handle 2: tbf rate "$3" burst "$((MTU * 64))" latency 200ms
}

for name in "$SAT" "$GS"; do
	if [ -e "/var/run/netns/$name" ]; then
		echo "there is a network namespace $name already: run down.sh, or name others in SAT and GS" >&2
		exit 1
	fi
done
# Nothing is left half done.
trap '[ $? = 0 ] || SAT="$SAT" GS="$GS" "$(dirname "$0")/down.sh"' EXIT
ip netns add "$SAT"
ip netns add "$GS"
ip link add link0 netns "$SAT" type veth peer name link0 netns "$GS"
end "$SAT" 10.78.0.1 "$DOWN"
end "$GS" 10.78.0.2 "$UP"
echo "up: ip netns exec $SAT sh (10.78.0.1), ip netns exec $GS sh (10.78.0.2)"
