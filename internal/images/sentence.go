package images

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/shorthop/shorthop/internal/rootfs"
	"github.com/shorthop/shorthop/pkg/printable"
)

// problem is what is wrong with an image, in words.
type problem string

func (p problem) Error() string { return string(p) }

const errSchema1 = problem("it has a manifest of schema 1, which is not read: push it again with a current tool")

// fromLibrary is an error of the library, which is told in other words.
type fromLibrary struct{ error }

func (e fromLibrary) Unwrap() error { return e.error }

// keychain tells that credentials could not be read.
type keychain struct{ authn.Keychain }

// ResolveContext is called by the library in place of Resolve.
func (k keychain) ResolveContext(ctx context.Context, target authn.Resource) (authn.Authenticator, error) {
	found, err := authn.Resolve(ctx, k.Keychain, target)
	if err != nil {
		return nil, problem(fmt.Sprintf("the credentials for %s cannot be read: %v", target.RegistryStr(), err))
	}
	return found, nil
}

// otherPlatform is the error of an image for another system.
type otherPlatform string

func (p otherPlatform) Error() string {
	return fmt.Sprintf("its configuration says that it is for %s, and only images for %s are read", printable.Name(string(p)), linux)
}

// noPlatform says what was wanted, and what is there.
func (r *Reader) noPlatform(there []string) error {
	wanted := linux
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

// unreachable returns why the registry of an image is not asked again.
func (r *Reader) unreachable(ref name.Reference) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	registry := ref.Context().RegistryStr()
	if r.late[registry] >= maxLate {
		return fmt.Sprintf("the registry %s was too slow for %d images in a row and is not asked any more: run it again later", registry, r.late[registry])
	}
	return r.silent[registry]
}

// sentence says in one sentence why an image could not be read. A registry that
// cannot be reached is not asked again, nor is one where no token is to be had because
// nobody answers: there may be hundreds of its images, and each would take a minute.
func (r *Reader) sentence(err error, ref name.Reference) string {
	if ref == nil {
		return err.Error()
	}
	inner, foreign := errors.AsType[fromLibrary](err)
	if !foreign {
		return printable.Clip(err.Error())
	}
	// What was being read is said before what the registry answered.
	said := func(what string) string { return printable.Clip(strings.Replace(err.Error(), inner.Error(), what, 1)) }
	registry := ref.Context().RegistryStr()
	if answer := r.answered(inner.error, ref); answer != "" {
		return said(answer)
	}
	who, itself := asked(inner.error, registry)
	sentence := fmt.Sprintf("%s cannot be reached: %s", who, unreachableBecause(inner.error))
	if !itself && !isMute(inner.error) {
		return said(sentence)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.silent[registry] = sentence
	return sentence
}

// isMute reports whether nothing at all came from a registry, or from who gives tokens
// for it, before anything of an image was asked for.
func isMute(err error) bool {
	late, ok := errors.AsType[slow](err)
	return ok && late.before && late.came == 0
}

// asked is who was asked: the registry, or where it has sent us.
func asked(err error, registry string) (who string, itself bool) {
	if requested, ok := errors.AsType[*url.Error](err); ok {
		if address, err := url.Parse(requested.URL); err == nil && address.Host != "" && address.Host != registry {
			return fmt.Sprintf("%s, where the registry %s sends us,", printable.Name(address.Host), registry), false
		}
	}
	return "the registry " + registry, true
}

// meanings are those of the library's errors that have no type.
var meanings = []struct{ begin, sentence string }{
	{"SSRF protection: ", "the registry %s redirects to an address of a private network, which is not followed"},
	{"refusing token-server redirect", "where the registry %s sends us for a token redirects to where we do not ask for one"},
	{"invalid realm in www-authenticate: ", "the registry %s sends us for a token to where we do not ask for one"},
	{"malformed www-authenticate, missing realm", "the registry %s wants a token and does not say from where"},
	{"no token in bearer response:", noToken},
}

const noToken = "where the registry %s sends us for a token answers without one"

// answered says what an error of the library means, "" where nobody answered.
func (r *Reader) answered(err error, ref name.Reference) string {
	if own, ok := errors.AsType[problem](err); ok {
		return own.Error()
	}
	if own, ok := errors.AsType[slow](err); ok && !isMute(err) {
		return own.Error()
	}
	if own, ok := errors.AsType[interrupted](err); ok {
		return own.Error()
	}
	if answered, ok := errors.AsType[*transport.Error](err); ok {
		return r.answer(answered, ref)
	}
	if unreachableBecause(err) != "" {
		return ""
	}
	registry := ref.Context().RegistryStr()
	who, _ := asked(err, registry)
	text := plain(err)
	if strings.HasPrefix(text, "manifest digest: ") {
		return rootfs.ErrDigest.Error()
	}
	for _, meaning := range meanings {
		if strings.HasPrefix(text, meaning.begin) {
			return fmt.Sprintf(meaning.sentence, registry)
		}
	}
	if closed(err) {
		return who + " closes the connection before it has answered"
	}
	if wrong, ok := errors.AsType[garbled](err); ok {
		return fmt.Sprintf("what %s answers is not HTTP that can be read: %s", who, quoted(wrong.Error()))
	}
	if errors.Is(err, http.ErrSchemeMismatch) {
		return who + " answers without TLS"
	}
	_, syntax := errors.AsType[*json.SyntaxError](err)
	if _, kind := errors.AsType[*json.UnmarshalTypeError](err); syntax || kind { // the library parses nothing else
		return fmt.Sprintf(noToken, registry)
	}
	return fmt.Sprintf("what %s answers cannot be read: %s", who, quoted(text))
}

// quoted is the value that an error of Go quotes, or else all that it says.
func quoted(text string) string {
	if at := strings.IndexByte(text, '"'); at >= 0 {
		if prefix, err := strconv.QuotedPrefix(text[at:]); err == nil {
			if value, err := strconv.Unquote(prefix); err == nil {
				text = value
			}
		}
	}
	return printable.Quote(text, printable.MaxCell)
}

// withoutSecrets is an address without what may be a secret in it.
func withoutSecrets(address string) string {
	address, _, _ = strings.Cut(address, "?")
	return address[strings.LastIndexByte(address, '@')+1:]
}

// plain is an error without addresses of requests, which may have secrets.
func plain(err error) string {
	if requested, ok := errors.AsType[*url.Error](err); ok {
		return requested.Err.Error()
	}
	return err.Error()
}

// unreachableBecause is empty for an error after the registry has answered.
func unreachableBecause(err error) string {
	if late, ok := errors.AsType[slow](err); ok && isMute(err) {
		return late.Error()
	}
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
	if late, ok := errors.AsType[net.Error](err); ok && late.Timeout() {
		return "it does not answer in time"
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
