package snowtether

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/snowtether/snowtether/internal/login"
	"github.com/snowtether/snowtether/internal/program"
)

// This file is the keeper: when each idle session is asked, how many at a time, and
// what follows from the answers. How one is asked is in lane.go.

// lanes is how many pings may be under way at the same time: no more than it takes to
// keep 1,500 sessions with a server that answers within 200 ms, under the shortest
// policy, 5 minutes, and with the interval that is meant for it, 4. A session is due
// after 3:45 at the latest, which leaves 75 s. If all are due at the same moment, and
// each has its session token renewed as well, which makes three requests of one, 16
// lanes take 1,500 · 3 · 0.2 s / 16 = 56 s; 12 would take all of the 75 s. Where the
// sessions are spread over the time in which they are due, three are enough.
const lanes = 16

// A keeper looks after the sessions that lie idle in the pool of one connector.
//
// One goroutine makes its plans and owns all of its fields; each ping and each login
// has a goroutine for as long as it takes, and reports to that one. Logins do not take
// the place of pings: sessions that are alive are kept while dead ones are replaced.
type keeper struct {
	connector *Connector
	plans     map[*session]plan
	under     map[*session]bool            // way: they are being asked, or replaced
	unsettled map[*session]<-chan struct{} // pings that were left behind, until they end
	reports   chan func()

	pings, logins flow
	free          []*lane   // on which no ping is under way
	suspected     int64     // Connector.suspectSince at the last round
	refused       int64     // logins there had been when the keeper's was refused; -1: it was not
	silent        time.Time // when the first ping was sent that was not answered; zero if the last one was

	late     time.Time // since when pings come too late, because there are too many or they take too long; zero: they do not
	lastLate time.Time
}

// A plan says when a session is asked.
type plan struct {
	since  time.Time     // last use or ping
	after  time.Duration // to wait from then
	latest time.Time     // once it is due: after that it is late; zero if that is nobody's fault
}

// A flow is requests of one kind that are sent side by side. One goes first; when it
// went well the others follow. After one that failed none is sent until the next
// round, and then one: an outage is no reason for a storm, and a password that is
// refused is not sent again.
type flow struct {
	queue []*session
	under int // way
	width int // how many may be
	most  int
}

// next takes a session out of the queue if one more request may be sent.
func (f *flow) next() (s *session) {
	if f.under < f.width && len(f.queue) > 0 {
		s, f.queue = f.queue[0], f.queue[1:]
	}
	return s
}

func (f *flow) ended(well bool) {
	f.under--
	f.width = 0
	if well {
		f.width = f.most
	}
}

// keep is the keeper's life. It ends with the connector.
func (c *Connector) keep() {
	k := &keeper{
		connector: c, under: make(map[*session]bool), unsettled: make(map[*session]<-chan struct{}), reports: make(chan func()),
		pings: flow{most: lanes}, logins: flow{most: c.settings.maxLogins}, refused: -1,
	}
	defer func() { k.hangUp(0) }()
	timer := time.NewTimer(k.round())
	defer timer.Stop()
	for {
		k.send()
		select {
		case report := <-k.reports:
			if report(); c.suspectSince.Load() != k.suspected { // all others are to be asked now
				timer.Reset(k.round())
			}
		case <-timer.C:
			timer.Reset(k.round())
		case <-c.stopped.Done():
			return
		}
	}
}

// round queues the sessions whose time has come and returns how long to wait until
// the next round.
func (k *keeper) round() time.Duration {
	c, every := k.connector, k.connector.settings.idlePing
	for s, over := range k.unsettled {
		select {
		case <-over:
			delete(k.unsettled, s)
		default:
		}
	}
	k.suspected = c.suspectSince.Load()
	for _, f := range []*flow{&k.pings, &k.logins} {
		f.queue, f.width = nil, max(f.width, 1)
	}
	plans, wait := make(map[*session]plan), every/2
	for _, s := range c.list() {
		since := s.idleSince()
		if since.IsZero() || k.unsettled[s] != nil {
			continue
		}
		p, planned := k.plans[s]
		if !planned || since.After(p.since) {
			p = plan{since: since, after: spread(every)}
		}
		lain := elapsed(p.since, c.settings.now())
		switch dead := s.dead.Load() != nil; {
		case k.under[s]:
		case dead && login.HasPerson(c.cfg): // who is not asked as long as nobody waits
		case dead && c.counters.of(EventOpened) != k.refused:
			k.logins.queue = append(k.logins.queue, s)
		case !dead && (lain >= p.after || s.suspect()):
			if p.latest.IsZero() && lain <= every { // else the machine slept
				p.latest = time.Now().Add(every - lain + lateness(every))
			}
			k.pings.queue = append(k.pings.queue, s)
		case !dead:
			wait = min(wait, max(p.after-lain, every/16))
		}
		plans[s] = p
	}
	k.plans = plans
	slices.SortFunc(k.pings.queue, func(a, b *session) int { return plans[a].since.Compare(plans[b].since) })
	if len(k.pings.queue)+len(k.logins.queue)+len(k.under) > 0 {
		wait = min(wait, every/16)
	} else {
		k.hangUp(1)
	}
	if !k.late.IsZero() && k.silent.IsZero() && time.Since(k.lastLate) > every { // each session has been asked since, in time
		c.emit(c.stopped, Event{Kind: EventPingsInTime, Duration: time.Since(k.late)})
		k.late = time.Time{}
	}
	return wait
}

// send sends what is queued and may be sent.
func (k *keeper) send() {
	for s := k.pings.next(); s != nil; s = k.pings.next() {
		p := k.plans[s]
		if since := s.idleSince(); since.IsZero() || since.After(p.since) {
			continue // it was used meanwhile
		}
		k.notice(s, p)
		l := &lane{}
		if n := len(k.free); n > 0 {
			l, k.free = k.free[n-1], k.free[:n-1]
		}
		k.start(&k.pings, s, func() { k.ask(s, l) })
	}
	for s := k.logins.next(); s != nil; s = k.logins.next() {
		if logins := k.connector.counters.of(EventOpened); logins != k.refused && !s.idleSince().IsZero() {
			k.start(&k.logins, s, func() { k.replace(s, logins) })
		}
	}
	if k.logins.under == 0 {
		k.logins.width = min(k.logins.width, 1) // much may have changed until the next one is lost
	}
}

// start has something done for a session in the background. It is not, and need not
// be, if the connector is closed.
func (k *keeper) start(f *flow, s *session, run func()) {
	f.under++
	k.under[s] = true
	k.connector.spawn(run)
}

// report has the keeper's goroutine call f, unless it has ended.
func (k *keeper) report(f func()) (reported bool) {
	select {
	case k.reports <- f:
		return true
	case <-k.connector.stopped.Done():
		return false
	}
}

// ask asks whether a session is alive.
func (k *keeper) ask(s *session, l *lane) {
	begun := time.Now()
	answered, left := l.look(k.connector, s)
	if !k.report(func() { k.asked(s, l, begun, answered, left) }) {
		l.hangUp()
	}
}

func (k *keeper) asked(s *session, l *lane, begun time.Time, answered bool, left *program.Leftover) {
	now, every := k.connector.settings.now(), k.connector.settings.idlePing
	delete(k.under, s)
	k.free = append(k.free, l)
	k.pings.ended(answered)
	if left != nil {
		k.unsettled[s] = left.Over
	}
	if !answered {
		if k.silent.IsZero() {
			k.silent = begun
		}
		k.plans[s] = plan{since: now, after: every / 8}
		return
	}
	k.excuse()
	k.plans[s] = plan{since: now, after: spread(every)}
	if s.dead.Load() != nil && !login.HasPerson(k.connector.cfg) {
		k.logins.queue = append(k.logins.queue, s)
	}
}

// replace gives the connection of a dead session a new one, unless somebody takes it
// out of the pool meanwhile and replaces it in its use. logins is how many there had
// been before.
func (k *keeper) replace(old *session, logins int64) {
	c, begun := k.connector, time.Now()
	fresh, err := c.login(c.stopped) // the gate logs an error
	if err == nil {
		cause := *old.dead.Load()
		if lost, swapped := old.swap(fresh); swapped {
			c.stateLost(c.stopped, old, cause, lost)
			c.retire(old)
			c.replaced(c.stopped, old, fresh, cause, lost, time.Since(begun))
		} else {
			c.retire(fresh)
		}
	}
	k.report(func() {
		delete(k.under, old)
		k.logins.ended(err == nil)
		switch {
		case err == nil:
			k.plans[fresh] = plan{since: c.settings.now(), after: spread(c.settings.idlePing)}
		case Classify(err) != ClassTransient:
			// Nobody waits for this login: with the same credentials a user would be
			// locked out for nothing. The next caller tries, and then the keeper again.
			k.refused = logins
		}
	})
}

// notice takes note of a ping that is sent too late, unless it is to find out whether
// the server answers again.
func (k *keeper) notice(s *session, p plan) {
	now := time.Now()
	if p.latest.IsZero() || !now.After(p.latest) || !k.silent.IsZero() {
		return
	}
	k.lastLate = now
	if k.late.IsZero() {
		k.late = now
		c := k.connector
		c.emit(c.stopped, Event{Kind: EventPingsLate, SessionID: s.id(), Count: len(k.plans), Duration: elapsed(p.since, c.settings.now())})
	}
}

// excuse puts off what counts as late by how long the server did not answer: that is
// an outage, and no sign of too many sessions.
func (k *keeper) excuse() {
	if k.silent.IsZero() {
		return
	}
	d := time.Since(k.silent)
	for s, p := range k.plans {
		if !p.latest.IsZero() {
			p.latest = p.latest.Add(d)
			k.plans[s] = p
		}
	}
	k.silent, k.lastLate = time.Time{}, k.lastLate.Add(d)
}

// hangUp gives up the connections on which no ping is under way, but for so many.
func (k *keeper) hangUp(but int) {
	for len(k.free) > but {
		n := len(k.free) - 1
		k.free[n].hangUp()
		k.free = k.free[:n]
	}
}

// spread draws a time between half the interval and the whole, less a sixteenth by
// which a round may be late.
func spread(every time.Duration) time.Duration {
	return every/2 + rand.N(every*7/16+1)
}

// lateness is by how much a ping may exceed the interval until that is worth a
// warning. The interval leaves a session policy more than a sixteenth; a busy machine
// may be late by parts of a second.
func lateness(every time.Duration) time.Duration { return max(every/16, time.Second) }

// elapsed is the time since then by the clock that says more: the wall clock goes
// on while a machine sleeps, the monotonic one is not put back.
func elapsed(then, now time.Time) time.Duration {
	return max(now.Sub(then), now.Round(0).Sub(then.Round(0)))
}
