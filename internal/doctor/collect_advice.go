package doctor

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/internal/advicefile"
	"github.com/shorthop/shorthop/internal/health"
	"github.com/shorthop/shorthop/pkg/policy"
)

// adviceSource is a key of a ConfigMap that has a document of advice, or a part.
type adviceSource struct{ namespace, configMap, key string }

// adviceSources are those that a replica is given at --advice. A source without a key
// has all of them.
func adviceSources(pod *corev1.Pod) (sources []adviceSource) {
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		at := argument(slices.Concat(c.Command, c.Args), "--advice")
		if at == "" {
			continue
		}
		for _, mount := range c.VolumeMounts {
			// What is there is the mount, or in it, or around it.
			for _, volume := range pod.Spec.Volumes {
				if volume.Name != mount.Name {
					continue
				}
				if m := volume.ConfigMap; m != nil {
					sources = append(sources, mountedAt(pod.Namespace, m.Name, m.Items, mount.MountPath, at)...)
				}
				if volume.Projected == nil {
					continue
				}
				for _, p := range volume.Projected.Sources {
					if p.ConfigMap != nil {
						sources = append(sources, mountedAt(pod.Namespace, p.ConfigMap.Name, p.ConfigMap.Items, mount.MountPath, at)...)
					}
				}
			}
		}
	}
	return sources
}

// mountedAt are the keys of a ConfigMap that are files at a path, or in it.
func mountedAt(namespace, name string, items []corev1.KeyToPath, mount, at string) (sources []adviceSource) {
	within := func(file string) bool { return file == at || strings.HasPrefix(file, at+"/") }
	at = path.Clean(at)
	if len(items) == 0 {
		switch mount = path.Clean(mount); {
		case within(mount):
			return []adviceSource{{namespace, name, ""}}
		case path.Dir(at) == mount:
			return []adviceSource{{namespace, name, path.Base(at)}}
		}
	}
	for _, item := range items {
		if within(path.Join(mount, item.Path)) {
			sources = append(sources, adviceSource{namespace, name, item.Key})
		}
	}
	return sources
}

// argument is the value of a flag, as --flag=value or in two words.
func argument(words []string, flag string) string {
	for i, word := range words {
		if value, found := strings.CutPrefix(word, flag+"="); found {
			return value
		}
		if word == flag && i+1 < len(words) {
			return words[i+1]
		}
	}
	return ""
}

// adviceInForce reads the documents that the replicas follow. It is nil where there is
// none. asked is what a replica says, nil where none could be asked.
func (c *collector) adviceInForce(ctx context.Context, asked *health.PolicyDocument) (*policy.Advice, error) {
	if asked != nil && asked.Advice == nil {
		return nil, nil
	}
	var sources []adviceSource
	for i := range c.facts.replicas.value {
		if sources = c.facts.replicas.value[i].advice; len(sources) > 0 {
			break
		}
	}
	if len(sources) > 0 {
		c.Progress("the advice")
	}
	var files []advicefile.File
	for _, s := range sources {
		found, err := c.client.CoreV1().ConfigMaps(s.namespace).Get(ctx, s.configMap, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			continue // it is optional
		case err != nil:
			return nil, fmt.Errorf("cannot read the advice in force in ConfigMap %s/%s, name it with --advice: %w", s.namespace, s.configMap, err)
		}
		for key, text := range found.Data {
			if s.key == "" || s.key == key {
				files = append(files, advicefile.File{Name: "ConfigMap " + s.namespace + "/" + s.configMap, Data: []byte(text)})
			}
		}
		for key, data := range found.BinaryData {
			if s.key == "" || s.key == key {
				files = append(files, advicefile.File{Name: "ConfigMap " + s.namespace + "/" + s.configMap, Data: data})
			}
		}
	}
	files = slices.DeleteFunc(files, func(f advicefile.File) bool { return len(f.Data) == 0 })
	if len(files) == 0 {
		if asked != nil {
			return nil, fmt.Errorf("the replicas have advice (%s), and it is in no ConfigMap that they mount: name it with --advice", asked.Advice.Hash)
		}
		return nil, nil
	}
	parts, err := advicefile.Parse(files)
	if err == nil {
		var advice *policy.Advice
		if advice, err = policy.CompileAdvice(parts...); err == nil {
			return advice, nil
		}
	}
	return nil, fmt.Errorf("cannot read the advice in force, name it with --advice: %w", err)
}
