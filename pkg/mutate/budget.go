package mutate

import "github.com/shorthop/shorthop/pkg/policy"

// annotationLimit is the API server's limit for the keys and values of all
// annotations of an object together (TotalAnnotationSizeLimitB).
const annotationLimit = 256 << 10

// fits reports whether the record keeps the pod within the API server's limit
// for annotations.
func fits(annotations map[string]string, record string) bool {
	return sizeWith(annotations, len(record)) <= annotationLimit
}

// largeRecord bounds, in bytes, a record without the names of containers. Each name
// is in the record three times at most.
const largeRecord = 8 << 10

// mayLackRecord reports whether the pod may have node-local DNS of ours although
// nothing says so: no record, dnsPolicy None, and maybe no room for a record.
func mayLackRecord(pod *policy.Pod) bool {
	if _, recorded := pod.Metadata.Annotations[policy.AnnotationInjected]; recorded || pod.Spec.DNSPolicy != dnsNone {
		return false
	}
	size := largeRecord
	for _, list := range [][]policy.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			size += 3 * (len(list[i].Name) + len(`"",`))
		}
	}
	return sizeWith(pod.Metadata.Annotations, size) > annotationLimit
}

// sizeWith is the size of the annotations with a record of that length.
func sizeWith(annotations map[string]string, record int) int {
	size := len(policy.AnnotationInjected) + record
	for key, value := range annotations {
		if key != policy.AnnotationInjected {
			size += len(key) + len(value)
		}
	}
	return size
}
