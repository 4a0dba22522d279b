//go:build race

package effective

const raceEnabled = true
