package main

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A mutant is one change to a package, by its number in the package's test binary.
type mutant struct {
	pkg  string
	file string
	n    int
	name string // what decisions.txt calls it
	at   string // file and line, for the reader of a report
}

// support is what the changed files call. A mutant is switched on when the process starts, so
// that one binary has all of them.
const support = `package %s

import (
	"os"
	"strconv"
)

var mutantOn = func() int { n, _ := strconv.Atoi(os.Getenv("MUTANT")); return n }()

func mutantBool(isTrue, isFalse int, v bool) bool {
	return mutantOn != 0 && mutantOn == isTrue || v && (mutantOn == 0 || mutantOn != isFalse)
}

func mutantInt[T ~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64](more, less int, v T) T {
	switch mutantOn {
	case more:
		return v + 1
	case less:
		return v - 1
	}
	return v
}

func mutantZero[T any](n int, v T) T {
	if mutantOn == n {
		return *new(T)
	}
	return v
}
`

// A pack is a package whose files are being changed.
type pack struct {
	dir     string // below the root of the module
	fset    *token.FileSet
	info    *types.Info
	types   *types.Package
	mutants []mutant
	seen    map[string]int

	// of the file at hand
	path    string
	src     []byte
	file    *token.File
	edits   []edit
	fun     string // the declaration that is walked
	results []*ast.FieldList
}

// An edit puts text in the place of nothing. Of those at one place, what closes an earlier
// expression comes before what opens the next.
type edit struct {
	at    int
	open  bool
	order int
	text  string
}

// mutate makes the mutants of a package and the files that have them, by their paths.
func mutate(dir string) ([]mutant, map[string][]byte, error) {
	p := &pack{dir: dir, fset: token.NewFileSet(), seen: map[string]int{}}
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, nil, err
	}
	paths = slices.DeleteFunc(paths, func(path string) bool { return strings.HasSuffix(path, "_test.go") })
	var files []*ast.File
	for _, path := range paths {
		f, err := parser.ParseFile(p.fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, nil, err
		}
		files = append(files, f)
	}
	if len(files) == 0 {
		return nil, nil, fmt.Errorf("no Go files in %s", dir)
	}
	p.info = &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}}
	exports, err := exports(dir)
	if err != nil {
		return nil, nil, err
	}
	conf := types.Config{Importer: importer.ForCompiler(p.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })}
	if p.types, err = conf.Check(dir, p.fset, files, p.info); err != nil {
		return nil, nil, err
	}
	changed := map[string][]byte{filepath.Join(dir, "mutants_on.go"): fmt.Appendf(nil, support, files[0].Name.Name)}
	for i, f := range files {
		if p.src, err = os.ReadFile(paths[i]); err != nil {
			return nil, nil, err
		}
		p.path, p.file, p.edits = paths[i], p.fset.File(f.FileStart), nil
		for _, d := range f.Decls {
			p.decl(d)
		}
		changed[paths[i]] = p.apply()
	}
	return p.mutants, changed, nil
}

// exports are the files in which the compiler has left the types of what a package imports.
func exports(dir string) (map[string]string, error) {
	out, err := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", "./"+dir).Output()
	if err != nil {
		return nil, fmt.Errorf("what %s imports does not compile: %w", dir, err)
	}
	files := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		files[path] = file
	}
	return files, nil
}

// add gives a mutant its number. Its name has no line, so that it outlives changes elsewhere;
// of two with the same name in one function, the second says so.
func (p *pack) add(n ast.Node, what string) int {
	name := fmt.Sprintf("%s %s: %s", p.path, p.fun, what)
	p.seen[name]++
	if k := p.seen[name]; k > 1 {
		name += fmt.Sprintf(" (%d)", k)
	}
	at := fmt.Sprintf("%s:%d", p.path, p.file.Line(n.Pos()))
	p.mutants = append(p.mutants, mutant{p.dir, p.path, len(p.mutants) + 1, name, at})
	return len(p.mutants)
}

func (p *pack) text(n ast.Node) string {
	return string(p.src[p.file.Offset(n.Pos()):p.file.Offset(n.End())])
}

// short is a node's text on one line, for names.
func (p *pack) short(n ast.Node) string { return strings.Join(strings.Fields(p.text(n)), " ") }

// line is the line that a node begins on.
func (p *pack) line(n ast.Node) string {
	return strings.TrimSpace(strings.Split(string(p.src), "\n")[p.file.Line(n.Pos())-1])
}

func (p *pack) wrap(n ast.Node, before, after string) {
	p.edits = append(p.edits,
		edit{p.file.Offset(n.Pos()), true, len(p.edits), before},
		edit{p.file.Offset(n.End()), false, len(p.edits), after})
}

// apply puts the edits in. Outer nodes are wrapped before inner ones.
func (p *pack) apply() []byte {
	slices.SortStableFunc(p.edits, func(a, b edit) int {
		switch {
		case a.at != b.at:
			return a.at - b.at
		case a.open != b.open:
			if b.open {
				return -1
			}
			return 1
		case a.open:
			return a.order - b.order
		}
		return b.order - a.order
	})
	var out []byte
	at := 0
	for _, e := range p.edits {
		out = append(append(out, p.src[at:e.at]...), e.text...)
		at = e.at
	}
	return append(out, p.src[at:]...)
}

func (p *pack) decl(d ast.Decl) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		p.fun = d.Name.Name
		if d.Recv != nil {
			p.fun = strings.TrimPrefix(p.short(d.Recv.List[0].Type), "*") + "." + p.fun
		}
		if d.Body != nil {
			p.function(d.Type, d.Body)
		}
	case *ast.GenDecl:
		if d.Tok != token.VAR {
			return // a constant cannot depend on the environment
		}
		for _, s := range d.Specs {
			s := s.(*ast.ValueSpec)
			p.fun = s.Names[0].Name
			for _, v := range s.Values {
				p.value(v)
			}
		}
	}
}

func (p *pack) function(t *ast.FuncType, body *ast.BlockStmt) {
	p.results = append(p.results, t.Results)
	p.walk(body)
	p.results = p.results[:len(p.results)-1]
}

// walk changes what is below a node that is no expression, or an expression that is not
// changed as a whole.
func (p *pack) walk(root ast.Node) {
	ast.Inspect(root, func(n ast.Node) bool {
		if n == nil || n == root {
			return true
		}
		switch n := n.(type) {
		case *ast.GenDecl:
			return n.Tok == token.VAR
		case *ast.ArrayType, *ast.FuncType, *ast.StructType, *ast.InterfaceType:
			return false
		case ast.Stmt:
			return p.statement(n)
		case ast.Expr:
			p.value(n)
			return false
		}
		return true
	})
}

// statement reports whether what is below it is still to be walked.
func (p *pack) statement(s ast.Stmt) bool {
	switch s := s.(type) {
	case *ast.ExprStmt:
		if call, ok := s.X.(*ast.CallExpr); ok && p.short(call.Fun) == "panic" {
			return false // the compiler needs it where nothing is returned
		}
		p.drop(s)
		p.inside(s.X)
		return false
	case *ast.AssignStmt:
		if s.Tok != token.DEFINE {
			p.drop(s)
		}
		for _, x := range s.Lhs {
			if s.Tok != token.DEFINE {
				p.walk(x)
			}
		}
		for _, x := range s.Rhs {
			p.value(x)
		}
		return false
	case *ast.IncDecStmt:
		p.drop(s)
	case *ast.BranchStmt:
		if s.Tok != token.FALLTHROUGH && s.Tok != token.GOTO {
			p.drop(s)
		}
		return false
	case *ast.DeferStmt, *ast.GoStmt, *ast.SendStmt:
		p.drop(s)
	case *ast.IfStmt:
		p.init(s.Init)
		p.root(s.Cond)
		p.walk(s.Body)
		if s.Else != nil {
			p.list([]ast.Stmt{s.Else})
		}
		return false
	case *ast.ForStmt:
		// To drop what steps a loop only makes it run until the time is up.
		p.init(s.Init)
		if s.Cond != nil {
			p.root(s.Cond)
		}
		p.walk(s.Body)
		return false
	case *ast.RangeStmt:
		p.value(s.X)
		p.walk(s.Body)
		return false
	case *ast.ReturnStmt:
		p.returns(s)
		return false
	case *ast.SwitchStmt:
		p.cases(s)
		return false
	case *ast.CaseClause: // of a type switch
		p.list(s.Body)
		return false
	case *ast.CommClause:
		p.list(s.Body)
		return false
	}
	return true
}

// init walks the statement before a condition, which is dropped only with all of it.
func (p *pack) init(s ast.Stmt) {
	if a, ok := s.(*ast.AssignStmt); ok {
		for _, x := range a.Rhs {
			p.value(x)
		}
	}
}

func (p *pack) drop(s ast.Stmt) {
	n := p.add(s, fmt.Sprintf("`%s` is left out", p.short(s)))
	p.wrap(s, fmt.Sprintf("if mutantOn != %d { ", n), " }")
}

func (p *pack) returns(s *ast.ReturnStmt) {
	var types []ast.Expr
	if r := p.results[len(p.results)-1]; r != nil {
		for _, f := range r.List {
			for range max(1, len(f.Names)) {
				types = append(types, f.Type)
			}
		}
	}
	if len(types) != len(s.Results) {
		p.walk(s) // nothing, or what another function returns
		return
	}
	for i, x := range s.Results {
		if !p.isBool(x) && !p.isZero(x) {
			n := p.add(x, fmt.Sprintf("`%s` returns its zero value for `%s`", p.short(s), p.short(x)))
			p.wrap(x, fmt.Sprintf("mutantZero[%s](%d, ", p.text(types[i]), n), ")")
		}
		p.value(x)
	}
}

func (p *pack) isZero(x ast.Expr) bool {
	t := p.info.Types[x]
	if lit, ok := x.(*ast.CompositeLit); ok {
		switch t.Type.Underlying().(type) {
		case *types.Struct, *types.Array:
			return !slices.ContainsFunc(lit.Elts, func(e ast.Expr) bool {
				if kv, ok := e.(*ast.KeyValueExpr); ok {
					e = kv.Value
				}
				return !p.isZero(e)
			})
		}
		return false
	}
	if t.Value == nil {
		return t.IsNil()
	}
	switch v := constant.ToFloat(t.Value); t.Value.Kind() {
	case constant.String:
		return constant.StringVal(t.Value) == ""
	case constant.Bool:
		return !constant.BoolVal(t.Value)
	default:
		return constant.Sign(v) == 0
	}
}

// cases turns a switch over a value into one over conditions, in which a value can be left out.
func (p *pack) cases(s *ast.SwitchStmt) {
	p.init(s.Init)
	tag := ""
	if s.Tag != nil {
		if s.Init == nil {
			tag = "mutantTag"
			p.wrap(s.Tag, "mutantTag := ", ";")
			p.value(s.Tag)
		} else {
			tag = "(" + p.text(s.Tag) + ")"
			p.wrap(s.Tag, "", " == "+p.text(s.Tag)) // true, and of its type only for the compiler
		}
	}
	for _, c := range s.Body.List {
		c := c.(*ast.CaseClause)
		for _, x := range c.List {
			if tag == "" {
				p.root(x)
				continue
			}
			n := p.add(x, fmt.Sprintf("`case %s` never holds", p.short(x)))
			p.wrap(x, fmt.Sprintf("mutantBool(0, %d, %s == ", n, tag), ")")
			p.value(x)
		}
		p.list(c.Body)
	}
}

func (p *pack) list(body []ast.Stmt) {
	for _, s := range body {
		if p.statement(s) {
			p.walk(s)
		}
	}
}

func (p *pack) isBool(x ast.Expr) bool {
	t := p.info.Types[x]
	b, ok := t.Type.(*types.Basic)
	return ok && b.Info()&types.IsBoolean != 0 && t.IsValue()
}

// value changes an expression wherever one stands.
func (p *pack) value(x ast.Expr) {
	if p.isBool(x) {
		p.root(x)
		return
	}
	p.inside(x)
}

// root changes a condition as a whole: it always holds, and never.
func (p *pack) root(x ast.Expr) {
	yes, no := 0, 0
	v := p.info.Types[x].Value
	if v == nil || v.String() == "false" {
		yes = p.add(x, fmt.Sprintf("`%s` is true in `%s`", p.short(x), p.line(x)))
	}
	if v == nil || v.String() == "true" {
		no = p.add(x, fmt.Sprintf("`%s` is false in `%s`", p.short(x), p.line(x)))
	}
	p.wrap(x, fmt.Sprintf("mutantBool(%d, %d, ", yes, no), ")")
	p.inside(x)
}

// operand changes a part of a condition: it decides nothing.
func (p *pack) operand(x ast.Expr, of token.Token, in ast.Expr) {
	yes, no := 0, 0
	if of == token.LAND {
		yes = p.add(x, fmt.Sprintf("`%s` is true in `%s`", p.short(x), p.short(in)))
	} else {
		no = p.add(x, fmt.Sprintf("`%s` is false in `%s`", p.short(x), p.short(in)))
	}
	p.wrap(x, fmt.Sprintf("mutantBool(%d, %d, ", yes, no), ")")
	p.inside(x)
}

// inside changes the parts of an expression.
func (p *pack) inside(x ast.Expr) {
	switch x := x.(type) {
	case *ast.ParenExpr:
		p.inside(x.X)
	case *ast.UnaryExpr:
		p.inside(x.X)
	case *ast.BinaryExpr:
		p.binary(x)
	case *ast.BasicLit:
		p.literal(x)
	case *ast.FuncLit:
		p.function(x.Type, x.Body)
	case *ast.CompositeLit:
		_, ofMap := p.info.Types[x].Type.Underlying().(*types.Map)
		for _, e := range x.Elts {
			if kv, ok := e.(*ast.KeyValueExpr); ok {
				if ofMap {
					p.value(kv.Key)
				}
				e = kv.Value
			}
			p.value(e)
		}
	case *ast.Ident, *ast.ArrayType, *ast.MapType, *ast.FuncType:
	default:
		p.walk(x)
	}
}

// boundaries are the comparisons that differ from others only where both sides are equal.
var boundaries = map[token.Token]token.Token{token.LSS: token.LEQ, token.LEQ: token.LSS, token.GTR: token.GEQ, token.GEQ: token.GTR}

func (p *pack) binary(x *ast.BinaryExpr) {
	if x.Op == token.LAND || x.Op == token.LOR {
		// a && b && c is (a && b) && c: its operands are three.
		for _, side := range []ast.Expr{x.X, x.Y} {
			if b, ok := side.(*ast.BinaryExpr); ok && b.Op == x.Op {
				p.binary(b)
				continue
			}
			p.operand(side, x.Op, x)
		}
		return
	}
	if other, ok := boundaries[x.Op]; ok && p.info.Types[x].Value == nil {
		n := p.add(x, fmt.Sprintf("`%s` has %s", p.short(x), other))
		p.wrap(x, "((", fmt.Sprintf(") != (mutantOn == %d && (%s) == (%s)))", n, p.text(x.X), p.text(x.Y)))
	}
	p.inside(x.X)
	p.inside(x.Y)
}

// literal makes a whole number one more and one less.
func (p *pack) literal(x *ast.BasicLit) {
	t := p.info.Types[x].Type
	b, ok := t.Underlying().(*types.Basic)
	if x.Kind != token.INT || !ok || b.Info()&types.IsInteger == 0 || b.Info()&types.IsUntyped != 0 {
		return
	}
	elsewhere := false // a type of another package, which this file need not import
	name := types.TypeString(t, func(of *types.Package) string { elsewhere = elsewhere || of != p.types; return "" })
	if elsewhere {
		return
	}
	more := p.add(x, fmt.Sprintf("%s is one more in `%s`", x.Value, p.line(x)))
	less := p.add(x, fmt.Sprintf("%s is one less in `%s`", x.Value, p.line(x)))
	p.wrap(x, fmt.Sprintf("mutantInt[%s](%d, %d, ", name, more, less), ")")
}
