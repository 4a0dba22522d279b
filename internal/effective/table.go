package effective

import (
	"math/bits"
	"slices"
)

// table is a persistent hash table: a radix tree over the bits of the keys, with buckets for leaves.
// The keys are hashes. Changing it copies one path and shares the rest. The zero table is empty.
//
// Point lookups in a table are about three times as fast as in a tree, which keeps its items in order.
type table[T ranked[T]] struct {
	root bucket[T]
	n    int
}

// bucket is a leaf with cells, a branch with kids, or empty. Kids lie in their parent, which saves a
// lookup one step through memory per level. Cells are an open-addressed table of their own, with
// holes; a lookup mostly hits with its first probe, which a processor guesses well.
type bucket[T ranked[T]] struct {
	cells []item[T]
	kids  []bucket[T]
}

// A leaf of 32 items has 43 cells: 688 bytes to copy for a change.
const (
	maxInLeaf = 32
	hashBits  = 64
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

// lookup returns the cells among which the key is, and where to start: the items of the key lie
// between there and the next hole, going round. There is always a hole, unless there are no cells.
func (t *table[T]) lookup(key uint64) (cells []item[T], at int) {
	b := &t.root
	for shift := uint(0); b.kids != nil; {
		bits := fanoutBits(shift)
		b = &b.kids[key>>shift&(1<<bits-1)]
		shift += bits
	}
	return b.cells, firstCell(key, len(b.cells))
}

// firstCell is where the items of a key begin among n cells. Bits that chose the bucket are the same
// for all keys in it, so the key is mixed first.
func firstCell(key uint64, n int) int {
	at, _ := bits.Mul64(key*mixB, uint64(n))
	return int(at)
}

func nextCell(at, n int) int {
	if at++; at < n {
		return at
	}
	return 0
}

// at yields the items that have the key.
func (t *table[T]) at(key uint64) func(yield func(T) bool) {
	return func(yield func(T) bool) {
		var hole T
		cells, i := t.lookup(key)
		for ; len(cells) > 0 && cells[i].ref != hole; i = nextCell(i, len(cells)) {
			if cells[i].key == key && !yield(cells[i].ref) {
				return
			}
		}
	}
}

// leafOf makes a leaf of items.
func leafOf[T ranked[T]](items []item[T]) bucket[T] {
	if len(items) == 0 {
		return bucket[T]{}
	}
	var hole T
	cells := make([]item[T], len(items)+len(items)/3+1)
	for _, it := range items {
		i := firstCell(it.key, len(cells))
		for cells[i].ref != hole {
			i = nextCell(i, len(cells))
		}
		cells[i] = it
	}
	return bucket[T]{cells: cells}
}

// items collects what a leaf holds.
func (b *bucket[T]) items() []item[T] {
	var hole T
	list := make([]item[T], 0, len(b.cells))
	for _, c := range b.cells {
		if c.ref != hole {
			list = append(list, c)
		}
	}
	return list
}

// fill makes a table of distinct items, which it reorders and does not keep.
func fill[T ranked[T]](items []item[T]) table[T] {
	return table[T]{root: bucketOf(items, 0), n: len(items)}
}

func bucketOf[T ranked[T]](items []item[T], shift uint) bucket[T] {
	if len(items) <= maxInLeaf || shift >= hashBits {
		return leafOf(items)
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
		list := b.items()
		if i := place(list, it); i >= 0 {
			list[i] = it
			return leafOf(list), false
		}
		return bucketOf(append(list, it), shift), true
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
		list := b.items()
		i := place(list, it)
		if i < 0 {
			return *b, false
		}
		return leafOf(slices.Delete(list, i, i+1)), true
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
	var list []item[T]
	for i := range kids {
		if list = append(list, kids[i].items()...); kids[i].kids != nil || len(list) > maxInLeaf/2 {
			return bucket[T]{kids: kids}
		}
	}
	return leafOf(list)
}

// place is where an equal item is in a list, or -1.
func place[T ranked[T]](list []item[T], it item[T]) int {
	return slices.IndexFunc(list, func(c item[T]) bool { return c.key == it.key && !c.less(it) && !it.less(c) })
}

// each calls visit for all items.
func (b *bucket[T]) each(visit func(item[T])) {
	for _, c := range b.items() {
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
