package batchjob

import (
	_ "embed"
	"net/url"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/grantry/grantry/api/v1alpha1"
)

// fetchContainer is the name of the init container that fetches artifacts.
const fetchContainer = "fetch"

// fetchScript runs in the init container, in POSIX sh, with busybox or the GNU programs.
//
//go:embed fetch.sh
var fetchScript string

// keepFile is to leave a file as it is; the script acts on every other word.
const keepFile = "keep"

// archives are what the script does with a file of a name, by the first ending that fits.
var archives = []struct{ ending, act string }{
	{".tar.gz", "tar-gzip"},
	{".tgz", "tar-gzip"},
	{".tar.bz2", "tar-bzip2"},
	{".tbz2", "tar-bzip2"},
	{".tar.xz", "tar-xz"},
	{".txz", "tar-xz"},
	{".tar", "tar"},
	{".zip", "zip"},
	{".gz", "gzip"},
}

// artifacts are fetched into the sandbox by an init container in the default image, with the user and
// within the resources of the work, so that a pod with artifacts asks for no more than one without.
func (m *mapping) artifacts() {
	if len(m.spec.Artifacts) == 0 {
		return
	}
	at := m.path.Child("artifacts")
	if m.options.DefaultImage == "" {
		m.refuse(at, "this installation has no default image to fetch artifacts with")
	}
	command := []string{"/bin/sh", "-c", literal(fetchScript), fetchContainer}
	var taken []string
	for i, artifact := range m.spec.Artifacts {
		at := at.Index(i)
		file, reason := artifactFile(artifact.URI)
		if reason != "" {
			// The address itself stays out of messages: it may hold a password.
			m.invalid(at.Child("uri"), field.OmitValueType{}, reason)
			continue
		}
		act := artifactAct(artifact, file)
		files := []string{file}
		if act == "gzip" {
			files = append(files, strings.TrimSuffix(file, path.Ext(file)))
		}
		for _, file := range files {
			if slices.Contains(taken, file) {
				m.invalid(at.Child("uri"), field.OmitValueType{}, "another artifact makes a file of the same name: "+file)
			}
		}
		taken = append(taken, files...)
		command = append(command, literal(artifact.URI), literal(file), act)
	}

	resources := *m.work.Resources.DeepCopy()
	delete(resources.Limits, corev1.ResourceName(m.options.GPUResource))
	m.pod.InitContainers = []corev1.Container{{
		Name:            fetchContainer,
		Image:           m.options.DefaultImage,
		ImagePullPolicy: corev1.PullIfNotPresent,
		Command:         command,
		Env:             []corev1.EnvVar{{Name: sandboxVariable, Value: sandboxPath}},
		Resources:       resources,
		VolumeMounts:    []corev1.VolumeMount{{Name: sandboxVolume, MountPath: sandboxPath}},
	}}
}

// artifactFile is the name of the file that an address fetches, or why it can't be fetched.
func artifactFile(uri string) (file, reason string) {
	address, err := url.Parse(uri)
	switch {
	case err != nil:
		return "", "is not an address"
	case strings.ContainsAny(uri, " \t\r\n"):
		return "", "has a space: write %20"
	case address.Scheme == "":
		return "", "expected an http or https address"
	case address.Scheme != "http" && address.Scheme != "https":
		return "", address.Scheme + " can't be fetched: the default image has no client for it; offer the file by http or https"
	case address.Host == "":
		return "", "names no host"
	}
	// What follows the last slash, and not "/", "." or "..".
	file = address.Path[strings.LastIndexByte(address.Path, '/')+1:]
	if file == "" || file == "." || file == ".." || strings.ContainsRune(file, 0) {
		return "", "names no file: the path must end in a file name"
	}
	return file, ""
}

// artifactAct is what the script does with a file. As in Mesos, an executable is not unpacked.
func artifactAct(artifact v1alpha1.Artifact, file string) string {
	switch {
	case isTrue(artifact.Executable):
		return "executable"
	case artifact.Extract != nil && !*artifact.Extract:
		return keepFile
	}
	for _, archive := range archives {
		// An ending alone is a hidden file.
		if strings.HasSuffix(file, archive.ending) && file != archive.ending {
			return archive.act
		}
	}
	return keepFile
}
