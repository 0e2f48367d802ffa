package app

import (
	"fmt"
	"io"

	"github.com/go-logr/logr"
	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
)

// newLogger returns a logger that writes lines to w. Level and format are
// valid.
func newLogger(level, format string, w io.Writer) (*zap.Logger, error) {
	atLeast, err := zapcore.ParseLevel(level)
	if err != nil {
		return nil, fmt.Errorf("making the logger: %w", err)
	}
	config := zap.NewProductionEncoderConfig()
	config.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	config.EncodeDuration = zapcore.StringDurationEncoder
	encoder := zapcore.NewJSONEncoder(config)
	if format == "console" {
		config.EncodeLevel = zapcore.CapitalLevelEncoder
		encoder = zapcore.NewConsoleEncoder(config)
	}
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(w)), atLeast)), nil
}

// routeLibraries sends the logs of client-go (klog), of controller-runtime and
// of net/http (the standard logger: failed TLS handshakes) to the same place.
// All three are global. The function it returns gives the standard logger
// back.
func routeLibraries(z *zap.Logger) (restore func()) {
	logger := zapr.NewLogger(z)
	klog.SetLogger(logger.WithName("client-go"))
	ctrllog.SetLogger(logger)
	return zap.RedirectStdLog(z.Named("http"))
}

// logrOf returns what the rest of the program logs to.
func logrOf(z *zap.Logger) logr.Logger { return zapr.NewLogger(z) }
