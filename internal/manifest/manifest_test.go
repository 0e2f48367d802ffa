package manifest_test

import (
	"encoding/binary"
	"reflect"
	"strings"
	"testing"
	"unicode/utf16"

	admissionv1 "k8s.io/api/admissionregistration/v1"

	"github.com/shorthop/shorthop/internal/manifest"
	"github.com/shorthop/shorthop/pkg/policy"
)

const aPod = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n  - {name: web, image: nginx}\n"

// What editors, shells and archives make of a manifest.
func TestEncodings(t *testing.T) {
	t.Parallel()
	inUTF16 := func(text string, order binary.AppendByteOrder) string {
		var out []byte
		for _, unit := range utf16.Encode([]rune("\ufeff" + text)) {
			out = order.AppendUint16(out, unit)
		}
		return string(out)
	}
	for name, test := range map[string]struct {
		data    string
		pods    int
		problem string
	}{
		"a byte order mark":               {"\ufeff" + aPod, 1, ""},
		"carriage returns and line feeds": {strings.ReplaceAll(aPod+"---\n"+aPod, "\n", "\r\n"), 2, ""},
		"UTF-16 of PowerShell":            {inUTF16(strings.ReplaceAll(aPod, "\n", "\r\n"), binary.LittleEndian), 1, ""},
		"UTF-16, big end first":           {inUTF16(aPod, binary.BigEndian), 1, ""},
		"JSON with tabs":                  {"{\n\t\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"a\"}, \"spec\": {\"containers\": [{\"name\": \"a\"}]}}", 1, ""},
		"a byte that is no text":          {"\x00", 0, "control characters are not allowed"},
		"gzip":                            {"\x1f\x8b\x08\x00", 0, "is compressed with gzip"},
		"a zip archive":                   {"PK\x03\x04", 0, "is a zip archive"},
		"git-crypt":                       {"\x00GITCRYPT\x00\x01", 0, "is encrypted with git-crypt"},
		"nothing":                         {"", 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var r manifest.Reader
			r.Read("pod.yaml", []byte(test.data))
			if len(r.Pods) != test.pods {
				t.Errorf("%d pods, want %d", len(r.Pods), test.pods)
			}
			switch {
			case test.problem == "" && len(r.Problems) > 0:
				t.Errorf("problems: %v", r.Problems)
			case test.problem != "" && (len(r.Problems) != 1 || !strings.Contains(r.Problems[0].String(), test.problem)):
				t.Errorf("problems %v, want one that says %q", r.Problems, test.problem)
			}
		})
	}
}

func TestAPodCanBeMoved(t *testing.T) {
	t.Parallel()
	var r manifest.Reader
	r.Read("pod.yaml", []byte(aPod))
	p := &r.Pods[0]
	if err := p.SetNamespace("shop"); err != nil {
		t.Fatal(err)
	}
	if p.Namespace != "shop" || p.Metadata.Namespace != "shop" || !strings.Contains(string(p.JSON), `"namespace":"shop"`) {
		t.Errorf("%+v as %s", p.Metadata, p.JSON)
	}
}

// The defaults of the API server that decisions depend on.
func TestDefaults(t *testing.T) {
	t.Parallel()
	var r manifest.Reader
	r.Read("pod.yaml", []byte(strings.Replace(aPod, "spec:\n", "spec:\n  serviceAccount: robot\n", 1)))
	want := policy.PodSpec{DNSPolicy: "ClusterFirst", ServiceAccountName: "robot"}
	if got := r.Pods[0].Spec; got.DNSPolicy != want.DNSPolicy || got.ServiceAccountName != want.ServiceAccountName {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestCheckNamesTheItemOfAList(t *testing.T) {
	t.Parallel()
	documents, problems := manifest.Documents("all.yaml", []byte("apiVersion: v1\nkind: List\nitems:\n- {apiVersion: admissionregistration.k8s.io/v1, kind: MutatingWebhookConfiguration, webhooks: {}, webhook: 1}\n"))
	if len(documents) != 1 || len(problems) > 0 {
		t.Fatalf("%v, %v", documents, problems)
	}
	wrong, unknown := documents[0].Check(reflect.TypeFor[admissionv1.MutatingWebhookConfiguration]())
	if len(wrong) != 1 || wrong[0].Field != "items[0].webhooks" || len(unknown) != 1 || unknown[0].Field != "items[0].webhook" {
		t.Errorf("wrong %v, unknown %v", wrong, unknown)
	}
}

func TestTheLastOfTwoKeysCounts(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  hostNetwork: false\n  hostNetwork: true\n  containers: [{name: web}]\n",
		`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {"hostNetwork": false, "hostNetwork": true, "containers": [{"name": "web"}]}}`,
	} {
		var r manifest.Reader
		r.Read("pod", []byte(text))
		if len(r.Pods) != 1 || !r.Pods[0].Spec.HostNetwork || len(r.Remarks) != 1 {
			t.Errorf("%d pods, remarks %v, problems %v of %s", len(r.Pods), r.Remarks, r.Problems, text)
		}
	}
}
