//go:build linux

package contract_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Network cuts (docs/guarantees.md): the link between the two network namespaces of a scenario.
// Each has a TUN device, and this process carries the packets from one to the other, or does not.
// On both sides the kernel's TCP does what it does in any network.

// A weather says what becomes of packets.
type weather struct {
	delay, jitter time.Duration // each way; the jitter is added or subtracted, and packets overtake each other
	atOnce        float64       // the share that is not delayed at all
	loss          float64       // the share that is lost
	resets        float64       // the share of those with data after which both ends hear that the connection is reset
	cut           bool          // nothing gets through
	forgets       time.Duration // a NAT forgets what has carried no data for so long; keep-alives are none. 0: never
	refuses       bool          // and answers for what it has forgotten with a reset; else it drops that
}

// A tunnel carries packets between two TUN devices.
type tunnel struct {
	ends [2]*os.File

	mu      sync.Mutex
	weather weather
	data    map[uint16]time.Time // when data went through last, by the client's port
	gone    map[uint16]bool      // that the NAT has forgotten
	carried int
	lost    int // or reset, or forgotten
}

// newTunnel makes a TUN device here and one in a fresh network namespace, where serve is called
// before anything can be sent. Here is all of the process but serve's thread: call it in a
// process of its own.
func newTunnel(serve func() error) (*tunnel, error) {
	if there, err := net.Interfaces(); err != nil || len(there) != 1 || there[0].Flags&net.FlagUp != 0 {
		return nil, fmt.Errorf("this is no fresh network namespace: %v, %v", there, err)
	}
	n := &tunnel{data: map[uint16]time.Time{}, gone: map[uint16]bool{}}
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // and is not unlocked: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			n.ends[1], err = newTUN("127.0.0.1")
		}
		if err == nil {
			err = serve()
		}
		failed <- err
	}()
	err := <-failed
	if err == nil {
		n.ends[0], err = newTUN("127.0.0.2")
	}
	if err != nil {
		return nil, err
	}
	for end := range n.ends {
		go n.carry(end)
	}
	return n, nil
}

// newTUN makes a TUN device in the thread's network namespace. snowtest listens on 127.0.0.1
// and nowhere else: here no lo has that network, which is the device's.
func newTUN(address string) (*os.File, error) {
	const name = "tun0"
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	ifr, err := unix.NewIfreq(name)
	if err == nil {
		ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	}
	device := os.NewFile(uintptr(fd), name) // not before: what is no device yet cannot be waited for
	if err == nil {
		err = os.WriteFile("/proc/sys/net/ipv4/conf/"+name+"/route_localnet", []byte("1"), 0)
	}
	for _, command := range []string{"address add " + address + "/8 dev " + name, "link set " + name + " up"} {
		if err == nil {
			if out, failed := exec.Command("ip", strings.Fields(command)...).CombinedOutput(); failed != nil {
				err = fmt.Errorf("ip %s: %w: %s", command, failed, out)
			}
		}
	}
	if err != nil {
		return nil, errors.Join(err, device.Close())
	}
	return device, nil
}

// is changes the weather.
func (n *tunnel) is(w weather) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.weather = w
}

// carry takes what one end sends to the other.
func (n *tunnel) carry(from int) {
	for {
		packet := make([]byte, 2048)
		size, err := n.ends[from].Read(packet)
		if err != nil {
			return
		}
		if p := packet[:size]; isTCP(p) {
			n.pass(from, p)
		}
	}
}

func (n *tunnel) pass(from int, p []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	w := n.weather
	n.carried++
	if w.cut || rand.Float64() < w.loss {
		n.lost++
		return
	}
	if w.forgets > 0 && n.forgotten(from, p, w.forgets) {
		n.lost++
		if w.refuses {
			n.write(from, reset(p, true))
		}
		return
	}
	if len(payload(p)) > 0 && rand.Float64() < w.resets {
		n.lost++
		n.write(from, reset(p, true))
		n.write(1-from, reset(p, false))
		return
	}
	delay := w.delay + time.Duration((2*rand.Float64()-1)*float64(w.jitter))
	if rand.Float64() < w.atOnce {
		delay = 0
	}
	if delay <= 0 {
		n.write(1-from, p)
		return
	}
	time.AfterFunc(delay, func() { n.write(1-from, p) })
}

// write hands a packet to an end. What the kernel does not take is lost, as on any link.
func (n *tunnel) write(to int, p []byte) { _, _ = n.ends[to].Write(p) }

// forgotten reports whether the NAT knows nothing any more of the packet's connection.
func (n *tunnel) forgotten(from int, p []byte, after time.Duration) bool {
	port := binary.BigEndian.Uint16(tcp(p)[2*from:]) // the client's
	if tcp(p)[13]&flagSYN != 0 && from == 0 {
		delete(n.gone, port)
		n.data[port] = time.Now()
	}
	if last, ok := n.data[port]; ok && time.Since(last) > after {
		n.gone[port] = true
	}
	if len(payload(p)) > 0 || n.data[port].IsZero() {
		n.data[port] = time.Now()
	}
	return n.gone[port]
}

const (
	flagFIN = 1 << iota
	flagSYN
	flagRST
	_
	flagACK
)

func isTCP(p []byte) bool { return len(p) >= 40 && p[0]>>4 == 4 && p[9] == unix.IPPROTO_TCP }

// tcp is the packet from its TCP header on.
func tcp(p []byte) []byte { return p[int(p[0]&15)*4 : binary.BigEndian.Uint16(p[2:])] }

func payload(p []byte) []byte { return tcp(p)[int(tcp(p)[12]>>4)*4:] }

// reset is what tells the packet's sender, or whom it is for, that the connection is reset.
func reset(p []byte, sender bool) []byte {
	r := make([]byte, 40)
	copy(r, []byte{0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, unix.IPPROTO_TCP})
	t, was := r[20:], tcp(p)
	t[12], t[13] = 5<<4, flagRST
	if sender {
		copy(r[12:], p[16:20])
		copy(r[16:], p[12:16])
		copy(t, was[2:4])
		copy(t[2:], was[:2])
		copy(t[4:], was[8:12]) // what the sender expects next
	} else {
		copy(r[12:], p[12:20])
		copy(t, was[:8])
	}
	binary.BigEndian.PutUint16(r[10:], checksum(0, r[:20]))
	binary.BigEndian.PutUint16(t[16:], checksum(unix.IPPROTO_TCP+uint32(len(t)), r[12:]))
	return r
}

// checksum is the one of the Internet protocols, of an even number of bytes.
func checksum(sum uint32, b []byte) uint16 {
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
