module tools/sources

go 1.26.0

// Modules whose files are read or that are built in place; these packages need next to nothing, so go.sum stays small.
tool (
	github.com/kedacore/keda/v2/version
	github.com/prometheus-operator/prometheus-operator/pkg/versionutil
)

require (
	github.com/alecthomas/kingpin/v2 v2.4.0 // indirect
	github.com/alecthomas/units v0.0.0-20240927000941-0f3dac36c52b // indirect
	github.com/kedacore/keda/v2 v2.20.2 // indirect
	github.com/prometheus-operator/prometheus-operator v0.85.0 // indirect
	github.com/prometheus/common v0.67.5 // indirect
	github.com/xhit/go-str2duration/v2 v2.1.0 // indirect
)
