package batchjob

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// defaultSecretKey is the key of a Secret that holds a secret of the DC/OS store, which has one value.
const defaultSecretKey = "value"

// secretRef is a key of a Secret in the Job's namespace.
type secretRef struct{ name, key string }

// secret is the source of a name from secrets; the zero one if it can't be used. What is wrong with it is
// said once, by secretsAreUsed.
func (m *mapping) secret(name string) secretRef {
	ref, err := parseSource(m.spec.Secrets[name].Source, m.job)
	if err != nil {
		return secretRef{}
	}
	return ref
}

// parseSource reads path#key. As in DC/OS, a secret with a path is for the jobs at and below the path:
// dev/batch/password is for dev.batch and dev.batch.job1, and not for dev. A secret without a path is for
// every job. A dot in a name would be mistaken for a slash, and so open the secrets of another path.
func parseSource(source, job string) (secretRef, error) {
	path, key, hasKey := strings.Cut(source, "#")
	if !hasKey {
		key = defaultSecretKey
	}
	path = strings.TrimPrefix(path, "/")
	if strings.Contains(path, ".") {
		return secretRef{}, fmt.Errorf("a path has no dots: write %q for the Secret %q", strings.ReplaceAll(path, ".", "/"), path)
	}
	ref := secretRef{name: strings.ReplaceAll(path, "/", "."), key: key}
	if problems := validation.IsDNS1123Subdomain(ref.name); len(problems) > 0 {
		return secretRef{}, fmt.Errorf("%q can't be the name of a Secret: %s", ref.name, strings.Join(problems, "; "))
	}
	if problems := validation.IsConfigMapKey(key); len(problems) > 0 {
		return secretRef{}, fmt.Errorf("%q can't be a key of a Secret: %s", key, strings.Join(problems, "; "))
	}
	if end := strings.LastIndexByte(ref.name, '.'); end >= 0 && !atOrBelow(job, ref.name[:end]) {
		return secretRef{}, fmt.Errorf("a secret is for the jobs at and below its path, and %s is not below %s", job, ref.name[:end])
	}
	return ref, nil
}

// atOrBelow says whether a job id is a path or below it, by segments.
func atOrBelow(job, path string) bool {
	return job == path || strings.HasPrefix(job, path+".")
}

// secretsAreUsed refuses secrets that can't be read, that nothing uses, and names that nothing defines.
func (m *mapping) secretsAreUsed() {
	used := map[string]bool{}
	for _, value := range m.spec.Env {
		if value.Secret != "" && value.Invalid == "" {
			used[value.Secret] = true
		}
	}
	for _, volume := range m.spec.Volumes {
		if volume.Secret != "" {
			used[volume.Secret] = true
		}
	}
	path := m.path.Child("secrets")
	var undefined, unused []string
	for _, name := range slices.Sorted(maps.Keys(used)) {
		if _, defined := m.spec.Secrets[name]; !defined {
			undefined = append(undefined, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.spec.Secrets)) {
		if !used[name] {
			unused = append(unused, name)
		}
		source := m.spec.Secrets[name].Source
		if _, err := parseSource(source, m.job); err != nil {
			m.invalid(path.Key(name).Child("source"), source, err.Error())
		}
	}
	if len(undefined) > 0 {
		m.refuse(path, "env or volumes use secrets that are not defined: "+strings.Join(undefined, ", ")+"; add them here")
	}
	if len(unused) > 0 {
		m.refuse(path, "neither env nor volumes use the secrets: "+strings.Join(unused, ", ")+"; remove them here")
	}
}
