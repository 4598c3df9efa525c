package badgerstore_test

import (
	"log/slog"
	"testing"

	"perigee/bundle/store"
	"perigee/bundle/store/badgerstore"
	"perigee/bundle/store/storetest"
)

// mustOpen opens a store that is closed at the end of the test.
func mustOpen(t testing.TB, dir string, o badgerstore.Options) *badgerstore.Store {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
	}
	s, err := badgerstore.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	for name, o := range map[string]badgerstore.Options{
		"Default": {},
		"Small":   {SegmentSize: 16 << 10, SmallLimit: 4 << 10, StageMemory: 8 << 10, Reserve: 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T, limits storetest.Options) (store.Store, func() store.Store) {
				dir, o := t.TempDir(), o
				o.Quota, o.Shares, o.MaxGone = limits.Quota, limits.Shares, limits.MaxGone
				s := mustOpen(t, dir, o)
				return s, func() store.Store {
					if err := s.Close(); err != nil {
						t.Fatal(err)
					}
					s = mustOpen(t, dir, o)
					return s
				}
			})
		})
	}
}
