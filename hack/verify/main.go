// Command verify checks what the repository claims about itself: who imports whom, what the documents
// name, what PROJECT says, and that the CRDs go on accepting what they did. It needs Go and git alone.
//
//	go run ./hack/verify imports|docs|project|crd-compat
package main

import (
	"fmt"
	"os"
	"slices"
)

// A check returns what is wrong, one line for each thing; an error says that it could not be found out.
type check func(root string) (problems []string, err error)

var checks = map[string]check{
	"imports":    checkImports,
	"docs":       checkDocs,
	"project":    checkProject,
	"crd-compat": checkCRDCompat,
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "verify:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 || checks[args[0]] == nil {
		return fmt.Errorf("want one of imports, docs, project, crd-compat; got %q", args)
	}
	problems, err := checks[args[0]](".")
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	slices.Sort(problems)
	for _, problem := range slices.Compact(problems) {
		fmt.Fprintln(os.Stderr, problem)
	}
	if len(problems) > 0 {
		return fmt.Errorf("%s: %d problems", args[0], len(problems))
	}
	return nil
}
