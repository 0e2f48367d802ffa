package images

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/shorthop/shorthop/internal/podlist"
	"github.com/shorthop/shorthop/pkg/policy"
)

// pod is what is read of a pod.
type pod struct {
	pod    policy.Pod
	status podStatus
}

type podStatus struct {
	Status struct {
		ContainerStatuses          []containerStatus `json:"containerStatuses"`
		InitContainerStatuses      []containerStatus `json:"initContainerStatuses"`
		EphemeralContainerStatuses []containerStatus `json:"ephemeralContainerStatuses"`
	} `json:"status"`
}

// containerStatus says what a container runs. The imageID is repository@digest
// where the container runtime pulled the image from a registry, and the image's
// own ID where somebody put it onto the node.
type containerStatus struct {
	Name    string `json:"name"`
	ImageID string `json:"imageID"`
}

// UnmarshalJSONFrom decodes a pod of a list.
func (p *pod) UnmarshalJSONFrom(decoder *jsontext.Decoder) error {
	value, err := decoder.ReadValue()
	if err != nil {
		return err
	}
	for _, into := range []any{&p.pod, &p.status} {
		if err := json.Unmarshal(value, into, decoder.Options()); err != nil {
			return err
		}
	}
	return nil
}

// OfPods are images, and the list of pods that they are of, nil where none is.
type OfPods struct {
	Images []Image
	List   *List
}

// List is a list of pods that was read.
type List struct {
	Pods int `json:"pods"`
	// Windows pods are among them; their images are left out.
	Windows int `json:"windowsPods"`
	// Consistent is false where pods may have been missed because they came or
	// went while the list was read.
	Consistent bool `json:"consistent"`
}

// Named are images by their references, each once.
func Named(references []string) *OfPods {
	found := &OfPods{}
	for _, reference := range slices.Compact(slices.Sorted(slices.Values(references))) {
		found.Images = append(found.Images, Image{Reference: reference})
	}
	return found
}

// InCluster lists the images of a namespace's pods, "" for all. page is called
// now and then with the number of pods read, and left.
func InCluster(ctx context.Context, config *rest.Config, namespace string, page func(read, left int)) (*OfPods, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	reader := podlist.Reader[pod]{
		Client: client.CoreV1().RESTClient(),
		Page: func(_ context.Context, read, left int) error {
			page(read, left)
			return nil
		},
	}
	c := collector{images: map[string]*collected{}}
	consistent, err := reader.Read(ctx, namespace, c.add)
	if err != nil {
		return nil, err
	}
	found := &OfPods{List: &List{c.pods, c.windows, consistent}}
	for _, reference := range slices.Sorted(maps.Keys(c.images)) {
		image := Running(reference, slices.Sorted(maps.Keys(c.images[reference].running))...)
		image.Pods = c.images[reference].pods
		found.Images = append(found.Images, image)
	}
	return found, nil
}

type collector struct {
	images        map[string]*collected
	pods, windows int
}

type collected struct {
	pods    int
	running map[string]bool
}

// digest is what the imageID says of a container's image, "" for nothing.
func (s *containerStatus) digest() string {
	if _, digest, ok := strings.Cut(s.ImageID, "@"); ok {
		return digest
	}
	const algorithm, hexDigits = "sha256:", 64
	id := strings.TrimPrefix(strings.TrimPrefix(s.ImageID, "docker://"), algorithm)
	if len(id) != hexDigits || strings.Trim(id, "0123456789abcdef") != "" {
		return ""
	}
	return algorithm + id
}

const (
	// maxRunning is how many digests of a tag are read besides its present one.
	maxRunning = 8
	// maxDigests bounds those that are kept: an index's images are among them.
	maxDigests = maxPlatforms + maxRunning
)

func (c *collector) add(p *pod) {
	c.pods++
	if p.pod.IsWindows() {
		c.windows++
		return
	}
	digests := map[string]string{} // by container
	for _, status := range slices.Concat(p.status.Status.ContainerStatuses, p.status.Status.InitContainerStatuses, p.status.Status.EphemeralContainerStatuses) {
		digests[status.Name] = status.digest()
	}
	counted := map[string]bool{}
	for _, container := range p.pod.Spec.AllContainers() {
		image := c.images[container.Image]
		if image == nil {
			image = &collected{running: map[string]bool{}}
			c.images[container.Image] = image
		}
		if !counted[container.Image] {
			counted[container.Image] = true
			image.pods++
		}
		if digest := digests[container.Name]; digest != "" && len(image.running) <= maxDigests {
			image.running[digest] = true
		}
	}
}
