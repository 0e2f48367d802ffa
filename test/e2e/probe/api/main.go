// The probe that calls the API server the way programs in pods do: once with client-go's in-cluster configuration, and
// once with nothing but HTTPS, the mounted token and CA, and the variable KUBERNETES_SERVICE_HOST.
//
// It prints one line of JSON for each client: which host it used, the address that it was connected to, and who the API
// server says that it is.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"sync/atomic"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

type result struct {
	Client  string `json:"client"`
	Host    string `json:"host"`
	Address string `json:"address"`
	User    string `json:"user"`
	Error   string `json:"error"`
}

func main() {
	if !call() {
		os.Exit(1)
	}
}

// call calls with every client and returns whether all of them have succeeded.
func call() bool {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	encoder := json.NewEncoder(os.Stdout)
	succeeded := true
	for _, client := range []struct {
		name string
		call func(context.Context, *result) error
	}{{"client-go", viaClientGo}, {"https", viaHTTPS}} {
		r := result{Client: client.name}
		if err := client.call(ctx, &r); err != nil {
			r.Error, succeeded = err.Error(), false
		}
		if err := encoder.Encode(r); err != nil {
			succeeded = false
		}
	}
	return succeeded
}

// recorded dials and keeps the address that the connection has led to.
func recorded(address *atomic.Value) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, host string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, host)
		if err == nil {
			address.Store(conn.RemoteAddr().String())
		}
		return conn, err
	}
}

func viaClientGo(ctx context.Context, r *result) error {
	config, err := rest.InClusterConfig()
	if err != nil {
		return err
	}
	var address atomic.Value
	config.Dial = recorded(&address)
	r.Host = config.Host
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	review, err := client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	r.Address, _ = address.Load().(string)
	if err != nil {
		return err
	}
	r.User = review.Status.UserInfo.Username
	return nil
}

func viaHTTPS(ctx context.Context, r *result) error {
	const mounted = "/var/run/secrets/kubernetes.io/serviceaccount/"
	token, err := os.ReadFile(mounted + "token")
	if err != nil {
		return err
	}
	bundle, err := os.ReadFile(mounted + "ca.crt")
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(bundle) {
		return errors.New("no CA in the mounted bundle")
	}
	host := net.JoinHostPort(os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT"))
	r.Host = "https://" + host
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { r.Address = info.Conn.RemoteAddr().String() },
	})
	body := []byte(`{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.Host+"/apis/authentication.k8s.io/v1/selfsubjectreviews", bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+string(token))
	request.Header.Set("Content-Type", "application/json")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusCreated {
		return fmt.Errorf("the API server answered %s", response.Status)
	}
	var review authenticationv1.SelfSubjectReview
	if err := json.NewDecoder(response.Body).Decode(&review); err != nil {
		return err
	}
	r.User = review.Status.UserInfo.Username
	return nil
}
