package main

import (
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/utils/ptr"
)

// texts are what is found, without what is said about judging it.
func texts(found []finding) []string {
	var lines []string
	for _, f := range found {
		lines = append(lines, f.text)
	}
	return lines
}

func TestCompareCRDs(t *testing.T) {
	crd := func(edit func(*apiextensionsv1.CustomResourceDefinitionSpec)) apiextensionsv1.CustomResourceDefinition {
		c := apiextensionsv1.CustomResourceDefinition{}
		c.Name = "widgets.example.dev"
		c.Spec.Scope = apiextensionsv1.ClusterScoped
		c.Spec.Names = apiextensionsv1.CustomResourceDefinitionNames{Kind: "Widget", ListKind: "WidgetList", ShortNames: []string{"wg"}}
		c.Spec.Versions = []apiextensionsv1.CustomResourceDefinitionVersion{{
			Name: "v1", Served: true, Storage: true,
			Schema:           &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{}},
			Subresources:     &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
			SelectableFields: []apiextensionsv1.SelectableField{{JSONPath: ".spec.size"}},
		}}
		edit(&c.Spec)
		return c
	}
	type spec = apiextensionsv1.CustomResourceDefinitionSpec
	was := crd(func(*spec) {})
	for name, tc := range map[string]struct {
		edit func(*spec)
		want []string
	}{
		"nothing changed": {edit: func(*spec) {}},
		"another scope": {
			edit: func(s *spec) { s.Scope = apiextensionsv1.NamespaceScoped },
			want: []string{"widgets.example.dev: scope was Cluster and is Namespaced"},
		},
		"another kind": {
			edit: func(s *spec) { s.Names.Kind = "Gadget" },
			want: []string{"widgets.example.dev: kind was Widget, WidgetList and is Gadget, WidgetList"},
		},
		"no short name": {
			edit: func(s *spec) { s.Names.ShortNames = nil },
			want: []string{"widgets.example.dev: no longer called wg"},
		},
		"a version not served": {
			edit: func(s *spec) { s.Versions[0].Served = false },
			want: []string{"widgets.example.dev: version v1 is no longer served"},
		},
		"the stored version gone": {
			edit: func(s *spec) { s.Versions[0].Name = "v2" },
			want: []string{"widgets.example.dev: version v1, which objects are stored in, is gone"},
		},
		"a version not stored": {
			edit: func(s *spec) { s.Versions[0].Storage = false },
			want: []string{"widgets.example.dev: version v1: storage was true and is false"},
		},
		"no status": {
			edit: func(s *spec) { s.Versions[0].Subresources = nil },
			want: []string{"widgets.example.dev: version v1: the subresources are others"},
		},
		"no field selector": {
			edit: func(s *spec) { s.Versions[0].SelectableFields = nil },
			want: []string{"widgets.example.dev: version v1: .spec.size can no longer be selected by"},
		},
		"no schema": {
			edit: func(s *spec) { s.Versions[0].Schema = nil },
			want: []string{"widgets.example.dev: version v1 has no schema"},
		},
		"a conversion": {
			edit: func(s *spec) {
				s.Conversion = &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.WebhookConverter}
			},
			want: []string{"widgets.example.dev: conversion is Webhook: Grantry has none"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			wantProblems(t, texts(compareCRDs(was, crd(tc.edit))), nil, tc.want...)
		})
	}
	unserved := crd(func(s *spec) { s.Versions[0].Served, s.Versions[0].Storage = false, false })
	wantProblems(t, texts(compareCRDs(unserved, was)), nil)
}

func TestCompareSchemas(t *testing.T) {
	type schema = apiextensionsv1.JSONSchemaProps
	enum := func(values ...string) schema {
		s := schema{Type: "string"}
		for _, v := range values {
			s.Enum = append(s.Enum, apiextensionsv1.JSON{Raw: []byte(v)})
		}
		return s
	}
	object := func(properties map[string]schema, required ...string) schema {
		return schema{Type: "object", Properties: properties, Required: required}
	}
	list := func(items schema) schema {
		return schema{Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &items}}
	}
	keys := func(values schema) schema {
		return schema{AdditionalProperties: &apiextensionsv1.JSONSchemaPropsOrBool{Schema: &values}}
	}
	anyKeys := schema{AdditionalProperties: &apiextensionsv1.JSONSchemaPropsOrBool{Allows: true}}
	rules := func(rules ...apiextensionsv1.ValidationRule) schema { return schema{XValidations: rules} }
	defaulted := schema{Default: &apiextensionsv1.JSON{Raw: []byte("1")}}
	cases := map[string]struct {
		was, is schema
		want    []string
	}{
		"a new optional field":                {was: object(nil), is: object(map[string]schema{"a": {}})},
		"a removed field":                     {was: object(map[string]schema{"a": {}}), is: object(nil), want: []string{"X.a: removed"}},
		"a new required field":                {was: object(nil), is: object(map[string]schema{"a": {}}, "a"), want: []string{"X.a: newly required"}},
		"a new required field with a default": {was: object(nil), is: object(map[string]schema{"a": defaulted}, "a")},
		"no longer required":                  {was: object(map[string]schema{"a": {}}, "a"), is: object(map[string]schema{"a": {}})},
		"another type":                        {was: schema{Type: "integer"}, is: schema{Type: "string"}, want: []string{`X: type was "integer" and is "string"`}},
		"null":                                {was: schema{Nullable: true}, want: []string{"X: no longer takes null"}},
		"a number or a string":                {was: schema{XIntOrString: true}, want: []string{"X: no longer takes both a number and a string"}},
		"unknown fields":                      {was: schema{XPreserveUnknownFields: new(true)}, want: []string{"X: no longer keeps unknown fields"}},
		"a field among unknown ones": {
			was:  schema{XPreserveUnknownFields: new(true), Properties: map[string]schema{"a": {}}},
			is:   schema{XPreserveUnknownFields: new(true), Properties: map[string]schema{"a": {}, "b": {}, "c": {}}},
			want: []string{"X.b: took any value and has a schema", "X.c: took any value and has a schema"},
		},
		"keys of one kind among unknown ones": {
			was:  schema{XPreserveUnknownFields: new(true)},
			is:   schema{XPreserveUnknownFields: new(true), AdditionalProperties: keys(schema{}).AdditionalProperties},
			want: []string{"X{}: took any value and has a schema"},
		},
		"an object in an object": {is: schema{XEmbeddedResource: true}, want: []string{"X: is now a whole object"}},
		"a wider enum":           {was: enum(`"a"`), is: enum(`"a"`, `"b"`)},
		"a narrower enum":        {was: enum(`"a"`, `"b"`), is: enum(`"a"`), want: []string{`X: no longer takes "b"`}},
		"a new enum":             {was: enum(), is: enum(`"a"`), want: []string{"X: took any value and is an enum"}},
		"no enum any more":       {was: enum(`"a"`), is: enum()},
		"a lower maximum": {
			was: schema{MaxLength: ptr.To[int64](9)}, is: schema{MaxLength: ptr.To[int64](8)},
			want: []string{"X: maxLength was 9 and is 8"},
		},
		"a new minimum": {was: schema{}, is: schema{Minimum: new(0.5)}, want: []string{"X: minimum is new: 0.5"}},
		"wider bounds": {
			was: schema{MaxItems: ptr.To[int64](1), MinItems: ptr.To[int64](1)},
			is:  schema{MaxItems: ptr.To[int64](2)},
		},
		"an exclusive bound":         {is: schema{ExclusiveMinimum: true}, want: []string{"X: a bound is newly exclusive"}},
		"multiples":                  {was: schema{MultipleOf: new(2.0)}, is: schema{MultipleOf: new(4.0)}, want: []string{"X: multipleOf is 4"}},
		"a list that becomes a set":  {is: schema{XListType: new("set")}, want: []string{"X: the list was atomic and is set"}},
		"a list with other keys":     {was: schema{XListMapKeys: []string{"a"}}, want: []string{`X: the keys of the list were ["a"] and are []`}},
		"a map that becomes one":     {is: schema{XMapType: new("atomic")}, want: []string{"X: the map was granular and is atomic"}},
		"a pattern":                  {was: schema{Pattern: "a"}, is: schema{Pattern: "b"}, want: []string{`X: pattern was "a" and is "b"`}},
		"no pattern any more":        {was: schema{Pattern: "a"}},
		"a format":                   {is: schema{Format: "date"}, want: []string{`X: format was "" and is "date"`}},
		"a new rule":                 {is: rules(apiextensionsv1.ValidationRule{Rule: "r"}), want: []string{"X: new rule: r"}},
		"another message":            {was: rules(apiextensionsv1.ValidationRule{Rule: "r"}), is: rules(apiextensionsv1.ValidationRule{Rule: "r", Message: "m"})},
		"a rule for new objects too": {was: rules(apiextensionsv1.ValidationRule{Rule: "r"}), is: rules(apiextensionsv1.ValidationRule{Rule: "r", OptionalOldSelf: new(true)}), want: []string{"X: new rule: r"}},
		"a default":                  {was: defaulted, want: []string{"X: default was 1 and is none"}},
		"an alternative":             {is: schema{AnyOf: []schema{{Type: "string"}}}, want: []string{"X: anyOf is another"}},
		"inside a list":              {was: list(object(map[string]schema{"a": {}})), is: list(object(nil)), want: []string{"X[].a: removed"}},
		"inside a map":               {was: keys(object(map[string]schema{"a": {}})), is: keys(object(nil)), want: []string{"X{}.a: removed"}},
		"no keys":                    {was: keys(schema{}), want: []string{"X: no longer takes keys of any name"}},
		"any keys":                   {was: keys(schema{Type: "string"}), is: anyKeys},
		"keys of one kind":           {was: anyKeys, is: keys(schema{}), want: []string{"X{}: took any value and has a schema"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			wantProblems(t, texts(compareSchemas("X", &tc.was, &tc.is)), nil, tc.want...)
		})
	}
}
