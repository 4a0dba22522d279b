package effective

import (
	"hash/maphash"
	"math/bits"

	"github.com/grantry/grantry/internal/permission"
)

// seed is drawn once per process, so that nobody can choose names that collide. Whatever is found by
// a hash is compared before it counts: a collision costs time and never allows anything.
var seed = maphash.MakeSeed()

const (
	mixA = 0x9e3779b97f4a7c15
	mixB = 0xbf58476d1ce4e5b9
)

func mix(h uint64) uint64 {
	hi, lo := bits.Mul64(h^mixA, mixB)
	return hi ^ lo
}

func hashName(name string) uint64 { return maphash.String(seed, name) }

func hashSubject(s Subject) uint64 { return mix(hashName(s.Name) + uint64(s.Kind)) }

// A spot is the hash of a resource. Its upper 16 bits depend on family and scope only, so that in a
// tree all spots of one head are neighbours. Spot 0 stands for a resource that is not known.
const (
	headBits   = 16
	belowMask  = 1<<(64-headBits) - 1
	lastInHead = belowMask
	unknown    = 0
)

// headOf is the state that the spots under a head start from.
func headOf(r permission.Resource) uint64 {
	return mix(hashName(r.Scope()) + uint64(r.Family()))
}

// spotAt is the spot for a state: the head's upper bits and the state's lower ones.
func spotAt(head, state uint64) uint64 {
	return max(head&^belowMask|mix(state)&belowMask, 1)
}

func step(state uint64, segment string) uint64 {
	return mix(state) + hashName(segment)
}

// spotOf is the spot of a resource.
func spotOf(r permission.Resource) uint64 {
	if r.IsZero() {
		return unknown
	}
	head := headOf(r)
	state := head
	path := r.Path()
	for segment, ok := path.Next(); ok; segment, ok = path.Next() {
		state = step(state, segment)
	}
	return spotAt(head, state)
}

var superuserSpot = spotOf(permission.Superuser())

// spots are those of all ids that can cover a resource, from the broadest to the narrowest.
type spots struct {
	n    int
	spot [permission.MaxSegments + 2]uint64 // dcos:superuser, the head, and one per segment
}

// fill computes the spots for a resource. Segments beyond the bound are left out: no ACL is that deep.
func (c *spots) fill(r permission.Resource) {
	c.spot[0], c.n = superuserSpot, 1
	if r.Family() == permission.FamilySuperuser {
		return
	}
	head := headOf(r)
	state := head
	c.spot[1], c.n = spotAt(head, state), 2
	path := r.Path()
	for segment, ok := path.Next(); ok && c.n < len(c.spot); segment, ok = path.Next() {
		state = step(state, segment)
		c.spot[c.n] = spotAt(head, state)
		c.n++
	}
}
