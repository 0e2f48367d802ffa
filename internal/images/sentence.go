package images

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/shorthop/shorthop/pkg/printable"
)

// problem is what is wrong with an image, in words.
type problem string

func (p problem) Error() string { return string(p) }

const errSchema1 = problem("it has a manifest of schema 1, which is not read: push it again with a current tool")

// otherPlatform is the error of an image for other platforms than those wanted.
type otherPlatform string

func (p otherPlatform) Error() string {
	return fmt.Sprintf("it has no image for the platform that is wanted, but for %s", string(p))
}

// noPlatform says what was wanted, and what is there.
func (r *Reader) noPlatform(there []string) error {
	wanted := "linux"
	if len(r.options.Platforms) > 0 {
		wanted = strings.Trim(strings.ReplaceAll(r.platformKey(), " ", ", "), ", ")
	}
	if len(there) == 0 {
		return problem(fmt.Sprintf("it has no image for %s, and none for anything else", wanted))
	}
	const shown = 10
	names := make([]string, 0, shown)
	for _, platform := range there[:min(len(there), shown)] {
		names = append(names, printable.Name(printable.Cut(platform, 64)))
	}
	return problem(fmt.Sprintf("it has no image for %s, only for %s", wanted, strings.Join(names, ", ")))
}

// unreachable returns why the registry of an image could not be reached before.
func (r *Reader) unreachable(ref name.Reference) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.silent[ref.Context().RegistryStr()]
}

// sentence says in one sentence why an image could not be read. A registry that
// cannot be reached is not asked again.
func (r *Reader) sentence(err error, ref name.Reference) string {
	if ref == nil {
		return err.Error()
	}
	registry := ref.Context().RegistryStr()
	if why := unreachableBecause(err); why != "" {
		sentence := fmt.Sprintf("the registry %s cannot be reached: %s", registry, why)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.silent[registry] = sentence
		return sentence
	}
	inner, answered := errors.AsType[*transport.Error](err)
	if !answered {
		return printable.Clip(plain(err))
	}
	// What was being read is said before what the registry answered.
	return printable.Clip(strings.Replace(err.Error(), inner.Error(), r.answer(inner, ref), 1))
}

// plain is an error without addresses of requests, which may have secrets.
func plain(err error) string {
	text := err.Error()
	if requested, ok := errors.AsType[*url.Error](err); ok {
		text = strings.Replace(text, requested.Error(), requested.Err.Error(), 1)
	}
	return text
}

// unreachableBecause is empty for an error after the registry has answered.
func unreachableBecause(err error) string {
	if resolve, ok := errors.AsType[*net.DNSError](err); ok {
		if resolve.IsNotFound {
			return "there is no such host"
		}
		return "its name cannot be looked up"
	}
	if certificate, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "its certificate is not trusted: " + certificate.Err.Error()
	}
	if header, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "it does not speak TLS: " + header.Msg
	}
	if dial, ok := errors.AsType[*net.OpError](err); ok && dial.Op == "dial" {
		return dial.Err.Error()
	}
	return ""
}

// answer says what an error of a registry means for the user.
func (r *Reader) answer(e *transport.Error, ref name.Reference) string {
	registry := ref.Context().RegistryStr()
	what := "has no such tag or digest, or no repository of that name"
	if e.Request != nil && strings.Contains(e.Request.URL.Path, "/blobs/") {
		what = "does not have it"
	}
	switch e.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		if r.anonymous(ref) {
			return fmt.Sprintf("the registry %s wants credentials, and the Docker configuration has none for it", registry)
		}
		return fmt.Sprintf("the registry %s does not accept the credentials of the Docker configuration for it (%d)", registry, e.StatusCode)
	case http.StatusNotFound:
		return fmt.Sprintf("the registry %s %s", registry, what)
	case http.StatusTooManyRequests:
		return fmt.Sprintf("the registry %s says that there were too many requests: run it again later, it goes on from here", registry)
	}
	said := ""
	for _, diagnostic := range e.Errors {
		said = ": " + printable.Quote(string(diagnostic.Code)+" "+diagnostic.Message, printable.MaxCell)
		break
	}
	return fmt.Sprintf("the registry %s answers %d %s%s", registry, e.StatusCode, http.StatusText(e.StatusCode), said)
}

// anonymous reports whether the user has no credentials for a registry.
func (r *Reader) anonymous(ref name.Reference) bool {
	auth, err := authn.Resolve(context.Background(), r.options.Keychain, ref.Context())
	return err == nil && auth == authn.Anonymous
}
