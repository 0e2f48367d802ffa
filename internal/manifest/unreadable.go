package manifest

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/shorthop/shorthop/pkg/yamlstream"
)

const encryptedWithSOPS = "is encrypted with sops: decrypt it first, with sops -d"

// beginnings tell what has no text of a manifest in it.
var beginnings = []struct{ bytes, message string }{
	{"\x1f\x8b", "is compressed with gzip: unpack it first"},
	{"PK\x03\x04", "is a zip archive: unpack it first"},
	{"\x00GITCRYPT", "is encrypted with git-crypt: unlock it first"},
	{"$ANSIBLE_VAULT;", "is encrypted with Ansible Vault: decrypt it first"},
	{"age-encryption.org/", "is encrypted with age: decrypt it first"},
	{"-----BEGIN AGE ENCRYPTED FILE-----", "is encrypted with age: decrypt it first"},
	{"-----BEGIN PGP MESSAGE-----", "is encrypted with PGP: decrypt it first"},
	{"version https://git-lfs.github.com/spec/", "is a pointer of Git LFS: fetch the file itself, with git lfs pull"},
	{"<!DOCTYPE html", "is a web page, not a manifest: download the raw file"},
	{"<html", "is a web page, not a manifest: download the raw file"},
}

// notText says what a file is that cannot hold manifests; empty where it may.
func notText(data []byte) string {
	start := bytes.TrimLeft(data, " \t\r\n\ufeff")
	for _, b := range beginnings {
		if len(start) >= len(b.bytes) && strings.EqualFold(string(start[:len(b.bytes)]), b.bytes) {
			return b.message
		}
	}
	return ""
}

// templateExtensions are of files that a tool makes manifests of.
var templateExtensions = map[string]string{
	".jsonnet": "Jsonnet", ".libsonnet": "Jsonnet", ".cue": "CUE",
	".tpl": "a template", ".tmpl": "a template", ".gotmpl": "a template",
	".j2": "a template", ".jinja": "a template", ".jinja2": "a template", ".erb": "a template", ".mustache": "a template",
}

// writtenIn is what a file is written in by its name; empty for a manifest.
func writtenIn(file string) string { return templateExtensions[strings.ToLower(path.Ext(file))] }

// isStructured: text in another language may be one long string in YAML.
func isStructured(value any) bool {
	switch value.(type) {
	case map[string]any, []any:
		return true
	}
	return false
}

// explainSyntax says why a document cannot be read. isTemplate: because tools
// make manifests of it.
func explainSyntax(file string, part yamlstream.Document, err error) (message string, isTemplate bool) {
	if what := writtenIn(file); what != "" {
		return fmt.Sprintf("looks like %s: %s", what, yamlstream.RenderFirst), true
	}
	if template := part.Template(); template != "" {
		return template, true
	}
	if !utf8.Valid(part.Text) && !strings.Contains(err.Error(), "UTF-16") { // kubectl refuses it too
		return err.Error() + " (it is not in UTF-8, or damaged: convert it first, with iconv)", false
	}
	return err.Error() + tabHint(part, err), false
}

var lineInMessage = regexp.MustCompile(`line ([0-9]+)`)

// tabHint explains the YAML library's message about tabs.
func tabHint(part yamlstream.Document, err error) string {
	if !strings.Contains(err.Error(), "cannot start any token") {
		return ""
	}
	match := lineInMessage.FindStringSubmatch(err.Error())
	if match == nil {
		return ""
	}
	number, _ := strconv.Atoi(match[1]) // digits
	line := part.Line
	for text := range bytes.Lines(part.Text) {
		if line == number && bytes.HasPrefix(bytes.TrimLeft(text, " "), []byte("\t")) {
			return " (a tab; YAML is indented with spaces)"
		}
		line++
	}
	return ""
}

// isEncrypted reports whether sops has encrypted the object's values.
func (d *Document) isEncrypted() bool {
	sops, found := d.Object["sops"].(map[string]any)
	return found && (sops["mac"] != nil || sops["version"] != nil)
}
