// Package clusterread reads single objects, and lists page by page, from an API server
// on behalf of a person who may lack a permission. Every request has a time limit of its
// own, and an error names the permission that is missing.
package clusterread

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// Timeout bounds each request, and each page of a list.
	Timeout = 10 * time.Second
	// pageSize is how many objects are read at once.
	pageSize = 500
)

// Forbidden is the error for a missing permission.
func Forbidden(verb, resource string) error {
	return fmt.Errorf("needs the right to %s %s", verb, resource)
}

// Get reads one thing within Timeout. For a thing that does not exist it returns the
// zero value and no error. verb and resource name the permission that read needs, for
// errors.
func Get[T any](ctx context.Context, verb, resource string, read func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, Timeout, fmt.Errorf("no answer within %s", Timeout))
	defer cancel()
	value, err := read(ctx)
	var zero T
	switch {
	case err == nil:
		return value, nil
	case apierrors.IsNotFound(err):
		return zero, nil
	case apierrors.IsForbidden(err):
		return zero, Forbidden(verb, resource)
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	return zero, fmt.Errorf("cannot %s %s: %w", verb, resource, err)
}

// One is Get for an object: nil where it does not exist.
func One[T any](ctx context.Context, resource, name string, read func(context.Context, string, metav1.GetOptions) (*T, error)) (*T, error) {
	return Get(ctx, "get", resource, func(ctx context.Context) (*T, error) {
		object, err := read(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		return object, nil
	})
}

// Pages reads all objects of a kind, page by page: read reads one with the options that
// it is given, and returns the token of the next page, empty after the last one. Where
// the API server does not keep the list any more, the rest is read as it is by then.
func Pages(ctx context.Context, resource, selector string, read func(context.Context, metav1.ListOptions) (next string, err error)) error {
	options := metav1.ListOptions{LabelSelector: selector, Limit: pageSize}
	for expired := false; ; {
		next, err := Get(ctx, "list", resource, func(ctx context.Context) (string, error) { return read(ctx, options) })
		if further := ContinueAfterExpiry(err); further != "" && !expired {
			options.Continue, expired = further, true
			continue
		}
		if err != nil {
			return err
		}
		if options.Continue, expired = next, false; next == "" {
			return nil
		}
	}
}

// List is Pages for objects that are wanted together: page returns those of its page.
func List[T any](ctx context.Context, resource, selector string, page func(context.Context, metav1.ListOptions) ([]T, string, error)) ([]T, error) {
	var all []T
	err := Pages(ctx, resource, selector, func(ctx context.Context, options metav1.ListOptions) (string, error) {
		items, next, err := page(ctx, options)
		all = append(all, items...)
		return next, err
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// ContinueAfterExpiry returns the token that the API server offers in the error for a
// token whose list it does not keep any more; "" for any other error. With the new
// token the reading goes on at the same place, in the list as it is now.
func ContinueAfterExpiry(err error) string {
	if !apierrors.IsResourceExpired(err) {
		return ""
	}
	var status apierrors.APIStatus // not an error by its methods
	if !errors.As(err, &status) {
		return ""
	}
	return status.Status().Continue
}
