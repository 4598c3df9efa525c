package badgerstore

import (
	"bufio"
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Badger maps its tables into memory. Every page of them that was read once counts
// as memory of the process until the kernel wants it back, so that a look over a
// large index makes the process as large as the index. The pager asks the kernel to
// take such pages back beyond a limit.

const (
	// residentLimit is how many bytes of tables may be in memory.
	residentLimit = 16 << 20
	// readsPerLook and entriesPerLook are how many look-ups, and how many entries
	// of a scan, pass between two looks at the memory.
	readsPerLook   = 256
	entriesPerLook = 4096
	// lookEvery is the time between two looks while badger works on its own, and
	// looksAfter how many follow after it was given something to do.
	lookEvery  = 20 * time.Millisecond
	looksAfter = 100
)

// pager keeps the mapped tables of an index below a limit. A pager without its file
// does nothing.
type pager struct {
	dir   string // of the tables
	limit int64  // bytes of them in memory
	log   *slog.Logger
	reads atomic.Uint32
	work  chan struct{} // holds one
	done  chan struct{} // ends watch
	wait  sync.WaitGroup

	mu    sync.Mutex // guards everything below
	statm *os.File
	base  int64 // bytes of files in memory after the last page-out
}

// newPager returns the pager of the tables in dir, which it makes.
func newPager(dir string, log *slog.Logger) (*pager, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path, err := filepath.Abs(dir)
	if err == nil {
		path, err = filepath.EvalSymlinks(path) // as the kernel names it
	}
	if err != nil {
		return nil, err
	}
	p := &pager{
		dir: path + "/", limit: residentLimit, log: log,
		work: make(chan struct{}, 1), done: make(chan struct{}),
	}
	f, err := os.Open("/proc/self/statm")
	if err != nil {
		log.Debug("the memory of the index is not limited", "error", err)
		return p, nil
	}
	p.statm = f
	if p.base, err = p.mapped(); err != nil {
		p.giveUp(err)
		return p, nil
	}
	p.wait.Go(p.watch)
	return p, nil
}

func (p *pager) close() error {
	close(p.done)
	p.wait.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.statm == nil {
		return nil
	}
	err := p.statm.Close()
	p.statm = nil
	return err
}

// giveUp ends the watching. The caller holds p.mu or is the only one to know p.
func (p *pager) giveUp(err error) {
	p.log.Debug("the memory of the index is not limited", "error", err)
	p.statm.Close() // read only
	p.statm = nil
}

// read counts a look-up and looks at the memory from time to time.
func (p *pager) read() {
	if p.reads.Add(1)%readsPerLook == 0 {
		p.look()
	}
}

// look pages tables out when too much of them is in memory.
func (p *pager) look() {
	if !p.mu.TryLock() {
		return // another one looks
	}
	defer p.mu.Unlock()
	if p.statm == nil {
		return
	}
	now, err := p.mapped()
	if err == nil && now > p.base+p.limit {
		if err = p.pageOut(); err == nil {
			p.base, err = p.mapped()
		}
	}
	if err != nil {
		p.giveUp(err)
	}
}

// watch looks at the memory while badger may be reading tables on its own: until
// some time after the last call of busy. close ends it.
func (p *pager) watch() {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		for range looksAfter {
			select {
			case <-tick.C:
				p.look()
			case <-p.done:
				return
			}
		}
		select {
		case <-p.work: // at any time since the last look
		case <-p.done:
			return
		}
	}
}

// busy tells that badger was given something to do.
func (p *pager) busy() {
	select {
	case p.work <- struct{}{}:
	default:
	}
}

// mapped is the number of bytes of files that the process has in memory.
func (p *pager) mapped() (int64, error) {
	var buf [128]byte
	n, err := p.statm.ReadAt(buf[:], 0)
	if n == 0 {
		return 0, fmt.Errorf("read %s: %w", p.statm.Name(), err)
	}
	fields := bytes.Fields(buf[:n])
	if len(fields) < 3 {
		return 0, fmt.Errorf("read %s: %q is too short", p.statm.Name(), buf[:n])
	}
	pages, err := strconv.ParseInt(string(fields[2]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", p.statm.Name(), err)
	}
	return pages * int64(os.Getpagesize()), nil
}

// pageOut gives the tables' pages back. That changes nothing but the time of the
// next access, also if a table is unmapped and its addresses are used for something
// else meanwhile.
func (p *pager) pageOut() error {
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return err
	}
	defer maps.Close() // read only
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		// 7f0000000000-7f0000200000 rw-s 00000000 fe:00 1234    /dir/000001.sst
		where, rest, _ := strings.Cut(lines.Text(), " ")
		if at := strings.IndexByte(rest, '/'); at < 0 || !strings.HasPrefix(rest[at:], p.dir) || !strings.HasSuffix(rest, ".sst") {
			continue
		}
		var from, to uintptr
		if _, err := fmt.Sscanf(where, "%x-%x", &from, &to); err != nil {
			return fmt.Errorf("read %s: %q: %w", maps.Name(), lines.Text(), err)
		}
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_PAGEOUT); errno != 0 && errno != unix.ENOMEM {
			return fmt.Errorf("page out the tables of the index: %w", errno) // ENOMEM: unmapped meanwhile
		}
	}
	return lines.Err()
}
