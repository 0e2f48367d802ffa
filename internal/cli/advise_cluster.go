package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"

	"github.com/shorthop/shorthop/pkg/advisor"
)

// Where the pods of the first hop are, the first that there is any of.
const (
	dnsNamespace      = "kube-system"
	nodeLocalSelector = "k8s-app=node-local-dns"
	kubeDNSSelector   = "k8s-app=kube-dns"
)

// podList is a list of pods, or a page of one. Each is handed on while the rest is
// still coming in.
type podList struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Continue string `json:"continue"`
	} `json:"metadata"`
	Items podItems `json:"items"`
}

type podItems struct {
	each func(*advisor.Pod)
	n    int
}

// UnmarshalJSONFrom decodes a list and keeps nothing of it.
func (i *podItems) UnmarshalJSONFrom(decoder *jsontext.Decoder) error {
	if _, err := decoder.ReadToken(); err != nil {
		return err
	}
	for decoder.PeekKind() != jsontext.KindEndArray {
		pod := &advisor.Pod{}
		if err := json.UnmarshalDecode(decoder, pod); err != nil {
			return err
		}
		i.each(pod)
		i.n++
	}
	_, err := decoder.ReadToken()
	return err
}

func decodePods(r io.Reader, each func(*advisor.Pod)) (*podList, error) {
	list := &podList{Items: podItems{each: each}}
	err := json.UnmarshalRead(r, list, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	return list, err
}

// adviseSource is where pods and logs come from: a file, or a cluster.
type adviseSource struct {
	streams  Streams
	podsFile string
	client   kubernetes.Interface // nil where nothing is asked of a cluster
}

func (o *adviseOptions) source(_ context.Context, s Streams) (*adviseSource, error) {
	source := &adviseSource{streams: s, podsFile: o.podsFile}
	if o.podsFile != "" && o.since == 0 {
		return source, nil
	}
	config, err := o.cluster.config()
	if err != nil {
		return nil, err
	}
	if source.client, err = kubernetes.NewForConfig(config); err != nil {
		return nil, failure("%v", err)
	}
	return source, nil
}

// pods adds all pods.
func (a *adviseSource) pods(ctx context.Context, clients *advisor.Clients) error {
	if a.podsFile == "" {
		return a.clusterPods(ctx, clients)
	}
	in := a.streams.In
	if a.podsFile != stdinName {
		file, err := a.streams.Open(a.podsFile)
		if err != nil {
			return fmt.Errorf("cannot read %s: %w", a.podsFile, withoutPath(err))
		}
		defer file.Close()
		in = file
	}
	plain, err := unzipped(in)
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", displayName(a.podsFile), err)
	}
	if _, err := decodePods(plain, clients.Add); err != nil {
		return fmt.Errorf("cannot read %s: not what kubectl get pods -A -o json prints", displayName(a.podsFile))
	}
	if clients.Len() == 0 {
		return fmt.Errorf("cannot read %s: no pods in it; it is what kubectl get pods -A -o json prints", displayName(a.podsFile))
	}
	return nil
}

func (a *adviseSource) clusterPods(ctx context.Context, clients *advisor.Clients) error {
	token := ""
	for {
		page, err := a.page(ctx, token, clients)
		if err != nil {
			return fmt.Errorf("cannot list pods: %w", err)
		}
		if token = page.Metadata.Continue; token == "" {
			return nil
		}
	}
}

func (a *adviseSource) page(ctx context.Context, token string, clients *advisor.Clients) (*podList, error) {
	const pageSize = 500
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	request := a.client.CoreV1().RESTClient().Get().Resource("pods").
		SetHeader("Accept", "application/json").Param("limit", strconv.Itoa(pageSize))
	if token != "" {
		request = request.Param("continue", token)
	}
	body, err := request.Stream(ctx)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return decodePods(body, clients.Add)
}

// logs hands on the logs of the pods of the first hop.
func (a *adviseSource) logs(ctx context.Context, o *adviseOptions, each func(io.Reader) error) error {
	pods, err := a.logPods(ctx, o.logPods)
	if err != nil {
		return err
	}
	for i := range pods {
		pod := &pods[i]
		stream, err := a.client.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{
			Container:    pod.Spec.Containers[0].Name,
			SinceSeconds: new(int64(o.since / time.Second)),
			Timestamps:   true,
		}).Stream(ctx)
		if err != nil {
			// The others can still say much.
			fmt.Fprintf(a.streams.Err, "%s: no log of pod %s/%s: %v\n", programName, pod.Namespace, pod.Name, err)
			continue
		}
		err = each(stream)
		stream.Close()
		if err != nil {
			return failure("cannot read the log of pod %s/%s: %v", pod.Namespace, pod.Name, err)
		}
	}
	return nil
}

func (a *adviseSource) logPods(ctx context.Context, where string) ([]corev1.Pod, error) {
	type place struct{ namespace, selector string }
	places := []place{{dnsNamespace, nodeLocalSelector}, {dnsNamespace, kubeDNSSelector}}
	if where != "" {
		namespace, selector, found := strings.Cut(where, "/")
		if _, err := labels.Parse(selector); err != nil || !found || namespace == "" || selector == "" {
			return nil, failure("--log-pods %q: want NAMESPACE/SELECTOR, for example %s/%s", where, dnsNamespace, kubeDNSSelector)
		}
		places = []place{{namespace, selector}}
	}
	for _, p := range places {
		list, err := a.client.CoreV1().Pods(p.namespace).List(ctx, metav1.ListOptions{LabelSelector: p.selector})
		if err != nil {
			return nil, failure("cannot list the DNS pods: %v", err)
		}
		if len(list.Items) > 0 {
			return list.Items, nil
		}
	}
	return nil, failure("no DNS pods found: name them with --log-pods NAMESPACE/SELECTOR")
}
