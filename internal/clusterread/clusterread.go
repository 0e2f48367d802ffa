// Package clusterread reads single things from an API server on behalf of a person
// who may lack a permission. Every request has a time limit of its own, and an error
// names the permission that is missing.
package clusterread

import (
	"context"
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

// List reads all objects, page by page. page reads one page with the options that it
// is given, and returns its objects and the token of the next page, empty after the
// last one.
func List[T any](ctx context.Context, resource, selector string, page func(context.Context, metav1.ListOptions) ([]T, string, error)) ([]T, error) {
	var all []T
	options := metav1.ListOptions{LabelSelector: selector, Limit: pageSize}
	for {
		items, err := Get(ctx, "list", resource, func(ctx context.Context) ([]T, error) {
			items, next, err := page(ctx, options)
			options.Continue = next
			return items, err
		})
		if err != nil {
			return nil, err
		}
		all = append(all, items...)
		if options.Continue == "" {
			return all, nil
		}
	}
}
