package effective

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// leaf is a record for tests of the containers: it has nothing but its order.
type leaf struct{ rank int }

func (a *leaf) before(b *leaf) bool { return a.rank < b.rank }

// container is what a tree and a table have in common.
type container struct {
	with, without func(item[*leaf]) container
	items         func() []item[*leaf]
	n             func() int
	at            func(uint64) func(func(*leaf) bool)
	depth         func() int
}

func ofTree(t tree[*leaf]) container {
	return container{
		with:    func(it item[*leaf]) container { return ofTree(t.with(it)) },
		without: func(it item[*leaf]) container { return ofTree(t.without(it)) },
		items:   func() []item[*leaf] { return slices.Collect(t.all) },
		n:       func() int { return t.n },
		at:      t.at,
		depth: func() (d int) {
			for n := &t.root; n.kids != nil; n = n.kids[0] {
				d++
			}
			return d
		},
	}
}

func ofTable(t table[*leaf]) container {
	return container{
		with:    func(it item[*leaf]) container { return ofTable(t.with(it)) },
		without: func(it item[*leaf]) container { return ofTable(t.without(it)) },
		items: func() (list []item[*leaf]) {
			t.root.each(func(it item[*leaf]) { list = append(list, it) })
			slices.SortFunc(list, item[*leaf].compare)
			return list
		},
		n:     func() int { return t.n },
		at:    t.at,
		depth: func() int { return 0 },
	}
}

// TestContainers_behaveLikeASet changes trees and tables of few and of many keys at random, compares
// them with a map, and checks that earlier versions stay as they were.
func TestContainers_behaveLikeASet(t *testing.T) {
	t.Parallel()
	kinds := map[string]func(items []item[*leaf]) container{
		"tree": func(items []item[*leaf]) container {
			slices.SortFunc(items, item[*leaf].compare)
			return ofTree(pack(items))
		},
		"table": func(items []item[*leaf]) container { return ofTable(fill(slices.Clone(items))) },
	}
	for name, from := range kinds {
		for label, mask := range map[string]uint64{"distinct": ^uint64(0), "colliding": 3, "upper bits only": uint64(0xf) << 60} {
			t.Run(name+" "+label, func(t *testing.T) {
				t.Parallel()
				r := rand.New(rand.NewPCG(1, mask))
				pool := make([]item[*leaf], 3000)
				for i := range pool {
					pool[i] = item[*leaf]{r.Uint64() & mask, &leaf{i}}
				}
				want := map[item[*leaf]]bool{}
				half := slices.Clone(pool[:1500])
				for _, it := range half {
					want[it] = true
				}
				c := from(half)
				checkContainer(t, c, want, pool)
				for _, grow := range []int{80, 20, 50, 0} { // of 100 changes
					old, kept := c, c.items()
					for range 6000 {
						it := pool[r.IntN(len(pool))]
						if r.IntN(100) < grow {
							want[it] = true
							c = c.with(it)
						} else {
							delete(want, it)
							c = c.without(it)
						}
					}
					checkContainer(t, c, want, pool)
					if !slices.Equal(kept, old.items()) {
						t.Fatal("an earlier version has changed")
					}
				}
				for _, it := range pool {
					c = c.without(it)
				}
				checkContainer(t, c, nil, pool)
			})
		}
	}
}

func checkContainer(t *testing.T, c container, want map[item[*leaf]]bool, pool []item[*leaf]) {
	t.Helper()
	var list []item[*leaf]
	for it := range want {
		list = append(list, it)
	}
	slices.SortFunc(list, item[*leaf].compare)
	if got := c.items(); !slices.Equal(got, list) || c.n() != len(list) {
		t.Fatalf("holds %d items, says %d, want %d", len(got), c.n(), len(list))
	}
	for _, it := range pool[:200] {
		if found := slices.Contains(slices.Collect(c.at(it.key)), it.ref); found != want[it] {
			t.Fatalf("%v is found: %v", it, found)
		}
	}
	if c.depth() > 3 {
		t.Errorf("depth %d", c.depth())
	}
	for range c.at(pool[0].key) { // stops early
		break
	}
}

func TestTree_seekStartsBetweenKeys(t *testing.T) {
	t.Parallel()
	var items []item[*leaf]
	for i := range 10_000 {
		items = append(items, item[*leaf]{uint64(i) * 10, &leaf{i}})
	}
	tr := pack(items)
	for _, tc := range [][2]uint64{{0, 0}, {1, 10}, {10, 10}, {99_985, 99_990}} {
		c := tr.seek(tc[0])
		if it, ok := c.next(); !ok || it.key != tc[1] {
			t.Errorf("after %d comes %d", tc[0], it.key)
		}
		if rest := tr.from(tc[0]); len(rest) > 0 && rest[0].key != tc[1] {
			t.Errorf("from %d on comes %d", tc[0], rest[0].key)
		}
	}
	c := tr.seek(99_991)
	if it, ok := c.next(); ok {
		t.Errorf("after the last comes %d", it.key)
	}
	empty := tree[*leaf]{}
	c = empty.seek(0)
	if _, ok := c.next(); ok || len(empty.from(0)) > 0 {
		t.Error("the empty tree has something")
	}
}

func TestTree_replacesAnEqualItem(t *testing.T) {
	t.Parallel()
	one, same := item[*leaf]{1, &leaf{1}}, item[*leaf]{1, &leaf{1}}
	var tr tree[*leaf]
	tr = tr.with(one).with(same)
	if got := slices.Collect(tr.at(1)); tr.n != 1 || got[0] != same.ref {
		t.Errorf("%d items, %p", tr.n, got[0])
	}
	var ta table[*leaf]
	ta = ta.with(one).with(same)
	if got := slices.Collect(ta.at(1)); ta.n != 1 || got[0] != same.ref {
		t.Errorf("%d items, %p", ta.n, got[0])
	}
}

func TestTable_diffFindsWhatDiffers(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(5, 5))
	var items []item[*leaf]
	for i := range 5000 {
		items = append(items, item[*leaf]{r.Uint64(), &leaf{i}})
	}
	first, gone, added := items[0], items[1], item[*leaf]{r.Uint64(), &leaf{-1}}
	a := fill(slices.Clone(items))
	changed := item[*leaf]{first.key, &leaf{first.ref.rank}}
	b := a.with(changed).without(gone).with(added)
	got := map[item[*leaf]]int{}
	diff(a, b, func(it item[*leaf]) { got[it]++ })
	if len(got) != 4 || got[first]+got[changed]+got[gone]+got[added] != 4 {
		t.Errorf("got %v", got)
	}
	n := 0
	diff(table[*leaf]{}, a, func(item[*leaf]) { n++ })
	diff(a, a, func(item[*leaf]) { t.Error("a table differs from itself") })
	if n != len(items) {
		t.Errorf("%d items differ from nothing", n)
	}
}
