package world

import (
	"slices"
	"strings"
)

// Satisfying returns the actions of which each gives an action.
func Satisfying(action string) []string {
	switch action {
	case "full":
		return []string{"full"}
	case "run":
		return []string{"run", "update", "full"}
	}
	return []string{action, "full"}
}

// Given returns the actions that an action gives.
func Given(action string) []string {
	var given []string
	for _, a := range Actions {
		if slices.Contains(Satisfying(a), action) {
			given = append(given, a)
		}
	}
	return given
}

// Paths returns the path of a job and those above it, the longest first.
func Paths(path string) []string {
	paths := []string{path}
	for at := strings.LastIndexByte(path, '.'); at > 0; at = strings.LastIndexByte(path[:at], '.') {
		paths = append(paths, path[:at])
	}
	return paths
}

// Answers returns what is right: each question looks for a grant that counts at each path, for each subject.
func (w *World) Answers() []bool {
	type key struct {
		subject         Subject
		namespace, path string
		action          string
	}
	held := make(map[key]struct{}, len(w.Grants))
	for _, g := range w.Grants {
		if g.IsOpen() {
			acl := w.ACLs[g.ACL]
			held[key{g.Subject, acl.Namespace, acl.Path, g.Action}] = struct{}{}
		}
	}
	answers := make([]bool, len(w.Questions))
	for i, q := range w.Questions {
		subjects := []Subject{{Name: q.User}}
		for _, g := range q.Groups {
			subjects = append(subjects, Subject{Name: g, IsGroup: true})
		}
		for _, who := range subjects {
			for _, path := range Paths(q.Job.Path) {
				for _, action := range Satisfying(q.Action) {
					_, ok := held[key{who, q.Job.Namespace, path, action}]
					answers[i] = answers[i] || ok
				}
			}
		}
	}
	return answers
}
