// Package archive packs files as artifacts have them. Only tests import it.
package archive

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"io"
	"path"
	"testing"
)

// Tar is a tar with one file, of an owner that nobody is, and the directory that is in its name.
func Tar(tb testing.TB, name, content string) []byte {
	tb.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	headers := []*tar.Header{{Name: name, Mode: 0o600, Uid: 12345, Gid: 12345, Size: int64(len(content))}}
	if dir := path.Dir(name); dir != "." {
		headers = append([]*tar.Header{{Name: dir + "/", Typeflag: tar.TypeDir, Mode: 0o700}}, headers...)
	}
	for _, header := range headers {
		if err := w.WriteHeader(header); err != nil {
			tb.Fatal(err)
		}
	}
	write(tb, w, content)
	finish(tb, w)
	return out.Bytes()
}

// Gzip is a content, compressed.
func Gzip(tb testing.TB, content []byte) []byte {
	tb.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	write(tb, w, string(content))
	finish(tb, w)
	return out.Bytes()
}

// Zip is a zip with one file.
func Zip(tb testing.TB, name, content string) []byte {
	tb.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	file, err := w.Create(name)
	if err != nil {
		tb.Fatal(err)
	}
	write(tb, file, content)
	finish(tb, w)
	return out.Bytes()
}

func write(tb testing.TB, w io.Writer, content string) {
	tb.Helper()
	if _, err := io.WriteString(w, content); err != nil {
		tb.Fatal(err)
	}
}

func finish(tb testing.TB, w io.Closer) {
	tb.Helper()
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
}
