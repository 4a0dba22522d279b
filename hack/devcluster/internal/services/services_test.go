package services

import (
	"encoding/json"
	"io"
	"net"
	"reflect"
	"testing"
)

func TestBackendsOf(t *testing.T) {
	var services serviceList
	var slices sliceList
	for text, into := range map[string]any{
		`{"items": [
			{"metadata": {"name": "web", "namespace": "a"}, "spec": {"clusterIP": "10.0.0.1", "ports": [
				{"name": "https", "port": 443, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"}]}},
			{"metadata": {"name": "web", "namespace": "b"}, "spec": {"clusterIP": "10.0.0.2", "ports": [{"port": 80}]}},
			{"metadata": {"name": "headless", "namespace": "a"}, "spec": {"clusterIP": "None", "ports": [{"port": 80}]}}]}`: &services,
		`{"items": [
			{"metadata": {"namespace": "a", "labels": {"kubernetes.io/service-name": "web"}}, "addressType": "IPv4",
				"ports": [{"name": "https", "port": 9443}, {"name": "dns", "port": 5353}],
				"endpoints": [
					{"addresses": ["10.1.0.3"], "conditions": {"ready": true}}, {"addresses": ["10.1.0.2"]},
					{"addresses": ["10.1.0.4"], "conditions": {"ready": false}}]},
			{"metadata": {"namespace": "b", "labels": {"kubernetes.io/service-name": "web"}}, "addressType": "IPv4",
				"ports": [{"port": 8080}], "endpoints": []}]}`: &slices,
	} {
		if err := json.Unmarshal([]byte(text), into); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string][]string{"10.0.0.1:443": {"10.1.0.2:9443", "10.1.0.3:9443"}, "10.0.0.2:80": nil}
	if got := backendsOf(services, slices); !reflect.DeepEqual(got, want) {
		t.Errorf("backends %v, want %v", got, want)
	}
}

// TestUpdate listens on loopback, where an address needs no bridge.
func TestUpdate(t *testing.T) {
	pod, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pod.Close()
	go func() {
		for {
			connection, err := pod.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(connection, "hello")
			_ = connection.Close()
		}
	}()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	s := &service{listener: listener}
	go s.accept()
	p := &proxy{open: map[string]*service{address: s}}
	if err := p.update(map[string][]string{address: {pod.Addr().String()}}); err != nil {
		t.Fatal(err)
	}
	connection, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if said, err := io.ReadAll(connection); err != nil || string(said) != "hello" {
		t.Errorf("the pod said %q, %v", said, err)
	}
	if err := p.update(map[string][]string{address: nil}); err != nil {
		t.Fatal(err)
	}
	if connection, err := net.Dial("tcp", address); err == nil {
		_ = connection.Close()
		t.Error("a Service without a ready pod takes connections")
	}
}
