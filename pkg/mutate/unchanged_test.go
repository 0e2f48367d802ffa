package mutate_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/shorthop/shorthop/pkg/policy"
)

// object is a JSON object as the standard library decodes it, with numbers
// left as they are written.
type object = map[string]any

func toObject(document []byte) (object, error) {
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	var o object
	err := decoder.Decode(&o)
	return o, err
}

// userPartUnchanged takes out of the patched pod what the decision says must
// have been added, by value, and compares all of the rest with the pod before.
func userPartUnchanged(beforeJSON, afterJSON []byte, d *policy.Decision, namespace string) error {
	before, err := toObject(beforeJSON)
	if err != nil {
		return err
	}
	after, err := toObject(afterJSON)
	if err != nil {
		return err
	}
	withoutMetadataKeys(before)
	withoutMetadataKeys(after)
	beforeSpec, _ := before["spec"].(object)
	afterSpec, _ := after["spec"].(object)

	ours := expectedVariables(&d.ServiceHost)
	for _, list := range []string{"initContainers", "containers"} {
		beforeList, _ := beforeSpec[list].([]any)
		afterList, _ := afterSpec[list].([]any)
		for i := range min(len(beforeList), len(afterList)) {
			was, is := asObject(beforeList[i]), asObject(afterList[i])
			wasEnv, isEnv := listIn(was, "env"), listIn(is, "env")
			if len(ours) > 0 && !namesVariable(wasEnv) {
				if len(isEnv) < len(ours) || !reflect.DeepEqual(isEnv[:len(ours)], ours) {
					return fmt.Errorf("%s[%d].env does not begin with %v: %v", list, i, ours, isEnv)
				}
				isEnv = isEnv[len(ours):]
			}
			setList(was, "env", wasEnv)
			setList(is, "env", isEnv)
		}
	}
	if err := withoutDNS(beforeSpec, afterSpec, &d.DNS, namespace); err != nil {
		return err
	}
	if !reflect.DeepEqual(before, after) {
		return fmt.Errorf("something of the user's changed:\nbefore: %s\nafter:  %s", beforeJSON, afterJSON)
	}
	return nil
}

// withoutMetadataKeys takes out the two keys that are ours, and the maps where
// nothing is left.
func withoutMetadataKeys(pod object) {
	metadata := asObject(pod["metadata"])
	for field, key := range map[string]string{"labels": policy.LabelPinned, "annotations": policy.AnnotationInjected} {
		values := asObject(metadata[field])
		delete(values, key)
		if len(values) == 0 {
			delete(metadata, field)
		}
	}
}

// withoutDNS takes what was added out of the patched spec.
func withoutDNS(before, after object, d *policy.DNSDecision, namespace string) error {
	was, had := before["dnsConfig"].(object)
	is, has := after["dnsConfig"].(object)
	var servers, searches, options []any
	if d.Injects() {
		set := listIn(was, "options")
		for _, option := range d.Options {
			if slices.ContainsFunc(set, func(o any) bool { return setsOption(asObject(o), option.Name) }) {
				continue
			}
			added := object{"name": option.Name}
			if option.Value != "" {
				added["value"] = option.Value
			}
			options = append(options, added)
		}
		if d.Mode == policy.DNSModeNodeLocal {
			servers = toList(d.Servers, d.FallbackServers)
			searches = toList([]string{namespace + ".svc." + d.Domain, "svc." + d.Domain, d.Domain}, d.ExtraSearches)
			if after["dnsPolicy"] != "None" {
				return fmt.Errorf("dnsPolicy is %v in mode NodeLocal", after["dnsPolicy"])
			}
			switch before["dnsPolicy"] {
			case nil, "", "ClusterFirst", "ClusterFirstWithHostNet":
			default:
				return fmt.Errorf("dnsPolicy was %v", before["dnsPolicy"])
			}
			after["dnsPolicy"] = before["dnsPolicy"]
			if _, named := before["dnsPolicy"]; !named {
				delete(after, "dnsPolicy")
			}
		}
	}
	for _, list := range []struct {
		name        string
		front, back []any
	}{{"nameservers", servers, nil}, {"searches", searches, nil}, {"options", nil, options}} {
		want := slices.Concat(list.front, listIn(was, list.name), list.back)
		if got := listIn(is, list.name); len(got) != len(want) || len(got) > 0 && !reflect.DeepEqual(got, want) {
			return fmt.Errorf("dnsConfig.%s is %v, want %v", list.name, got, want)
		}
		// Compared, so the rest of dnsConfig remains.
		delete(was, list.name)
		delete(is, list.name)
	}
	if !had && has && len(is) == 0 {
		delete(after, "dnsConfig")
		delete(before, "dnsConfig")
	}
	return nil
}

func expectedVariables(d *policy.ServiceHostDecision) []any {
	if !d.Injects() {
		return nil
	}
	host := object{"name": "KUBERNETES_SERVICE_HOST", "value": d.Host}
	if d.FromNodeIP {
		host = object{
			"name":      "KUBERNETES_SERVICE_HOST",
			"valueFrom": object{"fieldRef": object{"apiVersion": "v1", "fieldPath": "status.hostIP"}},
		}
	}
	if d.Port == "" {
		return []any{host}
	}
	return []any{host, object{"name": "KUBERNETES_SERVICE_PORT", "value": d.Port}}
}

func namesVariable(env []any) bool {
	return slices.ContainsFunc(env, func(v any) bool {
		name := asObject(v)["name"]
		return name == "KUBERNETES_SERVICE_HOST" || name == "KUBERNETES_SERVICE_PORT"
	})
}

// setsOption reports whether a resolver finds the option in what kubelet
// writes: the name as it is, and a colon and the value if there is one.
func setsOption(o object, name string) bool {
	line, _ := o["name"].(string)
	for word := range strings.FieldsSeq(line) {
		if word == name || strings.HasPrefix(word, name+":") {
			return true
		}
	}
	return false
}

func asObject(v any) object {
	o, _ := v.(object)
	return o
}

func listIn(o object, key string) []any {
	list, _ := o[key].([]any)
	return list
}

// setList writes a list, and no list where it is empty.
func setList(o object, key string, list []any) {
	if len(list) == 0 {
		delete(o, key)
		return
	}
	o[key] = list
}

func toList(lists ...[]string) []any {
	var joined []any
	for _, list := range lists {
		for _, value := range list {
			joined = append(joined, value)
		}
	}
	return joined
}
