package batchjob

import (
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/grantry/grantry/api/v1alpha1"
)

const (
	// sandboxPath and sandboxVariable are where a Mesos task finds its working directory.
	sandboxPath     = "/mnt/mesos/sandbox"
	sandboxVariable = "MESOS_SANDBOX"
	sandboxVolume   = "sandbox"
)

// volumes are directories of the node, and single files out of Secrets. As in Mesos, a relative path is
// one in the sandbox.
func (m *mapping) volumes() {
	var taken []string
	for i, volume := range m.spec.Volumes {
		at := m.path.Child("volumes").Index(i)
		name := fmt.Sprintf("volume-%d", i)
		mountPath, err := m.containerPath(volume.ContainerPath)
		if err != nil {
			m.invalid(at.Child("containerPath"), volume.ContainerPath, err.Error())
			continue
		}
		if slices.Contains(taken, mountPath) {
			m.errs = append(m.errs, field.Duplicate(at.Child("containerPath"), volume.ContainerPath))
			continue
		}
		taken = append(taken, mountPath)
		m.volume(volume, at, corev1.VolumeMount{Name: name, MountPath: mountPath})
	}
	if m.sandbox = m.sandbox || len(m.spec.Artifacts) > 0; m.sandbox && slices.Contains(taken, sandboxPath) {
		m.refuse(m.path.Child("volumes"), "artifacts and relative paths need "+sandboxPath+", and a volume is mounted there")
	}
}

// volume adds a volume of the one or the other kind.
func (m *mapping) volume(volume v1alpha1.Volume, at *field.Path, mount corev1.VolumeMount) {
	var source corev1.VolumeSource
	switch {
	case (volume.HostPath == "") == (volume.Secret == ""):
		m.refuse(at, "expected a host volume (hostPath and mode) or a secret volume (secret), and not both")
	case volume.Secret != "":
		if m.spec.Docker != nil {
			m.refuse(at.Child("secret"), "file based secrets are only supported by ucr")
		}
		ref := m.secret(volume.Secret)
		mount.ReadOnly, mount.SubPath = true, ref.key
		source.Secret = &corev1.SecretVolumeSource{SecretName: ref.name, Items: []corev1.KeyToPath{{Key: ref.key, Path: ref.key}}}
	case volume.Mode == "":
		m.refuse(at, "a host volume needs a mode: RO or RW")
	case !path.IsAbs(volume.HostPath) || hasParent(volume.HostPath):
		m.invalid(at.Child("hostPath"), volume.HostPath, `expected an absolute path without ".."`)
	default:
		mount.ReadOnly = volume.Mode == "RO"
		source.HostPath = &corev1.HostPathVolumeSource{Path: volume.HostPath}
	}
	m.pod.Volumes = append(m.pod.Volumes, corev1.Volume{Name: mount.Name, VolumeSource: source})
	m.work.VolumeMounts = append(m.work.VolumeMounts, mount)
}

// containerPath is a path as an absolute one. A relative one needs a sandbox.
func (m *mapping) containerPath(given string) (string, error) {
	if strings.Contains(given, ":") || hasParent(given) {
		return "", fmt.Errorf(`expected a path without ":" and ".."`)
	}
	clean := path.Clean(given)
	switch {
	case clean == "/" || clean == ".":
		return "", fmt.Errorf("expected a path below the root directory or the working directory")
	case path.IsAbs(clean):
		return clean, nil
	default:
		m.sandbox = true
		return path.Join(sandboxPath, clean), nil
	}
}

func hasParent(p string) bool { return slices.Contains(strings.Split(p, "/"), "..") }

// addSandbox gives the work a directory of its own, in which it starts.
func (m *mapping) addSandbox() {
	if _, set := m.spec.Env[sandboxVariable]; set {
		m.refuse(m.path.Child("env").Key(sandboxVariable), "with artifacts or relative paths, Grantry sets it to "+sandboxPath)
	}
	m.pod.Volumes = append(m.pod.Volumes, corev1.Volume{
		Name: sandboxVolume, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}},
	})
	// The sandbox comes before what is mounted in it.
	m.work.VolumeMounts = slices.Insert(m.work.VolumeMounts, 0, corev1.VolumeMount{Name: sandboxVolume, MountPath: sandboxPath})
	m.work.WorkingDir = sandboxPath
	m.work.Env = append(m.work.Env, corev1.EnvVar{Name: sandboxVariable, Value: sandboxPath})
}
