package main

func nodeMeasures() []measure {
	return []measure{
		{
			name: "node.durable_1k",
			what: "1 kB bundles through two daemons under custody, all synced; reference: two dtn7-go daemons over MTCP",
			bars: map[string]bar{"node.durable_1k": {value: limit{4000, atLeast}, ratio: limit{50, atLeast}}},
			take: durable1k,
		},
		{
			name: "node.durable_1m",
			what: "1 MB bundles the same way; reference: the same bytes written to one file that is synced after each",
			bars: map[string]bar{"node.durable_1m": {ratio: limit{0.6, atLeast}}},
			take: durable1m,
		},
		{
			name: "node.big_1g_rss", what: "peak memory of either daemon when 1 GiB goes through in one bundle",
			bars: map[string]bar{"node.big_1g_rss": {value: limit{100, atMost}}},
			take: big1g,
		},
		{
			name: "node.idle", what: "memory of an idle daemon, and bytes a second on its open link",
			bars: map[string]bar{
				"node.idle_rss":     {value: limit{40, atMost}},
				"node.idle_traffic": {value: limit{100, atMost}},
			},
			take: idle, idle: true,
		},
	}
}

// megabyte is the unit of sizes and rates here.
const megabyte = 1e6
