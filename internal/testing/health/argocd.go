package health

import (
	"context"
	"testing"
	"time"

	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// ArgoCD runs a health script as Argo CD does: with the object as obj, and with no more of Lua's libraries than a script
// of a ConfigMap has there. An answer that Argo CD would call invalid fails the test.
func ArgoCD(tb testing.TB, script string, obj *unstructured.Unstructured) (health, message string) {
	tb.Helper()
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		if err := state.CallByParam(lua.P{Fn: state.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			tb.Fatalf("open Lua's library %q: %v", name, err)
		}
	}
	ctx, cancel := context.WithTimeout(tb.Context(), 30*time.Second)
	defer cancel()
	state.SetContext(ctx)
	state.SetGlobal("obj", toLua(state, obj.Object))
	if err := state.DoString(script); err != nil {
		tb.Fatalf("the script fails on %s %s: %v", obj.GetKind(), obj.GetName(), err)
	}
	answer, isTable := state.Get(-1).(*lua.LTable)
	if !isTable {
		tb.Fatalf("the script answers %v, want a table", state.Get(-1))
	}
	health, message = lua.LVAsString(answer.RawGetString("status")), lua.LVAsString(answer.RawGetString("message"))
	switch health {
	case "Healthy", "Progressing", "Degraded", "Suspended", "Missing", "Unknown":
		return health, message
	}
	tb.Fatalf("the script answers the health %q, which Argo CD does not know", health)
	return "", ""
}

// toLua makes a value of JSON one of Lua.
func toLua(state *lua.LState, value any) lua.LValue {
	switch v := value.(type) {
	case bool:
		return lua.LBool(v)
	case string:
		return lua.LString(v)
	case int64:
		return lua.LNumber(v)
	case float64:
		return lua.LNumber(v)
	case []any:
		list := state.NewTable()
		for _, item := range v {
			list.Append(toLua(state, item))
		}
		return list
	case map[string]any:
		table := state.NewTable()
		for key, item := range v {
			table.RawSetString(key, toLua(state, item))
		}
		return table
	}
	return lua.LNil
}
