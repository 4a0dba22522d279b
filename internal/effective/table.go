package effective

import "slices"

// table is a persistent hash table: a radix tree over the bits of the keys, with buckets for leaves.
// The keys are hashes. Changing it copies one path and shares the rest. The zero table is empty.
//
// Point lookups in a table are about three times as fast as in a tree, which keeps its items in order.
type table[T ranked[T]] struct {
	root bucket[T]
	n    int
}

// bucket is a leaf with cells in no order, or a branch with kids. Kids lie in their parent, which
// saves a lookup one step through memory per level.
type bucket[T ranked[T]] struct {
	cells []item[T]
	kids  []bucket[T]
}

// A full bucket of 32 cells is 512 bytes to search or to copy.
const (
	maxCells = 32
	hashBits = 64
)

// fanoutBits is how many bits choose among the kids at a depth: wide where nodes are few and shared
// by all lookups, narrow where they are many and would be half empty.
func fanoutBits(shift uint) uint {
	switch {
	case shift < 12:
		return 6
	case shift < hashBits-4:
		return 4
	}
	return hashBits - shift
}

// bucketAt returns the cells among which the key is.
func (t *table[T]) bucketAt(key uint64) []item[T] {
	b := &t.root
	for shift := uint(0); b.kids != nil; {
		bits := fanoutBits(shift)
		b = &b.kids[key>>shift&(1<<bits-1)]
		shift += bits
	}
	return b.cells
}

// at yields the items that have the key.
func (t *table[T]) at(key uint64) func(yield func(T) bool) {
	return func(yield func(T) bool) {
		for _, c := range t.bucketAt(key) {
			if c.key == key && !yield(c.ref) {
				return
			}
		}
	}
}

// fill makes a table of distinct items, which it reorders and does not keep.
func fill[T ranked[T]](items []item[T]) table[T] {
	return table[T]{root: bucketOf(items, 0), n: len(items)}
}

func bucketOf[T ranked[T]](items []item[T], shift uint) bucket[T] {
	if len(items) == 0 {
		return bucket[T]{}
	}
	if len(items) <= maxCells || shift >= hashBits {
		return bucket[T]{cells: slices.Clone(items)}
	}
	bits := fanoutBits(shift)
	mask := uint64(1)<<bits - 1
	slices.SortFunc(items, func(a, b item[T]) int { return int(a.key>>shift&mask) - int(b.key>>shift&mask) })
	kids := make([]bucket[T], 1<<bits)
	for from := 0; from < len(items); {
		to, which := from+1, items[from].key>>shift&mask
		for to < len(items) && items[to].key>>shift&mask == which {
			to++
		}
		kids[which] = bucketOf(items[from:to], shift+bits)
		from = to
	}
	return bucket[T]{kids: kids}
}

// with returns the table with an item, which takes the place of an equal one.
func (t table[T]) with(it item[T]) table[T] {
	root, added := t.root.with(it, 0)
	if added {
		t.n++
	}
	return table[T]{root: root, n: t.n}
}

func (b *bucket[T]) with(it item[T], shift uint) (next bucket[T], added bool) {
	if b.kids == nil {
		if i := b.find(it); i >= 0 {
			cells := slices.Clone(b.cells)
			cells[i] = it
			return bucket[T]{cells: cells}, false
		}
		return bucketOf(inserted(b.cells, len(b.cells), it), shift), true
	}
	bits := fanoutBits(shift)
	kids := slices.Clone(b.kids)
	i := it.key >> shift & (1<<bits - 1)
	kids[i], added = b.kids[i].with(it, shift+bits)
	return bucket[T]{kids: kids}, added
}

// without returns the table without an item, or the same table if it has no such item.
func (t table[T]) without(it item[T]) table[T] {
	root, removed := t.root.without(it, 0)
	if !removed {
		return t
	}
	return table[T]{root: root, n: t.n - 1}
}

func (b *bucket[T]) without(it item[T], shift uint) (next bucket[T], removed bool) {
	if b.kids == nil {
		i := b.find(it)
		switch {
		case i < 0:
			return *b, false
		case len(b.cells) == 1:
			return bucket[T]{}, true
		}
		return bucket[T]{cells: deleted(b.cells, i)}, true
	}
	bits := fanoutBits(shift)
	i := it.key >> shift & (1<<bits - 1)
	kid, removed := b.kids[i].without(it, shift+bits)
	if !removed {
		return *b, false
	}
	kids := slices.Clone(b.kids)
	kids[i] = kid
	return shrunk(kids), true
}

// shrunk is a branch with the kids, or a leaf if they hold little.
func shrunk[T ranked[T]](kids []bucket[T]) bucket[T] {
	n := 0
	for i := range kids {
		if n += len(kids[i].cells); kids[i].kids != nil || n > maxCells/2 {
			return bucket[T]{kids: kids}
		}
	}
	cells := make([]item[T], 0, n)
	for i := range kids {
		cells = append(cells, kids[i].cells...)
	}
	return bucket[T]{cells: cells}
}

// find is the place of an equal item, or -1.
func (b *bucket[T]) find(it item[T]) int {
	for i, c := range b.cells {
		if c.key == it.key && !c.less(it) && !it.less(c) {
			return i
		}
	}
	return -1
}

// each calls visit for all items.
func (b *bucket[T]) each(visit func(item[T])) {
	for _, c := range b.cells {
		visit(c)
	}
	for i := range b.kids {
		b.kids[i].each(visit)
	}
}

// diff visits the items that are in one of two tables only. It skips what they share.
func diff[T ranked[T]](a, b table[T], visit func(item[T])) { a.root.diff(&b.root, visit) }

func (b *bucket[T]) diff(other *bucket[T], visit func(item[T])) {
	if b.kids != nil && other.kids != nil {
		if &b.kids[0] == &other.kids[0] {
			return
		}
		for i := range b.kids {
			b.kids[i].diff(&other.kids[i], visit)
		}
		return
	}
	mine := make(map[item[T]]bool)
	b.each(func(it item[T]) { mine[it] = true })
	other.each(func(it item[T]) {
		if !mine[it] {
			visit(it)
		}
		delete(mine, it)
	})
	for it := range mine {
		visit(it)
	}
}
