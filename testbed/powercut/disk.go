package powercut

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"perigee/testbed/link"
)

// ErrUnavailable tells that this machine cannot cut the power of a disk.
var ErrUnavailable = errors.New("power cuts are not to be had here")

const (
	diskBytes = 512 << 20
	// unmountPatience is how long the kernel may hold a file system after the
	// process that used it has ended.
	unmountPatience = 10 * time.Second
)

// The shutdown of ext4 (EXT4_IOC_SHUTDOWN, fs/ext4/ext4.h of Linux): with noFlush
// neither data nor journal reach the disk from then on, as when its power fails.
const (
	ioctlShutdown   = 0x8004587d
	shutdownNoFlush = 2
)

// disk is an ext4 file system in an image file, mounted by a loop device.
type disk struct {
	image, dir string
	mounted    bool
}

// newDisk makes an image file with an empty file system, to be mounted at dir.
func newDisk(ctx context.Context, image, dir string) (*disk, error) {
	if err := probe(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the mount point of a disk: %w", err)
	}
	f, err := os.Create(filepath.Clean(image))
	if err != nil {
		return nil, fmt.Errorf("making the image of a disk: %w", err)
	}
	if err := errors.Join(f.Truncate(diskBytes), f.Close()); err != nil {
		return nil, fmt.Errorf("making the image of a disk: %w", err)
	}
	if _, err := link.RunCommand(ctx, "mkfs.ext4", "-q", "-F", image); err != nil {
		return nil, fmt.Errorf("making the file system of a disk: %w", err)
	}
	return &disk{image: image, dir: dir}, nil
}

// probe tells what this machine lacks.
func probe() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: mounting a disk takes root; run it as root", ErrUnavailable)
	}
	for _, program := range []string{"mount", "umount", "mkfs.ext4", "e2fsck"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%w: %w; install util-linux and e2fsprogs", ErrUnavailable, err)
		}
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		return fmt.Errorf("%w: no loop devices: %w; load the kernel's module loop", ErrUnavailable, err)
	}
	return nil
}

// mount mounts the disk; the kernel replays the journal.
func (d *disk) mount(ctx context.Context) error {
	if _, err := link.RunCommand(ctx, "mount", "-t", "ext4", "-o", "loop,data=ordered", d.image, d.dir); err != nil {
		return fmt.Errorf("mounting a disk: %w", err)
	}
	d.mounted = true
	return nil
}

// cut takes the power off the disk: what was not flushed is lost, and every write
// from now on fails.
func (d *disk) cut() error {
	root, err := os.Open(d.dir)
	if err != nil {
		return fmt.Errorf("cutting the power of %s: %w", d.dir, err)
	}
	defer root.Close()
	if err := unix.IoctlSetPointerInt(int(root.Fd()), ioctlShutdown, shutdownNoFlush); err != nil {
		return fmt.Errorf("cutting the power of %s: %w", d.dir, err)
	}
	return nil
}

// recover does what a machine does when the power is back: it mounts the disk, which
// replays the journal. The file system is checked in between.
func (d *disk) recover(ctx context.Context) error {
	if err := d.unmount(ctx); err != nil {
		return err
	}
	if err := d.mount(ctx); err != nil {
		return err
	}
	if err := d.unmount(ctx); err != nil {
		return err
	}
	if _, err := link.RunCommand(ctx, "e2fsck", "-fn", d.image); err != nil {
		return fmt.Errorf("checking the file system of a disk: %w", err)
	}
	return d.mount(ctx)
}

// unmount unmounts the disk, if it is mounted; its loop device goes with it.
func (d *disk) unmount(ctx context.Context) error {
	if !d.mounted {
		return nil
	}
	deadline := time.Now().Add(unmountPatience)
	for {
		_, err := link.RunCommand(ctx, "umount", d.dir)
		if err == nil {
			d.mounted = false
			return nil
		}
		if time.Now().After(deadline) || !sleep(ctx, 50*time.Millisecond) {
			return fmt.Errorf("unmounting a disk: %w", err)
		}
	}
}

// sleep waits and tells whether ctx still holds.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
