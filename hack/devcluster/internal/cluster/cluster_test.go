package cluster

import (
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

func newCluster(t *testing.T, settings Settings) *Cluster {
	t.Helper()
	t.Setenv("GRANTRY_STATE", t.TempDir())
	c, err := New(settings)
	if err != nil {
		t.Skip(err) // the test's own directory may be too long for sockets
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNew_refusesNames(t *testing.T) {
	for _, name := range []string{"", "a/b", "..", "A", "-a", strings.Repeat("a", 33)} {
		if _, err := New(Settings{Name: name}); err == nil {
			t.Errorf("New accepted the name %q", name)
		}
	}
}

func TestNew_refusesDirectoriesTooLongForSockets(t *testing.T) {
	t.Setenv("GRANTRY_STATE", "/"+strings.Repeat("long", 20))
	if _, err := New(Settings{Name: "dev"}); err == nil {
		t.Error("New accepted a directory in which no socket fits")
	}
}

func TestSave_isWhatListAndLoadRead(t *testing.T) {
	c := newCluster(t, Settings{Name: "dev", Nodes: NodesKwok, Groups: map[string][]string{"alice": {"ops"}}})
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	loaded, err := Load("dev")
	if err != nil {
		t.Fatal(err)
	}
	if loaded.Nodes != NodesKwok || loaded.Dir != c.Dir || !slices.Equal(loaded.Groups["alice"], []string{"ops"}) {
		t.Errorf("loaded %+v", loaded)
	}
	all, err := List()
	if err != nil || len(all) != 1 || all[0].Name != "dev" {
		t.Errorf("List: %v, %v", all, err)
	}
	if state := loaded.State(); state != "stopped" {
		t.Errorf("state of a cluster without processes: %s", state)
	}
}

func TestWriteIdentities_everyUserHasAKubeconfig(t *testing.T) {
	c := newCluster(t, Settings{Name: "dev", Groups: map[string][]string{"erin": {"ops"}}})
	if err := c.WriteIdentities(); err != nil {
		t.Fatal(err)
	}
	for _, user := range append([]string{"erin", "kubelet", "kube-scheduler"}, Users...) {
		data, err := os.ReadFile(c.Kubeconfig(user))
		if err != nil {
			t.Error(err)
			continue
		}
		if !strings.Contains(string(data), "server: "+c.Server()) {
			t.Errorf("kubeconfig of %s has another server:\n%s", user, data)
		}
	}
	if _, err := c.NewKubeconfig("frank", []string{"guests"}); err != nil {
		t.Errorf("mint for any user: %v", err)
	}
}

func TestUserGroups_adminIsAlwaysAMaster(t *testing.T) {
	c := &Cluster{Settings: Settings{Groups: map[string][]string{"admin": {"ops"}, "bob": {"dev", "ops"}}}}
	groups := c.UserGroups()
	if want := []string{"ops", "system:masters"}; !slices.Equal(groups["admin"], want) {
		t.Errorf("admin is in %v, want %v", groups["admin"], want)
	}
	if want := []string{"dev", "ops"}; !slices.Equal(groups["bob"], want) {
		t.Errorf("bob is in %v, want %v", groups["bob"], want)
	}
}

func TestFreePorts_differ(t *testing.T) {
	ports, err := FreePorts()
	if err != nil {
		t.Fatal(err)
	}
	all := []int{ports.APIServer, ports.EtcdClient, ports.EtcdPeer, ports.Kubelet}
	slices.Sort(all)
	if len(slices.Compact(all)) != 4 || all[0] == 0 {
		t.Errorf("ports %+v", ports)
	}
}

func TestFreeSubnet_avoidsAddressesAndClusters(t *testing.T) {
	address := func(cidr string) net.Addr {
		ip, network, err := net.ParseCIDR(cidr)
		if err != nil {
			t.Fatal(err)
		}
		return &net.IPNet{IP: ip, Mask: network.Mask}
	}
	for name, tc := range map[string]struct {
		addresses []net.Addr
		others    []*Cluster
		want      int
	}{
		"nothing taken":                {want: 160},
		"the machine is in the first":  {addresses: []net.Addr{address("10.160.3.4/24")}, want: 161},
		"a cluster has the first":      {others: []*Cluster{{Subnet: 160}}, want: 161},
		"the machine's net covers two": {addresses: []net.Addr{address("10.160.0.1/15")}, want: 162},
		"other nets don't matter":      {addresses: []net.Addr{address("192.168.1.1/16"), address("::1/128")}, want: 160},
		"the machine has all of ten":   {addresses: []net.Addr{address("10.1.0.1/8")}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := FreeSubnet(tc.addresses, tc.others)
			if got != tc.want || (err != nil) != (tc.want == 0) {
				t.Errorf("FreeSubnet = %d, %v; want %d", got, err, tc.want)
			}
		})
	}
}

func TestProcess_isNotAnotherOfItsNumber(t *testing.T) {
	sleep := exec.Command("sleep", "60")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	process, err := IdentifyProcess(sleep.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if !process.Alive() {
		t.Error("a running process is not alive")
	}
	if (Process{PID: process.PID, Start: process.Start + 1}).Alive() {
		t.Error("another process of that number passes for this one")
	}
	if err := process.Signal(9); err != nil {
		t.Fatal(err)
	}
	if !process.WaitGone(5 * time.Second) {
		t.Error("a killed process that nobody waited for is still alive")
	}
	_ = sleep.Wait() // it was killed
}

func TestProcess_child(t *testing.T) {
	sleep := exec.Command("sleep", "60")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = sleep.Process.Kill()
		_ = sleep.Wait() // it was killed
	}()
	self, err := IdentifyProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	child, err := self.Child("sleep")
	if err != nil || child.PID != sleep.Process.Pid || !child.Alive() {
		t.Errorf("%+v, %v; the child is process %d", child, err, sleep.Process.Pid)
	}
	if child, err := self.Child("slee"); err == nil {
		t.Errorf("found %+v by a part of its name", child)
	}
}

func TestParseStat_nameMayHoldAnything(t *testing.T) {
	stat := []byte("7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 1 1")
	state, start, err := parseStat(stat)
	if err != nil || state != 'S' || start != 12345 {
		t.Errorf("parseStat = %c, %d, %v", state, start, err)
	}
	if _, _, err := parseStat([]byte("garbage")); err == nil {
		t.Error("accepted garbage")
	}
}
