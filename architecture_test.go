package fanfare_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The rules of DESIGN §6 and of CONTRIBUTING.md that a machine can check. A package that is new at the top level has to be
// placed here first: the failing test is the question where it belongs.

const module = "fanfare"

// leaves lists what lies under the root, and which of each other these packages may import.
var leaves = map[string][]string{
	"set":            nil,
	"audience":       {"set"},
	"merge":          nil,
	"merge/mailbody": {"merge"},
	"esmtp":          nil,
	"bounce":         nil,
}

// neighbours stand on the root and never meet. In the folders each driver is a neighbour of its own.
var (
	neighbours = []string{"api", "web", "plan", "deliver", "inbox", "people", "receipts"}
	folders    = []string{"stores", "queues", "channels"}
	suites     = []string{"storetest", "queuetest", "channeltest"}
	bases      = map[string]string{"stores/sqlstore": "stores", "queues/lane": "queues"} // what the drivers of a folder share: they may stand on it
	outside    = "servers"                                                               // starts what tests talk to: no part of the product, which never imports it
)

// doesIO are the standard packages that the root and the leaves (esmtp apart, which is a client) do not import.
var doesIO = []string{"database/sql", "io/fs", "io/ioutil", "log", "log/slog", "net", "net/http", "net/smtp", "os", "os/exec", "os/signal", "syscall"}

type listed struct {
	ImportPath, Dir, Name, Doc         string
	Standard                           bool
	Imports, TestImports, XTestImports []string
	Deps                               []string
}

// place is the path within the module: "" is the root.
func (p listed) place() string { return place(p.ImportPath) }

func place(importPath string) string {
	return strings.TrimPrefix(strings.TrimPrefix(importPath, module), "/")
}

func ours(importPath string) bool {
	return importPath == module || strings.HasPrefix(importPath, module+"/")
}

// packages asks go list for the packages of the module; a package that does not compile yet is listed all the same.
func packages(t *testing.T) []listed {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-e", "-deps",
		"-json=ImportPath,Dir,Name,Doc,Standard,Imports,TestImports,XTestImports,Deps", "./...")
	var complaints bytes.Buffer
	list.Stderr = &complaints
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, complaints.Bytes())
	}
	var found []listed
	for stream := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := stream.Decode(&p); errors.Is(err, io.EOF) {
			return found
		} else if err != nil {
			t.Fatalf("go list -json: %v", err)
		}
		if !p.Standard && ours(p.ImportPath) {
			found = append(found, p)
		}
	}
}

// component gives the part of the design a package belongs to: the driver in a folder, the suite, or the top-level package with
// all that lies under it. It is "" for the root, and fails for what the design does not know.
func component(at string) (string, error) {
	parts := strings.Split(at, "/")
	if suite := slices.IndexFunc(parts, func(p string) bool { return slices.Contains(suites, p) }); suite >= 0 {
		return parts[suite], nil
	}
	_, leaf := leaves[at]
	switch {
	case at == "", leaf:
		return at, nil
	case at == "cmd/servers":
		return at, nil
	case parts[0] == "cmd", parts[0] == outside, slices.Contains(neighbours, parts[0]):
		return parts[0], nil
	case slices.Contains(folders, parts[0]) && len(parts) > 1:
		return parts[0] + "/" + parts[1], nil
	}
	return "", fmt.Errorf("package %s has no place in the design: name its layer in architecture_test.go", at)
}

// mayImport says whether code of the package at one place, its tests apart, may import the package at another.
func mayImport(from, to string) error {
	above, err := component(from)
	if err != nil {
		return err
	}
	below, err := component(to)
	if err != nil {
		return err
	}
	_, fromLeaf := leaves[from]
	_, toLeaf := leaves[to]
	allowed := false
	switch {
	case above == below && !fromLeaf, above == "cmd" && !slices.Contains(suites, below) && below != outside:
		allowed = true
	case above == outside, above == "cmd/servers", below == outside:
		allowed = above == "cmd/servers" && below == outside
	case fromLeaf:
		allowed = slices.Contains(leaves[from], to)
	case above == "":
		allowed = toLeaf && to != "esmtp" && to != "bounce"
	default:
		allowed = to == "" || toLeaf || slices.Contains(suites, above) && slices.Contains(suites, below) || bases[below] != "" && path.Dir(above) == bases[below]
	}
	if !allowed {
		return fmt.Errorf("%s imports %s: imports point down, and neighbours meet in cmd only (DESIGN §6)", named(from), named(to))
	}
	return nil
}

func named(at string) string { return path.Join(module, at) }

func TestImportsPointDown(t *testing.T) {
	for _, p := range packages(t) {
		if _, err := component(p.place()); err != nil {
			t.Error(err)
			continue
		}
		for _, to := range p.Imports {
			if !ours(to) {
				continue
			}
			if err := mayImport(p.place(), place(to)); err != nil {
				t.Error(err)
			}
		}
		for _, to := range slices.Concat(p.TestImports, p.XTestImports) {
			if ours(to) && strings.HasPrefix(place(to), "cmd/") && !strings.HasPrefix(p.place(), "cmd/") {
				t.Errorf("tests of %s import %s: cmd is above them", p.ImportPath, to)
			}
		}
		if p.place() == "" {
			for _, dep := range p.Deps {
				if _, leaf := leaves[place(dep)]; ours(dep) && !leaf {
					t.Errorf("the root depends on %s: the leaves are all it stands on", dep)
				}
			}
		}
	}
}

func TestRootAndLeavesDoNoIO(t *testing.T) {
	for _, p := range packages(t) {
		if _, leaf := leaves[p.place()]; p.place() != "" && !leaf || p.place() == "esmtp" {
			continue
		}
		for _, to := range p.Imports {
			if slices.Contains(doesIO, to) {
				t.Errorf("%s imports %s: the root and the leaves do no I/O", p.ImportPath, to)
			}
		}
		for _, dep := range p.Deps {
			if p.place() == "" && (dep == "net" || dep == "database/sql" || dep == "os/exec") { // net/mail brings net, fmt brings os
				t.Errorf("%s depends on %s: the root does no I/O", p.ImportPath, dep)
			}
		}
	}
}

func TestEveryPackageSaysWhatItPromises(t *testing.T) {
	for _, p := range packages(t) {
		if p.Name != "" && p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

func TestPackageNamesSaySomething(t *testing.T) {
	hollow := []string{"util", "utils", "common", "helper", "helpers", "internal", "misc"}
	for _, p := range packages(t) {
		for _, word := range append(strings.Split(p.place(), "/"), p.Name) {
			if slices.Contains(hollow, word) {
				t.Errorf("%s: %q says nothing about what is in it", p.ImportPath, word)
			}
		}
	}
}

// source is one parsed file and what its imports are called in it.
type source struct {
	name    string // within the module, with slashes
	test    bool   // compiled only into tests, or a contract suite
	lines   []string
	files   *token.FileSet
	syntax  *ast.File
	imports map[string]string // local name → path
}

func (s source) at(n ast.Node) string {
	return fmt.Sprintf("%s:%d", s.name, s.files.Position(n.Pos()).Line)
}

// inBubble says whether n runs on the clock of testing/synctest, where time costs nothing: its file imports it, or its line says so.
func (s source) inBubble(n ast.Node) bool {
	_, imported := s.imports["synctest"]
	return imported || strings.Contains(s.lines[s.files.Position(n.Pos()).Line-1], "synctest")
}

// names says whether n names a function of a standard package, as in time.Sleep.
func (s source) names(n ast.Node, pkg string, functions ...string) bool {
	selector, ok := n.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	from, ok := selector.X.(*ast.Ident)
	return ok && s.imports[from.Name] == pkg && slices.Contains(functions, selector.Sel.Name)
}

// sources parses every Go file of the module, those that build constraints leave out included.
func sources(t *testing.T) []source {
	t.Helper()
	var found []source
	err := filepath.WalkDir(".", func(name string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := entry.Name()
		if entry.IsDir() {
			if name != "." && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata" || base == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(base, ".go") {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		s := source{name: filepath.ToSlash(name), lines: strings.Split(string(text), "\n"), files: token.NewFileSet(), imports: map[string]string{}}
		if s.syntax, err = parser.ParseFile(s.files, name, text, parser.SkipObjectResolution); err != nil {
			t.Errorf("%v", err)
			return nil
		}
		s.test = strings.HasSuffix(base, "_test.go") || slices.Contains(suites, s.syntax.Name.Name)
		for _, spec := range s.syntax.Imports {
			from, _ := strconv.Unquote(spec.Path.Value)
			local := path.Base(from)
			if spec.Name != nil {
				local = spec.Name.Name
			}
			s.imports[local] = from
		}
		found = append(found, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestForbiddenCalls(t *testing.T) {
	for _, s := range sources(t) {
		inCommand := strings.HasPrefix(s.name, "cmd/")
		for _, declaration := range s.syntax.Decls {
			if f, ok := declaration.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: func init: hand it over, so that a reader sees where it comes from", s.at(f))
			}
		}
		ast.Inspect(s.syntax, func(n ast.Node) bool {
			switch {
			case !s.test && s.name != "cmd/fanfare/main.go" && s.name != "cmd/servers/main.go" &&
				(s.names(n, "os", "Exit") || s.names(n, "log", "Fatal", "Fatalf", "Fatalln", "Panic", "Panicf", "Panicln")):
				t.Errorf("%s: ends the process: only a main.go does", s.at(n))
			case s.test && s.names(n, "time", "Sleep") && !s.inBubble(n):
				t.Errorf("%s: a test sleeps: use testing/synctest, a channel or a clock of its own", s.at(n))
			case !s.test && !inCommand && s.names(n, "context", "Background", "TODO"):
				t.Errorf("%s: starts a context of its own: it comes from the caller", s.at(n))
			}
			return true
		})
	}
}

// TestRulesAreBrokenByTestsOnly: fanfare.Rules is how the simulator breaks a promise on purpose. A field that is named outside
// tests may be read; it may not be set, given in a literal, or pointed at.
func TestRulesAreBrokenByTestsOnly(t *testing.T) {
	files := sources(t)
	fields := rulesFields(t, files)
	for _, s := range files {
		if s.test {
			continue
		}
		isRule := func(e ast.Expr) bool {
			switch e := e.(type) {
			case *ast.SelectorExpr:
				return slices.Contains(fields, e.Sel.Name)
			case *ast.Ident:
				return slices.Contains(fields, e.Name)
			}
			return false
		}
		ast.Inspect(s.syntax, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CompositeLit:
				if len(n.Elts) > 0 && s.isRules(n.Type) {
					t.Errorf("%s: a Rules literal with fields: only tests break a rule", s.at(n))
				}
			case *ast.KeyValueExpr:
				if isRule(n.Key) {
					t.Errorf("%s: gives a field of Rules: only tests break a rule", s.at(n))
				}
			case *ast.AssignStmt:
				if slices.ContainsFunc(n.Lhs, isRule) {
					t.Errorf("%s: sets a field of Rules: only tests break a rule", s.at(n))
				}
			case *ast.UnaryExpr:
				if n.Op == token.AND && isRule(n.X) {
					t.Errorf("%s: points at a field of Rules: only tests break a rule", s.at(n))
				}
			}
			return true
		})
	}
}

// isRules: fanfare.Rules, or Rules within the root package.
func (s source) isRules(of ast.Expr) bool {
	if s.names(of, module, "Rules") {
		return true
	}
	id, ok := of.(*ast.Ident)
	return ok && id.Name == "Rules" && s.syntax.Name.Name == module && !strings.Contains(s.name, "/")
}

func rulesFields(t *testing.T, files []source) []string {
	t.Helper()
	var fields []string
	for _, s := range files {
		if strings.Contains(s.name, "/") || s.test {
			continue
		}
		ast.Inspect(s.syntax, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok || spec.Name.Name != "Rules" {
				return true
			}
			if rules, ok := spec.Type.(*ast.StructType); ok {
				for _, field := range rules.Fields.List {
					for _, name := range field.Names {
						fields = append(fields, name.Name)
					}
				}
			}
			return false
		})
	}
	if len(fields) == 0 {
		t.Fatal("the root package has no struct Rules any more: this test has lost what it guards")
	}
	return fields
}

// TestLayersAreTold keeps the rule itself honest: what it must let through, and what it must catch.
func TestLayersAreTold(t *testing.T) {
	for _, c := range []struct {
		from, to string
		allowed  bool
	}{
		{"", "set", true}, {"", "esmtp", false}, {"", "plan", false}, {"set", "", false},
		{"audience", "set", true}, {"audience", "merge", false}, {"merge/mailbody", "merge", true}, {"merge", "merge/mailbody", false},
		{"plan", "", true}, {"plan", "audience", true}, {"plan", "deliver", false}, {"deliver", "stores/sqlite", false},
		{"channels/email", "esmtp", true}, {"channels/email", "channels/null", false}, {"stores/sqlite/migrations", "stores/sqlite", true},
		{"stores/sqlite", "stores/sqlstore", true}, {"stores/sqlstore", "stores/sqlite", false}, {"queues/store", "stores/sqlstore", false},
		{"stores/sqlite", "stores/storetest", false}, {"stores/storetest", "", true}, {"cmd/fanfare", "stores/storetest", false},
		{"cmd/fanfare/demo", "api", true}, {"api", "web", false}, {"web", "cmd/fanfare", false}, {"news", "", false},
		{"cmd/servers", "servers", true}, {"cmd/fanfare", "servers", false}, {"servers", "", false}, {"stores/sqlite", "servers", false}, {"cmd/servers", "", false},
	} {
		if err := mayImport(c.from, c.to); (err == nil) != c.allowed {
			t.Errorf("%s → %s: allowed %v, want %v (%v)", named(c.from), named(c.to), err == nil, c.allowed, err)
		}
	}
}
