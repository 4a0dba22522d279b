package runner

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
)

// exit tells that a process ended.
type exit struct {
	name   string
	status syscall.WaitStatus
}

func (e exit) String() string {
	if e.status.Signaled() {
		return fmt.Sprintf("%s was ended by signal %d (%s)", e.name, e.status.Signal(), e.status.Signal())
	}
	return fmt.Sprintf("%s exited with code %d", e.name, e.status.ExitStatus())
}

// processes starts the cluster's processes and learns of their ends. It is the only one in its program that
// waits for children: as the first process of a PID namespace it also gets those whose parents ended.
type processes struct {
	starts chan func()

	mu      sync.Mutex
	waiting map[int]*child
	stopped bool
}

type child struct {
	name  string
	ended chan<- exit
}

func newProcesses() *processes {
	p := &processes{starts: make(chan func()), waiting: map[int]*child{}}
	go p.startOnOneThread()
	go p.reap()
	return p
}

// startOnOneThread keeps its thread for ever: the kernel sends a child its parent's death signal when the
// thread that started it ends.
func (p *processes) startOnOneThread() {
	runtime.LockOSThread()
	for start := range p.starts {
		start()
	}
}

// reap collects every child that ends, until stop.
func (p *processes) reap() {
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, syscall.SIGCHLD)
	for range ends {
		for p.reapOne() {
		}
	}
}

// reapOne says whether there may be more to collect.
func (p *processes) reapOne() bool {
	p.mu.Lock() // a child that ended at once must be known before it is looked up
	defer p.mu.Unlock()
	if p.stopped {
		return false
	}
	var status syscall.WaitStatus
	pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
	if err == syscall.EINTR {
		return true
	}
	if err != nil || pid <= 0 {
		return false
	}
	if child := p.waiting[pid]; child != nil {
		delete(p.waiting, pid)
		child.ended <- exit{name: child.name, status: status}
	}
	return true
}

// start starts a process whose output goes to the log and that ends with this one. Its end is sent to ended,
// which must have room.
func (p *processes) start(name string, argv []string, log string, ended chan<- exit) error {
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	command := exec.Command(argv[0], argv[1:]...)
	command.Stdout, command.Stderr = file, file
	command.Dir = "/" // nothing is kept from being unmounted or removed
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	result := make(chan error)
	p.starts <- func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		err := command.Start()
		if err == nil {
			p.waiting[command.Process.Pid] = &child{name: name, ended: ended}
			err = command.Process.Release()
		}
		result <- err
	}
	if err := <-result; err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	return nil
}

// run starts a process and waits for its end.
func (p *processes) run(name string, argv []string, log string) error {
	ended := make(chan exit, 1)
	if err := p.start(name, argv, log, ended); err != nil {
		return err
	}
	if end := <-ended; end.status != 0 {
		return fmt.Errorf("%s; see %s", end, log)
	}
	return nil
}

// stop ends every process at once, since the cluster's data is thrown away and nothing has to be finished. It
// returns when no child is left.
func (p *processes) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	for {
		for pid := range p.waiting {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it has not been waited for, so the number is still its own
		}
		if os.Getpid() == 1 {
			_ = syscall.Kill(-1, syscall.SIGKILL) // containers and shims too, in this namespace
		}
		pid, err := syscall.Wait4(-1, nil, 0, nil)
		if err == syscall.ECHILD {
			return
		}
		delete(p.waiting, pid)
	}
}
