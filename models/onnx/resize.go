package onnx

import (
	"errors"
	"fmt"

	"perigee/models"
)

// resize turns a Resize or an Upsample into a layer.
func (o *operation) resize() (*value, error) {
	x, err := o.need(0)
	if err != nil {
		return nil, err
	}
	s := models.Scaling{Places: models.Asymmetric, Rounding: models.RoundFloor}
	if o.node.op == "Resize" && o.opset >= 11 {
		s.Places, s.Rounding = models.HalfPixel, models.RoundPreferFloor
	}
	if err := o.resizeModes(&s); err != nil {
		return nil, err
	}
	if len(x.dims) != 4 {
		return nil, fmt.Errorf("reads a map of dimensions %v, want four", x.dims)
	}
	if err := o.resizeScales(&s, x.dims); err != nil {
		return nil, err
	}
	l := models.Layer{Kind: models.Resize, Scaling: &s}
	factor := s.H / x.dims[2]
	if !s.Linear && s.Places == models.Asymmetric && s.Rounding == models.RoundFloor && factor >= 1 &&
		s.H == factor*x.dims[2] && s.W == factor*x.dims[3] && s.ScaleH == float32(factor) && s.ScaleW == float32(factor) {
		l = models.Layer{Kind: models.Upsample, Stride: factor}
	}
	return o.layer(l, nil, x)
}

func (o *operation) resizeModes(s *models.Scaling) error {
	switch mode := o.text("mode", "nearest"); mode {
	case "nearest":
	case "linear", "bilinear":
		s.Linear, s.Rounding = true, 0
	default:
		return fmt.Errorf("mode %.40q is not supported, want nearest or linear", mode)
	}
	if mode := o.text("coordinate_transformation_mode", ""); mode != "" {
		places, ok := map[string]models.Places{
			"asymmetric": models.Asymmetric, "half_pixel": models.HalfPixel,
			"align_corners": models.AlignCorners, "pytorch_half_pixel": models.TorchPixel,
		}[mode]
		if !ok {
			return fmt.Errorf("coordinate_transformation_mode %.40q is not supported", mode)
		}
		s.Places = places
	}
	if mode := o.text("nearest_mode", ""); mode != "" && !s.Linear {
		rounding, ok := map[string]models.Rounding{
			"floor": models.RoundFloor, "ceil": models.RoundCeil,
			"round_prefer_floor": models.RoundPreferFloor, "round_prefer_ceil": models.RoundPreferCeil,
		}[mode]
		if !ok {
			return fmt.Errorf("nearest_mode %.40q is unknown", mode)
		}
		s.Rounding = rounding
	}
	if o.number("antialias", 0) != 0 || o.ints("axes") != nil || o.text("keep_aspect_ratio_policy", "stretch") != "stretch" {
		return errors.New("antialias, axes and keep_aspect_ratio_policy are not supported")
	}
	return nil
}

// resizeScales finds the size of the result, from factors or from sizes.
func (o *operation) resizeScales(s *models.Scaling, dims []int) error {
	at := 2 // of the factors
	if o.node.op == "Upsample" || o.opset < 11 {
		at = 1
	}
	if a := o.node.attributes["scales"]; a != nil && len(a.floats) == 4 {
		return setScales(s, a.floats, dims)
	}
	if v := o.operand(at); v != nil {
		c, err := o.constant(at)
		if err != nil {
			return err
		}
		if c.size() > 0 {
			return setScales(s, c.asFloats(), dims)
		}
	}
	c, err := o.constant(3)
	if err != nil {
		return err
	}
	sizes, err := c.asInts()
	if err != nil {
		return err
	}
	if len(sizes) != 4 || sizes[0] != dims[0] || sizes[1] != dims[1] {
		return fmt.Errorf("makes %v of %v, which changes more than height and width", sizes, dims)
	}
	s.H, s.W = sizes[2], sizes[3]
	s.ScaleH, s.ScaleW = float32(s.H)/float32(dims[2]), float32(s.W)/float32(dims[3])
	return nil
}

func setScales(s *models.Scaling, scales []float32, dims []int) error {
	if len(scales) != 4 || scales[0] != 1 || scales[1] != 1 || !(scales[2] > 0 && scales[3] > 0 && scales[2] < models.MaxSide && scales[3] < models.MaxSide) {
		return fmt.Errorf("scales %v by %v, which changes more than height and width", dims, scales)
	}
	s.ScaleH, s.ScaleW = scales[2], scales[3]
	s.H, s.W = int(float32(dims[2])*scales[2]), int(float32(dims[3])*scales[3])
	return nil
}
