package doctor

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/shorthop/shorthop/internal/health"
	"github.com/shorthop/shorthop/test/testfile"
)

// fault is a change to a healthy cluster, and what one check finds then.
type fault struct {
	change func(*testing.T, *Facts)
	check  Check
	status Status
	found  string
	// others are the further checks that do not pass.
	others []Check
}

// TestJudge has every fault change its own check only. The cases are files in testdata/checks, and beside what finds them where they
// need certificates, replicas or a second webhook configuration.
func TestJudge(t *testing.T) {
	t.Parallel()
	cases := map[string]fault{
		"healthy": {func(*testing.T, *Facts) {}, "serving-certificate", Pass, "valid until 2026-05-29T12:00:00Z", nil},
	}
	for _, some := range []map[string]fault{releaseFaults(), serversFaults()} {
		for name, c := range some {
			if _, twice := cases[name]; twice {
				t.Fatalf("two cases are called %q", name)
			}
			cases[name] = c
		}
	}
	files := checkCases(t)
	t.Run("files", func(t *testing.T) { // before rows are looked for, as -update writes what they come to
		for check, some := range files {
			for _, c := range some {
				t.Run(string(check)+"/"+c.Name(), func(t *testing.T) {
					t.Parallel()
					c.Expect(t, "comes to", []byte(comesTo(judged(t, factsOf(t, c, "comes to")), check)))
				})
			}
		}
	})
	// A check comes to what its row of the table says, and every row is tried.
	tried := map[Check]map[Status]bool{}
	try := func(check Check, status Status) {
		if tried[check] == nil {
			tried[check] = map[Status]bool{}
		}
		tried[check][status] = true
	}
	for _, c := range cases {
		try(c.check, c.status)
	}
	for check, some := range files {
		for _, c := range some {
			try(check, expectedStatus(c))
		}
	}
	for _, d := range Checks() {
		for status, when := range map[Status]string{Warn: d.Warn, Fail: d.Fail} {
			if (when != "") != tried[d.Check][status] {
				t.Errorf("%s: the row in checks.go says of %s %q, and there is a case that comes to it: %t. "+
					"Add one to testdata/checks/%s, or mend the row", d.Check, status, when, tried[d.Check][status], d.Check)
			}
		}
		if d.Check == "" || d.About == "" || d.Pass == "" || len(tried[d.Check]) == 0 {
			t.Errorf("%+v: needs a name, what it is about, when it passes, and a case", d)
		}
		delete(tried, d.Check)
	}
	if len(tried) > 0 {
		t.Errorf("cases for checks that there are not: %v", tried)
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := healthyFacts(t, newIssuer(t))
			c.change(t, f)
			for _, r := range judged(t, f).Checks {
				if r.Check == c.check {
					if text := strings.Join(append([]string{r.Found}, r.Items...), "\n"); r.Status != c.status || !strings.Contains(text, c.found) {
						t.Errorf("%s is %s: %s\nwant %s and %q", r.Check, r.Status, text, c.status, c.found)
					}
					continue
				}
				switch passes := !slices.Contains(c.others, r.Check); {
				case passes && r.Status != Pass:
					t.Errorf("%s is %s as well: %s. If that is right, name it among the case's others", r.Check, r.Status, r.Found)
				case !passes && r.Status == Pass:
					t.Errorf("%s passes: %s. The case has it among its others", r.Check, r.Found)
				}
			}
		})
	}
}

// judged is a report, of which every check says what it found, and what to do where that is called for.
func judged(t *testing.T, f *Facts) *Report {
	t.Helper()
	report := Judge(f)
	if len(report.Checks) != len(Checks()) {
		t.Errorf("%d checks", len(report.Checks))
	}
	for _, r := range report.Checks {
		if r.Found == "" || (r.Do != "") != (r.Status == Warn || r.Status == Fail) {
			t.Errorf("%s is %s: found %q, to do %q", r.Check, r.Status, r.Found, r.Do)
		}
	}
	return report
}

// TestEveryCheckHasAFaultInAnInstallation tells what TestDoctorFindsEachFaultAndNothingElse
// of test/integration wants, without the control plane that it needs: a fault that is
// seeded there, or a word about where the check is tried instead.
func TestEveryCheckHasAFaultInAnInstallation(t *testing.T) {
	t.Parallel()
	const folder = "../../test/integration/"
	var source []byte
	for _, file := range []string{"doctor_test.go", "doctor_faults_test.go", "doctor_podfaults_test.go"} {
		source = append(source, testfile.Read(t, folder+file)...)
	}
	seeded := map[Check]bool{}
	elsewhere := regexp.MustCompile(`seededElsewhere = .*\{.*\}`).Find(source)
	for _, name := range regexp.MustCompile(`"([a-z-]+)": true`).FindAllSubmatch(elsewhere, -1) {
		seeded[Check(name[1])] = true
	}
	for _, name := range regexp.MustCompile(`\bcheck: +"([a-z-]+)"`).FindAllSubmatch(source, -1) {
		seeded[Check(name[1])] = true
	}
	for _, d := range Checks() {
		if !seeded[d.Check] {
			t.Errorf("%s has no fault in %sdoctor_*faults_test.go: seed one, or say in seededElsewhere of doctor_test.go where it is tried", d.Check, folder)
		}
		delete(seeded, d.Check)
	}
	for check := range seeded {
		t.Errorf("%sdoctor_*test.go has a fault for %s, which is no check", folder, check)
	}
}

// A replica of another version may say less, or what cannot be understood.
func TestJudgeWhatAnotherVersionSays(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`{}`, `{"document": {}}`, `{"document": {"spec": {"rules": [{}], "dns": {}, "serviceHost": {}}}}`, `{"gates": [{}], "discovered": {}}`} {
		f := healthyFacts(t, newIssuer(t))
		for i := range f.replicas.value {
			f.replicas.value[i].debug.value = &health.PolicyDocument{}
			f.say(t, i, text)
		}
		for _, r := range Judge(f).Checks {
			if r.Found == "" {
				t.Errorf("%s: %s is %s and says nothing", text, r.Check, r.Status)
			}
		}
	}
}

// Nothing known is no reason to fail, or to crash.
func TestJudgeOfNothing(t *testing.T) {
	t.Parallel()
	report := Judge(&Facts{})
	if report.Count(Fail) != 2 { // no webhook configuration, no replica
		t.Errorf("%+v", report.Checks)
	}
	if report.Policy != nil {
		t.Errorf("a policy: %+v", report.Policy)
	}
}
