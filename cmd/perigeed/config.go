package main

import (
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"github.com/dustin/go-humanize"

	"perigee/agent"
	"perigee/bundle"
	"perigee/bundle/core"
	"perigee/bundle/dtntime"
	"perigee/bundle/route"
	"perigee/bundle/schedule"
	"perigee/bundle/store"
	"perigee/convergence/ltp"
	"perigee/convergence/nodecert"
	"perigee/convergence/tcpcl"
	"perigee/convergence/udpcl"
	"perigee/ground"
)

// Defaults of the configuration.
const (
	defaultDataDir    = "/var/lib/perigee"
	defaultSocket     = "/run/perigee/perigee.sock"
	defaultQuota      = size(2e9)
	defaultMaxBundle  = size(1 << 32)
	defaultMemory     = size(160 << 20)
	defaultAggregate  = 5 * dtntime.Second
	defaultClockError = dtntime.Second
	defaultKeepalive  = dtntime.Minute
	defaultInterval   = 10 * dtntime.Second
)

// Limits of the configuration.
const (
	minQuota      = size(16 << 20)
	minMaxBundle  = size(1 << 10)
	minMemory     = size(32 << 20)
	minResident   = 64
	maxAggregate  = dtntime.Hour
	maxClockError = dtntime.Hour
	maxKeepalive  = 65535 * dtntime.Second // RFC 9174 section 4.7
	minSegmentMRU = size(4 << 10)
	maxListens    = 64
	maxLinks      = 4096

	minDTN7Interval = dtntime.Second
	maxDTN7Interval = dtntime.Hour
)

// Modes of a link.
const (
	modeScheduled = "scheduled" // up during the contacts of the plan
	modeAlways    = "always"    // up at all times
)

// Clocks of a node.
const (
	clockSystem = "system"
	clockNone   = "none"
)

// config is a configuration file. Relative paths in it start from its folder.
type config struct {
	Node    nodeConfig     `toml:"node"`
	Log     logConfig      `toml:"log"`
	Store   storeConfig    `toml:"store"`
	Custody custodyConfig  `toml:"custody"`
	Listen  []listenConfig `toml:"listen"`
	Link    []linkConfig   `toml:"link"`
	Route   []routeConfig  `toml:"route"`
	Share   shareConfig    `toml:"share"`
	TCPCL   tcpclConfig    `toml:"tcpcl"`
	UDP     udpConfig      `toml:"udp"`
	LTP     ltpConfig      `toml:"ltp"`
	DTN7    dtn7Config     `toml:"dtn7"`
	TLS     tlsConfig      `toml:"tls"`

	Engine engineConfig `toml:"engine"`

	// Satellite and Ground are the applications of this node; neither makes it
	// a relay.
	Satellite *agent.Config  `toml:"satellite"`
	Ground    *ground.Config `toml:"ground"`

	// credentials are those in force, for all sessions; nil inside without [tls].
	credentials *atomic.Pointer[nodecert.Credentials]
	ltp         *ltp.Engine // that all links of LTP share; nil without such links
	refused     func(error) // told why neighbours got no session; may be nil
}

// nodeConfig is the table [node].
type nodeConfig struct {
	ID          bundle.EID  `toml:"id"`           // required; node ID, such as "ipn:2.0" or "dtn://sat-17/"
	DataDir     string      `toml:"data_dir"`     // everything the node keeps; /var/lib/perigee
	Socket      string      `toml:"socket"`       // for applications, at most 103 bytes; /run/perigee/perigee.sock
	SocketMode  permissions `toml:"socket_mode"`  // who may use the socket, in octal; "0660"
	ContactPlan string      `toml:"contact_plan"` // file of contacts, one JSON object a line; none
	MaxBundle   size        `toml:"max_bundle"`   // largest bundle taken, from "1KiB"; "4GiB"
	// Memory is what the daemon tries to stay below by collecting garbage more
	// often, from "32MiB"; 160MiB, and no limit when it runs an application.
	Memory size `toml:"memory"`
	// Clock is "system", or "none" when the system's clock does not know the
	// date; system.
	Clock string `toml:"clock"`
	// ClockError is by how much the clocks of two nodes may differ, "0s" to "1h";
	// "1s".
	ClockError dtntime.Duration `toml:"clock_error"`
	// MaxLifetime is how long what passes by without custody is kept; "0s", for as
	// long as it lives.
	MaxLifetime dtntime.Duration `toml:"max_lifetime"`
	// Flood sends what has no route to every neighbour; false.
	Flood bool `toml:"flood"`
	// StatusReports sends the reports that bundles ask for; false.
	StatusReports bool `toml:"status_reports"`
}

// logConfig is the table [log].
type logConfig struct {
	Level  string `toml:"level"`  // debug, info, warn or error; info
	Format string `toml:"format"` // text or json; text
}

// storeConfig is the table [store].
type storeConfig struct {
	Quota size `toml:"quota"` // of stored bundles, from "16MiB"; "2GB"
	// MaxResident is how many bundles are kept in memory, from 64; 65536. The
	// others are read when their turn comes.
	MaxResident int `toml:"max_resident"`
	// CustodyPercent is the share of the quota that bundles in custody may
	// take, 1 to 100; 90. The rest is kept for other bundles and for signals.
	CustodyPercent int `toml:"custody_percent"`
	// The shares of the quota for each priority, 1 to 100; 100.
	BulkPercent      int `toml:"bulk_percent"`
	NormalPercent    int `toml:"normal_percent"`
	ExpeditedPercent int `toml:"expedited_percent"`
}

// custodyConfig is the table [custody].
type custodyConfig struct {
	Accept    bool             `toml:"accept"`    // become custodian of others' bundles; true
	Aggregate dtntime.Duration `toml:"aggregate"` // how long signals are gathered, "0s" to "1h"; "5s"
	// PeerAggregate is how long other nodes are taken to gather theirs, "1ms" to
	// "1h"; "10s".
	PeerAggregate dtntime.Duration `toml:"peer_aggregate"`
	// RetransmitPercent is the share of a contact that retransmissions may use
	// while first transmissions wait, 1 to 100; 25.
	RetransmitPercent int `toml:"retransmit_percent"`

	// Custodians and Sources are the nodes whose bundles are taken over; all.
	Custodians  []bundle.EID     `toml:"custodians"`
	Sources     []bundle.EID     `toml:"sources"`
	MaxBundles  int              `toml:"max_bundles"` // in custody, from 1; 4000000
	Key         []keyConfig      `toml:"key"`
	MinLifetime dtntime.Duration `toml:"min_lifetime"` // what must be left of a bundle's lifetime; "0s"
}

// keyConfig is one [[custody.key]]: the secret that this node shares with another.
type keyConfig struct {
	Peer bundle.EID `toml:"peer"` // required; the other node
	File string     `toml:"file"` // required; 32, 48 or 64 bytes in hex, for nobody but the owner to read
}

// shareConfig is the table [share]: how links are shared.
type shareConfig struct {
	// What bundles of a priority get of a link while they wait, although more urgent
	// ones wait as well, 0 to 100; 0.
	BulkPercent      int            `toml:"bulk_percent"`
	NormalPercent    int            `toml:"normal_percent"`
	ExpeditedPercent int            `toml:"expedited_percent"`
	Tenant           []tenantConfig `toml:"tenant"`
}

// tenantConfig is one [[share.tenant]]: a source that shares links with others by weight.
type tenantConfig struct {
	Source bundle.EID `toml:"source"` // required; a node or an endpoint
	Weight int        `toml:"weight"` // required; 1 to 1000, everyone else has 1
}

// tcpclConfig is the table [tcpcl], for all links of that layer.
type tcpclConfig struct {
	// Keepalive is the interval of keepalives that is offered to peers, in
	// whole seconds up to "18h12m15s"; "0s" offers none; "60s". A session that
	// is silent for twice the interval ends.
	Keepalive dtntime.Duration `toml:"keepalive"`
	// SegmentMRU is the largest segment that is taken, from "4KiB"; 1MiB.
	SegmentMRU size `toml:"segment_mru"`
	// ContactTimeout is how long a neighbour may take to open a session, "1s" to
	// "10m"; 30s.
	ContactTimeout dtntime.Duration `toml:"contact_timeout"`
	// StallTimeout is how long a neighbour may acknowledge nothing of what it
	// has, "10s" to "24h"; 10m.
	StallTimeout dtntime.Duration `toml:"stall_timeout"`
	// MaxSessions is how many sessions a listener holds, in total and with one
	// address, from 1; 1024 and 256.
	MaxSessions           int `toml:"max_sessions"`
	MaxSessionsPerAddress int `toml:"max_sessions_per_address"`
}

// udpConfig is the table [udp], for all links of that layer.
type udpConfig struct {
	// RateBPS is how many bits are sent in a second at most, outside of contacts,
	// which have their own rates; 10000000.
	RateBPS int64 `toml:"rate_bps"`
	// MaxDatagram is the largest datagram sent, in bytes, 1232 to 65507; 1452.
	MaxDatagram int `toml:"max_datagram"`
}

// listenConfig is one [[listen]]: where peers reach this node.
type listenConfig struct {
	Layer   string `toml:"layer"`   // tcpcl, ltp, mtcp, stcp, udp or dtn7-mtcp; tcpcl
	Address string `toml:"address"` // required; HOST:PORT or :PORT
	TLS     string `toml:"tls"`     // off, prefer or require; require with [tls], else off
}

// linkConfig is one [[link]]: a neighbour.
type linkConfig struct {
	Peer    bundle.EID `toml:"peer"`    // required; the neighbour's node ID
	Layer   string     `toml:"layer"`   // as in [[listen]]; tcpcl
	Address string     `toml:"address"` // HOST:PORT; empty, with tcpcl or ltp: the neighbour opens the session
	Mode    string     `toml:"mode"`    // scheduled or always; scheduled
	Custody string     `toml:"custody"` // ct, bplib-draft, ion or off; ct
	TLS     string     `toml:"tls"`     // off, prefer or require; require with [tls], else off
	// EngineID is the number of the neighbour's LTP engine; the node number of an
	// ipn peer.
	EngineID uint64 `toml:"engine_id"`
	// CodePoints replace the numbers under which custody and compressed reports
	// travel with the neighbour.
	CodePoints codePointsConfig `toml:"code_points"`
}

// codePointsConfig is link.code_points; 0 stands for the number of link.custody.
type codePointsConfig struct {
	CTEB uint64 `toml:"cteb"` // block type of custody; 13
	CREB uint64 `toml:"creb"` // block type of compressed reporting; 14
	CCS  uint64 `toml:"ccs"`  // record type of custody signals; 13
	CRS  uint64 `toml:"crs"`  // record type of reporting signals; 14
}

// routeConfig is one [[route]]: bundles for To go to the neighbour Via, unless the
// contact plan knows a way.
type routeConfig struct {
	To  string     `toml:"to"`  // an EID or a pattern, such as "ipn:*" or "ipn:5.*"
	Via bundle.EID `toml:"via"` // a link's peer
}

// defaultConfig is the configuration before a file is read. Tables of applications
// are added when the file has them.
func defaultConfig() config {
	return config{
		Node: nodeConfig{
			Clock: clockSystem, ClockError: defaultClockError, DataDir: defaultDataDir, Socket: defaultSocket, SocketMode: 0o660, MaxBundle: defaultMaxBundle,
		},
		Log: logConfig{Level: "info", Format: "text"},
		Store: storeConfig{
			Quota: defaultQuota, MaxResident: core.DefaultMaxResident, CustodyPercent: store.DefaultCustodyPercent,
			BulkPercent: 100, NormalPercent: 100, ExpeditedPercent: 100,
		},
		Custody: custodyConfig{
			Accept: true, Aggregate: defaultAggregate, PeerAggregate: route.DefaultAggregation,
			RetransmitPercent: schedule.DefaultShare, MaxBundles: core.DefaultMaxCustody,
		},
		TCPCL: tcpclConfig{
			Keepalive: defaultKeepalive, SegmentMRU: tcpcl.DefaultSegmentMRU,
			ContactTimeout: dtntime.Of(tcpcl.DefaultContactTimeout), StallTimeout: dtntime.Of(tcpcl.DefaultStallTimeout),
			MaxSessions: tcpcl.DefaultMaxSessions, MaxSessionsPerAddress: tcpcl.DefaultMaxSessionsPerAddress,
		},
		TLS:  tlsConfig{Identity: identityNode},
		LTP:  defaultLTP(),
		UDP:  udpConfig{RateBPS: udpcl.DefaultRate, MaxDatagram: udpcl.DefaultMaxDatagram},
		DTN7: dtn7Config{Interval: defaultInterval},

		Engine: engineConfig{Name: engineDefault},
	}
}

// complete fills in what follows from other keys and makes paths absolute by the
// folder of the file.
func (c *config) complete(folder string) {
	c.credentials = new(atomic.Pointer[nodecert.Credentials])
	for i := range c.Listen {
		setDefault(&c.Listen[i].Layer, layerTCPCL)
		setDefault(&c.Listen[i].TLS, c.defaultTLS(c.Listen[i].Layer))
	}
	for i := range c.Link {
		setDefault(&c.Link[i].Layer, layerTCPCL)
		setDefault(&c.Link[i].Mode, modeScheduled)
		setDefault(&c.Link[i].Custody, custodyCT)
		setDefault(&c.Link[i].TLS, c.defaultTLS(c.Link[i].Layer))
	}
	paths := []*string{&c.Node.DataDir, &c.Node.Socket, &c.Node.ContactPlan, &c.Engine.Library}
	if s := c.Satellite; s != nil {
		setDefault(&s.DataDir, filepath.Join(c.Node.DataDir, "satellite"))
		paths = append(paths, &s.DataDir, &s.Model, &s.ModelConfig, &s.Source.Folder, &s.Source.List, &s.Updates.Golden)
		for i := range s.Updates.Keys {
			paths = append(paths, &s.Updates.Keys[i])
		}
	}
	if g := c.Ground; g != nil {
		setDefault(&g.DataDir, filepath.Join(c.Node.DataDir, "ground"))
		paths = append(paths, &g.DataDir, &g.Model, &g.ModelConfig, &g.Labels, &g.Delta.Key, &g.Deploy.Golden,
			&g.Verdicts.Model, &g.Verdicts.ModelConfig)
	}
	for i := range c.Custody.Key {
		paths = append(paths, &c.Custody.Key[i].File)
	}
	paths = append(paths, c.TLS.paths()...)
	for _, p := range paths {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(folder, *p)
		}
	}
}

func setDefault(field *string, value string) {
	if *field == "" {
		*field = value
	}
}

// memory is what the daemon tries to stay below, 0 for no limit. Models take what
// they take.
func (c *config) memory() size {
	if c.Node.Memory == 0 && c.Satellite == nil && c.Ground == nil {
		return defaultMemory
	}
	return c.Node.Memory
}

// storeDir is the folder of the node's bundle store.
func (c *config) storeDir() string { return filepath.Join(c.Node.DataDir, "store") }

// shares returns the parts of the quota.
func (c *storeConfig) shares() store.Shares {
	return store.Shares{
		Custody:  c.CustodyPercent,
		Priority: [store.Classes]int{c.BulkPercent, c.NormalPercent, c.ExpeditedPercent},
	}
}

// shares returns how links are shared.
func (c *shareConfig) shares() (schedule.Shares, error) {
	tenants := make([]schedule.Tenant, len(c.Tenant))
	for i, t := range c.Tenant {
		tenants[i] = schedule.Tenant{Source: t.Source, Weight: t.Weight}
	}
	return schedule.NewShares([...]int{c.BulkPercent, c.NormalPercent, c.ExpeditedPercent}, tenants)
}

// routes returns the static routes as a table.
func (c *config) routes() (*route.Table, error) {
	routes := make([]route.Route, len(c.Route))
	for i, r := range c.Route {
		routes[i] = route.Route{To: r.To, Next: r.Via}
	}
	return route.NewTable(routes)
}

// size is a number of bytes that files write as "2GB" (10^9) or "2GiB" (2^30).
type size int64

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *size) UnmarshalText(text []byte) error {
	n, err := humanize.ParseBytes(string(text))
	if err != nil || n > math.MaxInt64 {
		return fmt.Errorf("%q is not a size; write it like \"500MB\", \"2GB\" or \"64MiB\"", text)
	}
	*s = size(n)
	return nil
}

func (s size) String() string { return humanize.IBytes(uint64(max(s, 0))) }

// permissions are those of a file, which files write in octal as "0660".
type permissions fs.FileMode

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *permissions) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 8, 32)
	if err != nil || n > 0o777 {
		return fmt.Errorf("%q are no permissions; write them in octal like \"0660\"", text)
	}
	*p = permissions(n)
	return nil
}
