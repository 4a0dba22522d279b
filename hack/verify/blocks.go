package main

import (
	"fmt"
	"regexp"
	"strings"
)

var block = regexp.MustCompile(`(?s)<!-- begin ([\w-]+) -->(.*?)<!-- end ([\w-]+) -->`)

// emptyBlocks names the parts of a page that a program is to write, and has not written.
func emptyBlocks(path, text string) []string {
	var problems []string
	for _, match := range block.FindAllStringSubmatch(text, -1) {
		if strings.TrimSpace(match[2]) == "" || match[1] != match[3] {
			problems = append(problems, fmt.Sprintf("%s: the block %q is empty, or has another's end", path, match[1]))
		}
	}
	return problems
}
