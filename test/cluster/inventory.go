package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
)

// Inventory lists every object of every kind that the API server serves, as resource.group/namespace/name, sorted. It
// leaves out events and leases, which a cluster writes by itself at any time.
func Inventory(ctx context.Context, config *rest.Config) ([]string, error) {
	config = rest.CopyConfig(config)
	config.WarningHandler = rest.NoWarnings{} // that a kind is deprecated is no news here
	served, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("creating a discovery client: %w", err)
	}
	client, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("creating a metadata client: %w", err)
	}
	lists, err := served.ServerPreferredResources()
	if err != nil {
		return nil, fmt.Errorf("discovering the kinds of objects: %w", err)
	}
	var objects []string
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, fmt.Errorf("discovering the kinds of objects: %w", err)
		}
		for i := range list.APIResources {
			resource := &list.APIResources[i]
			if !slices.Contains(resource.Verbs, "list") || resource.Name == "events" || resource.Name == "leases" {
				continue
			}
			kind := version.WithResource(resource.Name)
			items, err := client.Resource(kind).List(ctx, metav1.ListOptions{})
			if err != nil {
				return nil, fmt.Errorf("listing %s: %w", kind.GroupResource(), err)
			}
			for _, item := range items.Items {
				objects = append(objects, strings.Join([]string{kind.GroupResource().String(), item.Namespace, item.Name}, "/"))
			}
		}
	}
	slices.Sort(objects)
	return objects, nil
}
