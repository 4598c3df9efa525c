package dtn7

import (
	"context"
	"io"
	"log/slog"

	"github.com/sirupsen/logrus"
)

// LogTo sends what dtn7-go says to log, with warnings as warnings and all else for
// debugging. dtn7-go has one logger in the process, so a program calls this once,
// before it makes a link.
func LogTo(log *slog.Logger) {
	global := logrus.StandardLogger()
	global.SetOutput(io.Discard)
	global.SetFormatter(silent{})
	level := logrus.WarnLevel
	if log.Enabled(context.Background(), slog.LevelDebug) {
		level = logrus.DebugLevel
	}
	global.SetLevel(level)
	global.ReplaceHooks(make(logrus.LevelHooks))
	global.AddHook(hook{log})
}

// silent formats nothing, since formatting a field reads what others write.
type silent struct{}

func (silent) Format(*logrus.Entry) ([]byte, error) { return nil, nil }

type hook struct{ log *slog.Logger }

func (hook) Levels() []logrus.Level { return logrus.AllLevels }

// Fire takes the message and those fields that are plain values.
func (h hook) Fire(e *logrus.Entry) error {
	level := slog.LevelDebug
	if e.Level <= logrus.WarnLevel {
		level = slog.LevelWarn
	}
	var attrs []slog.Attr
	for _, key := range []string{"error", "bundle", "peer", "type"} {
		switch value := e.Data[key].(type) {
		case string, error:
			attrs = append(attrs, slog.Any(key, value))
		}
	}
	h.log.LogAttrs(context.Background(), level, e.Message, attrs...)
	return nil
}
