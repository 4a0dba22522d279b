package effective

// sieve is a Bloom filter over spots, with two bits of one word for each: it says "surely not" for
// most subjects and spots, so that a decision need not touch their grants. The zero sieve holds
// nothing.
type sieve struct {
	few  [sieveWords]uint64 // if many is nil: the usual user fits in its own record
	many []uint64           // immutable; its length is a power of two
}

// With 16 bits per grant a spot that is not held passes in about one of 70 cases.
const (
	sieveWords     = 4
	grantsPerWord  = 4
	sieveMaxGrants = 4096 // beyond, everything passes: a change makes the sieve anew
)

func sieveOf(grants *tree[*grant]) (s sieve) {
	if grants.n > sieveMaxGrants {
		s.few = [sieveWords]uint64{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}
		return s
	}
	words := sieveWords
	for words*grantsPerWord < grants.n {
		words *= 2
	}
	all := s.few[:]
	if words > sieveWords {
		s.many = make([]uint64, words)
		all = s.many
	}
	for it := range grants.all {
		all[it.key>>12&uint64(words-1)] |= sieveBits(it.key)
	}
	return s
}

func sieveBits(spot uint64) uint64 { return 1<<(spot&63) | 1<<(spot>>6&63) }

func (s *sieve) has(spot uint64) bool {
	word := s.few[spot>>12&(sieveWords-1)]
	if s.many != nil {
		word = s.many[spot>>12&uint64(len(s.many)-1)]
	}
	bits := sieveBits(spot)
	return word&bits == bits
}

// hasAny reports whether one of the spots passes.
func (s *sieve) hasAny(path *spots) bool {
	for _, spot := range path.spot[:path.n] { //nolint:modernize // a method value costs the decision a closure
		if s.has(spot) {
			return true
		}
	}
	return false
}
