package train

import "perigee/models"

// graphBytes is about what the graphs take besides their arrays.
const graphBytes = 256 << 10

// Footprint returns about how many bytes a training of the head of net takes
// besides the network: for the graphs and the solver, and for each sample. Of the
// options, Rank counts.
func Footprint(net *models.Network, o Options) (fixed, sample int64) {
	const float = 4
	learned := make(map[int]bool) // maps that depend on what is trained
	for i := net.Graph().Head; i < len(net.Graph().Layers); i++ {
		learned[i] = true
	}
	for _, c := range net.HeadConvs() {
		weights, area := int64(len(c.Weights)), int64(c.Out.H*c.Out.W)
		pixels, columns, filters := int64(padded(int(area))), int64(c.Columns), int64(c.Out.C)
		trained := weights
		if o.Rank > 0 {
			trained = int64(o.Rank) * (columns + filters)
		}
		fixed += weights + filters + 6*(trained+filters) // value, gradient, moments, the best, a checkpoint
		// Of a lane: windows, results with and without activation, their gradients
		// turned and not; weights made of factors or gradients of whole ones; a panel.
		lane := columns*pixels + 3*filters*pixels + 3*filters*area + 2*trained + weights + columns*laneWidth
		if o.Rank == 0 {
			lane += 2 * weights
		}
		for _, from := range net.Reads(c.Layer) {
			if learned[from] {
				lane += weights + columns*pixels // of the gradient of the input
				break
			}
		}
		fixed += lanes * lane
	}
	for _, tap := range net.Taps() {
		sample += int64(net.Shape(tap).Size())
	}
	for _, out := range outputs(net) {
		sample += int64(len(out.anchors) * targetFields * out.area())
	}
	return graphBytes + float*fixed, float * sample
}
