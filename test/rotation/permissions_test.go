package rotation_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// connection returns a kubeconfig for a user who may do exactly what the
// server needs for self-managed certificates. What it writes to webhook
// configurations arrives with a delay.
func (s *site) connection(delay time.Duration) (kubeconfig string) {
	s.Helper()
	s.allow("shorthop:" + s.name)
	config := rest.CopyConfig(shared.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: "shorthop:" + s.name}
	transport, err := rest.TransportFor(config)
	if err != nil {
		s.Fatal(err)
	}
	target, err := url.Parse(config.Host)
	if err != nil {
		s.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     transport,
		FlushInterval: -1, // watches
		ErrorLog:      log.New(io.Discard, "", 0),
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && strings.Contains(r.URL.Path, "/mutatingwebhookconfigurations/") {
			time.Sleep(delay)
		}
		proxy.ServeHTTP(w, r)
	}))
	s.Cleanup(func() {
		server.CloseClientConnections() // watches do not end by themselves
		server.Close()
	})
	kubeconfig = filepath.Join(s.TempDir(), "kubeconfig")
	content := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: proxy, cluster: {server: %q}}]
contexts: [{name: proxy, context: {cluster: proxy}}]
current-context: proxy
`, server.URL)
	if err := os.WriteFile(kubeconfig, []byte(content), 0o600); err != nil {
		s.Fatal(err)
	}
	return kubeconfig
}

// allow grants the least that works.
func (s *site) allow(user string) {
	s.Helper()
	meta := metav1.ObjectMeta{Name: s.name}
	subjects := []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}}
	client := shared.Client.RbacV1()
	_, err := client.Roles(s.name).Create(s.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{s.name}, Verbs: []string{"list", "watch", "update"}},
	}}, metav1.CreateOptions{})
	if err != nil {
		s.Fatal(err)
	}
	_, err = client.RoleBindings(s.name).Create(s.Context(), &rbacv1.RoleBinding{
		ObjectMeta: meta, Subjects: subjects, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: s.name},
	}, metav1.CreateOptions{})
	if err != nil {
		s.Fatal(err)
	}
	_, err = client.ClusterRoles().Create(s.Context(), &rbacv1.ClusterRole{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: []string{"get", "list", "watch"}},
		{
			APIGroups: []string{"admissionregistration.k8s.io"}, Resources: []string{"mutatingwebhookconfigurations"},
			ResourceNames: []string{s.name}, Verbs: []string{"list", "watch", "patch"},
		},
	}}, metav1.CreateOptions{})
	if err != nil {
		s.Fatal(err)
	}
	_, err = client.ClusterRoleBindings().Create(s.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta, Subjects: subjects, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: s.name},
	}, metav1.CreateOptions{})
	if err != nil {
		s.Fatal(err)
	}
}
