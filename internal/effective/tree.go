package effective

import "slices"

// ranked orders the items of a tree that have the same key.
type ranked[T any] interface {
	comparable
	before(other T) bool
}

// item is an entry of a tree. The key is inline, so that a search touches the referenced records only
// on a tie.
type item[T ranked[T]] struct {
	key uint64
	ref T
}

func (a item[T]) less(b item[T]) bool {
	return a.key < b.key || (a.key == b.key && a.ref.before(b.ref))
}

// compare is less for slices.SortFunc.
func (a item[T]) compare(b item[T]) int {
	switch {
	case a.less(b):
		return -1
	case b.less(a):
		return 1
	}
	return 0
}

// Bounds of a node. 64 items are 1 KiB, which a change copies once per level and tree.
const (
	maxItems  = 64
	packItems = 56 // in a bulk-loaded node: room for a few inserts before it splits
	minItems  = 16 // below it a node joins a neighbour, if both fit into packItems
	maxDepth  = 12 // minItems^12 items
)

// node is a B+ tree node. In a branch items[i] is the first item below kids[i].
type node[T ranked[T]] struct {
	items []item[T]
	kids  []*node[T]
}

// tree is a persistent ordered set: changing it copies the nodes on one path and shares the rest. The
// zero tree is empty.
type tree[T ranked[T]] struct {
	root node[T] // by value: a lookup in a small tree goes straight to its items
	n    int
}

// pack makes a tree of sorted, distinct items, which it copies.
func pack[T ranked[T]](sorted []item[T]) tree[T] {
	if len(sorted) == 0 {
		return tree[T]{}
	}
	var level []*node[T]
	for part := range portions(len(sorted)) {
		level = append(level, &node[T]{items: slices.Clone(sorted[part.from:part.to])})
	}
	for len(level) > 1 {
		var up []*node[T]
		for part := range portions(len(level)) {
			up = append(up, branch(slices.Clone(level[part.from:part.to])))
		}
		level = up
	}
	return tree[T]{root: *level[0], n: len(sorted)}
}

type span struct{ from, to int }

// portions cuts n things into even runs of at most packItems.
func portions(n int) func(yield func(span) bool) {
	runs := (n + packItems - 1) / packItems
	return func(yield func(span) bool) {
		for i := range runs {
			if !yield(span{i * n / runs, (i + 1) * n / runs}) {
				return
			}
		}
	}
}

func branch[T ranked[T]](kids []*node[T]) *node[T] {
	items := make([]item[T], len(kids))
	for i, kid := range kids {
		items[i] = kid.items[0]
	}
	return &node[T]{items: items, kids: kids}
}

// with returns the tree with an item, which takes the place of an equal one.
func (t tree[T]) with(it item[T]) tree[T] {
	left, right, added := t.root.with(it)
	if right != nil {
		left = branch([]*node[T]{left, right})
	}
	if added {
		t.n++
	}
	return tree[T]{root: *left, n: t.n}
}

// without returns the tree without an item, or the same tree if it has no such item.
func (t tree[T]) without(it item[T]) tree[T] {
	root, removed := t.root.without(it)
	switch {
	case !removed:
		return t
	case root == nil:
		return tree[T]{}
	}
	for len(root.kids) == 1 {
		root = root.kids[0]
	}
	return tree[T]{root: *root, n: t.n - 1}
}

// find is the place of the first item that is not less than it.
func (n *node[T]) find(it item[T]) int {
	lo, hi := 0, len(n.items)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if n.items[mid].less(it) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// kidFor is the place of the kid that holds or would hold it.
func (n *node[T]) kidFor(it item[T]) int {
	i := n.find(it)
	if i < len(n.items) && !it.less(n.items[i]) {
		return i
	}
	return max(0, i-1)
}

func (n *node[T]) with(it item[T]) (left, right *node[T], added bool) {
	if n.kids == nil {
		i := n.find(it)
		if i < len(n.items) && !it.less(n.items[i]) {
			items := slices.Clone(n.items)
			items[i] = it
			return &node[T]{items: items}, nil, false
		}
		left, right = (&node[T]{items: inserted(n.items, i, it)}).split()
		return left, right, true
	}
	i := n.kidFor(it)
	kid, next, added := n.kids[i].with(it)
	kids := n.kids
	if next != nil {
		kids = inserted(n.kids, i+1, next)
	} else {
		kids = slices.Clone(kids)
	}
	kids[i] = kid
	left, right = branch(kids).split()
	return left, right, added
}

// split halves a node that has grown too large.
func (n *node[T]) split() (left, right *node[T]) {
	if len(n.items) <= maxItems {
		return n, nil
	}
	half := len(n.items) / 2
	if n.kids == nil {
		return &node[T]{items: slices.Clone(n.items[:half])}, &node[T]{items: slices.Clone(n.items[half:])}
	}
	return branch(slices.Clone(n.kids[:half])), branch(slices.Clone(n.kids[half:]))
}

func (n *node[T]) without(it item[T]) (rest *node[T], removed bool) {
	if n.kids == nil {
		i := n.find(it)
		if i == len(n.items) || it.less(n.items[i]) {
			return n, false
		}
		if len(n.items) == 1 {
			return nil, true
		}
		return &node[T]{items: deleted(n.items, i)}, true
	}
	i := n.kidFor(it)
	kid, removed := n.kids[i].without(it)
	if !removed {
		return n, false
	}
	if kid == nil {
		if len(n.kids) == 1 {
			return nil, true
		}
		return branch(deleted(n.kids, i)), true
	}
	kids := slices.Clone(n.kids)
	kids[i] = kid
	return branch(joined(kids, i)), true
}

// joined merges a small kid with a neighbour that has room for it.
func joined[T ranked[T]](kids []*node[T], i int) []*node[T] {
	if len(kids[i].items) >= minItems {
		return kids
	}
	for _, left := range [...]int{i - 1, i} {
		if left < 0 || left+1 >= len(kids) {
			continue
		}
		a, b := kids[left], kids[left+1]
		if len(a.items)+len(b.items) > packItems {
			continue
		}
		both := &node[T]{items: slices.Concat(a.items, b.items)}
		if a.kids != nil {
			both.kids = slices.Concat(a.kids, b.kids)
		}
		kids = deleted(kids, left+1)
		kids[left] = both
		return kids
	}
	return kids
}

// inserted copies s with v at place i.
func inserted[E any](s []E, i int, v E) []E {
	c := make([]E, len(s)+1)
	copy(c, s[:i])
	c[i] = v
	copy(c[i+1:], s[i:])
	return c
}

// deleted copies s without place i.
func deleted[E any](s []E, i int) []E {
	c := make([]E, len(s)-1)
	copy(c, s[:i])
	copy(c[i:], s[i+1:])
	return c
}

// cursor walks a tree in order without allocating.
type cursor[T ranked[T]] struct {
	path  [maxDepth]frame[T]
	depth int
}

type frame[T ranked[T]] struct {
	node *node[T]
	at   int
}

// seek returns a cursor before the first item whose key is not less than key.
func (t *tree[T]) seek(key uint64) (c cursor[T]) {
	c.depth = -1
	for n := &t.root; ; {
		at := n.firstAt(key)
		c.depth++
		if n.kids == nil {
			c.path[c.depth] = frame[T]{n, at}
			return c
		}
		at = max(0, at-1)
		c.path[c.depth] = frame[T]{n, at}
		n = n.kids[at]
	}
}

// from returns the items of one leaf from the first one on whose key is not less than key: a cheaper
// start than that of a cursor, and mostly all that is needed. It may be empty before the tree ends.
func (t *tree[T]) from(key uint64) []item[T] {
	n := &t.root
	for n.kids != nil {
		n = n.kids[max(0, n.firstAt(key)-1)]
	}
	return n.items[n.firstAt(key):]
}

// firstAt is the place of the first item whose key is not less than key.
func (n *node[T]) firstAt(key uint64) int {
	lo, hi := 0, len(n.items)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if n.items[mid].key < key {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// next returns the item after the cursor and moves past it.
func (c *cursor[T]) next() (it item[T], ok bool) {
	for c.depth >= 0 {
		f := &c.path[c.depth]
		if f.node.kids == nil && f.at < len(f.node.items) {
			f.at++
			return f.node.items[f.at-1], true
		}
		c.depth--
		if c.depth < 0 {
			break
		}
		f = &c.path[c.depth]
		if f.at++; f.at >= len(f.node.kids) {
			continue
		}
		c.depth++
		c.path[c.depth] = frame[T]{node: f.node.kids[f.at]}
		for kid := c.path[c.depth].node; kid.kids != nil; kid = kid.kids[0] {
			c.depth++
			c.path[c.depth] = frame[T]{node: kid.kids[0]}
		}
	}
	return it, false
}

// all yields the items in order.
func (t *tree[T]) all(yield func(item[T]) bool) {
	c := t.seek(0)
	for it, ok := c.next(); ok; it, ok = c.next() {
		if !yield(it) {
			return
		}
	}
}

// at yields the items that have the key.
func (t *tree[T]) at(key uint64) func(yield func(T) bool) {
	return func(yield func(T) bool) {
		c := t.seek(key)
		for it, ok := c.next(); ok && it.key == key; it, ok = c.next() {
			if !yield(it.ref) {
				return
			}
		}
	}
}
