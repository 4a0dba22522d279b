package batchjob

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/grantry/grantry/api/v1alpha1"
)

const (
	// workContainer is the name of the container that does the work.
	workContainer = "main"
	// defaultCPUs and defaultMem are Metronome's.
	defaultCPUs, defaultMem = 1, 128
	// mebibyte is the unit of mem and disk.
	mebibyte = 1 << 20
	// nobodyID is the user and group id of nobody nearly everywhere, and of Kubernetes' own examples.
	nobodyID = 65534
)

// mapping is spec.run on its way to a Job. Each step honours some fields or says why it can't.
type mapping struct {
	job     string
	spec    *v1alpha1.RunSpec
	path    *field.Path
	options Options
	nodes   []map[string]string

	out batchv1.JobTemplateSpec
	pod *corev1.PodSpec
	// work is the container that does the work. It joins the pod at the end.
	work corev1.Container
	// sandbox says that the work has a directory of its own, to which relative paths belong.
	sandbox bool

	unmatched []string
	errs      field.ErrorList
}

// template takes the steps. The order of the steps is the order of the messages.
func (m *mapping) template() batchv1.JobTemplateSpec {
	m.pod = &m.out.Spec.Template.Spec
	m.pod.AutomountServiceAccountToken = new(false)
	m.pod.EnableServiceLinks = new(false)
	m.work.Name = workContainer

	m.command()
	m.image()
	m.resources()
	m.user()
	m.environment()
	m.labels()
	m.secretsAreUsed()
	m.placement()
	m.network()
	m.restart()
	m.grace()
	m.volumes()
	m.artifacts()
	if m.sandbox {
		m.addSandbox()
	}
	m.pod.Containers = []corev1.Container{m.work}
	return m.out
}

// refuse says that a field can't be honoured, and why.
func (m *mapping) refuse(path *field.Path, reason string) {
	m.errs = append(m.errs, field.Forbidden(path, reason))
}

// invalid says that a value can't be honoured, and why.
func (m *mapping) invalid(path *field.Path, value any, reason string) {
	m.errs = append(m.errs, field.Invalid(path, value, reason))
}

// command is cmd by a shell, or args for the image's entry point. Metronome does not read "$(NAME)" as
// Kubernetes does, and so it is kept from it.
func (m *mapping) command() {
	if m.spec.Cmd != "" {
		m.work.Command = []string{"/bin/sh", "-c", literal(m.spec.Cmd)}
		if len(m.spec.Args) > 0 {
			m.refuse(m.path.Child("args"), "give cmd (run by a shell) or args (passed to the image's entry point), and not both")
		}
		return
	}
	for _, arg := range m.spec.Args {
		m.work.Args = append(m.work.Args, literal(arg))
	}
}

// literal is a text that Kubernetes reads as s. In commands, arguments and values it replaces $(NAME), and
// $$ by $; a single $ is left alone, and so it stays legible here.
func literal(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); {
		end := i
		for end < len(s) && s[end] == '$' {
			end++
		}
		run := s[i:end]
		out.WriteString(run)
		if len(run) > 1 || len(run) == 1 && strings.HasPrefix(s[end:], "(") {
			out.WriteString(run)
		}
		if end < len(s) {
			out.WriteByte(s[end])
			end++
		}
		i = end
	}
	return out.String()
}

// image is docker's, ucr's or the installation's own.
func (m *mapping) image() {
	docker, ucr := m.spec.Docker, m.spec.UCR
	var force, privileged *bool
	switch {
	case docker != nil && ucr != nil:
		m.refuse(m.path, "either docker or ucr should be provided, but not both")
	case docker != nil:
		m.work.Image, force, privileged = docker.Image, docker.ForcePullImage, docker.Privileged
		if len(docker.Parameters) > 0 {
			m.refuse(m.path.Child("docker", "parameters"),
				"options of the docker command have no counterpart in Kubernetes: use template for what they asked")
		}
	case ucr != nil:
		m.work.Image, force, privileged = ucr.Image.ID, ucr.Image.ForcePull, ucr.Privileged
		if ucr.Image.Kind == "appc" {
			m.refuse(m.path.Child("ucr", "image", "kind"), "appc images can't be run on Kubernetes: use a docker image")
		}
	case m.spec.Cmd == "":
		m.refuse(m.path, "cmd, docker or ucr image must be specified")
	case m.options.DefaultImage == "":
		m.refuse(m.path.Child("cmd"), "this installation has no default image: give docker or ucr an image")
	default:
		m.work.Image = m.options.DefaultImage
	}
	m.work.ImagePullPolicy = corev1.PullIfNotPresent
	if isTrue(force) {
		m.work.ImagePullPolicy = corev1.PullAlways
	}
	if isTrue(privileged) {
		m.work.SecurityContext = &corev1.SecurityContext{Privileged: new(true)}
	}
}

// resources are requests for all, and limits for all but processors: cpus were shares in Mesos, so that a
// task could use what nobody else did.
func (m *mapping) resources() {
	requests, limits := corev1.ResourceList{}, corev1.ResourceList{}
	if cpus, ok := m.number("cpus", m.spec.CPUs, defaultCPUs); ok {
		// Through the decimal form: 0.07 * 1000 is more than 70 in binary, and would be rounded up to 71.
		exact := resource.MustParse(strconv.FormatFloat(cpus, 'f', -1, 64))
		requests[corev1.ResourceCPU] = *resource.NewMilliQuantity(exact.MilliValue(), resource.DecimalSI)
	}
	if mem, ok := m.number("mem", m.spec.Mem, defaultMem); ok {
		requests[corev1.ResourceMemory], limits[corev1.ResourceMemory] = mebibytes(mem), mebibytes(mem)
	}
	if disk, ok := m.number("disk", m.spec.Disk, 0); ok && disk > 0 {
		requests[corev1.ResourceEphemeralStorage], limits[corev1.ResourceEphemeralStorage] = mebibytes(disk), mebibytes(disk)
	}
	m.work.Resources = corev1.ResourceRequirements{Requests: requests, Limits: limits}
	if m.spec.GPUs != nil && *m.spec.GPUs > 0 {
		m.gpus(*m.spec.GPUs)
	}
}

// number is a field's value or its default; false if no resource can have it.
func (m *mapping) number(name string, value *float64, unset float64) (float64, bool) {
	if value == nil {
		return unset, true
	}
	if !(*value >= 0 && *value <= 1e9) { // so that NaN is refused, too
		m.invalid(m.path.Child(name), *value, "must be between 0 and 1000000000")
		return 0, false
	}
	return *value, true
}

func mebibytes(n float64) resource.Quantity {
	return *resource.NewQuantity(int64(math.Ceil(n*mebibyte)), resource.BinarySI)
}

func (m *mapping) gpus(count int32) {
	path := m.path.Child("gpus")
	switch {
	case m.spec.Docker != nil:
		m.refuse(path, "gpus are not supported with docker: use ucr")
	case m.options.GPUResource == "":
		m.refuse(path, "this installation names no resource for gpus")
	default:
		m.work.Resources.Limits[corev1.ResourceName(m.options.GPUResource)] = *resource.NewQuantity(int64(count), resource.DecimalSI)
	}
}

// user is that of the pod, so that what is fetched belongs to who works with it.
func (m *mapping) user() {
	if m.spec.User == "" {
		return
	}
	name, group, hasGroup := strings.Cut(m.spec.User, ":")
	user, err := accountID(name)
	if err != nil {
		m.invalid(m.path.Child("user"), m.spec.User, err.Error())
		return
	}
	context := &corev1.PodSecurityContext{RunAsUser: &user}
	if !hasGroup && (name == "root" || name == "nobody") {
		group, hasGroup = name, true
	}
	if hasGroup {
		id, err := accountID(group)
		if err != nil {
			m.invalid(m.path.Child("user"), m.spec.User, err.Error())
			return
		}
		context.RunAsGroup = &id
	}
	m.pod.SecurityContext = context
}

// accountID is the id of a user or group, as far as it can be known without looking into the image.
func accountID(name string) (int64, error) {
	switch name {
	case "root":
		return 0, nil
	case "nobody":
		return nobodyID, nil
	}
	id, err := strconv.ParseUint(name, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%q can't be resolved outside the image: give root, nobody, a numeric id up to %d, or id:group", name, math.MaxInt32)
	}
	return int64(id), nil
}

// environment is sorted by name: the order of a map is not that of its file.
func (m *mapping) environment() {
	for _, name := range slices.Sorted(maps.Keys(m.spec.Env)) {
		value, path := m.spec.Env[name], m.path.Child("env").Key(name)
		if problems := validation.IsEnvVarName(name); len(problems) > 0 {
			m.invalid(path, name, "can't be the name of an environment variable: "+strings.Join(problems, "; "))
		}
		variable := corev1.EnvVar{Name: name}
		switch {
		case value.Invalid != "":
			// The value itself stays out of the message: it may be a secret in the wrong place.
			m.invalid(path, field.OmitValueType{}, `expected a string or {"secret": "name"}`)
		case value.Secret != "":
			source := m.secret(value.Secret)
			variable.ValueFrom = &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
				LocalObjectReference: corev1.LocalObjectReference{Name: source.name}, Key: source.key,
			}}
		default:
			variable.Value = literal(value.Value)
		}
		m.work.Env = append(m.work.Env, variable)
	}
}

// labels become labels of the pods, or annotations where they can't be labels. Kueue's are for the child.
func (m *mapping) labels() {
	meta := &m.out.Spec.Template.ObjectMeta
	for _, key := range slices.Sorted(maps.Keys(m.spec.Labels)) {
		value, path := m.spec.Labels[key], m.path.Child("labels").Key(key)
		if isReserved(key) {
			m.refuse(path, "the key is reserved for Kubernetes or Grantry: choose another")
			continue
		}
		if problems := validation.IsQualifiedName(key); len(problems) > 0 {
			m.invalid(path, key, "can be the key of neither a label nor an annotation: "+strings.Join(problems, "; "))
			continue
		}
		problems := validation.IsValidLabelValue(value)
		switch {
		case inDomain(key, kueueDomain) && len(problems) > 0:
			m.invalid(path, value, "can't be the value of a label: "+strings.Join(problems, "; "))
		case inDomain(key, kueueDomain): // Kueue looks at the batch/v1 Job, and not at its pods
			metav1.SetMetaDataLabel(&m.out.ObjectMeta, key, value)
		case len(problems) == 0:
			metav1.SetMetaDataLabel(meta, key, value)
		default:
			metav1.SetMetaDataAnnotation(meta, key, value)
		}
	}
}

// isReserved says whether a key has a meaning that a label of a Metronome job never meant. The Job
// controller overwrites the two without a domain.
func isReserved(key string) bool {
	return key == "job-name" || key == "controller-uid" || inDomain(key, "kubernetes.io") || inDomain(key, "k8s.io") ||
		inDomain(key, v1alpha1.GroupVersion.Group)
}

// network is the pod network or the node's.
func (m *mapping) network() {
	path := m.path.Child("networks")
	if len(m.spec.Networks) > 1 {
		m.refuse(path, "a pod joins one network: give only one, of mode host or container/bridge")
		return
	}
	for i, network := range m.spec.Networks {
		path := path.Index(i)
		if network.Mode == "container" {
			m.refuse(path.Child("mode"), "named container networks have no counterpart: use container/bridge for the pod network, or template")
			continue
		}
		if network.Name != "" {
			m.refuse(path.Child("name"), fmt.Sprintf("a %s network has no name", network.Mode))
		}
		if len(network.Labels) > 0 {
			m.refuse(path.Child("labels"), fmt.Sprintf("a %s network has no labels", network.Mode))
		}
		if network.Mode == "host" {
			m.pod.HostNetwork = true
			m.pod.DNSPolicy = corev1.DNSClusterFirstWithHostNet
		}
	}
}

func isTrue(b *bool) bool { return b != nil && *b }
