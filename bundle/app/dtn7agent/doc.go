// Package dtn7agent lets applications that were written for a dtn7 daemon use a node:
// it speaks the protocols of dtn7-go's REST and WebSocket application agents (v0.9.1)
// in front of an app.Client.
//
// The protocols are dtn7-go's, and so are the names of what a client may build; the
// agents are not. Those of dtn7-go look at one client alone when a bundle comes, lose
// bundles that come during a fetch, hold all that nobody fetches in memory, and stop
// for good when a client goes away at the wrong moment. Here a bundle stays in the
// node's store until a client has it.
//
// What differs for a client:
//
//   - An endpoint must be one of the node. Several clients of one endpoint share its
//     bundles: each bundle goes to one of them.
//   - The node makes the bundles. It takes over destination, source, report-to,
//     lifetime, requests for reports, the priority block and the payload, and gives
//     its own time of creation and hop count. Bundles with other blocks are refused,
//     and so are fragments, administrative records and anonymous sources.
//   - Neither protocol has acknowledgements. A bundle counts as delivered once it was
//     written to the client in full; a client that dies in between gets it again.
//   - Registrations are lost when the daemon ends: the client is told that its UUID is
//     not known, or its connection closes, and it registers again.
//
// Nobody has to prove who he is. Whoever reaches the agents may send and receive as
// any endpoint of the node, so they are for addresses that nobody else reaches.
package dtn7agent
