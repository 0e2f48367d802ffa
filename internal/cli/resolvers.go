package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/spf13/cobra"

	"github.com/shorthop/shorthop/internal/buildinfo"
	"github.com/shorthop/shorthop/internal/images"
	"github.com/shorthop/shorthop/pkg/printable"
)

type resolversOptions struct {
	cluster clusterFlags
	podsFlags
	images    []string
	platforms []string
	cache     string
	output    *choice
}

func newResolvers(s Streams) *cobra.Command {
	var o resolversOptions
	command := &cobra.Command{
		Use:   "resolvers",
		Short: "Find out which resolver is in the images of pods",
		Long: `Find out which resolver is in the images of pods.

Lists the images that pods name, reads each once from its registry, with the
credentials that docker and podman use (docker-credential helpers included), and
judges every executable and library in it, whatever the entrypoint is:

  musl     musl's loader, gcompat, or a static program that resolves as musl does
  glibc    glibc's loader and none of these; "go-cgo" where a Go program with cgo
           is beside it, "net-dns" where Perl's Net::DNS or PHP's amphp/dns is
  go       Go programs without cgo, and no other executable
  unknown  all else: a packed program, another C library, an image that cannot be
           read

Of an image for several platforms of Linux the strictest counts, and where a tag
has moved since pods were started, the stricter of what it was and is. RES_OPTIONS
and LOCALDOMAIN of the image are shown: containers have them. What a container
downloads or unpacks when it runs is not seen.

Layers are read from the uppermost to the lowest, as a stream, until the answer
cannot change. What was found is kept by digest in --cache-dir: a run that was
interrupted goes on where it was. -o policy prints a policy with spec.resolvers
alone, each image by its full reference: the next tag may have another resolver.

It needs list pods. With -o json:

  pods, windowsPods, consistent   of the list of pods; left out with --image
  images   reference, pods, digest, resolver ("" if unknown), beside, because,
           file, executables, platforms, env, error

Exit codes: 0 all images were read, 1 some could not be, 2 could not run.`,
		Example: `  # What is in the images of all pods
  kubectl shorthop resolvers -A

  # For the policy
  kubectl shorthop resolvers -A -o policy > resolvers.yaml

  # One image, before it is deployed
  kubectl shorthop resolvers --image registry.example.com/shop/web:1.4.2`,
		Args:              noArguments("name images with --image"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(command *cobra.Command, _ []string) error { return o.run(command.Context(), s) },
	}
	o.cluster.add(command)
	o.add(command)
	flags := command.Flags()
	flags.StringArrayVar(&o.images, "image", nil, "an image to read in place of the pods'; may be repeated")
	complete(command, "image", cobra.NoFileCompletions)
	flags.StringSliceVar(&o.platforms, "platform", nil, "read only these platforms: linux/amd64,... (default: all of Linux that an image has)")
	complete(command, "platform", cobra.FixedCompletions([]string{"linux/amd64", "linux/arm64"}, cobra.ShellCompDirectiveNoFileComp))
	flags.StringVar(&o.cache, "cache-dir", images.DefaultCacheFolder(), `folder for what was found; "" keeps nothing`)
	flags.Lookup("cache-dir").DefValue = ""
	flags.Lookup("cache-dir").Usage += " (default: shorthop/resolvers in the user's cache folder)"
	complete(command, "cache-dir", cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs))
	o.output = outputFlag(command, outputTable, outputJSON, outputPolicy)
	return command
}

func (o *resolversOptions) run(ctx context.Context, s Streams) error {
	if err := o.validate(); err != nil {
		return err
	}
	if len(o.images) > 0 && (o.namespace != "" || o.allNamespaces) {
		return failure("--image is in place of the pods' images: leave out --namespace and --all-namespaces")
	}
	platforms, err := images.ParsePlatforms(o.platforms)
	if err != nil {
		return failure("--platform %v", err)
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	progress := newProgress(&s)
	defer progress.stop()
	ofPods, err := o.list(ctx, progress)
	if err != nil {
		return err
	}
	reader, err := images.NewReader(images.Options{
		Keychain: authn.DefaultKeychain, CacheFolder: o.cache, Platforms: platforms, UserAgent: programName + "/" + buildinfo.Version,
	})
	if err != nil {
		return failure("--cache-dir %q: %v", o.cache, err)
	}
	progress.now(count(len(ofPods.Images), "image"))
	done := 0
	results, err := reader.ReadAll(ctx, ofPods.Images, func(read int) {
		done = read
		progress.far("%d of %d images read, %d MiB", read, len(ofPods.Images), reader.Bytes()>>20)
	})
	progress.stop()
	if failed := reader.CacheFailure(); failed != nil {
		s.remark("not everything could be kept in --cache-dir: %v", failed)
	}
	if err != nil {
		return failure("interrupted: %d of %d images were read; the next run goes on from there", done, len(results))
	}
	return o.report(&s, ofPods, results)
}

// list finds out which images are to be read.
func (o *resolversOptions) list(ctx context.Context, progress *progress) (*images.OfPods, error) {
	if len(o.images) > 0 {
		return images.Named(o.images), nil
	}
	config, err := o.cluster.config()
	if err != nil {
		return nil, err
	}
	if err := o.complete(&o.cluster); err != nil {
		return nil, err
	}
	progress.now("pods")
	found, err := images.InCluster(ctx, config, o.namespace, func(read, left int) {
		if left > 0 {
			progress.far("%d of about %d pods", read, read+left)
		}
	})
	if err != nil {
		return nil, failure("cannot read the cluster: %v", err)
	}
	return found, nil
}

func (o *resolversOptions) report(s *Streams, ofPods *images.OfPods, results []images.Result) (err error) {
	if ofPods.List != nil && !ofPods.List.Consistent {
		s.remark(notOfOneMoment)
	}
	unknown, unread := images.Unknown(results)
	var b bytes.Buffer
	switch o.output.value {
	case outputJSON:
		err = writeJSON(&b, images.Document{List: ofPods.List, Images: results})
	case outputPolicy:
		policy, leftOut, failed := images.Policy(results)
		b.Write(policy)
		if err = failed; leftOut > 0 {
			s.remark("%d of %d images are left out: -o table says why", leftOut, len(results))
		}
	default:
		t := s.text(&b)
		t.line(fmt.Sprintf("%s: %d known, %d unknown, of which %d could not be read", count(len(results), "image"), len(results)-unknown, unknown, unread))
		t.line("")
		rows := t.table("IMAGE", "PODS", "RESOLVER", "BECAUSE")
		for i := range results {
			resolver, because := results[i].InWords()
			rows.row(printable.Name(results[i].Reference), fmt.Sprint(results[i].Pods), resolver, because)
		}
		rows.end()
	}
	if err != nil {
		return failure("cannot write the %s: %v", o.output.value, err)
	}
	if err := s.write(b.Bytes()); err != nil {
		return err
	}
	if unread > 0 {
		return errFindings
	}
	return nil
}
