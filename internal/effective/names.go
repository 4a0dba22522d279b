package effective

import "slices"

// sortedNames collects the names of grants, sorted and without repetition.
func sortedNames(items func(yield func(item[*grant]) bool)) []string {
	var names []string
	for it := range items {
		names = append(names, it.ref.name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
