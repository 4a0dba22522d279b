package admission

import (
	"encoding/json"
	"reflect"
	"strings"

	"gomodules.xyz/jsonpatch/v2"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// patchOf makes before into after, as far as mutating admission writes objects: labels, annotations, and the
// fields of the spec, each as a whole. To compare the objects costs a fraction of what comparing them as JSON
// does.
func patchOf(before, after client.Object) (patch []jsonpatch.JsonPatchOperation, err error) {
	differ := func(path string, was, is any) {
		switch value := reflect.ValueOf(is); {
		case err != nil || equality.Semantic.DeepEqual(was, is):
		case value.IsZero():
			patch = append(patch, jsonpatch.NewOperation("remove", path, nil))
		default:
			var text json.RawMessage
			text, err = json.Marshal(is)
			patch = append(patch, jsonpatch.NewOperation("add", path, text)) // which replaces what is there
		}
	}
	differ("/metadata/labels", before.GetLabels(), after.GetLabels())
	differ("/metadata/annotations", before.GetAnnotations(), after.GetAnnotations())
	was, is := specOf(before), specOf(after)
	for i := range is.NumField() {
		name, _, _ := strings.Cut(is.Type().Field(i).Tag.Get("json"), ",")
		differ("/spec/"+name, was.Field(i).Interface(), is.Field(i).Interface())
	}
	return patch, err
}

// hasSpec reports whether there is a spec to patch. An object without one is refused by its schema, later.
func hasSpec(object client.Object, raw []byte) bool {
	if !specOf(object).IsZero() {
		return true
	}
	var seen struct {
		Spec map[string]json.RawMessage `json:"spec"`
	}
	return json.Unmarshal(raw, &seen) == nil && seen.Spec != nil
}

// specOf is the spec of an object, which each of our kinds has.
func specOf(object client.Object) reflect.Value {
	return reflect.ValueOf(object).Elem().FieldByName("Spec")
}
