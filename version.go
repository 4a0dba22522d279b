package main

import (
	"cmp"

	"github.com/prometheus/common/version"
)

// nameBuild names what was built by hand, which the image's build names: see hack/image.
func nameBuild() {
	version.Version = cmp.Or(version.Version, "dev")
	version.Revision = version.GetRevision()
}
