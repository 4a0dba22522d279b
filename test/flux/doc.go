// Package flux applies the example of docs/gitops.md with Flux' own kustomize-controller: who may apply what, in which
// order it comes and goes, and what a person reads where something is wrong.
package flux
