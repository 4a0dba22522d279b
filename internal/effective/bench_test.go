package effective

import (
	"fmt"
	"runtime"
	"testing"
	"time"
)

var sizes = []int{10, 1_000, 100_000, 1_000_000}

func BenchmarkDecide(b *testing.B) {
	for _, size := range sizes {
		w := newWorld(size, 4096)
		s, _ := Build(w.Input)
		ref := newNaive(w.Input)
		ids := make([]string, len(w.queries))
		for i := range ids {
			ids[i] = w.queries[i].Resource.Canonical()
		}
		b.Run(fmt.Sprintf("grantry/%d", size), func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				s.Decide(w.queries[i%len(w.queries)])
				i++
			}
		})
		b.Run(fmt.Sprintf("naive/%d", size), func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				ref.decide(&w.queries[i%len(w.queries)], ids[i%len(w.queries)])
				i++
			}
		})
	}
}

func BenchmarkBuild(b *testing.B) {
	for _, size := range sizes {
		w := newWorld(size, 0)
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Build(w.Input)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*size), "ns/grant")
		})
	}
}

// heapInUse is what is reachable after everything else has been collected.
func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// bytesPerGrant is the heap that a snapshot keeps, strings included, when its input is gone.
func bytesPerGrant(size int) float64 {
	before := heapInUse()
	s, _ := Build(newWorld(size, 0).Input)
	used := float64(heapInUse()-before) / float64(size)
	runtime.KeepAlive(s)
	return used
}

func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		b.ReportMetric(bytesPerGrant(1_000_000), "B/grant")
	}
	_ = time.Now
}
