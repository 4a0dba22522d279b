package main

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// finding is a difference of two CRDs by which something that was valid may no longer be, or mean something else.
type finding struct {
	text string
	// forPerson says that the meaning decides, which no program knows: whether a pattern is wider, or a rule
	// refuses nothing that was valid. compatFile says what a person found.
	forPerson bool
}

func (f finding) String() string {
	if f.forPerson {
		return f.text + " (to be judged: see CONTRIBUTING.md)"
	}
	return f.text
}

func refusal(at, format string, args ...any) finding {
	return finding{text: at + ": " + fmt.Sprintf(format, args...)}
}

func question(at, format string, args ...any) finding {
	return finding{text: at + ": " + fmt.Sprintf(format, args...), forPerson: true}
}

func compareCRDs(old, current apiextensionsv1.CustomResourceDefinition) []finding {
	var found []finding
	was, is := old.Spec, current.Spec
	if was.Scope != is.Scope {
		found = append(found, refusal(old.Name, "scope was %s and is %s", was.Scope, is.Scope))
	}
	if was.Names.Kind != is.Names.Kind || was.Names.ListKind != is.Names.ListKind {
		found = append(found, refusal(old.Name, "kind was %s, %s and is %s, %s", was.Names.Kind, was.Names.ListKind, is.Names.Kind, is.Names.ListKind))
	}
	for _, name := range slices.Concat([]string{was.Names.Singular}, was.Names.ShortNames, was.Names.Categories) {
		if !slices.Contains(slices.Concat([]string{is.Names.Singular}, is.Names.ShortNames, is.Names.Categories), name) {
			found = append(found, refusal(old.Name, "no longer called %s", name))
		}
	}
	if is.Conversion != nil && is.Conversion.Strategy != apiextensionsv1.NoneConverter {
		found = append(found, refusal(old.Name, "conversion is %s: Grantry has none", is.Conversion.Strategy))
	}
	for _, version := range was.Versions {
		i := slices.IndexFunc(is.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool { return v.Name == version.Name })
		switch {
		case i < 0 && version.Storage:
			found = append(found, refusal(old.Name, "version %s, which objects are stored in, is gone", version.Name))
		case version.Served && (i < 0 || !is.Versions[i].Served):
			found = append(found, refusal(old.Name, "version %s is no longer served", version.Name))
		case version.Served:
			found = append(found, compareVersions(old.Name, was.Names.Kind, version, is.Versions[i])...)
		}
	}
	return found
}

func compareVersions(crd, kind string, was, is apiextensionsv1.CustomResourceDefinitionVersion) []finding {
	var found []finding
	if was.Schema == nil || is.Schema == nil {
		return []finding{refusal(crd, "version %s has no schema", was.Name)}
	}
	if was.Storage != is.Storage {
		found = append(found, refusal(crd, "version %s: storage was %t and is %t", was.Name, was.Storage, is.Storage))
	}
	if !equality.Semantic.DeepEqual(was.Subresources, is.Subresources) {
		found = append(found, refusal(crd, "version %s: the subresources are others", was.Name))
	}
	for _, field := range was.SelectableFields {
		if !slices.Contains(is.SelectableFields, field) {
			found = append(found, refusal(crd, "version %s: %s can no longer be selected by", was.Name, field.JSONPath))
		}
	}
	return append(found, compareSchemas(kind, was.Schema.OpenAPIV3Schema, is.Schema.OpenAPIV3Schema)...)
}

// compareSchemas reports what was accepted and may no longer be, at this place and below it.
func compareSchemas(at string, was, is *apiextensionsv1.JSONSchemaProps) []finding {
	found := slices.Concat(compareValues(at, was, is), compareBounds(at, was, is), compareLists(at, was, is), compareMeaning(at, was, is))
	for _, name := range slices.Sorted(maps.Keys(was.Properties)) {
		old, field := was.Properties[name], at+"."+name
		current, ok := is.Properties[name]
		if !ok {
			found = append(found, refusal(field, "removed"))
			continue
		}
		found = append(found, compareSchemas(field, &old, &current)...)
	}
	if isSet(was.XPreserveUnknownFields) {
		found = append(found, compareUnknown(at, was, is)...)
	}
	for _, name := range is.Required {
		if !slices.Contains(was.Required, name) && is.Properties[name].Default == nil {
			found = append(found, refusal(at+"."+name, "newly required"))
		}
	}
	if was.Items != nil && was.Items.Schema != nil && is.Items != nil && is.Items.Schema != nil {
		found = append(found, compareSchemas(at+"[]", was.Items.Schema, is.Items.Schema)...)
	}
	return append(found, compareAdditional(at, was.AdditionalProperties, is.AdditionalProperties)...)
}

// compareUnknown reports what has a schema where it was kept unseen: fields that only the new schema has.
func compareUnknown(at string, was, is *apiextensionsv1.JSONSchemaProps) []finding {
	var found []finding
	for _, name := range slices.Sorted(maps.Keys(is.Properties)) {
		if _, ok := was.Properties[name]; !ok {
			found = append(found, refusal(at+"."+name, "took any value and has a schema"))
		}
	}
	if was.AdditionalProperties == nil && is.AdditionalProperties != nil && is.AdditionalProperties.Schema != nil {
		found = append(found, refusal(at+"{}", "took any value and has a schema"))
	}
	return found
}

func compareAdditional(at string, was, is *apiextensionsv1.JSONSchemaPropsOrBool) []finding {
	switch {
	case was == nil || was.Schema == nil && !was.Allows:
		return nil
	case is == nil || is.Schema == nil && !is.Allows:
		return []finding{refusal(at, "no longer takes keys of any name")}
	case is.Schema == nil:
		return nil
	case was.Schema == nil:
		return []finding{refusal(at+"{}", "took any value and has a schema")}
	}
	return compareSchemas(at+"{}", was.Schema, is.Schema)
}

func compareValues(at string, was, is *apiextensionsv1.JSONSchemaProps) []finding {
	var found []finding
	if was.Type != is.Type {
		found = append(found, refusal(at, "type was %q and is %q", was.Type, is.Type))
	}
	if was.Nullable && !is.Nullable {
		found = append(found, refusal(at, "no longer takes null"))
	}
	if was.XIntOrString && !is.XIntOrString {
		found = append(found, refusal(at, "no longer takes both a number and a string"))
	}
	if isSet(was.XPreserveUnknownFields) && !isSet(is.XPreserveUnknownFields) {
		found = append(found, refusal(at, "no longer keeps unknown fields"))
	}
	if !was.XEmbeddedResource && is.XEmbeddedResource {
		found = append(found, refusal(at, "is now a whole object"))
	}
	if len(is.Enum) == 0 {
		return found
	}
	if len(was.Enum) == 0 {
		found = append(found, refusal(at, "took any value and is an enum"))
	}
	for _, value := range was.Enum {
		same := func(v apiextensionsv1.JSON) bool { return bytes.Equal(v.Raw, value.Raw) }
		if !slices.ContainsFunc(is.Enum, same) {
			found = append(found, refusal(at, "no longer takes %s", value.Raw))
		}
	}
	return found
}

func isSet(b *bool) bool { return b != nil && *b }

func compareBounds(at string, was, is *apiextensionsv1.JSONSchemaProps) []finding {
	var found []finding
	if !was.ExclusiveMaximum && is.ExclusiveMaximum || !was.ExclusiveMinimum && is.ExclusiveMinimum {
		found = append(found, refusal(at, "a bound is newly exclusive"))
	}
	if is.MultipleOf != nil && (was.MultipleOf == nil || *was.MultipleOf != *is.MultipleOf) {
		found = append(found, question(at, "multipleOf is %v", *is.MultipleOf))
	}
	return slices.Concat(found,
		lowered(at, "maxLength", was.MaxLength, is.MaxLength),
		lowered(at, "maxItems", was.MaxItems, is.MaxItems),
		lowered(at, "maxProperties", was.MaxProperties, is.MaxProperties),
		lowered(at, "maximum", was.Maximum, is.Maximum),
		raised(at, "minLength", was.MinLength, is.MinLength),
		raised(at, "minItems", was.MinItems, is.MinItems),
		raised(at, "minProperties", was.MinProperties, is.MinProperties),
		raised(at, "minimum", was.Minimum, is.Minimum),
	)
}

func lowered[T int64 | float64](at, bound string, was, is *T) []finding {
	if is == nil || was != nil && *is >= *was {
		return nil
	}
	return []finding{tightened(at, bound, was, *is)}
}

func raised[T int64 | float64](at, bound string, was, is *T) []finding {
	if is == nil || was != nil && *is <= *was {
		return nil
	}
	return []finding{tightened(at, bound, was, *is)}
}

func tightened[T int64 | float64](at, bound string, was *T, is T) finding {
	if was == nil {
		return refusal(at, "%s is new: %v", bound, is)
	}
	return refusal(at, "%s was %v and is %v", bound, *was, is)
}

// compareLists reports lists and maps that merge otherwise than before, or newly take each entry only once.
func compareLists(at string, was, is *apiextensionsv1.JSONSchemaProps) []finding {
	var found []finding
	if a, b := orElse(was.XListType, "atomic"), orElse(is.XListType, "atomic"); a != b {
		found = append(found, refusal(at, "the list was %s and is %s", a, b))
	}
	if a, b := orElse(was.XMapType, "granular"), orElse(is.XMapType, "granular"); a != b {
		found = append(found, refusal(at, "the map was %s and is %s", a, b))
	}
	if !slices.Equal(was.XListMapKeys, is.XListMapKeys) {
		found = append(found, refusal(at, "the keys of the list were %q and are %q", was.XListMapKeys, is.XListMapKeys))
	}
	return found
}

func orElse(s *string, otherwise string) string {
	if s == nil {
		return otherwise
	}
	return *s
}

// compareMeaning reports what only a person can judge.
func compareMeaning(at string, was, is *apiextensionsv1.JSONSchemaProps) []finding {
	var found []finding
	if is.Pattern != "" && is.Pattern != was.Pattern {
		found = append(found, question(at, "pattern was %q and is %q", was.Pattern, is.Pattern))
	}
	if is.Format != "" && is.Format != was.Format {
		found = append(found, question(at, "format was %q and is %q", was.Format, is.Format))
	}
	for _, rule := range is.XValidations {
		same := func(r apiextensionsv1.ValidationRule) bool {
			return r.Rule == rule.Rule && isSet(r.OptionalOldSelf) == isSet(rule.OptionalOldSelf)
		}
		if !slices.ContainsFunc(was.XValidations, same) {
			found = append(found, question(at, "new rule: %s", rule.Rule))
		}
	}
	if !equality.Semantic.DeepEqual(was.Default, is.Default) {
		found = append(found, question(at, "default was %s and is %s", raw(was.Default), raw(is.Default)))
	}
	for name, both := range map[string][2]any{
		"allOf": {was.AllOf, is.AllOf}, "anyOf": {was.AnyOf, is.AnyOf}, "oneOf": {was.OneOf, is.OneOf}, "not": {was.Not, is.Not},
	} {
		if !equality.Semantic.DeepEqual(both[0], both[1]) {
			found = append(found, question(at, "%s is another", name))
		}
	}
	return found
}

func raw(value *apiextensionsv1.JSON) string {
	if value == nil {
		return "none"
	}
	return string(value.Raw)
}
