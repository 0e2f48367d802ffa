package images

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/test/testfile"
)

// What has been judged is kept for ever, by digest. So what judges otherwise than before
// needs another version, or images that were read before keep what they were taken for.
// testdata/judged.txt has the version, and what the comment of internal/rootfs said when
// it was made.
func TestAnotherJudgementIsAnotherVersionOfTheCache(t *testing.T) {
	t.Parallel()
	const golden = "testdata/judged.txt"
	source := string(testfile.Read(t, "../rootfs/doc.go"))
	_, rules, found := strings.Cut(source, "//\n//\tin the files")
	if !found {
		t.Fatal("the comment of internal/rootfs has no table of files: where is it now?")
	}
	rules, _, _ = strings.Cut("//\tin the files"+rules, "package rootfs")
	version, judged, _ := strings.Cut(string(testfile.Read(t, golden)), "\n")
	if diff := cmp.Diff(judged, rules); diff != "" && version == cacheVersion {
		t.Fatalf("internal/rootfs judges otherwise than the cache's version %s: raise cacheVersion in cache.go, and run this with -update; "+
			"where only words have changed, change them in %s as well (-then +now):\n%s", version, golden, diff)
	}
	testfile.Expect(t, golden, cacheVersion+"\n"+rules)
}
